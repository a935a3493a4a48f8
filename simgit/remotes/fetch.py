"""Fetching: packs that are not here, in the order of their import; refs last."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Final

from simgit.errors import AlreadyExists, IntegrityError, InvalidInput, NotFound
from simgit.objects.kinds import Tag
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.lines import SHALLOW, graft_of
from simgit.refs import run_config
from simgit.refs.names import REMOTES, RUNS, TAGS, expanded, is_pattern
from simgit.refs.records import RunRef, TagRef, moved
from simgit.refs.refs import Refs
from simgit.refs.remote_cache import RemoteCache
from simgit.refs.remotes import (
    delete_remote_run,
    has_tracking,
    remote_runs,
    run_refs,
    set_remote_run,
    tracking,
)
from simgit.remotes import layout
from simgit.remotes.bundle.loading import load_pack
from simgit.remotes.connection import Connection, SeenRef
from simgit.remotes.layout import PackEntry
from simgit.remotes.stretch import AskedSteps, StretchFetch
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.directory import SHALLOW_FORMAT, raise_format
from simgit.storage.failpoints import fail_point

_AHEAD: Final = 4
"""How many packs are read before they are imported."""
Progress = Callable[[int, int | None], object]
"""A function called with the number of states imported so far, and of all that are fetched."""


@dataclass(frozen=True)
class FetchedRef:
    """The outcome for a ref of the remote.

    Attributes:
        what: ``new``, ``forward``, ``forced`` (it has other states than before), ``unchanged``,
            ``pruned`` (the remote has it no more), ``shallow`` (its history begins later here than
            there), or of a tag ``kept`` (one here has another state or annotation, or a name that
            is too like it, and stays).
        old, new: the state that it was last seen with, and has now; None if none.
    """

    what: str
    old: Oid | None
    new: Oid | None


@dataclass
class FetchReport:
    """The outcome of a fetch.

    Attributes:
        refs: the outcome for each ref, by its full name at the remote.
        states: how many states came.
        packs, bytes: how many packs were read, and their bytes.
        requests, received: how many requests were made, and the bytes of their answers.
        retries: requests that were made again.
        attachments: names under which attachments were kept aside.
    """

    refs: dict[str, FetchedRef] = field(default_factory=dict)
    states: int = 0
    packs: int = 0
    bytes: int = 0
    requests: int = 0
    received: int = 0
    retries: int = 0
    attachments: list[str] = field(default_factory=list)


class Fetch:
    """One fetch of some refs of a remote."""

    def __init__(
        self,
        odb: ObjectDatabase,
        refs: Refs,
        connection: Connection,
        remote: str,
        *,
        jobs: int = 1,
        progress: Progress | None = None,
    ) -> None:
        """Take where to fetch from and to.

        Args:
            odb: the database.
            refs: its refs.
            connection: the remote.
            remote: its name here.
            jobs: the number of processes that decode states; see ``bundle.load``.
            progress: called while states are imported.
        """
        self.odb = odb
        self.refs = refs
        self.connection = connection
        self.remote = remote
        self.jobs = jobs
        self.progress = progress
        self.report = FetchReport()
        self._cache = RemoteCache(connection.info.id)
        self._total = 0

    def run(
        self,
        names: Sequence[str] | None = None,
        *,
        prune: bool = False,
        steps: AskedSteps | None = None,
        attachments: bool = True,
    ) -> FetchReport:
        """Fetch runs and tags by full name or pattern (None: all); return what was done.

        Args:
            names: full names, such as ``runs/main`` or ``runs/worker/*``.
            prune: remove tracking refs of runs that the remote has no more.
            steps: only these states of runs, and no tags.
            attachments: with ``steps``: also what is attached to the states.

        Raises:
            NotFound: the remote has no such ref, or a pattern matches none.
            IntegrityError: what came does not have the name that it should; refs are unchanged.
            TransportError: the storage cannot be reached, or refuses.
        """
        counts = self.connection.transport.counts
        start = counts.requests, counts.received, counts.retries
        with self.odb.write():
            pass  # which a repository that is read-only refuses, before anything comes
        seen = self._seen(names)
        if steps is not None:
            seen = {name: each for name, each in seen.items() if name.startswith(RUNS)}
            self._fetch_stretches(seen, steps, attachments)
            return self._counted(start)
        changed = self._changed(seen)
        self._fetch(changed)
        self._set(seen, changed, prune=prune and names is None)
        return self._counted(start)

    def _counted(self, start: tuple[int, int, int]) -> FetchReport:
        counts = self.connection.transport.counts
        self.report.requests = counts.requests - start[0]
        self.report.received = counts.received - start[1]
        self.report.retries = counts.retries - start[2]
        return self.report

    def _seen(self, names: Sequence[str] | None) -> dict[str, SeenRef]:
        """Return the refs that are asked for."""
        wanted = None if names is None else map(readable, names)
        found = self.connection.read_refs(wanted, self._known)
        found = {name: each for name, each in found.items() if not each.ref.deleted}
        if names is None:
            return found
        missing = [each for each in names if not is_pattern(each) and each not in found]
        if missing:
            raise NotFound(f"'{self.connection.shown}' has no '{missing[0]}'", name=missing[0])
        return {name: found[name] for name in expanded(names, found, "ref of the remote")}

    def _known(self, key: str) -> tuple[str, bytes] | None:
        with self.odb.read() as txn:  # of its own: threads ask, and they wait for the network
            return self._cache.ref(txn, key)

    def _changed(self, seen: dict[str, SeenRef]) -> dict[str, SeenRef]:
        """Return the refs that are not here as they are there."""
        with self.odb.read() as txn:
            same = [name for name, each in seen.items() if self._is_here(txn, name, each)]
        packs = {name: self.connection.entries(seen[name].ref) for name in same}
        with self.odb.read() as txn:
            here = {
                name
                for name, entries in packs.items()
                if all(self._cache.has_pack(txn, entry.name) for entry in entries)
            }
        return {name: each for name, each in seen.items() if name not in here}

    def _is_here(self, txn: ReadTxn, name: str, seen: SeenRef) -> bool:
        """Return True if a ref is here as it is there, by all but its packs."""
        known = self._cache.ref(txn, layout.key_of_ref(name))
        if known is None or known.data != seen.data:
            return False
        if seen.ref.oid is not None and self.odb.states.locate(txn, seen.ref.oid) is None:
            return False
        if name.startswith(TAGS):
            return self.refs.has_tag(txn, name[len(TAGS) :])
        short = f"{self.remote}/{name[len(RUNS) :]}"
        return has_tracking(txn, short) and tracking(txn, short).oid == seen.ref.oid

    # --- stretches ---

    def _fetch_stretches(
        self, seen: dict[str, SeenRef], steps: AskedSteps, attachments: bool
    ) -> None:
        """Import stretches of runs, and set each run when it is here."""
        path = self.odb.storage.path
        fetching = StretchFetch(self.odb, self.connection, self.remote)
        for name, each in seen.items():
            if each.ref.oid is None:
                continue
            newest_step = fetching.begin(each.ref)
            old = self._known_part(fetching, name, each, newest_step)
            first, last = self._wanted(name, old, newest_step, steps)
            received = self.connection.transport.counts.received
            if first <= last:
                if path is not None:
                    raise_format(path, SHALLOW_FORMAT)
                newest, found = fetching.fetch(each.ref, first, last, attachments=attachments)
                self.report.states += found.states
                self.report.attachments += found.attachments
            self.report.bytes += self.connection.transport.counts.received - received
            fail_point("fetch.stretch")
            with self.odb.write() as txn:
                if first > last or (old is not None and old.step > last):
                    assert old is not None
                    newest = old.oid or newest
                self._set_run(txn, name[len(RUNS) :], each, newest)
                self._cache.set_ref(txn, layout.key_of_ref(name), each.etag, each.data)
                count_joined(self.odb, self.refs, txn)
        self.report.packs = fetching.packs

    def _tracked(self, txn: ReadTxn, name: str) -> RunRef | None:
        short = f"{self.remote}/{name[len(RUNS) :]}"
        found = tracking(txn, short) if has_tracking(txn, short) else None
        return None if found is None or found.oid is None else found

    def _known_part(
        self, fetching: StretchFetch, name: str, seen: SeenRef, newest: int
    ) -> RunRef | None:
        """Return a run as it was last fetched, None if the remote has other states since."""
        with self.odb.read() as txn:
            old = self._tracked(txn, name)
            known = self._cache.ref(txn, layout.key_of_ref(name))
        if old is None or (known is not None and known.data == seen.data):
            return old
        is_its = old.step <= newest and fetching.oid_at(seen.ref, old.step) == old.oid
        return old if is_its else None

    def _wanted(
        self, name: str, old: RunRef | None, newest: int, steps: AskedSteps
    ) -> tuple[int, int]:
        """Return the first and the last step to fetch; none if all are here.

        Args:
            name: the full name of the run.
            old: what is here of its history.
            newest: the newest step at the remote.
            steps: those that are asked for.
        """
        last = newest if steps.last is None else steps.last
        first = max(0, newest + 1 + steps.first) if steps.first < 0 else steps.first
        if not first <= last <= newest:
            raise NotFound(
                f"'{name}' of '{self.connection.shown}' has steps 0 to {newest}, "
                f"not {first} to {last}"
            )
        if old is None or old.step < last:
            return first, last
        with self.odb.read() as txn:
            graft = graft_of(txn, old.line)
            begins = 0 if graft is None else graft.step
        if last < begins - 1:
            raise InvalidInput(
                f"'{self.remote}/{name[len(RUNS) :]}' is here from step {begins} on; states that "
                f"end before step {begins - 1} would not adjoin it: fetch {first}..{begins - 1}"
            )
        return first, min(last, begins - 1)

    # --- packs ---

    def _fetch(self, changed: dict[str, SeenRef]) -> None:
        """Import the packs that are not here."""
        entries: dict[bytes, PackEntry] = {}
        for each in changed.values():
            entries |= {
                e.name: e for e in self.connection.entries(each.ref) if e.name not in entries
            }
        with self.odb.read() as txn:
            lacking = [entry for entry in entries.values() if not self._has(txn, entry)]
        try:
            try:
                self._import(lacking)
            except (NotFound, IntegrityError) as error:
                if len(lacking) == len(entries) or not _is_of_missing(error):
                    raise
                self._import(list(entries.values()))  # what some of them had was removed here
        except NotFound as error:
            raise IntegrityError(
                f"a pack of '{self.connection.shown}' builds on states that no pack before it has; "
                "see 'simgit fsck --remote'", oids=getattr(error, "oids", ()),
            ) from None  # fmt: skip

    def _has(self, txn: ReadTxn, entry: PackEntry) -> bool:
        return self._cache.has_pack(txn, entry.name) and all(
            self.odb.states.locate(txn, stretch.oid) is not None for stretch in entry.stretches
        )

    def _import(self, entries: list[PackEntry]) -> None:
        self._total = sum(entry.states for entry in entries)
        done = 0
        for entry, file in self._downloads(entries):
            with file:
                tell = partial(self._tell, done)
                found = load_pack(self.odb, file.read, jobs=self.jobs, progress=tell)
            done += entry.states
            self.report.states += found.states
            self.report.attachments += found.attachments
            self.report.packs += 1
            self.report.bytes += entry.size
            with self.odb.write() as txn:
                self._cache.note_pack(txn, entry.name)
                for oid in found.bindings:
                    self._cache.note_binding(txn, oid, entry.name)
            fail_point("fetch.pack")

    def _tell(self, before: int, states: int) -> None:
        if self.progress is not None:
            self.progress(before + states, self._total)

    def _downloads(self, entries: list[PackEntry]) -> Iterator[tuple[PackEntry, IO[bytes]]]:
        """Yield packs in their order; some of the next ones are read meanwhile."""
        ahead: list[tuple[PackEntry, Future[IO[bytes]]]] = []
        left = iter(entries)
        with ExitStack() as stack:
            stack.callback(_close, ahead)
            while True:
                while len(ahead) < _AHEAD and (entry := next(left, None)) is not None:
                    ahead.append(
                        (entry, self.connection.pool.submit(self.connection.read_pack, entry))
                    )
                if not ahead:
                    return
                entry, future = ahead.pop(0)
                yield entry, future.result()

    # --- refs ---

    def _set(self, seen: dict[str, SeenRef], changed: Iterable[str], *, prune: bool) -> None:
        for name in seen:
            if name not in changed:
                self.report.refs[name] = FetchedRef(
                    "unchanged", seen[name].ref.oid, seen[name].ref.oid
                )
        with self.odb.write() as txn:
            for name in changed:
                each = seen[name]
                if name.startswith(RUNS):
                    self._set_run(txn, name[len(RUNS) :], each)
                else:
                    self._set_tag(txn, name[len(TAGS) :], each)
                self._cache.set_ref(txn, layout.key_of_ref(name), each.etag, each.data)
            if prune:
                self._prune(txn, seen)
            count_joined(self.odb, self.refs, txn)
            fail_point("fetch.refs")

    def _set_run(self, txn: WriteTxn, name: str, seen: SeenRef, newest: Oid | None = None) -> None:
        fields = seen.ref.fields
        ref = RunRef(
            None, 0, 0, fields["record"], fields["status"], fields["created"], fields["ended"],
            parent=fields["parent"],
        )  # fmt: skip
        try:
            run_config.ancestors(self.odb, txn, fields["record"])
            if (newest := newest or seen.ref.oid) is not None:
                tip = self.odb.states.tip(txn, self.odb.locate(txn, newest))
                ref = moved(ref, tip)
        except NotFound as error:
            raise IntegrityError(
                f"the packs of 'runs/{name}' at the remote lack what it names: {error}"
            ) from None
        short = f"{self.remote}/{name}"
        old = tracking(txn, short) if has_tracking(txn, short) else None
        set_remote_run(txn, self.remote, name, ref, "fetch")
        self.report.refs[RUNS + name] = FetchedRef(
            self._what(txn, old, ref), None if old is None else old.oid, ref.oid
        )

    def _what(self, txn: ReadTxn, old: RunRef | None, new: RunRef) -> str:
        from simgit.odb import ancestry

        if old is None:
            is_shallow = new.oid is not None and graft_of(txn, new.line) is not None
            return "shallow" if is_shallow else "new"
        if old.oid == new.oid or old.oid is None:
            return "unchanged" if old.oid == new.oid and old.status == new.status else "forward"
        if new.oid is not None and graft_of(txn, new.line) is not None:
            return "shallow"
        if new.oid is None or graft_of(txn, old.line) is not None:
            return "forced"  # what leads to a whole history is whole
        is_forward = ancestry.is_ancestor(self.odb, txn, old.place, new.place)
        return "forward" if is_forward else "forced"

    def _set_tag(self, txn: WriteTxn, name: str, seen: SeenRef) -> None:
        oid, tag = seen.ref.oid, seen.ref.fields["tag"]
        try:
            if oid is None:
                raise NotFound("no state")
            self.odb.locate(txn, oid)
            note = None if tag is None else self.odb.object(txn, tag)
        except NotFound as error:
            raise IntegrityError(
                f"the packs of 'tags/{name}' at the remote lack what it names: {error}"
            ) from None
        if tag is not None and not (isinstance(note, Tag) and note.target == oid):
            raise IntegrityError(f"'tags/{name}' at the remote has the annotation of another state")
        here = self.refs.tag(txn, name) if self.refs.has_tag(txn, name) else None
        old = None if here is None else here.oid
        what = "new" if here is None else "unchanged" if here == TagRef(oid, tag) else "kept"
        if old is None:
            try:
                self.refs.create_tag(txn, name, TagRef(oid, tag))
            except AlreadyExists:  # a run of this name, or a tag but for case, is here
                what = "kept"
        self.report.refs[TAGS + name] = FetchedRef(what, old, oid)

    def _prune(self, txn: WriteTxn, seen: dict[str, SeenRef]) -> None:
        for _, name, ref in list(remote_runs(txn, self.remote)):
            if RUNS + name not in seen:
                delete_remote_run(txn, self.remote, name, "fetch: pruned")
                self._cache.forget_ref(txn, layout.key_of_ref(RUNS + name))
                self.report.refs[RUNS + name] = FetchedRef("pruned", ref.oid, None)


def count_joined(odb: ObjectDatabase, refs: Refs, txn: WriteTxn) -> None:
    """Note episodes and return of the runs whose history was shallow, and is not any more."""
    if txn.get("meta", SHALLOW) is None:
        return
    for full, ref in list(run_refs(txn)):
        if ref.oid is None or ref.episodes is not None:
            continue
        tip = odb.states.tip(txn, ref.place)
        if tip.episode is None:
            continue
        if full.startswith(RUNS):
            refs.update_run(txn, full[len(RUNS) :], ref, moved(ref, tip), None)
        else:
            remote, _, name = full.removeprefix(REMOTES).partition("/")
            set_remote_run(txn, remote, name, moved(ref, tip), "fetch: episodes counted")


def readable(name: str) -> str:
    """Return a full name as it is, or for a pattern the folder of all names that it can match."""
    if not is_pattern(name):
        return name
    plain = re.split(r"[*?[]", name, maxsplit=1)[0]
    return plain[: plain.rfind("/") + 1]


def _is_of_missing(error: Exception) -> bool:
    return isinstance(error, NotFound) or "lacks" in str(error) or "missing" in str(error)


def _close(ahead: list[tuple[PackEntry, Future[IO[bytes]]]]) -> None:
    for _, future in ahead:
        if not future.cancel() and future.exception() is None:
            future.result().close()
