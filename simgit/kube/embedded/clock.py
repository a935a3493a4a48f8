"""Virtual time in milliseconds, with a queue of calls that are due. Nothing here sleeps."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Due = Callable[[], None]


class Clock:
    """The current time, and a queue of calls in order of time, then age."""

    __slots__ = ("_count", "_due", "now")

    def __init__(self, now: int = 0) -> None:
        """Start at the given time in milliseconds, with nothing due."""
        self.now = now
        self._due: list[tuple[int, int, Due]] = []
        self._count = 0

    def at(self, time: int, call: Due) -> None:
        """Plan a call; one whose time has passed is due now."""
        self._count += 1
        heapq.heappush(self._due, (max(time, self.now), self._count, call))

    def next_time(self) -> int | None:
        """Return the time of the next call, None if none is planned."""
        return self._due[0][0] if self._due else None

    def pop_due(self) -> Due | None:
        """Remove and return the next call that is due, None if there is none."""
        if self._due and self._due[0][0] <= self.now:
            return heapq.heappop(self._due)[2]
        return None
