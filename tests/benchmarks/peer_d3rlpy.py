"""d3rlpy's replay buffer, given the same transitions, in a Python of its own.

It pins another version of Gymnasium than simgit is tested with. ``SIMGIT_BENCH_D3RLPY`` names the
Python of a virtual environment in which ``pip install torch==2.13.0`` and then ``d3rlpy`` was run.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np

VARIABLE = "SIMGIT_BENCH_D3RLPY"


def median(columns: dict[str, Any], folder: Path, count: int, length: int, draws: int) -> float:
    """Return the median time of drawing transitions, or sequences of a length, in milliseconds.

    Raises:
        FileNotFoundError: no Python is named that has it.
    """
    python = os.environ.get(VARIABLE, "")
    if not Path(python).is_file():
        raise FileNotFoundError(python)
    file = folder / "columns.npz"
    if not file.exists():
        np.savez(file, **columns)
    command = [python, __file__, str(file), str(count), str(length), str(draws)]
    printed = run(command, capture_output=True, text=True, check=True).stdout
    return float(printed.split()[-1])


def _draw(file: str, count: int, length: int, draws: int) -> float:
    from d3rlpy.dataset import MDPDataset

    found = np.load(file)
    buffer = MDPDataset(
        found["observations"], found["actions"].astype(np.int64).reshape(-1, 1),
        found["rewards"].astype(np.float32), found["terminations"].astype(np.float32),
        found["truncations"].astype(np.float32),
    )  # fmt: skip
    taken = []
    for _ in range(draws + 3):
        start = time.perf_counter()
        if length == 1:
            buffer.sample_transition_batch(count)
        else:
            buffer.sample_trajectory_batch(count, length)
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken[3:])


if __name__ == "__main__":
    print(_draw(sys.argv[1], *map(int, sys.argv[2:])))
