"""What differs by nature: recorded and not compared, or kept beside the states."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics

from simgit import Divergence, InvalidInput, NotFound, Repository
from simgit.gym import Recorder, VectorRecorder, restore, verify, volatile
from simgit.gym.restoring.compare import ignoring

CLOCK = itertools.count()


class Clocked(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Has what is new each time in its info."""

    def _info(self, info: Any) -> Any:
        seconds = float(next(CLOCK))
        return {**info, "seconds": seconds, "host": {"pid": str(seconds), "name": "here"}}

    def reset(self, **given: Any) -> Any:
        observation, info = self.env.reset(**given)
        return observation, self._info(info)

    def step(self, action: Any) -> Any:
        *result, info = self.env.step(action)
        return *result, self._info(info)


def make(spec: Any = None) -> Any:
    return Clocked(gymnasium.make("CartPole-v1"))


@pytest.fixture
def repo() -> Iterator[Repository]:
    with Repository.init(":memory:") as made:
        yield made


def record(repo: Repository, run: str, steps: int = 30, **options: Any) -> Recorder:
    env = Recorder(make(), repo, run, provenance=False, **options)
    env.reset(seed=1)
    for i in range(steps):
        if env.step(i % 2)[2]:
            env.reset()
    return env


PATHS = ["info.seconds", "info.host.pid"]


def test_without_a_word_what_differs_is_a_difference(repo: Repository) -> None:
    record(repo, "main", self_check=False).close()
    found = verify(repo, "main", make=make).divergence
    assert found is not None and found.step == 0


@pytest.mark.slow
@pytest.mark.parametrize("paths", [PATHS, ["info.seconds", "info.host"], ["info.*s", "info.*.pi?"]])
def test_what_is_ignored_is_recorded_and_not_compared(repo: Repository, paths: list[str]) -> None:
    record(repo, "main", ignore=paths).close()
    assert verify(repo, "main", make=make).divergence is None
    restore(repo, "main@20", env=make()).close()
    assert repo.state("main@3").info.keys() == {"seconds", "host"}
    assert list(repo.runs["main"].metadata["ignore"]) == sorted(paths)
    assert repo.runs["main"].metadata["verdict"]["result"] != "not deterministic"
    repo.branch("twin", "main@10")
    with Recorder.resume(repo, "twin", env=make()) as env:  # what is inherited is ignored too
        env.step(0)
    again = Recorder.resume(repo, "main", at=5, env=make())
    for i in range(5, 30):
        if again.step(i % 2)[2]:
            again.reset()
    again.close()


def test_what_is_not_ignored_is_still_compared(repo: Repository) -> None:
    record(repo, "main", ignore=["info.seconds", "info.host.name"], self_check=False).close()
    found = verify(repo, "main", make=make).divergence
    assert found is not None and found.field == "info.host.pid"
    with pytest.raises(Divergence):
        restore(repo, "main@20", env=make())


def test_states_without_what_is_volatile_are_the_same_each_time(repo: Repository) -> None:
    for run in ("a", "b"):
        record(repo, run, volatile=PATHS, self_check=False).close()
    assert repo.resolve("a") == repo.resolve("b")
    assert repo.state("a@3").info == {"host": {"name": "here"}}
    assert verify(repo, "a", make=make).divergence is None
    restore(repo, "a@20", env=make()).close()


def test_a_volatile_column_is_aligned_with_the_states(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        start = next(CLOCK) + 1
        env = record(repo, "main", 10, volatile=PATHS, self_check=False)
        env.flush()
        for _ in range(5):
            env.step(0)
        env.close()
        times = start + np.arange(16.0)
        assert volatile(repo, "main", "info.seconds").tolist() == times.tolist()
        assert volatile(repo, "main@3..main@6", "info.seconds").tolist() == times[4:7].tolist()
        assert volatile(repo, "main@5..", "info.host.pid") == [str(t) for t in times[6:]]
        assert np.isnan(volatile(repo, "main", "info.other")).all()
        with pytest.raises(NotFound):
            volatile(repo, "other", "info.seconds")
        del env


def test_volatile_entries_of_a_dropped_recorder_are_kept(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        env = record(repo, "main", 3, volatile=["info.seconds"], self_check=False)
        del env
        assert not np.isnan(volatile(repo, "main", "info.seconds")).any()


def test_many_volatile_entries_do_not_wait_for_the_end(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simgit.gym.recording.volatile._MOST", 20)
    record(repo, "main", 100, volatile=PATHS, self_check=False).close()
    bound = [step for step in range(101) if "volatile" in repo.attachments(f"main@{step}")]
    assert len(bound) > 5
    assert not np.isnan(volatile(repo, "main", "info.seconds")).any()


def test_lanes_of_a_vector_ignore_and_keep_apart(repo: Repository) -> None:
    env = VectorRecorder(
        SyncVectorEnv([make] * 2), repo, provenance=False, self_check=False,
        ignore=["info.host"], volatile=["info.seconds"],
    )  # fmt: skip
    env.reset(seed=1)
    for _ in range(12):
        env.step(np.array([0, 1]))
    env.close()
    for run in ("main/0", "main/1"):
        assert verify(repo, run, make=make).divergence is None
        assert not np.isnan(volatile(repo, run, "info.seconds")).any()
        assert repo.state(run).info.keys() == {"host"}


def test_the_seconds_of_gymnasiums_statistics_are_ignored_by_default(repo: Repository) -> None:
    def counted(spec: Any = None) -> Any:
        return RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))

    env = Recorder(counted(), repo, provenance=False)
    env.reset(seed=1)
    while not env.step(0)[2]:
        pass
    env.close()
    assert "t" in repo.state().info["episode"]
    assert verify(repo, "main", make=counted).divergence is None


@pytest.mark.parametrize(
    "paths",
    ["info.x", ["x"], [3], ["reward"], None, 3, {"info.x": 1}, ["info."], ["action.x"], [""]],
)
@pytest.mark.parametrize("name", ["ignore", "volatile"])
def test_wrong_paths_are_refused_before_anything_is_written(
    repo: Repository, name: str, paths: Any
) -> None:
    given: dict[str, Any] = {name: paths}
    with pytest.raises(InvalidInput, match=f"^{name} must "):
        Recorder(make(), repo, "other", **given)
    with pytest.raises(InvalidInput, match=f"^{name} must "):
        VectorRecorder(SyncVectorEnv([make]), repo, "other", **given)
    assert not len(repo.runs)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("info.a", "info.a", True), ("info.a", "info.a.b", True), ("info.a", "info.a[3]", True),
        ("info.a", "info.ab", False), ("info.*.t", "info.x.t", True), ("info.*.t", "info.t", False),
        ("info.?", "info.x", True), ("info.?", "info.xy", False), ("info.[ab]", "info.b", True),
        ("info.a+", "info.aa", False), ("info", "info.x", True), ("info.a", "xinfo.a", False),
    ],
)  # fmt: skip
def test_a_path_matches_itself_and_what_is_below(pattern: str, path: str, matches: bool) -> None:
    assert ignoring([pattern])(path) is matches
    assert ignoring(["other", pattern])(path) is matches
