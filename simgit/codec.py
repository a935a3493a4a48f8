"""Canonical values: MessagePack with one encoding for each value. See docs/object-format.md §2."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import msgpack

from simgit.arrays import as_scalar, decode_array, encode_array, is_arraylike, to_array
from simgit.errors import Integrity, InvalidInput

MAX_DEPTH: Final = 64
_BIG, _TUPLE, _ARRAY, _COMPLEX = 1, 2, 3, 5
_SHORT: Final = 32
"""A string of fewer bytes has its length in the first byte of its encoding."""
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


def encode_value(value: Any, path: str = "value") -> bytes:
    """Return the canonical encoding of ``value``.

    Raises:
        InvalidInput: some part of it has no encoding; the message names the path of that part.
    """
    return _pack(_prepare(value, path, 0))


def _pack(prepared: Any) -> bytes:
    packed: bytes = msgpack.packb(prepared, use_bin_type=True, strict_types=True)
    return packed


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
        return msgpack.ExtType(_ARRAY, encode_array(to_array(value, path)))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return msgpack.ExtType(_COMPLEX, struct.pack("<dd", value.real, value.imag))
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
    if _INT_MIN <= value <= _INT_MAX:
        return value
    size = (abs(value).bit_length() + 7) // 8
    return msgpack.ExtType(_BIG, bytes([value < 0]) + abs(value).to_bytes(size, "big"))


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
        entries.append((_pack(plain), plain, _prepare(item, f"{path}.{plain}", depth + 1)))
    entries.sort(key=lambda entry: entry[0])
    return {plain: item for _, plain, item in entries}


def _length_first(key: str) -> tuple[int, str]:
    return len(key), key


def _sequence(value: Any, path: str, depth: int) -> Any:
    items = [_prepare(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    return items if isinstance(value, list) else msgpack.ExtType(_TUPLE, _pack(items))


def decode_name(data: bytes) -> str:
    """Return a name that is part of a key.

    Raises:
        Integrity: it is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Integrity("a name in a key is damaged") from None


def decode_value(data: bytes) -> Any:
    """Return the value that ``data`` is the canonical encoding of.

    Raises:
        Integrity: it is no encoding, or not the canonical one.
    """
    value = unpack_value(data)
    try:
        again = encode_value(value)
    except InvalidInput as error:
        raise Integrity(f"not a canonical value: {error}") from None
    if again != data:
        raise Integrity("a value is not in its canonical form")
    return value


def check_parts(data: bytes, most: int) -> int:
    """Count the parts of an encoded value, a container and each of its items, without making them.

    A part can take a hundred times the bytes of its encoding: for bytes that are not trusted.

    Raises:
        Integrity: there are more than ``most``, or it is no encoding.
    """
    count = 0
    todo = [(data, 0)]
    try:
        while todo:
            for inner in _parts(*todo.pop()):
                count += 1
                if count > most:
                    raise Integrity(f"a value has more than {most} parts")
                if inner is not None:
                    todo.append(inner)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Integrity(f"not a value: {str(error) or type(error).__name__}") from None
    return count


def _parts(data: bytes, depth: int) -> Iterator[tuple[bytes, int] | None]:
    """Yield None for each part of an encoded value, for a tuple the encoding that is in it."""
    if depth > MAX_DEPTH:
        raise Integrity(f"a value is nested deeper than {MAX_DEPTH}")
    unpacker = msgpack.Unpacker(ext_hook=msgpack.ExtType, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    while (at := unpacker.tell()) < len(data):
        first = data[at]
        inner = None
        if first >> 4 == 0x9 or first in (0xDC, 0xDD):
            unpacker.read_array_header()
        elif first >> 4 == 0x8 or first in (0xDE, 0xDF):
            unpacker.read_map_header()
        elif 0xC7 <= first <= 0xC9 or 0xD4 <= first <= 0xD8:
            extension = unpacker.unpack()
            inner = (extension.data, depth + 1) if extension.code == _TUPLE else None
        else:
            unpacker.skip()
        yield inner


def unpack_value(data: bytes) -> Any:
    """Return a value without checking that its encoding is the canonical one.

    For bytes that are covered by a checksum of our own.

    Raises:
        Integrity: it is no encoding.
    """
    return _unpack(data, 0)


def _unpack(data: bytes, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Integrity(f"a value is nested deeper than {MAX_DEPTH}")
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            strict_map_key=False,
            ext_hook=lambda code, payload: _extension(code, payload, depth + 1),
            # no part can be longer than the whole: nothing is allocated on a lie
            max_str_len=len(data),
            max_bin_len=len(data),
            max_ext_len=len(data),
            max_array_len=len(data),
            max_map_len=len(data),
        )
    except Integrity:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise Integrity(f"not a value: {error or type(error).__name__}") from None


def _extension(code: int, payload: bytes, depth: int) -> Any:
    if code == _TUPLE:
        items = _unpack(payload, depth)
        if isinstance(items, list):
            return tuple(items)
    elif code == _ARRAY:
        return as_scalar(decode_array(payload))
    elif code == _BIG and len(payload) > 1:
        magnitude = int.from_bytes(payload[1:], "big")
        return -magnitude if payload[0] else magnitude
    elif code == _COMPLEX and len(payload) == 16:
        return complex(*struct.unpack("<dd", payload))
    raise Integrity(f"extension {code} of a value is unknown or damaged")
