"""Canonical values: MessagePack with one encoding for each value. See docs/object-format.md §2."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgpack

from simgit.errors import IntegrityError, InvalidInput, shown
from simgit.objects.arrays import encode_array, is_arraylike, to_array
from simgit.objects.canonical import (
    ARRAY,
    BIG,
    COMPLEX,
    INT_MAX,
    INT_MIN,
    MAX_DEPTH,
    TUPLE,
    checked_value,
    encode_big,
    encode_complex,
    pack,
    plain_extension,
    unpack,
)
from simgit.objects.lazy_numpy import is_loaded, np

_SHORT: Final = 32
"""Strings of fewer bytes have their length in the first byte of the encoding."""


def encode_value(value: Any, path: str = "value") -> bytes:
    """Return the canonical encoding of ``value``.

    Raises:
        InvalidInput: some part of it cannot be stored; the message names the path of that part.
    """
    return pack(_prepare(value, path, 0))


def pack_record(record: dict[str, Any]) -> bytes:
    """Return a record of plain values as MessagePack, its keys in their given order.

    For bytes that have a checksum and no hash; ``unpack_value`` reads them.
    """
    packed: bytes = msgpack.packb(record, use_bin_type=True)
    return packed


def _prepare(value: Any, path: str, depth: int) -> Any:
    """Return ``value`` in types that msgpack encodes in exactly one way."""
    kind = type(value)
    if value is None or kind is bool or kind is float or (kind is str and value.isascii()):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (dict, list, tuple)) and depth >= MAX_DEPTH:
        raise too_deep(path)
    if isinstance(value, dict):
        return _map(value, path, depth)
    if isinstance(value, (list, tuple)):
        return _sequence(value, path, depth)
    return _number_or_array(value, path)


def too_deep(path: str) -> InvalidInput:
    """Return the error for a value whose containers nest too deep."""
    text = path if len(path) <= 80 else path[:77] + "..."
    return InvalidInput(f"{text}: nested deeper than {MAX_DEPTH} levels", path=path)


def unknown_type(value: Any, path: str) -> InvalidInput:
    """Return the error for a value of a type that cannot be stored."""
    return InvalidInput(
        f"{path}: cannot store a value of type '{type(value).__name__}'; "
        "convert it to numbers, strings, arrays, dicts, lists or tuples",
        path=path,
    )


def bad_key(key: Any, path: str) -> InvalidInput:
    """Return the error for a key that is not a string, bytes or an integer of 64 bits."""
    if isinstance(key, int) and not isinstance(key, bool):
        return InvalidInput(f"{path}: key {shown(key)} must fit 64 bits", path=path)
    kind = type(key)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    way = "int(key)" if hasattr(key, "__index__") else "str(key)"
    return InvalidInput(
        f"{path}: key {shown(key)} must be str, bytes or int, got {name}; convert it with {way}",
        path=path,
    )


def lone_surrogate(path: str) -> InvalidInput:
    """Return the error for a string that UTF-8 cannot encode."""
    return InvalidInput(f"{path}: cannot store a string with a lone surrogate", path=path)


def _number_or_array(value: Any, path: str) -> Any:
    # np.float64 is a float and np.complex128 a complex, but they are arrays of shape () first
    if is_arraylike(value):
        return msgpack.ExtType(ARRAY, encode_array(to_array(value, path)))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return msgpack.ExtType(COMPLEX, encode_complex(value))
    raise unknown_type(value, path)


def _text(value: str, path: str) -> str:
    text = str.__str__(value)  # a subclass becomes a plain string
    try:
        text.encode()
    except UnicodeEncodeError:
        raise lone_surrogate(path) from None
    return text


def _integer(value: int) -> Any:
    if INT_MIN <= value <= INT_MAX:
        return value
    return msgpack.ExtType(BIG, encode_big(value))


def _map(value: dict[Any, Any], path: str, depth: int) -> dict[Any, Any]:
    if all(type(key) is str and len(key) < _SHORT and key.isascii() for key in value):
        # as their encodings are: the length comes first
        keys = sorted(value, key=lambda key: (len(key), key))
        return {key: _prepare(value[key], f"{path}.{key}", depth + 1) for key in keys}
    entries = []
    for given, item in value.items():
        key = int(given) if is_loaded() and isinstance(given, np.integer) else given
        if isinstance(key, bool) or not isinstance(key, (str, bytes, int)):
            raise bad_key(key, path)
        plain = _prepare(key, path, depth)
        if isinstance(plain, msgpack.ExtType):
            raise bad_key(key, path)
        entries.append((pack(plain), plain, _prepare(item, f"{path}.{plain}", depth + 1)))
    entries.sort(key=lambda entry: entry[0])
    return {plain: item for _, plain, item in entries}


def _sequence(value: Any, path: str, depth: int) -> Any:
    items = [_prepare(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    return items if isinstance(value, list) else msgpack.ExtType(TUPLE, pack(items))


def decode_name(data: bytes) -> str:
    """Return a name that is part of a key.

    Raises:
        IntegrityError: it is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise IntegrityError("malformed key: a name is not UTF-8") from None


def decode_value(data: bytes) -> Any:
    """Return the value that ``data`` is the canonical encoding of.

    Raises:
        IntegrityError: the bytes are malformed, or not in canonical form.
    """
    value, is_plain = checked_value(data)
    return value if is_plain else unpack_value(data)


def unpack_value(data: bytes) -> Any:
    """Return a value without checking that its encoding is canonical.

    For bytes that have a checksum of our own.

    Raises:
        IntegrityError: the bytes are malformed.
    """
    return _unpack(data, 0)


def _unpack(data: bytes, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise IntegrityError(f"malformed value: nested deeper than {MAX_DEPTH} levels")
    return unpack(data, partial(_extension, depth + 1))


def _extension(depth: int, code: int, payload: bytes) -> Any:
    if code != TUPLE:
        return plain_extension(code, payload)
    items = _unpack(payload, depth)
    if isinstance(items, list):
        return tuple(items)
    raise IntegrityError("malformed value: a tuple must hold an array")
