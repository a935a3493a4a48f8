"""Every space of Gymnasium goes to canonical data and comes back the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simgit.errors import InvalidInput
from simgit.gym.spec.spaces import decode, encode
from simgit.objects.codec import decode_value, encode_value
from tests.support.examples import share

INTEGERS = st.sampled_from([np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16])


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=3))
    if draw(st.booleans()):
        dtype: Any = draw(INTEGERS)
        limits = np.iinfo(dtype)
        numbers = st.integers(max(limits.min, -(2**62)), min(limits.max, 2**62))
    else:
        dtype = draw(st.sampled_from([np.float32, np.float64, np.float16]))
        width = np.dtype(dtype).itemsize * 8
        numbers = st.floats(width=width, allow_nan=False)
    fill = st.one_of(st.just(st.nothing()), st.just(numbers))
    arrays = [draw(hnp.arrays(dtype, shape, elements=numbers, fill=draw(fill))) for _ in range(2)]
    low, high = np.minimum(*arrays), np.maximum(*arrays)
    if dtype in (np.float32, np.float64, np.float16):
        low, high = np.where(low == np.inf, 0, low), np.where(high == -np.inf, 0, high)
        low = np.minimum(low, high)
    return spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype)


@st.composite
def discretes(draw: st.DrawFn) -> spaces.Discrete:
    dtype: Any = draw(INTEGERS)
    start = draw(st.integers(0 if np.iinfo(dtype).min == 0 else -9, 9))
    return spaces.Discrete(draw(st.integers(1, 100)), start=start, dtype=dtype)


@st.composite
def multi_discretes(draw: st.DrawFn) -> spaces.MultiDiscrete:
    dtype: Any = draw(INTEGERS)
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=2, max_side=3))
    nvec = draw(hnp.arrays(dtype, shape, elements=st.integers(1, 20)))
    start = draw(hnp.arrays(dtype, shape, elements=st.integers(0, 20)))
    return spaces.MultiDiscrete(nvec, dtype, start=start)


SIZES = st.integers(1, 4)
LEAVES: Any = st.one_of(
    boxes(),
    discretes(),
    multi_discretes(),
    st.builds(spaces.MultiBinary, st.one_of(SIZES, st.lists(SIZES, min_size=1, max_size=3))),
    st.builds(
        lambda low, more, charset: spaces.Text(low + more, min_length=low, charset=charset),
        st.integers(0, 3), SIZES, st.text(min_size=1, max_size=9),
    ),
)  # fmt: skip
# Gymnasium batches the spaces below these, which it cannot do with every space
PLAIN = st.one_of(boxes(), discretes())
NESTED = st.one_of(
    LEAVES,
    st.builds(spaces.Graph, PLAIN, st.one_of(st.none(), PLAIN)),
    st.builds(spaces.Sequence, PLAIN, stack=st.booleans()),
)


def above(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.text(min_size=1, max_size=4)
    return st.one_of(
        st.builds(
            spaces.Dict, st.lists(st.tuples(keys, below), max_size=3, unique_by=lambda p: p[0])
        ),
        st.builds(spaces.Tuple, st.lists(below, max_size=3)),
        st.builds(spaces.OneOf, st.lists(below, min_size=1, max_size=3)),
        st.builds(spaces.Sequence, below),
    )


SPACES = st.recursive(NESTED, above, max_leaves=6)


@given(SPACES)
@settings(max_examples=share(300))
def test_a_space_comes_back_from_its_canonical_bytes(space: Any) -> None:
    data = encode(space)
    again = decode(decode_value(encode_value(data)))
    assert again == space
    assert encode_value(encode(again)) == encode_value(data)


@given(SPACES, st.integers(0, 1000))
def test_a_space_that_came_back_samples_the_same(space: Any, seed: int) -> None:
    again = decode(encode(space))
    space.seed(seed)
    again.seed(seed)
    for _ in range(3):
        assert repr(space.sample()) == repr(again.sample())


def test_bounds_that_are_the_same_everywhere_are_kept_once() -> None:
    frames = spaces.Box(0, 255, (210, 160, 3), np.uint8)
    assert len(encode_value(encode(frames))) < 100
    signed = spaces.Box(np.array([0.0, -0.0]), np.ones(2), dtype=np.float64)
    low = decode(encode(signed)).low  # type: ignore[attr-defined]
    assert np.signbit(low).tolist() == [False, True]


def test_the_order_of_the_keys_is_kept() -> None:
    space = spaces.Dict([("z", spaces.Discrete(2)), ("a", spaces.Discrete(3))])
    assert list(decode(encode(space)).spaces) == ["z", "a"]  # type: ignore[attr-defined]


def test_a_subclass_is_the_space_that_it_extends() -> None:
    class Mine(spaces.Discrete):
        pass

    assert encode(Mine(3)) == encode(spaces.Discrete(3))


class Other(spaces.Space[Any]):
    def __str__(self) -> str:
        return f"Other({object()!r})"


def test_a_space_of_another_kind_is_described_and_not_made() -> None:
    data = encode(Other())
    assert data == {"type": f"{__name__}:Other", "text": "Other(<object object>)"}
    assert encode(Other()) == data
    with pytest.raises(InvalidInput, match="Other"):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [{}, {"type": "Box"}, {"type": "Discrete", "n": 0, "start": 0, "dtype": "<i8"}, 3,
     {"type": "Discrete", "n": 2, "start": 0, "dtype": "what"}, {"type": []},
     {"type": "Tuple", "spaces": [{"type": "Nothing"}]}],
)  # fmt: skip
def test_what_describes_no_space_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput):
        decode(data)
