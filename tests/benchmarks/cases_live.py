"""Simulations: what being controlled costs, and how soon they stop or are seen to crash."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from . import subject
from .case import Bench, Case, at_most
from .measure import all_cores

ROOT = Path(__file__).parents[2]
TYPES = "tests.live.simulations:"
TIMEOUT = 1.0
controlled = Case(
    "control-cost",
    "a step of CartPole, recorded under a control, which looks",
    "µs/step",
    at_most(lambda peers: 1.03 * peers["without"]),
    "median of interleaved pairs of 500 steps; the same loop recorded without a control",
)
looking = Case("look", "a look at what people ask, when nobody asks", "µs", at_most(1))
stopping = Case("stop", "stop of a simulation that looks", "ms", at_most(150), "median of 7")
deaf = Case(
    "stop-deaf",
    f"stop of one that does not look and has a grandchild, after {TIMEOUT:g} s",
    "s",
    at_most(TIMEOUT + 1.5),
    "until its processes are gone; it ignores SIGTERM",
)
crashing = Case(
    "crash-shown",
    "from SIGKILL to a callback that a tracker calls",
    "ms",
    at_most(1000),
    "median of 7",
)
CASES = [controlled, looking, stopping, deaf, crashing]


def _pairs(bench: Bench) -> dict[str, float]:
    """Return the medians of pairs of blocks of steps, measured one after the other."""

    def build() -> dict[str, float]:
        import gymnasium

        from simgit.gym import Recorder
        from simgit.live import attach

        path = bench.folder("simgit-control-cost")
        with subject.store().init(path) as repo, attach(repo, "with", seed=1) as control:
            plain = Recorder(gymnasium.make("CartPole-v1"), repo, "without", self_check=False)
            plain.action_space.seed(1)
            plain.reset(seed=1)
            env = control.env(gymnasium.make("CartPole-v1"), self_check=False)
            loops = {"without": (iter(range(10**9)), plain), "simgit": (control.range(10**9), env)}
            found: dict[str, list[float]] = {name: [] for name in loops}
            for i in range(bench.size(400, 40)):
                for name in sorted(loops, reverse=bool(i % 2)):
                    found[name].append(_block(*loops[name]))
            plain.close()
        return {name: statistics.median(each) for name, each in found.items()}

    return bench.keep("control-cost", build)


def _block(steps: Iterator[int], env: Any, count: int = 500) -> float:
    sample, start = env.action_space.sample, time.perf_counter()
    for _ in islice(steps, count):
        *_, terminated, truncated, _ = env.step(sample())
        if terminated or truncated:
            env.reset()
    return (time.perf_counter() - start) / count * 1e6


@controlled.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    return _pairs(bench)["simgit"]


@controlled.side("without", repeat=1)
def _(bench: Bench) -> float:
    return _pairs(bench)["without"]


@looking.side("simgit", repeat=7)
def _(bench: Bench) -> float:
    from simgit.live import attach

    with subject.store().init(bench.folder("simgit-look")) as repo, attach(repo) as control:
        count, check = 100_000, control.check
        start = time.perf_counter()
        for _ in range(count):
            check()
        return (time.perf_counter() - start) / count * 1e6


@contextmanager
def _running(bench: Bench, kind: str) -> Iterator[tuple[Any, Any]]:
    """Give a tracker and a simulation of the type that has recorded something."""
    from simgit.live import Tracker

    with (
        all_cores(),
        subject.store().init(bench.folder("simgit-live")) as repo,
        Tracker(repo) as tracker,
    ):
        one = tracker.start(
            TYPES + kind, f"{kind}-{{auto}}", folder=ROOT,
            config={"steps": 10**9, "pace": 0.001},
        )  # fmt: skip
        try:
            while one.run not in repo.runs or repo.runs[one.run].step is None:
                assert one.phase != "ended", one.lines()
                time.sleep(0.02)
            yield tracker, one
        finally:
            tracker.close(stop=True, timeout=1)


@stopping.side("simgit", repeat=7)
def _(bench: Bench) -> float:
    with _running(bench, "count") as (_, one):
        start = time.perf_counter()
        assert one.stop() == "stopped"
        return (time.perf_counter() - start) * 1e3


@deaf.side("simgit", repeat=3)
def _(bench: Bench) -> float:
    from simgit.process import process_start

    with _running(bench, "deaf") as (tracker, one):
        child = tracker.repo.directory / "live" / "files" / "grandchild"
        while not child.exists():
            time.sleep(0.02)
        start, pid = time.perf_counter(), int(child.read_text())
        child.unlink()
        one.stop(TIMEOUT)
        while process_start(pid):
            time.sleep(0.001)
        return time.perf_counter() - start


@crashing.side("simgit", repeat=7)
def _(bench: Bench) -> float:
    import os

    with _running(bench, "count") as (tracker, one):
        ended: list[float] = []
        tracker.when("each", [one], "crashed", lambda _: ended.append(time.perf_counter()))
        start = time.perf_counter()
        os.kill(one.record.process["pid"], 9)
        while not ended:
            time.sleep(0.001)
        return (ended[0] - start) * 1e3
