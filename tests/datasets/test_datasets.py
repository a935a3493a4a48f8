"""Datasets: alignment, conditions, samples, transforms, statistics, names, tables, memory."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simgit
from simgit.datasets.blocks import BlockCache, ColumnBlock
from simgit.datasets.definition import Definition
from simgit.datasets.sampling import Priorities
from simgit.errors import AlreadyExists, IntegrityError, InvalidInput, NotFound, SimgitWarning


def filled(path: str | Path = ":memory:", episodes: int = 4, steps: int = 3) -> simgit.Repository:
    """Return a repository whose observations count up: action a led from observation a to a + 1."""
    repo = simgit.Repository.init(path)
    with repo.recorder("main", config={"agent": {"lr": 0.1}}, seed=1) as recorder:
        for episode in range(episodes):
            base = 10 * episode
            recorder.append(np.float32([base, 1]), reset={"seed": episode})
            for t in range(steps):
                last = t == steps - 1
                recorder.append(
                    np.float32([base + t + 1, 1]), base + t, float(t), last and not episode % 2,
                    last and bool(episode % 2), {"lives": t, "word": "ab"[t % 2]},
                )  # fmt: skip
    return repo


def branched(repo: simgit.Repository, name: str, at: int, values: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SimgitWarning)
        repo.branch(name, f"main@{at}", overrides={"agent.lr": 0.5})
    with repo.recorder(name) as recorder:
        for value in values:
            recorder.append(np.float32([value, 1]), int(value) - 1, 1.0, False, False, {"lives": 0})


def test_an_action_stands_beside_the_observation_that_it_was_chosen_from() -> None:
    moves = filled().dataset("main").transitions()[:]
    assert (moves["observations"][:, 0] == moves["actions"]).all()
    assert (moves["next_observations"][:, 0] == moves["actions"] + 1).all()
    assert moves["terminations"].tolist() == ([False, False, True] + [False] * 3) * 2
    assert moves["discounts"].tolist() == ([1.0, 1.0, 0.0] + [1.0] * 3) * 2  # truncation counts on


def test_the_first_state_of_a_branch_follows_the_one_it_branched_off() -> None:
    repo = filled()
    branched(repo, "b", 5, [12.0, 13.0])
    data = repo.dataset(["main", "b"])
    assert (data.states, data.episodes, data.steps) == (18, 5, 14)
    same = repo.dataset(["b", "main"])
    for each in (data, same):
        moves = each.transitions()[:]
        pairs = sorted(
            zip(
                moves["observations"][:, 0].tolist(),
                moves["next_observations"][:, 0].tolist(),
                strict=True,
            )
        )
        assert len(pairs) == 14 and pairs.count((11.0, 12.0)) == 2
    long = data.transitions(n_step=3)[:]
    ends = sorted(
        zip(
            long["observations"][:, 0].tolist(),
            long["next_observations"][:, 0].tolist(),
            strict=True,
        )
    )
    assert ends.count((10.0, 13.0)) == 2 and len(long["rewards"]) == 15
    assert repo.dataset("b").steps == 3 + 1 + 2


def test_states_after_an_end_without_a_reset_begin_anew() -> None:
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("raw") as recorder:  # as a vector environment that resets itself gives them
        recorder.append(0.0, reset=True)
        for i, end in enumerate([False, True, False, True], 1):
            recorder.append(float(i), i, 1.0, end, False)
    moves = repo.dataset("raw").transitions(n_step=4)[:]
    assert list(
        zip(moves["observations"].tolist(), moves["next_observations"].tolist(), strict=True)
    ) == [(0, 2), (1, 2), (3, 4)]
    assert repo["raw"].transitions()["observations"].tolist() == [0.0, 1.0, 3.0]
    assert len(repo.dataset("raw").sequences(1)) == 3
    # a count of steps is one of states: it is the same with a condition and without one
    for wanted in ({}, {"where": "reward >= -1"}, {"episode_where": "length >= 0"}):
        assert repo.dataset("raw", **wanted).steps == 4
    assert sum(each.steps for each in repo.dataset("raw").split(a=0.5, b=0.5).values()) == 4


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP", "DISABLED"])
def test_the_lanes_of_a_vector_environment_have_the_transitions_that_happened(mode: str) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    import simgit.gym

    class Short(gymnasium.Env):  # type: ignore[misc]
        observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)
        action_space = gymnasium.spaces.Discrete(5)

        def __init__(self, lane: int) -> None:
            self.lane, self.episode = 1000 * lane, 0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.episode, self.t = self.episode + 1, 0
            self.length = int(self.np_random.integers(1, 6))
            return np.float32([self.lane + self.episode, 0]), {}

        def step(self, action: Any) -> Any:
            self.t += 1
            ends = self.t == self.length
            observation = np.float32([self.lane + self.episode, self.t])
            cut = ends and self.episode % 2 == 0
            return observation, float(action), ends and not cut, cut, {}

    modes = getattr(gymnasium.vector, "AutoresetMode", None)
    if modes is None:
        pytest.skip("this version of Gymnasium has one mode")
    repo = simgit.Repository.init(":memory:")
    makes = [lambda lane=lane: Short(lane) for lane in range(3)]
    envs: Any = gymnasium.vector.SyncVectorEnv(makes, autoreset_mode=modes[mode])
    envs = simgit.gym.VectorRecorder(envs, repo, "lanes", provenance=False, self_check=False)
    before, _ = envs.reset(seed=1)
    wanted: list[Any] = []
    ended = np.zeros(3, bool)
    for _ in range(60):
        if mode == "DISABLED" and ended.any():
            before, _ = envs.reset(options={"reset_mask": ended.copy()})
        actions = envs.action_space.sample()
        after, rewards, terminated, truncated, infos = envs.step(actions)
        for lane in range(3):
            if mode == "NEXT_STEP" and ended[lane]:
                continue  # the action was ignored
            final = mode == "SAME_STEP" and (terminated | truncated)[lane]
            last = infos["final_obs"][lane] if final else after[lane]
            wanted.append((before[lane].tolist(), actions[lane], rewards[lane], last.tolist(),
                           terminated[lane], truncated[lane]))  # fmt: skip
        before, ended = after, terminated | truncated
    envs.close()
    moves = repo.dataset("lanes/*").transitions()[:]
    names = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")  # fmt: skip
    assert sorted(zip(*(moves[name].tolist() for name in names), strict=True)) == sorted(wanted)


def test_counts_and_types_are_known_without_decoding_a_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repo = filled(episodes=50)
    monkeypatch.setattr("simgit.history.column_reader.row_column", pytest.fail)
    data = repo.dataset("main")
    assert (data.episodes, data.steps, data.states, len(data)) == (50, 150, 200, 150)
    assert data.columns == ("observation", "action", "reward", "terminated", "truncated")
    assert data.schema["observation"] == "float32[2]" and data.schema["info.word"] == "str"
    assert "50 episodes, 150 steps" in repr(data)


def test_fields_are_those_of_the_state_after_and_a_wrong_one_is_refused() -> None:
    repo = filled()
    batch = repo.dataset("main", fields=["info.lives", "info.word", "observation"]).transitions()[
        :3
    ]
    assert batch["info.lives"].tolist() == [0, 1, 2] and batch["info.word"] == ["a", "b", "a"]
    assert "actions" not in batch and batch["rewards"].tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(NotFound, match="lifes"):
        repo.dataset("main", fields=["info.lifes"]).transitions()


def test_conditions_on_states_and_episodes() -> None:
    repo = filled()
    branched(repo, "b", 5, [12.0])
    data = repo.dataset(
        ["main", "b"],
        where="info.lives < 2 and reward >= 0",
        episode_where="config.agent.lr > 0.3 or start == 0",
    )
    assert data.transitions()[:]["actions"].tolist() == [0, 1, 11]
    assert data.episodes == 2 and data.states == 3
    assert data.to_arrow(oids="none")["step"].to_pylist() == [1, 2, 6]
    assert repo.dataset("main", episode_where="return > 100").episodes == 0
    assert len(repo.dataset("main", episode_where="return > 100").transitions()[:]["rewards"]) == 0
    for wrong in ("reward >", "rewrd > 1"):
        with pytest.raises(InvalidInput):
            repo.dataset("main", where=wrong)
    with pytest.raises(InvalidInput, match="did you mean 'return'"):
        repo.dataset("main", episode_where="retrun > 1")


def test_samples_depend_on_the_seed_alone_and_draw_all() -> None:
    data = filled(episodes=20).dataset("main")
    one, two = data.sample(64, 3), data.sample(64, 3)
    assert (
        one["actions"].tolist() == two["actions"].tolist() != data.sample(64, 4)["actions"].tolist()
    )
    assert set(data.sample(3000, 1)["actions"].tolist()) == set(
        data.transitions()[:]["actions"].tolist()
    )
    with pytest.raises(InvalidInput, match="nothing to draw"):
        filled(episodes=1, steps=0).dataset("main").sample(1)


def test_by_episode_a_short_one_is_drawn_as_often_as_a_long_one() -> None:
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        for length, kind in ((1, 0), (99, 1)):
            recorder.append(0.0, reset=True)
            for _ in range(length):
                recorder.append(0.0, kind, 0.0, False, False)
    data = repo.dataset("main")
    assert 0.4 < data.sample(4000, 1, by="episode")["actions"].mean() < 0.6
    assert data.sample(4000, 1)["actions"].mean() > 0.95


def test_priorities_are_how_often_transitions_are_drawn(seed: int) -> None:
    random = np.random.default_rng(seed)
    tree = Priorities(37, alpha=1.0)
    wanted = random.random(37) * (random.random(37) < 0.7) + (np.arange(37) == 5)
    tree.update(np.arange(37), wanted)
    numbers, weights = tree.draw(40_000, int(seed))
    share = np.bincount(numbers, minlength=37) / 40_000
    np.testing.assert_allclose(share, wanted / wanted.sum(), atol=0.012)
    assert (wanted[numbers] > 0).all()
    np.testing.assert_allclose(weights, wanted[numbers].min() / wanted[numbers])
    tree.update([3, 3], [1.0, 0.0])
    assert tree.values[3] == 0.0 and tree.draw(500, 1)[0].tolist().count(3) == 0
    again = Priorities(37, alpha=1.0)
    again.load(tree.values)
    assert again.draw(50, 9)[0].tolist() == tree.draw(50, 9)[0].tolist()
    for numbers_, values in (
        ([37], [1.0]),
        ([-1], [1.0]),
        ([0], [float("nan")]),
        ([0], [1.0, 2.0]),
    ):
        with pytest.raises(InvalidInput):
            tree.update(numbers_, values)


def test_priorities_can_be_attached_and_given_back() -> None:
    repo = filled()
    moves = repo.dataset("main").transitions()
    batch = moves.sample(8, 1, by="priority")
    moves.priorities.update(batch["numbers"], np.full(8, 9.0))
    repo.attach("main", "priorities", moves.priorities.values)
    other = repo.dataset("main").transitions()
    other.priorities.load(repo.attachment("main", "priorities"))
    assert (
        other.sample(8, 2, by="priority")["numbers"].tolist()
        == moves.sample(8, 2, by="priority")["numbers"].tolist()
    )
    assert batch["weights"].tolist() == [1.0] * 8


def test_statistics_are_those_of_numpy_and_leave_out_what_is_absent(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(1e6, 1, (500, 3)).astype(np.float32)
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        recorder.append({"x": rows[0], "name": "n"}, reset=True)
        for i in range(1, 500):
            recorder.append({"x": rows[i], "name": "n"}, i, float(i), False, False)
    stats = repo.dataset("main", memory=4000).stats()
    assert set(stats) == {"observation.x", "action", "reward", "terminated", "truncated"}
    x = stats["observation.x"]
    np.testing.assert_allclose(x["mean"], rows.astype(float).mean(axis=0))
    np.testing.assert_allclose(x["std"], rows.astype(float).std(axis=0))
    assert (x["min"] == rows.min(axis=0)).all() and (x["max"] == rows.max(axis=0)).all()
    assert stats["action"]["count"] == 499 and stats["reward"]["mean"] == 250


def test_parts_of_a_split_and_transforms_that_are_fitted_to_one() -> None:
    data = filled(episodes=60).dataset("main")
    parts = data.split(train=0.5, val=0.3, test=0.2, seed=7)
    assert sum(part.steps for part in parts.values()) == data.steps and all(
        part.steps for part in parts.values()
    )
    actions = [set(part.transitions()[:]["actions"].tolist()) for part in parts.values()]
    assert not actions[0] & actions[1]
    twice = parts["train"].split(a=0.5, b=0.5, seed=7)
    assert 0 < twice["a"].episodes < parts["train"].episodes
    scaled = parts.map("standardise", fit="train")
    got = scaled["val"].transitions()[:]["observations"]
    stats = parts["train"].stats("observation")["observation"]
    plain = parts["val"].transitions()[:]["observations"]
    np.testing.assert_allclose(
        got[:, 0], (plain[:, 0] - stats["mean"][0]) / stats["std"][0], rtol=1e-5
    )
    assert (got[:, 1] == 0).all() and got.dtype == np.float32  # a constant has no spread
    transform = scaled["val"].definition.transforms[0]
    assert transform.of == (parts["train"].oid, data._origin.sources[0][-1].oid)
    assert parts["val"].map("standardise", fit="train").oid == scaled["val"].oid
    clipped = data.map("scale", "reward", factor=2, offset=1).map("clip", "reward", low=0, high=4)
    assert clipped.transitions()[:3]["rewards"].tolist() == [1.0, 3.0, 4.0]
    for wrong in (lambda: data.map("nothing"), lambda: data.map("clip"), lambda: data.map("standardise", fit="x"),
                  lambda: data.map("standardise", low=1), lambda: parts.map("normalise"), lambda: data.split(a=0.5)):  # fmt: skip
        with pytest.raises(InvalidInput):
            wrong()


def test_numbers_of_another_shape_than_the_field_are_refused() -> None:
    repo = filled()
    data = repo.dataset("main").map("standardise", "observation")
    value = data.definition.value()
    value["transforms"][0]["numbers"][""]["mean"] = np.zeros((7, 2))
    repo.tag("datasets/x", "main")
    repo.attach("main", "dataset.x", value)
    with pytest.raises(InvalidInput, match="shape"):
        repo.load_dataset("x").sample(4, 1)


def test_equal_definitions_have_equal_oids_and_different_ones_others() -> None:
    repo = filled()
    makes: list[Any] = [
        lambda: repo.dataset("main"), lambda: repo.dataset(["main", "main@3"]), lambda: repo.dataset("main", where="reward > 0"),
        lambda: repo.dataset("main", episode_where="length > 1"), lambda: repo.dataset("main", fields=["action"]),
        lambda: repo.dataset("main").split(a=0.5, b=0.5)["a"], lambda: repo.dataset("main").split(a=0.5, b=0.5, seed=1)["a"],
        lambda: repo.dataset("main").split(a=0.5, b=0.5)["b"], lambda: repo.dataset("main").map("normalise"), lambda: repo.dataset("main").freeze(),
    ]  # fmt: skip
    assert [make().oid for make in makes] == [make().oid for make in makes]
    assert len({make().oid for make in makes}) == len(makes)
    for make in makes:
        assert Definition.from_value(make().definition.value()).oid == make().oid


def test_a_frozen_dataset_does_not_grow_and_a_saved_one_comes_back(tmp_path: Path) -> None:
    repo = filled(tmp_path)
    branched(repo, "b", 5, [12.0])
    data = repo.dataset(["main", "b"], where="reward >= 1").map("standardise", "observation")
    oid = repo.save_dataset("good", data)
    pinned = repo.save_dataset("pinned", data.freeze())
    with pytest.raises(AlreadyExists):
        repo.save_dataset("good", data)
    assert repo.datasets() == ["good", "pinned"] and oid == data.oid != pinned
    before = data.transitions()[:]
    with repo.recorder("main") as recorder:
        recorder.append(np.float32([50, 1]), reset=True)
        recorder.append(np.float32([51, 1]), 50, 1.0, False, False)
    assert repo.load_dataset("good").steps == len(before["rewards"]) + 1
    repo.delete_run("b", force=True)
    repo.gc(grace=0, expire=0, clock=lambda: 2**62)
    repo.close()
    with simgit.Repository.open(tmp_path) as repo:
        with pytest.raises(NotFound):
            repo.load_dataset("good")  # one of its runs is gone
        held = repo.load_dataset("pinned")
        assert held.oid == pinned
        after = held.transitions()[:]
        assert all(np.array_equal(after[name], before[name]) for name in before)
        with pytest.raises(NotFound, match="dataset 'bad'"):
            repo.load_dataset("bad")


@pytest.mark.parametrize(
    "change",
    [
        {"sources": []}, {"sources": [5]}, {"sources": [{"tip": b"x", "start": 0, "run": ""}]}, {"where": 5},
        {"splits": [{"parts": [["a", 0.5]], "seed": 0, "part": "a"}]}, {"splits": [{"parts": [["a", 1.0]], "seed": 0, "part": "b"}]},
        {"transforms": [{"kind": "exec", "field": ["a"], "numbers": {}, "of": []}]}, {"fields": "abc", "dataset": 0},
    ],
)  # fmt: skip
def test_a_forged_definition_is_refused(change: dict[str, Any]) -> None:
    repo = filled()
    value = repo.dataset("main").definition.value() | change
    with pytest.raises(IntegrityError):
        Definition.from_value(value)
    repo.tag("datasets/x", "main")
    repo.attach("main", "dataset.x", value)
    with pytest.raises(IntegrityError):
        repo.load_dataset("x")
    with pytest.raises(InvalidInput, match="newer"):
        Definition.from_value(repo.dataset("main").definition.value() | {"dataset": 99})


def test_a_condition_of_a_stored_definition_is_parsed_and_never_executed() -> None:
    repo = filled()
    value = repo.dataset("main").definition.value() | {"where": "__import__('os').getpid() > 0"}
    repo.tag("datasets/x", "main")
    repo.attach("main", "dataset.x", value)
    with pytest.raises(InvalidInput):
        repo.load_dataset("x")


def test_patterns_name_runs_and_what_they_share_is_there_once() -> None:
    repo = filled()
    branched(repo, "exp/b", 5, [12.0])
    branched(repo, "exp/c", 6, [13.0])
    assert repo.dataset(["main", "exp/*"]).states == 18
    assert repo.dataset("exp/*").states == 6 + 1 + 1 + 1


def test_a_copy_in_another_process_reads_the_same_states(tmp_path: Path) -> None:
    repo = filled(tmp_path)
    data = repo.dataset("main", episode_where="config.agent.lr < 1 and length == 3").split(
        a=0.6, b=0.4
    )["a"]
    before = data.sample(20, 1)
    sent = pickle.dumps(data)
    with repo.recorder("main") as recorder:
        recorder.append(np.float32([90, 1]), reset=True)
    again = pickle.loads(sent)
    assert again.steps == data.steps and again.oid == data.oid
    np.testing.assert_array_equal(again.sample(20, 1)["observations"], before["observations"])


def test_blocks_are_kept_within_a_number_of_bytes_and_shared() -> None:
    cache = BlockCache(100)
    for i in range(10):
        cache.put(i, ColumnBlock(np.zeros(4), np.zeros(4, bool), 36))
        cache.get(0)
    assert cache.nbytes <= 100 and cache.get(0) is not None and cache.get(5) is None
    repo = filled()
    one, two = repo.dataset("main"), repo.dataset("main", where="reward > 0")
    one.sample(4, 1)
    kept = len(one._origin.cache._blocks)
    two.sample(4, 1)
    assert two._origin.cache is one._origin.cache and len(two._origin.cache._blocks) == kept


@pytest.mark.slow
def test_a_dataset_larger_than_its_memory_is_read_in_blocks(seed: int) -> None:
    from simgit.testing.builders import cartpole_columns, record_columns

    repo = simgit.Repository.init(":memory:")
    tip = record_columns(repo.odb, cartpole_columns(30_000, seed))
    data, small = repo.dataset(tip.oid), repo.dataset(tip.oid, memory=200_000)
    for by in ("uniform", "episode"):
        one, two = data.sample(64, 5, by=by), small.sample(64, 5, by=by)
        assert all(np.array_equal(one[name], two[name]) for name in one)
    cache = small._origin.cache
    assert cache.nbytes <= 200_000 and len(cache._blocks) > 1
    assert max(len(block.values) for block in cache._blocks.values()) < 30_000


def test_frames_and_arrays_of_several_shapes(seed: int) -> None:
    from simgit.testing.builders import frames

    repo = simgit.Repository.init(":memory:")
    images = frames(120, seed, (30, 20))
    with repo.recorder("main") as recorder:
        for i, image in enumerate(images):
            if i % 40:
                ragged = np.zeros(100 + i, np.int16)
                recorder.append(image, i, 0.0, i % 40 == 39, False, {"ragged": ragged})
            else:
                recorder.append(image, reset=True)
    fields = ["observation", "action", "info.ragged"]
    whole = repo.dataset("main", fields=fields).transitions()
    small = repo.dataset("main", fields=fields, memory=20_000).transitions()
    for moves in (whole, small):
        batch = moves.sample(30, 1)
        at = np.asarray(batch["actions"])
        np.testing.assert_array_equal(batch["observations"], np.stack(images)[at - 1])
        np.testing.assert_array_equal(batch["next_observations"], np.stack(images)[at])
        assert [len(each) for each in batch["info.ragged"]] == (100 + at).tolist()
    batch = repo.dataset("main").sequences(39, pad="drop")[:1]
    assert batch["observations"].shape == (1, 39, 30, 20)


@pytest.mark.slow
def test_an_epoch_shuffled_in_windows_reads_a_block_about_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simgit.datasets import blocks
    from simgit.testing.builders import cartpole_columns, record_columns

    repo = simgit.Repository.init(":memory:")
    tip = record_columns(repo.odb, cartpole_columns(40_000, seed))
    monkeypatch.setattr(blocks, "_MOST_ROWS", 500)
    moves = repo.dataset(tip.oid, memory=900_000).transitions()
    read: list[int] = []
    planned = blocks.planned_columns

    def counted(states: Any, plans: Any) -> Any:
        read.append(len(states))
        return planned(states, plans)

    monkeypatch.setattr(blocks, "planned_columns", counted)
    sampler = moves.sampler(256, seed=seed % 1000, window=8000)
    batches = list(sampler.batches())
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(moves)))
    assert np.abs(np.diff(batches[0])).mean() > 1000  # it is shuffled
    for batch in batches:
        moves.batch(batch)
    in_windows = sum(read)
    read.clear()
    for batch in list(moves.sampler(256, seed=1).batches())[:40]:
        moves.batch(batch)
    assert in_windows < 4 * 40_000 < sum(read), (in_windows, sum(read))


@pytest.mark.parametrize("key", [slice("a"), "x", None, [0.5], [[1]], 99, [99], object(), -99])
def test_a_wrong_index_is_an_error_that_says_so(key: Any) -> None:
    moves = filled().dataset("main").transitions()
    with pytest.raises((InvalidInput, IndexError)):
        moves[key]


def test_items_slices_numbers_and_masks() -> None:
    moves = filled().dataset("main").transitions()
    assert moves[-1]["actions"] == 32 and moves[0]["observations"].tolist() == [0, 1]
    assert moves[2:4]["actions"].tolist() == [2, 10]
    assert moves[[5, -1]]["actions"].tolist() == moves[np.arange(12) % 6 == 5]["actions"].tolist()
    assert len(moves[[]]["rewards"]) == 0


@pytest.mark.slow
def test_data_frames_change_no_value() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    repo = simgit.Repository.init(":memory:")
    big = (1 << 60) + 1
    with repo.recorder("main") as recorder:
        recorder.append(np.zeros((2, 2), np.float32), reset=True)
        recorder.append(
            np.ones((2, 2), np.float32),
            big,
            0.5,
            True,
            False,
            {
                "odd": 1 << 70,
                "when": np.datetime64("2020-01-01T00:00", "us"),
                "z": 1 + 2j,
                "b": b"\xff",
            },
        )
        recorder.append(
            np.ones((2, 2), np.float32), 2, 0.5, True, False, {"odd": [1, "a"], "s": "é"}
        )
    data = repo.dataset(
        "main",
        fields=[
            "observation",
            "action",
            "terminated",
            "info.odd",
            "info.when",
            "info.z",
            "info.b",
            "info.s",
        ],
    )
    frame = data.to_pandas()
    assert (
        isinstance(frame, pandas.DataFrame)
        and frame["action"].dtype == "Int64"
        and frame["action"][1] == big
    )
    assert frame["terminated"].dtype == "boolean" and frame["terminated"].isna().tolist() == [
        True,
        False,
        False,
    ]
    assert frame["observation"][1].shape == (2, 2) and frame["info.odd"].tolist() == [
        None,
        1 << 70,
        [1, "a"],
    ]
    assert frame["info.when"][1] == pandas.Timestamp("2020-01-01") and frame["info.z"][1] == {
        "re": 1.0,
        "im": 2.0,
    }
    frame = data.to_polars()
    assert frame.schema["observation"] == polars.Array(polars.Float32, (2, 2))
    assert frame["observation"].to_list()[1] == [[1, 1], [1, 1]] and frame["action"].to_list() == [
        None,
        big,
        2,
    ]
    assert (
        frame["info.odd"].to_list() == [None, 1 << 70, [1, "a"]]
        and frame["info.b"].to_list()[1] == b"\xff"
    )
    assert frame.height == 3 and frame.columns[:4] == ["run", "step", "episode", "episode_step"]


def test_a_reader_gives_batches_of_what_counts() -> None:
    pytest.importorskip("pyarrow")
    repo = filled(episodes=30)
    reader = repo.dataset("main", where="reward == 2").to_arrow_reader(batch=50, oids="all")
    sizes = [batch.num_rows for batch in reader]
    assert sum(sizes) == 30 and max(sizes) <= 50
    assert b"led to its observation" in reader.schema.metadata[b"simgit.alignment"]


def test_a_part_of_the_observation_is_that_before_the_action_too() -> None:
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        recorder.append({"x": 0, "y": 5}, reset=True)
        for t in range(1, 5):
            recorder.append({"x": t, "y": 5}, {"a": t, "b": 0}, float(t), False, False)
    data = repo.dataset("main", fields=["observation.x", "action.a"])
    batch = data.transitions(2)[:]
    assert batch["observations.x"].tolist() == [0, 1, 2, 3]
    assert batch["next_observations.x"].tolist() == [2, 3, 4, 4]
    assert batch["actions.a"].tolist() == [1, 2, 3, 4]
    rows = data.sequences(2)[:]
    assert rows["observations.x"].tolist() == [[0, 1], [2, 3]]
    assert rows["next_observations.x"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int64, np.uint64, np.float16, np.float64]
)
@pytest.mark.parametrize(
    "bounds", [(-1, 300), (-0.5, 1.5), (2, 2), (-np.inf, np.inf), (1e30, 1e31)]
)
def test_clipping_never_wraps(dtype: Any, bounds: tuple[float, float]) -> None:
    repo = simgit.Repository.init(":memory:")
    kinds = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    values = np.array([kinds.min, 0, 1, 2, kinds.max], dtype)
    with repo.recorder("main") as recorder:
        recorder.append(0, reset=True)
        for value in values:
            recorder.append(0, value, 0.0, False, False)
    clipped = repo.dataset("main").map("clip", "action", low=bounds[0], high=bounds[1])
    got = clipped.transitions()[:]["actions"]
    if max(bounds) < float(kinds.max) or np.isinf(bounds[0]):
        wanted = [min(max(value, bounds[0]), bounds[1]) for value in values.tolist()]
        np.testing.assert_allclose(got.astype(float), np.array(wanted, float), rtol=1e-6)
    assert (got.astype(float) >= min(bounds[0], float(kinds.max))).all()
    assert (got.astype(float) <= bounds[1]).all()


def test_a_transform_is_fitted_to_what_those_before_it_make() -> None:
    data = filled(episodes=20).dataset("main")
    made = data.map("scale", "reward", factor=-3, offset=1).map("clip", "reward", low=-4, high=0)
    parts = made.split(a=0.5, b=0.5).map("normalise", "reward", fit="a")
    rewards = [parts["a"].map("standardise", "reward").transitions()[:]["rewards"],
               parts["a"].transitions()[:]["rewards"]]  # fmt: skip
    assert abs(rewards[0].mean()) < 1e-12 and abs(rewards[0].std() - 1) < 1e-12
    assert (rewards[1].min(), rewards[1].max()) == (0.0, 1.0)


def test_transforms_that_would_do_nothing_are_refused_and_tables_say_what_they_leave_out() -> None:
    data = filled().dataset("main")
    with pytest.raises(NotFound, match="did you mean 'reward'"):
        data.map("scale", "rewrd", factor=2)
    for field in ("info.word", "terminated"):
        with pytest.raises(InvalidInput, match="no numbers"):
            data.map("clip", field, low=0, high=1)
    with pytest.raises(InvalidInput, match="whole field"):
        data.map("scale", "observation.0", factor=2)
    with pytest.raises(InvalidInput, match="not above"):
        data.map("clip", "reward", low=2, high=1)
    with pytest.raises(InvalidInput, match="NaN"):
        data.map("scale", "reward", factor=float("nan"))
    with pytest.warns(SimgitWarning, match="transforms of reward are left out"):
        assert data.map("scale", "reward", factor=2).to_pandas().reward.max() == 2


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_values_of_several_shapes_or_types_are_not_calculated_with(memory: int) -> None:
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        recorder.append({"x": np.zeros(2), "y": 1, "z": 1}, reset=True)
        for t in range(6):
            x = np.zeros(2 if t < 3 else 3)
            recorder.append({"x": x, "y": "a" if t == 5 else t, "z": t}, t, 0.0, False, False)
    data = repo.dataset("main", memory=memory)
    for field in ("observation.x", "observation"):
        with pytest.raises(InvalidInput, match="several shapes"):
            data.map("standardise", field)
    with pytest.raises(InvalidInput, match="several shapes"):
        data.map("scale", "observation.x", factor=2).transitions()[:]
    assert data.map("standardise", "observation.z").transitions()[:]["observations"]["z"].shape == (
        6,
    )


def test_a_shared_history_is_that_of_the_run_that_recorded_it_however_they_are_named() -> None:
    repo = filled()
    branched(repo, "a", 5, [12.0])
    for sources in (["main", "a"], ["a", "main"], "*", ["a@4..6", "main"]):
        data = repo.dataset(sources, episode_where="config.agent.lr > 0.3")
        assert data.transitions()[:]["actions"].tolist() == [11]
        assert data.to_arrow()["run"].to_pylist() == ["a"]


def test_priorities_whose_sum_is_no_number_are_refused() -> None:
    priorities = Priorities(4, alpha=1.0)
    for change in (lambda: priorities.load([1e308] * 4), lambda: priorities.update([1], [1e308])):
        with pytest.raises(InvalidInput, match="scale"):
            change()
    assert priorities.values.tolist() == [1.0] * 4


@pytest.mark.slow
def test_arrays_of_no_elements_in_data_frames() -> None:
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        for t in range(3):
            value = {"a": np.zeros(0, np.float32), "b": np.zeros((2, 0), np.int8)} if t else {}
            recorder.append(
                {"k": 0, **value}, *([t, 0.0, False, False] if t else []), reset=not t or None
            )
    data = repo.dataset("main")
    frame, other = data.to_polars(), data.to_pandas()
    assert isinstance(frame, polars.DataFrame) and isinstance(other, pandas.DataFrame)
    assert [row["a"] for row in frame["observation"]] == [None, [], []]
    assert [row["b"] for row in frame["observation"]] == [None, [[], []], [[], []]]
