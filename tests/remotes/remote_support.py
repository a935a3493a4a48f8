"""Remotes for tests: their clocks are set by hand, and requests are counted, watched and cut."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from simgit import Repository
from simgit.remotes.collection import RemoteCollection, collect
from simgit.remotes.connection import Connection
from simgit.remotes.fetch import Fetch, FetchReport
from simgit.remotes.push import Push, PushReport
from simgit.remotes.transport.base import MOST, Got, Listed, Transport
from simgit.remotes.transport.directory import DirectoryTransport, _names
from simgit.remotes.transport.memory import MemoryTransport

HOUR = 3600.0
DAY = 24 * HOUR


class Clock:
    """The seconds since 1970, which go on only when they are told to."""

    def __init__(self) -> None:
        self.time = 1.7e9

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class ClockedMemory(MemoryTransport):
    """Objects in memory that were written when a clock says."""

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(name)
        self.clock = clock

    def _write(self, key: str, data: bytes) -> str:
        etag = super()._write(key, data)
        found = self._objects.found
        found[key] = found[key]._replace(modified=self.clock())
        return etag

    @property
    def objects(self) -> dict[str, Got]:
        return self._objects.found


class ClockedDirectory(DirectoryTransport):
    """Objects in a directory that were written when a clock says."""

    def __init__(self, root: Any, clock: Clock) -> None:
        super().__init__(root)
        self.clock = clock

    def _timed(self, key: str, etag: str) -> str:
        os.utime(self._below([*_names(key)]), (self.clock(), self.clock()))
        return etag

    def put(self, key: str, data: bytes | BinaryIO) -> str:
        return self._timed(key, super().put(key, data))

    def put_new(self, key: str, data: bytes) -> str:
        return self._timed(key, super().put_new(key, data))

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        return self._timed(key, super().put_if(key, data, etag))


class Killed(BaseException):
    """What ends a process in a test."""


class Watched(Transport):
    """A transport that calls a function before each request, with its number and what it is."""

    def __init__(self, inner: Transport, hook: Callable[[int, str, str], None]) -> None:
        super().__init__(inner.url, inner.conditional)
        self.inner = inner
        self.counts = inner.counts
        self.hook = hook
        self.lock = threading.Lock()
        self.number = 0
        self.done: list[tuple[str, str]] = []

    def _pass(self, what: str, key: str) -> None:
        with self.lock:  # others wait as long as the hook takes
            number, self.number = self.number, self.number + 1
            self.done.append((what, key))
            self.hook(number, what, key)

    def get(self, key: str, *, unless: str | None = None, most: int = MOST) -> Got | None:
        self._pass("get", key)
        return self.inner.get(key, unless=unless, most=most)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self._pass("get_range", key)
        return self.inner.get_range(key, start, length)

    def head(self, key: str) -> Listed:
        self._pass("head", key)
        return self.inner.head(key)

    def put(self, key: str, data: bytes | BinaryIO) -> str:
        self._pass("put", key)
        return self.inner.put(key, data)

    def put_new(self, key: str, data: bytes) -> str:
        self._pass("put_new", key)
        return self.inner.put_new(key, data)

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        self._pass("put_if", key)
        return self.inner.put_if(key, data, etag)

    def delete(self, keys: Iterable[str]) -> None:
        found = list(keys)
        self._pass("delete", " ".join(found))
        self.inner.delete(found)

    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Listed]:
        self._pass("list", prefix)
        return iter(list(self.inner.list(prefix, etags=etags)))


def killed_at(inner: Transport, number: int) -> Watched:
    """Return a transport that ends the process before a request, and whoever goes on after it."""

    def hook(now: int, what: str, key: str) -> None:
        if now >= number:
            raise Killed

    return Watched(inner, hook)


def opened(transport: Transport) -> Connection:
    return Connection.open(transport)


def push(
    repo: Repository,
    transport: Transport,
    names: Sequence[str] | None = None,
    deleted: Sequence[str] = (),
    *,
    clock: Callable[[], float],
    **options: Any,
) -> PushReport:
    """Push refs of full names; all without names."""
    connection = opened(transport)
    try:
        wanted = everything(repo) if names is None else names
        pushing = Push(repo.odb, repo.odb, repo.refs, connection, "origin", clock=clock, **options)
        return pushing.run(wanted, deleted)
    finally:
        close(connection)


def fetch(
    repo: Repository, transport: Transport, names: Sequence[str] | None = None
) -> FetchReport:
    connection = opened(transport)
    try:
        return Fetch(repo.odb, repo.refs, connection, "origin").run(names)
    finally:
        close(connection)


def gc(transport: Transport, clock: Clock, **options: Any) -> RemoteCollection:
    connection = opened(transport)
    try:
        return collect(connection, now=clock, **options)
    finally:
        close(connection)


def close(connection: Connection) -> None:
    """End the threads of a connection, whose transport stays."""
    if connection._pool is not None:
        connection._pool.shutdown(cancel_futures=True)


def everything(repo: Repository) -> list[str]:
    return [f"runs/{name}" for name in repo.runs] + [f"tags/{name}" for name in repo.tags()]


def check_whole(transport: Transport) -> dict[str, Any]:
    """Check that each ref can be fetched alone into a new repository that is clean then.

    Returns:
        The states of the refs, and how many attachments came with each.
    """
    connection = opened(transport)
    try:
        seen = connection.anew().read_refs(None, lambda key: None)
    finally:
        close(connection)
    found = {}
    for name, each in seen.items():
        if each.ref.deleted:
            continue
        with Repository.init(":memory:") as repo:
            fetch(repo, transport, [name])
            assert not repo.fsck().problems
            with repo.odb.read() as txn:
                found[name] = each.ref.oid, sum(1 for _ in txn.scan("attachments"))
    return found
