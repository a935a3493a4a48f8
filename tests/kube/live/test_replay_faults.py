"""Each fault of the API server at each request of a step: the step ends well, or says why not."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from simgit.errors import ClusterError
from simgit.kube.live import api as calls
from simgit.kube.live.api import Api
from simgit.testing.apiserver import FAULT_KINDS, ApiFault, ApiServer, random_faults
from tests.kube.live.loopback import (
    SIMULATION,
    WEB,
    deployment,
    left_on,
    loopback,
    replayer,
    settings,
    trace,
)
from tests.support.patience import PATIENCE

STEP = trace([deployment(), deployment("other", replicas=1, cpu="17")])
WATCH_ONLY = ("duplicate", "reorder", "gone", "closed", "cut", "empty-lines", "garbage")
PAIRS = 120
"""Cases of two faults in one step."""
PARTS = 6
Case = tuple[ApiFault, ...]
"""Faults; the number of the request counts from the first one of the step."""


class Hasty:
    """A clock that waits a tenth of what it is told to: back-offs, and looks at what comes."""

    def time(self) -> float:
        """Return Unix time."""
        return time.time()

    def monotonic(self) -> float:
        """Return a time that does not run back."""
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Wait for a tenth."""
        time.sleep(seconds / 10)

    def wait(self, condition: threading.Condition, seconds: float, /) -> None:
        """Wait for a notification, which nothing makes come sooner."""
        condition.wait(seconds)


served = partial(loopback, clock=Hasty())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not come is given up soon, as else each would take half a minute."""
    monkeypatch.setattr(calls, "READ_SECONDS", 1.0)


def step(server: ApiServer, api: Api, file: Path, *, timeout: float = 20.0) -> str:
    """Run a step from nothing to nothing; return how it ended: ok, timeout or error, and why."""
    with replayer(api, settings=settings(timeout=timeout), leftovers=file) as driver:
        try:
            with driver.replay(STEP, SIMULATION, WEB, label="main") as cluster:
                seen = cluster.observe(WEB)
        except ClusterError as error:
            assert str(error)
            return f"{'timeout' if error.__dict__.get('timeout') else 'error'}: {error}"
        if seen.valid:
            assert seen.counts() == (3, 0, 3)
            return "ok"
        assert seen.error
        return f"{seen.validity}: {seen.error}"


def check(server: ApiServer, api: Api, file: Path, case: Case = ()) -> str:
    """Run a step with faults; afterwards nothing is left, or the next start removes it."""
    first = len(server.requests)
    server.faults = [replace(fault, at=first + (fault.at or 0)) for fault in case]
    told = step(server, api, file)
    server.faults = []
    if left_on(server):
        assert file.exists(), left_on(server)
        assert step(server, api, file, timeout=PATIENCE) == "ok"
    assert left_on(server) == []
    assert not file.exists()
    return told


def requests_of_a_step(folder: Path) -> list[str]:
    with served(folder) as (server, api):
        first = len(server.requests)
        assert check(server, api, folder / "left") == "ok"
        return [f"{each.method} {each.path}" for each in server.requests[first:]]


def cases_of(sent: list[str]) -> Iterator[Case]:
    """Yield each fault at each request of a step, watches cut at other events, and random pairs."""
    places = [(kind, at) for kind in FAULT_KINDS for at, request in enumerate(sent, 1)
              if kind not in WATCH_ONLY or "watch=" in request]  # fmt: skip
    for kind, at in places:
        yield (ApiFault(kind, at=at),)
        if kind in WATCH_ONLY:
            yield from ((ApiFault(kind, at=at, after=after),) for after in (0, 2))
    draw = random.Random(0)
    bodies, after = ("json", "text", "empty"), (0, 1, 2)
    for _ in range(PAIRS):
        yield tuple(
            ApiFault(kind, at=at, body=draw.choice(bodies), after=draw.choice(after))
            for kind, at in draw.sample(places, 2)
        )


def in_parts(work: Callable[[Path, int], list[str]], folder: Path) -> list[str]:
    """Do parts of some work at a time, each with a folder of its own; return what all return."""
    folders = [folder / str(number) for number in range(PARTS)]
    for each in folders:
        each.mkdir()
    with ThreadPoolExecutor(PARTS) as pool:
        return [told for part in pool.map(work, folders, range(PARTS)) for told in part]


@pytest.mark.filterwarnings("ignore:left on the cluster")
@pytest.mark.slow
def test_every_fault_at_every_request(tmp_path: Path) -> None:
    cases = list(cases_of(requests_of_a_step(tmp_path)))

    def some(folder: Path, part: int) -> list[str]:
        with served(folder) as (server, api):
            return [
                check(server, api, folder / f"left{number}", case)
                for number, case in enumerate(cases[part::PARTS])
            ]

    began = time.monotonic()
    ended = in_parts(some, tmp_path)
    print(f"{len(ended)} cases in {time.monotonic() - began:.0f} s")
    assert len(ended) == len(cases) >= 500
    assert ended.count("ok") > 0.8 * len(ended), ended
    assert {told.partition(":")[0] for told in ended} <= {"ok", "error", "timeout"}


@pytest.mark.filterwarnings("ignore:left on the cluster")
@pytest.mark.slow
def test_many_faults_in_one_step(tmp_path: Path) -> None:
    def some(folder: Path, part: int) -> list[str]:
        ended = []
        with served(folder) as (server, api):
            for seed in range(part, 24, PARTS):
                file = folder / f"left{seed}"
                server.faults = random_faults(seed, 0.05 * (1 + seed % 5))
                ended.append(step(server, api, file))
                server.faults = []
                assert file.exists() or not left_on(server)
                assert step(server, api, file, timeout=PATIENCE) == "ok"
                assert left_on(server) == []
                assert not file.exists()
        return ended

    assert "ok" in in_parts(some, tmp_path)


def test_a_step_takes_few_requests(tmp_path: Path) -> None:
    with loopback(tmp_path) as (server, api), replayer(api) as driver:
        for _ in range(3):
            first = len(server.requests)
            with driver.replay(STEP, SIMULATION, WEB, label="main") as cluster:
                assert cluster.observe(WEB).counts() == (3, 0, 3)
            sent = [f"{each.method} {each.path}" for each in server.requests[first:]]
            assert len(sent) <= 40, "\n".join(sent)
