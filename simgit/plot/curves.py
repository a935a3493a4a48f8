"""Curves and bands as arrays: what the drawings of learning curves are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput

_FEW: Final = 12
"""A curve with fewer points is short."""
_SQUASHED: Final = 2.5
_MOST_MAGNIFIED: Final = 20.0
"""How many times at most the range is smaller: else it would be that of noise."""
_MARGIN: Final = 0.08
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Averaged:
    """The values that the points of a curve are the means of.

    Attributes:
        width: the number of states of each point, as a whole (the first and last may have fewer).
        count: the number of values in all.
        low: the least value of each point, shape (n,).
        high: the greatest.
        first: the first of all values.
        last: the newest ten.
    """

    width: int
    count: int
    low: Floats
    high: Floats
    first: float
    last: Floats


@dataclass(frozen=True)
class Curve:
    """Values ``y`` at ascending ``x``, both of shape (n,), from the very beginning.

    ``fork`` is the x at which the curve branched off another one, whose label is ``parent``; the
    points before it belong to both. If ``averaged`` is given, each point is the mean of many
    values.
    """

    label: str
    x: Floats
    y: Floats
    fork: float | None = None
    parent: str | None = None
    averaged: Averaged | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        if np.shape(self.x) != np.shape(self.y) or np.ndim(self.x) != 1:
            raise InvalidInput(f"curve '{self.label}' needs one x for each y")


@dataclass(frozen=True)
class Band:
    """The mean of several curves at ``x``, with the confidence interval of the mean."""

    label: str
    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    count: int


def smooth(values: npt.ArrayLike, window: int) -> Floats:
    """Return the trailing mean over ``window`` values, fewer at the beginning.

    Values that are not finite are left out.

    Raises:
        InvalidInput: window is less than 1.
    """
    if window < 1:
        raise InvalidInput(f"the smoothing window must be at least 1, got {window}")
    given = np.asarray(values, np.float64)
    known = np.isfinite(given)
    window = min(window, len(given))  # NumPy takes no larger integer than 64 bits
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
    """Return the curve's own points and the last shared one, so that the curves meet."""
    if curve.fork is None:
        return slice(0, len(curve.x))
    shared = int(np.searchsorted(curve.x, curve.fork, side="right"))
    return slice(max(0, shared - 1), len(curve.x))


def clear_range(values: Sequence[npt.ArrayLike]) -> tuple[float, float] | None:
    """Return the range to draw curves in where a few first points would squash the others.

    That is the range of the points after the first quarter of each curve, with a margin, if all
    points take more than ``_SQUASHED`` times as much. None if they do not, or all curves are short:
    of a short one every point counts.
    """
    given = [np.asarray(each, np.float64) for each in values]
    known = [each[np.isfinite(each)] for each in given]
    if not any(len(each) >= _FEW for each in known):
        return None
    late = [each[len(each) // 4 :] if len(each) >= _FEW else each for each in known]
    everything, later = np.concatenate(known), np.concatenate(late)
    low, high = float(later.min()), float(later.max())
    whole = float(everything.max() - everything.min())
    span = max(high - low, whole / _MOST_MAGNIFIED)
    if whole <= _SQUASHED * span:
        return None
    return low - _MARGIN * span, high + _MARGIN * span
