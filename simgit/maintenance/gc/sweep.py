"""Carrying out a plan in short transactions, each of which leaves a consistent store.

Referring objects are removed first: states before the objects of their attachments, lines before
those that they begin at, deltas before their bases. So a process that is killed between two
transactions leaves no dangling reference.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from simgit.errors import StorageFullError
from simgit.maintenance.gc.plan import GcPlan, Planner, Window, write_pending
from simgit.objects.oid import Oid
from simgit.odb import unreachable
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.truncate import cut_line, entries_to_prune, prune_index
from simgit.refs.remote_cache import forget_packs
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.failpoints import fail_point
from simgit.storage.watched import WatchedWrite

SLICE: Final = 0.2
"""Seconds after which a transaction ends, so that writers can continue."""
Action = Callable[[WriteTxn], None]


_BESIDE: Final = ("pending", "meta", "remotes")
"""Tables that gc writes to itself."""


@dataclass
class Removed:
    """The objects that a gc removed.

    Attributes:
        states: the number of states.
        attachments: the number of attachments of those states.
        thinned: the number of other attachments, removed by retention rules.
        thinned_bytes: the bytes of their data that no other attachment shares; they are freed
            when the operation log has expired and the grace period is over.
        objects: the number of loose objects of each kind.
        arrays: the number of arrays that were stored with those states.
        chunks: the number of pieces of large blobs.
        log_entries: the number of entries of reflogs.
        tables: for each table the bytes of keys and values that it has fewer.
    """

    states: int = 0
    attachments: int = 0
    thinned: int = 0
    thinned_bytes: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    arrays: int = 0
    chunks: int = 0
    log_entries: int = 0
    tables: Counter[str] = field(default_factory=Counter)

    @property
    def is_something(self) -> bool:
        """True if anything was removed."""
        counts = (self.states, self.attachments, self.thinned, self.objects.total(), self.chunks)
        return any(counts) or self.log_entries > 0

    @property
    def bytes(self) -> int:
        """The removed bytes of keys and values, less those that had to be written anew."""
        return sum(size for table, size in self.tables.items() if table not in _BESIDE)


class Sweeper:
    """An executor of plans, which counts the removed objects in ``removed``."""

    def __init__(self, odb: ObjectDatabase, planner: Planner, window: Window) -> None:
        self.odb = odb
        self.planner = planner
        self.window = window
        self.removed = Removed()
        self._cut: set[int] = set()
        self._siblings: dict[bytes, bytes] = {}
        self._last_moved: Oid | None = None

    def tally(self, txn: WriteTxn) -> Tally:
        """Return a transaction whose changes are counted."""
        return Tally(txn, self.removed.tables)

    def sweep(self) -> None:
        """Carry out a plan, a slice at a time; plan again when another process has written.

        A slice for whose changed pages there is no space is made again with half as much in it:
        the space that one slice frees serves the slices after the next.
        """
        actions: Iterator[Action] = iter(())
        written, most, done = -1, sys.maxsize, False
        while not done:
            before, taken = deepcopy(self.removed), 0
            try:
                with self.odb.write() as raw:
                    txn = self.tally(raw)
                    if txn.txn_id != written + 1:
                        actions = self.begin(txn)
                    until = time.monotonic() + SLICE
                    for action in islice(actions, most):
                        action(txn)
                        taken += 1
                        fail_point("gc.removed")
                        if time.monotonic() > until:
                            break
                    else:
                        done = taken < most
                    written = txn.txn_id
            except StorageFullError:
                if taken <= 1:
                    raise
                self.removed, written, most, done = before, -1, taken // 2, False
            fail_point("gc.slice")
        with self.odb.write() as raw:
            self.finish(self.tally(raw))

    def begin(self, txn: WriteTxn) -> Iterator[Action]:
        """Plan in the snapshot of a transaction; return the actions."""
        plan = self.planner.plan(txn, self.window)
        self._siblings, self._last_moved = {}, None
        write_pending(txn, plan)
        if plan.cuts:
            forget_packs(txn)
        return self._actions(plan)

    def finish(self, txn: WriteTxn) -> None:
        """Remove the index entries of removed states, also of earlier runs."""
        prune_index(self.odb.states, txn, self._cut)

    def index_entries(self, txn: ReadTxn) -> int:
        """Return the number of index entries that ``finish`` rewrites."""
        return entries_to_prune(self.odb.states, txn, self._cut) if self._cut else 0

    def _actions(self, plan: GcPlan) -> Iterator[Action]:
        for oid in plan.moved:
            yield lambda txn, oid=oid: self._move(txn, oid)  # type: ignore[misc]
        for oid in plan.rebased:
            yield lambda txn, oid=oid: self._rebase(txn, oid, plan)  # type: ignore[misc]
        for line in sorted(plan.cuts, reverse=True):  # a line's number is above its parents'
            yield lambda txn, line=line: self._cut_line(txn, line, plan)  # type: ignore[misc]
        for oid, kind in plan.objects.items():
            yield lambda txn, oid=oid, kind=kind: self._drop(txn, oid, kind)  # type: ignore[misc]
        for name in plan.chunks:
            yield lambda txn, name=name: self._drop_chunk(txn, name)  # type: ignore[misc]

    def _move(self, txn: WriteTxn, oid: bytes) -> None:
        self.odb.move_array(txn, oid, self._last_moved)
        self._last_moved = Oid(oid)

    def _rebase(self, txn: WriteTxn, oid: bytes, plan: GcPlan) -> None:
        """Store an array as a delta to a kept one, or by itself."""
        depth = self.odb.delta_depth(txn, oid) or 0
        base = root = self.odb.delta_base(txn, oid)
        while base is not None and bytes(base) in plan.objects:
            root, base = base, self.odb.delta_base(txn, base)
        if base is None and root is not None:
            sibling = self._siblings.setdefault(bytes(root), bytes(oid))
            above = self.odb.delta_depth(txn, sibling) or 0
            # others may be deltas to this one: its chain must not become longer
            base = Oid(sibling) if sibling != oid and above < depth else None
        self.odb.rebase_array(txn, oid, base)

    def _cut_line(self, txn: WriteTxn, line: int, plan: GcPlan) -> None:
        cut, end = plan.cuts[line]
        for key in plan.attachments.get(line, ()):
            txn.delete("attachments", key)
            self.removed.attachments += 1
        cut_line(self.odb.states, txn, line, cut)
        self._cut.add(line)
        self.removed.states += end - cut
        self.removed.arrays += plan.arrays.get(line, 0)
        start, stop = unreachable.states_key(line, cut), unreachable.states_key(line + 1, 0)
        for key, _ in txn.scan(unreachable.TABLE, start, stop):
            txn.delete(unreachable.TABLE, key)

    def _drop(self, txn: WriteTxn, oid: bytes, kind: str) -> None:
        self.odb.drop(txn, oid)
        txn.delete(unreachable.TABLE, unreachable.OBJECT + oid)
        self.removed.objects[kind] += 1

    def _drop_chunk(self, txn: WriteTxn, name: bytes) -> None:
        if self.odb.drop_chunk(txn, name):
            self.removed.chunks += 1
        txn.delete(unreachable.TABLE, unreachable.CHUNK + name)


class Tally(WatchedWrite):
    """A wrapper of a transaction that counts its changes.

    Attributes:
        bytes: for each table the bytes of keys and values that it has fewer.
    """

    def __init__(self, txn: WriteTxn, size: Counter[str]) -> None:
        self._txn = txn
        self.bytes = size

    def _watch(self, table: str, key: bytes, value: bytes | None) -> None:
        old = self._txn.get(table, key)
        self.bytes[table] += _size(key, old) - _size(key, value)


def _size(key: bytes, value: bytes | None) -> int:
    return 0 if value is None else len(key) + len(value)
