"""The kinds of Arrow columns: what each reads of the states, and how it becomes arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from simgit.errors import IntegrityError, InvalidInput
from simgit.history.column_reader import ColumnPlan
from simgit.history.leaf_column import LeafColumn
from simgit.history.paths import FieldPath
from simgit.objects.arrays import AnyArray
from simgit.objects.codec import decode_value, encode_value
from simgit.objects.columns import ABSENT
from simgit.objects.oid import OID_SIZE

Columns = Mapping[FieldPath, LeafColumn]
Mask = npt.NDArray[np.bool_]
EMPTY: Final = "__empty"
PRESENT: Final = "__present"
SHAPE: Final = "__shape"
_DATES: Final = {"s", "ms", "us", "ns"}


class ValueScalar(pa.ExtensionScalar):  # type: ignore[misc]
    """One value of any type."""

    def as_py(self, **_: Any) -> Any:
        """Return the decoded value; a malformed one raises ``IntegrityError``."""
        return None if self.value is None else decode_value(self.value.as_py())


class ValueType(pa.ExtensionType):  # type: ignore[misc]
    """Arrow's type of canonical values: ``simgit.value`` over large_binary."""

    def __init__(self) -> None:
        super().__init__(pa.large_binary(), "simgit.value")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> ValueType:
        return cls()

    def __arrow_ext_scalar_class__(self) -> type[ValueScalar]:
        return ValueScalar


with suppress(pa.ArrowKeyError):  # registered already, where this module is loaded again
    pa.register_extension_type(ValueType())


class ArrowColumn:
    """One field of the table, of which there can be two Arrow columns."""

    def __init__(self, name: str, path: FieldPath) -> None:
        self.name = name
        self.path = path

    def fields(self) -> list[pa.Field]:
        """Return the Arrow fields."""
        raise NotImplementedError

    def plans(self) -> dict[FieldPath, ColumnPlan]:
        """Return what is read for it."""
        raise NotImplementedError

    def arrays(self, found: Columns, count: int) -> list[pa.Array]:
        """Return the Arrow arrays, as many as there are fields."""
        raise NotImplementedError

    def nothing(self) -> list[pa.Array]:
        """Return the arrays of no states."""
        return [empty(field.type) for field in self.fields()]


class NumberColumn(ArrowColumn):
    """Numbers, dates, or arrays of one dtype and shape."""

    def __init__(
        self, name: str, plan: ColumnPlan, dtype: np.dtype[Any], shape: tuple[int, ...],
        exact: bool, present: bool = False,
    ) -> None:  # fmt: skip
        """Note the type.

        Args:
            name: of the Arrow column.
            plan: of the values; of kind "object" where numbers are among other values.
            dtype: what holds all of them.
            shape: of each.
            exact: keep NaT as a value.
            present: add a column that tells None from what is absent.
        """
        super().__init__(name, plan.path)
        self.plan, self.dtype, self.shape, self.exact = plan, dtype, shape, exact
        self.present = present
        self.element = element_type(dtype)
        self.type = pa.fixed_shape_tensor(self.element, shape) if shape else self.element

    def fields(self) -> list[pa.Field]:
        note = {"simgit.dtype": self.dtype.str} if self.dtype.kind in "mMSU" else None
        found = [pa.field(self.name, self.type, metadata=note)]
        return found + ([present_field(self.name)] if self.present else [])

    def plans(self) -> dict[FieldPath, ColumnPlan]:
        return {self.path: self.plan}

    def arrays(self, found: Columns, count: int) -> list[pa.Array]:
        leaf = found[self.path]
        more = [of_numbers(leaf.present)] if self.present else []
        return [self._array(leaf, count), *more]

    def _array(self, leaf: LeafColumn, count: int) -> pa.Array:
        if not isinstance(leaf.values, np.ndarray):  # none of these states has a number
            if not leaf.absent.all() and any(value is not None for value in leaf.values):
                raise IntegrityError(f"field '{self.name}' has values of another type than before")
            return pa.nulls(count, self.type)
        values = np.ascontiguousarray(leaf.values).astype(self.dtype, copy=False)
        absent = leaf.absent
        if not self.exact and self.dtype.kind in "mM" and not self.shape:
            absent = absent | np.isnat(values)
            # what stands under a null must be a date too: DuckDB converts it
            values = np.where(absent, np.zeros((), self.dtype), values) if absent.any() else values
        if self.shape and values.shape[1:] != self.shape:
            raise IntegrityError(f"field '{self.name}' has arrays of another shape than before")
        flat = elements(values.reshape(-1), self.element)
        if not self.shape:
            return with_validity(flat, absent)
        storage = pa.Array.from_buffers(
            self.type.storage_type, count, [validity(absent)], children=[flat]
        )
        return pa.ExtensionArray.from_storage(self.type, storage)


