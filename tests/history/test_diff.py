"""Differences between values, states, configurations and runs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit.history.diff.runs import diff_runs
from simgit.history.diff.values import diff_configs, diff_states, diff_values
from simgit.objects.kinds import Blob, Entry, Tree
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.batch import Tip
from simgit.testing.builders import memory_database, record, record_cartpole

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.integers() | st.binary(max_size=2), inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@pytest.fixture
def odb() -> ObjectDatabase:
    return memory_database()


def names(a: Any, b: Any) -> list[tuple[str, str]]:
    return [(change.name, change.kind) for change in diff_values(a, b)]


def test_changes_are_named_by_their_path() -> None:
    a = {"x": 1, "y": {"z": [1, 2]}, "gone": 0}
    b = {"x": 2, "y": {"z": [1, 3, 4]}, "new": 0}
    assert names(a, b) == [
        ("gone", "removed"), ("new", "added"), ("x", "changed"),
        ("y.z[1]", "changed"), ("y.z[2]", "added"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, 1.0), (1, True), (0.0, -0.0), ((1,), [1]), ("a", b"a"), (None, 0), (1j, 1j + 1)],
)
def test_values_of_other_types_or_bits_differ(a: Any, b: Any) -> None:
    assert names(a, b) == [("", "changed")]


def test_nan_equals_the_same_nan() -> None:
    assert names({"x": float("nan")}, {"x": float("nan")}) == []
    array = np.array([np.nan, 1.0])
    assert names(array, array.copy()) == []


def test_arrays_are_compared_by_element() -> None:
    a = np.zeros((2, 3), np.uint8)
    b = a.copy()
    b[0, 1], b[1, 2] = 255, 1
    (change,) = diff_values(a, b)
    assert change.array is not None
    assert (change.array.different, change.array.max_abs) == (2, 255.0)
    assert change.array.mean_abs == pytest.approx(256 / 6)
    assert change.array.first == ((0, 1), (1, 2))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16", "i8", "?", "S3", "U2", "M8[s]"])
def test_arrays_of_every_kind_are_compared(dtype: str) -> None:
    a = np.zeros(4, dtype)
    b = a.copy()
    b[2] = 1 if a.dtype.kind not in "SU" else "x"
    assert diff_values(a, a.copy()) == ()
    (change,) = diff_values(a, b)
    assert change.array is not None and change.array.first == ((2,),)


def test_arrays_of_other_form_say_so() -> None:
    (change,) = diff_values(np.zeros(2), np.zeros(3))
    assert change.array is not None
    assert change.array.shapes == ((2,), (3,)) and change.array.different is None
    (change,) = diff_values(np.zeros(2, np.float32), np.zeros(2))
    assert change.array is not None and change.array.different == 0


@given(values, values)
def test_any_difference_can_be_written_as_json(a: Any, b: Any) -> None:
    changes = diff_values(a, b)
    json.dumps([change.to_json() for change in changes], allow_nan=False)
    assert diff_values(a, a) == ()


def test_configurations_differ_by_setting() -> None:
    (change,) = diff_configs({"lr": 0.1, "net": {"n": 1}}, {"lr": 0.1, "net": {"n": 2}})
    assert (change.name, change.before, change.after) == ("net.n", 1, 2)


def test_states_differ_by_field_array_and_file(odb: ObjectDatabase) -> None:
    with odb.write() as txn:
        blobs = [odb.put(txn, Blob(data)) for data in (b"1", b"2")]
        trees = [odb.put(txn, Tree((Entry("f", "blob", oid),))) for oid in blobs]
        trees = [odb.put(txn, Tree((Entry("d", "tree", oid),))) for oid in trees]
    big = np.arange(100.0)
    a = record(odb, [{"observation": big, "reward": 1.0, "files": trees[0], "message": "a"}])
    b = record(odb, [{"observation": big + 1, "reward": 1.0, "files": trees[1]}])
    found = diff_states(odb, a.place, b.place)
    assert (found.a, found.b) == (a.oid, b.oid)
    assert [change.name for change in found.changes] == ["files.d/f", "message", "observation"]
    assert found.changes[2].array is not None and found.changes[2].array.max_abs == 1.0
    json.dumps(found.to_json())
    assert diff_states(odb, a.place, a.place).changes == ()


# --- runs ---


def step(i: float, **more: Any) -> dict[str, Any]:
    return {"observation": np.float32([i]), "action": 1, "reward": float(i), **more}


def fork_of(odb: ObjectDatabase, tip: Tip, at: int) -> Tip:
    with odb.read() as txn:
        return odb.states.tip(txn, Location(tip.place.line, at))


def test_runs_part_at_a_fork(odb: ObjectDatabase) -> None:
    a = record(odb, [{"observation": np.float32([0]), "reset": True}, *map(step, range(1, 8))])
    b = record(odb, [step(4), step(50), step(6), step(0, reset=True)], fork_of(odb, a, 3))
    found = diff_runs(odb, a.place, b.place)
    assert found.ancestor is not None and found.ancestor.step == 4  # step(4) is the same state
    assert (found.a.only, found.b.only, found.aligned) == (3, 3, 3)
    assert (found.a.return_after, found.b.return_after) == (18.0, 56.0)
    assert (found.a.episodes_after, found.b.episodes_after) == (0, 1)
    assert found.first_step == 5
    assert [change.name for change in found.changes] == ["observation", "reward"]
    assert found.equal["action"] == 3 and found.equal["reward"] == found.equal["state"] == 1
    json.dumps(found.to_json())


def test_a_run_and_its_own_past_differ_in_length_only(odb: ObjectDatabase) -> None:
    a = record(odb, [step(i) for i in range(5)])
    found = diff_runs(odb, a.place, Location(a.place.line, 2))
    assert (found.a.only, found.b.only, found.aligned, found.first_step) == (2, 0, 0, None)
    same = diff_runs(odb, a.place, a.place)
    assert (same.a.only, same.b.only, same.first_step) == (0, 0, None)


def test_runs_without_a_common_state_are_compared_from_the_root(odb: ObjectDatabase) -> None:
    with odb.write() as txn:
        other = odb.put(txn, Blob(b"stands for a spec"))
    a = record(odb, [step(0), step(1), step(2)])
    b = record(odb, [step(0), step(1), step(9)], origin=other)
    found = diff_runs(odb, a.place, b.place)
    assert found.ancestor is None and found.first_step == 2
    assert found.equal["state"] == 2 and found.a.only == 3


def test_runs_of_other_schemas_are_compared_by_value(odb: ObjectDatabase) -> None:
    root = record(odb, [step(0)])
    a = record(odb, [step(1), step(2, info={"x": 1}), step(3, info={"x": 2, "y": "s"})], root)
    b = record(odb, [step(1, message="m"), step(2), step(3, info={"x": 2, "y": "s"})], root)
    found = diff_runs(odb, a.place, b.place)
    assert found.first_step == 1
    assert found.equal["observation"] == 3
    assert found.equal["info"] == 2 and found.equal["message"] == 2
    assert found.equal["state"] == 1


def test_values_under_other_types_are_equal_if_they_are(odb: ObjectDatabase) -> None:
    root = record(odb, [step(0)])
    big = np.arange(100.0)
    a = record(odb, [{"info": 1, "observation": big}, {"info": {"k": 1}, "observation": 5}], root)
    b = record(odb, [{"info": "s", "observation": 5}, {"info": {"k": 1}, "observation": 5}], root)
    found = diff_runs(odb, a.place, b.place)
    assert found.equal == {
        "action": 2, "info": 1, "observation": 1, "reward": 2, "state": 1,
    }  # fmt: skip


def test_a_diff_without_counts_stops_at_the_first_difference(odb: ObjectDatabase) -> None:
    trunk = record_cartpole(odb, 3000)
    a, b = (record_cartpole(odb, 5000, seed, trunk) for seed in (1, 2))
    full, short = (diff_runs(odb, a.place, b.place, whole=w) for w in (True, False))
    assert full.first_step == short.first_step == 3000
    assert short.equal == {} and full.equal["reset"] == 5000
    left, right = (np.concatenate([rows.fixed for _, _, rows in _rows(odb, tip)]) for tip in (a, b))
    assert full.equal["state"] == int((left == right).all(axis=1).sum())


def _rows(odb: ObjectDatabase, tip: Tip) -> list[Any]:
    from simgit.history.step_range import StepRange

    with odb.read() as txn:
        return list(StepRange(odb, tip.place, 3000, 8000).rows(txn))
