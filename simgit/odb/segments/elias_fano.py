"""Pages of an index run, in the code of Elias and Fano: from oid prefixes to places.

A run is a sorted list of (first 32 bits of an oid, place number), cut into pages that fill whole
database pages.
Prefixes are coded as Elias and Fano did (P. Elias, "Efficient storage and retrieval by content
and address of static files", 1974): low bits as they are, high bits in unary; place numbers
with as few bits as they need. A hit is a candidate only: the caller recomputes the oid.

    page = u32 count ‖ u32 first prefix ‖ u8 low bits ‖ u8 place bits ‖ u32 unary bytes
           ‖ unary bits ‖ packed (low, place) bits
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simgit.errors import IntegrityError

if TYPE_CHECKING:
    import numpy.typing as npt

PREFIX_BITS: Final = 32
PAGE_SIZE: Final = 8160
"""The most bytes of a page: two of LMDB's pages, less its header and the checksum."""
_HEAD: Final = struct.Struct("<IIBBI")
Entries = tuple[np.ndarray[Any, np.dtype[np.uint32]], np.ndarray[Any, np.dtype[np.uint32]]]


def prefix_of(oid: bytes) -> int:
    """Return the prefix of an oid: its first 32 bits."""
    return int.from_bytes(oid[:4], "big")


def prefixes(oids: Iterable[bytes]) -> npt.NDArray[np.uint32]:
    """Return the prefixes of many oids."""
    flat = b"".join(oid[:4] for oid in oids)
    return np.frombuffer(flat, ">u4").astype(np.uint32)


def sort_entries(prefix: npt.NDArray[np.uint32], place: npt.NDArray[np.uint32]) -> Entries:
    """Return the entries in the order of prefix, then place."""
    both = np.sort(prefix.astype(np.uint64) << np.uint64(32) | place)
    return (both >> np.uint64(32)).astype(np.uint32), both.astype(np.uint32)


def encode_pages(entries: Entries) -> Iterator[tuple[int, bytes]]:
    """Yield (first prefix, page) of sorted entries; equal prefixes share a page."""
    prefix, place = entries
    place_bits = int(place.max()).bit_length() if len(place) else 0
    low_bits = _low_bits(len(prefix), 1 << PREFIX_BITS)
    # a page's unary part takes a bit an entry, and one for each step of the high bits
    unary = 1 + (1 << PREFIX_BITS) / max(len(prefix), 1) / (1 << low_bits)
    at, step = 0, max(1, int((PAGE_SIZE - 80) * 8 / (low_bits + place_bits + unary)))
    while at < len(prefix):
        end = _page_end(prefix, at, step)
        page = _encode_page(prefix[at:end], place[at:end], place_bits)
        yield int(prefix[at]), page
        at = end


def _low_bits(count: int, spread: int) -> int:
    return max(0, (spread // max(count, 1)).bit_length() - 1)


def _page_end(prefix: npt.NDArray[np.uint32], at: int, step: int) -> int:
    end = min(at + step, len(prefix))
    if end == len(prefix) or prefix[end] != prefix[end - 1]:
        return end
    # do not cut between equal prefixes
    before = int(np.searchsorted(prefix, prefix[end - 1], "left"))
    return before if before > at else int(np.searchsorted(prefix, prefix[end - 1], "right"))


def _encode_page(
    prefix: npt.NDArray[np.uint32], place: npt.NDArray[np.uint32], place_bits: int
) -> bytes:
    relative = (prefix - prefix[0]).astype(np.int64)
    low_bits = _low_bits(len(prefix), int(relative[-1]) + 1)
    high = relative >> low_bits
    unary = np.zeros(int(high[-1]) + len(prefix), np.uint8)
    unary[high + np.arange(len(prefix))] = 1
    packed = np.packbits(unary, bitorder="little").tobytes()
    low = relative & ((1 << low_bits) - 1)
    both = low << place_bits | place
    head = _HEAD.pack(len(prefix), int(prefix[0]), low_bits, place_bits, len(packed))
    return head + packed + _pack_bits(both, low_bits + place_bits)


def _pack_bits(values: npt.NDArray[np.int64], width: int) -> bytes:
    bits = np.unpackbits(
        values.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little"
    )
    return np.packbits(bits[:, :width], bitorder="little").tobytes()


def _unpack_bits(data: bytes, count: int, width: int) -> npt.NDArray[np.uint64]:
    if width == 0:
        return np.zeros(count, np.uint64)
    flat = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * width]
    bits = np.zeros((count, 64), np.uint8)
    bits[:, :width] = flat.reshape(count, width)
    return np.packbits(bits, axis=1, bitorder="little").view("<u8").reshape(count)


def decode_page(page: bytes) -> Entries:
    """Return the entries of a page.

    Raises:
        IntegrityError: it is malformed.
    """
    high, first, low_bits, place_bits, at = _decode_high(page)
    count = len(high)
    both = _unpack_bits(page[at:], count, low_bits + place_bits)
    place = both & np.uint64((1 << place_bits) - 1)
    low = both >> np.uint64(place_bits)
    prefix = (high.astype(np.uint64) << np.uint64(low_bits)) + low + np.uint64(first)
    if count and int(prefix.max()) >> PREFIX_BITS:
        raise IntegrityError("malformed page of the index")
    return prefix.astype(np.uint32), place.astype(np.uint32)


def _decode_high(page: bytes) -> tuple[npt.NDArray[Any], int, int, int, int]:
    try:
        count, first, low_bits, place_bits, size = _HEAD.unpack_from(page)
    except struct.error:
        raise IntegrityError("malformed page of the index") from None
    at = _HEAD.size + size
    if (
        low_bits > 32
        or place_bits > 32
        or len(page) - at != -(-count * (low_bits + place_bits) // 8)
    ):
        raise IntegrityError("malformed page of the index")
    unary = np.unpackbits(np.frombuffer(page, np.uint8, size, _HEAD.size), bitorder="little")
    ones = np.flatnonzero(unary)
    if len(ones) != count:
        raise IntegrityError("malformed page of the index")
    return ones - np.arange(count), first, low_bits, place_bits, at


class Page:
    """A page whose unary part is decoded: it can be searched again and again.

    Raises:
        IntegrityError: the bytes are malformed.
    """

    __slots__ = ("_at", "_data", "_first", "_highs", "_low_bits", "_place_bits")

    def __init__(self, data: bytes) -> None:
        highs, self._first, self._low_bits, self._place_bits, self._at = _decode_high(data)
        # arrays of Python's, since a search of NumPy's converts all of the array first
        self._highs = array("I", highs.astype(np.uint32).tobytes())
        self._data = data

    def find(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return the (prefix, place) entries with low <= prefix <= high.

        Only the entries whose unary part can match are unpacked.
        """
        first, low_bits, place_bits = self._first, self._low_bits, self._place_bits
        if high < first:
            return []
        start = bisect_left(self._highs, max(0, low - first) >> low_bits)
        end = bisect_right(self._highs, (high - first) >> low_bits, start)
        width = low_bits + place_bits
        found = []
        for i in range(start, end):
            value = _bits_at(self._data, self._at, i * width, width)
            prefix = first + (self._highs[i] << low_bits) + (value >> place_bits)
            if low <= prefix <= high:
                found.append((prefix, value & ((1 << place_bits) - 1)))
        return found


def _bits_at(data: bytes, base: int, bit: int, width: int) -> int:
    start, end = base + bit // 8, base + (bit + width + 7) // 8
    value = int.from_bytes(data[start:end], "little") >> bit % 8
    return value & ((1 << width) - 1)
