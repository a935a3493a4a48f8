"""The scale of a thousand workers: what each asks of the storage, and how large its objects are."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import simgit
from simgit.remotes import layout
from simgit.remotes.remote import Remote
from simgit.remotes.transport import open_transport
from simgit.worker.status import JobStatus
from tests.support.patience import PATIENCE
from tests.worker.conftest import Network

WORKERS, PUSHES = 1000, 10


@pytest.mark.slow
def test_a_thousand_workers_push_ten_times(scratch: Path, network: Network) -> None:
    url, began = "memory://thousand", time.monotonic()
    pushes = requests = 0
    opening: list[int] = []
    for index in range(WORKERS):
        with simgit.worker.open(url, f"worker/{index}") as work:
            opening.append(len(network.calls))
            network.calls.clear()
            with work.recorder(flush_seconds=None) as recorder:
                for push in range(PUSHES):
                    recorder.append(np.array([index, push]), push, 1.0)
                    work.push(PATIENCE)
        assert work.result.pushes == PUSHES + 1  # at the end the run is completed
        pushes += work.result.pushes
        requests += work.result.requests
        assert "list" not in network.calls  # no push lists anything
        network.calls.clear()
    took = time.monotonic() - began
    assert requests / pushes <= 3.1
    assert max(opening) <= min(opening) + 8  # the first one makes the remote
    transport = open_transport(url)
    refs = [each.size for each in transport.list("refs")]
    shards = [each.size for each in transport.list("index")]
    assert len(refs) == WORKERS and max(refs) <= 8 << 10
    assert all(each <= 4 << 20 for each in shards)
    with Remote.open(url) as remote:
        assert len(remote.refs("worker/*")) == WORKERS
    with JobStatus(url) as found:
        assert {row.state for row in found.look()} == {"done"}
        before = found._connection.transport.counts.requests
        found.look()
        assert found._connection.transport.counts.requests - before == 1
    print(
        f"{pushes} pushes in {took:.0f} s, {requests / pushes:.2f} requests each, "
        f"{np.mean(opening):.1f} to open; refs {np.mean(refs):.0f} bytes, at most {max(refs)}"
    )


@pytest.mark.slow
def test_a_worker_of_many_pushes_has_small_refs_and_shards(scratch: Path) -> None:
    url = "memory://many-pushes"
    with simgit.worker.open(url, "worker/0") as work, work.recorder() as recorder:
        for push in range(700):
            recorder.append(push)
            work.push(PATIENCE)
    assert work.result.requests / work.result.pushes <= 3.1
    transport = open_transport(url)
    refs = [each.size for each in transport.list("refs")]
    shards = list(transport.list("index"))
    assert max(refs) <= 8 << 10 and shards
    assert max(each.size for each in shards) <= 700 * 400
    with Remote.open(url) as remote:
        seen = remote._connection.read_ref("runs/worker/0")
        assert seen is not None and len(remote._connection.entries(seen.ref)) >= 700
        assert len(seen.ref.shards) < 2 * layout.FANOUT


@pytest.mark.slow
def test_runs_of_a_worker_are_listed_alone(scratch: Path, network: Network) -> None:
    url = "memory://runs-alone"
    with simgit.worker.open(url, "worker/1") as work:
        for number in range(200):
            with work.recorder(f"run-{number}") as recorder:
                recorder.append(number)
    network.listed.clear()
    for _ in range(2):
        with simgit.worker.open(url, "worker/2") as work:
            for number in range(20):  # more than are asked for one by one
                with work.recorder(f"run-{number}") as recorder:
                    recorder.append(number)
            assert len(work.repository.runs) == 20
    with simgit.worker.open(url, "worker/2") as work, work.recorder() as recorder:
        recorder.append(1)  # a run beside the folder of the others
        for number in range(20):
            with work.recorder(f"run-{number}") as again:
                again.append(number)
    assert work.result.runs.keys() == {"worker/2", *(f"worker/2/run-{n}" for n in range(20))}
    assert network.listed
    assert all(each.rstrip("/").startswith("refs/runs/worker/2") for each in network.listed)
