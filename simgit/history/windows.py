"""Windows of states and transitions between them, for training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from simgit.history.column_reader import Leaves
from simgit.history.leaf_column import UNFILLED, Column, LeafColumn, Mask
from simgit.history.spans import StepIndex, discounts, make_spans, summed_rewards
from simgit.objects.coerce import check_number

Places = npt.NDArray[np.intp]


def map_leaves(column: Leaves, change: Callable[[LeafColumn], Any]) -> Any:
    """Return a nested column with every ``LeafColumn`` in it replaced."""
    if isinstance(column, dict):
        return {name: map_leaves(below, change) for name, below in column.items()}
    if isinstance(column, tuple):
        return tuple(map_leaves(below, change) for below in column)
    return change(column)


class Columns(Protocol):
    """The columns that windows are cut from; a ``Trajectory`` has them."""

    @property
    def episode_starts(self) -> Mask: ...

    @property
    def _borders(self) -> Places: ...

    @property
    def rewards(self) -> npt.NDArray[np.float64]: ...

    @property
    def terminations(self) -> Mask: ...

    @property
    def truncations(self) -> Mask: ...

    def __len__(self) -> int: ...

    def has(self, path: str) -> bool: ...

    def leaf_columns(self, *paths: str | Sequence[Any]) -> tuple[Leaves, ...]: ...

    def present(self, path: str | Sequence[Any]) -> Mask: ...


class Windows:
    """Windows of equal length; their columns have shape (windows, length, …).

    Columns of evenly spaced windows are views, which take no memory. Index the windows
    (``windows[batch]``) to get the columns of some of them only.
    """

    def __init__(self, source: Columns, starts: Places, length: int, fill: Any = UNFILLED) -> None:
        self.starts = starts
        """The position of each window's first state in the trajectory, shape (windows,)."""
        self.length = length
        self._source = source
        self._fill = fill

    def __len__(self) -> int:
        return len(self.starts)

    def column(self, path: str | Sequence[Any], *, fill: Any = UNFILLED) -> Column:
        """Return a field of all windows; see ``Trajectory.column``."""
        fill = self._fill if fill is UNFILLED else fill
        return map_leaves(
            self._source.leaf_columns(path)[0], lambda leaf: leaf.part(self._cut).filled(fill)
        )

    def present(self, path: str | Sequence[Any]) -> Mask:
        """Return a mask of the states that have a field, shape (windows, length)."""
        found: Mask = self._cut(self._source.present(path))
        return found

    def _cut(self, values: Any) -> Any:
        if not isinstance(values, np.ndarray):
            return [values[at : at + self.length] for at in self.starts.tolist()]
        if not len(self.starts):
            return np.zeros((0, self.length, *values.shape[1:]), values.dtype)
        every = np.moveaxis(sliding_window_view(values, self.length, axis=0), -1, 1)
        return every[_as_slice(self.starts)]

    def _field(self, path: str, fill: Any = UNFILLED) -> Column:
        """Return a top-level field of all windows, absent everywhere if no state has it."""
        if self._source.has(path):
            return self.column(path, fill=fill)
        if fill is not UNFILLED:
            return np.full((len(self), self.length), fill)
        return [[None] * self.length for _ in range(len(self))]

    @property
    def observations(self) -> Column:
        """The observations of all windows."""
        return self._field("observation")

    @property
    def actions(self) -> Column:
        """The actions of all windows."""
        return self._field("action")

    @property
    def rewards(self) -> Column:
        """The rewards of all windows, 0 at resets, shape (windows, length)."""
        return self._field("reward", 0.0)

    @property
    def terminations(self) -> Column:
        """The terminated flags of all windows, False at resets, shape (windows, length)."""
        return self._field("terminated", False)

    @property
    def truncations(self) -> Column:
        """The truncated flags of all windows, False at resets, shape (windows, length)."""
        return self._field("truncated", False)

    def __getitem__(self, key: Any) -> dict[str, Column]:
        """Return the columns of some windows, given as a slice, an array of numbers or a mask."""
        chosen = Windows(self._source, np.atleast_1d(self.starts[key]), self.length, self._fill)
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


def make_windows(source: Columns, length: int, stride: int, across: bool, fill: Any) -> Windows:
    """Return the windows of a trajectory; see ``Trajectory.windows``."""
    length = check_number(length, "length", 1, whole=True)
    stride = check_number(stride, "stride", 1, whole=True)
    borders = [0, len(source)] if across else source._borders.tolist()
    parts = [
        np.arange(a, b - length + 1, stride, dtype=np.intp) for a, b in itertools.pairwise(borders)
    ]
    starts = np.concatenate(parts) if parts else np.zeros(0, np.intp)
    return Windows(source, starts, length, fill)


TRANSITIONS: Final = {
    "observations": ("observation", -1, UNFILLED),
    "actions": ("action", 0, UNFILLED),
    "rewards": ("reward", 0, 0.0),
    "next_observations": ("observation", 1, UNFILLED),
    "terminations": ("terminated", 1, False),
    "truncations": ("truncated", 1, False),
}
"""Each column of transitions: its field, of which state (-1: before, 0: after the first step, 1:
after the last step), and what absent ones are."""


def make_transitions(source: Columns, n_step: int, gamma: float) -> dict[str, Column]:
    """Return the transitions of a trajectory; see ``Trajectory.transitions``."""
    n_step = check_number(n_step, "n_step", 1, whole=True)
    gamma = check_number(gamma, "gamma", most=1)
    ended = source.terminations | source.truncations
    index = StepIndex.transitions(make_spans(source.episode_starts, ended), n_step)
    before, last = index.at(np.arange(len(index)))
    of_state = {-1: before, 0: before + 1, 1: last}

    def taken(path: str, places: Places, fill: Any) -> Column:
        if not source.has(path):
            return [None] * len(places) if fill is UNFILLED else np.full(len(places), fill)

        def take(leaf: LeafColumn) -> Column:
            return leaf.part(lambda values: _take(values, places)).filled(fill)

        return map_leaves(source.leaf_columns(path)[0], take)

    found = {
        name: taken(path, of_state[which], fill)
        for name, (path, which, fill) in TRANSITIONS.items()
    }
    if n_step > 1:
        rewards = source.rewards
        found["rewards"] = summed_rewards(lambda at: rewards[at], before, last, gamma)
    found["discounts"] = discounts(last - before, found["terminations"], gamma)
    return found


def _take(values: Any, places: Places) -> Any:
    if not isinstance(values, np.ndarray):
        return [values[i] for i in places.tolist()]
    return values[_as_slice(places)] if len(places) else values[:0]
