"""Packed rows to columns of values and back, and the checks of rows that came from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simgit.datasets.formats.base import PackedStates
from simgit.errors import IntegrityError, InvalidInput
from simgit.objects import rows as rowlib
from simgit.objects.columns import ABSENT, Column, Columns
from simgit.objects.row_encoder import pack
from simgit.objects.rows import Reference, Rows
from simgit.objects.schema import TREE, Schema
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
    values = row_values(block.rows)
    names = dict.fromkeys(name for each in values for name in each)
    columns: dict[str, Column] = {n: [each.get(n, ABSENT) for each in values] for n in names}
    columns.pop("files", None)
    return columns


def packed_values(schema: Schema, values: Sequence[Mapping[str, Any]]) -> Rows:
    """Return the rows of a schema that hold values of states.

    Raises:
        IntegrityError: a value does not fit the schema.
    """
    names = dict.fromkeys(name for each in values for name in each)
    columns: dict[str, Column] = {n: [each.get(n, ABSENT) for each in values] for n in names}
    try:
        rows = pack(schema, columns, len(values))
    except InvalidInput as error:
        raise IntegrityError(f"malformed source: {error}") from None
    if rows.count != len(values):
        raise IntegrityError(
            f"hash mismatch: state {rows.count} of a block does not fit its schema; it was edited"
        )
    return rows
