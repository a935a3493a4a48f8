"""Checks that bytes are a canonical encoding, without making the value (object-format.md §2).

Untrusted bytes may hold millions of parts in a few KB, so MessagePack's own unpacker and packer
check them: bytes that these give back unchanged have the shortest form. The rest is checked here:
the kinds and the order of keys, extensions, and the depth.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any, Final

import msgpack

from simgit.errors import IntegrityError, InvalidInput
from simgit.objects.arrays import as_scalar, decode_array, encode_array, to_array

MAX_DEPTH: Final = 64
MAX_PARTS: Final = 1 << 20
"""The most parts of a spec, of a run's record, and of each value in a bundle."""
BIG, TUPLE, ARRAY, COMPLEX = 1, 2, 3, 5
"""The codes of extensions."""
INT_MIN, INT_MAX = -(1 << 63), (1 << 64) - 1
"""The integers that need no extension."""
_REMEMBERED: Final = 64
"""The longest extensions, in bytes, whose check is remembered: they may come by the million."""
_SMALL: Final = 1 << 12
_FIXSTR: Final = 31
"""The most bytes of a text whose encoding has one byte before it."""
_ALONE: Final = rb"[\x00-\xa0\xc0\xc2\xc3\xe0-\xff]+"
"""Bytes each of which is a part: small integers, None, booleans, the heads of short containers."""


def unpack(data: bytes, extension: Callable[[int, bytes], Any]) -> Any:
    """Return the object that MessagePack bytes encode; lengths in them are not trusted.

    Args:
        extension: returns the object for an extension of a code and payload.

    Raises:
        IntegrityError: the bytes are malformed.
    """
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            strict_map_key=False,
            timestamp=1,  # as a float, which has another encoding
            ext_hook=extension,
        )
    except IntegrityError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise IntegrityError(f"malformed value: {error or type(error).__name__}") from None


def unpack_plain(data: bytes) -> Any:
    """Return the object that MessagePack bytes encode, extensions as they are.

    Raises:
        IntegrityError: the bytes are malformed.
    """
    try:
        return msgpack.unpackb(data)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise IntegrityError(f"malformed value: {error or type(error).__name__}") from None


def pack(prepared: Any) -> bytes:
    """Return the encoding of an object made of MessagePack's own types."""
    packed: bytes = msgpack.packb(prepared, use_bin_type=True)
    return packed


def _packer() -> Callable[[Any], bytes]:
    """Return a function that packs many small objects without a large buffer for each."""
    pack_one: Callable[[Any], bytes] = msgpack.Packer(use_bin_type=True, buf_size=_SMALL).pack
    return pack_one


def check_value(data: bytes) -> None:
    """Check that bytes are the canonical encoding of a value.

    Raises:
        IntegrityError: they are malformed, or not in canonical form.
    """
    _Check().value(data)


def checked_value(data: bytes) -> tuple[Any, bool]:
    """Return the checked and unpacked value, and True if it has no extensions.

    Extensions stay packed.

    Raises:
        IntegrityError: the bytes are not the canonical encoding of a value.
    """
    check = _Check()
    return check.value(data), check.is_plain


def too_deep() -> IntegrityError:
    """Return the error for a value whose containers nest too deep."""
    return IntegrityError(f"malformed value: nested deeper than {MAX_DEPTH} levels")


def _not_canonical() -> IntegrityError:
    return IntegrityError("malformed value: not in canonical form")


class _Tuple(msgpack.ExtType):  # type: ignore[misc]
    """A tuple as it was packed, and its items."""

    items: list[Any]


_CONTAINERS: Final = frozenset((dict, list, _Tuple))
_KEYS: Final = frozenset((str, bytes, int))


class _Check:
    """The check of one value.

    Attributes:
        is_plain: True if it has no extensions; in its tree they stay packed.
    """

    def __init__(self) -> None:
        self.is_plain = True
        self._packed = _packer()
        self._tuples: dict[bytes, _Tuple] = {}

    def value(self, data: bytes) -> Any:
        """Return the tree of a value once it is checked."""
        tree = self._unpacked(data, 0)
        self._containers(tree)
        self._compare(tree, data)
        return tree

    def _unpacked(self, data: bytes, depth: int) -> Any:
        """Return the unpacked form of bytes that are nested in ``depth`` tuples."""
        if depth > MAX_DEPTH:
            raise too_deep()
        return unpack(data, partial(self._extension, depth + 1))

    def _compare(self, tree: Any, data: bytes) -> None:
        """Check that a tree packs to the bytes that it came from."""
        if (self._packed if len(data) < _SMALL else pack)(tree) != data:
            raise _not_canonical()

    def _containers(self, value: Any, depth: int = 1) -> None:
        """Check the depth of containers, and the keys of maps."""
        if type(value) is dict:
            self._keys(value)
            inside: Iterable[Any] = value.values()
        elif type(value) is list:
            inside = value
        elif type(value) is _Tuple:
            inside = value.items
        else:
            return
        if depth > MAX_DEPTH:
            raise too_deep()
        for each in inside:
            if type(each) in _CONTAINERS:
                self._containers(each, depth + 1)

    def _keys(self, value: dict[Any, Any]) -> None:
        """Check the types of a map's keys, and that they are in the order of their encodings."""
        size, last = -1, ""
        for key in value:
            if type(key) is not str or len(key) > _FIXSTR or not key.isascii():
                break
            if len(key) <= size and (len(key) < size or key < last):
                raise _not_canonical()
            size, last = len(key), key
        else:
            return  # the encoding of a short text begins with its length
        if not {*map(type, value)} <= _KEYS:
            raise IntegrityError("malformed value: a key must be a string, bytes or an integer")
        packed = [*map(self._packed, value)]
        if packed != sorted(packed):
            raise _not_canonical()

    def _extension(self, depth: int, code: int, payload: bytes) -> Any:
        self.is_plain = False
        if code != TUPLE:
            return _plain(code, payload) if len(payload) > _REMEMBERED else _known(code, payload)
        packed = self._tuples.get(payload)
        if packed is None:
            packed = self._tuples[payload] = self._tuple(depth, payload)
        return packed

    def _tuple(self, depth: int, payload: bytes) -> _Tuple:
        items = self._unpacked(payload, depth)
        if not isinstance(items, list):
            raise IntegrityError("malformed value: a tuple must hold an array")
        self._compare(items, payload)
        packed = _Tuple(TUPLE, payload)
        packed.items = items
        return packed


