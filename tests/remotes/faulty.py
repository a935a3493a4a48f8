"""A transport whose n-th call goes wrong, to go through every n of a push or a fetch."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, Literal

from simgit.errors import SimgitError, TransportError
from simgit.remotes.transport import Counts, Got, Listed, Transport
from simgit.remotes.transport.base import MOST

Fault = Literal["fail", "lose", "duplicate", "truncate", "delay", "kill", "kill after"]
FAULTS: Final[tuple[Fault, ...]] = ("fail", "lose", "duplicate", "truncate", "delay")
_KILLS: Final = ("kill", "kill after")
_CONDITIONAL: Final = ("put_new", "put_if")


class Killed(BaseException):
    """The end of a process, but for its threads."""


class FaultyTransport(Transport):
    """A transport that does what another one does, until the n-th call.

    Then, by the fault:

    - ``fail``: nothing is done, and the call raises.
    - ``lose``: it is done, and the call raises: its answer is lost.
    - ``duplicate``: a write is done twice, and the second answer comes back: ``put_new`` and
      ``put_if`` then seem to have been too late. A read is read twice.
    - ``truncate``: the second half of the bytes that were read is missing; a listing raises in its
      middle. A write is done in full, and its answer is lost.
    - ``delay``: the call takes ``seconds`` longer.
    - ``kill``, ``kill after``: it is not done, or it is; it and all later ones raise ``Killed``.

    Attributes:
        calls: calls so far, with the one that went wrong; a listing is one.
        names: their names and keys, in order.
    """

    def __init__(
        self,
        inner: Transport,
        fault: Fault = "fail",
        at: int = 0,
        *,
        lasting: bool = False,
        seconds: float = 0.05,
        before: Callable[[int, str, str], object] | None = None,
    ) -> None:
        """Wrap a transport.

        Args:
            inner: it.
            fault: what happens.
            at: at which call, counted from 1; 0: at none.
            lasting: at every later call too.
            seconds: of a delay.
            before: is called before each call, with its number, name and key (or prefix).
        """
        self.inner = inner
        self.fault = fault
        self.at = at
        self.lasting = lasting
        self.seconds = seconds
        self.before = before
        self.names: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:  # type: ignore[override]
        return self.inner.url

    @property
    def counts(self) -> Counts:  # type: ignore[override]
        return self.inner.counts

    @property
    def conditional(self) -> str:  # type: ignore[override]
        return self.inner.conditional

    @conditional.setter
    def conditional(self, value: str) -> None:
        self.inner.conditional = value

    @property
    def calls(self) -> int:
        return len(self.names)

    @property
    def was_hit(self) -> bool:
        """True if the call that goes wrong has come; else all n have been tried."""
        return 0 < self.at <= self.calls

    def get(self, key: str, *, unless: str | None = None, most: int = MOST) -> Got | None:
        got: Got | None = self._call(
            "get", key, lambda: self.inner.get(key, unless=unless, most=most)
        )
        return got

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data: bytes = self._call("get_range", key, lambda: self.inner.get_range(key, start, length))
        return data

    def head(self, key: str) -> Listed:
        found: Listed = self._call("head", key, lambda: self.inner.head(key))
        return found

    def put(self, key: str, data: bytes | BinaryIO) -> str:
        if not isinstance(data, bytes):
            data = data.read()  # perhaps twice
        return str(self._call("put", key, lambda: self.inner.put(key, data)))

    def put_new(self, key: str, data: bytes) -> str:
        return str(self._call("put_new", key, lambda: self.inner.put_new(key, data)))

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        return str(self._call("put_if", key, lambda: self.inner.put_if(key, data, etag)))

    def delete(self, keys: Iterable[str]) -> None:
        found = list(keys)
        self._call("delete", ",".join(found), lambda: self.inner.delete(found))

    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Listed]:
        def listed() -> tuple[Listed, ...]:
            return tuple(self.inner.list(prefix, etags=etags))

        found = self._call("list", prefix, listed)
        yield from found
        if isinstance(found, _Cut):
            raise _error("list", "lost")

    def close(self) -> None:
        self.inner.close()

    def _call(self, name: str, key: str, call: Callable[[], Any]) -> Any:
        with self._lock:
            self.names.append((name, key))
            number = len(self.names)
        if self.before is not None:
            self.before(number, name, key)
        if self.fault in _KILLS and 0 < self.at < number:
            raise Killed
        if number != self.at and not (self.lasting and 0 < self.at < number):
            return call()
        if self.fault == "kill":
            raise Killed
        if self.fault == "fail":
            raise _error(name, "failed")
        if self.fault == "delay":
            time.sleep(self.seconds)
            return call()
        answer = call()
        if self.fault == "kill after":
            raise Killed
        if self.fault == "duplicate":
            return call()
        if self.fault == "truncate" and not name.startswith(("put", "delete")):
            return _half(answer)
        raise _error(name, "lost")


class _Cut(tuple[Listed, ...]):
    is_cut = True


def _half(answer: Any) -> Any:
    if isinstance(answer, Got):
        return answer._replace(data=answer.data[: len(answer.data) // 2])
    if isinstance(answer, bytes):
        return answer[: len(answer) // 2]
    if isinstance(answer, Listed):
        return answer._replace(size=answer.size // 2)
    return answer if answer is None else _Cut(answer[: len(answer) // 2])


def _error(name: str, what: str) -> SimgitError:
    return TransportError(
        f"the call '{name}' {what}, as the test wants it",
        kind="unreachable",
        retryable=True,
        unknown=what == "lost" and name in _CONDITIONAL,
    )


class Later(FaultyTransport):
    """A transport whose store's clock goes ahead when it is told to: what follows is later.

    Times of a store are of whole seconds, so ``go`` waits for the next one.
    """

    def __init__(self, inner: Transport) -> None:
        """Wrap a transport."""
        super().__init__(inner)
        self._jumps: list[tuple[float, float]] = []

    def __call__(self) -> float:
        """Return the time now, in seconds since 1970."""
        return self._shown(time.time())

    def go(self, seconds: float) -> None:
        """Go ahead."""
        time.sleep(1.01 - time.time() % 1)
        self._jumps.append((math.floor(time.time()), seconds))

    def _shown(self, modified: float) -> float:
        return modified + sum(seconds for since, seconds in self._jumps if modified >= since)

    def get(self, key: str, *, unless: str | None = None, most: int = MOST) -> Got | None:
        got = super().get(key, unless=unless, most=most)
        return None if got is None else got._replace(modified=self._shown(got.modified))

    def head(self, key: str) -> Listed:
        found = super().head(key)
        return found._replace(modified=self._shown(found.modified))

    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Listed]:
        for each in super().list(prefix, etags=etags):
            yield each._replace(modified=self._shown(each.modified))
