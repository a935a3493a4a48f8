"""Large blobs in a bundle, as consecutive pieces."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from simgit.errors import IntegrityError
from simgit.objects.compression import compress, decompress
from simgit.remotes.bundle import records
from simgit.remotes.bundle.records import Read

MAX_PIECE: Final = 1 << 16
_HEAD: Final = struct.Struct("<BI")
_RAW, _ZSTD = range(2)


def encode_piece(data: bytes) -> bytes:
    """Return the body of a piece's record."""
    packed = compress(data)
    if len(packed) < len(data):
        return _HEAD.pack(_ZSTD, len(data)) + packed
    return _HEAD.pack(_RAW, len(data)) + data


def decode_piece(body: bytes) -> bytes:
    """Return a piece.

    Raises:
        IntegrityError: it is malformed, or larger than allowed.
    """
    if len(body) < _HEAD.size:
        raise IntegrityError("malformed piece of a blob")
    how, size = _HEAD.unpack_from(body)
    if how > _ZSTD or not 0 < size <= MAX_PIECE:
        raise IntegrityError("malformed piece of a blob")
    data = body[_HEAD.size :]
    if how == _ZSTD:
        return decompress(data, size)
    if len(data) != size:
        raise IntegrityError("malformed piece of a blob: its size disagrees with its header")
    return data


def pieces_of(stream: Iterator[tuple[int, bytes]], size: int) -> Iterator[bytes]:
    """Yield the pieces of a blob of ``size`` bytes from the records that follow it.

    Raises:
        IntegrityError: some are missing, or there are more bytes than the blob has.
    """
    while size > 0:
        kind, body = next(stream, (records.END, b""))
        if kind != records.PIECE:
            raise IntegrityError("a blob of the bundle lacks pieces")
        piece = decode_piece(body)
        size -= len(piece)
        if size < 0:
            raise IntegrityError("a blob of the bundle has more bytes than its header says")
        yield piece


def reader_of(pieces: Iterator[bytes]) -> Read:
    """Return a function that reads the joined pieces."""
    rest = b""

    def read(size: int) -> bytes:
        nonlocal rest
        if not rest:
            rest = next(pieces, b"")
        found, rest = rest[:size], rest[size:]
        return found

    return read
