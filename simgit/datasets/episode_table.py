"""The episodes of a dataset as a table for conditions: ``return > 100 and config.lr < 0.1``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.datasets.layout import Section, StateLayout, parts_of
from simgit.history.leaf_column import LeafColumn, Mask
from simgit.history.paths import FieldPath, follow
from simgit.history.planned_columns import steps_of
from simgit.objects.columns import ABSENT

_NUMBER, _FLAG = "a number", "True or False"
FIELDS: Final[Mapping[str, str]] = {
    "run": "a text", "episode": _NUMBER, "start": _NUMBER, "length": _NUMBER, "return": _NUMBER,
    "terminated": _FLAG, "truncated": _FLAG, "config": "",
}  # fmt: skip
"""What a condition on episodes can name, with its type; ``config.lr`` leads further."""


class EpisodeTable:
    """The episodes of a layout; it is to a condition what a trajectory is."""

    def __init__(self, layout: StateLayout, config: Callable[[str], Mapping[str, Any]]) -> None:
        """Note where the columns come from.

        Args:
            layout: the states.
            config: returns the configuration of a run.
        """
        self._layout = layout
        self._config = config
        self.steps = layout.episodes.first
        self.episode_ids = layout.episodes.number

    def __len__(self) -> int:
        return len(self.steps)

    @cached_property
    def _sums(self) -> dict[str, npt.NDArray[Any]]:
        """The columns that follow from rewards and flags, which are read for all states."""
        parts = [self._of_section(each) for each in self._layout.sections]
        names = ("return", "length", "terminated", "truncated")
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _of_section(self, each: Section) -> dict[str, npt.NDArray[Any]]:
        number = self._layout.sections.index(each)
        spans = self._layout.episodes.spans
        mine = np.flatnonzero(self._layout.episodes.section == number)
        begins = spans.own[mine] - each.own
        found = {"return": np.zeros(len(mine)), "terminated": np.zeros(len(mine), bool),
                 "truncated": np.zeros(len(mine), bool)}  # fmt: skip
        for part in parts_of(each.states):
            at = np.arange(len(part)) + part.start - each.states.start
            of = np.searchsorted(begins, at, "right") - 1
            rewards, terminated, truncated = _rewards_and_flags(part)
            found["return"] += np.bincount(of, rewards, len(mine))
            np.logical_or.at(found["terminated"], of[terminated], True)
            np.logical_or.at(found["truncated"], of[truncated], True)
        if len(each.context):
            start = each.states.start
            before = steps_of(each.states, start - len(each.context), start)
            found["return"][0] += _rewards_and_flags(before)[0].sum()
        lengths = spans.stops[mine] - spans.starts[mine] - 1
        return found | {"length": lengths}

    def _runs(self) -> list[str]:
        names = [each.states.name for each in self._layout.sections]
        return [names[number] for number in self._layout.episodes.section.tolist()]

    def _settings(self, path: FieldPath) -> list[Any]:
        names = {each.states.name for each in self._layout.sections}
        of_run = {name: follow(dict(self._config(name)), path[1:]) for name in names}
        found = [of_run[name] for name in self._runs()]
        return [None if value is ABSENT else value for value in found]

    def has(self, path: FieldPath, /) -> bool:
        """Return whether there is a column."""
        if path[0] == "config":
            return any(value is not None for value in self._settings(path))
        return len(path) == 1 and path[0] in FIELDS

    def present(self, path: FieldPath, /) -> Mask:
        """Return which episodes have a value."""
        if path[0] == "config":
            return np.array([value is not None for value in self._settings(path)], bool)
        return np.full(len(self), self.has(path))

    def is_map(self, path: FieldPath, /) -> bool:
        """Return False: a configuration is looked up in each run's own."""
        return False

    def leaf_columns(self, *paths: FieldPath) -> list[LeafColumn]:
        """Return for each path its values."""
        return [self._column(path) for path in paths]

    def _column(self, path: FieldPath) -> LeafColumn:
        none = np.zeros(len(self), bool)
        name = path[0]
        if name == "config":
            values = [ABSENT if value is None else value for value in self._settings(path)]
            return LeafColumn.of_objects(values)
        if name == "run":
            return LeafColumn(list(self._runs()), none)
        if name in ("episode", "start"):
            values_of = self.episode_ids if name == "episode" else self.steps
            return LeafColumn(values_of.copy(), none)
        return LeafColumn(self._sums[str(name)].copy(), none)


def _rewards_and_flags(part: Any) -> tuple[npt.NDArray[np.float64], Mask, Mask]:
    flags = [
        part.column(name, fill=False) if part.has(name) else np.zeros(len(part), bool)
        for name in ("terminated", "truncated")
    ]
    rewards = part.column("reward", fill=0.0) if part.has("reward") else np.zeros(len(part))
    return rewards, flags[0], flags[1]
