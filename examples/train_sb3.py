"""Stable-Baselines3: PPO on two CartPoles, each of them recorded as a run of its own.

python examples/train_sb3.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import simgit
from simgit.gym import Recorder

STEPS = 6144
torch.set_num_threads(1)  # faster with networks as small as these


class AttachPolicy(BaseCallback):
    """Attach the policy's parameters to the newest state of a recorder, before each update."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.steps: list[int] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.steps.append(self.recorder.step_count)
        parameters = self.model.policy.state_dict()
        self.recorder.attach("policy", {name: p.numpy() for name, p in parameters.items()})


def main() -> None:
    """Train, and load a policy from the middle of the training again."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "train-sb3"
    with simgit.Repository.init(directory) as repo:
        recorders = [Recorder(gymnasium.make("CartPole-v1"), repo, f"ppo/{i}") for i in range(2)]
        # what stands above the recorder is not recorded: Monitor measures seconds, for instance
        envs = DummyVecEnv([lambda each=each: Monitor(each) for each in recorders])
        model = PPO("MlpPolicy", envs, n_steps=512, n_epochs=4, seed=0, device="cpu")
        attached = AttachPolicy(recorders[0])
        model.learn(STEPS, callback=attached)
        envs.close()

        for name in ("ppo/0", "ppo/1"):
            lengths = repo[name].lengths[:-1]
            early, late = lengths[:20].mean(), lengths[-20:].mean()
            print(f"{name}  {len(lengths)} episodes, from {early:.0f} steps to {late:.0f}")
        load(model, repo, f"ppo/0@{attached.steps[2]}")


def load(model: Any, repo: simgit.Repository, revision: str) -> None:
    """Put the parameters that are attached to a state into a model."""
    stored = repo.attachment(revision, "policy")
    model.policy.load_state_dict({name: torch.tensor(p) for name, p in stored.items()})
    print(f"the policy of {revision} is loaded: {len(stored)} tensors")


if __name__ == "__main__":
    main()
