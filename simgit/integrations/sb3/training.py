"""Trainings by names and plain settings: an algorithm and an environment of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import DummyVecEnv

from simgit.errors import InvalidInput, Stopped, near_or_known
from simgit.gym import Recorder
from simgit.gym.envs.agent_view import make
from simgit.gym.spec.permit import Trust
from simgit.integrations.sb3 import checkpoints, resuming, settings
from simgit.integrations.sb3.callback import SimgitCallback
from simgit.repository import Repository

PREFIX: Final = "sb3:"
"""What the name of an agent begins with that is an algorithm of Stable-Baselines3."""
_THREADS: Final = 1
"""Threads of torch in the process: results may depend on it, and small networks are faster."""
_NOT_SETTINGS: Final = frozenset({"self", "env", "_init_setup_model", "seed", "verbose"})
Tell = Callable[[int, float], None]
"""Called with the timesteps and the mean return of the last episodes, NaN before the first."""


class ByName:
    """A training of one environment, begun or resumed by names and plain settings."""

    def __init__(
        self, repo: Repository, run: str, model: Any, left: int, every: int, *, is_new: bool
    ) -> None:
        """Join the parts; use ``begin`` or ``resume``."""
        self._is_new = is_new  # a checkpoint may be of the very beginning, too
        self.repo = repo
        self.run = run
        self.model = model
        self.left = left
        self.every = every
        self.done = int(model.num_timesteps)

    @property
    def total(self) -> int:
        """The timesteps of the whole training."""
        return self.done + self.left

    def finish(self, tell: Tell | None = None) -> None:
        """Learn all timesteps that are left, close the environment and complete the run.

        Meanwhile it is a simulation: it can be watched, paused and stopped with ``simgit sim``.

        Raises:
            Stopped: somebody stopped it; the run is paused, with everything stored.
        """
        own = SimgitCallback(self.every, controlled=True)
        own.again = f"resume it with: simgit train --resume --run {self.run}"
        callbacks: list[Any] = [own]
        if tell is not None:
            callbacks.append(_Teller(tell))
        try:
            self.model.learn(self.left, callbacks, reset_num_timesteps=self._is_new)
        except BaseException as error:
            own.leave(error)
            raise
        finally:
            self.model.env.close()
        if own.is_stopped:
            self.repo.set_status(self.run, "paused")
            raise Stopped
        self.repo.set_status(self.run, "completed")

    def play(self, env: Any, seed: int) -> tuple[int, float, bool]:
        """Play an episode without exploring; return length and return, and if it terminated."""
        observation, _ = env.reset(seed=seed)
        length, total, state, start = 0, 0.0, None, np.ones(1, bool)
        while True:
            more: dict[str, Any] = {}
            if type(self.model).__name__ == "MaskablePPO":
                more["action_masks"] = env.get_wrapper_attr("action_masks")()
            else:
                more |= {"state": state, "episode_start": start}
            action, state = self.model.predict(observation, deterministic=True, **more)
            observation, reward, terminated, truncated, _ = env.step(
                action.item() if isinstance(env.action_space, spaces.Discrete) else action
            )
            start = np.zeros(1, bool)
            length, total = length + 1, total + float(reward)
            if terminated or truncated:
                return length, total, bool(terminated)


class _Teller(BaseCallback):  # type: ignore[misc, unused-ignore]
    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def _on_step(self) -> bool:
        returns = [float(each["r"]) for each in self.model.ep_info_buffer or ()]
        self._tell(self.num_timesteps, float(np.mean(returns)) if returns else float("nan"))
        return True


def begin(
    repo: Repository,
    run: str,
    agent: str,
    given: Mapping[str, Any],
    environment: str,
    arguments: Mapping[str, Any],
    *,
    steps: int,
    seed: int = 0,
    every: int | None = None,
    **options: Any,
) -> ByName:
    """Begin a training.

    Args:
        repo: the repository.
        run: the name of a new run.
        agent: an algorithm, such as "sb3:PPO".
        given: arguments of the algorithm, plain values.
        environment: the id of a registered environment.
        arguments: the environment's arguments.
        steps: the timesteps of the training.
        seed: the random seed.
        every: timesteps between two checkpoints; None for a tenth of ``steps``.
        options: options of the recorder.

    Raises:
        NotFound: no such algorithm or environment.
        InvalidInput: the run has states, or a setting is unknown or has no meaning.
    """
    if run in repo.runs and repo.runs[run].oid is not None:
        raise InvalidInput(
            f"run '{run}' has states already: resume it, or name another run", name=run
        )
    if steps < 1:
        raise InvalidInput(f"'steps' must be at least 1, got {steps}", path="steps")
    torch.set_num_threads(_THREADS)
    kind = settings.algorithm(agent.removeprefix(PREFIX))
    known = set(inspect.signature(kind.__init__).parameters) - _NOT_SETTINGS
    for name in given:
        if name not in known:
            near = near_or_known(name, sorted(known))
            raise InvalidInput(f"agent '{agent}' has no setting '{name}'{near}", path=name)
    env = make(environment, **dict(arguments))
    policy = given.get("policy") or _policy(kind, env.observation_space)
    rest = {name: value for name, value in given.items() if name != "policy"}
    distance = every or max(1, steps // 10)
    try:
        trial = kind(policy, DummyVecEnv([lambda: env]), seed=seed, **rest)
    except Exception as error:  # of the library's checks, or torch's
        env.close()
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidInput(f"agent '{agent}' cannot be made: {first}") from None
    config = {
        "agent": settings.plain(trial), "environment": {"id": environment, **arguments},
        "training": {"total": steps, "every": distance, "seed": seed},
    }  # fmt: skip
    recorder = Recorder(env, repo, run, config=config, **options)
    model = kind(policy, DummyVecEnv([lambda: Monitor(recorder)]), seed=seed, **rest)
    return ByName(repo, recorder.run, model, steps, distance, is_new=True)


def resume(repo: Repository, run: str, *, steps: int | None = None, trust: Trust = None) -> ByName:
    """Resume a training from its newest checkpoint, exactly, with the settings of its branch.

    Args:
        repo: the repository.
        run: the run.
        steps: the new number of timesteps in all; None keeps it.
        trust: see ``resuming.resume``.

    Raises:
        InvalidInput: the training has done its timesteps already.
        NotFound, Untrusted, Divergence, Conflict: see ``resuming.resume``.
    """
    training = dict(repo.config(run).get("training") or {})
    total = int(steps or training.get("total") or 0)
    newest = next(checkpoints.checkpoints(repo, run), None)
    if repo.runs[run].status == "completed":
        if newest is not None and newest.timesteps >= total:
            raise InvalidInput(
                f"run '{run}' has finished its {newest.timesteps} timesteps: give a greater number "
                "of steps",
                name=run,
            )
        repo.set_status(run, "active")
    if steps is not None:
        repo.configure(run, {"training.total": steps})
    torch.set_num_threads(_THREADS)
    model, _ = resuming.resume(repo, run, trust=trust)
    left = max(0, total - int(model.num_timesteps))
    return ByName(repo, run, model, left, int(training.get("every") or 10_000), is_new=False)


def _policy(kind: Any, space: Any) -> str:
    """Return the name of the policy for observations of a space."""
    family = "MultiInput" if isinstance(space, spaces.Dict) else "Mlp"
    if is_image_space(space):
        family = "Cnn"
    names: list[str] = [name for name in kind.policy_aliases if name.startswith(family)]
    if not names:
        raise InvalidInput(f"algorithm '{kind.__name__}' has no policy for {space}")
    return names[0]
