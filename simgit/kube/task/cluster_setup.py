"""The cluster of a loop: its nodes, how the simulation runs on it, and which faults strike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from simgit.kube.embedded import EmbeddedCluster, NodeEvent, NodeSpec, PodDelays, virtual_nodes
from simgit.kube.embedded.faults import NO_FAULTS, Faults
from simgit.kube.simulation import Simulation, replay_seconds, simulate
from simgit.kube.task.node_setting import Nodes, NodeSetting, build, read_nodes
from simgit.kube.trace.model import Trace


@dataclass(frozen=True, slots=True)
class ClusterSetup:
    """The cluster that traces are replayed on.

    Equal setups, traces and seeds give equal clusters.
    """

    nodes: tuple[NodeSpec, ...] = field(default_factory=virtual_nodes)
    simulation: Simulation = field(default_factory=Simulation)
    faults: Faults = NO_FAULTS
    node_events: tuple[NodeEvent, ...] = ()

    @property
    def random(self) -> bool:
        """True if delays or faults are drawn anew in each replay."""
        delays = self.simulation.delays
        jitter = delays.create_jitter is not None or delays.ready_jitter is not None
        return jitter or self.faults.in_answers or bool(self.faults.late_pods)

    @property
    def node_names(self) -> list[str]:
        """The names of all nodes that are there at some time."""
        joined = (event.name for event in self.node_events if event.spec is not None)
        return list(dict.fromkeys([*(node.name for node in self.nodes), *joined]))

    def replay(self, trace: Trace, seed: int, number: int) -> EmbeddedCluster:
        """Replay a trace from an empty cluster; ``number`` counts the replays with one seed.

        Ties between nodes are broken alike in all of them. Raises ClusterError if a fault strikes.
        """
        drawn = seed + number if self.random else seed
        return simulate(
            trace,
            self.simulation,
            nodes=self.nodes,
            node_events=self.node_events,
            seed=drawn,
            faults=self.faults,
        )

    def late_events(self, trace: Trace) -> list[str]:
        """Return a line for each node event that never happens, since the trace ends before it."""
        end = replay_seconds(trace, self.simulation)
        return [
            f"node event '{event.action} {event.name}' at {event.at:g} s never happens: "
            f"the simulation ends at {end} s"
            for event in self.node_events
            if event.at > end
        ]

    def plain(self) -> dict[str, Any]:
        """Return the setup as data that JSON can hold; ``cluster_setup`` reads it."""
        simulation = asdict(self.simulation)
        faults = asdict(self.faults) | {"lost_nodes": dict(self.faults.lost_nodes)}
        nodes = NodeSetting(self.nodes, self.node_events).plain()
        return {"nodes": nodes, "simulation": simulation, "faults": faults}


def cluster_setup(
    nodes: Nodes = None,
    simulation: Mapping[str, Any] | None = None,
    faults: Mapping[str, Any] | None = None,
) -> ClusterSetup:
    """Build a setup from plain data.

    Args:
        nodes: how many virtual nodes of 16 CPU, 32Gi and 110 pods (None: three), each one's
            fields as ``node_spec`` takes them, or a map of ``nodes`` and ``events``; see
            ``read_nodes``.
        simulation: fields of Simulation; ``delays`` with the fields of PodDelays.
        faults: fields of Faults.

    Raises:
        InvalidInput: a field is unknown or has a bad value.
    """
    fields = dict(simulation or {})
    if isinstance(fields.get("delays"), Mapping):
        fields["delays"] = build(PodDelays, "pod delays", fields["delays"])
    setting = read_nodes(nodes)
    return ClusterSetup(
        setting.nodes,
        build(Simulation, "simulation", fields),
        build(Faults, "faults", faults or {}),
        setting.events,
    )
