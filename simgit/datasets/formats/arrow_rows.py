"""Arrow batches back to packed rows: the inverse of ``datasets.arrow`` with ``exact``.

The schema of the states says what a value was: an absent field or None, a Python or a NumPy number,
an array or a number. The Arrow column only has to hold the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from simgit.datasets.arrow_columns import PRESENT, SHAPE, ValueType, of_numbers
from simgit.datasets.formats.packing import finished, narrowed
from simgit.errors import IntegrityError
from simgit.objects.arrays import AnyArray
from simgit.objects.canonical import MAX_PARTS, check_parts
from simgit.objects.codec import decode_value
from simgit.objects.columns import ABSENT
from simgit.objects.row_encoder import RowPacker, as_bytes
from simgit.objects.rows import Rows
from simgit.objects.schema import (
    ARRAY,
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
)

Columns = dict[str, pa.Array]
Places = dict[str, list[Any]]
_PLACES: Final = ("step", "episode", "episode_step")
_EDITED: Final = ": it was edited; --as-new imports it as a new run"
_NUMPY: Final = {
    "int8": "|i1", "int16": "<i2", "int32": "<i4", "int64": "<i8", "uint8": "|u1", "uint16": "<u2",
    "uint32": "<u4", "uint64": "<u8", "halffloat": "<f2", "float": "<f4", "double": "<f8",
}  # fmt: skip
Numbers = npt.NDArray[np.intp]
_BINARY: Final = (pa.types.is_large_binary, pa.types.is_binary)
_TEXT: Final = (pa.types.is_large_string, pa.types.is_string)


def rows_of(batch: pa.RecordBatch, schema: Schema, run: str | None = None) -> tuple[Rows, Places]:
    """Return the rows of a schema that a batch holds, and the places that it gives them.

    Args:
        batch: the states.
        schema: of all of them.
        run: their run; None if columns that belong to no field do not matter.

    Raises:
        IntegrityError: a column is missing, of a wrong type, or a value does not fit the schema.
    """
    columns: Columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    if len(columns) != batch.num_columns:
        raise IntegrityError("malformed table: a column stands twice")
    filler = _Filler(schema, batch.num_rows, run is not None)
    places: Places = {}
    try:
        if run is not None:
            if _texts(columns.pop("run", None)) != {run}:
                raise IntegrityError(f"a row of run '{run}' has another run{_EDITED}")
            places = {n: numbers_of(columns.pop(n)).tolist() for n in _PLACES if n in columns}
            if len(places) < len(_PLACES):
                raise IntegrityError(f"the table lacks one of the columns {_PLACES}{_EDITED}")
            if "oid" in columns:
                places["oid"] = columns.pop("oid").to_pylist()
            _check_rest("", columns, schema.root.children)
        for name, node in schema.root.children.items():
            filler.fill((name,), node, columns)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise IntegrityError(f"malformed table: {error}") from None
    return filler.result(), places


def _texts(array: pa.Array | None) -> set[Any]:
    """Return the different values of a column of texts."""
    if array is not None and pa.types.is_dictionary(array.type) and not array.null_count:
        known = array.dictionary.to_pylist()
        return {known[i] for i in set(numbers_of(array.indices).tolist())}
    return set() if array is None else set(array.to_pylist())


def _check_rest(path: str, columns: Columns, known: Iterable[str]) -> None:
    """Check that the columns of other fields than those that are known hold nothing."""
    for name, array in columns.items():
        if name in known or name.removesuffix(f".{PRESENT}").removesuffix(f".{SHAPE}") in known:
            continue
        is_mask = pa.types.is_boolean(array.type) and name.endswith(f".{PRESENT}")
        if _bits(array, 1).any() if is_mask and len(array) else array.null_count < len(array):
            raise IntegrityError(f"column '{path}{name}' has a value more{_EDITED}")


class _Filler:
    """Rows of one schema that are filled from Arrow columns."""

    def __init__(self, schema: Schema, count: int, is_whole: bool) -> None:
        self.schema = schema
        self.is_whole = is_whole
        self.count = count
        self.packer = RowPacker(schema, count)

    def result(self) -> Rows:
        return finished(self.packer, self.count)

    def fill(self, path: Path, node: FieldNode, columns: Columns) -> None:
        """Fill a field, and those below it, from the columns beside it."""
        name, kind = path[-1], node.type
        array = columns.get(name)
        if array is None:
            if kind.code == NONE or not len(path) > 1:
                raise IntegrityError(f"malformed table: column '{'.'.join(path)}' is missing")
            return
        index = self.schema.index[path]
        if isinstance(array.type, ValueType) and kind.code != VALUE:
            self.packer.fill(path, node, _values(array))
        elif kind.code in (MAP, TUPLE):
            self.mark(index, array)
            # what stands below a null is free, until it is null itself
            parts = (
                array.flatten() if array.null_count else map(array.field, range(len(array.type)))
            )
            below: Columns = dict(zip([f.name for f in array.type], parts, strict=True))
            if self.is_whole:
                _check_rest(".".join(path) + ".", below, node.children)
            for each, child in node.children.items():
                self.fill((*path, each), child, below)
        elif kind.code == NONE:
            self.mark(index, columns.get(f"{name}.{PRESENT}"))
        elif kind.variable:
            self.fill_variable(index, kind, array)
        elif kind.code == ARRAY:
            rows = _present(array)
            arrays = _arrays(array, columns.get(f"{name}.{SHAPE}"))
            here = arrays if rows is None else [arrays[row] for row in rows.tolist()]
            self.packer.put(index, rows, self.packer.add_arrays(index, here, rows))
            self.packer.mark(index, rows)
        elif kind.code == TREE:
            if array.null_count < len(array):
                raise IntegrityError("malformed table: a state has files, which are not in it")
            self.packer.mark(index, np.zeros(0, np.intp))
        else:
            self.fill_numbers(index, kind, array, columns.get(f"{name}.{SHAPE}"))

    def mark(self, index: int, array: pa.Array | None) -> None:
        """Set the presence of a field that has no bytes: of a mask, or of what is not null."""
        rows = None
        if array is not None and pa.types.is_boolean(array.type):
            there = _bits(array, 1)
            rows = np.flatnonzero(there & _bits(array, 0) if array.null_count else there)
        elif array is not None:
            rows = _present(array)
        self.packer.mark(index, rows)

    def fill_variable(self, index: int, kind: FieldType, array: pa.Array) -> None:
        storage = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
        if pa.types.is_dictionary(storage.type):
            storage = storage.dictionary_decode()
        wanted = _TEXT if kind.code == STR else _BINARY
        if not any(test(storage.type) for test in wanted):
            raise IntegrityError(f"malformed table: a column of {storage.type} holds no {kind}")
        if kind.code == STR:
            storage = storage.cast(pa.large_string()).view(pa.large_binary())
        rows = _present(storage)
        items = (storage if rows is None else storage.take(of_numbers(rows))).to_pylist()
        self.packer.put_variable(index, rows, items)
        self.packer.mark(index, rows)

    def fill_numbers(
        self, index: int, kind: FieldType, array: pa.Array, shapes: pa.Array | None
    ) -> None:
        rows = _present(array)
        dtype = kind.storage_dtype
        assert dtype is not None
        if shapes is None:
            data = numbers_of(array)
            data = data if rows is None else data[rows]
        else:  # in other states the field has arrays of another shape
            each = _arrays(array, shapes)
            here = each if rows is None else [each[row] for row in rows.tolist()]
            data = np.stack(here) if here else np.zeros((0, *kind.shape), dtype)
        if dtype.kind in "mM" and data.dtype == np.int64:
            data = data.view(dtype)
        cast = narrowed(data, dtype) if data.shape[1:] == kind.shape else None
        if cast is None:
            raise IntegrityError(
                f"hash mismatch: column '{'.'.join(self.schema.fields[index][0])}' holds other "
                "values than its schema; it was edited"
            )
        self.packer.put(index, rows, as_bytes(cast, kind.width))
        self.packer.mark(index, rows)


def _present(array: pa.Array) -> Numbers | None:
    """Return the rows that are not null, None if all are."""
    if not array.null_count:
        return None
    if pa.types.is_null(array.type):
        return np.zeros(0, np.intp)
    return np.flatnonzero(_bits(array, 0))


def _bits(array: pa.Array, buffer: int) -> npt.NDArray[np.bool_]:
    """Return the bits of an array's validity (buffer 0) or of its booleans (1).

    Arrow's own functions would import pandas wherever it is installed.
    """
    raw = np.frombuffer(array.buffers()[buffer], np.uint8)
    stop = array.offset + len(array)
    bits = np.unpackbits(raw[: (stop + 7) // 8], bitorder="little")
    return bits[array.offset : stop].view(bool)


def _values(array: pa.Array) -> list[Any]:
    """Return decoded values, ``ABSENT`` for null."""
    found: list[Any] = []
    for item in array.storage.to_pylist():
        if item is not None and len(item) > MAX_PARTS:
            check_parts(item, MAX_PARTS)
        found.append(ABSENT if item is None else decode_value(item))
    return found


def numbers_of(array: pa.Array) -> AnyArray:
    """Return numbers with a leading axis for the rows; what stands for null is free.

    Raises:
        IntegrityError: the type is not one of numbers.
    """
    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType):
        return numbers_of(_items(array.storage)).reshape(len(array), *kind.shape)
    if pa.types.is_fixed_size_list(kind):
        return numbers_of(_items(array)).reshape(len(array), kind.list_size)
    if pa.types.is_boolean(kind):
        return _bits(array, 1) if len(array) else np.zeros(0, bool)
    if pa.types.is_struct(kind):
        parts = [numbers_of(array.field(i)) for i in range(kind.num_fields)]
        if [field.name for field in kind] != ["re", "im"] or parts[0].dtype.kind != "f":
            raise IntegrityError("malformed table: a struct is not a complex number")
        return np.stack(parts, -1).reshape(-1).view(f"<c{2 * parts[0].dtype.itemsize}")
    if pa.types.is_null(kind):
        return np.zeros(len(array))
    return _plain(array)


def _plain(array: pa.Array) -> AnyArray:
    """Return the elements of an array of fixed width, which share its memory."""
    kind = array.type
    if pa.types.is_temporal(kind) and kind.bit_width == 64 and not pa.types.is_time(kind):
        if getattr(kind, "tz", None):
            raise IntegrityError("malformed table: a date has a time zone")
        dtype = np.dtype(f"<{'m' if pa.types.is_duration(kind) else 'M'}8[{kind.unit}]")
    elif str(kind) in _NUMPY:
        dtype = np.dtype(_NUMPY[str(kind)])
    else:
        raise IntegrityError(f"malformed table: a column of {kind} holds no numbers")
    if not len(array):
        return np.zeros(0, dtype)
    data = array.buffers()[1]
    return np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)


def _items(array: pa.Array) -> pa.Array:
    """Return the elements of lists of one size, those of nulls included."""
    size = array.type.list_size
    return array.values.slice(array.offset * size, len(array) * size)


def _arrays(array: pa.Array, shapes: pa.Array | None) -> Sequence[AnyArray]:
    """Return an array for each row, whatever for those that are null."""
    if shapes is None:
        return [np.ascontiguousarray(each) for each in numbers_of(array)]
    flat = numbers_of(array.values)
    offsets = array.offsets.to_numpy()
    found = []
    for shape, start, stop in zip(shapes.to_pylist(), offsets[:-1], offsets[1:], strict=True):
        found.append(flat[start:stop].reshape(shape if shape is not None else (-1,)))
    return found
