"""Every script in examples/ runs in an empty directory, and leaves a sound repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import simgit
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


WHOLE = ("database_gym", "demo", "ppo_cleanrl")
"""Examples that have a simulator of their own."""
LONG = (
    "branch_cartpole", "checkpoint_torch", "classifier", "compare_policies", "curriculum",
    "database_gym", "explore", "go_explore", "intervene", "ppo_cleanrl", "record_mesa",
    "resume_after_kill", "resume_sb3", "train_cleanrl", "train_gymnasium", "train_sb3",
)  # fmt: skip


PATIENTLY = f"""
import runpy, sys
from simgit.gym.recording import session
session.PATIENCE = {PATIENCE}  # a busy machine may take long to check a run
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(script, id=script.stem, marks=[pytest.mark.slow] * (script.stem in LONG))
        for script in SCRIPTS
        if script.stem != "demo"  # which `make demo` runs
    ],
)
def test_an_example_runs_and_says_something(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PATIENTLY, script, "here"],
        cwd=tmp_path, capture_output=True,
        text=True, timeout=PATIENCE, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = ("training ", "episode ")  # a training says what it does, and how far it is
    assert done.stdout
    lines = [line for line in done.stderr.splitlines() if "not checked" not in line]
    assert [line for line in lines if not line.startswith(told)] == []
    with simgit.Repository.open(tmp_path / "here") as repo:
        assert repo.fsck().is_clean


@pytest.mark.parametrize(
    "script", [s for s in SCRIPTS if s.stem not in WHOLE], ids=lambda script: script.stem
)
def test_an_example_is_short(script: Path) -> None:
    assert len(script.read_text().splitlines()) <= 80
