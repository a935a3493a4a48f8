"""Nodes and pods: what a node offers, what its pods request, where a pod stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from simgit.errors import InvalidInput, shown
from simgit.kube.embedded.labels import Labels, Taint, parse_taints
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.quantity import byte_count, from_bytes, from_millicores, millicores

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
PLATFORM = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
VIRTUAL_STORAGE = 2**40
VIRTUAL_TAINT = Taint("kwok-provider", "true", "NoSchedule")
CORDON = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
HostPort = tuple[str, str, int]
"""(address, protocol, number)."""
PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"
"""Phases of a pod."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """The description of a node: CPU in millicores, memory and storage in bytes."""

    name: str
    cpu: int = 16_000
    memory: int = 32 * 2**30
    pods: int = 110
    storage: int = 0
    extra: Mapping[str, int] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the node as plain data, as a run records it."""
        return {
            "name": self.name,
            "cpu": from_millicores(self.cpu),
            "memory": from_bytes(self.memory),
            "pods": self.pods,
            "storage": self.storage,
            "extra": dict(self.extra),
            "labels": dict(self.labels),
            "taints": [plain_taint(taint) for taint in self.taints],
            "unschedulable": self.unschedulable,
        }


def node_spec(
    name: str,
    *,
    cpu: object = "16",
    memory: object = "32Gi",
    pods: object = 110,
    storage: object = 0,
    extra: Mapping[str, object] | None = None,
    labels: Labels | None = None,
    taints: Sequence[Any] = (),
    unschedulable: bool = False,
) -> NodeSpec:
    """Build a node from quantities and plain taints; raises InvalidInput for bad ones."""
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"invalid node: name must be a text, got {shown(name)}")
    spec = NodeSpec(
        name=name,
        cpu=millicores(cpu),
        memory=byte_count(memory),
        pods=byte_count(pods),
        storage=byte_count(storage),
        extra={key: byte_count(amount) for key, amount in (extra or {}).items()},
        labels={HOSTNAME: name, **(labels or {})},
        taints=parse_taints(taints),
        unschedulable=unschedulable,
    )
    if min(spec.cpu, spec.memory, spec.pods, spec.storage, *spec.extra.values()) < 0:
        raise InvalidInput(f"invalid node '{name}': amounts must be 0 or more")
    if not isinstance(unschedulable, bool):
        raise InvalidInput(
            f"invalid node '{name}': unschedulable must be true or false, "
            f"got {shown(unschedulable)}"
        )
    for key, value in spec.labels.items():
        if not isinstance(value, str):
            raise InvalidInput(
                f"invalid node '{name}': label '{key}' must be a text, got {shown(value)}"
            )
    for taint in spec.taints:
        if taint.effect not in EFFECTS:
            known = ", ".join(EFFECTS)
            raise InvalidInput(
                f"invalid node '{name}': the effect of taint '{taint.key}' must be one of "
                f"{known}, got {shown(taint.effect)}"
            )
    return spec


def default_nodes(count: int = 3, **parameters: Any) -> tuple[NodeSpec, ...]:
    """Return equal nodes, by default three with 16 CPU, 32Gi and 110 pods each."""
    return tuple(node_spec(f"node{i + 1}", **parameters) for i in range(count))


def virtual_nodes(count: int = 3, **parameters: Any) -> tuple[NodeSpec, ...]:
    """Return nodes as SimKube makes them: labelled virtual, tainted for the KWOK provider."""
    return tuple(_made_virtual(node) for node in default_nodes(count, **parameters))


def _made_virtual(spec: NodeSpec) -> NodeSpec:
    if "type" in spec.labels:
        return spec
    taints = tuple(taint for taint in spec.taints if taint != VIRTUAL_TAINT)
    labels = {**spec.labels, "type": "virtual"}
    return replace(spec, labels=labels, taints=(VIRTUAL_TAINT, *taints))


def as_virtual(spec: NodeSpec) -> NodeSpec:
    """Return the node as a simulation has it, with what every virtual node of SimKube has.

    What the node itself says is kept: a label ``type`` makes it another kind of node. A storage
    of 0 counts as not said. The specs that runs record stay without these additions.
    """
    given, spec, storage = spec, _made_virtual(spec), spec.storage or VIRTUAL_STORAGE
    if spec is given and spec.storage and [*spec.labels][: len(PLATFORM)] == [*PLATFORM]:
        return spec
    return replace(spec, labels={**PLATFORM, **spec.labels}, storage=storage)


def plain_taint(taint: Taint) -> dict[str, str]:
    """Return a taint as plain data."""
    return {"key": taint.key, "value": taint.value, "effect": taint.effect}


class Owned(Protocol):
    """An object that may have an owner."""

    kind: str
    namespace: str
    name: str

    @property
    def owner(self) -> Owned | None: ...


class Owner(Owned, Protocol):
    """The owner of a pod, told what happens to it: a ``controllers.controller.PodOwner``."""

    spreads: bool

    def pod_ready(self, pod: Pod) -> None: ...

    def pod_unready(self, pod: Pod) -> None: ...

    def pod_finished(self, pod: Pod) -> None: ...

    def pod_gone(self, pod: Pod) -> None: ...


