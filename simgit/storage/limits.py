"""Limits of time on reading: work that nobody waits for ends itself, between two reads.

Who bounds a call sets a limit in its context. Every read of the store looks at it, and so does what
computes long on what was read. Without a limit that is one comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Final


class TimeIsUp(BaseException):
    """Work took longer than its limit.

    It is no ``Exception``, so that nothing takes it for a fault of what is read, and goes on.
    """


class TimeLimit:
    """The moment at which work has to end; or earlier, when somebody says so."""

    def __init__(self, seconds: float) -> None:
        """Begin to count."""
        self._until = monotonic() + seconds
        self.is_ended = False
        """True if nobody waits for the work any more; set from any thread."""

    def check(self) -> None:
        """Raise if the moment has come.

        Raises:
            TimeIsUp: it has.
        """
        if self.is_ended or monotonic() >= self._until:
            raise TimeIsUp


_limit: Final[ContextVar[TimeLimit | None]] = ContextVar("simgit_limit", default=None)


def current_limit() -> TimeLimit | None:
    """Return the limit of this context, None without one."""
    return _limit.get()


def check_time() -> None:
    """Look at the limit of this context; see ``TimeLimit.check``."""
    if (limit := _limit.get()) is not None:
        limit.check()


@contextmanager
def limited(limit: TimeLimit) -> Iterator[None]:
    """Bound what is called in the block, and in threads that take its context."""
    before = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(before)
