"""Joining small segments, groups and index runs into large ones. No oid, no location changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

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
from simgit.odb.segments.elias_fano import Entries, prefixes, sort_entries
from simgit.odb.segments.header import Header, decode_header, delete_pieces, header_at, segment_key
from simgit.odb.segments.index import (
    STATES,
    Index,
    Places,
    array_places,
    delete_run,
    find_loose,
    read_entries,
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
    entries = [read_entries(txn, run) for run in runs]
    places = [run.places for run in runs]
    if loose:
        single, where = _loose_entries(kind, loose)
        entries.append(single)
        places.append(where)
    for run in runs:
        delete_run(txn, run.id)
    for oid, _, _ in loose:
        txn.delete("oids", oid)
    write_run(txn, kind, TOP_LEVEL, *_merged(kind, entries, places))
    return True


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


def _merged(kind: int, entries: list[Entries], places: list[Places]) -> tuple[Entries, Places]:
    shift, slots = 0, []
    for (_, slot), where in zip(entries, places, strict=True):
        slots.append(slot + np.uint32(shift))
        shift += int(where["n"].sum())
    prefix = np.concatenate([p for p, _ in entries])
    joined = np.concatenate(places)
    slot = np.concatenate(slots)
    if kind == STATES:
        joined, slot = _coalesced(joined, slot)
    return sort_entries(prefix, slot), joined


def _coalesced(places: Places, slot: npt.NDArray[Any]) -> tuple[Places, npt.NDArray[Any]]:
    """Order the places of states and join those that continue each other."""
    order = np.lexsort((places["b"], places["a"]))
    starts = np.concatenate([[0], np.cumsum(places["n"], dtype=np.int64)])
    new_starts = np.zeros(len(places), np.int64)
    out: list[tuple[int, int, int]] = []
    at = 0
    for i in order.tolist():
        a, b, n = places[i].item()
        new_starts[i] = at
        if out and out[-1][0] == a and out[-1][1] + CHECKPOINT_ROWS * out[-1][2] == b:
            out[-1] = (a, out[-1][1], out[-1][2] + n)
        else:
            out.append((a, b, n))
        at += n
    owner = np.searchsorted(starts, slot.astype(np.int64), "right") - 1
    moved = slot.astype(np.int64) - starts[owner] + new_starts[owner]
    return np.array(out, places.dtype), moved.astype(np.uint32)
