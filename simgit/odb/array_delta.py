"""Array elements as stored bytes: alone, or as their difference to those of another array.

    coded = u8 masked ‖ (if masked: u32 size ‖ frame of the mask) ‖ plane × word size
    plane = u8 how ‖ (how RAW: its bytes | how ZSTD: u32 size ‖ frame | how ZERO: nothing)

Elements are words of 1, 2, 4 or 8 bytes (a complex number is two, a character of ``<U`` one).
A difference is that of the words as integers, zigzag: between two checkpoints of a network it has
fewer significant bits than XOR. Words that are zero (weights that did not change) are left out, and
a mask says where they were; the others lie as planes (all first bytes, all second bytes, …), each
of which is compressed by itself, since the low bytes of trained weights are random and would
spoil the statistics of the high ones.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

from simgit.errors import IntegrityError
from simgit.objects.compression import compress, decompress
from simgit.objects.lazy_numpy import np

_RAW, _ZSTD, _ZERO = range(3)
_LEVEL: Final = 3
_MASK_SHARE: Final = 0.03
"""The least share of zero words for which a mask is worth its bytes."""
_SIZE: Final = struct.Struct("<I")
Words: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def word_size(dtype: np.dtype[Any]) -> int:
    """Return the size in bytes of the words that elements of a dtype consist of."""
    if dtype.kind == "c":
        return dtype.itemsize // 2
    return {"U": 4, "S": 1}.get(dtype.kind, dtype.itemsize)


def encode_elements(data: memoryview, size: int, before: memoryview | None = None) -> bytes:
    """Return the coded form of the elements ``data``, made of words of ``size`` bytes.

    Args:
        before: the elements to take the difference to, as many bytes; None for none.
    """
    words = np.frombuffer(data, f"<u{size}")
    if before is not None:
        words = _zigzag(words - np.frombuffer(before, f"<u{size}"))
    parts = [b"\0"]
    zeros = len(words) - np.count_nonzero(words)
    if size > 1 and zeros > _MASK_SHARE * len(words):
        changed = words != 0
        frame = compress(np.packbits(changed, bitorder="little").tobytes(), _LEVEL)
        parts = [b"\1", _SIZE.pack(len(frame)), frame]
        words = words[changed]
    planes = np.ascontiguousarray(words.view(np.uint8).reshape(-1, size).T)
    return b"".join(parts) + b"".join(_encode_plane(plane) for plane in planes)


def _encode_plane(plane: Words) -> bytes:
    if not plane.any():
        return bytes([_ZERO])
    raw = plane.tobytes()
    frame = compress(raw, _LEVEL)
    if len(frame) + _SIZE.size < len(raw):
        return bytes([_ZSTD]) + _SIZE.pack(len(frame)) + frame
    return bytes([_RAW]) + raw


def decode_elements(
    coded: memoryview, length: int, size: int, before: memoryview | None = None
) -> bytes:
    """Return the ``length`` bytes of elements that were coded.

    Raises:
        IntegrityError: the bytes are not the coded form of so many elements.
    """
    reader = _Reader(coded)
    count = length // size
    if length % size or (before is not None and len(before) != length):
        raise IntegrityError("malformed array: its elements do not fit its length")
    changed = _read_mask(reader, count) if reader.byte() else None
    present = count if changed is None else int(changed.sum())
    planes = np.zeros((size, present), np.uint8)
    for plane in planes:
        _read_plane(reader, plane)
    if len(reader.rest):
        raise IntegrityError("malformed array: bytes are left over after its elements")
    words = np.ascontiguousarray(planes.T).view(f"<u{size}").reshape(-1)
    if changed is not None:
        sparse, words = words, np.zeros(count, f"<u{size}")
        words[changed] = sparse
    if before is not None:
        words = _unzigzag(words) + np.frombuffer(before, f"<u{size}")
    return words.tobytes()


def _read_mask(reader: _Reader, count: int) -> Words:
    bits = np.frombuffer(decompress(reader.sized(), -(-count // 8)), np.uint8)
    return np.unpackbits(bits, count=count, bitorder="little").astype(bool)


def _read_plane(reader: _Reader, plane: Words) -> None:
    how = reader.byte()
    if how == _ZSTD:
        plane[:] = np.frombuffer(decompress(reader.sized(), len(plane)), np.uint8)
    elif how == _RAW:
        plane[:] = np.frombuffer(reader.take(len(plane)), np.uint8)
    elif how != _ZERO:
        raise IntegrityError("malformed array: a plane is of an unknown kind")


class _Reader:
    """A reader of consecutive bytes that raises IntegrityError at a premature end."""

    def __init__(self, data: memoryview) -> None:
        self.rest = data

    def take(self, size: int) -> bytes:
        if size > len(self.rest):
            raise IntegrityError("malformed array: its elements are truncated")
        taken, self.rest = self.rest[:size], self.rest[size:]
        return bytes(taken)

    def byte(self) -> int:
        return self.take(1)[0]

    def sized(self) -> bytes:
        return self.take(_SIZE.unpack(self.take(_SIZE.size))[0])


def _zigzag(difference: Words) -> Words:
    """Return differences modulo 2**bits so that small ones of either sign are small numbers."""
    signed = difference.view(f"<i{difference.itemsize}")
    bits = signed.dtype.type(8 * difference.itemsize - 1)
    folded: Words = (signed << signed.dtype.type(1)) ^ (signed >> bits)
    return folded.view(difference.dtype)


def _unzigzag(words: Words) -> Words:
    one = words.dtype.type(1)
    unfolded: Words = (words >> one) ^ (~(words & one) + one)
    return unfolded
