"""The lease of a gc: there is one at a time, and a dead one's is taken over.

See docs/remote-format.md §7.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import uuid4

from simgit.errors import AlreadyExists, Conflict, IntegrityError, StorageError, TransportError
from simgit.remotes import layout
from simgit.remotes.elapsed import Elapsed
from simgit.remotes.transport.base import Got, Transport

LASTS: Final = 15 * 60
"""The seconds after which a lease that was not renewed is nobody's."""
RENEWED: Final = 60
"""The seconds after which its holder renews it."""


class LeaseRecord(NamedTuple):
    """A lease.

    Attributes:
        holder: 16 random bytes; empty if it was given back.
        since: when it was taken, in seconds since 1970 by the clock of the storage; None until
            it is renewed first.
    """

    holder: bytes
    since: int | None

    def encode(self) -> bytes:
        """Return its bytes."""
        return layout.encode_record(self._asdict())

    @classmethod
    def decode(cls, data: bytes) -> LeaseRecord:
        """Return the decoded lease.

        Raises:
            IntegrityError: it is damaged.
        """
        found = layout.decode_record(data, layout.LEASE)
        holder, since = found.get("holder"), found.get("since")
        if type(holder) is not bytes or len(holder) not in (0, 16):
            raise layout.damaged(layout.LEASE)
        if since is not None and (type(since) is not int or not 0 <= since < 1 << 40):
            raise layout.damaged(layout.LEASE)
        return cls(holder, since)


class RemoteLease:
    """The lease of one gc, held in a ``with`` block and renewed meanwhile by a thread.

    Attributes:
        now: the time of the storage, in seconds since 1970, when it was written last.
        holder: 16 random bytes.
    """

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.time) -> None:
        """Note where; nothing is written yet.

        Args:
            transport: the storage.
            clock: the seconds since 1970, by the clock of this machine.
        """
        self.holder = os.urandom(16)
        self.now = 0.0
        self._transport = transport
        self._record = LeaseRecord(self.holder, None)
        self._etag = ""
        self._is_lost = False
        self._lock = threading.Lock()
        self._clock = clock
        self._written = Elapsed(clock)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="simgit-lease", daemon=True)

    def __enter__(self) -> RemoteLease:
        """Take it.

        Raises:
            Conflict: another gc holds it.
        """
        self._written.restart()
        data = self._record.encode()
        try:
            self._etag = self._transport.put_new(layout.LEASE, data)
        except AlreadyExists:
            self._take_over(data)
        except TransportError as error:
            self._after_doubt(data, error)
        self._look()
        self._record = self._record._replace(since=int(self.now))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back; who cannot reach the storage leaves it to its end."""
        self._ended.set()
        self._thread.join()
        with self._lock, suppress(StorageError, Conflict):
            if not self._is_lost:
                self._transport.put_if(layout.LEASE, LeaseRecord(b"", None).encode(), self._etag)

    def check(self) -> None:
        """Check that it is held still, and renew it if it is time.

        Raises:
            Conflict: it is not.
        """
        with self._lock:
            elapsed = self._written()
            if self._is_lost or elapsed > LASTS:
                self._is_lost = True
                raise Conflict(
                    f"another gc of '{self._transport.url}' may have begun, since this one did "
                    "nothing for a while; it has stopped, run it again"
                )
            if elapsed > RENEWED:
                self._write()

    # --- within ---

    def _take_over(self, data: bytes) -> None:
        now = self._storage_now()
        got = self._transport.get(layout.LEASE, most=layout.MAX_RECORD)
        assert got is not None
        if now - got.modified <= LASTS and not _is_free(got.data):
            raise self._held(got, now)
        try:
            self._etag = self._transport.put_if(layout.LEASE, data, got.etag)
        except Conflict:
            raise Conflict(f"another gc of '{self._transport.url}' has just begun") from None
        except TransportError as error:
            self._after_doubt(data, error)

    def _held(self, got: Got, now: float) -> Conflict:
        since = got.modified
        with suppress(IntegrityError):
            since = LeaseRecord.decode(got.data).since or since
        when = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return Conflict(
            f"another gc of '{self._transport.url}' runs since {when} UTC (it showed itself "
            f"{max(0, now - got.modified):.0f} s ago); if it was killed, try again in "
            f"{max(1, LASTS - now + got.modified):.0f} s",
            since=since,
        )

    def _storage_now(self) -> float:
        key = f"{layout.PROBE}time-{uuid4().hex}"
        self._transport.put(key, b"")
        try:
            return self._transport.head(key).modified
        finally:
            self._transport.delete([key])

    def _after_doubt(self, data: bytes, error: TransportError) -> None:
        """Find out whether a write was done whose answer was lost."""
        if not error.unknown:
            raise error
        got = self._transport.get(layout.LEASE, most=layout.MAX_RECORD)
        if got is None or got.data != data:
            raise error
        self._etag = got.etag

    def _write(self) -> None:
        before = Elapsed(self._clock)
        data = self._record.encode()
        try:
            self._etag = self._transport.put_if(layout.LEASE, data, self._etag)
        except Conflict:
            self._is_lost = True
            raise Conflict(
                f"another gc of '{self._transport.url}' took over; this one has stopped"
            ) from None
        except TransportError as error:
            self._after_doubt(data, error)
        self._written = before
        self._look()

    def _look(self) -> None:
        self.now = max(self.now, self._transport.head(layout.LEASE).modified)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            try:
                self.check()
            except Conflict:
                return
            except StorageError:  # it is tried again until the lease has ended
                continue


def _is_free(data: bytes) -> bool:
    try:
        return not LeaseRecord.decode(data).holder
    except IntegrityError:
        return False
