"""The words in which the scheduler says why a pod stays pending."""

from __future__ import annotations

from collections.abc import Iterable

NO_NODES = "no nodes available to schedule pods"
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NEVER_PREEMPTS = "not eligible due to preemptionPolicy=Never."
_PREFIX = "no new claims to deallocate, preemption: "


def fit_error(count: int, reasons: Iterable[str]) -> str:
    """Count each reason and sort the counted reasons as text, the way the scheduler does."""
    histogram: dict[str, int] = {}
    for reason in reasons:
        histogram[reason] = histogram.get(reason, 0) + 1
    return histogram_error(count, histogram)


def histogram_error(count: int, histogram: dict[str, int]) -> str:
    """Write '0/3 nodes are available: 3 Insufficient cpu.'."""
    listed = ", ".join(sorted(f"{number} {reason}" for reason, number in histogram.items()))
    return (
        f"0/{count} nodes are available: {listed}." if listed else f"0/{count} nodes are available:"
    )


def conflict_error(count: int) -> str:
    """Write the message for names of nodes that rule each other out, before any is looked at.

    Its end is what the scheduler says when it then looks for what was never worked out.
    """
    return f"0/{count} nodes are available: pod affinity terms conflict. not found"


def not_preempted(count: int, histogram: dict[str, int]) -> str:
    """Write the suffix about nodes where preemption was tried in vain."""
    return _PREFIX + histogram_error(count, histogram)


def not_eligible(why: str) -> str:
    """Write the suffix for a pod that may not preempt."""
    return _PREFIX + why
