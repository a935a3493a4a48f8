"""Epsilon-greedy tables: one row of action values for each discretised state.

Q-learning (Watkins 1989) without function approximation: a cell learns nothing from its
neighbours. Only sums and products of floats: the same seed gives the same bits on every machine.
See docs/agents/greedy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.agents.base import (
    Checkpoint,
    Vector,
    build,
    check,
    check_kind,
    check_settings,
    generator,
    loading,
    plain,
)
from simgit.agents.exploration import Exploration, ExplorationSettings

KIND: Final = "greedy"
VERSION: Final = 1
_SLACK: Final = 1e-4
"""The tolerance at a cell's bound, which a float32 may miss slightly."""

Cell = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GreedySettings(ExplorationSettings):
    """The settings of the tables."""

    lr: float = 0.5
    gamma: float = 0.97
    resolution: int = 16
    """Cells per unit of an observation's element; a cell includes its upper bound."""
    initial: float = 0.0
    """The value of an untried action; above all rewards it encourages exploration."""
    backward: bool = True
    """Learn from an episode once more when it ends, from its last step to its first."""

    def check(self) -> None:
        """Raise InvalidInput for a value out of range."""
        ExplorationSettings.check(self)
        check("lr", self.lr, 1e-9, 1)
        check("gamma", self.gamma, 0, 1)
        check("resolution", self.resolution, 1)


SETTINGS: Final = GreedySettings
"""The dataclass of this agent's settings, for ``registry``."""


def make(observation_size: int, actions: int, seed: int, settings: Mapping[str, Any]) -> Greedy:
    """Make an agent from settings by name."""
    return Greedy(observation_size, actions, seed, build(GreedySettings, settings))


class Greedy:
    """Learns a table of values by Q-learning."""

    def __init__(
        self,
        observation_size: int,
        actions: int,
        seed: int = 0,
        settings: GreedySettings | None = None,
    ) -> None:
        """Make a new agent; see ``simgit.agents.make``."""
        self._settings = settings or GreedySettings()
        self._settings.check()
        self._shape = {"observation_size": observation_size, "actions": actions}
        self._exploration = Exploration(self._settings, actions, generator(seed, 1))
        self._table: dict[Cell, list[float]] = {}
        self._episode: list[tuple[Cell, int, float, Cell | None]] = []
        self._learned = 0
        self._ended = False

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        return plain(self._settings)

    def values(self, observations: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the values of all actions, shape (n, actions), of observations (n, size)."""
        return np.array([self._known(self._cell(each)) for each in np.asarray(observations)])

    def act(self, observation: Vector, *, explore: bool) -> int:
        """Return the action of the greatest value; while exploring, sometimes another."""

        def best() -> int:
            values = self._known(self._cell(observation))
            return values.index(max(values))  # the first of equals

        return self._exploration.choose(best) if explore else best()

    def observe(
        self,
        observation: Vector,
        action: int,
        reward: float,
        next_observation: Vector,
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Keep a step until ``update``, or all of an episode until its end."""
        after = None if terminated else self._cell(next_observation)
        self._episode.append((self._cell(observation), action, reward, after))
        if terminated or truncated:
            self._exploration.end_episode()
            self._ended = True

    def update(self) -> dict[str, float]:
        """Learn from the newest step, and at an episode's end from all of it."""
        errors = [self._learn(*step) for step in self._episode[self._learned :]]
        self._learned = len(self._episode)
        if self._ended:
            if self._settings.backward:
                errors += [self._learn(*step) for step in reversed(self._episode)]
            self._episode, self._learned, self._ended = [], 0, False
        loss = sum(abs(error) for error in errors) / max(1, len(errors))
        return {
            "epsilon": self._exploration.epsilon,
            "loss": loss,
            "cells": float(len(self._table)),
        }

    def _learn(self, cell: Cell, action: int, reward: float, after: Cell | None) -> float:
        row = self._table.setdefault(cell, [self._settings.initial] * self._shape["actions"])
        future = 0.0 if after is None else self._settings.gamma * max(self._known(after))
        error = reward + future - row[action]
        row[action] += self._settings.lr * error
        return error

    def _cell(self, observation: npt.ArrayLike) -> Cell:
        scaled = np.asarray(observation, np.float64) * self._settings.resolution
        return tuple(int(each) for each in np.ceil(scaled - _SLACK))

    def _known(self, cell: Cell) -> list[float]:
        return self._table.get(cell) or [self._settings.initial] * self._shape["actions"]

    def state(self) -> Checkpoint:
        """Return tables, counters and the generator as plain data."""
        size, actions = self._shape["observation_size"], self._shape["actions"]
        return {
            "kind": KIND,
            "version": VERSION,
            **self._shape,
            "settings": self.settings,
            "cells": np.array(list(self._table), np.int64).reshape(-1, size),
            "values": np.array(list(self._table.values()), np.float64).reshape(-1, actions),
            "episode": [
                [list(cell), action, reward, None if after is None else list(after)]
                for cell, action, reward, after in self._episode
            ],
            "learned": self._learned,
            "ended": self._ended,
            "exploration": self._exploration.state(),
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """Load a checkpoint; the agent keeps its own settings, such as lr and gamma.

        Raises:
            InvalidInput: the checkpoint is of another kind of agent, or of other shapes.
        """
        check_kind(data, KIND, VERSION, **self._shape)
        with loading(KIND):
            self._load(data)

    def _load(self, data: Mapping[str, Any]) -> None:
        check_settings(data, self.settings, "resolution")
        cells = map(tuple, np.asarray(data["cells"]).tolist())
        self._table = dict(zip(cells, np.asarray(data["values"]).tolist(), strict=True))
        self._episode = [
            (tuple(cell), action, reward, None if after is None else tuple(after))
            for cell, action, reward, after in data["episode"]
        ]
        self._learned, self._ended = data["learned"], data["ended"]
        self._exploration.load(data["exploration"])
