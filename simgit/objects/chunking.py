"""Content-defined chunking: cut bytes where their content says; an insertion moves few cuts.

The scheme is that of FastCDC (Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking
Approach for Data Deduplication", USENIX ATC 2016): a gear hash, a shortest and a longest chunk, and
a condition that is strict before the wanted size and loose after it.

The gear hash after byte ``i`` is the sum of ``GEAR[byte[i - k]] << k`` for ``k`` from 0 to 31,
modulo 2**32, so it depends on the last 32 bytes alone.
``GEAR`` is the first 1024 bytes of BLAKE3's extended output for ``LABEL``, as 256 little-endian
numbers of 32 bits.
A chunk ends after its byte number ``n`` (counted from 1) if ``MIN <= n < WANTED`` and the hash is
below ``STRICT``, or ``WANTED <= n < MAX`` and it is below ``LOOSE``, or ``n == MAX``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

LABEL: Final = b"simgit chunking gear 0"
MIN: Final = 8 << 10
WANTED: Final = 28 << 10
MAX: Final = 60 << 10
STRICT: Final = 1 << (32 - 17)
LOOSE: Final = 1 << (32 - 13)

GEAR: Final[NDArray[np.uint32]] = np.frombuffer(
    blake3(LABEL).digest(length=1024), dtype="<u4"
).astype(np.uint32)

_WINDOW: Final = 32
_BUFFER: Final = 2 << 20
_BLOCK: Final = 32 << 10
"""Bytes that are hashed at once, few enough for the processor's cache."""


def split(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield the bytes that ``read(n)`` returns (up to n, none at the end) cut into chunks.

    The cuts depend on the content alone, not on the pieces in which it arrives.
    Takes a few MiB of memory, however much is read.
    """
    kept, ended = b"", False
    while not ended:
        data, ended = _fill(read, kept)
        place = 0
        for end in _cuts(data, ended):
            yield data[place:end]
            place = end
        kept = data[place:]


def _fill(read: Callable[[int], bytes], kept: bytes) -> tuple[bytes, bool]:
    """Read on until the buffer is full; return it and whether the end was reached."""
    pieces, missing = [kept], _BUFFER - len(kept)
    while missing > 0:
        piece = read(missing)
        if not piece:
            return b"".join(pieces), True
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces), False


def _cuts(data: bytes, ended: bool) -> Iterator[int]:
    """Yield the ends of the chunks of a buffer, as far as they are sure."""
    loose, strict = _candidates(np.frombuffer(data, np.uint8))
    place = 0
    while len(data) - place >= MAX or (ended and place < len(data)):
        place = min(_cut(place, loose, strict), len(data))
        yield place


def _cut(place: int, loose: list[int], strict: list[int]) -> int:
    """Return the end of the chunk that begins at ``place``."""
    first = bisect_left(strict, place + MIN)
    if first < len(strict) and strict[first] < place + WANTED:
        return strict[first]
    first = bisect_left(loose, place + WANTED)
    if first < len(loose) and loose[first] < place + MAX:
        return loose[first]
    return place + MAX


def _candidates(data: NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Return the positions after which the hash is below ``LOOSE``, and those below ``STRICT``.

    The hash of the buffer's first 31 bytes lacks what came before; no chunk ends there.
    """
    loose: list[int] = []
    strict: list[int] = []
    for start in range(0, len(data), _BLOCK):
        before = min(start, _WINDOW - 1)
        hashes = _gear_hashes(data[start - before : start + _BLOCK])[before:]
        found = np.flatnonzero(hashes < LOOSE)
        loose += (found + (start + 1)).tolist()
        strict += (found[hashes[found] < STRICT] + (start + 1)).tolist()
    return loose, strict


def _gear_hashes(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the gear hash after every byte, with zeros taken for what precedes the array.

    The sum over a window of 2n bytes is that over the last n plus that over the n before, shifted;
    so five additions of whole arrays make the window of 32.
    """
    hashes = GEAR.take(data)
    width = 1
    while width < _WINDOW:
        hashes[width:] += hashes[:-width] << np.uint32(width)
        width *= 2
    return hashes
