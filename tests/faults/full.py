"""No space left: on a small file system, and in a small address space.

``python -m tests.faults.full DIRECTORY`` fills the file system that a directory lies on; ``on_disk``
starts it on one of its own, in a name space of its own, so that nothing is left of it.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from simgit import Oid, Repository, StorageFullError
from simgit.maintenance.gc import sweep
from simgit.storage.lmdb import files

from .power import ROOT

SIZES = (400_000, 30_000, 3000, 10)
"""Bytes of a state, the largest first, so that in the end there is space for none."""
SMALL = 3000
MIB = 1 << 20


def value(size: int, number: int) -> dict[str, Any]:
    """Return an observation that cannot be compressed."""
    return {"x": np.random.default_rng(number).integers(0, 255, size, np.uint8), "n": number}


def fill(repo: Repository, sizes: tuple[int, ...] = SIZES) -> dict[Oid, int]:
    """Commit until there is no space for anything; return the states, with their sizes.

    Raises:
        AssertionError: the error does not say what to do.
    """
    made: dict[Oid, int] = {}
    for size in sizes:
        while True:
            try:
                made[repo.commit(value(size, len(made)), run="junk")] = size
            except StorageFullError as error:
                assert "simgit gc" in str(error) or "try again" in str(error), error
                if "try again" not in str(error):
                    break
    return made


def recovers(repo: Repository) -> None:
    """Fill a repository, read all of it, remove what is not needed, and go on.

    Raises:
        AssertionError: something of that does not work.
    """
    kept = repo.commit(value(1000, 10**6), run="main")
    made = fill(repo)
    assert made
    for number, (oid, size) in enumerate(made.items()):
        assert np.array_equal(repo.state(oid).observation["x"], value(size, number)["x"])
    assert repo.fsck().is_clean
    repo.delete_run("junk")
    assert repo.gc(grace=0, expire=0).removed.states == len(made)
    assert repo.commit(value(50_000, 10**6), run="main") == repo.resolve("main")
    assert repo.resolve("main~1") == kept
    assert repo.fsck().is_clean


def makes_room(
    directory: Path, with_reserve: bool = True, share: int = 1, seconds: float = sweep.SLICE
) -> bool:
    """Fill a disk that has much to remove, in many pages; return whether gc has removed it.

    Args:
        directory: a new directory.
        with_reserve: whether there is space that is kept back for this.
        share: one of so many things is removed, and the others of its page stay.
        seconds: after so long gc ends a transaction.
    """
    with Repository.init(directory) as repo:
        repo.commit(0, run="main")
        with repo.transaction():
            for number in range(SMALL):
                repo.attach("main", f"a{number}", number.to_bytes(30, "big"))
        with repo.transaction():
            for number in range(0, SMALL, share):
                repo.detach("main", f"a{number}")
        assert repo.odb.storage.compact()  # the file itself has no room left either
        if not with_reserve:
            (directory / ".simgit" / "reserve").unlink()
        fill_disk(directory / "filler")
        removed = 0
        with suppress(StorageFullError), patch.object(sweep, "SLICE", seconds):
            removed = repo.gc(grace=0, expire=0).removed.objects["binding"]
        assert repo.fsck().is_clean
        return removed == SMALL // share


def fill_disk(path: Path) -> None:
    """Write a file until there is no space left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass


def on_disk(directory: Path, size: str = "8m", module: str = "tests.faults.full") -> None:
    """Run a module in a file system of a size; skip the test where none can be made."""
    inner = f'mount -t tmpfs -o size={size} none "$1" && shift && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", inner, "sh", directory]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be made here")
    command += [sys.executable, "-m", module, directory]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def in_address_space(directory: Path) -> None:
    """Fill what address space is left to this process; call this in a child."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    taken = pages * resource.getpagesize()
    limit = taken + 136 * MIB  # twice the map does not fit, and what lies beside it does
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with patch.object(files, "address_space", lambda: 72 * MIB), Repository.init(directory) as repo:
        recovers(repo)


def main(place: Path) -> None:
    """Fill the file system of a directory in all ways."""
    with Repository.init(place / "commits") as repo:
        recovers(repo)
    shutil.rmtree(place / "commits")
    for share, seconds in (
        (1, sweep.SLICE),
        (1, 0.01),
        (1, 0.008),
        (1, 0.0),
        (2, sys.maxsize),
        (2, 0.0),
    ):
        what = f"1 of {share} goes, {seconds} seconds at a time"
        assert makes_room(place / "kept", share=share, seconds=seconds), what
        shutil.rmtree(place / "kept")
    assert not makes_room(place / "none", False), "gc needs no reserve: nothing is shown"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
