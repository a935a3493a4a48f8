"""A vector environment that is resumed goes on as if there had been no break."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from simgit import InvalidInput, NotFound, Repository
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


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("form", list(FORMS))
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


def test_what_cannot_be_resumed_is_said(repo: Repository) -> None:
    with pytest.raises(NotFound, match="run 'main/0' not found"):
        VectorRecorder.resume(repo, "main")
    env = VectorRecorder(made("sync", AutoresetMode.NEXT_STEP), repo, provenance=False)
    env.reset(seed=1)
    env.close()
    bare = gymnasium.make_vec("CartPole-v1", LANES, vectorization_mode="sync")
    with pytest.raises(InvalidInput, match=r"wrappers="):
        VectorRecorder.resume(repo, "main", env=bare)
    two = SyncVectorEnv([lane, lane])
    with pytest.raises(InvalidInput, match="a lane for each of 3 runs, got 2"):
        VectorRecorder.resume(repo, "main", env=two)
    with pytest.raises(InvalidInput, match="must be 'sync' or 'async'"):
        VectorRecorder.resume(repo, "main", vectorization_mode="threads")  # type: ignore[arg-type]


def test_lanes_in_other_processes_cannot_read_memory() -> None:
    repo = Repository.init(":memory:")
    env = VectorRecorder(made("sync", AutoresetMode.NEXT_STEP), repo, provenance=False)
    env.reset(seed=1)
    env.close()
    with pytest.raises(InvalidInput, match="a repository in memory"):
        VectorRecorder.resume(repo, "main", vectorization_mode="async")
    VectorRecorder.resume(repo, "main").close()
