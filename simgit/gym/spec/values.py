"""The recorded form of actions, observations and infos: one form for each value.

An ``int`` and an ``np.int64`` are the same action, and the same entry of an info. Arrays of floats
keep their dtype, whatever the space says: a float64 action gives other numbers than a float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from simgit.errors import InvalidInput
from simgit.objects.arrays import is_arraylike
from simgit.objects.coerce import coerce, coerce_key
from simgit.objects.columns import ABSENT
from simgit.objects.simplify import Simplified, Simplifier, left_out

Cast = Callable[[Any], Any]
"""Returns the recorded form of a value of a space; arrays of the right dtype are not copied."""


def cast_for(space: spaces.Space[Any]) -> Cast:
    """Return the function from values of a space to their recorded form.

    A value outside of the space is recorded unchanged.
    """
    maker = _CASTS.get(type(space))
    return maker(space) if maker is not None else _as_it_is


def needs_cast(space: spaces.Space[Any]) -> bool:
    """Return True if the function of ``cast_for`` changes anything."""
    return cast_for(space) is not _as_it_is


def plain_type(space: spaces.Space[Any]) -> type | None:
    """Return the type whose values are recorded unchanged; None if there is no such type."""
    return space.dtype.type if type(space) is spaces.Discrete else None


def keeper(space: spaces.Space[Any], path: str) -> Cast:
    """Return ``cast_for``'s function for values that may change afterwards: it returns copies.

    Raises (the function):
        InvalidInput: the value has no encoding; the message names its place below ``path``.
    """
    cast = cast_for(space)
    if type(space) is not spaces.Discrete:
        return lambda value: coerce(cast(value), path)
    kind: Any = space.dtype.type
    return lambda value: value if type(value) is kind else coerce(cast(value), path)


def keep_reset(seed: int | None, options: Any, simplifier: Simplifier | None = None) -> Any:
    """Return the recorded form of the arguments of a reset.

    Raises:
        InvalidInput: the options have no encoding, and nothing may be left out.
    """
    if seed is None and options is None:
        return {}
    given = {k: v for k, v in (("seed", seed), ("options", options)) if v is not None}
    return kept_or_simplified(
        lambda value: coerce(value, "reset"), given, "reset", simplifier or Simplifier()
    )


def kept_or_simplified(keep: Cast, value: Any, path: str, simplifier: Simplifier) -> Any:
    """Return what ``keep`` makes of a value, or its simplified form if ``keep`` raises."""
    try:
        return keep(value)
    except Exception:  # also of what a user's class does
        return simplifier.simplify(value, path)


def thaw(space: spaces.Space[Any], value: Any) -> Any:
    """Return a recorded value of a space as the environment takes it: a writeable copy."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(space, spaces.Dict) and isinstance(value, dict):
        order = list(space.spaces)  # in which it was sampled, and may be summed up
        return {key: thaw(space.spaces[key], value[key]) for key in sorted(value, key=order.index)}
    if isinstance(space, spaces.Tuple) and isinstance(value, (tuple, list)):
        pairs = zip(space.spaces, value, strict=True)
        return type(value)(thaw(each, item) for each, item in pairs)
    if isinstance(space, spaces.OneOf) and isinstance(value, tuple):
        return value[0], thaw(space.spaces[int(value[0])], value[1])
    if isinstance(space, spaces.Graph) and isinstance(value, tuple):
        return spaces.GraphInstance(*(thaw(space, each) for each in value))
    if isinstance(space, spaces.Sequence) and isinstance(value, (tuple, list)):
        return type(value)(thaw(space.feature_space, each) for each in value)
    return value


def plain_info(info: Any) -> Any:
    """Return a copy of an info in which NumPy's bool, int64 and float64 scalars are Python's.

    Raises:
        InvalidInput: something in it has no encoding; the message names its place.
    """
    if type(info) is not dict:
        return _plain(info, "info", 0)
    return {
        key if type(key) is str and key.isascii() else coerce_key(key, "info"): (
            value if type(value) in _PLAIN else _plain(value, f"info.{key}", 1)
        )
        for key, value in info.items()
    }


def comparable_info(info: Any) -> Any:
    """Return an info in its recorded form, without what a recorder would leave out."""
    if isinstance(info, Simplified):
        found = info.value
    else:
        try:
            return plain_info(info) if info else {}
        except Exception:  # also of what a user's class does
            found = Simplifier(left_out, numbers=True).simplify(info, "info").value
    return {} if found is ABSENT else found


def hard_step(
    simplifier: Simplifier, cast: Cast, fields: tuple[Any, Any, Any, Any], info: Any
) -> tuple[Any, Any, Any, Any, Any]:
    """Return the recorded form of a step of which something has no encoding of its own.

    Args:
        simplifier: says what to do with it.
        cast: the function of the observation space.
        fields: observation, reward, terminated, truncated.
        info: the info.

    Raises:
        InvalidInput: something in the info cannot be stored, and may not be left out.
    """
    observation, reward, terminated, truncated = map(_tried, (cast, _reward, _flag, _flag), fields)
    return observation, reward, terminated, truncated, simplifier.simplify(info, "info")


def _tried(make: Cast, value: Any) -> Any:
    try:
        return make(value)
    except Exception:  # the recorder will see what it can make of it
        return value


def is_set(flag: Any) -> bool:
    """Return True for a flag that is true; one without a meaning is not."""
    try:
        return bool(flag)
    except Exception:
        return False


_OLD_API: Final = (
    "this is the old Gym API; wrap the environment with shimmy.GymV21CompatibilityV0(env=…) "
    "(pip install shimmy)"
)


