"""Branch CartPole at step 200 with two learning rates, and see which one learns.

python examples/branch_cartpole.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium

import simgit
import simgit.agents
from simgit.gym import Recorder, restore
from simgit.pictures import learning_curves

STEPS = 2200


def train(env: Recorder, agent: Any, observation: Any, until: int) -> None:
    """Let an agent act and learn until the run has so many steps."""
    while env.step_count < until:
        action = agent.act(observation, explore=True)
        after, reward, terminated, truncated, _ = env.step(action)
        agent.observe(observation, action, float(reward), after, terminated, truncated)
        agent.update()
        observation = after
        if (terminated or truncated) and env.step_count < until:
            observation, _ = env.reset()


def main() -> None:
    """Record 200 steps with an agent's checkpoint; go on from there twice."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "branch-cartpole"
    with simgit.Repository.init(directory) as repo:
        env = Recorder(gymnasium.make("CartPole-v1"), repo)
        agent = simgit.agents.make("dqn", 4, 2, seed=0, updates=1)
        observation, _ = env.reset(seed=0)
        train(env, agent, observation, 200)
        env.attach("agent", agent.state())
        env.close()

        for lr in (0.01, 0.0001):
            run = f"lr-{lr}"
            repo.branch(run, "main@200", overrides={"lr": lr})
            env = Recorder(restore(repo, run), repo, run)  # alive, as it was at that state
            agent = simgit.agents.make("dqn", 4, 2, updates=1, lr=lr)
            agent.load(repo.attachment("main@200", "agent"))
            train(env, agent, repo.state(run).observation, STEPS)
            env.close()
            lengths = repo[run].lengths[:-1]
            mean = lengths[-10:].mean()
            print(f"{run:9} {len(lengths):3} episodes, the last ten of {mean:.0f} steps on average")

        drawing = learning_curves(repo, ["lr-0.01", "lr-0.0001"], x="steps", window=10)
        print(f"drawn: {drawing.save(f'{directory}/curves.png')}")


if __name__ == "__main__":
    main()
