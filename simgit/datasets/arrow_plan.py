"""Which Arrow columns the fields of some states become; where schemas do not tell, by a look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from simgit.datasets.arrow_columns import (
    PRESENT,
    ArrowColumn,
    NullColumn,
    NumberColumn,
    OidColumn,
    RaggedColumn,
    StructColumn,
    TextColumn,
    ValueType,
)
from simgit.history.array_reader import ArrayForm
from simgit.history.column_reader import ColumnPlan, make_plan, no_such_field
from simgit.history.leaf_column import common_dtype
from simgit.history.paths import FieldPath, as_path, path_text
from simgit.history.planned_columns import array_forms, planned_columns, schemas_of
from simgit.history.trajectory import Trajectory
from simgit.objects.columns import ABSENT, FIELDS
from simgit.objects.schema import (
    ARRAY,
    BOOL,
    BYTES,
    COMPLEX,
    FIXED,
    FLOAT,
    INT,
    MAP,
    NONE,
    STR,
    TREE,
    TUPLE,
    FieldType,
    Schema,
    as_numeric,
)

_LOOK: Final = 16384
"""States of which the values are looked at together."""
_EXACT: Final = 1 << 53
"""The magnitude up to which integers are exact in float64."""
_NUMBERS: Final = {BOOL, INT, FLOAT, COMPLEX, FIXED}


def plan_columns(
    ranges: Sequence[Trajectory], fields: Sequence[str] | None, exact: bool
) -> list[ArrowColumn]:
    """Return the columns of a table; see ``ArrowTable``."""
    planner = _Planner(ranges, exact)
    if fields is not None:
        return [planner.named(as_path(name)) for name in dict.fromkeys(fields)]
    tops = {path[0] for schema in planner.schemas for path, _ in schema.fields}
    if not exact:
        tops.discard("forms")
    order = {name: i for i, name in enumerate(FIELDS)}
    tops_in_order = sorted(tops, key=lambda name: (order.get(name, len(order)), name))
    return [planner.field((name,)) for name in tops_in_order]


class _Seen:
    """The types of the values of a field, as they are looked at."""

    def __init__(self) -> None:
        self.forms: set[ArrayForm] = set()
        self.largest = 0
        self.kinds: set[type] = set()  # of what is no number
        self.absent = False

    def add(self, values: Sequence[Any]) -> None:
        """Note some values."""
        for value in values:
            if value is ABSENT:
                self.absent = True
                continue
            array = None if value is None else as_numeric(value)
            if array is None:
                self.kinds.add(type(value))
                continue
            self.forms.add((array.dtype, array.shape))
            if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size:
                self.largest = max(self.largest, int(array.max()), -int(array.min()))

    @property
    def number(self) -> ArrayForm | None:
        """The dtype and shape that hold all values, if they are numbers (or None)."""
        shapes = {shape for _, shape in self.forms}
        if self.kinds - {type(None)} or len(shapes) != 1:
            return None
        dtypes = [dtype for dtype, _ in self.forms]
        dtype = common_dtype(dtypes)
        mixed = len(set(dtypes)) > 1 and dtype is not None and dtype.kind in "fc"
        return None if dtype is None or (mixed and self.largest > _EXACT) else (dtype, shapes.pop())


class _Planner:
    def __init__(self, ranges: Sequence[Trajectory], exact: bool) -> None:
        self.ranges = [states for states in ranges if len(states)] or list(ranges)[:1]
        self.exact = exact
        found = {schema.oid: schema for states in self.ranges for schema in schemas_of(states)}
        self.schemas: list[Schema] = list(found.values())

    def named(self, path: FieldPath) -> ArrowColumn:
        """Return the column of a field that was asked for."""
        if any(path in schema.index for schema in self.schemas):
            return self.field(path, path_text(path))  # type: ignore[arg-type]
        plan = make_plan(self.schemas, path)
        if plan.kind == "dense" and plan.dtype is not None:
            return NumberColumn(path_text(path), plan, plan.dtype, plan.shape, self.exact)
        if plan.kind == "array":
            plan = ColumnPlan(path, "object", variable=True)
        seen = self._look(plan)
        if not seen.forms and not seen.kinds:
            raise no_such_field(self.schemas, path)
        return self._typed(path_text(path), plan, seen)

    def field(self, path: tuple[str, ...], name: str = "") -> ArrowColumn:
        """Return the column of a field of the schemas."""
        name = name or path[-1]
        types = [s.fields[s.index[path]][1] for s in self.schemas if path in s.index]
        codes = {kind.code for kind in types}
        if codes == {MAP} or (codes == {TUPLE} and len({kind.length for kind in types}) == 1):
            return self._struct(path, name, types[0])
        if codes <= {STR} or codes <= {BYTES}:
            kind = pa.large_string() if codes == {STR} else pa.large_binary()
            return TextColumn(
                name, ColumnPlan(path, "encoded", variable=True, texts=True), kind, False
            )
        if codes == {NONE}:
            return NullColumn(name, path, self._is_absent(path))
        if codes == {TREE}:
            return OidColumn(name, path)
        if codes <= _NUMBERS | {ARRAY}:
            found = self._numbers(path, name, types, codes)
            if found is not None:
                return found
        return self._value(path, name)

    def _struct(self, path: tuple[str, ...], name: str, kind: FieldType) -> ArrowColumn:
        size = len(path)
        names = {
            below[size]
            for schema in self.schemas
            for below, _ in schema.fields
            if len(below) > size and below[:size] == path
        }
        order = sorted(names, key=int) if kind.code == TUPLE else sorted(names, key=str.encode)
        return StructColumn(name, path, [self.field((*path, each)) for each in order])

    def _numbers(
        self, path: tuple[str, ...], name: str, types: Sequence[FieldType], codes: set[int]
    ) -> ArrowColumn | None:
        """Return a column of numbers or arrays, None if no dtype holds all of them."""
        if ARRAY not in codes:
            plan = make_plan(self.schemas, path)
            if self.exact and any(_needs_value(kind.storage_dtype, kind.shape) for kind in types):
                return None
            floats = {d for kind in types if (d := kind.storage_dtype) and d.kind in "fc"}
            if self.exact and len(floats) > 1:  # a cast may change the bits of NaN
                return None
            if plan.kind == "dense" and plan.dtype is not None and self._holds(plan, types):
                return NumberColumn(name, plan, plan.dtype, plan.shape, self.exact)
            forms = {(kind.storage_dtype, kind.shape) for kind in types}
        else:
            forms = {form for part in self._parts() for form in array_forms(part, path)}
            forms = forms or {(np.dtype(float), ())}  # no state has one
        dtypes = {dtype for dtype, _ in forms}
        plan = ColumnPlan(path, "array")
        if len(dtypes) != 1 or (dtype := dtypes.pop()) is None:
            return None
        if self.exact and any(_needs_value(dtype, shape) for _, shape in forms):
            return None
        if len(forms) == 1:
            return NumberColumn(name, plan, dtype, next(iter(forms))[1], self.exact)
        return RaggedColumn(name, plan, dtype)

    def _holds(self, plan: ColumnPlan, types: Sequence[FieldType]) -> bool:
        """Return True if a dtype holds all values; only large integers must be looked at."""
        dtypes = {kind.storage_dtype for kind in types}
        wide = any(
            dtype is not None and dtype.kind in "iu" and dtype.itemsize == 8 for dtype in dtypes
        )
        if len(dtypes) == 1 or plan.dtype is None:
            return True
        if not self.exact and (not wide or plan.dtype.kind not in "fc"):
            return True
        return all(
            planned_columns(part, {plan.path: plan})[plan.path].objects is None
            for part in self._parts()
        )

    def _value(self, path: tuple[str, ...], name: str) -> ArrowColumn:
        """Return the column of a field whose values have no type of their own."""
        if not self.exact:
            plan = ColumnPlan(path, "object", variable=True)
            found = self._typed(name, plan, self._look(plan))
            if not isinstance(found, TextColumn) or not isinstance(found.type, ValueType):
                return found
        return TextColumn(name, ColumnPlan(path, "encoded", variable=True), ValueType(), False)

    def _typed(self, name: str, plan: ColumnPlan, seen: _Seen) -> ArrowColumn:
        """Return the column of values after a look at them; None reads as null."""
        both = seen.absent and type(None) in seen.kinds
        rest = seen.kinds - {type(None)}
        if seen.number is not None:
            return NumberColumn(name, plan, *seen.number, self.exact, both)
        texts = ColumnPlan(plan.path, "object", variable=True, texts=True)
        if rest and not seen.forms and (rest <= {str} or rest <= {bytes}):
            kind = pa.large_string() if rest == {str} else pa.large_binary()
            return TextColumn(name, texts, kind, both)
        if not rest and not seen.forms:
            return NullColumn(name, plan.path, both)
        return TextColumn(name, texts, ValueType(), False)

    def _look(self, plan: ColumnPlan) -> _Seen:
        """Look at all values of a field."""
        seen = _Seen()
        look = ColumnPlan(plan.path, "object", variable=True, texts=True)
        for part in self._parts():
            leaf = planned_columns(part, {plan.path: look})[plan.path]
            seen.add(leaf.objects or [])
        return seen

    def _is_absent(self, path: FieldPath) -> bool:
        """Return True if a field is absent in some state, but (unless exact) not in all."""
        key = (*path, PRESENT)
        plan = ColumnPlan(path, "presence")
        found = [
            np.asarray(planned_columns(part, {key: plan})[key].values) for part in self._parts()
        ]
        if all(mask.all() for mask in found):
            return False
        return self.exact or any(mask.any() for mask in found)

    def _parts(self) -> list[Trajectory]:
        return [
            states[at : at + _LOOK] for states in self.ranges for at in range(0, len(states), _LOOK)
        ]


def _needs_value(dtype: np.dtype[Any] | None, shape: tuple[int, ...]) -> bool:
    """Return True for elements that Arrow or Parquet cannot give back bit by bit.

    These are texts of any code points, dates of days (NaT would be null) and of seconds (Parquet
    has milliseconds), and no elements at all.
    """
    coarse = dtype is not None and dtype.kind in "mM" and np.datetime_data(dtype)[0] in ("D", "s")
    return dtype is None or dtype.kind in "SU" or coarse or 0 in shape
