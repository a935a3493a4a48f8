"""Segment headers, and how a segment's bytes are cut into database values.

A segment is keyed by its line and the step of its first row, so that a location (line, step)
stays valid when segments are joined. See docs/store-layout.md §3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, overload

from simgit.errors import IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.objects.oid import OID_SIZE
from simgit.odb.location import LIMIT
from simgit.odb.segments.block import BLOCK_ROWS
from simgit.storage.base import ReadTxn, WriteTxn

PIECE_SIZE: Final = 65520
"""The size in bytes of one database value: 16 of LMDB's pages less their header."""
INLINE_SIZE: Final = 1024
"""The most bytes of blocks that lie within the header's value."""
_VERSION: Final = 1
_FIXED: Final = struct.Struct("<BI32s32s32sQQdHH")
_BLOCK: Final = struct.Struct("<IIIId8s8s")
_KEY: Final = struct.Struct(">QQ")
_UNKNOWN: Final = (1 << 64) - 1


class BlockInfo(NamedTuple):
    """The offsets, sizes and checksums of a block's two parts, and sums of its rows."""

    offset: int
    fixed_size: int
    variable_size: int
    resets: int
    rewards: float
    fixed_check: bytes
    variable_check: bytes


class Blocks(Sequence[BlockInfo]):
    """A segment's blocks, each unpacked on use."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data) // _BLOCK.size

    @overload
    def __getitem__(self, i: int) -> BlockInfo: ...
    @overload
    def __getitem__(self, i: slice) -> list[BlockInfo]: ...

    def __getitem__(self, i: int | slice) -> BlockInfo | list[BlockInfo]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not 0 <= i < len(self):
            raise IndexError(f"block {i} is out of range: the segment has {len(self)}")
        return BlockInfo(*_BLOCK.unpack_from(self.data, i * _BLOCK.size))

    def __iter__(self) -> Iterator[BlockInfo]:
        return map(BlockInfo._make, _BLOCK.iter_unpack(self.data))

    @staticmethod
    def pack(blocks: Sequence[BlockInfo]) -> Blocks:
        """Return blocks in stored form."""
        return Blocks(b"".join(_BLOCK.pack(*block) for block in blocks))


class Header:
    """The header of a segment.

    ``parent`` is the oid of the state before the first row (zeros for a root), ``last`` that of the
    last state; ``episode`` and ``episode_start`` are the episode of the state before the first row
    and the step at which it began, ``returned`` is the sum of all rewards before the first row.
    In a shallow history the first is None and the last is NaN, since what is before is not known;
    the second is None until an episode has begun in it.
    """

    def __init__(
        self,
        line: int,
        step: int,
        count: int,
        schema: bytes,
        parent: bytes,
        last: bytes,
        episode: int | None,
        episode_start: int | None,
        returned: float,
        layout: bytes,
        blocks: Blocks,
        inline: bytes,
    ) -> None:
        self.line: Final = line
        self.step: Final = step
        self.count: Final = count
        self.schema: Final = schema
        self.parent: Final = parent
        self.last: Final = last
        self.episode: Final = episode
        self.episode_start: Final = episode_start
        self.returned: Final = returned
        self.layout: Final = layout
        self.blocks: Final = blocks
        self.inline: Final = inline

    @property
    def end(self) -> int:
        """The step after the last row's."""
        return self.step + self.count

    def block_rows(self, number: int) -> int:
        """Return the number of rows of a block."""
        return min(BLOCK_ROWS, self.count - number * BLOCK_ROWS)


def segment_key(line: int, step: int) -> bytes:
    """Return the key of a segment's header.

    Raises:
        IntegrityError: no line has this number, or no state this step.
    """
    try:
        return _KEY.pack(line, step)
    except struct.error:
        raise IntegrityError(f"malformed key: no line {line} can have a step {step}") from None


def encode_header(header: Header) -> bytes:
    """Return a header's bytes, with their checksum."""
    parts = [
        _FIXED.pack(
            _VERSION, header.count, header.schema, header.parent, header.last,
            _UNKNOWN if header.episode is None else header.episode,
            _UNKNOWN if header.episode_start is None else header.episode_start,
            header.returned, len(header.layout), len(header.inline),
        ),
        header.layout,
        header.blocks.data,
    ]  # fmt: skip
    body = b"".join((*parts, header.inline))
    return body + checksum(body)


