"""State vectors: observations as float32 arrays, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput
from simgit.kube.observation import Observation, check_target
from simgit.kube.task.registry import Registry
from simgit.kube.task.resources import MIB, Resources

Vector = npt.NDArray[np.float32]
VectorOf = Callable[[Observation, Resources, int], Vector]
VECTORS: Registry[VectorOf] = Registry("state vector")
_BOUNDS: dict[str, tuple[Vector, Vector]] = {}

_MAX_AMOUNT = float(2**63 - 1)
_MAX_COUNT = float(2**31)


def vector(
    name: str, *, low: Sequence[float], high: Sequence[float]
) -> Callable[[VectorOf], VectorOf]:
    """Return a decorator that registers a state vector with the bounds of its components.

    The function is called with an observation that has counts: after a failed one with the last
    that did not fail. Raises AlreadyExists for a taken name.
    """
    bounds = (np.array(low, dtype=np.float32), np.array(high, dtype=np.float32))
    if bounds[0].shape != bounds[1].shape or not (bounds[0] <= bounds[1]).all():
        raise InvalidInput(
            f"bounds of state vector '{name}' must have the same shape, and low <= high",
            low=low,
            high=high,
        )

    def add(function: VectorOf) -> VectorOf:
        VECTORS.register(name)(function)
        _BOUNDS[name] = bounds
        return function

    return add


def vector_bounds(name: str) -> tuple[Vector, Vector]:
    """Return (low, high) of a state vector's components; raises NotFound for an unknown name."""
    VECTORS.get(name)
    return _BOUNDS[name]


def _count_bounds(scale: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the bounds of ``_vector``: any quantity, any number of pods, any target."""
    counts = _MAX_COUNT / scale
    most = (_MAX_AMOUNT * 1000 / 4000, _MAX_AMOUNT / MIB / 4096, counts, counts, 1.0)
    return (0.0, 0.0, 0.0, -counts, 0.0), most


@vector("base", low=_count_bounds(5)[0], high=_count_bounds(5)[1])
def base_vector(observation: Observation, requests: Resources, target: int) -> Vector:
    """Return CPU over 4 cores, memory over 4Gi, counts over 5, replicas over 8 and at most 1."""
    return _vector(observation, requests, target, 5)


@vector("scale", low=_count_bounds(15)[0], high=_count_bounds(15)[1])
def scale_vector(observation: Observation, requests: Resources, target: int) -> Vector:
    """Return ``base`` with the counts over 15."""
    return _vector(observation, requests, target, 15)


def _vector(observation: Observation, requests: Resources, target: int, scale: int) -> Vector:
    _, pending, total = observation.counts()
    values = (
        requests.cpu_m / 4000,
        requests.memory / MIB / 4096,
        pending / scale,
        (check_target(target) - total) / scale,
        min(1.0, requests.replicas / 8),
    )
    return np.array(values, dtype=np.float32)
