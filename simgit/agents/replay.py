"""The replay buffer: a ring of steps in arrays, and multi-step returns.

The arrays have their full shape from the beginning, and a step changes one row of each: two
checkpoints differ only in the rows written between them, and are stored as that difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simgit.agents.base import Vector
from simgit.errors import InvalidInput


class TransitionBatch(NamedTuple):
    """A batch of n steps drawn at random.

    ``discounts`` are the factors of the next observation's value: 0 after an episode that
    terminated, gamma otherwise, gamma^k where ``rewards`` are those of k steps.
    """

    observations: npt.NDArray[np.float32]
    actions: npt.NDArray[np.int64]
    rewards: npt.NDArray[np.float32]
    next_observations: npt.NDArray[np.float32]
    discounts: npt.NDArray[np.float32]


class ReplayBuffer:
    """The last ``capacity`` steps."""

    def __init__(self, capacity: int, observation_size: int) -> None:
        self._rows = TransitionBatch(
            np.zeros((capacity, observation_size), np.float32),
            np.zeros(capacity, np.int64),
            np.zeros(capacity, np.float32),
            np.zeros((capacity, observation_size), np.float32),
            np.zeros(capacity, np.float32),
        )
        self._capacity = capacity
        self._count = 0

    def __len__(self) -> int:
        return min(self._count, self._capacity)

    def add(
        self, observation: Vector, action: int, reward: float, after: Vector, discount: float
    ) -> None:
        """Write one step over the oldest."""
        rows, row = self._rows, self._count % self._capacity
        rows.observations[row] = observation
        rows.actions[row] = action
        rows.rewards[row] = reward
        rows.next_observations[row] = after
        rows.discounts[row] = discount
        self._count += 1

    def sample(self, size: int, rng: np.random.Generator) -> TransitionBatch:
        """Draw steps uniformly, with replacement."""
        drawn, rows = rng.integers(len(self), size=size), self._rows
        return TransitionBatch(
            rows.observations[drawn],
            rows.actions[drawn],
            rows.rewards[drawn],
            rows.next_observations[drawn],
            rows.discounts[drawn],
        )

    def state(self) -> dict[str, Any]:
        """Return all rows, and the number of rows ever written."""
        columns = {name: column.copy() for name, column in self._rows._asdict().items()}
        return {**columns, "count": self._count}

    def load(self, data: Mapping[str, Any]) -> None:
        """Load the rows of a buffer of the same shape; InvalidInput for another shape."""
        for name, column in self._rows._asdict().items():
            given = np.asarray(data[name])
            if given.shape != column.shape or given.dtype != column.dtype:
                raise InvalidInput(
                    f"the checkpoint's replay buffer has {name} of shape {given.shape}, "
                    f"not {column.shape}",
                    path=f"replay.{name}",
                )
            column[...] = given
        self._count = int(data["count"])


class MultiStep:
    """Joins single steps into returns over n steps, within an episode (Sutton & Barto, 7.1)."""

    def __init__(self, steps: int, gamma: float) -> None:
        self._steps = steps
        self._gamma = gamma
        self._open: list[tuple[Vector, int, list[float]]] = []

    def push(
        self,
        observation: Vector,
        action: int,
        reward: float,
        after: Vector,
        terminated: bool,
        ended: bool,
    ) -> list[tuple[Vector, int, float, Vector, float]]:
        """Add a step; return the rows for the buffer that are complete now, oldest first."""
        self._open.append((np.array(observation, np.float32), action, []))
        for _, _, rewards in self._open:
            rewards.append(reward)
        full = len(self._open) if ended else max(0, len(self._open) - self._steps + 1)
        rows = [self._row(*each, after, terminated) for each in self._open[:full]]
        del self._open[:full]
        return rows

    def _row(
        self, observation: Vector, action: int, rewards: list[float], after: Vector, end: bool
    ) -> tuple[Vector, int, float, Vector, float]:
        value = 0.0
        for reward in reversed(rewards):
            value = reward + self._gamma * value
        discount = 0.0 if end else self._gamma ** len(rewards)
        return observation, action, value, after, discount

    def state(self) -> list[Any]:
        """Return the steps that are not complete yet."""
        return [[each.copy(), action, list(rewards)] for each, action, rewards in self._open]

    def load(self, data: list[Any]) -> None:
        """Load the steps of ``state``."""
        self._open = [
            (np.array(o, np.float32), action, list(rewards)) for o, action, rewards in data
        ]
