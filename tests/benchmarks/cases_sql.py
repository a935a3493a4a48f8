"""Queries in SQL, rankings, and event files; DuckDB over Parquet and TensorBoard beside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from . import generate, subject
from .case import Bench, Case, NotBuilt, at_least, at_most
from .cases_read import whole
from .measure import run, seconds

QUERY = "select episode, sum(reward) as r from {} group by episode order by r desc, episode limit 5"
RUNS = 1000
LENGTH = 300
POINTS = 100_000

by_episode = Case(
    "sql-episodes",
    "SQL: sum of rewards by episode over 1 M states, whole process",
    "s",
    at_most(1.5),
    "DuckDB: the same over a Parquet file that simgit wrote, which is not part of its time",
)
start = Case("sql-start", "SQL: 'select 1', whole process", "s", at_most(0.5))
all_runs = Case(
    "sql-runs", "SQL: name, status and return of 1 000 runs, in order", "s", at_most(0.3)
)
all_episodes = Case(
    "sql-best", "SQL: best return by run over the episodes of 1 000 runs", "s", at_most(0.3)
)
ranges = Case("sql-range", "SQL: 100 steps in the middle of 1 M states", "ms")
ranking = Case("run-best", "run best of 1 000 runs by mean(return, 10), in the process", "s")
writing = Case(
    "events-write",
    "event files: numbers written",
    "1/s",
    at_least(38_000),
    "torch: its SummaryWriter, which writes in a thread; flushed",
)
reading = Case("events-read", "event files: numbers read", "1/s", None, "TensorBoard's own reader")
CASES = [by_episode, start, all_runs, all_episodes, ranges, ranking, writing, reading]


def _needed(*names: str) -> None:
    try:
        for name in names:
            __import__(name)
    except ImportError as error:
        raise NotBuilt from error


def _many(bench: Bench) -> Path:
    """Return a repository with many short runs of different settings."""

    def build() -> Path:
        path = bench.folder("simgit-many")
        for number in range(bench.size(RUNS, 100)):
            rows = generate.rows(LENGTH, number % 7)
            subject.record(path, rows, f"sweep/{number}", config={"lr": number / 1000})
        return path

    subject.store()
    return bench.keep("simgit-many", build)


def _process(bench: Bench, query: str) -> float:
    _needed("duckdb", "pyarrow")
    path = subject.recorded(bench, whole(bench))
    command = subject.program("-C", str(path), "sql", query)
    return seconds(lambda: run(command, env=subject.environment()))


@by_episode.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    return _process(bench, QUERY.format("main"))


@by_episode.side("DuckDB, Parquet", repeat=5)
def _(bench: Bench) -> float:
    _needed("duckdb", "pyarrow")
    path = subject.recorded(bench, whole(bench))
    file = bench.path / "main.parquet"
    if not file.exists():
        with subject.store().open(path) as repo:
            repo.export("parquet", file, "main")
    query = QUERY.format(f"'{file}'")
    code = f"import duckdb; print(duckdb.sql({query!r}).fetchall())"
    return seconds(lambda: run([sys.executable, "-c", code], env=subject.environment()))


@start.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    return _process(bench, "select 1")


def _query(path: Path, query: str) -> float:
    """Return the time of a query in an open repository, after a first one."""
    _needed("duckdb", "pyarrow")
    with subject.store().open(path) as repo:
        repo.sql("select 1").fetchall()
        return seconds(lambda: repo.sql(query).fetchall())


@all_runs.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    query = "select name, status, return from runs order by return desc"
    return _query(_many(bench), query)


@all_episodes.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    query = "select run, max(return) from episodes group by run order by 2 desc"
    return _query(_many(bench), query)


@ranges.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    path = subject.recorded(bench, whole(bench))
    middle = whole(bench) // 2
    query = f"select avg(reward) from main where step between {middle} and {middle + 99}"
    return _query(path, query) * 1e3


@ranking.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    with subject.store().open(_many(bench)) as repo:
        found: list[Any] = []
        taken = seconds(lambda: found.extend(repo.runs.best("mean(return, 10)")))
    if len(found) != bench.size(RUNS, 100):
        raise ValueError(f"{len(found)} runs were ranked")
    return taken


def _event_file(bench: Bench) -> tuple[Path, float]:
    """Return a written event file, and how long writing it took."""
    from simgit.datasets.event_files import scalar_events, version_event
    from simgit.datasets.event_records import records

    path = bench.folder("events") / "events.out.tfevents.0.bench"
    steps, times = list(range(POINTS)), [1e9 + i for i in range(POINTS)]
    values = [i / 7 for i in range(POINTS)]

    def write() -> None:
        events = scalar_events("train/loss", steps, times, values)
        path.write_bytes(records([version_event(0.0), *events]))

    return path, seconds(write)


@writing.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    return POINTS / _event_file(bench)[1]


@writing.side("torch", repeat=3)
def _(bench: Bench) -> float:
    _needed("torch", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    def write() -> None:
        with SummaryWriter(str(bench.folder("torch-events"))) as writer:
            for i in range(POINTS):
                writer.add_scalar("train/loss", i / 7, i, walltime=1e9 + i)

    return POINTS / seconds(write)


@reading.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    from simgit.datasets.event_files import EventFile

    path, _ = _event_file(bench)
    found: list[Any] = []
    taken = seconds(lambda: found.extend(EventFile(path).points()))
    if len(found) != POINTS:
        raise ValueError(f"{len(found)} numbers were read")
    return POINTS / taken


@reading.side("tensorboard", repeat=3)
def _(bench: Bench) -> float:
    _needed("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path, _ = _event_file(bench)
    found = EventAccumulator(str(path), size_guidance={"scalars": 0})
    taken = seconds(found.Reload)
    if len(found.Scalars("train/loss")) != POINTS:
        raise ValueError("numbers are missing")
    return POINTS / taken
