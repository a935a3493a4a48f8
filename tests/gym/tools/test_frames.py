"""Frames of single states: an environment that is kept is used only where it would be right.

The environments return the same observations whatever happens; what they draw tells more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from simgit import Repository
from simgit.gym import Recorder
from simgit.gym.tools.frames import Frames
from simgit.gym.tools.rollout import Rollout
from simgit.gym.tools.whatif import execute


class Steady(gymnasium.Env):
    """Counts steps, and draws a number that it does not tell."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-9, 99, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        self.render_mode, self.count, self.hidden = render_mode, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        self.begin()
        return np.array([0.0]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        self.move(int(action))
        return np.array([float(self.count)]), 1.0, False, False, {}

    def render(self) -> Any:
        return np.full((2, 3, 3), self.hidden % 251, np.uint8)

    def begin(self) -> None:
        """Change what is hidden at a reset."""

    def move(self, action: int) -> None:
        """Change what is hidden at a step."""


class Acted(Steady):
    """Draws its actions."""

    def begin(self) -> None:
        self.hidden = 0

    def move(self, action: int) -> None:
        self.hidden = 2 * self.hidden + action


class Drawn(Steady):
    """Draws numbers of its own generator."""

    def move(self, action: int) -> None:
        self.hidden = int(self.np_random.integers(1 << 30))


class Global(Steady):
    """Draws numbers of numpy's global generator."""

    def move(self, action: int) -> None:
        self.hidden = int(np.random.randint(1 << 30))


class Aging(Steady):
    """Draws how often it was reset."""

    def begin(self) -> None:
        self.hidden += 1


@pytest.fixture(autouse=True)
def same_generator() -> Iterator[None]:
    state = np.random.get_state()
    yield
    np.random.set_state(state)


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "repo") as made:
        yield made


def record(
    repo: Repository, run: str, make: Callable[[], Steady], actions: list[int], seed: int | None = 1
) -> list[int]:
    """Record an episode of a new environment; return what it drew."""
    env = make()
    with Recorder(env, repo, run=run, provenance=False, self_check=False) as recorder:
        recorder.reset(seed=seed)
        seen = [env.hidden % 251]
        for action in actions:
            recorder.step(action)
            seen.append(env.hidden % 251)
    return seen


def drawn(frames: Frames, repo: Repository, revision: str) -> int:
    return int(frames.frame(repo, repo.resolve(revision))[0, 0, 0])


def test_an_environment_of_another_history_is_not_taken(repo: Repository) -> None:
    a = record(repo, "a", Acted, [1, 1, 1, 1, 1])
    b = record(repo, "b", Acted, [0, 0, 1, 0, 1])
    frames = Frames()
    for at in range(1, 6):
        assert (drawn(frames, repo, f"a@{at}"), drawn(frames, repo, f"b@{at}")) == (a[at], b[at])
    frames = Frames()
    assert [drawn(frames, repo, each) for each in ("a@3", "b@4")] == [a[3], b[4]]


@pytest.mark.slow
def test_an_environment_that_was_reseeded_otherwise_is_not_taken(repo: Repository) -> None:
    record(repo, "main", Drawn, [0] * 4)
    ends = []
    for seed, actions in ((11, [1, 0, 0]), (22, [1, 1, 1])):
        job = Rollout(repo.resolve("main@3"), f"try/{seed}", tuple(actions), len(actions), seed)
        execute(repo, [job], workers=1)
        ends.append(job.run)
    first, second = ends
    assert repo.resolve(f"{first}@4") == repo.resolve(f"{second}@4")
    assert repo.resolve(f"{first}@5") != repo.resolve(f"{second}@5")
    alone = {run: drawn(Frames(), repo, f"{run}@6") for run in ends}
    for order in (ends, ends[::-1]):
        frames = Frames()
        drawn(frames, repo, f"{first}@4")  # of the history that both have
        assert {run: drawn(frames, repo, f"{run}@6") for run in order} == alone
    assert alone[first] != alone[second]


def test_the_global_generators_are_those_of_the_environment(repo: Repository) -> None:
    seen = {}
    for run, seed in (("a", 5), ("b", 6)):
        np.random.seed(seed)
        seen[run] = record(repo, run, Global, [0] * 6, seed)
    frames = Frames()
    for run, at in (("a", 2), ("b", 1), ("a", 3), ("b", 4), ("a", 6)):
        np.random.seed(999)
        assert drawn(frames, repo, f"{run}@{at}") == seen[run][at], (run, at)


def test_an_environment_that_another_one_took_over_from_is_not_taken(repo: Repository) -> None:
    first = record(repo, "main", Aging, [0, 0])
    second = record(repo, "main", Aging, [0, 0])
    assert first == second == [1, 1, 1]
    frames = Frames()
    assert [drawn(frames, repo, f"main@{at}") for at in (1, 4, 5)] == [1, 1, 1]
