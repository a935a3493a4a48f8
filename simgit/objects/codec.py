"""Canonical values: MessagePack with one encoding for each value. See docs/object-format.md §2."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgpack

from simgit.errors import IntegrityError, InvalidInput
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

_SHORT: Final = 32
"""A string of fewer bytes has its length in the first byte of its encoding."""


def encode_value(value: Any, path: str = "value") -> bytes:
    """Return the canonical encoding of ``value``.

    Raises:
        InvalidInput: some part of it has no encoding; the message names the path of that part.
    """
    return pack(_prepare(value, path, 0))


def pack_record(record: dict[str, Any]) -> bytes:
    """Return a record of plain values as MessagePack, in whatever order its keys have.

    For what is covered by a checksum and has no name; ``unpack_value`` reads it.
    """
    packed: bytes = msgpack.packb(record, use_bin_type=True)
    return packed


def _prepare(value: Any, path: str, depth: int) -> Any:
    """Return ``value`` made of the exact types that msgpack encodes in one way only."""
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
    shown = path if len(path) <= 80 else path[:77] + "..."
    return InvalidInput(f"{shown}: nested deeper than {MAX_DEPTH}", path=path)


def _number_or_array(value: Any, path: str) -> Any:
    # np.float64 is a float and np.complex128 a complex, but they are arrays of shape () first
    if is_arraylike(value):
        return msgpack.ExtType(ARRAY, encode_array(to_array(value, path)))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return msgpack.ExtType(COMPLEX, encode_complex(value))
    raise InvalidInput(
        f"{path}: a value of type '{type(value).__name__}' has no encoding", path=path
    )


def _text(value: str, path: str) -> str:
    text = str.__str__(value)  # a subclass becomes a plain string
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{path}: a string with a lone surrogate has no encoding", path=path
        ) from None
    return text


def _integer(value: int) -> Any:
    if INT_MIN <= value <= INT_MAX:
        return value
    return msgpack.ExtType(BIG, encode_big(value))


def _map(value: dict[Any, Any], path: str, depth: int) -> dict[Any, Any]:
    if all(type(key) is str and len(key) < _SHORT and key.isascii() for key in value):
        keys = sorted(value, key=_length_first)  # as their encodings are: the length comes first
        return {key: _prepare(value[key], f"{path}.{key}", depth + 1) for key in keys}
    entries = []
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, (str, bytes, int)):
            raise InvalidInput(
                f"{path}: a key of type '{type(key).__name__}' has no encoding", path=path
            )
        plain = _prepare(key, path, depth)
        if isinstance(plain, msgpack.ExtType):
            raise InvalidInput(f"{path}: the key {plain!r} is larger than 64 bits", path=path)
        entries.append((pack(plain), plain, _prepare(item, f"{path}.{plain}", depth + 1)))
    entries.sort(key=lambda entry: entry[0])
    return {plain: item for _, plain, item in entries}


def _length_first(key: str) -> tuple[int, str]:
    return len(key), key


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
        raise IntegrityError("a name in a key is damaged") from None


def decode_value(data: bytes) -> Any:
    """Return the value that ``data`` is the canonical encoding of.

    Raises:
        IntegrityError: it is no encoding, or not the canonical one.
    """
    value, is_plain = checked_value(data)
    return value if is_plain else unpack_value(data)


def unpack_value(data: bytes) -> Any:
    """Return a value without checking that its encoding is the canonical one.

    For bytes that are covered by a checksum of our own.

    Raises:
        IntegrityError: it is no encoding.
    """
    return _unpack(data, 0)


def _unpack(data: bytes, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise IntegrityError(f"a value is nested deeper than {MAX_DEPTH}")
    return unpack(data, partial(_extension, depth + 1))


def _extension(depth: int, code: int, payload: bytes) -> Any:
    if code != TUPLE:
        return plain_extension(code, payload)
    items = _unpack(payload, depth)
    if isinstance(items, list):
        return tuple(items)
    raise IntegrityError("a tuple of a value is damaged")
