"""Curves as arrays: smoothing, joining at a branch point, the mean of runs with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput

Floats = npt.NDArray[np.float64]
_GRID: Final = 400
"""Points at which curves of different x are compared."""
_POINTS: Final = 2001


@dataclass(frozen=True)
class Curve:
    """Values ``y`` at ascending ``x``, both of shape (n,), from the very beginning.

    ``fork`` is the place in x at which the curve left another one, whose label is ``parent``;
    what lies before is the other's too.
    """

    label: str
    x: Floats
    y: Floats
    fork: float | None = None
    parent: str | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        if np.shape(self.x) != np.shape(self.y) or np.ndim(self.x) != 1:
            raise InvalidInput(f"curve '{self.label}' needs one x for each y")


@dataclass(frozen=True)
class Band:
    """The mean of several curves at ``x``, and the interval that holds the true mean."""

    label: str
    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    count: int


def smooth(values: npt.ArrayLike, window: int) -> Floats:
    """Return the mean of each value and the ``window - 1`` before it, of what there is.

    What is not finite is left out of the means.

    Raises:
        InvalidInput: window is less than 1.
    """
    if window < 1:
        raise InvalidInput(f"a window for smoothing has to be at least 1, not {window}")
    given = np.asarray(values, np.float64)
    known = np.isfinite(given)
    sums = _trailing(np.where(known, given, 0.0), window)
    counts = _trailing(known.astype(np.float64), window)
    means: Floats = np.full(len(given), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _trailing(values: Floats, window: int) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    result: Floats = sums[ends] - sums[np.maximum(0, ends - window)]
    return result


def own_part(curve: Curve) -> slice:
    """Return which points are the curve's own, and the last that it shares, so that they meet."""
    if curve.fork is None:
        return slice(0, len(curve.x))
    shared = int(np.searchsorted(curve.x, curve.fork, side="right"))
    return slice(max(0, shared - 1), len(curve.x))


def band(label: str, curves: Sequence[Curve], confidence: float = 0.95) -> Band:
    """Return the mean of curves with the interval of Student's t, where all of them have values.

    Curves with equal x are compared point by point, others at points between them.

    Raises:
        InvalidInput: there are no curves, or no x that all of them have.
    """
    if not curves or any(not len(curve.x) for curve in curves):
        raise InvalidInput(f"'{label}' needs curves with points")
    x = _common_x(curves)
    if not len(x):
        raise InvalidInput(f"the curves of '{label}' have no x in common")
    rows = np.stack([np.interp(x, curve.x, curve.y) for curve in curves])
    mean, count = rows.mean(axis=0), len(rows)
    if count == 1:
        return Band(label, x, mean, mean, mean, 1)
    half = t_quantile(0.5 + confidence / 2, count - 1) * rows.std(axis=0, ddof=1) / count**0.5
    return Band(label, x, mean, mean - half, mean + half, count)


def _common_x(curves: Sequence[Curve]) -> Floats:
    first = curves[0].x
    if all(np.array_equal(curve.x, first) for curve in curves):
        return first
    low, high = max(c.x[0] for c in curves), min(c.x[-1] for c in curves)
    points = np.unique(np.concatenate([curve.x for curve in curves]))
    points = points[(low <= points) & (points <= high)]
    return points if len(points) <= _GRID else np.linspace(low, high, _GRID)


def t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution, for a probability of 0.5 to 0.9999.

    The density is summed by Simpson's rule; the error is below 1e-6.
    """
    if not 0.5 <= probability <= 0.9999 or freedom < 1:
        raise InvalidInput(f"no quantile {probability} with {freedom} degrees of freedom")
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    scale = math.exp(log_scale) / math.sqrt(math.pi)
    weights = np.ones(_POINTS)
    weights[1:-1:2], weights[2:-1:2] = 4, 2

    def mass(bound: float) -> float:
        # in the angle whose tangent is t / sqrt(freedom) the density is bounded: no long tail
        angles = np.linspace(0.0, math.atan(bound / math.sqrt(freedom)), _POINTS)
        density = np.cos(angles) ** (freedom - 1)
        return 0.5 + scale * float(weights @ density) * float(angles[1]) / 3

    low, high = 0.0, 1e5
    while high - low > 1e-9 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if mass(middle) < probability else (low, middle)
    return (low + high) / 2
