"""A plain Gymnasium loop: Q-learning on a frozen lake. simgit adds the lines marked with #.

python examples/train_gymnasium.py [DIRECTORY]
"""

from __future__ import annotations

import sys

import gymnasium
import numpy as np

import simgit
from simgit.gym import Recorder

EPISODES, LR, GAMMA = 1500, 0.2, 0.97


def train(env: Recorder) -> None:
    """Learn by trial and error; attach the table of values at the end of some episodes."""
    random = np.random.default_rng(0)
    values = np.zeros((env.observation_space.n, env.action_space.n))
    for episode in range(1, EPISODES + 1):
        state, _ = env.reset(seed=0 if episode == 1 else None)
        over = False
        while not over:
            if random.random() < max(0.05, 1 - 2 * episode / EPISODES):
                action = int(random.integers(env.action_space.n))
            else:
                action = int(random.choice(np.flatnonzero(values[state] == values[state].max())))
            after, reward, terminated, truncated, _ = env.step(action)
            future = 0.0 if terminated else GAMMA * values[after].max()
            values[state, action] += LR * (reward + future - values[state, action])
            state, over = after, terminated or truncated
        if episode % 500 == 0:
            env.attach("values", values)  #


def main() -> None:
    """Train, and then ask the repository instead of a log file."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "train-gymnasium"
    with simgit.Repository.init(directory) as repo:  #
        env = gymnasium.make("FrozenLake-v1", is_slippery=False)
        with Recorder(env, repo, "q-learning", config={"lr": LR, "gamma": GAMMA}) as recorded:  #
            train(recorded)

        run = repo["q-learning"]
        print(f"{len(run)} states, {len(run.episodes)} episodes")
        for first, returns in zip((1, 501, 1001), np.split(run.returns, 3), strict=True):
            print(f"episodes {first:>4} to {first + 499:<4}  {returns.sum():.0f} reached the goal")
        for episode in (500, 1000, 1500):
            end = run.episodes[episode - 1][-1]
            table = repo.attachment(end.oid, "values")
            print(f"after episode {episode:<4}  worth of the start {table[0].max():.2f}")


if __name__ == "__main__":
    main()
