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
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from simgit.errors import IntegrityError
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import OID_SIZE

if TYPE_CHECKING:
    import numpy.typing as npt

PREFIX_BITS: Final = 32
PAGE_SIZE: Final = 8160
"""The most bytes of a page: two of LMDB's pages, less its header and the checksum."""
_HEAD: Final = struct.Struct("<IIBBI")
_NEAR: Final = 64
"""Bits within which a search tries first."""
Entries: TypeAlias = "tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]"


def prefix_of(oid: bytes) -> int:
    """Return the prefix of an oid: its first 32 bits."""
    return int.from_bytes(oid[:4], "big")


def prefixes(oids: Iterable[bytes]) -> npt.NDArray[np.uint32]:
    """Return the prefixes of many oids."""
    words = np.frombuffer(b"".join(oids), ">u4").reshape(-1, OID_SIZE // 4)
    return words[:, 0].astype(np.uint32)


def sort_entries(prefix: npt.NDArray[np.uint32], place: npt.NDArray[np.uint32]) -> Entries:
    """Return the entries in the order of prefix, then place."""
    both = np.sort(prefix.astype(np.uint64) << np.uint64(32) | place)
    return (both >> np.uint64(32)).astype(np.uint32), both.astype(np.uint32)


class PageWriter:
    """Cuts a run's entries into pages as they come, in their order.

    Attributes:
        firsts: the first prefix of each page that was given out.
        step: the number of entries of a full page, but for equal prefixes at its end.
    """

    def __init__(self, count: int, place_bits: int) -> None:
        """Begin a run.

        Args:
            count: about how many entries it will have.
            place_bits: the bits of its greatest place.
        """
        low_bits = _low_bits(count, 1 << PREFIX_BITS)
        # a page's unary part takes a bit an entry, and one for each step of the high bits
        unary = 1 + (1 << PREFIX_BITS) / max(count, 1) / (1 << low_bits)
        self.firsts: list[int] = []
        self.step = max(1, int((PAGE_SIZE - 80) * 8 / (low_bits + place_bits + unary)))
        self._place_bits = place_bits
        self._left: Entries = (np.zeros(0, np.uint32), np.zeros(0, np.uint32))

    @property
    def left(self) -> npt.NDArray[np.uint32]:
        """The prefixes of the entries that came and that no page has yet."""
        return self._left[0]

    def pages(self, entries: Entries, is_last: bool) -> Iterator[tuple[int, bytes]]:
        """Yield (first prefix, page) of what is full; equal prefixes share a page.

        Args:
            entries: the next ones, sorted; none of a prefix are missing.
            is_last: whether no others will come: then the last page need not be full.
        """
        prefix, place = (np.concatenate(both) for both in zip(self._left, entries, strict=True))
        at = 0
        while at + self.step < len(prefix) or (is_last and at < len(prefix)):
            end = _page_end(prefix, at, self.step)
            yield int(prefix[at]), _encode_page(prefix[at:end], place[at:end], self._place_bits)
            self.firsts.append(int(prefix[at]))
            at = end
        self._left = prefix[at:], place[at:]


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
    """Return values one after another, ``width`` bits each, at most 64."""
    used = values.astype("<u8").view(np.uint8).reshape(-1, 8)[:, : -(-width // 8)]
    bits = np.unpackbits(used, axis=1, count=width, bitorder="little")
    return np.packbits(bits, bitorder="little").tobytes()


def _unpack_bits(data: bytes, count: int, width: int) -> npt.NDArray[np.uint64]:
    if width == 0:
        return np.zeros(count, np.uint64)
    padded = np.frombuffer(bytes(data) + bytes(9), np.uint8)
    # the eight bytes from each byte on, as numbers
    words = np.ndarray((len(padded) - 8,), "<u8", padded, 0, (1,))
    bit = np.arange(count, dtype=np.int64) * width
    at, shift = bit >> 3, (bit & 7).astype(np.uint64)
    found: npt.NDArray[np.uint64] = words[at] >> shift
    if width > 64 - 7:
        above = padded[at + 8].astype(np.uint64) << (np.uint64(63) - shift) << np.uint64(1)
        found |= above
    found &= np.uint64((1 << width) - 1)
    return found


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


def _decode_head(page: bytes) -> tuple[int, int, int, int, int]:
    """Return entries, first prefix, bits of the low part and of a place, and where these begin."""
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
    return count, first, low_bits, place_bits, at


def _decode_high(page: bytes) -> tuple[npt.NDArray[Any], int, int, int, int]:
    count, first, low_bits, place_bits, at = _decode_head(page)
    size = at - _HEAD.size
    unary = np.unpackbits(np.frombuffer(page, np.uint8, size, _HEAD.size), bitorder="little")
    ones = np.flatnonzero(unary)
    if len(ones) != count:
        raise IntegrityError("malformed page of the index")
    return ones - np.arange(count), first, low_bits, place_bits, at


class Page:
    """A page that is searched as it lies: of most, only one prefix is ever looked for.

    Raises:
        IntegrityError: the bytes are malformed.
    """

    __slots__ = ("_at", "_bits", "_count", "_data", "_first", "_low_bits", "_place_bits", "_unary")

    def __init__(self, data: bytes) -> None:
        self._count, self._first, self._low_bits, self._place_bits, self._at = _decode_head(data)
        self._unary = int.from_bytes(data[_HEAD.size : self._at], "little")
        if self._unary.bit_count() != self._count:
            raise IntegrityError("malformed page of the index")
        self._bits = self._unary.bit_length()
        self._data = data

    def find(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return the (prefix, place) entries with low <= prefix <= high.

        Only the entries whose unary part can match are unpacked.
        """
        first, low_bits, place_bits = self._first, self._low_bits, self._place_bits
        if high < first:
            return []
        least = max(0, low - first) >> low_bits
        bit = self._after_zeros(least)
        width, unary = low_bits + place_bits, self._unary >> bit
        found, above = [], least
        most = (high - first) >> low_bits
        while unary and above <= most:
            if not unary & 1:
                above += 1
            else:
                value = _bits_at(self._data, self._at, (bit - above) * width, width)
                prefix = first + (above << low_bits) + (value >> place_bits)
                if low <= prefix <= high:
                    found.append((prefix, value & ((1 << place_bits) - 1)))
            bit += 1
            unary >>= 1
        return found

    def _after_zeros(self, count: int) -> int:
        """Return the bit of the unary part after so many zeros: before it lie the lesser ones."""
        if not count:
            return 0
        unary = self._unary
        start, stop = count, self._bits
        # prefixes are spread evenly: it is near the same share of all zeros
        guess = count * stop // max(1, stop - self._count)
        for near in (guess - _NEAR, guess + _NEAR):
            if start < near < stop:
                if near - (unary & ((1 << near) - 1)).bit_count() < count:
                    start = near + 1
                else:
                    stop = near
        while start < stop:
            middle = (start + stop) // 2
            if middle - (unary & ((1 << middle) - 1)).bit_count() < count:
                start = middle + 1
            else:
                stop = middle
        return start


def _bits_at(data: bytes, base: int, bit: int, width: int) -> int:
    start, end = base + bit // 8, base + (bit + width + 7) // 8
    value = int.from_bytes(data[start:end], "little") >> bit % 8
    return value & ((1 << width) - 1)
