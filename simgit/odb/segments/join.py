"""Joining small segments, groups and index runs into large ones. No oid, no location changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from simgit.errors import IntegrityError
from simgit.objects.chain import chain_oids
from simgit.objects.oid import Oid
from simgit.objects.rows import Rows
from simgit.odb.location import Location
from simgit.odb.segments.array_codec import decode_group, group_header, group_size, unstack
from simgit.odb.segments.array_groups import (
    Member,
    delete_group,
    groups_between,
    read_group,
    write_groups,
)
from simgit.odb.segments.batch import SEGMENT_ROWS, Tip, write_rows
from simgit.odb.segments.block import CHECKPOINT_ROWS
from simgit.odb.segments.elias_fano import PREFIX_BITS, Entries, prefixes, sort_entries
from simgit.odb.segments.header import Header, decode_header, delete_pieces, header_at, segment_key
from simgit.odb.segments.index import (
    STATES,
    Index,
    Places,
    array_places,
    delete_run,
    entries_between,
    find_loose,
    write_parts,
    write_run,
)
from simgit.odb.segments.lines import read_line
from simgit.odb.segments.state_store import StateStore
from simgit.storage.base import ReadTxn, WriteTxn

if TYPE_CHECKING:
    import numpy.typing as npt

LEVEL: Final = 12
"""zstd's level for rewritten segments."""
TOP_LEVEL: Final = 255
"""The level of index runs that compaction made; writing never merges them."""
_TOGETHER: Final = 1 << 20
"""The entries of the index that are in memory at once while its runs are joined."""


def headers(txn: ReadTxn, line: int, start: int = 0) -> Iterator[Header]:
    """Yield the headers of a line's segments of states from a step on, in order."""
    first = header_at(txn, line, start)
    place = segment_key(line, first.step if first else start)
    for key, value in txn.scan("segments", place, segment_key(line + 1, 0)):
        yield decode_header(key, value)


def joinable(found: Sequence[Header]) -> list[list[Header]]:
    """Return the runs of a line's segments that can be joined into one each."""
    adjacent: list[list[Header]] = [[]]
    for header in found:
        last = adjacent[-1]
        rows = sum(each.count for each in last)
        alike = bool(last) and last[0].schema == header.schema
        if not alike or rows + header.count > SEGMENT_ROWS:
            adjacent.append([])
        adjacent[-1].append(header)
    return [segments for segments in adjacent if len(segments) > 1]


def join_segments(
    states: StateStore, txn: WriteTxn, segments: Sequence[Header], level: int = LEVEL
) -> None:
    """Replace consecutive segments of one schema by one, compressed at a level of zstd.

    Raises:
        IntegrityError: the hashes of their states do not match.
    """
    first = segments[0]
    blocks = [
        [states.block(txn, header, number) for number in range(len(header.blocks))]
        for header in segments
    ]
    rows = concatenate([block.rows for each in blocks for block in each])
    oids = chain_oids(rows, states.head(txn, first, blocks[0][0], 0, 0))
    before, at = [first.parent, *oids[:-1]], 0
    for header, each in zip(segments, blocks, strict=True):
        end = at + header.count
        # what the segment stores is compared with what its rows hash to
        checkpoints = b"".join(block.checkpoints for block in each)
        if header.last != oids[end - 1] or checkpoints != b"".join(before[at:end:CHECKPOINT_ROWS]):
            place = f"{header.line}/{header.step}"
            raise IntegrityError(f"hash mismatch: the states of segment {place}; see 'simgit fsck'")
        at = end
    for header in segments:
        txn.delete("segments", segment_key(header.line, header.step))
        if not header.inline:
            delete_pieces(txn, "blocks", segment_key(header.line, header.step))
    root = read_line(txn, first.line).is_root and first.step == 0
    tip = None if root else tip_before(first, rows)
    write_rows(txn, Location(first.line, first.step), rows, before, oids, tip, level)


def tip_before(header: Header, rows: Rows) -> Tip:
    """Return the state before a segment, as the tip that its rows continue."""
    place = Location(header.line, header.step - 1)
    return Tip(
        Oid(header.parent),
        place,
        rows.schema,
        header.episode,
        header.episode_start,
        header.returned,
    )


def concatenate(parts: Sequence[Rows]) -> Rows:
    """Return rows of one schema as one."""
    variable = [
        [item for part in parts for item in part.variable[i]] for i in range(len(parts[0].variable))
    ]
    return Rows(parts[0].schema, np.concatenate([part.fixed for part in parts]), variable)


def join_groups(states: StateStore, txn: WriteTxn, header: Header) -> int:
    """Join the small groups of arrays of a segment's states; return how many there were."""
    schema = states.read_schema(txn, header.schema)
    joined = 0
    for field in schema.arrays:
        small: list[tuple[int, bytes, int]] = []
        for step, key in list(groups_between(txn, header.line, field, header.step, header.end)):
            if step < header.step:
                continue
            found = group_header(read_group(txn, key))
            nbytes = int(np.prod(found.shape, dtype=np.int64)) * found.dtype.itemsize
            room = group_size(nbytes)
            if sum(count for _, _, count in small) + len(found.steps) > room:
                joined += _join(states, txn, header.line, field, small)
                small = []
            if len(found.steps) < room:
                small.append((step, key, len(found.steps)))
        joined += _join(states, txn, header.line, field, small)
    return joined


