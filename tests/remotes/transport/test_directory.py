"""The transport to a directory keeps the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simgit.remotes.transport import Transport, open_transport
from tests.remotes.transport.contract import TransportContract


class TestDirectoryTransport(TransportContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> Callable[[], Transport]:
        return lambda: open_transport(f"{tmp_path}/remote")
