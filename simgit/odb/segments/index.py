"""The index from oids to places.

It consists of runs, which are never changed, only merged: see ``index_runs``, ``index_merge``.
The few states of a small write are entered oid by oid in the table ``oids`` instead.

    oids: 32-byte oid -> u8 kind ‖ place
"""

from __future__ import annotations

import struct
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import IntegrityError
from simgit.objects.lazy_numpy import np
from simgit.odb.segments.block import CHECKPOINT_ROWS
from simgit.odb.segments.elias_fano import PREFIX_BITS, Entries, Page, prefixes, sort_entries
from simgit.odb.segments.index_merge import (
    FAN_IN,
    MAX_MERGE,
    PART,
    TOP_LEVEL,
    begin,
    go_on,
    merge_at_once,
    unfinished,
)
from simgit.odb.segments.index_runs import (
    ARRAYS,
    STATES,
    IndexRun,
    Places,
    checked_page,
    decode_record,
    entries_between,
    page_key,
    read_entries,
    write_run,
)
from simgit.storage.base import ReadTxn, WriteTxn

if TYPE_CHECKING:
    import numpy.typing as npt

LOOSE: Final = 64
"""The number of entries from which on a write makes a run of them."""
_ALIKE: Final = 64
"""The most entries of one prefix that are followed; honest ones are two or three at most."""
_PAGES: Final = 256
"""The pages of a run that are in memory at once where all are read."""
_WHOLE: Final = 1 << 20
"""Runs of more entries are not cached as a whole."""
CACHED_ENTRIES: Final = 1 << 22
CACHED_PAGES: Final = 6144
"""The number of cached pages (of some 14 million states); each takes some 9 KB."""
_LOOSE: Final = struct.Struct("<BQQ")


class Index:
    """The index of one store. Runs never change, so their pages are cached."""

    def __init__(self) -> None:
        self._runs: dict[int, IndexRun] = {}
        self._listed: tuple[int, list[IndexRun]] = (-1, [])
        self._entries: OrderedDict[int, npt.NDArray[np.uint32]] = OrderedDict()
        self._parsed: dict[bytes, Page] = {}
        self._mutex = threading.Lock()

    def forget(self) -> None:
        """Drop the cache, since a transaction that may have written parts of it was rolled back."""
        self._runs, self._listed, self._entries = {}, (-1, []), OrderedDict()
        self._parsed = {}

    def runs(self, txn: ReadTxn) -> list[IndexRun]:
        """Return all runs, the newest first."""
        listed = self._listed
        writing = isinstance(txn, WriteTxn)
        if listed[0] == txn.txn_id and not writing:
            return listed[1]
        found = []
        for key, value in txn.scan("index", b"\0", b"\1"):
            run = int.from_bytes(key[1:], "big")
            found.append(self._runs.get(run) or decode_record(run, value))
        # a number that was committed is never given out again; for others see ``forget``
        self._runs = {run.id: run for run in found}
        found.reverse()
        if not writing:
            self._listed = (txn.txn_id, found)
        return found

    def candidates(
        self, txn: ReadTxn, kind: int, low: int, high: int
    ) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yield (prefix, place) of the entries of a kind with low <= prefix <= high.

        The largest runs come first: what is looked for is most likely there, and each run that is
        not looked into saves the reading of a page.
        """
        found = [run for run in self.runs(txn) if run.kind == kind]
        for run in sorted(found, key=lambda run: -run.entries):
            for prefix, slot in self._in_run(txn, run, low, high):
                yield prefix, run.place(slot)

    def _in_run(
        self, txn: ReadTxn, run: IndexRun, low: int, high: int
    ) -> Iterator[tuple[int, int]]:
        """Yield (prefix, slot) of the entries of a run with low <= prefix <= high."""
        start = max(bisect_right(run.firsts, low) - 1, 0)
        stop = bisect_right(run.firsts, high, start)
        for first in run.firsts[start:stop]:
            yield from self._page(txn, page_key(run.id, first)).find(low, high)

    def _page(self, txn: ReadTxn, key: bytes) -> Page:
        """Return a page, its checksum compared at the first read."""
        page = self._parsed.get(key)
        if page is None:
            value = txn.get("index", key)
            if value is None:
                raise IntegrityError("a page of the index is missing; see 'simgit fsck'")
            page = Page(checked_page(value))
            if len(self._parsed) >= CACHED_PAGES:
                self._parsed.clear()  # rare, and cheaper than keeping an order
            self._parsed[key] = page
        return page

    def maybe_known(self, txn: ReadTxn, kind: int, oids: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Return a mask of the oids whose prefix has an entry."""
        wanted = prefixes(oids)
        known = np.fromiter((txn.get("oids", oid) is not None for oid in oids), bool, len(oids))
        for run in self.runs(txn):
            if run.kind != kind or not run.entries:
                continue
            if run.entries <= _WHOLE:
                have = self._cached_entries(txn, run)
                at = np.searchsorted(have, wanted).clip(max=len(have) - 1)
                known |= have[at] == wanted
                continue
            for i in np.flatnonzero(~known).tolist():
                prefix = int(wanted[i])
                known[i] = next(self._in_run(txn, run, prefix, prefix), None) is not None
        return known

    def lead_to(
        self,
        txn: ReadTxn,
        kind: int,
        wanted: npt.NDArray[np.uint32],
        lines: npt.NDArray[np.uint64],
        where: npt.NDArray[np.uint64],
    ) -> npt.NDArray[np.bool_]:
        """Return a mask of places that have an entry of their prefix: see ``IndexRun.place``.

        The index is read page by page wherever there is one of them, and some of it at a time.

        Args:
            txn: the transaction.
            kind: the kind of the entries.
            wanted: the prefixes.
            lines: the line of each.
            where: the step of each state; of arrays field and step of their group.

        Raises:
            IntegrityError: the index is damaged.
        """
        order = np.argsort(wanted)
        wanted, lines, where = wanted[order], lines[order], where[order]
        found = np.zeros(len(order), bool)
        for run in self.runs(txn):
            if run.kind != kind or not run.entries:
                continue
            bounds = [0, *run.firsts[_PAGES::_PAGES], 1 << PREFIX_BITS]
            for low, high in pairwise(bounds):
                start, stop = np.searchsorted(wanted, np.array([low, high], np.uint64))
                if start < stop:
                    part = slice(start, stop)
                    entries = entries_between(txn, run, low, high)
                    found[part] |= _lead_to(run, entries, wanted[part], lines[part], where[part])
        mask = np.empty_like(found)
        mask[order] = found
        return mask

    def _cached_entries(self, txn: ReadTxn, run: IndexRun) -> npt.NDArray[np.uint32]:
        """Return the prefixes of a run's entries."""
        with self._mutex:
            if run.id in self._entries:
                self._entries.move_to_end(run.id)
                return self._entries[run.id]
        entries = read_entries(txn, run)[0]
        with self._mutex:
            self._entries[run.id] = entries
            total = sum(map(len, self._entries.values()))
            while total > CACHED_ENTRIES and len(self._entries) > 1:
                total -= len(self._entries.popitem(last=False)[1])
        return entries

    def add(
        self,
        txn: WriteTxn,
        kind: int,
        oids: Sequence[bytes],
        slots: Sequence[int] | npt.NDArray[Any],
        places: Places,
    ) -> None:
        """Add a run: for each oid the number of its slot among the places."""
        entries = sort_entries(prefixes(oids), np.asarray(slots, np.uint32))
        write_run(txn, kind, 0, entries, places)
        if len(oids) >= PART:
            self._go_on(txn, kind, len(oids))
        self._merge(txn, kind, 0)

    def _merge(self, txn: WriteTxn, kind: int, level: int) -> None:
        """Merge a level that has become full, and then perhaps the next one."""
        full = [run for run in self.runs(txn) if (run.kind, run.level) == (kind, level)]
        if len(full) < FAN_IN or level == TOP_LEVEL:
            return
        begun = unfinished(txn)
        taken = {number for merge in begun for number in merge.sources}
        runs = [run for run in reversed(full) if run.id not in taken]
        total = sum(run.entries for run in runs)
        if len(runs) < FAN_IN:
            return
        if total > MAX_MERGE:
            if (kind, level) not in [(merge.kind, merge.level) for merge in begun]:
                begin(txn, level, runs)
            return
        merge_at_once(txn, level + 1, runs)
        # each entry counts once: when it is in a run of so many for the first time
        if total >= PART and (new := sum(run.entries for run in runs if run.entries < PART)):
            self._go_on(txn, kind, new)
        self._merge(txn, kind, level + 1)

    def _go_on(self, txn: WriteTxn, kind: int, added: int) -> None:
        for level in go_on(txn, self.runs(txn), kind, added):
            self._merge(txn, kind, level + 1)


