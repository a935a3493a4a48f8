"""Rollouts by any executor are the rollouts of one process, oid for oid."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from simgit import InvalidInput, NotFound, Repository, SimgitError
from simgit.errors import StorageError
from simgit.gym import Arm, Recorder, fan_out, step_batch, verify, what_if
from simgit.gym.tools.executors import MOST, StateSource, _size, new_processes
from tests.gym.tools.test_whatif import record


class Leaning:
    """A policy that remembers: it goes where the pole leans to, and now and then elsewhere."""

    def __init__(self) -> None:
        self.seen = 0
        self.seed: int | None = None

    def reset(self, seed: int | None) -> None:
        self.seed = seed

    def __call__(self, observation: Any, every: int = 5) -> int:
        assert self.seed is not None and observation.dtype == np.float32
        self.seen += 1
        leans = int(observation[2] > 0)
        return 1 - leans if self.seen % every == 0 else leans


class Chance:
    """A policy that draws from the global random generators."""

    def __call__(self, observation: Any) -> int:
        return int(random.random() + np.random.random() > 1)


class Raising:
    """A policy with an error that cannot be sent to another process."""

    class Odd(Exception):
        def __init__(self, what: str, why: str) -> None:
            super().__init__(f"{what}: {why}")

    def __call__(self, observation: Any) -> int:
        raise self.Odd("broken", "on purpose")


class Dicing(gym.Env):  # type: ignore[type-arg]
    """An environment that draws from the global random generators."""

    observation_space = gym.spaces.Box(0, 2, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.drawn(), {}

    def drawn(self) -> Any:
        return np.array([random.random() + np.random.random()])

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.drawn(), 1.0, False, False, {}


gym.register("Dicing-v0", Dicing)


class Lethal:
    """A policy that kills its process."""

    def __call__(self, observation: Any) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path) as made:
        record(made)
        yield made


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with new_processes(2) as pool:
        yield pool


def facts(repo: Repository, run: str) -> tuple[Any, ...]:
    info = repo.runs[run]
    return (
        info.oid,
        info.step,
        info.return_,
        info.status,
        info.branch_point,
        info.metadata,
        info.overrides,
    )


@pytest.mark.slow
def test_what_if_in_processes_is_that_in_one(repo: Repository, processes: Executor) -> None:
    here = what_if(repo, "main@5", [0, 1], horizon=20, rollouts=20, workers=1, prefix="here")
    there = what_if(
        repo, "main@5", [0, 1], horizon=20, rollouts=20, executor=processes, prefix="there"
    )
    for some, others in zip(here, there, strict=True):
        for one, other in zip(some, others, strict=True):
            assert other.run == one.run.replace("here", "there")
            assert facts(repo, other.run) == facts(repo, one.run)
            assert {**vars(other), "run": one.run} == vars(one)
    assert verify(repo, f"{there[0][7].run}@6..{there[0][7].run}").divergence is None
    assert repo.fsck().is_clean


@pytest.mark.slow
def test_batches_of_several_states_come_in_order(repo: Repository, processes: Executor) -> None:
    states = [f"main@{2 + i % 5}" for i in range(40)]
    actions = [[i % 2, 1] for i in range(40)]
    here = step_batch(repo, states, actions, workers=1, prefix="here")
    there = step_batch(repo, states, actions, executor=processes, prefix="there")
    assert [each.tip for each in there] == [each.tip for each in here]
    assert [each.run.partition("/")[2] for each in there] == [
        each.run.partition("/")[2] for each in here
    ]


@pytest.mark.slow
def test_rollouts_of_rollouts_in_processes(tmp_path: Path, processes: Executor) -> None:
    """Random numbers that were reseeded on the way count, and those that were not."""
    with Repository.init(tmp_path) as repo:
        record(repo, "FrozenLake-v1")
        start = next(
            s
            for s in range(12, 60)
            if not repo.state(f"main@{s}").terminated and repo.state(f"main@{s}").reset is None
        )
        found = what_if(repo, f"main@{start}", [0, 2], horizon=9, rollouts=4, workers=1)
        longest = max((each for some in found for each in some), key=lambda each: each.length)
        states = [
            f"{longest.run}@{start + 2}",
            repo.resolve(f"{longest.run}@{start + 2}"),
            f"main@{start}",
        ]
        here = step_batch(repo, states, [[1, 2]] * 3, workers=1, prefix="here")
        there = step_batch(repo, states, [[1, 2]] * 3, executor=processes, prefix="there")
        for one, other in zip(here, there, strict=True):
            assert facts(repo, other.run) == facts(repo, one.run)


@pytest.mark.slow
def test_fan_out_of_all_kinds_of_arms(repo: Repository, processes: Executor) -> None:
    arms = [0, [1, 1], Arm((1,), seed=9), Arm(overrides={"every": 3}), Arm((0,), 4, {"every": 2})]
    here = fan_out(repo, "main@4", arms, 25, policy=Leaning(), repeat=8, workers=1)
    there = fan_out(repo, "main@4", arms, 25, policy=Leaning(), repeat=8, executor=processes)
    short = repo.resolve("main@4").short()
    assert here[0].run == f"what-if/{short}/0-1" and there[-1].run == f"what-if/{short}-2/4-8"
    assert [each.arm for each in there] == [i // 8 for i in range(40)]
    for one, other in zip(here, there, strict=True):
        assert other._replace(run="") == one._replace(run="")
        assert facts(repo, other.run) == facts(repo, one.run)
    assert repo.config(there[-1].run) == {"every": 2}
    actions = [int(each) for each in repo.trajectory(f"{there[24].run}@5..{there[24].run}").actions]
    assert actions[0] == int(repo.state("main@4").observation[2] > 0), "it begins with the policy"
    assert repo.runs[there[16].run].metadata["what-if"]["seed"] == 9
    assert repo.runs[there[17].run].metadata["what-if"]["seed"] == 10


@pytest.mark.slow
def test_a_remote_is_named_instead_of_the_directory(
    repo: Repository, processes: Executor, tmp_path: Path
) -> None:
    repo.add_remote("origin", str(tmp_path / "remote"))
    with repo.remote("origin") as remote:
        remote.push(["main"])
    source = StateSource(str(tmp_path / "remote"), ("main",))
    here = fan_out(repo, "main@5", [0, 1], 10, repeat=20, workers=1)
    there = fan_out(repo, "main@5", [0, 1], 10, repeat=20, executor=processes, source=source)
    assert [each.oid for each in here] == [each.oid for each in there]
    with pytest.raises(NotFound, match="lost"):
        fan_out(
            repo,
            "main@5",
            [0],
            2,
            executor=processes,
            source=StateSource(str(tmp_path / "remote"), ("lost",)),
        )
    with pytest.raises(NotFound, match=r"on '.*', where a process of the executor runs"):
        fan_out(
            repo,
            "main@5",
            [0],
            2,
            executor=processes,
            source=StateSource(str(tmp_path / "nothing")),
        )
    runs = len(repo.runs)
    assert runs == 1 + 80, "nothing is left of what failed"


@pytest.mark.slow
def test_states_recorded_since_are_found(repo: Repository, processes: Executor) -> None:
    """A process keeps its repository open."""
    fan_out(repo, "main@5", [0], 2, executor=processes)
    env = Recorder.resume(repo, "main")
    env.reset(seed=99)
    env.step(1)
    env.close()
    here = fan_out(repo, "main", [0, 1], 5, workers=1)
    there = fan_out(repo, "main", [0, 1], 5, executor=processes)
    assert [each.oid for each in here] == [each.oid for each in there]


@pytest.mark.slow
def test_a_lost_process_is_said_in_a_line(repo: Repository) -> None:
    with (
        new_processes(1) as pool,
        pytest.raises(StorageError, match="a process of the executor was lost"),
    ):
        fan_out(repo, "main@5", [0] * 3, 5, policy=Lethal(), executor=pool)
    assert list(repo.runs) == ["main"]


@pytest.mark.slow
def test_a_policy_at_random_has_other_numbers_in_each_repetition(
    repo: Repository, processes: Executor
) -> None:
    """And its numbers do not move those of an environment with the same generators."""
    record(repo, "tests.gym.tools.test_executors:Dicing-v0", run="dicing")
    for state in ("main@4", "dicing@4"):
        here = fan_out(repo, state, [Arm(), Arm()], 12, policy=Chance(), repeat=12, workers=1)
        there = fan_out(repo, state, [Arm()], 12, policy=Chance(), repeat=12, executor=processes)
        taken = [
            tuple(int(a) for a in repo.trajectory(f"{state}..{each.run}").actions) for each in here
        ]
        assert taken[:12] == taken[12:], "the arms have the same luck"
        assert len(set(taken[:12])) > 8
        assert [each.oid for each in there] == [each.oid for each in here[:12]]
        for each in here[:2]:
            assert verify(repo, f"{state}..{each.run}").divergence is None


@pytest.mark.slow
def test_an_error_that_cannot_be_sent_is_told_and_no_process_is_lost(
    repo: Repository, processes: Executor
) -> None:
    for options in ({"executor": processes}, {"workers": 2}):
        with pytest.raises(RuntimeError, match="Odd: 'broken: on purpose'"):
            fan_out(repo, "main@5", [0, 1], 5, policy=Raising(), **options)
    assert fan_out(repo, "main@5", [0], 2, executor=processes)[0].length == 2


@pytest.mark.slow
def test_an_executor_that_was_shut_down(repo: Repository) -> None:
    pool = new_processes(1)

    def tell(done: int, total: int) -> None:
        if done:
            pool.shutdown(wait=False, cancel_futures=True)

    with pytest.raises(StorageError, match="the executor was shut down; the rollouts so far"):
        fan_out(repo, "main@5", [0], 2, repeat=500, executor=pool, progress=tell)
    assert 1 < len(repo.runs) < 500
    with pytest.raises(StorageError, match="the executor was shut down"):
        fan_out(repo, "main@5", [0], 2, executor=pool)


def test_numbers_below_one_and_read_only_repositories_are_refused(repo: Repository) -> None:
    for wrong in (0, -3):
        with pytest.raises(InvalidInput, match=f"workers must be at least 1, got {wrong}"):
            fan_out(repo, "main@5", [0, 1], 2, workers=wrong)
        with pytest.raises(InvalidInput, match=r"rollouts must be (at least 1|0 or more), got"):
            what_if(repo, "main@5", [0, 1], horizon=2, rollouts=wrong)
    with (
        Repository.open(str(repo.directory), read_only=True) as other,
        pytest.raises(StorageError, match="the repository is open read-only"),
    ):
        fan_out(other, "main@5", [0, 1], 2, workers=2)
    assert list(repo.runs) == ["main"]


class Here(Executor):
    """An executor that has no processes."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        made: Future[Any] = Future()
        try:
            made.set_result(fn(*args, **kwargs))
        except SimgitError as error:
            made.set_exception(error)
        return made


