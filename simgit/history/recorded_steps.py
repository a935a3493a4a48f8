"""Recorded states one after another, read as columns: much faster than state by state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from simgit.history.state import State
from simgit.history.trajectory import Trajectory
from simgit.objects.columns import ABSENT
from simgit.objects.forms import restored_field

_FIRST, _MOST = 64, 2048
_TOP: Final = (
    "observation", "action", "reward", "terminated", "truncated", "info", "reset", "forms",
    "rewards",
)  # fmt: skip


class RecordedStep(NamedTuple):
    """The recorded fields of one state, in their plain forms; None where a field is absent."""

    step: int
    observation: Any
    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: Any
    reset: Any
    forms: Any = None
    rewards: Any = None

    def given(self, name: str) -> Any:
        """Return the action or the reset's mark as what it was, see ``simgit.objects.forms``."""
        value = getattr(self, name)
        return value if self.forms is None else restored_field(name, value, self.forms)


def recorded_steps(trajectory: Trajectory) -> Iterator[RecordedStep]:
    """Yield the states of a trajectory, read in batches of growing size."""
    start, size = 0, _FIRST
    while start < len(trajectory):
        part = trajectory[start : start + size]
        fields = [_values(part, (name,)) for name in _TOP]
        yield from map(RecordedStep, range(part.start, part.stop), *fields)
        start, size = start + size, min(4 * size, _MOST)


def _values(part: Trajectory, path: tuple[str, ...], absent: Any = None) -> Sequence[Any]:
    """Return a field of all states, ``absent`` where a state does not have it."""
    mask = part.present(path) if part.has(path) else np.zeros(len(part), bool)
    if not mask.any():
        return [absent] * len(part)
    found = _inside(part, path, part.leaf_columns(path)[0])
    if mask.all():
        return found
    return [value if has else absent for value, has in zip(found, mask.tolist(), strict=True)]


_ABSENT: Final = object()


def _inside(part: Trajectory, path: tuple[str, ...], column: Any) -> Sequence[Any]:
    if isinstance(column, dict):
        inner = [_values(part, (*path, key), _ABSENT) for key in column]
        if not inner:
            return [{} for _ in range(len(part))]
        return [
            {key: value for key, value in zip(column, each, strict=True) if value is not _ABSENT}
            for each in zip(*inner, strict=True)
        ]
    if isinstance(column, tuple):
        items = [_inside(part, (*path, str(n)), each) for n, each in enumerate(column)]
        return list(zip(*items, strict=True)) if items else [()] * len(part)
    if column.objects is not None:  # each as it was recorded
        return [None if value is ABSENT else value for value in column.objects]
    values = column.values
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "biuf":
        return _numbers(part, path, values)
    return list(values)


def _numbers(part: Trajectory, path: tuple[str, ...], column: Any) -> Sequence[Any]:
    """Return numbers as Python's; actions with their recorded types.

    (An environment computes differently with a float32 than with a float.)
    """
    given = part.dtypes(path) if path[0] == "action" else {None}
    if given == {column.dtype}:
        return list(column)
    if given == {None}:
        numbers: list[Any] = column.tolist()
        return numbers
    mask = part.present(path)
    return [_at(state, path) if has else None for state, has in zip(part, mask, strict=True)]


def _at(state: State, path: tuple[str, ...]) -> Any:
    value = state.action
    for name in path[1:]:
        value = value[int(name)] if isinstance(value, tuple) else value[name]
    return value
