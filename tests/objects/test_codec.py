"""Every value has one encoding, and comes back as it was; or it is refused, by its path."""

from __future__ import annotations

import array
import collections
import datetime
import enum
import math
import struct
from typing import Any, NamedTuple

import numpy as np
import pytest

from simgit import IntegrityError, InvalidInput, Repository
from simgit.objects.codec import decode_value, encode_value
from simgit.objects.simplify import Simplifier
from simgit.testing.reference import value_bytes

QUIET = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
NEGATIVE = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000000))[0]


class Colour(enum.IntEnum):
    RED = 3


class Word(enum.StrEnum):
    A = "a"


class Point(NamedTuple):
    x: int
    y: float


class Text(str):
    """A string of another class."""


class Real(float):
    """A float of another class."""


class Tensor:
    """What torch and JAX look like: an array behind ``__array__``, to be detached first."""

    def __init__(self, data: np.ndarray, detached: bool = False) -> None:
        self.data, self.detached = data, detached

    def detach(self) -> Tensor:
        return Tensor(self.data, True)

    def cpu(self) -> Tensor:
        return self

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if not self.detached:
            raise RuntimeError("requires grad")
        return self.data


class Capsule:
    """An array behind DLPack only."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()


class Broken:
    """Offers itself as an array, and is none."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise KeyError("no")


DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
EXACT: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    -32,
    -33,
    -128,
    -129,
    -(2**15),
    -(2**31) - 1,
    -(2**63),
    -(2**63) - 1,
    10**100,
    0.0,
    -0.0,
    1.5,
    math.inf,
    -math.inf,
    math.nan,
    QUIET,
    NEGATIVE,
    5e-324,
    0j,
    complex(-0.0, math.nan),
    "",
    "a",
    "é",
    "x" * 31,
    "x" * 32,
    "x" * 256,
    "x" * 65536,
    "\0",
    b"",
    b"a",
    b"x" * 256,
    b"x" * 65536,
    [],
    [1, [2, []]],
    [None] * 15,
    [None] * 16,
    [0] * 65536,
    (),
    (1,),
    ((), ([],)),
    (1,) * 300,
    {},
    {"a": 1, "b": {"c": [1, (2,)]}},
    {1: 2, -1: 3, b"x": 4, "x": 5},
    {str(i): i for i in range(16)},
    {i: i for i in range(70000)},
    *(np.array([0, 1, 2]).astype(t) for t in DTYPES),
    *(np.array([0, 1, 2]).astype(t)[1] for t in DTYPES),
    np.array(["2020-01-01", "NaT"], "M8[ns]"),
    np.array([1, 2], "m8[25s]"),
    np.datetime64("2020", "D"),
    np.timedelta64(5, "ms"),
    np.datetime64("NaT"),
    np.array(["a", "bcd"]),
    np.array([b"a", b""], "S4"),
    np.array("abc"),
    np.array(b"abc"),
    np.array(1.5),
    np.zeros(0),
    np.zeros((3, 0, 2), "u1"),
    np.zeros((0, 2**40), "i1"),
    np.zeros((1,) * 32),
    np.array([QUIET, NEGATIVE, -0.0]),
    np.array([QUIET], "f4"),
    {"a": [np.float32(1), (np.zeros(2),)]},
]


@pytest.mark.parametrize("value", EXACT, ids=lambda v: f"{type(v).__name__}")
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    encoded = encode_value(value)
    assert encoded == value_bytes(value)
    found = decode_value(encoded)
    if isinstance(value, np.ndarray) and not value.ndim and value.dtype.kind not in "SU":
        value = value[()]  # an array of shape () is written as the scalar is
    assert type(found) is type(value)
    assert value_bytes(found) == encoded
    if isinstance(value, np.ndarray):
        assert (found.dtype, found.shape) == (value.dtype, value.shape)


