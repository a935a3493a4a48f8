"""Columns of a range of steps: one field of many states as an array, whatever their schemas.

The same field can have another type in each schema, and be an entry of a value in some. Numbers of
one shape are brought to the dtype that holds all of them, if no value is changed by it; large
arrays are decoded group by group (see ``array_reader``); everything else becomes a list of values.
What stands where a state has none is decided in one place, ``LeafColumn``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from simgit.errors import NotFound, did_you_mean
from simgit.history.array_reader import ArrayForm, ArrayReader
from simgit.history.leaf_column import LeafColumn, Mask, cast_exact, common_dtype
from simgit.history.paths import (
    FieldPath,
    element_index,
    element_type,
    follow,
    locate,
    path_text,
)
from simgit.history.step_range import StepRange
from simgit.objects.arrays import AnyArray
from simgit.objects.codec import encode_value
from simgit.objects.columns import ABSENT
from simgit.objects.oid import Oid
from simgit.objects.rows import Rows, presence
from simgit.objects.rows import column as row_column
from simgit.objects.schema import (
    ARRAY,
    BYTES,
    FIXED,
    MAP,
    NONE,
    STR,
    TREE,
    TUPLE,
    VALUE,
    FieldType,
    Path,
    Schema,
)
from simgit.storage.base import ReadTxn

Leaves = Any
"""A ``LeafColumn``, or a dict or tuple of them, nested as the fields are."""
Resolve = Callable[[bytes, tuple[int, int, int]], AnyArray]
"""A function that returns the array of an oid, which the state at (line, field, step) refers to."""


_TEXTS: Final = {STR, BYTES, TREE}


@dataclass
class ColumnPlan:
    """The plan of how a path is read: a map or tuple of plans, or one leaf of a kind."""

    path: FieldPath
    kind: str  # "map", "tuple", "dense", "array", "object", "encoded", "presence"
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()
    below: dict[str, ColumnPlan] = field(default_factory=dict)
    variable: bool = False
    inside: FieldPath = ()
    """Of arrays: the path inside each of them, already left out of ``path``."""
    texts: bool = False
    """True if no value is a number."""

    def leaves(self) -> Iterable[ColumnPlan]:
        """Yield the plans that stand for a column each."""
        if self.kind not in ("map", "tuple"):
            yield self
        for plan in self.below.values():
            yield from plan.leaves()

    def assemble(self, columns: dict[FieldPath, LeafColumn]) -> Leaves:
        """Return the column, from those of the leaves."""
        if self.kind == "map":
            return {name: plan.assemble(columns) for name, plan in self.below.items()}
        if self.kind == "tuple":
            return tuple(plan.assemble(columns) for plan in self.below.values())
        return columns[(*self.path, *self.inside)]


def make_plan(schemas: Sequence[Schema], path: FieldPath) -> ColumnPlan:
    """Return the plan for a field that may have several types.

    Raises:
        NotFound: no schema can have the field.
    """
    found = [(schema, *at) for schema in schemas for at in [locate(schema, path)] if at is not None]
    if not found:
        raise no_such_field(schemas, path)
    fields = [schema.fields[index] for schema, index, _ in found]
    insides = {inside for _, _, inside in found}
    types = [kind for _, kind in fields]
    codes = {kind.code for kind in types}
    if insides == {()} and len({name for name, _ in fields}) == 1:
        name = fields[0][0]
        if codes == {MAP}:
            return ColumnPlan(name, "map", below=_below(schemas, name, _names(schemas, name)))
        if codes == {TUPLE} and len({kind.length for kind in types}) == 1:
            names = [str(i) for i in range(types[0].length)]
            return ColumnPlan(name, "tuple", below=_below(schemas, name, names))
    return _leaf(path, fields, insides, codes)


def no_such_field(schemas: Sequence[Schema], path: FieldPath) -> NotFound:
    """Return the error for a field that no state has."""
    known = {path_text(known) for schema in schemas for known, _ in schema.fields}
    near = did_you_mean(path_text(path), known)
    return NotFound(f"no state here has a field '{path_text(path)}'{near}", path=path)


def _names(schemas: Sequence[Schema], path: Path) -> list[str]:
    size = len(path)
    found = {p[size] for s in schemas for p, _ in s.fields if len(p) > size and p[:size] == path}
    return sorted(found, key=str.encode)


def _below(schemas: Sequence[Schema], path: Path, names: Sequence[str]) -> dict[str, ColumnPlan]:
    return {name: make_plan(schemas, (*path, name)) for name in names}


def _leaf(
    path: FieldPath,
    fields: Sequence[tuple[Path, FieldType]],
    insides: set[FieldPath],
    codes: set[int],
) -> ColumnPlan:
    if ARRAY in codes and codes <= {ARRAY, FIXED} and len(insides) == 1:
        (inside,) = insides
        return ColumnPlan(fields[0][0], "array", inside=inside)
    if VALUE not in codes:
        inside = max(insides, key=len)
        types = [element_type(kind, inside) for _, kind in fields] if len(insides) == 1 else [None]
        known = [kind for kind in types if kind is not None]
        dtype = common_dtype([kind.storage_dtype for kind in types if kind is not None])
        if len(known) == len(types) and dtype and len({kind.shape for kind in known}) == 1:
            return ColumnPlan(path, "dense", dtype, known[0].shape)
    variable = not codes <= {NONE, TREE}
    return ColumnPlan(path, "object", variable=variable, texts=codes <= _TEXTS)


class _Inexact(Exception):
    """A value that its column's dtype cannot hold."""


