"""simgit beside what one would use instead: the four rows of the README.

All sides are given the same states of CartPole, and are asked for the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import cases_record as recording
from . import generate, peer_git, peer_minari, peers, subject
from .case import Bench, Case
from .measure import disk, run, scratch, seconds
from .peer_seed import Seed

NOTE = (
    "the same 30 000 states of CartPole on all sides; git: a commit a state by fast-import, without the time "
    "that its input takes to prepare; Minari: its collector, HDF5; SQLite: a row a state, JSON, "
    "1 000 a synced transaction; seed: a relational schema of simulations, runs and states"
)
record = Case("beside-record", "record, durably", "states/s", note=NOTE)
size = Case("beside-bytes", "on disk, all included", "bytes/state", note=NOTE)
columns = Case("beside-read", "read a run as arrays", "states/s", note=NOTE)
parting = Case(
    "beside-part",
    "find where two runs part",
    "ms",
    note="two runs of 30 000 states that share the first half; git: `merge-base` with a "
    "commit-graph; seed: a recursive query; Minari and SQLite have no ancestors: they compare",
)
CASES = [record, size, columns, parting]
SIDES = ("simgit", "git", "Minari", "SQLite", "seed")


def count(bench: Bench) -> int:
    """Return how many states each side is given."""
    return bench.size(30_000, 3_000)


def given(bench: Bench) -> list[generate.Row]:
    """Return the states."""
    return recording.rows(bench, 30_000, 3_000)


def forked(bench: Bench) -> tuple[list[generate.Row], list[generate.Row]]:
    """Return the states of two runs that share the first half."""
    ours = given(bench)
    half = len(ours) // 2
    theirs = list(generate.rows(len(ours) - half, seed=2))
    theirs[0] = (*theirs[0][:5], True)  # a reset within a run has no seed of its own
    return ours, ours[:half] + theirs


def _git(path: Path, bench: Bench) -> float:
    stream = bench.keep(
        "beside-stream",
        lambda: peer_git.write_stream(bench.path / "beside.stream", given(bench)),
    )
    git = peer_git.Git(path)
    return seconds(lambda: git.fast_import(stream))


def _database(kind: Any) -> Callable[[Path, Bench], float]:
    def fill(path: Path, bench: Bench) -> float:
        peer = kind(path)
        taken = seconds(lambda: peer.record(given(bench)))
        peer.close()
        return taken

    return fill


def _simgit(path: Path, bench: Bench) -> float:
    return seconds(lambda: subject.record(path, given(bench)))


def _minari(path: Path, bench: Bench) -> float:
    return seconds(lambda: peer_minari.record(path, given(bench)))


FILL: dict[str, Callable[[Path, Bench], float]] = {
    "simgit": _simgit,
    "git": _git,
    "Minari": _minari,
    "SQLite": _database(peers.Sqlite),
    "seed": _database(Seed),
}


def _register(name: str, fill: Callable[[Path, Bench], float]) -> None:
    @record.side(name, repeat=1 if name == "Minari" else 3)
    def _(bench: Bench) -> float:
        with scratch(bench.path) as path:
            return count(bench) / fill(path, bench)

    @size.side(name, repeat=1)
    def _(bench: Bench) -> float:
        with scratch(bench.path) as path:
            fill(path, bench)
            if name == "simgit":
                with subject.store().open(path) as repo:
                    repo.gc()
                return subject.stored(path) / count(bench)
            if name == "git":
                run(["git", "-C", path, "gc", "--quiet"], env=peer_git.ENVIRONMENT)
            return disk(path) / count(bench)


for _name in SIDES:
    _register(_name, FILL[_name])


@columns.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    with scratch(bench.path) as path:
        _simgit(path, bench)
        with subject.store().open(path) as repo:
            names = ("observations", "actions", "rewards", "terminations", "truncations")
            run_ = repo.trajectory("main")
            return count(bench) / seconds(lambda: [getattr(run_, name) for name in names])


@columns.side("git")
def _(bench: Bench) -> float:
    with scratch(bench.path) as path:
        _git(path, bench)
        git = peer_git.Git(path)
        return count(bench) / seconds(lambda: peer_git.bodies(git, "main"))


@columns.side("Minari", repeat=1)
def _(bench: Bench) -> float:
    with scratch(bench.path) as path:
        _minari(path, bench)
        return count(bench) / seconds(lambda: peer_minari.columns(path))


@columns.side("SQLite")
def _(bench: Bench) -> float:
    return _read(bench, peers.Sqlite)


@columns.side("seed")
def _(bench: Bench) -> float:
    return _read(bench, Seed)


def _read(bench: Bench, kind: Any) -> float:
    with scratch(bench.path) as path:
        peer = kind(path)
        peer.record(given(bench))
        taken = seconds(peer.columns)
        peer.close()
    return count(bench) / taken


@parting.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    path = subject.forked(bench, count(bench))
    with subject.store().open(path) as repo:
        return 1e3 * seconds(lambda: repo.merge_base("a", "b"))


@parting.side("git", repeat=5)
def _(bench: Bench) -> float:
    with scratch(bench.path) as path:
        git = peer_git.Git(path)
        git.fast_import(peer_git.write_fork(path / "fork.stream", count(bench) // 2, count(bench)))
        git("commit-graph", "write", "--reachable")
        return 1e3 * seconds(lambda: git("merge-base", "a", "b"))


@parting.side("Minari", repeat=1)
def _(bench: Bench) -> float:
    with scratch(bench.path) as path:
        for name, rows in zip("ab", forked(bench), strict=True):
            peer_minari.record(path, rows, name)
        found: list[int] = []
        taken = seconds(lambda: found.append(peer_minari.parting(path, "a", "b")))
    _check(found[0], bench)
    return 1e3 * taken


@parting.side("SQLite")
def _(bench: Bench) -> float:
    with scratch(bench.path) as path:
        for name, rows in zip("ab", forked(bench), strict=True):
            (path / name).mkdir()
            peer = peers.Sqlite(path / name)
            peer.record(rows)
            peer.close()
        found: list[int] = []
        taken = seconds(lambda: found.append(peers.parting(path / "a", path / "b")))
    _check(found[0], bench)
    return 1e3 * taken


@parting.side("seed")
def _(bench: Bench) -> float:
    ours, theirs = forked(bench)
    half = len(ours) // 2
    with scratch(bench.path) as path:
        peer = Seed(path)
        peer.record(ours, "a")
        common = peer.state("a", half - 1)
        peer.record(theirs[half:], "b", common)
        found: list[str] = []
        taken = seconds(lambda: found.append(peer.common("a", "b")))
        peer.close()
    if found != [common]:
        raise ValueError("the wrong state")
    return 1e3 * taken


def _check(found: int, bench: Bench) -> None:
    if found != count(bench) // 2:
        raise ValueError(f"the runs part at {found}, not at {count(bench) // 2}")
