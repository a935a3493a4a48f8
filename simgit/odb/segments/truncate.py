"""Removing the last states of lines, or whole lines. Remaining locations stay; none is reused.

A line that was cut is marked so and never continued: a location (line, step) that named a state
never names another one.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from simgit.errors import IntegrityError
from simgit.objects.lazy_numpy import np
from simgit.odb.location import Location
from simgit.odb.segments import summaries
from simgit.odb.segments.array_codec import decode_group, group_header, unstack
from simgit.odb.segments.array_groups import (
    Member,
    delete_group,
    group_oids,
    groups_between,
    read_group,
    write_groups,
)
from simgit.odb.segments.batch import write_rows
from simgit.odb.segments.block import CHECKPOINT_ROWS
from simgit.odb.segments.elias_fano import prefixes, sort_entries
from simgit.odb.segments.header import Header, delete_pieces, last_header, segment_key
from simgit.odb.segments.index import find_loose
from simgit.odb.segments.index_runs import (
    ARRAYS,
    STATES,
    IndexRun,
    delete_run,
    read_entries,
    write_run,
)
from simgit.odb.segments.join import LEVEL, concatenate, headers, tip_before
from simgit.odb.segments.lines import Line, encode_line, forget_graft, line_key, read_line
from simgit.odb.segments.state_store import StateStore
from simgit.odb.segments.times import forget_times
from simgit.storage.base import ReadTxn, WriteTxn

if TYPE_CHECKING:
    import numpy.typing as npt

_GROUP: Final = struct.Struct(">QHQ")
_STEP_SIZE: Final = 8
_END: Final = (1 << 64) - 1
"""A step after every state of a line."""
_STEP_MASK: Final = (1 << 48) - 1  # of the place of an array; no line has so many steps
GroupKey = tuple[int, int, bytes]
"""Field and first step of a group of a line, and its key."""


def cut_line(states: StateStore, txn: WriteTxn, number: int, stop: int) -> None:
    """Remove the unreachable states of a line from a step on.

    Lines that begin at them must be removed before.
    """
    line = read_line(txn, number)
    for field, first, key in list(line_groups(txn, number, stop)):
        _cut_group(states, txn, number, field, first, key, stop)
    for header in list(headers(txn, number, stop)):
        _cut_segment(states, txn, line, header, stop)
    forget_times(txn, number, max(stop, line.step))
    summaries.cut(states, txn, line, stop)
    if stop > line.step:
        txn.put("lines", line_key(number), encode_line(line._replace(cut=True)))
        return
    for place in _parents(states, txn, line):
        txn.delete("children", struct.pack(">QQQ", *place, number))
    if line.grafted:
        forget_graft(txn, line)
    txn.delete("lines", line_key(number))


def _parents(states: StateStore, txn: ReadTxn, line: Line) -> list[Location]:
    if line.is_root or line.grafted:
        return []
    more = [states.locate(txn, oid) for oid in line.parents[1:]]
    first = Location(line.parent_line, line.parent_step)
    return [first, *(place for place in more if place is not None)]


def _cut_segment(states: StateStore, txn: WriteTxn, line: Line, header: Header, stop: int) -> None:
    kept = None
    if header.step < stop:
        rows = concatenate([r for _, r in states.rows(txn, line.id, header.step, stop)])
        oids = states.oids(txn, line.id, header.step, header.end)
        if oids[-1] != header.last:
            raise IntegrityError(
                f"hash mismatch: the states of segment {line.id}/{header.step}; see 'simgit fsck'"
            )
        kept = rows, oids[: stop - header.step]
    txn.delete("segments", segment_key(line.id, header.step))
    if not header.inline:
        delete_pieces(txn, "blocks", segment_key(line.id, header.step))
    if kept is not None:
        rows, oids = kept
        tip = None if line.is_root and header.step == 0 else tip_before(header, rows)
        before = [header.parent, *oids[:-1]]
        write_rows(txn, Location(line.id, header.step), rows, before, oids, tip, LEVEL)


def line_groups(txn: ReadTxn, line: int, start: int = 0) -> Iterator[GroupKey]:
    """Yield field, first step and key of a line's groups of arrays of states from a step on."""
    place = line_key(line)
    while (found := next(txn.scan("groups", place, line_key(line + 1)), None)) is not None:
        field = _GROUP.unpack(found[0])[1]
        for first, key in groups_between(txn, line, field, start, _END):
            yield field, first, key
        place = found[0][:-_STEP_SIZE] + b"\xff" * (_STEP_SIZE + 1)


def dead_arrays(
    states: StateStore, txn: ReadTxn, line: int, group: GroupKey, stop: int
) -> list[bytes]:
    """Return the arrays of a group that are stored with states from a step on."""
    field, first, key = group
    steps = group_header(read_group(txn, key)).steps + first
    steps = steps[steps >= stop]
    return states.field_oids(txn, line, field, steps) if len(steps) else []


