"""Runs as a table: columns of what is known of each, conditions on them, and their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from numbers import Real
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput, NotFound, did_you_mean, near_or_known, shown
from simgit.history.buckets import Summed
from simgit.history.leaf_column import LeafColumn
from simgit.history.log import EpisodeColumns
from simgit.history.paths import FieldPath, path_text
from simgit.history.where import Predicate
from simgit.refs.run_config import flat
from simgit.refs.runs import RunInfo

_NUMBER, _TEXT = "a number", "a text"
FIELDS: Final[Mapping[str, str]] = {
    "name": _TEXT, "status": _TEXT, "parent": _TEXT, "step": _NUMBER, "states": _NUMBER,
    "episodes": _NUMBER, "return": _NUMBER, "last_return": _NUMBER, "best_return": _NUMBER,
    "mean_return": _NUMBER, "last_length": _NUMBER, "mean_length": _NUMBER, "created": _NUMBER,
    "ended": _NUMBER, "time": _NUMBER, "seed": "", "config": "", "metadata": "",
}  # fmt: skip
"""What a condition, an order or a column can name, and its type; ``config.lr`` leads further.

The returns and lengths of episodes are of those that have ended; ``return`` is the sum of all
rewards on the way to the newest state, ``time`` the simulator's clock there.
"""
_OF_EPISODES: Final = {
    "last_return": "last(return)", "best_return": "max(return)", "mean_return": "mean(return)",
    "last_length": "last(length)", "mean_length": "mean(length)",
}  # fmt: skip
_MEASURE: Final = re.compile(
    r"\s*(?P<function>[a-z]+)\s*\(\s*(?P<of>[^\s(),]+)\s*(?:,\s*(?P<count>[0-9]{1,9})\s*)?\)\s*"
)
_FUNCTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "mean": np.mean, "median": np.median, "min": np.min, "max": np.max, "sum": np.sum,
    "std": np.std, "last": lambda values: values[-1], "first": lambda values: values[0],
}  # fmt: skip
"""Measures of a run's episodes that have ended, as in ``mean(return, 10)``: of the last ten."""
_OF_FIELDS: Final = ("mean", "min", "max", "sum", "last")
"""Measures of a field of a run's states too, as in ``mean(reward)``, or of the last episodes'."""
_COMMA: Final = re.compile(r",(?![^()]*\))")


