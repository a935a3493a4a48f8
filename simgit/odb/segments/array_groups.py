"""The arrays of states, in groups keyed by line, field and the step of the first one.

    groups: u64 line ‖ u16 field ‖ u64 step -> place of the group's bytes ‖ checksum

The bytes lie in overflow pages (see ``odb.overflow``): a group of 64 frames takes some KiB, and
values of that size would leave much of their pages empty.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from simgit.errors import IntegrityError
from simgit.objects.arrays import AnyArray
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.objects.lazy_numpy import np
from simgit.odb.location import LIMIT
from simgit.odb.overflow import delete_body, get_body, put_body
from simgit.odb.segments.array_codec import (
    LEVEL,
    decode_group,
    encode_group,
    group_header,
    group_size,
)
from simgit.odb.segments.elias_fano import prefix_of
from simgit.odb.segments.index import LOOSE, Index, add_loose, find_loose
from simgit.odb.segments.index_runs import ARRAYS, array_places
from simgit.storage.base import ReadTxn, WriteTxn

if TYPE_CHECKING:
    import numpy.typing as npt

_STEP_BITS: Final = 48
Member = tuple[int, bytes, AnyArray]
"""A step, the oid of its array, and the array."""
OidsOf = Callable[[ReadTxn, int, int, "npt.NDArray[np.int64]"], list[bytes]]
"""A function that returns the oids of a field at some steps of a line."""


def group_key(line: int, field: int, step: int) -> bytes:
    """Return the key of a group."""
    return struct.pack(">QHQ", line, field, step)


def array_place(field: int, step: int) -> int:
    """Return field and step of a group as one number, as the index has them."""
    return field << _STEP_BITS | step


def field_and_step(place: int) -> tuple[int, int]:
    """Return field and step of a group, given as one number."""
    return place >> _STEP_BITS, place & ((1 << _STEP_BITS) - 1)


def group_place(key: bytes) -> tuple[int, int, int]:
    """Return line, field and step of a group's key; IntegrityError if it is malformed."""
    if len(key) != 18:
        raise IntegrityError(f"malformed key of a group of arrays: '{key.hex()}'")
    line, field, step = struct.unpack(">QHQ", key)
    if max(line, step) >= LIMIT:
        raise IntegrityError(f"malformed key of a group of arrays: '{key.hex()}'")
    return line, field, step


def write_groups(
    txn: WriteTxn, line: int, field: int, members: Sequence[Member], level: int = LEVEL
) -> list[tuple[int, list[bytes]]]:
    """Store arrays in groups; return for each group its first step and its members' oids."""
    written = []
    for group in cut_groups(members):
        steps = [step for step, _, _ in group]
        data = encode_group([array for _, _, array in group], steps, level)
        key = group_key(line, field, steps[0])
        txn.put("groups", key, put_body(txn, data) + checksum(data))
        written.append((steps[0], [oid for _, oid, _ in group]))
    return written


def cut_groups(members: Sequence[Member]) -> Iterator[list[Member]]:
    """Cut members where dtype or shape change, and where a group is full."""
    group: list[Member] = []
    for member in members:
        array = member[2]
        if group:
            first = group[0][2]
            alike = array.dtype == first.dtype and array.shape == first.shape
            if not alike or len(group) >= group_size(first.nbytes):
                yield group
                group = []
        group.append(member)
    if group:
        yield group


def index_groups(
    txn: WriteTxn,
    index: Index,
    line: int,
    groups: Sequence[tuple[int, int, list[bytes]]],
) -> None:
    """Enter groups, given as (field, first step, oids), into the index."""
    entries = [(oid, slot) for slot, (_, _, oids) in enumerate(groups) for oid in oids]
    wheres = [array_place(field, step) for field, step, _ in groups]
    if len(entries) < LOOSE:
        for oid, slot in entries:
            add_loose(txn, ARRAYS, oid, line, wheres[slot])
    else:
        places = array_places([(line, where) for where in wheres])
        index.add(txn, ARRAYS, [oid for oid, _ in entries], [slot for _, slot in entries], places)


def read_group(txn: ReadTxn, key: bytes) -> bytes:
    """Return a group's bytes, their checksum compared.

    Raises:
        IntegrityError: it is missing or damaged.
    """
    record = txn.get("groups", key)
    if record is None:
        raise IntegrityError("a group of arrays is missing; see 'simgit fsck'")
    data = get_body(txn, record[:-CHECKSUM_SIZE])
    if checksum(data) != record[-CHECKSUM_SIZE:]:
        raise IntegrityError("a group of arrays is damaged; see 'simgit fsck'")
    return data


def group_before(txn: ReadTxn, line: int, field: int, step: int) -> tuple[int, bytes] | None:
    """Return first step and key of the newest group of a field that begins at or before a step."""
    found = txn.floor("groups", group_key(line, field, step))
    if found is None or found[0][:10] != group_key(line, field, 0)[:10]:
        return None
    return int.from_bytes(found[0][10:], "big"), found[0]


def groups_between(
    txn: ReadTxn, line: int, field: int, start: int, stop: int
) -> Iterator[tuple[int, bytes]]:
    """Yield first step and key of the groups that can have members with start <= step < stop."""
    before = group_before(txn, line, field, start)
    first = group_key(line, field, before[0] if before else start)
    for key, _ in txn.scan("groups", first, group_key(line, field, stop)):
        yield int.from_bytes(key[10:], "big"), key


def delete_group(txn: WriteTxn, key: bytes) -> None:
    """Remove a group."""
    record = txn.get("groups", key)
    if record is not None:
        delete_body(txn, record[:-CHECKSUM_SIZE])
        txn.delete("groups", key)


def array_here(txn: ReadTxn, line: int, field: int, step: int) -> AnyArray | None:
    """Return the array that is stored with one state's field, or None if it is not stored there."""
    before = group_before(txn, line, field, step)
    if before is None:
        return None
    data = read_group(txn, before[1])
    at = np.flatnonzero(group_header(data).steps == step - before[0])
    if not len(at):
        return None
    array: AnyArray = decode_group(data, int(at[0]))[int(at[0]), ...]
    return array


def find_array(
    txn: ReadTxn, index: Index, oid: bytes, oids_of: OidsOf
) -> tuple[int, int, int] | None:
    """Return (line, field, step) of the state with which an array is stored, or None."""
    loose = find_loose(txn, ARRAYS, oid)
    prefix = prefix_of(oid)
    entered = [] if loose is None else [loose]
    found = (place for _, place in index.candidates(txn, ARRAYS, prefix, prefix))
    for line, where in chain(entered, found):
        field, first = field_and_step(where)
        steps = _member_steps(txn, line, field, first)
        oids = oids_of(txn, line, field, steps) if len(steps) else []
        if oid in oids:
            return line, field, int(steps[oids.index(oid)])
    return None


def group_oids(txn: ReadTxn, line: int, where: int, oids_of: OidsOf) -> list[bytes]:
    """Return the oids of the arrays in the group at a place of the index."""
    field, first = field_and_step(where)
    steps = _member_steps(txn, line, field, first)
    return oids_of(txn, line, field, steps) if len(steps) else []


def _member_steps(txn: ReadTxn, line: int, field: int, step: int) -> npt.NDArray[np.int64]:
    """Return the steps of the arrays in the group that begins at or before a step."""
    before = group_before(txn, line, field, step)
    if before is None:
        return np.zeros(0, np.int64)
    steps: npt.NDArray[np.int64] = group_header(read_group(txn, before[1])).steps + before[0]
    return steps
