"""Packed rows of one schema, and the values in them. Source: docs/object-format.md §6."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from simgit.errors import IntegrityError
from simgit.objects.arrays import AnyArray, as_scalar
from simgit.objects.canonical import check_value
from simgit.objects.codec import decode_value
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import Oid
from simgit.objects.schema import (  # fmt: skip
    ARRAY,
    BOOL,
    BYTES,
    FIXED,
    FLOAT,
    INT,
    MAP,
    NONE,
    TREE,
    TUPLE,
    VALUE,
    FieldType,
    Path,
    Schema,
)

if TYPE_CHECKING:
    import numpy.typing as npt

Matrix: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"


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
        """Return a slice of the rows."""
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


class Reference:
    """The kind and oid of an object that an unpacked row refers to."""

    __slots__ = ("kind", "oid")

    def __init__(self, kind: str, oid: Oid) -> None:
        self.kind: Final = kind
        self.oid: Final = oid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and (self.kind, self.oid) == (other.kind, other.oid)

    def __hash__(self) -> int:
        return hash((self.kind, self.oid))


def split_row(schema: Schema, row: bytes) -> Rows:
    """Return one row, given as its encoding.

    Raises:
        IntegrityError: its length disagrees with its schema or its parts.
    """
    at = schema.fixed_size
    if len(row) < at:
        raise IntegrityError("malformed row: shorter than its schema says")
    variable = []
    for _ in schema.variable:
        size = int.from_bytes(row[at : at + 4], "little")
        variable.append([row[at + 4 : at + 4 + size]])
        at += 4 + size
    if at != len(row):
        raise IntegrityError("malformed row: its length disagrees with its schema")
    fixed = np.frombuffer(row, np.uint8, schema.fixed_size).reshape(1, -1)
    return Rows(schema, fixed, variable)


def presence(rows: Rows, index: int) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows that have a field."""
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


def check_column(rows: Rows, index: int) -> None:
    """Check the items of a field of variable width, each distinct one once.

    Raises:
        IntegrityError: a value or string is malformed.
    """
    encoded = rows.variable[rows.schema.variable.index(index)]
    kind = rows.schema.fields[index][1]
    check = check_value if kind.code == VALUE else partial(_decode_item, kind)
    for item in set(itertools.compress(encoded, presence(rows, index))):
        check(item)


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
        raise IntegrityError("malformed row: a string is not UTF-8") from None


def unpack_row(rows: Rows, i: int) -> dict[str, Any]:
    """Return the value of row ``i``; arrays and files stand as ``Reference``."""
    fixed = rows.fixed[i].tobytes()
    return unpack_bytes(rows.schema, fixed, [column[i] for column in rows.variable])


def unpack_rows(rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield the value of each row; see ``unpack_row``."""
    data, width = rows.fixed.tobytes(), rows.schema.fixed_size
    for i in range(rows.count):
        fixed = data[i * width : (i + 1) * width]
        yield unpack_bytes(rows.schema, fixed, [column[i] for column in rows.variable])


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
            raise IntegrityError(
                f"malformed row: field '{'.'.join(path)}' is present, but its container is not"
            )
    return root


def _as_tuple(items: dict[str, Any], kind: FieldType) -> tuple[Any, ...]:
    try:
        return tuple(items[str(i)] for i in range(kind.length))
    except KeyError:
        raise IntegrityError("malformed row: a tuple lacks elements") from None


def references(rows: Rows) -> Iterator[tuple[int, str, bytes]]:
    """Yield (row, kind, oid) for every object that the rows refer to."""
    for index, (_, kind) in enumerate(rows.schema.fields):
        if kind.code in (ARRAY, TREE):
            name = "array" if kind.code == ARRAY else "tree"
            oids = column(rows, index)
            for row in np.flatnonzero(presence(rows, index)).tolist():
                yield row, name, oids[row].tobytes()