class RaggedColumn(ArrowColumn):
    """Arrays of one dtype and several shapes: a list of their elements, and their shapes."""

    def __init__(self, name: str, plan: ColumnPlan, dtype: np.dtype[Any]) -> None:
        super().__init__(name, plan.path)
        self.plan, self.dtype = plan, dtype
        self.element = element_type(dtype)

    def fields(self) -> list[pa.Field]:
        shape = pa.field(f"{self.name}.{SHAPE}", pa.list_(pa.int64()))
        return [pa.field(self.name, pa.large_list(self.element)), shape]

    def plans(self) -> dict[FieldPath, ColumnPlan]:
        return {self.path: self.plan}

    def arrays(self, found: Columns, count: int) -> list[pa.Array]:
        leaf = found[self.path]
        arrays = [None if a else v for v, a in zip(leaf.values, leaf.absent, strict=True)]
        sizes = [0 if array is None else array.size for array in arrays]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        parts = [np.asarray(array).reshape(-1) for array in arrays if array is not None]
        flat = elements(np.concatenate(parts) if parts else np.zeros(0, self.dtype), self.element)
        values = pa.Array.from_buffers(
            pa.large_list(self.element), count,
            [validity(leaf.absent), pa.py_buffer(offsets)], children=[flat],
        )  # fmt: skip
        shapes = [None if array is None else list(array.shape) for array in arrays]
        return [values, pa.array(shapes, pa.list_(pa.int64()))]


class TextColumn(ArrowColumn):
    """Strings or bytes; or values in their canonical encoding."""

    def __init__(self, name: str, plan: ColumnPlan, type: pa.DataType, present: bool) -> None:
        super().__init__(name, plan.path)
        self.plan, self.type, self.present = plan, type, present

    def fields(self) -> list[pa.Field]:
        found = [pa.field(self.name, self.type)]
        return found + ([present_field(self.name)] if self.present else [])

    def plans(self) -> dict[FieldPath, ColumnPlan]:
        return {self.path: self.plan}

    def arrays(self, found: Columns, count: int) -> list[pa.Array]:
        leaf = found[self.path]
        more = [of_numbers(leaf.present)] if self.present else []
        is_value = isinstance(self.type, pa.ExtensionType)
        if self.plan.kind != "encoded" and not is_value:
            return [pa.array(list(leaf.values), self.type), *more]
        items: list[Any] = list(leaf.values)
        if self.plan.kind != "encoded":
            objects = leaf.objects or []
            items = [None if each is ABSENT else encode_value(each) for each in objects]
        raw = of_items(items, pa.large_binary())
        if is_value:
            return [pa.ExtensionArray.from_storage(self.type, raw), *more]
        try:
            return [raw.cast(self.type), *more]
        except pa.ArrowInvalid:
            raise IntegrityError(f"field '{self.name}': a string is not UTF-8") from None


class OidColumn(ArrowColumn):
    """Oids of trees of files."""

    def fields(self) -> list[pa.Field]:
        return [pa.field(self.name, pa.binary(OID_SIZE))]

    def plans(self) -> dict[FieldPath, ColumnPlan]:
        return {self.path: ColumnPlan(self.path, "object", texts=True)}

    def arrays(self, found: Columns, count: int) -> list[pa.Array]:
        oids = [None if oid is None else bytes(oid) for oid in found[self.path].values]
        return [pa.array(oids, pa.binary(OID_SIZE))]


class NullColumn(ArrowColumn):
    """A field that is None wherever it is present."""

    def __init__(self, name: str, path: FieldPath, present: bool) -> None:
        super().__init__(name, path)
        self.present = present

    def fields(self) -> list[pa.Field]:
        found = [pa.field(self.name, pa.null())]
        return found + ([present_field(self.name)] if self.present else [])

    def plans(self) -> dict[FieldPath, ColumnPlan]:
        key = (*self.path, PRESENT)
        return {key: ColumnPlan(self.path, "presence")} if self.present else {}

    def arrays(self, found: Columns, count: int) -> list[pa.Array]:
        there = [of_numbers(found[(*self.path, PRESENT)].values)] if self.present else []
        return [pa.nulls(count), *there]


class StructColumn(ArrowColumn):
    """A dict or tuple of columns."""

    def __init__(self, name: str, path: FieldPath, below: Sequence[ArrowColumn]) -> None:
        super().__init__(name, path)
        self.below = list(below)

    def fields(self) -> list[pa.Field]:
        return [pa.field(self.name, pa.struct(self._below()))]

    def _below(self) -> list[pa.Field]:
        found = [field for column in self.below for field in column.fields()]
        return found or [pa.field(EMPTY, pa.null())]  # Parquet has no struct without a child

    def plans(self) -> dict[FieldPath, ColumnPlan]:
        own = {(*self.path, PRESENT): ColumnPlan(self.path, "presence")}
        return own | {key: plan for each in self.below for key, plan in each.plans().items()}

    def arrays(self, found: Columns, count: int) -> list[pa.Array]:
        below = [array for each in self.below for array in each.arrays(found, count)]
        absent = ~np.asarray(found[(*self.path, PRESENT)].values)
        mask = of_numbers(absent) if absent.any() else None
        parts = below or [pa.nulls(count)]
        return [pa.StructArray.from_arrays(parts, fields=self._below(), mask=mask)]


