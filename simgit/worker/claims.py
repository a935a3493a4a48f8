"""Claims: one worker at a time has a piece of work, and a worker that died loses it.

A claim is the object ``claims/NAME@`` of a remote, see docs/remote-format.md.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    SimgitError,
    TransportError,
)
from simgit.objects.coerce import check_number
from simgit.remotes import layout
from simgit.remotes.layout import ClaimRecord
from simgit.remotes.remote import Remote
from simgit.worker.clock import StoreClock
from simgit.worker.worker import Worker

if TYPE_CHECKING:
    from simgit.remotes.connection import Connection

LOG: Final = logging.getLogger("simgit.worker")
MISSED: Final = 3
"""How many renewals are missed when another worker may take a claim over."""
_SAFE: Final = 2.5
"""After so many intervals without a renewal its holder takes it for lost, so before all others."""


class Claim(AbstractContextManager["Claim"]):
    """A piece of work that this process has, and no other one.

    It is a context manager: after a clean end the work is done and nobody claims it again, until
    a gc of the remote forgets it after its grace period (14 days); after
    an exception it is free for others at once. A thread renews it meanwhile.

    Attributes:
        name: the name of the work.
        lost: an event that is set when the claim could not be renewed and others may have it.
    """

    def __init__(
        self, connection: Connection, name: str, interval: float, record: ClaimRecord, etag: str,
        sent: float, owned: bool,
    ) -> None:  # fmt: skip
        """Keep a claim that was written; ``claim`` returns one."""
        self.name = name
        self.lost = threading.Event()
        self._connection = connection
        self._interval = interval
        self._record, self._etag, self._sent = record, etag, sent
        self._owned = owned
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="simgit-claim", daemon=True)
        self._thread.start()

    @property
    def is_held(self) -> bool:
        """True if no other process can have it: it is not lost, and was renewed lately."""
        self._note_loss()
        return not self.lost.is_set() and not self._is_over.is_set()

    def _note_loss(self) -> None:
        if time.monotonic() - self._sent > _SAFE * self._interval and not self._is_over.is_set():
            self.lost.set()

    def renew(self) -> None:
        """Renew it now.

        Raises:
            Conflict: another process has it.
            TransportError: the storage cannot be reached; it may still be held.
        """
        with self._lock:
            self._replace("held")

    def finish(self) -> None:
        """Note that the work is done; nobody gets it again.

        Raises:
            Conflict: another process has it.
            TransportError: the storage cannot be reached, or refuses.
        """
        self._end("done")

    def release(self) -> None:
        """Give the work back; others may claim it at once.

        Raises:
            Conflict: another process has it.
            TransportError: the storage cannot be reached, or refuses.
        """
        self._end("free")

    def _end(self, state: str) -> None:
        if self._is_over.is_set():
            return
        self._is_over.set()
        self._thread.join()
        try:
            if self.lost.is_set():
                raise Conflict(f"claim '{self.name}' was lost to another worker", name=self.name)
            with self._lock:
                self._replace(state)
        finally:
            if self._owned:
                self._connection.close()

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if error is None:
            self.finish()
            return
        with suppress(SimgitError):  # it expires by itself
            self.release()

    def _work(self) -> None:
        while not self._is_over.wait(self._interval) and self.is_held:
            try:
                self.renew()
            except Conflict:
                self.lost.set()
            except (SimgitError, OSError) as error:
                LOG.warning("claim '%s' could not be renewed: %s", self.name, error)
            self._note_loss()

    def _replace(self, state: str) -> None:
        sent = time.monotonic()
        record = self._record._replace(state=state, seq=self._record.seq + 1)
        self._etag = _written(self._connection, self.name, record.encode(), self._etag)
        self._record, self._sent = record, sent


def claim(
    remote: str | Remote | Worker,
    name: str,
    *,
    interval: float = 20.0,
    **options: Any,
) -> Claim | None:
    """Claim a piece of work; return None if another process has it, or if it is done.

    Of all that ask for a name one gets it. It has it until it ends it, or until it has missed
    three renewals by the clock of the storage; then the next one that asks gets it. So work may be
    done again, but never by two at once.

    Args:
        remote: the remote, its URL, or a worker of it.
        name: the name of the work, such as ``jobs/17``.
        interval: the seconds between two renewals.
        options: ``endpoint``, ``region`` and ``profile`` of a URL.

    Raises:
        InvalidInput: nothing can have the name, or the storage ignores conditional writes.
        IntegrityError: the claim's object is damaged.
        TransportError: the storage cannot be reached, or refuses.
    """
    check_number(interval, "interval", 0.05)
    key = layout.key_of_claim(name)
    if isinstance(remote, Worker):
        remote = remote._remote
    if owned := not isinstance(remote, Remote):
        remote = Remote.open(str(remote), **options)
    connection = remote._connection
    try:
        connection.make()
        if connection.info.conditional == "none":
            raise InvalidInput(
                f"'{connection.shown}' ignores conditional writes, so nobody can claim anything"
            )
        found = _take(connection, key, name, interval, owned)
    except BaseException:
        if owned:
            connection.close()
        raise
    if found is None and owned:
        connection.close()
    return found


def _take(
    connection: Connection, key: str, name: str, interval: float, owned: bool
) -> Claim | None:
    try:
        got = connection.transport.get(key, most=layout.MAX_RECORD)
    except NotFound:
        etag, seq = None, 0
    else:
        assert got is not None
        before = ClaimRecord.decode(got.data, key)
        if before.state == "done":
            return None
        if before.state == "held":
            age = StoreClock(connection.transport).now() - got.modified
            if age <= MISSED * before.interval / 1000:
                return None
        etag, seq = got.etag, before.seq
    record = ClaimRecord(os.urandom(16), round(interval * 1000), "held", seq + 1)
    sent = time.monotonic()
    try:
        now = _written(connection, name, record.encode(), etag)
    except (Conflict, AlreadyExists):
        return None  # another one was faster
    return Claim(connection, name, interval, record, now, sent, owned)


def _written(connection: Connection, name: str, data: bytes, etag: str | None) -> str:
    """Write a claim that is as it was read, and return its new ETag.

    Raises:
        Conflict, AlreadyExists: another process has written it.
        TransportError: the storage cannot be reached.
    """
    key, transport = layout.key_of_claim(name), connection.transport
    try:
        return transport.put_new(key, data) if etag is None else transport.put_if(key, data, etag)
    except (AlreadyExists, Conflict, TransportError) as error:
        if isinstance(error, TransportError) and not error.unknown:
            raise
        got = transport.get(key, most=layout.MAX_RECORD)  # the answer may have been lost
        if got is not None and got.data == data:
            return got.etag
        raise
