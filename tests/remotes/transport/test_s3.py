"""The transport to S3 keeps the contract, against a server of moto."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simgit.remotes.transport import Transport, open_transport
from tests.remotes.transport import processes
from tests.remotes.transport.contract import TransportContract


@pytest.mark.usefixtures("keys")
class TestS3Transport(TransportContract):
    conditional = "etag"

    @pytest.fixture
    def open_it(self, moto: str, bucket: str) -> Callable[[], Transport]:
        return lambda: open_transport(f"s3://{bucket}/a/prefix", endpoint=moto)

    # a thousand requests, which moto takes seconds for
    test_a_listing_is_of_pages = pytest.mark.slow(TransportContract.test_a_listing_is_of_pages)


@pytest.mark.slow
@pytest.mark.usefixtures("keys")
def test_processes_that_count_by_comparing_lose_nothing(
    moto: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    url = f"s3://{bucket}/x"
    processes.count(open_transport(url), url, 10)


@pytest.mark.slow
@pytest.mark.usefixtures("keys")
def test_killed_writers_leave_whole_objects(
    moto: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    url = f"s3://{bucket}/x"
    processes.kill(open_transport(url), url, 4)
