"""Processes that restore and render states: the server itself executes no environment.

They are few, and kept: an environment that is at a state is soon at the next one. One that takes
too long is killed with all that it started, and one that crashes takes nothing with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from simgit import errors
from simgit.errors import Divergence, InvalidInput, SimgitError, StorageError, TimedOut, reason
from simgit.process import exit_code
from simgit.server.problems import Refused

MOST: Final = 2
"""The most processes."""
WAITING: Final = 16
"""The most requests that wait for one."""
SECONDS: Final = 20.0
"""The seconds that a request may take, waiting included."""
_LOOK: Final = 0.25
"""Seconds between two looks at whether somebody waits for an answer."""
_LONGEST: Final = 1 << 20
"""The most bytes of an answer's first line."""
_LARGEST: Final = 256 << 20
"""The most bytes that follow it."""
_LAST: Final = 1.0
"""The seconds in which a process that closed its output has ended."""
_MODULE: Final = "simgit.live.render_process"  # which imports gymnasium, and this must not
_QUIET: Final = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "MPLBACKEND": "agg"}


class Restored(NamedTuple):
    """The answer of a process: a record, warnings, and bytes."""

    record: dict[str, Any]
    warnings: list[str]
    body: bytes


class EndedError(Exception):
    """A process that ended without an answer; the text says how."""


