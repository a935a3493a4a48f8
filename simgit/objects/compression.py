"""Checksums and zstd frames: stored bytes, compressed, and checked when they are read."""

from __future__ import annotations

import threading
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
