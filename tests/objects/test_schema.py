"""The schema of a state follows from its parent's schema and its own value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simgit import IntegrityError, Repository
from simgit.objects.schema import Schema, exact_cast


def shown(schema: Schema) -> dict[str, str]:
    return {".".join(path): str(kind) for path, kind in schema.fields}


def grown(*values: Any) -> dict[str, str]:
    """Return the schema after states whose info had these values."""
    with Repository.init(":memory:") as repo:
        for value in values:
            repo.commit(info={"v": value})
        fields = shown(repo.state().schema)
    assert fields.pop("info") == "map"
    return {path.removeprefix("info."): kind for path, kind in fields.items()}


def observed(value: Any) -> dict[str, str]:
    """Return the schema of a root with this observation."""
    with Repository.init(":memory:") as repo:
        repo.commit(value)
        return shown(repo.state().schema)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "none"),
        (True, "bool"),
        (1, "int"),
        (-(2**63), "int"),
        (2**63, "value"),
        (1.5, "float"),
        (1j, "complex"),
        ("a", "str"),
        (b"a", "bytes"),
        ([1], "value"),
        ({1: 2}, "value"),
        (np.int32(1), "int32"),
        (np.zeros(3, "f4"), "float32[3]"),
        (np.zeros(255, "u1"), "uint8[255]"),
        (np.zeros(256, "u1"), "array"),
        (np.zeros((0, 5)), "float64[0, 5]"),
        (np.zeros((0, 2**31), "u1"), "array"),
        ((1,) * 256, "value"),
        ({"x" * 1001: 1}, "value"),
        ({"é" * 501: 1}, "value"),
    ],
)
def test_a_value_has_a_natural_type(value: Any, kind: str) -> None:
    assert grown(value) == {"v": kind}


def test_maps_and_tuples_are_fields_of_their_own() -> None:
    assert grown({"b": (1, {"x": "s"}), "a": {}}) == {
        "v": "map",
        "v.a": "map",
        "v.b": "tuple2",
        "v.b.0": "int",
        "v.b.1": "map",
        "v.b.1.x": "str",
    }


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((1, True), "value"),
        ((True, 1), "int"),
        ((1, 1.5), "float"),
        ((1.5, 1), "float"),
        ((1.5, 2**53 + 1), "value"),
        ((1, 2**63), "value"),
        ((1, 1j), "complex"),
        ((1j, 1.5), "value"),
        ((1, np.int8(5)), "int"),
        ((1, np.uint64(2**63)), "value"),
        ((np.int8(1), 5), "int8"),
        ((np.int8(1), 300), "int"),
        ((np.uint8(1), np.int8(-1)), "array"),
        ((np.uint8(1), np.int16(-1)), "int16"),
        ((np.int8(-1), np.uint8(255)), "array"),
        ((np.int8(1), np.uint8(5)), "int8"),
        ((np.float32(1), 0.1), "float"),
        ((np.float32(1), 0.5), "float32"),
        ((0.5, np.float32(0.1)), "float"),
        ((np.zeros(2, "f4"), np.zeros(2)), "float32[2]"),
        ((np.zeros(2, "f4"), np.full(2, 0.1)), "float64[2]"),
        ((np.zeros(2), np.zeros(3)), "array"),
        ((np.zeros(2), np.zeros(300)), "array"),
        ((np.zeros(300), np.zeros(2)), "array"),
        ((np.zeros(300), np.float32(1)), "array"),
        ((np.zeros(300), 1), "value"),
        ((np.zeros(2), "a"), "value"),
        (("a", None), "value"),
        ((None, "a"), "value"),
        ((np.bool_(True), True), "bool"),
        ((True, np.bool_(True)), "bool"),
        ((np.array(["a"]), np.array(["bc"])), "array"),
        ((np.datetime64(1, "s"), np.datetime64(1, "ms")), "array"),
        (({"a": 1}, 5), "value"),
        (((1, 2), (1, 2, 3)), "value"),
        (({"a": 1}, {2: 1}), "value"),
        ((1.5, np.float16(1.5)), "float"),
        ((np.float16(1), np.int8(3)), "float16"),
        ((np.float16(1), 2**16), "int"),
    ],
)
def test_a_field_that_does_not_fit_becomes_a_wider_one(values: tuple[Any, ...], kind: str) -> None:
    if kind == "int" and isinstance(values[0], np.float16):
        kind = "value"  # the rank of an int is less than a float's
    assert grown(*values) == {"v": kind}


def test_a_field_that_is_missing_stays_and_a_new_one_extends() -> None:
    assert grown({"a": 1}, {"b": 2}, {}) == {"v": "map", "v.a": "int", "v.b": "int"}


def test_a_field_that_becomes_a_value_loses_what_is_below_it() -> None:
    assert grown({"a": {"b": 1}}, {"a": 5}) == {"v": "map", "v.a": "value"}


@pytest.mark.parametrize(("count", "kind"), [(1024, "map"), (1025, "value")])
def test_too_many_fields_are_a_value(count: int, kind: str) -> None:
    assert observed({f"k{i}": i for i in range(count)})["observation"] == kind


@pytest.mark.slow
def test_fields_that_become_too_many_one_by_one_are_a_value() -> None:
    with Repository.init(":memory:") as repo, repo.recorder() as rec:
        for i in range(1100):
            rec.append(info={f"k{i}": i})
        rec.flush()
        assert shown(repo.state("main@1023").schema)["info"] == "map"
        assert shown(repo.state("main@1024").schema) == {"info": "value"}
        assert repo.state("main@1024").info == {"k1024": 1024}
        assert repo.state("main@1000").info == {"k1000": 1000}


@pytest.mark.parametrize(("depth", "kind"), [(16, "map"), (17, "value")])
def test_fields_that_lie_too_deep_are_a_value(depth: int, kind: str) -> None:
    value: Any = 1
    for _ in range(depth):
        value = {"x": value}
    assert observed(value)["observation"] == kind


@pytest.mark.slow
def test_a_map_that_grows_a_level_a_state_can_go_as_deep_as_values_can() -> None:
    value: Any = {}
    with Repository.init(":memory:") as repo:
        for _ in range(62):
            repo.commit(info=value)
            value = {"x": value}
        found, depth = repo.state().info, 0
        while found:
            found, depth = found["x"], depth + 1
        assert depth == 61


def test_the_reserved_fields_have_their_types_from_the_start() -> None:
    with Repository.init(":memory:") as repo:
        tree = repo.commit(
            1, reward=1, terminated=True, truncated=np.bool_(False), message="m", files={"a": b"1"}
        )
        fields = shown(repo.state(tree).schema)
    assert fields == {
        "observation": "int",
        "reward": "float",
        "terminated": "bool",
        "truncated": "bool",
        "message": "str",
        "files": "tree",
    }


@pytest.mark.parametrize(
    ("value", "dtype", "fits"),
    [
        (np.int64(2**53), "<f8", True),
        (np.int64(2**53 + 1), "<f8", False),
        (np.int64(2**63 - 1), "<f8", False),
        (np.int64(-(2**63)), "<f8", True),
        (np.uint64(2**64 - 1), "<f8", False),
        (np.int64(65504), "<f2", True),
        (np.int64(65505), "<f2", False),
        (np.int64(10**6), "<f2", False),
        (np.float64(0.1), "<f4", False),
        (np.float64(np.nan), "<f4", True),
        (np.float64(-0.0), "<f4", True),
        (np.float64(1e300), "<f4", False),
        (np.int8(-1), "|u1", False),
        (np.uint8(255), "|i1", False),
        (np.uint8(127), "|i1", True),
        (np.int64(-1), "<u8", False),
        (np.bool_(True), "<i8", False),
        (np.complex64(1), "<c16", True),
        (np.float64(1), "<c16", False),
        (np.datetime64(1, "s"), "<i8", False),
        (np.float64(1), "<i8", False),
    ],
)
def test_a_cast_is_exact_or_not_done(value: Any, dtype: str, fits: bool) -> None:
    array = np.asarray(value)
    out = exact_cast(array, np.dtype(dtype))
    assert (out is not None) == fits
    if out is not None:
        assert out.dtype == dtype


def test_a_schema_is_decoded_as_it_was_and_a_wrong_one_is_refused() -> None:
    with Repository.init(":memory:") as repo:
        repo.commit({"a": (1, np.zeros(3)), "b": np.zeros(300)}, 1, 1.0, info={"x": None, "y": [1]})
        schema = repo.state().schema
    assert Schema.decode(schema.payload) == schema
    for wrong in (
        tuple(reversed(schema.fields)),
        schema.fields + schema.fields[-1:],
        tuple(field for field in schema.fields if field[0] != ("observation",)),
    ):
        with pytest.raises(IntegrityError):
            Schema.decode(Schema(wrong).payload)
