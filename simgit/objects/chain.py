"""Hashes of consecutive states: each row is hashed together with the oid of the one before."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from blake3 import blake3

from simgit.objects.oid import OID_SIZE, object_header
from simgit.objects.rows import Rows

LINEAR_SIZE = OID_SIZE + 1 + OID_SIZE
"""Bytes of a state's payload before its row, if it has one parent (or none, and an origin)."""


def first_head(schema: bytes, parents: Sequence[bytes], origin: bytes) -> bytes:
    """Return the bytes before the row in the payload of a state with any number of parents."""
    return b"".join((schema, bytes([len(parents)]), *(parents or (origin,))))


def linear_head(schema: bytes, parent: bytes) -> bytes:
    """Return the bytes before the row in the payload of a state with one parent."""
    return schema + b"\x01" + parent


def chain_oids(rows: Rows, head: bytes) -> list[bytes]:
    """Return the oids of consecutive states.

    Args:
        rows: their rows, at least one.
        head: the bytes before the first row in the first state's payload.
    """
    schema = rows.schema.oid
    if not rows.variable:
        return _fixed(rows, head, bytes(schema))
    out: list[bytes] = []
    hasher = blake3()
    for row in rows.row_bytes():
        payload = head + row
        hasher.reset()
        hasher.update(object_header("state", len(payload)) + payload)
        oid = hasher.digest()
        out.append(oid)
        head = schema + b"\x01" + oid
    return out


def _fixed(rows: Rows, head: bytes, schema: bytes) -> list[bytes]:
    """Return the oids of rows of one width; the common parts of the payloads are joined once."""
    width = rows.schema.fixed_size
    data = rows.fixed.tobytes()
    first = head + data[:width]
    oid = blake3(object_header("state", len(first)) + first).digest()
    out = [oid]
    append = out.append
    before = object_header("state", LINEAR_SIZE + width) + schema + b"\x01"
    hasher = blake3()  # one for all rows: making it takes a third of the time
    reset, update, digest = hasher.reset, hasher.update, hasher.digest
    for (row,) in struct.iter_unpack(f"{width}s", data[width:]):
        reset()
        update(before + oid + row)
        oid = digest()
        append(oid)
    return out
