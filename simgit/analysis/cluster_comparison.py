"""The comparison of the embedded cluster with a live one, on the trace of a recorded state.

Pods are compared by group: those of a workload with the same requests. Their names and nodes are
not: a scheduler breaks ties as it likes. Of a message the reason counts, not the sentences after
it, which releases word in their own ways.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as evolve
from typing import Any

from simgit.analysis.recorded_clusters import Recorded
from simgit.errors import ClusterError
from simgit.kube.embedded import NodeSpec, node_spec
from simgit.kube.live import opened
from simgit.kube.live.driver import LiveSettings
from simgit.kube.live.nodes import spec_of, virtual
from simgit.kube.observation import Observation
from simgit.kube.task.cluster_setup import ClusterSetup
from simgit.kube.task.task import selection

Row = Mapping[str, Any]
Outcomes = Counter[str]


@dataclass(frozen=True, slots=True)
class PodGroup:
    """The pods of a workload with the same requests: how many came to what, on each cluster."""

    namespace: str
    workload: str
    cpu: str
    memory: str
    embedded: Outcomes
    live: Outcomes

    @property
    def agrees(self) -> bool:
        """True if both clusters came to the same."""
        return self.embedded == self.live

    def plain(self) -> dict[str, Any]:
        """Return the group as data for JSON."""
        return {
            "namespace": self.namespace, "workload": self.workload, "cpu": self.cpu,
            "memory": self.memory, "embedded": dict(self.embedded), "live": dict(self.live),
            "agrees": self.agrees,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClusterComparison:
    """What the embedded cluster and a live one make of a state's trace.

    ``recorded`` is the observation of the state. ``live`` is None if nothing was replayed live;
    then there are no groups. ``same_nodes`` is False if the state was recorded with other nodes
    than those that both clusters had here.
    """

    recorded: Observation
    embedded: Observation
    live: Observation | None
    groups: Sequence[PodGroup]
    same_nodes: bool = True

    @property
    def agrees(self) -> bool:
        """True if nothing differs."""
        if self.live is None:
            return self.embedded == self.recorded
        same = self.live == self.embedded and all(each.agrees for each in self.groups)
        return same and (not self.same_nodes or self.recorded == self.embedded)

    def plain(self) -> dict[str, Any]:
        """Return the comparison as data for JSON."""
        return {
            "recorded": self.recorded.plain(), "embedded": self.embedded.plain(),
            "live": None if self.live is None else self.live.plain(),
            "same_nodes": self.same_nodes, "groups": [each.plain() for each in self.groups],
            "agrees": self.agrees,
        }  # fmt: skip


def compare_recorded(recorded: Recorded, facts: Mapping[str, Any]) -> ClusterComparison:
    """Compare a state's recorded counts with the embedded cluster; ``facts`` are of its cluster."""
    nodes = [_node(each) for each in facts.get("nodes") or ()]
    setup = evolve(recorded.setup, live=None, nodes=tuple(nodes) or recorded.setup.nodes)
    embedded = setup.replay(recorded.observed, recorded.seed, recorded.replay)
    chosen = selection(recorded.observed, recorded.task.find(recorded.observed), setup.simulation)
    return ClusterComparison(recorded.observation, embedded.observe(chosen), None, ())


def compare_live(recorded: Recorded, settings: LiveSettings) -> ClusterComparison:
    """Replay a state's trace on both clusters, the embedded one with the live one's nodes.

    Raises:
        ClusterError, NotFound: the live cluster cannot be used, or not be observed.
    """
    simulation = evolve(
        recorded.setup.simulation, speed=settings.speed, prefix=settings.virtual_prefix
    )
    live = ClusterSetup(simulation=simulation, live=settings)
    trace = recorded.observed
    chosen = selection(trace, recorded.task.find(trace), simulation)
    try:
        with opened.permitted(settings.context) as api:
            nodes = tuple(spec_of(node) for node in virtual(api))
        with live.settled(trace, recorded.seed, 0, chosen) as cluster:
            seen, rows = cluster.observe(chosen), cluster.pods()
    finally:
        live.close()
    if not seen.valid:
        raise ClusterError(f"no observation: {seen.error}")
    if not nodes:
        raise ClusterError("no virtual nodes (labelled type=virtual): simgit kube nodes create")
    embedded = ClusterSetup(nodes, simulation).replay(trace, recorded.seed, recorded.replay)
    was = recorded.setup
    return ClusterComparison(
        recorded.observation, embedded.observe(chosen), seen, _groups(embedded.pods(), rows),
        was.live is not None or _sizes(was.nodes) == _sizes(nodes),
    )  # fmt: skip


def _node(plain: Mapping[str, Any]) -> NodeSpec:
    known = ("name", "cpu", "memory", "pods", "labels", "taints", "unschedulable", "extra")
    return node_spec(**{name: plain[name] for name in known if name in plain})


def _sizes(nodes: Sequence[NodeSpec]) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(str(node.plain()[name]) for name in ("cpu", "memory", "pods")) for node in nodes
    )


def _groups(embedded: Sequence[Row], live: Sequence[Row]) -> list[PodGroup]:
    keys = dict.fromkeys(map(_key, (*embedded, *live)))
    return [PodGroup(*key, _outcomes(embedded, key), _outcomes(live, key)) for key in sorted(keys)]


def _key(pod: Row) -> tuple[str, str, str, str]:
    kind, _, name = str(pod["owner"]).partition("/")
    if kind == "ReplicaSet":  # of a Deployment, whose hash differs
        name = name.rpartition("-")[0] or name
    return pod["namespace"], name, pod["cpu"], pod["memory"]


def _outcomes(pods: Sequence[Row], key: tuple[str, str, str, str]) -> Outcomes:
    return Counter(_outcome(pod) for pod in pods if _key(pod) == key)


def _outcome(pod: Row) -> str:
    if pod["ready"]:
        return "ready"
    phase = str(pod["phase"]).lower()
    return f"{phase}: {_reason(pod['message'])}" if pod["message"] else phase


def _reason(message: str) -> str:
    """Return the first sentence of a scheduler's message."""
    return message.partition(". ")[0].rstrip(".")
