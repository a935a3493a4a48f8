"""Remotes in a directory: time, requests and bytes. A bundle holds the same without refs."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from . import generate, measure, subject
from .case import Bench, Case, at_most
from .cases_read import whole
from .measure import scratch, seconds

_RUNS = 1000
_MORE = 10_000

push = Case(
    "remote-push-1M", "push of a run to a new remote", "s", at_most(12),
    "1 M states, a directory; a bundle of the same states",
)  # fmt: skip
clone = Case(
    "remote-clone-1M", "clone of a remote in one process", "s", at_most(8),
    "1 M states, every hash recomputed; the import of a bundle",
)  # fmt: skip
clone_requests = Case(
    "remote-clone-requests", "its requests", "requests", at_most(4),
    "the listing of refs, refs, and packs of 8 MiB",
)  # fmt: skip
clone_bytes = Case(
    "remote-clone-bytes", "its bytes", "MB", at_most(12.5), "bodies received; a bundle"
)
more = Case(
    "remote-push-10k", "push of 10 000 new states", "requests", at_most(3),
    "of a run that was pushed before",
)  # fmt: skip
more_bytes = Case(
    "remote-push-10k-bytes", "its bytes", "KB", note="bodies sent; a bundle of the new states"
)
nothing = Case(
    "remote-push-nothing", "push of 1 000 runs when nothing is new", "requests", at_most(2)
)
many = Case(
    "remote-clone-1000", "clone of 1 000 runs that were pushed together", "requests",
    note="10 states each; refs that many others have read come in one object",
)  # fmt: skip
memory = Case(
    "remote-memory", "memory of the push, peak", "MB", at_most(200),
    "1 M states, in a process of its own, without what it had before; the clone",
)  # fmt: skip
part = Case(
    "remote-part", "fetch of one state of 1 M, with nothing there", "requests", at_most(4),
    "the newest one; the middle one. The opening of the remote is counted too",
)  # fmt: skip
part_bytes = Case(
    "remote-part-bytes", "its bytes", "KB", at_most(100), "bodies received; of the middle one"
)
worker_push = Case(
    "worker-push", "processor time of a worker's push, a state", "µs",
    note="300 000 states, all recorded before; to a directory",
)  # fmt: skip
worker_push_one = Case(
    "worker-push-one", "processor time of a worker's push of one state", "ms",
    note="median of 20, to a directory",
)  # fmt: skip
CASES = [
    push, clone, clone_requests, clone_bytes, more, more_bytes, part, part_bytes, nothing, many,
    memory, worker_push, worker_push_one,
]  # fmt: skip


def _pushed(bench: Bench) -> tuple[Path, Any]:
    """Return the path of a remote with a run, and the report of the push."""

    def build() -> tuple[Path, Any]:
        folder = bench.folder("remote of a run")
        with subject.store().open(subject.recorded(bench, whole(bench))) as repo:
            return folder / "remote", _push(repo, folder / "remote")

    return bench.keep("remote of a run", build)


def _push(repo: Any, place: Path, **options: Any) -> Any:
    if "bench" in repo.remotes():
        repo.remove_remote("bench")
    repo.add_remote("bench", str(place))
    with repo.remote("bench") as remote:
        return remote.push(**options)


@push.side("simgit")
def _(bench: Bench) -> float:
    path = subject.recorded(bench, whole(bench))
    with scratch(bench.path) as folder, subject.store().open(path) as repo:
        return seconds(lambda: _push(repo, folder / "remote"))


@push.side("bundle")
def _(bench: Bench) -> float:
    path = subject.recorded(bench, whole(bench))
    with scratch(bench.path) as folder, subject.store().open(path) as repo:
        return seconds(lambda: repo.create_bundle(folder / "x", ["main"]))


@clone.side("simgit")
def _(bench: Bench) -> float:
    place, _ = _pushed(bench)
    with scratch(bench.path) as folder:
        return seconds(lambda: subject.store().clone(place, folder / "copy").close())


@clone.side("bundle")
def _(bench: Bench) -> float:
    path, store = subject.recorded(bench, whole(bench)), subject.store()
    with scratch(bench.path) as folder, store.open(path) as repo:
        repo.create_bundle(folder / "x", ["main"])
        with store.init(folder / "copy") as copy:
            return seconds(lambda: copy.import_bundle(folder / "x"))


def _fetched(place: Path, folder: Path) -> Any:
    with subject.store().init(folder / "copy") as copy:
        copy.add_remote("bench", str(place))
        with copy.remote("bench") as remote:
            return remote.fetch()


@clone_requests.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    with scratch(bench.path) as folder:
        return float(_fetched(_pushed(bench)[0], folder).requests)


@clone_bytes.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    with scratch(bench.path) as folder:
        return float(_fetched(_pushed(bench)[0], folder).received) / 1e6


def _part(bench: Bench, step: int) -> Any:
    """Fetch one state into a new repository; return the report."""
    with scratch(bench.path) as folder, subject.store().init(folder / "copy") as copy:
        copy.add_remote("bench", str(_pushed(bench)[0]))
        with copy.remote("bench") as remote:
            return remote.fetch(["main"], states=(step, step))


@part.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    return float(_part(bench, whole(bench) - 1).requests)


@part.side("middle", repeat=1)
def _(bench: Bench) -> float:
    return float(_part(bench, whole(bench) // 2).requests)


@part_bytes.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    return float(_part(bench, whole(bench) - 1).received) / 1e3


@part_bytes.side("middle", repeat=1)
def _(bench: Bench) -> float:
    return float(_part(bench, whole(bench) // 2).received) / 1e3


@clone_bytes.side("bundle", repeat=1)
def _(bench: Bench) -> float:
    path = subject.recorded(bench, whole(bench))
    with scratch(bench.path) as folder, subject.store().open(path) as repo:
        return float(repo.create_bundle(folder / "x", ["main"]).bytes) / 1e6


def _grown(bench: Bench, folder: Path) -> tuple[Any, Any]:
    """Push a run, and again after 10 000 states; return the second report, and a bundle's."""
    store, start = subject.store(), whole(bench) - _MORE - 1
    with store.open(subject.recorded(bench, whole(bench))) as repo:
        repo.create_bundle(folder / "x", ["main"])
    with store.init(folder / "copy") as copy:
        copy.import_bundle(folder / "x")
        copy.branch("before", f"main@{start}")
        copy.branch("part", "before")
        _push(copy, folder / "remote", refs=["part"])
        copy.branch("part", "main", force=True)
        info = copy.create_bundle(folder / "y", ["part"], exclude=["before"])
        with copy.remote("bench") as remote:
            return remote.push(["part"]), info


