"""Reading: whole runs as columns, and single states."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from typing import Any

from . import cases_record as recording
from . import peer_git, subject
from .case import Bench, Case, at_least, at_most
from .measure import median_of_each, seconds

SAMPLE = 2000

columns = Case(
    "columns",
    "read a run as columns, checksums checked",
    "states/s",
    at_least(8e6),
    "simgit 1 M states, all columns; SQLite and LMDB 300 000",
)


def _lookup(name: str, size: str, how: str, bound: float) -> Case:
    note = "medians of 2 000 random reads in an open repository; git `cat-file --batch` 100 000, "
    note += "SQLite and LMDB 300 000 states"
    return Case(name, f"one state by {how}, of {size}", "µs", at_most(bound), note)


by_step = _lookup("step-1M", "1 M", "run@step", 150)
by_oid = _lookup("oid-1M", "1 M", "oid", 300)
by_step_10 = _lookup("step-10M", "10 M", "run@step", 150)
by_oid_10 = _lookup("oid-10M", "10 M", "oid", 300)
by_step_10.full_only = by_oid_10.full_only = True
CASES = [columns, by_step, by_oid, by_step_10, by_oid_10]


def whole(bench: Bench) -> int:
    """Return the length of the run that most cases read."""
    return bench.size(1_000_000, 100_000)


@columns.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    path = subject.recorded(bench, whole(bench))
    found: list[Any] = []
    with subject.store().open(path) as repo:
        taken = seconds(lambda: found.extend(_columns(repo.trajectory("main"))))
    if len(found[0]) != whole(bench):
        raise ValueError(f"{len(found[0])} states read of {whole(bench)}")
    return whole(bench) / taken


def _columns(run: Any) -> list[Any]:
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    return [getattr(run, name) for name in names]


@columns.side("SQLite")
def _(bench: Bench) -> float:
    return len(recording.peer_rows(bench)) / seconds(recording.sqlite(bench).columns)


@columns.side("LMDB")
def _(bench: Bench) -> float:
    return len(recording.peer_rows(bench)) / seconds(recording.plain_lmdb(bench).columns)


def sample(count: int, salt: int = 0) -> list[int]:
    """Return random steps, the same ones each time."""
    return random.Random(salt).choices(range(count), k=SAMPLE)


def _steps(bench: Bench, count: int) -> float:
    path = subject.recorded(bench, count)
    names = [f"main@{step}" for step in sample(count)]
    with subject.store().open(path) as repo:
        return median_of_each(repo.state, names) * 1e6


def _oids(bench: Bench, count: int) -> float:
    path = subject.recorded(bench, count)
    with subject.store().open(path) as repo:
        oids = [repo.state(f"main@{step}").oid for step in sample(count, salt=1)]
    with subject.store().open(path) as repo:
        return median_of_each(repo.state, oids) * 1e6


def _register(case: Case, read: Callable[[Bench, int], float], count: int) -> None:
    def figure(bench: Bench) -> float:
        if count > 1_000_000 or bench.quick:
            recording.watched(bench)
        return read(bench, count if not bench.quick else recording.longest(bench))

    case.side("simgit")(figure)


def _after_gc(case: Case, count: int) -> None:
    def figure(bench: Bench) -> float:
        recorded = subject.recorded(bench, count if not bench.quick else recording.longest(bench))
        copy = bench.path / f"{case.name}-gc"
        shutil.copytree(recorded, copy)
        with subject.store().open(copy) as repo:
            repo.gc()
        with subject.store().open(copy) as repo:
            last = repo.runs["main"].step
            oids = [repo.state(f"main@{step}").oid for step in sample(last, salt=1)]
        with subject.store().open(copy) as repo:
            taken = median_of_each(repo.state, oids) * 1e6
        shutil.rmtree(copy)
        return taken

    case.side("after gc")(figure)


_register(by_step, _steps, 1_000_000)
_register(by_oid, _oids, 1_000_000)
_register(by_step_10, _steps, 10_000_000)
_register(by_oid_10, _oids, 10_000_000)
_after_gc(by_oid, 1_000_000)
_after_gc(by_oid_10, 10_000_000)


@by_step.side("SQLite")
def _(bench: Bench) -> float:
    steps = sample(len(recording.peer_rows(bench)))
    return median_of_each(recording.sqlite(bench).read, steps) * 1e6


@by_oid.side("LMDB")
def _(bench: Bench) -> float:
    steps = sample(len(recording.peer_rows(bench)))
    return median_of_each(recording.plain_lmdb(bench).read, steps) * 1e6


@by_oid.side("git")
def _(bench: Bench) -> float:
    git = recording.git_repo(bench)
    oids = git("rev-list", "main").split()
    names = [oids[step] + b":state" for step in sample(len(oids))]
    with git.reader() as reader:
        return median_of_each(lambda name: peer_git.ask(reader, name), names) * 1e6
