"""Executing recorded actions again, each state compared with the recorded one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gymnasium.spaces import Discrete

from simgit.errors import Divergence, InvalidInput, SimgitError, shown
from simgit.gym import drivers
from simgit.gym.restoring.compare import Comparer
from simgit.gym.restoring.rows import Row, rows
from simgit.gym.spec.values import thaw
from simgit.history.trajectory import Trajectory

Progress = Callable[[int, int | None], None]
"""Called with how many steps are done, and how many there are."""


class Reexecution:
    """An environment that is led along recorded states."""

    def __init__(
        self,
        env: Any,
        *,
        reseeds: Mapping[int, int] | None = None,
        total: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Take an environment.

        Args:
            env: the environment.
            reseeds: where it gets new random numbers; see ``reseeding``.
            total: how many states there will be.
            progress: called with how many are done, and ``total``.
        """
        self._env = env
        self._reseeds = reseeds or {}
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
            Divergence: the environment returned something else than is recorded, or raised.
            InvalidInput: a state has neither an action nor a reset.
        """
        for state in rows(states):
            if _moves(state, states):
                if state.step - 1 in self._reseeds:
                    drivers.select(self._env).reseed(self._env, self._reseeds[state.step - 1])
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
        try:
            if state.reset is None:
                stepped: tuple[Any, ...] = self._env.step(self._thaw(state.action))
                return stepped
            given = state.reset.get("seed")
            returned: tuple[Any, ...] = self._env.reset(
                seed=seed if given is None else int(given), options=state.reset.get("options")
            )
            return returned
        except SimgitError:
            raise
        except Exception as error:
            raise raised(state.step, error) from error


def raised(step: int, error: Exception) -> Divergence:
    """Return what an exception of the environment means: there was none when it was recorded."""
    found = f"{type(error).__name__}: {error}"
    return Divergence(
        f"the environment does not repeat step {step}: it raises {shown(found)}",
        step=step, field="exception", recorded=None, found=found,
    )  # fmt: skip


def _moves(state: Row, states: Trajectory) -> bool:
    """Return whether the environment moved to a state; a merge of agents does nothing to it.

    Raises:
        InvalidInput: what led to the state was not recorded.
    """
    if state.action is not None or state.reset is not None:
        return True
    if len(states[state.step - states.start].parents) > 1:
        return False
    raise InvalidInput(
        f"step {state.step} has neither an action nor a reset: it cannot be executed again",
        step=state.step,
    )


def _thawer(space: Any) -> Callable[[Any], Any]:
    """Return what makes an action for the environment of a recorded one."""
    if isinstance(space, Discrete):
        assert space.dtype is not None
        kind: Any = space.dtype.type
        return lambda action: kind(action)
    return lambda action: thaw(space, action)
