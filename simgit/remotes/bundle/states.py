"""Records of consecutive states: their rows as a block of a segment, their arrays in groups."""

from __future__ import annotations

import itertools
import struct
from typing import Final, NamedTuple

import numpy as np

from simgit.errors import IntegrityError
from simgit.objects import rows as rowlib
from simgit.objects.chain import chain_oids, first_head
from simgit.objects.oid import OID_SIZE
from simgit.objects.row_encoder import hash_array
from simgit.objects.rows import Arrays, Rows
from simgit.objects.schema import BOOL, Schema
from simgit.odb.segments.array_codec import decode_group, encode_group, group_header, unstack
from simgit.odb.segments.array_groups import Member, cut_groups
from simgit.odb.segments.block import (
    EncodedBlock,
    choose_layout,
    decode_block,
    decode_layout,
    encode_block,
    encode_layout,
)
from simgit.remotes.bundle.limits import check_block, check_group, check_values
from simgit.remotes.bundle.states_head import StatesHead

_GROUP: Final = struct.Struct("<HIQ")
_LEVEL: Final = 3
_ITEM: Final = 48
"""The bytes that Python adds to an item of variable width."""


def encode_rows(rows: Rows, before: list[bytes], arrays: dict[int, list[Member]]) -> list[bytes]:
    """Return the parts of a record after its head.

    Args:
        rows: the states' rows.
        before: for each the oid of the state before it.
        arrays: by field the arrays to send with them, each with its row and oid.
    """
    layout = choose_layout(rows)
    return encode_stored(EncodedBlock(layout, *encode_block(rows, before, layout, _LEVEL)), arrays)


def encode_stored(block: EncodedBlock, arrays: dict[int, list[Member]]) -> list[bytes]:
    """Return the parts of a record after its head, given the states' block as it is stored."""
    coded = encode_layout(block.layout)
    parts = [struct.pack("<H", len(coded)), coded]
    for part in (block.fixed, block.variable):
        parts += [struct.pack("<I", len(part)), part]
    groups = [
        (field, [step for step, _, _ in group], [array for _, _, array in group])
        for field, members in arrays.items()
        for group in cut_groups(members)
    ]
    parts.append(struct.pack("<H", len(groups)))
    for field, steps, found in groups:
        data = encode_group(found, steps, _LEVEL)
        parts += [_GROUP.pack(field, steps[0], len(data)), data]
    return parts


def inflated_size(body: bytes, head: StatesHead, schema: Schema) -> int:
    """Return the bytes that the states of a record claim to take in memory.

    Raises:
        IntegrityError: the record is malformed.
    """
    reader = _Parts(body, head.size)
    reader.part("<H"), reader.part("<I")
    size = int.from_bytes(reader.part("<I")[:8], "little") if schema.variable else 0
    size += head.rows * (schema.fixed_size + OID_SIZE + _ITEM * len(schema.variable))
    for _ in range(reader.number("<H")):
        header = group_header(reader.take(_GROUP.unpack(reader.take(_GROUP.size))[2]))
        size += header.nbytes * len(header.steps)
    return size


class DecodedStates(NamedTuple):
    """The states of a record: their rows, with the arrays that it carries, oids, and block."""

    rows: Rows
    oids: list[bytes]
    block: EncodedBlock


def decode_states(body: bytes, head: StatesHead, schema: Schema, max_object: int) -> DecodedStates:
    """Return the states of a record, their oids computed.

    Raises:
        IntegrityError: the record is malformed, or the hash of an array is not the one in its row.
    """
    reader = _Parts(body, head.size)
    layout = decode_layout(reader.part("<H"), schema)
    fixed, variable = reader.part("<I"), reader.part("<I")
    check_block(schema, head.rows, variable)
    sent = EncodedBlock(layout, fixed, variable if schema.variable else b"")
    block = decode_block(schema, layout, head.rows, fixed, variable if schema.variable else None)
    rows = Rows(schema, block.rows.fixed, block.rows.variable)
    check_rows(rows)
    rows.arrays = _arrays(reader, rows, max_object)
    oids = chain_oids(rows, first_head(head.schema, head.parents, head.origin))
    return DecodedStates(rows, oids, sent)


class _Parts:
    """A reader of the consecutive parts of a body."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self._at = at

    def take(self, size: int) -> bytes:
        data = self._body[self._at : self._at + size]
        if len(data) != size:
            raise IntegrityError("malformed record of states: truncated")
        self._at += size
        return data

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def part(self, form: str) -> bytes:
        return self.take(self.number(form))

    def end(self) -> None:
        if self._at != len(self._body):
            raise IntegrityError("malformed record of states: bytes are left over")


def _arrays(reader: _Parts, rows: Rows, max_object: int) -> Arrays:
    found: Arrays = {}
    for _ in range(reader.number("<H")):
        field, first, size = _GROUP.unpack(reader.take(_GROUP.size))
        group = reader.take(size)
        if field not in rows.schema.arrays:
            raise IntegrityError("malformed record of states: a group belongs to no array field")
        header = group_header(group)
        check_group(size, header.nbytes, len(header.steps), max_object)
        members = found.setdefault(field, [])
        steps = (header.steps + first).tolist()
        ordered = [members[-1][0] if members else -1, *steps, rows.count]
        if any(a >= b for a, b in itertools.pairwise(ordered)):
            raise IntegrityError("malformed record of states: a group does not fit the states")
        oids = rowlib.column(rows, field)
        for row, array in zip(steps, unstack(decode_group(group)), strict=True):
            if hash_array(array) != oids[row].tobytes():
                oid = oids[row].tobytes().hex()
                raise IntegrityError(f"hash mismatch in the bundle: array '{oid}'")
            members.append((row, array))
    reader.end()
    return found


def check_rows(rows: Rows) -> None:
    """Check the rules of untrusted rows that their hashes do not cover.

    Raises:
        IntegrityError: a bool is not 0 or 1, a string or value is malformed or has too many
            parts, or an absent field has a value.
    """
    check_values(rows)
    for index, (_, kind) in enumerate(rows.schema.fields):
        absent = np.flatnonzero(~rowlib.presence(rows, index))
        if kind.variable:
            rowlib.check_column(rows, index)
            encoded = rows.variable[rows.schema.variable.index(index)]
            filled = any(encoded[row] for row in absent.tolist())
        else:
            filled = bool(len(absent) and np.any(rows.field(index)[absent]))
        if filled:
            raise IntegrityError("malformed row: an absent field is not empty")
        if kind.code == BOOL and rows.field(index).max(initial=0) > 1:
            raise IntegrityError("malformed row: a bool must be 0 or 1")
