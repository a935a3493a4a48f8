"""The embedded cluster: a deterministic control plane in virtual time.

Equal arguments and equal calls give equal clusters, on any machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from simgit.errors import ClusterError, InvalidInput, did_you_mean
from simgit.kube.cluster import PodSelection
from simgit.kube.embedded.controllers.barepod import BarePod
from simgit.kube.embedded.controllers.controller import Controller, PodOwner
from simgit.kube.embedded.controllers.cronjob import CronJob
from simgit.kube.embedded.controllers.daemonset import DaemonSet
from simgit.kube.embedded.controllers.deployment import Deployment
from simgit.kube.embedded.controllers.job import Job
from simgit.kube.embedded.controllers.replicaset import ReplicaSet
from simgit.kube.embedded.controllers.statefulset import StatefulSet
from simgit.kube.embedded.faults import NO_FAULTS, Faults
from simgit.kube.embedded.kwok import Lifetimes, PodDelays
from simgit.kube.embedded.node_events import NodeEvent, NodeLifecycle, check_nodes, nodes_at
from simgit.kube.embedded.nodes import PENDING, NodeSpec, Pod, default_nodes
from simgit.kube.embedded.podspec import read_pod
from simgit.kube.embedded.rows import event_row, node_row, pod_row
from simgit.kube.embedded.validation import (
    InvalidObject,
    InvalidPod,
    check_object,
    object_causes,
    template_causes,
)
from simgit.kube.embedded.world import MAX_PODS, MAX_STEPS, Rules, World
from simgit.kube.manifest import (
    Manifest,
    check_identity,
    full_name,
    gvk_of,
    name_of,
    namespace_of,
    pod_labels,
    template_of,
)
from simgit.kube.observation import Observation, failed, why_no_pods
from simgit.kube.unmodelled import unmodelled_kind

_KINDS: dict[str, type[Controller]] = {
    "apps/v1.DaemonSet": DaemonSet,
    "apps/v1.Deployment": Deployment,
    "apps/v1.ReplicaSet": ReplicaSet,
    "apps/v1.StatefulSet": StatefulSet,
    "batch/v1.CronJob": CronJob,
    "batch/v1.Job": Job,
    "v1.Pod": BarePod,
}
_PRIORITY_CLASS = "scheduling.k8s.io/v1.PriorityClass"
_SHORTEST_LIFE_MS = 1000
"""The shortest life of a pod: one of no time at all would be replaced for ever."""

_Key = tuple[str, str, str]


class EmbeddedCluster:
    """A KubeCluster in memory: API server, controllers, scheduler and KWOK."""

    world_class = World

    def __init__(
        self,
        nodes: Sequence[NodeSpec] | None = None,
        *,
        node_events: Sequence[NodeEvent] = (),
        seed: int = 0,
        start: int = 0,
        delays: PodDelays | None = None,
        lifetimes: Lifetimes | None = None,
        faults: Faults = NO_FAULTS,
        priority_classes: dict[str, int] | None = None,
        max_pods: int = MAX_PODS,
        max_steps: int = MAX_STEPS,
    ) -> None:
        """Start an empty cluster at ``start`` (Unix seconds), by default with three nodes.

        ``node_events`` happen at their times, before what is applied at the same time.
        ``max_pods`` and ``max_steps`` limit the memory and the time that a trace can take.
        """
        self.start = float(start)
        self._seed = seed
        self._delays = delays or PodDelays()
        self._lifetimes = lifetimes
        self._faults = faults
        self._random: random.Random | None = None
        specs = default_nodes() if nodes is None else nodes
        check_nodes(specs, node_events)
        rules = Rules(self._created, self._start_delay, self._lifetime)
        self._world = self.world_class(
            specs,
            rules,
            start_ms=1000 * start,
            seed=seed,
            max_pods=max_pods,
            max_steps=max_steps,
        )
        self._objects: dict[_Key, Controller] = {}
        self._refused: dict[_Key, tuple[Manifest, str]] = {}
        for name, value in (priority_classes or {}).items():
            self._world.priorities[name] = (value, True)
        refusal = self._world.disruptions.eviction_refusal
        lifecycle = NodeLifecycle(self._world, refusal, self._mark_daemon_sets)
        lifecycle.plan(node_events)
        for name, seconds in faults.lost_nodes.items():
            self._plan_loss(name, seconds, nodes_at(specs, node_events, seconds))
        if node_events:
            self._world.settle()

    def _mark_daemon_sets(self) -> None:
        for controller in self._objects.values():
            if isinstance(controller, DaemonSet):
                controller.mark()

    def _plan_loss(self, name: str, seconds: float, names: Sequence[str]) -> None:
        if name not in names:
            raise InvalidInput(
                f"fault lost_nodes: no such node '{name}'{did_you_mean(name, names)}", value=name
            )
        clock = self._world.clock
        clock.at(clock.now + int(1000 * seconds), lambda: self._world.lose_node(name))

    @property
    def now(self) -> float:
        """Virtual Unix time in seconds."""
        return self._world.clock.now / 1000

    def apply(self, manifests: Sequence[Manifest]) -> None:
        """Create or replace objects in order, each after the one before has settled.

        Kinds that are not modelled are ignored, with an event. Raises InvalidInput for an object
        that the API server would refuse; those before it in the list are applied.
        """
        self._fail_by_chance("apply")
        for number, manifest in enumerate(manifests):
            check_identity(manifest, f"manifests[{number}]")
            self._apply_one(manifest)
            self._world.settle()

    def _apply_one(self, manifest: Manifest) -> None:
        gvk, namespace, name = key = _key(manifest)
        if gvk == _PRIORITY_CLASS:
            self._add_priority(manifest)
        elif gvk in self._world.policies:
            with _naming(manifest):
                self._world.policies[gvk].put(manifest, namespace, name)
            self._world.wake()
        elif gvk not in _KINDS:
            told = unmodelled_kind(gvk)
            effect = f"in a real cluster {told}" if told else "objects of this kind run no pods"
            self._world.log(gvk, namespace, name, "Ignored", effect)
        else:
            found = self._objects.get(key)
            controller = found or _KINDS[gvk](self._world, namespace, name)
            with _naming(manifest):
                _update(controller, manifest)
            self._refused.pop(key, None)
            if found is None:
                if (why := controller.refusal()) is not None:
                    controller.gone = True
                    controller.log("FailedCreate", why)
                    self._refused[key] = manifest, why
                    return
                controller.enter()
            controller.original = manifest
            self._objects[key] = controller

    def _add_priority(self, manifest: Manifest) -> None:
        value = manifest.get("value", 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidInput(
                f"value must be a whole number in 'PriorityClass {name_of(manifest)}'"
            )
        entry = (value, manifest.get("preemptionPolicy") != "Never")
        self._world.priorities[name_of(manifest)] = entry
        if manifest.get("globalDefault"):
            self._world.priorities[""] = entry
        self._world.wake()

    def delete(self, manifests: Sequence[Manifest]) -> None:
        """Delete objects and everything they own, then let the cluster settle."""
        self._fail_by_chance("delete")
        for number, manifest in enumerate(manifests):
            check_identity(manifest, f"manifests[{number}]")
            gvk, namespace, name = key = _key(manifest)
            if gvk in self._world.policies:
                self._world.policies[gvk].drop(namespace, name)
                self._world.wake()
            self._refused.pop(key, None)
            controller = self._objects.pop(key, None)
            if controller is not None:
                controller.remove()
        self._world.settle()

    def advance(self, seconds: float) -> None:
        """Let virtual time pass; everything that is due on the way happens at its own time."""
        if not 0 <= seconds < 2**40:
            raise InvalidInput(
                f"seconds must be 0 or more and below 2**40, got '{seconds}'", value=seconds
            )
        self._world.advance(round(1000 * seconds))

    def observe(self, selection: PodSelection) -> Observation:
        """Count the selected pods; if a fault strikes, return a failed observation."""
        try:
            self._fail_by_chance("observe")
        except ClusterError as error:
            return failed("timeout" if error.__dict__.get("timeout") else "error", str(error))
        return self._count(selection)

    def _count(self, selection: PodSelection) -> Observation:
        ready = pending = total = 0
        for pod in self._world.pods.values():
            if (
                pod.namespace == selection.namespace
                and pod.facts.labels.get(selection.label) == selection.value
            ):
                total += 1
                ready += pod.ready
                pending += pod.phase == PENDING
        reason = None if total else self._why_none(selection)
        return Observation(ready, pending, total, reason=reason)

    def _why_none(self, selection: PodSelection) -> str:
        """Return why there are no pods of a selection."""
        namespace, label, value = selection.namespace, selection.label, selection.value
        for (_, there, name), (manifest, why) in self._refused.items():
            if there == namespace and pod_labels(manifest).get(label) == value:
                return f"{manifest['kind']} '{name}' was refused: {why}"
        manifests = [each.original for each in self._objects.values()]
        return why_no_pods(namespace, label, value, manifests, self._refusal)

    def _refusal(self, manifest: Manifest) -> str | None:
        """Return why a workload cannot create its pods, None if it can."""
        workload = self._objects.get(_key(manifest))
        for refused in reversed(self._world.refused):
            if workload in (refused, refused.owner):
                return refused.failure
        return None

    def pods(self) -> list[dict[str, Any]]:
        """Return a row for each pod, the oldest first."""
        return [pod_row(pod) for pod in self._world.pods.values()]

    def nodes(self) -> list[dict[str, Any]]:
        """Return a row for each node."""
        return [node_row(node) for node in self._world.nodes]

    def events(self) -> list[dict[str, Any]]:
        """Return a row for each event, the oldest first."""
        return [event_row(event) for event in self._world.events]

    def _rng(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(f"{self._seed}/cluster")
        return self._random

    def _fail_by_chance(self, what: str) -> None:
        if not self._faults.in_answers:
            return
        draw = self._rng().random()
        if draw < self._faults.timeouts:
            raise ClusterError(f"{what} timed out", timeout=True)
        if draw < self._faults.timeouts + self._faults.api_errors:
            raise ClusterError(f"{what} failed: the server answered 500")

    def _created(self, pod: Pod) -> None:
        if self._lifetimes is not None:
            self._lifetimes.created(pod)

    def _start_delay(self, pod: Pod) -> int:
        if self._delays.none and not self._faults.late_pods:
            return 0
        delay = self._delays.draw(self._rng())
        if self._faults.late_pods and self._rng().random() < self._faults.late_pods:
            delay += int(1000 * self._faults.late_seconds)
        return delay

    def _lifetime(self, pod: Pod) -> int | None:
        if self._lifetimes is None:
            return None
        seconds = self._lifetimes.seconds(pod)
        return None if seconds is None else max(_SHORTEST_LIFE_MS, 1000 * seconds)


def _key(manifest: Manifest) -> _Key:
    return gvk_of(manifest), namespace_of(manifest), name_of(manifest)


def _update(controller: Controller, manifest: Manifest) -> None:
    """Pass a manifest on; raises InvalidInput for one that the API server refuses."""
    there = not isinstance(controller, BarePod) or controller.pods
    causes = object_causes(manifest, controller.original if there else {})
    late = isinstance(controller, PodOwner) and controller.late
    try:
        if causes and not late and (template := template_of(manifest)) is not None:
            facts = read_pod(template, controller.namespace, controller.world.priorities)
            causes += template_causes(manifest, facts.causes)
        check_object(manifest, causes)
        controller.update(manifest)
    except InvalidPod as error:
        check_object(manifest, template_causes(manifest, error.causes))


@contextmanager
def _naming(manifest: Manifest) -> Iterator[None]:
    """Raise InvalidInput, with the object's name, for whatever error it causes."""
    subject = f"{manifest['kind']} {full_name(manifest)}"
    try:
        yield
    except InvalidObject:
        raise
    except InvalidInput as error:
        if subject in error.message:
            raise
        data = {key: value for key, value in error.__dict__.items() if key != "message"}
        raise InvalidInput(f"invalid {subject}: {error}", **data) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"invalid {subject}: malformed manifest ({error})") from error
