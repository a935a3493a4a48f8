"""ReplicaSets: a number of equal pods, and which of them to delete first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from simgit.kube.embedded.controllers.controller import PodOwner
from simgit.kube.embedded.fields import pod_template, whole
from simgit.kube.embedded.nodes import PENDING, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.world import World
from simgit.kube.manifest import Manifest


class RevisionOwner(Protocol):
    """The Deployment of a revision, as the ReplicaSet sees it."""

    @property
    def sets(self) -> Iterable[ReplicaSet]: ...

    def mark(self) -> None: ...


class ReplicaSet(PodOwner):
    """A ReplicaSet, on its own or as a revision of a Deployment."""

    kind = "ReplicaSet"
    spreads = True

    def __init__(self, world: World, namespace: str, name: str) -> None:
        """Start with 0 replicas."""
        super().__init__(world, namespace, name)
        self.replicas = 0
        self.template: Mapping[str, Any] = {}
        self.facts: PodFacts | None = None
        self.revision: object = 0
        self.deployment: RevisionOwner | None = None
        self.desired = 0
        self.max_replicas = 0
        self._made = 0

    def update(self, manifest: Manifest) -> None:
        """Take a manifest of a ReplicaSet on its own; its running pods do not change."""
        template = pod_template(manifest, "spec", "template")
        facts = self.read_template(template)
        self.replicas = whole(manifest, "spec", "replicas", default=1)
        self.min_ready = 1000 * whole(manifest, "spec", "minReadySeconds")
        self.template, self.facts = template, facts
        self.mark()

    def scale(self, replicas: int) -> bool:
        """Set the replicas; return True if they change."""
        if replicas == self.replicas:
            return False
        self.replicas = replicas
        self.mark()
        if self.deployment is not None:
            self.deployment.mark()
        return True

    def sync(self) -> None:
        """Create missing pods, delete surplus ones, and tell the Deployment."""
        missing = self.replicas - len(self.pods)
        if missing > 0:
            self._create(missing)
        elif missing < 0:
            for pod in self._least_wanted(-missing):
                self.world.delete_pod(pod, "SuccessfulDelete", f"deleted by ReplicaSet {self.name}")
        if self.deployment is not None:
            self.deployment.mark()

    def pod_finished(self, pod: Pod) -> None:
        """Replace a pod that ended."""
        self.pods.pop(pod.uid, None)
        super().pod_finished(pod)
        self.ended.append(pod)

    def _create(self, count: int) -> None:
        assert self.facts is not None
        for _ in range(count):
            name = f"{self.name}-{self._made}"
            pod = self.create_pod(name, self.facts, revision=self.revision)
            if pod is None:
                return
            self._made += 1

    def _least_wanted(self, count: int) -> list[Pod]:
        if count >= len(self.pods):
            return list(self.pods.values())
        crowd = crowding(self.siblings())
        return heapq.nsmallest(count, self.pods.values(), key=lambda pod: _worth(pod, crowd))

    def siblings(self) -> Iterable[ReplicaSet]:
        """Return all revisions of the Deployment, or only this set."""
        return (self,) if self.deployment is None else self.deployment.sets


def crowding(sets: Iterable[ReplicaSet]) -> dict[int, int]:
    """Return the number of pods by node index (-1: not placed), over all sets."""
    crowd: dict[int, int] = {}
    for found in sets:
        for pod in found.pods.values():
            index = pod.node.index if pod.node else -1
            crowd[index] = crowd.get(index, 0) + 1
    return crowd


def _worth(pod: Pod, crowd: Mapping[int, int]) -> tuple[int, ...]:
    """Return a key that sorts the first to delete first.

    These are pods that are not placed, pending, not ready, on a crowded node, young.
    """
    index = pod.node.index if pod.node else -1
    return (
        pod.node is not None,
        pod.phase != PENDING,
        pod.ready,
        -crowd[index],
        -pod.ready_at,
        -pod.created_at,
        -pod.uid,
    )
