"""The occupancy of a cluster's nodes, over the time of a trace or over recorded steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from simgit.analysis.recorded_clusters import recorded
from simgit.errors import ClusterError
from simgit.history.state import State
from simgit.history.trajectory import Trajectory
from simgit.kube.cluster import KubeCluster
from simgit.kube.embedded import NodeEvent, NodeSpec
from simgit.kube.manifest import Manifest
from simgit.kube.quantity import parse_quantity
from simgit.kube.simulation import embedded_for, replay
from simgit.kube.trace.model import Trace
from simgit.plot import Usage
from simgit.repository import Repository

SAMPLES: Final = 240
_RESOURCES: Final = {"CPU": "cpu", "memory": "memory"}


@dataclass(frozen=True)
class ClusterSample:
    """A cluster at one time: the requested shares of each node, and counts of pods."""

    time: float
    shares: dict[str, dict[str, float]]
    ready: float
    pending: float


def sample(cluster: KubeCluster, time: float) -> ClusterSample:
    """Sample a cluster; nodes without a resource count as empty."""
    pods = cluster.pods()
    return ClusterSample(
        time,
        {node["name"]: {r: _share(node, key) for r, key in _RESOURCES.items()}
         for node in cluster.nodes()},
        sum(bool(pod["ready"]) for pod in pods),
        sum(pod["phase"] == "Pending" for pod in pods),
    )  # fmt: skip


def _share(node: dict[str, Any], resource: str) -> float:
    offered = parse_quantity(node[resource])
    used = parse_quantity(node["used"][resource])
    return used.milli / offered.milli if offered.milli else 0.0


def unseen(time: float) -> ClusterSample:
    """Return the sample of a cluster that could not be observed."""
    return ClusterSample(time, {}, np.nan, np.nan)


def usage(samples: Sequence[ClusterSample]) -> Usage:
    """Join samples; the shares of an absent node are NaN."""
    names = list(dict.fromkeys(name for each in samples for name in each.shares))
    empty = dict.fromkeys(_RESOURCES, np.nan)
    used = {
        resource: np.array(
            [[each.shares.get(name, empty)[resource] for each in samples] for name in names]
        )
        for resource in _RESOURCES
    }
    counts = np.array([(each.ready, each.pending) for each in samples], np.float64)
    times = np.array([each.time for each in samples])
    return Usage(times, names, used, counts[:, 0], counts[:, 1])


def trace_usage(
    trace: Trace,
    nodes: Sequence[NodeSpec] | None = None,
    *,
    node_events: Sequence[NodeEvent] = (),
    seed: int = 0,
) -> Usage:
    """Replay a trace on the embedded cluster, and sample it over time from its first event on."""
    cluster = embedded_for(trace, nodes=nodes, node_events=node_events, seed=seed)
    watched = _Watched(cluster, max(1, trace.seconds // SAMPLES))
    replay(trace, watched)
    watched.look()
    return usage(list(watched.samples.values()))


def loop_usage(repo: Repository, trajectory: Trajectory) -> Usage:
    """Return the occupancy of the cluster of each recorded SimKube state, over steps.

    Raises:
        InvalidInput: the states were not recorded from SimKube.
    """
    return usage([_recorded_sample(repo, state) for state in trajectory])


def _recorded_sample(repo: Repository, state: State) -> ClusterSample:
    found = recorded(repo, state.oid)
    try:
        return sample(found.cluster(), float(state.step))
    except ClusterError:
        return unseen(float(state.step))


class _Watched:
    """A cluster that is sampled at an interval of seconds while time passes."""

    def __init__(self, cluster: KubeCluster, every: int) -> None:
        self._cluster = cluster
        self._every = every
        self._start = cluster.now
        self.samples: dict[float, ClusterSample] = {}

    def look(self) -> None:
        time = self._cluster.now - self._start
        self.samples[time] = sample(self._cluster, time)

    def advance(self, seconds: float) -> None:
        left = seconds
        while left > 0:
            self.look()
            self._cluster.advance(min(self._every, left))
            left -= self._every

    def apply(self, manifests: Sequence[Manifest]) -> None:
        self._cluster.apply(manifests)

    def delete(self, manifests: Sequence[Manifest]) -> None:
        self._cluster.delete(manifests)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)
