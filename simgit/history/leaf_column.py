"""One column of values, and the rule for states that have none.

Where a state has no value, a float or complex column has NaN and a column of dates NaT; other
arrays become masked arrays, and lists have None. ``fill`` puts a value of the user's there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput, shown
from simgit.objects.arrays import AnyArray
from simgit.objects.columns import ABSENT
from simgit.objects.schema import as_numeric

Column = Any
"""An array with a leading axis for the states, a list, or a dict or tuple of columns."""
Mask = npt.NDArray[np.bool_]
UNFILLED: Final = object()
"""The ``fill`` of a column whose absent values are NaN, NaT, masked or None."""
_NOT_A_NUMBER: Final = "fcmM"
"""The kinds of dtypes that have a value for no value."""


class LeafColumn:
    """The values of one field, an array or a list, and a mask of the states that have none.

    Attributes:
        values: an array with a leading axis for the states, or a list.
        absent: True for each state without a value; in an array also where the value is None.
        objects: the values as they were recorded, ``ABSENT`` where there is none, for an array
            that was made of values of several types.
    """

    __slots__ = ("absent", "objects", "values")

    def __init__(
        self, values: AnyArray | list[Any], absent: Mask, objects: list[Any] | None = None
    ) -> None:
        """Take the values over; those of absent states are overwritten."""
        if isinstance(values, np.ndarray):
            if absent.any():
                values[absent] = _no_value(values.dtype)
            values.flags.writeable = False
        self.values = values
        self.absent = absent
        self.objects = objects

    @classmethod
    def of_objects(cls, objects: list[Any], numbers: bool = True) -> LeafColumn:
        """Return the column of Python values (``ABSENT`` where there is none).

        Numbers and arrays of one shape become an array if ``numbers`` is set and a dtype holds
        all of them; None among them then reads as absent.
        """
        found = _as_array(objects) if numbers else None
        if found is not None:
            return cls(*found, objects)
        absent = np.array([value is ABSENT for value in objects], bool)
        return cls([None if value is ABSENT else value for value in objects], absent, objects)

    def __len__(self) -> int:
        return len(self.absent)

    @property
    def is_empty(self) -> bool:
        """True if no state has a value, not even None."""
        objects = self.objects
        return bool(self.absent.all()) and (
            objects is None or all(value is ABSENT for value in objects)
        )

    @property
    def present(self) -> Mask:
        """A mask of the states that have the field, if only with the value None."""
        if self.objects is None:
            return ~self.absent
        return np.array([value is not ABSENT for value in self.objects], bool)

    def part(self, cut: Callable[[Any], Any]) -> LeafColumn:
        """Return the column of which ``cut`` chooses states; it is given arrays and lists."""
        made = LeafColumn.__new__(LeafColumn)
        made.values, made.absent = cut(self.values), cut(self.absent)
        made.objects = None if self.objects is None else cut(self.objects)
        return made

    def shown(self) -> Column:
        """Return the column as users see it."""
        if not isinstance(self.values, np.ndarray) or self.values.dtype.kind in _NOT_A_NUMBER:
            return self.values
        return self._masked() if self.absent.any() else self.values

    def _masked(self) -> Column:
        assert isinstance(self.values, np.ndarray)
        below = (1,) * (self.values.ndim - self.absent.ndim)
        mask = np.broadcast_to(self.absent.reshape(self.absent.shape + below), self.values.shape)
        nothing = _no_value(self.values.dtype)
        return np.ma.MaskedArray(self.values, mask, fill_value=nothing, hard_mask=True)

    def filled(self, fill: Any) -> Column:
        """Return the column with a value where a state has none.

        Raises:
            InvalidInput: no dtype holds this value and the others.
        """
        if fill is UNFILLED:
            return self.shown()
        if isinstance(self.values, np.ndarray):
            return self._filled_array(fill) if self.absent.any() else self.values
        return [_pick(*pair, fill) for pair in zip(self.values, self.absent, strict=True)]

    def _filled_array(self, fill: Any) -> AnyArray:
        assert isinstance(self.values, np.ndarray)
        shape = self.values.shape[self.absent.ndim :]
        try:
            one = np.broadcast_to(np.asarray(fill), shape)
        except ValueError:
            raise InvalidInput(
                f"fill must be one number or an array of shape {shape}, got {shown(fill)}"
            ) from None
        dtype = self.values.dtype
        if cast_exact(one, dtype) is None:
            wider = common_dtype([dtype, one.dtype])
            if wider is None or cast_exact(self.values[~self.absent], wider) is None:
                raise InvalidInput(f"fill {shown(fill)} does not fit a column of {dtype}")
            dtype = wider
        out = self.values.astype(dtype)
        out[self.absent] = one.astype(dtype)
        out.flags.writeable = False
        return out

    def numbers(self) -> AnyArray:
        """Return the array with 0 instead of a value that stands for none."""
        assert isinstance(self.values, np.ndarray)
        if self.values.dtype.kind not in "biu" or not self.absent.any():
            return self.values
        return self._filled_array(0)


def _pick(value: Any, absent: Any, fill: Any) -> Any:
    """Return a value or the fill for it, or a list of these, for windows."""
    if isinstance(absent, np.ndarray):
        return [_pick(*pair, fill) for pair in zip(value, absent, strict=True)]
    return fill if absent else value


def _no_value(dtype: np.dtype[Any]) -> Any:
    """Return what stands for no value in a column.

    Under a mask it is the most extreme number, so that code that drops the mask fails loudly.
    """
    if dtype.kind in "fc":
        return np.nan
    if dtype.kind in "mM":
        return np.array("NaT", dtype)
    if dtype.kind == "i":
        return np.iinfo(dtype).min
    return np.iinfo(dtype).max if dtype.kind == "u" else np.zeros((), dtype)


def common_dtype(dtypes: Sequence[np.dtype[Any] | None]) -> np.dtype[Any] | None:
    """Return a dtype that may hold the values of all others, None if there is none."""
    known = [dtype for dtype in dtypes if dtype is not None]  # (a dtype of float64 equals None)
    if len(known) < len(dtypes) or not known:
        return None
    if len(set(known)) == 1:
        return known[0]
    kinds = {dtype.kind for dtype in known}
    if kinds <= set("biufc") or kinds == {"S"} or kinds == {"U"}:
        return np.result_type(*known)
    return None


def cast_exact(data: AnyArray, dtype: np.dtype[Any]) -> AnyArray | None:
    """Return values in another dtype, None if one would change."""
    if data.dtype == dtype:
        return data
    if common_dtype([data.dtype, dtype]) is None:
        return None
    with np.errstate(all="ignore"):
        out = data.astype(dtype)
        back = out.real if dtype.kind == "c" and data.dtype.kind != "c" else out
        same = back.astype(data.dtype) == data
    if dtype.kind in "fc":
        same |= data != data  # NaN
        if data.dtype.kind in "iu":  # large ones may saturate and compare equal
            same &= abs(out).astype("<f8") < 2.0**63
    return out if same.all() else None


def _as_array(objects: Sequence[Any]) -> tuple[AnyArray, Mask] | None:
    """Return numbers or arrays of one shape as an array and a mask of what is absent."""
    absent = np.ones(len(objects), bool)
    groups: dict[np.dtype[Any], tuple[list[int], list[AnyArray]]] = {}
    shape: tuple[int, ...] | None = None
    for i, value in enumerate(objects):
        if value is ABSENT or value is None:
            continue
        array = as_numeric(value)
        if array is None or (shape is not None and array.shape != shape):
            return None
        shape = array.shape
        absent[i] = False
        rows, arrays = groups.setdefault(array.dtype, ([], []))
        rows.append(i)
        arrays.append(array)
    dtype = common_dtype(list(groups))
    if dtype is None or shape is None:
        return None
    out = np.zeros((len(objects), *shape), dtype)
    for rows, arrays in groups.values():
        exact = cast_exact(np.stack(arrays), dtype)
        if exact is None:
            return None
        out[rows] = exact
    return out, absent
