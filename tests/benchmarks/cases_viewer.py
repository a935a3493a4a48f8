"""What a viewer asks for: curves, and what is written for them while recording."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import generate, subject
from .case import Bench, Case, at_most
from .measure import memory, seconds

CURVES = 10
summarising = Case(
    "summaries-cost",
    "record 100 000 states with their summaries",
    "µs/state",
    at_most(lambda peers: 1.03 * peers["without"]),
    "processor time and clock, synced; the same without writing summaries",
)
weight = Case(
    "summaries-size",
    "summaries of a state",
    "bytes/state",
    at_most(0.1),
    "keys and values; CartPole, 8 scalars",
)
overview = Case(
    "curves",
    "10 curves of 1 M states, 489 buckets each",
    "ms",
    at_most(60),
    "n, min, max, mean, last from summaries; one request a curve",
)
window = Case(
    "curves-window",
    "4 curves of a window of 100 000 states of 1 M",
    "ms",
    at_most(25),
    "four elements of the observation in 782 buckets, from columns",
)
runs_again = Case(
    "runs-again",
    "`repo.runs.values()` of 1 000 runs, none moved",
    "ms",
    at_most(5),
    "in an open repository that has read them before; peer: a new one",
)
runs_moved = Case(
    "runs-moved", "`repo.runs.values()` of 1 000 runs, after one moved", "ms", at_most(10)
)
runs_many = Case(
    "runs-many",
    "`repo.runs.values()` of 100 000 runs, for the first time",
    "s",
    at_most(1),
    "branches with settings of their own, of which nothing is in memory; then name, status and "
    "step of each, and the settings of each",
)
runs_memory = Case(
    "runs-many-memory",
    "anonymous memory of these",
    "MB",
    at_most(100),
    "before and after their settings are looked at",
)
by_measure = Case(
    "runs-measure",
    "runs with mean(reward) > 0.5, of 20 branches of 1 M states",
    "s",
    at_most(lambda peers: 0.2 * peers["columns"]),
    "from summaries, and by reading the reward of each run as a column",
)
rare = Case(
    "log-where-rare",
    "log --where of 1 M states, true for none",
    "ms",
    at_most(lambda peers: 0.25 * peers["all blocks"]),
    "blocks left out by their summaries, and all evaluated",
)
CASES = [
    rare, by_measure, runs_again, runs_moved, runs_many, runs_memory, summarising, weight, overview,
    window,
]  # fmt: skip


def _length(bench: Bench) -> int:
    return bench.size(1_000_000, 100_000)


def _record(bench: Bench, name: str) -> float:
    rows = bench.keep("viewer-rows", lambda: list(generate.rows(100_000)))
    path = bench.folder(f"{name}-{len(list(bench.path.iterdir()))}")
    return seconds(lambda: subject.record(path, rows)) / len(rows) * 1e6


@summarising.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    return _record(bench, "with-summaries")


@summarising.side("without", repeat=5)
def _(bench: Bench) -> float:
    subject.store()
    from simgit.odb.segments import summaries

    kept = summaries.extend
    summaries.extend = lambda *_: None
    try:
        return _record(bench, "without-summaries")
    finally:
        summaries.extend = kept


@weight.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    count = _length(bench)
    with subject.store().open(subject.recorded(bench, count)) as repo, repo.odb.read() as txn:
        return sum(len(key) + len(value) for key, value in txn.scan("summaries")) / count


def _median(work: Callable[[], object]) -> float:
    work()
    return statistics.median(seconds(work) for _ in range(5)) * 1e3


@overview.side("simgit")
def _(bench: Bench) -> float:
    with subject.store().open(subject.recorded(bench, _length(bench))) as repo:
        return _median(lambda: [repo.buckets("main", points=500) for _ in range(CURVES)])


@window.side("simgit")
def _(bench: Bench) -> float:
    count = _length(bench)
    fields = [f"observation[{i}]" for i in range(4)]
    with subject.store().open(subject.recorded(bench, count)) as repo:
        return _median(
            lambda: repo.buckets(
                "main", fields, start=count // 2, stop=count // 2 + 100_000, points=800
            )
        )


def _thousand(bench: Bench) -> Path:
    def build() -> Path:
        path = bench.folder("simgit-thousand-runs")
        subject.record(path, generate.rows(3000))
        with subject.store().open(path) as repo, repo.transaction("branches"):
            for i in range(1000):
                settings = {"agent.lr": i / 1000, "agent.gamma": 0.9}
                repo.branch(f"sweep/{i:04}", f"main@{i * 7 % 3000}", overrides=settings, seed=i)
        return path

    return bench.keep("simgit-thousand-runs", build)


@runs_again.side("simgit")
def _(bench: Bench) -> float:
    with subject.store().open(_thousand(bench)) as repo:
        return _median(lambda: list(repo.runs.values()))


@runs_again.side("new")
def _(bench: Bench) -> float:
    path = _thousand(bench)
    with subject.store().open(path) as repo:
        return seconds(lambda: list(repo.runs.values())) * 1e3


@runs_moved.side("simgit")
def _(bench: Bench) -> float:
    found = []
    with subject.store().open(_thousand(bench)) as repo:
        list(repo.runs.values())
        for i in range(5):
            repo.commit(i, run="sweep/0007")
            found.append(seconds(lambda: list(repo.runs.values())))
    return statistics.median(found) * 1e3


def _many(bench: Bench) -> dict[str, float]:
    """Return how long it takes to list many runs, and how much memory."""
    count = bench.size(100_000, 10_000)

    def build() -> dict[str, float]:
        path = bench.folder("simgit-many-runs")
        subject.record(path, generate.rows(3000))
        with subject.store().open(path) as repo:
            for start in range(0, count, 500):
                with repo.transaction("branches"):
                    for i in range(start, start + 500):
                        settings = {"agent.lr": i / 1000, "agent.gamma": 0.9}
                        repo.branch(f"sweep/{i:06}", f"main@{i * 7 % 3000}", overrides=settings)
        with subject.store().open(path, read_only=True) as repo:
            found: dict[str, Any] = {}
            before = memory("RssAnon")
            first = seconds(lambda: found.update(all=list(repo.runs.values())))
            after = memory("RssAnon")
            facts = seconds(lambda: [(info.name, info.status, info.step) for info in found["all"]])
            settings = seconds(lambda: [info.overrides for info in found["all"]])
            return {
                "first": first, "facts": facts, "settings": settings,
                "memory": (after - before) / 1e6,
                "with settings": (memory("RssAnon") - before) / 1e6,
            }  # fmt: skip

    return bench.keep("many-runs", build)


@runs_many.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    return _many(bench)["first"]


@runs_many.side("facts", repeat=1)
def _(bench: Bench) -> float:
    return _many(bench)["facts"]


@runs_many.side("settings", repeat=1)
def _(bench: Bench) -> float:
    return _many(bench)["settings"]


@runs_memory.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    return _many(bench)["memory"]


@runs_memory.side("with settings", repeat=1)
def _(bench: Bench) -> float:
    return _many(bench)["with settings"]


def _long(bench: Bench) -> Path:
    """Return a repository of twenty branches of a long run."""

    def build() -> Path:
        path = bench.folder("simgit-long-branches")
        shutil.copytree(subject.recorded(bench, _length(bench)), path, dirs_exist_ok=True)
        with subject.store().open(path) as repo:
            for i in range(20):
                repo.branch(f"b{i}", f"main@{(i + 1) * _length(bench) // 21}")
        return path

    return bench.keep("simgit-long-branches", build)


@by_measure.side("simgit")
def _(bench: Bench) -> float:
    with subject.store().open(_long(bench)) as repo:
        return seconds(lambda: repo.runs.select("mean(reward) > 0.5"))


@by_measure.side("columns")
def _(bench: Bench) -> float:
    with subject.store().open(_long(bench)) as repo:
        return seconds(
            lambda: [run for run in repo.runs if repo.trajectory(run).rewards.mean() > 0.5]
        )


NEVER = "observation[2] > 1e9 and reward >= 1"


@rare.side("simgit")
def _(bench: Bench) -> float:
    with subject.store().open(subject.recorded(bench, _length(bench))) as repo:
        return seconds(lambda: list(repo.log("main", where=NEVER))) * 1e3


@rare.side("all blocks")
def _(bench: Bench) -> float:
    with subject.store().open(subject.recorded(bench, _length(bench))) as repo:
        from simgit.history.where import Predicate

        kept = Predicate.may_hold
        Predicate.may_hold = lambda *_: True
        try:
            return seconds(lambda: list(repo.log("main", where=NEVER))) * 1e3
        finally:
            Predicate.may_hold = kept
