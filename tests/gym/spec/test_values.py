"""What is recorded of actions, observations and infos has one form for each value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from simgit.errors import InvalidInput
from simgit.gym.spec.values import cast_for, keeper, plain_info, thaw
from simgit.objects.coerce import coerce

DISCRETE = spaces.Discrete(3)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return (
            type(two) is dict
            and one.keys() == two.keys()
            and all(same(one[k], two[k]) for k in one)
        )
    if isinstance(one, (list, tuple)):
        return isinstance(two, type(one)) and len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, np.ndarray):
        return isinstance(two, np.ndarray) and one.dtype == two.dtype and np.array_equal(one, two)
    return type(one) is type(two) and one == two


@pytest.mark.parametrize(
    "value",
    [2, np.int64(2), np.int32(2), np.uint8(2), np.array(2), np.array(2, np.int32), torch.tensor(2)],
)
def test_an_integer_of_any_kind_is_the_same_action(value: Any) -> None:
    assert same(cast_for(DISCRETE)(value), np.int64(2))
    assert same(keeper(DISCRETE, "action")(value), np.int64(2))


@pytest.mark.parametrize("value", [2.5, True, "left", None, [2], 2**70, np.float64(1)])
def test_what_is_no_integer_stays_as_it_is(value: Any) -> None:
    assert same(cast_for(DISCRETE)(value), value)


def test_the_dtype_is_the_one_of_the_space() -> None:
    small = spaces.Discrete(3, dtype=np.int8)
    assert same(cast_for(small)(1), np.int8(1))
    assert same(cast_for(small)(1000), 1000)


@pytest.mark.parametrize("value", [[0, 1], (0, 1), np.array([0, 1], np.int32), np.array([0, 1])])
@pytest.mark.parametrize("space", [spaces.MultiDiscrete([2, 2]), spaces.Box(0, 5, (2,), np.int64)])
def test_lists_of_integers_are_arrays_of_the_space(space: Any, value: Any) -> None:
    assert same(cast_for(space)(value), np.array([0, 1]))


def test_integers_that_do_not_fit_stay_as_they_are() -> None:
    cast = cast_for(spaces.MultiBinary(2))
    for value in (np.array([300, 1]), [1, 2, 3], [[1], [2, 3]], np.array([0.5, 1.0])):
        assert same(cast(value), value)


def test_floats_are_never_cast() -> None:
    box = spaces.Box(-1, 1, (2,), np.float32)
    for value in (np.array([0.1, 0.2]), np.float32([1, 2]), [0.5, 1.0]):
        assert cast_for(box)(value) is value


NESTED = spaces.Dict(
    {
        "go": DISCRETE,
        "both": spaces.Tuple([DISCRETE, spaces.Box(0, 1, (2,))]),
        "one": spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1, (2,))]),
        "many": spaces.Sequence(spaces.Discrete(4)),
        "stack": spaces.Sequence(spaces.Discrete(4), stack=True),
        "text": spaces.Text(5),
        "graph": spaces.Graph(spaces.Box(0, 1, (2,)), spaces.Discrete(3)),
    }
)


def test_nested_values_are_cast_part_by_part() -> None:
    given = {"go": 1, "both": (2, np.zeros(2)), "one": (0, 1), "many": (1, np.int32(2))}
    space = spaces.Dict({name: NESTED[name] for name in given})
    kept = cast_for(space)(given)
    assert same(kept["go"], np.int64(1))
    assert same(kept["both"], (np.int64(2), np.zeros(2)))
    assert same(kept["one"], (np.int64(0), np.int64(1)))
    assert same(kept["many"], (np.int64(1), np.int64(2)))
    for wrong in ({"go": 1}, {**given, "both": (1,)}, {**given, "one": (5, 1)}, 3):
        assert cast_for(space)(wrong) is not None


def test_samples_of_all_spaces_can_be_kept_and_given_again() -> None:
    NESTED.seed(1)
    for _ in range(20):
        sample = NESTED.sample()
        kept = keeper(NESTED, "action")(sample)
        again = thaw(NESTED, kept)
        assert repr(again) == repr(sample)
        assert NESTED.contains(again)


def test_what_is_kept_is_a_copy_and_what_is_given_again_can_be_changed() -> None:
    box = spaces.Box(0, 1, (2,))
    action = np.zeros(2, np.float32)
    kept = keeper(box, "action")(action)
    action += 1
    assert not kept.any()
    kept.flags.writeable = False
    thaw(box, kept)[0] = 5
    assert not kept.any()


def test_what_has_no_encoding_is_refused_by_its_place() -> None:
    with pytest.raises(InvalidInput, match=r"action\.go"):
        keeper(spaces.Dict({"go": DISCRETE}), "action")({"go": object()})
    with pytest.raises(InvalidInput, match=r"info\.a\[1\]"):
        plain_info({"a": [1, object()]})


def test_numbers_in_an_info_are_pythons() -> None:
    info = {
        "a": np.float64(0.5), "b": np.int64(3), "c": np.bool_(True), "d": np.float32(1),
        "e": {"f": (np.int64(1), [np.float64(2)])}, "g": np.arange(3), "h": None, 1: "x",
    }  # fmt: skip
    plain = plain_info(info)
    assert same(plain, {
        "a": 0.5, "b": 3, "c": True, "d": np.float32(1), "e": {"f": (1, [2.0])},
        "g": np.arange(3), "h": None, 1: "x",
    })  # fmt: skip
    assert plain["g"] is not info["g"]
    assert same(coerce(plain, "info"), plain)