# --- types ---------------------------------------------------------------------------------------


def element_type(dtype: np.dtype[Any]) -> pa.DataType:
    """Return the Arrow type of one element of a dtype."""
    if dtype.kind == "c":
        part = pa.float32() if dtype.itemsize == 8 else pa.float64()
        return pa.struct([("re", part), ("im", part)])
    if dtype.kind in "SU":
        return pa.large_string() if dtype.kind == "U" else pa.large_binary()
    if dtype.kind in "mM":
        unit, multiple = np.datetime_data(dtype)
        if unit in _DATES and multiple == 1:
            return pa.timestamp(unit) if dtype.kind == "M" else pa.duration(unit)
        return pa.date32() if (dtype.kind, unit, multiple) == ("M", "D", 1) else pa.int64()
    return pa.from_numpy_dtype(dtype)


def elements(flat: AnyArray, kind: pa.DataType) -> pa.Array:
    """Return elements as an Arrow array, which shares their memory where it can."""
    count = len(flat)
    if flat.dtype.kind == "b":
        return of_numbers(flat)
    if flat.dtype.kind == "c":
        parts = [of_numbers(part) for part in (flat.real, flat.imag)]
        return pa.StructArray.from_arrays(parts, fields=list(kind))
    if flat.dtype.kind in "SU":
        return pa.array(flat.tolist(), kind)
    if pa.types.is_date32(kind):
        days = flat.view(np.int64)
        known = days[~np.isnat(flat)]
        if len(known) and abs(known).max() >= 1 << 31:
            raise InvalidInput("a date is too far from 1970 for Arrow")
        narrow = np.where(np.isnat(flat), 0, days).astype(np.int32)
        return with_validity(from_memory(pa.date32(), narrow, count), np.isnat(flat))
    return from_memory(kind, flat, count)


def of_numbers(array: Any) -> pa.Array:
    """Return numbers or booleans as an Arrow array.

    ``pa.array`` would import pandas wherever it is installed.
    """
    flat = np.ascontiguousarray(array)
    if flat.dtype.kind == "b":
        bits = pa.py_buffer(np.packbits(flat, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(flat), [None, bits])
    return from_memory(pa.from_numpy_dtype(flat.dtype), flat, len(flat))


def of_items(items: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    """Return bytes, or texts in UTF-8, as an Arrow array of strings or bytes of any length."""
    sizes = [0 if item is None else len(item) for item in items]
    wide = pa.types.is_large_binary(kind) or pa.types.is_large_string(kind)
    offsets = np.zeros(len(items) + 1, np.int64 if wide else np.int32)
    np.cumsum(sizes, out=offsets[1:])
    absent = np.array([item is None for item in items], bool)
    buffers = [validity(absent), pa.py_buffer(offsets), pa.py_buffer(b"".join(filter(None, items)))]
    return pa.Array.from_buffers(kind, len(items), buffers)


def from_memory(kind: pa.DataType, flat: AnyArray, count: int) -> pa.Array:
    """Return an Arrow array over the memory of a NumPy array."""
    return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(flat)])


def validity(absent: Mask) -> pa.Buffer | None:
    """Return the bitmap of what is not null, None if all is."""
    return pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None


def with_validity(array: pa.Array, absent: Mask) -> pa.Array:
    """Return an array with nulls, beside those that it has."""
    if not absent.any():
        return array
    if array.null_count:
        absent = absent | ~np.asarray(array.is_valid())
    if pa.types.is_struct(array.type):
        fields = list(array.type)
        parts = [array.field(i) for i in range(len(fields))]
        return pa.StructArray.from_arrays(parts, fields=fields, mask=of_numbers(absent))
    buffers = array.buffers()[1:]
    return pa.Array.from_buffers(array.type, len(array), [validity(absent), *buffers])


def present_field(name: str) -> pa.Field:
    """Return the field that tells None from what is absent."""
    return pa.field(f"{name}.{PRESENT}", pa.bool_())


def empty(kind: pa.DataType) -> pa.Array:
    """Return an array of no elements."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array([], kind.storage_type))
    if pa.types.is_struct(kind):
        parts = [empty(field.type) for field in kind]
        return pa.StructArray.from_arrays(parts, fields=list(kind))
    return pa.array([], kind)


def row_bytes(kind: pa.DataType) -> int:
    """Return about how many bytes a row of a type takes, as far as the type tells."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return int(math.prod(kind.shape)) * row_bytes(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return row_bytes(kind.storage_type)
    if pa.types.is_struct(kind):
        return sum(row_bytes(field.type) for field in kind)
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return 64
