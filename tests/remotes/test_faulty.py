"""The transport that goes wrong does so at the call that it is told, and only there."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from uuid import uuid4

import pytest

from simgit.errors import AlreadyExists, Conflict, TransportError
from simgit.remotes.transport import Transport, open_transport
from tests.remotes.faulty import FaultyTransport
from tests.remotes.transport.contract import TransportContract, increase


class TestFaultyTransport(TransportContract):
    """Without a fault it is as good as any."""

    @pytest.fixture
    def open_it(self) -> Callable[[], Transport]:
        url = f"memory://{uuid4().hex}"
        return lambda: FaultyTransport(open_transport(url))


@pytest.mark.parametrize("fault", ["fail", "lose", "duplicate", "delay"])
def test_whoever_looks_for_his_own_mark_counts_right_whatever_goes_wrong(fault: str) -> None:
    for n in itertools.count(1):
        inner = open_transport(f"memory://{uuid4().hex}")
        inner.put_new("a", b"")
        transport = FaultyTransport(inner, fault, n)  # type: ignore[arg-type]
        for _ in range(3):
            while True:
                try:
                    increase(transport, "a")
                    break
                except TransportError as error:
                    assert error.retryable and not error.unknown
        got = inner.get("a")
        assert got is not None
        assert got.data.count(b"\n") == 3, n
        if not transport.was_hit:
            break
    assert n > 6


def test_each_fault_is_what_it_says() -> None:
    inner = open_transport(f"memory://{uuid4().hex}")
    inner.put("a", b"1234")
    with pytest.raises(TransportError, match="the call 'put' failed"):
        FaultyTransport(inner, "fail", 1).put("b", b"1")
    assert [each.key for each in inner.list("")] == ["a"]
    with pytest.raises(TransportError, match="the call 'put_new' lost") as caught:
        FaultyTransport(inner, "lose", 1).put_new("b", b"1")
    assert caught.value.unknown
    assert [each.key for each in inner.list("")] == ["a", "b"]
    with pytest.raises(AlreadyExists):
        FaultyTransport(inner, "duplicate", 1).put_new("c", b"1")
    with pytest.raises(Conflict):
        FaultyTransport(inner, "duplicate", 1).put_if("c", b"2", inner.head("c").etag or "")
    assert inner.get_range("c", 0, 9) == b"2"
    cut = FaultyTransport(inner, "truncate", 1, lasting=True)
    got = cut.get("a")
    assert got is not None and got.data == b"12"
    assert cut.get_range("a", 0, 4) == b"12"
    listing = cut.list("")
    assert next(listing).key == "a"
    with pytest.raises(TransportError, match="the call 'list' lost"):
        next(listing)
    assert cut.names == [("get", "a"), ("get_range", "a"), ("list", "")]
    FaultyTransport(inner, "delay", 1, seconds=0.01).put("d", io.BytesIO(b"1"))
    assert inner.get_range("d", 0, 1) == b"1"


def test_others_can_act_before_a_call() -> None:
    inner = open_transport(f"memory://{uuid4().hex}")
    etag = inner.put("a", b"1")

    def overtake(number: int, name: str, key: str) -> None:
        if name == "put_if":
            inner.put(key, b"other")

    with pytest.raises(Conflict):
        FaultyTransport(inner, before=overtake).put_if("a", b"2", etag)
