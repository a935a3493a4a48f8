"""Stable-Baselines3: a training is resumed exactly, and branched with another learning rate.

python examples/resume_sb3.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env

from simgit.integrations.sb3 import SimgitCallback, branch, record, resume

STEPS = 1_000
torch.set_num_threads(1)  # faster with networks as small as these


def weights(model: Any) -> float:
    """Return a number that depends on every bit of a model's weights, as good as all of them."""
    return sum(float(p.detach().double().sum()) for p in model.policy.parameters())


def finish(model: Any, left: int) -> float:
    """Learn what is left, and return the number."""
    model.learn(left, reset_num_timesteps=False)
    model.env.close()
    return weights(model)


def main() -> None:
    """Train, resume from the middle, and branch."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "resume-sb3"
    venv = make_vec_env("CartPole-v1", seed=0, wrapper_class=record(directory, "dqn"))
    model = DQN("MlpPolicy", venv, learning_starts=100, buffer_size=1_000, seed=0, device="cpu")
    model.learn(STEPS, callback=SimgitCallback(every=300))
    venv.close()
    print(f"dqn      {weights(model)!r}")

    again = finish(*resume(directory, "dqn", at=700))  # from the checkpoint at 600
    print(f"resumed  {again!r}")
    assert again == weights(model)

    other = finish(*branch(directory, "hot", "dqn@700", overrides={"learning_rate": 1e-3}))
    print(f"hot      {other!r}")


if __name__ == "__main__":
    main()
