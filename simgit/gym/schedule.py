"""When snapshots are taken: every K steps, K from what a step and a snapshot cost here."""

from __future__ import annotations

import math
from typing import Final

SHARE: Final = 0.05
"""The part of the time of stepping that snapshots may take."""
RESTORE_SECONDS: Final = 0.04
"""The time of stepping between two snapshots: a restore re-executes at most so much."""
SAMPLES: Final = 32
"""Steps that are timed at the beginning."""
NEVER: Final = 1 << 62


class Schedule:
    """Counts steps up to the next snapshot, and learns what a step and a snapshot cost.

    ``next`` is the step from which on something is to be done; all steps before it need not ask.
    """

    def __init__(self, every: int | None) -> None:
        """Begin; ``every`` is a fixed number of steps, None for one that follows from the costs."""
        self._fixed = every
        self._steps: list[float] = []
        self._snapshot: float | None = None
        self.last = 0
        self.next = 0

    @property
    def every(self) -> int:
        """How many steps there are from a snapshot to the next."""
        if self._fixed is not None:
            return self._fixed
        if self._snapshot is None or len(self._steps) < SAMPLES:
            return SAMPLES
        step = max(self.step_seconds, 1e-9)
        affordable = math.ceil(self._snapshot / (SHARE * step))
        # at least as many as are affordable; more, as long as a restore stays quick
        return max(affordable, min(int(RESTORE_SECONDS / step), 2 * affordable), 1)

    @property
    def step_seconds(self) -> float:
        """What a step costs: the median of those that were timed, 0 if none was."""
        return sorted(self._steps)[len(self._steps) // 2] if self._steps else 0.0

    def stepped(self, seconds: float) -> None:
        """Note what a step took."""
        self._steps.append(seconds)
        if len(self._steps) > SAMPLES:
            del self._steps[0]

    def took(self, count: int, seconds: float) -> None:
        """Note that a snapshot was taken after so many steps, and what it took."""
        first = self._snapshot is None or len(self._steps) < SAMPLES
        self._snapshot = seconds if first else 0.75 * (self._snapshot or 0.0) + 0.25 * seconds
        self.last = count
        self.plan(count)

    def plan(self, count: int) -> None:
        """Say from which step on something is to be done, the next being the earliest."""
        timing = self._fixed is None and len(self._steps) < SAMPLES
        self.next = count + 1 if timing else max(self.last + self.every, count + 1)

    def is_due(self, count: int, reset: bool) -> bool:
        """Return whether a snapshot is to be taken now; at an episode's start it may come early."""
        every = self.every
        return count - self.last >= (max(every // 2, 1) if reset and self._fixed is None else every)
