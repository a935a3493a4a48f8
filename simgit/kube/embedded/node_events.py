"""Changes of a cluster's nodes while it runs: join, leave, cordon, uncordon, drain.

Reasons and messages of events are those of the node lifecycle controller, the kubelet, the eviction
API and the pod garbage collector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from simgit.errors import InvalidInput, did_you_mean
from simgit.kube.embedded.nodes import CORDON, Node, NodeSpec, Pod
from simgit.kube.embedded.scheduler.queueing_hints import (
    helps_when_node_joined,
    helps_when_node_left,
    helps_when_node_updated,
)
from simgit.kube.embedded.world import World

ACTIONS: Final = ("join", "leave", "cordon", "uncordon", "drain")
_QUARANTINE: Final = 40
"""Seconds from a node's end until its pods are collected, as in PodGC, but without its rounds."""
_RETRY_MS: Final = 5000
"""The time after which ``kubectl drain`` tries a refused eviction again."""


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """A change of a cluster's nodes; ``at`` is in seconds of the cluster from its start.

    ``action`` is one of ``ACTIONS``; ``spec`` describes the node that joins.
    """

    at: float
    action: str
    name: str
    spec: NodeSpec | None = None

    def plain(self) -> dict[str, Any]:
        """Return the event as plain data, as a run records it."""
        return {"at": self.at, self.action: self.name if self.spec is None else self.spec.plain()}


def in_order(events: Iterable[NodeEvent]) -> list[tuple[int, NodeEvent]]:
    """Return (number, event) in the order in which they happen: by time, then by number."""
    return sorted(enumerate(events), key=lambda each: each[1].at)


def nodes_at(specs: Iterable[NodeSpec], events: Iterable[NodeEvent], at: float) -> list[str]:
    """Return the names of the nodes that are there at a time, after its events."""
    there = {spec.name: None for spec in specs}
    for _, event in in_order(events):
        if event.at <= at and event.action == "join":
            there[event.name] = None
        elif event.at <= at and event.action == "leave":
            there.pop(event.name, None)
    return list(there)


def check_nodes(specs: Sequence[NodeSpec], events: Sequence[NodeEvent] = ()) -> None:
    """Raise InvalidInput for two nodes of one name, or an event that cannot happen.

    ``path`` on the error is the place of the event, such as ``events[3].leave``.
    """
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"two nodes are named '{twice}'", value=names)
    there: dict[str, None] = dict.fromkeys(names)
    left: dict[str, float] = {}
    for number, event in in_order(events):
        why = _fault(event, there, left)
        if why is not None:
            place = f"events[{number}].{event.action}"
            raise InvalidInput(f"{why} at '{place}'", path=place)
        if event.action == "join":
            there[event.name] = None
        elif event.action == "leave":
            del there[event.name]
            left[event.name] = event.at


def _fault(event: NodeEvent, there: Iterable[str], left: dict[str, float]) -> str | None:
    """Return why an event cannot happen, None if it can."""
    name, when = event.name, f"{event.at:g} s"
    if event.action != "join":
        return None if name in there else f"no node '{name}' at {when}{did_you_mean(name, there)}"
    if name in there:
        return f"node '{name}' is there already at {when}"
    if name in left and event.at < left[name] + _QUARANTINE:
        return (
            f"node '{name}' left at {left[name]:g} s and its pods are not collected before "
            f"{left[name] + _QUARANTINE:g} s; let it join then, or under another name"
        )
    return None


