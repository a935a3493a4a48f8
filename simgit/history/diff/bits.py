"""Comparison of two recorded values to the last bit, and the first place in which they differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

USUAL: Final = ("info.episode.t",)
"""Seconds, which RecordEpisodeStatistics and the Monitor of stable-baselines3 put into infos."""

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
    try:
        a, b = np.asarray(recorded), np.asarray(found)
        if a.shape != b.shape:
            return False
        if a.dtype != b.dtype:
            with np.errstate(all="ignore"):
                b = b.astype(a.dtype)
    except (TypeError, ValueError):  # lists of unequal length, texts that are no numbers
        return False
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
