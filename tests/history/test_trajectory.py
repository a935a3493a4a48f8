"""Trajectories: columns over forks and schemas, episodes, windows, transitions, states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simgit.errors import InvalidInput, NotFound
from simgit.history.trajectory import Trajectory
from simgit.maintenance.compaction import consolidate
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.batch import Tip
from simgit.testing.builders import frames, memory_database, record, record_cartpole


def whole(odb: ObjectDatabase, tip: Tip, **more: Any) -> Trajectory:
    return Trajectory(odb, tip.place, 0, tip.place.step + 1, "main", **more)


def step(i: int, **more: Any) -> dict[str, Any]:
    return {
        "observation": np.array([i, -i], np.float32), "action": i % 2, "reward": float(i),
        "terminated": False, "truncated": False, **more,
    }  # fmt: skip


def reset(i: int = 0, mark: Any = True, **more: Any) -> dict[str, Any]:
    return {"observation": np.array([i, -i], np.float32), "reset": mark, **more}


@pytest.fixture
def odb() -> ObjectDatabase:
    return memory_database()


def test_columns_have_one_entry_a_state_and_mask_what_is_absent(
    odb: ObjectDatabase,
) -> None:
    trajectory = whole(odb, record(odb, [reset(), step(1), step(2, terminated=True)]))
    assert trajectory.observations.tolist() == [[0, 0], [1, -1], [2, -2]]
    assert trajectory.observations.dtype == np.float32
    assert trajectory.actions.tolist() == [None, 1, 0]
    assert trajectory.rewards.tolist() == [0.0, 1.0, 2.0]
    assert trajectory.terminations.tolist() == [False, False, True]
    assert trajectory.truncations.tolist() == [False, False, False]
    assert trajectory.present("action").tolist() == [False, True, True]
    assert trajectory.steps.tolist() == [0, 1, 2]
    assert trajectory.infos == {}
    assert trajectory.messages == [None, None, None]


def test_a_column_has_one_dtype_but_tells_those_that_were_given(odb: ObjectDatabase) -> None:
    tip = record(odb, [step(0, action=np.float32(0.5)), step(1, action=np.float32(0.1))])
    tip = record(odb, [step(2, action=0.1)], tip)
    states = whole(odb, tip)
    assert states.column("action").dtype == np.float64
    assert states.dtypes("action") == {np.dtype(np.float32), None}
    assert states[:2].dtypes("action") == {np.dtype(np.float32)}
    assert states.dtypes("gone") == set()


def test_columns_that_are_read_together_equal_those_read_alone(odb: ObjectDatabase) -> None:
    tip = record_cartpole(odb, 5000)
    together = whole(odb, tip).columns("reward", "observation", "action")
    alone = whole(odb, tip)
    for got, name in zip(together, ("reward", "observation", "action"), strict=True):
        np.testing.assert_array_equal(got, alone.column(name))


def test_columns_are_read_only_since_slices_share_them(odb: ObjectDatabase) -> None:
    trajectory = whole(odb, record(odb, [reset(), step(1)]))
    with pytest.raises(ValueError, match="read-only"):
        trajectory.rewards[0] = 5


def test_a_trajectory_crosses_forks(odb: ObjectDatabase) -> None:
    trunk = record(odb, [reset(), *(step(i) for i in range(1, 10))])
    at = odb.states
    with odb.read() as txn:
        fork = at.tip(txn, Location(trunk.place.line, 4))
    branch = record(odb, [step(i) for i in range(50, 55)], fork)
    trajectory = whole(odb, branch)
    assert trajectory.rewards.tolist() == [0, 1, 2, 3, 4, 50, 51, 52, 53, 54]
    assert trajectory[3:7].rewards.tolist() == [3, 4, 50, 51]
    assert Trajectory(odb, branch.place, 3, 7).rewards.tolist() == [3, 4, 50, 51]
    assert trajectory.oids[-1] == branch.oid
    assert trajectory.oids[4] == fork.oid
    assert len(set(trajectory.oids)) == 10


@pytest.mark.slow
def test_thousands_of_forks_need_no_recursion(odb: ObjectDatabase) -> None:
    tip = record(odb, [reset()])
    for i in range(1, 3000):
        record(odb, [step(-i)], tip)
        tip = record(odb, [step(i)], tip)
    assert whole(odb, tip).rewards.tolist() == list(range(3000))


def test_dtypes_are_promoted_where_no_value_is_lost(odb: ObjectDatabase) -> None:
    states = [{"observation": v} for v in (np.int8(3), np.float32(0.5), np.float64(0.1))]
    column = whole(odb, record(odb, states)).observations
    assert column.dtype == np.float64
    assert column.tolist() == [3.0, 0.5, 0.1]


def test_values_that_no_dtype_holds_together_become_a_list(odb: ObjectDatabase) -> None:
    big = (1 << 62) + 1
    column = whole(odb, record(odb, [{"info": {"x": big}}, {"info": {"x": 0.5}}])).column("info.x")
    assert column == [big, 0.5]


def test_values_of_different_types_become_a_list(odb: ObjectDatabase) -> None:
    states = [{"info": {"x": v}} for v in (1, "a", None, [1, 2])] + [{"info": {}}, {}]
    trajectory = whole(odb, record(odb, states))
    assert trajectory.infos == {"x": [1, "a", None, [1, 2], None, None]}
    assert trajectory.present("info.x").tolist() == [True] * 4 + [False] * 2


def test_a_map_that_became_something_else_is_a_list_of_values(odb: ObjectDatabase) -> None:
    states = [{"info": {"a": 1, "b": (1, 2)}}, {"info": [1]}]
    assert whole(odb, record(odb, states)).infos == [{"a": 1, "b": (1, 2)}, [1]]


def test_shapes_that_change_become_a_list(odb: ObjectDatabase) -> None:
    states = [{"observation": np.zeros(n, np.int16)} for n in (2, 3, 200, 2)]
    column = whole(odb, record(odb, states)).observations
    assert [a.shape for a in column] == [(2,), (3,), (200,), (2,)]


def test_dict_and_tuple_observations_are_dicts_and_tuples_of_columns(odb: ObjectDatabase) -> None:
    states = [
        {"observation": {"pos": np.float32([i, i]), "sub": (i, "a" * i), "none": None}}
        for i in range(3)
    ]
    seen = whole(odb, record(odb, states)).observations
    assert list(seen) == ["none", "pos", "sub"]
    assert seen["pos"].shape == (3, 2)
    assert seen["sub"][0].tolist() == [0, 1, 2]
    assert seen["sub"][1] == ["", "a", "aa"]
    assert seen["none"] == [None] * 3
    sliced = whole(odb, record(odb, states))
    assert sliced[1:].observations["pos"].tolist() == [[1, 1], [2, 2]]


def test_a_field_that_no_state_has_is_not_found(odb: ObjectDatabase) -> None:
    trajectory = whole(odb, record(odb, [reset()]))
    assert trajectory.actions == [None]
    assert not trajectory.has("info.lives")
    with pytest.raises(NotFound, match=r"info\.lives"):
        trajectory.column("info.lives")
    assert trajectory.present(("info", "lives")).tolist() == [False]


def test_an_empty_range_has_empty_columns(odb: ObjectDatabase) -> None:
    trajectory = whole(odb, record(odb, [reset(), step(1)]))[1:1]
    assert len(trajectory) == 0
    assert trajectory.observations.shape == (0, 2)
    assert trajectory.rewards.shape == trajectory.returns.shape == (0,)
    assert trajectory.episodes == [] and list(trajectory) == [] and trajectory.oids == []
    assert trajectory.episode_ids.shape == trajectory.lengths.shape == (0,)
    assert len(trajectory.windows(2)) == 0
    assert len(trajectory.transitions()["rewards"]) == 0
    assert "empty" in repr(trajectory)


def test_steps_that_the_chain_does_not_have_are_refused(odb: ObjectDatabase) -> None:
    tip = record(odb, [reset()])
    for start, stop in ((0, 2), (-1, 1), (1, 0)):
        with pytest.raises(InvalidInput, match=r"which has steps 0\.\.0"):
            Trajectory(odb, tip.place, start, stop)


def test_a_trajectory_outlives_the_joining_of_its_segments(odb: ObjectDatabase) -> None:
    tip = record(odb, [{"observation": frame} for frame in frames(3, shape=(20, 20, 3))])
    for i in range(1, 40):
        shown = frames(3, i, shape=(20, 20, 3))
        tip = record(odb, [{"observation": frame, "reward": 1.0 * i} for frame in shown], tip)
    trajectory, other = whole(odb, tip), whole(odb, tip)
    rewards, oids = trajectory.rewards, trajectory.oids
    states = iter(trajectory)
    next(states)
    consolidate(odb)
    np.testing.assert_array_equal(other.rewards, rewards)
    assert other.oids == oids and len(list(states)) == 119
    np.testing.assert_array_equal(other.observations, trajectory.observations)
    np.testing.assert_array_equal(other.observations[-1], shown[-1])


# --- large arrays ---


def test_large_arrays_are_stacked(odb: ObjectDatabase) -> None:
    shown = frames(150, shape=(20, 20, 3))
    trajectory = whole(odb, record(odb, [{"observation": frame} for frame in shown]))
    np.testing.assert_array_equal(trajectory.observations, np.stack(shown))
    np.testing.assert_array_equal(trajectory[70:71].observations, shown[70][None])
    tail = Trajectory(odb, trajectory.place, 100, 140).observations
    np.testing.assert_array_equal(tail, np.stack(shown[100:140]))


def test_large_arrays_that_another_run_brought_along_are_found(odb: ObjectDatabase) -> None:
    shown = frames(150, shape=(20, 20, 3))
    record(odb, [{"observation": frame} for frame in shown])
    states = [{"observation": frame, "reward": 1.0} for frame in (*shown[::-1], shown[3])]
    got = whole(odb, record(odb, states)).observations
    np.testing.assert_array_equal(got, np.stack([*shown[::-1], shown[3]]))


def test_large_arrays_that_are_loose_objects_are_found(odb: ObjectDatabase) -> None:
    array = np.arange(1000.0)
    with odb.write() as txn:
        odb.put_array(txn, array)
    got = whole(odb, record(odb, [{"observation": array}, {"observation": array + 1}]))
    np.testing.assert_array_equal(got.observations, [array, array + 1])


def test_large_arrays_may_be_absent_or_change_their_shape(odb: ObjectDatabase) -> None:
    a, b = np.arange(100.0), np.arange(200.0)
    gap = whole(odb, record(odb, [{"observation": a}, {"reward": 1.0}, {"observation": a}]))
    np.testing.assert_array_equal(gap.observations, [a, a * np.nan, a])
    mixed = whole(odb, record(odb, [{"observation": v} for v in (a, b)] + [{"reward": 2.0}]))
    assert isinstance(mixed.observations, list)
    np.testing.assert_array_equal(mixed.observations[1], b)
    assert mixed.observations[2] is None


def test_large_arrays_inside_a_field_of_several_types_are_read(odb: ObjectDatabase) -> None:
    array = np.arange(100.0)
    column = whole(odb, record(odb, [{"observation": v} for v in (array, "text")])).observations
    np.testing.assert_array_equal(column[0], array)
    assert column[1] == "text"


# --- episodes ---


def test_episodes_begin_at_resets_and_at_the_root(odb: ObjectDatabase) -> None:
    states = [
        reset(mark={"seed": 7}), step(1), step(2, terminated=True),
        reset(), step(3), step(4), step(5, truncated=True), reset(),
    ]  # fmt: skip
    trajectory = whole(odb, record(odb, states))
    assert trajectory.episode_ids.tolist() == [1, 1, 1, 2, 2, 2, 2, 3]
    assert trajectory.returns.tolist() == [3.0, 12.0, 0.0]
    assert trajectory.lengths.tolist() == [2, 3, 0]
    one, two, three = trajectory.episodes
    assert [e.number for e in (one, two, three)] == [1, 2, 3]
    assert (one.return_, one.length, one.seed, one.terminated) == (3.0, 2, 7, True)
    assert (two.return_, two.length, two.seed, two.truncated) == (12.0, 3, None, True)
    assert (three.return_, three.length, three.terminated) == (0.0, 0, False)
    assert two.actions.tolist() == [None, 1, 0, 1]
    assert [e.number for e in two.episodes] == [2]


def test_a_cut_episode_keeps_its_number_and_seed(odb: ObjectDatabase) -> None:
    states = [reset(), step(1), reset(mark={"seed": 3}), step(2), step(3), reset()]
    part = whole(odb, record(odb, states))[4:6]
    assert part.episode_ids.tolist() == [2, 3]
    assert (part.episodes[0].seed, part.episodes[0].first, part.episodes[0].start) == (3, 2, 4)
    assert part.lengths.tolist() == [1, 0]


# --- states ---


def test_states_are_made_by_the_factory(odb: ObjectDatabase) -> None:
    tip = record(odb, [reset(), *(step(i) for i in range(1, 6))])

    def make(place: Location, count: int) -> list[tuple[int, int]]:
        return [(place.step + i, count) for i in range(min(count, 2))]

    trajectory = whole(odb, tip, state_factory=make)
    assert trajectory[1] == (1, 1)
    assert trajectory[-1] == (5, 1)
    assert list(trajectory[1:]) == [(1, 5), (2, 5), (3, 3), (4, 3), (5, 1)]
    with pytest.raises(IndexError):
        trajectory[6]
    with pytest.raises(InvalidInput, match="stride"):
        trajectory[::2]


def test_without_a_factory_states_are_dicts(odb: ObjectDatabase) -> None:
    trajectory = whole(odb, record(odb, [reset(), step(1)]))
    assert trajectory[1]["reward"] == 1.0
    assert [state.get("action") for state in trajectory] == [None, 1]


def test_iteration_crosses_blocks_and_segments(odb: ObjectDatabase) -> None:
    tip = record_cartpole(odb, 5000, flush=1500)
    trajectory = whole(odb, tip)
    seen = [state["observation"] for state in trajectory]
    np.testing.assert_array_equal(np.stack(seen), trajectory.observations)


# --- training ---


def test_windows_do_not_cross_episodes_unless_asked(odb: ObjectDatabase) -> None:
    states = [reset(), step(1), step(2), reset(), step(3), step(4), step(5)]
    trajectory = whole(odb, record(odb, states))
    windows = trajectory.windows(3)
    assert windows.rewards.tolist() == [[0, 1, 2], [0, 3, 4], [3, 4, 5]]
    assert windows.observations.shape == (3, 3, 2)
    assert windows[1:]["rewards"].tolist() == [[0, 3, 4], [3, 4, 5]]
    assert windows[np.array([2, 0])]["rewards"].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert len(trajectory.windows(3, across=True)) == 5
    assert trajectory.windows(2, stride=2).starts.tolist() == [0, 3, 5]
    assert len(trajectory.windows(8)) == 0
    assert trajectory.windows(8).observations.shape == (0, 8, 2)
    with pytest.raises(InvalidInput):
        trajectory.windows(0)


def test_evenly_spaced_windows_are_views(odb: ObjectDatabase) -> None:
    trajectory = whole(odb, record_cartpole(odb, 300, episode=1000))
    assert np.shares_memory(trajectory.windows(10).observations, trajectory.observations)


def test_a_reset_is_no_target_of_a_transition(odb: ObjectDatabase) -> None:
    states = [reset(), step(1), step(2, terminated=True), reset(9), step(3)]
    moves = whole(odb, record(odb, states)).transitions()
    assert moves["observations"][:, 0].tolist() == [0, 1, 9]
    assert moves["next_observations"][:, 0].tolist() == [1, 2, 3]
    assert moves["rewards"].tolist() == [1, 2, 3]
    assert moves["actions"].tolist() == [1, 0, 1]
    assert moves["terminations"].tolist() == [False, True, False]


# --- display ---


def test_the_summary_names_fields_episodes_and_the_return(odb: ObjectDatabase) -> None:
    trajectory = whole(odb, record(odb, [reset(), step(1), step(2), reset()]))
    text = repr(trajectory)
    assert text.splitlines()[0] == ("Trajectory main  steps 0 to 3, 4 states, 2 episodes, return 3")
    assert "observation  float32[2]" in text
    assert "<table>" in trajectory._repr_html_()
    assert repr(trajectory.episodes[0]).startswith("Episode main")


def test_the_summary_of_a_closed_store_does_not_raise(odb: ObjectDatabase) -> None:
    trajectory = whole(odb, record(odb, [reset()]))
    odb.storage.close()
    assert "1 state" in repr(trajectory)
