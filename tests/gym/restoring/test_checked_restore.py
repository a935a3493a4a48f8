"""A restore never continues otherwise than recorded without an error or a warning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from simgit import Divergence, Repository, Unverified
from simgit.gym import Recorder, VectorRecorder, judge, plan, restore, verify
from simgit.gym.restoring import restore as restoring
from tests.gym.recording import checked_envs
from tests.gym.restoring.hiding_envs import Hiding
from tests.gym.restoring.test_restore import vouch

pytestmark = pytest.mark.usefixtures("without_torch")

LENGTH = 40


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository.init(tmp_path)


def record(repo: Repository, env: Any, snapshots: int | None = 10, seed: int | None = 1) -> None:
    recorder = Recorder(env, repo, snapshots=snapshots, provenance=False, self_check=False)
    recorder.reset(seed=seed)
    for _ in range(LENGTH):
        if any(recorder.step(1)[2:4]):
            recorder.reset()
    recorder.close()


def differs_after(repo: Repository, env: Any, step: int) -> bool:
    """Whether a restored environment continues otherwise than recorded."""
    for state in repo.trajectory("main")[step + 1 :]:
        found = env.reset() if state.reset is not None else env.step(int(state.action))
        if not np.array_equal(found[0], state.observation):
            return True
    return False


@pytest.mark.parametrize(
    ("shows_from", "is_vouched"), [(0, False), (15, False), (25, False), (36, False), (0, True)]
)
def test_what_a_snapshot_lacks_is_not_lost_unsaid(
    repo: Repository, shows_from: int, is_vouched: bool
) -> None:
    """Whether there is no verdict, or one that is wrong."""
    record(repo, Hiding(shows_from))
    if is_vouched:
        vouch(repo, "methods")
    if not is_vouched:
        with pytest.warns(Unverified, match="by a reset, and no step was compared"):
            restore(repo, "main@0").close()
    for step in (0, 5, 10, 13, 20, 29, 30, 35, 40)[not is_vouched :]:
        env = restore(repo, f"main@{step}")
        assert not differs_after(repo, env, step), step
        env.close()


@pytest.mark.parametrize("shows_from", [0, 15, 25, 36])
def test_a_long_run_without_a_verdict_is_tried_ahead(
    repo: Repository, shows_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(repo, Hiding(shows_from))
    real = restoring._is_cheap
    monkeypatch.setattr(restoring, "_is_cheap", lambda path, cost: cost <= 15 and real(path, cost))
    for step in (13, 20, 29, 30, 35):
        env = restore(repo, f"main@{step}")
        assert not differs_after(repo, env, step), step
        env.close()


def test_where_nothing_can_be_compared_that_is_said(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(repo, Hiding())
    monkeypatch.setattr(restoring, "_is_cheap", lambda path, cost: False)
    with pytest.warns(Unverified, match="nothing was compared: that would re-execute 10 actions"):
        restore(repo, "main@20")
    vouch(repo, "methods")
    with pytest.warns(Unverified, match="nothing was compared"):
        restore(repo, "main@20")


def test_what_is_compared_once_is_not_compared_again(repo: Repository) -> None:
    record(repo, gym.make("MountainCar-v0"))
    vouch(repo)
    costs = []
    for step in (20, 20, 30):
        costs.append(plan(repo, f"main@{step}").cost)
        restore(repo, f"main@{step}").close()
    assert costs == [10, 0, 0]


def test_what_is_marked_is_not_re_executed_and_that_is_said(
    repo: Repository, tmp_path: Path
) -> None:
    record(repo, checked_envs.Marked(str(tmp_path / "log")), snapshots=2)
    before = (tmp_path / "log").read_text()
    with pytest.warns(Unverified, match="marked not to be re-executed"):
        restore(repo, "main@4")
    assert (tmp_path / "log").read_text() == before


@pytest.mark.slow
def test_a_run_that_depends_on_the_process_is_warned_of(repo: Repository) -> None:
    record(repo, checked_envs.HashOrder(), snapshots=2)
    assert judge(repo, "main").result == "depends on the process"
    with pytest.warns(Unverified, match="depends on the process"):
        env = restore(repo, "main@4")  # in the process that recorded it: by re-execution
    assert not differs_after(repo, env, 4)


def test_environments_that_diverge_are_closed(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(repo, checked_envs.OfClass(), snapshots=2)
    checked_envs.OfClass.made = checked_envs.OfClass.closed = 0
    with pytest.raises(Divergence):
        restore(repo, "main@5")
    assert checked_envs.OfClass.made == checked_envs.OfClass.closed > 0
    plan(repo, "main@5")
    assert verify(repo, "main").divergence is not None
    assert checked_envs.OfClass.made == checked_envs.OfClass.closed


@pytest.mark.slow
def test_verify_tries_snapshots_and_refutes_their_driver(repo: Repository) -> None:
    record(repo, Hiding(15))
    found = verify(repo, "main", snapshots=12)
    assert found.divergence is None and not found.is_exact
    assert found.verdict is not None
    data = found.to_json()["verdict"]
    assert (data["result"], data["driver"]) == ("exact by replay", "methods")
    assert (data["from"], data["step"], data["field"]) == (10, 15, "observation")
    from simgit.gym.restoring.verify import note

    note(repo, "main", found)
    for step in (20, 40):
        assert plan(repo, f"main@{step}").how == "creation"
    note(repo, "main", verify(repo, "main", snapshots=1))
    assert plan(repo, "main@20").how == "creation", "one that failed is not forgotten"


@pytest.mark.slow
def test_verify_says_how_many_snapshots_it_tried(repo: Repository) -> None:
    record(repo, gym.make("MountainCar-v0"), snapshots=2)
    found = verify(repo, "main", snapshots=4).verdict
    assert found is not None and found.result == "exact"
    assert found.details["snapshots"]["checked"] == 4
    assert found.details["snapshots"]["of"] > 15
    assert verify(repo, "main@3..9", snapshots=4).verdict is None


class Heavier(gym.Wrapper):
    """A wrapper that changes its environment when it is made, and is none of what is recorded."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        env.unwrapped.gravity = 20.0