def _lead_to(
    run: IndexRun,
    entries: Entries,
    wanted: npt.NDArray[np.uint32],
    lines: npt.NDArray[np.uint64],
    where: npt.NDArray[np.uint64],
) -> npt.NDArray[np.bool_]:
    have, slots = entries
    span, found = CHECKPOINT_ROWS if run.kind == STATES else 1, np.zeros(len(wanted), bool)
    at, stop = np.searchsorted(have, wanted), np.searchsorted(have, wanted, "right")
    for _ in range(_ALIKE):
        left = np.flatnonzero(~found & (at < stop))
        if not len(left):
            break
        slot = slots[at[left]].astype(np.int64)
        i = np.searchsorted(run.ends, slot, "right").clip(max=len(run.ends) - 1)
        begun = run.places["b"][i].astype(np.uint64)
        if run.kind == STATES:
            first = run.ends[i] - run.places["n"][i].astype(np.int64)
            begun = begun + ((slot - first) * CHECKPOINT_ROWS).astype(np.uint64)
        found[left] = (
            (run.places["a"][i] == lines[left])
            & (begun <= where[left])
            & (where[left] - begun < span)
        )
        at = at + 1
    return found


def add_loose(txn: WriteTxn, kind: int, oid: bytes, a: int, b: int) -> None:
    """Enter one oid with its place."""
    txn.put("oids", oid, _LOOSE.pack(kind, a, b))


def find_loose(txn: ReadTxn, kind: int, oid: bytes) -> tuple[int, int] | None:
    """Return the place of an oid that was entered by itself, or None.

    Raises:
        IntegrityError: the entry is damaged.
    """
    value = txn.get("oids", oid)
    if value is None:
        return None
    if len(value) != _LOOSE.size or value[0] not in (STATES, ARRAYS):
        raise IntegrityError(f"the index entry of '{oid.hex()}' is damaged; see 'simgit fsck'")
    found, a, b = _LOOSE.unpack(value)
    return (a, b) if found == kind else None