class _Sink(Protocol):
    """A receiver of a field's values, block by block."""

    def add(self, at: int, rows: Rows, line: int, step: int) -> None: ...

    def result(self) -> LeafColumn: ...


class _Dense:
    """One array of a dtype and shape."""

    def __init__(self, plan: ColumnPlan, count: int) -> None:
        assert plan.dtype is not None
        self.path = plan.path
        self.out: AnyArray = np.zeros((count, *plan.shape), plan.dtype)
        self.absent = np.ones(count, bool)

    def add(self, at: int, rows: Rows, line: int, step: int) -> None:
        found = locate(rows.schema, self.path)
        if found is None:
            return
        index, inside = found
        kind = rows.schema.fields[index][1]
        here = self.out[at : at + rows.count]
        self.absent[at : at + rows.count] = ~presence(rows, index)
        stored = kind.storage_dtype  # float64 equals None
        if stored is not None and stored == here.dtype and kind.width and not inside:
            matrix = here.reshape(rows.count, -1).view(np.uint8)
            matrix[:] = rows.field(index)
            return
        exact = cast_exact(row_column(rows, index)[element_index(inside)], here.dtype)
        if exact is None:
            raise _Inexact
        here[...] = exact

    def result(self) -> LeafColumn:
        return LeafColumn(self.out, self.absent)


class _Arrays:
    """Large arrays, or one element of each."""

    def __init__(self, steps: StepRange, txn: ReadTxn, plan: ColumnPlan) -> None:
        self.inside = plan.inside
        self.reader = ArrayReader(steps.odb, txn, plan.path, steps.count)  # type: ignore[arg-type]
        self.add = self.reader.add

    def result(self) -> LeafColumn:
        values, absent = self.reader.result(), ~self.reader.stack.filled
        if not self.inside:
            return LeafColumn(values, absent)
        if isinstance(values, np.ndarray):
            try:
                return LeafColumn(values[element_index(self.inside)].copy(), absent)
            except (IndexError, ValueError):
                return LeafColumn.of_objects([ABSENT] * len(values))
        found = [v if v is None else follow(v, self.inside) for v in values]
        return LeafColumn.of_objects([ABSENT if v is None else v for v in found])


