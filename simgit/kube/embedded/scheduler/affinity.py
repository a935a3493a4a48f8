"""Pod affinity and anti-affinity: the topologies that a pod must or must not join."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simgit.kube.embedded.nodes import Node, Pod
from simgit.kube.embedded.podspec import PodFacts

Pair = tuple[str, str]
"""(topology key, value)."""

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"


class AffinityState:
    """Counts, for one pod, of the pods that attract or repel it, by topology."""

    __slots__ = ("_attract", "_closed", "_facts", "_repel", "_starts_series")

    def __init__(self, pod: Pod, nodes: Sequence[Node]) -> None:
        """Count the pods of every node."""
        facts = pod.facts
        self._facts = facts
        self._attract: dict[Pair, int] = {}
        self._repel: dict[Pair, int] = {}
        self._closed: dict[Pair, int] = {}
        for node in nodes:
            for other in node.pods.values():
                self._see(pod, other, node)
        # The first pod of a series with affinity to itself has no other to join yet.
        self._starts_series = not self._attract and _matches_all(facts, pod)

    def _see(self, pod: Pod, other: Pod, node: Node) -> None:
        facts = self._facts
        if facts.affinity and _matches_all(facts, other):
            for term in facts.affinity:
                _count(self._attract, term.topology, node)
        for term in facts.anti_affinity:
            if term.covers(other.namespace, other.facts.labels):
                _count(self._repel, term.topology, node)
        for term in other.facts.anti_affinity:
            if term.covers(pod.namespace, facts.labels):
                _count(self._closed, term.topology, node)

    def refusal(self, node: Node) -> tuple[str, bool] | None:
        """Return (reason, True if preemption cannot help) if the node is refused, else None."""
        labels = node.labels
        if self._facts.affinity and not self._attracted(node):
            return AFFINITY, True
        for term in self._facts.anti_affinity:
            if self._repel.get((term.topology, labels.get(term.topology, "")), 0) > 0:
                return ANTI_AFFINITY, False
        if self._closed and any(self._closed.get(pair, 0) > 0 for pair in labels.items()):
            return EXISTING, False
        return None

    def _attracted(self, node: Node) -> bool:
        pairs = [(t.topology, node.labels.get(t.topology)) for t in self._facts.affinity]
        if any(value is None for _, value in pairs):
            return False
        found = all(self._attract.get((key, value or ""), 0) > 0 for key, value in pairs)
        return found or self._starts_series


def _matches_all(facts: PodFacts, other: Pod) -> bool:
    return all(term.covers(other.namespace, other.facts.labels) for term in facts.affinity)


def _count(counts: dict[Pair, int], key: str, node: Node) -> None:
    value = node.labels.get(key)
    if value is not None:
        counts[key, value] = counts.get((key, value), 0) + 1


def preference_scores(pod: Pod, nodes: Sequence[Node], feasible: Sequence[Node]) -> list[int]:
    """Return a score for each feasible node from this pod's and other pods' preferences."""
    weights: dict[Pair, int] = {}
    for node in nodes:
        for other in node.pods.values():
            for key, weight in _mutual(pod, other):
                value = node.labels.get(key)
                if value is not None:
                    weights[key, value] = weights.get((key, value), 0) + weight
    return [sum(weights.get(pair, 0) for pair in node.labels.items()) for node in feasible]


def _mutual(pod: Pod, other: Pod) -> Iterator[tuple[str, int]]:
    for weight, term in pod.facts.pod_preferences:
        if term.covers(other.namespace, other.facts.labels):
            yield term.topology, weight
    for weight, term in other.facts.pod_preferences:
        if term.covers(pod.namespace, pod.facts.labels):
            yield term.topology, weight
    for term in other.facts.affinity:
        if term.covers(pod.namespace, pod.facts.labels):
            yield term.topology, 1
