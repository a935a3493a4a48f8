"""Stable-Baselines3: what checkpoints add to a training that is recorded."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

from .case import Bench, Case, NotBuilt, at_most
from .measure import disk, scratch

_NOTE = (
    "processor time of the callback as a share of all other of the training, CartPole with a "
    "checkpoint every 10 000 timesteps, the default; every step recorded, 1 thread of torch"
)
ppo = Case("sb3-ppo", "checkpoints of PPO in 4 environments", "%", at_most(5), _NOTE)
dqn = Case("sb3-dqn", "checkpoints of DQN with its replay buffer", "%", at_most(5), _NOTE)
size = Case("sb3-bytes", "bytes a checkpoint of DQN with its replay buffer adds", "bytes")
CASES = [ppo, dqn, size]


def _learn(bench: Bench, kind: str, lanes: int, *, every: int) -> tuple[float, int]:
    """Return the percent that the callback takes, and the bytes of the store."""
    try:
        import stable_baselines3 as sb3
        import torch
        from stable_baselines3.common.env_util import make_vec_env

        from simgit.integrations.sb3 import SimgitCallback, record
    except ImportError as error:
        raise NotBuilt from error

    class Timed(SimgitCallback):
        """Measures the processor time that it takes itself."""

        spent = 0.0

        def _timed(self, work: Any) -> Any:
            begun = time.thread_time()
            done = work()
            self.spent += time.thread_time() - begun
            return done

        def on_rollout_start(self) -> None:
            self._timed(super().on_rollout_start)

        def on_step(self) -> bool:
            return bool(self._timed(super().on_step))

        def on_training_end(self) -> None:
            self._timed(super().on_training_end)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with scratch(bench.path) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        venv = make_vec_env(
            "CartPole-v1", lanes, seed=0,
            wrapper_class=record(Path(path) / "runs", "x", self_check=False),
        )  # fmt: skip
        model = getattr(sb3, kind)("MlpPolicy", venv, seed=0, device="cpu")
        callback, begun = Timed(every), time.process_time()
        model.learn(bench.size(30_000, 10_000), callback=callback)
        whole = time.process_time() - begun
        venv.close()
        torch.set_num_threads(threads)
        return 100 * callback.spent / (whole - callback.spent), disk(Path(path))


@ppo.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    return _learn(bench, "PPO", 4, every=10_000)[0]


@dqn.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    return _learn(bench, "DQN", 1, every=10_000)[0]


@size.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    count = bench.size(30_000, 10_000)
    many = _learn(bench, "DQN", 1, every=count // 10)[1]
    return (many - _learn(bench, "DQN", 1, every=count)[1]) / 9
