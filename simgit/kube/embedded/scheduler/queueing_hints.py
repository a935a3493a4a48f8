"""Queueing hints: which changes are worth another try of an unschedulable pod.

The rules are those of kube-scheduler 1.35, one for each filter that refused the pod on some
node. A pod without a hint is retried when the queue is flushed, after five minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

from simgit.kube.embedded.labels import Taint, untolerated
from simgit.kube.embedded.nodes import Node, Pod, ports_clash
from simgit.kube.embedded.podspec import PodTerm
from simgit.kube.embedded.scheduler.filters import (
    FIT,
    NODE_AFFINITY,
    NODE_NAME,
    POD_AFFINITY,
    PORTS,
    SPREAD,
    TAINTS,
    UNSCHEDULABLE,
    fit_refusal,
)
from simgit.kube.embedded.scheduler.spread import has_all, selects_node

NOTHING_TO_TRY = "no node"
"""The cause of a pod that found no nodes at all; every change of nodes is worth a try."""


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


def helps_when_node_joined(waiting: Pod, node: Node) -> bool:
    """Return True if an empty node that joined may be feasible for the waiting pod.

    Anti-affinity of other pods is not considered: kube-scheduler does not either.
    """
    facts, causes = waiting.facts, waiting.rejected_by
    terms = (*facts.affinity, *facts.anti_affinity)
    return (
        not causes.isdisjoint((NOTHING_TO_TRY, NODE_NAME, PORTS))
        or (UNSCHEDULABLE in causes and not node.unschedulable)
        or (TAINTS in causes and untolerated(node.taints, facts.tolerations) is None)
        or (NODE_AFFINITY in causes and selects_node(facts, node))
        or (FIT in causes and fit_refusal(facts, node) is None)
        or (POD_AFFINITY in causes and any(term.topology in node.labels for term in terms))
        or helps_when_node_left(waiting, node)
    )


def helps_when_node_updated(waiting: Pod, node: Node, before: Sequence[Taint]) -> bool:
    """Return True if a node that was cordoned or uncordoned may now be feasible.

    ``before`` are its former taints. A change of taints also changes which nodes spread counts.
    """
    tolerations, causes = waiting.facts.tolerations, waiting.rejected_by
    kept_away = untolerated(before, tolerations) is not None
    return (
        (UNSCHEDULABLE in causes and not node.unschedulable)
        or (TAINTS in causes and kept_away and untolerated(node.taints, tolerations) is None)
        or helps_when_node_left(waiting, node)
    )


def helps_when_node_left(waiting: Pod, node: Node) -> bool:
    """Return True if the waiting pod is refused by constraints that counted the node."""
    hard = [constraint for constraint in waiting.facts.spread if constraint.hard]
    return SPREAD in waiting.rejected_by and has_all(hard, node)


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
