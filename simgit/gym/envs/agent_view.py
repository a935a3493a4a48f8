"""The view of an environment that an agent has: vectors and numbered actions, both with names."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from simgit.errors import InvalidInput, NotFound
from simgit.gym.envs.registration import register


def make(name: str, **arguments: Any) -> gymnasium.Env[Any, Any]:
    """Make a registered environment, such as 'simgit/SimKube-v0' or 'CartPole-v1'.

    Raises:
        NotFound: no environment of this name, or a package is not installed.
        InvalidInput: the environment does not take these arguments.
    """
    register()
    try:
        return gymnasium.make(name, **arguments)
    except (gymnasium.error.Error, ImportError) as error:
        why = str(error).strip().splitlines()[0].rstrip(".")
        raise NotFound(f"cannot make environment '{name}': {why}", name=name) from None
    except TypeError as error:
        raise InvalidInput(f"cannot make environment '{name}': {error}") from None


class View:
    """Turns observations into vectors and numbers of actions into actions.

    ``size`` is the number of elements of a vector, ``actions`` are the names of the actions.
    """

    def __init__(self, env: Any) -> None:
        """Check the spaces; InvalidInput if an agent cannot use them."""
        self._space = env.observation_space
        actions = env.action_space
        if not isinstance(actions, spaces.Discrete):
            raise InvalidInput(f"agents need a Discrete action space, got {actions}")
        if not self._space.is_np_flattenable:
            raise InvalidInput(
                f"agents need observations that flatten to a vector, got {self._space}"
            )
        assert actions.dtype is not None
        first = int(actions.start)
        # of the type that the space samples: recorded without a cast
        self._numbers = [actions.dtype.type(first + n) for n in range(int(actions.n))]
        self.size: int = spaces.flatdim(self._space)
        task = getattr(env.unwrapped, "task", None)
        named = getattr(task, "actions", None)
        self.actions: tuple[str, ...] = tuple(named) if named else tuple(map(str, self._numbers))

    def vector(self, observation: Any) -> npt.NDArray[np.float32]:
        """Return an observation as a vector of shape (size,)."""
        if type(observation) is np.ndarray and observation.ndim == 1:
            return observation.astype(np.float32, copy=False)
        return np.asarray(spaces.flatten(self._space, observation), np.float32)

    def action(self, number: int) -> np.integer[Any]:
        """Return the environment's action of a number, counted from 0."""
        chosen: np.integer[Any] = self._numbers[number]
        return chosen
