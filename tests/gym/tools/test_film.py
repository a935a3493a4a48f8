"""Films of recorded states: what is rendered afterwards is what would have been seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from simgit import Divergence, InvalidInput, Repository
from simgit.gym import Recorder
from simgit.gym.tools.film import Film, picture


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def record(directory: Path, name: str = "CartPole-v1", **make: object) -> list[np.ndarray]:
    """Record two episodes, the second without a seed; return what rendering then would show."""
    env = gymnasium.make(name, render_mode="rgb_array", **make)
    recorder = Recorder(env, directory, provenance=False)
    recorder.action_space.seed(0)
    seen = []
    for seed in (7, None):
        recorder.reset(seed=seed)
        seen.append(env.render())
        for _ in range(12):
            over = any(recorder.step(recorder.action_space.sample())[2:4])
            seen.append(env.render())
            if over:
                break
    recorder.close()
    return seen


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[tuple[Repository, list[np.ndarray]]]:
    seen = record(tmp_path)
    with Repository.open(tmp_path) as repo:
        yield repo, seen


def same(frames: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(frames) == len(expected) and all(map(np.array_equal, frames, expected))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["CartPole-v1", "FrozenLake-v1", "MountainCar-v0", "simgit/SimKube-v0"]
)
def test_the_film_shows_what_was_to_be_seen(name: str, tmp_path: Path) -> None:
    seen = record(tmp_path, name)
    with Repository.open(tmp_path) as repo:
        assert same(list(Film(repo, "main")), seen)
        assert same(list(Film(repo, "main@ep2")), seen[repo["main@ep2"].start :])


@pytest.mark.slow
def test_a_part_begins_in_the_middle(recorded) -> None:
    repo, seen = recorded
    film = Film(repo, "main@3..9")
    assert len(film) == 6 and same(list(film), seen[4:10])
    assert same(list(film), seen[4:10]), "and can be gone through again"


@pytest.mark.slow
def test_a_run_that_two_environments_gave_is_one_film(recorded, tmp_path: Path) -> None:
    repo, seen = recorded
    seen += record(tmp_path)
    assert same(list(Film(repo, "main")), seen)


@pytest.mark.parametrize("every", [2, 3, 5, 100])
def test_every_so_many_states_and_the_last_one_are_shown(recorded, every: int) -> None:
    repo, seen = recorded
    steps = []
    film = Film(
        repo, "main@3..13", every=every, progress=lambda done, total: steps.append((done, total))
    )
    part = seen[4:14]
    expected = part[::every] + ([] if (len(part) - 1) % every == 0 else part[-1:])
    assert same(list(film), expected) and len(film) == len(expected)
    assert steps[-1] == (10, 10)


def test_its_speed_is_the_environments(recorded) -> None:
    assert Film(recorded[0], "main").fps == 50


def test_what_is_not_repeated_is_not_shown(tmp_path: Path) -> None:
    record(tmp_path, "FrozenLake-v1")
    with Repository.open(tmp_path) as repo:
        spec = repo.origin()
        spec["environment"] = {**spec["environment"], "kwargs": {"is_slippery": False}}
        with repo.recorder("lie", spec=spec) as recorder:
            for state in repo["main"]:
                recorder.append(
                    state.observation, state.action, state.reward, state.terminated,
                    state.truncated, state.info, reset=state.reset,
                )  # fmt: skip
        with pytest.raises(Divergence, match="does not repeat"):
            list(Film(repo, "lie"))


def test_what_cannot_be_rendered_says_why(tmp_path: Path, recorded) -> None:
    repo, _ = recorded
    with pytest.raises(InvalidInput, match="must be at least 1, got 0"):
        Film(repo, "main", every=0)
    repo.commit(0, run="plain")
    with pytest.raises(InvalidInput, match="was not recorded from an environment"):
        Film(repo, "plain")
    env = gymnasium.make("simgit:simgit/Replay-v0", repository=str(tmp_path))
    with Recorder(env, tmp_path / "other", provenance=False) as recorder:
        recorder.reset()
    with (
        Repository.open(tmp_path / "other") as other,
        pytest.raises(InvalidInput, match="cannot render the environment here"),
    ):
        list(Film(other, "main"))


def test_images_of_several_kinds_become_one_frame() -> None:
    frame = np.zeros((4, 6, 3), np.uint8)
    assert picture([frame, frame + 1])[0, 0, 0] == 1
    assert picture(np.zeros((4, 6, 4), np.uint8)).shape == (4, 6, 3)
    for other in (None, "text", [], np.zeros((4, 6))):
        with pytest.raises(InvalidInput, match="rendered no image"):
            picture(other)
