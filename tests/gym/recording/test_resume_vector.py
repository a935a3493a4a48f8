"""A vector environment that is resumed goes on as if there had been no break."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from simgit import Divergence, InvalidInput, NotFound, Repository
from simgit.gym import Lane, Recorder, VectorRecorder, plan, restore
from tests.gym.restoring.test_restore import vouch

LANES, STEPS = 3, 60
FORMS: dict[str, Any] = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}


@pytest.fixture
def repo(tmp_path: Path) -> Any:
    with Repository.init(tmp_path) as made:
        yield made


def lane(id: str = "CartPole-v1") -> Lane:
    return Lane(gymnasium.make(id))


def made(form: str, mode: AutoresetMode, id: str = "CartPole-v1") -> VectorEnv[Any, Any, Any]:
    env: VectorEnv[Any, Any, Any] = FORMS[form](
        [functools.partial(lane, id)] * LANES, autoreset_mode=mode
    )
    return env


def actions(count: int = STEPS) -> Any:
    return np.random.default_rng(4).integers(0, 2, (count, LANES))


def drive(env: VectorRecorder, chosen: Any, ended: Any, mode: AutoresetMode) -> Any:
    """Step a vector environment; return which lanes have ended."""
    for each in chosen:
        if mode is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
        _, _, terminated, truncated, _ = env.step(each)
        ended = np.logical_or(terminated, truncated)
    return ended


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(
    "form", [pytest.param(each, marks=[pytest.mark.slow] * (each == "async")) for each in FORMS]
)
@pytest.mark.parametrize("given", [False, True])
def test_going_on_gives_the_names_that_there_would_have_been(
    repo: Repository, form: str, mode: AutoresetMode, given: bool
) -> None:
    straight = VectorRecorder(made("sync", mode), repo, "straight", provenance=False)
    straight.reset(seed=7)
    ended, ends = np.zeros(LANES, bool), []
    for number, each in enumerate(actions(), 1):
        ended = drive(straight, [each], ended, mode)
        ends += [number] if ended[0] else []
    straight.close()
    env = VectorRecorder(made(form, mode), repo, "broken", provenance=False, snapshots=10)
    env.reset(seed=7)
    ended, done = np.zeros(LANES, bool), 0
    for upto in (5, ends[0], ends[0] + 1, 47):  # amid an episode, at its end, after the next reset
        ended = drive(env, actions()[done:upto], ended, mode)
        seen, done = env.observations, upto
        env.close()
        env = VectorRecorder.resume(
            repo, "broken", vectorization_mode=form, provenance=False,  # type: ignore[arg-type]
            env=made(form, mode) if given else None, snapshots=10,
        )  # fmt: skip
        assert np.array_equal(env.observations, seen)
    drive(env, actions()[done:], ended, mode)
    env.close()
    for i in range(LANES):
        assert repo.resolve(f"broken/{i}") == repo.resolve(f"straight/{i}")


@pytest.mark.slow
def test_lanes_in_other_processes_have_snapshots(repo: Repository) -> None:
    env = VectorRecorder(
        made("async", AutoresetMode.NEXT_STEP, "MountainCar-v0"), repo, provenance=False,
        snapshots=15,
    )  # fmt: skip
    env.reset()  # without a seed: only a snapshot, and the seed that was drawn, lead back
    drive(env, actions(), np.zeros(LANES, bool), AutoresetMode.NEXT_STEP)
    env.close()
    for i in range(LANES):
        bound = [n for n in range(STEPS + 1) if "snapshot" in repo.attachments(f"main/{i}@{n}")]
        assert bound == [0, 15, 30, 45, 60]
        vouch(repo, run=f"main/{i}")
        found = plan(repo, f"main/{i}@40")
        assert (found.how, found.start) == ("snapshot", 15), "one earlier, to compare"
        alive = restore(repo, f"main/{i}@40")
        after = repo.state(f"main/{i}@41")
        assert np.array_equal(alive.step(int(after.action))[0], after.observation)


def test_a_wrapped_lane_is_recorded_as_without(repo: Repository) -> None:
    one = Recorder(lane(), repo, "with", provenance=False, snapshots=None)
    other = Recorder(gymnasium.make("CartPole-v1"), repo, "without", provenance=False)
    for env in (one, other):
        env.reset(seed=1)
        env.step(0)
        env.close()
    assert repo.resolve("with") == repo.resolve("without")


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("step", [-1, 0, 23])
def test_earlier_states_are_caught_up_with(
    repo: Repository, mode: AutoresetMode, step: int
) -> None:
    straight = VectorRecorder(made("sync", mode), repo, "straight", provenance=False)
    killed = VectorRecorder(made("sync", mode), repo, "killed", provenance=False)
    for env, count in ((straight, STEPS), (killed, STEPS - 20)):
        env.reset(seed=7)
        ended = drive(env, actions()[: max(step, 0)], np.zeros(LANES, bool), mode)
        if env is killed:
            at, over = env.step_counts if step >= 0 else [-1] * LANES, ended
        drive(env, actions()[max(step, 0) : count], ended, mode)
        env.close()
    bare = gymnasium.make_vec("CartPole-v1", LANES, vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode})  # fmt: skip
    again = VectorRecorder.resume(repo, "killed", env=bare, at=at, provenance=False)
    if step < 0:
        again.reset(seed=7)
    assert again.step_counts == [max(each, 0) for each in at]
    drive(again, actions()[max(step, 0) :], over, mode)
    again.close()
    for i in range(LANES):
        assert repo.resolve(f"killed/{i}") == repo.resolve(f"straight/{i}")
        assert repo.runs[f"killed/{i}"].status == "active"


def test_what_differs_on_the_way_is_said(repo: Repository) -> None:
    env = VectorRecorder(made("sync", AutoresetMode.NEXT_STEP), repo, provenance=False)
    env.reset(seed=7)
    drive(env, actions(9), np.zeros(LANES, bool), AutoresetMode.NEXT_STEP)
    env.close()
    before = [repo.resolve(f"main/{i}") for i in range(LANES)]
    again = VectorRecorder.resume(repo, "main", at=[5] * LANES)
    again.step(actions()[5])
    with pytest.raises(Divergence, match="step 7"):
        again.step(1 - actions()[6])
    again.close()
    assert [repo.resolve(f"main/{i}") for i in range(LANES)] == before
    assert repo.runs["main/0"].status == "active"


@pytest.mark.slow
def test_what_cannot_be_resumed_is_said(repo: Repository) -> None:
    with pytest.raises(NotFound, match="run 'main/0' not found"):
        VectorRecorder.resume(repo, "main")
    env = VectorRecorder(made("sync", AutoresetMode.NEXT_STEP), repo, provenance=False)
    env.reset(seed=1)
    env.close()
    bare = gymnasium.make_vec("CartPole-v1", LANES, vectorization_mode="async")
    with pytest.raises(InvalidInput, match=r"wrappers="):
        VectorRecorder.resume(repo, "main", env=bare)
    with pytest.raises(InvalidInput, match="a step for each of 3 runs"):
        VectorRecorder.resume(repo, "main", at=[0])
    two = SyncVectorEnv([lane, lane])
    with pytest.raises(InvalidInput, match="a lane for each of 3 runs, got 2"):
        VectorRecorder.resume(repo, "main", env=two)
    with pytest.raises(InvalidInput, match="must be 'sync' or 'async'"):
        VectorRecorder.resume(repo, "main", vectorization_mode="threads")  # type: ignore[arg-type]


@pytest.mark.slow
def test_lanes_in_other_processes_cannot_read_memory() -> None:
    repo = Repository.init(":memory:")
    env = VectorRecorder(made("sync", AutoresetMode.NEXT_STEP), repo, provenance=False)
    env.reset(seed=1)
    env.close()
    with pytest.raises(InvalidInput, match="a repository in memory"):
        VectorRecorder.resume(repo, "main", vectorization_mode="async")
    VectorRecorder.resume(repo, "main").close()
