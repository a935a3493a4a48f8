"""A process may end at any moment: the repository holds what it held before or after the command."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simgit import Repository
from simgit.testing.failpoints import ENDED, Fault, arm, disarm, traced
from tests.support.examples import share

from . import kills

DISTINCT = 4
"""Workloads of which the sessions here are; a full sweep has more."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


def sweep(wanted: int, session: Callable[[int], kills.Tally], *points: str) -> None:
    """Run sessions until so many processes were killed, and some at each of these points."""
    tally = kills.Tally()
    for n in itertools.count():
        tally.add(session(n // DISTINCT * kills.SEEDS + n % DISTINCT))
        assert not tally.failures, tally.failures[0]
        if tally.kills >= wanted and tally.points.keys() >= set(points):
            return


@pytest.mark.slow
def test_a_process_that_ends_at_a_fail_point_leaves_what_was_before_or_after(
    directory: Path,
) -> None:
    points = ("commit.before", "commit.after", "refs.put", "flush.stored")
    sweep(share(130), lambda seed: kills.session(seed, directory), *points)


@pytest.mark.slow
def test_a_process_killed_at_any_time_leaves_what_was_before_or_after(directory: Path) -> None:
    sweep(share(40), lambda seed: kills.session(seed, directory, True))


@pytest.mark.slow
def test_four_writers_killed_at_any_time_leave_what_each_has_acknowledged(directory: Path) -> None:
    sweep(share(40), lambda seed: kills.many(seed, directory))


def test_a_repository_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    with traced() as passed:
        Repository.init(tmp_path / "whole").close()
    assert {"init.made", "init.linked", "init.format"} <= set(passed)
    for n in range(1, len(passed) + 1):
        path = tmp_path / str(n)
        child = kills.start(lambda say, n=n, path=path: _init(path, n))
        assert child.wait() == ENDED
        Repository.init(path).close()
        with Repository.open(path) as repo:
            assert repo.fsck().is_clean


def _init(path: Path, n: int) -> None:
    arm(f"*=exit@{n}")
    Repository.init(path)


def test_a_command_of_the_command_line_can_be_cut_off(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(1)
    command = [sys.executable, "-m", "simgit.testing.failpoints", "commit.before=exit", "--"]
    command += ["-C", str(tmp_path), "commit", "--observation", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == ENDED, done.stderr
    with Repository.open(tmp_path) as repo:
        assert repo.state().observation == 1


def test_an_error_at_a_point_reaches_the_caller_and_the_next_command_works(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        arm("commit.before=raise")
        with pytest.raises(OSError, match="injected"):
            repo.commit(1)
        disarm()
        repo.commit(2)
        assert repo.head_run.step == 0
        assert repo.state().observation == 2


@pytest.mark.parametrize("text", ["commit", "commit=explode", "=kill", "a=kill@x", ""])
def test_a_fault_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="malformed fault"):
        Fault.parse(text)
