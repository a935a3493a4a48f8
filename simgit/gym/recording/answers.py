"""An environment that first gives recorded answers: the resume of what is not re-executed."""

from __future__ import annotations

from typing import Any

import gymnasium

from simgit.gym.spec.values import thaw
from simgit.history.recorded_steps import RecordedStep, recorded_steps
from simgit.history.trajectory import Trajectory


class RecordedAnswers(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Answers from recorded states, one after another, and then from the environment.

    The environment has to be at the last of them. Whether what is asked is what was recorded, is
    compared by the recorder.
    """

    is_observer = True
    """It changes nothing; see ``simgit.gym.spec``."""

    def __init__(self, env: gymnasium.Env[Any, Any], states: Trajectory) -> None:
        """Take an environment, and the states up to the one that it is at."""
        super().__init__(env)
        self._rows = (
            each
            for each in recorded_steps(states)
            if each.action is not None or each.reset is not None  # not a merge of agents
        )

    def _next(self) -> RecordedStep | None:
        return next(self._rows, None)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, as it was recorded."""
        state = self._next()
        if state is None:
            return self.env.reset(seed=seed, options=options)
        return self._observation(state), dict(state.info or {})

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Return what an action had led to."""
        state = self._next()
        if state is None:
            return self.env.step(action)
        ends = bool(state.terminated), bool(state.truncated)
        return self._observation(state), state.reward, *ends, dict(state.info or {})

    def _observation(self, state: RecordedStep) -> Any:
        return thaw(self.env.observation_space, state.observation)
