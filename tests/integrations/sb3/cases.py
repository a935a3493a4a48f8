"""Trainings to be recorded in one process and resumed in another: what users write, in short.

``python -m tests.integrations.sb3.cases PATH JOB…`` resumes: a job is CASE@TIMESTEPS, and prints
the digest of what the learner has become. With ``!`` behind it the model is made from what was
recorded, and not as the script does.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from simgit.integrations.sb3 import SimgitCallback, record, resume

torch.set_num_threads(1)
multiprocessing.set_forkserver_preload([__spec__.name])  # workers need not import torch each
IGNORED = (
    ".*n_steps.*", ".*mini-batch.*", ".*already wrapped.*", ".*render_mode.*",
    ".*not of the same type.*", ".*no step was compared.*", ".*nothing was compared.*",
)  # fmt: skip
"""Warnings of Stable-Baselines3 about small trainings, and of runs that were not checked."""
SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu"}


class Switches(gymnasium.Env[Any, Any]):
    """Four switches to be put on; one that is on cannot be chosen. Episodes end at random."""

    observation_space = spaces.MultiBinary(4)
    action_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.on = self.np_random.integers(0, 2, 4).astype(np.int8)
        self.on[self.np_random.integers(4)] = 0
        return self.on.copy(), {}

    def step(self, action: Any) -> Any:
        reward = float(1 - self.on[action])
        self.on[action] = 1
        ended = bool(self.on.all())
        return self.on.copy(), reward, ended, self.np_random.random() < 0.1, {}

    def action_masks(self) -> Any:
        return self.on == 0


class Line(gymnasium.Env[Any, Any]):
    """A point on a line that has to reach a goal: a goal environment."""

    observation_space = spaces.Dict(
        {
            key: spaces.Box(-5, 5, (1,), np.float32)
            for key in ("observation", "achieved_goal", "desired_goal")
        }
    )
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def _see(self) -> Any:
        at = np.array([self.at], np.float32)
        return {"observation": at, "achieved_goal": at.copy(), "desired_goal": self.goal.copy()}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.count = 0.0, 0
        self.goal = self.np_random.uniform(-2, 2, 1).astype(np.float32)
        return self._see(), {}

    def step(self, action: Any) -> Any:
        self.at = float(np.clip(self.at + action[0], -5, 5))
        self.count += 1
        seen = self._see()
        reward = float(self.compute_reward(seen["achieved_goal"], seen["desired_goal"], {}))
        return seen, reward, reward == 0, self.count >= 13, {}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -(np.abs(achieved - desired) > 0.3).astype(np.float32).sum(axis=-1)


for name, most in (("Switches", 17), ("Line", None)):
    if f"{name}-v0" not in gymnasium.registry:  # this module may be the main one too
        entry = f"tests.integrations.sb3.cases:{name}"
        gymnasium.register(f"{name}-v0", entry, max_episode_steps=most)


@dataclass(frozen=True)
class Case:
    """A training: its algorithm with settings, its environments and their wrappers."""

    kind: Any
    env: str
    steps: int
    every: int
    settings: dict[str, Any] = field(default_factory=dict)
    lanes: int = 1
    processes: bool = False
    wrap: tuple[Callable[[Any], Any], ...] = ()
    policy: str = "MlpPolicy"
    noise: Callable[[], Any] | None = None
    eval_every: int = 0

    def make(self, envs: Any, overrides: dict[str, Any]) -> Any:
        """Make the model, as the script of a user does."""
        for each in self.wrap:
            envs = each(envs)
        given = deepcopy(SMALL | self.settings | overrides)  # the library adds to policy_kwargs
        if self.noise is not None:
            given["action_noise"] = self.noise()
        return self.kind(self.policy, envs, seed=1, **given)

    def callbacks(self, *more: Any) -> list[Any]:
        """Return the callbacks of the script."""
        if not self.eval_every:
            return list(more)
        env = make_vec_env(self.env, 1, seed=7)
        for each in self.wrap:
            env = each(env)
        return [
            EvalCallback(
                env, eval_freq=self.eval_every, n_eval_episodes=2, deterministic=False, verbose=0
            ),
            *more,
        ]

    def train(self, path: Any, run: str) -> tuple[str, Any]:
        """Train and record; return the digest, and the model."""
        venv = make_vec_env(
            self.env, self.lanes, seed=3,
            wrapper_class=record(path, run, self_check=False, provenance=False),
            vec_env_cls=SubprocVecEnv if self.processes else DummyVecEnv,
        )  # fmt: skip
        model = self.make(venv, {})
        model.learn(self.steps, callback=self.callbacks(SimgitCallback(self.every)))
        model.env.close()
        return digest(model), model

    def resume(
        self, path: Any, run: str, at: int | None, *, recorded: bool = False
    ) -> tuple[str, Any]:
        """Resume at some timesteps; return the digest, and the model."""
        model, left = resume(path, run, at=at, make=None if recorded else self.make, trust=True)
        try:
            model.learn(left, callback=self.callbacks(), reset_num_timesteps=False)
        finally:
            model.env.close()
        return digest(model), model


def schedule(progress: float) -> float:
    """A learning rate that decays."""
    return 1e-3 * progress


def normalized(venv: Any) -> Any:
    return VecNormalize(venv, gamma=0.95)


def stacked(venv: Any) -> Any:
    return VecFrameStack(venv, 3)


def steady(size: int) -> Callable[[], Any]:
    return lambda: OrnsteinUhlenbeckActionNoise(np.zeros(size), 0.3 * np.ones(size))


def normal(size: int) -> Callable[[], Any]:
    return lambda: NormalActionNoise(np.zeros(size), 0.2 * np.ones(size))


WRAPS = {"plain": (), "normalize": (normalized,), "stack": (stacked,), "monitor": (VecMonitor,)}
"""The wrappers of the matrix."""
ON = {"n_steps": 32, "batch_size": 16, "n_epochs": 2}
OFF = {"learning_starts": 40, "batch_size": 16, "buffer_size": 150}
DQ = OFF | {"target_update_interval": 26, "exploration_fraction": 0.7, "train_freq": 3}
ALGORITHMS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "ppo": (PPO, "CartPole-v1", ON),
    "a2c": (A2C, "CartPole-v1", {"n_steps": 7}),
    "dqn": (DQN, "CartPole-v1", DQ),
    "qrdqn": (QRDQN, "CartPole-v1", DQ),
    "sac": (SAC, "Pendulum-v1", OFF),
    "td3": (TD3, "Pendulum-v1", OFF),
    "tqc": (TQC, "Pendulum-v1", OFF),
}
CASES: dict[str, Case] = {
    f"{name}-{lanes}{'p' if processes else ''}-{wrap}": Case(
        kind, env, 250, 90, settings, lanes, processes, WRAPS[wrap]
    )
    for name, (kind, env, settings) in ALGORITHMS.items()
    for lanes, processes in ((1, False), (2, False), (2, True))
    for wrap in WRAPS
}
CASES |= {
    "ppo-schedule": Case(PPO, "CartPole-v1", 320, 100, ON | {"learning_rate": schedule}, 2),
    "ppo-gsde": Case(PPO, "Pendulum-v1", 320, 100, ON | {"use_sde": True, "sde_sample_freq": 8}, 2),
    "ppo-gsde-once": Case(PPO, "Pendulum-v1", 320, 100, ON | {"use_sde": True}, 2),
    "sac-gsde": Case(SAC, "Pendulum-v1", 250, 80, OFF | {"use_sde": True, "sde_sample_freq": 4}),
    "ppo-eval": Case(PPO, "CartPole-v1", 320, 100, ON, 2, eval_every=37),
    "ppo-normalize-eval": Case(PPO, "Pendulum-v1", 256, 70, ON, 2, wrap=(normalized,), eval_every=37),
    "td3-steady": Case(TD3, "Pendulum-v1", 230, 33, OFF, noise=steady(1)),
    "td3-steady-2": Case(TD3, "Pendulum-v1", 230, 34, OFF, 2, noise=steady(1)),
    "ddpg-normal": Case(DDPG, "Pendulum-v1", 200, 33, OFF, noise=normal(1)),
    "sac-memory": Case(SAC, "Pendulum-v1", 230, 60, OFF | {
        "optimize_memory_usage": True,
        "replay_buffer_kwargs": {"handle_timeout_termination": False}}),
    "dqn-n-step": Case(DQN, "CartPole-v1", 250, 70, DQ | {"n_steps": 3}),
    "dqn-episodes": Case(DQN, "CartPole-v1", 250, 70, DQ | {"train_freq": (1, "episode")}),
    "recurrent": Case(RecurrentPPO, "CartPole-v1", 256, 60, ON | {
        "policy_kwargs": {"net_arch": [8], "lstm_hidden_size": 4}}, 2, policy="MlpLstmPolicy"),
    "maskable": Case(MaskablePPO, "Switches-v0", 256, 60, ON, 2),
    "her": Case(SAC, "Line-v0", 230, 60, OFF | {
        "replay_buffer_class": HerReplayBuffer}, policy="MultiInputPolicy"),
    "her-2": Case(SAC, "Line-v0", 230, 60, OFF | {
        "replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"copy_info_dict": True}}, 2, policy="MultiInputPolicy"),
}  # fmt: skip


def digest(model: Any) -> str:
    """Return the hash of all weights and optimizer states, and of the counters."""
    hashed = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value, key=str):
                hashed.update(str(key).encode())
                add(value[key])
        elif isinstance(value, (list, tuple)):
            for each in value:
                add(each)
        elif torch.is_tensor(value):
            hashed.update(value.detach().numpy().tobytes())
        else:
            hashed.update(repr(value).encode())

    add(model.get_parameters())
    for name in model._get_torch_save_params()[1]:
        add(getattr(model, name))
    add([model.num_timesteps, model._n_updates, model._episode_num, vars(model).get("_n_calls")])
    add([(float(each["r"]), int(each["l"])) for each in model.ep_info_buffer])
    add(np.random.random(3).tolist())
    add(torch.rand(3))
    add(model.action_space.sample().tolist())
    return hashed.hexdigest()[:16]


if __name__ == "__main__":
    warnings.simplefilter("error")
    for each in IGNORED:
        warnings.filterwarnings("ignore", message=each)
    for job in sys.argv[2:]:
        case, _, at = job.removesuffix("!").partition("@")
        found = CASES[case].resume(sys.argv[1], case, int(at), recorded=job.endswith("!"))
        print(job, found[0], flush=True)
