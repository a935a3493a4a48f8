"""Counterfactuals: many continuations from recorded states, recorded as runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from simgit import InvalidInput, Repository
from simgit.gym import Recorder, restore, step_batch, verify, what_if
from simgit.gym.tools.whatif import interval


def record(repo: Repository, name: str = "CartPole-v1", every: int = 10, run: str = "main") -> None:
    env = gym.make(name)
    env.action_space.seed(2)
    recorder = Recorder(env, repo, run, snapshots=every)
    recorder.reset(seed=4)
    for _ in range(60):
        _, _, terminated, truncated, _ = recorder.step(env.action_space.sample())
        if terminated or truncated:
            recorder.reset()
    recorder.close()


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path) as made:
        record(made)
        yield made


@pytest.mark.slow
def test_recorded_actions_lead_to_the_recorded_states(repo: Repository) -> None:
    """The proof of exactness: going on in a worker gives the oids of the recorded run."""
    actions = [int(action) for action in repo.trajectory("main@3..main@9").actions]
    assert len(actions) == 6
    found = step_batch(repo, ["main@3", "main@5"], [actions, actions[2:]], workers=2)
    assert [each.tip for each in found] == [repo.resolve("main@9")] * 2
    assert [each.length for each in found] == [6, 4]
    short = repo.resolve("main@3").short()
    assert found[0].run == f"what-if/{short}-1"


@pytest.mark.slow
def test_results_come_in_the_order_of_the_states(repo: Repository) -> None:
    states = [f"main@{step}" for step in (2, 9, 4, 2)]
    found = step_batch(repo, states, [0, 1, 1, 0], workers=2)
    assert [repo.parents(each.tip)[0].step for each in found] == [2, 9, 4, 2]
    assert found[0].tip == found[3].tip and found[0].run != found[3].run
    again = step_batch(repo, states[:1], [[0]])
    assert again[0].run not in {each.run for each in found} and again[0].tip == found[0].tip


@pytest.mark.slow
def test_rollouts_of_all_actions_have_the_same_luck(repo: Repository) -> None:
    left, right = what_if(repo, "main@5", [0, 1], horizon=8, rollouts=3, workers=1)
    same = what_if(repo, "main@5", [1], horizon=8, rollouts=3, workers=1, prefix="again")[0]
    assert [each.tip for each in right] == [each.tip for each in same]
    for one, other in zip(left, right, strict=True):
        a, b = (list(repo.trajectory(c.run)[7:].actions) for c in (one, other))
        shorter = min(len(a), len(b))
        assert a[:shorter] == b[:shorter]
    assert len({each.tip for each in right}) == 3, "rollouts have luck of their own"


def test_what_is_recorded_can_be_restored_and_verified(repo: Repository) -> None:
    ((found, *_),) = what_if(repo, "main@5", [1], horizon=8, rollouts=2, workers=1)
    assert repo.runs[found.run].metadata["what-if"]["from"] == repo.resolve("main@5").hex()
    assert verify(repo, f"{found.run}@6..{found.run}").divergence is None
    env = restore(repo, found.run)
    state = repo.state(found.run).observation
    assert np.array_equal(np.asarray(env.unwrapped.state, np.float32), state)


@pytest.fixture
def slippery() -> Iterator[Repository]:
    with Repository.init(":memory:") as made:
        record(made, "FrozenLake-v1")
        yield made


@pytest.mark.slow
def test_rollouts_with_numbers_of_their_own_come_again(slippery: Repository) -> None:
    """An action slips by chance: with the recorded numbers a rollout would be another one."""
    start = next(
        step for step in range(12, 60) if not slippery.state(f"main@{step}").terminated
        and slippery.state(f"main@{step}").reset is None
    )  # fmt: skip
    found = what_if(slippery, f"main@{start}", [0, 2], horizon=9, rollouts=4, workers=1)
    runs = [each.run for several in found for each in several]
    assert len({each.tip for several in found for each in several}) > 4
    for run in runs:
        assert verify(slippery, run).divergence is None
        if slippery.state(run).step > start + 1:
            assert verify(slippery, f"{run}@{start + 1}..{run}").divergence is None
    longest = max((each for several in found for each in several), key=lambda each: each.length)
    ((further, *_),) = what_if(slippery, f"{longest.run}@{start + 2}", [1], horizon=5, rollouts=2)
    assert verify(slippery, further.run).divergence is None, "a rollout of a rollout"
    slippery.branch("b", slippery.resolve(f"{longest.run}@{start + 2}"))
    assert verify(slippery, "b").divergence is None


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 10])
def test_a_rollout_is_gone_on_with_as_it_went_on(every: int) -> None:
    """Also where its newest state is one that was recorded with other random numbers."""
    with Repository.init(":memory:") as repo:
        record(repo, "FrozenLake-v1", every)
        action = int(repo.state("main@3").action)
        (short,) = what_if(repo, "main@2", [action], horizon=1, rollouts=12, workers=1)
        (long,) = what_if(repo, "main@2", [action], horizon=6, rollouts=12, workers=1)
        shared = [one.tip == repo.resolve("main@3") for one in short]
        assert any(shared) and not all(shared)
        for one, other in zip(short, long, strict=True):
            actions = [int(each) for each in repo.trajectory(f"{one.run}..{other.run}").actions]
            env = Recorder.resume(repo, one.run, snapshots=None)
            for each in actions:
                env.step(each)
            env.close()
            assert repo.resolve(one.run) == other.tip


@pytest.mark.slow
def test_rollouts_leave_what_was_recorded_alone(slippery: Repository) -> None:
    """One that repeats a recorded state must not decide how that goes on."""
    actions = [int(action) for action in slippery["main@12..main@13"].actions]
    what_if(slippery, "main@12", actions, horizon=1, rollouts=12, workers=1)
    assert len(slippery.contains("main@13")) > 1, "some do"
    env = restore(slippery, "main@13")
    for state in slippery["main@13..main@40"]:
        if state.reset is not None:
            env.reset()
        else:
            assert env.step(int(state.action))[0] == state.observation


def test_a_rollout_ends_with_the_episode(repo: Repository) -> None:
    found = step_batch(repo, ["main@0"], [[1] * 50])[0]
    assert found.terminated and not found.truncated
    assert found.length == found.return_ == repo.state(found.run).step < 50


def test_nothing_is_recorded_if_an_action_is_none_of_the_space(repo: Repository) -> None:
    for action in (2, 0.5, [0, 5]):
        with pytest.raises(InvalidInput, match="is not an action of Discrete"):
            step_batch(repo, ["main@3"], [action])
    with pytest.raises(InvalidInput, match="for each state, got 1 for 2"):
        step_batch(repo, ["main@3", "main@4"], [0])
    assert list(repo.runs) == ["main"]


def test_an_episode_that_has_ended_is_not_gone_on_with(repo: Repository) -> None:
    states = repo.trajectory("main")
    ended = states[int(states.terminations.nonzero()[0][0])].oid
    with pytest.raises(InvalidInput, match="ends an episode"):
        what_if(repo, ended, [0, 1], horizon=5)
    with pytest.raises(InvalidInput, match="ends an episode"):
        step_batch(repo, [ended], [0])
    assert list(repo.runs) == ["main"]


def test_an_environment_that_resets_itself_goes_on_after_an_end() -> None:
    with Repository.init(":memory:") as repo:
        recorder = Recorder(gym.wrappers.Autoreset(gym.make("CartPole-v1")), repo, snapshots=10)
        recorder.reset(seed=4)
        for _ in range(40):
            recorder.step(1)
        recorder.close()
        ended = int(repo.trajectory("main").terminations.nonzero()[0][0])
        (found,) = step_batch(repo, [f"main@{ended}"], [[1, 1]])
        assert found.tip == repo.resolve(f"main@{ended + 2}")


def test_a_repository_in_memory_does_the_work_here() -> None:
    with Repository.init(":memory:") as repo:
        record(repo, "Pendulum-v1")
        found = step_batch(repo, ["main@5"] * 2, [[[0.5]], [[-0.5]]], workers=4)
        assert found[0].tip != found[1].tip
        assert repo.state(found[0].tip).action.dtype == np.float32


def test_actions_in_another_dtype_than_the_spaces_are_taken_as_they_were_given() -> None:
    with Repository.init(":memory:") as repo:
        recorder = Recorder(gym.make("Pendulum-v1"), repo, snapshots=10)
        recorder.reset(seed=1)
        for step in range(30):
            recorder.step(np.array([np.sin(step)]))
        recorder.close()
        actions = list(repo["main@10..main@20"].actions)
        assert actions[0].dtype == np.float64
        found = step_batch(repo, ["main@10"] * 2, [actions, [a.tolist() for a in actions]])
        assert [each.tip for each in found] == [repo.resolve("main@20")] * 2
        for action in (np.array([2.5]), np.array([1.0, 1.0]), [3], "up"):
            with pytest.raises(InvalidInput, match="is not an action"):
                step_batch(repo, ["main@10"], [[action]])


def test_progress_counts_continuations(repo: Repository) -> None:
    told: list[tuple[int, int | None]] = []
    step_batch(
        repo, ["main@3"] * 3, [0, 1, 0], workers=1,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_interval_holds_the_mean_and_narrows_with_more_values() -> None:
    rng = np.random.default_rng(1)
    few, many = (interval(rng.normal(3.0, 1.0, n).tolist()) for n in (10, 1000))
    assert few.low < few.mean < few.high
    assert many.low < 3.0 < many.high
    assert many.high - many.low < (few.high - few.low) / 3
    assert interval([2.0]) == interval([2.0, 2.0])
