"""The head of a record of states: what they continue, their schema and number."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from simgit.errors import IntegrityError
from simgit.objects.oid import OID_SIZE
from simgit.odb.segments.block import BLOCK_ROWS

_SIZES: Final = struct.Struct("<32s32sI")


@dataclass(frozen=True)
class StatesHead:
    """The head of a record of states, before their rows."""

    parents: tuple[bytes, ...]
    origin: bytes
    schema: bytes
    last: bytes
    rows: int
    size: int


def encode_head(
    parents: Sequence[bytes], origin: bytes, schema: bytes, last: bytes, count: int
) -> bytes:
    """Return the head of a record of states."""
    above = bytes([len(parents)]) + b"".join(parents or (origin,))
    return above + _SIZES.pack(schema, last, count)


def decode_head(body: bytes) -> StatesHead:
    """Return the decoded head of a record of states.

    Raises:
        IntegrityError: it is malformed.
    """
    count = body[0] if body else 0
    at = 1 + OID_SIZE * max(count, 1)
    if len(body) < at + _SIZES.size:
        raise IntegrityError("malformed record of states: its head is truncated or impossible")
    oids = tuple(body[i : i + OID_SIZE] for i in range(1, at, OID_SIZE))
    schema, last, rows = _SIZES.unpack_from(body, at)
    if not 0 < rows <= BLOCK_ROWS or len(set(oids)) != len(oids):
        raise IntegrityError("malformed record of states: its head is truncated or impossible")
    parents, origin = (oids, b"") if count else ((), oids[0])
    return StatesHead(parents, origin, schema, last, rows, at + _SIZES.size)
