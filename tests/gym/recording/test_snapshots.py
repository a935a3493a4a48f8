"""Snapshots are taken when they are worth their cost, and where their driver can use them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest

from simgit import Repository
from simgit.gym import Recorder
from simgit.gym.drivers import layers, select
from simgit.gym.recording.snapshots import Snapshots
from simgit.gym.spec.spec import make
from simgit.recording.snapshot_schedule import (
    COMPARING,
    KEPT,
    NEAR,
    NEVER,
    SAMPLES,
    SHARE,
    STORING,
    SnapshotSchedule,
)
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("without_torch")


def timed(step: float, snapshot: float, every: int | None = None) -> SnapshotSchedule:
    """Return a schedule after its first steps and snapshots took so many seconds."""
    schedule = SnapshotSchedule(every)
    for _ in range(SAMPLES):
        schedule.stepped(step)
    schedule.took(0, 50 * snapshot)
    schedule.took(SAMPLES, snapshot)
    return schedule


@pytest.mark.parametrize("step", [1e-6, 8e-6, 1e-4, 1e-3, 0.1])
@pytest.mark.parametrize("snapshot", [2e-5, 2e-4, 5e-3])
def test_snapshots_cost_their_share_and_no_more(step: float, snapshot: float) -> None:
    every = timed(step, snapshot).every
    cost = STORING * snapshot
    assert cost <= SHARE * step * every * 1.001
    assert (
        every == 1 or cost > SHARE * step * (every - 1) or (step + COMPARING) * (every - 1) < NEAR
    )


def test_of_snapshots_in_pairs_there_are_half_as_many() -> None:
    schedule, pairs = SnapshotSchedule(None), SnapshotSchedule(None)
    pairs.together = 2
    for each in (schedule, pairs):
        for _ in range(SAMPLES):
            each.stepped(1e-4)
        each.took(SAMPLES - 1, 1e-2)
        each.took(SAMPLES, 1e-2)
    assert pairs.every == 2 * schedule.every


def test_every_step_is_timed_at_first_and_then_none_until_a_snapshot_is_due() -> None:
    schedule = SnapshotSchedule(None)
    schedule.took(0, 1e-4)
    for count in range(1, SAMPLES):
        schedule.stepped(1e-5)
        schedule.plan(count)
        assert schedule.next == count + 1
    schedule.stepped(1e-5)
    assert schedule.is_due(SAMPLES, False)
    schedule.took(SAMPLES, 1e-4)
    assert schedule.next == SAMPLES + schedule.every > 100


def test_one_slow_snapshot_changes_little() -> None:
    schedule = timed(1e-5, 1e-3)
    usual = schedule.every
    schedule.took(1000, 0.5)
    assert schedule.every == usual
    for count in range(KEPT):
        schedule.took(2000 + count, 2e-3)
    assert usual < schedule.every <= 2 * usual


def test_an_episodes_start_comes_early_and_a_fixed_number_never_does() -> None:
    free, fixed = timed(1e-5, 1e-4), timed(1e-5, 1e-4, 50)
    nearly = math.ceil(0.9 * free.every)
    assert free.is_due(SAMPLES + nearly, True)
    assert not free.is_due(SAMPLES + nearly, False)
    assert not free.is_due(SAMPLES + nearly - 1, True)
    assert not fixed.is_due(SAMPLES + 49, True)
    assert fixed.is_due(SAMPLES + 50, False)


# --- which states ------------------------------------------------------------------------------


class Fake:
    """A driver that notes when it was asked."""

    name = "fake"

    def __init__(self, where: str, lead: int = 0) -> None:
        self.where = where
        self.lead = lead

    def snapshot(self, env: Any) -> Any:
        return {"driver": self.name}


class Taken:
    """What snapshots are given to."""

    def __init__(self) -> None:
        self.count = -1
        self.steps: list[int] = []

    def attach(self, name: str, data: Any) -> None:
        assert name == "snapshot"
        self.steps.append(self.count)


def taken(choice: Any, episodes: list[int], every: int = 10, **triggers: Any) -> list[int]:
    """Return the steps with snapshots of episodes of so many steps, every one of them asked."""
    target = Taken()
    triggers = {"episode_trigger": None, "step_trigger": None, **triggers}
    snapshots = Snapshots(choice, **triggers)
    if not any(triggers.values()):
        snapshots._schedule = SnapshotSchedule(every)
    snapshots.start(-1, lambda facts: None)
    for number, length in enumerate(episodes, 1):
        snapshots.before_reset(None, target.count, number, target)
        target.count += 1
        snapshots.after_reset(None, target.count, number, target)
        for i in range(length):
            target.count += 1
            snapshots.after_step(None, target.count, 1e-5, i == length - 1, target)
    return target.steps


def test_a_driver_of_any_state_is_asked_at_the_start_and_every_so_many_steps() -> None:
    assert taken(Fake("any"), [35]) == [0, 10, 20, 30]


def test_the_end_of_an_episode_is_left_to_the_next_start() -> None:
    assert taken(Fake("any"), [10, 25]) == [0, 11, 21, 31]


def test_a_driver_that_needs_an_earlier_state_is_asked_twice() -> None:
    assert taken(Fake("any", lead=3), [35]) == [0, 10, 13, 23, 26]
    assert taken(Fake("any", lead=3), [12, 25]) == [0, 10, 20, 23, 33, 36]


def test_a_driver_of_ends_is_asked_before_resets() -> None:
    assert taken(Fake("end"), [4, 4, 4, 4, 4, 4]) == [0, 14, 24]


def test_a_driver_of_roots_is_asked_once() -> None:
    assert taken(Fake("root"), [25, 25]) == [0]
    assert taken(Fake("never"), [25, 25]) == []


def test_triggers_are_the_users() -> None:
    assert taken(Fake("any"), [5, 5], step_trigger=lambda i: i in (2, 7)) == [2, 7]
    assert taken(Fake("end"), [5, 5, 5], episode_trigger=lambda i: i == 3) == [11]


# --- with environments -------------------------------------------------------------------------


def test_a_recorded_environment_has_snapshots_that_restore_it() -> None:
    repo = Repository.init(":memory:")
    env = Recorder(gymnasium.make("CartPole-v1"), repo, provenance=False, snapshots=20)
    env.action_space.seed(1)
    env.reset(seed=1)
    for _ in range(70):
        if any(env.step(env.action_space.sample())[2:4]):
            env.reset()
    env.close()
    steps = [i for i in range(71) if "snapshot" in repo.attachments(f"main@{i}")]
    assert steps[0] == 0
    assert len(steps) >= 3
    for step in steps:
        spec: Any = repo.object(repo.state("main@0").origin)  # type: ignore[arg-type]
        again = make(spec.fields)
        select(again).restore(again, repo.attachment(f"main@{step}", "snapshot"))
        state = repo.state(f"main@{step + 1}")
        if state.reset is None:
            assert again.step(state.action)[0].tobytes() == state.observation.tobytes()


def test_wrappers_that_change_nothing_have_no_snapshot() -> None:
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    repo = Repository.init(":memory:")
    watched = Recorder(gymnasium.wrappers.RenderCollection(env), repo, provenance=False)
    assert layers(watched) == layers(env)
    watched.close()


def test_without_snapshots_there_are_none() -> None:
    repo = Repository.init(":memory:")
    env = Recorder(gymnasium.make("CartPole-v1"), repo, provenance=False, snapshots=None)
    env.reset(seed=1)
    for _ in range(5):
        env.step(0)
    env.close()
    assert all("snapshot" not in repo.attachments(f"main@{i}") for i in range(6))
    assert NEVER > 2**61


# --- the self-check ----------------------------------------------------------------------------


class Unsteady(gymnasium.Env[Any, Any]):
    """Does something else each time."""

    observation_space = gymnasium.spaces.Discrete(1 << 40)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.now = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: Any) -> Any:
        return time.monotonic_ns() % (1 << 40), 0.0, False, False, {}


def verdict(repo: Repository, env: Any, steps: int = 5, **options: Any) -> Any:
    recorder = Recorder(env, repo, provenance=False, **options)
    recorder.reset(seed=1)
    for _ in range(steps):
        recorder.step(0)
    recorder.close()
    return repo.head_run.metadata.get("verdict")


@pytest.mark.slow
def test_a_run_says_whether_it_is_exact(checked: None) -> None:
    cartpole: Any = gymnasium.make("CartPole-v1")
    found = verdict(Repository.init(":memory:"), cartpole)
    assert found["result"] == "exact"
    found = verdict(Repository.init(":memory:"), Unsteady())
    assert (found["result"], found["step"], found["field"]) == (
        "not deterministic",
        1,
        "observation",
    )
    opaque = gymnasium.wrappers.TransformReward(cartpole, lambda reward: reward)
    found = verdict(Repository.init(":memory:"), opaque)
    assert found["result"] == "unknown"
    assert "'func'" in found["reason"]
    assert verdict(Repository.init(":memory:"), cartpole, self_check=False) is None


def flushed(env: Recorder) -> bool:
    env.flush()
    return True


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_the_check_begins_after_the_first_episode(checked: None) -> None:
    repo = Repository.init(":memory:")
    env = Recorder(gymnasium.make("CartPole-v1"), repo, provenance=False)
    env.reset(seed=1)
    env.step(0)
    assert "verdict" not in repo.head_run.metadata
    random.seed(5)
    before = random.getstate()
    env.reset()
    assert random.getstate() == before
    wait_until(lambda: flushed(env) and "verdict" in repo.head_run.metadata)
    assert repo.head_run.metadata["verdict"]["result"] == "exact"
    assert repo.head_run.metadata["verdict"]["upto"] == 1
    repo.configure("main", metadata={"verdict": "mine"})
    env.flush()
    assert repo.head_run.metadata["verdict"] == "mine", "it is noted once"
    env.close()
