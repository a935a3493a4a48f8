"""Exploration: epsilon-greedy, with random actions that may be repeated for several steps.

Plain epsilon-greedy tries single actions, a random walk: it does not reach a goal that takes thirty
equal actions in a row. With ``repeat`` each random action is repeated for a number of steps drawn
from a zeta distribution, P(n) ∝ n^-repeat (Dabney, Ostrovski, Barreto: Temporally-Extended
ε-Greedy Exploration, ICLR 2021, who use 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import numpy as np

from simgit.agents.base import check, rng_state, set_rng

LONGEST: Final = 1000
"""The greatest duration."""


@dataclass(frozen=True, slots=True)
class ExplorationSettings:
    """The settings: epsilon falls linearly to ``epsilon_min`` over ``epsilon_steps``.

    ``repeat`` is the exponent of the durations of random actions; with 0 each lasts one step.
    """

    epsilon: float = 1.0
    epsilon_min: float = 0.1
    epsilon_steps: int = 1000
    repeat: float = 0.0

    def check(self) -> None:
        """Raise InvalidInput for a value out of range."""
        check("epsilon", self.epsilon, 0, 1)
        check("epsilon_min", self.epsilon_min, 0, 1)
        check("epsilon_steps", self.epsilon_steps, 1)
        if self.repeat:
            check("repeat", self.repeat, 1.01, 10)


class Exploration:
    """Chooses at each step between the agent's action and a random one."""

    def __init__(
        self, settings: ExplorationSettings, actions: int, rng: np.random.Generator
    ) -> None:
        settings.check()
        self._settings = settings
        self._actions = actions
        self._rng = rng
        self._durations = _durations(settings.repeat) if settings.repeat else None
        self.steps = 0
        self._action = 0
        self._left = 0

    @property
    def epsilon(self) -> float:
        """The probability of a random action at the next step."""
        first, last = self._settings.epsilon, self._settings.epsilon_min
        done = min(1.0, self.steps / self._settings.epsilon_steps)
        return first + (last - first) * done

    def choose(self, best: Callable[[], int]) -> int:
        """Return a random action, new or repeated, or ``best()``, called only if needed."""
        epsilon = self.epsilon
        self.steps += 1
        if self._left:
            self._left -= 1
            return self._action
        if self._rng.random() >= epsilon:
            return best()
        self._action = int(self._rng.integers(self._actions))
        if self._durations is not None:
            self._left = int(np.searchsorted(self._durations, self._rng.random(), side="right"))
        return self._action

    def end_episode(self) -> None:
        """Stop repeating an action at an episode's end."""
        self._left = 0

    def state(self) -> dict[str, Any]:
        """Return counters and generator as plain data."""
        return {
            "steps": self.steps,
            "action": self._action,
            "left": self._left,
            "rng": rng_state(self._rng),
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """Load the data of ``state``."""
        self.steps, self._action, self._left = data["steps"], data["action"], data["left"]
        set_rng(self._rng, data["rng"])


def _durations(exponent: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the cumulative distribution of the further steps of a repeated action."""
    weights = [float(n) ** -exponent for n in range(1, LONGEST + 1)]
    total = sum(weights)
    return np.array([min(1.0, part / total) for part in accumulate(weights)])[:-1]
