"""The scheduler's filters: may a pod run on a node, and if not, for which reasons.

They run in the scheduler's order, and the first that refuses is the last to run; it may give
several reasons (CPU and memory are both short).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from simgit.kube.embedded.labels import untolerated
from simgit.kube.embedded.nodes import CORDON, Node, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.scheduler.affinity import AffinityState
from simgit.kube.embedded.scheduler.spread import SpreadState, selects_node

CPU, MEMORY, STORAGE = "Insufficient cpu", "Insufficient memory", "Insufficient ephemeral-storage"
TOO_MANY = "Too many pods"

FIT = "NodeResourcesFit"
UNSCHEDULABLE = "NodeUnschedulable"
NODE_NAME = "NodeName"
TAINTS = "TaintToleration"
PORTS = "NodePorts"
SPREAD = "PodTopologySpread"
POD_AFFINITY = "InterPodAffinity"
NODE_AFFINITY = "NodeAffinity"


class Refusal(NamedTuple):
    """The refusal of a node; ``hopeless`` if preemption there cannot help."""

    reasons: tuple[str, ...]
    hopeless: bool
    plugin: str


_UNSCHEDULABLE = Refusal(("node(s) were unschedulable",), True, UNSCHEDULABLE)
_OTHER_NAME = Refusal(("node(s) didn't match the requested node name",), True, NODE_NAME)
_TAINTED = Refusal(("node(s) had untolerated taint(s)",), True, TAINTS)
_NO_MATCH = Refusal(("node(s) didn't match Pod's node affinity/selector",), True, NODE_AFFINITY)
_NO_PORTS = Refusal(("node(s) didn't have free ports for the requested pod ports",), False, PORTS)


class Cycle:
    """One attempt to schedule a pod: the filter states that depend on more than one node."""

    __slots__ = ("affinity", "nodes", "pod", "spread")

    def __init__(self, pod: Pod, nodes: Sequence[Node]) -> None:
        """Compute the states that the pod, or a placed pod, needs."""
        self.pod = pod
        self.nodes = nodes
        self.affinity: AffinityState | None = None
        self.spread: SpreadState | None = None
        self.refresh()

    def refresh(self) -> None:
        """Compute the states again, after pods were removed or added in a dry run."""
        facts = self.pod.facts
        needed = bool(facts.affinity or facts.anti_affinity) or _any_anti(self.nodes)
        self.affinity = AffinityState(self.pod, self.nodes) if needed else None
        if facts.spread and any(constraint.hard for constraint in facts.spread):
            self.spread = SpreadState(self.pod, self.nodes)


_anti_of = attrgetter("anti")


def _any_anti(nodes: Sequence[Node]) -> bool:
    return any(map(_anti_of, nodes))


def refusal(cycle: Cycle, node: Node) -> Refusal | None:
    """Return the refusal of a node, None if the pod may run there."""
    facts, verdicts = cycle.pod.facts, node.verdicts
    if facts not in verdicts:
        verdicts[facts] = _node_refusal(facts, node)
    verdict: Refusal | None = verdicts[facts]
    return (
        verdict
        or (_NO_PORTS if facts.ports and any(map(node.port_taken, facts.ports)) else None)
        or fit_refusal(facts, node)
        or _topology_refusal(cycle, node)
    )


def _node_refusal(facts: PodFacts, node: Node) -> Refusal | None:
    if node.unschedulable and not any(t.tolerates(CORDON) for t in facts.tolerations):
        return _UNSCHEDULABLE
    if facts.node_name and facts.node_name != node.name:
        return _OTHER_NAME
    if node.taints and untolerated(node.taints, facts.tolerations) is not None:
        return _TAINTED
    if facts.selects_nodes and not selects_node(facts, node):
        return _NO_MATCH
    return None


def fit_refusal(facts: PodFacts, node: Node) -> Refusal | None:
    """Return the refusal of a node with too little left, None if the pod fits exactly or better."""
    spec = node.spec
    full = len(node.pods) >= spec.pods
    if (
        not full
        and facts.cpu <= spec.cpu - node.cpu
        and facts.memory <= spec.memory - node.memory
        and not facts.storage
        and not facts.extra
    ):
        return None
    return _shortage(facts, node, full)


def _shortage(facts: PodFacts, node: Node, full: bool) -> Refusal | None:
    spec = node.spec
    asked = [
        (CPU, facts.cpu, node.cpu, spec.cpu),
        (MEMORY, facts.memory, node.memory, spec.memory),
        (STORAGE, facts.storage, node.storage, spec.storage),
    ]
    for name, amount in facts.extra:
        asked.append(
            (f"Insufficient {name}", amount, node.extra.get(name, 0), spec.extra.get(name, 0))
        )
    short = [(reason, want > all_) for reason, want, used, all_ in asked if 0 < want > all_ - used]
    reasons = ((TOO_MANY,) if full else ()) + tuple(reason for reason, _ in short)
    if not reasons:
        return None
    return Refusal(reasons, any(hopeless for _, hopeless in short), FIT)


def _topology_refusal(cycle: Cycle, node: Node) -> Refusal | None:
    found = cycle.spread.refusal(node) if cycle.spread else None
    if found is not None:
        return Refusal((found[0],), found[1], SPREAD)
    found = cycle.affinity.refusal(node) if cycle.affinity else None
    return None if found is None else Refusal((found[0],), found[1], POD_AFFINITY)


def refusal_with_nominated(cycle: Cycle, node: Node) -> Refusal | None:
    """Like refusal, with room kept for nominated pods of the same or a higher priority."""
    pod = cycle.pod
    expected = [
        other
        for other in node.nominated
        if other is not pod and other.facts.priority >= pod.facts.priority
    ]
    if not expected:
        return refusal(cycle, node)
    for other in expected:
        node.add(other)
    cycle.refresh()
    crowded = refusal(cycle, node)
    for other in expected:
        node.remove(other)
    cycle.refresh()
    return crowded or refusal(cycle, node)


def named_nodes(facts: PodFacts) -> frozenset[str] | None:
    """Return the names of the only nodes that required affinity allows, None for any node.

    Pods of a DaemonSet are written like this: each of their terms names a node.
    """
    if not facts.node_terms:
        return None
    names: frozenset[str] = frozenset()
    for term in facts.node_terms:
        wanted = [
            frozenset(values)
            for key, operator, values in term.fields
            if key == "metadata.name" and operator == "In"
        ]
        if not wanted:
            return None
        names |= frozenset.intersection(*wanted)
    return names
