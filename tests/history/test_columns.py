"""Columns agree with a plain loop over the states, whatever the values were, and say what is absent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit import Repository
from simgit.errors import InvalidInput, NotFound
from simgit.history.trajectory import Trajectory
from simgit.history.where import where
from simgit.maintenance.compaction import consolidate
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.batch import Tip
from simgit.testing.builders import memory_database, record
from tests.support.examples import share

ABSENT = object()

arrays = st.builds(
    lambda shape, dtype, seed: (np.arange(int(np.prod(shape))) + seed).astype(dtype).reshape(shape),
    st.sampled_from([(), (2,), (3,), (2, 2), (40,), (50,), (0,)]),
    st.sampled_from(["<f4", "<f8", "<i8", "|u1", "|b1", "<U3"]),
    st.integers(0, 2),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([1 << 53, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, -(1 << 63), 1 << 70]),
    st.sampled_from([0.0, 0.5, -1.5, float("nan"), float("inf")]),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from([np.float32(0.5), np.int8(1), np.uint64((1 << 64) - 1), np.bool_(True)]),
    arrays,
)
keys = st.one_of(st.sampled_from(["a", "b", "0", "1"]), st.sampled_from([0, 1, -1, np.int64(7)]))
text_keys = st.sampled_from(["a", "b", "0"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.dictionaries(text_keys, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.lists(inner, max_size=2),
        st.tuples(inner, inner),
    ),
    max_leaves=5,
)
states = st.fixed_dictionaries(
    {"reward": st.just(1.0)},
    optional={
        "info": st.one_of(st.dictionaries(text_keys, values, max_size=3), values),
        "observation": values,
    },
)
segments = st.lists(st.lists(states, min_size=1, max_size=4), min_size=1, max_size=5)


def element(value: Any, part: Any) -> Any:
    """Return what ``value[part]`` is, a decimal text standing for an integer too."""
    number = int(part) if isinstance(part, str) and part.lstrip("-").isdecimal() else part
    number = int(number) if isinstance(number, np.integer) else number
    for each in (part, number):
        if isinstance(value, dict):
            if each in value:
                return value[each]
        elif isinstance(value, (list, tuple, np.ndarray)) and isinstance(each, int):
            try:
                return value[each]
            except IndexError:
                return ABSENT
    return ABSENT


def plain(states: list[dict[str, Any]], path: tuple[Any, ...]) -> list[Any]:
    """Return a field of states by a loop over them; a top-level None is an absent field."""
    found = []
    for state in states:
        value: Any = state
        for depth, part in enumerate(path):
            value = element(value, part)
            if value is ABSENT or (depth == 0 and value is None):
                value = ABSENT
                break
        found.append(value)
    return found


def paths_of(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all parts of a state; a top-level None is no part."""
    if above and (value is not None or len(above) > 1):
        yield above
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_of(item, (*above, key))
    elif isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
        for i, item in list(enumerate(value))[:2]:
            yield from paths_of(item, (*above, i))


def same(got: Any, wanted: Any) -> bool:
    """Return True if an entry of a column is a value, be it in a wider dtype."""
    if isinstance(wanted, dict):
        return isinstance(got, dict) and got.keys() == wanted.keys() and all(
            same(got[key], wanted[key]) for key in wanted
        )  # fmt: skip
    if isinstance(wanted, (list, tuple)):
        return type(got) is type(wanted) and len(got) == len(wanted) and all(
            map(same, got, wanted)
        )  # fmt: skip
    if wanted is None or isinstance(wanted, (str, bytes)):
        return bool(type(got) is type(wanted) and got == wanted)
    one, two = np.asarray(got), np.asarray(wanted)
    if one.shape != two.shape or isinstance(got, (dict, list, tuple)):
        return False
    nans = (one != one) & (two != two)
    return bool((nans | (one == two)).all()) and all(
        int(a) == int(b) for a, b in zip(one.flat, two.flat, strict=True)
        if isinstance(b, (int, np.integer)) and isinstance(a, (float, np.floating))
    )  # fmt: skip


def is_nothing(got: Any) -> bool:
    if got is None or got is np.ma.masked:
        return True
    if isinstance(got, np.ma.MaskedArray):
        return bool(np.ma.getmaskarray(got).all())
    array = np.asarray(got)
    return array.dtype.kind in "fc" and bool((array != array).all())


