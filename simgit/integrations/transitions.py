"""The transitions of a recorded history, and the columns of replay buffers predicted from them.

A transition is a step of an environment: the state that it led to, and the one before. Resets are
states, and no transitions. A *role* says which part of a transition a column of a buffer holds,
and how: ``observation``, ``next_observation.image``, ``reward``, ``timeout``, ….
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.objects.oid import Oid
from simgit.repository import Repository

AnyArray = np.ndarray[Any, Any]
Ints = npt.NDArray[np.int64]
CHUNK: Final = 2048
"""The most transitions that are read at once."""
ZERO: Final = "zero"
"""The role of a column that holds nothing, such as the timeouts of a buffer without any."""
_SCALED, _ONE_HOT = "scaled_", "one_hot_"
_CONTENTS: Final = ("observation", "action", "reward", "terminated", "truncated")


class RecordedTransitions:
    """The transitions of the first-parent history of a state, by the step that each led to.

    Attributes:
        tip: the newest state.
    """

    def __init__(
        self, repo: Repository, tip: Oid, older: RecordedTransitions | None = None
    ) -> None:
        """Take the history of a state; nothing is read yet.

        Args:
            repo: the repository.
            tip: the state.
            older: those of an earlier state, which need not be looked for again.

        Raises:
            NotFound: no such state.
        """
        self.tip = tip
        self._states = repo.trajectory(tip)
        self._first = len(self._states)  # of the states whose kind is known
        self._steps = np.zeros(0, np.int64)
        end = 0 if older is None else len(older._states)
        if older is not None and 0 < end <= self._first and self._states[end - 1].oid == older.tip:
            self._extend(end)
            self._steps = np.concatenate([older._steps, self._steps])
            self._first = older._first

    def newest(self, count: int) -> Ints:
        """Return the steps of the newest ``count`` transitions or more, in order; all if fewer."""
        while len(self._steps) < count and self._first > 0:
            self._extend(max(0, self._first - 64 - (count - len(self._steps)) * 9 // 8))
        return self._steps

    def between(self, first: int, stop: int) -> Ints:
        """Return the steps of the transitions with ``first`` <= step < ``stop``."""
        if first < self._first:
            self._extend(max(0, first))
        inside = slice(*np.searchsorted(self._steps, (first, stop)))
        return self._steps[inside]

    def _extend(self, first: int) -> None:
        part = self._states[first : self._first]
        found = np.flatnonzero(~part.episode_starts) + first
        self._steps = np.concatenate([found, self._steps])
        self._first = first

    def read(self, steps: Ints) -> dict[str, AnyArray]:
        """Return the parts of some transitions by role, arrays of shape (n, …).

        Args:
            steps: ascending; what lies between them is read too.
        """
        first, last = int(steps[0]) - 1, int(steps[-1])
        part = self._states[first : last + 1]
        names = [name for name in _CONTENTS if part.has(name)]
        columns = dict(zip(names, part.columns(*names), strict=True))
        after = steps - first
        found: dict[str, AnyArray] = {}
        for path, values in _leaves(columns.get("observation"), "observation"):
            found[path] = values[after - 1]
            found[f"next_{path}"] = values[after]
        for path, values in _leaves(columns.get("action"), "action"):
            found[path] = values[after]
        for path, values in _leaves(columns.get("reward"), "reward"):
            found[path] = values[after]
        ends = [
            np.asarray(np.ma.filled(columns[name], False), bool)[after]
            if name in columns
            else np.zeros(len(after), bool)
            for name in ("terminated", "truncated")
        ]
        found["terminated"], found["truncated"] = ends
        found["done"] = ends[0] | ends[1]
        found["timeout"] = ends[1] & ~ends[0]
        found["not_terminated"], found["not_done"] = ~ends[0], ~found["done"]
        found["start"] = part.episode_starts[after - 1]
        return found


def _leaves(column: Any, path: str) -> Iterator[tuple[str, AnyArray]]:
    """Yield the columns of numbers in a nested column, by path."""
    if isinstance(column, dict):
        for name, inner in column.items():
            yield from _leaves(inner, f"{path}.{name}")
    elif isinstance(column, tuple):
        for number, inner in enumerate(column):
            yield from _leaves(inner, f"{path}.{number}")
    elif isinstance(column, np.ndarray) and column.dtype.kind in "biufc":
        yield path, np.ma.getdata(column)


def roles(parts: dict[str, AnyArray], column: AnyArray, bounds: Any = None) -> list[str]:
    """Return the roles that a column of a buffer may have, by its shape, the usual ones first.

    Args:
        parts: the parts of some transitions, see ``RecordedTransitions.read``.
        column: the column, of shape (n, …).
        bounds: the least and greatest actions, if the buffer scales actions to -1 … 1.
    """
    size = int(np.prod(column.shape[1:], dtype=np.int64))
    found = [role for role, values in parts.items() if int(values[:1].size) == size]
    if bounds is not None:
        found += [_SCALED + role for role in found if role == "action"]
    if size > 1:
        found += [
            _ONE_HOT + role
            for role, values in parts.items()
            if role.startswith("action") and values[:1].size == 1 and values.dtype.kind in "iu"
        ]
    return [*found, ZERO]


def predicted(
    role: str, parts: dict[str, AnyArray], column: AnyArray, bounds: Any = None
) -> AnyArray | None:
    """Return what a column of a role holds for some transitions, None if it has no such shape."""
    shape, count = column.shape[1:], len(parts["done"])
    if role == ZERO:
        return np.zeros((count, *shape), column.dtype)
    is_hot, is_scaled = role.startswith(_ONE_HOT), role.startswith(_SCALED)
    values = parts.get(role.removeprefix(_ONE_HOT).removeprefix(_SCALED))
    if values is None or (is_scaled and bounds is None):
        return None
    if is_hot:
        size = int(np.prod(shape, dtype=np.int64))
        values = values.reshape(-1, 1) == np.arange(size)
    if is_scaled:
        low, high = bounds
        values = 2.0 * ((values - low) / (high - low)) - 1.0
    if values[:1].size != int(np.prod(shape, dtype=np.int64)):
        return None
    with np.errstate(all="ignore"):
        return values.reshape(count, *shape).astype(column.dtype)


def differing(one: AnyArray, other: AnyArray) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows of two arrays that are not the same bit by bit, shape (n,)."""
    if not len(one) or not one[:1].size:
        return np.zeros(len(one), bool)
    found: npt.NDArray[np.bool_] = (_bits(one) != _bits(other)).any(axis=1)
    return found


def _bits(values: AnyArray) -> AnyArray:
    """Return the rows of an array as unsigned numbers, as wide as they can be, shape (n, k)."""
    rows = np.ascontiguousarray(values).reshape(len(values), -1)
    size = rows.shape[1] * rows.dtype.itemsize
    width = next(each for each in (8, 4, 2, 1) if size % each == 0)
    return rows.view(np.uint8).view(f"u{width}")


def row_keys(columns: list[AnyArray]) -> npt.NDArray[np.uint64]:
    """Return a number of 64 bits for each row of some columns; equal rows have equal numbers."""
    keys = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        for word in _bits(column).T.astype(np.uint64):
            keys = (keys ^ word) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
    return keys