def observation_and_info(result: Any) -> tuple[Any, Any]:
    """Return the two values of a reset.

    Raises:
        InvalidInput: the environment has the API of Gym before 0.26.
    """
    is_pair = isinstance(result, (tuple, list)) and len(result) == 2
    if is_pair and (result[1] is None or isinstance(result[1], (dict, Mapping))):
        return result[0], result[1]
    raise InvalidInput(f"reset() returned no (observation, info): {_OLD_API}", path="info")


def five_values(result: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return the values of a step.

    Raises:
        InvalidInput: the environment has the API of Gym before 0.26.
    """
    count = len(result) if isinstance(result, (tuple, list)) else 1
    if count == 5:
        observation, reward, terminated, truncated, info = result
        return observation, reward, terminated, truncated, info
    raise InvalidInput(
        "step() must return (observation, reward, terminated, truncated, info), "
        f"got {count} value{'' if count == 1 else 's'}: {_OLD_API}"
    )


def plain_outcome(reward: Any, terminated: Any, truncated: Any) -> tuple[Any, Any, Any]:
    """Return the outcome of a step with flags that are bools, and a reward that is not a bool.

    Gymnasium lets numbers, arrays of one element and None pass as flags, and a bool as a reward.
    Any other value is returned unchanged.
    """
    return _reward(reward), _flag(terminated), _flag(truncated)


def _reward(value: Any) -> Any:
    return float(value) if isinstance(value, (bool, np.bool_)) else value


def _flag(value: Any) -> Any:
    if type(value) is bool:
        return value
    if is_arraylike(value):
        array = np.asarray(value)
        value = array.item() if array.size == 1 else value
    return bool(value) if value is None or isinstance(value, (int, float)) else value


BOOLS: Final = frozenset((bool, np.bool_))
_PLAIN: Final = frozenset((int, float, bool, type(None)))
_SCALARS: Final = (np.float64, np.int64, np.bool_)


def _plain(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, _SCALARS):
        return value.item()
    if isinstance(value, Mapping) and depth < _DEEP:
        return {
            coerce_key(key, path): _plain(each, f"{path}.{key}", depth + 1)
            for key, each in value.items()
        }
    if type(value) in (list, tuple) and depth < _DEEP:
        items = [_plain(each, f"{path}[{i}]", depth + 1) for i, each in enumerate(value)]
        return items if type(value) is list else tuple(items)
    return coerce(value, path, depth)


_DEEP: Final = 64
"""Deeper values are left to ``coerce``, which refuses them."""


# --- each kind of space ------------------------------------------------------------------------


def _as_it_is(value: Any) -> Any:
    return value


def _integer(space: spaces.Space[Any]) -> Cast:
    assert space.dtype is not None
    kind: Any = space.dtype.type

    def cast(value: Any) -> Any:
        if type(value) is kind:
            return value
        if is_arraylike(value) and not isinstance(value, np.generic):
            array = np.asarray(value)
            value = array[()] if array.ndim == 0 else value
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            return value
        limits = np.iinfo(kind)
        return kind(value) if limits.min <= value <= limits.max else value

    return cast


def _integers(space: spaces.Space[Any]) -> Cast:
    """Return the cast of lists of integers, and of other dtypes, to arrays of the space's dtype."""
    dtype, shape = space.dtype, space.shape
    assert dtype is not None

    def cast(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype == dtype:
            return value
        if not isinstance(value, (list, tuple)) and not is_arraylike(value):
            return value
        try:
            array = np.asarray(value)
        except ValueError:  # ragged
            return value
        if array.shape != shape or array.dtype.kind not in "iub":
            return value
        same = array.astype(dtype)
        return same if (same == array).all() else value

    return cast


def _box(space: spaces.Space[Any]) -> Cast:
    assert space.dtype is not None
    return _integers(space) if space.dtype.kind in "iu" else _as_it_is


def _dict(space: Any) -> Cast:
    casts = {key: cast_for(each) for key, each in space.spaces.items()}

    def cast(value: Any) -> Any:
        if not isinstance(value, Mapping) or value.keys() != casts.keys():
            return value
        return {key: casts[key](each) for key, each in value.items()}

    return cast


def _tuple(space: Any) -> Cast:
    casts = [cast_for(each) for each in space.spaces]

    def cast(value: Any) -> Any:
        if not isinstance(value, (tuple, list)) or len(value) != len(casts):
            return value
        return tuple(one(each) for one, each in zip(casts, value, strict=True))

    return cast


def _one_of(space: Any) -> Cast:
    casts = [cast_for(each) for each in space.spaces]

    def cast(value: Any) -> Any:
        if not (isinstance(value, tuple) and len(value) == 2 and value[0] in range(len(casts))):
            return value
        return np.int64(value[0]), casts[int(value[0])](value[1])

    return cast


def _sequence(space: Any) -> Cast:
    if space.stack:
        return _as_it_is
    one = cast_for(space.feature_space)

    def cast(value: Any) -> Any:
        return tuple(map(one, value)) if isinstance(value, (tuple, list)) else value

    return cast


_CASTS: Final[dict[type, Callable[[Any], Cast]]] = {
    spaces.Discrete: _integer,
    spaces.Box: _box,
    spaces.MultiBinary: _integers,
    spaces.MultiDiscrete: _integers,
    spaces.Dict: _dict,
    spaces.Tuple: _tuple,
    spaces.OneOf: _one_of,
    spaces.Sequence: _sequence,
}
