"""Rows of one schema: from columns of values to bytes, and back.

A batch of states comes in as *columns*: for each top-level field a list of frozen values, one a
state, with None or ``ABSENT`` where the state has none (or an ``ArrayColumn``, where all of them
are arrays of one dtype and shape). Everything is done column by column, since a Python call a state
and field would cost more than the hashing. Source: docs/object-format.md §6.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from simgit.arrays import AnyArray, array_header, as_scalar
from simgit.codec import decode_value, encode_value
from simgit.errors import Integrity, InvalidInput
from simgit.oid import Oid, object_header
from simgit.schema import (
    ARRAY,
    BOOL,
    BYTES,
    FIXED,
    FLOAT,
    INT,
    MAP,
    NONE,
    STR,
    TREE,
    TUPLE,
    VALUE,
    FieldType,
    Node,
    Path,
    Schema,
    as_numeric,
    exact_cast,
)  # fmt: skip


class _Absent:
    """The type of ``ABSENT``."""

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = _Absent()
Matrix = npt.NDArray[np.uint8]


class ArrayColumn:
    """A column whose values are arrays of one dtype and shape, as raw bytes of each."""

    __slots__ = ("chunks", "dtype", "shape")
    rows = None  # all states have a value

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...], chunks: list[bytes]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.chunks = chunks

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, i: int) -> AnyArray:
        return np.frombuffer(self.chunks[i], self.dtype).reshape(self.shape)

    def slice(self, start: int, stop: int) -> ArrayColumn:
        """Return a stretch of the column."""
        return ArrayColumn(self.dtype, self.shape, self.chunks[start:stop])

    def values(self) -> list[AnyArray]:
        """Return the arrays one by one."""
        return [self[i] for i in range(len(self.chunks))]

    def present(self) -> AnyArray:
        """Return one array with a leading axis for the states."""
        flat = np.frombuffer(b"".join(self.chunks), self.dtype)
        return flat.reshape(len(self.chunks), *self.shape)


class DenseColumn:
    """A column given as one array with a leading axis for the states.

    ``rows`` lists the states that have a value, if not all have.
    """

    __slots__ = ("data", "rows")

    def __init__(self, data: AnyArray, rows: npt.NDArray[np.intp] | None = None) -> None:
        self.data = data
        self.rows = rows

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Any:
        return ABSENT if self.rows is not None and i not in self.rows else self.data[i]

    def slice(self, start: int, stop: int) -> DenseColumn:
        """Return a stretch of the column."""
        rows = self.rows
        if rows is not None:
            rows = rows[(rows >= start) & (rows < stop)] - start
        return DenseColumn(self.data[start:stop], rows)

    def values(self) -> list[Any]:
        """Return the elements one by one, as NumPy scalars or arrays."""
        if self.rows is None:
            return list(self.data)
        values: list[Any] = [ABSENT] * len(self.data)
        for row in self.rows.tolist():
            values[row] = self.data[row]
        return values

    def present(self) -> AnyArray:
        """Return the values that there are."""
        return self.data if self.rows is None else self.data[self.rows]


Column = list[Any] | ArrayColumn | DenseColumn
Columns = Mapping[str, Column]


_RESERVED: Final = {"reward": float, "terminated": bool, "truncated": bool}


def row_value(columns: Columns, i: int) -> dict[str, Any]:
    """Return the value of one state: its top-level fields that are present."""
    found = {name: column[i] for name, column in columns.items()}
    return {
        name: _RESERVED[name](value) if name in _RESERVED else value
        for name, value in found.items()
        if value is not ABSENT and value is not None
    }


def stretch_of(columns: Columns, start: int, stop: int) -> Columns:
    """Return a stretch of the columns."""
    return {
        name: column[start:stop] if isinstance(column, list) else column.slice(start, stop)
        for name, column in columns.items()
    }


Arrays = dict[int, list[tuple[int, AnyArray]]]


class Rows:
    """Packed rows of one schema: fixed parts as a matrix, variable parts as lists of bytes.

    Attributes:
        fixed: the fixed parts, (rows, width).
        variable: for each variable field the encoded items, one a row.
        arrays: for each array field the rows that have one, with their arrays (only where the rows
            were packed, not where they were read back).
    """

    def __init__(
        self,
        schema: Schema,
        fixed: Matrix,
        variable: list[list[bytes]],
        arrays: Arrays | None = None,
    ) -> None:
        self.schema = schema
        self.count = len(fixed)
        self.fixed = fixed
        self.variable = variable
        self.arrays: Arrays = arrays or {}

    def field(self, index: int) -> Matrix:
        """Return the bytes of a field of fixed width, (rows, width)."""
        at = self.schema.offsets[index]
        return self.fixed[:, at : at + self.schema.fields[index][1].width]

    def presence_byte(self, number: int) -> npt.NDArray[np.uint8]:
        """Return one byte of the presence bits of each row."""
        return self.fixed[:, number]

    def slice(self, start: int, stop: int) -> Rows:
        """Return a stretch of the rows."""
        arrays = {
            index: [(row - start, array) for row, array in found if start <= row < stop]
            for index, found in self.arrays.items()
        }
        variable = [column[start:stop] for column in self.variable]
        return Rows(self.schema, self.fixed[start:stop], variable, arrays)

    def row_bytes(self) -> list[bytes]:
        """Return each row's encoding."""
        width = self.schema.fixed_size
        data = self.fixed.tobytes()
        fixed = [data[i : i + width] for i in range(0, len(data), width)]
        if not self.variable:
            return fixed
        parts = [
            [len(item).to_bytes(4, "little") + item for item in column] for column in self.variable
        ]
        return [b"".join(row) for row in zip(fixed, *parts, strict=True)]


