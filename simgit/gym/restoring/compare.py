"""Comparison of what an environment returns with what is recorded, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from simgit.errors import Divergence, shown
from simgit.gym.restoring.recorded_steps import RecordedStep
from simgit.gym.spec.values import cast_for, plain_info

_CLOCK = ("info.episode.t",)
"""Wall-clock seconds, which RecordEpisodeStatistics puts into its info."""

_PLAIN: Final = frozenset((bool, int, float, str, bytes, type(None)))


class Difference(NamedTuple):
    """A field in which a state differs from the recorded one, and both values."""

    field: str
    recorded: Any
    found: Any


class Comparer:
    """Compares the results of an environment with recorded states."""

    def __init__(self, env: Any) -> None:
        self._cast = cast_for(env.observation_space)

    def check(self, state: RecordedStep, returned: tuple[Any, ...]) -> None:
        """Compare one state.

        Args:
            state: the recorded one.
            returned: the result of reset or step.

        Raises:
            Divergence: a field differs.
        """
        found = self.difference(state, returned)
        if found is not None:
            raise Divergence(
                f"the environment does not repeat step {state.step}: '{found.field}' is "
                f"{shown(found.found)}, recorded is {shown(found.recorded)}",
                step=state.step, field=found.field, recorded=found.recorded, found=found.found,
            )  # fmt: skip

    def difference(self, state: RecordedStep, returned: tuple[Any, ...]) -> Difference | None:
        """Return the first field in which a state differs, None if there is none."""
        observation, info = returned[0], returned[-1]
        if len(returned) > 2:
            reward, terminated, truncated = returned[1:4]
            if (
                reward != state.reward
                or terminated != state.terminated
                or truncated != (state.truncated)
            ):
                found = _of_step(state, returned)
                if found is not None:
                    return found
        found = difference("observation", state.observation, self._cast(observation))
        if found is not None or not (info or state.info):
            return found
        return difference("info", state.info or {}, plain_info(info))


def _of_step(state: RecordedStep, returned: tuple[Any, ...]) -> Difference | None:
    names = ("reward", "terminated", "truncated")
    values = float(returned[1]), bool(returned[2]), bool(returned[3])
    pairs = ((name, getattr(state, name), value) for name, value in zip(names, values, strict=True))
    return next((Difference(*each) for each in pairs if not _same_number(*each[1:])), None)


def difference(path: str, recorded: Any, found: Any) -> Difference | None:
    """Return the first place in which two values differ; numbers are compared by their bits.

    (A stored row may hold a float for an int, if that is exact.)
    """
    if isinstance(recorded, np.ndarray) or isinstance(found, np.ndarray):
        same = _same_array(recorded, found)
    elif isinstance(recorded, Mapping) and isinstance(found, Mapping):
        return _in_maps(path, recorded, found)
    elif isinstance(recorded, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(recorded) != len(found):
            return Difference(path, recorded, found)
        pairs = enumerate(zip(recorded, found, strict=True))
        return next(filter(None, (difference(f"{path}[{i}]", *pair) for i, pair in pairs)), None)
    else:
        same = _same_number(recorded, found)
    return None if same or path in _CLOCK else Difference(path, recorded, found)


def _in_maps(path: str, recorded: Mapping[Any, Any], found: Mapping[Any, Any]) -> Difference | None:
    for key in recorded.keys() | found.keys() if recorded.keys() != found.keys() else recorded:
        if key not in recorded or key not in found:
            return Difference(f"{path}.{key}", recorded.get(key), found.get(key))
        one, other = recorded[key], found[key]
        if type(one) is type(other) and type(one) in _PLAIN and one == other:
            continue  # the usual case, which needs no path
        inner = difference(f"{path}.{key}", one, other)
        if inner is not None:
            return inner
    return None


def _same_array(recorded: Any, found: Any) -> bool:
    a, b = np.asarray(recorded), np.asarray(found)
    if a.shape != b.shape:
        return False
    if a.dtype != b.dtype:
        with np.errstate(all="ignore"):
            b = b.astype(a.dtype)
    return a.tobytes() == b.tobytes()


def _same_number(recorded: Any, found: Any) -> bool:
    if type(recorded) is float and type(found) is float:
        return recorded == found or (recorded != recorded and found != found)
    if isinstance(recorded, np.generic) or isinstance(found, np.generic):
        return recorded is not None and found is not None and _same_array(recorded, found)
    return bool(recorded == found)
