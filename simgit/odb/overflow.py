"""Overflow pages: objects too long to lie beside their oids, as pieces under sequential keys.

    bodies: u64 number, big-endian -> a piece; the pieces of a body have consecutive numbers

LMDB puts a value of more than half a page into pages of its own, and fills the pages of keys that
come in random order to two thirds. Pieces of a quarter of a page that are appended fill theirs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import count
from typing import Final

from simgit.errors import IntegrityError
from simgit.storage.base import ReadTxn, WriteTxn

INLINE: Final = 200
"""The longest body, in bytes, that lies beside its oid."""
_TABLE: Final = "bodies"
_SMALL: Final = 1002  # four of them, with their keys and LMDB's 10 bytes each, fill a page
_LARGE: Final = 16 * 4096 - 16  # fills 16 pages of its own
_MANY: Final = 256 << 10
_PLACE: Final = struct.Struct("<QQ")


def put_body(txn: WriteTxn, body: bytes) -> bytes:
    """Store a body; return the bytes that refer to it."""
    last = txn.last(_TABLE)
    first = int.from_bytes(last[0], "big") + 1 if last else 0
    size = _SMALL if len(body) < _MANY else _LARGE
    for number, at in enumerate(range(0, len(body), size), first):
        txn.append(_TABLE, number.to_bytes(8, "big"), body[at : at + size])
    return _PLACE.pack(first, len(body))


def get_body(txn: ReadTxn, place: bytes) -> bytes:
    """Return the body that ``place`` refers to.

    Raises:
        IntegrityError: it is missing.
    """
    return b"".join(body_pieces(txn, place))


def body_pieces(txn: ReadTxn, place: bytes) -> Iterator[bytes]:
    """Yield the pieces of the body that ``place`` refers to; see ``get_body``."""
    missing = body_size(place)
    number = _PLACE.unpack(place)[0]
    for key, piece in txn.scan(_TABLE, number.to_bytes(8, "big")):
        if missing <= 0 or key != number.to_bytes(8, "big"):
            break
        yield piece
        number += 1
        missing -= len(piece)
    if missing:
        raise IntegrityError("the body of an object is missing; see 'simgit fsck'")


def body_start(txn: ReadTxn, place: bytes, size: int) -> bytes:
    """Return the first bytes of the body that ``place`` refers to, within its first piece.

    Raises:
        IntegrityError: it is shorter, or missing.
    """
    if body_size(place) >= size:
        piece = txn.get(_TABLE, _PLACE.unpack(place)[0].to_bytes(8, "big"))
        if piece is not None and len(piece) >= size:
            return piece[:size]
    raise IntegrityError("the body of an object is missing; see 'simgit fsck'")


def delete_body(txn: WriteTxn, place: bytes) -> None:
    """Remove the pieces of a body."""
    missing = body_size(place)
    for number in count(_PLACE.unpack(place)[0]):
        piece = txn.get(_TABLE, number.to_bytes(8, "big")) if missing > 0 else None
        if piece is None:
            return
        txn.delete(_TABLE, number.to_bytes(8, "big"))
        missing -= len(piece)


def body_size(place: bytes) -> int:
    """Return the length in bytes of the body that ``place`` refers to.

    Raises:
        IntegrityError: the reference is malformed.
    """
    if len(place) != _PLACE.size:
        raise IntegrityError("malformed object: the reference to its body is damaged")
    first, length = _PLACE.unpack(place)
    if first + length >= 1 << 64:
        raise IntegrityError("malformed object: the reference to its body is damaged")
    return int(length)
