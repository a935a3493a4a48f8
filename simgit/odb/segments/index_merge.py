"""Merging of index runs: small ones at once, large ones a part at each write.

Eight runs of a level are merged into one of the next, so that the number of runs grows with the
logarithm of the store. A merge of many entries would make one write wait, and take memory for all
of them: its pages are written over many writes, about twice as many entries as these add. Until
it is finished readers use the runs that it merges.

    index: 02 ‖ u8 kind ‖ u8 level -> run, entries, next prefix, sources, checksum
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from simgit.errors import IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.objects.lazy_numpy import np
from simgit.odb.segments.block import CHECKPOINT_ROWS
from simgit.odb.segments.elias_fano import (
    PREFIX_BITS,
    Entries,
    PageWriter,
    decode_page,
    sort_entries,
)
from simgit.odb.segments.index_runs import (
    STATES,
    IndexRun,
    Places,
    checked_page,
    delete_pages,
    delete_run,
    entries_between,
    meta_key,
    page_firsts,
    pages_of,
    write_pages,
    write_parts,
    write_record,
)
from simgit.odb.segments.lines import next_number
from simgit.storage.base import ReadTxn, WriteTxn

if TYPE_CHECKING:
    import numpy.typing as npt

FAN_IN: Final = 8
TOP_LEVEL: Final = 255
"""The level of runs that gc made; writing never merges them."""
MAX_MERGE: Final = 1 << 19
"""The most entries that are merged in one write."""
PART: Final = 1 << 16
"""Large merges go on each time that so many entries have come together in one run."""
PACE: Final = 2
"""The entries that a large merge writes for each that is added: it ends before the next begins."""
_HEAD: Final = struct.Struct("<QQQI")
_END: Final = 1 << PREFIX_BITS

Moves = list[tuple["npt.NDArray[np.int64]", "npt.NDArray[np.int64]"]]
"""For each run where the slots of its places end, and by how much each place's numbers change."""


class Merge(NamedTuple):
    """A merge that is not finished."""

    kind: int
    level: int  # one less than that of the merged run
    run: int  # the number of the merged run
    entries: int  # that it has so far
    next: int  # their prefixes are all less
    sources: tuple[int, ...]


def unfinished(txn: ReadTxn) -> list[Merge]:
    """Return the merges that are not finished.

    Raises:
        IntegrityError: the record of one is damaged.
    """
    found = []
    for key, value in txn.scan("index", b"\2", b"\3"):
        merge = _decode(key, value)
        if merge is None or txn.get("index", meta_key(merge.run)) is not None:
            raise IntegrityError("a merge of the index is damaged; see 'simgit fsck'")
        found.append(merge)
    return found


def _decode(key: bytes, value: bytes) -> Merge | None:
    """Return a merge, None if its record is malformed."""
    body = value[:-CHECKSUM_SIZE]
    if len(key) != 3 or len(body) < _HEAD.size or checksum(body) != value[-CHECKSUM_SIZE:]:
        return None
    _, kind, level = key
    run, entries, after, count = _HEAD.unpack_from(body)
    if len(body) != _HEAD.size + 8 * count or level >= TOP_LEVEL or after >= _END:
        return None
    sources = struct.unpack_from(f"<{count}Q", body, _HEAD.size)
    return Merge(kind, level, run, entries, after, sources)


def _key(merge: Merge) -> bytes:
    return bytes((2, merge.kind, merge.level))


def _write(txn: WriteTxn, merge: Merge) -> None:
    body = _HEAD.pack(merge.run, merge.entries, merge.next, len(merge.sources))
    body += struct.pack(f"<{len(merge.sources)}Q", *merge.sources)
    txn.put("index", _key(merge), body + checksum(body))


def greatest_number(txn: ReadTxn, most: int) -> int | None:
    """Return the greatest number, ``most`` or less, that a run has or a merge will give to one."""
    end = most.to_bytes(8, "big")
    keys = [txn.floor("index", b"\0" + end), txn.floor("index", b"\1" + end + b"\xff" * 4)]
    found = [int.from_bytes(each[0][1:9], "big") for each in keys if each is not None]
    with suppress(IntegrityError):  # a damaged merge: the pages that it has written still tell
        found += [merge.run for merge in unfinished(txn) if merge.run <= most]
    return max(found, default=None)


def begin(txn: WriteTxn, level: int, runs: Sequence[IndexRun]) -> None:
    """Begin to merge runs of a kind into one of the level above ``level``."""
    number = next_number(txn, b"next-index")
    _write(txn, Merge(runs[0].kind, level, number, 0, 0, tuple(run.id for run in runs)))


def give_up(txn: WriteTxn, merge: Merge) -> None:
    """Remove what was written of a merge; the runs that it would have merged stay."""
    delete_pages(txn, merge.run)
    txn.delete("index", _key(merge))


def give_up_merges(txn: WriteTxn, kind: int) -> None:
    """Give up all merges of a kind."""
    for merge in unfinished(txn):
        if merge.kind == kind:
            give_up(txn, merge)


def go_on(txn: WriteTxn, runs: Sequence[IndexRun], kind: int, added: int) -> list[int]:
    """Write the next part of each merge of a kind.

    Args:
        txn: the transaction.
        runs: all runs.
        kind: the kind.
        added: the number of entries that were added since the last part.

    Returns:
        The levels whose merges were finished.
    """
    known = {run.id: run for run in runs}
    finished = []
    for merge in unfinished(txn):
        if merge.kind != kind:
            continue
        if all(number in known for number in merge.sources):
            if _write_part(txn, merge, [known[number] for number in merge.sources], added):
                finished.append(merge.level)
        else:
            give_up(txn, merge)
    return finished


