"""The transport to S3 keeps the contract against Ceph's gateway, where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from simgit.remotes.transport import Transport, open_transport
from tests.remotes.transport import ceph
from tests.remotes.transport.contract import TransportContract

ACCESS, SECRET = "access", "the-secret"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ceph.missing() is not None, reason=f"needs Ceph: no {ceph.missing()}"),
]


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with ceph.gateway(ACCESS, SECRET) as address:
        yield address


@pytest.fixture
def place(gateway: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of the bucket, and the keys to it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    ceph.make_bucket(gateway, "tests", ACCESS, SECRET)
    return f"s3://tests/{uuid4().hex}"


class TestCephTransport(TransportContract):
    conditional = "etag-unquoted"

    @pytest.fixture
    def open_it(self, gateway: str, place: str) -> Callable[[], Transport]:
        def opened() -> Transport:
            transport = open_transport(place, endpoint=gateway)
            transport.conditional = "etag-unquoted"  # as the probe says
            return transport

        return opened
