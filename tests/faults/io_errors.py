"""Calls that fail: each write and sync of a writer once, with every error that there can be.

``python -m tests.faults.io_errors DIRECTORY SEED STEP`` must be started with the library that
fails calls preloaded; it forks a writer for each fault and prints what went wrong.
"""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from pathlib import Path

from simgit import Repository
from simgit.errors import SimgitError

from . import power
from .kills import Reference, place, reference
from .processes import in_child
from .workload import Workload, held

COMMANDS = 8
FAULTS = (("w", errno.EIO), ("w", errno.ENOSPC), ("w", 0), ("s", errno.EIO))
"""Writes that fail, writes of half the bytes, syncs that fail."""
FOR_EVER = 1 << 40


def fail(kind: str, first: int, count: int, error: int) -> None:
    """Let some of the calls that this process makes from now on fail."""
    rule = ctypes.CDLL(None).faults_rule
    rule.argtypes = [ctypes.c_char, ctypes.c_long, ctypes.c_long, ctypes.c_int]
    rule(kind.encode(), first, count, error)


def calls() -> int:
    """Return how many calls of the kind that may fail were made."""
    return int(ctypes.c_long.in_dll(ctypes.CDLL(None), "faults_calls").value)


def once(path: Path, work: Workload, known: Reference, fault: tuple[str, int], at: int) -> int:
    """Do commands while one call fails; return how many calls there were.

    A command that fails must say so with one of our errors, leave what was there before or after
    it, and work when it is repeated.

    Raises:
        AssertionError: it did not.
    """
    fail(fault[0], at, 1, fault[1])
    repo = _init(path)
    for i in range(COMMANDS):
        try:
            work.command(i)[1](repo)
        except SimgitError:
            assert held(repo) in known.expected(i), f"neither before nor after command {i}"
            for recorder in list(repo._store.recorders):  # it kept what could not be stored
                recorder.close()
            if held(repo) != known.contents[i + 1][-1]:
                work.command(i)[1](repo)
    assert held(repo) == known.contents[COMMANDS][-1]
    repo.close()
    with Repository.open(path) as again:
        assert again.fsck().is_clean
        assert held(again) == known.contents[COMMANDS][-1]
    return calls()


def full(path: Path, work: Workload, known: Reference, at: int) -> int:
    """Do commands on a disk that is full from one write on, until it is not.

    Raises:
        AssertionError: what was there cannot be read, or the next command does not work.
    """
    repo = Repository.init(path)
    fail("w", at, FOR_EVER, errno.ENOSPC)
    for i in range(COMMANDS):
        try:
            work.command(i)[1](repo)
        except SimgitError as error:
            assert held(repo) in known.expected(i), f"neither before nor after command {i}"
            assert "full" in str(error) or "space" in str(error), error
            break
    else:
        return calls()
    with Repository.open(path) as other:
        assert other.fsck().is_clean
    total = calls()
    fail("-", 0, 0, 0)
    if held(repo) != known.contents[i + 1][-1]:
        work.command(i)[1](repo)
    assert held(repo) == known.contents[i + 1][-1]
    return total


def commit(path: Path) -> int:
    """Commit while each of the calls of a commit fails once, the one that ends it included.

    Raises:
        AssertionError: what was there cannot be read then, or the next commit does not work.
    """
    with Repository.init(path) as repo:
        failed = 0
        for fault in FAULTS:
            for at in range(1, 33):  # more than a commit has, so that its last is among them
                before = repo.commit(f"{fault} {at}")
                fail(fault[0], at, 1, fault[1])
                try:
                    repo.commit("fails")
                except SimgitError:
                    failed += 1
                    if at % 2:  # a write comes first, or a read; a commit reads before it writes
                        with repo.odb.storage.write() as txn:
                            txn.delete("meta", b"nothing")
                        repo.commit("next")
                    assert repo.state(before).observation == f"{fault} {at}"
                fail("-", 0, 0, 0)
        assert repo.fsck().is_clean
        return failed


def _init(path: Path) -> Repository:
    for _ in range(2):
        try:
            return Repository.init(path)
        except SimgitError:
            continue
    raise AssertionError("a repository cannot be made after a call has failed once")


def run(directory: Path, seed: int, step: int) -> None:
    """Fail each ``step``-th call in a writer of its own; print what went wrong."""
    known, work = reference(seed, directory), Workload(seed, directory)
    with place(directory) as path:
        status, said = in_child(lambda: commit(path))
        print(f"commits: {said} failed calls" if status == 0 else f"{status} {said}", flush=True)
    for fault in (*FAULTS, None):
        at, total = 1, 1
        while at <= total:
            with place(directory) as path:
                status, said = in_child(
                    lambda path=path, at=at, fault=fault: (
                        full(path, work, known, at)
                        if fault is None
                        else once(path, work, known, fault, at)
                    )
                )
            if status != 0:
                print(f"{fault or 'full'} at {at}: exit {status}: {said}", flush=True)
            else:
                total = max(total, said)
            at += step
        print(f"{fault or 'full'}: {total} calls", flush=True)


def sweep(directory: Path, seed: int, step: int = 1) -> list[str]:
    """Return what went wrong when calls failed."""
    env = power.environment(directory, directory) | {"FAULTS_LOG": ""}
    command = [sys.executable, "-m", "tests.faults.io_errors", directory, str(seed), str(step)]
    done = subprocess.run(
        command, cwd=power.ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert len([line for line in lines if line.endswith("calls")]) == len(FAULTS) + 2
    return [done.stdout] if any(not line.endswith("calls") for line in lines) else []


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
