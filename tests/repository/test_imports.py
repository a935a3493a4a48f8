"""Commands wait only for the code that they need: what is for writing or maintenance comes late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simgit import Repository

READING = """
with simgit.Repository.open() as repo:
    list(repo.log()), repo.status(), repo.runs["main"], repo.state(), repo.diff("main@0", "main@1")
"""
WRITING = """
with simgit.Repository.open() as repo:
    repo.commit(3)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with Repository.init(tmp_path) as repo:
        repo.commit(1)
        repo.commit(2)
    return tmp_path


def loaded(lines: str, directory: Path) -> list[str]:
    """Return the modules of simgit that are loaded after the lines ran."""
    script = f"import sys, simgit\n{lines}\nprint(*(n for n in sys.modules if 'simgit.' in n))"
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, cwd=directory, capture_output=True, check=True, text=True
    ).stdout.split()


@pytest.mark.slow
def test_reading_imports_nothing_that_writes_or_maintains(directory: Path) -> None:
    found = loaded(READING, directory)
    assert "simgit.history.log" in found
    for part in ("maintenance", "recording", "refs.oplog", "remotes", "plot", "kube", "gym"):
        assert not [name for name in found if name.startswith(f"simgit.{part}")], part


@pytest.mark.slow
def test_a_write_imports_background_maintenance_only_if_it_is_due(directory: Path) -> None:
    assert "simgit.maintenance.background" not in loaded(WRITING, directory)
    with Repository.open(directory) as repo:
        repo.set_setting("gc.auto", 1)
    assert "simgit.maintenance.background" in loaded(WRITING, directory)