def test_what_cannot_be_used_is_refused_in_a_line(repo: Repository) -> None:
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(InvalidInput, match="must have processes: threads"),
    ):
        fan_out(repo, "main@5", [0], 5, executor=threads)
    with pytest.raises(InvalidInput, match=r"must be a concurrent\.futures\.Executor, got 3"):
        fan_out(repo, "main@5", [0], 5, executor=3)
    with pytest.raises(InvalidInput, match="must have other processes"):
        fan_out(repo, "main@5", [0], 5, executor=Here())
    with new_processes(1) as pool:
        with pytest.raises(InvalidInput, match="policy cannot be sent to other processes"):
            fan_out(repo, "main@5", [0], 5, policy=lambda observation: 0, executor=pool)
        with pytest.raises(InvalidInput, match="policy cannot be sent to other processes"):
            fan_out(repo, "main@5", [0, 1], 5, policy=lambda observation: 0, workers=2)
        with Repository.init(":memory:") as other:
            record(other)
            with pytest.raises(InvalidInput, match="cannot open a repository in memory"):
                fan_out(other, "main@5", [0], 5, executor=pool)
    with pytest.raises(InvalidInput, match="'2' is not an action"):
        fan_out(repo, "main@5", [0, [1, 2]], 5)
    with pytest.raises(InvalidInput, match="arm 1: overrides are arguments of the policy"):
        fan_out(repo, "main@5", [0, Arm((1,), overrides={"every": 3})], 5)
    with pytest.raises(InvalidInput, match="arm 0: seed"):
        fan_out(repo, "main@5", [Arm(seed=-1)], 5)
    assert list(repo.runs) == ["main"]


