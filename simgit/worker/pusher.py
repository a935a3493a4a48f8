"""Pushing in the background: when a worker pushes, and what it does where that fails."""

from __future__ import annotations

import itertools
import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from simgit.errors import SimgitError, plural
from simgit.objects.oid import Oid
from simgit.refs.names import RUNS
from simgit.worker.changes import RunStanding, changed_runs

if TYPE_CHECKING:
    from simgit.recording.flush import RecorderBase
    from simgit.remotes.push import PushReport
    from simgit.remotes.remote import Remote
    from simgit.repository import Repository
    from simgit.worker.settings import WorkerSettings

LOG: Final = logging.getLogger("simgit.worker")
ORIGIN: Final = "origin"
_TICK: Final = 0.25
"""The seconds between two looks at how much there is to push."""
_LONGEST: Final = 60.0
"""The longest wait in seconds before a failed push is tried again."""
_URGENT: Final = 1.0
"""The same when the worker ends."""


@dataclass
class WorkResult:
    """The sum of what a worker has pushed since it was opened.

    Attributes:
        runs: the names that its runs have at the remote, by their names here.
        tips: the newest state of each run at the remote, by its name there; None without states.
        states: how many states were pushed.
        bytes: the bytes of the packs with them.
        pushes: how many pushes went through.
        failures: how many failed, and were tried again.
        requests: how many requests the pushes took.
    """

    runs: dict[str, str] = field(default_factory=dict)
    tips: dict[str, Oid | None] = field(default_factory=dict)
    states: int = 0
    bytes: int = 0
    pushes: int = 0
    failures: int = 0
    requests: int = 0

    def add(self, report: PushReport) -> None:
        """Add what a push did."""
        for name, each in report.refs.items():
            there = each.name.removeprefix(RUNS)
            self.runs[name.removeprefix(RUNS)] = there
            self.tips[there] = each.new
        self.states += report.states
        self.bytes += report.bytes
        self.requests += report.requests
        self.pushes += 1


class Pusher:
    """A thread that pushes the runs of a worker; others ask it, and continue.

    Attributes:
        result: what was pushed.
        error: why the last push failed, None if it went through.
        is_ending: True if a failed push is tried again soon, since there is little time.
    """

    def __init__(
        self,
        repository: Repository,
        remote: Remote,
        settings: WorkerSettings,
        recorders: Callable[[], list[RecorderBase]],
    ) -> None:
        self.result = WorkResult()
        self.error: Exception | None = None
        self.is_ending = False
        self._repository = repository
        self._remote = remote
        self._settings = settings
        self._recorders = recorders
        self._sent: dict[str, RunStanding] = {}
        self._base = repository.size()
        self._last = time.monotonic()
        self._not_before = 0.0
        self._failed = 0
        self._tickets = itertools.count(1)
        self._asked = self._done = 0
        # other queues have locks, which a handler of a signal must not wait for
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="simgit-push", daemon=True)

    def start(self) -> None:
        """Begin to push; what an earlier process left is pushed soon."""
        self._thread.start()

    @property
    def unpushed(self) -> int:
        """The bytes by which the local store has grown since the last push began."""
        return max(0, self._repository.size() - self._base)

    def ask(self) -> int:
        """Ask for a push of all that is stored now, and return a ticket for ``is_done``."""
        ticket = next(self._tickets)
        self._queue.put(ticket)
        return ticket

    def is_done(self, ticket: int) -> bool:
        """Return True if a push went through that began after the ticket was given out."""
        return self._done >= ticket

    def wait(self, ticket: int, deadline: float, *, beyond: bool = True) -> bool:
        """Wait for a push until a time of ``time.monotonic``; return True if it went through.

        With ``beyond`` one that is under way then is waited for until it ends.
        """
        while not self.is_done(ticket):
            late = time.monotonic() >= deadline and not (beyond and self.is_pushing)
            if late or not self._thread.is_alive():
                return self.is_done(ticket)
            time.sleep(0.01)  # a lock could be held by what a signal interrupted
        return True

    is_pushing = False

    def stop(self) -> None:
        """End the thread, after the push that is under way."""
        self._queue.put(None)
        self._thread.join()

    # --- the thread ---

    def _work(self) -> None:
        while self._listen():
            try:
                if self._is_due():
                    self.is_pushing = True
                    self._push()
            except Exception as error:
                self._note_failure(error)
            finally:
                self.is_pushing = False

    def _listen(self) -> bool:
        """Wait for a moment, or for somebody who asks; return False at the end."""
        timeout: float | None = min(_TICK, max(self._settings.push_seconds / 4, 0.01))
        with suppress(queue.Empty):
            while True:
                ticket = self._queue.get(timeout=timeout)
                if ticket is None:
                    return False
                self._asked = max(self._asked, ticket)
                timeout = 0.0
        return True

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._not_before and not (self.is_ending and now >= self._last_try + _URGENT):
            return False
        if self._asked > self._done or self.unpushed >= self._settings.push_bytes:
            return True
        if now - self._last < self._settings.push_seconds:
            return False
        self._flush()
        if self.changed():
            return True
        self._last = now
        return False

    def _flush(self) -> None:
        """Store what recorders have buffered: it may be there for longer than between pushes."""
        for each in self._recorders():
            each.flush_if_idle()

    _last_try = 0.0

    def changed(self) -> dict[str, RunStanding]:
        """Return the runs that the remote does not have as they are here."""
        connection = self._remote._connection
        remote_id = connection.info.id if connection.exists else None
        return changed_runs(self._repository, self._settings.name, ORIGIN, remote_id, self._sent)

    def _push(self) -> None:
        self._last_try = time.monotonic()
        asked = self._asked
        self._flush()
        size = self._repository.size()  # what comes from now on may be in the next push only
        changed = self.changed()
        if changed:
            self.result.add(self._remote.push(list(changed), aside=True))
            self._sent |= changed
        self._done, self._base, self._last = asked, size, time.monotonic()
        if self._failed:
            LOG.warning("pushing '%s' works again, after %s", self._settings.name,
                        plural(self._failed, "failed push").replace("pushs", "pushes"))  # fmt: skip
        self._failed, self._not_before, self.error = 0, 0.0, None

    def _note_failure(self, error: Exception) -> None:
        self.result.failures += 1
        self._failed += 1
        self.error = error
        self._last_try = time.monotonic()
        wait = min(2.0 ** (self._failed - 1), _LONGEST) * (0.5 + random.random())
        self._not_before = time.monotonic() + wait
        if self._failed == 1:
            LOG.warning(
                "cannot push '%s': %s; recording continues, and the push is tried again",
                self._settings.name, error, exc_info=not isinstance(error, SimgitError),
            )  # fmt: skip
