"""The index from oids to places: index runs, and the merging of small ones.

A run belongs to one kind of place: ``states`` (ranges of 64 rows) or ``arrays`` (groups).
Runs are never changed; eight of a level are merged into one of the next, so that their number
grows with the logarithm of the store. The few states of a small write are entered oid by oid in
the table ``oids`` instead.

    index: 00 ‖ u64 run              -> kind, level, entries, places, firsts, checksum
           01 ‖ u64 run ‖ u32 prefix -> page, checksum
    oids:  32-byte oid               -> u8 kind ‖ place
"""

from __future__ import annotations

import struct
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from simgit.errors import IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum, compress, decompress
from simgit.odb.segments.block import CHECKPOINT_ROWS
from simgit.odb.segments.elias_fano import (
    PREFIX_BITS,
    Entries,
    Page,
    PageWriter,
    decode_page,
    prefixes,
    sort_entries,
)
from simgit.odb.segments.lines import next_number
from simgit.storage.base import ReadTxn, WriteTxn

if TYPE_CHECKING:
    import numpy.typing as npt

STATES: Final = 0
ARRAYS: Final = 1
LOOSE: Final = 64
"""The number of entries from which on a write makes a run of them."""
FAN_IN: Final = 8
_ALIKE: Final = 64
"""The most entries of one prefix that are followed; honest ones are two or three at most."""
MAX_MERGE: Final = 1 << 21
"""The most entries of a run that is merged while writing; larger ones are left to gc."""
CACHED_ENTRIES: Final = 1 << 22
CACHED_PAGES: Final = 6144
"""The number of cached pages (of some 14 million states); each takes some 9 KB."""
_META: Final = struct.Struct("<BBQII")
_LOOSE: Final = struct.Struct("<BQQ")
_PLACE: Final = np.dtype([("a", "<u8"), ("b", "<u8"), ("n", "<u4")])

Places = np.ndarray[Any, np.dtype[Any]]


class IndexRun(NamedTuple):
    """The header of a run: all but its pages."""

    id: int
    kind: int
    level: int
    entries: int
    places: Places
    ends: npt.NDArray[np.int64]  # cumulative numbers of the places' slots
    firsts: list[int]  # the first prefix of each page

    def place(self, number: int) -> tuple[int, int]:
        """Return a slot's place: (line, step) of states, (line, field and step) of arrays."""
        if number >= int(self.ends[-1]):
            raise IntegrityError("the index is damaged: unknown place; see 'simgit fsck'")
        i = int(np.searchsorted(self.ends, number, "right"))
        within = number - (int(self.ends[i - 1]) if i else 0)
        a, b, _ = self.places[i].item()
        return (a, b + CHECKPOINT_ROWS * within) if self.kind == STATES else (a, b)


def _meta_key(run: int) -> bytes:
    return b"\0" + run.to_bytes(8, "big")


def _page_key(run: int, prefix: int) -> bytes:
    return b"\1" + run.to_bytes(8, "big") + prefix.to_bytes(4, "big")


def _decode_meta(run: int, value: bytes) -> IndexRun:
    body = value[:-CHECKSUM_SIZE]
    if checksum(body) != value[-CHECKSUM_SIZE:] or len(body) < _META.size:
        raise IntegrityError(f"run {run} of the index is damaged; see 'simgit fsck'")
    kind, level, entries, count, pages = _META.unpack_from(body)
    size = count * _PLACE.itemsize
    raw = decompress(body[_META.size :], size + 4 * pages)
    places = np.frombuffer(raw, _PLACE, count)
    firsts = np.frombuffer(raw, "<u4", pages, size).tolist()
    ends = np.cumsum(places["n"], dtype=np.int64)
    return IndexRun(run, kind, level, entries, places, ends, firsts)


