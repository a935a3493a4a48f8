"""The watch: sees what any process writes, and tells viewers what is there now.

Events are levels, not edges: a viewer is told the newest value of each ref that differs from what
it was told before. So a slow viewer loses nothing, and costs no memory.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from typing import Final

from simgit.errors import IntegrityError, SimgitError
from simgit.objects.codec import decode_name
from simgit.objects.oid import Oid
from simgit.odb import foreign
from simgit.refs.names import HEAD, REMOTES, RUNS, TAGS
from simgit.refs.records import TagRef, decode_head, decode_ref, decode_run
from simgit.refs.simulations import (
    SimulationRecord,
    decoded_simulation,
    events,
    home_of,
    newest_event,
    stored_simulations,
)
from simgit.repository import Repository
from simgit.repository.jsonable import json_text, stamp
from simgit.server.jobs import Jobs
from simgit.server.levels import Level, encoded, gone, kind_of, level
from simgit.server.shortened import explained, operation_told
from simgit.server.standing import Standing
from simgit.storage.base import ReadTxn

PERIOD: Final = 0.025
"""Seconds between two looks at the number of the store's newest transaction."""
JOBS_PERIOD: Final = 0.2
"""Seconds between two looks at the jobs."""
QUIET: Final = 15.0
"""Seconds after which a comment shows that the stream is alive."""
STREAMS: Final = 64
"""The most streams at once."""
KINDS: Final = (
    "tips", "run", "ref", "phase", "progress", "question", "line", "job", "operation",
    "gap",
)  # fmt: skip
_LIVE: Final = "live/"
"""What the names of the levels of simulations begin with."""
_KEPT: Final = 100
"""The number of operations, the newest, of which late viewers are told each."""


