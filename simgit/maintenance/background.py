"""Maintenance in the background: in short slices, after what was written.

1. ``BackgroundMaintenance`` decides at each turn what is due, and does a slice of it.
2. ``BackgroundCompaction`` joins small segments: some thousand rows a slice, in one transaction.
3. ``BackgroundCollection`` removes unreachable objects: once a day, as far as that is cheap.

A slice is short because the writer that has just committed waits for it. What cannot be done in
short slices is left to ``simgit gc``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Final

from simgit.errors import SimgitError
from simgit.maintenance.gc.mark import OutOfTime
from simgit.maintenance.gc.plan import Planner, Window, forget_found
from simgit.maintenance.gc.run import GcOptions, cutoff, pending_before, window
from simgit.maintenance.gc.sweep import Removed, Sweeper
from simgit.maintenance.size_log import COLLECTED, SETTLED, UPKEEP_AT, due
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.header import Header, decode_header, segment_key
from simgit.odb.segments.index_runs import ARRAYS, STATES
from simgit.odb.segments.join import join_segments, pack_loose
from simgit.process import now
from simgit.refs.oplog.journal import expire
from simgit.refs.oplog.log import OperationLog
from simgit.refs.reflog_expiry import expire_log, logged_refs, old_entries
from simgit.refs.refs import Refs
from simgit.refs.settings import GC_AUTO, GC_REFLOG, LIVE_DAYS, get_setting
from simgit.refs.simulations import trim_events
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.failpoints import fail_point

AT_CLOSE: Final = 0.5
"""Seconds that a collection has to finish in when the repository is closed."""

COMPACTION_SLICE: Final = 0.008
"""Seconds after which a slice of compaction begins nothing more."""
MAX_ROWS: Final = 2048
MAX_SEGMENTS: Final = 24
MAX_BYTES: Final = 128 << 10
_LOOKED_AT: Final = 256
"""Segments that are looked at in one snapshot."""
_PACKED: Final = 512
"""Loose index entries that are packed at the end of a pass."""
_LEVEL: Final = 3
_END: Final = b"\xff" * 16
"""A key behind every segment's."""

COLLECTION_SLICE: Final = 0.024
"""Seconds after which a slice of a collection begins nothing more."""
MAX_STATES: Final = 16_384
"""States of one line that are removed at once."""
MAX_INDEX_ENTRIES: Final = 200_000
"""The index is rewritten only if the affected parts of it have no more entries."""
MAX_FOLLOWED: Final = 20_000
"""With more entries in the tables that a plan follows, no plan is finished in time."""
_FOLLOWED: Final = ("objects", "attachments", "lines", "log", "operations")
_LOG_ENTRIES: Final = 500
_TRIES: Final = 3
"""Plans in a row that may get no further than the one before."""
_MAX_SLICES: Final = 1000


# --- 1. what is due, and when it stops ---


class BackgroundMaintenance:
    """Whatever maintenance is due, a slice at each turn."""

    def __init__(self, odb: ObjectDatabase, refs: Refs) -> None:
        self._odb = odb
        self._refs = refs
        self._work: BackgroundCompaction | BackgroundCollection | None = None

    @property
    def is_collecting(self) -> bool:
        """Return whether a collection has begun and is not finished."""
        return isinstance(self._work, BackgroundCollection)

    def turn(self) -> None:
        """Do a slice of what has begun, or begin what is due."""
        with self._odb.read() as txn:
            is_off = not get_setting(txn, GC_AUTO)
            found = due(txn, now()) if self._work is None else None
        if is_off:
            self._work = None
        elif found == "collection":
            self._work = BackgroundCollection(self._odb, self._refs)
        elif found == "compaction":
            self._work = BackgroundCompaction(self._odb)
        if self._work is not None and not self._work.slice():
            self._work = None

    def finish(self) -> None:
        """Let a collection that has begun finish, if that is soon.

        Otherwise processes of one command each would begin one day after day.
        """
        until = time.monotonic() + AT_CLOSE
        try:
            while self.is_collecting and time.monotonic() < until:
                self.turn()
        finally:
            self._work = None


