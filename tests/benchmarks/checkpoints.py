"""Checkpoints of a small network in training, with Adam's moments: real updates, real weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Tensors = dict[str, Array]
SIZES = (4, 128, 128, 2)
BATCH = 64
RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def checkpoints(count: int = 100, apart: int = 80, seed: int = 0) -> Iterator[dict[str, Tensors]]:
    """Yield ``count`` trees of arrays (weights, both moments), ``apart`` updates apart."""
    rng = np.random.default_rng([seed, 4])
    tree = _fresh(rng)
    done = 0
    for _ in range(count):
        for _ in range(apart):
            done += 1
            _update(tree, _gradients(tree["weights"], *_batch(rng)), done)
        yield {part: {k: v.copy() for k, v in tensors.items()} for part, tensors in tree.items()}


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