def _join(
    states: StateStore, txn: WriteTxn, line: int, field: int, small: list[tuple[int, bytes, int]]
) -> int:
    if len(small) < 2:
        return 0
    members: list[Member] = []
    for step, key, _ in small:
        data = read_group(txn, key)
        steps = group_header(data).steps + step
        oids = states.field_oids(txn, line, field, steps)
        members += zip(steps.tolist(), oids, unstack(decode_group(data)), strict=True)
        delete_group(txn, key)
    write_groups(txn, line, field, members, LEVEL)
    return len(small)


# --- the index ---------------------------------------------------------------------------------


def join_index(index: Index, txn: WriteTxn, kind: int) -> bool:
    """Join all index runs and single entries of a kind into one run; return True if it did."""
    runs = [run for run in reversed(index.runs(txn)) if run.kind == kind]
    loose = _loose(txn, kind)
    if len(runs) + bool(loose) < 2 and not (loose and not runs):
        return False
    places = [run.places for run in runs]
    single: Entries | None = None
    if loose:
        single, where = _loose_entries(kind, loose)
        places.append(where)
    joined, moves = _merged(kind, places)
    count = sum(run.entries for run in runs) + len(loose)
    greatest = max(0, int(joined["n"].sum(dtype=np.int64)) - 1)
    if greatest >> 32:
        raise IntegrityError("the index is damaged: too many places; see 'simgit fsck'")

    def parts() -> Iterator[Entries]:
        for low, high in _ranges(count):
            found = [entries_between(txn, run, low, high) for run in runs]
            if single is not None:
                begin, end = np.searchsorted(single[0], np.array([low, high], np.uint64))
                found.append((single[0][begin:end], single[1][begin:end]))
            slots = [_moved(slot, *move) for (_, slot), move in zip(found, moves, strict=True)]
            yield sort_entries(np.concatenate([p for p, _ in found]), np.concatenate(slots))

    write_parts(txn, kind, TOP_LEVEL, parts(), joined, (count, greatest.bit_length()))
    for run in runs:
        delete_run(txn, run.id)
    for oid, _, _ in loose:
        txn.delete("oids", oid)
    return True


def _ranges(count: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of prefixes, from one to before the next, of about ``_TOGETHER`` entries each.

    (Prefixes are evenly spread, for they are of hashes.)
    """
    number = -(-count // _TOGETHER)
    for i in range(number):
        yield (i << PREFIX_BITS) // number, (i + 1 << PREFIX_BITS) // number


def pack_loose(index: Index, txn: WriteTxn, kind: int, least: int) -> bool:
    """Join the first single entries of a kind into a small run; return True if it did."""
    if txn.count("oids") < least:
        return False
    loose = _loose(txn, kind, least)
    if not loose:
        return False
    for oid, _, _ in loose:
        txn.delete("oids", oid)
    write_run(txn, kind, 0, *_loose_entries(kind, loose))
    return True


def _loose(txn: ReadTxn, kind: int, most: int | None = None) -> list[tuple[bytes, int, int]]:
    found = []
    for oid, _ in islice(txn.scan("oids"), most):
        place = find_loose(txn, kind, oid)
        if place is not None:
            found.append((oid, *place))
    return found


def _loose_entries(kind: int, loose: list[tuple[bytes, int, int]]) -> tuple[Entries, Places]:
    """Return entries and places: 64 consecutive states of a line share a slot."""
    ordered = sorted(loose, key=lambda each: each[1:])
    slots: list[int] = []
    wheres: list[tuple[int, int]] = []
    for _, a, b in ordered:
        width = CHECKPOINT_ROWS if kind == STATES else 1
        if not wheres or wheres[-1][0] != a or not wheres[-1][1] <= b < wheres[-1][1] + width:
            wheres.append((a, b))
        slots.append(len(wheres) - 1)
    entries = sort_entries(prefixes([oid for oid, _, _ in ordered]), np.asarray(slots, np.uint32))
    return entries, array_places(wheres)


_Move = tuple["npt.NDArray[np.int64]", "npt.NDArray[np.int64]"]
"""Where the slots of a run's places end, and by how much each place's numbers change."""


def _merged(kind: int, places: list[Places]) -> tuple[Places, list[_Move]]:
    """Return the places of several runs as those of one, and how the runs' slots are renumbered.

    Places of states that continue each other become one.
    """
    joined = np.concatenate(places)
    sizes = joined["n"].astype(np.int64)
    order = np.lexsort((joined["b"], joined["a"])) if kind == STATES else np.arange(len(joined))
    starts = np.zeros(len(joined), np.int64)
    starts[order] = np.cumsum(sizes[order]) - sizes[order]
    moves, at = [], 0
    for each in places:
        ends = np.cumsum(each["n"], dtype=np.int64)
        moves.append((ends, starts[at : at + len(each)] - ends + each["n"]))
        at += len(each)
    if kind != STATES:
        return joined, moves
    out: list[tuple[int, int, int]] = []
    for a, b, n in joined[order].tolist():
        if out and out[-1][0] == a and out[-1][1] + CHECKPOINT_ROWS * out[-1][2] == b:
            out[-1] = (a, out[-1][1], out[-1][2] + n)
        else:
            out.append((a, b, n))
    return np.array(out, joined.dtype), moves


def _moved(
    slot: npt.NDArray[np.uint32], ends: npt.NDArray[np.int64], by: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint32]:
    owner = np.searchsorted(ends, slot, "right")
    if len(slot) and int(owner.max()) == len(ends):
        raise IntegrityError("the index is damaged: unknown place; see 'simgit fsck'")
    return (slot + by[owner]).astype(np.uint32)
