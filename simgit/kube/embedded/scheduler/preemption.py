"""Preemption: the node where evicting pods of lower priority makes room for a pod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simgit.kube.embedded.disruption import Disruptions
from simgit.kube.embedded.nodes import Node, Pod
from simgit.kube.embedded.scheduler.filters import Cycle, Refusal, refusal_with_nominated
from simgit.kube.embedded.scheduler.messages import NO_VICTIMS, NOT_HELPFUL

_PRIORITY_BASE = 2**31


class PreemptionCandidate(NamedTuple):
    """A node that is feasible without its victims, which are sorted by importance.

    ``violations`` is how many of them a PodDisruptionBudget protects.
    """

    node: Node
    victims: tuple[Pod, ...]
    violations: int = 0


class Preemption(NamedTuple):
    """The best candidate, or None with the counted reasons."""

    candidate: PreemptionCandidate | None
    histogram: dict[str, int]


def preempt(
    cycle: Cycle, refused: dict[int, Refusal], count: int, disruptions: Disruptions | None = None
) -> Preemption:
    """Try every node where preemption may help; ``refused`` maps node indexes to refusals."""
    candidates: list[PreemptionCandidate] = []
    histogram: dict[str, int] = {}
    for node in cycle.nodes:
        answer = refused.get(node.index)
        if answer is None or answer.hopeless:
            continue
        found = _dry_run(cycle, node, disruptions)
        if isinstance(found, PreemptionCandidate):
            candidates.append(found)
        else:
            for reason in found:
                histogram[reason] = histogram.get(reason, 0) + 1
    hopeless = count - sum(not r.hopeless for r in refused.values())
    if hopeless:
        histogram[NOT_HELPFUL] = hopeless
    return Preemption(min(candidates, key=_harm, default=None), histogram)


def _dry_run(
    cycle: Cycle, node: Node, disruptions: Disruptions | None
) -> PreemptionCandidate | tuple[str, ...]:
    """Remove all pods of lower priority, then add back, by importance, those that still fit.

    First those are added back that a PodDisruptionBudget protects.
    """
    priority = cycle.pod.facts.priority
    lesser = [pod for pod in node.pods.values() if pod.facts.priority < priority]
    if not lesser:
        return (NO_VICTIMS,)
    for pod in lesser:
        node.remove(pod)
    cycle.refresh()
    refused = refusal_with_nominated(cycle, node)
    if refused is not None:
        _put_back(cycle, node, lesser)
        return refused.reasons
    lesser.sort(key=_importance)
    spared = [] if disruptions is None else disruptions.violating(lesser)
    others = [pod for pod in lesser if pod not in spared] if spared else lesser
    violations = [pod for pod in spared if not _reprieve(cycle, node, pod)]
    victims = violations + [pod for pod in others if not _reprieve(cycle, node, pod)]
    _put_back(cycle, node, victims)
    victims.sort(key=_importance)
    return PreemptionCandidate(node, tuple(victims), len(violations)) if victims else ()


def _importance(pod: Pod) -> tuple[int, int, int]:
    """Return a key that sorts the most important first: by priority, then by running time."""
    started = pod.ready_at if pod.ready else pod.bound_at
    return -pod.facts.priority, started, pod.uid


def _reprieve(cycle: Cycle, node: Node, pod: Pod) -> bool:
    node.add(pod)
    cycle.refresh()
    if refusal_with_nominated(cycle, node) is None:
        return True
    node.remove(pod)
    cycle.refresh()
    return False


def _put_back(cycle: Cycle, node: Node, pods: Sequence[Pod]) -> None:
    for pod in pods:
        node.add(pod)
    cycle.refresh()


def _harm(candidate: PreemptionCandidate) -> tuple[int, int, int, int, int]:
    """Return the sort key of harm.

    It is the number of violated budgets, the top priority, their sum, the number of victims, then
    the youngest.
    """
    priorities = [pod.facts.priority for pod in candidate.victims]
    first = max(priorities)
    earliest = min(
        pod.ready_at if pod.ready else pod.bound_at
        for pod in candidate.victims
        if pod.facts.priority == first
    )
    total = sum(priority + _PRIORITY_BASE for priority in priorities)
    return candidate.violations, first, total, len(candidate.victims), -earliest
