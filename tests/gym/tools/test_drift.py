"""Drift: all differences of a replayed action history are added up, to its end."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

import simgit
from simgit import Repository
from simgit.gym import Recorder, drift


class Scale(gymnasium.Env[Any, Any]):
    """Adds up actions; what differs can be switched on."""

    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float64)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(
        self, bias: float = 0.0, length: int = 4, bad: int = -1, late: bool = False
    ) -> None:
        self.bias, self.length, self.bad, self.late = bias, length, bad, late

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.count = self.np_random.normal(size=2), 0
        return self.at.copy(), {"cost": 1}

    def step(self, action: Any) -> Any:
        self.count += 1
        if self.count == self.bad:
            raise ValueError("bad")
        bias = self.bias if not self.late or self.count == 3 else 0.0
        self.at[0] += int(action)
        return (
            self.at.copy(), int(action) + bias, self.count == self.length, False,
            {"cost": self.count, "took": bias},
        )  # fmt: skip


@pytest.fixture
def repo() -> Repository:
    made = Repository.init(":memory:")
    env = Recorder(Scale(), made, "main", snapshots=None, self_check=False, provenance=False)
    for seed in (3, None):
        env.reset(seed=seed)
        for i in range(4):
            env.step(i % 3)
    env.close()
    return made


def test_what_repeats_itself_has_no_drift(repo: Repository) -> None:
    report = drift(repo, "main", make=lambda spec: Scale())
    assert not report.has_drift and report.states == 10
    assert report.returns == [(3.0, 3.0), (3.0, 3.0)]
    assert list(report.lines()) == ["no drift: 10 states as recorded"]


def test_every_field_that_differs_is_counted_with_its_greatest_distance(repo: Repository) -> None:
    report = drift(repo, "main", make=lambda spec: Scale(0.25, late=True))
    assert (report.states, report.differing, report.endings) == (10, 2, 0)
    assert report.returns == [(3.0, 3.25), (3.0, 3.25)]
    reward = report.fields["reward"]
    assert (reward.states, reward.first, reward.recorded, reward.found) == (2, 3, 2.0, 2.25)
    assert reward.most == report.fields["info.took"].most == 0.25
    assert {*report.fields} == {"reward", "info.took"}
    assert next(report.lines()) == "2 of 10 states differ"
    ignoring = drift(repo, "main", make=lambda spec: Scale(0.25), ignore=["info.took"])
    assert {*ignoring.fields} == {"reward"} and ignoring.differing == 8
    assert drift(repo, "main@6..main", make=lambda spec: Scale()).states == 3
    with pytest.raises(simgit.Divergence):  # already before the range
        drift(repo, "main@6..main", make=lambda spec: Scale(0.5))


def test_the_greatest_distance_may_be_the_first(repo: Repository) -> None:
    class Fading(Scale):
        def step(self, action: Any) -> Any:
            self.bias = 1 / (self.count + 1)
            return super().step(action)

    report = drift(repo, "main", make=lambda spec: Fading(), ignore=["info"])
    assert report.fields["reward"].most == 1.0 and report.fields["reward"].states == 8


def test_an_episode_that_ends_earlier_is_left_there_and_one_that_no_longer_ends_is_told(
    repo: Repository,
) -> None:
    report = drift(repo, "main", make=lambda spec: Scale(length=3))
    assert (report.states, report.endings) == (8, 2)
    assert report.fields["terminated"].states == 2
    assert report.returns == [(3.0, 3.0), (3.0, 3.0)]
    longer = drift(repo, "main", make=lambda spec: Scale(length=9))
    assert (longer.states, longer.endings, longer.differing) == (10, 2, 2)


def test_an_environment_that_raises_is_reset_for_the_next_episode(repo: Repository) -> None:
    report = drift(repo, "main", make=lambda spec: Scale(bad=2))
    assert (report.states, report.endings) == (6, 2)
    assert report.fields["exception"].found == "ValueError: bad"
    assert report.to_json()["fields"]["exception"]["first"] == 2


def test_what_is_no_recording_of_an_environment_is_refused() -> None:
    with Repository.init(":memory:") as repo:
        repo.commit(1)
        with pytest.raises(simgit.InvalidInput, match="was not recorded from an environment"):
            drift(repo, "main")
