"""A script of a user's that trains with RLlib, and records with the callback.

python -m tests.integrations.rllib_callback_script PLACE RUNNERS SCRATCH

RUNNERS is the number of remote EnvRunners; 0 for the local one. SCRATCH is a directory for the
repositories of workers, whose path would be too long for the sockets of Ray.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from functools import partial

import ray
from ray.rllib.algorithms.ppo import PPOConfig

from simgit.integrations.ray import RLlibCallback


def main() -> None:
    place, runners, scratch = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    variables = {"PYTHONPATH": os.environ["PYTHONPATH"], "TMPDIR": scratch}
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False,
        runtime_env={"env_vars": variables},
    )  # fmt: skip
    tempfile.tempdir = scratch
    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=2, rollout_fragment_length=64)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=1)
        .callbacks(partial(RLlibCallback, place, "ppo"))
        .debugging(seed=3)
    )
    algorithm = config.build_algo()
    ended, returned = 0, []
    for _ in range(3):
        told = algorithm.train()["env_runners"]
        ended = int(told["num_episodes_lifetime"])
        returned.append(float(told["episode_return_mean"]))
    algorithm.stop()
    ray.shutdown()
    print(json.dumps({"episodes": ended, "returns": returned}))


if __name__ == "__main__":
    main()
