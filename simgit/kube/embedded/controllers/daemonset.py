"""DaemonSets: one pod on every suitable node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simgit.kube.embedded.controllers.controller import PodOwner
from simgit.kube.embedded.fields import pod_template, share, text, whole
from simgit.kube.embedded.labels import HARD_EFFECTS, NodeTerm, Toleration
from simgit.kube.embedded.nodes import Node, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.scheduler.spread import selects_node
from simgit.kube.embedded.template_equality import same_template
from simgit.kube.embedded.world import World
from simgit.kube.manifest import Manifest

_ROLLING = ("spec", "updateStrategy", "rollingUpdate")
_TOLERATED = tuple(
    Toleration(f"node.kubernetes.io/{name}", "Exists", "", effect)
    for name, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)
_NETWORK = (Toleration("node.kubernetes.io/network-unavailable", "Exists", "", "NoSchedule"),)


class DaemonSet(PodOwner):
    """A DaemonSet; the required affinity of each pod names its node."""

    kind = "DaemonSet"

    def __init__(self, world: World, namespace: str, name: str) -> None:
        """Start without a template."""
        super().__init__(world, namespace, name)
        self.template: Mapping[str, Any] = {}
        self.facts: PodFacts | None = None
        self.revision = 0
        self.rolls = True
        self._manifest: Manifest = {}
        self._by_node: dict[str, PodFacts] = {}
        self._made = 0

    def update(self, manifest: Manifest) -> None:
        """Take a manifest; a new template starts a new revision."""
        template = pod_template(manifest, "spec", "template")
        min_ready = 1000 * whole(manifest, "spec", "minReadySeconds")
        self._limits(manifest, 1)
        if self.facts is None or not same_template(template, self.template):
            facts = self.read_template(template)
            more = (*_TOLERATED, *_NETWORK) if facts.spec.get("hostNetwork") else _TOLERATED
            self.facts = replace(facts, tolerations=facts.tolerations + more)
            self.template = template
            self.revision += 1
            self._by_node = {}
        self.rolls = text(manifest, "spec", "updateStrategy", "type") != "OnDelete"
        self.min_ready, self._manifest = min_ready, manifest
        self.mark()

    def sync(self) -> None:
        """Create missing pods, delete those on unsuitable nodes, then update."""
        by_node: dict[str, list[Pod]] = {}
        for pod in self.pods.values():
            by_node.setdefault(pod.target, []).append(pod)
        wanted = [
            node for node in self.world.nodes
            if self._suits(node) and self._tolerates(node, HARD_EFFECTS)
        ]  # fmt: skip
        surge, unavailable = self._limits(self._manifest, len(wanted))
        here = {node.name for node in self.world.nodes}
        # Pods that were placed on a node that left are not the controller's to delete.
        surplus = [pod for pod in self.pods.values() if pod.target not in here and pod.node is None]
        for node in self.world.nodes:
            pods = by_node.get(node.name, [])
            if not (self._suits(node) and self._tolerates(node, frozenset({"NoExecute"}))):
                surplus += pods
            elif pods:
                surplus += self._surplus(pods, surge)
            elif node in wanted:
                self._create(node)
        self._drop_all(surplus)
        if not self.rolls or surplus:
            return  # whatever was deleted marks the set again
        if surge:
            self._update_with_surge(wanted, by_node, surge)
        else:
            self._update_in_place(wanted, by_node, unavailable)

    def _surplus(self, pods: list[Pod], surge: int) -> list[Pod]:
        """Return the pods that a node has too many: all but the oldest, placed ones first.

        With surge the oldest outdated pod stays too, while it is ready and the new one is not yet.
        """
        oldest = sorted(pods, key=lambda pod: (pod.node is None, pod.created_at, pod.uid))
        new = [pod for pod in oldest if pod.revision == self.revision]
        if not surge or not new or len(new) == len(oldest):
            return oldest[1:]
        old = [pod for pod in oldest if pod.revision != self.revision]
        stays = old[0].ready and new[0].uid not in self.available
        return [*new[1:], *old[stays:]]

    def _suits(self, node: Node) -> bool:
        assert self.facts is not None
        named = self.facts.node_name
        return selects_node(self.facts, node) and named in ("", node.name)

    def _tolerates(self, node: Node, effects: frozenset[str]) -> bool:
        assert self.facts is not None
        return all(
            taint.effect not in effects or any(t.tolerates(taint) for t in self.facts.tolerations)
            for taint in node.taints
        )

    def _create(self, node: Node) -> None:
        name, facts = f"{self.name}-{self._made}", self._facts_for(node)
        if self.create_pod(name, facts, revision=self.revision, target=node.name) is not None:
            self._made += 1

    def _facts_for(self, node: Node) -> PodFacts:
        """Return the facts of a node's pod: its affinity names only this node."""
        assert self.facts is not None
        if node.name not in self._by_node:
            term = NodeTerm((), (("metadata.name", "In", (node.name,)),))
            self._by_node[node.name] = replace(self.facts, node_terms=(term,))
        return self._by_node[node.name]

    def _limits(self, manifest: Manifest, nodes: int) -> tuple[int, int]:
        """Return (surge, unavailable), of which one is above 0."""
        surge = share(manifest, (*_ROLLING, "maxSurge"), nodes, up=True, default=0)
        limit = (*_ROLLING, "maxUnavailable")
        unavailable = share(manifest, limit, nodes, up=True, default=0 if surge else 1)
        return surge, unavailable if surge or unavailable else 1

    def _update_in_place(
        self, wanted: list[Node], by_node: dict[str, list[Pod]], most: int
    ) -> None:
        """Delete all old pods that are not available, and others up to the limit."""
        missing, unfit, candidates = 0, [], []
        for node in wanted:
            pods = by_node.get(node.name, [])
            if pods and pods[0].revision != self.revision and pods[0].uid in self.available:
                candidates.append(pods[0])
                continue
            missing += not pods or pods[0].uid not in self.available
            unfit += [pod for pod in pods if pod.revision != self.revision]
        self._drop_all([*unfit, *candidates[: max(0, most - missing)]])

    def _update_with_surge(
        self, wanted: list[Node], by_node: dict[str, list[Pod]], most: int
    ) -> None:
        """Create new pods beside old ones, at once where the old one is not available."""
        surging = sum(len(by_node.get(node.name, ())) > 1 for node in wanted)
        for node in wanted:
            pods = by_node.get(node.name, [])
            if len(pods) == 1 and pods[0].revision != self.revision:
                is_available = pods[0].uid in self.available
                if not is_available or surging < most:
                    surging += is_available
                    self._create(node)

    def _drop_all(self, pods: list[Pod]) -> None:
        for pod in pods:
            self.world.delete_pod(pod, "SuccessfulDelete", f"deleted by DaemonSet {self.name}")

    def pod_finished(self, pod: Pod) -> None:
        """Delete a pod that ended, so that it is replaced."""
        self._drop_all([pod])
