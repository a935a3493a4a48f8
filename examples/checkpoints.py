"""A network's checkpoints as attachments: bound to states, stored as differences.

python examples/checkpoints.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simgit


def train(weights: dict[str, Any], random: np.random.Generator) -> None:
    """Pretend to train: the head changes a little, the encoder is frozen."""
    weights["head"] += random.normal(0, 1e-3, weights["head"].shape).astype(np.float32)
    weights["updates"] += 100


def main() -> None:
    """Attach a checkpoint to every 100th state, then load one of them."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "checkpoints"
    random = np.random.default_rng(0)
    weights: dict[str, Any] = {
        "encoder": random.normal(size=(512, 256)).astype(np.float32),
        "head": random.normal(size=(256, 16)).astype(np.float32),
        "updates": 0,
    }
    with simgit.Repository.init(directory) as repo:
        repo.commit(0.0, reset={"seed": 0})
        for _ in range(10):
            with repo.recorder("main") as recorder:
                for _ in range(100):
                    recorder.append(float(random.normal()), 1, 1.0)
            train(weights, random)
            repo.attach("main", "weights", weights)

        raw = 10 * (weights["encoder"].nbytes + weights["head"].nbytes)
        print(f"10 checkpoints of {raw // 10} bytes; the repository takes {repo.size()}")
        # the state's name does not depend on what is attached to it
        loaded = repo.attachment("main@500", "weights")
        print(f"main@500 has the weights after {loaded['updates']} updates")
        assert (loaded["encoder"] == weights["encoder"]).all()


if __name__ == "__main__":
    main()
