"""A run is taken up again at its end, or before it, and goes on as if it had never stopped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from simgit import Conflict, Divergence, InvalidInput, NotFound, Repository
from simgit.gym import Recorder
from tests.support.paths import ROOT

OPTIONS: dict[str, Any] = {"provenance": False, "snapshots": 16}


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def actions(count: int) -> list[int]:
    return np.random.default_rng(3).integers(0, 2, count).tolist()


def act(env: Any, chosen: list[int], ended: bool = False) -> bool:
    """Take actions, resetting where an episode ends; return whether the last one ended one."""
    for action in chosen:
        if ended:
            env.reset()
        ended = any(env.step(action)[2:4])
    return ended


def recorded(repo: Repository, run: str, count: int, env: Any = None) -> bool:
    recorder = Recorder(env or gymnasium.make("CartPole-v1"), repo, run, **OPTIONS)
    recorder.reset(seed=7)
    ended = act(recorder, actions(count))
    recorder.close()
    return ended


def same_tip(repo: Repository, one: str, two: str) -> bool:
    return repo.resolve(one) == repo.resolve(two)


@pytest.mark.parametrize("stop", [1, 40, 77, 100])
def test_a_run_that_was_taken_up_again_has_the_names_of_one_that_never_stopped(
    repo: Repository, stop: int
) -> None:
    recorded(repo, "whole", 150)
    ended = recorded(repo, "parts", stop)
    again = Recorder.resume(repo, "parts", **OPTIONS)
    act(again, actions(150)[stop:], ended)
    again.close()
    assert same_tip(repo, "parts", "whole")


@pytest.mark.slow
def test_a_run_is_taken_up_in_another_process(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        recorded(repo, "whole", 120)
        ended = recorded(repo, "parts", 60)
        program = (
            "import sys; sys.path.insert(0, sys.argv[2])\n"
            "from tests.gym.recording.test_resume import *\n"
            "env = Recorder.resume(sys.argv[1], 'parts', **OPTIONS)\n"
            f"act(env, actions(120)[60:], {ended})\n"
        )
        subprocess.run([sys.executable, "-c", program, str(tmp_path), str(ROOT)], check=True)
        assert same_tip(repo, "parts", "whole")


@pytest.mark.slow
@pytest.mark.parametrize("at", [-1, 0, 30, 99])
def test_what_is_recorded_already_is_compared_and_then_gone_on_with(
    repo: Repository, at: int
) -> None:
    recorded(repo, "whole", 150)
    recorded(repo, "parts", 100)
    tip = repo.resolve("parts")
    states = repo["parts"]
    env = Recorder.resume(repo, "parts", at=at, **OPTIONS)
    assert env.step_count == at
    for i in range(at + 1, len(states)):
        state = states[i]
        env.step(state.action) if state.reset is None else env.reset(**state.reset)
        assert repo.resolve("parts") == tip
        assert np.array_equal(env.observation, state.observation)
    taken = int(repo["parts"].present("action").sum())
    act(env, actions(150)[taken:], bool(states[-1].terminated))
    env.close()
    assert same_tip(repo, "parts", "whole")


def test_going_another_way_is_a_divergence_and_changes_nothing(repo: Repository) -> None:
    recorded(repo, "main", 60)
    tip, other = repo.resolve("main"), 1 - repo.state("main@31").action
    env = Recorder.resume(repo, "main", at=30, **OPTIONS)
    with pytest.raises(Divergence, match="step 31 was recorded with another 'action'") as caught:
        env.step(other)
    assert (caught.value.step, caught.value.field) == (31, "action")  # type: ignore[attr-defined]
    assert env.step_count == 30
    with pytest.raises(Divergence, match="step 31"):
        env.step(1 - other)
    env.close()
    assert repo.resolve("main") == tip
    assert repo.head_run.status == "active"


def test_what_is_attached_on_the_way_belongs_to_the_recorded_states(repo: Repository) -> None:
    recorded(repo, "main", 20)
    env = Recorder.resume(repo, "main", at=10, **OPTIONS)
    env.step(repo.state("main@11").action)
    env.attach("agent", {"updates": 11})
    env.close()
    assert repo.attachment("main@11", "agent") == {"updates": 11}
    assert "agent" not in repo.attachments("main")


def test_a_branch_is_made_and_gone_on_with_in_one(repo: Repository) -> None:
    recorded(repo, "main", 60)
    env = Recorder.branch(repo, "other", "main@25", overrides={"lr": 0.1}, **OPTIONS)
    assert (env.run, env.step_count) == ("other", 25)
    assert np.array_equal(env.observation, repo.state("main@25").observation)
    env.step(repo.state("main@26").action)
    env.close()
    assert repo.resolve("other") == repo.resolve("main@26")
    assert repo.runs["other"].config["lr"] == 0.1


def test_a_branch_goes_on_from_where_it_was_made(repo: Repository) -> None:
    recorded(repo, "main", 60)
    repo.branch("other", "main@25", overrides={"lr": 0.01})
    env = Recorder.resume(repo, "other", **OPTIONS)
    action = repo.state("main@26").action
    env.step(action)
    assert env.tip == repo.resolve("main@26")
    act(env, [1 - action] * 3)
    env.close()
    assert repo.merge_base("main", "other") == repo.resolve("main@26")
    assert repo.config("other") == {"lr": 0.01}


def test_an_environment_that_goes_on_is_not_a_new_one(repo: Repository) -> None:
    recorded(repo, "main", 20)
    env = Recorder.resume(repo, "main", **OPTIONS)
    env.reset()
    env.close()
    assert "session" in repo.attachments("main@0")
    assert "session" not in repo.attachments("main")


def test_an_environment_can_be_given(repo: Repository) -> None:
    recorded(repo, "main", 20)
    mine = gymnasium.make("CartPole-v1")
    env = Recorder.resume(repo, "main", env=mine, **OPTIONS)
    assert env.unwrapped is mine.unwrapped
    env.close()
    with pytest.raises(InvalidInput, match="the observation space is"):
        Recorder.resume(repo, "main", env=gymnasium.make("Acrobot-v1"))


def test_what_cannot_be_taken_up_again_is_refused(repo: Repository) -> None:
    recorded(repo, "main", 20)
    recorded(repo, "other", 10, gymnasium.make("CartPole-v1", max_episode_steps=5))
    with pytest.raises(NotFound):
        Recorder.resume(repo, "nothing")
    with pytest.raises(InvalidInput, match="is not in the history of run 'main'"):
        Recorder.resume(repo, "main", at="other@4")
    with pytest.raises(NotFound):
        Recorder.resume(repo, "main", at=999)
    open_one = Recorder.resume(repo, "main", **OPTIONS)
    with pytest.raises(Conflict, match="being recorded"):
        Recorder.resume(repo, "main")
    open_one.close()
    repo.set_status("main", "completed")
    with pytest.raises(InvalidInput, match="is completed"):
        Recorder.resume(repo, "main")
    repo.commit(1, run="plain")
    with pytest.raises(InvalidInput, match="not recorded from an environment"):
        Recorder.resume(repo, "plain")
