"""Coerced values: copies of a user's values, made of exact types only."""

from __future__ import annotations

from typing import Any, Final

from simgit.errors import InvalidInput, shown
from simgit.objects.arrays import is_arraylike, storable_dtype, to_array
from simgit.objects.canonical import MAX_DEPTH
from simgit.objects.codec import bad_key, lone_surrogate, too_deep, unknown_type
from simgit.objects.lazy_numpy import is_loaded, np

_IMMUTABLE: Final = frozenset((int, float, bool, type(None), bytes, complex))


def coerce(value: Any, path: str, depth: int = 0) -> Any:
    """Return a copy of ``value`` made of exact types, from which a row can be packed.

    Python's own types, dicts, lists, tuples, NumPy scalars and C-order arrays of storable dtypes
    remain; subclasses become their base, and objects with ``__array__`` or DLPack become arrays.

    Raises:
        InvalidInput: some part cannot be stored; the message names its path.
    """
    kind = type(value)
    if kind in _IMMUTABLE:
        return value
    if kind is np.ndarray:
        return to_array(value, path).copy()
    if isinstance(value, str):
        return _coerce_text(value, path)
    if isinstance(value, (dict, list, tuple)) and depth >= MAX_DEPTH:
        raise too_deep(path)
    if isinstance(value, dict):
        return {coerce_key(k, path): coerce(v, f"{path}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [coerce(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    return _coerce_other(value, path)


def _coerce_text(value: str, path: str) -> str:
    text = str.__str__(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise lone_surrogate(path) from None
    return text


def coerce_key(key: Any, path: str) -> Any:
    """Return the key of a dict as a plain string, bytes or integer (of NumPy's integers too).

    Raises:
        InvalidInput: it is of another type, or an integer of more than 64 bits.
    """
    if type(key) is str and key.isascii():
        return key
    if isinstance(key, str):
        return _coerce_text(key, path)
    if isinstance(key, bytes):
        return bytes(key)
    if _is_integer(key) and not isinstance(key, bool):
        number = int(key)
        if -(1 << 63) <= number < 1 << 64:
            return number
    raise bad_key(key, path)


def _coerce_other(value: Any, path: str) -> Any:
    if isinstance(value, np.generic):
        if isinstance(value, np.bytes_):
            return bytes(value)
        dtype = storable_dtype(value.dtype, path)
        return value if value.dtype == dtype else np.asarray(value, dtype)[()]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if is_arraylike(value):
        return to_array(value, path).copy()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return complex(value)
    raise unknown_type(value, path)


def _is_integer(value: object) -> bool:
    """Return True for an integer, a NumPy one too; also for a bool, which is one to Python."""
    return isinstance(value, int) or (is_loaded() and isinstance(value, np.integer))


def check_number(
    value: Any,
    name: str,
    least: float = 0,
    *,
    most: float | None = None,
    whole: bool = False,
) -> Any:
    """Return a parameter that is a number as Python's int or float.

    Args:
        value: the parameter.
        name: its name in messages.
        least: the least value that it may have.
        most: the greatest, if there is one.
        whole: True if it must be an integer; else infinity is allowed.

    Raises:
        InvalidInput: it is not a number, or out of range.
    """
    is_integer = _is_integer(value)
    is_real = isinstance(value, float) or (is_loaded() and isinstance(value, np.floating))
    if isinstance(value, bool) or not (is_integer or (is_real and not whole)):
        what = "an integer" if whole else "a number"
        raise InvalidInput(f"{name} must be {what}, got {shown(value)}", name=name)
    if not value >= least:  # also where it is NaN
        raise InvalidInput(f"{name} must be at least {least}, got {shown(value)}", name=name)
    if most is not None and value > most:
        raise InvalidInput(f"{name} must be at most {most}, got {shown(value)}", name=name)
    return int(value) if is_integer else float(value)


def check_seed(value: Any, name: str = "seed") -> None:
    """Check a seed: None, an integer, or a list of these (of parallel environments).

    Raises:
        InvalidInput: it is something else.
    """
    parts = value if isinstance(value, (list, tuple)) else [value]
    for part in parts:
        if isinstance(part, bool) or not (part is None or _is_integer(part)):
            raise InvalidInput(f"{name} must be an integer, got {shown(part)}", path=name)
