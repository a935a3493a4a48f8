"""The HTTP API: the list of runs, frames that are restored, and how soon a server ends."""

from __future__ import annotations

import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.web import Process, serving

from . import subject
from .case import Bench, Case, at_most, row_of
from .cases_page import branches, p95
from .measure import all_cores

EPISODIC: Final = 20_000
STREAMS: Final = 20
CURVES: Final = 10
ending = Case(
    "http-end", f"from Ctrl-C to the end of a server with {STREAMS} streams", "s", at_most(2),
    "median of 5",
)  # fmt: skip


@contextmanager
def _client(path: Path) -> Iterator[httpx.Client]:
    with (
        all_cores(),
        serving(path) as server,
        httpx.Client(base_url=server.url, headers=server.headers, timeout=60) as client,
    ):
        yield client


def _milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3


def _read(client: httpx.Client, address: str) -> int:
    """Read an answer as it is sent; return its bytes."""
    with client.stream("GET", address) as answer:
        answer.raise_for_status()
        return sum(map(len, answer.iter_raw()))


def _runs(bench: Bench) -> dict[str, float]:
    def build() -> dict[str, float]:
        path = bench.folder("http-runs")
        shutil.copytree(branches(bench), path, dirs_exist_ok=True)
        with _client(path) as client, subject.store().open(path) as repo:
            runs = ["main", *(f"sweep/{i:04}" for i in range(CURVES - 1))]
            curves = "series?field=reward&points=489&run=" + "&run=".join(runs)
            sizes = [_read(client, "runs?limit=10000") for _ in range(2)]
            warm = [_milliseconds(lambda: _read(client, "runs?limit=10000")) for _ in range(50)]
            drawn = [_milliseconds(lambda: _read(client, curves)) for _ in range(20)]
            after = []
            for i in range(20):
                with repo.recorder(f"sweep/{37 * i:04}") as recorder:
                    recorder.append(float(i), reward=1.0)
                time.sleep(0.2)  # the viewer was told
                after.append(_milliseconds(lambda: _read(client, "runs?limit=10000")))
        return {
            "bytes": sizes[0] / 1024,
            "warm": statistics.median(warm),
            "moved": statistics.median(after),
            "curves": statistics.median(drawn),
        }

    return bench.keep("http-runs-figures", build)


def _played(bench: Bench) -> Path:
    """Return a repository with a run of CartPole, and branches of it that went on."""

    def build() -> Path:
        import gymnasium

        from simgit.gym import Recorder

        path, draw = bench.folder("http-frames"), random.Random(1)
        length = bench.size(EPISODIC, 2000)

        def play(env: Any, count: int) -> None:
            for _ in range(count):
                *_, terminated, truncated, _ = env.step(draw.randrange(2))
                if terminated or truncated:
                    env.reset()
            env.close()

        with subject.store().init(path) as repo:
            env = Recorder(gymnasium.make("CartPole-v1"), repo)
            env.reset(seed=1)
            play(env, length)
            for i in range(50):
                at = draw.randrange(length)
                while repo.state(f"main@{at}").terminated:
                    at -= 1
                repo.branch(f"branch-{i}", f"main@{at}")
                play(Recorder.resume(repo, f"branch-{i}"), 5)
        return path

    return bench.keep("http-frames-path", build)


def _frames(bench: Bench) -> dict[str, float]:
    def build() -> dict[str, float]:
        path, draw = _played(bench), random.Random(2)
        with subject.store().open(path) as repo:
            length = len(repo.trajectory("main"))
        with _client(path) as client:

            def shown(step: int) -> float:
                return _milliseconds(lambda: _read(client, f"frames/main@{step}?width=400"))

            shown(1)  # starts the process
            found = [shown(draw.randrange(length)) for _ in range(bench.size(200, 20))]
            begin = draw.randrange(length - 300)
            shown(begin)
            following = [shown(begin + i) for i in range(1, bench.size(201, 21))]
        return {"random": p95(found), "next": p95(following)}

    return bench.keep("http-frames-figures", build)


@ending.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    path = branches(bench)
    with all_cores(), ExitStack() as open_:
        server = Process(path)
        open_.callback(server.kill)
        client = open_.enter_context(httpx.Client(base_url=server.url, headers=server.headers))
        for _ in range(STREAMS):
            stream = open_.enter_context(client.stream("GET", "events", timeout=60))
            next(stream.iter_raw())
        begun = time.perf_counter()
        code, _text = server.end()
        assert code in (0, 130), code
        return time.perf_counter() - begun


CASES = [
    row_of(_runs, "warm", "http-runs", "GET runs of 1 001, none moved", "ms", 15, "packed; median of 50"),
    row_of(_runs, "moved", "http-runs-moved", "GET runs of 1 001, after one moved", "ms", 10, "median of 20"),
    row_of(_runs, "bytes", "http-runs-bytes", "GET runs of 1 001", "KiB", 45, "gzip; each with a branch point of its own"),
    row_of(_runs, "curves", "http-curves", f"GET series of {CURVES} runs of up to 1 M states, 489 buckets each", "ms", 60, "median of 20; n, min, max, mean and last, exact"),
    row_of(_frames, "random", "http-frame", "the frame of a random state, p95 of 200", "ms", 150, "CartPole, 20 000 states recorded as by default, 50 branches; width 400"),
    row_of(_frames, "next", "http-frame-next", "the frames of the next states, p95 of 200", "ms", 30),
    ending,
]  # fmt: skip
