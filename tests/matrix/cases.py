"""The environments of the matrix: all that are installed of the families that simgit promises."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym

FAMILIES = {
    "classic control": "gymnasium.envs.classic_control.",
    "toy text": "gymnasium.envs.toy_text.",
    "MuJoCo": "gymnasium.envs.mujoco.",
    "Box2D": "gymnasium.envs.box2d.",
    "MiniGrid": "minigrid.envs",
    "BabyAI": "minigrid.envs.babyai",
    "Atari": "ale_py.env:",
}
SMALL = (
    "CartPole-v1", "Pendulum-v1", "Taxi-v4", "Blackjack-v1", "Hopper-v5", "LunarLander-v3",
    "MiniGrid-Empty-5x5-v0", "BabyAI-GoToObj-v0",
)  # fmt: skip
"""The matrix of continuous integration: one or two of each family."""
W = gym.wrappers


@dataclass(frozen=True)
class Case:
    """An environment of the matrix."""

    family: str
    name: str
    make: Callable[[], Any] | None = None
    vector: dict[str, Any] | None = None
    """For vector forms the recipe of ``tests/support/continuation.py``."""


def cases() -> Iterator[Case]:
    """Yield all environments, those of small families first."""
    for module in ("ale_py", "minigrid"):
        importlib.import_module(module)
    yield from wrapped()
    yield from vectors()
    found: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for spec in gym.registry.values():
        family = family_of(spec)
        if family is not None and is_newest(spec):
            found[family].append(spec.id)
    for family, names in found.items():
        yield from (Case(family, name) for name in sorted(names))


def family_of(spec: Any) -> str | None:
    """Return the family that an environment belongs to; the longest beginning decides."""
    entry = spec.entry_point
    if not isinstance(entry, str) or (entry.startswith("ale_py.") and spec.namespace != "ALE"):
        return None
    fitting = [family for family, start in FAMILIES.items() if entry.startswith(start)]
    return max(fitting, key=lambda family: len(FAMILIES[family]), default=None)


def is_newest(spec: Any) -> bool:
    """Return whether there is no later version of an environment."""
    same = [
        s for s in gym.registry.values() if (s.namespace, s.name) == (spec.namespace, spec.name)
    ]
    return spec.version == max(s.version or 0 for s in same) or spec.version is None


def wrapped() -> Iterator[Case]:
    """Yield environments with wrappers that have state of their own."""
    stacks = {
        "RecordEpisodeStatistics": lambda env: W.RecordEpisodeStatistics(env),
        "FrameStackObservation(4)": lambda env: W.FrameStackObservation(env, 4),
        "NormalizeObservation": lambda env: W.NormalizeObservation(env),
        "NormalizeReward": lambda env: W.NormalizeReward(env),
        "StickyAction(0.25)": lambda env: W.StickyAction(env, 0.25),
        "DelayObservation(3)": lambda env: W.DelayObservation(env, 3),
        "TimeAwareObservation": lambda env: W.TimeAwareObservation(env),
        "five of them": _several,
    }
    for name, wrap in stacks.items():
        yield Case("wrappers", f"CartPole-v1, {name}", partial(_wrap, wrap, "CartPole-v1"))
    yield Case("wrappers", "Hopper-v5, normalised", partial(_wrap, _normalised, "Hopper-v5"))
    yield Case("wrappers", "Pong, preprocessed, 4 frames", partial(_wrap, _preprocessed, _PONG))


_PONG = "ALE/Pong-v5"


def _wrap(wrap: Callable[[Any], Any], name: str) -> Any:
    arguments = {"frameskip": 1} if name == _PONG else {}
    return wrap(gym.make(name, **arguments))


def _several(env: Any) -> Any:
    env = W.NormalizeObservation(W.RecordEpisodeStatistics(env))
    return W.StickyAction(W.FrameStackObservation(W.NormalizeReward(env), 4), 0.25)


def _normalised(env: Any) -> Any:
    return W.NormalizeReward(W.NormalizeObservation(W.ClipAction(env)))


def _preprocessed(env: Any) -> Any:
    return W.FrameStackObservation(W.AtariPreprocessing(env), 4)


def vectors() -> Iterator[Case]:
    """Yield vector environments in one process; their snapshots are taken from outside."""
    for name in ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1"):
        for mode in ("NextStep", "SameStep"):
            recipe = _recipe(name, mode, "sync")
            yield Case("vector", f"{name} ×4, sync, {mode}", vector=recipe)
    yield Case("vector", "CartPole-v1 ×4, native", vector=_recipe("CartPole-v1"))
    yield Case("vector", "Hopper-v5 ×2, sync", vector={**_recipe("Hopper-v5", "NextStep", "sync")})


def _recipe(name: str, mode: str | None = None, kind: str | None = None) -> dict[str, Any]:
    kwargs: dict[str, Any] = {} if kind is None else {"vectorization_mode": kind}
    if mode is not None:
        kwargs["vector_kwargs"] = {"autoreset_mode": mode}
    return {"id": name, "vector": 4, "kwargs": kwargs}