class Pod:
    """A pod: identity, facts of its template, and status. Times are in milliseconds."""

    __slots__ = (
        "bound_at", "created_at", "facts", "group", "message", "name", "namespace", "node",
        "nominated", "ordinal", "overlooked", "owner", "parked_at", "phase", "queued", "ready",
        "ready_at", "rejected_by", "removed", "revision", "target", "uid",
    )  # fmt: skip

    def __init__(
        self, uid: int, name: str, namespace: str, facts: PodFacts, owner: Owner, now: int
    ) -> None:
        """Start pending and unbound; a younger pod has a greater ``uid``."""
        self.uid = uid
        self.name = name
        self.namespace = namespace
        self.facts = facts
        self.owner = owner
        self.group: object = owner
        self.created_at = now
        self.phase = PENDING
        self.ready = False
        self.ready_at = 0
        self.bound_at = 0
        self.node: Node | None = None
        self.nominated: Node | None = None
        self.message: str | None = None
        self.rejected_by: frozenset[str] = frozenset()
        self.queued = 0
        self.parked_at = 0
        self.overlooked = False
        self.ordinal = 0
        self.revision: object = None
        self.target = ""
        self.removed = False

    @property
    def finished(self) -> bool:
        """True if it has run to its end."""
        return self.phase in (SUCCEEDED, FAILED)


class Node:
    """A node in the cluster: its spec, and running sums over its pods.

    ``verdicts`` are the scheduler's, on what does not depend on the node's pods; a change of what
    they depend on clears them.
    """

    __slots__ = (
        "_taints", "_unschedulable", "anti", "avoided", "cpu", "evicts", "extra", "index", "labels",
        "memory", "name", "nominated", "owned", "pods", "ports", "ready", "score_cpu",
        "score_memory", "spec", "storage", "terms", "verdicts",
    )  # fmt: skip

    def __init__(self, spec: NodeSpec, index: int) -> None:
        """Start without pods; ``index`` is the position in the cluster's list of nodes."""
        self.spec = spec
        self.index = index
        self.name = spec.name
        self.labels = spec.labels
        self.verdicts: dict[PodFacts, Any] = {}
        self.taints = (*spec.taints, CORDON) if spec.unschedulable else spec.taints
        self.unschedulable = spec.unschedulable
        self.ready = True
        self.cpu = self.memory = self.storage = self.score_cpu = self.score_memory = 0
        self.extra: dict[str, int] = {}
        self.pods: dict[int, Pod] = {}
        self.owned: dict[object, int] = {}
        self.ports: dict[HostPort, int] = {}
        self.anti = 0
        self.terms = 0
        self.nominated: list[Pod] = []

    @property
    def taints(self) -> tuple[Taint, ...]:
        """The present taints; ``avoided`` only score, and ``evicts`` if one is NoExecute."""
        return self._taints

    @taints.setter
    def taints(self, taints: tuple[Taint, ...]) -> None:
        self._taints = taints
        effects = [taint.effect for taint in taints]
        self.evicts = "NoExecute" in effects
        self.avoided: tuple[Taint, ...] = ()
        if "PreferNoSchedule" in effects:
            self.avoided = tuple(t for t in taints if t.effect == "PreferNoSchedule")
        self.verdicts.clear()

    @property
    def unschedulable(self) -> bool:
        """True if it is cordoned."""
        return self._unschedulable

    @unschedulable.setter
    def unschedulable(self, unschedulable: bool) -> None:
        self._unschedulable = unschedulable
        self.verdicts.clear()

    def add(self, pod: Pod) -> None:
        """Add a pod and its requests."""
        self.pods[pod.uid] = pod
        self._count(pod, 1)

    def remove(self, pod: Pod) -> None:
        """Remove a pod and its requests."""
        del self.pods[pod.uid]
        self._count(pod, -1)

    def _count(self, pod: Pod, sign: int) -> None:
        facts = pod.facts
        self.cpu += sign * facts.cpu
        self.memory += sign * facts.memory
        self.score_cpu += sign * facts.score_cpu
        self.score_memory += sign * facts.score_memory
        self.owned[pod.group] = self.owned.get(pod.group, 0) + sign
        if facts.storage or facts.extra or facts.ports or facts.anti_affinity or facts.affinity:
            self._count_rare(pod, sign)
        elif facts.pod_preferences:
            self.terms += sign

    def _count_rare(self, pod: Pod, sign: int) -> None:
        facts = pod.facts
        self.storage += sign * facts.storage
        for name, amount in facts.extra:
            self.extra[name] = self.extra.get(name, 0) + sign * amount
        for port in facts.ports:
            self.ports[port] = self.ports.get(port, 0) + sign
        self.anti += sign * bool(facts.anti_affinity)
        self.terms += sign * bool(facts.affinity or facts.pod_preferences)

    def port_taken(self, wanted: HostPort) -> bool:
        """Return True if the port clashes with one of a pod here."""
        return any(count > 0 and ports_clash(wanted, other) for other, count in self.ports.items())


def ports_clash(one: HostPort, other: HostPort) -> bool:
    """Return True if two host ports clash; an unspecified address clashes with every other."""
    return one[1:] == other[1:] and (one[0] == other[0] or "0.0.0.0" in (one[0], other[0]))
