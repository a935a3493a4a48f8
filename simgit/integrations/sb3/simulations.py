"""Learning as a simulation: a type that is started by names, and ``learn`` of a script."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.vec_env import DummyVecEnv

from simgit.errors import InvalidInput
from simgit.live.attached import controlled
from simgit.live.control import Stopped

if TYPE_CHECKING:
    from simgit.live.control import Control
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

    def __init__(self, repo: Repository, run: str, venv: Any) -> None:
        """Begin."""
        self._venv = venv
        self._lanes = _Lanes(venv)
        self.find_step()
        self._block = controlled(repo, run, self._lanes, "sb3")
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


def sb3(control: Control) -> None:
    """Train an algorithm of Stable-Baselines3, or resume a training from its newest checkpoint.

    Settings: ``environment``: the ``id``, and the arguments that it is made with; ``agent``: the
    ``name`` of the algorithm, such as "sb3:PPO", and its arguments, such as ``policy``;
    ``training``: the ``total`` of timesteps, and the timesteps between two checkpoints, ``every``.
    """
    from simgit.integrations.sb3 import training

    repo, run = control.repo, control.run
    if repo.runs[run].oid is None:
        where, agent = dict(control.config["environment"]), dict(control.config["agent"])
        times = control.config["training"]
        if not where.get("id"):
            raise InvalidInput("setting 'environment.id' is missing", path="environment.id")
        seed = {} if control.seed is None else {"seed": control.seed}
        work = training.begin(
            repo, run, agent.pop("name"), agent, where.pop("id"), where, steps=times["total"],
            every=times["every"], **seed,
        )  # fmt: skip
    else:
        work = training.resume(repo, run)
    shown = [0]

    def tell(steps: int, mean: float) -> None:
        if steps * 10 // work.total != shown[0]:
            shown[0] = steps * 10 // work.total
            control.log(f"{steps} of {work.total} timesteps: mean return {mean:.6g}")

    work.finish(tell)


sb3.defaults = {  # type: ignore[attr-defined]
    "environment": {"id": ""},
    "agent": {"name": "sb3:PPO"},
    "training": {"total": 10_000, "every": None},
}
sb3.imports = ("environment.id",)  # type: ignore[attr-defined]
sb3.environments = (("environment.id", "environment"),)  # type: ignore[attr-defined]
sb3.is_fixed = True  # type: ignore[attr-defined]