class NodeLifecycle:
    """The execution of node events in a world, at their times."""

    def __init__(
        self,
        world: World,
        eviction_refusal: Callable[[Pod], str | None],
        changed: Callable[[], None],
    ) -> None:
        """Act on a world; ``eviction_refusal`` says why a pod may not be evicted now, None if so.

        ``changed`` is called after each event.
        """
        self._world = world
        self._eviction_refusal = eviction_refusal
        self._changed = changed
        self._made = len(world.nodes)

    def plan(self, events: Iterable[NodeEvent]) -> None:
        """Plan events, whose times count from now; ``check_nodes`` has to accept them."""
        clock = self._world.clock
        for _, event in in_order(events):
            clock.at(clock.now + round(1000 * event.at), partial(self._happen, event))

    def _happen(self, event: NodeEvent) -> None:
        if event.spec is not None:
            self._join(event.spec)
        else:
            act = {
                "leave": self._leave,
                "cordon": self._cordon,
                "uncordon": self._uncordon,
                "drain": self._drain,
            }
            act[event.action](next(n for n in self._world.nodes if n.name == event.name))
        self._changed()

    def _log(self, node: Node, reason: str, message: str) -> None:
        self._world.log("Node", "", node.name, reason, f"Node {node.name} {message}")

    def _join(self, spec: NodeSpec) -> None:
        node = Node(spec, self._made)
        self._made += 1
        self._world.nodes.append(node)
        self._log(node, "RegisteredNode", f"event: Registered Node {node.name} in Controller")
        self._log(node, "NodeReady", "status is now: NodeReady")
        self._world.scheduler.nodes_changed(lambda pod: helps_when_node_joined(pod, node))
        for pod in list(self._world.pods.values()):
            if pod.facts.node_name == node.name and pod.node is None:
                self._world.scheduler.place_on(pod, node)

    def _leave(self, node: Node) -> None:
        node.ready = False  # nothing becomes ready or ends there any more
        self._world.nodes.remove(node)
        self._log(node, "RemovingNode", f"event: Removing Node {node.name} from Controller")
        self._world.scheduler.nodes_changed(lambda pod: helps_when_node_left(pod, node))
        due = self._world.clock.now + 1000 * _QUARANTINE
        self._world.clock.at(due, partial(self._collect, node))

    def _collect(self, node: Node) -> None:
        for pod in list(self._pods_of(node)):
            self._world.delete_pod(pod, "DeletionByPodGC", "PodGC: node no longer exists")

    def _pods_of(self, node: Node) -> Iterator[Pod]:
        """Return the pods that were placed on a node, those that ended included."""
        return (pod for pod in self._world.pods.values() if pod.node is node)

    def _cordon(self, node: Node) -> None:
        if not node.unschedulable:
            self._log(node, "NodeNotSchedulable", "status is now: NodeNotSchedulable")
            self._set_schedulable(node, False)

    def _uncordon(self, node: Node) -> None:
        if node.unschedulable:
            self._log(node, "NodeSchedulable", "status is now: NodeSchedulable")
            self._set_schedulable(node, True)

    def _set_schedulable(self, node: Node, schedulable: bool) -> None:
        before = node.taints
        others = tuple(taint for taint in before if taint != CORDON)
        node.unschedulable = not schedulable
        node.taints = others if schedulable else (*others, CORDON)
        self._world.scheduler.nodes_changed(lambda pod: helps_when_node_updated(pod, node, before))

    def _drain(self, node: Node) -> None:
        self._cordon(node)
        self._evict([pod for pod in self._pods_of(node) if pod.owner.kind != "DaemonSet"], {})

    def _evict(self, pods: Iterable[Pod], told: Mapping[Pod, str]) -> None:
        """Evict pods, and try those again that may not be evicted now."""
        refused: dict[Pod, str] = {}
        for pod in pods:
            why = None if pod.removed else self._eviction_refusal(pod)
            if why is None:
                self._world.delete_pod(pod, "EvictionByEvictionAPI", "Eviction API: evicting")
            else:
                refused[pod] = why
        for pod, why in refused.items():
            if told.get(pod) != why:
                self._world.log("Pod", pod.namespace, pod.name, "TooManyRequests", why)
        if refused:
            again = partial(self._evict, refused, refused)
            self._world.clock.at(self._world.clock.now + _RETRY_MS, again)
