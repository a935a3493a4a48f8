"""Checkpoints of a small network in training, with Adam's moments: real updates, real weights.

How far they compress depends on the training far more than on the store: two kinds are made.
``regression`` draws a fresh batch for each update, so that nothing comes to rest.
``dqn`` learns CartPole's values from recorded states, and keeps a target network beside the
other three parts, which changes once in 500 updates.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .generate import Columns, states

Array = NDArray[np.float32]
Tensors = dict[str, Array]
SIZES = (4, 128, 128, 2)
BATCH = 64
SYNC = 500
DISCOUNT = np.float32(0.99)
RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def regression(count: int = 100, apart: int = 80, seed: int = 0) -> Iterator[dict[str, Tensors]]:
    """Yield ``count`` trees of arrays (weights, both moments), ``apart`` updates apart."""
    rng = np.random.default_rng([seed, 4])
    tree = _fresh(rng)
    done = 0
    for _ in range(count):
        for _ in range(apart):
            done += 1
            _update(tree, _gradients(tree["weights"], *_batch(rng)), done)
        yield {part: _copy(tensors) for part, tensors in tree.items()}


def dqn(count: int = 100, apart: int = 80, seed: int = 0) -> Iterator[dict[str, Tensors]]:
    """Yield trees as above, and the target network, of a DQN that learns from random play."""
    rng = np.random.default_rng([seed, 5])
    tree, played = _fresh(rng), states(20_000, seed)
    steps = np.flatnonzero(~played.reset)
    target = _copy(tree["weights"])
    for done in range(1, count * apart + 1):
        drawn = rng.choice(steps, BATCH)
        wanted = _wanted(tree["weights"], target, played, drawn)
        gradients = _gradients(tree["weights"], played.observation[drawn - 1], wanted)
        _update(tree, gradients, done)
        if done % SYNC == 0:
            target = _copy(tree["weights"])
        if done % apart == 0:
            yield {**{part: _copy(tensors) for part, tensors in tree.items()}, "target": target}


def _copy(tensors: Tensors) -> Tensors:
    return {name: array.copy() for name, array in tensors.items()}


def _values(weights: Tensors, x: Array) -> Array:
    """Return the network's output."""
    for layer in range(len(SIZES) - 1):
        x = (np.maximum(x, 0) if layer else x) @ weights[f"{layer}.weight"]
        x = x + weights[f"{layer}.bias"]
    return x


def _wanted(weights: Tensors, target: Tensors, played: Columns, steps: NDArray[np.int64]) -> Array:
    """Return the values that a batch of steps teaches (of the action taken; else as they are)."""
    values = _values(weights, played.observation[steps - 1])
    after = _values(target, played.observation[steps]).max(axis=1)
    learnt = 1 + DISCOUNT * np.where(played.terminated[steps], 0, after)
    values[np.arange(len(steps)), played.action[steps]] = learnt
    return values


def raw_bytes(tree: dict[str, Tensors]) -> int:
    """Return how many bytes the arrays of a checkpoint hold."""
    return sum(array.nbytes for tensors in tree.values() for array in tensors.values())


def _fresh(rng: np.random.Generator) -> dict[str, Tensors]:
    weights: Tensors = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(SIZES)):
        bound = 1 / np.sqrt(fan_in)
        weights[f"{layer}.weight"] = rng.uniform(-bound, bound, (fan_in, fan_out)).astype("f4")
        weights[f"{layer}.bias"] = rng.uniform(-bound, bound, fan_out).astype("f4")
    return {
        "weights": weights,
        "exp_avg": {name: np.zeros_like(array) for name, array in weights.items()},
        "exp_avg_sq": {name: np.zeros_like(array) for name, array in weights.items()},
    }


def _batch(rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw inputs and what the network is to learn of them."""
    x = rng.uniform(-1, 1, (BATCH, SIZES[0])).astype("f4")
    y = np.stack([np.sin(3 * x[:, 0]) * x[:, 1], x[:, 2] * x[:, 3]], axis=1)
    return x, y.astype("f4")


def _gradients(weights: Tensors, x: Array, y: Array) -> Tensors:
    """Back-propagate the squared error through the layers (ReLU between them)."""
    last = len(SIZES) - 2
    inputs = [x]
    for layer in range(last + 1):
        out = inputs[-1] @ weights[f"{layer}.weight"] + weights[f"{layer}.bias"]
        inputs.append(out if layer == last else np.maximum(out, 0))
    error = (inputs[-1] - y) * np.float32(2 / y.size)
    gradients: Tensors = {}
    for layer in range(last, -1, -1):
        gradients[f"{layer}.weight"] = inputs[layer].T @ error
        gradients[f"{layer}.bias"] = error.sum(axis=0)
        error = (error @ weights[f"{layer}.weight"].T) * (inputs[layer] > 0)
    return gradients


def _update(tree: dict[str, Tensors], gradients: Tensors, done: int) -> None:
    """Take one step of Adam, in place."""
    scale1, scale2 = np.float32(1 - BETA1**done), np.float32(1 - BETA2**done)
    for name, gradient in gradients.items():
        first, second = tree["exp_avg"][name], tree["exp_avg_sq"][name]
        first += np.float32(1 - BETA1) * (gradient - first)
        second += np.float32(1 - BETA2) * (gradient * gradient - second)
        step = first / scale1 / (np.sqrt(second / scale2) + np.float32(EPSILON))
        tree["weights"][name] -= np.float32(RATE) * step