class _Objects:
    """Python values, of any type in each state."""

    def __init__(self, plan: ColumnPlan, count: int, resolve: Resolve) -> None:
        self.path = plan.path
        self.texts = plan.texts
        self.out: list[Any] = [ABSENT] * count
        self.resolve = resolve

    def add(self, at: int, rows: Rows, line: int, step: int) -> None:
        found = locate(rows.schema, self.path)
        if found is None:
            return
        index, inside = found
        here = values(rows, rows.schema.fields[index][0], (line, step), self.resolve, ABSENT)
        if inside:
            here = [value if value is ABSENT else follow(value, inside) for value in here]
        self.out[at : at + rows.count] = here

    def result(self) -> LeafColumn:
        return LeafColumn.of_objects(self.out, numbers=not self.texts)


class _Encoded:
    """Values in their canonical encoding; strings and bytes, where there is nothing else, bare."""

    def __init__(self, plan: ColumnPlan, count: int, resolve: Resolve) -> None:
        self.path = plan.path
        self.bare = plan.texts
        self.out: list[bytes | None] = [None] * count
        self.resolve = resolve

    def add(self, at: int, rows: Rows, line: int, step: int) -> None:
        index = rows.schema.index.get(self.path)  # type: ignore[arg-type]
        if index is None:
            return
        path, kind = rows.schema.fields[index]
        here: list[bytes | None]
        if kind.code == VALUE or (self.bare and kind.variable):
            items = rows.variable[rows.schema.variable.index(index)]
            mask = presence(rows, index).tolist()
            here = [item if there else None for item, there in zip(items, mask, strict=True)]
        else:
            found = values(rows, path, (line, step), self.resolve, ABSENT)
            here = [None if value is ABSENT else encode_value(value) for value in found]
        self.out[at : at + rows.count] = here

    def result(self) -> LeafColumn:
        return LeafColumn(list(self.out), np.array([item is None for item in self.out], bool))


class _Presence:
    """True for each state that has the field; nothing is absent in this column."""

    def __init__(self, plan: ColumnPlan, count: int) -> None:
        self.path = plan.path
        self.out = np.zeros(count, bool)

    def add(self, at: int, rows: Rows, line: int, step: int) -> None:
        index = rows.schema.index.get(self.path)  # type: ignore[arg-type]
        if index is not None:
            self.out[at : at + rows.count] = presence(rows, index)

    def result(self) -> LeafColumn:
        return LeafColumn(self.out, np.zeros(len(self.out), bool))


def values(
    rows: Rows, path: Path, where: tuple[int, int], resolve: Resolve, absent: Any = None
) -> list[Any]:
    """Return a field of rows as Python values.

    Args:
        rows: of one schema that has the field.
        path: of the field.
        where: line and first step of the rows.
        resolve: reads arrays that are not in the rows.
        absent: what stands for the field where a row does not have it.
    """
    index = rows.schema.index[path]
    kind = rows.schema.fields[index][1]
    here = presence(rows, index).tolist()
    if kind.code in (MAP, TUPLE):
        found = _containers(rows, path, kind, where, resolve)
    elif kind.code == NONE:
        found = [None] * rows.count
    elif kind.code in (ARRAY, TREE):
        found = _referred(rows, index, kind, where, resolve)
    else:
        data = row_column(rows, index)
        found = data if kind.variable else _items(data) if kind.code == FIXED else data.tolist()
    return [value if there else absent for value, there in zip(found, here, strict=True)]


def _items(data: AnyArray) -> list[Any]:
    """Return the elements of the first axis as a state has them; see ``as_scalar``."""
    if data.ndim == 1 and data.dtype.kind in "SU":
        return [data[i : i + 1].reshape(()) for i in range(len(data))]
    return list(data)


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


