"""The cluster of a loop: its nodes, how the simulation runs on it, and which faults strike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from inspect import signature
from typing import Any, TypeVar

from simgit.errors import InvalidInput, did_you_mean
from simgit.kube.embedded import EmbeddedCluster, NodeSpec, PodDelays, node_spec, virtual_nodes
from simgit.kube.embedded.faults import NO_FAULTS, Faults
from simgit.kube.simulation import Simulation, simulate
from simgit.kube.trace.model import Trace

Nodes = int | Sequence[NodeSpec | Mapping[str, Any]] | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClusterSetup:
    """The cluster that traces are replayed on.

    Equal setups, traces and seeds give equal clusters.
    """

    nodes: tuple[NodeSpec, ...] = field(default_factory=virtual_nodes)
    simulation: Simulation = field(default_factory=Simulation)
    faults: Faults = NO_FAULTS

    @property
    def random(self) -> bool:
        """True if delays or faults are drawn anew in each replay."""
        delays = self.simulation.delays
        jitter = delays.create_jitter is not None or delays.ready_jitter is not None
        return jitter or self.faults.in_answers or bool(self.faults.late_pods)

    def replay(self, trace: Trace, seed: int, number: int) -> EmbeddedCluster:
        """Replay a trace from an empty cluster; ``number`` counts the replays with one seed.

        Ties between nodes are broken alike in all of them. Raises ClusterError if a fault strikes.
        """
        drawn = seed + number if self.random else seed
        return simulate(trace, self.simulation, nodes=self.nodes, seed=drawn, faults=self.faults)

    def plain(self) -> dict[str, Any]:
        """Return the setup as data that JSON can hold; ``cluster_setup`` reads it."""
        simulation = asdict(self.simulation)
        faults = asdict(self.faults) | {"lost_nodes": dict(self.faults.lost_nodes)}
        nodes = [node.plain() for node in self.nodes]
        return {"nodes": nodes, "simulation": simulation, "faults": faults}


def cluster_setup(
    nodes: Nodes = None,
    simulation: Mapping[str, Any] | None = None,
    faults: Mapping[str, Any] | None = None,
) -> ClusterSetup:
    """Build a setup from plain data.

    Args:
        nodes: how many virtual nodes of 16 CPU, 32Gi and 110 pods (None: three), or each one's
            fields as ``node_spec`` takes them.
        simulation: fields of Simulation; ``delays`` with the fields of PodDelays.
        faults: fields of Faults.

    Raises:
        InvalidInput: a field is unknown or has a bad value.
    """
    fields = dict(simulation or {})
    if isinstance(fields.get("delays"), Mapping):
        fields["delays"] = _build(PodDelays, "pod delays", fields["delays"])
    return ClusterSetup(
        _nodes(nodes),
        _build(Simulation, "simulation", fields),
        _build(Faults, "faults", faults or {}),
    )


def _nodes(nodes: Nodes) -> tuple[NodeSpec, ...]:
    if nodes is None or isinstance(nodes, int):
        count = 3 if nodes is None else nodes
        if isinstance(nodes, bool) or not 0 < count <= 10_000:
            raise InvalidInput(f"nodes must be in 1..10000, got '{nodes}'", value=nodes)
        return virtual_nodes(count)
    specs = [n if isinstance(n, NodeSpec) else _build(node_spec, "node", n) for n in nodes]
    if not specs:
        raise InvalidInput("a cluster needs at least one node")
    return tuple(specs)


def _build(make: Callable[..., T], what: str, fields: Any) -> T:
    if not isinstance(fields, Mapping):
        raise InvalidInput(f"invalid {what}: expected a map of fields, got '{str(fields)[:40]}'")
    known = list(signature(make).parameters)
    for name in fields:
        if name not in known:
            near = did_you_mean(str(name), known)
            raise InvalidInput(f"invalid {what}: unknown field '{name}'{near}")
    try:
        return make(**fields)
    except (TypeError, AttributeError) as error:
        raise InvalidInput(f"invalid {what}: {str(error).rpartition('() ')[2]}") from None
