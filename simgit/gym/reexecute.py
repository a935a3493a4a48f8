"""Executing recorded actions again, each state compared with the recorded one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gymnasium.spaces import Discrete

from simgit.errors import InvalidInput
from simgit.gym.compare import Comparer
from simgit.gym.rows import Row, rows
from simgit.gym.values import thaw
from simgit.trajectory import Trajectory

Progress = Callable[[int, int | None], None]
"""Called with how many steps are done, and how many there are."""


class Reexecution:
    """An environment that is led along recorded states."""

    def __init__(
        self, env: Any, *, total: int | None = None, progress: Progress | None = None
    ) -> None:
        self._env = env
        self._comparer = Comparer(env)
        self._thaw = _thawer(env.action_space)
        self._total = total
        self._progress = progress
        self.done = 0

    def lead(self, states: Trajectory, *, seed: Any = None, compare: bool = True) -> None:
        """Go along states to the last one; see ``along``."""
        for _ in self.along(states, seed=seed, compare=compare):
            pass

    def along(self, states: Trajectory, *, seed: Any = None, compare: bool = True) -> Iterator[Row]:
        """Go along states, and yield each when it is reached.

        The environment stands where the first one follows.

        Args:
            states: the states.
            seed: of the first one, if that is a reset that was given none.
            compare: whether to compare.

        Raises:
            Divergence: the environment returned something else than is recorded.
            InvalidInput: a state has neither an action nor a reset.
        """
        for state in rows(states):
            returned = self._follow(state, seed)
            seed = None
            if compare:
                self._comparer.check(state, returned)
            self.done += 1
            if self._progress is not None and (self.done & 63 == 0 or self.done == self._total):
                self._progress(self.done, self._total)
            yield state

    def _follow(self, state: Row, seed: Any) -> tuple[Any, ...]:
        """Do what led to a state; return what the environment returned."""
        reset = state.reset
        if reset is not None:
            given = reset.get("seed")
            options = reset.get("options")
            returned: tuple[Any, ...] = self._env.reset(
                seed=seed if given is None else int(given), options=options
            )
            return returned
        action = state.action
        if action is None:
            raise InvalidInput(
                f"step {state.step} has neither an action nor a reset: it cannot be executed again",
                step=state.step,
            )
        stepped: tuple[Any, ...] = self._env.step(self._thaw(action))
        return stepped


def _thawer(space: Any) -> Callable[[Any], Any]:
    """Return what makes an action for the environment of a recorded one."""
    if isinstance(space, Discrete):
        assert space.dtype is not None
        kind: Any = space.dtype.type
        return lambda action: kind(action)
    return lambda action: thaw(space, action)
