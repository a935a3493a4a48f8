"""Learn a long way backwards: first from states near the goal, then from earlier ones.

python examples/curriculum.py [DIRECTORY]
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from typing import Any

import gymnasium

import simgit
from simgit.gym import Recorder, restore

RIGHT, DOWN = 2, 1
WAY = [RIGHT] * 7 + [DOWN] * 7
Table = dict[int, list[float]]


def make() -> gymnasium.Env[Any, Any]:
    """Return a frozen lake of 8 by 8 that does not slip: one reward, at the end of 14 steps."""
    return gymnasium.make("FrozenLake-v1", map_name="8x8", is_slippery=False, max_episode_steps=100)


def episode(env: Any, at: int, table: Table, chance: random.Random) -> bool:
    """Learn from one episode (Q-learning, epsilon 0.3); return whether it reached the goal."""
    for _ in range(40):
        values = table[at]
        best = [a for a in range(4) if values[a] == max(values)]
        action = chance.choice(range(4) if chance.random() < 0.3 else best)
        after, reward, terminated, truncated, _ = env.step(action)
        ahead = 0.0 if terminated else 0.95 * max(table[int(after)])
        values[action] += 0.5 * (reward + ahead - values[action])
        at = int(after)
        if terminated or truncated:
            return bool(reward > 0)
    return False


def solves(table: Table) -> bool:
    """Return whether the greedy policy goes from the start to the goal."""
    env, reward = make(), 0.0
    at, _ = env.reset(seed=0)
    for _ in range(40):
        at, reward, over, _, _ = env.step(max(range(4), key=lambda a: table[int(at)][a]))
        if over:
            break
    return float(reward) > 0


def main() -> None:
    """Record one way to the goal, and practise from its states, the last ones first."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "curriculum"
    chance, table, tries = random.Random(0), defaultdict(lambda: [0.0] * 4), 0
    with simgit.Repository.init(directory) as repo:
        env = Recorder(make(), repo, "demonstration")
        env.reset(seed=0)
        for action in WAY:
            env.step(action)
        env.close()
        for step in reversed(range(len(WAY))):
            reached = 0
            while reached < 3:
                run, tries = f"from-{step}/{tries}", tries + 1
                repo.branch(run, f"demonstration@{step}")
                env = Recorder(restore(repo, run), repo, run, provenance=False)
                reached += episode(env, int(repo.state(run).observation), table, chance)
                env.close()
        print(f"backwards: {tries} episodes; the policy solves the lake: {solves(table)}")

    plain, table = make(), defaultdict(lambda: [0.0] * 4)
    hits = sum(episode(plain, plain.reset(seed=0)[0], table, chance) for _ in range(tries))
    print(f"from the start: {tries} episodes, {hits} reached the goal; solved: {solves(table)}")


if __name__ == "__main__":
    main()
