"""Holding Ctrl-C back while what is in memory must follow what was stored."""

from __future__ import annotations

# signal's own functions turn handlers into enums and back, which takes 6 µs of a block's 10
import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT
from types import FrameType


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Let SIGINT take effect only when the block has ended, if it came in the main thread.

    Without this ``KeyboardInterrupt`` can be raised between any two steps: when a transaction has
    been committed, and before that is noted. Blocks may be nested.
    """
    usual = _signal.getsignal(SIGINT)
    if not callable(usual) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    _signal.signal(SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        _signal.signal(SIGINT, usual)
        if came:
            usual(*came[-1])
