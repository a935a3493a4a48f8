"""Decoding the states of a bundle, in this process or ahead of it in others.

A record of states names its parents and its last state, so its rows can be decoded and hashed
without those before it. The import takes what came of them in the order of the records, and is
the only one that writes.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any, Final

from simgit.errors import IntegrityError, StorageError, reason
from simgit.objects.rows import Rows
from simgit.objects.schema import Schema
from simgit.odb.database import ObjectDatabase
from simgit.remotes.bundle import objects, worker
from simgit.remotes.bundle.states import (
    DecodedStates,
    decode_states,
    inflated_size,
)
from simgit.remotes.bundle.states_head import StatesHead, decode_head
from simgit.storage.base import ReadTxn

START: Final = 2 << 20
"""The bytes of records that must be waiting for processes to be started, which takes as long as
decoding a hundred thousand states here."""
OF_STATE: Final = 20
"""The bytes that each state counts for besides its record, which may be small and hold many."""
AHEAD: Final = 16
"""The records that a process is given at once."""
IN_FLIGHT: Final = 64 << 20
"""The bytes that states which are decoded ahead may inflate to."""


class Decoding:
    """The decoding of an import's records of states.

    Records are offered, and taken in the same order. What was not decoded ahead is decoded when it
    is needed: in this process, with the same result and the same errors.
    """

    def __init__(self, odb: ObjectDatabase, jobs: int, max_object: int) -> None:
        """Begin, without processes: they are started when there is enough for them to do.

        Args:
            odb: the database that is imported into.
            jobs: the number of processes, this one included.
            max_object: the largest object, in bytes, that is accepted.
        """
        self._odb = odb
        self._max_object = max_object
        self._others = 0 if multiprocessing.current_process().daemon else jobs - 1
        self._workers: list[_Worker] = []
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._given: deque[_Task | None] = deque()
        self._in_flight = 0
        self._last = b""

    @property
    def is_ahead(self) -> bool:
        """True if records should be offered before they are needed."""
        return self._others > 0

    def offer(self, body: bytes) -> None:
        """Note a record that will be taken."""
        if self.is_ahead:
            self._waiting.append(body)
            self._size += _weight(body)

    def take(self) -> _Task | None:
        """Go on to the next record; return its task, None if it is decoded when it is needed."""
        if self._given:
            task = self._given.popleft()
            self._in_flight -= 0 if task is None else task.size
            return task
        if self._waiting:
            self._size -= _weight(self._waiting.popleft())
        return None

    def ahead(self, txn: ReadTxn) -> None:
        """Let other processes decode what follows."""
        if not self._workers:
            if not self.is_ahead or self._size < START:
                return
            self._start()
        for each in self._workers:
            each.receive()
        ready = [each for each in self._workers if each.is_ready]
        while ready and (worker := min(ready, key=lambda each: each.count)).count < AHEAD:
            task = self._next(txn)
            if task is None:
                return
            worker.send(task)

    def _start(self) -> None:
        try:
            for _ in range(self._others):
                self._workers.append(_Worker(self._max_object))
        except OSError as error:
            raise StorageError(
                f"cannot start a process to decode the bundle: {reason(error)}; import it with "
                "--jobs 1 (jobs=1)"
            ) from None

    def _next(self, txn: ReadTxn) -> _Task | None:
        """Return the task of the next record to decode, None if there is none for now."""
        while self._waiting:
            body = self._waiting[0]
            try:
                head = decode_head(body)
                if not objects.has(self._odb, txn, "schema", head.schema):
                    return None  # it comes before the record
                schema = self._odb.schema(txn, head.schema)
                size = inflated_size(body, head, schema)
            except IntegrityError:
                return None  # it is raised when the record is taken
            if self._in_flight and self._in_flight + size > IN_FLIGHT:
                return None
            self._waiting.popleft()
            self._size -= _weight(body)
            if size > IN_FLIGHT or self._is_known(txn, head):
                self._given.append(None)
                continue
            task = _Task(schema, body, size)
            self._given.append(task)
            self._in_flight += size
            self._last = head.last
            return task
        return None

    def _is_known(self, txn: ReadTxn, head: StatesHead) -> bool:
        if head.parents == (self._last,):
            return False  # it follows one that is not
        return self._odb.states.locate(txn, head.last) is not None

    def states(
        self, txn: ReadTxn, task: _Task | None, body: bytes, head: StatesHead, schema: Schema
    ) -> DecodedStates:
        """Return the states of the record that was taken.

        Raises:
            IntegrityError: see ``decode_states``.
            StorageError: the process that decodes them was killed.
        """
        if task is None:
            return decode_states(body, head, schema, self._max_object)
        while not task.is_done():
            # a process that is late is helped
            other = self._next(txn)
            if other is None:
                task.wait()
            else:
                other.result = worker.decoded(other.schema, other.body, self._max_object)
        if isinstance(task.result, Exception):
            raise task.result
        fixed, variable, arrays, oids, block = task.result
        return DecodedStates(Rows(schema, fixed, variable, arrays), oids, block)

    def close(self) -> None:
        """End the processes, whatever they do."""
        for each in self._workers:
            each.kill()
        self._workers = []


def _weight(body: bytes) -> int:
    """Return how much a record counts for the start of processes."""
    try:
        return len(body) + OF_STATE * decode_head(body).rows
    except IntegrityError:  # it is raised when the record is taken
        return len(body)


class _Task:
    """A record that is decoded before it is needed.

    Attributes:
        schema, body: what it needs.
        size: the bytes that it inflates to.
        worker: the process that decodes it, None for this one.
        result: what came of it, see ``worker.decoded``.
    """

    def __init__(self, schema: Schema, body: bytes, size: int) -> None:
        self.schema = schema
        self.body = body
        self.size = size
        self.worker: _Worker | None = None
        self.result: Any = None

    def is_done(self) -> bool:
        """Return True if there is a result."""
        if self.result is None and self.worker is not None:
            self.worker.receive()
        return self.result is not None

    def wait(self) -> None:
        """Wait for the process to finish a record, this one or one before it."""
        assert self.worker is not None
        self.worker.receive(waits=True)


class _Worker:
    """A process that decodes records in order."""

    def __init__(self, max_object: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._connection, there = spawn.Pipe()
        self._process = spawn.Process(target=worker.serve, args=(there, max_object), daemon=True)
        with _without_interrupts():
            self._process.start()
        there.close()
        self._tasks: deque[_Task] = deque()
        self.is_ready = False

    @property
    def count(self) -> int:
        """The number of records that it has been given and has not finished."""
        return len(self._tasks)

    def send(self, task: _Task) -> None:
        """Give it a record."""
        task.worker = self
        self._tasks.append(task)
        with self._alive():
            self._connection.send((task.schema.payload, task.body))

    def receive(self, waits: bool = False) -> None:
        """Take what it has finished; wait for something if there is nothing yet."""
        with self._alive():
            while waits or self._connection.poll():
                found = self._connection.recv()
                if self.is_ready:
                    self._tasks.popleft().result = found
                self.is_ready, waits = True, False

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Say so if the process has ended."""
        try:
            yield
        except (EOFError, OSError):
            self._process.join()
            raise StorageError(
                "a process that decoded the bundle ended before its time (exit code "
                f"{self._process.exitcode}); run the import again to resume it, with --jobs 1 "
                "(jobs=1) if memory is short"
            ) from None

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._connection.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started meanwhile: it is for this one to end them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would end the block when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
