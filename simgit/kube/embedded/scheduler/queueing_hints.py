"""Queueing hints: which changes are worth another try of an unschedulable pod.

The rules are those of kube-scheduler 1.35, one for each filter that refused the pod on some
node. A pod without a hint is retried when the queue is flushed, after five minutes.
"""

from __future__ import annotations

from simgit.kube.embedded.nodes import Pod, ports_clash
from simgit.kube.embedded.podspec import PodTerm
from simgit.kube.embedded.scheduler.filters import FIT, POD_AFFINITY, PORTS, SPREAD


def helps_when_placed(waiting: Pod, placed: Pod) -> bool:
    """Return True if a pod that was placed may make a node feasible for the waiting one."""
    causes = waiting.rejected_by
    if SPREAD in causes and _is_spread_with(waiting, placed):
        return True
    return POD_AFFINITY in causes and _matches_all(waiting.facts.affinity, placed)


def helps_when_gone(waiting: Pod, gone: Pod) -> bool:
    """Return True if a pod that left may have made a node feasible for the waiting one.

    Anti-affinity of the pod that left is not considered: kube-scheduler does not either.
    """
    causes = waiting.rejected_by
    if FIT in causes:
        return True
    if PORTS in causes and _shares_port(waiting, gone):
        return True
    if SPREAD in causes and _is_spread_with(waiting, gone):
        return True
    return POD_AFFINITY in causes and _matches_all(waiting.facts.anti_affinity, gone)


def _shares_port(waiting: Pod, other: Pod) -> bool:
    return any(ports_clash(a, b) for a in waiting.facts.ports for b in other.facts.ports)


def _is_spread_with(waiting: Pod, other: Pod) -> bool:
    return waiting.namespace == other.namespace and any(
        constraint.hard
        and constraint.selector is not None
        and constraint.selector.matches(other.facts.labels)
        for constraint in waiting.facts.spread
    )


def _matches_all(terms: tuple[PodTerm, ...], other: Pod) -> bool:
    """Return True if all terms select the pod, whose namespace's labels are unknown here."""
    namespace, labels = other.namespace, other.facts.labels
    return bool(terms) and all(term.covers(namespace, labels, known={}) for term in terms)
