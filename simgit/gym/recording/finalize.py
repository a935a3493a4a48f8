"""Recordings that were dropped without being closed: stored as soon as that is safe.

The garbage collector can find one at any allocation, inside a transaction or while the thread holds
a lock: storing anything then would fail, or wait for itself. They wait here for the next operation
of some session, or for the end of the process.
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
"""Stores the states of a recording and releases it; called again if it raised StorageError."""

_waiting: Final[deque[tuple[int, Ending]]] = deque()
_is_collecting = False


def abandon(pid: int, end: Ending) -> None:
    """End a dropped recording, now or soon, only in the process that made it.

    A forked child has a copy of what its parent stores.
    """
    _waiting.append((pid, end))
    if _is_collecting:
        _settle_at_exit()
    else:
        settle()


def settle() -> None:
    """End the recordings that wait; those that cannot be stored now stay."""
    if _waiting:
        _settle(last=False)


def _settle(last: bool) -> None:
    for _ in range(len(_waiting)):
        try:
            pid, end = _waiting.popleft()
        except IndexError:
            return  # another thread took it
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
            warnings.warn(f"a recorder that was never closed: {error}", stacklevel=2)


def _settle_at_exit() -> None:
    """Settle at exit: finalizers run newest first, so before those that close storages."""
    global _finalizer
    _finalizer.detach()
    _finalizer = weakref.finalize(settle, _settle, last=True)


def _watch(phase: str, _: dict[str, Any]) -> None:
    global _is_collecting
    _is_collecting = phase == "start"


gc.callbacks.append(_watch)
_finalizer = weakref.finalize(settle, _settle, last=True)
