"""Transitions and sequences by number: the states that each begins and ends at.

States have positions. A *span* is a range of positions of which each state follows the one before
in its episode; none follows a state at which the episode ended. A transition begins at a state,
its *before*, with the observation that the action was chosen from; the action itself, reward and
flags are recorded with the state that it led to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Spans(NamedTuple):
    """Ranges of positions, in order.

    Attributes:
        starts: the first position of each.
        stops: the position after the last.
        own: the first position that counts: those before it are context, which other spans have
            too. What lies in context alone does not count.
    """

    starts: Positions
    stops: Positions
    own: Positions

    def chosen(self, mask: Mask) -> Spans:
        """Return the spans that a mask names."""
        return Spans(*(each[mask] for each in self))


def make_spans(starts: Mask, ended: Mask) -> Spans:
    """Return the spans of successive states.

    Args:
        starts: True for a state that begins an episode.
        ended: True for a state at which an episode ended.
    """
    count = len(starts)
    begins = starts.copy()
    begins[1:] |= ended[:-1]
    begins[:1] = True
    first = np.flatnonzero(begins).astype(np.int64)
    return Spans(first, np.append(first[1:], count)[: len(first)].astype(np.int64), first)


class StepIndex:
    """Transitions or sequences, numbered through the spans."""

    def __init__(
        self, spans: Spans, first: Positions, count: Positions, reach: int, stride: int = 1
    ) -> None:
        """Number what begins at ``first`` and every ``stride`` after it, ``count`` in each span.

        Args:
            spans: the spans.
            first: where the first one of each span begins.
            count: how many each span has.
            reach: from where one begins to where it ends, unless its span ends before.
            stride: from where one begins to where the next does.
        """
        self.spans, self.first, self.stride = spans, first, stride
        self.reach = min(reach, int(spans.stops.max(initial=0)))
        self._upto = np.cumsum(count)
        self._chosen: Positions | None = None
        self._of_spans = np.concatenate([[0], self._upto]).astype(np.int64)

    @classmethod
    def transitions(cls, spans: Spans, n_step: int = 1) -> StepIndex:
        """Number the transitions over ``n_step`` steps, fewer where an episode ends before."""
        n_step = min(n_step, int(spans.stops.max(initial=1)))
        first = np.maximum(spans.starts, spans.own - n_step)
        count = np.maximum(spans.stops - 1 - first, 0)
        return cls(spans, first, count, n_step)

    @classmethod
    def sequences(cls, spans: Spans, length: int, stride: int, whole: bool) -> StepIndex:
        """Number the sequences of ``length`` steps, from each episode's start on.

        Args:
            spans: the spans.
            length: steps of a sequence.
            stride: from the start of one to that of the next.
            whole: leave out those that an episode's end cuts.
        """
        longest = int(spans.stops.max(initial=1))
        length, stride = min(length, longest), min(stride, longest)
        steps = np.maximum(spans.stops - 1 - spans.starts, 0)
        all_of = np.where(steps >= length, (steps - length) // stride + 1, 0)
        count = all_of if whole else -(-steps // stride)
        skipped = np.maximum(-(-(spans.own - length - spans.starts) // stride), 0)
        skipped = np.where(spans.own > spans.starts, np.minimum(skipped, count), 0)
        return cls(spans, spans.starts + skipped * stride, count - skipped, length, stride)

    def __len__(self) -> int:
        return int(self._of_spans[-1])

    def keep(self, mask: Mask) -> None:
        """Leave out what a mask over all of them does not name; the others get new numbers."""
        self._chosen = np.flatnonzero(mask).astype(np.int64)
        self._of_spans = np.searchsorted(self._chosen, self._of_spans)

    def at(self, numbers: Any) -> tuple[Positions, Positions]:
        """Return where those with some numbers begin, and the last position that each reaches."""
        numbers = np.asarray(numbers, np.int64)
        if self._chosen is not None:
            numbers = self._chosen[numbers]
        span = np.searchsorted(self._upto, numbers, "right")
        before = self.first[span] + self.stride * (
            numbers - np.where(span, self._upto[span - 1], 0)
        )
        return before, np.minimum(before + self.reach, self.spans.stops[span] - 1)

    def spans_with_any(self) -> Positions:
        """Return the numbers of the spans that have one."""
        return np.flatnonzero(np.diff(self._of_spans)).astype(np.int64)

    def of_spans(self, spans: Positions, fractions: npt.NDArray[np.float64]) -> Positions:
        """Return the numbers that lie at some fractions (below 1) of spans that have any."""
        low, high = self._of_spans[spans], self._of_spans[spans + 1]
        return low + (fractions * (high - low)).astype(np.int64)

    def span_starts(self, numbers: Any) -> Positions:
        """Return the first position of the spans of those with some numbers."""
        before, _ = self.at(numbers)
        return self.spans.starts[np.searchsorted(self.spans.starts, before, "right") - 1]


def summed_rewards(
    rewards: Callable[[Positions], npt.NDArray[np.float64]],
    before: Positions,
    last: Positions,
    gamma: float,
) -> npt.NDArray[np.float64]:
    """Return the discounted sum of rewards from the state after ``before`` up to ``last``.

    Args:
        rewards: returns those of positions, in their shape.
        before: where each transition begins.
        last: where it ends.
        gamma: the factor for each later step.
    """
    total: npt.NDArray[np.float64] = np.array(rewards(before + 1))
    longest = int((last - before).max(initial=1))
    with np.errstate(all="ignore"):  # infinities of both signs
        for step in range(2, longest + 1):
            more = before + step <= last
            total[more] += gamma ** (step - 1) * rewards(before[more] + step)
    return total


def discounts(steps: Positions, terminated: Mask, gamma: float) -> npt.NDArray[np.float64]:
    """Return the factors of the value that comes after some steps: 0 where it terminated.

    A truncated episode would have gone on, so that its value counts.
    """
    return np.where(terminated, 0.0, gamma ** steps.astype(np.float64))
