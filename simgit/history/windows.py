"""Windows of states and transitions between them, for training."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from simgit.errors import InvalidInput
from simgit.history.column_reader import Column

Places = npt.NDArray[np.intp]


def map_column(column: Column, change: Callable[[Any], Any]) -> Column:
    """Return a column with every array and list in it replaced."""
    if isinstance(column, dict):
        return {name: map_column(below, change) for name, below in column.items()}
    if isinstance(column, tuple):
        return tuple(map_column(below, change) for below in column)
    return change(column)


class Columns(Protocol):
    """The columns that windows are cut from; a ``Trajectory`` has them."""

    @property
    def episode_starts(self) -> npt.NDArray[np.bool_]: ...

    @property
    def _borders(self) -> Places: ...

    @property
    def observations(self) -> Column: ...

    @property
    def actions(self) -> Column: ...

    @property
    def rewards(self) -> npt.NDArray[np.float64]: ...

    @property
    def terminations(self) -> npt.NDArray[np.bool_]: ...

    @property
    def truncations(self) -> npt.NDArray[np.bool_]: ...

    def __len__(self) -> int: ...

    def column(self, path: str) -> Column: ...


class Windows:
    """Windows of equal length; their columns have shape (windows, length, …).

    Columns of evenly spaced windows are views, which take no memory. Index the windows
    (``windows[batch]``) to get the columns of some of them only.
    """

    def __init__(self, source: Columns, starts: Places, length: int) -> None:
        self.starts = starts
        """The position of each window's first state in the trajectory, shape (windows,)."""
        self.length = length
        self._source = source

    def __len__(self) -> int:
        return len(self.starts)

    def column(self, path: str) -> Column:
        """Return a field of all windows; see ``Trajectory.column``."""
        return self._cut(self._source.column(path))

    def _cut(self, column: Column) -> Column:
        return map_column(column, self._cut_leaf)

    def _cut_leaf(self, leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray):
            return [leaf[at : at + self.length] for at in self.starts.tolist()]
        if not len(self.starts):
            return np.zeros((0, self.length, *leaf.shape[1:]), leaf.dtype)
        every = np.moveaxis(sliding_window_view(leaf, self.length, axis=0), -1, 1)
        return every[_as_slice(self.starts)]

    @property
    def observations(self) -> Column:
        """The observations of all windows."""
        return self._cut(self._source.observations)

    @property
    def actions(self) -> Column:
        """The actions of all windows."""
        return self._cut(self._source.actions)

    @property
    def rewards(self) -> Column:
        """The rewards of all windows, shape (windows, length)."""
        return self._cut(self._source.rewards)

    @property
    def terminations(self) -> Column:
        """The terminated flags of all windows, shape (windows, length)."""
        return self._cut(self._source.terminations)

    @property
    def truncations(self) -> Column:
        """The truncated flags of all windows, shape (windows, length)."""
        return self._cut(self._source.truncations)

    def __getitem__(self, key: Any) -> dict[str, Column]:
        """Return the columns of some windows, given as a slice, an array of numbers or a mask."""
        chosen = Windows(self._source, np.atleast_1d(self.starts[key]), self.length)
        names = ("observations", "actions", "rewards", "terminations", "truncations")
        return {name: getattr(chosen, name) for name in names}

    def __repr__(self) -> str:
        count, length = len(self), self.length
        return f"<{count} window{'s' * (count != 1)} of {length} state{'s' * (length != 1)}>"


def _as_slice(starts: Places) -> Any:
    """Return evenly spaced positions as a slice (which makes a view), others as they are."""
    if len(starts) == 1:
        return slice(int(starts[0]), int(starts[0]) + 1)
    gaps = np.diff(starts)
    if gaps[0] > 0 and (gaps == gaps[0]).all():
        return slice(int(starts[0]), int(starts[-1]) + 1, int(gaps[0]))
    return starts


def make_windows(source: Columns, length: int, stride: int, across: bool) -> Windows:
    """Return the windows of a trajectory; see ``Trajectory.windows``."""
    if length < 1 or stride < 1:
        raise InvalidInput(f"length and stride must be at least 1, got {length} and {stride}")
    borders = [0, len(source)] if across else source._borders.tolist()
    parts = [
        np.arange(a, b - length + 1, stride, dtype=np.intp) for a, b in itertools.pairwise(borders)
    ]
    starts = np.concatenate(parts) if parts else np.zeros(0, np.intp)
    return Windows(source, starts, length)


def make_transitions(source: Columns) -> dict[str, Column]:
    """Return the transitions of a trajectory; see ``Trajectory.transitions``."""
    after = np.flatnonzero(~source.episode_starts[1:]) + 1

    def take(column: Column, places: Places) -> Column:
        return map_column(column, lambda leaf: _take_leaf(leaf, places))

    return {
        "observations": take(source.observations, after - 1),
        "actions": take(source.actions, after),
        "rewards": take(source.rewards, after),
        "next_observations": take(source.observations, after),
        "terminations": take(source.terminations, after),
        "truncations": take(source.truncations, after),
    }


def _take_leaf(leaf: Any, places: Places) -> Any:
    if not isinstance(leaf, np.ndarray):
        return [leaf[i] for i in places.tolist()]
    return leaf[_as_slice(places)] if len(places) else leaf[:0]
