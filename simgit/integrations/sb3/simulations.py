"""``learn`` as a simulation, which people can watch, pause and stop."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.vec_env import DummyVecEnv

from simgit.errors import Stopped
from simgit.live.attached import controlled

if TYPE_CHECKING:
    from simgit.repository import Repository


class _Lanes:
    """The recorders of a vector, as a control takes them.

    Viewers ask in other threads, which must not speak to the processes of a SubprocVecEnv: the step
    is counted, and found anew at each rollout.
    """

    def __init__(self, venv: Any) -> None:
        self._venv = venv
        self.step_count = -1

    def flush(self) -> None:
        self._venv.env_method("flush")

    def hasten(self, seconds: float, valid: float) -> None:
        if isinstance(self._venv.unwrapped, DummyVecEnv):
            self._venv.env_method("hasten", seconds, valid)


class LearningSimulation:
    """A call of ``learn``, which people can watch, pause and stop."""

    def __init__(self, repo: Repository, run: str, venv: Any, again: str) -> None:
        """Begin; ``again`` says how it is resumed."""
        self._venv = venv
        self._lanes = _Lanes(venv)
        self.find_step()
        self._block = controlled(repo, run, self._lanes, "sb3", again=again)
        self._control = self._block.__enter__()

    def find_step(self) -> None:
        """Ask the first lane for its step, in the thread that learns."""
        self._lanes.step_count = int(self._venv.get_attr("step_count", [0])[0])

    def goes_on(self, model: Any) -> bool:
        """Look after a step; return False if somebody stops it."""
        self._lanes.step_count += 1
        if self._control is None:
            return True
        self._control.progress(model.num_timesteps, model._total_timesteps, "timesteps")
        try:
            self._control.check()
        except Stopped:
            return False
        return True

    def end(self, error: BaseException | None) -> None:
        """Note how it ended."""
        with suppress(Stopped):
            self._block.__exit__(None if error is None else type(error), error, None)
