"""History: refs, merge base, diff, log, verification."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import count
from typing import Any

from . import cases_record as recording
from . import peer_git, subject
from .case import Bench, Case, at_most
from .measure import disk, median_of_each, run, seconds

SERIAL = count()
TIMES = 200


def _refs(what: str, size: str) -> Case:
    note = "median of 200, less the median of 200 bare synced LMDB commits; git: a process of its "
    note += "own each time, in a repository of 100 000 commits"
    return Case(
        f"{what}-{size.replace(' ', '')}",
        f"{what}, of {size} states, beyond a synced commit",
        "ms",
        at_most(1),
        note,
    )


REFS = [(what, size) for what in ("branch", "tag", "checkout") for size in ("10", "1 M")]
refs = {pair: _refs(*pair) for pair in REFS}
copied = Case(
    "branch-bytes",
    "bytes a branch adds to the store, of 1 M states",
    "bytes",
    at_most(lambda figures: figures["of 10 states"] + 64),
    "mean of 200 branches; target: what a branch of 10 states adds (a ref and its log entry), "
    "and nothing of the states",
)
merge_base = Case(
    "merge-base",
    "merge-base of two runs sharing 500 000 of 1 M",
    "ms",
    at_most(50),
    "first call in an open repository; git: a process, with a commit-graph",
)
diff = Case(
    "diff",
    "whole diff of the same two runs",
    "ms",
    at_most(250),
    "git: `rev-list --count --left-right a...b`, which counts the commits and compares no content",
)
log = Case("log", "log --oneline of 100 000, process into a pipe", "s", at_most(1))
log_inside = Case("log-inside", "the same entries in the process, with oids", "s")
fsck = Case(
    "fsck",
    "full verification of 1 M states",
    "s",
    at_most(5),
    "git: `fsck --full` of 100 000 states, 300 000 objects",
)
CASES = [*refs.values(), copied, merge_base, diff, log, log_inside, fsck]


def _path(bench: Bench, size: str) -> Any:
    return subject.recorded(bench, 10 if size == "10" else bench.size(1_000_000, 100_000))


def _names(prefix: str) -> list[str]:
    return [f"{prefix}-{next(SERIAL)}" for _ in range(TIMES)]


def _branch(repo: Any) -> float:
    return median_of_each(lambda name: repo.branch(name, "main"), _names("branch"))


def _tag(repo: Any) -> float:
    return median_of_each(lambda name: repo.tag(name, "main"), _names("tag"))


def _checkout(repo: Any) -> float:
    other = f"other-{next(SERIAL)}"
    repo.branch(other, "main")
    return median_of_each(repo.checkout, [other, "main"] * (TIMES // 2))


ACTIONS: dict[str, Callable[[Any], float]] = {
    "branch": _branch,
    "tag": _tag,
    "checkout": _checkout,
}


def _register(what: str, size: str) -> None:
    def figure(bench: Bench) -> float:
        with subject.store().open(_path(bench, size)) as repo:
            return (ACTIONS[what](repo) - recording.synced(bench)) * 1e3

    refs[what, size].side("simgit")(figure)


for pair in REFS:
    _register(*pair)


def _git_refs(command: str) -> Callable[[Bench], float]:
    def figure(bench: Bench) -> float:
        git = recording.git_repo(bench)
        names = _names(command)[:20]
        return median_of_each(lambda name: git(command, name, "main"), names) * 1e3

    return figure


refs["branch", "1 M"].side("git")(_git_refs("branch"))
refs["tag", "1 M"].side("git")(_git_refs("tag"))


def _added(bench: Bench, size: str) -> float:
    path = _path(bench, size)
    with subject.store().open(path) as repo:
        _branch(repo)
        before = disk(path)
        _branch(repo)
        return (disk(path) - before) / TIMES


@copied.side("simgit")
def _(bench: Bench) -> float:
    return _added(bench, "1 M")


@copied.side("of 10 states")
def _(bench: Bench) -> float:
    return _added(bench, "10")


def length(bench: Bench) -> int:
    """Return the length of each of the two runs that share their first half."""
    return bench.size(1_000_000, 100_000)


def git_fork(bench: Bench) -> peer_git.Git:
    """Return a git repository with the two branches and a commit-graph."""

    def build() -> peer_git.Git:
        git = peer_git.Git(bench.folder("git-fork"))
        stream = bench.path / "fork.stream"
        git.fast_import(peer_git.write_fork(stream, length(bench) // 2, length(bench)))
        stream.unlink()
        git("commit-graph", "write", "--reachable")
        fork = git("rev-parse", f"a~{length(bench) - length(bench) // 2}")
        check(git("merge-base", "a", "b"), fork)
        return git

    return bench.keep("git-fork", build)


def check(found: object, expected: object) -> None:
    """Fail a case whose answer is wrong, however fast it was."""
    if found != expected:
        raise ValueError(f"found {found!r}, not {expected!r}")


@merge_base.side("simgit")
def _(bench: Bench) -> float:
    found: list[Any] = []
    with subject.store().open(subject.forked(bench, length(bench))) as repo:
        taken = seconds(lambda: found.append(repo.merge_base("a", "b")))
        check(found[0], repo.state(f"a@{length(bench) // 2 - 1}").oid)
    return taken * 1e3


@merge_base.side("git")
def _(bench: Bench) -> float:
    git = git_fork(bench)
    return seconds(lambda: git("merge-base", "a", "b")) * 1e3


@diff.side("simgit")
def _(bench: Bench) -> float:
    with subject.store().open(subject.forked(bench, length(bench))) as repo:
        return seconds(lambda: repo.diff("a", "b")) * 1e3


@diff.side("git")
def _(bench: Bench) -> float:
    git = git_fork(bench)
    return seconds(lambda: git("rev-list", "--count", "--left-right", "a...b")) * 1e3


def logged(bench: Bench) -> int:
    """Return how many states are listed."""
    return bench.size(100_000, 10_000)


@log.side("simgit")
def _(bench: Bench) -> float:
    path = subject.recorded(bench, logged(bench))
    command = subject.program("-C", str(path), "log", "--oneline", "main")
    printed: list[subprocess.CompletedProcess[bytes]] = []
    taken = seconds(lambda: printed.append(run(command, env=subject.environment())))
    check(printed[0].stdout.count(b"\n"), logged(bench))
    return taken


@log.side("git")
def _(bench: Bench) -> float:
    git = recording.git_repo(bench)
    return seconds(lambda: git("log", "--oneline", "main"))


@log_inside.side("simgit")
def _(bench: Bench) -> float:
    with subject.store().open(subject.recorded(bench, logged(bench))) as repo:
        return seconds(lambda: [entry.oid for entry in repo.log("main")])


@fsck.side("simgit")
def _(bench: Bench) -> float:
    with subject.store().open(_path(bench, "1 M")) as repo:
        return seconds(repo.fsck)


@fsck.side("git")
def _(bench: Bench) -> float:
    git = recording.git_repo(bench)
    return seconds(lambda: git("fsck", "--full"))
