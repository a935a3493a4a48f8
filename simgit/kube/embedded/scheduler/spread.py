"""Topology spread: how evenly the pods of a selector lie over nodes, zones and the like."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from simgit.kube.embedded.labels import untolerated
from simgit.kube.embedded.nodes import HOSTNAME, ZONE, Node, Pod
from simgit.kube.embedded.podspec import PodFacts, Spread

NO_LABEL = "node(s) didn't match pod topology spread constraints (missing required label)"
SKEW = "node(s) didn't match pod topology spread constraints"

_HOST_SKEW, _ZONE_SKEW = 3, 5
"""The maximal skews of the default constraints for pods of a controller."""


def selects_node(facts: PodFacts, node: Node) -> bool:
    """Return True if the pod's node selector and required node affinity allow the node."""
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
    if selector is None or not selector.requirements:  # an empty one counts nobody either
        return 0
    return sum(
        pod.namespace == namespace and selector.matches(pod.facts.labels)
        for pod in node.pods.values()
    )


class SpreadState:
    """Counts of pods in each domain, for each hard constraint of one pod."""

    __slots__ = ("_domains", "_facts", "_hard")

    def __init__(self, pod: Pod, nodes: Sequence[Node]) -> None:
        """Count the pods of every domain."""
        facts = pod.facts
        self._facts = facts
        self._hard = [constraint for constraint in facts.spread if constraint.hard]
        self._domains: list[dict[str, int]] = [{} for _ in self._hard]
        for node in nodes:
            if has_all(self._hard, node):
                self._count(node, pod.namespace)

    def _count(self, node: Node, namespace: str) -> None:
        for constraint, domains in zip(self._hard, self._domains, strict=True):
            if _counted(self._facts, constraint, node):
                value = node.labels[constraint.topology]
                matching = _matching(node, constraint, namespace)
                domains[value] = domains.get(value, 0) + matching

    def refusal(self, node: Node) -> tuple[str, bool] | None:
        """Return (reason, True if preemption cannot help) if a constraint fails, else None."""
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
    """Return a score in 0..100 for each feasible node, None if all are equal."""
    if pod.facts.spread:
        soft = [constraint for constraint in pod.facts.spread if not constraint.hard]
        return _user_scores(pod, soft, nodes, feasible) if soft else None
    return _system_scores(pod, nodes, feasible) if pod.owner.spreads else None


def _system_scores(pod: Pod, nodes: Sequence[Node], feasible: Sequence[Node]) -> list[int] | None:
    group = pod.group
    counts = [node.owned.get(group, 0) for node in feasible]
    zoned = any(ZONE in node.labels for node in feasible)
    if not zoned and counts.count(counts[0]) == len(counts):
        return None
    raw = [0.0] * len(feasible)
    # A feasible node is one that the pod selects: its pods count.
    _add_costs(raw, feasible, counts, len(feasible), HOSTNAME, _HOST_SKEW)
    if zoned:

        def count(node: Node) -> int:
            return node.owned.get(group, 0) if selects_node(pod.facts, node) else 0

        _add_domains(raw, nodes, feasible, count, ZONE, _ZONE_SKEW)
    return _normal([round(score) for score in raw])


def _user_scores(
    pod: Pod, soft: Sequence[Spread], nodes: Sequence[Node], feasible: Sequence[Node]
) -> list[int] | None:
    """Return scores by the pod's soft constraints; a node without their labels scores 0."""
    labelled = [node for node in feasible if has_all(soft, node)]
    if not labelled:
        return None
    every = [node for node in nodes if has_all(soft, node)]
    raw = [0.0] * len(labelled)
    for constraint in soft:

        def count(node: Node, constraint: Spread = constraint) -> int:
            counted = _counted(pod.facts, constraint, node)
            return _matching(node, constraint, pod.namespace) if counted else 0

        _add_domains(raw, every, labelled, count, constraint.topology, constraint.max_skew)
    scores = dict(zip((n.index for n in labelled), _normal([round(s) for s in raw]), strict=True))
    return [scores.get(node.index, 0) for node in feasible]


def has_all(constraints: Sequence[Spread], node: Node) -> bool:
    """Return True if the node has the label of every constraint."""
    return all(constraint.topology in node.labels for constraint in constraints)


def _add_domains(
    raw: list[float],
    every: Sequence[Node],
    scored: Sequence[Node],
    count: Callable[[Node], int],
    key: str,
    skew: int,
) -> None:
    """Add a constraint's cost to each scored node: the number of pods in its domain.

    The fewer domains there are, the less a pod weighs. Each node is its own host, whatever its
    label says. Nodes without the label make one domain, at no cost.
    """
    if key == HOSTNAME:
        held, domains = [count(node) for node in scored], len(scored)
    else:
        totals = {node.labels.get(key, ""): 0 for node in scored}
        for node in every:
            value = node.labels.get(key, "")
            if value in totals:
                totals[value] += count(node)
        held, domains = [totals[node.labels.get(key, "")] for node in scored], len(totals)
    _add_costs(raw, scored, held, domains, key, skew)


def _add_costs(
    raw: list[float], scored: Sequence[Node], held: list[int], domains: int, key: str, skew: int
) -> None:
    """Add a constraint's cost to each scored node; ``held`` are the pods in its domain."""
    weight = math.log(domains + 2)
    for i, node in enumerate(scored):
        if key in node.labels:
            raw[i] += held[i] * weight + skew - 1


def _normal(raw: list[int]) -> list[int]:
    """Return the costs as scores in 0..100: the emptiest domain scores highest."""
    low, high = min(raw), max(raw)
    if high == 0:
        return [100] * len(raw)
    return [100 * (high + low - score) // high for score in raw]
