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
from simgit.gym import Recorder

RIGHT, DOWN = 2, 1
WAY = [RIGHT] * 7 + [DOWN] * 7
Table = dict[int, list[float]]


def make() -> gymnasium.Env[Any, Any]:
    """Return a frozen lake of 8 by 8 that does not slip: one reward, at the end of 14 steps."""
    return gymnasium.make("FrozenLake-v1", map_name="8x8", is_slippery=False, max_episode_steps=40)


def episode(env: Any, at: int, table: Table, chance: random.Random, epsilon: float = 0.3) -> bool:
    """Learn from one episode (Q-learning); return whether it reached the goal."""
    reward, over = 0.0, False
    while not over:
        best = [a for a in range(4) if table[at][a] == max(table[at])]
        action = chance.choice(range(4) if chance.random() < epsilon else best)
        after, reward, terminated, truncated, _ = env.step(action)
        ahead = 0.0 if terminated else 0.95 * max(table[int(after)])
        table[at][action] += 0.5 * (reward + ahead - table[at][action])
        at, over = int(after), terminated or truncated
    return reward > 0


def solves(table: Table) -> bool:
    """Return whether the greedy policy goes from the start to the goal."""
    env = make()
    return episode(env, env.reset(seed=0)[0], table, random.Random(0), epsilon=0)


def main() -> None:
    """Record one way to the goal, and practise from its states, the last ones first."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "curriculum"
    chance, table, tries = random.Random(0), defaultdict(lambda: [0.0] * 4), 0
    with simgit.Repository.init(directory) as repo:
        with Recorder(make(), repo, "demonstration") as env:
            env.reset(seed=0)
            for action in WAY:
                env.step(action)
        for step in reversed(range(len(WAY))):
            reached = 0
            while reached < 3:
                run, tries = f"from-{step}/{tries}", tries + 1
                with Recorder.branch(repo, run, f"demonstration@{step}", provenance=False) as env:
                    reached += episode(env, int(env.observation), table, chance)
        print(f"backwards: {tries} episodes; the policy solves the lake: {solves(table)}")

    plain, table = make(), defaultdict(lambda: [0.0] * 4)
    hits = sum(episode(plain, plain.reset(seed=0)[0], table, chance) for _ in range(tries))
    print(f"from the start: {tries} episodes, {hits} reached the goal; solved: {solves(table)}")


if __name__ == "__main__":
    main()
