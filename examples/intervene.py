"""Find the last state from which a fall could have been avoided, by acting otherwise from there.

python examples/intervene.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium

import simgit
from simgit.gym import Recorder, restore


def careless(observation: Any) -> int:
    """Push the way the pole leans, whatever its swing."""
    return int(observation[2] > 0)


def careful(observation: Any) -> int:
    """Push against the swing, and a little towards the middle."""
    x, speed, angle, swing = observation
    return int(angle + 0.5 * swing + 0.05 * x + 0.1 * speed > 0)


def survives(repo: simgit.Repository, step: int) -> bool:
    """Take over at a step, on a run of its own; return whether the pole stood."""
    run = f"rescue-at-{step}"
    if run in repo.run_names():
        return not repo.state(run).terminated
    repo.branch(run, f"main@{step}", metadata={"intervention": "careful"})
    env = Recorder(restore(repo, run), repo, run)
    observation, over = repo.state(run).observation, False
    for _ in range(300):
        if not over:
            observation, _, over, _, _ = env.step(careful(observation))
    env.close()
    return not over


def main() -> None:
    """Record a fall, then search by halves for the point of no return."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "intervene"
    with simgit.Repository.init(directory) as repo:
        env = Recorder(gymnasium.make("CartPole-v1"), repo)
        observation, _ = env.reset(seed=11)
        over = False
        while not over:
            observation, _, over, _, _ = env.step(careless(observation))
        env.close()
        fall = repo.run("main").step
        print(f"the careless policy falls at step {fall}")

        good, bad = 0, fall - 1  # the pole is still up there, but nothing may help any more
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if survives(repo, middle) else (good, middle)
        assert survives(repo, good) and not survives(repo, bad)
        repo.tag("last-chance", f"main@{good}", message="from here on it could be saved")
        print(f"taken over at step {good} it stands, at step {bad} it falls all the same")
        print(f"{len(repo.runs()) - 1} runs were branched off to find that; see 'simgit tree'")


if __name__ == "__main__":
    main()
