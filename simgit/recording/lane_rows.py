"""Rows of all lanes: what a step is kept as, and the columns of each lane that many rows make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from simgit.objects.columns import ArrayColumn, Column, Columns, DenseColumn
from simgit.objects.schema import FIXED_LIMIT

EMPTY: Final[dict[str, Any]] = {}
"""The info of states that have an empty one, and a reset's mark without seed and options."""
NONE: Final[Mapping[int, Any]] = {}
"""The marks of a row in which no lane is reset."""
Outcomes = tuple[bytes, bytes, bytes]
"""The bytes of arrays of shape (lanes,): rewards of float64, and of bool terminated, truncated."""


Row = tuple[
    bytes, Sequence[Any], bytes, bytes, bytes, Mapping[int, dict[Any, Any]] | None,
    Mapping[int, Any], Sequence[int],
]  # fmt: skip
"""A state of each lane: its observations, actions, outcomes, infos, resets; the lanes without one.

It is of what the garbage collector does not look at, where it can be: rows are many.
"""
RESETS: Final = 6
WITHOUT: Final = 7


class LaneColumns:
    """The columns of lanes in rows of one form: made for all lanes at once where they can."""

    def __init__(
        self, rows: Sequence[Row], dtype: np.dtype[Any], shape: tuple[int, ...], lanes: int
    ) -> None:
        """Take rows, at least one, and the dtype and shape of the observations of one lane."""
        raws, actions, rewards, terminated, truncated, infos, resets, without = zip(
            *rows, strict=True
        )
        self._count = count = len(rows)
        self._dtype, self._shape, self._raws = dtype, shape, raws
        self._size = len(raws[0]) // lanes
        self._dense: Any = None
        if self._size < FIXED_LIMIT:  # others are objects of their own
            self._dense = np.frombuffer(b"".join(raws), dtype).reshape(count, lanes, *shape)
        self._actions = _stacked(actions)
        self._outcomes: dict[str, Any] = {
            "reward": np.frombuffer(b"".join(rewards), "f8").reshape(count, lanes),
            # a byte of a bool may be any but 0
            "terminated": np.frombuffer(b"".join(terminated), "u1").reshape(count, lanes) != 0,
            "truncated": np.frombuffer(b"".join(truncated), "u1").reshape(count, lanes) != 0,
        }
        self._infos = [(row, each) for row, each in enumerate(infos) if each]
        self._resets = [(row, each) for row, each in enumerate(resets) if each]
        self._without = [(row, each) for row, each in enumerate(without) if each]

    def of(self, lane: int) -> tuple[Columns, int]:
        """Return the columns of a lane, and the number of its states."""
        marks = {row: each[lane] for row, each in self._resets if lane in each}
        missing = [row for row, each in self._without if lane in each]
        rows = np.delete(np.arange(self._count), missing) if missing else None
        numbers: Sequence[int] = range(self._count) if rows is None else rows.tolist()
        stepped = None
        if marks:
            is_step = np.ones(self._count, bool)
            is_step[list(marks)] = False
            stepped = np.flatnonzero(is_step if rows is None else is_step[rows])
        columns: dict[str, Column] = {"observation": self._observations(lane, rows, numbers)}
        if stepped is None or len(stepped):
            columns |= self._acted(lane, rows, numbers, marks, stepped)
        infos = [EMPTY] * self._count
        for row, each in self._infos:
            infos[row] = each.get(lane) or EMPTY
        columns["info"] = infos if rows is None else [infos[row] for row in numbers]
        if marks:
            columns["reset"] = list(map(marks.get, numbers))
        return columns, len(numbers)

    def _observations(self, lane: int, rows: Any, numbers: Sequence[int]) -> Column:
        if self._dense is not None:
            return DenseColumn(_of_lane(self._dense, lane, rows))
        first, last = lane * self._size, (lane + 1) * self._size
        raws = self._raws
        return ArrayColumn(self._dtype, self._shape, [raws[row][first:last] for row in numbers])

    def _acted(
        self, lane: int, rows: Any, numbers: Sequence[int], marks: Mapping[int, Any], stepped: Any
    ) -> dict[str, Column]:
        """Return the columns of what only the states of steps have."""
        found: dict[str, Column] = {}
        if isinstance(self._actions, np.ndarray):
            found["action"] = DenseColumn(_of_lane(self._actions, lane, rows), stepped)
        else:
            given = self._actions
            actions = [None if row in marks else given[row][lane] for row in numbers]
            if any(each is not None for each in actions):
                found["action"] = actions
        for name, data in self._outcomes.items():
            found[name] = DenseColumn(_of_lane(data, lane, rows), stepped)
        return found


def _of_lane(data: Any, lane: int, rows: Any) -> Any:
    return data[:, lane] if rows is None else data[rows, lane]


def _stacked(actions: Sequence[Any]) -> Any:
    """Return the actions of rows as one array if all are arrays, which then are of one form."""
    if {*map(type, actions)} != {np.ndarray}:
        return actions
    first = actions[0]
    return np.frombuffer(b"".join(actions), first.dtype).reshape(len(actions), *first.shape)
