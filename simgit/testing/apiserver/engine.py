"""The embedded cluster as the server's controllers and scheduler, with pods that end in two steps.

Where no KWOK acts, a bound pod is not started, and a deleted one keeps its place on the node until
somebody releases it, as with a real kubelet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from simgit.errors import InvalidInput
from simgit.kube.embedded import EmbeddedCluster, NodeSpec, PodDelays, node_spec
from simgit.kube.embedded.controllers.barepod import BarePod
from simgit.kube.embedded.controllers.controller import Controller, PodOwner
from simgit.kube.embedded.controllers.cronjob import CronJob
from simgit.kube.embedded.controllers.daemonset import DaemonSet
from simgit.kube.embedded.controllers.deployment import Deployment
from simgit.kube.embedded.kwok import Lifetimes
from simgit.kube.embedded.nodes import CORDON, FAILED, RUNNING, SUCCEEDED, Node, Owner, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.world import World
from simgit.kube.manifest import TEMPLATE_PATHS, Manifest, gvk_of, lookup, name_of, namespace_of
from simgit.testing.apiserver.resources import NAME_LETTERS, PRIORITY_CLASSES

NEVER_MS = 2**50
"""A start delay that never ends."""
_NAMED = frozenset({"StatefulSet", "Pod"})
"""Owners that choose the names of their pods; others add letters to their own."""


class ServedWorld(World):
    """A world that tells of pods that come and go, and lets deleted pods linger if it is set to."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.lingers = False
        self.lingering: dict[int, Pod] = {}
        self._holders: dict[tuple[str, str], list[Pod]] = {}
        """The pods of a namespace and name: the first exists, others wait until it is gone."""
        self.deleted: list[Pod] = []
        """Pods deleted by a controller, by preemption or by a taint since the last look."""

    def new_pod(self, name: str, namespace: str, facts: PodFacts, owner: Owner) -> Pod:
        """Create a pod, named as a real cluster would."""
        pod = super().new_pod(name, namespace, facts, owner)
        if owner.kind not in _NAMED:
            drawn = hashlib.sha256(f"{namespace}/{name}/{pod.uid}".encode()).digest()
            end = "".join(NAME_LETTERS[b % len(NAME_LETTERS)] for b in drawn[:5])
            pod.name = f"{owner.name}-{end}"
        self._holders.setdefault((namespace, pod.name), []).append(pod)
        return pod

    def admit(self, pod: Pod) -> None:
        """Queue a pod, unless another one of its name is still there."""
        if self._holders[pod.namespace, pod.name][0] is pod:
            super().admit(pod)

    def _free(self, pod: Pod) -> None:
        """Let the next pod of the same name follow one that was deleted."""
        key = (pod.namespace, pod.name)
        first, *rest = self._holders[key]
        if first is not pod:
            self._holders[key].remove(pod)
        elif rest:
            self._holders[key] = rest
            super().admit(rest[0])
        else:
            del self._holders[key]

    def delete_pod(self, pod: Pod, reason: str, message: str) -> None:
        """Delete a pod, or begin to: its owner no longer counts it, its node still does."""
        if pod.removed:
            return
        self.deleted.append(pod)
        node = None if pod.finished or not self.lingers else pod.node
        super().delete_pod(pod, reason, message)
        if node is None:
            self._free(pod)
        else:  # before the scheduler looks again
            node.add(pod)
            self.lingering[pod.uid] = pod

    def release(self, pod: Pod) -> None:
        """Forget a pod whose object was deleted."""
        self.delete_pod(pod, "Killing", "deleted")
        if self.lingering.pop(pod.uid, None) is None:
            return
        self._free(pod)
        assert pod.node is not None
        if pod.uid in pod.node.pods:
            pod.node.remove(pod)
            self.scheduler.pod_left(pod)

    def report(self, pod: Pod, phase: str, ready: bool) -> None:
        """Take a pod's status from whoever runs it."""
        if pod.finished or pod.node is None:
            return
        if phase in (SUCCEEDED, FAILED):
            if pod.uid in pod.node.pods:
                pod.node.remove(pod)
            pod.phase, pod.ready = phase, False
            self.scheduler.pod_left(pod)
            if not pod.removed:
                pod.owner.pod_finished(pod)
        elif ready and not pod.ready:
            self._become_ready(pod)
        elif pod.ready and not ready:
            pod.ready = False
            if not pod.removed:
                pod.owner.pod_unready(pod)
        elif phase == RUNNING:
            pod.phase = RUNNING

    def place(self, pod: Pod, name: str) -> None:
        """Bind a pod to a node, as another scheduler does."""
        node = next((node for node in self.nodes if node.name == name), None)
        if node is not None and pod.node is None and not pod.removed:
            self.scheduler.forget(pod)
            self.scheduler.place_on(pod, node)

    def set_node(self, spec: NodeSpec) -> None:
        """Add a node, or change what it offers."""
        node = next((node for node in self.nodes if node.name == spec.name), None)
        if node is None:
            index = max((node.index for node in self.nodes), default=-1) + 1
            self.nodes.append(Node(spec, index))
        elif node.spec == spec:
            return
        else:
            node.spec, node.labels, node.unschedulable = spec, spec.labels, spec.unschedulable
            node.taints = (*spec.taints, CORDON) if spec.unschedulable else spec.taints
            for pod in list(node.pods.values()):
                self._limit_stay(pod, node)
        self.scheduler.nodes_changed()

    def drop_node(self, name: str) -> None:
        """Remove a node; its pods are deleted."""
        for node in [node for node in self.nodes if node.name == name]:
            for pod in list(node.pods.values()):
                self.delete_pod(pod, "Killing", "its node is gone")
            self.nodes.remove(node)
        self.scheduler.nodes_changed()