# --- packing -----------------------------------------------------------------------------------


def pack(schema: Schema, columns: Columns, count: int) -> Rows:
    """Pack the longest stretch of leading states that fit ``schema`` as it is.

    The result has as many rows as fit, perhaps none. ``schema`` may lack fields of later states.
    """
    packer = _Packer(schema, count)
    packer.fill_map((), schema.root, columns)
    return packer.result()


class _Packer:
    def __init__(self, schema: Schema, count: int) -> None:
        self.schema = schema
        self.count = count
        self.good = count  # rows that fit so far
        self.fixed: Matrix = np.zeros((count, schema.fixed_size), np.uint8)
        self.variable: dict[int, list[bytes]] = {}
        self.arrays: dict[int, list[tuple[int, AnyArray]]] = {}

    def result(self) -> Rows:
        variable = [
            self.variable.get(i, [b""] * self.count)[: self.good] for i in self.schema.variable
        ]
        arrays = {
            i: [(row, array) for row, array in found if row < self.good]
            for i, found in self.arrays.items()
        }
        return Rows(self.schema, self.fixed[: self.good], variable, arrays)

    def fill_map(self, path: Path, node: Node, columns: Columns) -> None:
        for name, column in columns.items():
            child = node.children.get(name)
            if child is not None:
                self.fill((*path, name), child, column)
            elif len(column):
                self.stop_at_first(column)

    def stop_at_first(self, column: Column) -> None:
        """A field that the schema lacks: the rows before its first value still fit."""
        if not isinstance(column, list):
            first = [0] if column.rows is None else column.rows[:1].tolist()
            self.good = min([self.good, *first])
            return
        for i, value in enumerate(column[: self.good]):
            if value is not ABSENT and value is not None:
                self.good = i
                return

    def fill(self, path: Path, node: Node, column: Column) -> None:
        index = self.schema.index[path]
        if not isinstance(column, list):
            if self.fill_stacked(index, node.type, column):
                return
            column = column.values()
        kinds = set(map(type, column))
        rows = None
        # below the top, None is a value
        gone = {_Absent, type(None)} if len(path) == 1 else {_Absent}
        if kinds & gone:
            kinds -= gone
            rows, column = _only_present(column, len(path) == 1)
        fitting = self.fill_present(index, node, column, kinds, rows, path)
        if fitting < len(column):
            self.good = min(self.good, fitting if rows is None else int(rows[fitting]))
        self.mark(index, rows)

    def mark(self, index: int, rows: npt.NDArray[np.intp] | None) -> None:
        """Set the presence bits of a field."""
        byte, bit = divmod(index, 8)
        if rows is None:
            self.fixed[:, byte] |= 1 << bit
        else:
            self.fixed[rows, byte] |= 1 << bit

    def put(self, index: int, rows: npt.NDArray[np.intp] | None, data: Matrix) -> None:
        at = self.schema.offsets[index]
        if rows is None:
            self.fixed[: len(data), at : at + data.shape[1]] = data
        else:
            self.fixed[rows[: len(data)], at : at + data.shape[1]] = data

    def fill_stacked(self, index: int, kind: FieldType, column: ArrayColumn | DenseColumn) -> bool:
        """Fill a field from arrays of one dtype and shape at once, if that is possible."""
        if kind.code == ARRAY:
            if isinstance(column, DenseColumn):
                return False
            self.put(index, None, self.add_arrays(index, column.values(), None))
        else:
            dtype = kind.storage_dtype
            data = column.present()
            if dtype is None or data.shape[1:] != kind.shape:
                return False
            cast = exact_cast(data, dtype)
            if cast is None:
                return False
            self.put(index, column.rows, as_bytes(cast, kind.width))
        self.mark(index, column.rows)
        return True

    def fill_present(
        self,
        index: int,
        node: Node,
        values: list[Any],
        kinds: set[type],
        rows: npt.NDArray[np.intp] | None,
        path: Path,
    ) -> int:
        """Fill a field from its present values; return how many of them fit."""
        kind = node.type
        if kind.code in (MAP, TUPLE):
            return self.fill_container(node, values, kinds, rows, path)
        if kind.code == ARRAY:
            fitting = _leading(values, lambda v: isinstance(v, (np.ndarray, np.generic)))
            self.put(index, rows, self.add_arrays(index, values[:fitting], rows))
            return fitting
        if kind.variable:
            encoded = _encode_variable(kind, values, kinds)
            self.put_variable(index, rows, encoded)
            return len(encoded)
        data = _encode_fixed(kind, values, kinds)
        self.put(index, rows, data)
        return len(data)

    def put_variable(
        self, index: int, rows: npt.NDArray[np.intp] | None, encoded: list[bytes]
    ) -> None:
        column = (
            encoded + [b""] * (self.count - len(encoded)) if rows is None else [b""] * self.count
        )
        if rows is not None:
            for row, item in zip(rows.tolist(), encoded, strict=False):
                column[row] = item
        self.variable[index] = column

    def add_arrays(
        self, index: int, values: Sequence[Any], rows: npt.NDArray[np.intp] | None
    ) -> Matrix:
        """Note the arrays of a field; return their oids as a matrix."""
        arrays = [np.asarray(value) for value in values]
        numbers: Iterable[int] = range(len(arrays)) if rows is None else rows.tolist()
        self.arrays[index] = list(zip(numbers, arrays, strict=False))
        oids = b"".join(map(hash_array, arrays))
        return np.frombuffer(oids, np.uint8).reshape(len(arrays), 32)

    def fill_container(
        self,
        node: Node,
        values: list[Any],
        kinds: set[type],
        rows: npt.NDArray[np.intp] | None,
        path: Path,
    ) -> int:
        """Fill the fields below a map or tuple; return how many of the values fit."""
        if node.type.code == TUPLE:
            length = node.type.length
            fitting = _leading(values, lambda v: type(v) is tuple and len(v) == length)
            values = [dict(zip(map(str, range(length)), v, strict=True)) for v in values[:fitting]]
        elif kinds == {dict}:
            fitting = len(values)
        else:
            fitting = _leading(values, lambda v: type(v) is dict)
            values = values[:fitting]
        known = node.children.keys()
        if not any(values):
            return fitting
        fitting = _leading(values, lambda v: v.keys() <= known)
        seen = set().union(*values[:fitting])  # of a thousand fields a state may have three
        for name, child in node.children.items():
            if name not in seen:
                continue
            below = [v.get(name, ABSENT) for v in values[:fitting]]
            self.fill((*path, name), child, self.spread(below, rows))
        return fitting

    def spread(self, values: list[Any], rows: npt.NDArray[np.intp] | None) -> list[Any]:
        """Return the values of a stretch of present rows as a column of all rows."""
        if rows is None:
            return values
        column: list[Any] = [ABSENT] * self.count
        for row, value in zip(rows.tolist(), values, strict=False):
            column[row] = value
        return column


