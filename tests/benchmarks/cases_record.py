"""Recording: one by one, in batches, durably; bytes a state; memory."""

from __future__ import annotations

import json
import statistics
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from . import generate, peer_git, peers, subject
from .case import Bench, Case, at_least, at_most
from .measure import all_cores, disk, run, scratch, seconds

STEP = 12e-6  # what CartPole itself costs, a step

append = Case(
    "append",
    "recorder append, durable at each flush",
    "states/s",
    at_least(250_000),
    "simgit 1 M states, flushed every 8 192; git fast-import 100 000 (34 packed bytes "
    "each, its input prepared beforehand, its heap kept); SQLite (JSON, 1 000 rows a synced "
    "transaction) and LMDB (random 32-byte keys, 8 192 a synced transaction) 300 000",
)
background = Case("append-background", "the same, flushed in a background thread", "states/s")
batch = Case(
    "append-batch", "append_batch, 64 lanes of 8 192 states", "states/s", at_least(500_000)
)
slowest = Case(
    "append-p999",
    "a single append, 99.9th percentile, background flush",
    "µs",
    note="flat out; 'paced' leaves 12 µs between two appends, as CartPole itself does; "
    "'no thread' flushes in the call",
)
commit = Case(
    "commit",
    "one durable commit",
    "ms",
    at_most(lambda peer: 2 * peer["LMDB"]),
    "target: twice a bare synced LMDB commit of 200 bytes; git: a synced loose commit, a process",
)
size = Case(
    "bytes",
    "bytes a state on disk, all included, after gc",
    "bytes",
    at_most(18),
    "1 M states; git after `git gc`, with index and commit-graph, 100 000; SQLite and LMDB 300 000",
)
memory = Case("memory", "memory while recording 10 M states, peak", "MB", at_most(300))
growth = Case(
    "memory-growth",
    "anonymous memory, from 2 M to 10 M states",
    "MB",
    at_most(10),
    "medians of ten readings in the second and in the last million: what waits to be stored varies",
)
CASES = [append, background, slowest, batch, commit, size, memory, growth]


def rows(bench: Bench, full: int = 1_000_000, quick: int = 100_000) -> list[generate.Row]:
    """Return prepared states; the smaller lists are the beginning of the longest."""
    longest = bench.keep("rows", lambda: list(generate.rows(bench.size(1_000_000, 100_000))))
    return longest[: bench.size(full, quick)]


def peer_rows(bench: Bench) -> list[generate.Row]:
    """Return the states that SQLite and LMDB are given."""
    return rows(bench, 300_000, 30_000)


def git_stream(bench: Bench) -> Path:
    """Return the fast-import stream of the states that git is given."""
    path = bench.path / "states.stream"
    given = rows(bench, 100_000, 10_000)
    return bench.keep("git-stream", lambda: peer_git.write_stream(path, given))


def git_count(bench: Bench) -> int:
    """Return how many states git is given."""
    return bench.size(100_000, 10_000)


def git_repo(bench: Bench) -> peer_git.Git:
    """Return a git repository with the states, after ``git gc`` with a commit-graph."""

    def build() -> peer_git.Git:
        git = peer_git.Git(bench.folder("git"))
        git.fast_import(git_stream(bench))
        git("gc", "--quiet")
        git("commit-graph", "write", "--reachable")
        return git

    return bench.keep("git", build)


def sqlite(bench: Bench) -> peers.Sqlite:
    """Return a SQLite database with the states."""
    return _filled(bench, peers.Sqlite)


def plain_lmdb(bench: Bench) -> peers.PlainLmdb:
    """Return an LMDB environment with the states."""
    return _filled(bench, peers.PlainLmdb)


def _filled(bench: Bench, kind: Any) -> Any:
    def build() -> Any:
        peer = kind(bench.folder(kind.__name__))
        peer.record(peer_rows(bench))
        return peer

    return bench.keep(kind.__name__, build)


def synced(bench: Bench) -> float:
    """Return the median of 200 bare synced LMDB commits, in seconds."""
    with scratch(bench.path) as path:
        return statistics.median(peers.synced_commits(path, bench.size(200, 50)))


def _rate(bench: Bench, **options: Any) -> float:
    given = rows(bench)
    subject.store()
    with scratch(bench.path) as path:
        return len(given) / seconds(lambda: subject.record(path, given, **options))


@append.side("simgit")
def _(bench: Bench) -> float:
    return _rate(bench)


@append.side("git")
def _(bench: Bench) -> float:
    stream = git_stream(bench)
    with scratch(bench.path) as path:
        git = peer_git.Git(path)
        return git_count(bench) / seconds(lambda: git.fast_import(stream))


@append.side("SQLite")
def _(bench: Bench) -> float:
    return _peer_rate(bench, peers.Sqlite)


@append.side("LMDB")
def _(bench: Bench) -> float:
    return _peer_rate(bench, peers.PlainLmdb)


def _peer_rate(bench: Bench, kind: Any) -> float:
    given = peer_rows(bench)
    with scratch(bench.path) as path:
        peer = kind(path)
        taken = seconds(lambda: peer.record(given))
        peer.close()
        return len(given) / taken


@background.side("simgit")
def _(bench: Bench) -> float:
    with all_cores():
        return _rate(bench, background=True)