class Watch:
    """Looks at a repository in a thread of its own, while there are listeners."""

    def __init__(self, repo: Repository, jobs: Jobs) -> None:
        """Begin without listeners; nothing is read yet."""
        self._jobs = jobs
        self._next = 0.0
        self._working: dict[str, Level] = {}
        self._repo = repo
        self._home = home_of(repo.directory)
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._has_failed = False
        self._listeners: weakref.WeakSet[Viewer] = weakref.WeakSet()  # not all are begun
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._txn: int | None = None
        self._identity = b""
        self.replaced = 0
        """How often the repository became another one."""
        self._stored: dict[str, Level] = {}
        self._simulations: dict[str, tuple[bytes, SimulationRecord | None]] = {}
        self._living: dict[str, SimulationRecord] = {}
        self._event: int | None = None
        self._standing = Standing(repo.directory)
        self.operations: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)

    @property
    def levels(self) -> dict[str, Level]:
        """Everything that viewers can be told, by name."""
        return {**self._stored, **self._working, **self._standing.levels}

    @property
    def is_ended(self) -> bool:
        """True once all streams have to end."""
        return self._ended.is_set()

    def listen(self, listener: Viewer) -> bool:
        """Enter a listener, and see what is there; return False if there are too many."""
        with self._lock:
            if len(self._listeners) >= STREAMS:
                return False
            self._listeners.add(listener)
        is_new = self.look()
        if self._look_at_jobs() or is_new:
            self._wake()  # the thread will not see it again
        with self._lock:
            if self._thread is None and not self.is_ended:
                self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
                self._thread.start()
        return True

    def leave(self, listener: Viewer) -> None:
        """Remove a listener; the thread ends after the last."""
        with self._lock:
            self._listeners.discard(listener)

    def end(self) -> None:
        """End all streams, and the thread."""
        self._ended.set()
        self._wake()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(PERIOD):
            with self._lock:
                listeners = list(self._listeners)
                if not listeners:
                    self._standing.close()
                    self._thread = None
                    return
            try:
                if self._repo.odb.storage.is_deleted:
                    self._ended.set()  # who connects again is told so
                    self._wake()
                    break
                is_new = self.look()
                if time.monotonic() >= self._next:
                    is_new |= self._look_at_jobs()
                    self._next = time.monotonic() + JOBS_PERIOD
                if self._standing.look(self._living, partial(_want, listeners)) or is_new:
                    self._wake()
            except SimgitError:  # such as a store that is being replaced
                self._ended.wait(1.0)
            except Exception:  # a defect of one part must not end all events
                if not self._has_failed:
                    self._has_failed = True
                    traceback.print_exc()
                self._ended.wait(1.0)
        self._standing.close()

    def _wake(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.wake()

    def look(self) -> bool:
        """Read what has changed; return True if a ref, a phase or an operation did."""
        with self._looking, self._repo.odb.read() as txn:
            number = txn.txn_id
            if number == self._txn:
                return False
            kept = self._repo.operations(_KEPT)
            is_another = self._is_another(txn, kept[0].number if kept else 0)
            stored = {decode_name(key): value for key, value in txn.scan("refs")}
            before, found = self._stored, {}
            for name, value in stored.items():
                there = before.get(name)
                if there is None or there.stored != value:
                    there = level(name, value, _record(name, value))
                found[name] = there
            has_answers = self._look_at_simulations(txn, found)
            newest = self.operations[-1][0] if self.operations else 0
            operations = [each for each in kept if each.number > newest]
            for each in reversed(operations):
                text = json_text(operation_told(each))
                self.operations.append((each.number, encoded("operation", text, each.number)))
            self._stored, self._txn = found, number
            return is_another or has_answers or found != before or bool(operations)

    def _is_another(self, txn: ReadTxn, newest: int) -> bool:
        """Forget everything if the file has become another repository's; return True if it has.

        The streams end: their viewers connect again, and are told all that is there.
        """
        before, self._identity = self._identity, foreign.identity(txn)
        is_older = self.operations and newest < self.operations[-1][0]
        if not is_older and before in (b"", self._identity):
            return False
        self.operations.clear()
        self._stored, self._simulations, self._living, self._event = {}, {}, {}, None
        self.replaced += 1
        return True

    def _look_at_jobs(self) -> bool:
        """Enter the jobs; return True if one has changed."""
        before, found = self._working, {}
        for each in self._jobs.all():
            name = f"job/{each['job']}"
            there = before.get(name)
            if there is None or there.stored != each:
                there = level(name, each, each)
            found[name] = there
        self._working = found
        return found != before

    def _look_at_simulations(self, txn: ReadTxn, found: dict[str, Level]) -> bool:
        """Enter the phases of simulations; return True if a question was answered."""
        known, records = self._simulations, {}
        for run, value in stored_simulations(txn):
            there = known.get(run)
            if there is None or there[0] != value:
                there = (value, decoded_simulation(value, run, self._home))
            records[run] = there
            if (record := there[1]) is not None:
                name = _LIVE + run
                before = self._stored.get(name)
                if before is None or before.stored != value:
                    before = level(name, value, _phase(run, record))
                found[name] = before
        if records != known:
            self._simulations = records
            self._living = {
                run: each for run, (_, each) in records.items() if each and each.phase != "ended"
            }
        newest = newest_event(txn)
        answers = []
        if self._event is not None and newest > self._event:
            with suppress(IntegrityError):  # fsck names it
                answers = [each for each in events(txn, self._event) if each.kind == "answer"]
        self._event = newest
        for each in answers:
            self._standing.answered(each)
        return bool(answers)


def _want(listeners: Iterable[Viewer], kind: str, run: str) -> bool:
    return any(each.wants(kind, run) for each in listeners)


class Viewer:
    """One viewer: what it wants to know, and what it was told."""

    def __init__(self, watch: Watch, globs: Iterable[str], kinds: Iterable[str]) -> None:
        """Note what it wants; no globs are all runs, no kinds are all."""
        self._watch = watch
        self._globs = list(globs)
        self._kinds = {*kinds} or {*KINDS}
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._told: dict[str, Level] = {}
        self._chosen: dict[str, bool] = {}

    def wake(self) -> None:
        """Tell that there is something new; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:  # the loop has ended
            return

    async def events(self, last: int | None) -> AsyncIterator[bytes]:
        """Yield the present tips, then changes, until the server ends.

        Args:
            last: the number of the last operation that the viewer knows; one that is not there
                is of another repository, or of this one before it was restored: it counts as None.
        """
        try:
            newest, replaced = self._newest(), self._watch.replaced
            known = newest if last is None or last > newest else last
            self._told = self._wanted()
            tips = ", ".join(f"{json_text(n)}: {level.text}" for n, level in self._told.items())
            if "tips" in self._kinds:
                yield encoded("tips", f"{{{tips}}}", known)
            while not self._watch.is_ended and self._watch.replaced == replaced:
                for event in self._changes():
                    yield event
                for number, event in self._operations(known):
                    known = number
                    yield event
                try:
                    await asyncio.wait_for(self._woken.wait(), QUIET)
                except TimeoutError:
                    yield b": alive\n\n"
                self._woken.clear()
        finally:
            self._watch.leave(self)

    def _newest(self) -> int:
        operations = self._watch.operations
        return operations[-1][0] if operations else 0

    def _wanted(self) -> dict[str, Level]:
        before, self._chosen = self._chosen, {}
        found = {}
        for name, each in self._watch.levels.items():
            chosen = before.get(name)
            if chosen is None:
                chosen = self.wants(*kind_of(name))
            self._chosen[name] = chosen
            if chosen:
                found[name] = each
        return found

    def wants(self, kind: str, what: str) -> bool:
        """Return whether it wants the events of a kind that are about a run, a ref or a job."""
        if kind not in self._kinds:
            return False
        return (
            kind in ("ref", "job")
            or not self._globs
            or any(fnmatchcase(what, glob) for glob in self._globs)
        )

    def _changes(self) -> list[bytes]:
        now, told = self._wanted(), self._told
        found = [each.event for name, each in now.items() if told.get(name) is not each]
        found += [gone(name) for name in told.keys() - now.keys()]
        self._told = now
        return found

    def _operations(self, known: int) -> list[tuple[int, bytes]]:
        kept = list(self._watch.operations)
        if not kept or kept[-1][0] <= known:
            return []
        first = kept[0][0]
        missed = [] if first <= known + 1 else [(first - 1, _gap(known + 1, first - 1))]
        both = [("gap", each) for each in missed]
        both += [("operation", each) for each in kept if each[0] > known]
        return [each for kind, each in both if kind in self._kinds]


def _gap(first: int, last: int) -> bytes:
    return encoded("gap", json_text({"first": first, "last": last}), last)


def _phase(run: str, record: SimulationRecord) -> Mapping[str, object]:
    return explained({
        "run": run, "phase": record.phase, "outcome": record.outcome, "reason": record.reason,
        "began": stamp(record.began), "ended": stamp(record.ended),
    })  # fmt: skip


def _record(name: str, stored: bytes) -> Mapping[str, object]:
    if name.startswith(RUNS):
        run = decode_run(stored)
        step = None if run.oid is None else run.step
        return {
            "run": name.removeprefix(RUNS), "oid": run.oid, "step": step, "status": run.status,
            "episodes": run.episodes, "return": run.returned,
        }  # fmt: skip
    if name.startswith(TAGS):
        tag: TagRef = decode_ref(stored, TagRef)
        return {"ref": name, "oid": tag.oid}
    if name.startswith(REMOTES):
        return {"ref": name, "oid": decode_run(stored).oid}
    head = decode_head(stored) if name == HEAD else ""
    return {"ref": name, "oid": head} if isinstance(head, Oid) else {"ref": name, "run": head}
