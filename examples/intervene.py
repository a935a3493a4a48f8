"""Find the last state from which a fall could have been avoided, by acting otherwise from there.

python examples/intervene.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gymnasium

import simgit
from simgit.gym import Recorder


def careless(observation: Any) -> int:
    """Push the way the pole leans, whatever its swing."""
    return int(observation[2] > 0)


def careful(observation: Any) -> int:
    """Push against the swing, and a little towards the middle."""
    x, speed, angle, swing = observation
    return int(angle + 0.5 * swing + 0.05 * x + 0.1 * speed > 0)


def act(env: Recorder, policy: Callable[[Any], int], steps: int) -> bool:
    """Follow a policy for so many steps; return whether the pole stood all the while."""
    observation = env.observation
    for _ in range(steps):
        observation, _, fell, _, _ = env.step(policy(observation))
        if fell:
            return False
    return True


def survives(repo: simgit.Repository, step: int) -> bool:
    """Take over at a step, on a run of its own; return whether the pole stood."""
    with Recorder.branch(repo, f"rescue-at-{step}", f"main@{step}") as env:
        return act(env, careful, 300)


def main() -> None:
    """Record a fall, then search by halves for the point of no return."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "intervene"
    with simgit.Repository.init(directory) as repo:
        with Recorder(gymnasium.make("CartPole-v1"), repo) as env:
            env.reset(seed=11)
            act(env, careless, 500)
        fall = repo.runs["main"].step
        print(f"the careless policy falls at step {fall}")

        good, bad = 0, fall  # at the beginning all can be saved, after the fall nothing
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if survives(repo, middle) else (good, middle)
        repo.tag("last-chance", f"main@{good}", message="from here on it could be saved")
        print(f"taken over at step {good} it stands, at step {bad} it falls all the same")
        print(f"{len(repo.runs) - 1} runs were branched off to find that; see 'simgit tree'")


if __name__ == "__main__":
    main()
