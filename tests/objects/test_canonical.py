"""Bytes are told to be a canonical encoding or not as by making the value and encoding it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simgit import IntegrityError, InvalidInput
from simgit.objects.canonical import MAX_DEPTH, check_parts, check_value
from simgit.objects.codec import encode_value, unpack_value

KEYS = st.one_of(st.text(max_size=3), st.binary(max_size=2), st.integers(-(1 << 63), (1 << 64) - 1))
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40),
    st.binary(max_size=3), st.complex_numbers(), st.just(np.zeros((0, 2))),
    st.integers(0, 255).map(np.uint8), st.booleans().map(lambda b: np.array([b])),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=12,
)


def is_canonical(data: bytes) -> bool:
    """Return whether the value that bytes hold has just these bytes; by making it."""
    try:
        return encode_value(unpack_value(data)) == data
    except (IntegrityError, InvalidInput):
        return False


def passes(data: bytes) -> bool:
    try:
        check_value(data)
    except IntegrityError:
        return False
    return True


@given(VALUES)
def test_what_is_encoded_is_canonical(value: Any) -> None:
    data = encode_value(value)
    check_value(data)
    assert check_parts(data, len(data)) <= len(data)


@given(VALUES, st.data())
def test_damage_is_judged_as_by_making_the_value(value: Any, draw: st.DataObject) -> None:
    data = bytearray(encode_value(value))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    assert passes(bytes(data)) == is_canonical(bytes(data))


@given(st.binary(max_size=24))
@example(b"\xd5\x01\x00\x01")  # a small number as a big one
@example(b"\xd7\xff" + bytes(8))  # MessagePack's own timestamp
@example(b"\xd6\xff" + bytes(4))
@example(b"\x82\x01\xc0\x00\xc0")  # keys in another order
@example(b"\x82\x00\xc0\x00\xc0")  # a key twice
@example(b"\x82\x00\xc0\xc2\xc0")  # a key that equals another one
@example(b"\x81\xc3\xc0")
@example(b"\x81\xd4\x02\x90\xc0")  # a tuple as a key
@example(b"\xcc\x01")
@example(b"\xca" + bytes(4))
@example(b"\xc7\x03\x02\x91\xcc\x01")
@example(b"\xd5\x02\xc0\xc0")
@example(b"\xc7\x06\x03\x03|b1\x00\x02")  # a boolean that is neither
@example(b"\xdc\x00\x01\xc0")
@example(b"\x92\xd4\x02\x90\xd4\x02\xc0")
def test_any_bytes_are_judged_as_by_making_the_value(data: bytes) -> None:
    assert passes(data) == is_canonical(data)


def tuple_of(data: bytes) -> bytes:
    """Return the encoding of a tuple of what is encoded."""
    packed: bytes = msgpack.packb(msgpack.ExtType(2, b"\x91" + data))
    return packed


@pytest.mark.parametrize(
    "wrap", [lambda data: b"\x91" + data, lambda data: b"\x81\x01" + data, tuple_of]
)
@pytest.mark.parametrize("inner", [b"\xc0", b"\x90", b"\x80", b"\xd4\x02\x90"])
def test_the_depth_is_that_of_containers(wrap: Callable[[bytes], bytes], inner: bytes) -> None:
    data = inner
    for _ in range(MAX_DEPTH - (inner != b"\xc0")):
        data = wrap(data)
    check_value(data)
    assert is_canonical(data)
    with pytest.raises(IntegrityError, match="deeper"):
        check_value(wrap(data))


@pytest.mark.parametrize("size", [4, 8, 12])
def test_a_timestamp_is_a_part_and_no_value(size: int) -> None:
    data = msgpack.packb(msgpack.ExtType(127, bytes(size)))
    data = data[: -size - 1] + b"\xff" + bytes(size)
    assert check_parts(data, 10) == 1
    with pytest.raises(IntegrityError):
        check_value(data)