class Restorer:
    """One process; see ``simgit.live.render_process``."""

    def __init__(self, directory: Path) -> None:
        """Start it.

        Raises:
            StorageError: it cannot be started.
        """
        flags = ["-O"] * sys.flags.optimize
        command = [sys.executable, "-P", "-W", "ignore", *flags, "-m", _MODULE, str(directory)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, **_QUIET}, start_new_session=True, bufsize=0,
            )  # fmt: skip
        except OSError as error:
            raise StorageError(f"cannot start a process: {reason(error)}") from None
        self._reaping, self._is_reaped = threading.Lock(), False
        self._data = b""
        self._wanted: Callable[[], bool] | None = None
        self.answers = 0
        """The number of requests that it has answered."""
        self.subjects: deque[Any] = deque(maxlen=4)
        """What it was asked about last: of as many it keeps environments."""
        self.is_ended = False

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def has_died(self) -> bool:
        """True if the process has ended by itself: while it was idle, for instance."""
        return exit_code(self._process) is not None

    def ask(
        self,
        job: Mapping[str, Any],
        until: float,
        begun: Callable[[list[str]], None] | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> Restored:
        """Send a request and return the answer; the process is ended if that is not possible.

        Args:
            job: the request.
            until: when to give up, as ``time.monotonic`` counts.
            begun: called with warnings when the process says that it has begun.
            wanted: returns whether somebody waits for the answer.

        Raises:
            TimedOut: there is none in time.
            EndedError: the process has ended.
            SimgitError: what it raised.
        """
        assert self._process.stdin is not None
        seconds = max(0.0, until - time.monotonic())
        self._wanted = wanted
        try:
            try:
                line = json.dumps({**job, "seconds": seconds}).encode() + b"\n"
                self._process.stdin.write(line)
            except OSError:
                raise EndedError(self._how()) from None
            found = _parsed(self._line(until))
            while begun is not None and found["result"].get("begun") is True:
                begun([str(each) for each in found["warnings"]])
                found = _parsed(self._line(until))
            body = self._bytes(found["size"], until)
        except BaseException:
            self.end()
            raise
        self.answers += 1
        record = found["result"]
        if "message" in record and isinstance(record.get("error"), str):
            raise _error_of(record)
        return Restored(record, [str(each) for each in found["warnings"]], body)

    def _line(self, until: float) -> bytes:
        while b"\n" not in self._data:
            if len(self._data) > _LONGEST:
                raise EndedError("its answer is too long")
            self._read(until)
        line, _, self._data = self._data.partition(b"\n")
        return line

    def _bytes(self, count: int, until: float) -> bytes:
        pieces, size = [self._data], len(self._data)
        while size < count:
            self._data = b""
            self._read(until)
            pieces.append(self._data)
            size += len(self._data)
        whole = b"".join(pieces)
        self._data = whole[count:]
        return whole[:count]

    def _read(self, until: float) -> None:
        assert self._process.stdout is not None
        poll, number = select.poll(), self._process.stdout.fileno()
        poll.register(number, select.POLLIN)
        while not poll.poll(1000 * min(_LOOK, max(0.0, until - time.monotonic()))):
            if self._wanted is not None and not self._wanted():
                raise Refused(499, "nobody waits for the answer any more")
            if time.monotonic() >= until:
                raise TimedOut("the state was not reached in time: its process was ended")
        data = os.read(number, 1 << 20)
        if not data:
            raise EndedError(self._how())
        self._data += data

    def _how(self) -> str:
        """Return how the process ended."""
        until = time.monotonic() + _LAST
        while (code := exit_code(self._process)) is None and time.monotonic() < until:
            time.sleep(0.002)
        if code is None:
            return "it closed its output"
        if code < 0:
            with suppress(ValueError):
                return f"it ended by {signal.Signals(-code).name}"
        return f"it ended with exit code {code}"

    def end(self) -> None:
        """End the process, with all that it started."""
        if self.is_ended:
            return
        self.is_ended = True
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with self._reaping:
            self._process.wait()
            self._is_reaped = True

    def kill(self) -> None:
        """Kill the process, with all that it started; from any thread.

        Once it is reaped, its number may be another's.
        """
        with self._reaping, suppress(ProcessLookupError, PermissionError):
            if not self._is_reaped:
                os.killpg(self.pid, signal.SIGKILL)


class Restorers:
    """The processes of a repository; none is started before the first request."""

    def __init__(self, directory: Path | None) -> None:
        """Note the repository; None is one in memory, which no other process can see."""
        self._directory = directory
        self._lock = threading.Condition()
        self._free: list[Restorer] = []
        """Those that wait for requests; the one that was used last is the last."""
        self._all: set[Restorer] = set()
        self._starting = self._waiting = 0
        self._films = threading.BoundedSemaphore(MOST - 1)
        self._is_closed = False
        self._is_warming = False
        """True while a process is started that nobody waits for yet; the next request does."""

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes."""
        with self._lock:
            return [each.pid for each in self._all]

    def ask(
        self,
        subject: Any,
        seconds: float | None = None,
        begun: Callable[[list[str]], None] | None = None,
        wanted: Callable[[], bool] | None = None,
        **job: Any,
    ) -> Restored:
        """Have a request answered, again in a new process if a used one ended or diverged.

        Args:
            subject: what it is about: the process that was asked about the same is preferred.
            seconds: the time, None for the usual.
            begun: see ``Restorer.ask``; what has begun is not asked for again.
            wanted: see ``Restorer.ask``.
            job: the request.

        Raises:
            Refused: too many requests wait, or the process crashed.
            TimedOut: it took too long.
            SimgitError: what was raised.
        """
        until = time.monotonic() + (SECONDS if seconds is None else seconds)
        has_begun = False

        def begins(warnings: list[str]) -> None:
            nonlocal has_begun
            has_begun = True
            assert begun is not None
            begun(warnings)

        for _ in range(MOST + 1):  # all that are kept may end, and a new one then says why
            one = self._taken(subject, until)
            is_new = one.answers == 0
            try:
                found = one.ask(job, until, begun and begins, wanted)
            except EndedError as error:
                if is_new or has_begun:
                    raise Refused(
                        502, f"the process that restores states failed: {error}"
                    ) from None
            except Divergence:
                one.end()  # what an environment keeps in classes is the process's
                if is_new or has_begun:
                    raise
            else:
                return found
            finally:
                self._give_back(one)
        raise Refused(502, "the process that restores states ended again and again")

    def warm(self) -> None:
        """Start a process, without waiting for it, if there is none: a frame will be asked for."""
        with self._lock:
            if self._directory is None or self._is_closed or self._all or self._starting:
                return
            self._starting, self._is_warming = self._starting + 1, True
        threading.Thread(target=self._start_ahead, name="restorer", daemon=True).start()

    def _start_ahead(self) -> None:
        assert self._directory is not None
        one: Restorer | None = None
        try:
            with suppress(StorageError):  # whoever needs it is told why
                one = Restorer(self._directory)
        finally:
            with self._lock:
                self._starting, self._is_warming = self._starting - 1, False
                if one is not None:
                    self._all.add(one)
                self._lock.notify_all()  # others may start another one
        if one is not None:
            self._give_back(one)

    def film(self, subject: Any, seconds: float, **job: Any) -> Restored:
        """Have a film made; at least one process is left for frames.

        Raises:
            Refused: others are being made.
        """
        if not self._films.acquire(blocking=False):
            raise Refused(429, "another film is being made", {"Retry-After": "5"})
        try:
            return self.ask(subject, seconds, what="film", **job)
        finally:
            self._films.release()

    def close(self) -> None:
        """End all processes; who waits is told so."""
        with self._lock:
            self._is_closed = True
            found = list(self._all)
            self._lock.notify_all()
        for each in found:
            each.kill()  # who waits for it is told by its end
        with self._lock:
            idle, self._free = self._free, []
            self._all.difference_update(idle)
        for each in idle:
            each.end()

    def _drop_dead(self) -> None:
        """Forget the idle processes that have ended, so that new ones take their places."""
        for one in [each for each in self._free if each.has_died]:
            self._free.remove(one)
            self._all.discard(one)
            one.end()

    def _taken(self, subject: Any, until: float) -> Restorer:
        if self._directory is None:
            raise InvalidInput("a repository in memory cannot be seen by the process that restores")
        with self._lock:
            self._drop_dead()
            if self._waiting >= WAITING:
                raise Refused(429, "too many states are asked for", {"Retry-After": "1"})
            self._waiting += 1
            try:
                ready = self._lock.wait_for(
                    lambda: (
                        self._is_closed
                        or self._free
                        or (not self._is_warming and len(self._all) + self._starting < MOST)
                    ),
                    until - time.monotonic(),
                )
            finally:
                self._waiting -= 1
            if self._is_closed:
                raise Refused(503, "the server ends")
            if not ready:
                raise TimedOut("all processes that restore states are busy")
            if self._free:
                same = (each for each in self._free if subject in each.subjects)
                one = next(same, self._free[-1])
                self._free.remove(one)
                one.subjects.append(subject)
                return one
            self._starting += 1
        try:
            one = Restorer(self._directory)
        finally:
            with self._lock:
                self._starting -= 1
        one.subjects.append(subject)
        with self._lock:
            self._all.add(one)
        return one

    def _give_back(self, one: Restorer) -> None:
        with self._lock:
            if not (one.is_ended or self._is_closed):
                self._free.append(one)
            else:
                self._all.discard(one)
            self._lock.notify()
            ended = self._is_closed
        if ended:
            one.end()


def _parsed(line: bytes) -> dict[str, Any]:
    """Return the first line of an answer.

    Raises:
        EndedError: it is malformed: an environment has written there.
    """
    try:
        found = json.loads(line)
        size, record, warned = found["size"], found["result"], found["warnings"]
        good = isinstance(record, dict) and isinstance(warned, list) and 0 <= size <= _LARGEST
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        raise EndedError("its answer is malformed")
    return dict(found)


def _error_of(record: Mapping[str, Any]) -> SimgitError:
    """Return the error that a record describes, of a class of the error tree."""
    kind = getattr(errors, record["error"], None)
    if not (isinstance(kind, type) and issubclass(kind, SimgitError)):
        kind = InvalidInput
    found: SimgitError = kind(str(record["message"]))
    data = record.get("data")
    if isinstance(data, dict):
        found.__dict__.update({str(key): value for key, value in data.items() if key != "message"})
    return found