def read_columns(
    steps: StepRange, txn: ReadTxn, paths: Sequence[FieldPath]
) -> dict[FieldPath, Leaves]:
    """Read fields of a range of steps in one go.

    Raises:
        NotFound: no state of the steps has one of the fields.
        IntegrityError: stored bytes are damaged.
    """
    schemas = steps.schemas(txn)
    plans = {path: make_plan(schemas, path) for path in paths}
    leaves = {(*leaf.path, *leaf.inside): leaf for plan in plans.values() for leaf in plan.leaves()}
    done = read_leaves(steps, txn, leaves)
    found = {path: plan.assemble(done) for path, plan in plans.items()}
    for path, column in found.items():
        # inside of values only the values say
        if isinstance(column, LeafColumn) and column.is_empty and not is_field(schemas, path):
            raise no_such_field(schemas, path)
    return found


def is_field(schemas: Iterable[Schema], path: FieldPath) -> bool:
    """Return True if a path is a field, or a part of a small array, by a schema alone."""
    located = ((schema, locate(schema, path)) for schema in schemas)
    return any(
        element_type(schema.fields[at[0]][1], at[1]) is not None for schema, at in located if at
    )


def is_map(schemas: Sequence[Schema], path: FieldPath) -> bool:
    """Return True if the column of a field is a dict of columns."""
    located = [(schema, locate(schema, path)) for schema in schemas]
    return any(at for _, at in located) and all(
        at is None or (not at[1] and schema.fields[at[0]][1].code == MAP) for schema, at in located
    )


def read_leaves(
    steps: StepRange, txn: ReadTxn, leaves: dict[FieldPath, ColumnPlan]
) -> dict[FieldPath, LeafColumn]:
    """Read columns whose plans are known, such as those of a longer range; keys are free."""
    sinks = {path: _sink(steps, txn, leaf) for path, leaf in leaves.items()}
    variable = any(leaf.variable for leaf in leaves.values())
    inexact: dict[FieldPath, ColumnPlan] = {}
    for line, step, rows in steps.rows(txn, variable) if sinks else ():
        for path in list(sinks):
            try:
                sinks[path].add(step - steps.start, rows, line, step)
            except _Inexact:
                del sinks[path]
                inexact[path] = ColumnPlan(leaves[path].path, "object", variable=True)
    done = {path: sink.result() for path, sink in sinks.items()}
    if inexact:
        done |= read_leaves(steps, txn, inexact)
    return done


def _sink(steps: StepRange, txn: ReadTxn, leaf: ColumnPlan) -> _Sink:
    if leaf.kind == "dense":
        return _Dense(leaf, steps.count)
    if leaf.kind == "array":
        return _Arrays(steps, txn, leaf)
    if leaf.kind == "presence":
        return _Presence(leaf, steps.count)
    sink = _Encoded if leaf.kind == "encoded" else _Objects
    return sink(leaf, steps.count, lambda oid, hint: steps.odb.array(txn, oid, hint))


def read_forms(steps: StepRange, txn: ReadTxn, path: Path) -> set[ArrayForm]:
    """Return the dtypes and shapes of the arrays of a field, which are not decoded."""
    reader = ArrayReader(steps.odb, txn, path, steps.count)
    for line, step, rows in steps.rows(txn, variable=False):
        reader.add(step - steps.start, rows, line, step)
    return reader.forms()


def read_presence(steps: StepRange, txn: ReadTxn, path: FieldPath) -> Mask | None:
    """Return for each state whether it has a field (False if none can have it).

    None if that is not in the rows' presence bits, because the path goes on inside values.
    """
    for schema in steps.schemas(txn):
        found = locate(schema, path)
        if found and found[1] and schema.fields[found[0]][1].code != FIXED:
            return None
    out = np.zeros(steps.count, bool)
    for _, step, rows in steps.rows(txn, variable=False):
        found = locate(rows.schema, path)
        if found and element_type(rows.schema.fields[found[0]][1], found[1]) is not None:
            at = step - steps.start
            out[at : at + rows.count] = presence(rows, found[0])
    return out
