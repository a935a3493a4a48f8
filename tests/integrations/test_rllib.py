"""RLlib: its EnvRunners record, its callbacks attach, and what they recorded is restored exactly.

Ray brings a Gymnasium of its own: these tests run where it is installed, and are skipped elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytest.importorskip("ray.rllib")


@pytest.mark.slow
@pytest.mark.parametrize("runners", [0, 2])
def test_what_env_runners_record_is_exact(tmp_path: Path, runners: int) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SIMGIT_CONFIG_DIR": str(tmp_path / "config")}

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", *arguments],
            env=environ, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    said = call("tests.integrations.rllib_script", str(tmp_path / "repo"), str(runners))
    assert said.splitlines()[-1] == f"{2 * max(1, runners)} runs, True, True"

    from simgit import Repository

    with Repository.open(tmp_path / "repo") as repo:
        names = repo.runs.matching("ppo/*")
        for name in names:
            assert any(each.end != "open" for each in repo.episodes(name))
            for each in repo.episodes(name):
                if each.end != "open":
                    assert repo.attachment(f"{name}@{each.stop - 1}", "length") == each.steps
    for name in names:
        assert "exact" in call("simgit", "-C", str(tmp_path / "repo"), "verify", name)
