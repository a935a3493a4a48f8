"""Checksums and zstd frames: stored bytes, compressed, and checked when they are read."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Final

import zstandard
from blake3 import blake3

from simgit.errors import IntegrityError

CHECKSUM_SIZE: Final = 8
"""The length of a checksum in bytes."""
MAX_RAW: Final = 1 << 31
"""The most bytes that a frame may inflate to."""
MAX_RATIO: Final = 40_000
"""The most that a zstd frame can inflate: a block of at most 128 KiB takes at least 4 bytes."""
_AT_ONCE: Final = 1 << 10
"""The bytes of a frame that are inflated at once: at most 40 MB come of them."""
_local = threading.local()


def checksum(data: bytes) -> bytes:
    """Return the checksum of stored bytes: the first 8 bytes of their BLAKE3."""
    return blake3(data).digest(CHECKSUM_SIZE)


def compress(data: bytes | bytearray | memoryview, level: int = 3) -> bytes:
    """Return one zstd frame that declares its content's size."""
    # one compressor a thread: they must not be shared
    cache = _local.__dict__.setdefault("compressors", {})
    if level not in cache:
        cache[level] = zstandard.ZstdCompressor(level=level)
    frame: bytes = cache[level].compress(data)
    return frame


def inflated(frame: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the content of a frame that comes in pieces; memory does not grow with its size.

    Raises:
        IntegrityError: the frame is damaged, or its content is not ``size`` bytes.
    """
    inflater = zstandard.ZstdDecompressor().decompressobj()
    left = size
    try:
        for piece in frame:
            for at in range(0, len(piece), _AT_ONCE):
                data = inflater.decompress(piece[at : at + _AT_ONCE])
                left -= len(data)
                if left < 0:
                    raise IntegrityError(f"a compressed frame holds more than {size} bytes")
                yield data
    except zstandard.ZstdError as error:
        raise IntegrityError(f"a compressed frame is damaged: {error}") from None
    if left or not inflater.eof or inflater.unused_data:
        raise IntegrityError(f"a compressed frame does not hold {size} bytes")


def decompress(frame: bytes, size: int) -> bytes:
    """Return the content of a frame, which has to be ``size`` bytes.

    Raises:
        IntegrityError: the frame is damaged, or declares another size (it is then not inflated).
    """
    if size > MAX_RAW or size > MAX_RATIO * len(frame):
        raise IntegrityError(f"a compressed frame claims {size} bytes, which is too much")
    decompressor = _local.__dict__.get("decompressor")
    if decompressor is None:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor()
    try:
        if zstandard.frame_content_size(frame) != size:
            raise IntegrityError(f"a compressed frame does not declare {size} bytes")
        data: bytes = decompressor.decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"a compressed frame is damaged: {error}") from None
    if len(data) != size:
        raise IntegrityError(f"a compressed frame does not hold {size} bytes")
    return data