class Index:
    """The index of one store. Runs never change, so their pages are cached."""

    def __init__(self) -> None:
        self._runs: dict[int, IndexRun] = {}
        self._listed: tuple[int, list[IndexRun]] = (-1, [])
        self._entries: OrderedDict[int, Entries] = OrderedDict()
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
            found.append(self._runs.get(run) or _decode_meta(run, value))
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
            start = max(bisect_right(run.firsts, low) - 1, 0)
            stop = bisect_right(run.firsts, high, start)
            for first in run.firsts[start:stop]:
                page = self._page(txn, _page_key(run.id, first))
                for prefix, slot in page.find(low, high):
                    yield prefix, run.place(slot)

    def _page(self, txn: ReadTxn, key: bytes) -> Page:
        """Return a page, its checksum compared at the first read."""
        page = self._parsed.get(key)
        if page is None:
            value = txn.get("index", key)
            if value is None:
                raise IntegrityError("a page of the index is missing; see 'simgit fsck'")
            page = Page(_checked_page(value))
            if len(self._parsed) >= CACHED_PAGES:
                self._parsed.clear()  # rare, and cheaper than keeping an order
            self._parsed[key] = page
        return page

    def maybe_known(self, txn: ReadTxn, kind: int, oids: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Return a mask of the oids whose prefix has an entry."""
        wanted = prefixes(oids)
        known = np.fromiter((txn.get("oids", oid) is not None for oid in oids), bool, len(oids))
        for run in self.runs(txn):
            if run.kind == kind and run.entries:
                have = self._cached_entries(txn, run)[0]
                at = np.searchsorted(have, wanted).clip(max=len(have) - 1)
                known |= have[at] == wanted
        return known

    def lead_to(
        self,
        txn: ReadTxn,
        kind: int,
        oids: Sequence[bytes],
        line: int,
        where: npt.NDArray[np.uint64],
    ) -> npt.NDArray[np.bool_]:
        """Return a mask of oids with an entry that leads to their place: see ``IndexRun.place``.

        Args:
            txn: the transaction.
            kind: the kind of the entries.
            oids: the oids.
            line: the line that they are in.
            where: the step of each state; of arrays field and step of their group.
        """
        wanted, span = prefixes(oids), CHECKPOINT_ROWS if kind == STATES else 1
        found = np.zeros(len(oids), bool)
        for run in self.runs(txn):
            if run.kind != kind or not run.entries:
                continue
            have, slots = self._cached_entries(txn, run)
            at, stop = np.searchsorted(have, wanted), np.searchsorted(have, wanted, "right")
            for _ in range(_ALIKE):
                left = np.flatnonzero(~found & (at < stop))
                if not len(left):
                    break
                slot = slots[at[left]].astype(np.int64)
                i = np.searchsorted(run.ends, slot, "right").clip(max=len(run.ends) - 1)
                begun = run.places["b"][i].astype(np.uint64)
                if kind == STATES:
                    first = run.ends[i] - run.places["n"][i].astype(np.int64)
                    begun = begun + ((slot - first) * CHECKPOINT_ROWS).astype(np.uint64)
                found[left] = (
                    (run.places["a"][i] == line)
                    & (begun <= where[left])
                    & (where[left] - begun < span)
                )
                at = at + 1
        return found

    def _cached_entries(self, txn: ReadTxn, run: IndexRun) -> Entries:
        with self._mutex:
            if run.id in self._entries:
                self._entries.move_to_end(run.id)
                return self._entries[run.id]
        entries = read_entries(txn, run)
        with self._mutex:
            self._entries[run.id] = entries
            total = sum(len(prefix) for prefix, _ in self._entries.values())
            while total > CACHED_ENTRIES and len(self._entries) > 1:
                total -= len(self._entries.popitem(last=False)[1][0])
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
        self._merge(txn, kind, 0)

    def _merge(self, txn: WriteTxn, kind: int, level: int) -> None:
        """Merge a level that has become full, and then perhaps the next one."""
        runs = [run for run in self.runs(txn) if (run.kind, run.level) == (kind, level)]
        total = sum(run.entries for run in runs)
        if len(runs) < FAN_IN or total > MAX_MERGE:
            return
        runs.reverse()
        entries = [read_entries(txn, run) for run in runs]
        merge_runs(txn, kind, level + 1, runs, entries)
        self._merge(txn, kind, level + 1)


def _checked_page(value: bytes) -> bytes:
    page = value[:-CHECKSUM_SIZE]
    if checksum(page) != value[-CHECKSUM_SIZE:]:
        raise IntegrityError("a page of the index is damaged; see 'simgit fsck'")
    return page


def write_run(txn: WriteTxn, kind: int, level: int, entries: Entries, places: Places) -> None:
    """Store a run of sorted entries."""
    slot = entries[1]
    greatest = int(slot.max()) if len(slot) else 0
    write_parts(txn, kind, level, [entries], places, (len(slot), greatest.bit_length()))


def write_parts(
    txn: WriteTxn,
    kind: int,
    level: int,
    parts: Iterable[Entries],
    places: Places,
    size: tuple[int, int],
) -> None:
    """Store a run of sorted entries that come in parts; all of a prefix are in one part.

    ``size`` is the number of all entries, and the bits of their greatest slot.

    Raises:
        IntegrityError: fewer or more entries came.
    """
    run = next_number(txn, b"next-index")
    writer, count = PageWriter(*size), 0
    for part in parts:
        count += len(part[0])
        for prefix, page in writer.pages(part, is_last=count == size[0]):
            txn.put("index", _page_key(run, prefix), page + checksum(page))
    if count != size[0]:  # the last of them were not written
        raise IntegrityError("the index is damaged: entries are missing; see 'simgit fsck'")
    raw = places.tobytes() + np.array(writer.firsts, "<u4").tobytes()
    body = _META.pack(kind, level, count, len(places), len(writer.firsts)) + compress(raw)
    txn.put("index", _meta_key(run), body + checksum(body))


def entries_between(txn: ReadTxn, run: IndexRun, low: int, high: int) -> Entries:
    """Return a run's entries with low <= prefix < high, sorted.

    Raises:
        IntegrityError: a page is damaged or missing.
    """
    start = max(bisect_right(run.firsts, low) - 1, 0)
    stop = bisect_left(run.firsts, high, start)
    pages = [np.zeros((2, 0), np.uint32)]
    for first in run.firsts[start:stop]:
        value = txn.get("index", _page_key(run.id, first))
        if value is None:
            raise IntegrityError("a page of the index is missing; see 'simgit fsck'")
        pages.append(np.stack(decode_page(_checked_page(value))))
    prefix, slot = np.concatenate(pages, axis=1)
    begin, end = np.searchsorted(prefix, np.array([low, high], np.uint64))
    return prefix[begin:end], slot[begin:end]


def read_entries(txn: ReadTxn, run: IndexRun) -> Entries:
    """Return all entries of a run, sorted.

    Raises:
        IntegrityError: a page is damaged or missing.
    """
    entries = entries_between(txn, run, 0, 1 << PREFIX_BITS)
    if len(entries[0]) != run.entries:
        raise IntegrityError(f"pages of run {run.id} of the index are missing; see 'simgit fsck'")
    return entries


def check_run(txn: ReadTxn, run: IndexRun) -> None:
    """Check that a run's pages are those that its record lists, and that its slots exist.

    Raises:
        IntegrityError: they are not.
    """
    start = _page_key(run.id, 0)
    known = int(run.ends[-1]) if len(run.ends) else 0
    pages, count, greatest = [], 0, -1
    for key, value in txn.scan("index", start, start[:9] + b"\xff" * 5):
        slots = decode_page(_checked_page(value))[1]  # one page at a time: runs have any size
        pages.append(key)
        count += len(slots)
        if len(slots):
            greatest = max(greatest, int(slots.max()))
    if count != run.entries:
        raise IntegrityError(f"pages of run {run.id} of the index are missing; see 'simgit fsck'")
    if pages != [_page_key(run.id, first) for first in run.firsts]:
        raise IntegrityError(f"run {run.id} of the index lacks pages; see 'simgit fsck'")
    if greatest >= known:
        raise IntegrityError(f"run {run.id} of the index leads to unknown places")


def merge_runs(
    txn: WriteTxn, kind: int, level: int, runs: list[IndexRun], entries: list[Entries]
) -> None:
    """Replace runs by one that has all their entries."""
    shift, slots = 0, []
    for run, (_, slot) in zip(runs, entries, strict=True):
        slots.append(slot + np.uint32(shift))
        shift += int(run.ends[-1]) if len(run.ends) else 0
    places = np.concatenate([run.places for run in runs])
    merged = sort_entries(np.concatenate([p for p, _ in entries]), np.concatenate(slots))
    for run in runs:
        delete_run(txn, run.id)
    write_run(txn, kind, level, merged, places)


def delete_run(txn: WriteTxn, run: int) -> None:
    """Remove a run and its pages."""
    txn.delete("index", _meta_key(run))
    start = _page_key(run, 0)
    for key, _ in list(txn.scan("index", start, start[:9] + b"\xff" * 5)):
        txn.delete("index", key)


def state_places(ranges: Sequence[tuple[int, int, int]]) -> Places:
    """Return the places of ranges of states, given as (line, first step, rows)."""
    slots = [(line, step, -(-rows // CHECKPOINT_ROWS)) for line, step, rows in ranges]
    return np.array(slots, _PLACE)


def array_places(groups: Sequence[tuple[int, int]]) -> Places:
    """Return the places of groups of arrays, given as (line, field and step)."""
    return np.array([(line, where, 1) for line, where in groups], _PLACE)


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