# --- 2. compaction, slice by slice ---


class BackgroundCompaction:
    """One pass over all segments; another process resumes where this one stopped."""

    def __init__(self, odb: ObjectDatabase) -> None:
        self.odb = odb
        with odb.read() as txn:
            self._at = txn.get("meta", UPKEEP_AT) or b""

    def slice(self) -> bool:
        """Join the next small segments; return whether more is to be done."""
        until = time.monotonic() + COMPACTION_SLICE
        while not (joinable := self._look()) and self._at and time.monotonic() < until:
            pass
        # one transaction only: each waits for the disk
        with self.odb.write() as txn:
            if joinable:
                self._join(txn, joinable)
                self._at = self._at or _END
            if self._at:
                txn.put("meta", UPKEEP_AT, self._at)
            else:
                for kind in (STATES, ARRAYS):
                    pack_loose(txn, kind, _PACKED)
                txn.delete("meta", UPKEEP_AT)
                txn.put("meta", SETTLED, txn.count("segments").to_bytes(8, "big"))
        return bool(self._at)

    def _look(self) -> list[Header]:
        """Return the next segments that can be joined; move on, to b"" at the end of all."""
        with self.odb.read() as txn:
            found, self._at = _next_joinable(txn, self._at)
        return found if len(found) > 1 else []

    def _join(self, txn: WriteTxn, expected: list[Header]) -> None:
        """Join segments, unless somebody has changed them since they were looked at."""
        keys = [segment_key(header.line, header.step) for header in expected]
        found = txn.scan("segments", keys[0], keys[-1] + b"\0")
        current = [decode_header(key, value) for key, value in found]
        if [header.last for header in current] == [header.last for header in expected]:
            join_segments(self.odb.states, txn, current, _LEVEL)


def _next_joinable(txn: ReadTxn, start: bytes) -> tuple[list[Header], bytes]:
    """Return neighbours that fit into one segment, and the key to look on at: b"" at the end."""
    joinable: list[Header] = []
    size = 0
    for key, value in islice(txn.scan("segments", start), _LOOKED_AT):
        header = decode_header(key, value)
        more = sum(info.fixed_size + info.variable_size for info in header.blocks)
        if joinable and not (_fits(joinable, header) and size + more <= MAX_BYTES):
            if len(joinable) > 1:
                return joinable, key
            joinable, size = [], 0
        joinable.append(header)
        size += more
        last = key
    if not joinable:
        return [], b""
    later = next(txn.scan("segments", last + b"\0"), None)
    return joinable, last + b"\0" if later else b""


def _fits(before: list[Header], header: Header) -> bool:
    """Return whether a segment can be joined with those before it, and all are few and short."""
    first = before[0]
    return (
        (header.line, header.schema) == (first.line, first.schema)
        and len(before) < MAX_SEGMENTS
        and header.end - first.step <= MAX_ROWS
    )


# --- 3. collection, slice by slice ---