class OnlyHere(gym.Env):  # type: ignore[type-arg]
    """An environment that other processes have not registered."""

    observation_space = gym.spaces.Discrete(9)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return int(action), 0.0, False, False, {}


@pytest.mark.slow
def test_an_environment_that_a_process_lacks(tmp_path: Path, processes: Executor) -> None:
    gym.register("OnlyHere-v0", lambda: OnlyHere())
    try:
        with Repository.init(tmp_path) as repo:
            env = Recorder(gym.make("OnlyHere-v0"), repo)
            env.reset(seed=1)
            env.step(1)
            env.close()
            assert fan_out(repo, "main", [0], 2, workers=1)[0].length == 2
            with pytest.raises(SimgitError, match="OnlyHere") as error:
                fan_out(repo, "main", [0], 2, executor=processes)
            assert "\n" not in str(error.value)
    finally:
        del gym.registry["OnlyHere-v0"]


@pytest.mark.parametrize("jobs", [1, 5, 31, 64, 200, 1000, 100_000])
@pytest.mark.parametrize("count", [1, 2, 16])
def test_tasks_are_neither_small_nor_large(jobs: int, count: int) -> None:
    size = _size(jobs, count)
    assert 1 <= size <= MOST
    assert -(-jobs // size) >= min(jobs, count) or size <= 16
    assert size >= 16 or jobs < 16 * count


@pytest.mark.slow
def test_a_dask_client_lends_its_workers(repo: Repository) -> None:
    distributed = pytest.importorskip("distributed")
    arms = [[i % 2, 1] for i in range(40)]
    here = fan_out(repo, "main@5", arms, 15, workers=1)
    with (
        distributed.LocalCluster(
            2, threads_per_worker=2, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        there = fan_out(repo, "main@5", arms, 15, executor=client.get_executor())
        assert [each.oid for each in there] == [each.oid for each in here]
        with pytest.raises(NotFound, match="where a process of the executor runs") as error:
            nothing = StateSource("/nowhere/at/all")
            fan_out(repo, "main@5", [0], 5, executor=client.get_executor(), source=nothing)
        assert "\n" not in str(error.value)
