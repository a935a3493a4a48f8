"""Blocks: up to some thousand rows of one schema, byte-transposed and compressed.

    block = checkpoints ‖ constants ‖ raw planes ‖ zstd(other planes), and the variable part

(see docs/store-layout.md)

Rows lie as planes (all first bytes, all second bytes, …), since neighbouring states differ little
in most of them. Words of 4 and 8 bytes are first replaced by their difference to the row before
(zigzag), where that makes them smaller. A plane of one value takes a byte; planes that look random
are stored as they are; the others go through zstd together: random bytes among them would spoil
its statistics.
"""

from __future__ import annotations

import struct
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from simgit.errors import IntegrityError
from simgit.objects.compression import (
    compress,
    decompress,
)
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import OID_SIZE
from simgit.objects.rows import Matrix, Rows
from simgit.objects.schema import FIXED, FLOAT, INT, Schema

if TYPE_CHECKING:
    import numpy.typing as npt

BLOCK_ROWS: Final = 2048
CHECKPOINT_ROWS: Final = 64
"""Rows between two stored oids, which bound the work for reading one state."""
_RANDOM: Final = 0.94  # entropy, as a share of 8 bits, above which a plane is stored raw
_SAMPLE: Final = 512


# --- filters -----------------------------------------------------------------------------------


class Layout(NamedTuple):
    """The layout of a segment's blocks: a filter for each word, a class for each plane."""

    filters: tuple[tuple[int, int, int], ...]  # offset in the row, word size, number of words
    raw: Matrix  # for each plane 1 if it is stored as it is


