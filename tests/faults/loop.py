"""Power cuts on a real file system: its image, copied while a writer is at work, is what is left.

``python -m tests.faults.loop DIRECTORY SEED`` works on an ext4 image on a loop device, which holds
what the kernel has written and not what it still keeps in memory. It must run in a mount name space
of its own, so that nothing stays mounted, and prints what it has found.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import simgit

from .kills import COMMANDS, MEAN, SEEDS, Reference, _acknowledged, _perform, next_wait, reference
from .power import ROOT
from .processes import in_child, start
from .workload import Workload, check

SIZE = "48M"


def available(directory: Path) -> bool:
    """Return whether an image can be made and mounted here."""
    if shutil.which("mkfs.ext4") is None or shutil.which("unshare") is None:
        return False
    image, place = directory / "try.ext4", directory / "try"
    place.mkdir()
    _format(image)
    command = ["unshare", "-m", "mount", "-o", "loop", image, place]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _format(image: Path) -> None:
    subprocess.run(["truncate", "-s", SIZE, image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """Yield a directory where the file system of an image is mounted."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def run(directory: Path, seed: int) -> int:
    """Cut the power of a writer again and again until it has done its commands; return how often.

    Raises:
        AssertionError: something that was acknowledged is not there, or what is there is not whole.
    """
    rng, cuts, done = random.Random(f"loop {seed}"), 0, 0
    known, work = reference(seed % SEEDS, directory), Workload(seed % SEEDS, directory)
    image = directory / "live.ext4"
    _format(image)
    with mounted(image, directory / "live") as live:
        simgit.Repository.init(live / "repo").close()
        wait = MEAN
        while done < COMMANDS:
            before = done
            child = start(lambda say, at=done: _perform(live / "repo", work, at, None, say))
            time.sleep(rng.expovariate(1 / wait))
            child.kill()
            shutil.copyfile(image, directory / "cut.ext4")
            child.wait()
            done = _acknowledged(child, done)
            if done < COMMANDS:
                cuts += 1
                with mounted(directory / "cut.ext4", directory / "cut") as cut:
                    _holds(cut / "repo", known, done)
                done += _holds(live / "repo", known, done)
            wait = next_wait(wait, done > before)
    return cuts


def _holds(path: Path, known: Reference, done: int) -> bool:
    """Check what a writer has left; return whether the command that it was at is done."""
    expected = known.expected(done)
    status, found = in_child(lambda: check(path, expected))
    assert status == 0, f"at command {done}: exit {status}: {found}"
    return bool(found == expected[-1])


def sweep(directory: Path, seed: int) -> tuple[int, list[str]]:
    """Return how often the power was cut, and what went wrong."""
    command = ["unshare", "-m", sys.executable, "-m", "tests.faults.loop", directory, str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return 0, [f"loop {seed}: {done.stderr}"]
    return int(done.stdout), []


if __name__ == "__main__":
    print(run(Path(sys.argv[1]), int(sys.argv[2])))
