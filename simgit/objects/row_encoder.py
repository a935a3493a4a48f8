"""Packing of columns of values into rows of one schema. Source: docs/object-format.md §6."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from simgit.objects.arrays import AnyArray, array_header
from simgit.objects.codec import encode_value
from simgit.objects.columns import ABSENT, ArrayColumn, Column, Columns, DenseColumn, _Absent
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import object_header
from simgit.objects.rows import Matrix, Rows
from simgit.objects.schema import (  # fmt: skip
    ARRAY,
    BOOL,
    FIXED,
    FLOAT,
    INT,
    MAP,
    NONE,
    STR,
    TREE,
    TUPLE,
    VALUE,
    FieldNode,
    FieldType,
    Path,
    Schema,
    as_numeric,
    exact_cast,
)

if TYPE_CHECKING:
    import numpy.typing as npt


def pack(schema: Schema, columns: Columns, count: int) -> Rows:
    """Return the packed rows of the leading states that fit ``schema`` as it is.

    The result has as many rows as fit, perhaps none. ``schema`` may lack fields of later states.
    """
    packer = RowPacker(schema, count)
    packer.fill_map((), schema.root, columns)
    return packer.result()


class RowPacker:
    """Rows of one schema that are filled column by column.

    Attributes:
        good: the number of leading rows that fit so far.
    """

    def __init__(self, schema: Schema, count: int) -> None:
        """Begin with rows that have no fields."""
        self.schema = schema
        self.count = count
        self.good = count
        self.everywhere = 0  # the presence bits that all rows have
        self.fixed: Matrix = np.zeros((count, schema.fixed_size), np.uint8)
        self.variable: dict[int, list[bytes]] = {}
        self.arrays: dict[int, list[tuple[int, AnyArray]]] = {}

    def result(self) -> Rows:
        """Return the leading rows that fit."""
        size = self.schema.presence_size
        self.fixed[:, :size] |= np.frombuffer(self.everywhere.to_bytes(size, "little"), np.uint8)
        variable = [
            self.variable.get(i, [b""] * self.count)[: self.good] for i in self.schema.variable
        ]
        arrays = {
            i: [(row, array) for row, array in found if row < self.good]
            for i, found in self.arrays.items()
        }
        return Rows(self.schema, self.fixed[: self.good], variable, arrays)

    def fill_map(self, path: Path, node: FieldNode, columns: Columns) -> None:
        """Fill the fields below a map, the top included, each from its column."""
        for name, column in columns.items():
            child = node.children.get(name)
            if child is not None:
                self.fill((*path, name), child, column)
            elif len(column):
                self.stop_at_first(column)

    def stop_at_first(self, column: Column) -> None:
        """Stop at the first value of a field that the schema lacks; the rows before it fit."""
        if not isinstance(column, list):
            first = [0] if column.rows is None else column.rows[:1].tolist()
            self.good = min([self.good, *first])
            return
        for i, value in enumerate(column[: self.good]):
            if value is not ABSENT and value is not None:
                self.good = i
                return

    def fill(self, path: Path, node: FieldNode, column: Column) -> None:
        """Fill a field from its column; below the top, None is a value."""
        index = self.schema.index[path]
        if not isinstance(column, list):
            if self.fill_stacked(index, node.type, column):
                return
            column = column.values()
        kinds = set(map(type, column))
        rows = None
        # below the top, None is a value
        absent = {_Absent, type(None)} if len(path) == 1 else {_Absent}
        if kinds & absent:
            rows, column = _only_present(column, kinds & absent)
            kinds -= absent
        fitting = self.fill_present(index, node, column, kinds, rows, path)
        if fitting < len(column):
            self.good = min(self.good, fitting if rows is None else int(rows[fitting]))
        self.mark(index, rows)

    def mark(self, index: int, rows: npt.NDArray[np.intp] | None) -> None:
        """Set the presence bits of a field."""
        if rows is None:
            self.everywhere |= 1 << index
        else:
            byte, bit = divmod(index, 8)
            self.fixed[rows, byte] |= 1 << bit

    def put(self, index: int, rows: npt.NDArray[np.intp] | None, data: Matrix) -> None:
        """Set the bytes of a field of fixed width, of all rows or of some."""
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
        node: FieldNode,
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
        """Set the items of a field of variable width, of all rows or of some."""
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
        node: FieldNode,
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
        """Return the values of the rows that have one as a column of all rows."""
        if rows is None:
            return values
        column: list[Any] = [ABSENT] * self.count
        for row, value in zip(rows.tolist(), values, strict=False):
            column[row] = value
        return column


def _only_present(column: list[Any], absent: set[type]) -> tuple[npt.NDArray[np.intp], list[Any]]:
    """Return the rows that have a value, and the values; ``absent`` are the types of no value."""
    if absent == {_Absent}:
        there = list(map(operator.is_not, column, itertools.repeat(ABSENT)))
    elif absent == {type(None)}:
        there = list(map(operator.is_not, column, itertools.repeat(None)))
    else:
        there = [v is not None and v is not ABSENT for v in column]
    # by way of bytes: NumPy looks at the elements of a list one by one
    mask = np.frombuffer(bytes(there), np.bool_)
    return np.flatnonzero(mask), list(itertools.compress(column, there))


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
