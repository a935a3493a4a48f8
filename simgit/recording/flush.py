"""Flushing: when buffered states are stored, how a run's ref moves, and how recorders end.

A flush is one transaction with the runs' refs. It happens every so many states, every so many
seconds by the clock, past so many bytes, at an episode's end if asked for, and at close; in a
background thread if asked for. The clock is a thread of its own: the states of a program that
waits are stored too. It takes states from the buffer while others may be appended.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from simgit.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    SimgitError,
    StorageError,
    plural,
)
from simgit.objects.coerce import check_number, coerce
from simgit.objects.columns import Columns
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.batch import StateBatch, Tip
from simgit.odb.trees import Data, plan
from simgit.process import now, this_writer
from simgit.recording.finalize import abandon, finish, status_after, watch
from simgit.recording.states import pending_tip, prepare, store
from simgit.refs import run_config
from simgit.refs.attachments import attach_data, attachable, check_attachment
from simgit.refs.names import conflict_names
from simgit.refs.records import RunRef, moved
from simgit.refs.refs import Refs
from simgit.storage.base import WriteTxn
from simgit.storage.failpoints import fail_point
from simgit.storage.interrupts import interrupts_held_back

_SHORTEST: Final = 0.01
"""The shortest time in seconds between two flushes by the clock."""
_QUEUE: Final = 16
"""Flushes that the background thread may have waiting before ``append`` blocks."""


@dataclass(frozen=True)
class FlushPolicy:
    """The conditions under which a recorder flushes by itself."""

    every: int = 16384
    seconds: float | None = 10.0
    bytes: int = 64 << 20
    episodes: bool = False

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: one is not a number, or out of range.
        """
        check_number(self.every, "flush_every", 1, whole=True)
        check_number(self.bytes, "flush_bytes", 1, whole=True)
        if self.seconds is not None:
            check_number(self.seconds, "flush_seconds")


Attached = tuple[int, str, Data]
"""Data to bind, under a name, to the state of a row; row -1 is the state before the first."""


@dataclass(frozen=True, slots=True)
class Work:
    """The share of one lane in a flush: states, possibly none, data bound to them, and metadata."""

    lane: RunWriter
    columns: Columns
    attached: Sequence[Attached] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Work whose states are hashed; ``state`` is the one before them, if there is one."""

    lane: RunWriter
    state: Oid | None
    batches: list[StateBatch]
    attached: Sequence[Attached]
    notes: Mapping[str, Any]

    def bind(self, odb: ObjectDatabase, txn: WriteTxn) -> None:
        """Store the attachments and the metadata, once the states are stored."""
        if self.notes:
            self.lane.note(txn, self.notes)
        if not self.attached:
            return
        names = [oid for batch in self.batches for oid in batch.oids]
        for row, name, data in self.attached:
            state = Oid(names[row]) if row >= 0 else self.state
            assert state is not None
            attach_data(odb, txn, state, name, data)


class RunWriter:
    """One run that is being written: its tip, and the moves of its ref."""

    def __init__(
        self, odb: ObjectDatabase, refs: Refs, name: str, ref: RunRef, tip: Tip | None, origin: Oid
    ) -> None:
        self.odb = odb
        self.refs = refs
        self.base = self.name = name
        self.ref = ref
        self.tip = tip
        self.origin = origin

    def write(self, txn: WriteTxn, batches: list[StateBatch]) -> Conflict | None:
        """Store prepared states and move the run's ref.

        If another writer moved the ref, the states go to a new run, and the conflict that says
        so is returned: raised, it would roll them back.
        """
        message = f"record: {plural(sum(len(batch.oids) for batch in batches), 'state')}"
        self.tip = store(self.odb, txn, batches, (self.tip,) if self.tip else ())
        fail_point("flush.stored")
        current = self.refs.run(txn, self.name) if self.refs.has_run(txn, self.name) else None
        if current is not None and current.oid == self.ref.oid and current.status != "completed":
            # its configuration or status may have been changed meanwhile
            new = moved(current, self.tip)
            self.refs.update_run(txn, self.name, current, new, message)
            if self.ref.oid is None:
                self.refs.follow(txn, self.name)
            self.ref = new
            return None
        if current is not None and self._has_stored(current):
            self.ref = current
            return None
        return self._divert(txn, message)

    def _has_stored(self, current: RunRef) -> bool:
        """Return whether this flush moved the run, but was interrupted before it could note it."""
        assert self.tip is not None
        return current.oid == self.tip.oid and current.writer == self.ref.writer

    def _divert(self, txn: WriteTxn, message: str) -> Conflict:
        assert self.tip is not None
        old = self.name
        ref = self.ref._replace(status="active", created=now(), ended=None, writer=this_writer())
        self.ref = moved(ref, self.tip)
        for name in conflict_names(self.refs.unambiguous(txn, self.base)):
            try:
                self.refs.create_run(txn, name, self.ref, f"{message} (conflict with '{old}')")
            except AlreadyExists:
                continue
            self.name = name
            break
        return Conflict(
            f"run '{old}' was moved by another writer; the states not yet flushed are in run "
            f"'{self.name}'",
            name=old,
            diverted=self.name,
        )

    def note(self, txn: WriteTxn, metadata: Mapping[str, Any]) -> None:
        """Add to the run's metadata, map by map; nothing is noted with a run that was deleted."""
        if not self.refs.has_run(txn, self.name):
            return
        current = self.refs.run(txn, self.name)
        oid = run_config.noted(self.odb, txn, current.record, metadata)
        self.refs.update_run(txn, self.name, current, current._replace(record=oid), None)
        self.ref = self.ref._replace(record=oid)  # a run beside this one would begin with it

    def claim(self, txn: WriteTxn) -> None:
        """Note in the run's ref that this process writes it."""
        new = self.ref._replace(status="active", ended=None, writer=this_writer())
        self.refs.update_run(txn, self.name, self.ref, new, None)
        self.ref = new

    def release(self, txn: WriteTxn, status: str) -> None:
        """Note in the run's ref that no process writes it, and how it ended."""
        if not self.refs.has_run(txn, self.name):
            return
        current = self.refs.run(txn, self.name)
        if current.oid != self.ref.oid or current.writer != self.ref.writer:
            return  # another process writes it now
        ended = now() if status in ("completed", "failed", "crashed") else None
        if current.status != "active":  # it was said meanwhile how it ended
            status, ended = current.status, current.ended
        self.refs.update_run(
            txn, self.name, current, current._replace(status=status, ended=ended, writer=None), None
        )


