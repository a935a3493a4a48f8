"""Entries of an info that differ by nature: not compared, or kept beside the states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput, shown
from simgit.gym.restoring.compare import ignoring
from simgit.gym.restoring.recorded_path import RecordedPath, path_to_last
from simgit.objects.simplify import Simplified
from simgit.repository import Repository

VOLATILE: Final = "volatile"
"""The attachment that has these entries, for the states since the one before."""
_MOST: Final = 4096
"""The most entries that wait for the next attachment."""


def ignored_paths(paths: Any) -> list[str]:
    """Return the paths of fields that are not compared; InvalidInput for anything else."""
    return _checked_paths("ignore", paths, ("info", "observation"))


def volatile_paths(paths: Any) -> list[str]:
    """Return the paths of volatile entries; InvalidInput for anything else."""
    return _checked_paths("volatile", paths, ("info",))


def _checked_paths(name: str, paths: Any, within: Sequence[str]) -> list[str]:
    """Return a list of paths of fields, which may have ``*`` and ``?``.

    Args:
        name: the argument, for the message.
        paths: the list.
        within: the top-level fields that the paths may lie in.

    Raises:
        InvalidInput: it is not a list of such paths.
    """
    if isinstance(paths, str) or not isinstance(paths, (list, tuple, set, frozenset)):
        raise InvalidInput(f"{name} must be a list of paths, got {shown(paths)}")
    for path in paths:
        if not isinstance(path, str) or path.partition(".")[0] not in within or path[-1:] == ".":
            fields = " or ".join(f"'{each}.…'" for each in within)
            raise InvalidInput(f"{name} must have paths like {fields}, got {shown(path)}")
    return sorted(map(str, paths))


class Volatile:
    """Takes the volatile entries out of infos, and attaches them to the newest state."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._is_volatile = ignoring(paths) if paths else None
        self._kept: dict[str, tuple[list[int], list[Any]]] = {}
        self._count = 0

    def take(self, info: Any, step: int) -> Any:
        """Return a recorded form of an info without its volatile entries, which are kept."""
        if self._is_volatile is None or not info:
            return info
        plain = info.value if isinstance(info, Simplified) else info
        if not isinstance(plain, dict):
            return info
        taken: list[tuple[Any, ...]] = []
        rest = self._rest(plain, "info", (), step, taken, self._is_volatile)
        if not isinstance(info, Simplified):
            return rest
        forms = [form for form in info.forms if all(form[0][: len(at)] != at for at in taken)]
        return Simplified(rest, forms)

    def _rest(
        self,
        info: dict[Any, Any],
        path: str,
        keys: tuple[Any, ...],
        step: int,
        taken: list[tuple[Any, ...]],
        is_volatile: Callable[[str], bool],
    ) -> dict[Any, Any]:
        rest = {}
        for key, value in info.items():
            where, at = f"{path}.{key}", (*keys, key)
            if is_volatile(where):
                steps, values = self._kept.setdefault(where, ([], []))
                steps.append(step)
                values.append(value)
                self._count += 1
                taken.append(at)
            elif isinstance(value, dict):
                rest[key] = self._rest(value, where, at, step, taken, is_volatile)
            else:
                rest[key] = value
        return rest

    @property
    def is_due(self) -> bool:
        """Return True if there are many entries to attach."""
        return self._count >= _MOST

    def attach(self, attach: Callable[[str, Any], None]) -> None:
        """Attach what was kept with a function of name and data, if there is any."""
        if not self._kept:
            return
        kept, self._kept, self._count = self._kept, {}, 0
        attach(VOLATILE, {path: _column(*each) for path, each in kept.items()})


def _column(steps: list[int], values: list[Any]) -> dict[str, Any]:
    numbers = all(type(each) in (int, float) for each in values)
    return {
        "steps": np.array(steps, np.int64),
        "values": np.array(values, np.float64) if numbers else values,
    }


def volatile(repo: Repository, revision: str, path: str) -> Any:
    """Return a volatile entry of the infos of a range of states.

    Args:
        repo: the repository.
        revision: a run, a range or an episode.
        path: for instance "info.seconds".

    Returns:
        An array of floats, NaN where a state has none; a list, with None there, if the values are
        not all numbers.

    Raises:
        NotFound: there is no such state.
    """
    states = repo.trajectory(revision)
    if not len(states):
        return np.empty(0)
    end: RecordedPath = path_to_last(repo, states, revision)
    found: dict[int, Any] = {}
    # an attachment lies at the state of its last entry or after it
    newest = RecordedPath(repo, end.run) if end.run is not None else end
    for step in newest.attached(VOLATILE, newest.step):
        data = newest.attachment(step, VOLATILE)
        entry = data.get(path) if isinstance(data, dict) else None
        if isinstance(entry, dict):
            found |= dict(zip(np.asarray(entry["steps"]).tolist(), entry["values"], strict=True))
        if step < states.start:
            break
    values = [found.get(step) for step in range(states.start, states.stop)]
    if all(each is None or isinstance(each, (int, float, np.number)) for each in values):
        return np.array([np.nan if each is None else float(each) for each in values])
    return values