AS_OTHERS: list[tuple[Any, Any]] = [
    (Colour.RED, 3),
    (Word.A, "a"),
    (Point(1, 2.5), (1, 2.5)),
    (Text("é"), "é"),
    (Real(1.5), 1.5),
    (np.str_("a"), "a"),
    (np.bytes_(b"a"), b"a"),
    (bytearray(b"ab"), b"ab"),
    (memoryview(b"ab"), b"ab"),
    (collections.OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
    (collections.defaultdict(int, a=1), {"a": 1}),
    ({Colour.RED: 1, Word.A: 2}, {3: 1, "a": 2}),
    (np.array([1, 2], ">i4"), np.array([1, 2], "<i4")),
    (np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T.copy()),
    (np.arange(10)[::-2], np.array([9, 7, 5, 3, 1])),
    (np.asfortranarray(np.ones((2, 3))), np.ones((2, 3))),
    (Tensor(np.arange(3.0)), np.arange(3.0)),
    (Capsule(np.arange(3.0)), np.arange(3.0)),
    (np.broadcast_to(np.float32(1), (2, 2)), np.ones((2, 2), "f4")),
]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize(("value", "plain"), AS_OTHERS, ids=lambda v: type(v).__name__)
def test_a_value_of_another_class_is_the_plain_one_that_it_equals(value: Any, plain: Any) -> None:
    assert encode_value(value) == encode_value(plain)
    with Repository.init(":memory:") as repo:
        assert repo.commit(value, run="a") == repo.commit(plain, run="b")


class Structured(NamedTuple):
    """Only a name."""


RING: list[Any] = []
RING.append(RING)
REFUSED: list[Any] = [
    {1, 2},
    frozenset(),
    object(),
    datetime.datetime(2020, 1, 1),
    range(3),
    (i for i in ()),
    Ellipsis,
    "\ud800",
    {"\udfff": 1},
    {1.5: 1},
    {None: 1},
    {True: 1},
    {(1,): 1},
    {2**64: 1},
    {-(2**63) - 1: 1},
    {10**5000: 1},
    np.array([1, "a"], object),
    np.zeros(2, [("a", "i4")]),
    np.zeros(2, "V4"),
    np.longdouble(1),
    np.zeros(2, np.longdouble),
    np.zeros(2, np.clongdouble),
    np.ma.masked_array([1, 2], [True, False]),
    np.ma.masked,
    np.ndarray,
    Broken(),
    Structured,
    np.zeros((1,) * 33),
    RING,
    array.array("i", [1]),
    int,
    lambda: 0,
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda v: type(v).__name__)
def test_a_value_without_an_encoding_is_refused_by_its_path(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^value\.a\[1\]"):
        encode_value({"a": [0, value]})


@pytest.mark.parametrize("value", REFUSED, ids=lambda v: type(v).__name__)
def test_a_value_without_a_form_is_refused_by_its_path_in_a_state(value: Any) -> None:
    try:
        Simplifier().simplify(value, "value")
    except InvalidInput:
        pass
    else:
        return  # tests/objects/test_forms.py
    with Repository.init(":memory:") as repo:
        for name in ("observation", "action", "info"):
            with pytest.raises(InvalidInput, match=rf"^{name}\.a\[1\]"):
                repo.commit(**{name: {"a": [0, value]}})
            with repo.recorder("r") as rec, pytest.raises(InvalidInput, match=rf"^{name}\b"):
                rec.append(**{name: value})
        assert repo.runs["r"].step is None


def test_keys_are_ordered_by_their_encodings_whatever_order_they_come_in() -> None:
    entries = [("b", 1), ("a", 2), (300, 3), (-1, 4), (5, 5), (b"z", 6), ("é", 7), ("aa", 8)]
    assert encode_value(dict(entries)) == encode_value(dict(reversed(entries)))


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\xca\0\0\0\0",
        b"\xcc\x01",
        b"\xd9\x01a",
        b"\xdc\0\0",
        b"\xd0\x01",
        b"\x82\xa1b\x01\xa1a\x01",
        b"\xc7\x00\x09",
        b"\xc4",
        b"\xa1\xff",
    ],
)
def test_bytes_that_are_not_the_canonical_encoding_are_refused(encoded: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_value(encoded)


@pytest.mark.parametrize("value", EXACT, ids=lambda v: f"{type(v).__name__}")
def test_what_is_recorded_is_read_as_it_was(value: Any) -> None:
    with Repository.init(":memory:") as repo:
        repo.commit(action=0, info={"v": value, "l": [value], "t": (value,), "k": {1: value}})
        info = repo.state().info
        for found in (info["v"], info["l"][0], info["t"][0], info["k"][1]):
            assert type(found) is type(value) or (
                isinstance(found, np.generic) and value.ndim == 0 and value.dtype == found.dtype
            )
            assert value_bytes(found) == value_bytes(value)