def entries(column: Any, count: int) -> list[Any]:
    """Return a column's values, one a state: of nested columns the dicts and tuples."""
    if isinstance(column, dict):
        inner = {name: entries(below, count) for name, below in column.items()}
        return [{name: below[i] for name, below in inner.items()} for i in range(count)]
    if isinstance(column, tuple):
        return list(zip(*(entries(below, count) for below in column), strict=True)) or [()] * count
    assert len(column) == count
    return list(column)


def agrees(trajectory: Trajectory, states: list[dict[str, Any]], path: tuple[Any, ...]) -> None:
    """Check one field of a trajectory in every way against the plain loop."""
    wanted = plain(states, path)
    there = [value is not ABSENT for value in wanted]
    assert trajectory.present(path).tolist() == there
    assert trajectory.has(path) or not any(there)
    assert (path in trajectory) == trajectory.has(path)
    if not any(there):
        try:
            column = trajectory.column(path)
        except NotFound:
            assert not trajectory.has(path)
            return
        if not isinstance(column, (dict, tuple)):
            assert all(map(is_nothing, column))
        return
    column = trajectory.columns(path)[0]
    if isinstance(column, (dict, tuple)):
        return  # its parts are checked by their own paths
    marked = entries(trajectory.column(path, fill=None), len(states)) if isinstance(
        column, list) else list(column)  # fmt: skip
    for got, value in zip(marked, wanted, strict=True):
        assert is_nothing(got) if value is ABSENT or value is None else same(got, value)
    if isinstance(column, np.ndarray) and column.dtype.kind in "biuf" and column.ndim == 1:
        numbers = [v for v in wanted if v is not ABSENT and v is not None]
        zeros = np.asarray(trajectory.column(path, fill=0))
        assert all(same(z, 0 if v is ABSENT or v is None else v)
                   for z, v in zip(zeros, wanted, strict=True))  # fmt: skip
        assert np.ma.count(column) >= len(numbers)
    windows = trajectory.windows(1, across=True)
    assert windows.present(path)[:, 0].tolist() == there


def conditions_agree(trajectory: Trajectory, states: list[dict[str, Any]]) -> None:
    """Check conditions on the first text path against the plain loop."""
    for path in {p for s in states for p in paths_of(s) if len(p) > 1 and all(
        isinstance(part, str) and part.isalpha() for part in p)}:  # fmt: skip
        wanted = plain(states, path)
        text = ".".join(path)
        none = [value is ABSENT or value is None for value in wanted]
        nested = [isinstance(value, (dict, tuple)) for value in wanted]
        if not any(nested):
            assert where(f"{text} == None", trajectory).tolist() == none
        if not any(isinstance(value, np.ndarray) and value.ndim for value in wanted):
            ones = [
                not gone and not isinstance(value, (str, dict, list, tuple)) and bool(value == 1)
                for value, gone in zip(wanted, none, strict=True)
            ]
            assert where(f"{text} == 1", trajectory).tolist() == ones


def read(odb: ObjectDatabase, tip: Tip, start: int, stop: int) -> Trajectory:
    return Trajectory(odb, tip.place, start, stop)


@settings(max_examples=share(60))
@given(parts=segments, branch=st.lists(states, max_size=4), data=st.data())
def test_columns_agree_with_a_loop_over_the_states(
    parts: list[list[dict[str, Any]]], branch: list[dict[str, Any]], data: st.DataObject
) -> None:
    odb = memory_database()
    tip: Tip | None = None
    for part in parts:
        tip = record(odb, part, tip)
    assert tip is not None
    recorded = [state for part in parts for state in part]
    count = len(recorded)
    histories = [(tip, recorded)]
    if branch:
        at = data.draw(st.integers(0, count - 1))
        with odb.read() as txn:
            place = odb.states.ancestor(txn, tip.place, at)
            fork = odb.states.tip(txn, Location(place.line, at))
        histories.append((record(odb, branch, fork), recorded[: at + 1] + branch))
    for compacted in (False, True):
        if compacted:
            consolidate(odb)
        for end, history in histories:
            start = data.draw(st.integers(0, len(history) - 1))
            stop = data.draw(st.integers(start + 1, len(history)))
            whole = read(odb, end, 0, len(history))
            known = {p for state in history for p in paths_of(state)}
            listed = {p for p in whole.paths() if all(isinstance(q, str) for q in p)}
            assert {p for p in known if len(p) <= 2 and all(
                isinstance(q, str) for q in p)} <= {p[:2] for p in listed} | listed  # fmt: skip
            for path in [*known, ("info", "gone"), ("info", "a", "gone"), ("observation", 9)]:
                agrees(whole, history, path)
                agrees(whole[start:stop], history[start:stop], path)
                agrees(read(odb, end, start, stop), history[start:stop], path)
            conditions_agree(whole, history)
            conditions_agree(read(odb, end, start, stop), history[start:stop])