class FlushWriter:
    """A writer of flushes, in the caller's thread or in the background."""

    def __init__(self, odb: ObjectDatabase, background: bool) -> None:
        self.odb = odb
        self.error: BaseException | None = None
        self._queue: queue.Queue[list[Work] | None] = queue.Queue(_QUEUE)
        self._backlog: list[list[Work]] = []
        self._thread: threading.Thread | None = None
        if background:
            self._thread = threading.Thread(target=self._work, name="simgit-flush", daemon=True)
            self._thread.start()

    @property
    def waiting(self) -> bool:
        """True if a failed flush waits to be tried again."""
        return bool(self._backlog)

    @property
    def unstored(self) -> str:
        """The number of states by run that a failed flush could not store, as text."""
        counts: Counter[str] = Counter()
        for work in chain.from_iterable(self._backlog):
            counts[work.lane.name] += len(next(iter(work.columns.values()), ()))
        return ", ".join(f"{plural(n, 'state')} of run '{run}'" for run, n in counts.items())

    def submit(self, work: list[Work]) -> None:
        """Store the columns of lanes in one transaction, now or soon."""
        if self._thread is None:
            self._store(work)
        else:
            self._queue.put(work)  # first: what was taken from the buffer must not be lost
        self.check()

    def check(self) -> None:
        """Raise the error of a background flush, once."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def drain(self) -> None:
        """Wait until all submitted work is stored."""
        if self._thread is not None:
            self._queue.join()
        self.check()

    def stop(self) -> None:
        """End the background thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                self._store(work)
            except BaseException as error:
                self.error = self.error or error
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _store(self, work: list[Work]) -> None:
        """Store the waiting work, oldest first; what fails is kept for the next flush."""
        if work:
            self._backlog.append(work)
        conflict = None
        while self._backlog:  # to its end: after a conflict a recorder may be closed
            conflict = self._store_one(self._backlog[0]) or conflict
        if isinstance(self.error, StorageError):
            self.error = None  # by now it could be stored
        if conflict is not None:
            raise conflict

    def _store_one(self, work: list[Work]) -> Conflict | None:
        saved = [(w.lane, w.lane.name, w.lane.ref, w.lane.tip) for w in work]
        conflict = None
        try:
            prepared = prepare_all(work)  # before the transaction: others can write meanwhile
            with self.odb.write() as txn:
                with self.odb.states.together(txn):
                    for each in prepared:
                        if each.batches:
                            conflict = each.lane.write(txn, each.batches) or conflict
                for each in prepared:
                    each.bind(self.odb, txn)
        except BaseException:
            for lane, name, ref, tip in saved:
                lane.name, lane.ref, lane.tip = name, ref, tip
            raise
        self._backlog.pop(0)
        return conflict


