"""A run goes on with its own environment only; versions, paths and looks do not make another."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium import wrappers
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from simgit import InvalidInput, Repository, Unverified
from simgit.gym import Recorder, VectorRecorder
from simgit.gym.spec.diff import spec_difference
from simgit.gym.spec.spec import describe
from tests.support.paths import GOLDEN

PLAIN: dict[str, Any] = {"provenance": False, "self_check": False, "snapshots": None}


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def lake(**kwargs: Any) -> Any:
    return gymnasium.make("FrozenLake-v1", **kwargs)


class Growing(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Has its argument in an attribute that changes, as counters and averages do."""

    def __init__(self, env: Any, total: float = 0.0) -> None:
        super().__init__(env)
        self.total = total

    def step(self, action: Any) -> Any:
        self.total += 1.0
        return self.env.step(action)


def record(repo: Repository, env: Any) -> None:
    env = Recorder(env, repo, **PLAIN)
    env.reset(seed=1)
    env.step(1)
    env.close()


OTHERS = [
    (lake, lambda: lake(is_slippery=False), "'is_slippery' of 'FrozenLake-v1' was None, is False"),
    (
        lambda: lake(is_slippery=False),
        lambda: lake(is_slippery=True),
        "'is_slippery' of 'FrozenLake-v1' was False, is True",
    ),
    (lake, lambda: lake(max_episode_steps=7), "'max_episode_steps' was 100, is 7"),
    (
        lake,
        lambda: wrappers.TransformReward(lake(), float),
        "the wrapper was None, is 'TransformReward'",
    ),
    (
        lambda: wrappers.ClipReward(lake(), 0, 1),
        lambda: wrappers.ClipReward(lake(), 0, 2),
        "'max_reward' of 'ClipReward' was 1, is 2",
    ),
    (
        lambda: Growing(wrappers.ClipReward(lake(), 0, 1)),
        lambda: wrappers.ClipReward(Growing(lake()), 0, 1),
        "the wrapper was 'ClipReward', is 'Growing'",
    ),
]


@pytest.mark.parametrize(("first", "second", "message"), OTHERS)
def test_a_run_of_an_environment_made_otherwise_is_refused(
    repo: Repository, first: Any, second: Any, message: str
) -> None:
    record(repo, first())
    with pytest.raises(InvalidInput, match=f"run 'main' is of another environment: {message};"):
        Recorder(second(), repo, **PLAIN)
    assert repo.head_run.step == 1


SAME = [
    (lake, lambda: lake(render_mode="rgb_array")),
    (lake, lambda: lake(disable_env_checker=True)),
    (lake, lambda: wrappers.RenderCollection(lake(render_mode="rgb_array"))),
    (lambda: Growing(lake()), lambda: Growing(lake(), 3.0)),
    (lambda: wrappers.ClipReward(lake(), 0, 1), lambda: wrappers.ClipReward(lake(), 0.0, 1.0)),
    (
        lambda: wrappers.TransformReward(lake(), lambda r: r),
        lambda: wrappers.TransformReward(lake(), lambda r: r),
    ),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_what_leads_to_the_same_states_is_the_same_environment(
    repo: Repository, first: Any, second: Any
) -> None:
    record(repo, first())
    record(repo, second())
    assert repo.head_run.step == 3


def test_other_versions_and_places_are_the_same_environment() -> None:
    described = describe(Growing(wrappers.ClipReward(lake(), 0, 1)))
    other = copy.deepcopy(described)
    other["environment"]["entry_point"] = "elsewhere.lakes:FrozenLake"
    other["wrappers"][0]["entry_point"] = "elsewhere:ClipReward"
    other["wrappers"][0]["kwargs"]["came_with_version_2"] = True
    other["wrappers"][1]["kwargs"] = None
    assert spec_difference(described, other) is None
    assert spec_difference(other, described) is None


def test_a_changed_wrapper_can_be_resumed_with_the_environment_given(repo: Repository) -> None:
    record(repo, Growing(lake()))
    env = Recorder.resume(repo, "main", env=Growing(lake()), **PLAIN)
    env.step(1)
    env.close()
    assert repo.head_run.step == 2


@pytest.mark.slow
@pytest.mark.parametrize("second", [SyncVectorEnv, AsyncVectorEnv])
def test_lanes_are_the_same_wherever_they_run(repo: Repository, second: Any) -> None:
    makers = [lambda: wrappers.ClipReward(lake(), 0, 1)] * 2
    for kind in (SyncVectorEnv, second):
        env = VectorRecorder(kind(makers), repo, **PLAIN)
        env.reset(seed=1)
        env.close()
    assert repo.runs["main/1"].step == 1
    with pytest.raises(InvalidInput, match="'is_slippery' of 'FrozenLake-v1' was None, is False"):
        VectorRecorder(SyncVectorEnv([lambda: lake(is_slippery=False)] * 2), repo, **PLAIN)


@pytest.mark.slow
def test_a_run_of_an_earlier_version_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(GOLDEN)
    shutil.copytree(GOLDEN / "repository-1" / "simgit", tmp_path / "golden")
    with Repository.open(tmp_path / "golden") as repo:
        repo.trust()
        runs = [name for name in repo.runs if repo.runs[name].oid is not None]
        described = [name for name in runs if _is_of_an_environment(repo, name)]
        assert described
        for name in described:
            with pytest.warns(Unverified, match=f"run '{name}' was not checked"):
                repo.branch(f"{name}-on", name)
            Recorder.resume(repo, f"{name}-on", **PLAIN).close()


def _is_of_an_environment(repo: Repository, run: str) -> bool:
    origin = repo.origin(run)
    return origin is not None and "environment" in origin
