"""Many environments at once: one array for all of them, one run for each.

python examples/parallel_lanes.py [DIRECTORY]
"""

from __future__ import annotations

import sys

import numpy as np

import simgit

LANES, BATCHES, STEPS = 16, 20, 64


def main() -> None:
    """Record random walks in batches of (lanes, steps), then compare the lanes."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "parallel-lanes"
    random = np.random.default_rng(0)
    names = [f"walk/{lane:02}" for lane in range(LANES)]
    with simgit.Repository.init(directory) as repo:
        position = np.zeros((LANES, 2), np.float32)
        with repo.recorder(names, background=True) as recorder:
            for batch in range(BATCHES):
                action = random.integers(0, 4, (LANES, STEPS))
                move = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)[action]
                observation = position[:, None] + np.cumsum(move, axis=1)
                position = observation[:, -1]
                reward = -np.abs(observation).sum(axis=2).astype(float)
                reset = np.zeros((LANES, STEPS), bool)
                reset[:, 0] = batch == 0
                recorder.append_batch(observation, action, reward, reset=reset)

        returns = {name: repo[name].returns[0] for name in names}
        best, worst = max(returns, key=returns.__getitem__), min(returns, key=returns.__getitem__)
        states = sum(run.step + 1 for run in repo.runs.values())
        print(f"{LANES} lanes, {states} states")
        print(f"nearest to home  {best}  return {returns[best]:.0f}")
        print(f"farthest away    {worst}  return {returns[worst]:.0f}")


if __name__ == "__main__":
    main()