class RunTable:
    """The runs of a repository as columns; it is to a condition what a trajectory is.

    Args:
        infos: the runs.
        episodes: returns the episodes of a run.
        clock: returns the simulator's time at the newest state of a run, None without one.
        sum_up: returns a field of the states of a run's last episodes, 0 for all, summed up.
    """

    def __init__(
        self,
        infos: Sequence[RunInfo],
        episodes: Callable[[str], EpisodeColumns],
        clock: Callable[[str], float | None],
        sum_up: Callable[[str, str, int], Summed | None],
    ) -> None:
        self.infos = list(infos)
        self._clock = clock
        self._sum_up = cache(sum_up)
        self._episodes = cache(episodes)
        self._columns: dict[str, list[Any]] = {}
        self.steps = np.zeros(0, np.int64)  # what a trajectory has too; here 'step' is a column
        self.episode_ids = np.zeros(0, np.int64)

    @cached_property
    def _settings(self) -> list[dict[str, Any]]:
        """The settings and the metadata of each run, by their paths."""
        return [
            {**_under("config", info.config), **_under("metadata", info.metadata)}
            for info in self.infos
        ]

    def __len__(self) -> int:
        return len(self.infos)

    def values(self, name: str) -> list[Any]:
        """Return the values of a column, None where a run has none.

        Raises:
            InvalidInput: there is no such column.
        """
        if name not in self._columns:
            self._columns[name] = self._read(name)
        return self._columns[name]

    def _read(self, name: str) -> list[Any]:
        top = name.partition(".")[0]
        if (found := _MEASURE.fullmatch(_OF_EPISODES.get(name, name))) is not None:
            return self._measured(name, **found.groupdict())
        if name == "time":
            return [None if each.oid is None else self._clock(each.name) for each in self.infos]
        if name in ("config", "metadata"):
            return [dict(getattr(info, name)) for info in self.infos]
        if name in FIELDS:
            return [_known(name, info) for info in self.infos]
        every = dict.fromkeys(key for settings in self._settings for key in settings)
        if name not in every:
            near = did_you_mean(name, [*FIELDS, *every])
            if not near and top not in ("config", "metadata"):
                near = near_or_known(name, FIELDS)  # without metadata, of which there is much
            elif not near and not any(key.startswith(f"{top}.") for key in every):
                near = f"; no run has {top}"
            raise InvalidInput(f"unknown name '{name}'{near}", name=name)
        return [settings.get(name) for settings in self._settings]

    def _measured(self, name: str, function: str, of: str, count: str | None) -> list[Any]:
        if function not in _FUNCTIONS:
            near = near_or_known(function, _FUNCTIONS)
            raise InvalidInput(f"unknown function '{function}' in '{name}'{near}", name=name)
        if count is not None and not int(count):
            raise InvalidInput(f"'{name}' must be of 1 episode or more, got 0", name=name)
        if of not in ("return", "length"):
            return self._of_field(name, function, of, int(count or 0))
        found = []
        for info in self.infos:
            values = self._ended(info, of)[-int(count or 0) :]
            with np.errstate(all="ignore"):  # infinities of both signs
                found.append(_FUNCTIONS[function](values).item() if len(values) else None)
        return found

    def _of_field(self, name: str, function: str, of: str, count: int) -> list[Any]:
        """Return a measure of a field of each run's states, None where it has no value."""
        if function not in _OF_FIELDS:
            raise InvalidInput(
                f"'{name}': '{function}' is of 'return' or 'length' only; of a field there are "
                f"{', '.join(_OF_FIELDS)}",
                name=name,
            )
        found: list[Any] = []
        missing: NotFound | None = None
        for info in self.infos:
            try:
                summed = None if info.oid is None else self._sum_up(info.name, of, count)
            except NotFound as error:
                summed, missing = None, error
            found.append(None if summed is None else getattr(summed, function))
        if missing is not None and all(value is None for value in found):
            raise InvalidInput(f"'{name}': {missing}", name=name) from None
        return found

    def _ended(self, info: RunInfo, of: str) -> npt.NDArray[Any]:
        """Return the returns or lengths of a run's episodes that have ended."""
        if info.oid is None:
            return np.zeros(0)
        episodes = self._episodes(info.name)
        values = episodes.return_ if of == "return" else episodes.stop - episodes.start - 1
        ended: npt.NDArray[Any] = values[episodes.terminated | episodes.truncated]
        return ended

    # --- what a condition asks ---

    def has(self, path: FieldPath) -> bool:
        """Return whether a path is a column."""
        try:
            self.values(path_text(path))
        except InvalidInput:
            return False
        return True

    def present(self, path: FieldPath) -> npt.NDArray[np.bool_]:
        """Return which runs have a value."""
        return np.array([value is not None for value in self.values(path_text(path))], bool)

    def is_map(self, path: FieldPath) -> bool:
        """Return False: settings are looked up in each run's own."""
        return False

    def leaf_columns(self, *paths: FieldPath) -> list[LeafColumn]:
        """Return for each path its values: numbers as an array, others as a list."""
        found = []
        for path in paths:
            values, absent = self.values(path_text(path)), ~self.present(path)
            if all(value is None or type(value) in (int, float, bool) for value in values):
                numbers = np.array([0 if value is None else value for value in values])
                found.append(LeafColumn(numbers, absent))
            else:
                found.append(LeafColumn(values, absent))
        return found

    def paths(self) -> set[FieldPath]:
        """Return the paths of the settings."""
        return {tuple(key.split(".")) for settings in self._settings for key in settings}

    def select(self, condition: str | None, order: str | None) -> list[RunInfo]:
        """Return the runs that fulfil a condition, in an order; see ``RunsView.select``."""
        chosen = list(range(len(self.infos)))
        if condition is not None and self.infos:
            chosen = np.flatnonzero(self._holds(condition)).tolist()
        for key in reversed(split_names(order or "")):
            values = self.values(key.lstrip("+-"))
            there = [i for i in chosen if values[i] is not None]
            there.sort(key=lambda i, v=values: _rank(v[i]), reverse=key.startswith("-"))  # type: ignore[misc]
            chosen = there + [i for i in chosen if values[i] is None]
        return [self.infos[i] for i in chosen]

    def ranked(self, by: str, where: str | None, lowest: bool) -> list[tuple[RunInfo, float]]:
        """Return the runs that have a number, in its order; see ``RunsView.best``."""
        read = [each.item() if isinstance(each, np.generic) else each for each in self.values(by)]
        values = {info.name: value for info, value in zip(self.infos, read, strict=True)}
        found = [(info, values[info.name]) for info in self.select(where, None)]
        found = [(info, value) for info, value in found if value is not None]
        for _, value in found:
            if type(value) not in (int, float):
                raise InvalidInput(f"'{by}' must be a number, got {shown(value)}", name=by)
        good = [each for each in found if each[1] == each[1]]
        good.sort(key=lambda each: each[1], reverse=not lowest)
        return good + [each for each in found if each[1] != each[1]]  # those with NaN

    def _holds(self, condition: str) -> npt.NDArray[np.bool_]:
        holds = Predicate(condition, FIELDS, _FUNCTIONS)
        for measure in holds.measures:
            self.values(measure)
        for path in holds.entries:
            self.values(path_text(path))
        return holds(self)


def split_names(text: str) -> list[str]:
    """Return the names in a list of columns such as ``name,mean(return, 10)``."""
    return [part.strip() for part in _COMMA.split(text) if part.strip()]


def _under(top: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{top}.{key}": value for key, value in flat(dict(settings)).items()}


def _known(name: str, info: RunInfo) -> Any:
    if name == "states":
        return 0 if info.step is None else info.step + 1
    return info.return_ if name == "return" else getattr(info, name)


def _rank(value: Any) -> tuple[int, Any]:
    """Return the sort key of a value: numbers before texts before others."""
    if isinstance(value, (Real, np.bool_)):
        return (0, value) if value == value else (-1, 0)
    return (1, value) if isinstance(value, str) else (2, repr(value))