def words(schema: Schema) -> list[tuple[int, int, int]]:
    """Return (offset, word size, words) of the fields made of 4- or 8-byte numbers."""
    found = []
    for (_, kind), offset in zip(schema.fields, schema.offsets, strict=True):
        dtype = kind.storage_dtype
        if kind.code not in (INT, FLOAT, FIXED) or dtype is None or not kind.width:
            continue
        if dtype.kind in "iufmM" and dtype.itemsize in (4, 8):
            found.append((offset, dtype.itemsize, kind.width // dtype.itemsize))
    return found


def delta(matrix: Matrix, offset: int, size: int, count: int) -> Matrix:
    """Return the words' zigzag differences to the row before, as bytes.

    Every 64th row keeps its words, so that rows can be read without all rows before them.
    """
    data = np.ascontiguousarray(matrix[:, offset : offset + size * count]).view(f"<u{size}")
    diff = data.copy()
    diff[1:] -= data[:-1]
    diff[::CHECKPOINT_ROWS] = data[::CHECKPOINT_ROWS]
    signed = diff.view(f"<i{size}")
    zigzag = (signed << 1) ^ (signed >> (8 * size - 1))
    return zigzag.view(np.uint8).reshape(len(matrix), size * count)


def undelta(planes: Matrix, size: int) -> Matrix:
    """Invert ``delta`` on planes, (size × words, rows); the first row is a 64th one."""
    bytes_ = planes.astype(f"<u{size}")
    zigzag = bytes_[0::size]
    for i in range(1, size):
        zigzag |= bytes_[i::size] << np.uint8(8 * i)
    diff = (zigzag >> np.uint8(1)) ^ (np.uint8(0) - (zigzag & np.uint8(1)))
    rows = planes.shape[1]
    whole = rows // CHECKPOINT_ROWS * CHECKPOINT_ROWS
    groups = diff[:, :whole].reshape(len(diff), -1, CHECKPOINT_ROWS)
    np.cumsum(groups, axis=2, dtype=diff.dtype, out=groups)
    np.cumsum(diff[:, whole:], axis=1, dtype=diff.dtype, out=diff[:, whole:])
    return np.ascontiguousarray(diff.T).view(np.uint8).reshape(rows, len(planes))


def _undelta_few(data: Matrix, size: int) -> Matrix:
    """Invert ``delta`` on at most 64 rows, with fewer and smaller operations."""
    zigzag = np.ascontiguousarray(data).view(f"<u{size}")
    diff = (zigzag >> np.uint8(1)) ^ (np.uint8(0) - (zigzag & np.uint8(1)))
    return diff.cumsum(axis=0, dtype=diff.dtype).view(np.uint8)


@lru_cache(maxsize=64)
def _terms(total: int) -> npt.NDArray[np.float64]:
    """Return what a byte that occurs 0, 1, 2, … times among so many adds to their entropy."""
    share = np.arange(total + 1) / total
    share[0] = 1  # what does not occur adds nothing
    return -share * np.log2(share) / 8


def entropies(sample: Matrix) -> npt.NDArray[np.float64]:
    """Return the order-0 entropy of each column of bytes, as a share of 8 bits."""
    count, width = sample.shape
    numbered = sample.T + np.arange(0, 256 * width, 256)[:, None]
    occurs = np.bincount(numbered.ravel(), minlength=256 * width).reshape(width, 256)
    entropy: npt.NDArray[np.float64] = _terms(count)[occurs].sum(axis=1)
    return entropy


def choose_layout(rows: Rows) -> Layout:
    """Return the layout for the blocks of a segment, from a sample of its rows."""
    sample = rows.fixed[:BLOCK_ROWS]
    raw = np.zeros(sample.shape[1], np.uint8)
    filters: list[tuple[int, int, int]] = []
    if len(sample) >= _SAMPLE:
        # the entropy of fewer rows says little, and there is little to win
        cost = _costs(sample)
        filters = _choose_filters(rows.schema, sample, cost)
        raw[cost > _RANDOM] = 1
    for start in (rows.schema.offsets[i] for i in rows.schema.arrays):
        raw[start : start + OID_SIZE] = 1
    return Layout(tuple(filters), raw)


def _costs(sample: Matrix) -> npt.NDArray[np.float64]:
    """Return the entropy of each byte of the rows."""
    cost = np.zeros(sample.shape[1])
    varying = np.flatnonzero((sample != sample[0]).any(axis=0))
    cost[varying] = entropies(sample[:, varying])
    return cost


def _choose_filters(
    schema: Schema, sample: Matrix, cost: npt.NDArray[np.float64]
) -> list[tuple[int, int, int]]:
    """Return the fields that differences make smaller, and set what their planes then cost."""
    filters = []
    for offset, size, count in words(schema):
        if not cost[offset : offset + size * count].any():
            continue
        after = _costs(delta(sample, offset, size, count))
        if after.sum() < cost[offset : offset + size * count].sum() - 0.02:
            filters.append((offset, size, count))
            cost[offset : offset + size * count] = after
    return filters


def encode_layout(layout: Layout) -> bytes:
    """Return a layout's bytes."""
    parts = [struct.pack("<H", len(layout.filters))]
    parts += [struct.pack("<IBI", *each) for each in layout.filters]
    return b"".join(parts) + np.packbits(layout.raw, bitorder="little").tobytes()


def decode_layout(data: bytes, schema: Schema) -> Layout:
    """Return the decoded layout.

    Raises:
        IntegrityError: it is truncated, or does not fit the schema.
    """
    try:
        (count,) = struct.unpack_from("<H", data)
        filters = tuple(struct.unpack_from("<IBI", data, 2 + 9 * i) for i in range(count))
    except struct.error:
        raise IntegrityError("malformed segment: its layout is truncated") from None
    rest = data[2 + 9 * count :]
    width = schema.fixed_size
    fits = len(set(filters)) == count and set(filters) <= set(words(schema))
    if len(rest) != (width + 7) // 8 or not fits:
        raise IntegrityError("malformed segment: its layout does not fit its schema")
    raw = np.unpackbits(np.frombuffer(rest, np.uint8), bitorder="little")[:width]
    return Layout(filters, raw)


# --- blocks ------------------------------------------------------------------------------------


_PACKED, _RAW, _CONSTANT = range(3)


class PlaneKinds(NamedTuple):
    """The kinds of a block's planes: packed, raw, or of one value."""

    numbers: tuple[npt.NDArray[np.intp], ...]  # for each kind which planes are of it
    counts: tuple[int, int, int]
    before: tuple[list[int], list[int], list[int]]  # for each kind how many there are before each


@lru_cache(maxsize=1024)
def plane_kinds(raw: bytes, constant: bytes) -> PlaneKinds:
    """Return the kinds of planes; most blocks of a store have one of a few combinations.

    Args:
        raw: for each plane 1 if the layout stores it as it is.
        constant: a bit for each plane, set if it has one value.
    """
    bits = np.unpackbits(np.frombuffer(constant, np.uint8), bitorder="little")[: len(raw)]
    kinds = np.where(bits, np.uint8(_CONSTANT), np.frombuffer(raw, np.uint8))
    before = [[0, *np.cumsum(kinds == kind).tolist()] for kind in range(3)]
    a, b, c = before
    numbers = tuple(np.flatnonzero(kinds == kind) for kind in range(3))
    return PlaneKinds(numbers, (a[-1], b[-1], c[-1]), (a, b, c))


class Planes:
    """The planes of a block: some packed, some as they are, some of one value only."""

    def __init__(self, kinds: PlaneKinds, packed: Matrix, raw: Matrix, constants: Matrix) -> None:
        self._numbers = kinds.numbers
        self._before = kinds.before
        self._stored = (packed, raw, constants.reshape(-1, 1))

    def get(self, low: int, high: int, start: int, stop: int) -> Matrix:
        """Return the planes low <= i < high of the rows start <= row < stop."""
        out = None
        for kind, (stored, before) in enumerate(zip(self._stored, self._before, strict=True)):
            a, b = before[low], before[high]
            if a == b:
                continue
            part = stored[a:b] if kind == _CONSTANT else stored[a:b, start:stop]
            if b - a == high - low:
                shape = b - a, stop - start
                return part if part.shape == shape else np.broadcast_to(part, shape)
            if out is None:
                out = np.empty((high - low, stop - start), np.uint8)
            out[self._numbers[kind][a:b] - low] = part
        return np.empty((0, stop - start), np.uint8) if out is None else out


class PlaneRows(Rows):
    """Rows that are still planes: a field is assembled on first use."""

    def __init__(
        self,
        schema: Schema,
        planes: Planes,
        layout: Layout,
        variable: list[list[bytes]],
        start: int,
        stop: int,
    ) -> None:
        self.schema = schema
        self.count = stop - start
        self.variable = variable
        self.arrays = {}
        self._planes = planes
        self._layout = layout
        self._start = start
        self._stop = stop

    @cached_property
    def fixed(self) -> Matrix:  # type: ignore[override]
        """The fixed parts, (rows, width)."""
        planes = self._planes.get(0, self.schema.fixed_size, self._start, self._stop)
        # a copy in any case: the planes of a single row are in row order already
        matrix = planes.T.copy()
        if self._start % CHECKPOINT_ROWS == 0 and self.count <= CHECKPOINT_ROWS:
            for offset, size, count in self._layout.filters:
                part = slice(offset, offset + size * count)
                matrix[:, part] = _undelta_few(matrix[:, part], size)
            return matrix
        for each in self._layout.filters:
            matrix[:, each[0] : each[0] + each[1] * each[2]] = self._words(*each)
        return matrix

    def _words(self, offset: int, size: int, count: int) -> Matrix:
        aligned = self._start // CHECKPOINT_ROWS * CHECKPOINT_ROWS
        planes = self._planes.get(offset, offset + size * count, aligned, self._stop)
        return undelta(planes, size)[self._start - aligned :]

    def field(self, index: int) -> Matrix:
        """Return the bytes of a field of fixed width, (rows, width)."""
        at, width = self.schema.offsets[index], self.schema.fields[index][1].width
        for each in self._layout.filters:
            if each[0] == at and width:  # a field without width begins where the next one does
                return self._words(*each)
        return self._planes.get(at, at + width, self._start, self._stop).T

    def presence_byte(self, number: int) -> npt.NDArray[np.uint8]:
        """Return one byte of the presence bits of each row."""
        plane: npt.NDArray[np.uint8] = self._planes.get(
            number, number + 1, self._start, self._stop
        )[0]
        return plane

    def slice(self, start: int, stop: int) -> Rows:
        """Return a slice of the rows."""
        variable = [column[start:stop] for column in self.variable]
        first, stop = self._start, min(stop, self.count)
        return PlaneRows(
            self.schema, self._planes, self._layout, variable, first + start, first + stop
        )


class EncodedBlock(NamedTuple):
    """The stored form of a block: its layout, its fixed and its variable part."""

    layout: Layout
    fixed: bytes
    variable: bytes

    def follows(self, oids: list[bytes]) -> bool:
        """Return True if its checkpoints are those of rows after the states with these oids."""
        return self.fixed.startswith(b"".join(oids[::CHECKPOINT_ROWS]))


class Block(NamedTuple):
    """A decoded block: its rows, and the oids of the states before every 64th row."""

    rows: Rows
    checkpoints: bytes


def encode_block(rows: Rows, oids: list[bytes], layout: Layout, level: int) -> tuple[bytes, bytes]:
    """Return the fixed and the variable part of a block.

    Args:
        rows: at most ``BLOCK_ROWS`` rows.
        oids: for each row the oid of the state before it.
        layout: the segment's.
        level: zstd's level.
    """
    matrix = rows.fixed.copy() if layout.filters else rows.fixed
    for offset, size, count in layout.filters:
        matrix[:, offset : offset + size * count] = delta(rows.fixed, offset, size, count)
    planes = np.ascontiguousarray(matrix.T)
    constant = (planes == planes[:, :1]).all(axis=1)
    raw = layout.raw.astype(bool) & ~constant
    parts = (
        b"".join(oids[::CHECKPOINT_ROWS]),
        np.packbits(constant, bitorder="little").tobytes(),
        planes[constant, 0].tobytes(),
        planes[raw].tobytes(),
        compress(planes[~(raw | constant)].tobytes(), level),
    )
    return b"".join(parts), _encode_variable(rows, level)


def _encode_variable(rows: Rows, level: int) -> bytes:
    if not rows.variable:
        return b""
    parts = []
    for column in rows.variable:
        lengths = np.array([len(item) for item in column], "<u4")
        parts.append(np.ascontiguousarray(lengths.view(np.uint8).reshape(-1, 4).T).tobytes())
        parts.append(b"".join(column))
    raw = b"".join(parts)
    return struct.pack("<Q", len(raw)) + compress(raw, level)


def decode_block(
    schema: Schema, layout: Layout, count: int, fixed: bytes, variable: bytes | None
) -> Block:
    """Return the block of ``count`` rows.

    Args:
        variable: None to leave the variable fields out (they read as empty).

    Raises:
        IntegrityError: the parts are not a block of so many rows of this schema.
    """
    width = schema.fixed_size
    at = 32 * -(-count // CHECKPOINT_ROWS)
    first = at + (width + 7) // 8
    if len(fixed) < first:
        raise IntegrityError("malformed block: shorter than its header says")
    kinds = plane_kinds(layout.raw.tobytes(), fixed[at:first])
    packed, raw, constants = kinds.counts
    start = first + constants + raw * count
    if len(fixed) < start:
        raise IntegrityError("malformed block: shorter than its header says")
    unpacked = decompress(fixed[start:], packed * count)
    planes = Planes(
        kinds,
        np.frombuffer(unpacked, np.uint8).reshape(packed, count),
        np.frombuffer(fixed, np.uint8, raw * count, first + constants).reshape(raw, count),
        np.frombuffer(fixed, np.uint8, constants, first),
    )
    columns = _decode_variable(schema, count, variable)
    return Block(PlaneRows(schema, planes, layout, columns, 0, count), fixed[:at])


def _decode_variable(schema: Schema, count: int, data: bytes | None) -> list[list[bytes]]:
    if data is None or not schema.variable:
        return [[b""] * count for _ in schema.variable]
    if len(data) < 8:
        raise IntegrityError("malformed block: its variable part does not fit its rows")
    raw = decompress(data[8:], int.from_bytes(data[:8], "little"))
    columns, at = [], 0
    for _ in schema.variable:
        bounds = list(accumulate(_lengths(raw, at, count), initial=at + 4 * count))
        at = bounds[-1]
        if at > len(raw):
            raise IntegrityError("malformed block: its variable part does not fit its rows")
        columns.append([raw[a:b] for a, b in pairwise(bounds)])
    if at != len(raw):
        raise IntegrityError("malformed block: its variable part does not fit its rows")
    return columns


def _lengths(raw: bytes, at: int, count: int) -> list[int]:
    if at + 4 * count > len(raw):
        raise IntegrityError("malformed block: its variable part does not fit its rows")
    planes = np.frombuffer(raw, np.uint8, 4 * count, at).reshape(4, count)
    lengths: list[int] = np.ascontiguousarray(planes.T).view("<u4").reshape(count).tolist()
    return lengths