def _only_present(column: list[Any], top: bool) -> tuple[npt.NDArray[np.intp], list[Any]]:
    """Return the rows that have a value, and the values."""
    if top:
        missing = [i for i, v in enumerate(column) if v is None or v is ABSENT]
        present = [v for v in column if v is not None and v is not ABSENT]
    else:
        missing = [i for i, v in enumerate(column) if v is ABSENT]
        present = [v for v in column if v is not ABSENT]
    mask = np.ones(len(column), bool)
    mask[missing] = False
    return np.flatnonzero(mask), present


def _leading(values: Sequence[Any], good: Any) -> int:
    """Return the length of the longest prefix of good values."""
    for i, value in enumerate(values):
        if not good(value):
            return i
    return len(values)


def as_bytes(array: AnyArray, width: int) -> Matrix:
    """Return an array's elements as a matrix of bytes, a row for each entry of the first axis."""
    if array.size == 0:
        return np.zeros((len(array), width), np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(len(array), width)


def _encode_fixed(kind: FieldType, values: list[Any], kinds: set[type]) -> Matrix:
    """Return the bytes of the leading values that fit a field of fixed width."""
    if kind.code in (NONE, TREE):
        return _encode_exact(kind, values)
    dtype = kind.storage_dtype
    assert dtype is not None
    fast = _fast_array(kind, values, kinds, dtype)
    if fast is not None:
        return as_bytes(fast, kind.width)
    good = list(
        itertools.takewhile(lambda a: a is not None, (_cast(kind, v, dtype) for v in values))
    )
    stacked = np.array(good, dtype).reshape(len(good), *kind.shape)
    return as_bytes(stacked, kind.width)


def _cast(kind: FieldType, value: Any, dtype: np.dtype[Any]) -> AnyArray | None:
    array = as_numeric(value)
    if array is None or array.shape != kind.shape:
        return None
    return exact_cast(array, dtype)


_FAST_KINDS: Final = {BOOL: bool, INT: int, FLOAT: float}


def _fast_array(
    kind: FieldType, values: list[Any], kinds: set[type], dtype: np.dtype[Any]
) -> AnyArray | None:
    """Convert all values at once where their types alone say that they fit."""
    if kinds == {_FAST_KINDS.get(kind.code)}:
        try:
            return np.array(values, dtype)
        except OverflowError:
            return None
    if kind.code != FIXED or len(kinds) != 1:
        return None
    if kinds == {np.ndarray}:
        if all(v.dtype == dtype and v.shape == kind.shape for v in values):
            return np.frombuffer(b"".join([v.tobytes() for v in values]), dtype).reshape(
                len(values), *kind.shape
            )
        return None
    if kinds == {dtype.type} and dtype.kind in "biufc" and kind.shape == ():
        return np.array(values, dtype)
    return None


def _encode_exact(kind: FieldType, values: list[Any]) -> Matrix:
    if kind.code == NONE:
        return np.zeros((_leading(values, lambda v: v is None), 0), np.uint8)
    fitting = _leading(values, lambda v: isinstance(v, bytes) and len(v) == 32)
    return np.frombuffer(b"".join(values[:fitting]), np.uint8).reshape(fitting, 32)


def _encode_variable(kind: FieldType, values: list[Any], kinds: set[type]) -> list[bytes]:
    """Return the bytes of the leading values that fit a field of variable width."""
    if kind.code == VALUE:
        return [encode_value(value) for value in values]
    wanted = str if kind.code == STR else bytes
    if kinds != {wanted}:
        values = values[: _leading(values, lambda v: type(v) is wanted)]
    return [value.encode() for value in values] if kind.code == STR else list(values)


def hash_array(array: AnyArray) -> bytes:
    """Return the oid of a C-order array without copying its elements."""
    header = array_header(array.dtype, array.shape)
    hasher = blake3(object_header("array", len(header) + array.nbytes) + header)
    if array.nbytes:
        hasher.update(array.reshape(-1).view(np.uint8).data)
    return hasher.digest()


# --- unpacking ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands in an unpacked row for an object that lies elsewhere."""

    kind: str
    oid: Oid


def split_row(schema: Schema, row: bytes) -> Rows:
    """Return one row, given as its encoding.

    Raises:
        Integrity: its length is not what its schema and its parts say.
    """
    at = schema.fixed_size
    if len(row) < at:
        raise Integrity("a row is shorter than its schema says")
    variable = []
    for _ in schema.variable:
        size = int.from_bytes(row[at : at + 4], "little")
        variable.append([row[at + 4 : at + 4 + size]])
        at += 4 + size
    if at != len(row):
        raise Integrity("a row's length is not what its schema says")
    fixed = np.frombuffer(row, np.uint8, schema.fixed_size).reshape(1, -1)
    return Rows(schema, fixed, variable)


def presence(rows: Rows, index: int) -> npt.NDArray[np.bool_]:
    """Return for each row whether it has the field."""
    byte, bit = divmod(index, 8)
    return (rows.presence_byte(byte) >> bit & 1).astype(bool)


def column(rows: Rows, index: int) -> Any:
    """Return a field of all rows: an array with a leading axis for numbers, oids as (n, 32)
    bytes, or a list of values for fields of variable width (None where absent)."""
    kind = rows.schema.fields[index][1]
    if kind.variable:
        return _decode_variable(rows, index, kind)
    data = np.ascontiguousarray(rows.field(index))
    dtype = kind.storage_dtype
    if dtype is None:
        return data
    if kind.width == 0:
        return np.zeros((rows.count, *kind.shape), dtype)
    return data.view(dtype).reshape(rows.count, *kind.shape)


def _decode_variable(rows: Rows, index: int, kind: FieldType) -> list[Any]:
    here = presence(rows, index).tolist()
    encoded = rows.variable[rows.schema.variable.index(index)]
    return [_decode_item(kind, e) if p else None for p, e in zip(here, encoded, strict=True)]


def _decode_item(kind: FieldType, data: bytes) -> Any:
    if kind.code == BYTES:
        return data
    if kind.code == VALUE:
        return decode_value(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Integrity("a string in a row is not UTF-8") from None


def unpack_row(rows: Rows, i: int) -> dict[str, Any]:
    """Return the value of row ``i``; arrays and files stand as ``Reference``."""
    fixed = rows.fixed[i].tobytes()
    return unpack_bytes(rows.schema, fixed, [column[i] for column in rows.variable])


def unpack_bytes(schema: Schema, fixed: bytes, variable: list[bytes]) -> dict[str, Any]:
    """Return the value of a row that is given by its fixed part and its variable items."""
    root: dict[str, Any] = {}
    tuples = []
    bits = int.from_bytes(fixed[: schema.presence_size], "little")
    items = dict(zip(schema.variable, variable, strict=True))
    for index, (path, kind) in enumerate(schema.fields):
        if not bits >> index & 1:
            continue
        above = root if len(path) == 1 else _container(root, path)
        if kind.variable:
            above[path[-1]] = _decode_item(kind, items[index])
        else:
            above[path[-1]] = _decode_fixed(kind, fixed, schema.offsets[index])
        if kind.code == TUPLE:
            tuples.append((path, kind))
    for path, kind in reversed(tuples):
        above = _container(root, path)
        above[path[-1]] = _as_tuple(above[path[-1]], kind)
    return root


_PLAIN: Final = {
    INT: struct.Struct("<q"), FLOAT: struct.Struct("<d"), BOOL: struct.Struct("<?")
}  # fmt: skip


def _decode_fixed(kind: FieldType, fixed: bytes, at: int) -> Any:
    code = kind.code
    if code in _PLAIN:
        return _PLAIN[code].unpack_from(fixed, at)[0]
    if code in (MAP, TUPLE):
        return {}
    if code == NONE:
        return None
    if code in (ARRAY, TREE):
        return Reference("array" if code == ARRAY else "tree", Oid(fixed[at : at + 32]))
    if code == FIXED:
        count = math.prod(kind.shape)
        if kind.width == 0:
            return np.zeros(kind.shape, kind.dtype)
        array = np.frombuffer(fixed, kind.dtype, count, at)
        return as_scalar(array.reshape(kind.shape))
    return complex(*struct.unpack_from("<dd", fixed, at))


def _container(root: dict[str, Any], path: Path) -> dict[str, Any]:
    for component in path[:-1]:
        root = root.get(component)  # type: ignore[assignment]
        if type(root) is not dict:
            raise Integrity(f"the field '{'.'.join(path)}' is present, but not what it lies in")
    return root


def _as_tuple(items: dict[str, Any], kind: FieldType) -> tuple[Any, ...]:
    try:
        return tuple(items[str(i)] for i in range(kind.length))
    except KeyError:
        raise Integrity("a tuple in a row lacks elements") from None


def references(rows: Rows) -> Iterator[tuple[int, str, bytes]]:
    """Yield (row, kind, oid) for every object that the rows refer to."""
    for index, (_, kind) in enumerate(rows.schema.fields):
        if kind.code in (ARRAY, TREE):
            name = "array" if kind.code == ARRAY else "tree"
            oids = column(rows, index)
            for row in np.flatnonzero(presence(rows, index)).tolist():
                yield row, name, oids[row].tobytes()


def check_columns(columns: Columns) -> int:
    """Return the number of states in the columns.

    Raises:
        InvalidInput: the columns have different lengths.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise InvalidInput(f"columns of different lengths: {sorted(lengths)}")
    return lengths.pop() if lengths else 0
