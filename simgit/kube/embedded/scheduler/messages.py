"""Messages of the scheduler: why a pod is pending, in kube-scheduler's words."""

from __future__ import annotations

from collections.abc import Iterable

NO_NODES = "no nodes available to schedule pods"
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NEVER_PREEMPTS = "not eligible due to preemptionPolicy=Never."
_PREFIX = "no new claims to deallocate, preemption: "


def fit_error(count: int, reasons: Iterable[str]) -> str:
    """Return the message for the reasons, counted and then sorted as text."""
    histogram: dict[str, int] = {}
    for reason in reasons:
        histogram[reason] = histogram.get(reason, 0) + 1
    return histogram_error(count, histogram)


def histogram_error(count: int, histogram: dict[str, int]) -> str:
    """Return a message like '0/3 nodes are available: 3 Insufficient cpu.'."""
    listed = ", ".join(sorted(f"{number} {reason}" for reason, number in histogram.items()))
    return (
        f"0/{count} nodes are available: {listed}." if listed else f"0/{count} nodes are available:"
    )


def conflict_error(count: int) -> str:
    """Return the message for terms that name different nodes, before any filter runs.

    Its end is the error of preemption, which then misses the state of the filters.
    """
    return f"0/{count} nodes are available: pod affinity terms conflict. not found"


def not_preempted(count: int, histogram: dict[str, int]) -> str:
    """Return the suffix about nodes where preemption did not help."""
    return _PREFIX + histogram_error(count, histogram)


def not_eligible(why: str) -> str:
    """Return the suffix for a pod that may not preempt."""
    return _PREFIX + why