@more.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    with scratch(bench.path) as folder:
        return float(_grown(bench, folder)[0].requests)


@more_bytes.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    with scratch(bench.path) as folder:
        return float(_grown(bench, folder)[0].sent) / 1e3


@more_bytes.side("bundle", repeat=1)
def _(bench: Bench) -> float:
    with scratch(bench.path) as folder:
        return float(_grown(bench, folder)[1].bytes) / 1e3


def watch_push(path: Path, place: Path) -> float:
    """Push a run; return by how many bytes the memory of this process grew, at its peak."""
    store = subject.store()
    before = measure.memory()
    with store.open(path) as repo:
        _push(repo, place)
    return measure.memory("VmHWM") - before


def watch_clone(place: Path, path: Path) -> float:
    """Clone a remote; return by how many bytes the memory of this process grew, at its peak."""
    store = subject.store()
    before = measure.memory()
    store.clone(place, path).close()
    return measure.memory("VmHWM") - before


def _watched(what: str, *paths: Path) -> float:
    subject.store()
    command = [sys.executable, str(Path(__file__).parent), what, *map(str, paths)]
    return float(measure.run(command, env=subject.environment()).stdout) / 1e6


@memory.side("simgit")
def _(bench: Bench) -> float:
    path = subject.recorded(bench, whole(bench))
    with scratch(bench.path) as folder:
        return _watched("watch-push", path, folder / "remote")


@memory.side("clone")
def _(bench: Bench) -> float:
    place, _ = _pushed(bench)
    with scratch(bench.path) as folder:
        return _watched("watch-clone", place, folder / "copy")


def _of_many_runs(bench: Bench) -> tuple[Path, Path]:
    """Return the paths of a repository of many runs and of the remote that has them all."""

    def build() -> tuple[Path, Path]:
        folder = bench.folder("remote of many runs")
        with subject.store().init(folder / "repo") as repo:
            for number in range(_RUNS):
                with repo.recorder(f"worker/{number}") as recorder:
                    for step in range(10):
                        recorder.append([number, step], reset=step == 0)
            _push(repo, folder / "remote", all=True)
        return folder / "repo", folder / "remote"

    return bench.keep("remote of many runs", build)


@nothing.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    path, _ = _of_many_runs(bench)
    with subject.store().open(path) as repo, repo.remote("bench") as remote:
        found = remote.push(all=True)
    if found.packs:
        raise ValueError("something was sent")
    return float(found.requests)


@many.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    _, place = _of_many_runs(bench)
    with scratch(bench.path) as folder:
        _fetched(place, folder)  # whoever reads them first writes the cache
    with scratch(bench.path) as folder:
        return float(_fetched(place, folder).requests)


def _worker(folder: Path) -> Any:
    """Open a worker that pushes when it is asked to, and only then."""
    subject.store()
    import simgit.worker

    return simgit.worker.open(
        folder / "remote", "worker/0", directory=folder / "local", push_bytes=1 << 40,
        push_seconds=1e6,
    )  # fmt: skip


@worker_push.side("simgit")
def _(bench: Bench) -> float:
    count = 300_000
    with scratch(bench.path) as folder, _worker(folder) as work, work.recorder() as recorder:
        subject.feed(recorder.append, generate.rows(count))
        recorder.flush()
        start = process_time()
        work.push()
        return (process_time() - start) * 1e6 / count


@worker_push_one.side("simgit")
def _(bench: Bench) -> float:
    found = []
    with scratch(bench.path) as folder, _worker(folder) as work, work.recorder() as recorder:
        for row in range(21):
            recorder.append([row], reset=row == 0)
            recorder.flush()
            start = process_time()
            work.push()
            found.append((process_time() - start) * 1e3)
    return median(found[1:])  # the first one finds out what the storage can do