def _percentile(bench: Bench, pause: float, **options: Any) -> float:
    """Return the 99.9th percentile of single appends in microseconds."""
    given = rows(bench, 300_000, 50_000)
    repository, taken, clock = subject.store(), [], time.perf_counter

    def timed(**fields: Any) -> None:
        start = clock()
        add(**fields)
        end = clock()
        taken.append(end - start)
        while clock() < end + pause:
            pass

    with (
        scratch(bench.path) as path,
        repository.init(path) as repo,
        repo.recorder("main", flush_every=subject.FLUSH, **options) as recorder,
    ):
        add = recorder.append
        subject.feed(timed, given)
    return sorted(taken)[len(taken) * 999 // 1000] * 1e6


@slowest.side("simgit")
def _(bench: Bench) -> float:
    with all_cores():
        return _percentile(bench, 0, background=True)


@slowest.side("paced")
def _(bench: Bench) -> float:
    with all_cores():
        return _percentile(bench, STEP, background=True)


@slowest.side("no thread", repeat=1)
def _(bench: Bench) -> float:
    return _percentile(bench, 0)


@batch.side("simgit")
def _(bench: Bench) -> float:
    length = bench.size(8192, 1024)
    arrays = bench.keep("lanes", lambda: generate.lanes(64, length))
    repository = subject.store()

    def work() -> None:
        with repo.recorder([f"lane-{lane}" for lane in range(64)]) as recorder:
            for start in range(0, length, 512):
                recorder.append_batch(
                    **{name: array[:, start : start + 512] for name, array in arrays.items()}
                )

    with scratch(bench.path) as path, repository.init(path) as repo:
        return 64 * length / seconds(work)


def _commits(commit_one: Any, given: list[generate.Row]) -> float:
    taken = []
    for row in given:
        start = time.perf_counter()
        commit_one(row)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e3


@commit.side("simgit")
def _(bench: Bench) -> float:
    given = [row for row in rows(bench, 500, 200) if row[5] is None]
    repository = subject.store()
    names = ("observation", "action", "reward", "terminated", "truncated")
    with scratch(bench.path) as path, repository.init(path) as repo:
        return _commits(
            lambda row: repo.commit(**dict(zip(names, row[:5], strict=True)), info={}), given
        )


@commit.side("LMDB")
def _(bench: Bench) -> float:
    return synced(bench) * 1e3


@commit.side("SQLite")
def _(bench: Bench) -> float:
    with scratch(bench.path) as path:
        peer = peers.Sqlite(path)
        figure = _commits(peer.commit, rows(bench, 200, 50))
        peer.close()
        return figure


@commit.side("git")
def _(bench: Bench) -> float:
    with scratch(bench.path) as path:
        git = peer_git.Git(path)
        tree = git("mktree", input=b"").decode().strip()
        who = ["-c", "user.name=b", "-c", "user.email=b@example.org", "-c", "core.fsync=all"]
        return _commits(lambda row: git(*who, "commit-tree", "-m", "x", tree), rows(bench, 20, 10))


@size.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    given = rows(bench)
    repository = subject.store()
    with scratch(bench.path) as path:
        subject.record(path, given)
        with repository.open(path) as repo:
            repo.gc()
        return subject.stored(path) / len(given)


@size.side("git", repeat=1)
def _(bench: Bench) -> float:
    return disk(git_repo(bench).path) / git_count(bench)


@size.side("SQLite", repeat=1)
def _(bench: Bench) -> float:
    peer = sqlite(bench)
    peer.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return disk(peer.path.parent) / len(peer_rows(bench))


@size.side("LMDB", repeat=1)
def _(bench: Bench) -> float:
    return disk(plain_lmdb(bench).path) / len(peer_rows(bench))


def longest(bench: Bench) -> int:
    """Return how many states the longest recording has."""
    return bench.size(10_000_000, 1_000_000)


def watched(bench: Bench) -> dict[str, Any]:
    """Record the longest run in a process of its own; return what it said about its memory."""
    subject.store()

    def build() -> dict[str, Any]:
        path = bench.folder(f"simgit-{longest(bench)}")
        command = [sys.executable, str(Path(__file__).parent), "watch", str(longest(bench))]
        done = run([*command, str(path)], env=subject.environment())
        bench.keep(path.name, lambda: path)
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    return bench.keep("watched", build)


def watch(count: int, path: Path) -> dict[str, Any]:
    """Record states; report memory at the start, its peak, and samples on the way."""
    from .measure import memory as now

    source = generate.rows(count)
    first = list(islice(source, 1))
    report: dict[str, Any] = {"start": now("VmRSS"), "anonymous": []}
    with (
        subject.store().init(path) as repo,
        repo.recorder("main", flush_every=subject.FLUSH) as recorder,
    ):
        subject.feed(recorder.append, first)
        for _ in range(100):
            subject.feed(recorder.append, islice(source, count // 100))
            report["anonymous"].append(now("RssAnon"))
    return {**report, "peak": now("VmHWM")}


@memory.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    report = watched(bench)
    return float(report["peak"] - report["start"]) / 1e6


@growth.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    samples = watched(bench)["anonymous"]
    return (statistics.median(samples[-10:]) - statistics.median(samples[10:20])) / 1e6
