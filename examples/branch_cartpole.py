"""Branch CartPole at step 200 with two learning rates, and see which one learns.

python examples/branch_cartpole.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium

import simgit
import simgit.agents
from simgit.analysis import learning_curves
from simgit.gym import Recorder

STEPS = 2200


def train(env: Recorder, agent: Any, until: int) -> None:
    """Let an agent act and learn until the run has so many steps."""
    observation = env.observation
    while env.step_count < until:
        action = agent.act(observation, explore=True)
        after, reward, terminated, truncated, _ = env.step(action)
        agent.observe(observation, action, float(reward), after, terminated, truncated)
        agent.update()
        observation = after
        if (terminated or truncated) and env.step_count < until:
            observation, _ = env.reset()


def main() -> None:
    """Record 200 steps with an agent's checkpoint; continue from there twice."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "branch-cartpole"
    with simgit.Repository.init(directory) as repo:
        with Recorder(gymnasium.make("CartPole-v1"), repo) as env:
            agent = simgit.agents.make("dqn", 4, 2, seed=0, updates=1)
            env.reset(seed=0)
            train(env, agent, 200)
            env.attach("agent", agent.state())

        for lr in (0.01, 0.0001):
            with Recorder.branch(repo, f"lr-{lr}", "main@200", overrides={"lr": lr}) as env:
                agent = simgit.agents.make("dqn", 4, 2, updates=1, lr=lr)
                agent.load(repo.attachment("main@200", "agent"))
                train(env, agent, STEPS)
            last = repo[f"lr-{lr}"].lengths[-11:-1]
            print(f"lr-{lr:<6} the last ten episodes: {last.mean():.0f} steps on average")

        drawing = learning_curves(repo, ["lr-0.01", "lr-0.0001"], x="steps", window=10)
        print(f"drawn: {drawing.save(f'{directory}/curves.png')}")


if __name__ == "__main__":
    main()
