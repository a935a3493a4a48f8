"""The layers of an environment: wrappers from the outside in, itself, the lanes of a vector."""

from __future__ import annotations

import functools
import types
from enum import Enum
from typing import Any, Final

from gymnasium import Env, Space, Wrapper
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import PassiveEnvChecker

from simgit.gym.spec.spec import only_looks_on

LEFT_OUT: Final = frozenset({
    # its construction
    "env", "envs", "env_fns", "unwrapped", "spec", "_cached_spec", "metadata", "_metadata",
    "_saved_kwargs", "_ezpickle_args", "_ezpickle_kwargs", "reward_range", "observation_mode",
    "autoreset_mode",
    # spaces
    "action_space", "observation_space", "_action_space", "_observation_space",
    "single_action_space", "single_observation_space", "_single_action_space",
    "_single_observation_space",
    # random generators, which are captured separately
    "_np_random", "_np_random_seed",
    # rendering
    "render_mode", "render_state",
})  # fmt: skip
"""Attributes that are never state."""
_DRAWS: Final = frozenset({
    "screen", "clock", "window", "surf", "isopen", "font", "render_size", "viewer", "renderer",
    "mujoco_renderer", "window_surface", "clicked",
})  # fmt: skip
"""Attributes of rendering: in the environments of ``_KNOWN``, and elsewhere if they are None.

(Elsewhere ``clock`` may be simulated time, and ``window`` the last observations.)
"""
_KNOWN: Final = ("gymnasium", "minigrid", "ale_py")
_CHECKED: Final = {
    "checked_reset": True, "checked_step": True, "checked_data_reuse": True, "_previous_data": None,
}  # fmt: skip
"""The environment checker: what it keeps of the results is not state."""
_CONSTANT: Final = (
    Space,
    EnvSpec,
    Enum,
    type,
    functools.partial,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
)
_DRAWING: Final = ("pygame", "glfw", "matplotlib", "OpenGL", "moviepy", "pyglet", "tkinter")


def layers(env: Any) -> list[Any]:
    """Return an environment's wrappers from the outside in, the environment, and its lanes.

    Wrappers that change nothing are left out; see ``simgit.gym.spec.spec.only_looks_on``.
    """
    found: list[Any] = []
    _descend(env, found)
    return found


def _descend(env: Any, found: list[Any]) -> None:
    while True:
        if not (isinstance(env, Wrapper) and only_looks_on(env)):
            found.append(env)
        if is_core(env):
            break
        env = env.env
    for part in getattr(env, "envs", ()):
        _descend(part, found)


def is_core(layer: Any) -> bool:
    """Return True if a layer is not a wrapper."""
    return "env" not in vars(layer) or not isinstance(layer.env, (Env, VectorEnv))


def state_of(layer: Any, owned: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the attributes of a layer that are state, by name."""
    found = {
        name: value
        for name, value in vars(layer).items()
        if name not in LEFT_OUT and name not in owned and not _is_constant(value)
        if name not in _DRAWS or not _draws(layer, value)
    }
    return found | _CHECKED if isinstance(layer, PassiveEnvChecker) else found


def _draws(layer: Any, value: Any) -> bool:
    return value is None or type(layer).__module__.partition(".")[0] in _KNOWN


def put_state(layer: Any, state: dict[str, Any], owned: frozenset[str] = frozenset()) -> None:
    """Set the attributes of a layer that are state, and remove later ones."""
    for name in state_of(layer, owned).keys() - state.keys():
        if name in _DRAWS:
            vars(layer)[name] = None  # such an attribute is left out
        else:
            del vars(layer)[name]
    vars(layer).update(state)


def _is_constant(value: Any) -> bool:
    if isinstance(value, _CONSTANT):
        return True
    return type(value).__module__.partition(".")[0] in _DRAWING


def class_name(layer: Any) -> str:
    """Return the full name of a layer's class."""
    return f"{type(layer).__module__}.{type(layer).__qualname__}"
