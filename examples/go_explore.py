"""Find a far goal by going back to promising states (as Go-Explore does), where chance fails.

python examples/go_explore.py [DIRECTORY]
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Any

import gymnasium
from gymnasium.envs.toy_text.frozen_lake import generate_random_map

import simgit
from simgit.gym import Recorder

MAP = generate_random_map(size=12, p=0.85, seed=2)
LENGTH, TRIES = 12, 600


def explore(env: Any, chance: random.Random, steps: int) -> tuple[int, bool]:
    """Step at random until the ice breaks or the goal is reached; return how far that was."""
    for taken in range(1, steps + 1):
        _, reward, terminated, _, _ = env.step(chance.randrange(4))
        if terminated:
            return taken, reward > 0
    return steps, False


def by_chance(steps: int) -> int:
    """Return how often the goal is reached in so many steps from the start."""
    env, chance, reached = make(), random.Random(0), 0
    while steps > 0:
        env.reset(seed=0)
        taken, goal = explore(env, chance, min(steps, 400))
        steps, reached = steps - taken, reached + goal
    return reached


def make() -> gymnasium.Env[Any, Any]:
    """Return a frozen lake of 12 by 12 with a hole in every seventh place."""
    return gymnasium.make("FrozenLake-v1", desc=MAP, is_slippery=False, max_episode_steps=400)


def main() -> None:
    """Keep one state of each place, go back to those seen least, and explore from there."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "go-explore"
    chance, steps, goal = random.Random(0), 0, False
    with simgit.Repository.init(directory) as repo:
        with Recorder(make(), repo, "start") as env:
            env.reset(seed=0)
        archive, visits = {0: repo.resolve("start")}, Counter({0: 1})
        for number in range(TRIES):
            place = min(archive, key=lambda at: (visits[at], -at))
            run = f"try-{number}"
            with Recorder.branch(repo, run, archive[place], provenance=False) as env:
                taken, goal = explore(env, chance, LENGTH)
            steps += taken
            if goal:
                break
            found = repo[run][-taken:]
            for at, oid, fell in zip(
                found.observations, found.oids, found.terminations, strict=True
            ):
                if not fell:
                    archive.setdefault(int(at), oid)
                    visits[int(at)] += 1
            visits[place] += 1
        repo.tag("goal", run)
        print(f"{number + 1} tries, {steps} steps, {len(archive)} places; goal reached: {goal}")
        print(f"the way there has {repo.state('goal').step} steps; it is tagged 'goal'")
        print(f"by chance the goal is reached {by_chance(20 * steps)} times in {20 * steps} steps")


if __name__ == "__main__":
    main()