def prepare_all(works: list[Work]) -> list[Prepared]:
    """Pack and hash the states of all lanes; a lane may occur several times."""
    tips: dict[int, Tip | None] = {}
    prepared = []
    for work in works:
        tip = tips.get(id(work.lane), work.lane.tip)
        parents = (tip,) if tip else ()
        batches = prepare(work.columns, parents, work.lane.origin) if work.columns else []
        if batches:
            tips[id(work.lane)] = pending_tip(batches[-1])
        oid = tip.oid if tip else None
        prepared.append(Prepared(work.lane, oid, batches, work.attached, work.notes))
    return prepared


def coerce_data(name: str, data: Any) -> Data:
    """Return a copy of data to attach under a name, in the form in which it is stored.

    Raises:
        InvalidInput: the name is not allowed, or some part of the data cannot be stored.
        NotFound: a file does not exist.
    """
    check_attachment(name)
    data = attachable(name, data)
    return plan(data.read_bytes() if isinstance(data, Path) else coerce(data, name))


class _Clock:
    """The time between two flushes by the clock, which may be shorter for a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds = self._shorter = seconds
        self._until = 0.0
        self._woken = threading.Event()
        self.is_over = False

    def hasten(self, seconds: float, valid: float) -> None:
        is_new = time.monotonic() >= self._until
        self._shorter, self._until = max(seconds, _SHORTEST), time.monotonic() + valid
        if is_new:  # otherwise who asks often would put the flush off for ever
            self._woken.set()

    def stop(self) -> None:
        self.is_over = True
        self._woken.set()

    def ticks(self) -> bool:
        """Wait for the next flush; return False when there is none any more."""
        while not self.is_over:
            is_hastened = time.monotonic() < self._until
            if not self._woken.wait(
                min(self._shorter, self._seconds) if is_hastened else self._seconds
            ):
                return True
            self._woken.clear()
        return False


def _flush_by_clock(recorder: weakref.ref[RecorderBase], clock: _Clock) -> None:
    """Flush a recorder whenever its clock ticks, until it is closed or dropped."""
    while clock.ticks():
        found = recorder()
        if found is None:
            return
        found.flush_if_idle()
        del found


class RecorderBase:
    """The common part of recorders of one run and of many: flushing and closing.

    A recorder belongs to one thread. Its clock flushes in another one: ``_lock`` is held while the
    buffer is taken, or changed other than by appending, and ``_flushing`` while it is taken and
    stored, so that the states stay in order.
    """

    hold: Callable[[], None] | None = None
    """Called after a flush by whoever appends, who may be made to wait; while there is one, the
    clock does not flush, so that the buffer fills and whoever appends comes here."""
    _is_started = False
    _parent: int | None = None

    def __init__(
        self, odb: ObjectDatabase, lanes: list[RunWriter], policy: FlushPolicy, background: bool
    ):
        self._odb = odb
        self._lanes = lanes
        self._policy = policy
        self._writer = FlushWriter(odb, background)
        self._lock = threading.RLock()  # a handler of a signal may flush
        self._flushing = threading.RLock()
        self._flusher: int | None = None
        self._clock: _Clock | None = None
        self._ticking: threading.Thread | None = None
        self._closed = False

    def start(self) -> None:
        """Flush by the clock from now on, and close when dropped or when the process ends."""
        self._is_started = True
        self._process = os.getpid()
        watch(self)
        seconds = self._policy.seconds
        if seconds is None or not seconds < threading.TIMEOUT_MAX:
            return
        self._clock = _Clock(max(seconds, _SHORTEST))
        self._ticking = threading.Thread(
            target=_flush_by_clock,
            args=(weakref.ref(self), self._clock),
            name="simgit-clock",
            daemon=True,
        )
        self._ticking.start()

    def hasten(self, seconds: float, valid: float) -> None:
        """Flush every ``seconds`` for the next ``valid`` ones, if that is sooner than otherwise.

        Any thread may call it. A recorder that does not flush by the clock takes no notice.
        """
        if self._clock is not None:
            self._clock.hasten(seconds, valid)

    def __del__(self) -> None:
        """Store what was not closed, now or as soon as that is safe."""
        if self._is_started and not self._closed:
            abandon(self._process, partial(finish, self))

    @property
    def _unstored(self) -> str:
        """The number of states by run that could not be stored, as text; '' for none."""
        return self._writer.unstored

    def _belongs_to_parent(self) -> None:
        """Take no more states in a forked child: what is buffered is stored by its parent."""
        if not self._closed:
            self._closed, self._parent = True, self._process

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse to be pickled or copied.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            f"a {type(self).__name__} cannot be copied or sent to another process: make one there"
        )

    def _take(self) -> list[Work]:
        """Return the buffered states, and empty the buffer."""
        raise NotImplementedError

    def flush(self) -> None:
        """Store the buffered states durably.

        Raises:
            Conflict: another writer moved the run; the states are in a run named after it.
        """
        self._check_owner()
        self._start_flush()
        self._writer.drain()

    def _start_flush(self) -> None:
        self._check_thread()
        # what was taken is stored, and that is known, or neither
        with interrupts_held_back(), self._flushing:
            self._flusher = threading.get_ident()
            try:
                work = self._take()
                if work or self._writer.waiting:
                    self._writer.submit(work)
            finally:
                self._flusher = None
        hold = self.hold
        if (
            hold is not None
            and not self._closed
            and threading.current_thread() is not self._ticking
        ):
            hold()

    def flush_if_idle(self) -> None:
        """Flush in another thread than the recorder's, unless it flushes now, or somebody waits.

        An error is raised by the recorder's next flush.
        """
        if self.hold is not None or not self._flushing.acquire(blocking=False):
            return  # a flush is under way
        try:
            if not self._closed:
                self._start_flush()
        except Exception as error:
            self._writer.error = self._writer.error or error
        finally:
            self._flushing.release()

    def _check_thread(self) -> None:
        """Check that this thread may wait for another one that stores states.

        Raises:
            StorageError: it holds the write transaction, which that one waits for; or a handler of
                a signal came while it changed the buffer or stored states.
        """
        if self._odb.storage.is_writing:
            raise StorageError("this thread already holds the write transaction")
        if self._flusher == threading.get_ident() or self._lock._is_owned():  # type: ignore[attr-defined]
            raise StorageError("this thread is recording or storing states at this moment")

    @property
    def is_closed(self) -> bool:
        """True if nothing more can be appended."""
        return self._closed

    @property
    def is_busy(self) -> bool:
        """True if this thread is recording or storing, and a handler of a signal cannot flush."""
        try:
            self._check_thread()
        except StorageError:
            return True
        return False

    def _check_owner(self) -> None:
        if self._parent is not None:
            raise InvalidInput(
                f"the recorder belongs to process {self._parent}, which this one was forked from; "
                "open another one here"
            )

    def close(self, status: str = "active") -> None:
        """Flush, and release the run; ``status`` says how it stands then. Closing twice is fine.

        Ctrl-C takes effect when that is done.

        Raises:
            Conflict: see ``flush``.
            StorageError: the states could not be stored; the recorder stays open, with all of them.
        """
        with interrupts_held_back():
            self._close(status)

    def discard(self, status: str = "active") -> None:
        """Release the run without storing the states that are buffered.

        Raises:
            StorageError: the run could not be released.
        """
        self._check_open()
        self._check_thread()
        self._closed = True
        self._take()
        self._end(status)

    def _close(self, status: str) -> None:
        if self._closed:
            return
        self._check_thread()
        self._closed = True
        try:
            self.flush()
        except Conflict:
            self._end(status)
            raise
        except BaseException:
            self._closed = not self._writer.waiting  # what could not be stored can be tried again
            if self._closed:
                self._end(status)
            raise
        self._end(status)

    def _end(self, status: str) -> None:
        self._closed = False  # if this fails, it can be tried again
        self._writer.stop()
        if self._clock is not None:
            self._clock.stop()
        if self._ticking is not None and self._ticking is not threading.current_thread():
            self._ticking.join(1.0)  # it waits for nothing, but could be ending this recorder too
        with self._odb.write() as txn:
            for lane in self._lanes:
                lane.release(txn, status)
        self._closed = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close(status_after(error))
        except SimgitError as second:
            # the block's own error is the one to see; what the flush says is added to it
            error.add_note(f"simgit: {second}")

    def _check_open(self) -> None:
        self._check_owner()
        if self._closed:
            raise InvalidInput("the recorder is closed; open another one to continue the run")
