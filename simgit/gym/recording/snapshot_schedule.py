"""When snapshots are taken: every K steps, K from what a step and a snapshot cost here."""

from __future__ import annotations

import math
from typing import Final

SHARE: Final = 0.05
"""The part of the time of stepping that snapshots may take."""
STORING: Final = 2.0
"""Storing a snapshot at the next flush costs about as much as taking it did."""
SAMPLES: Final = 32
"""Steps that are timed at the beginning."""
KEPT: Final = 8
"""Snapshots whose times are remembered."""
NEAR: Final = 0.025
"""Seconds of executing again for which no further snapshot is worth its bytes."""
COMPARING: Final = 15e-6
"""Seconds that a step takes longer when it is executed again: it is read and compared."""
NEVER: Final = 1 << 62


class SnapshotSchedule:
    """Counts steps up to the next snapshot, and learns what a step and a snapshot cost.

    ``every`` is how many steps there are from a snapshot to the next; ``next`` is the step from
    which on something is to be done: before that nobody need ask. ``together`` is how many
    snapshots are taken each time.
    """

    def __init__(self, every: int | None) -> None:
        """Begin; ``every`` is a fixed number of steps, None for one that follows from the costs."""
        self._is_fixed = every is not None
        self.every = SAMPLES if every is None else every
        self.early = self.every
        self._steps: list[float] = []
        self._snapshots: list[float] = []
        self.last = 0
        self.next = 0
        self.together = 1

    @property
    def step_seconds(self) -> float:
        """What a step costs: the median of those that were timed, 0 if none was."""
        return sorted(self._steps)[len(self._steps) // 2] if self._steps else 0.0

    @property
    def is_timing(self) -> bool:
        """Whether each step is timed."""
        return len(self._steps) < SAMPLES

    def stepped(self, seconds: float) -> None:
        """Note what a step took."""
        self._steps.append(seconds)
        if len(self._steps) >= SAMPLES:
            del self._steps[:-SAMPLES]
            self._learn()

    def took(self, count: int, seconds: float) -> None:
        """Note that a snapshot was taken after so many steps, and what it took."""
        self._snapshots = [*self._snapshots[1 - KEPT :], seconds]
        self.last = count
        self._learn()
        self.plan(count)

    def _learn(self) -> None:
        # the first snapshot alone says nothing: it can take ten times as long as the others
        if self._is_fixed or len(self._snapshots) < 2 or len(self._steps) < SAMPLES:
            return
        step = max(self.step_seconds, 1e-9)
        # one of the shorter ones: a busy machine makes others ten times as long
        snapshot = sorted(self._snapshots)[(len(self._snapshots) - 1) // 4]
        cost = STORING * snapshot * self.together
        self.every = max(math.ceil(cost / (SHARE * step)), math.ceil(NEAR / (step + COMPARING)))
        self.early = math.ceil(0.9 * self.every)

    def plan(self, count: int) -> None:
        """Say from which step on something is to be done, the next being the earliest."""
        self.next = count + 1 if self.is_timing else max(self.last + self.every, count + 1)

    def is_due(self, count: int, reset: bool) -> bool:
        """Return whether a snapshot is to be taken now; at an episode's start it may come early."""
        return count - self.last >= (self.early if reset else self.every)
