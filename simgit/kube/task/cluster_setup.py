"""The cluster of a loop: its nodes, how the simulation runs on it, and which faults strike."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from dataclasses import replace as evolve
from typing import Any, Final

from simgit.errors import InvalidInput
from simgit.kube.cluster import KubeCluster, PodSelection
from simgit.kube.embedded import EmbeddedCluster, NodeEvent, NodeSpec, PodDelays, virtual_nodes
from simgit.kube.embedded.faults import NO_FAULTS, Faults
from simgit.kube.embedded.nodes import as_virtual
from simgit.kube.live import opened
from simgit.kube.live.driver import LiveSettings
from simgit.kube.simulation import SimulationSpec, replay_seconds, simulate
from simgit.kube.task.node_setting import Nodes, NodeSetting, build, read_nodes
from simgit.kube.trace.model import Trace

_LABEL: Final = f"simgit-{secrets.token_hex(4)}"
"""What the objects of this process's replays on real clusters are labelled with: runs share it."""


@dataclass(frozen=True, slots=True)
class ClusterSetup:
    """The cluster that traces are replayed on.

    Equal setups, traces and seeds give equal clusters, unless it is a real one (``live``), which
    has nodes and faults of its own.
    """

    nodes: tuple[NodeSpec, ...] = field(default_factory=virtual_nodes)
    simulation: SimulationSpec = field(default_factory=SimulationSpec)
    faults: Faults = NO_FAULTS
    node_events: tuple[NodeEvent, ...] = ()
    live: LiveSettings | None = None
    _simulated: tuple[NodeSpec, ...] = field(init=False, repr=False, compare=False)
    """The nodes as every replay has them; runs record the others."""

    def __post_init__(self) -> None:
        """Prepare the nodes once for all replays."""
        object.__setattr__(self, "_simulated", tuple(map(as_virtual, self.nodes)))

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
        """Replay a trace from an empty embedded cluster; ``number`` counts replays with one seed.

        Ties between nodes are broken alike in all of them. Raises ClusterError if a fault strikes,
        and for a real cluster, on which nothing is replayed to be looked at again.
        """
        if self.live is not None:
            raise InvalidInput("a live cluster was not kept: it is not re-executed")
        drawn = seed + number if self.random else seed
        return simulate(
            trace,
            self.simulation,
            nodes=self._simulated,
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

    @contextmanager
    def settled(
        self, trace: Trace, seed: int, number: int, selection: PodSelection
    ) -> Iterator[KubeCluster]:
        """Replay a trace from an empty cluster, and give the cluster when it has settled.

        A real one is emptied after the block; hooks are run around both. Raises ClusterError, see
        ``replay`` and ``ClusterDriver.replay``.
        """
        if self.live is None:
            yield self.replay(trace, seed, number)
            return
        driver = opened.driver(self.live)
        around = opened.hooks().around({"SIMGIT_LABEL": _LABEL, "SIMGIT_STEP": str(number)})
        with around, driver.replay(trace, self.simulation, selection, label=_LABEL) as cluster:
            yield cluster

    def facts(self) -> dict[str, Any]:
        """Return the facts of a real cluster, none of the embedded one: ``ClusterDriver.facts``."""
        return {} if self.live is None else opened.facts(self.live)

    def close(self) -> None:
        """Close the connections to a real cluster."""
        if self.live is not None:
            opened.close(self.live)

    def plain(self) -> dict[str, Any]:
        """Return the setup as data that JSON can hold; ``cluster_setup`` reads it."""
        simulation = asdict(self.simulation)
        if self.live is not None:
            return {"simulation": simulation, "cluster": self.live.plain()}
        faults = asdict(self.faults) | {"lost_nodes": dict(self.faults.lost_nodes)}
        nodes = NodeSetting(self.nodes, self.node_events).plain()
        return {"nodes": nodes, "simulation": simulation, "faults": faults}


def cluster_setup(
    nodes: Nodes = None,
    simulation: Mapping[str, Any] | None = None,
    faults: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> ClusterSetup:
    """Build a setup from plain data.

    Args:
        nodes: how many virtual nodes of 16 CPU, 32Gi and 110 pods (None: three), each one's
            fields as ``node_spec`` takes them, or a map of ``nodes`` and ``events``; see
            ``read_nodes``.
        simulation: fields of Simulation; ``delays`` with the fields of PodDelays.
        faults: fields of Faults.
        cluster: fields of LiveSettings, for a real cluster; None for the embedded one.

    Raises:
        InvalidInput: a field is unknown or has a bad value, or a real cluster has no such setting.
    """
    fields = dict(simulation or {})
    if isinstance(fields.get("delays"), Mapping):
        fields["delays"] = build(PodDelays, "pod delays", fields["delays"])
    simulated = build(SimulationSpec, "simulation", fields)
    if cluster is not None:
        return _live(cluster, simulated, nodes is not None, bool(faults))
    setting = read_nodes(nodes)
    return ClusterSetup(
        setting.nodes, simulated, build(Faults, "faults", faults or {}), setting.events
    )


def _live(
    cluster: Mapping[str, Any], simulation: SimulationSpec, has_nodes: bool, has_faults: bool
) -> ClusterSetup:
    if not isinstance(cluster, Mapping):
        raise InvalidInput(f"cluster must be a map of settings, got '{str(cluster)[:40]}'")
    for name, given in (("nodes", has_nodes), ("faults", has_faults)):
        if given:
            raise InvalidInput(f"{name} are of the embedded cluster: a live one has its own")
    live = LiveSettings.of(dict(cluster))
    for name, default, value in (
        ("speed", 1.0, live.speed), ("prefix", "virtual", live.virtual_prefix),
    ):  # fmt: skip
        given = getattr(simulation, name)
        if given not in (default, value):
            raise InvalidInput(
                f"simulation.{name} is '{given}', but the live cluster's is '{value}': set the "
                "cluster's only"
            )
    simulation = evolve(simulation, speed=live.speed, prefix=live.virtual_prefix)
    return ClusterSetup(simulation=simulation, live=live)
