"""Workers, claims and statuses against a server with S3's interface."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

import simgit
from simgit.worker.status import JobStatus
from tests.remotes.transport import servers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of a server that has S3's interface."""
    pytest.importorskip("moto")
    pytest.importorskip("obstore")
    with servers.moto() as address:
        yield address


@pytest.fixture
def url(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"),
                        ("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/credentials"),
                        ("AWS_CONFIG_FILE", f"{tmp_path}/config")):  # fmt: skip
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid4().hex}"
    servers.make_bucket(endpoint, bucket)
    return f"s3://{bucket}/exp"


def test_workers_push_and_resume(url: str, endpoint: str, tmp_path: Path) -> None:
    options = {"endpoint": endpoint, "region": "us-east-1"}
    for first in (0, 50):
        for index in range(3):
            with simgit.worker.open(url, f"worker/{index}", **options) as work:
                assert bool(work.resumed) == bool(first)
                with work.recorder() as recorder:
                    for i in range(first, first + 50):
                        recorder.append([index, i], i % 2)
                    work.checkpoint(recorder, "agent", {"i": i})
            assert work.result.states == 50 and work.result.failures == 0
    with JobStatus(url, **options) as found:
        assert [(row.index, row.state) for row in found.look()] == [(i, "done") for i in range(3)]
    with simgit.Repository.clone(url, tmp_path / "clone", **options) as repo:
        assert {run.step for run in repo.runs.values()} == {99} and len(repo.runs) == 3
        assert not repo.fsck().problems


def test_claims_are_of_one(url: str, endpoint: str) -> None:
    options = {"endpoint": endpoint, "region": "us-east-1"}
    found: list[simgit.worker.Claim] = []

    def grab() -> None:
        if (got := simgit.worker.claim(url, "jobs/1", interval=1.0, **options)) is not None:
            found.append(got)

    threads = [threading.Thread(target=grab) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 1
    found[0].renew()
    assert found[0].is_held
    found[0].finish()
    assert simgit.worker.claim(url, "jobs/1", **options) is None
