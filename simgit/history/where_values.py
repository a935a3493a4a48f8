"""Operands of conditions: one value a state, and a mask of the states that have it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput
from simgit.history.leaf_column import LeafColumn, Mask

_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "/": operator.truediv, "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip
_EXACT: Final = 2.0**62


@dataclass(frozen=True)
class Operand:
    """One value a state: an array with a leading axis, or an array of Python objects."""

    values: npt.NDArray[Any]
    present: Mask
    is_none: bool = False
    """True for the constant None."""

    @property
    def numeric(self) -> bool:
        """True if the values are numbers."""
        return self.values.dtype.kind in "biufc"


def constant(value: Any, count: int) -> Operand:
    """Return the same value for every state."""
    if value is None:
        return Operand(objects([None] * count), np.zeros(count, bool), True)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        try:
            value = float(value)
        except OverflowError:
            raise InvalidInput(f"an integer of the condition is too large: {value}") from None
    if isinstance(value, str):
        return Operand(objects([value] * count), np.ones(count, bool))
    return Operand(np.broadcast_to(np.asarray(value), (count,)), np.ones(count, bool))


def numbers(values: npt.NDArray[Any]) -> Operand:
    """Return numbers that every state has."""
    return Operand(values, np.ones(len(values), bool))


def flags(mask: Mask) -> Operand:
    """Return a truth value for each state."""
    return Operand(mask, np.ones(len(mask), bool))


def nothing(count: int) -> Operand:
    """Return an operand that no state has."""
    return Operand(objects([None] * count), np.zeros(count, bool))


def objects(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Return an array of Python objects, whatever they are."""
    out = np.empty(len(values), object)
    for i, value in enumerate(values):
        out[i] = value
    return out


def column(leaf: LeafColumn) -> Operand:
    """Return a trajectory's column as an operand; a value of None is no value."""
    if isinstance(leaf.values, np.ndarray):
        return Operand(leaf.numbers(), ~leaf.absent)
    there = [value is not None for value in leaf.values]
    return Operand(objects(leaf.values), np.array(there, bool))


def nested(columns: dict[str, Any] | tuple[Any, ...], present: Mask) -> Operand:
    """Return nested columns as an operand, which only says what is present."""
    return Operand(objects([columns] * len(present)), present)


def item(one: Operand, key: Any, text: str) -> Operand:
    """Return one element of each value: of an array's trailing axes, or of a Python value."""
    if one.values.dtype != object:
        if isinstance(key, str) or one.values.ndim <= len(key):
            raise InvalidInput(f"'{text}': the values do not have this element", text=text)
        try:
            return Operand(one.values[(slice(None), *key)], one.present)
        except IndexError:
            raise InvalidInput(f"'{text}': the index is out of range", text=text) from None
    found = [_element(v, key) if p else None for v, p in zip(one.values, one.present, strict=True)]
    values = objects(found)
    return Operand(values, np.array([value is not None for value in found], bool))


def _element(value: Any, key: Any) -> Any:
    for part in (key,) if isinstance(key, str) else key:
        try:
            value = value[part]
        except (LookupError, TypeError, ValueError):
            return None
    return value


def truth(one: Operand, text: str) -> Mask:
    """Return a mask of the states whose value is true: not 0, not empty, not absent.

    Raises:
        InvalidInput: the states have arrays of several elements.
    """
    _check_scalar(one, text)
    if one.values.dtype == object:
        found = [_is_true(value) for value in one.values]
        return np.array(found, bool) & one.present
    return one.values.astype(bool) & one.present if one.numeric else one.present


def _is_true(value: Any) -> bool:
    if isinstance(value, (dict, tuple)):
        return True  # a nested column: the field's presence is what counts
    return bool(value.any()) if isinstance(value, np.ndarray) else bool(value)


def _check_scalar(one: Operand, text: str) -> None:
    if one.values.ndim > 1:
        shape = one.values.shape[1:]
        raise InvalidInput(
            f"'{text}': each state has an array of shape {shape}; name an element, or use min or "
            "max",
            text=text,
        )


def compare(name: str, a: Operand, b: Operand, text: str) -> Mask:
    """Return a mask of the states for which a comparison holds.

    It does not hold where a value is absent, except in ``== None``.
    """
    if a.is_none or b.is_none:
        return _compare_none(name, b if a.is_none else a, a.is_none and b.is_none, text)
    _check_scalar(a, text)
    _check_scalar(b, text)
    both = a.present & b.present
    if a.values.dtype != object and b.values.dtype != object:
        try:
            return np.asarray(_COMPARE[name](a.values, b.values)).astype(bool) & both
        except TypeError:  # such as a date and a number
            return both if name == "!=" else np.zeros(len(both), bool)
    found = np.zeros(len(both), bool)
    for i in np.flatnonzero(both).tolist():
        found[i] = _compare_objects(name, a.values[i], b.values[i])
    return found


def _compare_none(name: str, one: Operand, both: bool, text: str) -> Mask:
    if name not in ("==", "!="):
        raise InvalidInput(f"'{text}': None cannot be ordered; use == or !=", text=text)
    missing = np.ones(len(one.present), bool) if both else ~one.present
    return missing if name == "==" else ~missing