class ServedCluster(EmbeddedCluster):
    """The embedded cluster behind the API server."""

    world_class = ServedWorld

    def __init__(self, *, start: int, seed: int, delays: PodDelays, kwok: bool) -> None:
        super().__init__((), seed=seed, start=start, delays=delays)
        assert isinstance(self._world, ServedWorld)
        self.world: ServedWorld = self._world
        self.world.lingers = not kwok
        self.kwok = kwok
        self._revisions: dict[tuple[str, str, str], int] = {}

    def set_lifecycle(self, delays: PodDelays, lifetimes: Lifetimes | None) -> None:
        """Set the delays and lifetimes of later pods."""
        self._delays, self._lifetimes = delays, lifetimes

    def _start_delay(self, pod: Pod) -> int:
        return super()._start_delay(pod) if self.kwok else NEVER_MS

    @property
    def policy_kinds(self) -> frozenset[str]:
        """Kinds that run no pods but decide about them, as far as the cluster models them."""
        return frozenset(getattr(self.world, "policies", ()))

    def set_node(self, spec: NodeSpec) -> None:
        """Add a node, or change what it offers."""
        self.world.set_node(spec)
        for controller in self._objects.values():
            if isinstance(controller, DaemonSet):
                controller.mark()

    def accept(self, manifest: Manifest) -> str | None:
        """Take an object; nothing acts on it yet. Return why admission forbids it, if it does.

        Raises InvalidInput for an object that is not valid.
        """
        key = _key(manifest)
        new = key not in self._objects
        self._apply_one(manifest)
        controller = self._objects.get(key)
        if new and isinstance(controller, Deployment):
            # An earlier Deployment's ReplicaSets may still be there: no name is used again.
            controller._revision = self._revisions.get(key, 0)
        if isinstance(controller, BarePod) and not controller.pods:
            self._objects.pop(key)
        if key[0] in TEMPLATE_PATHS and key not in self._objects:
            refused = next(e for e in reversed(self.world.events) if e.reason == "FailedCreate")
            return refused.message.partition(" is forbidden: ")[2] or refused.message
        return None

    def withdraw(self, manifest: Manifest, *, orphan: bool = False) -> None:
        """Forget an object; its orphans remain."""
        key = _key(manifest)
        controller = self._objects.get(key)
        if isinstance(controller, Deployment):
            self._revisions[key] = controller._revision
        if key[0] == PRIORITY_CLASSES.gvk:
            self.world.priorities.pop(key[2], None)
        if controller is None or not orphan:
            self.delete([manifest])
            return
        self._objects.pop(key).gone = True
        for child in children_of(controller):
            child.owner = None
            self._objects[(_gvk(child), child.namespace, child.name)] = child

    def controllers(self) -> Iterator[Controller]:
        """Return every controller of an object, owners before what they own."""
        for controller in list(self._objects.values()):
            yield controller
            yield from children_of(controller)

    def is_own(self, gvk: str, key: tuple[str, str]) -> bool:
        """Return True for an object that was accepted, not made by a controller."""
        return (gvk, *key) in self._objects


def children_of(controller: Controller) -> list[PodOwner]:
    """Return the ReplicaSets of a Deployment, the Jobs of a CronJob."""
    if isinstance(controller, Deployment):
        return list(controller.sets)
    if isinstance(controller, CronJob):
        return [job for job in controller.jobs if not job.gone]
    return []


def _key(manifest: Manifest) -> tuple[str, str, str]:
    return gvk_of(manifest), namespace_of(manifest), name_of(manifest)


def _gvk(controller: Controller) -> str:
    return f"{'batch/v1' if controller.kind == 'Job' else 'apps/v1'}.{controller.kind}"


def read_node(value: Mapping[str, Any]) -> NodeSpec:
    """Return what a Node object offers; raises InvalidInput for bad amounts."""
    status = value.get("status") or {}
    offered = dict(status.get("allocatable") or status.get("capacity") or {})
    spec = value.get("spec") or {}
    return node_spec(
        value["metadata"]["name"],
        cpu=offered.pop("cpu", "0"),
        memory=offered.pop("memory", "0"),
        pods=offered.pop("pods", "0"),
        storage=offered.pop("ephemeral-storage", 0),
        extra=offered,
        labels=value["metadata"].get("labels") or {},
        taints=spec.get("taints") or (),
        unschedulable=bool(spec.get("unschedulable")),
    )


def check_accepted(manifest: Manifest, classes: Callable[[], Mapping[str, Any]]) -> None:
    """Raise InvalidInput for an object that a cluster would refuse, without keeping it."""
    scratch = ServedCluster(start=0, seed=0, delays=PodDelays(), kwok=False)
    scratch.world.priorities.update(classes())
    if lookup(manifest, ("metadata", "name")) is None:
        raise InvalidInput("name or generateName is required")
    scratch.accept(manifest)
