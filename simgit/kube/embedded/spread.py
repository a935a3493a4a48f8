"""Topology spread: how evenly the pods of a selector lie over nodes, zones, …"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from simgit.kube.embedded.labels import untolerated
from simgit.kube.embedded.nodes import HOSTNAME, ZONE, Node
from simgit.kube.embedded.pods import Pod
from simgit.kube.embedded.podspec import PodFacts, Spread

NO_LABEL = "node(s) didn't match pod topology spread constraints (missing required label)"
SKEW = "node(s) didn't match pod topology spread constraints"

_SYSTEM = ((HOSTNAME, 3), (ZONE, 5))
"""What the scheduler does by itself for the pods of a controller: (topology, largest skew)."""


def selects_node(facts: PodFacts, node: Node) -> bool:
    """Tell whether the pod's node selector and required node affinity allow the node."""
    labels = node.labels
    for key, value in facts.node_selector:
        if labels.get(key) != value:
            return False
    if facts.node_terms is None:
        return True
    return any(term.matches(node.name, labels) for term in facts.node_terms)


def _counted(facts: PodFacts, constraint: Spread, node: Node) -> bool:
    if constraint.honor_affinity and not selects_node(facts, node):
        return False
    return not constraint.honor_taints or untolerated(node.taints, facts.tolerations) is None


def _matching(node: Node, constraint: Spread, namespace: str) -> int:
    selector = constraint.selector
    if selector is None:
        return 0
    return sum(
        pod.namespace == namespace and selector.matches(pod.facts.labels)
        for pod in node.pods.values()
    )


class SpreadState:
    """For one pod: the count in each domain, for each constraint that must hold."""

    __slots__ = ("_domains", "_facts", "_hard")

    def __init__(self, pod: Pod, nodes: Sequence[Node]) -> None:
        """Count the pods of every domain once."""
        facts = pod.facts
        self._facts = facts
        self._hard = [constraint for constraint in facts.spread if constraint.hard]
        self._domains: list[dict[str, int]] = [{} for _ in self._hard]
        for node in nodes:
            if all(constraint.topology in node.labels for constraint in self._hard):
                self._count(node, pod.namespace)

    def _count(self, node: Node, namespace: str) -> None:
        for constraint, domains in zip(self._hard, self._domains, strict=True):
            if _counted(self._facts, constraint, node):
                value = node.labels[constraint.topology]
                matching = _matching(node, constraint, namespace)
                domains[value] = domains.get(value, 0) + matching

    def refusal(self, node: Node) -> tuple[str, bool] | None:
        """Return (reason, whether preemption cannot help) if a constraint would not hold."""
        for constraint, domains in zip(self._hard, self._domains, strict=True):
            value = node.labels.get(constraint.topology)
            if value is None:
                return NO_LABEL, True
            least = min(domains.values()) if len(domains) >= max(1, constraint.min_domains) else 0
            selector = constraint.selector
            itself = selector is not None and selector.matches(self._facts.labels)
            if domains.get(value, 0) + itself - least > constraint.max_skew:
                return SKEW, False
        return None


def spread_scores(pod: Pod, nodes: Sequence[Node], feasible: Sequence[Node]) -> list[int] | None:
    """Return a score of 0..100 for each feasible node, None if all are alike."""
    soft = [constraint for constraint in pod.facts.spread if not constraint.hard]
    if pod.facts.spread:
        return _user_scores(pod, soft, nodes, feasible) if soft else None
    return _system_scores(pod, nodes, feasible) if pod.owner.spreads else None


def _system_scores(pod: Pod, nodes: Sequence[Node], feasible: Sequence[Node]) -> list[int] | None:
    group = pod.group
    counts = [node.owned.get(group, 0) for node in feasible]
    zoned = any(ZONE in node.labels for node in feasible)
    if not zoned and counts.count(counts[0]) == len(counts):
        return None
    weight = math.log(len(feasible) + 2)
    raw = [count * weight + _SYSTEM[0][1] - 1 for count in counts]
    if zoned:
        by_zone = _zone_counts(nodes, feasible, lambda node: node.owned.get(group, 0))
        _add_zone(raw, feasible, by_zone, _SYSTEM[1])
    return _normal([round(score) for score in raw])


def _zone_counts(
    nodes: Sequence[Node], feasible: Sequence[Node], count: Callable[[Node], int], key: str = ZONE
) -> dict[str, int]:
    """Sum over all nodes the counts of those domains which a feasible node is in."""
    totals = {node.labels[key]: 0 for node in feasible if key in node.labels}
    for node in nodes:
        value = node.labels.get(key)
        if value in totals:
            totals[value] += count(node)
    return totals


def _add_zone(
    raw: list[float], feasible: Sequence[Node], totals: dict[str, int], rule: tuple[str, int]
) -> None:
    key, skew = rule
    weight = math.log(len(totals) + 2)
    for i, node in enumerate(feasible):
        value = node.labels.get(key)
        if value is not None:
            raw[i] += totals[value] * weight + skew - 1


def _user_scores(
    pod: Pod, soft: Sequence[Spread], nodes: Sequence[Node], feasible: Sequence[Node]
) -> list[int] | None:
    """Score by the pod's own soft constraints; a node without their labels scores nothing."""
    facts = pod.facts
    labelled = [n for n in feasible if all(c.topology in n.labels for c in soft)]
    if not labelled:
        return None
    raw = [0.0] * len(labelled)
    for constraint in soft:

        def count(node: Node, constraint: Spread = constraint) -> int:
            counted = _counted(facts, constraint, node)
            return _matching(node, constraint, pod.namespace) if counted else 0

        totals = _zone_counts(nodes, labelled, count, constraint.topology)
        _add_zone(raw, labelled, totals, (constraint.topology, constraint.max_skew))
    scores = dict(zip((n.index for n in labelled), _normal([round(s) for s in raw]), strict=True))
    return [scores.get(node.index, 0) for node in feasible]


def _normal(raw: list[int]) -> list[int]:
    """Turn counts round, so that the emptiest domain scores highest, in 0..100."""
    low, high = min(raw), max(raw)
    if high == 0:
        return [100] * len(raw)
    return [100 * (high + low - score) // high for score in raw]
