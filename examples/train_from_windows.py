"""Learn a model of the dynamics from recorded transitions, and feed windows to a sequence model.

python examples/train_from_windows.py [DIRECTORY]
"""

from __future__ import annotations

import sys

import numpy as np

import simgit


def record(repo: simgit.Repository) -> None:
    """Record episodes of a point on a line that is pushed about."""
    random = np.random.default_rng(0)
    with repo.recorder("data") as recorder:
        for seed in range(20):
            state = random.normal(size=2)
            recorder.append(state, reset={"seed": seed})
            for t in range(100):
                push = random.normal()
                state = np.array([state[0] + 0.1 * state[1], 0.9 * state[1] + 0.5 * push])
                recorder.append(state, push, -abs(state[0]), False, t == 99)


def main() -> None:
    """Record, fit, and iterate over batches."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "train-from-windows"
    with simgit.Repository.init(directory) as repo:
        record(repo)
        data = repo["data"]
        print(data)

        # transitions do not cross the border of an episode
        t = data.transitions()
        inputs = np.column_stack([t["observations"], t["actions"]])
        model, *_ = np.linalg.lstsq(inputs, t["next_observations"], rcond=None)
        print(f"dynamics learnt from {len(inputs)} transitions:\n{model.T.round(3)}")

        # windows of 16 states; the columns of all of them are views
        windows = data.windows(16, stride=8)
        order = np.random.default_rng(1).permutation(len(windows))
        for batch in np.array_split(order, 4):
            columns = windows[batch]
            print(f"batch of windows: observations {columns['observations'].shape}")


if __name__ == "__main__":
    main()
