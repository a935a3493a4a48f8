"""Repositories and what is read from them, pickled, copied, and sent to other processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics

from simgit import InvalidInput, Repository
from simgit.gym import Recorder, VectorRecorder


def filled(path: Path | str) -> Repository:
    repo = Repository.init(path)
    with repo.recorder("main", config={"a.b": 1}) as recorder:
        for i in range(40):
            frame = np.full(300, i, np.uint8)
            recorder.append(
                {"frame": frame, "x": i}, i, float(i), info={"s": {i}}, reset=i % 10 == 0
            )
    return repo


def things(repo: Repository) -> dict[str, Any]:
    run = repo["main"]
    run.column("reward")
    return {
        "repository": repo, "trajectory": run, "slice": run[3:9], "state": repo.state("main@5"),
        "windows": run.windows(4), "transitions": run.transitions(), "run": repo.runs["main"],
        "runs": repo.runs, "oid": repo.resolve("main"), "episode": next(iter(run.episodes)),
    }  # fmt: skip


def seen(thing: Any) -> Any:
    """Return what another process can tell of a thing."""
    if isinstance(thing, Repository):
        return thing.runs["main"].step, thing.state("main@7").info, thing.read_only
    if hasattr(thing, "overrides"):
        return thing.name, thing.oid, thing.config, thing.return_
    if hasattr(thing, "oid"):
        return thing.oid, thing.observation["frame"].tolist(), thing.info
    if hasattr(thing, "column"):
        found = thing.column("reward")
        return len(thing), found.tolist()
    if hasattr(thing, "rewards"):
        return thing.rewards.tolist()
    return list(thing) if hasattr(thing, "keys") else thing


@pytest.mark.slow
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_pickled_reads_the_same_in_another_process(tmp_path: Path, read_only: bool) -> None:
    filled(tmp_path).close()
    with Repository.open(tmp_path, read_only=read_only) as repo:
        given = things(repo)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert dict(zip(given, pool.map(seen, given.values()), strict=True)) == {
                name: seen(each) for name, each in given.items()
            }
        for name, each in given.items():
            assert seen(pickle.loads(pickle.dumps(each))) == seen(each), name
            assert seen(copy.copy(each)) == seen(copy.deepcopy(each)) == seen(each), name
        assert len(pickle.dumps(given["trajectory"])) < 2000, "columns are read again"


def test_what_is_in_memory_is_copied_and_refuses_to_be_sent() -> None:
    repo = filled(":memory:")
    for name, each in things(repo).items():
        assert seen(copy.copy(each)) == seen(copy.deepcopy(each)) == seen(each), name
        if name in ("run", "oid"):
            assert seen(pickle.loads(pickle.dumps(each))) == seen(each)
        elif name != "transitions":
            with pytest.raises(InvalidInput, match="in memory cannot be sent to another process"):
                pickle.dumps(each)


def test_a_recorder_refuses_to_be_copied_or_sent(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        for recorder in (repo.recorder("a"), repo.recorder(["b", "c"])):
            for make in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(InvalidInput, match="cannot be copied or sent"):
                    make(recorder)
            recorder.close()
        env = Recorder(gymnasium.make("CartPole-v1"), repo, self_check=False)
        with pytest.raises(InvalidInput, match="a Recorder cannot be pickled: make it in the"):
            pickle.dumps(env)
        env.close()


@pytest.mark.parametrize(
    ("above", "make"),
    [(lambda env: env, copy.deepcopy), (RecordEpisodeStatistics, copy.deepcopy),
     (lambda env: env, copy.copy)],
)  # fmt: skip
def test_a_copy_of_a_recorded_environment_is_not_recorded(above: Any, make: Any) -> None:
    repo = Repository.init(":memory:")
    env = above(Recorder(gymnasium.make("CartPole-v1"), repo, self_check=False))
    env.reset(seed=1)
    env.step(1)
    twin = make(env)
    if make is copy.deepcopy:
        expected = gymnasium.make("CartPole-v1")
        expected.reset(seed=1)
        expected.step(1)
        for action in (0, 1, 1):
            assert np.array_equal(twin.step(action)[0], expected.step(action)[0])
        assert np.array_equal(twin.reset()[0], expected.reset()[0])
    env.step(0)
    env.close()
    assert len(repo["main"]) == 3 and repo.state().action == 0
    assert repo.runs["main"].status == "active"
    layers = []
    while hasattr(twin, "env"):
        layers.append(type(twin).__name__)
        twin = twin.env
    assert "Recorder" not in layers


def test_a_copy_of_a_recorded_vector_is_not_recorded() -> None:
    repo = Repository.init(":memory:")
    vector = SyncVectorEnv([partial(gymnasium.make, "CartPole-v1")] * 2)
    env = VectorRecorder(vector, repo, self_check=False)
    env.reset(seed=1)
    twin = copy.deepcopy(env)
    one, two = twin.step(np.array([1, 0])), env.step(np.array([1, 0]))
    assert np.array_equal(one[0], two[0]) and not isinstance(twin, VectorRecorder)
    env.close()
    assert len(repo["main/0"]) == 2


def lane(repo: Repository, number: int) -> gymnasium.Env[Any, Any]:
    return Recorder(gymnasium.make("CartPole-v1"), repo, f"lane/{number}", self_check=False)


@pytest.mark.slow
def test_a_repository_in_a_spawned_vector_worker_works_as_a_path_does(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        env = AsyncVectorEnv([partial(lane, repo, i) for i in range(2)], context="spawn")
        env.reset(seed=1)
        for _ in range(5):
            env.step(np.array([0, 1]))
        env.close()
        assert [repo.runs[f"lane/{i}"].step for i in range(2)] == [5, 5]


class Rewards:
    """A data set of torch over a trajectory."""

    def __init__(self, trajectory: Any) -> None:
        self.trajectory = trajectory

    def __len__(self) -> int:
        return len(self.trajectory)

    def __getitem__(self, i: int) -> float:
        return float(self.trajectory.rewards[i])


@pytest.mark.slow
def test_workers_of_a_data_loader_read_a_trajectory(tmp_path: Path) -> None:
    from torch.utils.data import DataLoader

    with filled(tmp_path) as repo:
        loader: Any = DataLoader(
            Rewards(repo["main"]), batch_size=8, num_workers=2, multiprocessing_context="spawn"
        )
        assert [x for batch in loader for x in batch.tolist()] == [float(i) for i in range(40)]
