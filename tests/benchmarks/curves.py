"""Cost against size: record, branch, look up, log and open, from a thousand states on."""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from . import generate, page, peers, subject
from .case import Bench, NotBuilt
from .chart import Series, draw
from .measure import affinity, median_of_each, memory, pin, scratch, seconds
from .table import number

SAMPLE = 500
BRANCHES = 100
PORTIONS = 5
PEER_LIMIT = 1_000_000
WHAT = {
    "record": "record a state (8 192 a flush)",
    "branch": "branch, synced",
    "step": "one state by run@step",
    "oid": "one state by oid",
    "log": "first page of the log",
    "open": "open a repository",
    "lmdb": "peer: one random LMDB key a state",
}
Point = dict[str, float]


def sizes(largest: int) -> list[int]:
    """Return the powers of ten from a thousand to the largest size."""
    return [10**n for n in range(3, 9) if 10**n <= largest]


def simgit_points(path: Path, largest: int) -> Iterator[tuple[int, Point]]:
    """Grow one store, and yield what each operation costs (in seconds) at each size."""
    repository = subject.store()
    source, recorded = generate.rows(2 * largest), 0
    for size in sizes(largest):
        subject.record(path, islice(source, max(0, size - recorded)))
        recorded = max(size, recorded)
        with repository.open(path) as repo:
            point = _operations(repo, size)
            point["open"] = median_of_each(lambda _: repository.open(path).close(), range(20))
            portions = [list(islice(source, subject.FLUSH)) for _ in range(PORTIONS)]
            point["record"] = median_of_each(lambda rows: _record(repo, rows), portions)
        point["record"] /= subject.FLUSH
        recorded += PORTIONS * subject.FLUSH
        point["memory"] = memory("RssAnon")
        if size == sizes(largest)[-1]:
            with repository.open(path) as repo:
                point["gc"] = seconds(repo.gc)
        yield size, point


def _record(repo: Any, rows: list[generate.Row]) -> None:
    with repo.recorder("main", flush_every=subject.FLUSH) as recorder:
        subject.feed(recorder.append, rows)


def _operations(repo: Any, size: int) -> Point:
    draw = random.Random(size)
    names = [f"main@{step}" for step in draw.choices(range(size), k=SAMPLE)]
    oids = [repo.state(f"main@{step}").oid for step in draw.choices(range(size), k=SAMPLE)]
    branches = [f"at-{size}-{number}" for number in range(BRANCHES)]
    return {
        "branch": median_of_each(lambda name: repo.branch(name, "main"), branches),
        "step": median_of_each(repo.state, names),
        "oid": median_of_each(repo.state, oids),
        "log": median_of_each(lambda _: list(islice(repo.log("main"), 20)), range(20)),
    }


def lmdb_points(path: Path, largest: int) -> Iterator[tuple[int, Point]]:
    """Grow a store of one random key a state, and yield what recording a state costs."""
    peer = peers.PlainLmdb(path)
    source, recorded = generate.rows(largest), 0
    for size in sizes(largest):
        portions = []
        while recorded < size:
            rows = list(islice(source, min(peers.LMDB_BATCH, size - recorded)))
            recorded += len(rows)
            portions.append(seconds(lambda rows=rows: peer.record(rows)) / len(rows))  # type: ignore[misc]
        yield size, {"lmdb": statistics.median(portions[-5:])}
    peer.close()


def measured(bench: Bench, largest: int) -> dict[int, Point]:
    """Return for each size what each operation costs; without simgit only the peer."""
    found: dict[int, Point] = {size: {} for size in sizes(largest)}
    with scratch(bench.path) as path:
        for size, point in lmdb_points(path, min(largest, PEER_LIMIT)):
            found[size].update(point)
    try:
        with scratch(bench.path) as path:
            for size, point in simgit_points(path, largest):
                found[size].update(point)
    except NotBuilt:
        print("simgit: not built")
    return found


def markdown(points: dict[int, Point]) -> str:
    """Return the costs in microseconds, a row for each operation."""
    head = ["µs", *map(number, points)]
    lines = [head, ["---", *("--:" for _ in points)]]
    for name in _names(points):
        costs = [number(p[name] * 1e6) if name in p else "" for p in points.values()]
        lines.append([WHAT[name], *costs])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _names(points: dict[int, Point]) -> list[str]:
    return [name for name in WHAT if any(name in point for point in points.values())]


def picture(points: dict[int, Point]) -> str:
    """Return the costs as a chart."""
    series: list[Series] = [
        (WHAT[name], [(s, p[name] * 1e6) for s, p in points.items() if name in p])
        for name in _names(points)
    ]
    return draw("Cost against size", "states in the store", "µs", series)


def main(arguments: list[str]) -> int:
    """Run ``python tests/benchmarks curves [options]``."""
    parser = argparse.ArgumentParser("tests/benchmarks curves", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 100 000 states")
    parser.add_argument("--largest", type=int, default=10_000_000, metavar="STATES")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write page and picture here")
    parser.add_argument("--directory", type=Path, help="where the stores are made (a real disk)")
    options = parser.parse_args(arguments)
    pin({max(affinity(), default=0)})
    bench = Bench(options.quick, options.directory)
    try:
        points = measured(bench, 100_000 if options.quick else options.largest)
    finally:
        bench.close()
    print(markdown(points))
    if options.output:
        _write(points, options.output)
    return 0


def _write(points: dict[int, Point], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "performance.svg").write_text(picture(points), encoding="utf-8")
    notes = "\n".join(f"- {note}" for note in [*page.machine(), f"made by `{page.command()}`"])
    image = "![Cost against size, on logarithmic axes](performance.svg)"
    memories = [number(point["memory"] / 1e6) for point in points.values() if "memory" in point]
    if memories:
        last, point = list(points.items())[-1]
        notes += f"\n- anonymous memory of the recording process, MB: {', '.join(memories)}"
        notes += f"\n- gc at the end, of {number(last)} states: {number(point['gc'])} s"
    body = f"## Cost against size\n\n{image}\n\n{markdown(points)}\n\n{notes}"
    page.put(folder / "performance.md", "curves", body)
