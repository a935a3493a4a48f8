"""The schedule of snapshots: every K steps, K from the measured costs of steps and snapshots."""

from __future__ import annotations

import math
from typing import Final

SHARE: Final = 0.05
"""The share of the stepping time that snapshots may take."""
STORING: Final = 2.0
"""A snapshot's cost relative to taking it: storing it at the next flush costs as much again."""
SAMPLES: Final = 32
"""Steps timed at the beginning."""
KEPT: Final = 8
"""Snapshots whose times are kept."""
NEAR: Final = 0.025
"""Seconds of re-execution below which a further snapshot is not worth its bytes."""
COMPARING: Final = 15e-6
"""Seconds that re-execution adds to a step: it is read and compared."""
NEVER: Final = 1 << 62


class SnapshotSchedule:
    """Counts steps up to the next snapshot, and measures the costs of steps and snapshots.

    ``every`` is the number of steps between two snapshots. Before step ``next`` nothing is due.
    ``together`` is the number of snapshots taken each time.
    """

    def __init__(self, every: int | None) -> None:
        """Begin with a fixed number of steps, or None to derive it from the costs."""
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
        """The median seconds of the timed steps, 0 if no step was timed."""
        return sorted(self._steps)[len(self._steps) // 2] if self._steps else 0.0

    @property
    def is_timing(self) -> bool:
        """True while each step is timed."""
        return len(self._steps) < SAMPLES

    @property
    def next_start(self) -> int:
        """The step from which on a snapshot is due at an episode's start."""
        return self.last + self.early

    def stepped(self, seconds: float) -> None:
        """Note the seconds of a step."""
        self._steps.append(seconds)
        if len(self._steps) >= SAMPLES:
            del self._steps[:-SAMPLES]
            self._learn()

    def took(self, count: int, seconds: float) -> None:
        """Note that a snapshot was taken after ``count`` steps, and its seconds."""
        self._snapshots = [*self._snapshots[1 - KEPT :], seconds]
        self.last = count
        self._learn()
        self.plan(count)

    def _learn(self) -> None:
        # the first snapshot is no measure: it can take ten times as long as the others
        if self._is_fixed or len(self._snapshots) < 2 or len(self._steps) < SAMPLES:
            return
        step = max(self.step_seconds, 1e-9)
        # one of the shorter ones: a busy machine makes others ten times as long
        snapshot = sorted(self._snapshots)[(len(self._snapshots) - 1) // 4]
        cost = STORING * snapshot * self.together
        self.every = max(math.ceil(cost / (SHARE * step)), math.ceil(NEAR / (step + COMPARING)))
        self.early = math.ceil(0.9 * self.every)

    def plan(self, count: int) -> None:
        """Set the step from which on something is due, at the earliest the next."""
        self.next = count + 1 if self.is_timing else max(self.last + self.every, count + 1)

    def is_far(self, steps: int) -> bool:
        """Return True if re-executing so many steps is worth a note that saves it."""
        if self._is_fixed:
            return steps >= self.every
        return steps * (self.step_seconds + COMPARING) >= NEAR

    def is_due(self, count: int, reset: bool) -> bool:
        """Return True if a snapshot is due; at an episode's start it may come early."""
        return count - self.last >= (self.early if reset else self.every)
