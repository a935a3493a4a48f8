"""Maintenance that runs by itself: how long it keeps a flush waiting."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from . import subject
from .case import Bench, Case, at_most
from .measure import scratch

delay = Case(
    "upkeep-delay",
    "longest that maintenance by itself delays a flush, by the clock",
    "ms",
    at_most(50),
    "2 000 flushes of one state each, which are the most work; others of ten states, of a "
    "hundred with frames, and while 40 lost runs of 5 000 states with an attachment each go",
)
CASES = [delay]


def _longest(bench: Bench, flushes: int, every: int, frames: bool = False, lost: int = 0) -> float:
    """Return the longest time that is spent after a transaction, in milliseconds."""
    taken = [0.0]
    repository = subject.store()
    with scratch(bench.path) as path, repository.init(path) as repo:
        if lost:
            _lose(repo, lost)
        rest = repo.odb.after_write

        def timed() -> None:
            start = time.perf_counter()
            rest()
            taken.append(time.perf_counter() - start)

        repo.odb.after_write = timed
        with repo.recorder("main", flush_every=every) as recorder:
            for number in range(flushes * every):
                recorder.append(_observation(number, frames), number % 2, 1.0, info={"n": number})
        assert not lost or not repo.unreachable(), "what is lost has not gone"
    return max(taken) * 1e3


def _lose(repo: Any, runs: int) -> None:
    """Record and delete runs, so that all of them can go."""
    settings = {"gc.auto": 0, "gc.grace": 0, "gc.reflog": 0, "oplog.days": 0}
    for name, value in settings.items():
        repo.set_setting(name, value)
    for number in range(runs):
        with repo.recorder(f"lost/{number}") as recorder:
            for step in range(5000):
                recorder.append(_observation(step, False), 0, 1.0, info={"lost": number})
        repo.attach(repo.runs[f"lost/{number}"].oid, "agent", {"w": np.arange(1000.0) + number})
        repo.delete_run(f"lost/{number}", force=True)
    for number in range(150):  # the newest operations stay, however old they are
        repo.commit(_observation(number, False), run="other")
    repo.set_setting("gc.auto", 256)
    with repo.odb.storage.write() as txn:
        txn.put("meta", b"collected", bytes(8))  # it is due


def _observation(number: int, frames: bool) -> dict[str, Any]:
    found = {"x": np.float32([number, 1, 2, 3])}
    return found | {"f": np.full((40, 40), number % 50, np.uint8)} if frames else found


@delay.side("simgit")
def _(bench: Bench) -> float:
    return _longest(bench, bench.size(2000, 600), 1)


@delay.side("of ten")
def _(bench: Bench) -> float:
    return _longest(bench, bench.size(2000, 600), 10)


@delay.side("while lost runs go")
def _(bench: Bench) -> float:
    return _longest(bench, bench.size(600, 300), 100, lost=40)


@delay.side("of a hundred, frames")
def _(bench: Bench) -> float:
    return _longest(bench, bench.size(600, 300), 100, True)
