"""Tags, remote-tracking refs, reflogs, and which refs point at which states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simgit.errors import IntegrityError, InvalidInput, NotFound, shown
from simgit.objects.kinds import Tag
from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.process import now
from simgit.refs.names import HEAD, OF_RUNS, REMOTES, RUNS, SPACES, TAGS
from simgit.refs.records import LogEntry, TagRef, decode_run
from simgit.refs.remotes import (
    Upstream,
    delete_remote_run,
    has_tracking,
    remote_runs,
    tracked_remote,
    tracking,
)
from simgit.storage.base import make_room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simgit.refs.runs import RunInfo
    from simgit.repository.store import Store
    from simgit.storage.base import ReadTxn


class References:
    """Reads and changes tags; reads reflogs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._refs = store.refs

    def tag(
        self, name: str, revision: str | Oid, message: str | None, tagger: str, force: bool
    ) -> Oid:
        for part, text in (("message", message), ("tagger", tagger)):
            if text is not None and not isinstance(text, str):
                raise InvalidInput(f"{part} must be a text, got {shown(text)}")
        with self._store.write("tag", name, revision) as txn:
            state = self._store.resolve(txn, revision).oid
            note = None
            if message is not None:
                note = self._store.odb.put(txn, Tag(state, name, message, tagger, now()))
            self._refs.create_tag(txn, name, TagRef(state, note), force)
        return state

    def tags(self) -> dict[str, tuple[Oid, Tag | None]]:
        with self._store.read() as txn:
            found = {}
            for name, ref in self._refs.tags(txn):
                note = self._store.odb.object(txn, ref.tag) if ref.tag else None
                found[name] = (ref.oid, note if isinstance(note, Tag) else None)
            return found

    def delete_tag(self, name: str) -> Oid:
        def delete() -> Oid:
            with self._store.write("delete-tag", name) as txn:
                return self._refs.delete_tag(txn, name).oid

        return make_room(self._store.storage, delete)

    def remote_runs(self, remote: str | None) -> dict[str, RunInfo]:
        describe = self._store.runs.describe
        with self._store.read() as txn:
            return {
                (short := f"{where}/{name}"): describe(txn, short, ref)
                for where, name, ref in remote_runs(txn, remote)
            }

    def delete_remote_run(self, name: str) -> Oid | None:
        def delete() -> Oid | None:
            with self._store.write("delete-remote-run", name) as txn:
                tracking(txn, name)  # which says so
                remote, _, run = name.partition("/")
                return delete_remote_run(txn, remote, run, f"branch: deleted {name}").oid

        return make_room(self._store.storage, delete)

    def upstreams(self, runs: Sequence[str]) -> dict[str, Upstream]:
        with self._store.read() as txn:
            remote = tracked_remote(txn)
            if remote is None:
                return {}
            names = runs or [name for name, _ in self._refs.stored_runs(txn)]
            found = ((run, self._upstream(txn, run, f"{remote}/{run}")) for run in names)
            return {run: each for run, each in found if each is not None}

    def _upstream(self, txn: ReadTxn, run: str, name: str) -> Upstream | None:
        if not has_tracking(txn, name) or not self._refs.has_run(txn, run):
            return None
        mine, other = self._refs.run(txn, run), tracking(txn, name)
        places = [ref.place if ref.oid is not None else None for ref in (mine, other)]
        return Upstream(name, *ancestry.ahead_behind(self._store.odb, txn, *places))

    def reflog(self, ref: str) -> list[LogEntry]:
        with self._store.read() as txn:
            for full in (ref, *(space + ref for space in SPACES)):
                entries = list(self._refs.log(txn, full))
                if not entries:
                    continue
                value = txn.get("refs", full.encode()) if full.startswith(OF_RUNS) else None
                if value is not None and decode_run(value).oid != entries[0].new:
                    raise IntegrityError(f"the reflog of '{full}' lacks its end; see 'simgit fsck'")
                return entries
        raise NotFound(f"reflog of '{ref}' not found")

    def decorations(self) -> dict[Oid, list[str]]:
        with self._store.read() as txn:
            head = self._refs.head(txn)
            found: dict[Oid, list[str]] = {head: [HEAD]} if isinstance(head, Oid) else {}
            for name, ref in self._refs.runs(txn):
                if ref.oid is not None and name == head:
                    found.setdefault(ref.oid, []).insert(0, f"{HEAD} -> {RUNS}{name}")
                elif ref.oid is not None:
                    found.setdefault(ref.oid, []).append(RUNS + name)
            for name, tag in self._refs.tags(txn):
                found.setdefault(tag.oid, []).append(TAGS + name)
            for remote, name, ref in remote_runs(txn):
                if ref.oid is not None:
                    found.setdefault(ref.oid, []).append(f"{REMOTES}{remote}/{name}")
            return found
