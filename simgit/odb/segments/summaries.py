"""Summaries: count, least, greatest, sum and last value of each scalar in every 2048 steps.

Everything in them follows from the rows. An entry is a fact about the first states of a line within
2048 steps, which keep their places: it stays true, and any may be missing.
Source: docs/store-layout.md §5.5.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simgit.errors import IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.objects.lazy_numpy import np
from simgit.objects.rows import Rows, column
from simgit.objects.schema import BOOL, FIXED, FLOAT, INT, Path, Schema
from simgit.odb.location import Location
from simgit.odb.segments.block import BLOCK_ROWS
from simgit.odb.segments.header import decode_header, last_header, segment_key
from simgit.odb.segments.lines import Line, read_line
from simgit.storage.base import ReadTxn, WriteTxn

if TYPE_CHECKING:
    import numpy.typing as npt

    from simgit.odb.segments.reader import StateReader

    Floats = npt.NDArray[np.float64]

TABLE: Final = "summaries"
MAX_ELEMENTS: Final = 8
"""The most elements of an array that are scalars by themselves."""
MAX_SCALARS: Final = 256
ABSENT, LEAST, GREATEST, SUM, LAST = range(5)
"""The rows of ``Summary.values``."""
_FIRST: Final = (("reward",), ("terminated",), ("truncated",))
_KEY: Final = struct.Struct(">QQ")
_CODES: Final = {
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I",
    "u8": "Q", "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip
"""How ``struct`` names a dtype."""
_EXACT: Final = 2.0**53
_NAN: Final = struct.unpack("<d", bytes.fromhex("000000000000f87f"))[0]


class Scalars:
    """The scalars of a schema: fields that are numbers, and elements of small arrays."""

    def __init__(self, schema: Schema) -> None:
        self.fields: list[tuple[int, int, int]] = []
        """(index of the field, its first scalar, how many it has)"""
        first = 0
        rest = [path for path, _ in schema.fields if path not in _FIRST]
        for path in (*_FIRST, *rest):
            index = schema.index.get(path)
            count = 0 if index is None or path[0] == "reset" else _count(schema, index)
            if first + count > MAX_SCALARS:
                break
            if count:
                assert index is not None
                self.fields.append((index, first, count))
                first += count
        self.count = first
        self.whole = np.zeros(first, bool)
        """True for each scalar that is a whole number by its type."""
        for index, at, size in self.fields:
            dtype = schema.fields[index][1].storage_dtype
            self.whole[at : at + size] = dtype is not None and dtype.kind in "biu"
        self.schema = schema

    @cached_property
    def places(self) -> dict[Path, tuple[int, int]]:
        """The first scalar and the number of scalars of each field, by its path."""
        return {self.schema.fields[i][0]: (first, n) for i, first, n in self.fields}

    @cached_property
    def of_one_row(self) -> tuple[Callable[[bytes], tuple[Any, ...]], list[int], int]:
        """A function that unpacks a row's scalars, their order in it, and their presence bits."""
        order, form, at = [0] * self.count, "<", 0
        bits = unpacked = 0
        for index, first, count in sorted(self.fields):
            offset = self.schema.offsets[index]
            dtype = self.schema.fields[index][1].storage_dtype
            assert dtype is not None
            form += f"{offset - at}x{count}{_CODES[dtype.str[1:]]}"
            at = offset + count * dtype.itemsize
            order[first : first + count] = range(unpacked, unpacked + count)
            unpacked += count
            bits |= 1 << index
        return struct.Struct(form).unpack_from, order, bits


def _count(schema: Schema, index: int) -> int:
    """Return the number of scalars of a field."""
    kind = schema.fields[index][1]
    if kind.code != FIXED:
        return int(kind.code in (BOOL, INT, FLOAT))
    assert kind.dtype is not None
    count = math.prod(kind.shape)
    is_number = kind.dtype.kind in "biuf" and kind.dtype.itemsize <= 8
    return count if is_number and count <= MAX_ELEMENTS else 0


_known: dict[bytes, Scalars] = {}


def scalars(schema: Schema) -> Scalars:
    """Return the scalars of a schema."""
    found = _known.get(schema.oid)
    if found is None:
        if len(_known) > 1000:
            _known.clear()
        found = _known[schema.oid] = Scalars(schema)
    return found


