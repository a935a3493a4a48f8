"""Several agents in PettingZoo: a lane for each, resumed after a kill, and branched.

python examples/lanes_pettingzoo.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from typing import Any

from pettingzoo.classic.tictactoe import tictactoe

import simgit
from simgit.integrations import pettingzoo


def play(env: Any, moves: int) -> None:
    """Play so many moves: the first free field, counted from a place that the move says."""
    for _ in range(moves):
        step = env.recording.step_count
        if not env.agents:
            env.reset()
            continue
        observation, _, terminated, truncated, _ = env.last()
        free = [i for i in range(9) if observation["action_mask"][(i + step) % 9]]
        env.step(None if terminated or truncated else (free[0] + step) % 9)
    env.close()


def main() -> None:
    """Play in two sessions, then a game otherwise from its second move on."""
    with simgit.Repository.init(sys.argv[1] if len(sys.argv) > 1 else "lanes") as repo:
        env = pettingzoo.record(tictactoe.env(), repo, "main")
        env.reset(seed=1)
        play(env, 30)
        play(pettingzoo.resume(repo, "main", make=tictactoe.env), 30)
        found = pettingzoo.verify(repo, "main", make=tictactoe.env)
        print(f"{found.verdict.result}: {found.stop} moves")
        for player in ("player_1", "player_2"):
            lane = repo[f"main/{player}"]
            print(f"{player}: {len(lane)} turns, {int((lane.rewards > 0).sum())} games won")
        pettingzoo.branch(repo, "other", "main@2")
        env = pettingzoo.resume(repo, "other", make=tictactoe.env)
        env.step(8)
        env.close()
        print(f"branched: {repo.state('other').action} at step {repo.state('other').step}")


if __name__ == "__main__":
    main()
