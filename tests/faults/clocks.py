"""Clocks that jump: what a repository holds does not depend on what time it is."""

from __future__ import annotations

import random
import time
from pathlib import Path
from unittest.mock import patch

from simgit import Repository

from .kills import COMMANDS, SEEDS, place, reference
from .processes import in_child
from .workload import Workload, held

YEAR = 365 * 24 * 3600 * 10**9


class Clock:
    """The time in nanoseconds since 1970, which jumps by up to ten years, both ways."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"clock {seed}")
        self._now = time.time_ns()

    def __call__(self) -> int:
        kind = self._rng.random()
        if kind < 0.1:
            self._now += self._rng.randrange(-10 * YEAR, 10 * YEAR)
        elif kind < 0.3:
            self._now -= self._rng.randrange(10**9)
        self._now = max(0, self._now + 1)
        return self._now


def _work(seed: int, directory: Path, path: Path) -> int:
    """Do a workload under a clock that jumps, with a gc after each command.

    Raises:
        AssertionError: it holds something else than under a clock that goes well.
    """
    known, work = reference(seed % SEEDS, directory), Workload(seed % SEEDS, directory)
    with patch.object(time, "time_ns", Clock(seed)), Repository.init(path) as repo:
        for i in range(COMMANDS):
            work.command(i)[1](repo)
            repo.gc()
            assert held(repo) == known.contents[i + 1][-1], f"after command {i}"
        problems = [str(problem) for problem in repo.fsck().problems]
        assert not problems, problems
        numbers = [operation.number for operation in repo.operations()]
        assert numbers == sorted(numbers, reverse=True) and len(numbers) >= COMMANDS // 2
        undone = repo.undo()
        repo.redo()
        assert held(repo) == known.contents[COMMANDS][-1], f"after undo and redo of {undone.title}"
    return COMMANDS


def session(seed: int, directory: Path) -> list[str]:
    """Return what went wrong under a clock that jumps."""
    reference(seed % SEEDS, directory)
    with place(directory) as path:
        status, said = in_child(lambda: _work(seed, directory, path))
    return [] if status == 0 else [f"clock {seed}: exit {status}: {said}"]