@lru_cache(64)  # a commit reads the header that it follows several times
def decode_header(key: bytes, value: bytes) -> Header:
    """Return the header of a segment.

    Raises:
        IntegrityError: its checksum does not match, or it is malformed.
    """
    if len(key) != _KEY.size:
        raise IntegrityError("malformed key of a segment")
    line, step = _KEY.unpack(key)
    body = value[:-CHECKSUM_SIZE]
    if checksum(body) != value[-CHECKSUM_SIZE:] or len(body) < _FIXED.size:
        raise IntegrityError(f"the header of segment {line}/{step} is damaged")
    version, count, schema, parent, last, episode, start, returned, layout_size, inline_size = (
        _FIXED.unpack_from(body)
    )
    number = -(-count // BLOCK_ROWS)
    at = _FIXED.size + layout_size
    end = at + number * _BLOCK.size
    if version != _VERSION or not count or end + inline_size != len(body):
        raise IntegrityError(f"the header of segment {line}/{step} is damaged")
    if episode == _UNKNOWN:
        episode, start = None, None if start == _UNKNOWN else start
    if step + count > LIMIT or (start or 0) > step or (episode or 0) > step:
        raise IntegrityError(f"the header of segment {line}/{step} has a number out of range")
    return Header(
        line, step, count, schema, parent, last, episode, start, returned,
        body[_FIXED.size : at], Blocks(body[at:end]), body[end:],
    )  # fmt: skip


def write_segment(txn: WriteTxn, header: Header, body: bytes) -> None:
    """Store a segment: the blocks with the header if they are small, else in pieces."""
    key = segment_key(header.line, header.step)
    txn.put("segments", key, encode_header(header))
    if not header.inline:
        write_pieces(txn, "blocks", key, body)


def read_part(txn: ReadTxn, header: Header, offset: int, size: int, check: bytes) -> bytes:
    """Return bytes of a segment, their checksum compared.

    Raises:
        IntegrityError: they are missing, or do not match their checksum.
    """
    if header.inline:
        data = header.inline[offset : offset + size]
    else:
        key = segment_key(header.line, header.step)
        data = read_pieces(txn, "blocks", key, offset, size)
    if len(data) != size or checksum(data) != check:
        raise IntegrityError(f"a block of segment {header.line}/{header.step} is damaged")
    return data


def write_pieces(txn: WriteTxn, table: str, key: bytes, data: bytes) -> None:
    """Store bytes under a key as numbered values of ``PIECE_SIZE``."""
    for number, start in enumerate(range(0, len(data), PIECE_SIZE)):
        txn.put(table, key + number.to_bytes(4, "big"), data[start : start + PIECE_SIZE])


def read_pieces(txn: ReadTxn, table: str, key: bytes, offset: int, size: int) -> bytes:
    """Return ``size`` bytes from ``offset`` on (fewer, if they are not there)."""
    first, last = offset // PIECE_SIZE, (offset + size - 1) // PIECE_SIZE
    pieces = [txn.get(table, key + n.to_bytes(4, "big")) or b"" for n in range(first, last + 1)]
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    start = offset - first * PIECE_SIZE
    return data[start : start + size]


def delete_pieces(txn: WriteTxn, table: str, key: bytes) -> None:
    """Remove all values of a key."""
    for found, _ in list(txn.scan(table, key, key + b"\xff\xff\xff\xff")):
        txn.delete(table, found)


def header_at(txn: ReadTxn, line: int, step: int) -> Header | None:
    """Return the header of the segment that holds a step of a line, or None."""
    found = txn.floor("segments", segment_key(line, step))
    if found is None or found[0][:8] != line.to_bytes(8, "big"):
        return None
    header = decode_header(*found)
    return header if step < header.end else None


def last_header(txn: ReadTxn, line: int) -> Header:
    """Return the header of a line's last segment.

    Raises:
        IntegrityError: the line has none.
    """
    found = txn.floor("segments", segment_key(line, (1 << 64) - 1))
    if found is None or found[0][:8] != line.to_bytes(8, "big"):
        raise IntegrityError(f"line {line} has no segments")
    return decode_header(*found)


NO_PARENT: Final = b"\0" * OID_SIZE
