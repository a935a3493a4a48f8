"""Statistics: means, rates and bands with confidence intervals, Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput
from simgit.plot.curves import Band, Curve, Floats

CONFIDENCE: Final = 0.95
_Z: Final = 1.959963984540054
"""The quantile of the normal distribution for that confidence."""
_GRID: Final = 400
"""Points at which curves of different x are compared."""
_POINTS: Final = 2001
"""Points at which the density of Student's t is summed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def plain(self) -> dict[str, float]:
        """Return the estimate as data for JSON."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


def proportion(count: int, total: int) -> Estimate:
    """Return a rate with Wilson's interval, which also holds for rates near 0 and 1."""
    share = count / total
    wide = 1 + _Z**2 / total
    middle = (share + _Z**2 / (2 * total)) / wide
    half = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2)) / wide
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def mean(values: Sequence[float]) -> Estimate:
    """Return a mean with the interval of Student's t, a point for a single value."""
    found = np.asarray(values, np.float64)
    average = float(found.mean())
    if len(found) == 1:
        return Estimate(average, average, average)
    half = t_quantile(0.5 + CONFIDENCE / 2, len(found) - 1) * float(found.std(ddof=1))
    half /= math.sqrt(len(found))
    return Estimate(average, average - half, average + half)


def band(label: str, curves: Sequence[Curve], confidence: float = CONFIDENCE) -> Band:
    """Return the mean of curves with the interval of Student's t, where all of them have values.

    Curves with equal x are compared point by point, others at points between them.

    Raises:
        InvalidInput: there are no curves, or their ranges of x do not overlap.
    """
    if not curves or any(not len(curve.x) for curve in curves):
        raise InvalidInput(f"band '{label}' needs curves with points")
    x = _common_x(curves)
    if not len(x):
        raise InvalidInput(f"the curves of band '{label}' have no x in common")
    rows = np.stack([np.interp(x, curve.x, curve.y) for curve in curves])
    mean, count = rows.mean(axis=0), len(rows)
    if count == 1:
        return Band(label, x, mean, mean, mean, 1)
    half = t_quantile(0.5 + confidence / 2, count - 1) * rows.std(axis=0, ddof=1) / count**0.5
    return Band(label, x, mean, mean - half, mean + half, count)


def column_means(
    rows: Floats, confidence: float = CONFIDENCE
) -> tuple[npt.NDArray[np.int64], Floats, Floats, Floats]:
    """Return how many values each column has, their mean, and the interval of Student's t of it.

    That is mean ± t · s / √n, with the quantile t of n - 1 degrees of freedom and the standard
    deviation s with the divisor n - 1 (Student, "The probable error of a mean", Biometrika 6, 1908;
    NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.2). It holds for rows that are
    independent of each other, such as runs with different seeds; those that share a history are
    not, and where they do it is too narrow.

    Args:
        rows: shape (rows, columns); NaN is no value.
        confidence: the share of such intervals that have the true mean.

    Returns:
        Arrays of shape (columns,): counts, means, lower and upper bounds. The mean is NaN without a
        value, the bounds are NaN with less than two.
    """
    there = ~np.isnan(rows)
    count = there.sum(axis=0)
    with np.errstate(all="ignore"):
        mean = np.where(there, rows, 0.0).sum(axis=0) / count
        squares = (np.where(there, rows - mean, 0.0) ** 2).sum(axis=0)
        half = np.sqrt(squares / (count - 1) / count)
        known = [int(each) for each in np.unique(count) if each > 1]
        factor = np.full(len(count), np.nan)
        for each in known:
            factor[count == each] = t_quantile(0.5 + confidence / 2, each - 1)
        half = half * factor
        return count, mean, mean - half, mean + half


def _common_x(curves: Sequence[Curve]) -> Floats:
    first = curves[0].x
    if all(np.array_equal(curve.x, first) for curve in curves):
        return first
    low, high = max(c.x[0] for c in curves), min(c.x[-1] for c in curves)
    points = np.unique(np.concatenate([curve.x for curve in curves]))
    points = points[(low <= points) & (points <= high)]
    return points if len(points) <= _GRID else np.linspace(low, high, _GRID)


@cache
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
        # over the angle whose tangent is t / sqrt(freedom) the density is bounded: no long tail
        angles = np.linspace(0.0, math.atan(bound / math.sqrt(freedom)), _POINTS)
        density = np.cos(angles) ** (freedom - 1)
        return 0.5 + scale * float(weights @ density) * float(angles[1]) / 3

    low, high = 0.0, 1e5
    while high - low > 1e-9 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if mass(middle) < probability else (low, middle)
    return (low + high) / 2
