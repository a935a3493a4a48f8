"""Examining environments, and the small matrix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from simgit import InvalidInput, NotFound
from simgit.gym.tools.doctor import examine
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("without_torch")


class Noisy(gym.Wrapper[Any, Any, Any, Any]):
    """Adds what cannot be repeated to the 30th reward."""

    made = 0

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        Noisy.made += 1
        self.count = 0

    def step(self, action: Any) -> Any:
        self.count += 1
        observation, reward, *rest = self.env.step(action)
        return observation, reward + (Noisy.made if self.count == 30 else 0), *rest


@pytest.mark.slow
def test_an_environment_is_examined() -> None:
    told: list[tuple[int, int | None]] = []
    found = examine(
        "CartPole-v1", steps=120, points=3, horizon=40,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert (found.driver, found.why, found.repeats, found.exact) == ("generic", None, None, 3)
    assert found.needs_trust is False and len(found.points) == 3
    assert 0 < found.step < found.recorded_step < 1
    assert found.stored is not None and found.raw is not None and found.stored < found.raw
    assert told[-1] == (7, 7)
    assert found.to_json()["exact"] == 3


@pytest.mark.slow
def test_an_environment_that_does_not_repeat_is_found_out() -> None:
    found = examine(
        "noisy", make=lambda: Noisy(gym.make("Pendulum-v1")), steps=60, points=1, horizon=5
    )
    assert found.repeats == "step 30, reward"


@pytest.mark.slow
def test_arguments_are_passed_on() -> None:
    found = examine("FrozenLake-v1", {"is_slippery": False}, steps=40, points=1, horizon=9)
    assert found.exact == 1


def test_an_unknown_environment_is_not_found() -> None:
    for name in ("Nope-v1", "nope:Nope-v1"):
        with pytest.raises(NotFound, match="cannot make"):
            examine(name)


class Breaking(gym.Wrapper[Any, Any, Any, Any]):
    """Raises where a random policy comes sooner or later."""

    def step(self, action: Any) -> Any:
        return self.env.step(action if self.env.unwrapped.last_u is None else 1 / 0)


def test_an_environment_that_raises_is_named_in_one_line() -> None:
    with pytest.raises(InvalidInput, match="'breaking' raises 'ZeroDivisionError: division"):
        examine("breaking", make=lambda: Breaking(gym.make("Pendulum-v1")), steps=40, points=1)


@pytest.mark.slow
def test_the_small_matrix_is_exact(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- matrix: begin -->\nold\n<!-- matrix: end -->\nafter\n")
    for only, count in ((["classic", "Box2D"], 3), ([], 8)):  # the second goes on with the first's
        chosen = [text for each in only for text in ("--only", each)]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "tests/matrix", "--small", "--points", "2",
             "--horizon", "50", "--steps", "150", "--results", str(tmp_path / "results"),
             "--output", str(page), *chosen],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        text = page.read_text()
        assert text.startswith("before\n<!-- matrix: begin -->\n") and "old" not in text
        assert f"Of {count} environments {count} have been examined; {count} are exact." in text
        assert "| CartPole-v1 | generic | 2 of 2 |" in text
        assert "| LunarLander-v3 | replay-episode | 2 of 2 |" in text
