"""A transport that fails at a request of its user's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from simgit.errors import TransportError
from simgit.remotes.transport import Got, Listed, Transport


class Killed(BaseException):
    """What ends a process, but for its threads."""


class Faulty(Transport):
    """Another transport, whose n-th request (from 1) fails.

    Args:
        inner: the transport.
        at: the number of the request; 0 for none.
        how: ``fail`` (it is not done), ``lost`` (it is done, and the answer is lost), ``kill`` (it
            is not done, and the process ends) or ``killed after``.
        before: called with the number and the name of each request, before it.
    """

    def __init__(
        self,
        inner: Transport,
        at: int = 0,
        how: str = "fail",
        before: Callable[[int, str], object] | None = None,
    ) -> None:
        super().__init__(inner.url, inner.conditional)
        self.inner = inner
        self.at = at
        self.how = how
        self.before = before
        self.calls = 0
        self.counts = inner.counts

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        self.calls += 1
        number = self.calls
        if self.before is not None:
            self.before(number, name)
        if self.at and number > self.at and self.how.startswith("kill"):
            raise Killed
        if number != self.at:
            return getattr(self.inner, name)(*args, **options)
        if self.how == "kill":
            raise Killed
        if self.how == "fail":
            raise TransportError("the network is down", kind="unreachable", retryable=True)
        done = getattr(self.inner, name)(*args, **options)
        if self.how == "killed after":
            raise Killed
        if name not in ("put_new", "put_if"):
            return done  # what can be repeated is repeated
        raise TransportError("the answer was lost", kind="unknown", retryable=True, unknown=True)

    def get(self, key: str, *, unless: str | None = None) -> Got | None:
        return self._call("get", key, unless=unless)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._call("get_range", key, start, length)

    def head(self, key: str) -> Listed:
        return self._call("head", key)

    def put(self, key: str, data: bytes | BinaryIO) -> str:
        return self._call("put", key, data)

    def put_new(self, key: str, data: bytes) -> str:
        return self._call("put_new", key, data)

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        return self._call("put_if", key, data, etag)

    def delete(self, keys: Iterable[str]) -> None:
        return self._call("delete", list(keys))

    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Listed]:
        return iter(list(self._call("list", prefix, etags=etags)))
