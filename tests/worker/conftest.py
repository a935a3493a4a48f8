"""A place for workers, and a remote whose connection can be cut."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from simgit.errors import TransportError
from simgit.remotes import remote as remotes
from simgit.remotes.transport import Listed, Transport, open_transport
from simgit.repository import remotes as of_repository
from tests.remotes.faulty import FaultyTransport


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for the local repositories of workers."""
    found = tmp_path / "scratch"
    found.mkdir()
    monkeypatch.setenv("TMPDIR", str(found))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield found
    tempfile.tempdir = None


class Noted(FaultyTransport):
    """A transport that notes what is listed."""

    listed: list[str]

    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Listed]:
        self.listed.append(prefix)
        return super().list(prefix, etags=etags)


class Network:
    """The way to all remotes, which may be down."""

    def __init__(self) -> None:
        self.is_down = False
        self.listed: list[str] = []
        self.calls: list[str] = []
        self.threads: set[str] = set()

    def before(self, _: int, name: str, key: str) -> None:
        self.calls.append(name)
        self.threads.add(threading.current_thread().name)
        if self.is_down:
            raise TransportError("the network is down", kind="unreachable", retryable=True)

    def open(self, url: str, **options: str | None) -> Transport:
        made = Noted(open_transport(url, **options), before=self.before)
        made.listed = self.listed
        return made


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """The network, which counts calls and can be cut."""
    made = Network()
    monkeypatch.setattr(of_repository, "open_transport", made.open)
    monkeypatch.setattr(remotes, "open_transport", made.open)
    return made
