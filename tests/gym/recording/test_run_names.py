"""Which run an environment is recorded to: a new number, a claimed run, other settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from simgit import Conflict, InvalidInput, Repository, SimgitWarning
from simgit.gym import Recorder, VectorRecorder
from tests.support.patience import PATIENCE

PLAIN: dict[str, Any] = {"provenance": False, "self_check": False}


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def recorder(repo: Any, run: str = "main", **options: Any) -> Recorder:
    env = Recorder(gymnasium.make("CartPole-v1"), repo, run, **PLAIN, **options)
    env.reset(seed=1)
    env.step(0)
    return env


def vectors(repo: Any, run: str, **options: Any) -> VectorRecorder:
    env = VectorRecorder(
        gymnasium.make_vec("CartPole-v1", 2, "sync"), repo, run, **PLAIN, **options
    )
    env.reset(seed=1)
    return env


def test_a_sweep_makes_a_new_run_for_each_of_its_trials(repo: Repository) -> None:
    for number, lr in enumerate((0.1, 0.2, 0.1), 1):
        env = recorder(repo, "sweep/{auto}", config={"lr": lr})
        assert env.run == f"sweep/{number}"
        env.close()
        assert repo.config(f"sweep/{number}") == {"lr": lr}
        assert repo.runs[f"sweep/{number}"].step == 1
    assert repo.head == "sweep/1"


def test_a_session_that_is_reopened_stays_in_its_numbered_run(repo: Repository) -> None:
    env = recorder(repo, "%03d", config={"lr": 1})
    env.close()
    repo.configure("001", {"lr": 2})  # the user's own wish, which is not undone
    env.reset(seed=2)
    assert env.run == "001"
    env.close()
    assert list(repo.runs) == ["001"]
    assert repo.config("001") == {"lr": 2}


def test_facts_are_noted_with_the_run_that_was_made(repo: Repository) -> None:
    env = Recorder(gymnasium.make("CartPole-v1"), repo, "a/{auto}", self_check=False)
    env.reset(seed=1)
    env.close()
    assert "provenance" in repo.runs["a/1"].metadata


def test_the_lanes_of_a_vector_environment_share_a_number(repo: Repository) -> None:
    for number in (1, 2):
        env = vectors(repo, "v/{auto}")
        assert env.runs == [f"v/{number}/0", f"v/{number}/1"]
        env.close()
    VectorRecorder.resume(repo, "v/2", **PLAIN).close()


def test_a_script_that_is_run_again_with_other_settings_is_refused(repo: Repository) -> None:
    recorder(repo, config={"lr": 0.1}).close()
    recorder(repo, config={"lr": 0.1}).close()
    with pytest.raises(Conflict, match=r"lr was 0\.1, is 0\.2; .*main-\{auto\}"):
        recorder(repo, config={"lr": 0.2})
    assert repo.config("main") == {"lr": 0.1}
    assert repo.runs["main"].step == 3
    with pytest.warns(SimgitWarning, match=r"'main\.2' instead"):
        env = recorder(repo, config={"lr": 0.2}, on_conflict="branch")
    assert (env.run, env.step_count) == ("main.2", 5)
    env.close()
    assert (repo.config("main"), repo.config("main.2")) == ({"lr": 0.1}, {"lr": 0.2})


@pytest.mark.slow
def test_a_run_that_is_recorded_is_refused_or_branched(repo: Repository) -> None:
    first = recorder(repo)
    with pytest.raises(Conflict, match="being recorded in this process"):
        recorder(repo)
    lanes = vectors(repo, "v")
    with pytest.raises(Conflict, match="'v/0' is being recorded"):
        vectors(repo, "v")
    with pytest.warns(SimgitWarning, match="being recorded in this process"):
        second = recorder(repo, on_conflict="branch")
        others = vectors(repo, "v", on_conflict="branch")
    assert second.run == "main.2"
    assert others.runs == ["v/0.2", "v/1.2"]
    for env in (first, second, lanes, others):
        env.close()
    assert repo.runs["main"].step == repo.runs["main.2"].step == 1


def test_a_refused_recorder_holds_nothing(repo: Repository, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"use 'ppo-lr=0\.1'"):
        recorder(repo, "ppo lr=0.1")
    with Repository.init(tmp_path) as disk:
        disk.commit(1, run="done")
        disk.set_status("done", "completed")
        with pytest.raises(InvalidInput):
            recorder(disk, "done")
    assert not repo.runs


SCRIPT = """
import sys, gymnasium, simgit.gym
env = simgit.gym.Recorder(
    gymnasium.make("CartPole-v1"), sys.argv[1], "t/{auto}", provenance=False, self_check=False
)
env.reset(seed=1)
env.step(1)
print(env.run)
"""


@pytest.mark.slow
def test_scripts_that_start_together_get_runs_of_their_own(tmp_path: Path) -> None:
    Repository.init(tmp_path).close()
    started = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True,
                         env={**os.environ, "PYTHONPATH": str(Path.cwd())})
        for _ in range(3)
    ]  # fmt: skip
    ended = [each.communicate(timeout=PATIENCE) for each in started]
    assert sorted(out for out, _ in ended) == ["t/1\n", "t/2\n", "t/3\n"]
    with Repository.open(tmp_path) as repo:
        assert [(info.step, info.status) for info in repo.runs.values()] == [(1, "active")] * 3
