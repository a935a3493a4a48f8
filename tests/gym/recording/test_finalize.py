"""A recorder that nobody closes loses nothing, wherever the garbage collector finds it."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from simgit import Conflict, Repository
from simgit.gym import Recorder, VectorRecorder

PLAIN: dict[str, Any] = {"provenance": False, "self_check": False}


@pytest.fixture(params=["disk", "memory"])
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path if request.param == "disk" else ":memory:") as repo:
        yield repo


@pytest.fixture
def only_counting() -> Iterator[None]:
    """No collection but those that are asked for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def recorded(repo: Repository, run: str = "lost", **options: Any) -> Recorder:
    env = Recorder(gymnasium.make("CartPole-v1"), repo, run, **PLAIN, **options)
    env.reset(seed=1)
    for _ in range(5):
        env.step(0)
    return env


def in_a_cycle(env: Any) -> Any:
    """Return an environment that only the collector can find."""
    env.unwrapped.myself = env
    return env


def standing(repo: Repository, run: str = "lost") -> tuple[int | None, str, Any]:
    info = repo.runs[run]
    return info.step, info.status, info.writer


DONE = 5, "active", None


@pytest.mark.slow
@pytest.mark.usefixtures("only_counting")
@pytest.mark.parametrize("snapshots", ["auto", 2, None])
def test_a_recorder_that_goes_out_of_use_is_stored_at_once(
    repo: Repository, snapshots: Any
) -> None:
    recorded(repo, snapshots=snapshots)
    assert standing(repo) == DONE


@pytest.mark.slow
@pytest.mark.usefixtures("only_counting")
def test_a_recorder_of_vectors_that_goes_out_of_use_is_stored_at_once(repo: Repository) -> None:
    env = VectorRecorder(gymnasium.make_vec("CartPole-v1", num_envs=2), repo, "lost", **PLAIN)
    env.reset(seed=1)
    env.step(env.action_space.sample())
    del env
    assert [standing(repo, f"lost/{i}") for i in range(2)] == [(1, "active", None)] * 2


@pytest.mark.slow
@pytest.mark.usefixtures("only_counting")
def test_a_recorder_that_is_collected_in_a_transaction_is_stored_after_it(repo: Repository) -> None:
    in_a_cycle(recorded(repo))
    with repo.odb.write():
        assert gc.collect() > 0
    assert standing(repo)[0] is None
    recorded(repo, "next").flush()
    assert standing(repo) == DONE


@pytest.mark.usefixtures("only_counting")
def test_a_recorder_that_goes_out_of_use_in_a_transaction_is_stored_after_it(
    repo: Repository,
) -> None:
    env = recorded(repo)
    with repo.odb.write():
        del env
    recorded(repo)  # to the same run, which would be taken
    assert repo.runs["lost"].step == 11


@pytest.mark.slow
@pytest.mark.usefixtures("only_counting")
def test_a_recorder_without_states_is_released_after_a_transaction(repo: Repository) -> None:
    env = Recorder(gymnasium.make("CartPole-v1"), repo, "lost", **PLAIN)
    with repo.odb.write():
        del env
    recorded(repo, "next").close()
    assert standing(repo) == (None, "active", None)


@pytest.mark.slow
def test_no_recorder_of_many_is_lost_if_the_collector_runs_all_the_time(repo: Repository) -> None:
    before = gc.get_threshold()
    gc.set_threshold(20, 1, 1)
    try:
        for i in range(12):
            in_a_cycle(recorded(repo, f"run{i}", flush_every=3))
    finally:
        gc.set_threshold(*before)
    gc.collect()
    recorded(repo, "next").close()
    assert [standing(repo, f"run{i}") for i in range(12)] == [DONE] * 12


@pytest.mark.slow
@pytest.mark.usefixtures("only_counting")
def test_a_conflict_of_a_recorder_that_nobody_closed_is_a_warning(repo: Repository) -> None:
    env = in_a_cycle(recorded(repo))
    repo.set_status("lost", "completed")
    del env
    gc.collect()
    with pytest.warns(UserWarning, match="was never closed: run 'lost' was moved"):
        other = recorded(repo, "next")
    assert repo.runs["lost.conflict-1"].step == 5
    try:
        other.close()
    except Conflict:
        pytest.fail("it is not the other recorder's conflict")


SCRIPT = """
import gc, gymnasium, os, sys
from simgit import Repository
from simgit.gym import Recorder
repo = Repository.init(sys.argv[1])
env = Recorder(gymnasium.make("CartPole-v1"), repo, "lost", provenance=False)
env.unwrapped.myself = env
env.reset(seed=1)
for _ in range(5):
    env.step(0)
gc.disable()
del env
with repo.odb.write():
    gc.collect()
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "if os.fork() == 0: sys.exit(0)\nos.wait()"])
def test_what_was_collected_in_a_transaction_is_stored_at_the_end(tmp_path: Path, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + end, str(tmp_path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    with Repository.open(tmp_path) as repo:
        assert standing(repo) == DONE
