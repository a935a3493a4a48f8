"""Stored values as JSON and back, without loss; described in docs/json.md.

JSON has one kind of number, no NaN, no bytes and only texts as keys. What it cannot say is an
object whose first key begins with ``$``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from simgit.errors import InvalidInput, SimgitError, shown
from simgit.objects.arrays import AnyArray, as_scalar, dtype_from_text, is_storable
from simgit.objects.canonical import MAX_DEPTH
from simgit.objects.coerce import coerce_key
from simgit.objects.lazy_numpy import is_loaded, np
from simgit.objects.oid import Oid
from simgit.objects.rows import Reference

SAFE: Final = (1 << 53) - 1
"""The greatest integer that every reader of JSON has exactly."""
_NAN: Final = struct.pack("<d", math.nan)
_FLOATS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_OMITTED: Final = 64
"""The most elements of an array in a comparison."""


def value_to_json(value: Any, short: bool = False) -> Any:
    """Return a stored value as JSON types, from which ``value_from_json`` makes it again.

    Args:
        value: the value; one of a type that cannot be stored becomes its text under ``$repr``.
        short: leave out the elements of arrays that have more than 64.
    """
    is_array = is_loaded() and isinstance(value, (np.ndarray, np.generic))
    if is_array and not isinstance(value, (str, bytes)):
        return _array(np.asarray(value), short) if is_storable(value) else _formed(value)
    if isinstance(value, Mapping):
        if not _has_plain_keys(value):
            return _formed(value)
        pairs = [(key, value_to_json(item, short)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$map": [[value_to_json(key), item] for key, item in pairs]}
    if isinstance(value, (list, tuple)):
        items = [value_to_json(item, short) for item in value]
        return items if isinstance(value, list) else {"$tuple": items}
    return _leaf(value)


def record_to_json(record: Any) -> Any:
    """Return what a command tells as JSON types: arrays and tuples as lists, keys as texts.

    Stored values in it are given in the form of ``value_to_json``.
    """
    if isinstance(record, Mapping):
        return {_key_text(key): record_to_json(item) for key, item in record.items()}
    if isinstance(record, (list, tuple)):
        return [record_to_json(item) for item in record]
    if is_loaded() and isinstance(record, (np.ndarray, np.generic)):
        return record_to_json(record.tolist())
    return _leaf(record)


def _leaf(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Oid):
        return value.hex()
    if isinstance(value, int):
        return value if -SAFE <= value <= SAFE else {"$int": _digits(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": _odd_float(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, complex):
        return {"$complex": [_leaf(value.real), _leaf(value.imag)]}
    if isinstance(value, Reference):
        return {"$object": value.oid.hex(), "kind": value.kind}
    return _formed(value)


def _has_plain_keys(value: Mapping[Any, Any]) -> bool:
    try:
        return all(type(key) is str or coerce_key(key, "value") is not None for key in value)
    except InvalidInput:
        return False


def _formed(value: Any) -> dict[str, Any]:
    """Return a value that has no encoding of its own: its plain value and forms, or its text."""
    from simgit.objects.simplify import Simplifier, stored_forms

    try:
        found = Simplifier().simplify(value, "value")
    except InvalidInput:
        return {"$repr": shown(value), "type": type(value).__name__}
    listed = [[path[1:], *rest] for path, *rest in stored_forms({"": found.forms})]
    return {"$plain": value_to_json(found.value), "forms": value_to_json(listed)}


def _key_text(key: Any) -> str:
    if isinstance(key, bytes):
        return key.hex()
    return _digits(key) if isinstance(key, int) else str(key)


def _digits(value: int) -> str:
    """Return an integer's digits: in hex where Python would refuse so many decimals."""
    return str(value) if value.bit_length() < 8192 else hex(value)


def _odd_float(value: float) -> str:
    packed = struct.pack("<d", value)
    if value != value and packed != _NAN:
        return f"0x{packed[::-1].hex()}"
    return next(name for name, each in _FLOATS.items() if struct.pack("<d", each) == packed)


def _array(array: AnyArray, short: bool) -> dict[str, Any]:
    form: dict[str, Any] = {"$array": None, "dtype": array.dtype.str}
    if short and array.size > _OMITTED:
        return form | {"shape": list(array.shape)}
    form["$array"] = _elements(array)
    if 0 in array.shape or _is_raw(form["$array"]):
        form["shape"] = list(array.shape)
    return form


def _elements(array: AnyArray) -> Any:
    """Return the elements as nested lists, or their bytes where these say more."""
    kind, width = array.dtype.kind, array.dtype.itemsize
    if kind in "mM":
        array, kind = array.view("<i8"), "i"
    if kind == "c":
        array = np.ascontiguousarray(array).view(f"<f{width // 2}").reshape(*array.shape, 2)
        kind = "f"
    if kind == "f" and array.dtype.itemsize <= 8:
        odd = array[array != array]
        plain = np.full(odd.shape, math.nan, array.dtype)
        if odd.tobytes() == plain.tobytes():
            return (
                _mapped(array.tolist(), _leaf) if not np.isfinite(array).all() else array.tolist()
            )
    elif kind == "U" and _is_text(array):
        return array.tolist()
    elif kind in "biu":
        large = width == 8 and array.size and (array.max() > SAFE or array.min() < -SAFE)
        return _mapped(array.tolist(), _leaf) if large else array.tolist()
    return _leaf(array.tobytes())


def _is_raw(elements: Any) -> bool:
    return isinstance(elements, dict) and "$bytes" in elements


