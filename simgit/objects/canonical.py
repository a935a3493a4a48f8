"""Whether bytes are a canonical encoding, told without making the value (object-format.md §2).

Bytes that somebody else made may hold millions of parts in a few KB, so they are looked at by
MessagePack's own unpacker and packer: what these give back unchanged has its shortest form. What
they let pass is looked at here: the kinds and the order of keys, extensions, and the depth.
"""

from __future__ import annotations

import itertools
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
"""A spec, a run's record and each value that a bundle carries have at most so many parts."""
BIG, TUPLE, ARRAY, COMPLEX = 1, 2, 3, 5
"""The codes of extensions."""
INT_MIN, INT_MAX = -(1 << 63), (1 << 64) - 1
"""Integers that are no extension."""
_REMEMBERED: Final = 64
"""What is known of extensions of at most so many bytes is kept: they may come by the million."""
_SMALL: Final = 1 << 12
_ALONE: Final = re.compile(rb"[\x00-\xa0\xc0\xc2\xc3\xe0-\xff]+")
"""Bytes each of which is a part: small integers, None, booleans, the heads of short containers."""


def unpack(data: bytes, extension: Callable[[int, bytes], Any]) -> Any:
    """Return what MessagePack makes of bytes; no length in them is believed before it is there.

    Args:
        extension: returns what stands for an extension of a code and payload.

    Raises:
        IntegrityError: it is no encoding.
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
        raise IntegrityError(f"not a value: {error or type(error).__name__}") from None


def pack(prepared: Any) -> bytes:
    """Return the encoding of what is made of the types that MessagePack knows."""
    packed: bytes = msgpack.packb(prepared, use_bin_type=True)
    return packed


def _packer() -> Callable[[Any], bytes]:
    """Return what packs many small things, without a large buffer for each."""
    pack_one: Callable[[Any], bytes] = msgpack.Packer(use_bin_type=True, buf_size=_SMALL).pack
    return pack_one


def check_value(data: bytes) -> None:
    """Check that bytes are the canonical encoding of a value.

    Raises:
        IntegrityError: they are not.
    """
    _Check().value(data)


def checked_value(data: bytes) -> tuple[Any, bool]:
    """Return what ``check_value`` has made of bytes, and whether it is their value.

    (It is not where there are extensions: those stay packed.)

    Raises:
        IntegrityError: they are not the canonical encoding of a value.
    """
    check = _Check()
    return check.value(data), check.is_plain


def too_deep() -> IntegrityError:
    """Return the error for a value whose containers nest too deep."""
    return IntegrityError(f"a value is nested deeper than {MAX_DEPTH}")


def _not_canonical() -> IntegrityError:
    return IntegrityError("a value is not in its canonical form")


class _Tuple(msgpack.ExtType):  # type: ignore[misc]
    """A tuple as it was packed, and its items."""

    items: list[Any]


_CONTAINERS: Final = frozenset((dict, list, _Tuple))
_KEYS: Final = frozenset((str, bytes, int))


class _Check:
    """One value while it is looked at.

    Attributes:
        is_plain: whether it has no extensions; in its tree they stay packed.
    """

    def __init__(self) -> None:
        self.is_plain = True
        self._packed = _packer()
        self._tuples: dict[bytes, _Tuple] = {}

    def value(self, data: bytes) -> Any:
        """Return the tree of a value that is checked."""
        tree = self._unpacked(data, 0)
        self._containers(tree)
        self._compare(tree, data)
        return tree

    def _unpacked(self, data: bytes, depth: int) -> Any:
        """Return what MessagePack makes of bytes that lie in so many tuples."""
        if depth > MAX_DEPTH:
            raise too_deep()
        return unpack(data, partial(self._extension, depth + 1))

    def _compare(self, tree: Any, data: bytes) -> None:
        """Check that a tree is packed as it was; a small one by what has a small buffer."""
        if (self._packed if len(data) < _SMALL else pack)(tree) != data:
            raise _not_canonical()

    def _containers(self, tree: Any) -> None:
        """Check the depth of containers, and the keys of maps, level by level."""
        level = [tree]
        for _ in range(MAX_DEPTH):
            level = [each for each in level if type(each) in _CONTAINERS]
            if not level:
                return
            inside: list[Iterable[Any]] = [each for each in level if type(each) is list]
            if len(inside) < len(level):
                maps = [each for each in level if type(each) is dict and each]
                self._keys(maps)
                inside += [each.values() for each in maps]
                inside += [each.items for each in level if type(each) is _Tuple]
            level = list(itertools.chain.from_iterable(inside))
        if any(type(each) in _CONTAINERS for each in level):
            raise too_deep()

    def _keys(self, maps: list[dict[Any, Any]]) -> None:
        if not {*map(type, itertools.chain.from_iterable(maps))} <= _KEYS:
            raise IntegrityError("a key of a map is neither a string, nor bytes, nor an integer")
        for each in maps:
            if len(each) > 1:
                packed = [*map(self._packed, each)]
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
            raise IntegrityError("a tuple of a value is damaged")
        self._compare(items, payload)
        packed = _Tuple(TUPLE, payload)
        packed.items = items
        return packed


def _plain(code: int, payload: bytes) -> msgpack.ExtType:
    """Return an extension that is no tuple as it was packed, its payload checked."""
    try:
        canonical = _canonical(code, payload)
    except InvalidInput as error:
        raise IntegrityError(f"not a canonical value: {error}") from None
    if canonical != payload:
        raise _not_canonical()
    return msgpack.ExtType(code, payload)


_known = lru_cache(maxsize=4096)(_plain)


def _canonical(code: int, payload: bytes) -> bytes:
    """Return the canonical payload of an extension that is no tuple."""
    value = plain_extension(code, payload)
    if code == ARRAY:
        return encode_array(to_array(value))
    if code == BIG and INT_MIN <= value <= INT_MAX:
        raise _not_canonical()
    return encode_complex(value) if code == COMPLEX else encode_big(value)


def plain_extension(code: int, payload: bytes) -> Any:
    """Return the value of an extension that is no tuple.

    Raises:
        IntegrityError: there is none of this code, or its payload is damaged.
    """
    if code == ARRAY:
        return as_scalar(decode_array(payload))
    if code == BIG and len(payload) > 1:
        magnitude = int.from_bytes(payload[1:], "big")
        return -magnitude if payload[0] else magnitude
    if code == COMPLEX and len(payload) == 16:
        return complex(*struct.unpack("<dd", payload))
    raise IntegrityError(f"extension {code} of a value is unknown or damaged")


def encode_complex(value: complex) -> bytes:
    """Return the payload of a complex number."""
    return struct.pack("<dd", value.real, value.imag)


def encode_big(value: int) -> bytes:
    """Return the payload of an integer that has more than 64 bits."""
    size = (abs(value).bit_length() + 7) // 8
    return bytes([value < 0]) + abs(value).to_bytes(size, "big")


def check_parts(data: bytes, most: int) -> int:
    """Count the parts of an encoded value, a container and each of its items, without making them.

    A part can take a hundred times the bytes of its encoding: for bytes that are not trusted.

    Raises:
        IntegrityError: there are more than ``most``, or it is no encoding.
    """
    try:
        return _count(data, most, 0)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise IntegrityError(f"not a value: {str(error) or type(error).__name__}") from None


def limit_parts(data: bytes, what: str) -> None:
    """Check an encoded value that is to be written.

    Args:
        what: it is, for the message.

    Raises:
        InvalidInput: it has more than ``MAX_PARTS`` parts, so that no bundle could carry it.
    """
    if len(data) <= MAX_PARTS:  # a part has a byte
        return
    try:
        check_parts(data, MAX_PARTS)
    except IntegrityError:
        raise InvalidInput(f"{what} has more than {MAX_PARTS} parts") from None


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
            raise IntegrityError(f"a value has more than {most} parts")
    return count


_known_count = lru_cache(maxsize=4096)(_count)


def _parts(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield how many parts follow in an encoded value, and for a tuple the encoding in it."""
    unpacker = msgpack.Unpacker(ext_hook=msgpack.ExtType, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    while (at := unpacker.tell()) < len(data):
        first = data[at]
        if alone := _ALONE.match(data, at):
            yield len(unpacker.read_bytes(alone.end() - at)), None
        elif 0xC7 <= first <= 0xC9 or 0xD4 <= first <= 0xD8:
            extension = unpacker.unpack()  # or a timestamp, which is none of ours
            ours = isinstance(extension, msgpack.ExtType)
            yield 1, extension.data if ours and extension.code == TUPLE else None
        else:
            _pass_over(unpacker, first)
            yield 1, None


def _pass_over(unpacker: msgpack.Unpacker, first: int) -> None:
    """Go on behind a part that begins with a byte; of a container that is its head."""
    if first in (0xDC, 0xDD):
        unpacker.read_array_header()
    elif first in (0xDE, 0xDF):
        unpacker.read_map_header()
    else:
        unpacker.skip()
