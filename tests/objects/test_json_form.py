"""The JSON form of values: lossless, unambiguous, and safe for every reader of JSON."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from simgit.errors import InvalidInput
from simgit.objects.codec import encode_value
from simgit.objects.coerce import coerce
from simgit.objects.json_form import SAFE, parse_json, record_to_json, value_to_json

floats = st.one_of(
    st.floats(),
    st.binary(min_size=8, max_size=8).map(lambda data: struct.unpack("<d", data)[0]),
)
dtypes = st.one_of(
    arrays_of.boolean_dtypes(), arrays_of.integer_dtypes(endianness="<"),
    arrays_of.unsigned_integer_dtypes(endianness="<"), arrays_of.floating_dtypes(
        endianness="<", sizes=(16, 32, 64)), arrays_of.complex_number_dtypes(
        endianness="<", sizes=(64, 128)), arrays_of.datetime64_dtypes(endianness="<"),
    arrays_of.timedelta64_dtypes(endianness="<"),
    arrays_of.unicode_string_dtypes(endianness="<", max_len=4),
    arrays_of.byte_string_dtypes(max_len=4),
)  # fmt: skip
shapes = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
arrays = st.one_of(
    st.deferred(lambda: arrays_of.arrays(dtypes, shapes)),
    st.tuples(st.sampled_from(["<f2", "<f4", "<f8", "<c8", "<i8", "<u8", "<M8[ns]"]),
              st.binary(min_size=48, max_size=48)).map(lambda pair: np.frombuffer(pair[1], pair[0])),
)  # fmt: skip
keys = st.one_of(
    st.text(max_size=3), st.sampled_from(["$float", "$int", "$", "$map", "1"]), st.binary(max_size=2),
    st.integers(-(1 << 63), (1 << 64) - 1),
)  # fmt: skip
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-(1 << 80), 1 << 80), floats,
              st.text(max_size=4), st.sampled_from(["NaN", "nan", "Infinity"]), st.binary(max_size=4),
              st.builds(complex, floats, floats), arrays,
              arrays.filter(lambda a: a.size > 0).map(lambda a: a.reshape(-1)[0])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip


def strict(text: str) -> Any:
    """Parse JSON as a strict reader does: no NaN, and no number that a double would change."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    def integer(text: str) -> int:
        assert abs(int(text)) <= SAFE
        return int(text)

    return json.loads(text, parse_constant=refuse, parse_int=integer)


@given(values)
def test_a_value_comes_back_from_json_as_it_was(value: Any) -> None:
    try:
        stored = encode_value(coerce(value, "value"))
    except InvalidInput:
        return  # such as a text with a lone surrogate
    text = json.dumps(value_to_json(coerce(value, "value")), allow_nan=False)
    strict(text)
    assert encode_value(parse_json(text)) == stored


@given(values)
def test_a_record_with_values_is_json_that_every_reader_has_exactly(value: Any) -> None:
    strict(json.dumps(record_to_json({"a": value, "b": value_to_json(value)}), allow_nan=False))


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("NaN", "NaN"),
        (math.nan, {"$float": "nan"}),
        (-math.inf, {"$float": "-inf"}),
        (SAFE, SAFE),
        (SAFE + 1, {"$int": "9007199254740992"}),
        (b"\0\xff", {"$bytes": "AP8="}),
        ((1, "a"), {"$tuple": [1, "a"]}),
        ({1: 2}, {"$map": [[1, 2]]}),
        ({"$int": "5"}, {"$map": [["$int", "5"]]}),
        (1 + 2j, {"$complex": [1.0, 2.0]}),
        (np.float32([0.5, np.nan]), {"$array": [0.5, {"$float": "nan"}], "dtype": "<f4"}),
        (np.int64(1), {"$array": 1, "dtype": "<i8"}),
        (np.zeros((0, 2), "<f8"), {"$array": [], "dtype": "<f8", "shape": [0, 2]}),
    ],
)
def test_the_form_of_a_value(value: Any, form: Any) -> None:
    assert value_to_json(value) == form


@pytest.mark.parametrize(
    "text",
    [
        '{"$float": "no"}', '{"$flaot": "nan"}', '{"$int": "1.5"}', '{"$int": 5}', '{"$bytes": "?"}',
        '{"$float": "nan", "x": 1}', '{"$array": [1], "dtype": "object"}', '{"$array": [1]}',
        '{"$array": [1.5], "dtype": "<i8"}', '{"$array": [300], "dtype": "|u1"}',
        '{"$array": [[1], [1, 2]], "dtype": "<i8"}', '{"$array": null, "dtype": "<i8"}',
        '{"$array": [1, 2], "dtype": "<i8", "shape": [3]}', '{"$map": [[1, 2], [1, 3]]}',
        '{"$map": [[1]]}', '{"$map": [[[], 1]]}', '{"$complex": [1]}', '{"$tuple": 1}',
        '{"$array": {"$bytes": "AA=="}, "dtype": "<i8", "shape": [1]}', '{"$object": "00"}',
        '{"$array": ["a"], "dtype": "<f8"}', '{"$array": [true], "dtype": "<i8"}',
        "1e999", "[-1e999]", '{"a": 1, "a": 2}',
    ],
)  # fmt: skip
def test_what_is_not_of_the_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_json(text)


def test_large_arrays_of_a_comparison_are_left_out() -> None:
    form = value_to_json(np.zeros(65), short=True)
    assert form == {"$array": None, "dtype": "<f8", "shape": [65]}
    assert value_to_json(np.zeros(64), short=True)["$array"] == [0.0] * 64
