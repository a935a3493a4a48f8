"""Environments that show late which random numbers they draw: their runs share the first states."""

from __future__ import annotations

import random
from typing import Any

import gymnasium as gym
import numpy as np

from simgit.gym import Lane

QUIET = 4
"""The steps after a reset that show nothing."""


class Late(gym.Env[Any, Any]):
    """Draws at each reset and step from its own generator, and shows it later."""

    observation_space = gym.spaces.Box(-1e9, 1e9, (1,), np.float64)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.level, self.time = self.draw(), 0
        return np.zeros(1), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        self.level += self.draw() + 0.1 * float(action)
        shown = self.level if self.time > QUIET else 0.0
        return np.array([shown]), shown, False, self.time >= 3 * QUIET, {}

    def draw(self) -> float:
        return float(self.np_random.random())


class Global(Late):
    """Draws from Python's global generator, which no seed of a reset sets."""

    def draw(self) -> float:
        return random.random()


class Hidden(Late):
    """Draws from a generator that it makes itself, which no seed sets and Gymnasium does not see."""

    def __init__(self) -> None:
        self.hidden = np.random.default_rng()

    def draw(self) -> float:
        return float(self.hidden.random())


gym.register("tests/Late-v0", Late)
gym.register("tests/Hidden-v0", Hidden)
gym.register("tests/Global-v0", Global)


def lane(env: str) -> Lane:
    """Return one of them for a vector; a process that is spawned for it imports this module."""
    return Lane(gym.make(env))
