"""Joining small segments, groups and index runs into large ones. No oid, no location changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from simgit.errors import IntegrityError
from simgit.objects.chain import chain_oids
from simgit.objects.lazy_numpy import np
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
from simgit.odb.segments.index import Index, find_loose
from simgit.odb.segments.index_merge import (
    PACE,
    TOP_LEVEL,
    begin,
    give_up_merges,
    go_on,
    unfinished,
)
from simgit.odb.segments.index_runs import STATES, Places, array_places, write_run
from simgit.odb.segments.lines import read_line
from simgit.odb.segments.state_store import StateStore
from simgit.storage.base import ReadTxn, WriteTxn

LEVEL: Final = 12
"""zstd's level for rewritten segments."""
_SMALL: Final = SEGMENT_ROWS // 8
"""Segments of so many rows are large enough."""
_TOGETHER: Final = 1 << 20
"""The entries of the index that are in memory at once while its runs are joined."""


def headers(txn: ReadTxn, line: int, start: int = 0) -> Iterator[Header]:
    """Yield the headers of a line's segments of states from a step on, in order."""
    first = header_at(txn, line, start)
    place = segment_key(line, first.step if first else start)
    for key, value in txn.scan("segments", place, segment_key(line + 1, 0)):
        yield decode_header(key, value)


def joinable(found: Sequence[Header], *, all_sizes: bool = False) -> list[list[Header]]:
    """Return the runs of a line's segments that shall be joined into one each.

    A small segment is joined with the one before; with ``all_sizes`` a large one too: to write
    these anew takes long, and saves little.
    """
    adjacent: list[list[Header]] = [[]]
    for header in found:
        last = adjacent[-1]
        rows = sum(each.count for each in last)
        alike = bool(last) and last[0].schema == header.schema
        fits = rows + header.count <= SEGMENT_ROWS and (all_sizes or header.count < _SMALL)
        if not (alike and fits):
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


def begin_join(index: Index, txn: WriteTxn, kind: int) -> bool:
    """Begin to join all index runs and single entries of a kind; return whether there are any."""
    give_up_merges(txn, kind)
    _pack(txn, kind, _loose(txn, kind))
    runs = [run for run in reversed(index.runs(txn)) if run.kind == kind]
    if len(runs) > 1:
        begin(txn, TOP_LEVEL - 1, runs)
    return len(runs) > 1


def go_on_joining(index: Index, txn: WriteTxn, kind: int) -> bool:
    """Write the next part of the joined run; return whether more is to be done."""
    go_on(txn, index.runs(txn), kind, _TOGETHER // PACE)
    return (kind, TOP_LEVEL - 1) in [(merge.kind, merge.level) for merge in unfinished(txn)]


def pack_loose(txn: WriteTxn, kind: int, least: int) -> bool:
    """Join the first single entries of a kind into a small run; return True if it did."""
    return txn.count("oids") >= least and _pack(txn, kind, _loose(txn, kind, least))


def _pack(txn: WriteTxn, kind: int, loose: list[tuple[bytes, int, int]]) -> bool:
    for oid, _, _ in loose:
        txn.delete("oids", oid)
    if loose:
        write_run(txn, kind, 0, *_loose_entries(kind, loose))
    return bool(loose)


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
