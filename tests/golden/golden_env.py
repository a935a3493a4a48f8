"""An environment of each of Gymnasium's spaces, with values written down here, not drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces

KINDS: Final[dict[str, tuple[spaces.Space[Any], Callable[[int], Any]]]] = {
    "box": (
        spaces.Box(-2.0, np.inf, (3,), np.float32),
        lambda i: np.array([i / 8, -0.0, 1e9 * i], np.float32),
    ),
    "image": (
        spaces.Box(0, 255, (12, 10, 3), np.uint8),
        lambda i: np.roll(np.arange(360, dtype=np.uint8), 7 * i).reshape(12, 10, 3),
    ),
    "discrete": (spaces.Discrete(5, start=-1), lambda i: np.int64(i % 5 - 1)),
    "multi-binary": (
        spaces.MultiBinary((2, 2)),
        lambda i: np.array([[i & 1, i & 2], [i & 4, 1]]).clip(0, 1).astype(np.int8),
    ),
    "multi-discrete": (spaces.MultiDiscrete([3, 7]), lambda i: np.array([i % 3, i % 7])),
    "text": (spaces.Text(8, charset="aéß"), lambda i: "aéß"[: i % 4]),
    "dict": (
        spaces.Dict(
            {"speed": spaces.Box(0, 1, (), np.float64), "at": spaces.Dict({"x": spaces.Discrete(9)})}
        ),
        lambda i: {"speed": np.float64(i / 9), "at": {"x": np.int64(i)}},
    ),
    "tuple": (
        spaces.Tuple((spaces.Discrete(9), spaces.Box(-1, 1, (2,), np.float32))),
        lambda i: (np.int64(i), np.array([i / 9, -i / 9], np.float32)),
    ),
    "sequence": (
        spaces.Sequence(spaces.Box(0, 9, (1,), np.float32)),
        lambda i: tuple(np.array([k], np.float32) for k in range(i % 4)),
    ),
    "graph": (
        spaces.Graph(spaces.Box(0, 9, (2,), np.float32), spaces.Discrete(4)),
        lambda i: spaces.GraphInstance(
            np.full((i % 3 + 1, 2), i, np.float32), np.arange(i % 3), np.zeros((i % 3, 2), np.int32)
        ),
    ),
    "one-of": (
        spaces.OneOf((spaces.Discrete(3), spaces.Box(0, 1, (2,), np.float32))),
        lambda i: (np.int64(1), np.full(2, i / 9, np.float32)) if i % 2 else (np.int64(0), np.int64(i % 3)),
    ),
}  # fmt: skip


class GoldenEnv(gymnasium.Env[Any, Any]):
    """Counts; observations and actions are of one kind of space, infos are ragged."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.observation_space, self._value = KINDS[kind]
        self.action_space = KINDS[kind][0]
        self._count = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin at nothing."""
        super().reset(seed=seed)
        self._count = 0
        return self._value(0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count on; the episode ends after eight steps."""
        self._count += 1
        info = {"count": self._count, "seen": [action] * (self._count % 3)}
        if self._count % 4 == 0:
            info["rare"] = {"half": self._count / 2, "name": f"step {self._count}", "none": None}
        return self._value(self._count), self._count / 4, self._count == 8, False, info


def record(repo: Any) -> None:
    """Record an environment of each kind to a run ``spaces/KIND``."""
    from simgit.gym import Recorder

    for kind in KINDS:
        env = Recorder(
            GoldenEnv(kind),
            repo,
            f"spaces/{kind}",
            snapshots=None,
            provenance=False,
            config={"k": kind},
        )
        for episode in range(2):
            env.reset(seed=7 if episode == 0 else None)
            for i in range(8):
                env.step(KINDS[kind][1](i))
        env.close()
