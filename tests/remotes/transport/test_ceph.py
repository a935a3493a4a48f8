"""The transport to S3 keeps the contract against Ceph's gateway, where it is installed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simgit.errors import TransportError
from simgit.remotes.transport import Transport, open_transport
from tests.remotes.transport import ceph, processes
from tests.remotes.transport.contract import TransportContract

ACCESS, SECRET = ceph.ACCESS, ceph.SECRET
pytestmark = [pytest.mark.slow, ceph.NEEDED]


class TestCephTransport(TransportContract):
    conditional = "etag-unquoted"

    @pytest.fixture
    def open_it(self, gateway: str, place: str) -> Callable[[], Transport]:
        return lambda: opened(place, gateway)


def opened(place: str, gateway: str) -> Transport:
    transport = open_transport(place, endpoint=gateway)
    transport.conditional = "etag-unquoted"  # as the probe says
    return transport


def test_processes_that_count_by_comparing_lose_nothing(
    gateway: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", gateway)
    processes.count(opened(place, gateway), place, 10)


def test_killed_writers_leave_whole_objects(
    gateway: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", gateway)
    processes.kill(opened(place, gateway), place, 4)


def test_wrong_keys_are_told(gateway: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for access, secret, said in [
        ("nobody", SECRET, "it does not know the access key"),
        (ACCESS, "another", "the secret key is another"),
    ]:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        transport = open_transport(place, endpoint=gateway)
        for call in (
            lambda: transport.get("a"), lambda: transport.head("a"),  # noqa: B023
            lambda: transport.put_new("a", b""), lambda: list(transport.list("")),  # noqa: B023
        ):  # fmt: skip
            with pytest.raises(TransportError, match=said) as caught:
                call()
            assert caught.value.kind == "denied"
            assert caught.value.request_id


def test_a_bucket_that_is_not_there_is_told(gateway: str, place: str) -> None:
    transport = open_transport("s3://no-such-bucket", endpoint=gateway)
    for call in (
        lambda: transport.get("a"), lambda: transport.head("a"), lambda: transport.put("a", b""),
        lambda: list(transport.list("")),
    ):  # fmt: skip
        with pytest.raises(
            TransportError, match="there is no bucket 'no-such-bucket' at "
        ) as caught:
            call()
        assert caught.value.kind == "no-bucket"


def test_a_large_object_is_sent_in_parts(gateway: str, place: str) -> None:
    transport = opened(place, gateway)
    data = bytes(range(256)) * (40 << 12)
    etag = transport.put("packs/a", data)
    got = transport.get("packs/a")
    assert got is not None and (got.data, got.etag) == (data, etag)
    assert transport.get_range("packs/a", -100, 0) == data[-100:]
    assert [each.etag for each in transport.list("", etags=True)] == [etag]
