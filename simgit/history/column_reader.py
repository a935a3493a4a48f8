"""Columns of a range of steps: one field of many states as an array, whatever their schemas.

The same field can have another type in each schema. Numbers of one shape are brought to the dtype
that holds all of them, if no value is changed by it; large arrays are decoded group by group (see
``array_reader``); everything else becomes a list of values, None where a state has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from simgit.errors import NotFound, did_you_mean
from simgit.history.array_reader import ArrayReader
from simgit.history.step_range import StepRange
from simgit.objects.arrays import AnyArray
from simgit.objects.oid import Oid
from simgit.objects.rows import Rows, presence
from simgit.objects.rows import column as row_column
from simgit.objects.schema import ARRAY, FIXED, MAP, NONE, TREE, TUPLE, FieldType, Path, Schema
from simgit.storage.base import ReadTxn

Column = Any
"""An array with a leading axis for the states, a list, or a dict or tuple of columns."""
Mask = npt.NDArray[np.bool_]
Resolve = Callable[[bytes, tuple[int, int, int]], AnyArray]
"""A function that returns the array of an oid, which the state at (line, field, step) refers to."""


@dataclass
class ColumnPlan:
    """The plan of how a path is read: a map or tuple of plans, or one leaf of a kind."""

    path: Path
    kind: str  # "map", "tuple", "dense", "array", "object"
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()
    below: dict[str, ColumnPlan] = field(default_factory=dict)
    variable: bool = False

    def leaves(self) -> Iterable[ColumnPlan]:
        """Yield the plans that stand for a column each."""
        if self.kind not in ("map", "tuple"):
            yield self
        for plan in self.below.values():
            yield from plan.leaves()

    def assemble(self, columns: dict[Path, Column]) -> Column:
        """Return the column, from those of the leaves."""
        if self.kind == "map":
            return {name: plan.assemble(columns) for name, plan in self.below.items()}
        if self.kind == "tuple":
            return tuple(plan.assemble(columns) for plan in self.below.values())
        return columns[self.path]


def make_plan(schemas: Sequence[Schema], path: Path) -> ColumnPlan:
    """Return the plan for a field that may have several types.

    Raises:
        NotFound: no schema has the field.
    """
    types = [schema.fields[i][1] for schema in schemas for i in [schema.index.get(path)] if i is not None]  # fmt: skip # noqa: E501
    if not types:
        known = {".".join(path) for schema in schemas for path, _ in schema.fields}
        near = did_you_mean(".".join(path), known)
        raise NotFound(f"no state here has a field '{'.'.join(path)}'{near}", path=path)
    codes = {kind.code for kind in types}
    if codes == {MAP}:
        return ColumnPlan(path, "map", below=_below(schemas, path, _names(schemas, path)))
    if codes == {TUPLE} and len({kind.length for kind in types}) == 1:
        names = [str(i) for i in range(types[0].length)]
        return ColumnPlan(path, "tuple", below=_below(schemas, path, names))
    return _leaf(path, types, codes)


def _names(schemas: Sequence[Schema], path: Path) -> list[str]:
    size = len(path)
    found = {p[size] for s in schemas for p, _ in s.fields if len(p) > size and p[:size] == path}
    return sorted(found, key=str.encode)


def _below(schemas: Sequence[Schema], path: Path, names: Sequence[str]) -> dict[str, ColumnPlan]:
    return {name: make_plan(schemas, (*path, name)) for name in names}


def _leaf(path: Path, types: Sequence[FieldType], codes: set[int]) -> ColumnPlan:
    if ARRAY in codes and codes <= {ARRAY, FIXED}:
        return ColumnPlan(path, "array")
    dtype = _common([kind.storage_dtype for kind in types])
    if dtype is not None and len({kind.shape for kind in types}) == 1:
        return ColumnPlan(path, "dense", dtype, types[0].shape)
    return ColumnPlan(path, "object", variable=not codes <= {NONE, TREE})


def _common(dtypes: Sequence[np.dtype[Any] | None]) -> np.dtype[Any] | None:
    """Return a dtype that may hold the values of all others, None if there is none."""
    known = [dtype for dtype in dtypes if dtype is not None]  # (a dtype of float64 equals None)
    if len(known) < len(dtypes):
        return None
    if len(set(known)) == 1:
        return known[0]
    kinds = {dtype.kind for dtype in known}
    if kinds <= set("biufc") or kinds == {"S"} or kinds == {"U"}:
        return np.result_type(*known)
    return None


class _Inexact(Exception):
    """A value that its column's dtype cannot hold."""


class _Sink(Protocol):
    """A receiver of a field's values, block by block."""

    def add(self, at: int, rows: Rows, line: int, step: int) -> None: ...

    def result(self) -> Column: ...


class _Dense:
    """One array of a dtype and shape; zeros where the field is absent."""

    def __init__(self, plan: ColumnPlan, count: int) -> None:
        assert plan.dtype is not None
        self.path = plan.path
        self.out: AnyArray = np.zeros((count, *plan.shape), plan.dtype)

    def add(self, at: int, rows: Rows, line: int, step: int) -> None:
        index = rows.schema.index.get(self.path)
        if index is None:
            return
        kind = rows.schema.fields[index][1]
        here = self.out[at : at + rows.count]
        if kind.storage_dtype == here.dtype and kind.width:
            matrix = here.reshape(rows.count, -1).view(np.uint8)
            matrix[:] = rows.field(index)
        else:
            here[...] = _exact(row_column(rows, index), here.dtype)

    def result(self) -> Column:
        return self.out