def _write_part(txn: WriteTxn, merge: Merge, sources: Sequence[IndexRun], added: int) -> bool:
    """Write the next part of a merge; return whether it was the last one."""
    total = sum(run.entries for run in sources)
    places = [run.places for run in sources]
    moves = renumbered(merge.kind, places)
    writer = PageWriter(total, slot_bits(places))
    share = (PACE * added << PREFIX_BITS) // max(1, total)
    while True:
        high = min(merge.next + share, _END)
        part = merged_entries(txn, sources, moves, merge.next, high)
        if high == _END or len(part[0]) > writer.step:
            break
        share = 2 * share + 1  # less than a page: prefixes are not spread evenly
    write_pages(txn, merge.run, writer, part, is_last=high == _END)
    left = writer.left  # less than a page of it: read again the next time
    entries = merge.entries + len(part[0]) - len(left)
    if high < _END:
        after = int(left[0]) if len(left) else high
        _write(txn, merge._replace(entries=entries, next=after))
        return False
    if entries != total:
        raise IntegrityError("the index is damaged: entries are missing; see 'simgit fsck'")
    joined, firsts = joined_places(merge.kind, places), page_firsts(txn, merge.run)
    write_record(txn, (merge.run, merge.kind, merge.level + 1), total, joined, firsts)
    for run in sources:
        delete_run(txn, run.id)
    txn.delete("index", _key(merge))
    return True


def check_merge(txn: ReadTxn, merge: Merge) -> None:
    """Check the pages that a merge has written.

    Raises:
        IntegrityError: they are damaged, or not those that its record tells of.
    """
    count = 0
    for _, value in pages_of(txn, merge.run):
        prefix = decode_page(checked_page(value))[0]
        count += len(prefix)
        if len(prefix) and int(prefix[-1]) >= merge.next:
            count = -1
            break
    if count != merge.entries:
        raise IntegrityError("pages of a merge of the index are missing; see 'simgit fsck'")


def merge_at_once(txn: WriteTxn, level: int, runs: Sequence[IndexRun]) -> None:
    """Replace runs of a kind by one of a level that has all their entries.

    Raises:
        IntegrityError: the runs are damaged.
    """
    kind = runs[0].kind
    places = [run.places for run in runs]
    entries = merged_entries(txn, runs, renumbered(kind, places), 0, _END)
    size = (sum(run.entries for run in runs), slot_bits(places))
    write_parts(txn, kind, level, [entries], joined_places(kind, places), size)
    for run in runs:
        delete_run(txn, run.id)


def merged_entries(
    txn: ReadTxn, runs: Sequence[IndexRun], moves: Moves, low: int, high: int
) -> Entries:
    """Return the entries of runs with low <= prefix < high, and with their new slots."""
    found = [entries_between(txn, run, low, high) for run in runs]
    slots = [_moved(slot, *move) for (_, slot), move in zip(found, moves, strict=True)]
    return sort_entries(np.concatenate([p for p, _ in found]), np.concatenate(slots))


def renumbered(kind: int, places: Sequence[Places]) -> Moves:
    """Return how the slots of several runs are renumbered where these are one."""
    joined = np.concatenate(places)
    sizes, order = joined["n"].astype(np.int64), _order(kind, joined)
    starts = np.zeros(len(joined), np.int64)
    starts[order] = np.cumsum(sizes[order]) - sizes[order]
    moves, at = [], 0
    for each in places:
        ends = np.cumsum(each["n"], dtype=np.int64)
        moves.append((ends, starts[at : at + len(each)] - ends + each["n"]))
        at += len(each)
    return moves


def joined_places(kind: int, places: Sequence[Places]) -> Places:
    """Return the places of several runs as those of one; its slots are those of ``renumbered``.

    Places of states that continue each other become one.
    """
    joined = np.concatenate(places)
    joined = joined[_order(kind, joined)]
    if kind != STATES or not len(joined):
        return joined
    line, first, count = joined["a"], joined["b"], joined["n"].astype(np.uint64)
    end = first + count * np.uint64(CHECKPOINT_ROWS)
    is_new = np.concatenate([[True], (line[1:] != line[:-1]) | (first[1:] != end[:-1])])
    at = np.flatnonzero(is_new)
    out = joined[at]
    out["n"] = np.add.reduceat(count, at)
    return out


def _order(kind: int, joined: Places) -> npt.NDArray[np.int64]:
    return np.lexsort((joined["b"], joined["a"])) if kind == STATES else np.arange(len(joined))


def _moved(
    slot: npt.NDArray[np.uint32], ends: npt.NDArray[np.int64], by: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint32]:
    owner = np.searchsorted(ends, slot, "right")
    if len(slot) and int(owner.max()) == len(ends):
        raise IntegrityError("the index is damaged: unknown place; see 'simgit fsck'")
    return (slot + by[owner]).astype(np.uint32)


def slot_bits(places: Sequence[Places]) -> int:
    """Return the bits of the greatest slot of all places."""
    greatest = max(0, sum(int(each["n"].sum(dtype=np.int64)) for each in places) - 1)
    if greatest >> 32:
        raise IntegrityError("the index is damaged: too many places; see 'simgit fsck'")
    return greatest.bit_length()
