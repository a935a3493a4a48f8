"""Deterministic CartPole states, as columns and as rows.

The dynamics are those of the classic environment: float64 inside, observations cast to float32,
a random policy, an episode over when the pole falls or after 500 steps.
Episodes are computed 4 096 at a time and laid end to end, each led by the state of its reset.
The states of a seed are always the same, however many are asked for and in whatever portions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

EPISODES_A_BLOCK = 4096
LIMIT = 500
X_LIMIT = 2.4
ANGLE_LIMIT = 12 * 2 * np.pi / 360

Row = tuple[NDArray[np.float32], np.int64, float, bool, bool, object]


@dataclass(frozen=True)
class Columns:
    """Consecutive states; where ``reset`` is set, action, reward and flags mean nothing."""

    observation: NDArray[np.float32]
    action: NDArray[np.int64]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    reset: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.action)

    def __getitem__(self, index: slice | NDArray[np.bool_]) -> Columns:
        return Columns(*(getattr(self, field.name)[index] for field in fields(self)))


def columns(count: int, seed: int = 0) -> Iterator[Columns]:
    """Yield ``count`` states in blocks of some hundred thousand, one block in memory at a time."""
    block = 0
    while count > 0:
        states = _block(seed, block)[:count]
        yield states
        count -= len(states)
        block += 1


def states(count: int, seed: int = 0) -> Columns:
    """Return ``count`` states at once, as columns."""
    blocks = list(columns(count, seed))
    return Columns(
        *(np.concatenate([getattr(b, field.name) for b in blocks]) for field in fields(Columns))
    )


def rows(count: int, seed: int = 0) -> Iterator[Row]:
    """Yield ``count`` states one by one, with the objects that an environment would hand out."""
    first: object = {"seed": seed}
    for block in columns(count, seed):
        resets: list[object] = [True if reset else None for reset in block.reset.tolist()]
        if first is not None:
            resets[0], first = first, None
        yield from zip(
            block.observation,
            block.action,
            block.reward.tolist(),
            block.terminated.tolist(),
            block.truncated.tolist(),
            resets,
            strict=True,
        )


def lanes(count: int, length: int, seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """Return ``count`` parallel lanes of ``length`` transitions; axes: lane, time.

    The states of resets are left out, as parallel environments that reset themselves do.
    """
    wanted = count * length
    drawn = states(wanted * 11 // 10 + 1000, seed)
    steps = drawn[~drawn.reset][:wanted]
    names = ("observation", "action", "reward", "terminated", "truncated")
    return {
        name: getattr(steps, name).reshape(count, length, *getattr(steps, name).shape[1:])
        for name in names
    }


def _block(seed: int, number: int) -> Columns:
    """Return the states of one block of episodes, end to end."""
    rng = np.random.default_rng([seed, number])
    observations, actions, fallen = _play(rng)
    over = fallen.copy()
    over[-1] = True
    length = over.argmax(axis=0)
    steps = np.arange(len(over))
    real = (steps[:, None] <= length).T
    last = (steps[:, None] == length).T[real]
    reset = np.broadcast_to(steps == 0, real.shape)[real]
    terminated = fallen.T[real] & last
    return Columns(
        observation=observations.transpose(1, 0, 2)[real],
        action=actions.T[real],
        reward=np.where(reset, 0.0, 1.0),
        terminated=terminated,
        truncated=last & ~terminated,
        reset=reset,
    )


def _play(
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Play a block of episodes side by side until all have ended; axes: time, episode."""
    state = rng.uniform(-0.05, 0.05, size=(4, EPISODES_A_BLOCK))
    observations = [state.T.astype(np.float32)]
    actions = [np.zeros(EPISODES_A_BLOCK, np.int64)]
    fallen = [np.zeros(EPISODES_A_BLOCK, np.bool_)]
    alive = ~fallen[0]
    while alive.any() and len(actions) <= LIMIT:
        action = rng.integers(0, 2, EPISODES_A_BLOCK)
        state = np.where(alive, _step(state, action), state)
        observations.append(state.T.astype(np.float32))
        actions.append(action)
        fallen.append((np.abs(state[0]) > X_LIMIT) | (np.abs(state[2]) > ANGLE_LIMIT))
        alive &= ~fallen[-1]
    return np.array(observations), np.array(actions), np.array(fallen)


def _step(state: NDArray[np.float64], action: NDArray[np.int64]) -> NDArray[np.float64]:
    """Advance every episode by one step of 20 ms (Euler, as the environment does)."""
    _, x_dot, theta, theta_dot = state
    force = np.where(action == 1, 10.0, -10.0)
    cos, sin = np.cos(theta), np.sin(theta)
    push = (force + 0.05 * np.square(theta_dot) * sin) / 1.1
    theta_acc = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * np.square(cos) / 1.1))
    x_acc = push - 0.05 * theta_acc * cos / 1.1
    change = np.array([x_dot, x_acc, theta_dot, theta_acc])
    return state + 0.02 * change
