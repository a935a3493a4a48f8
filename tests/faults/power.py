"""Power cuts: a writer's calls are recorded, and the disk is cut off after each of them.

``python -m tests.faults.power PATH DIRECTORY SEED`` is the writer.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from simgit import NotFound, Repository
from simgit.storage.datafile import record_origin

from .disk import Call, Disk, read_log
from .kills import reference
from .processes import in_child
from .workload import Held, Workload, check

COMMANDS = 8
ROOT = Path(__file__).parents[2]


class NoCompiler(Exception):
    """There is no C compiler: the calls of a process cannot be recorded."""


@cache
def library(directory: Path) -> Path:
    """Build the library that records and fails calls.

    Raises:
        NoCompiler: that cannot be done here.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        raise NoCompiler("calls can be recorded on Linux with a C compiler only")
    target = directory / "preload.so"
    source = Path(__file__).with_name("preload.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", target, source, "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return target


def environment(directory: Path, root: Path, rule: str = "") -> dict[str, str]:
    """Return the environment of a process whose calls below ``root`` are recorded."""
    found = {"LD_PRELOAD": str(library(directory)), "FAULTS_ROOT": str(root)}
    found |= {"FAULTS_RULE": rule} if rule else {"FAULTS_LOG": str(directory / "log")}
    return {**os.environ, **found, "PYTHONPATH": str(ROOT)}


def record(directory: Path, seed: int) -> list[Call]:
    """Let a writer do its commands; return its calls."""
    root = directory / "root"
    root.mkdir()
    (directory / "log").unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.faults.power", root, directory, str(seed)]
    env = environment(directory, root)
    subprocess.run(command, check=True, cwd=ROOT, env=env, stdout=subprocess.PIPE)
    shutil.rmtree(root)
    return list(read_log(directory / "log"))


def write(path: Path, directory: Path, seed: int) -> None:
    """Make a repository and do commands; say what is done."""
    work = Workload(seed, directory)
    with Repository.init(path) as repo:
        os.write(1, b"0\n")
        for i in range(COMMANDS):
            work.command(i)[1](repo)
            os.write(1, b"%d\n" % (i + 1))


def cuts(calls: list[Call], seed: int, torn: int) -> Iterator[tuple[int, str, dict[str, bytes]]]:
    """Yield what is left after each call: its number, what was said by then, and the files.

    Args:
        calls: what the writer did.
        seed: decides what is torn and lost.
        torn: how many such outcomes there are for each call, beside all lost and nothing lost.
    """
    disk = Disk()
    for number, call in enumerate(calls):
        disk.apply(call)
        said = disk.said.decode()
        yield number, said, disk.after_cut(None)
        yield number, said, disk.after_cut(None, keep=True)
        for n in range(torn):
            yield number, said, disk.after_cut(random.Random(f"{seed} {number} {n}"))


def judge(place: Path, files: dict[str, bytes], said: str, directory: Path, seed: int) -> None:
    """Open what a cut has left, and compare it with what was acknowledged.

    Raises:
        AssertionError: something that was acknowledged is not there, or it is not whole.
    """
    restore(place, files, directory / "root")
    done = [int(line) for line in said.split()]
    if not done:
        if not _opens(place):
            Repository.init(place).close()  # nothing was promised; that can be made up for
        return
    known = reference(seed, directory)
    at = done[-1]
    expected: list[Held] = [known.contents[at][-1]]
    expected += known.contents[at + 1] if at < COMMANDS else []
    check(place, expected)


def _opens(place: Path) -> bool:
    try:
        Repository.open(place).close()
    except NotFound:
        return False
    return True


def restore(place: Path, files: dict[str, bytes], root: Path) -> None:
    """Put the files of a cut into a directory, as the disk itself would show them."""
    shutil.rmtree(place, ignore_errors=True)
    (place / ".simgit").mkdir(parents=True)
    for name, data in files.items():
        path = place / Path(name).relative_to(root)
        if path.name != "lock.mdb":  # it is mapped: what is in it counts for nothing
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    if str(root / ".simgit" / "origin") in files and (place / ".simgit" / "data.mdb").exists():
        record_origin(place / ".simgit")  # it is no copy: it must open without an audit


def sweep(directory: Path, seed: int, torn: int = 1, step: int = 1) -> tuple[int, list[str]]:
    """Cut a writer off after each of its calls; return how many cuts, and what was wrong.

    Args:
        directory: an empty one.
        seed: of the commands and of what is torn.
        torn: outcomes with torn and lost writes for each call.
        step: every so many outcomes one is looked at.
    """
    Workload(seed, directory).prepare()
    reference(seed, directory)
    calls = record(directory, seed)
    outcomes = [each for i, each in enumerate(cuts(calls, seed, torn)) if i % step == 0]
    # in a child, for a damaged file may end the interpreter
    status, said = in_child(lambda: _judge_all(directory, outcomes, seed), 3600)
    return len(outcomes), [] if status == 0 else [f"exit {status}: {said}"]


def _judge_all(
    directory: Path, outcomes: list[tuple[int, str, dict[str, bytes]]], seed: int
) -> None:
    for number, said, files in outcomes:
        try:
            judge(directory / "root", files, said, directory, seed)
        except BaseException as error:
            error.add_note(f"after call {number}, {said.split()[-1:]} done")
            raise


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
