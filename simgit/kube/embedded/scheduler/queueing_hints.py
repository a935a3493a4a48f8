"""When a pod that waits is worth another try: the scheduler's queueing hints.

What nobody hints at is tried again after five minutes, as the scheduler's queue has it. The rules
are those of kube-scheduler 1.35, each with the filter that refused the pod somewhere.
"""

from __future__ import annotations

from simgit.kube.embedded.nodes import Pod, ports_clash
from simgit.kube.embedded.podspec import PodTerm
from simgit.kube.embedded.scheduler.filters import FIT, POD_AFFINITY, PORTS, SPREAD


def helps_when_placed(waiting: Pod, placed: Pod) -> bool:
    """Tell whether a pod that was just placed may open a node for one that waits."""
    causes = waiting.rejected_by
    if SPREAD in causes and _is_spread_with(waiting, placed):
        return True
    return POD_AFFINITY in causes and _matches_all(waiting.facts.affinity, placed)


def helps_when_gone(waiting: Pod, gone: Pod) -> bool:
    """Tell whether a pod that left its node may have left it to one that waits.

    That the one that left kept the other away is not asked: the scheduler does not ask either.
    """
    causes = waiting.rejected_by
    if FIT in causes:
        return True
    if PORTS in causes and _shares_port(waiting, gone):
        return True
    if SPREAD in causes and _is_spread_with(waiting, gone):
        return True
    return POD_AFFINITY in causes and _matches_all(waiting.facts.anti_affinity, gone)


def _is_spread_with(waiting: Pod, other: Pod) -> bool:
    return waiting.namespace == other.namespace and any(
        constraint.hard
        and constraint.selector is not None
        and constraint.selector.matches(other.facts.labels)
        for constraint in waiting.facts.spread
    )


def _matches_all(terms: tuple[PodTerm, ...], other: Pod) -> bool:
    """Ask the terms without knowing anything of the other's namespace but its name."""
    namespace, labels = other.namespace, other.facts.labels
    return bool(terms) and all(term.covers(namespace, labels, known={}) for term in terms)


def _shares_port(waiting: Pod, other: Pod) -> bool:
    return any(ports_clash(a, b) for a in waiting.facts.ports for b in other.facts.ports)