class BackgroundCollection:
    """One collection; what a process has not finished is begun anew the next day.

    What can be removed is decided in one snapshot, and that cannot be cut into slices. But what was
    read once need not be read again: a plan that does not finish in time is made anew in the next
    slice, and gets further. Once it is short enough, it is made in the transaction that removes.
    """

    def __init__(self, odb: ObjectDatabase, refs: Refs, clock: Callable[[], int] = now) -> None:
        self.odb = odb
        self._clock = clock
        self._planner = Planner(odb, refs)
        with odb.read() as txn:
            self._sweeper = Sweeper(odb, self._planner, self._window(txn))
        self._steps: list[Callable[[], bool]] = [
            self._begin, self._read, self._expire_reflogs, self._expire_operations, self._remove,
            self._prune_index,
        ]  # fmt: skip
        self._ref: bytes | None = b""
        self._known = self._stuck = self._slices = 0

    @property
    def removed(self) -> Removed:
        """The data that was removed so far."""
        return self._sweeper.removed

    def slice(self) -> bool:
        """Do as many steps as there is time for; return whether more is to be done."""
        self._slices += 1
        self._planner.marker.until = time.monotonic() + COLLECTION_SLICE
        try:
            while self._steps:
                if self._steps[0]():
                    del self._steps[0]
                if self._is_late():
                    break
        except OutOfTime:
            self._give_up_if_stuck()
        except SimgitError:
            self._steps.clear()  # fsck and gc say what is wrong
            raise
        return bool(self._steps)

    def _window(self, txn: ReadTxn) -> Window:
        """Return what counts in a transaction: settings can be changed meanwhile."""
        return replace(window(txn, GcOptions(), self._clock), most=MAX_STATES)

    def _is_late(self) -> bool:
        return time.monotonic() > self._planner.marker.until

    def _give_up_if_stuck(self) -> None:
        self._stuck = 0 if self._planner.read > self._known else self._stuck + 1
        self._known = self._planner.read
        if self._stuck == _TRIES or self._slices >= _MAX_SLICES:
            self._steps.clear()

    # the steps; each returns whether it is done

    def _begin(self) -> bool:
        """Note that today's collection has begun; end it here if plans cannot finish in time."""
        with self.odb.write() as txn:
            txn.put("meta", COLLECTED, self._clock().to_bytes(8, "big"))
            trim_events(txn, cutoff(get_setting(txn, LIVE_DAYS), self._clock))
            if sum(map(txn.count, _FOLLOWED)) > MAX_FOLLOWED:
                self._steps = self._steps[:1]
        return True

    def _read(self) -> bool:
        """Plan once, so that what plans need was read before writers have to wait for it."""
        with self.odb.read() as txn:
            self._planner.plan(txn, self._window(txn))
        return True

    def _expire_reflogs(self) -> bool:
        """Remove old entries of the next reflog that has some."""
        with self.odb.read() as txn:
            before = cutoff(get_setting(txn, GC_REFLOG), self._clock)
            ref = self._next_old(txn, before)
        if ref is not None:
            with self._expiring() as txn:
                before = cutoff(get_setting(txn, GC_REFLOG), self._clock)
                self.removed.log_entries += expire_log(txn, ref, before, _LOG_ENTRIES)
        return self._ref is None

    def _next_old(self, txn: ReadTxn, before: int) -> bytes | None:
        """Return the next ref whose reflog has old entries, None if there is no time to find it."""
        for ref in logged_refs(txn, self._ref or b""):
            self._ref = ref
            if next(old_entries(txn, ref, before), None) is not None:
                return ref
            if self._is_late():
                return None
        self._ref = None
        return None

    def _expire_operations(self) -> bool:
        with self._expiring() as txn:
            expire(OperationLog(), txn)
        return True

    @contextmanager
    def _expiring(self) -> Iterator[WriteTxn]:
        """Begin a transaction in which entries of a log expire."""
        with self.odb.write() as txn:
            self._sweeper.window = self._window(txn)
            # what was brought back and is unreachable once more has a new grace period
            forget_found(txn, *pending_before(self._sweeper, txn))
            yield txn

    def _remove(self) -> bool:
        """Remove what is unreachable for long enough, as much as there is time for."""
        with self.odb.write() as raw:
            txn = self._sweeper.tally(raw)
            self._sweeper.window = self._window(txn)
            for action in self._sweeper.begin(txn):
                action(txn)
                fail_point("gc.removed")
                if self._is_late():
                    return False
        return True

    def _prune_index(self) -> bool:
        """Remove the index entries of removed states; if there are many, ``gc`` does it."""
        with self.odb.write() as txn:
            if 0 < self._sweeper.index_entries(txn) <= MAX_INDEX_ENTRIES:
                self._sweeper.finish(self._sweeper.tally(txn))
        return True
