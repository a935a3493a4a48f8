"""A training resumed at each of its checkpoints, in another process, becomes what it became."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sb3_contrib")

from simgit import InvalidInput, Repository
from simgit.integrations.sb3 import checkpoints, resume
from tests.integrations.sb3.cases import ALGORITHMS, CASES, IGNORED, WRAPS
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

pytestmark = [pytest.mark.filterwarnings(f"ignore:{each}") for each in IGNORED]


SPECIAL = [
    name
    for name in CASES
    if name not in {f"{a}-{n}-{w}" for a in ALGORITHMS for n in ("1", "2", "2p") for w in WRAPS}
]
RECORDED = {
    *(f"{name}-1-plain" for name in ALGORITHMS),
    "ppo-2-stack",
    "ppo-2-normalize",
    "recurrent",
    "maskable",
    "dqn-n-step",
    "sac-memory",
}
"""The cases whose model is also made from what was recorded."""


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


@pytest.mark.slow
def test_a_training_becomes_the_same_in_another_process(tmp_path: Path) -> None:
    case = "ppo-2-normalize"
    learned = CASES[case].train(tmp_path / "runs", case)[0]
    _, *before = stored(tmp_path / "runs", case)
    jobs = {f"{case}@{before[len(before) // 2]}": learned}
    assert resumed(tmp_path / "runs", list(jobs)) == jobs


@pytest.mark.slow
@pytest.mark.parametrize("lanes", ["1", "2", "2p"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checkpoints_of_the_matrix(tmp_path: Path, algorithm: str, lanes: str) -> None:
    every_checkpoint(tmp_path / "runs", [f"{algorithm}-{lanes}-{wrap}" for wrap in WRAPS], 2)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))  # what one process does ends in reasonable time
def test_each_checkpoint_of_what_is_special(tmp_path: Path, part: int) -> None:
    every_checkpoint(tmp_path / "runs", SPECIAL[part::4])


def every_checkpoint(path: Path, cases: list[str], step: int = 1) -> None:
    """Train, and compare with what one new process makes of each checkpoint, or every so many."""
    learned = {}
    for case in cases:
        full = CASES[case].train(path, case)[0]
        times = stored(path, case)
        assert len(times) > 3, case
        learned |= {f"{case}@{each}": full for each in times[::step]}
        if case in RECORDED:
            learned[f"{case}@{times[-2]}!"] = full
    assert resumed(path, list(learned)) == learned


@pytest.mark.slow
@pytest.mark.parametrize("case", ["ddpg-normal", "her"])
def test_what_was_made_with_other_things_than_data_is_made_by_the_script(
    tmp_path: Path, case: str
) -> None:
    CASES[case].train(tmp_path / "runs", case)
    with pytest.raises(InvalidInput, match="not plain data: pass make="):
        resume(tmp_path / "runs", case)
