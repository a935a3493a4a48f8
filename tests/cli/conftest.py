"""What the tests of the command line share: a repository, and calls in and outside the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from simgit.cli.root import cli
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.unchecked import checked, unchecked

__all__ = ["checked", "unchecked"]


class Result:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def records(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]


Call = Callable[..., Result]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    for name in ("SIMGIT_DIR", "SIMGIT_PAGER", "PAGER", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(directory: Path) -> Call:
    """Call a command in this process; with ``code=None`` any exit code is fine."""

    def call(*args: object, code: int | None = 0, stdin: bytes = b"") -> Result:
        found = CliRunner().invoke(cli, [str(arg) for arg in args], input=stdin, prog_name="simgit")
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        result = Result(found.exit_code, found.stdout, found.stderr)
        assert code is None or result.code == code, (result.code, result.out, result.err)
        return result

    return call


@pytest.fixture
def repo(run: Call) -> Call:
    """``run``, in a repository with a run of three states (steps 0 to 2) and one episode."""
    run("init")
    run("commit", "-o", "[0.5, 1.5]", "--seed", 7)
    run("commit", "-o", "[0.5, 2.5]", "-a", 1, "-r", 1, "--info", '{"lives": 3}')
    run("commit", "-o", "[0.0, 2.5]", "-a", 0, "-r", 0.5, "--terminated", "-m", "fell over")
    return run


@pytest.fixture
def environment(directory: Path) -> dict[str, str]:
    """The environment of a real process."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}


@pytest.fixture
def process(environment: dict[str, str]) -> Call:
    """Call a command in a process of its own."""

    def call(*args: object, stdin: bytes = b"", **extra: str) -> Result:
        found = subprocess.run(
            [sys.executable, "-m", "simgit", *map(str, args)],
            input=stdin, capture_output=True, env=environment | extra, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return Result(found.returncode, found.stdout.decode(), found.stderr.decode())

    return call
