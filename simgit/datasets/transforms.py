"""Named transforms of fields, with the numbers that they need, and statistics to get these from.

A transform is a name of the list below and numbers: nothing of a store is executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput, near_or_known, shown
from simgit.history.column_reader import Leaves
from simgit.history.leaf_column import Column, LeafColumn
from simgit.history.paths import FieldPath, as_path, path_text
from simgit.objects.oid import Oid
from simgit.objects.schema import as_numeric

KINDS: Final = ("standardise", "normalise", "scale", "clip")
FITTED: Final = ("standardise", "normalise")
_NEEDS: Final = {
    "standardise": ("mean", "std"), "normalise": ("min", "max"), "scale": ("factor", "offset"),
    "clip": ("low", "high"),
}  # fmt: skip
Numbers = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Transform:
    """A named change of one field, and of all numbers in it.

    ``standardise`` gives (x − mean) / std, ``normalise`` (x − min) / (max − min), ``scale``
    x · factor + offset, ``clip`` min(max(x, low), high). A std or a range of 0 counts as 1.
    Results are float32, of numbers of 8 bytes float64; clipping keeps the dtype if it holds them.

    Attributes:
        kind: one of these.
        path: the field.
        numbers: for each part of the field (``""`` for itself) its numbers by name; those that
            are not fitted are the same for all parts.
        of: the oids that fitted numbers came from: of the dataset's definition, and of the newest
            states of its sources.
    """

    kind: str
    path: FieldPath
    numbers: Mapping[str, Numbers]
    of: tuple[Oid, ...] = ()

    def apply(self, column: Column, rest: FieldPath) -> Column:
        """Return a changed column; values without numbers are left as they are.

        Raises:
            InvalidInput: the numbers are of another shape than the values, or these are of several
                shapes or types.
        """
        numbers = self.numbers.get(path_text(rest) if self.kind in FITTED else "")
        if isinstance(column, list) and holds_numbers(column):
            raise several_forms((*self.path, *rest))
        if numbers is None or not isinstance(column, np.ndarray) or column.dtype.kind not in "biuf":
            return column
        wide = np.float64 if column.dtype.itemsize == 8 else np.float32
        exact = [np.asarray(numbers[name], np.float64) for name in _NEEDS[self.kind]]
        with np.errstate(over="ignore"):
            first, second = (each.astype(wide) for each in exact)
        for shape in (first.shape, second.shape):
            if shape != column.shape[column.ndim - len(shape) :]:
                raise InvalidInput(
                    f"'{self.kind}' of '{path_text(self.path)}' is for values of shape {shape}, "
                    f"got a column of shape {column.shape}"
                )
        if self.kind == "clip":
            bounds = [_bound(each, column.dtype) for each in exact]
            if bounds[0] is not None and bounds[1] is not None:
                return np.clip(column, *bounds)
        given: Any = column.astype(wide)
        if self.kind == "clip":
            return np.clip(given, first, second)
        if self.kind == "scale":
            return given * first + second
        width: Any = second if self.kind == "standardise" else np.subtract(second, first)
        return (given - first) / np.where(width == 0, wide(1), width)

    def value(self) -> dict[str, Any]:
        """Return the transform as a plain value."""
        numbers = {part: dict(each) for part, each in self.numbers.items()}
        return {"kind": self.kind, "field": list(self.path), "numbers": numbers,
                "of": [bytes(oid) for oid in self.of]}  # fmt: skip

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Transform:
        """Return the transform of a plain value; KeyError and TypeError where it is malformed."""
        kind = value["kind"]
        if kind not in KINDS:
            raise InvalidInput(f"unknown transform {shown(kind)}")
        numbers = {
            str(part): {name: np.asarray(each[name], np.float64) for name in _NEEDS[kind]}
            for part, each in value["numbers"].items()
        }
        return cls(kind, as_path(tuple(value["field"])), numbers, tuple(map(Oid, value["of"])))


def make_transform(
    kind: str,
    field: str,
    parameters: Mapping[str, float],
    stats: Mapping[str, Any],
    of: Sequence[Oid],
) -> Transform:
    """Return a transform of a field.

    Args:
        kind: its name.
        field: the field.
        parameters: the numbers of one that is not fitted.
        stats: statistics by the parts of the field.
        of: where the statistics came from.

    Raises:
        InvalidInput: the name is unknown, or the numbers are not those that it needs.
    """
    if kind not in KINDS:
        raise InvalidInput(f"unknown transform '{kind}'{near_or_known(kind, KINDS)}")
    names = _NEEDS[kind]
    path = as_path(field)
    if kind in FITTED:
        if parameters:
            raise InvalidInput(f"'{kind}' takes its numbers from the data")
        if not stats:
            raise InvalidInput(f"field '{field}' has no numbers to fit '{kind}' to")
        parts = {part: {name: each[name] for name in names} for part, each in stats.items()}
        return Transform(kind, path, parts, tuple(of))
    if set(parameters) - set(names) or names[0] not in parameters:
        raise InvalidInput(f"'{kind}' needs {' and '.join(names)}, got {shown(sorted(parameters))}")
    if kind == "clip" and names[1] not in parameters:
        raise InvalidInput(f"'{kind}' needs {' and '.join(names)}")
    given = {name: np.asarray(parameters.get(name, 0.0), np.float64) for name in names}
    if any(np.isnan(each) for each in given.values()):
        raise InvalidInput(f"'{kind}' needs numbers that are not NaN")
    if kind == "clip" and given["low"] > given["high"]:
        raise InvalidInput("'clip' needs a low that is not above high")
    return Transform(kind, path, {"": given})


def _bound(number: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> Any:
    """Return a bound in the dtype of a column, None if it has to become one of floats for it."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            found = number.astype(dtype)
        return found if (np.isinf(found) == np.isinf(number)).all() else None
    if dtype.kind == "b" or not (np.isinf(number) | (number == np.floor(number))).all():
        return None
    least, most = (dtype.type(each) for each in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    low, high = number <= float(least), number >= float(most)
    inside = np.where(low | high, 0, number).astype(dtype)
    return np.where(low, least, np.where(high, most, inside))


def holds_numbers(column: Sequence[Any]) -> bool:
    """Return True if there is a number or an array in a column that is a list, nested or not."""
    return any(
        holds_numbers(each) if isinstance(each, list) else as_numeric(each) is not None
        for each in column
    )


def several_forms(path: FieldPath) -> InvalidInput:
    """Return the error for a field that cannot be calculated with."""
    return InvalidInput(
        f"field '{path_text(path)}' has values of several shapes or types; "
        "choose other fields, or a condition"
    )


def changed(column: Column, path: FieldPath, transforms: Sequence[Transform]) -> Column:
    """Return a column, nested or not, after the transforms of its field and of what is in it."""
    if isinstance(column, dict):
        return {name: changed(below, (*path, name), transforms) for name, below in column.items()}
    if isinstance(column, tuple):
        return tuple(changed(each, (*path, str(i)), transforms) for i, each in enumerate(column))
    for each in transforms:
        if path[: len(each.path)] == each.path:
            column = each.apply(column, path[len(each.path) :])
    return column


class Moments:
    """Count, mean, variance and bounds of arrays that come piece by piece."""

    def __init__(self) -> None:
        self.count = 0
        self.shape: tuple[int, ...] | None = None
        self._mean: Any = 0.0
        self._squares: Any = 0.0
        self._low: Any = np.inf
        self._high: Any = -np.inf

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take values with a leading axis into account.

        Raises:
            ValueError: they are of another shape than those before.
        """
        if not len(values):
            return
        if self.shape not in (None, values.shape[1:]):
            raise ValueError(f"shape {values.shape[1:]} after {self.shape}")
        self.shape = values.shape[1:]
        data = values.astype(np.float64)
        count = len(data)
        with np.errstate(all="ignore"):
            mean = data.mean(axis=0)
            squares = ((data - mean) ** 2).sum(axis=0)
            apart = mean - self._mean
            total = self.count + count
            self._squares = self._squares + squares + apart**2 * (self.count * count / total)
            self._mean = self._mean + apart * (count / total)
            self._low = np.minimum(self._low, data.min(axis=0))
            self._high = np.maximum(self._high, data.max(axis=0))
        self.count = total

    def result(self) -> dict[str, Any]:
        """Return ``count``, and arrays ``mean``, ``std``, ``min`` and ``max``."""
        with np.errstate(all="ignore"):
            std = np.sqrt(self._squares / max(1, self.count))
        found = {"mean": self._mean, "std": std, "min": self._low, "max": self._high}
        return {"count": self.count, **{name: np.asarray(each) for name, each in found.items()}}


def leaves_of(column: Leaves, path: FieldPath = ()) -> Iterator[tuple[FieldPath, LeafColumn]]:
    """Yield the leaves of a nested column with their paths."""
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(column, dict):
        inner = column.items()
    elif isinstance(column, tuple):
        inner = ((str(i), each) for i, each in enumerate(column))
    else:
        yield path, column
    for name, below in inner:
        yield from leaves_of(below, (*path, name))


def moments_of(
    leaves: Iterable[tuple[FieldPath, LeafColumn]], transforms: Sequence[Transform] | None
) -> dict[FieldPath, Moments]:
    """Return the moments of all numbers in leaves.

    Args:
        leaves: columns with their paths; a path may come several times.
        transforms: what the numbers go through first, to fit another one to them; None for
            statistics, which leave out fields whose arrays are of several shapes everywhere.

    Raises:
        InvalidInput: a field has values of several shapes or types.
    """
    found: dict[FieldPath, Moments] = {}
    mixed: set[FieldPath] = set()
    for path, leaf in leaves:
        if isinstance(leaf.values, list):
            mixed |= {path} if holds_numbers(leaf.values) else set()
            continue
        values = changed(leaf.values[~leaf.absent], path, transforms or ())
        if values.dtype.kind in "biuf":
            try:
                found.setdefault(path, Moments()).add(values)
            except ValueError:
                raise several_forms(path) from None
    for path in mixed if transforms is not None else mixed & found.keys():
        raise several_forms(path)
    return found
