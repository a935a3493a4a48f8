"""Copies of a directory made while a writer is at work: whole, refused, or known to be damaged."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np

from simgit import IntegrityError, Repository

from .processes import in_child, start

GOOD, REFUSED = "good", "refused"
FOUND = "found by fsck"
"""A copy that mixes pages of two moments, each of them well formed: the audit cannot see that."""
WRITTEN = 300_000
"""Bytes that there are before the first copy is made."""
AT_ONCE = 8
"""Copies of one source."""


def write(path: Path) -> None:
    """Record for ever, in small and in large pieces, and remove again, so that pages are reused."""
    rng = np.random.default_rng(0)
    with Repository.open(path) as repo:
        n = 0
        while True:
            with repo.recorder("live", flush_every=50) as rec:
                for _ in range(200):
                    rec.append(np.float32([n, n / 3]), n, float(n), info={"text": f"{n}"})
                    n += 1
            repo.commit({"x": rng.integers(0, 255, (200, 200), np.uint8)}, run="frames")
            repo.attach("live", "agent", {"weights": rng.random(2000)})
            if n % 2000 == 0:
                repo.gc()


def judge(copy: Path) -> str:
    """Open a copy and read all of it; return what became of it.

    Raises:
        AssertionError: it was accepted and fsck calls it whole, and it is not, or the error does
            not say what to do.
    """
    try:
        with Repository.open(copy) as repo:
            if repo.fsck().problems:
                return FOUND
            actions = np.asarray(repo.trajectory("live").actions)
            assert np.array_equal(actions, np.arange(len(actions)))
            repo.commit(1, run="after")
    except IntegrityError as error:
        assert "simgit clone" in str(error), error
        return REFUSED
    return GOOD


def _cp(source: Path, copy: Path) -> None:
    subprocess.run(["cp", "-r", source, copy], check=False, capture_output=True)


def _slowly(source: Path, copy: Path) -> None:
    """Copy as over a slow line: piece by piece, while the writer goes on."""
    (copy / ".simgit").mkdir(parents=True)
    for name in ("format", "origin", "lease", "lock.mdb", "data.mdb"):
        with (
            (source / ".simgit" / name).open("rb") as old,
            (copy / ".simgit" / name).open("wb") as new,
        ):
            while piece := old.read(1 << 16):
                new.write(piece)
                time.sleep(0.001)


COPIERS = (_cp, _slowly, _slowly)


def sweep(directory: Path, count: int, seed: int = 0) -> Counter[str]:
    """Make copies while a writer is at work; return how many were good, refused, and so on.

    Raises:
        AssertionError: reading one ended the interpreter, or one is not whole and nothing says so.
    """
    outcomes = Counter[str]()
    for first in range(0, count, AT_ONCE):
        outcomes += _some(directory / str(first), min(AT_ONCE, count - first), f"{seed} {first}")
    return outcomes


def _some(directory: Path, count: int, seed: str) -> Counter[str]:
    """Make copies of a new repository, for a large one takes long to check."""
    rng, outcomes = random.Random(seed), Counter[str]()
    directory.mkdir(parents=True)
    source = directory / "source"
    Repository.init(source).close()
    child = start(lambda _: write(source))
    try:
        while (source / ".simgit" / "data.mdb").stat().st_size < WRITTEN:
            time.sleep(0.01)
        for n in range(count):
            time.sleep(rng.uniform(0, 0.02))
            outcomes[_one(source, directory / f"copy{n}")] += 1
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(directory)
    return outcomes


def _one(source: Path, copy: Path) -> str:
    COPIERS[int(copy.name[4:]) % len(COPIERS)](source, copy)
    status, said = in_child(lambda: judge(copy))
    assert status == 0, f"{copy}: exit {status}: {said}"
    shutil.rmtree(copy)
    return str(said)
