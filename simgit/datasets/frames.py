"""Arrow tables of states as data frames of pandas and polars, without a change of any value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from simgit.datasets.arrow_columns import ValueType, validity
from simgit.datasets.packages import needed


def to_pandas(table: pa.Table) -> Any:
    """Return a table as a pandas DataFrame; see ``Dataset.to_pandas``.

    Raises:
        NotFound: pandas is not installed.
    """
    pandas = needed("pandas", "to_pandas()")
    columns = {name: _series(pandas, table[name]) for name in table.column_names}
    return pandas.DataFrame(columns)


def _series(pandas: Any, column: pa.ChunkedArray) -> Any:
    kind = column.type
    if isinstance(kind, (ValueType, pa.FixedShapeTensorType)):
        return pandas.Series(_objects(column), dtype=object)
    if pa.types.is_dictionary(kind):
        return column.to_pandas()
    if column.null_count and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        # a plain column would make them floats, which do not hold all integers
        name = (
            "boolean"
            if pa.types.is_boolean(kind)
            else str(kind).replace("i", "I").replace("u", "U")
        )
        return pandas.Series(pandas.array(column.to_pylist(), dtype=name))
    if pa.types.is_nested(kind) or pa.types.is_null(kind):
        return pandas.Series(column.to_pylist(), dtype=object)
    return column.to_pandas()


def _objects(column: pa.ChunkedArray) -> Any:
    """Return the values of an extension type as an array of objects: arrays in their shape."""
    out = np.empty(len(column), object)
    at = 0
    for chunk in column.chunks:
        if isinstance(column.type, ValueType):
            found: Any = chunk.to_pylist()
        else:
            there = chunk.is_valid().to_pylist()
            arrays = _tensors(chunk)
            found = [array if real else None for array, real in zip(arrays, there, strict=True)]
        for i, value in enumerate(found):
            out[at + i] = value
        at += len(chunk)
    return out


def _tensors(chunk: pa.Array) -> Any:
    """Return the elements of a column of tensors, with a leading axis; those of nulls are any."""
    storage = chunk.storage
    size = storage.type.list_size
    values = storage.values.slice(storage.offset * size, len(storage) * size)
    flat = (
        values.to_numpy(zero_copy_only=False)
        if not pa.types.is_struct(values.type)
        else _pairs(values)
    )
    return flat.reshape(len(chunk), *chunk.type.shape)


def _pairs(values: pa.Array) -> Any:
    parts = [values.field(name).to_numpy(zero_copy_only=False) for name in ("re", "im")]
    return parts[0] + 1j * parts[1]


def to_polars(table: pa.Table) -> Any:
    """Return a table as a polars DataFrame; see ``Dataset.to_polars``.

    Raises:
        NotFound: polars is not installed.
    """
    polars = needed("polars", "to_polars()")
    values = {
        name for name in table.column_names if isinstance(table.schema.field(name).type, ValueType)
    }
    rest = plain(table.select([name for name in table.column_names if name not in values]))
    frame = polars.from_arrow(rest)
    for name in values:
        found = polars.Series(name, table[name].to_pylist(), dtype=polars.Object)
        frame = frame.with_columns(found)
    return frame.select(table.column_names)


def plain(table: pa.Table) -> pa.Table:
    """Return a table without extension types: tensors as nested lists of fixed size."""
    arrays = [
        pa.chunked_array([_plain(chunk) for chunk in column.chunks], plain_type(column.type))
        for column in table.columns
    ]
    fields = [pa.field(field.name, plain_type(field.type)) for field in table.schema]
    return pa.table(arrays, schema=pa.schema(fields))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type without extensions in it."""
    if isinstance(kind, pa.FixedShapeTensorType):
        found = kind.value_type
        for size in reversed(kind.shape):
            # polars cannot read lists of a fixed size of 0
            found = pa.list_(found, -1 if 0 in kind.shape else size)
        return found
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    return kind


def _plain(chunk: pa.Array) -> pa.Array:
    kind = chunk.type
    if isinstance(kind, pa.FixedShapeTensorType) and 0 in kind.shape:
        nothing = np.zeros(kind.shape, bool).tolist()
        there = chunk.is_valid().to_pylist()
        return pa.array([nothing if real else None for real in there], plain_type(kind))
    if isinstance(kind, pa.FixedShapeTensorType):
        size = kind.storage_type.list_size
        storage = chunk.storage
        found = storage.values.slice(storage.offset * size, len(chunk) * size)
        count = len(found)
        target = plain_type(kind)
        types = [target]
        while pa.types.is_fixed_size_list(types[-1].value_type) and len(types) < len(kind.shape):
            types.append(types[-1].value_type)
        for each in reversed(types[1:]):
            count = count // each.list_size if each.list_size else 0
            found = pa.Array.from_buffers(each, count, [None], children=[found])
        absent = ~np.asarray(chunk.is_valid())
        return pa.Array.from_buffers(target, len(chunk), [validity(absent)], children=[found])
    if isinstance(kind, pa.BaseExtensionType):
        return chunk.storage
    if pa.types.is_struct(kind):
        parts = [_plain(part) for part in (chunk.field(i) for i in range(kind.num_fields))]
        mask = pa.array(~np.asarray(chunk.is_valid())) if chunk.null_count else None
        return pa.StructArray.from_arrays(parts, fields=list(plain_type(kind)), mask=mask)
    return chunk
