"""A thread that looks at how much is not pushed, and makes whoever records wait if it is too much.

Another one pushes, and may be busy with that for long.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from simgit.errors import StorageError

if TYPE_CHECKING:
    from simgit.recording.flush import RecorderBase
    from simgit.worker.pusher import Pusher
    from simgit.worker.settings import WorkerSettings

LOG: Final = logging.getLogger("simgit.worker")
_TICK: Final = 0.25
_AGAIN: Final = 0.02


class Watcher:
    """The thread, and the gate that it closes.

    Attributes:
        is_closed: True while there is too much to push.
    """

    def __init__(
        self, recorders: Callable[[], list[RecorderBase]], pusher: Pusher, settings: WorkerSettings
    ) -> None:
        self.is_closed = False
        self._recorders = recorders
        self._pusher = pusher
        self._settings = settings
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="simgit-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def send_again(self, number: int) -> None:
        """Send a signal to this process once more, in a moment: its handler came too early."""
        self._queue.put(number)

    def stop(self) -> None:
        """End the thread, and let everybody continue."""
        self._queue.put(None)
        self._thread.join()
        self._open()

    def _work(self) -> None:
        while True:
            with suppress(queue.Empty):
                number = self._queue.get(timeout=_TICK)
                if number is None:
                    return
                time.sleep(_AGAIN)
                os.kill(os.getpid(), number)
            if self._pusher.unpushed > self._settings.max_unpushed and not self._pusher.is_ending:
                self._close()
            elif self.is_closed:
                self._open()

    def _close(self) -> None:
        self._pusher.ask()
        if not self.is_closed:
            self.is_closed = True
            LOG.warning(
                "'%s' has more than %d bytes that are not pushed (max_unpushed); recording waits "
                "for a push",
                self._settings.name, self._settings.max_unpushed,
            )  # fmt: skip
        for each in self._recorders():
            each.hold = self._wait

    def _open(self) -> None:
        if self.is_closed:
            LOG.warning("recording of '%s' continues", self._settings.name)
        self.is_closed = False
        for each in self._recorders():
            each.hold = None

    def _wait(self) -> None:
        """Wait until there is less to push; whoever appends is here.

        Raises:
            StorageError: that takes longer than it may.
        """
        most = self._settings.max_wait
        start = time.monotonic()
        while self.is_closed and not self._pusher.is_ending and self._thread.is_alive():
            if most is not None and time.monotonic() - start > most:
                raise StorageError(
                    f"'{self._settings.name}' has more than {self._settings.max_unpushed} bytes "
                    f"that could not be pushed in {most:g} seconds (max_wait): "
                    f"{self._pusher.error or 'the remote is slow'}"
                )
            time.sleep(0.01)


class TermHandler:
    """A handler of SIGTERM that lets a worker push before the process ends as it would have."""

    def __init__(self, watcher: Watcher, grace: float, end: Callable[[float, bool], bool]) -> None:
        """Take what to do.

        Args:
            watcher: sends the signal again where it came too early.
            grace: the seconds that there are.
            end: is called with a time of ``time.monotonic``, and with whether the process ends
                after that; returns False where it came too early.
        """
        self._watcher = watcher
        self._grace = grace
        self._end = end
        self._pid = os.getpid()
        self._before: object = None
        self._deadline: float | None = None
        self._is_over = False

    def install(self) -> None:
        """Handle SIGTERM from now on, if this is the main thread: others cannot."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._handle)

    def remove(self) -> None:
        """Put back the handler that was there; where another one came since, only pass on to it."""
        self._is_over = True
        on_main = threading.current_thread() is threading.main_thread()
        if on_main and signal.getsignal(signal.SIGTERM) == self._handle:
            before = self._before
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: object) -> None:
        # a forked child has nothing to push
        if os.getpid() == self._pid and not self._is_over:
            if self._deadline is None:
                self._deadline = time.monotonic() + self._grace
            dies = self._before in (signal.SIG_DFL, None)
            if not self._end(self._deadline, dies):
                self._watcher.send_again(number)
                return
        self._deadline = None
        self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: object) -> None:
        """Do what would have been done without this handler."""
        before = self._before
        if before == signal.SIG_IGN:
            return
        self.remove()
        if callable(before):
            before(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(1.0)
        os._exit(128 + number)  # the first process of a container is not ended by signals
