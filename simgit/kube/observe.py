"""What an agent sees: counts of pods with their validity, and the vectors made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from simgit.errors import Cluster, InvalidInput
from simgit.kube.registry import Registry
from simgit.kube.resources import MIB, Resources

Validity = Literal["ok", "timeout", "error"]
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Observation:
    """Pods of one application by state. Only a valid one has counts: the rest have None.

    ``ready`` and ``pending`` are pods, ``total`` includes those that are neither.
    """

    ready: int | None
    pending: int | None
    total: int | None
    validity: Validity = "ok"
    error: str | None = None

    @property
    def valid(self) -> bool:
        """Whether the counts were really seen."""
        return self.validity == "ok"

    def counts(self) -> tuple[int, int, int]:
        """Return (ready, pending, total); raises Cluster if they were not seen."""
        if self.ready is None or self.pending is None or self.total is None:
            raise Cluster(f"observation failed ({self.validity}): {self.error}")
        return self.ready, self.pending, self.total

    def plain(self) -> dict[str, Any]:
        """Return the record of the observation; a failed one has no counts."""
        if self.valid:
            return {"ready": self.ready, "pending": self.pending, "total": self.total}
        return {"validity": self.validity, "error": self.error}


def failed(validity: Literal["timeout", "error"], error: str) -> Observation:
    """Build an observation that says why nothing was seen."""
    return Observation(None, None, None, validity, error)


def at_goal(observation: Observation, target: int) -> bool:
    """Tell whether exactly the target number of pods exist, all ready; never if unseen."""
    check_target(target)
    return observation.valid and observation.counts() == (target, 0, target)


def check_target(target: int) -> int:
    """Return a target that can be reached; InvalidInput below one."""
    if isinstance(target, bool) or not isinstance(target, int) or not 1 <= target <= MAX_TARGET:
        raise InvalidInput(f"bad target '{target}', expected a whole number above 0", value=target)
    return target


VectorOf = Callable[[Observation, Resources, int], Vector]
VECTORS: Registry[VectorOf] = Registry("state vector")
_BOUNDS: dict[str, tuple[Vector, Vector]] = {}

MAX_TARGET = 2**31 - 1
_MAX_AMOUNT = float(2**63 - 1)
_MAX_COUNT = float(2**31)


def vector(
    name: str, *, low: Sequence[float], high: Sequence[float]
) -> Callable[[VectorOf], VectorOf]:
    """Register a state vector with the least and the most of each of its components.

    The function is called with an observation that has counts: after one that failed with the
    last that did not. Raises AlreadyExists if the name is taken.
    """
    bounds = (np.array(low, dtype=np.float32), np.array(high, dtype=np.float32))
    if bounds[0].shape != bounds[1].shape or not (bounds[0] <= bounds[1]).all():
        raise InvalidInput(f"bad bounds of state vector '{name}'", low=low, high=high)

    def add(function: VectorOf) -> VectorOf:
        VECTORS.register(name)(function)
        _BOUNDS[name] = bounds
        return function

    return add


def vector_bounds(name: str) -> tuple[Vector, Vector]:
    """Return (least, most) of a state vector's components; NotFound for an unknown name."""
    VECTORS.get(name)
    return _BOUNDS[name]


def _count_bounds(scale: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the bounds of ``_vector``: any quantity, any number of pods, any target."""
    counts = _MAX_COUNT / scale
    most = (_MAX_AMOUNT * 1000 / 4000, _MAX_AMOUNT / MIB / 4096, counts, counts, 1.0)
    return (0.0, 0.0, 0.0, -counts, 0.0), most


@vector("base", low=_count_bounds(5)[0], high=_count_bounds(5)[1])
def base_vector(observation: Observation, requests: Resources, target: int) -> Vector:
    """Scale CPU to 4 cores, memory to 4Gi, counts to 5, replicas to 8 and at most 1."""
    return _vector(observation, requests, target, 5)


@vector("scale", low=_count_bounds(15)[0], high=_count_bounds(15)[1])
def scale_vector(observation: Observation, requests: Resources, target: int) -> Vector:
    """Like base, with the counts scaled to 15."""
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
