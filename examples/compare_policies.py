"""Compare policies from one and the same state, which was recorded under another one.

python examples/compare_policies.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gymnasium

import simgit
from simgit.gym import Recorder

Policy = Callable[[Any], int]
POLICIES: dict[str, Policy] = {
    "left": lambda observation: 0,
    "against-the-fall": lambda observation: int(observation[2] > 0),
    "against-the-swing": lambda observation: int(observation[2] + 0.5 * observation[3] > 0),
    "towards-the-middle": lambda o: int(o[2] + 0.5 * o[3] + 0.05 * o[0] + 0.1 * o[1] > 0),
}


def follow(env: Recorder, policy: Policy, steps: int) -> None:
    """Act until the episode is over, for so many steps at most."""
    observation = env.observation
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(policy(observation))
        if terminated or truncated:
            break


def main() -> None:
    """Record 20 steps of one policy, then let each policy continue from there."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "compare-policies"
    with simgit.Repository.init(directory) as repo:
        with Recorder(gymnasium.make("CartPole-v1"), repo) as env:
            env.reset(seed=7)
            follow(env, POLICIES["against-the-fall"], 20)

        start = repo.state("main")
        print(f"from step {start.step}, where the pole leans by {start.observation[2]:.3f}:")
        for name, policy in POLICIES.items():
            with Recorder.branch(repo, name, start.oid) as env:
                follow(env, policy, 470)
            steps, fell = repo.runs[name].step - start.step, repo.state(name).terminated
            print(f"  {name:18} {steps:3} steps, {'fell' if fell else 'stood'}")
        best = max(POLICIES, key=lambda name: repo.runs[name].step)
        difference = repo.diff("left", best)
        print(f"'left' and '{best}' part at step {difference.first_step}")


if __name__ == "__main__":
    main()
