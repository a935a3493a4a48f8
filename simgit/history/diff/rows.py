"""Field-by-field comparison of equally many rows, whatever their schemas are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simgit.history.column_reader import values
from simgit.history.diff.values import diff_values
from simgit.objects.oid import Oid
from simgit.objects.row_encoder import hash_array
from simgit.objects.rows import Matrix, Reference, Rows, presence
from simgit.objects.schema import FieldType, Path

Mask = npt.NDArray[np.bool_]


def top_level_equal(a: Rows, b: Rows) -> dict[str, Mask]:
    """Return for each top-level field a mask of the rows in which both are equal by value.

    A field that neither side can have is left out.
    """
    names = dict.fromkeys(p[0] for rows in (a, b) for p, _ in rows.schema.fields)
    if a.schema.oid == b.schema.oid:
        return {name: _same_schema(a, b, name) for name in names}
    return {name: _other_schema(a, b, name) for name in names}


def _same_schema(a: Rows, b: Rows, name: str) -> Mask:
    """Compare a field and those below it by their bytes."""
    schema = a.schema
    found = [i for i, (path, _) in enumerate(schema.fields) if path[0] == name]
    equal = np.ones(a.count, bool)
    for index in found:
        byte, bit = divmod(index, 8)
        equal &= (a.presence_byte(byte) ^ b.presence_byte(byte)) >> bit & 1 == 0
        if schema.fields[index][1].variable:
            at = schema.variable.index(index)
            equal &= _same_items(a.variable[at], b.variable[at])
        else:
            equal &= _same_bytes(a.field(index), b.field(index))
    return equal


def _same_bytes(a: Matrix, b: Matrix) -> Mask:
    """Return a mask of the equal rows of two matrices, whatever their order in memory."""
    if not a.shape[1]:
        return np.ones(len(a), bool)
    different: Mask = np.logical_or.reduce([a[:, i] != b[:, i] for i in range(a.shape[1])])
    return ~different


def _same_items(a: list[bytes], b: list[bytes]) -> Mask:
    if a == b:
        return np.ones(len(a), bool)
    return np.fromiter((x == y for x, y in zip(a, b, strict=True)), bool, len(a))


def _other_schema(a: Rows, b: Rows, name: str) -> Mask:
    """Compare a top-level field of rows whose schemas differ: path by path."""
    equal = np.ones(a.count, bool)
    whole: list[Path] = []  # paths that were compared together with all paths below
    paths = {p for rows in (a, b) for p, _ in rows.schema.fields if p[0] == name}
    for path in sorted(paths):
        if any(path[: len(above)] == above for above in whole):
            continue
        types = [_type(rows, path) for rows in (a, b)]
        if types[0] is None or types[1] is None:
            rows = b if types[0] is None else a
            equal &= ~presence(rows, rows.schema.index[path])
        elif types[0] == types[1]:
            equal &= _same_field(a, b, path)
        else:
            whole.append(path)
            equal &= _same_values(a, b, path)
    return equal


def _type(rows: Rows, path: Path) -> FieldType | None:
    index = rows.schema.index.get(path)
    return None if index is None else rows.schema.fields[index][1]


def _same_field(a: Rows, b: Rows, path: Path) -> Mask:
    """Compare a field that has one type in both schemas, without those below it."""
    left, right = a.schema.index[path], b.schema.index[path]
    equal: Mask = presence(a, left) == presence(b, right)
    kind = a.schema.fields[left][1]
    if kind.variable:
        items = [r.variable[r.schema.variable.index(i)] for r, i in ((a, left), (b, right))]
        equal &= _same_items(items[0], items[1])
        return equal
    equal &= _same_bytes(a.field(left), b.field(right))
    return equal


def _same_values(a: Rows, b: Rows, path: Path) -> Mask:
    """Compare a field that has different types, value by value."""
    equal: Mask = presence(a, a.schema.index[path]) == presence(b, b.schema.index[path])
    left, right = _as_values(a, path), _as_values(b, path)
    for i in np.flatnonzero(equal).tolist():
        equal[i] = not diff_values(left[i], right[i])
    return equal


def _as_values(rows: Rows, path: Path) -> list[Any]:
    """Return a field as values in which every array stands as a reference to its oid."""
    found = values(rows, path, (0, 0), lambda oid, _: Reference("array", Oid(oid)))  # type: ignore[arg-type,return-value]
    return [_refer(value) for value in found]


def _refer(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return Reference("array", Oid(hash_array(np.asarray(value))))
    return value
