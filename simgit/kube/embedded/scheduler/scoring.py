"""The scheduler's scores: which feasible node is best.

Each scorer gives whole numbers in 0..100, weighted as in the default profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from simgit.kube.embedded.nodes import Node, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.scheduler.affinity import preference_scores
from simgit.kube.embedded.scheduler.spread import spread_scores

_avoided_of, _terms_of = attrgetter("avoided"), attrgetter("terms")
_TAINTS, _NODE_AFFINITY, _SPREAD, _POD_AFFINITY = 3, 2, 2, 2


def score(pod: Pod, nodes: Sequence[Node], feasible: Sequence[Node]) -> list[int]:
    """Return the weighted sum of the scores for each feasible node."""
    facts = pod.facts
    totals = [_least_allocated(facts, node) + _balance(facts, node) for node in feasible]
    spread = spread_scores(pod, nodes, feasible)
    if spread is not None:
        _add(totals, spread, _SPREAD)
    if any(map(_avoided_of, feasible)):
        _add(totals, _taint_scores(facts, feasible), _TAINTS)
    if facts.node_preferences:
        _add(totals, _scaled([_preferred(facts, node) for node in feasible]), _NODE_AFFINITY)
    if facts.pod_preferences or any(map(_terms_of, nodes)):
        _add(totals, _stretched(preference_scores(pod, nodes, feasible)), _POD_AFFINITY)
    return totals


def _add(totals: list[int], scores: list[int], weight: int) -> None:
    for i, value in enumerate(scores):
        totals[i] += weight * value


def _least_allocated(facts: PodFacts, node: Node) -> int:
    """Return the mean percentage of CPU and memory that is left free."""
    cpu, memory = node.spec.cpu, node.spec.memory
    free_cpu = cpu - node.score_cpu - facts.coming_cpu
    free_memory = memory - node.score_memory - facts.coming_memory
    total = free_cpu * 100 // cpu if cpu and free_cpu > 0 else 0
    total += free_memory * 100 // memory if memory and free_memory > 0 else 0
    return total // 2 if cpu and memory else total


def _balance(facts: PodFacts, node: Node) -> int:
    """Return a score for equal shares of CPU and memory, if the pod requests any."""
    spec = node.spec
    if not (facts.cpu or facts.memory):
        return 0
    if not spec.cpu or not spec.memory:
        return 100
    cpu, memory = (node.cpu + facts.cpu) / spec.cpu, (node.memory + facts.memory) / spec.memory
    cpu, memory = 1.0 if cpu > 1.0 else cpu, 1.0 if memory > 1.0 else memory
    return int((1 - abs(cpu - memory) / 2) * 100)


def _taint_scores(facts: PodFacts, feasible: Sequence[Node]) -> list[int]:
    counts = [
        sum(not any(t.tolerates(taint) for t in facts.tolerations) for taint in node.avoided)
        for node in feasible
    ]
    return [100 - value for value in _scaled(counts)] if any(counts) else [100] * len(counts)


def _preferred(facts: PodFacts, node: Node) -> int:
    return sum(
        weight for weight, term in facts.node_preferences if term.matches(node.name, node.labels)
    )


def _scaled(values: list[int]) -> list[int]:
    """Return the values scaled so that the largest is 100."""
    most = max(values)
    return [100 * value // most for value in values] if most else values


def _stretched(values: list[int]) -> list[int]:
    """Return the values stretched to 0..100, in floats as kube-scheduler does."""
    low, high = min(values), max(values)
    if high == low:
        return [0] * len(values)
    return [int(100.0 * ((value - low) / (high - low))) for value in values]
