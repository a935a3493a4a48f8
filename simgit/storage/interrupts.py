"""Delaying Ctrl-C while memory and storage must change together."""

from __future__ import annotations

# signal's own functions turn handlers into enums and back, which takes 6 µs of a block's 10
import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Delay SIGINT to the end of the block, in the main thread.

    Without this ``KeyboardInterrupt`` can be raised between any two steps, for instance after a
    transaction was committed and before memory notes that. Blocks may be nested.
    """
    usual = _signal.getsignal(_signal.SIGINT)
    if not callable(usual) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    _signal.signal(_signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        _signal.signal(_signal.SIGINT, usual)
        if came:
            usual(*came[-1])