# --- the cases that were wrong ------------------------------------------------------------------


def recorded(*parts: list[Any]) -> Trajectory:
    """Return the trajectory of infos recorded in one flush a part."""
    repo = Repository.init(":memory:")
    for infos in parts:
        with repo.recorder("r") as recorder:
            for info in infos:
                recorder.append(np.zeros(1), 0, 0.0, False, False, info)
    return repo["r"]


@pytest.mark.parametrize("odd", [None, 7, "text", [1], (), {3: 4}, np.zeros(2), np.zeros(99)])
def test_a_nested_info_that_is_once_something_else_keeps_its_later_values(odd: Any) -> None:
    found = recorded([{"a": {"x": 1.0}}, {"a": odd}], [{"a": {"x": float(i)}} for i in range(2, 6)])
    np.testing.assert_array_equal(found.column("info.a.x"), [1, np.nan, 2, 3, 4, 5])
    assert found.present("info.a.x").tolist() == [True, False, True, True, True, True]
    assert found[2:].has("info.a.x") and "info.a.x" in found[2:]
    assert np.nanmean(found["info.a.x"]) == 3.0
    assert where("info.a.x == 5", found).tolist() == [False] * 5 + [True]
    assert found.columns("info.a.x", "reward")[0].shape == (6,)
    assert found.windows(2).column("info.a.x")[2].tolist() == [2.0, 3.0]


def test_an_info_with_an_integer_key_keeps_its_columns() -> None:
    found = recorded([{"x": 1}, {"x": 2, np.int64(0): {"y": 5}}], [{"x": 3}, {"x": 4}])
    assert found.column("info.x").tolist() == [1, 2, 3, 4]
    assert found.column(("info", 0, "y")).tolist() == [None, 5, None, None]
    assert found.column("info.0.y").tolist() == [None, 5, None, None]
    assert ("info", 0, "y") in found.paths() and found.present("info.0").tolist()[1]
    assert [state.info for state in found][1] == {"x": 2, 0: {"y": 5}}


def test_columns_are_the_same_after_gc_and_in_a_branch(tmp_path: Path) -> None:
    infos: list[Any] = [{"a": {"x": 1}}, {"a": 5}, {"a": {"x": 2}, 1: [7]}, {"loss": 0.5}]
    with Repository.init(tmp_path) as repo:
        for name in ("main", "other"):
            for info in infos * 3:  # each is a segment of its own
                repo.commit(np.full(99, len(name)), info=info, run=name)
        repo.branch("try", "main@6")
        repo.commit(np.ones(3), info={"a": {"x": 9}}, run="try")
        wanted = {"main": infos * 3, "try": [*(infos * 3)[:7], {"a": {"x": 9}}]}
        repo.delete_run("other")
        removed = 0
        for _ in range(2):
            for run, told in wanted.items():
                states = [{"info": info} for info in told]
                for path in (("info", "a", "x"), ("info", 1, 0), ("info", "loss"), ("info", "a")):
                    agrees(repo[run], states, path)
                    agrees(repo.trajectory(f"{run}@2..5"), states[3:6], path)
            removed += repo.gc(grace=0, expire=0).removed.states
        assert removed == 12


# --- what is absent -----------------------------------------------------------------------------


def test_absent_values_are_nan_in_floats_masked_in_other_arrays_and_none_in_lists() -> None:
    found = recorded([{"f": 1.0, "i": 1, "b": True, "s": "a", "z": 1j, "u": np.uint8(3)}, {}])
    assert found["info.f"].tolist()[0] == 1.0 and np.isnan(found["info.f"][1])
    assert np.isnan(found["info.z"][1])
    assert found["info.s"] == ["a", None]
    for name in ("i", "b", "u"):
        column = found[f"info.{name}"]
        assert isinstance(column, np.ma.MaskedArray) and column.mask.tolist() == [False, True]
        assert column.mean() == column[0]
        assert type(found[:1][f"info.{name}"]) is np.ndarray  # nothing is absent there
    assert np.asarray(found["info.i"])[1] == np.iinfo(np.int64).min  # no 0 where a mask is dropped
    with pytest.raises(ValueError, match="read-only"):
        found["info.i"][0] = 5


def test_dates_are_not_a_time_where_absent() -> None:
    found = recorded([{"t": np.datetime64("2026-01-01")}, {}])
    assert np.isnat(found["info.t"]).tolist() == [False, True]


