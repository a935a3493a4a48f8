"""Differences of two arrays, element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simgit.objects.arrays import AnyArray

if TYPE_CHECKING:
    import numpy.typing as npt

_SHOWN = 5


@dataclass(frozen=True)
class ArrayChange:
    """The difference of two arrays; counts are None where shapes or dtypes do not match."""

    dtypes: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    different: int | None = None
    """The number of elements that differ."""
    max_abs: float | None = None
    """The greatest absolute difference between numbers."""
    mean_abs: float | None = None
    """The mean absolute difference over all elements."""
    first: tuple[tuple[int, ...], ...] = ()
    """The indices of the first few elements that differ."""

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON types."""
        return {
            "dtypes": list(self.dtypes),
            "shapes": [list(shape) for shape in self.shapes],
            "different": self.different,
            "max_abs": self.max_abs,
            "mean_abs": self.mean_abs,
            "first": [list(index) for index in self.first],
        }


def same_bits(a: AnyArray, b: AnyArray) -> bool:
    """Return True if dtype, shape and all bits are equal."""
    return a.dtype == b.dtype and a.shape == b.shape and not bool(bits_differ(a, b).any())


def bits_differ(a: AnyArray, b: AnyArray) -> npt.NDArray[np.bool_]:
    """Return a mask of the elements whose bits differ, for arrays of one dtype and shape."""
    if not a.size:
        return np.zeros(a.shape, bool)
    if a.dtype.kind in "biuSU":
        return np.asarray(a != b)
    size = a.dtype.itemsize
    word = f"<u{size}" if size in (2, 4, 8) else "<u8"
    left = np.ascontiguousarray(a).reshape(-1).view(word).reshape(a.size, -1)
    right = np.ascontiguousarray(b).reshape(-1).view(word).reshape(a.size, -1)
    different: npt.NDArray[np.bool_] = (left != right).any(axis=1).reshape(a.shape)
    return different


def compare_arrays(a: AnyArray, b: AnyArray) -> ArrayChange | None:
    """Return the difference of two arrays, None if there is none."""
    forms = ((str(a.dtype), str(b.dtype)), (a.shape, b.shape))
    numeric = a.dtype.kind in "biufc" and b.dtype.kind in "biufc"
    if a.shape != b.shape or (a.dtype != b.dtype and not numeric):
        return ArrayChange(*forms)
    if a.dtype == b.dtype:
        different = bits_differ(a, b)
        if not different.any():
            return None
    else:
        different = np.asarray((a != b) & ~((a != a) & (b != b)))
    places = np.argwhere(different)
    worst, mean = _distance(a, b, different) if numeric else (None, None)
    first = tuple(tuple(place) for place in places[:_SHOWN].tolist())
    return ArrayChange(*forms, len(places), worst, mean, first)


def _distance(
    a: AnyArray, b: AnyArray, different: npt.NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """Return the greatest and the mean absolute difference; None if they are not finite."""
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    with np.errstate(all="ignore"):
        distance = np.abs(a[different].astype(wide) - b[different].astype(wide))
    if not len(distance):
        return 0.0, 0.0
    if not np.isfinite(distance).all():
        return None, None
    return float(distance.max()), float(distance.sum() / a.size)
