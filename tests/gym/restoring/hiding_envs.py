"""Environments that hide a part of their state from the snapshots of their own driver."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Hiding(gym.Env[Any, Any]):
    """Its own snapshots lack ``hidden``, which counts the actions 1, and shows at some steps."""

    observation_space = gym.spaces.Box(-1e9, 1e9, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    shows_from = 0

    def __init__(self, shows_from: int = 0, hides_from: int = 1) -> None:
        """Show it from a step of an episode on; hide it from snapshots from an episode on."""
        self.shows_from, self.hides_from = shows_from, hides_from
        self.time = self.hidden = self.episode = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = self.hidden = 0
        self.episode += 1
        return self.seen(), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        self.hidden += int(action)
        return self.seen(), 0.0, False, False, {}

    def seen(self) -> Any:
        shown = self.hidden if self.time >= self.shows_from else 0
        return np.array([float(self.time + 1000 * shown)])

    def get_state(self) -> Any:
        shown = {"hidden": self.hidden} if self.episode < self.hides_from else {}
        return {"time": self.time, "episode": self.episode, **shown}

    def set_state(self, data: Any) -> None:
        self.time, self.episode = int(data["time"]), int(data["episode"])
        self.hidden = int(data.get("hidden", 0))
