"""The replay of a trace on a cluster, as SimKube's driver does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as evolve
from itertools import pairwise
from typing import Any

from simgit.errors import InvalidInput
from simgit.kube.cluster import KubeCluster, PodSelection
from simgit.kube.embedded import EmbeddedCluster, NodeEvent, NodeSpec, PodDelays, virtual_nodes
from simgit.kube.embedded.faults import NO_FAULTS, Faults
from simgit.kube.embedded.nodes import as_virtual
from simgit.kube.manifest import (
    TEMPLATE_PATHS,
    Manifest,
    check_identity,
    gvk_of,
    lookup,
    namespace_of,
    replace,
)
from simgit.kube.recorded_lifetimes import RecordedLifetimes
from simgit.kube.trace.edit import cut
from simgit.kube.trace.model import Event, Trace

VIRTUAL_LABEL = "simkube.io/virtual"
SIMULATION_LABEL = "simkube.io/simulation"
_TOLERATION = {"key": "kwok-provider", "operator": "Exists", "effect": "NoSchedule"}

AfterEvent = Callable[[int, Event], None]


@dataclass(frozen=True, slots=True)
class SimulationSpec:
    """The parameters of a Simulation resource that affect its outcome.

    ``duration`` is in seconds of the trace (None: all of it). ``linger`` is in seconds of the
    cluster: the time that passes after the last event, so that slow pods become ready.
    """

    name: str = "simulation"
    speed: float = 1.0
    duration: int | None = None
    prefix: str = "virtual"
    delays: PodDelays = field(default_factory=PodDelays)
    linger: int = 0

    def __post_init__(self) -> None:
        """Raise InvalidInput for a speed that is not above 0, or a negative linger."""
        if not 0 < self.speed < 1e9:
            raise InvalidInput(f"speed must be above 0 and below 1e9, got '{self.speed}'")
        if self.linger < 0:
            raise InvalidInput(f"linger must be 0 seconds or more, got '{self.linger}'")

    def namespace(self, original: str) -> str:
        """Return the virtual namespace for the objects of a recorded one."""
        return f"{self.prefix}-{original}"

    def selection(self, namespace: str, app: str) -> PodSelection:
        """Select the pods labelled ``app`` of a recorded namespace."""
        return PodSelection(self.namespace(namespace), app)


DEFAULT = SimulationSpec()


def virtual_object(manifest: Manifest, simulation: SimulationSpec) -> Manifest:
    """Return the object as the driver applies it: in a virtual namespace, for virtual nodes."""
    check_identity(manifest, "object")
    labels = {
        **_map(manifest["metadata"].get("labels"), "labels"),
        VIRTUAL_LABEL: "true",
        SIMULATION_LABEL: simulation.name,
    }
    namespace = simulation.namespace(namespace_of(manifest))
    metadata = {**manifest["metadata"], "namespace": namespace, "labels": labels}
    placed = {**manifest, "metadata": metadata}
    path = TEMPLATE_PATHS.get(gvk_of(manifest))
    template = None if path is None else lookup(placed, path)
    if path is None or not isinstance(template, Mapping):
        return placed
    changed: Manifest = replace(placed, path, _virtual_template(template, simulation.name))
    return changed


def _virtual_template(template: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    metadata = _map(template.get("metadata"), "metadata")
    spec = _map(template.get("spec"), "spec")
    labels = {**_map(metadata.get("labels"), "labels"), SIMULATION_LABEL: name}
    return {
        **template,
        "metadata": {**metadata, "labels": labels},
        "spec": {
            **spec,
            "nodeSelector": {**_map(spec.get("nodeSelector"), "nodeSelector"), "type": "virtual"},
            "tolerations": (*_list(spec.get("tolerations"), "tolerations"), _TOLERATION),
            "containers": _without_ports(_list(spec.get("containers"), "containers")),
        },
    }


def _without_ports(containers: Sequence[Any]) -> Sequence[Any]:
    """Return the containers without their ports, which the driver drops: nothing really runs."""
    if not any(isinstance(c, Mapping) and "ports" in c for c in containers):
        return containers
    return tuple(
        {k: v for k, v in c.items() if k != "ports"} if isinstance(c, Mapping) else c
        for c in containers
    )


def _map(value: Any, what: str) -> Mapping[str, Any]:
    if value is None or isinstance(value, Mapping):
        return value or {}
    raise InvalidInput(f"{what} must be a map, got '{str(value)[:40]}'", path=what)


def _list(value: Any, what: str) -> Sequence[Any]:
    if value is None or isinstance(value, (list, tuple)):
        return value or ()
    raise InvalidInput(f"{what} must be a list, got '{str(value)[:40]}'", path=what)


def replay(
    trace: Trace,
    cluster: KubeCluster,
    simulation: SimulationSpec = DEFAULT,
    after: AfterEvent | None = None,
) -> None:
    """Apply the events in order, and let whole seconds pass between them.

    ``after(number, event)`` is called after each event.
    """
    before: Event | None = None
    for number, event in enumerate(_events(trace, simulation)):
        if before is not None:
            cluster.advance(_gap(before, event, simulation))
        if event.applied:
            cluster.apply([virtual_object(manifest, simulation) for manifest in event.applied])
        if event.deleted:
            cluster.delete([virtual_object(manifest, simulation) for manifest in event.deleted])
        if after is not None:
            after(number, event)
        before = event
    cluster.advance(simulation.linger)


def _events(trace: Trace, simulation: SimulationSpec) -> Sequence[Event]:
    if simulation.duration is not None:
        trace = cut(trace, simulation.duration)
    return trace.events


def _gap(before: Event, event: Event, simulation: SimulationSpec) -> int:
    """Return the whole seconds of the cluster between two events."""
    return int(max(0, event.ts - before.ts) / simulation.speed)


def replay_seconds(trace: Trace, simulation: SimulationSpec = DEFAULT) -> int:
    """Return the seconds of the cluster that a replay takes, from its start to its end."""
    pairs = pairwise(_events(trace, simulation))
    return sum(_gap(*pair, simulation) for pair in pairs) + simulation.linger


def simulate(
    trace: Trace,
    simulation: SimulationSpec = DEFAULT,
    *,
    nodes: Sequence[NodeSpec] | None = None,
    node_events: Sequence[NodeEvent] = (),
    seed: int = 0,
    faults: Faults = NO_FAULTS,
    priority_classes: dict[str, int] | None = None,
    after: Callable[[EmbeddedCluster, int, Event], None] | None = None,
) -> EmbeddedCluster:
    """Replay a trace on an empty embedded cluster, and return the cluster afterwards."""
    cluster = embedded_for(
        trace,
        simulation,
        nodes=nodes,
        node_events=node_events,
        seed=seed,
        faults=faults,
        priority_classes=priority_classes,
    )
    told = None if after is None else (lambda number, event: after(cluster, number, event))
    replay(trace, cluster, simulation, told)
    return cluster


def embedded_for(
    trace: Trace,
    simulation: SimulationSpec = DEFAULT,
    *,
    nodes: Sequence[NodeSpec] | None = None,
    node_events: Sequence[NodeEvent] = (),
    seed: int = 0,
    faults: Faults = NO_FAULTS,
    priority_classes: dict[str, int] | None = None,
) -> EmbeddedCluster:
    """Return an empty embedded cluster for the replay of a trace.

    Its nodes are virtual ones unless their label ``type`` says otherwise: the driver's pods select
    ``type=virtual``.
    """
    lifetimes = None
    if trace.lifecycles:
        lifetimes = RecordedLifetimes(trace, f"{simulation.prefix}-", simulation.speed)
    return EmbeddedCluster(
        [as_virtual(node) for node in (virtual_nodes() if nodes is None else nodes)],
        node_events=[
            each if each.spec is None else evolve(each, spec=as_virtual(each.spec))
            for each in node_events
        ],
        seed=seed,
        start=trace.start,
        delays=simulation.delays,
        lifetimes=lifetimes,
        faults=faults,
        priority_classes=priority_classes,
    )
