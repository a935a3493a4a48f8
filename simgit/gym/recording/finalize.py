"""Recordings that went out of use without being closed: stored as soon as that is safe.

The garbage collector can find one at any allocation, inside a transaction or with a lock of the
same thread held: storing anything then would fail, or wait for itself. Such ones wait here for the
next thing that some session does, or for the end of the process.
"""

from __future__ import annotations

import gc
import os
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from simgit.errors import SimgitError, StorageError

Ending = Callable[[], None]
"""Stores what a recording has, and releases it; called again if it raised Storage."""

_waiting: Final[deque[tuple[int, Ending]]] = deque()
_is_collecting = False


def abandon(pid: int, end: Ending) -> None:
    """End a recording that nobody ended, now or soon; in the process that made it, and in no other.

    A forked child has a copy of what is its parent's to store.
    """
    _waiting.append((pid, end))
    if _is_collecting:
        _settle_at_exit()
    else:
        settle()


def settle() -> None:
    """End what waits; what cannot be stored now goes on waiting."""
    if _waiting:
        _settle(last=False)


def _settle(last: bool) -> None:
    for _ in range(len(_waiting)):
        try:
            pid, end = _waiting.popleft()
        except IndexError:
            return  # another thread was quicker
        if pid == os.getpid():
            _end(pid, end, last)


def _end(pid: int, end: Ending, last: bool) -> None:
    try:
        end()
    except SimgitError as error:
        if isinstance(error, StorageError) and not last:
            _waiting.append((pid, end))  # perhaps this thread is in a write transaction
            _settle_at_exit()
        else:
            warnings.warn(f"a recorder that was not closed: {error}", stacklevel=2)


def _settle_at_exit() -> None:
    """Make sure of the end: finalizers run newest first, so before those that close storages."""
    global _finalizer
    _finalizer.detach()
    _finalizer = weakref.finalize(settle, _settle, last=True)


def _watch(phase: str, _: dict[str, Any]) -> None:
    global _is_collecting
    _is_collecting = phase == "start"


gc.callbacks.append(_watch)
_finalizer = weakref.finalize(settle, _settle, last=True)