def _cut_group(
    states: StateStore, txn: WriteTxn, line: int, field: int, first: int, key: bytes, stop: int
) -> None:
    if first >= stop:  # it is removed whole
        delete_group(txn, key)
        return
    data = read_group(txn, key)
    steps = group_header(data).steps + first
    kept = steps[steps < stop]
    if len(kept) == len(steps):
        return
    members: list[Member] = []
    if len(kept):
        oids = states.field_oids(txn, line, field, kept)
        members = list(zip(kept.tolist(), oids, unstack(decode_group(data)), strict=False))
    delete_group(txn, key)
    write_groups(txn, line, field, members)


# --- the index ---------------------------------------------------------------------------------


def prune_index(states: StateStore, txn: WriteTxn, cut: Collection[int]) -> None:
    """Remove the index entries of removed states and arrays.

    Args:
        states: the store that had them.
        txn: the transaction.
        cut: the lines that lost states since the last call. States removed before a crash are
            found too where they fill slots: an entry's place tells that its line was removed or
            ends before it.
    """
    ends = dict(_ends(txn))
    for oid, _ in txn.scan("oids"):
        for kind in (STATES, ARRAYS):
            place = find_loose(txn, kind, oid)
            if place is not None and place[1] & _STEP_MASK >= ends.get(place[0], 0):
                txn.delete("oids", oid)
    for run, left, touched in list(_to_rewrite(states, txn, cut, ends)):
        _rewrite(states, txn, run, left, touched)


def entries_to_prune(states: StateStore, txn: ReadTxn, cut: Collection[int]) -> int:
    """Return the number of entries that ``prune_index`` reads and writes."""
    runs = [run for run, _, _ in _to_rewrite(states, txn, cut, dict(_ends(txn)))]
    return txn.count("oids") + sum(run.entries for run in runs)


def _to_rewrite(
    states: StateStore, txn: ReadTxn, cut: Collection[int], ends: Mapping[int, int]
) -> Iterator[tuple[IndexRun, npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Yield runs with entries of removed states, the slots left of each place, and the cut ones."""
    for run in states.index.runs(txn):
        left = _slots_left(run, ends)
        touched = np.isin(run.places["a"], list(cut))
        if touched.any() or (left < run.places["n"]).any():
            yield run, left, touched


def _ends(txn: ReadTxn) -> Iterator[tuple[int, int]]:
    """Yield each line with the step after its last."""
    for key, _ in txn.scan("lines"):
        line = int.from_bytes(key, "big")
        yield line, last_header(txn, line).end


def _slots_left(run: IndexRun, ends: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """Return for each place of a run the number of its slots that are still in use."""
    size = np.fromiter((ends.get(a, 0) for a in run.places["a"].tolist()), np.int64, len(run.ends))
    first = (run.places["b"] & np.uint64(_STEP_MASK)).astype(np.int64)
    width = CHECKPOINT_ROWS if run.kind == STATES else 1
    left = -(-(size - first) // width)
    slots: npt.NDArray[np.int64] = np.minimum(left.clip(min=0), run.places["n"])
    return slots


def _rewrite(
    states: StateStore,
    txn: WriteTxn,
    run: IndexRun,
    left: npt.NDArray[np.int64],
    touched: npt.NDArray[np.bool_],
) -> None:
    """Replace a run by one without the entries of removed states."""
    prefix, slot = read_entries(txn, run)
    owner = np.searchsorted(run.ends, slot, "right")
    within = slot - (run.ends - run.places["n"])[owner]
    starts = np.cumsum(left) - left
    keep, moved = within < left[owner], within + starts[owner]
    for i in np.flatnonzero(touched & (left > 0)).tolist():
        last = int(starts[i] + left[i] - 1)
        keep &= (moved != last) | np.isin(prefix, _last_prefixes(states, txn, run, i, int(left[i])))
    places = run.places.copy()
    places["n"] = left
    delete_run(txn, run.id)
    if keep.any():
        entries = sort_entries(prefix[keep], moved[keep].astype(np.uint32))
        write_run(txn, run.kind, run.level, entries, places[left > 0])


def _last_prefixes(
    states: StateStore, txn: ReadTxn, run: IndexRun, i: int, left: int
) -> npt.NDArray[np.uint32]:
    """Return the prefixes of the entries in a place's last slot."""
    line, b, _ = run.places[i].tolist()
    if run.kind == STATES:
        step = b + CHECKPOINT_ROWS * (left - 1)
        return prefixes(states.oids(txn, line, step, step + CHECKPOINT_ROWS))
    return prefixes(group_oids(txn, line, b, states.field_oids))
