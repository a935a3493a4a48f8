"""Snapshots of version 1: they leave out attributes by name and by type."""

from __future__ import annotations

import functools
import types
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from gymnasium import Space
from gymnasium.envs.registration import EnvSpec

from simgit.gym.drivers.wrappers import DRAWS, is_drawing

_LEFT_OUT: Final = frozenset({
    "env", "envs", "env_fns", "unwrapped", "spec", "_cached_spec", "metadata", "_metadata",
    "_saved_kwargs", "_ezpickle_args", "_ezpickle_kwargs", "reward_range", "observation_mode",
    "autoreset_mode", "action_space", "observation_space", "_action_space", "_observation_space",
    "single_action_space", "single_observation_space", "_single_action_space",
    "_single_observation_space", "_np_random", "_np_random_seed", "render_mode", "render_state",
})  # fmt: skip
_CONSTANT: Final = (
    Space, EnvSpec, Enum, type, functools.partial, types.ModuleType, types.FunctionType,
    types.BuiltinFunctionType, types.MethodType,
)  # fmt: skip
_KNOWN: Final = ("gymnasium", "minigrid", "ale_py")


def named(stack: Sequence[Any]) -> dict[tuple[Any, ...], Any]:
    """Return the objects that a pickle of version 1 refers to, by their names then."""
    return {
        ("constant", i, name): value
        for i, layer in enumerate(stack)
        for name, value in vars(layer).items()
        if isinstance(value, (Space, EnvSpec))
    }


def put_state(layer: Any, state: dict[str, Any], owned: frozenset[str]) -> None:
    """Set the attributes of a layer that are state, and remove later ones."""
    held = vars(layer)
    for name in _present(layer, owned) - state.keys():
        if name in DRAWS:
            held[name] = None  # such an attribute is left out
        else:
            del held[name]
    held.update(state)


def _present(layer: Any, owned: frozenset[str]) -> set[str]:
    is_known = type(layer).__module__.partition(".")[0] in _KNOWN
    return {
        name
        for name, value in vars(layer).items()
        if name not in _LEFT_OUT and name not in owned
        if not isinstance(value, _CONSTANT) and not is_drawing(value)
        if name not in DRAWS or not (value is None or is_known)
    }
