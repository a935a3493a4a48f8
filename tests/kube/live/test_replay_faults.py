"""Each fault of the API server at each request of a step: the step ends well, or says why not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
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


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not come is given up soon, as else each would take half a minute."""
    monkeypatch.setattr(calls, "READ_SECONDS", 0.4)


def step(server: ApiServer, api: Api, file: Path, *, timeout: float = 20.0) -> str:
    """Run a step from nothing to nothing; return how it ended."""
    with replayer(api, settings=settings(timeout=timeout), leftovers=file) as driver:
        try:
            with driver.replay(STEP, SIMULATION, WEB, label="main") as cluster:
                seen = cluster.observe(WEB)
        except ClusterError as error:
            assert str(error)
            return "timeout" if error.__dict__.get("timeout") else "error"
        if seen.valid:
            assert seen.counts() == (3, 0, 3)
        else:
            assert seen.error
        return seen.validity


def check(server: ApiServer, api: Api, file: Path, fault: ApiFault | None) -> str:
    """Run a step with a fault; afterwards nothing is left, or the next start removes it."""
    server.faults = [] if fault is None else [fault]
    told = step(server, api, file)
    server.faults = []
    if left_on(server):
        assert file.exists(), left_on(server)
        assert step(server, api, file, timeout=PATIENCE) == "ok"  # a lease may have to expire
    assert left_on(server) == []
    assert not file.exists()
    return told


def requests_of_a_step(folder: Path) -> list[str]:
    with loopback(folder) as (server, api):
        first = len(server.requests)
        assert check(server, api, folder / "left", None) == "ok"
        return [f"{each.method} {each.path}" for each in server.requests[first:]]


def run(folder: Path, cases: list[tuple[str, int]]) -> Iterator[tuple[str, int, str]]:
    with loopback(folder) as (server, api):
        for (kind, at), number in zip(cases, count()):
            fault = ApiFault(kind, at=len(server.requests) + at)
            yield kind, at, check(server, api, folder / f"left{number}", fault)


@pytest.mark.filterwarnings("ignore:left on the cluster")
@pytest.mark.slow
def test_every_fault_at_every_request(tmp_path: Path) -> None:
    sent = requests_of_a_step(tmp_path)
    cases = [
        (kind, at)
        for kind in FAULT_KINDS
        for at, request in enumerate(sent, 1)
        if kind not in WATCH_ONLY or "watch=" in request
    ]
    parts = [cases[i::6] for i in range(6)]
    folders = [tmp_path / str(i) for i in range(6)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(6) as pool:
        found = [
            each for part in pool.map(lambda f, c: list(run(f, c)), folders, parts) for each in part
        ]
    assert len(found) == len(cases) > 250
    ended = [told for _, _, told in found]
    assert ended.count("ok") > 0.8 * len(ended), found
    assert set(ended) <= {"ok", "error", "timeout"}


@pytest.mark.filterwarnings("ignore:left on the cluster")
@pytest.mark.slow
def test_many_faults_in_one_step(tmp_path: Path) -> None:
    def some(part: int) -> list[str]:
        ended = []
        (folder := tmp_path / str(part)).mkdir()
        with loopback(folder) as (server, api):
            for seed in range(part, 24, 6):
                file = folder / f"left{seed}"
                server.faults = random_faults(seed, 0.05 * (1 + seed % 5))
                ended.append(step(server, api, file))
                server.faults = []
                assert file.exists() or not left_on(server)
                assert (
                    step(server, api, file, timeout=PATIENCE) == "ok"
                )  # a lease may have to expire
                assert left_on(server) == []
                assert not file.exists()
        return ended

    with ThreadPoolExecutor(6) as pool:
        ended = [each for part in pool.map(some, range(6)) for each in part]
    assert "ok" in ended


def test_a_step_takes_few_requests(tmp_path: Path) -> None:
    with loopback(tmp_path) as (server, api), replayer(api) as driver:
        for _ in range(3):
            first = len(server.requests)
            with driver.replay(STEP, SIMULATION, WEB, label="main") as cluster:
                assert cluster.observe(WEB).counts() == (3, 0, 3)
            sent = [f"{each.method} {each.path}" for each in server.requests[first:]]
            assert len(sent) <= 40, "\n".join(sent)