class Summary(NamedTuple):
    """The sums over the scalars of consecutive states.

    Attributes:
        rows: the number of states.
        values: absent, least, greatest, sum, last: shape (5, scalars). Where no state has a value
            all but the first are 0.
    """

    rows: int
    values: Floats


def encode(key: bytes, summary: Summary) -> bytes:
    """Return the stored form of a summary, with its checksum."""
    data = summary.values.astype("<f8", copy=False).reshape(-1).view(np.uint8)
    there = data != 0
    mask: bytes = np.packbits(there, bitorder="little").tobytes()
    body: bytes = summary.rows.to_bytes(2, "little") + mask + data[there].tobytes()
    return body + checksum(key + body)


def decode(key: bytes, value: bytes, count: int) -> Summary:
    """Return the summary of a schema with so many scalars.

    Raises:
        IntegrityError: it is damaged.
    """
    rows, values = decode_many([(key, value)], count)
    return Summary(int(rows[0]), values[0])


def decode_many(
    entries: Sequence[tuple[bytes, bytes]], count: int
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return rows, (entries,), and values, (entries, 5, scalars), of a schema's summaries.

    Raises:
        IntegrityError: one is damaged.
    """
    size = 2 + 5 * count
    for key, value in entries:
        check_entry(key, value)
    masks = np.frombuffer(b"".join([value[2:size] for _, value in entries]), np.uint8)
    there = np.unpackbits(masks, bitorder="little").view(bool)
    data = b"".join([value[size:-CHECKSUM_SIZE] for _, value in entries])
    if len(there) != 40 * count * len(entries) or np.count_nonzero(there) != len(data):
        raise IntegrityError("malformed summary: its length is wrong; see 'simgit fsck'")
    full = np.zeros(len(there), np.uint8)
    full[there] = np.frombuffer(data, np.uint8)
    rows = np.array([rows_of(value) for _, value in entries], np.int64)
    return rows, full.view("<f8").reshape(len(entries), 5, count)


def check_entry(key: bytes, value: bytes) -> None:
    """Check the key, the checksum and the number of rows of an entry.

    Raises:
        IntegrityError: they are not those of a summary.
    """
    is_whole = len(key) == _KEY.size and len(value) > CHECKSUM_SIZE + 1
    if not is_whole or checksum(key + value[:-CHECKSUM_SIZE]) != value[-CHECKSUM_SIZE:]:
        raise IntegrityError("a summary is damaged; see 'simgit fsck'")
    if not 0 < rows_of(value) <= BLOCK_ROWS:
        raise IntegrityError("malformed summary: a number is out of range; see 'simgit fsck'")


def rows_of(value: bytes) -> int:
    """Return how many states an entry is of."""
    return int.from_bytes(value[:2], "little")


def summary_key(line: int, block: int) -> bytes:
    """Return the key of the summary of 2048 steps of a line."""
    return _KEY.pack(line, block)


# --- from rows ---------------------------------------------------------------------------------


def columns(rows: Rows, wanted: Scalars) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return scalars of rows as f64, and where they have a value.

    Returns:
        The values, shape (scalars, rows); the mask has this shape, or (scalars, 1) where it is the
        same for all rows.
    """
    values = np.zeros((wanted.count, rows.count))
    mine = scalars(rows.schema)
    bits = _presence(rows)
    there = np.zeros((wanted.count, bits.shape[1]), bool)
    for index, first, count in mine.fields:
        at, size = first, count
        if mine is not wanted:
            at, size = wanted.places.get(rows.schema.fields[index][0], (0, 0))
        if size == count:  # else it is no scalar any more
            values[at : at + size] = _column(rows, index, count).T
            there[at : at + size] = bits[index]
    values += 0.0  # -0 becomes 0
    return values, there


def _column(rows: Rows, index: int, count: int) -> npt.NDArray[Any]:
    """Return a field as an array of shape (rows, count), if possible without a copy."""
    if type(rows) is not Rows or not rows.fixed.flags.c_contiguous:
        found: npt.NDArray[Any] = column(rows, index).reshape(rows.count, count)
        return found
    dtype = rows.schema.fields[index][1].storage_dtype
    assert dtype is not None
    return np.ndarray(
        (rows.count, count), dtype, rows.fixed, rows.schema.offsets[index],
        (rows.schema.fixed_size, dtype.itemsize),
    )  # fmt: skip


def _presence(rows: Rows) -> npt.NDArray[np.bool_]:
    """Return the presence bits of fields, (fields, rows), or (fields, 1) if all rows are alike."""
    size = rows.schema.presence_size
    each = np.array([rows.presence_byte(number) for number in range(size)], np.uint8)
    if rows.count > 1 and (each == each[:, :1]).all():
        each = each[:, :1]
    return np.unpackbits(each, axis=0, bitorder="little").view(bool)


def summarised(rows: Rows, wanted: Scalars, before: Summary | None = None) -> Summary:
    """Return the summary of rows, or of those that another summary is of and these."""
    with np.errstate(all="ignore"):  # infinities of both signs
        return _summarised(rows, wanted, before)


def _summarised(rows: Rows, wanted: Scalars, before: Summary | None) -> Summary:
    is_single = before is not None and rows.count == 1 and scalars(rows.schema) is wanted
    if is_single and (found := _with_one_row(rows, wanted, before)) is not None:  # type: ignore[arg-type]
        return found
    values, there = columns(rows, wanted)
    least, greatest, last = values.min(axis=1), values.max(axis=1), values[:, -1].copy()
    absent = np.zeros(wanted.count)
    if not there.all() or (least != least).any():
        there = there & (values == values)
        values[~there] = 0.0
        least = values.min(axis=1, initial=np.inf, where=there)
        greatest = values.max(axis=1, initial=-np.inf, where=there)
        newest = rows.count - 1 - there[:, ::-1].argmax(axis=1)
        last = values[np.arange(wanted.count), newest]
        absent += rows.count - np.count_nonzero(there, axis=1)
    count = rows.count
    if before is not None:
        old, count = before.values, before.rows + rows.count
        had = old[ABSENT] < before.rows
        np.minimum(least, old[LEAST], out=least, where=had)
        np.maximum(greatest, old[GREATEST], out=greatest, where=had)
        np.copyto(last, old[LAST], where=absent == rows.count)
        values[:, 0] += old[SUM]
        absent += old[ABSENT]
    out = np.array((absent, least, greatest, _sums(values, least, greatest, wanted), last))
    if absent.any():
        out[LEAST:, absent == count] = 0.0
    return Summary(count, out)


def _with_one_row(rows: Rows, wanted: Scalars, before: Summary) -> Summary | None:
    """Return the summary with one more row, None where a value is absent; for single commits."""
    row = rows.fixed.tobytes()
    unpack, order, bits = wanted.of_one_row
    if int.from_bytes(row[: wanted.schema.presence_size], "little") & bits != bits:
        return None
    found = unpack(row)
    values = [float(found[i]) + 0.0 for i in order]
    absent, least, greatest, sums, _ = before.values.tolist()
    sums = [*map(operator.add, sums, values)]
    if any(absent) or any(each != each for each in (*values, *sums)):
        return None
    out = (absent, [*map(min, least, values)], [*map(max, greatest, values)], sums, values)
    return Summary(before.rows + 1, np.array(out).reshape(5, wanted.count))


def _sums(values: Floats, least: Floats, greatest: Floats, wanted: Scalars) -> Floats:
    """Return the sums of values, (scalars, states), as if added up one after another.

    Whole numbers have the same sum in any order, while it is small; that is faster.
    """
    if values.shape[1] == 1:
        sums = values[:, 0].copy()
    else:
        first = values[:, 0]
        alike = wanted.whole | ((least == greatest) & (least == np.rint(least)))
        bound = np.maximum(-least, greatest) * values.shape[1] + abs(first)
        fast = alike & (bound < _EXACT) & (first == np.rint(first))
        sums = np.empty(len(values))
        sums[fast] = values[fast].sum(axis=1)
        sums[~fast] = np.add.accumulate(values[~fast], axis=1)[:, -1]
    sums[sums != sums] = _NAN
    return sums


def remapped(summary: Summary, old: Scalars, new: Scalars) -> Summary:
    """Return a summary with the scalars of a later schema."""
    if old is new:
        return summary
    values = np.zeros((5, new.count))
    values[ABSENT] = summary.rows
    for path, (first, count) in old.places.items():
        at, size = new.places.get(path, (0, 0))
        if size == count:
            values[:, at : at + size] = summary.values[:, first : first + count]
    return Summary(summary.rows, values)


# --- in a store --------------------------------------------------------------------------------


def extend(txn: WriteTxn, line: Line, start: int, rows: Rows, before: Schema | None) -> None:
    """Summarise new rows of a line.

    Where the states before them in their 2048 steps have no summary, they get none either: it is
    computed when it is needed, and stored by gc.

    Args:
        txn: the transaction.
        line: the line.
        start: the step of the first row.
        rows: the new rows, of one schema.
        before: the schema of the state before them, None for a root.
    """
    wanted, at = scalars(rows.schema), 0
    while at < rows.count:
        block = (start + at) // BLOCK_ROWS
        end = min(rows.count, (block + 1) * BLOCK_ROWS - start)
        key = summary_key(line.id, block)
        part = Rows(rows.schema, rows.fixed[at:end], [])
        known = start + at - max(line.step, block * BLOCK_ROWS)
        at = end
        old = None
        if known:
            try:
                value = txn.get(TABLE, key)
                if value is None or rows_of(value) != known or before is None:
                    continue
                former = scalars(before)
                old = remapped(decode(key, value, former.count), former, wanted)
            except IntegrityError:
                continue  # what is damaged must not stop a recording
        txn.put(TABLE, key, encode(key, summarised(part, wanted, old)))


def compute(states: StateReader, txn: ReadTxn, line: int, start: int, stop: int) -> Summary:
    """Return the summary of states of a line, from their rows; the scalars are the last one's."""
    header = states.header(txn, Location(line, stop - 1))
    wanted = scalars(states.read_schema(txn, header.schema))
    found: Summary | None = None
    for _, rows in states.rows(txn, line, start, stop, False):
        found = summarised(rows, wanted, found)
    if found is None:
        raise IntegrityError(f"line {line} has no states from step {start} to {stop}")
    return found


def unsummarised(txn: ReadTxn, number: int) -> list[int]:
    """Return the blocks of a line that have no summary of all their states."""
    line, end = read_line(txn, number), last_header(txn, number).end
    entries = txn.scan(TABLE, summary_key(number, 0), summary_key(number + 1, 0))
    whole = {int.from_bytes(key[8:], "big"): rows_of(value) for key, value in entries}
    there: set[int] = set()  # by the rows that are stored: a damaged step may be any number
    for entry in txn.scan("segments", segment_key(number, 0), segment_key(number + 1, 0)):
        header = decode_header(*entry)
        there.update(range(header.step // BLOCK_ROWS, -(-header.end // BLOCK_ROWS)))
    return [
        block
        for block in sorted(there)
        if 0 < _stop(block, end) - _start(line, block) != whole.get(block)
    ]


def _start(line: Line, block: int) -> int:
    return max(line.step, block * BLOCK_ROWS)


def _stop(block: int, end: int) -> int:
    return min(end, (block + 1) * BLOCK_ROWS)


def summarise(states: StateReader, txn: WriteTxn, number: int, block: int) -> None:
    """Store the summary of a block of a line's steps, from the rows that are stored."""
    line, end = read_line(txn, number), last_header(txn, number).end
    key = summary_key(number, block)
    summary = compute(states, txn, number, _start(line, block), _stop(block, end))
    txn.put(TABLE, key, encode(key, summary))


def cut(states: StateReader, txn: WriteTxn, line: Line, stop: int) -> None:
    """Remove what summaries say of a line's states from a step on, which are removed already."""
    block = stop // BLOCK_ROWS
    first = summary_key(line.id, block)
    for key, _ in list(txn.scan(TABLE, first, summary_key(line.id + 1, 0))):
        txn.delete(TABLE, key)
    if stop > _start(line, block):
        summarise(states, txn, line.id, block)


def check(states: StateReader, txn: ReadTxn, line: Line, key: bytes, value: bytes) -> None:
    """Compare a summary of a line with the rows.

    Raises:
        IntegrityError: it is damaged, or wrong.
    """
    check_entry(key, value)
    block = _KEY.unpack(key)[1]
    start, stop = _start(line, block), _start(line, block) + rows_of(value)
    is_there = stop <= _stop(block, last_header(txn, line.id).end)
    if not is_there or encode(key, compute(states, txn, line.id, start, stop)) != value:
        raise IntegrityError(f"the summary of {line.id}/{start} to {line.id}/{stop - 1} is wrong")
