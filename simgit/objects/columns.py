"""Batches of new states, as columns of coerced values.

For each top-level field there is a list of coerced values, one a state, with None or ``ABSENT``
where the state has none (or an ``ArrayColumn`` or ``DenseColumn``, where all are arrays of one
dtype and shape): everything is then done column by column, since a Python call a state and field
would cost more than the hashing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import InvalidInput
from simgit.objects.arrays import AnyArray
from simgit.objects.lazy_numpy import np

if TYPE_CHECKING:
    import numpy.typing as npt

FIELDS: Final = (
    "observation", "action", "reward", "terminated", "truncated",
    "info", "reset", "files", "message", "rewards", "forms",
)  # fmt: skip
"""The top-level fields, in the order in which recorders keep them."""


class _Absent:
    """The type of ``ABSENT``."""

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = _Absent()


class ArrayColumn:
    """A column whose values are arrays of one dtype and shape, as raw bytes of each."""

    __slots__ = ("chunks", "dtype", "shape")
    rows = None  # all states have a value

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...], chunks: list[bytes]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.chunks = chunks

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, i: int) -> AnyArray:
        return np.frombuffer(self.chunks[i], self.dtype).reshape(self.shape)

    def slice(self, start: int, stop: int) -> ArrayColumn:
        """Return a slice of the column."""
        return ArrayColumn(self.dtype, self.shape, self.chunks[start:stop])

    def values(self) -> list[AnyArray]:
        """Return the arrays one by one."""
        return [self[i] for i in range(len(self.chunks))]

    def present(self) -> AnyArray:
        """Return one array with a leading axis for the states."""
        flat = np.frombuffer(b"".join(self.chunks), self.dtype)
        return flat.reshape(len(self.chunks), *self.shape)


class DenseColumn:
    """A column given as one array with a leading axis for the states.

    ``rows`` lists the states that have a value, if not all have.
    """

    __slots__ = ("data", "rows")

    def __init__(self, data: AnyArray, rows: npt.NDArray[np.intp] | None = None) -> None:
        self.data = data
        self.rows = rows

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Any:
        return ABSENT if self.rows is not None and i not in self.rows else self.data[i]

    def slice(self, start: int, stop: int) -> DenseColumn:
        """Return a slice of the column."""
        rows = self.rows
        if rows is not None:
            rows = rows[(rows >= start) & (rows < stop)] - start
        return DenseColumn(self.data[start:stop], rows)

    def values(self) -> list[Any]:
        """Return the elements one by one, as NumPy scalars or arrays."""
        if self.rows is None:
            return list(self.data)
        values: list[Any] = [ABSENT] * len(self.data)
        for row in self.rows.tolist():
            values[row] = self.data[row]
        return values

    def present(self) -> AnyArray:
        """Return the values of the states that have one."""
        return self.data if self.rows is None else self.data[self.rows]


Column = list[Any] | ArrayColumn | DenseColumn


Columns = Mapping[str, Column]


_RESERVED: Final = {"reward": float, "terminated": bool, "truncated": bool}


def row_value(columns: Columns, i: int) -> dict[str, Any]:
    """Return the value of one state: a dict of the top-level fields that it has."""
    found = {name: column[i] for name, column in columns.items()}
    return {
        name: _RESERVED[name](value) if name in _RESERVED else value
        for name, value in found.items()
        if value is not ABSENT and value is not None
    }


def slice_columns(columns: Columns, start: int, stop: int) -> Columns:
    """Return a slice of the columns."""
    return {
        name: column[start:stop] if isinstance(column, list) else column.slice(start, stop)
        for name, column in columns.items()
    }


def check_columns(columns: Columns) -> int:
    """Return the number of states in the columns.

    Raises:
        InvalidInput: the columns have different lengths.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise InvalidInput(f"columns must be equally long, got {sorted(lengths)}")
    return lengths.pop() if lengths else 0
