"""Requests that Schemathesis makes up from openapi.json: none is answered by a defect."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simgit import Repository
from tests.support.web import serving

PROGRAM = shutil.which("st", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="needs schemathesis")
def test_no_request_is_answered_by_a_defect(repo: Repository) -> None:
    assert PROGRAM is not None and repo.worktree is not None
    with serving(repo.worktree) as server:
        found = subprocess.run(
            [
                PROGRAM, "run", f"{server.url}openapi.json",
                "--header", f"Authorization: {server.headers['Authorization']}",
                "--checks", "not_a_server_error", "--phases", "fuzzing", "--max-examples", "8",
                "--exclude-path", "/v1/events", "--seed", "1", "--no-color",
            ],
            capture_output=True, text=True, check=False, cwd=repo.worktree,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout
        assert server.end()[0] == 0
