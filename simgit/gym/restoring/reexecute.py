"""Re-execution of recorded actions, each state compared with the recorded one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gymnasium.spaces import Discrete

from simgit.errors import Divergence, InvalidInput, SimgitError, shown
from simgit.gym import drivers
from simgit.gym.restoring.compare import Comparer
from simgit.gym.spec.values import thaw
from simgit.history.recorded_steps import RecordedStep, recorded_steps
from simgit.history.trajectory import Trajectory

Progress = Callable[[int, int | None], None]
"""Called with the number of steps done, and of all steps."""


class Reexecution:
    """Re-executes recorded actions in an environment."""

    def __init__(
        self,
        env: Any,
        *,
        reseeds: Mapping[int, int] | None = None,
        total: int | None = None,
        progress: Progress | None = None,
        ignore: Iterable[str] = (),
    ) -> None:
        """Take an environment.

        Args:
            env: the environment.
            reseeds: the seeds of its generators, by step; see ``reseeding``.
            total: the number of states in all.
            progress: called with the number of states done, and ``total``.
            ignore: paths of fields that are not compared; see ``Comparer``.
        """
        self._env = env
        self._reseeds = reseeds or {}
        self._comparer = Comparer(env, ignore)
        self._thaw = _thawer(env.action_space)
        self._total = total
        self._progress = progress
        self.done = 0
        self.returned: tuple[Any, ...] = ()
        """The newest result of the environment."""

    def replay(self, states: Trajectory, *, seed: Any = None, compare: bool = True) -> None:
        """Re-execute all states; see ``steps``."""
        for _ in self.steps(states, seed=seed, compare=compare):
            pass

    def steps(
        self, states: Trajectory, *, seed: Any = None, compare: bool = True
    ) -> Iterator[RecordedStep]:
        """Re-execute states one after another, and yield each when it is reached.

        The environment must be where the first state follows.

        Args:
            states: the states.
            seed: the seed of the first state, if that is an unseeded reset.
            compare: compare each state with the recorded one.

        Raises:
            Divergence: the environment returned something else than recorded, or raised.
            InvalidInput: a state has neither an action nor a reset, or the environment is one on
                a live cluster.
        """
        for state in recorded_steps(states):
            if getattr(self._env.unwrapped, "is_live", False):
                raise InvalidInput("live: not re-executed, since a live cluster need not repeat")
            if _moves(state, states):
                if state.step - 1 in self._reseeds:
                    drivers.select(self._env).reseed(self._env, self._reseeds[state.step - 1])
                self.returned = self._follow(state, seed)
                seed = None
                if compare:
                    self._comparer.check(state, self.returned)
            self.done += 1
            if self._progress is not None and (self.done & 63 == 0 or self.done == self._total):
                self._progress(self.done, self._total)
            yield state

    def _follow(self, state: RecordedStep, seed: Any) -> tuple[Any, ...]:
        """Execute the action or reset that led to a state; return the environment's result."""
        try:
            if state.reset is None:
                stepped: tuple[Any, ...] = self._env.step(self._thaw(state.given("action")))
                return stepped
            mark = state.given("reset")
            given = mark.get("seed")
            returned: tuple[Any, ...] = self._env.reset(
                seed=seed if given is None else int(given), options=mark.get("options")
            )
            return returned
        except SimgitError:
            raise
        except Exception as error:
            raise raised(state.step, error) from error


def raised(step: int, error: Exception) -> Divergence:
    """Return the Divergence for an exception that the recorded environment did not raise."""
    found = f"{type(error).__name__}: {error}"
    return Divergence(
        f"the environment does not repeat step {step}: it raises {shown(found)}",
        step=step, field="exception", recorded=None, found=found,
    )  # fmt: skip


def _moves(state: RecordedStep, states: Trajectory) -> bool:
    """Return True if the environment gave a state; False for a merge of agents.

    Raises:
        InvalidInput: the state has neither an action nor a reset.
    """
    if state.action is not None or state.reset is not None:
        return True
    if len(states[state.step - states.start].parents) > 1:
        return False
    raise InvalidInput(
        f"step {state.step} has neither an action nor a reset: cannot re-execute it",
        step=state.step,
    )


def _thawer(space: Any) -> Callable[[Any], Any]:
    """Return the function from recorded actions to actions of the environment."""
    if isinstance(space, Discrete):
        assert space.dtype is not None
        kind: Any = space.dtype.type
        return lambda action: kind(action)
    return lambda action: thaw(space, action)
