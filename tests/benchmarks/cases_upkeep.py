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
    "2 000 flushes of one state each, which are the most work; others of ten states, and of a "
    "hundred with frames",
)
CASES = [delay]


def _longest(bench: Bench, flushes: int, every: int, frames: bool = False) -> float:
    """Return the longest time that is spent after a transaction, in milliseconds."""
    taken = [0.0]
    repository = subject.store()
    with scratch(bench.path) as path, repository.init(path) as repo:
        rest = repo.odb.after_write

        def timed() -> None:
            start = time.perf_counter()
            rest()
            taken.append(time.perf_counter() - start)

        repo.odb.after_write = timed
        with repo.recorder("main", flush_every=every) as recorder:
            for number in range(flushes * every):
                recorder.append(_observation(number, frames), number % 2, 1.0, info={"n": number})
    return max(taken) * 1e3


def _observation(number: int, frames: bool) -> dict[str, Any]:
    found = {"x": np.float32([number, 1, 2, 3])}
    return found | {"f": np.full((40, 40), number % 50, np.uint8)} if frames else found


@delay.side("simgit")
def _(bench: Bench) -> float:
    return _longest(bench, bench.size(2000, 600), 1)


@delay.side("of ten")
def _(bench: Bench) -> float:
    return _longest(bench, bench.size(2000, 600), 10)


@delay.side("of a hundred, frames")
def _(bench: Bench) -> float:
    return _longest(bench, bench.size(600, 300), 100, True)
