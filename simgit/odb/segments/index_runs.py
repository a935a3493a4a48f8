"""Runs of the index as they are stored: a record and pages of sorted entries.

A run belongs to one kind of place: ``states`` (ranges of 64 rows) or ``arrays`` (groups).

    index: 00 ‖ u64 run              -> kind, level, entries, places, firsts, checksum
           01 ‖ u64 run ‖ u32 prefix -> page, checksum
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from simgit.errors import IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum, compress, decompress
from simgit.objects.lazy_numpy import np
from simgit.odb.segments.block import CHECKPOINT_ROWS
from simgit.odb.segments.elias_fano import PREFIX_BITS, Entries, PageWriter, decode_page
from simgit.odb.segments.lines import next_number
from simgit.storage.base import ReadTxn, WriteTxn

if TYPE_CHECKING:
    import numpy.typing as npt

STATES: Final = 0
ARRAYS: Final = 1
_META: Final = struct.Struct("<BBQII")

Places: TypeAlias = "npt.NDArray[Any]"


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


def meta_key(run: int) -> bytes:
    return b"\0" + run.to_bytes(8, "big")


@cache
def _place() -> np.dtype[Any]:
    return np.dtype([("a", "<u8"), ("b", "<u8"), ("n", "<u4")])


def page_key(run: int, prefix: int) -> bytes:
    return b"\1" + run.to_bytes(8, "big") + prefix.to_bytes(4, "big")


def decode_record(run: int, value: bytes) -> IndexRun:
    body = value[:-CHECKSUM_SIZE]
    if checksum(body) != value[-CHECKSUM_SIZE:] or len(body) < _META.size:
        raise IntegrityError(f"run {run} of the index is damaged; see 'simgit fsck'")
    kind, level, entries, count, pages = _META.unpack_from(body)
    size = count * _place().itemsize
    raw = decompress(body[_META.size :], size + 4 * pages)
    places = np.frombuffer(raw, _place(), count)
    firsts = np.frombuffer(raw, "<u4", pages, size).tolist()
    ends = np.cumsum(places["n"], dtype=np.int64)
    return IndexRun(run, kind, level, entries, places, ends, firsts)


def checked_page(value: bytes) -> bytes:
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
        write_pages(txn, run, writer, part, is_last=count == size[0])
    if count != size[0]:  # the last of them were not written
        raise IntegrityError("the index is damaged: entries are missing; see 'simgit fsck'")
    write_record(txn, (run, kind, level), count, places, writer.firsts)


def write_pages(
    txn: WriteTxn, run: int, writer: PageWriter, part: Entries, *, is_last: bool
) -> None:
    """Store the pages of a run that its next entries fill."""
    for prefix, page in writer.pages(part, is_last=is_last):
        txn.put("index", page_key(run, prefix), page + checksum(page))


def write_record(
    txn: WriteTxn,
    what: tuple[int, int, int],
    entries: int,
    places: Places,
    firsts: Sequence[int],
) -> None:
    """Store the record of a run, given as (number, kind, level), whose pages are stored."""
    run, kind, level = what
    raw = places.tobytes() + np.array(firsts, "<u4").tobytes()
    body = _META.pack(kind, level, entries, len(places), len(firsts)) + compress(raw)
    txn.put("index", meta_key(run), body + checksum(body))


def entries_between(txn: ReadTxn, run: IndexRun, low: int, high: int) -> Entries:
    """Return a run's entries with low <= prefix < high, sorted.

    Raises:
        IntegrityError: a page is damaged or missing.
    """
    start = max(bisect_right(run.firsts, low) - 1, 0)
    stop = bisect_left(run.firsts, high, start)
    pages = [np.zeros((2, 0), np.uint32)]
    for first in run.firsts[start:stop]:
        value = txn.get("index", page_key(run.id, first))
        if value is None:
            raise IntegrityError("a page of the index is missing; see 'simgit fsck'")
        pages.append(np.stack(decode_page(checked_page(value))))
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
    known = int(run.ends[-1]) if len(run.ends) else 0
    pages, count, greatest = [], 0, -1
    for key, value in pages_of(txn, run.id):
        slots = decode_page(checked_page(value))[1]  # one page at a time: runs have any size
        pages.append(key)
        count += len(slots)
        if len(slots):
            greatest = max(greatest, int(slots.max()))
    if count != run.entries:
        raise IntegrityError(f"pages of run {run.id} of the index are missing; see 'simgit fsck'")
    if pages != [page_key(run.id, first) for first in run.firsts]:
        raise IntegrityError(f"run {run.id} of the index lacks pages; see 'simgit fsck'")
    if greatest >= known:
        raise IntegrityError(f"run {run.id} of the index leads to unknown places")


def pages_of(txn: ReadTxn, run: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a run's pages, in order."""
    start = page_key(run, 0)
    return txn.scan("index", start, start[:9] + b"\xff" * 5)


def page_firsts(txn: ReadTxn, run: int) -> list[int]:
    """Return the first prefix of each page of a run, as their keys have it."""
    return [int.from_bytes(key[9:], "big") for key, _ in pages_of(txn, run)]


def delete_run(txn: WriteTxn, run: int) -> None:
    """Remove a run and its pages."""
    txn.delete("index", meta_key(run))
    delete_pages(txn, run)


def delete_pages(txn: WriteTxn, run: int) -> None:
    """Remove the pages of a run."""
    for key, _ in pages_of(txn, run):
        txn.delete("index", key)


def state_places(ranges: Sequence[tuple[int, int, int]]) -> Places:
    """Return the places of ranges of states, given as (line, first step, rows)."""
    slots = [(line, step, -(-rows // CHECKPOINT_ROWS)) for line, step, rows in ranges]
    return np.array(slots, _place())


def array_places(groups: Sequence[tuple[int, int]]) -> Places:
    """Return the places of groups of arrays, given as (line, field and step)."""
    return np.array([(line, where, 1) for line, where in groups], _place())
