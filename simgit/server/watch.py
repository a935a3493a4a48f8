"""The watch: sees what any process writes, and tells viewers what is there now.

Events are levels, not edges: a viewer is told the newest value of each ref that differs from what
it was told before. So a slow viewer loses nothing, and costs no memory.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from simgit.errors import SimgitError
from simgit.objects.codec import decode_name
from simgit.objects.oid import Oid
from simgit.refs.names import HEAD, RUNS, TAGS
from simgit.refs.records import TagRef, decode_head, decode_ref, decode_run, pack_ref, unpack_ref
from simgit.refs.simulations import home_of, simulation_records
from simgit.repository import Repository
from simgit.repository.jsonable import json_text, stamp, to_jsonable

PERIOD: Final = 0.025
"""Seconds between two looks at the number of the store's newest transaction."""
QUIET: Final = 15.0
"""Seconds after which a comment shows that the stream is alive."""
STREAMS: Final = 64
"""The most streams at once."""
KINDS: Final = ("tips", "run", "ref", "phase", "operation", "gap")
_LIVE: Final = "live/"
"""What the names of the levels of simulations begin with."""
_KEPT: Final = 100
"""The number of operations, the newest, of which late viewers are told each."""


class Level(NamedTuple):
    """The value of a ref: its stored form, its JSON, and the event that tells it."""

    stored: bytes
    text: str
    event: bytes


def encoded(kind: str, text: str, number: int | None = None) -> bytes:
    """Return an event as it is sent; ``number`` is its id."""
    id_ = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{id_}data: {text}\n\n".encode()


class Watch:
    """Looks at a repository in a thread of its own, while there are listeners."""

    def __init__(self, repo: Repository) -> None:
        """Begin without listeners; nothing is read yet."""
        self._repo = repo
        self._home = home_of(repo.directory)
        self._lock = threading.Lock()
        self._listeners: weakref.WeakSet[Viewer] = weakref.WeakSet()  # not all are begun
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._txn: int | None = None
        self.levels: dict[str, Level] = {}
        self.operations: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)

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
        self.look()
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
                if not self._listeners:
                    self._thread = None
                    return
            try:
                if self.look():
                    self._wake()
            except SimgitError:  # such as a store that is being replaced
                self._ended.wait(1.0)

    def _wake(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.wake()

    def look(self) -> bool:
        """Read what has changed; return True if a ref or an operation did."""
        with self._repo.odb.read() as txn:
            number = txn.txn_id
            if number == self._txn:
                return False
            stored = {decode_name(key): value for key, value in txn.scan("refs")}
            stored |= {
                _LIVE + run: pack_ref(each._asdict())
                for run, each in simulation_records(txn, self._home)
            }
        before, found = self.levels, {}
        for name, value in stored.items():
            there = before.get(name)
            found[name] = there if there and there.stored == value else _level(name, value)
        newest = self.operations[-1][0] if self.operations else 0
        operations = [each for each in self._repo.operations(_KEPT) if each.number > newest]
        for each in reversed(operations):
            text = json_text(to_jsonable(each))
            self.operations.append((each.number, encoded("operation", text, each.number)))
        self.levels, self._txn = found, number
        return found != before or bool(operations)


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

    def wake(self) -> None:
        """Tell that there is something new; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:  # the loop has ended
            return

    async def events(self, last: int | None) -> AsyncIterator[bytes]:
        """Yield the present tips, then changes, until the server ends.

        Args:
            last: the number of the last operation that the viewer knows.
        """
        try:
            known = self._newest() if last is None else last
            self._told = self._wanted()
            tips = ", ".join(f"{json_text(n)}: {level.text}" for n, level in self._told.items())
            if "tips" in self._kinds:
                yield encoded("tips", f"{{{tips}}}", known)
            while not self._watch.is_ended:
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
        return {name: level for name, level in self._watch.levels.items() if self._wants(name)}

    def _wants(self, name: str) -> bool:
        kind, run = _kind(name)
        if kind == "ref":
            return kind in self._kinds
        chosen = not self._globs or any(fnmatchcase(run, glob) for glob in self._globs)
        return kind in self._kinds and chosen

    def _changes(self) -> list[bytes]:
        now = self._wanted()
        found = [level.event for name, level in now.items() if self._told.get(name) is not level]
        for name in self._told.keys() - now.keys():
            kind, run = _kind(name)
            gone = {"phase": None} if kind == "phase" else {"oid": None}
            record = {"ref" if kind == "ref" else "run": run, **gone}
            found.append(encoded(kind, json_text(record)))
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


def _level(name: str, stored: bytes) -> Level:
    kind, record = _kind(name)[0], _record(name, stored)
    text = json_text(record)
    return Level(stored, text, encoded(kind, text))


def _kind(name: str) -> tuple[str, str]:
    """Return the kind of a level's event, and the run or the ref that it is about."""
    if name.startswith(_LIVE):
        return "phase", name.removeprefix(_LIVE)
    return ("run", name.removeprefix(RUNS)) if name.startswith(RUNS) else ("ref", name)


def _record(name: str, stored: bytes) -> Mapping[str, object]:
    if name.startswith(_LIVE):
        live = unpack_ref(stored)
        times = {key: stamp(live[key]) for key in ("began", "ended")}
        shown = {key: live[key] for key in ("phase", "outcome", "reason")}
        return {"run": name.removeprefix(_LIVE), **shown, **times}
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
    head = decode_head(stored) if name == HEAD else ""
    return {"ref": name, "oid": head} if isinstance(head, Oid) else {"ref": name, "run": head}
