from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simgit.errors import InvalidInput
from simgit.objects.kinds import Tree
from simgit.odb.database import ObjectDatabase
from simgit.odb.trees import load_data, load_tree, store_data, walk
from simgit.storage.memory import MemoryStorage


class Tensor:
    """What a torch tensor offers."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.detached = False

    def detach(self) -> Tensor:
        found = Tensor(self._array)
        found.detached = True
        return found

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if not self.detached:
            raise RuntimeError("can't call numpy() on a tensor that requires grad")
        return self._array


@pytest.fixture
def odb() -> ObjectDatabase:
    return ObjectDatabase(MemoryStorage())


def round_trip(odb: ObjectDatabase, data: Any, base: Any = None) -> Any:
    with odb.write() as txn:
        kind, oid = store_data(odb, txn, data, base)
    with odb.read() as txn:
        return load_data(odb, txn, kind, oid)


def same(one: Any, two: Any) -> bool:
    """Equal, of the same types, bit by bit."""
    if isinstance(one, (np.ndarray, np.generic)):
        alike = type(one) is type(two) and one.dtype == two.dtype and one.shape == two.shape
        return alike and one.tobytes() == two.tobytes()
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two or one != one)


DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="<"),
    hnp.unsigned_integer_dtypes(endianness="<"),
    hnp.floating_dtypes(endianness="<", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="<", sizes=(64, 128)),
    hnp.datetime64_dtypes(endianness="<"),
    hnp.byte_string_dtypes(min_len=1),
    hnp.unicode_string_dtypes(endianness="<", min_len=1),
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_side=12, min_side=0))
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
BIG = st.integers(256, 400).map(lambda n: b"x" * n) | st.integers(32, 40).map(np.zeros)
NAMES = st.text(min_size=1).filter(lambda name: "\0" not in name)
DATA = st.recursive(
    PLAIN | BIG | ARRAYS.filter(lambda array: array.ndim > 0),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.dictionaries(st.integers(-(2**63), 2**64 - 1), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(DATA)
def test_nested_data_comes_back_as_it_was(data: Any) -> None:
    assert same(data, round_trip(ObjectDatabase(MemoryStorage()), data))


@given(ARRAYS, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_an_array_comes_back_from_its_difference(array: Any, seed: int, share: float) -> None:
    odb = ObjectDatabase(MemoryStorage())
    rng = np.random.default_rng(seed)
    raw = np.frombuffer(array.tobytes() * 20, np.uint8).copy()
    before = np.resize(raw, raw.size).view(array.dtype) if raw.size else array.reshape(-1)
    changed = rng.random(raw.size) < share
    raw[changed] = rng.integers(0, 2 if array.dtype.kind == "b" else 256, int(changed.sum()))
    after = raw.view(array.dtype) if array.dtype.kind not in "U" and raw.size else before
    with odb.write() as txn:
        base = store_data(odb, txn, before)
    odb._cache._kept.clear()
    with odb.write() as txn:
        kind, oid = store_data(odb, txn, after, base)
    with odb.read() as txn:
        assert same(after, load_data(odb, txn, kind, oid))


def test_tensors_are_read_as_arrays(odb: ObjectDatabase) -> None:
    weights = np.arange(100, dtype="f4").reshape(10, 10)
    data = {"state": {0: {"step": Tensor(np.array(3.0)), "exp_avg": Tensor(weights.T)}}, "lr": 0.1}
    got = round_trip(odb, data)
    assert got["state"][0]["step"].shape == () and got["lr"] == 0.1
    assert (got["state"][0]["exp_avg"] == weights.T).all()
    assert not got["state"][0]["exp_avg"].flags.writeable


def test_only_containers_of_something_large_are_trees(odb: ObjectDatabase) -> None:
    data = {"small": {"a": np.zeros(2), "b": [1]}, "large": [{1: np.zeros(32)}, b"x" * 255]}
    with odb.write() as txn:
        kind, oid = store_data(odb, txn, data)
        tree = load_tree(odb, txn, oid)
        found = [("/".join(path), kind) for path, kind, _ in walk(odb, txn, kind, oid)]
    assert {entry.name: entry.kind for entry in tree.entries} == {"large": "tree", "small": "value"}
    assert found == [
        ("", "tree"), ("large", "tree"), ("large/0", "tree"), ("large/0/1", "array"),
        ("large/1", "value"), ("small", "value"),
    ]  # fmt: skip


def test_keys_that_no_tree_has_make_a_value_or_an_error(odb: ObjectDatabase) -> None:
    assert round_trip(odb, {1: "a", "b": 2}) == {1: "a", "b": 2}
    assert round_trip(odb, {"": 1, b"x": 2}) == {"": 1, b"x": 2}
    with pytest.raises(InvalidInput, match=r"value\.a") as caught:
        round_trip(odb, {"a": {1: np.zeros(99), "b": 2}})
    assert caught.value.path == "value.a"
    with pytest.raises(InvalidInput, match=r"value\.a\[1\]"):
        round_trip(odb, {"a": [b"x" * 300, {1, 2}]})


def test_what_is_nested_too_deeply_is_refused(odb: ObjectDatabase) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidInput, match="nested deeper"):
        round_trip(odb, loop)


def test_an_unchanged_array_is_named_only(odb: ObjectDatabase) -> None:
    frozen, rng = np.random.default_rng(0).random(10_000), np.random.default_rng(1)
    with odb.write() as txn:
        base = store_data(odb, txn, {"frozen": frozen, "head": rng.random(10)})
        before = sum(len(value) for _, value in txn.scan("objects"))
        again = store_data(odb, txn, {"frozen": frozen, "head": rng.random(10)}, base)
        assert sum(len(value) for _, value in txn.scan("objects")) - before < 400
        assert isinstance(odb.object(txn, again[1]), Tree)


def test_a_base_may_be_gone_or_of_another_form(odb: ObjectDatabase) -> None:
    data = {"a": np.arange(1000.0), "b": [np.zeros(99)]}
    with odb.write() as txn:
        kind, oid = store_data(odb, txn, data)
        other = store_data(odb, txn, {"a": [np.zeros(50)], "b": {"0": np.ones(99)}})
    assert same(round_trip(odb, data, other), data)
    with odb.write() as txn:
        txn.delete("objects", oid)
    assert same(round_trip(odb, data, (kind, oid)), data)


def test_checkpoints_become_differences(odb: ObjectDatabase) -> None:
    rng = np.random.default_rng(0)
    weights, base, last = rng.normal(size=(64, 64)).astype("f4"), None, np.zeros(0)
    with odb.write() as txn:
        for _ in range(70):
            weights[:, :24] += rng.normal(size=(64, 24)).astype("f4") * np.float32(1e-4)
            last = weights.copy()
            base = store_data(odb, txn, {"w": last}, base)
        size = sum(len(value) for _, value in txn.scan("objects"))
    odb._cache._kept.clear()
    with odb.read() as txn:
        assert base is not None and same(load_data(odb, txn, *base), {"w": last})
    assert size < 0.3 * 70 * last.nbytes


def test_an_array_of_any_length_is_stored_and_dropped_whole(odb: ObjectDatabase) -> None:
    rng = np.random.default_rng(0)
    for size in (2, 200, 201, 1002, 1003, 2004, 70_000, 256 << 10, 300_000):
        array = rng.integers(0, 256, size, np.uint8)
        with odb.write() as txn:
            kind, oid = store_data(odb, txn, array)
            kept = store_data(odb, txn, array[::-1])
        odb._cache._kept.clear()
        with odb.write() as txn:
            assert same(load_data(odb, txn, kind, oid), array)
            assert odb.drop(txn, oid) and not odb.exists(txn, oid)
            assert same(load_data(odb, txn, *kept), array[::-1])
            assert odb.drop(txn, kept[1]) and txn.count("bodies") == 0
