"""The stored form of one loose object: a head, and a body in one of five encodings.

    u8 kind ‖ u8 encoding ‖ u64 payload size ‖ body

Arrays are stored by themselves or as deltas to another array; large blobs are lists of chunks;
the rest is compressed where that makes it smaller. See docs/store-layout.md.
"""

from __future__ import annotations

import struct
import threading
from enum import IntEnum
from typing import Final

from simgit.errors import IntegrityError
from simgit.objects.arrays import split_array
from simgit.objects.compression import compress
from simgit.objects.kinds import KIND_CODES
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb.array_delta import decode_elements, encode_elements, word_size

HEAD: Final = struct.Struct("<BBQ")
CHUNK_ITEM: Final = struct.Struct("<32sI")
"""A chunk of a blob: its hash and its size."""
LEVEL: Final = 3


class Encoding(IntEnum):
    """The encodings of a body; 3 and 4 were tried before the first release."""

    RAW = 0
    ZSTD = 1
    CHUNKS = 2
    FULL = 5
    """An array by itself; see ``array_delta``."""
    DELTA = 6
    """An array as a delta to another one."""


ENCODINGS: Final = frozenset(map(int, Encoding))


def loose_size(value: bytes) -> int:
    """Return the size in bytes of a loose object's payload.

    Raises:
        IntegrityError: the value is truncated.
    """
    if len(value) < HEAD.size:
        raise IntegrityError("malformed object: truncated")
    return int(HEAD.unpack_from(value)[2])


def loose_base(value: bytes) -> Oid | None:
    """Return the base of a loose array that is stored as a delta, None if it is not."""
    if HEAD.unpack_from(value)[1] != Encoding.DELTA:
        return None
    return Oid(value[HEAD.size : HEAD.size + OID_SIZE])


def loose_chunks(value: bytes) -> list[bytes] | None:
    """Return the chunks of a loose blob, None if it is not cut into chunks."""
    return chunk_items(value[HEAD.size :]) if value[1] == Encoding.CHUNKS else None


def encode_loose(kind: str, payload: bytes) -> bytes:
    """Return the loose form of an object, by itself and with its body."""
    encoding, body = Encoding.RAW, payload
    packed = encode_full(payload) if kind == "array" else compress(payload, LEVEL)
    if len(packed) < len(payload):
        encoding, body = Encoding.FULL if kind == "array" else Encoding.ZSTD, packed
    return HEAD.pack(KIND_CODES[kind], encoding, len(payload)) + body


def chunk_items(body: bytes) -> list[bytes]:
    if len(body) % CHUNK_ITEM.size:
        raise IntegrityError("malformed blob: its list of chunks is truncated")
    return [body[i : i + CHUNK_ITEM.size] for i in range(0, len(body), CHUNK_ITEM.size)]


def encode_full(payload: bytes) -> bytes:
    """Return the stored form of an array by itself: u16 size ‖ header ‖ coded elements."""
    dtype, _, offset = split_array(payload)
    coded = encode_elements(memoryview(payload)[offset:], word_size(dtype))
    return struct.pack("<H", offset) + payload[:offset] + coded


def decode_full(body: bytes, size: int) -> bytes:
    offset = int.from_bytes(body[:2], "little")
    head = body[2 : 2 + offset]
    if len(head) != offset or size < offset or offset == 0:
        raise IntegrityError("malformed array: truncated")
    dtype, _, start = split_array(head, size)  # before anything of that size is allocated
    if start != offset:
        raise IntegrityError("malformed array: truncated")
    coded = memoryview(body)[2 + offset :]
    return head + decode_elements(coded, size - offset, word_size(dtype))


def encode_delta(payload: bytes, before: bytes) -> bytes:
    """Return the coded delta to an array of the same header."""
    dtype, _, offset = split_array(payload)
    elements = memoryview(payload)[offset:]
    return encode_elements(elements, word_size(dtype), memoryview(before)[offset:])


def decode_delta(coded: memoryview, before: bytes) -> bytes:
    dtype, _, offset = split_array(before)
    elements = memoryview(before)[offset:]
    return before[:offset] + decode_elements(coded, len(elements), word_size(dtype), elements)


LIMIT: Final = 64 << 20
"""The most bytes that each thread caches."""


class PayloadCache(threading.local):
    """A cache of payloads by oid, the oldest dropped first; every thread has its own."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}
        self._bytes = 0

    def get(self, oid: bytes) -> bytes | None:
        """Return a payload, or None if it is not cached."""
        return self._kept.get(oid)

    def keep(self, oid: bytes, payload: bytes) -> None:
        """Cache a payload, in place of the oldest ones."""
        if oid in self._kept or len(payload) > LIMIT:
            return
        self._kept[bytes(oid)] = payload
        self._bytes += len(payload)
        while self._bytes > LIMIT:
            self._bytes -= len(self._kept.pop(next(iter(self._kept))))