class Watcher(gym.Wrapper):
    """A wrapper with a constructor of its own that changes nothing."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.seen: list[Any] = []


@pytest.mark.parametrize("is_vector", [False, True])
def test_a_wrapper_that_is_not_recorded_is_warned_of(repo: Repository, is_vector: bool) -> None:
    if is_vector:
        envs = gym.vector.SyncVectorEnv([lambda: Heavier(gym.make("CartPole-v1"))] * 2)
        vector = VectorRecorder(envs, repo, "main", provenance=False, self_check=False)
        vector.reset(seed=1)
        vector.step(np.array([1, 1]))
        vector.close()
        name = "main/0@0"
    else:
        record(repo, Heavier(gym.make("CartPole-v1")), snapshots=None)
        name = "main@0"
    with pytest.warns(Unverified, match="'.*:Heavier'"):
        env = restore(repo, name)
    state = repo.state(name.replace("@0", "@1"))
    assert not np.array_equal(env.step(1)[0], state.observation)  # what is warned of
    env.close()
    env = restore(repo, name, env=Heavier(gym.make("CartPole-v1")))
    assert np.array_equal(env.step(1)[0], state.observation)
    env.close()


@pytest.mark.slow
def test_a_verdict_says_that_a_wrapper_that_is_not_recorded_changes_nothing(
    repo: Repository,
) -> None:
    record(repo, Watcher(gym.make("CartPole-v1")))
    with pytest.warns(Unverified, match="Watcher"):
        restore(repo, "main@3").close()
    assert judge(repo, "main").result == "exact"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restore(repo, "main@3").close()


def test_wrappers_that_are_recorded_or_change_nothing_are_not_noted(repo: Repository) -> None:
    env = gym.wrappers.TransformReward(gym.make("CartPole-v1"), lambda reward: reward * 2)
    record(repo, gym.wrappers.RecordEpisodeStatistics(env))
    assert "wrappers_left_out" not in repo.runs["main"].metadata