def _compare_objects(name: str, a: Any, b: Any) -> bool:
    numpy = isinstance(a, (np.ndarray, np.generic)), isinstance(b, (np.ndarray, np.generic))
    if numpy == (True, False) and isinstance(a, np.generic):
        a = a.item()  # NumPy would compare with each item of a list
    elif numpy == (False, True) and isinstance(b, np.generic):
        b = b.item()
    try:
        return bool(_COMPARE[name](a, b))
    except (TypeError, ValueError, OverflowError):
        return False


def contains(name: str, a: Operand, b: Operand, text: str) -> Mask:
    """Return a mask of the states whose string, list, dict or array contains a value."""
    both = a.present & b.present
    if b.values.dtype != object and b.values.ndim == 1:
        raise InvalidInput(f"'{text}': a number contains nothing; use ==", text=text)
    found = np.zeros(len(both), bool)
    for i in np.flatnonzero(both).tolist():
        try:
            found[i] = bool(a.values[i] in b.values[i])
        except (TypeError, ValueError):
            found[i] = False
    return found if name == "in" else both & ~found


def arithmetic(name: str, a: Operand, b: Operand, text: str) -> Operand:
    """Return a sum, difference, product, quotient or remainder; division by 0 gives no value.

    Raises:
        InvalidInput: a value is not a number.
    """
    left, right = _aligned(_as_numbers(a, text), _as_numbers(b, text))
    present = left.present & right.present
    if name in ("/", "//", "%"):
        present = present & (b.values != 0 if b.values.ndim == 1 and b.numeric else True)
    with np.errstate(all="ignore"):
        try:
            out = _ARITHMETIC[name](_widened(left.values), _widened(right.values))
        except (TypeError, ValueError):
            raise InvalidInput(f"'{text}': the shapes do not agree", text=text) from None
        if out.dtype == np.int64:
            rough = _ARITHMETIC[name](left.values.astype(float), right.values.astype(float))
            if (abs(rough) > _EXACT).any():
                out = rough  # the integers would have overflowed
    return Operand(out, present)


def _aligned(a: Operand, b: Operand) -> tuple[Operand, Operand]:
    """Return operands of equally many axes, so that one number a state meets a whole array."""
    axes = max(a.values.ndim, b.values.ndim)
    left, right = (
        Operand(one.values.reshape(one.values.shape + (1,) * (axes - one.values.ndim)), one.present)
        for one in (a, b)
    )
    return left, right


def _widened(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return numbers in a dtype in which arithmetic does not wrap around soon."""
    kind = values.dtype.kind
    if kind == "c":
        return values.astype(np.complex128)
    if kind == "f" or values.dtype == np.uint64:
        return values.astype(np.float64)
    return values.astype(np.int64)


def _as_numbers(one: Operand, text: str) -> Operand:
    if one.numeric:
        return one
    if one.values.dtype != object or one.is_none:
        raise InvalidInput(f"'{text}': a value is not a number", text=text)
    good = [isinstance(v, (bool, int, float, np.number, np.bool_)) for v in one.values]
    if any(p and not g for p, g in zip(one.present.tolist(), good, strict=True)):
        raise InvalidInput(f"'{text}': a value is not a number", text=text)
    try:
        found = [float(v) if g else 0.0 for v, g in zip(one.values, good, strict=True)]
    except (TypeError, OverflowError):
        raise InvalidInput(f"'{text}': a number is out of range", text=text) from None
    return Operand(np.array(found, float), one.present & np.array(good, bool))


def call(name: str, args: Sequence[Operand], text: str) -> Operand:
    """Return abs, min, max or len of operands; the language is described in ``where``."""
    if name == "len":
        return _length(args[0], text)
    one = _as_numbers(args[0], text)
    if one.values.dtype.kind == "c" and name != "abs":
        raise InvalidInput(f"'{text}': complex numbers cannot be ordered", text=text)
    if name == "abs":
        return Operand(np.abs(_widened(one.values)), one.present)
    if len(args) == 1:
        return _reduced(name, one, text)
    for other in args[1:]:
        one = _extreme(name, one, _as_numbers(other, text), text)
    return one


def _extreme(name: str, a: Operand, b: Operand, text: str) -> Operand:
    choose = np.minimum if name == "min" else np.maximum
    a, b = _aligned(a, b)
    try:
        return Operand(choose(a.values, b.values), a.present & b.present)
    except (TypeError, ValueError):
        raise InvalidInput(f"'{text}': the values do not fit together", text=text) from None


def _reduced(name: str, one: Operand, text: str) -> Operand:
    """Return the least or greatest element of each state's array."""
    axes = tuple(range(1, one.values.ndim))
    if not axes:
        return one
    if 0 in one.values.shape[1:]:
        raise InvalidInput(f"'{text}': the arrays are empty", text=text)
    choose = np.min if name == "min" else np.max
    return Operand(choose(one.values, axis=axes), one.present)


def _length(one: Operand, text: str) -> Operand:
    if one.values.ndim > 1:
        return Operand(np.full(len(one.values), one.values.shape[1]), one.present)
    if one.values.dtype != object:
        raise InvalidInput(f"'{text}': a number has no length", text=text)
    try:
        found = [len(v) if p else 0 for v, p in zip(one.values, one.present, strict=True)]
    except TypeError:
        raise InvalidInput(f"'{text}': a value has no length", text=text) from None
    return Operand(np.array(found, np.int64), one.present)