def _exact(data: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """Return values in another dtype; raise ``_Inexact`` if one would change."""
    with np.errstate(all="ignore"):
        out = data.astype(dtype)
        same = out.astype(data.dtype) == data
    if dtype.kind in "fc":
        same |= data != data  # NaN
        if data.dtype.kind in "iu":  # large ones may saturate and compare equal
            same &= abs(out) < 2.0**63
    if not same.all():
        raise _Inexact
    return out


class _Objects:
    """A list of Python values, None where the field is absent."""

    def __init__(self, plan: ColumnPlan, count: int, resolve: Resolve) -> None:
        self.path = plan.path
        self.out: list[Any] = [None] * count
        self.resolve = resolve

    def add(self, at: int, rows: Rows, line: int, step: int) -> None:
        if self.path in rows.schema.index:
            found = values(rows, self.path, (line, step), self.resolve)
            self.out[at : at + rows.count] = found

    def result(self) -> Column:
        return self.out


def values(rows: Rows, path: Path, where: tuple[int, int], resolve: Resolve) -> list[Any]:
    """Return a field of rows as Python values, None where it is absent.

    Args:
        rows: of one schema that has the field.
        path: of the field.
        where: line and first step of the rows.
        resolve: reads arrays that are not in the rows.
    """
    index = rows.schema.index[path]
    kind = rows.schema.fields[index][1]
    here = presence(rows, index).tolist()
    if kind.code in (MAP, TUPLE):
        found = _containers(rows, path, kind, where, resolve)
    elif kind.code == NONE:
        return [None] * rows.count
    elif kind.code in (ARRAY, TREE):
        found = _referred(rows, index, kind, where, resolve)
    else:
        data = row_column(rows, index)
        found = data if kind.variable else list(data) if kind.code == FIXED else data.tolist()
    return [value if there else None for value, there in zip(found, here, strict=True)]


def _containers(
    rows: Rows, path: Path, kind: FieldType, where: tuple[int, int], resolve: Resolve
) -> list[Any]:
    """Return the dicts or tuples that a field's rows hold."""
    names = _names([rows.schema], path)
    masks = [presence(rows, rows.schema.index[(*path, name)]).tolist() for name in names]
    below = [values(rows, (*path, name), where, resolve) for name in names]
    if kind.code == TUPLE:
        order = [names.index(str(i)) for i in range(kind.length)]
        return list(zip(*(below[i] for i in order), strict=True)) if order else [()] * rows.count
    return [
        {n: v[i] for n, v, m in zip(names, below, masks, strict=True) if m[i]}
        for i in range(rows.count)
    ]


def _referred(
    rows: Rows, index: int, kind: FieldType, where: tuple[int, int], resolve: Resolve
) -> list[Any]:
    """Return the arrays, or the oids of trees, that a field's rows refer to."""
    oids = row_column(rows, index)
    found: list[Any] = [None] * rows.count
    for row in np.flatnonzero(presence(rows, index)).tolist():
        oid = oids[row].tobytes()
        place = (where[0], index, where[1] + row)
        found[row] = resolve(oid, place) if kind.code == ARRAY else Oid(oid)
    return found


def read_columns(steps: StepRange, txn: ReadTxn, paths: Sequence[Path]) -> dict[Path, Column]:
    """Read fields of a range of steps in one go.

    Raises:
        NotFound: no state of the steps can have one of the fields.
        IntegrityError: stored bytes are damaged.
    """
    schemas = steps.schemas(txn)
    plans = [make_plan(schemas, path) for path in paths]
    leaves = {leaf.path: leaf for plan in plans for leaf in plan.leaves()}
    done = _read_leaves(steps, txn, list(leaves.values()))
    return {plan.path: plan.assemble(done) for plan in plans}


def _read_leaves(
    steps: StepRange, txn: ReadTxn, leaves: Sequence[ColumnPlan]
) -> dict[Path, Column]:
    sinks = {leaf.path: _sink(steps, txn, leaf) for leaf in leaves}
    variable = any(leaf.variable for leaf in leaves)
    inexact: dict[Path, ColumnPlan] = {}
    for line, step, rows in steps.rows(txn, variable) if sinks else ():
        for path in list(sinks):
            try:
                sinks[path].add(step - steps.start, rows, line, step)
            except _Inexact:
                del sinks[path]
                inexact[path] = ColumnPlan(path, "object", variable=True)
    done = {path: sink.result() for path, sink in sinks.items()}
    if inexact:
        done |= _read_leaves(steps, txn, list(inexact.values()))
    return done


def _sink(steps: StepRange, txn: ReadTxn, leaf: ColumnPlan) -> _Sink:
    if leaf.kind == "dense":
        return _Dense(leaf, steps.count)
    if leaf.kind == "array":
        return ArrayReader(steps.odb, txn, leaf.path, steps.count)
    return _Objects(leaf, steps.count, lambda oid, hint: steps.odb.array(txn, oid, hint))


def read_presence(steps: StepRange, txn: ReadTxn, path: Path) -> Mask:
    """Return for each state whether it has a field (False if none can have it)."""
    out = np.zeros(steps.count, bool)
    for _, step, rows in steps.rows(txn, variable=False):
        index = rows.schema.index.get(path)
        if index is not None:
            at = step - steps.start
            out[at : at + rows.count] = presence(rows, index)
    return out
