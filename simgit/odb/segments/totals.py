"""Totals over rows: sums of rewards, and starts of episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simgit.objects import rows as rowlib
from simgit.objects.lazy_numpy import np
from simgit.objects.rows import Rows

if TYPE_CHECKING:
    import numpy.typing as npt


def rewards(rows: Rows) -> npt.NDArray[np.float64]:
    """Return the rewards of rows, 0 where there is none."""
    index = rows.schema.index.get(("reward",))
    if index is None:
        return np.zeros(rows.count)
    values: npt.NDArray[np.float64] = rowlib.column(rows, index)
    return values


def total(values: npt.NDArray[np.float64]) -> float:
    """Return the sum of rewards."""
    with np.errstate(all="ignore"):  # infinities of both signs
        return float(values.sum())


def near(a: float, b: float) -> bool:
    """Return True if two sums are equal but for the order in which they were added up."""
    return bool(np.isclose(a, b, equal_nan=True))


def episode_starts(rows: Rows, root: bool) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows that start an episode; a root always does."""
    index = rows.schema.index.get(("reset",))
    found = np.zeros(rows.count, bool) if index is None else rowlib.presence(rows, index)
    if root and rows.count:
        found[0] = True
    return found
