"""Clocks, disk usage, memory and scratch directories: what every measurement needs."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Give an empty directory that is gone afterwards."""
    path = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes by the clock, with the garbage collector kept quiet.

    What was allocated before is frozen, so that a full collection inside the call does not
    walk through the prepared inputs, which a real program would not hold.
    """
    gc.collect()
    gc.freeze()
    start = time.perf_counter()
    work()
    elapsed = time.perf_counter() - start
    gc.unfreeze()
    return elapsed


def median_of_each(work: Callable[..., object], arguments: Iterable[object]) -> float:
    """Return the median time of one call, called once with each argument."""
    clock, taken = time.perf_counter, []
    for argument in arguments:
        start = clock()
        work(argument)
        taken.append(clock() - start)
    return statistics.median(taken)


def disk(path: Path) -> int:
    """Return the bytes that a file or directory occupies: blocks, so holes cost nothing."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(p.lstat().st_blocks * 512 for p in paths if not p.is_dir())


def memory(field: str = "VmRSS") -> int:
    """Return a figure of this process's memory in bytes (``VmHWM`` is the peak since exec)."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def run(command: Sequence[str | Path], **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, quietly; a failure shows what it printed."""
    done = subprocess.run(command, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.decode(errors='replace')[-500:]}")
    return done


@contextlib.contextmanager
def all_cores() -> Iterator[None]:
    """Lift the suite's restriction to one core for a while."""
    before = affinity()
    pin(range(os.cpu_count() or 1))
    try:
        yield
    finally:
        pin(before)


def affinity() -> set[int]:
    """Return the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def pin(cores: Iterable[int]) -> None:
    """Restrict this process and its children to these cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(cores))