def test_none_among_numbers_reads_as_absent_but_is_present() -> None:
    found = recorded([{"loss": None}, {}, {"loss": 0.5}], [{"loss": 1.5}])
    assert np.nanmean(found["info.loss"]) == 1.0
    assert found.present("info.loss").tolist() == [True, False, True, True]
    assert where("info.loss == None", found).tolist() == [True, True, False, False]


def test_fill_is_put_where_a_value_is_absent() -> None:
    found = recorded([{"f": 1.0, "i": 1, "s": "a", "v": np.int8([1, 2])}, {}])
    assert found.column("info.f", fill=-1).tolist() == [1.0, -1.0]
    assert found.column("info.i", fill=0).dtype == np.int64
    assert found.column("info.i", fill=np.nan).dtype == np.float64
    assert found.column("info.v", fill=[0, 9]).tolist() == [[1, 2], [0, 9]]
    assert found.column("info.s", fill="") == ["a", ""]
    assert found.column("info", fill=0)["i"].tolist() == [1, 0]
    for wrong in ("text", None, [1, 2], [[1], [2, 3]], 1 << 80):
        with pytest.raises(InvalidInput, match="fill"):
            found.column("info.i", fill=wrong)


def test_rewards_and_flags_are_0_and_false_at_resets_in_windows_and_transitions_too() -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("r") as recorder:
        for _ in range(2):
            recorder.append(np.zeros(1), reset={})
            for i in (1, 2):
                recorder.append(np.ones(1), i, 1.0, i == 2, False)
    found = repo["r"]
    assert found.rewards.tolist() == [0, 1, 1] * 2
    assert found.terminations.tolist() == [False, False, True] * 2
    assert np.isnan(found["reward"][0]) and found["terminated"][0] is np.ma.masked
    assert found.actions.tolist() == [None, 1, 2] * 2
    windows = found.windows(3)
    assert windows.actions.tolist() == [[None, 1, 2]] * 2
    assert windows.rewards.tolist() == [[0, 1, 1]] * 2
    assert found.windows(3, fill=-1).actions.tolist() == [[-1, 1, 2]] * 2
    assert found.windows(3, fill=-1)[:1]["actions"].tolist() == [[-1, 1, 2]]
    assert windows.present("action").tolist() == [[False, True, True]] * 2
    actions = found.transitions()["actions"]
    assert type(actions) is np.ndarray and actions.tolist() == [1, 2, 1, 2]


def test_a_plot_has_gaps_where_a_value_is_absent() -> None:
    pytest.importorskip("matplotlib")
    found = recorded([{"i": 1}, {}, {"i": 3}, {"a": {"x": 1}}], [{"a": None}, {"a": {"x": 2}}])
    for name, wanted in (("info.i", [1, None, 3, None, None, None]),
                         ("info.a.x", [None, None, None, 1, None, 2])):  # fmt: skip
        (axis,) = found.plot(name).figure.axes
        drawn = axis.lines[0].get_ydata()
        assert [None if np.isnan(y) else y for y in drawn] == wanted


# --- the trajectory as a container --------------------------------------------------------------


def test_a_trajectory_is_indexed_by_fields_and_asked_for_fields_and_states() -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("r") as recorder:
        for i in range(3):
            recorder.append(np.zeros(1), 0, 0.0, False, False, {"loss": float(i), "a": {1: i}})
    other = repo.commit(np.ones(1), run="other")
    found = repo["r"]
    assert found["info.loss"].tolist() == [0, 1, 2]
    assert found["info", "a", 1].tolist() == [0, 1, 2]
    assert "info.loss" in found and ("info", "a", 1) in found and "info.gone" not in found
    assert found[1] in found and found.oids[2] in found and found.oids[2] not in found[:2]
    assert other not in found and 5 not in found and None not in found
    assert found[1] in repo and other in repo and "r@2" in repo and found.oids[0] in repo
    assert 5 not in repo and None not in repo and b"r" not in repo and ["r"] not in repo
    assert found[np.int64(1)] == found[1] == found[-2]
    with pytest.raises(NotFound, match=r"info\.lost'; did you mean 'info\.loss'"):
        found["info.lost"]
    for wrong in (1.5, None, True, [0, 1], np.zeros(3, bool), {}, b"info"):
        with pytest.raises(InvalidInput):
            found[wrong]
    for path in (5, None, (), ("info", 1.5), ("info", True), b"info", {"a": 1}):
        for ask in (found.column, found.present, found.has, found.dtypes):
            with pytest.raises(InvalidInput):
                ask(path)
    with pytest.raises(InvalidInput):
        found["a":"b"]
