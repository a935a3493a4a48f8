"""Removing what nothing leads to, by itself: once a day, a slice at a time, after what was written.

Whether something can go is decided in one snapshot, and that cannot be cut into slices. But what
was read once need not be read again: a plan that has not come to its end in time is made anew in
the next slice, and gets further. Once it is short enough it is made in the transaction in which
things go. Where that never is so, everything is left to ``simgit gc``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from simgit.errors import SimgitError
from simgit.maintenance.gc.mark import OutOfTime
from simgit.maintenance.gc.plan import Planner, Window, forget_found
from simgit.maintenance.gc.run import GcOptions, cutoff, pending_before, window
from simgit.maintenance.gc.sweep import Removed, Sweeper
from simgit.maintenance.size_log import COLLECTED
from simgit.odb.database import ObjectDatabase
from simgit.refs.oplog.journal import expire
from simgit.refs.oplog.log import OperationLog
from simgit.refs.reflog_expiry import expire_log, logged_refs, old_entries
from simgit.refs.refs import Refs
from simgit.refs.settings import GC_REFLOG, get_setting
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.failpoints import fail_point
from simgit.storage.process import now

SLICE: Final = 0.024
"""Seconds after which a slice begins nothing more."""
MOST: Final = 16_384
"""So many states of a line go at once."""
PRUNED: Final = 200_000
"""The index is rewritten if the runs concerned have no more than so many entries."""
MANY: Final = 20_000
"""Of so many entries all told no plan is made in time."""
_FOLLOWED: Final = ("objects", "attachments", "lines", "log", "operations")
_ENTRIES: Final = 500
_TRIES: Final = 3
"""So many plans in a row may get no further than the ones before."""
_MOST_SLICES: Final = 1000


class AutoCollection:
    """One collection, slice by slice; what a process has not done is begun anew the next day."""

    ends_with_process: Final = True

    def __init__(self, odb: ObjectDatabase, refs: Refs, clock: Callable[[], int] = now) -> None:
        self.odb = odb
        self._clock = clock
        self._planner = Planner(odb, refs)
        with odb.read() as txn:
            self._sweeper = Sweeper(odb, self._planner, self._window(txn))
        self._steps: list[Callable[[], bool]] = [
            self._begin, self._read, self._expire_logs, self._expire_operations, self._remove,
            self._prune,
        ]  # fmt: skip
        self._ref: bytes | None = b""
        self._known = self._stuck = self._slices = 0

    @property
    def removed(self) -> Removed:
        """What has gone so far."""
        return self._sweeper.removed

    def slice(self) -> bool:
        """Do a slice; return whether more is to be done."""
        self._slices += 1
        self._planner.marker.until = time.monotonic() + SLICE
        try:
            self._go_on()
        except OutOfTime:
            self._give_up_if_stuck()
        except SimgitError:
            self._steps.clear()  # fsck and gc say what is wrong
            raise
        return bool(self._steps)

    def _go_on(self) -> None:
        while self._steps:
            if self._steps[0]():
                del self._steps[0]
            if self._is_late():
                return

    def _window(self, txn: ReadTxn) -> Window:
        """Return what counts in a transaction: settings can be changed meanwhile."""
        return replace(window(txn, GcOptions(), self._clock), most=MOST)

    def _is_late(self) -> bool:
        return time.monotonic() > self._planner.marker.until

    def _give_up_if_stuck(self) -> None:
        self._stuck = 0 if self._planner.read > self._known else self._stuck + 1
        self._known = self._planner.read
        if self._stuck == _TRIES or self._slices >= _MOST_SLICES:
            self._steps.clear()

    # --- the steps; each returns whether it is done ---

    def _begin(self) -> bool:
        """Note that it is done today; see whether plans can be had in time at all."""
        with self.odb.write() as txn:
            txn.put("meta", COLLECTED, self._clock().to_bytes(8, "big"))
            if sum(map(txn.count, _FOLLOWED)) > MANY:
                self._steps = self._steps[:1]
        return True

    def _read(self) -> bool:
        """Plan, so that what plans need was read before writers have to wait for it."""
        with self.odb.read() as txn:
            self._planner.plan(txn, self._window(txn))
        return True

    def _expire_logs(self) -> bool:
        """Let reflogs forget what is too old."""
        with self.odb.read() as txn:
            before = cutoff(get_setting(txn, GC_REFLOG), self._clock)
            ref = self._next_old(txn, before)
        if ref is not None:
            with self._forgetting() as txn:
                before = cutoff(get_setting(txn, GC_REFLOG), self._clock)
                self.removed.log_entries += expire_log(txn, ref, before, _ENTRIES)
        return self._ref is None

    def _expire_operations(self) -> bool:
        with self._forgetting() as txn:
            expire(OperationLog(), txn)
        return True

    @contextmanager
    def _forgetting(self) -> Iterator[WriteTxn]:
        """Begin a transaction in which a log forgets something."""
        with self.odb.write() as txn:
            self._sweeper.window = self._window(txn)
            # what was brought back and is lost once more has its grace period once more
            forget_found(txn, *pending_before(self._sweeper, txn))
            yield txn

    def _next_old(self, txn: ReadTxn, before: int) -> bytes | None:
        """Return the next ref whose reflog has old entries, None if time is over before."""
        for ref in logged_refs(txn, self._ref or b""):
            self._ref = ref
            if next(old_entries(txn, ref, before), None) is not None:
                return ref
            if self._is_late():
                return None
        self._ref = None
        return None

    def _remove(self) -> bool:
        """Remove what can go, as much as there is time for."""
        with self.odb.write() as raw:
            txn = self._sweeper.tally(raw)
            self._sweeper.window = self._window(txn)
            for action in self._sweeper.begin(txn):
                action(txn)
                fail_point("gc.removed")
                if self._is_late():
                    return False
        return True

    def _prune(self) -> bool:
        """Remove what the index says of what has gone; if that takes long, ``gc`` does it."""
        with self.odb.write() as txn:
            if 0 < self._sweeper.index_entries(txn) <= PRUNED:
                self._sweeper.finish(self._sweeper.tally(txn))
        return True
