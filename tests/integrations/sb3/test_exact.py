"""A training resumed at each of its checkpoints, in another process, becomes what it became."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sb3_contrib")

from simgit import InvalidInput, Repository
from simgit.integrations.sb3 import checkpoints, resume
from tests.integrations.sb3.cases import ALGORITHMS, CASES, IGNORED, WRAPS, digest
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

pytestmark = [pytest.mark.filterwarnings(f"ignore:{each}") for each in IGNORED]


MATRIX = [CASES[f"{a}-{n}-{w}"] for a in ALGORITHMS for n in ("1", "2", "2p") for w in WRAPS]


def resumed(path: Path, jobs: list[str]) -> dict[str, str]:
    """Return the digests of trainings that a new process resumes, each CASE@TIMESTEPS."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integrations.sb3.cases", path, *jobs], cwd=ROOT,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def stored(path: Path, case: str) -> list[int]:
    """Return the timesteps of the checkpoints of a training, the newest first."""
    with Repository.open(path) as repo:
        first = checkpoints.first_run(repo, case)
        return [each.timesteps for each in checkpoints.checkpoints(repo, first)]


def test_trainings_become_the_same_in_another_process(tmp_path: Path) -> None:
    jobs = {}
    for case in ("ppo-2-normalize", "dqn-1-plain"):
        learned = CASES[case].train(tmp_path / "runs", case)[0]
        _, *before = stored(tmp_path / "runs", case)
        jobs[f"{case}@{before[len(before) // 2]}"] = learned
    assert resumed(tmp_path / "runs", list(jobs)) == jobs


@pytest.mark.slow
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("lanes", ["1", "2", "2p"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_checkpoint_of_the_matrix(
    tmp_path: Path, algorithm: str, lanes: str, wrap: str
) -> None:
    every_checkpoint(tmp_path / "runs", f"{algorithm}-{lanes}-{wrap}")


@pytest.mark.slow
@pytest.mark.parametrize("case", [name for name in CASES if CASES[name] not in MATRIX])
def test_each_checkpoint_of_what_is_special(tmp_path: Path, case: str) -> None:
    every_checkpoint(tmp_path / "runs", case)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["recurrent", "maskable", "dqn-n-step", "ppo-2-stack", "ppo-2-normalize",
                                  "sac-memory", "ddpg-normal", "her",
                                  *(f"{name}-1-plain" for name in ALGORITHMS)])  # fmt: skip
def test_a_model_is_made_again_from_what_was_recorded(tmp_path: Path, case: str) -> None:
    learned = CASES[case].train(tmp_path / "runs", case)[0]
    at = stored(tmp_path / "runs", case)[-2]
    if case in ("ddpg-normal", "her"):
        with pytest.raises(InvalidInput, match="not plain data: pass make="):
            resume(tmp_path / "runs", case, at=at)
        return
    model, left = resume(tmp_path / "runs", case, at=at, trust=True)
    model.learn(left, reset_num_timesteps=False)
    model.env.close()
    assert digest(model) == learned


def every_checkpoint(path: Path, case: str) -> None:
    learned = CASES[case].train(path, case)[0]
    times = stored(path, case)
    assert len(times) > 3
    found = resumed(path, [f"{case}@{each}" for each in times])
    assert found == {f"{case}@{each}": learned for each in times}
