"""A script of a user's that trains with RLlib: a recorder in each environment, and two callbacks.

python -m tests.integrations.rllib_script DIRECTORY RUNNERS

RUNNERS is the number of remote EnvRunners; 0 for the local one.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import gymnasium
import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.tune.registry import register_env

from simgit import Repository
from simgit.gym import Recorder


def make(config: Any) -> Any:
    env = gymnasium.make("CartPole-v1")
    return Recorder(env, config["repo"], f"ppo/{config.worker_index}-{{auto}}", self_check=False)


def flush(runner: Any) -> None:
    """Store what the recorders of an EnvRunner have buffered."""
    if runner.env is not None:
        for env in runner.env.unwrapped.envs:
            env.get_wrapper_attr("flush")()


class Attaching(RLlibCallback):
    """Attaches each episode's length where the episode ends, and the weights after each training."""

    def on_episode_end(self, *, episode: Any, env: Any, env_index: int, **_: Any) -> None:
        recorder = env.unwrapped.envs[env_index].get_wrapper_attr("attach")
        recorder(
            "length", int(episode.t)
        )  # of RLlib, in which an episode may lie in several pieces

    def on_train_result(self, *, algorithm: Any, **_: Any) -> None:
        state = algorithm.get_state(components=["learner_group/learner/rl_module"])
        weights = state["learner_group"]["learner"]["rl_module"]["default_policy"]
        algorithm.env_runner_group.foreach_env_runner(flush)
        with Repository.open(algorithm.config.env_config["repo"]) as repo:
            for name in repo.runs.matching("ppo/*"):
                if repo.runs[name].oid is not None:
                    repo.attach(name, "weights", dict(weights))


def main() -> None:
    where, runners = sys.argv[1], int(sys.argv[2])
    Repository.init(where).close()
    register_env("recorded", make)
    environ = {"PYTHONPATH": os.environ["PYTHONPATH"]}
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": environ},
    )  # fmt: skip
    config = (
        PPOConfig()
        .environment("recorded", env_config={"repo": where})
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=2, rollout_fragment_length=64)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=1)
        .callbacks(Attaching)
        .debugging(seed=3)
    )
    algorithm = config.build_algo()
    algorithm.train()
    sampled = algorithm.train()["env_runners"]["num_env_steps_sampled_lifetime"]
    state = algorithm.get_state(components=["learner_group/learner/rl_module"])
    newest = state["learner_group"]["learner"]["rl_module"]["default_policy"]
    algorithm.stop()
    ray.shutdown()
    with Repository.open(where) as repo:
        runs = repo.runs.matching("ppo/*")
        steps = sum(int((~np.isnan(repo[name].column("action"))).sum()) for name in runs)
        weights = [repo.attachment(name, "weights", newest=True) for name in runs]
    same = all(np.array_equal(found[key], newest[key]) for found in weights for key in newest)
    print(f"{len(runs)} runs, {steps >= sampled}, {same}")


if __name__ == "__main__":
    main()
