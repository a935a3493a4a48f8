"""Recorders that nobody closed: stored when they are dropped, or when the process ends.

The garbage collector can find one at any allocation, inside a transaction or while the thread holds
a lock: storing anything then would fail, or wait for itself. They wait here for the next operation
of some recorder, or for the end of the process. A forked child never stores what its parent had.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from simgit.errors import SimgitError, Stopped, StorageError

Ending = Callable[[], None]
"""Stores the states of a recording and releases it; called again if it raised StorageError."""


class Unclosed(Protocol):
    """A recorder, which may have buffered states."""

    def close(self, status: str = ...) -> None: ...

    def _belongs_to_parent(self) -> None: ...

    @property
    def _unstored(self) -> str: ...


_open: Final[weakref.WeakSet[Unclosed]] = weakref.WeakSet()
_waiting: Final[deque[tuple[int, Ending]]] = deque()
_is_collecting = False
_worker = 0
"""The process in which ``multiprocessing`` was asked to settle at its end."""


def watch(recorder: Unclosed) -> None:
    """Close a recorder at the end of the process, if it is still there and open."""
    _open.add(recorder)
    _settle_at_exit()


def finish(recorder: Unclosed) -> None:
    """Close a recorder that nobody closed; its runs are crashed if the process is."""
    recorder.close("crashed" if is_crashing() else "active")


def status_after(error: BaseException) -> str:
    """Return the status of a run whose recording an exception ended: to be stopped is no failure.

    Nor is it to leave: by ``sys.exit()``, or as a generator that is closed.
    """
    if isinstance(error, (KeyboardInterrupt, Stopped)):
        return "paused"
    has_left = isinstance(error, SystemExit) and error.code in (None, 0)
    return "active" if has_left or isinstance(error, GeneratorExit) else "failed"


def is_crashing() -> bool:
    """Return True if the interpreter ends because of an uncaught exception."""
    return getattr(sys, "last_value", None) is not None and not hasattr(sys, "ps1")


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
    for recorder in list(_open) if last else ():
        _end(os.getpid(), partial(finish, recorder), last)
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
            lost = getattr(getattr(end, "args", [None])[0], "_unstored", "")
            why = f"{lost} are lost: {error}" if lost else str(error)
            warnings.warn(f"a recorder that was never closed: {why}", stacklevel=2)


def _settle_at_exit() -> None:
    """Settle at exit: finalizers run newest first, so before those that close storages.

    A worker of ``multiprocessing`` ends without the functions of ``atexit``, but has its own.
    """
    global _finalizer, _worker
    _finalizer.detach()
    _finalizer = weakref.finalize(settle, _settle, last=True)
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None and _worker != os.getpid():
        _worker = os.getpid()
        multiprocessing.Finalize(None, _settle, kwargs={"last": True}, exitpriority=100)


def _leave_to_parent() -> None:
    for recorder in list(_open):
        recorder._belongs_to_parent()


def _watch(phase: str, _: dict[str, Any]) -> None:
    global _is_collecting
    _is_collecting = phase == "start"


gc.callbacks.append(_watch)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
_finalizer = weakref.finalize(settle, _settle, last=True)