def _plain(code: int, payload: bytes) -> msgpack.ExtType:
    """Return an extension other than a tuple as it was packed, its payload checked."""
    try:
        canonical = _canonical(code, payload)
    except InvalidInput as error:
        raise IntegrityError(f"malformed value: {error}") from None
    if canonical != payload:
        raise _not_canonical()
    return msgpack.ExtType(code, payload)


_known = lru_cache(maxsize=4096)(_plain)


def _canonical(code: int, payload: bytes) -> bytes:
    """Return the canonical payload of an extension other than a tuple."""
    value = plain_extension(code, payload)
    if code == ARRAY:
        return encode_array(to_array(value))
    if code == BIG and INT_MIN <= value <= INT_MAX:
        raise _not_canonical()
    return encode_complex(value) if code == COMPLEX else encode_big(value)


def plain_extension(code: int, payload: bytes) -> Any:
    """Return the value of an extension other than a tuple.

    Raises:
        IntegrityError: its code is unknown, or its payload malformed.
    """
    if code == ARRAY:
        return as_scalar(decode_array(payload))
    if code == BIG and len(payload) > 1:
        magnitude = int.from_bytes(payload[1:], "big")
        return -magnitude if payload[0] else magnitude
    if code == COMPLEX and len(payload) == 16:
        return complex(*struct.unpack("<dd", payload))
    raise IntegrityError(f"malformed value: extension {code} is unknown or has a wrong payload")


def encode_complex(value: complex) -> bytes:
    """Return the payload of a complex number."""
    return struct.pack("<dd", value.real, value.imag)


def encode_big(value: int) -> bytes:
    """Return the payload of an integer that has more than 64 bits."""
    size = (abs(value).bit_length() + 7) // 8
    return bytes([value < 0]) + abs(value).to_bytes(size, "big")


def check_parts(data: bytes, most: int) -> int:
    """Return the number of parts of an encoded value, containers and items, without making them.

    A part can take a hundred times the bytes of its encoding: for bytes that are not trusted.

    Raises:
        IntegrityError: there are more than ``most``, or the bytes are malformed.
    """
    try:
        return _count(data, most, 0)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise IntegrityError(f"malformed value: {str(error) or type(error).__name__}") from None


def limit_parts(data: bytes, what: str) -> None:
    """Check the number of parts of an encoded value that is to be written.

    Args:
        what: the name of the value in the message.

    Raises:
        InvalidInput: it has more than ``MAX_PARTS`` parts, which no bundle can carry.
    """
    if len(data) <= MAX_PARTS:  # a part has a byte
        return
    try:
        check_parts(data, MAX_PARTS)
    except IntegrityError:
        raise InvalidInput(
            f"{what} must have at most {MAX_PARTS} parts; store large data as arrays"
        ) from None


def _count(data: bytes, most: int, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise too_deep()
    count = 0
    for parts, inner in _parts(data):
        count += parts
        if inner is not None:
            small = len(inner) <= _REMEMBERED  # few tuples can be in one another there
            count += _known_count(inner, most, 0) if small else _count(inner, most, depth + 1)
        if count > most:
            raise IntegrityError(f"a value has more than {most} parts, the most that is accepted")
    return count


_known_count = lru_cache(maxsize=4096)(_count)


def _parts(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number of parts that follow in an encoded value, and for a tuple its payload."""
    unpacker = msgpack.Unpacker(ext_hook=msgpack.ExtType, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    match = re.compile(_ALONE).match
    while (at := unpacker.tell()) < len(data):
        first = data[at]
        if alone := match(data, at):
            yield len(unpacker.read_bytes(alone.end() - at)), None
        elif 0xC7 <= first <= 0xC9 or 0xD4 <= first <= 0xD8:
            extension = unpacker.unpack()  # or a timestamp, which is not one of ours
            ours = isinstance(extension, msgpack.ExtType)
            yield 1, extension.data if ours and extension.code == TUPLE else None
        else:
            _pass_over(unpacker, first)
            yield 1, None


def _pass_over(unpacker: msgpack.Unpacker, first: int) -> None:
    """Skip a part that begins with a given byte; of a container only its head."""
    if first in (0xDC, 0xDD):
        unpacker.read_array_header()
    elif first in (0xDE, 0xDF):
        unpacker.read_map_header()
    else:
        unpacker.skip()
