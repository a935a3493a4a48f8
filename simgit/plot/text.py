"""Charts of block characters for a terminal, without any package."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from simgit.plot.curves import Floats

BLOCKS: Final = "▁▂▃▄▅▆▇█"
FILLS: Final = " ▁▂▃▄▅▆▇█"


def sparkline(values: npt.ArrayLike, width: int = 60, low: float | None = None,
              high: float | None = None) -> str:  # fmt: skip
    """Return values as a line of at most ``width`` characters, each the mean of equal parts.

    The lowest is ▁ and the highest █, unless ``low`` and ``high`` are given. Values that are not
    finite are blank.
    """
    means = shares(values, width)
    known = means[np.isfinite(means)]
    if not len(known):
        return " " * len(means)
    bottom = float(known.min()) if low is None else low
    top = float(known.max()) if high is None else high
    span = top - bottom or 1.0
    levels = np.clip((means - bottom) / span * len(BLOCKS), 0, len(BLOCKS) - 1)
    return "".join(BLOCKS[int(v)] if np.isfinite(v) else " " for v in levels)


def shares(values: npt.ArrayLike, count: int) -> Floats:
    """Return the means of at most ``count`` equal parts of values; NaN for an empty part."""
    given = np.asarray(values, np.float64)
    if len(given) <= count:
        return given
    borders = np.linspace(0, len(given), count + 1).astype(int)
    known = np.isfinite(given)
    sums = np.add.reduceat(np.where(known, given, 0.0), borders[:-1])
    counts = np.add.reduceat(known.astype(np.float64), borders[:-1])
    means: Floats = np.full(count, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def evenly(x: npt.ArrayLike, values: npt.ArrayLike, count: int, low: float, high: float) -> Floats:
    """Return the means of ``count`` equal parts of the axis from ``low`` to ``high``.

    A part without values has that of the part before; it is NaN before the first x and after the
    last one. ``x`` ascends.
    """
    along, given = np.asarray(x, np.float64), np.asarray(values, np.float64)
    known = np.isfinite(given)
    along, given = along[known], given[known]
    means: Floats = np.full(count, np.nan)
    if not len(along):
        return means
    parts = np.clip((along - low) / ((high - low) or 1.0) * count, 0, count - 1).astype(int)
    first = np.flatnonzero(np.diff(parts, prepend=-1))
    sizes = np.diff(first, append=len(parts))
    held = np.searchsorted(parts[first], np.arange(count), side="right") - 1
    here = (held >= 0) & (np.arange(count) <= parts[-1])
    means[here] = (np.add.reduceat(given, first) / sizes)[held[here]]
    return means


def chart(
    values: npt.ArrayLike,
    width: int = 60,
    height: int = 8,
    within: tuple[float, float] | None = None,
) -> list[str]:
    """Return values as a chart of several lines, filled below the curve, with its range.

    Each column is the mean of its part; the lowest is still visible. Values that are not ``within``
    a range are drawn at its edge, which then has the mark ≤ or ≥.
    """
    means = shares(values, width)
    known = means[np.isfinite(means)]
    if not len(known):
        return []
    least, most = float(known.min()), float(known.max())
    low, high = (least, most) if within is None else (max(least, within[0]), min(most, within[1]))
    span = high - low or 1.0
    levels = 1 + (np.clip(means, low, high) - low) / span * (height * 8 - 1)
    rows = [_row(levels - 8 * row) for row in reversed(range(height))]
    top, bottom = f"{high:.4g}", f"{low:.4g}"
    if top == bottom and low < high:
        top, bottom = f"{high:.9g}", f"{low:.9g}"
    top, bottom = "≥" * (most > high) + top, "≤" * (least < low) + bottom
    names = [top, *[""] * (height - 2), bottom]
    margin = max(map(len, names))
    return [f"{name:>{margin}} ┤{row}".rstrip() for name, row in zip(names, rows, strict=True)]


def _row(levels: Floats) -> str:
    return "".join(FILLS[int(np.clip(v, 0, 8))] if np.isfinite(v) else " " for v in levels)