def _is_text(array: AnyArray) -> bool:
    try:
        "".join(array.reshape(-1).tolist()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _mapped(items: Any, change: Callable[[Any], Any]) -> Any:
    return [_mapped(item, change) for item in items] if isinstance(items, list) else change(items)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text in simgit's form.

    Raises:
        JSONDecodeError: it is not JSON.
        InvalidInput: a number is out of range, a key stands twice, or a key that begins with ``$``
            does not belong to this form.
    """
    return value_from_json(plain_json(text))


def plain_json(text: str | bytes) -> Any:
    """Return the JSON types of a JSON text, as ``value_from_json`` takes them.

    Raises:
        JSONDecodeError: it is not JSON.
        InvalidInput: a number is out of range, or a key stands twice.
    """
    return json.loads(text, parse_float=_number, object_pairs_hook=_object)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidInput(f"number {shown(text)} is out of range (write Infinity if it is meant)")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidInput(f"key {shown(twice)} stands twice in an object")
    return found


def value_from_json(form: Any) -> Any:
    """Return the value that ``value_to_json`` wrote, given as JSON types.

    Raises:
        InvalidInput: an object with a key that begins with ``$`` does not belong to this form.
    """
    return _value(form, 0)


def _value(form: Any, depth: int) -> Any:
    if depth > 2 * MAX_DEPTH:
        raise InvalidInput(f"value is nested deeper than {MAX_DEPTH} levels")
    if isinstance(form, list):
        return [_value(item, depth + 1) for item in form]
    if not isinstance(form, dict):
        return form
    mark = next((key for key in form if key.startswith("$")), None)
    if mark is None:
        return {key: _value(item, depth + 1) for key, item in form.items()}
    try:
        if mark not in _READERS or (len(form) > 1 and mark not in ("$array", "$plain")):
            raise ValueError(f"unknown key '{mark}'")
        return _READERS[mark](form, depth)
    except (SimgitError, ValueError, TypeError, KeyError, OverflowError, binascii.Error) as error:
        text = json.dumps(form)
        raise InvalidInput(
            f"{shown(text)} is not a value in simgit's JSON form: {error}", form=form
        ) from None


def _read_float(form: dict[str, Any], depth: int) -> float:
    text = form["$float"]
    if text in _FLOATS:
        return _FLOATS[text]
    (value,) = struct.unpack(">d", bytes.fromhex(text.removeprefix("0x")))
    return float(value)


def _read_complex(form: dict[str, Any], depth: int) -> complex:
    real, imag = form["$complex"]
    return complex(float(_value(real, depth)), float(_value(imag, depth)))


def _read_map(form: dict[str, Any], depth: int) -> dict[Any, Any]:
    found = {
        coerce_key(_value(key, depth + 1), "value"): _value(item, depth + 1)
        for key, item in form["$map"]
    }
    if len(found) < len(form["$map"]):
        raise ValueError("a key stands twice")
    return found


def _read_array(form: dict[str, Any], depth: int) -> Any:
    dtype = dtype_from_text(form["dtype"])
    elements = form["$array"]
    if _is_raw(elements):
        data = base64.b64decode(elements["$bytes"], validate=True)
        return as_scalar(np.frombuffer(data, dtype).reshape(form["shape"]).copy())
    if elements is None:
        raise ValueError("its elements were left out")
    if 0 in form.get("shape", ()):
        if _flat(elements):
            raise ValueError("it has elements, but its shape has none")
        return np.zeros(form["shape"], dtype)
    plain: Any = dtype
    if dtype.kind in "mM":
        plain = np.dtype("<i8")
    elif dtype.kind == "c":
        plain = np.dtype(f"<f{dtype.itemsize // 2}")
    with np.errstate(over="raise"):
        array = np.array(_plain_elements(elements, plain.kind), plain)
    if dtype.kind == "c":
        array = array.reshape(-1).view(dtype).reshape(array.shape[:-1])
    elif dtype.kind in "mM":
        array = array.view(dtype)
    return as_scalar(array.reshape(form["shape"]) if "shape" in form else array)


def _flat(elements: Any) -> list[Any]:
    """Return the elements of nested lists."""
    if not isinstance(elements, list):
        return [elements]
    return [each for item in elements for each in _flat(item)]


_ELEMENTS: Final = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float), "U": (str,)}
"""The types of elements in JSON by the kind of a dtype."""


def _plain_elements(elements: Any, kind: str) -> Any:
    if isinstance(elements, list):
        return [_plain_elements(item, kind) for item in elements]
    value = _value(elements, 0) if isinstance(elements, dict) else elements
    if type(value) not in _ELEMENTS[kind]:
        raise ValueError(f"element {shown(value)} does not fit its dtype")
    return value


def _read_plain(form: dict[str, Any], depth: int) -> Any:
    from simgit.objects.forms import restored

    return restored(_value(form["$plain"], depth + 1), _value(form["forms"], depth + 1))


_READERS: Final[dict[str, Callable[[dict[str, Any], int], Any]]] = {
    "$float": _read_float,
    "$int": lambda form, _: int(form["$int"], 0),
    "$bytes": lambda form, _: base64.b64decode(form["$bytes"], validate=True),
    "$complex": _read_complex,
    "$tuple": lambda form, depth: tuple(_value(item, depth + 1) for item in form["$tuple"]),
    "$map": _read_map,
    "$array": _read_array,
    "$plain": _read_plain,
}
