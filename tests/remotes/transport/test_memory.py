"""The transport to the memory of a process keeps the contract."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from simgit.remotes.transport import Transport, open_transport
from tests.remotes.transport.contract import TransportContract


class TestMemoryTransport(TransportContract):
    @pytest.fixture
    def open_it(self) -> Callable[[], Transport]:
        url = f"memory://{uuid4().hex}"
        return lambda: open_transport(url)


def test_another_name_is_another_store() -> None:
    one, two = open_transport("memory://one"), open_transport("memory://two")
    one.put("a", b"1")
    assert list(two.list("")) == []
    assert str(one.counts) == "Counts(requests=1, sent=1, received=0, retries=0)"
