"""gc: expire reflogs, remove unreachable objects after their grace period, join small pieces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from simgit.errors import InvalidInput, StorageFullError, shown
from simgit.maintenance.compaction import Progress, consolidate, count_segments
from simgit.maintenance.gc.plan import DAY, Planner, Window, forget_found
from simgit.maintenance.gc.retention import Rule, parse_rules, thinned
from simgit.maintenance.gc.sweep import Removed, Sweeper
from simgit.maintenance.size_log import COLLECTED, SETTLED, note_size
from simgit.objects.coerce import check_number
from simgit.odb.database import ObjectDatabase
from simgit.odb.unreachable import TABLE, Since
from simgit.process import now
from simgit.refs.oplog.journal import expire
from simgit.refs.oplog.log import OperationLog
from simgit.refs.reflog_expiry import expire_logs, expire_operations
from simgit.refs.refs import Refs
from simgit.refs.settings import (
    GC_GRACE,
    GC_KEEP,
    GC_REFLOG,
    GC_REWRITE,
    LIVE_DAYS,
    get_setting,
)
from simgit.refs.simulations import trim_events
from simgit.storage.base import ReadTxn, WriteTxn, make_room
from simgit.storage.overlay import Overlay

_LEAST: Final = 64 << 10
_SHARE: Final = 8
Clock = Callable[[], int]
_MOST_DAYS: Final = 36_500
"""The longest period in days."""


@dataclass(frozen=True)
class GcReport:
    """The result of a gc. Sizes are bytes on disk.

    ``held_open``: the space was not given back because another process has the file open.
    """

    segments_before: int
    segments_after: int
    groups_joined: int
    size_before: int
    size_after: int
    compacted: bool
    held_open: bool
    removed: Removed


@dataclass(frozen=True)
class GcOptions:
    """Periods in days, None for the repository's settings; and retention rules.

    Attributes:
        grace: how long unreachable objects are kept.
        expire: how long entries of reflogs and of the operation log are kept, and with them the
            states that they name.
        keep: retention rules, by which attachments are thinned out first.
        aggressive: join all segments that fit into one, the large ones too, however long it takes.
    """

    grace: float | None = None
    expire: float | None = None
    keep: str | None = None
    aggressive: bool = False

    def __post_init__(self) -> None:
        """Check the periods.

        Raises:
            InvalidInput: one is not a number of days, is negative, or too long to be counted.
        """
        for name, days in (("grace", self.grace), ("expire", self.expire)):
            if days is not None and check_number(days, name) > _MOST_DAYS:
                raise InvalidInput(f"{name} must be at most {_MOST_DAYS} days, got {days}")
        if self.keep is not None and not isinstance(self.keep, str):
            raise InvalidInput(f"keep must be a text of rules, got {shown(self.keep)}")
        if not isinstance(self.aggressive, bool):
            raise InvalidInput(f"aggressive must be a bool, got {shown(self.aggressive)}")


def gc(
    odb: ObjectDatabase,
    refs: Refs,
    options: GcOptions = GcOptions(),
    progress: Progress | None = None,
    clock: Clock = now,
    logged: ObjectDatabase | None = None,
) -> GcReport:
    """Remove expired objects, join small pieces, and give space back where that is worth it.

    No oid and no location changes. Objects reachable from refs, reflogs or the operation log are
    kept.

    Args:
        odb: the database; its storage must not log operations, since removal is final.
        refs: its refs.
        options: the periods and rules.
        progress: called with the number of joined lines, and the number of all.
        clock: returns the time in nanoseconds since 1970.
        logged: the database with the operation log, for thinning out, which can be undone.

    Raises:
        NotFound: a reachable object is missing; nothing more was removed.
        IntegrityError: a reachable object is damaged; nothing more was removed.
        StorageFullError: the disk is full, and the reserved space does not suffice.
    """
    before, size = count_segments(odb), odb.storage.size()
    removed = make_room(odb.storage, lambda: collect(odb, refs, options, clock, logged or odb))
    joined, compacted, held_open = 0, False, False
    with suppress(StorageFullError):  # the removal has at least made room for others
        joined = make_room(
            odb.storage, lambda: consolidate(odb, progress, aggressive=options.aggressive)
        )
        worth = is_worth_it(odb)
        compacted = worth and make_room(odb.storage, odb.storage.compact)
        held_open = worth and not compacted
    make_room(odb.storage, lambda: _note(odb, clock))
    odb.storage.keep_reserve()
    return GcReport(
        before, count_segments(odb), joined, size, odb.storage.size(), compacted, held_open, removed
    )


def _note(odb: ObjectDatabase, clock: Clock) -> None:
    with odb.write() as txn:
        note_size(odb, txn, clock())
        txn.put("meta", SETTLED, txn.count("segments").to_bytes(8, "big"))
        txn.put("meta", COLLECTED, clock().to_bytes(8, "big"))
        trim_events(txn, cutoff(get_setting(txn, LIVE_DAYS), clock))


def collect(
    odb: ObjectDatabase, refs: Refs, options: GcOptions, clock: Clock, logged: ObjectDatabase
) -> Removed:
    """Remove expired objects and return a count of them; see ``gc``."""
    with odb.read() as snapshot:
        sweeper = Sweeper(odb, Planner(odb, refs), window(snapshot, options, clock))
        thinned(odb, refs, snapshot, sweeper.planner.marker, _rules(snapshot, options))
    with odb.read() as snapshot:
        known, found = pending_before(sweeper, snapshot)
    if known:
        with odb.write() as txn:
            forget_found(txn, known, found)
    with logged.write() as raw:
        _thin(sweeper, raw, refs, options)
        _expire(sweeper, raw, options, clock)
    with odb.read() as snapshot:  # fills the cache for the plan within the write
        sweeper.planner.plan(snapshot, sweeper.window)
    sweeper.sweep()
    return sweeper.removed


def dry_run(odb: ObjectDatabase, refs: Refs, options: GcOptions, clock: Clock = now) -> Removed:
    """Return exactly what ``collect`` would remove, by running it over a snapshot in memory.

    Writers do not wait for it.
    """
    apart = ObjectDatabase(odb.storage)  # with caches of its own, for the overlay is not real
    with odb.read() as snapshot:
        sweeper = Sweeper(apart, Planner(apart, refs), window(snapshot, options, clock))
        raw = Overlay(snapshot)
        forget_found(raw, *pending_before(sweeper, raw))
        _thin(sweeper, raw, refs, options)
        _expire(sweeper, raw, options, clock)
        txn = sweeper.tally(raw)
        for action in sweeper.begin(txn):
            action(txn)
        sweeper.finish(txn)
    return sweeper.removed


def window(txn: ReadTxn, options: GcOptions, clock: Clock) -> Window:
    """Return the current time with the grace period."""
    days = get_setting(txn, GC_GRACE) if options.grace is None else options.grace
    return Window(clock(), int(days * DAY), get_setting(txn, GC_REWRITE))


def pending_before(sweeper: Sweeper, txn: ReadTxn) -> tuple[dict[bytes, bytes], dict[bytes, Since]]:
    """Return the entries of unreachable objects, and the objects found so before logs expire.

    An object that was restored and is unreachable again gets a new grace period: until now the logs
    named it.
    """
    known = dict(txn.scan(TABLE))
    return known, sweeper.planner.pending(txn, sweeper.window) if known else {}


def _rules(txn: ReadTxn, options: GcOptions) -> tuple[Rule, ...]:
    return parse_rules(get_setting(txn, GC_KEEP) if options.keep is None else options.keep)


def _thin(sweeper: Sweeper, raw: WriteTxn, refs: Refs, options: GcOptions) -> None:
    """Remove the bindings that no retention rule keeps."""
    txn = sweeper.tally(raw)
    keys = thinned(sweeper.odb, refs, txn, sweeper.planner.marker, _rules(txn, options))
    bindings = [txn.get("attachments", key) or b"" for key in keys]
    for key in keys:
        txn.delete("attachments", key)
    sweeper.planner.more_roots = bindings  # the operation log will name them
    sweeper.removed.thinned = len(keys)
    sweeper.removed.thinned_bytes = sweeper.planner.exclusive(txn, bindings)


def _expire(sweeper: Sweeper, raw: WriteTxn, options: GcOptions, clock: Clock) -> None:
    """Remove the expired entries of the logs."""
    txn = sweeper.tally(raw)
    if options.expire is None:
        expire(OperationLog(), txn)
        days = get_setting(txn, GC_REFLOG)
    else:
        days = options.expire
        expire_operations(txn, cutoff(days, clock))
    sweeper.removed.log_entries = expire_logs(txn, cutoff(days, clock))


def cutoff(days: float, clock: Clock) -> int:
    # at 0 days also what was written in this very nanosecond
    return clock() - int(days * DAY) + (days == 0)


def is_worth_it(odb: ObjectDatabase) -> bool:
    """Return True if a compact copy, which rewrites all bytes, gives back enough space."""
    spare = odb.storage.spare()
    return spare >= max(_LEAST, odb.storage.size() // _SHARE)
