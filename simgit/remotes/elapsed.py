"""Elapsed time, for those who must not do anything too late."""

from __future__ import annotations

import time
from collections.abc import Callable


class Elapsed:
    """The seconds since a moment: those that this machine slept too, and if its clock is set back.

    The clock of the day runs on while a machine sleeps, but may be set; the steady one cannot be
    set, but may stand still meanwhile. The greater difference counts.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Begin now.

        Args:
            clock: the seconds since 1970.
        """
        self._clock = clock
        self.restart()

    def restart(self, before: float = 0.0) -> None:
        """Begin again, as if some seconds had passed."""
        self._at = self._clock() - before
        self._steady = time.monotonic() - before

    def __call__(self) -> float:
        """Return the seconds since then."""
        return max(self._clock() - self._at, time.monotonic() - self._steady)
