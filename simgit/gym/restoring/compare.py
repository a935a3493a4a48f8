"""Comparison of what an environment returns with what is recorded, to the last bit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from simgit.errors import Divergence, shown
from simgit.gym.restoring.recorded_steps import RecordedStep
from simgit.gym.spec.values import (
    cast_for,
    comparable_info,
    kept_or_simplified,
    left_out,
    plain_outcome,
)
from simgit.objects.columns import ABSENT
from simgit.objects.simplify import Simplified, Simplifier
from simgit.recording.states import simplified_fields

USUAL: Final = ("info.episode.t",)
"""Seconds, which RecordEpisodeStatistics and the Monitor of stable-baselines3 put into infos."""

_USUAL: Final = (float, bool, bool)
_LEAVE_OUT: Final = Simplifier(left_out, numbers=True)
_PLAIN: Final = frozenset((bool, int, float, str, bytes, type(None)))


class Difference(NamedTuple):
    """A field in which a state differs from the recorded one, and both values."""

    field: str
    recorded: Any
    found: Any


Ignored = Callable[[str], bool]
"""Returns True for the path of a field that is not compared."""


@lru_cache(maxsize=64)
def _pattern(paths: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(
        "|".join(f"(?:{translate(path)[:-2]})(?:[.\\[].*)?\\Z" for path in paths), re.S
    )


def ignoring(paths: Iterable[str]) -> Ignored:
    """Return a function that is true of the paths that match, and of those below them.

    Args:
        paths: paths with ``*`` for any text and ``?`` for any character.
    """
    match = _pattern(tuple(paths)).match
    return lambda path: match(path) is not None


_USUALLY: Final = ignoring(USUAL)


class Comparer:
    """Compares the results of an environment with recorded states.

    Args:
        env: the environment.
        ignore: paths of fields that are not compared, beside the usual ones; see ``ignoring``.
    """

    def __init__(self, env: Any, ignore: Iterable[str] = ()) -> None:
        self._cast = cast_for(env.observation_space)
        self._ignored = ignoring((*USUAL, *ignore))

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
            found = _of_step(state, returned)
            if found is not None:
                return found
        seen = kept_or_simplified(self._cast, observation, "observation", _LEAVE_OUT)
        found = difference("observation", state.observation, _plain(seen), self._ignored)
        if found is not None:
            found = difference(
                "observation", state.observation,
                _plain(_LEAVE_OUT.simplify(observation, "observation")), self._ignored,
            )  # fmt: skip
        info = comparable_info(info)
        if found is not None or not (info or state.info):
            return found
        return difference("info", state.info or {}, info, self._ignored)


def _of_step(state: RecordedStep, returned: tuple[Any, ...]) -> Difference | None:
    """Return the first difference in reward and flags."""
    names = ("reward", "terminated", "truncated")
    values = returned[1:4]
    recorded = state.reward, state.terminated, state.truncated
    if tuple(map(type, values)) == _USUAL and values == recorded:
        return None
    fields = dict(zip(names, plain_outcome(*values), strict=True))
    found = simplified_fields(_LEAVE_OUT, fields)
    pairs = ((name, getattr(state, name), found.get(name)) for name in (*names, "rewards"))
    return next(
        (each for pair in pairs if (each := difference(*map(_plain, pair))) is not None), None
    )


def _plain(value: Any) -> Any:
    """Return a value without its forms, None for what is left out."""
    value = value.value if isinstance(value, Simplified) else value
    return None if value is ABSENT else value


def difference(
    path: str, recorded: Any, found: Any, ignored: Ignored = _USUALLY
) -> Difference | None:
    """Return the first place in which two values differ; numbers are compared by their bits.

    (A stored row may hold a float for an int, if that is exact.)

    Args:
        path: the path of the values.
        recorded: the recorded value.
        found: the other.
        ignored: says which paths are not compared.
    """
    if isinstance(recorded, np.ndarray) or isinstance(found, np.ndarray):
        same = _same_array(recorded, found)
    elif isinstance(recorded, Mapping) and isinstance(found, Mapping):
        return _in_maps(path, recorded, found, ignored)
    elif isinstance(recorded, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(recorded) != len(found):
            return None if ignored(path) else Difference(path, recorded, found)
        pairs = enumerate(zip(recorded, found, strict=True))
        each = (difference(f"{path}[{i}]", *pair, ignored) for i, pair in pairs)
        return next(filter(None, each), None)
    else:
        same = _same_number(recorded, found)
    return None if same or ignored(path) else Difference(path, recorded, found)


def _in_maps(
    path: str, recorded: Mapping[Any, Any], found: Mapping[Any, Any], ignored: Ignored
) -> Difference | None:
    for key in recorded.keys() | found.keys() if recorded.keys() != found.keys() else recorded:
        if key not in recorded or key not in found:
            if ignored(f"{path}.{key}"):
                continue
            return Difference(f"{path}.{key}", recorded.get(key), found.get(key))
        one, other = recorded[key], found[key]
        if type(one) is type(other) and type(one) in _PLAIN and one == other:
            continue  # the usual case, which needs no path
        inner = difference(f"{path}.{key}", one, other, ignored)
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
    try:
        return bool(recorded == found)
    except Exception:  # of the value's own class
        return False
