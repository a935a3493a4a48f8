"""Packed rows to columns of values and back, and the checks of rows that came from a file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simgit.datasets.formats.base import PackedStates, columns_of
from simgit.errors import IntegrityError, InvalidInput
from simgit.history.leaf_column import cast_exact
from simgit.objects import rows as rowlib
from simgit.objects.arrays import AnyArray
from simgit.objects.columns import ABSENT, Columns
from simgit.objects.row_encoder import RowPacker, as_bytes, pack
from simgit.objects.rows import Reference, Rows
from simgit.objects.schema import ARRAY, MAP, TREE, TUPLE, FieldNode, Path, Schema, exact_cast
from simgit.remotes.bundle.states import check_rows


def check_packed(rows: Rows) -> None:
    """Check rows that were packed from a file's values.

    Raises:
        IntegrityError: an item is malformed or has too many parts, or a state has files.
    """
    check_rows(rows)
    for index, (_, kind) in enumerate(rows.schema.fields):
        if kind.code == TREE and rowlib.presence(rows, index).any():
            raise IntegrityError("malformed source: a state has files, which are not in it")


def row_values(rows: Rows) -> list[dict[str, Any]]:
    """Return the rows as dicts of their top-level fields, arrays in place of their oids."""
    arrays = {
        (row, rows.schema.fields[index][0]): array
        for index, found in rows.arrays.items()
        for row, array in found
    }
    found = [rowlib.unpack_row(rows, i) for i in range(rows.count)]
    if arrays or any(kind.code == TREE for _, kind in rows.schema.fields):
        return [
            {k: _with_arrays(v, i, (k,), arrays) for k, v in each.items()}
            for i, each in enumerate(found)
        ]
    return found


def _with_arrays(value: Any, row: int, path: tuple[str, ...], arrays: dict[Any, Any]) -> Any:
    if isinstance(value, Reference):
        return arrays[row, path] if value.kind == "array" else value.oid
    if type(value) is dict:
        return {k: _with_arrays(v, row, (*path, k), arrays) for k, v in value.items()}
    if type(value) is tuple:
        return tuple(_with_arrays(v, row, (*path, str(i)), arrays) for i, v in enumerate(value))
    return value


def unpacked(block: PackedStates) -> Columns:
    """Return the columns of packed states, for states that get new oids."""
    columns = dict(columns_of(row_values(block.rows)))
    columns.pop("files", None)
    return columns


def packed_values(schema: Schema, values: Sequence[Mapping[str, Any]]) -> Rows:
    """Return the rows of a schema that hold values of states.

    Raises:
        IntegrityError: a value does not fit the schema.
    """
    try:
        rows = pack(schema, columns_of(values), len(values))
    except InvalidInput as error:
        raise IntegrityError(f"malformed source: {error}") from None
    if rows.count != len(values):
        raise IntegrityError(
            f"hash mismatch: state {rows.count} of a block does not fit its schema; it was edited"
        )
    return rows


def finished(packer: RowPacker, count: int) -> Rows:
    """Return the rows of a packer that was filled from a file.

    Raises:
        IntegrityError: a value did not fit the schema.
    """
    if packer.good < count:
        raise IntegrityError(
            f"hash mismatch: row {packer.good} of a block does not fit its schema; it was edited"
        )
    return packer.result()


def narrowed(data: AnyArray, dtype: np.dtype[Any]) -> AnyArray | None:
    """Return numbers in a dtype that the file's may only contain; None if bits would be lost."""
    found = exact_cast(data, dtype)
    if found is not None or not {data.dtype.kind, dtype.kind} <= set("biufc"):
        return found
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        made = data.astype(dtype)
    back = cast_exact(made, data.dtype)
    return made if back is not None and back.tobytes() == data.tobytes() else None


def fill_nested(
    packer: RowPacker, path: Path, node: FieldNode, data: Any, here: npt.NDArray[np.bool_]
) -> None:
    """Fill a field from arrays with a leading axis, nested as the field is.

    Args:
        packer: of the rows.
        path, node: of the field.
        data: an array, a list of values, or a dict or tuple of these.
        here: the rows that have the field.

    Raises:
        IntegrityError: they do not fit the field.
    """
    kind = node.type
    index = packer.schema.index[path]
    rows = None if here.all() else np.flatnonzero(here)
    if kind.code in (MAP, TUPLE):
        below = {str(i): each for i, each in enumerate(data)} if isinstance(data, tuple) else data
        if not isinstance(below, dict) or not set(below) <= set(node.children):
            raise IntegrityError(f"hash mismatch: field '{'.'.join(path)}' has other entries")
        packer.mark(index, rows)
        for name, each in below.items():
            fill_nested(packer, (*path, name), node.children[name], each, here)
        return
    values = data if rows is None else [data[row] for row in rows.tolist()]
    if isinstance(data, np.ndarray) and kind.storage_dtype is not None:
        chosen = data if rows is None else data[rows]
        if chosen.shape[1:] == () and kind.shape == (1,):  # of formats that have one shape for both
            chosen = chosen.reshape(-1, 1)
        fits = chosen.shape[1:] == kind.shape
        cast = narrowed(chosen, kind.storage_dtype) if fits else None
        if cast is None:
            raise IntegrityError(
                f"hash mismatch: field '{'.'.join(path)}' holds other values than its schema"
            )
        packer.put(index, rows, as_bytes(np.ascontiguousarray(cast), kind.width))
        packer.mark(index, rows)
        return
    column: list[Any] = [ABSENT] * len(here)
    for row, value in zip(np.flatnonzero(here).tolist(), values, strict=True):
        column[row] = value if kind.code == ARRAY or isinstance(value, str) else _plain(value)
    packer.fill(path, node, column)


def _plain(value: Any) -> Any:
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) and value.ndim else value
