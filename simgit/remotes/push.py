"""Pushing: packs, then shards, then refs, so that nothing that is named is ever missing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simgit.errors import Conflict, IntegrityError, NotFound
from simgit.objects.oid import Oid
from simgit.odb import ancestry, foreign
from simgit.odb.database import ObjectDatabase
from simgit.refs.names import RUNS, TAGS, conflict_names
from simgit.refs.records import RunRef
from simgit.refs.refs import Refs
from simgit.refs.remotes import delete_remote_run, has_tracking, set_remote_run
from simgit.remotes import layout, tombs
from simgit.remotes.connection import TRIES, Connection, SeenRef
from simgit.remotes.elapsed import Elapsed
from simgit.remotes.layout import RemoteRef
from simgit.remotes.sending import Progress, Sending, Wish, fields_of
from simgit.storage.base import ReadTxn
from simgit.storage.failpoints import fail_point


@dataclass(frozen=True)
class PushedRef:
    """The outcome for a ref.

    Attributes:
        what: ``new``, ``forward``, ``updated`` (not its state, but attachments or the run's
            status), ``unchanged``, ``behind`` (the remote has more), ``forced``, ``aside`` (under
            another name, since the remote's has other states) or ``deleted``.
        name: the full name that it has at the remote.
        old, new: the state that it had there, and has now; None if none.
        states: how many states of its history were sent.
    """

    what: str
    name: str
    old: Oid | None
    new: Oid | None
    states: int = 0


@dataclass
class PushReport:
    """The outcome of a push.

    Attributes:
        refs: the outcome for each ref, by its full name here.
        states, packs, bytes: how many were sent; bytes of packs.
        requests, sent: how many requests were made, and the bytes of their bodies.
        retries: requests that were made again.
        conflicts: refs that somebody else moved meanwhile.
        is_dry_run: True if nothing was written.
    """

    refs: dict[str, PushedRef] = field(default_factory=dict)
    states: int = 0
    packs: int = 0
    bytes: int = 0
    requests: int = 0
    sent: int = 0
    retries: int = 0
    conflicts: int = 0
    is_dry_run: bool = False


class Push:
    """One push of some refs."""

    def __init__(
        self,
        odb: ObjectDatabase,
        journal: ObjectDatabase,
        refs: Refs,
        connection: Connection,
        remote: str | None,
        *,
        force: bool = False,
        leases: dict[str, Oid | None] | None = None,
        aside: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take where to push from and to.

        Args:
            odb: the database.
            journal: the same, which notes changes of refs as an operation.
            refs: its refs.
            connection: the remote.
            remote: its name here; None without tracking refs.
            force: replace refs whose states are other ones, if they are as they were last seen.
            leases: by full name the state that a ref must have at the remote to be pushed at all;
                then it is replaced if its states are other ones, and ``force`` does not matter.
            aside: push runs whose states are other ones as ``NAME.conflict-1``.
            dry_run: find out what would be done, and write nothing.
            progress: called while states are sent.
            clock: the seconds since 1970, by the clock of this machine.
        """
        self.odb = odb
        self.journal = journal
        self.refs = refs
        self.connection = connection
        self.remote = remote
        self.force = force
        self.leases = leases or {}
        self.aside = aside
        self.report = PushReport(is_dry_run=dry_run)
        self._clock = clock
        self._sending = Sending(odb, connection, progress, clock)

    # --- what is asked for ---

    def run(self, names: Sequence[str], deleted: Sequence[str] = ()) -> PushReport:
        """Push refs of full names, and delete others at the remote; return what was done.

        Raises:
            NotFound: there is no such ref, here or at the remote.
            Conflict: a ref at the remote has other states; nothing was pushed.
            TransportError: the storage cannot be reached, or refuses.
        """
        before = self.connection.transport.counts
        start = before.requests, before.sent, before.retries
        self.connection.check_writable()
        try:
            self._push(names, deleted)
        except IntegrityError:
            if self._sending.since() <= tombs.FRESH:
                raise
            raise self._too_late() from None  # a shard that was read late, probably
        counts = self.connection.transport.counts
        self.report.requests = counts.requests - start[0]
        self.report.sent = counts.sent - start[1]
        self.report.retries = counts.retries - start[2]
        self.report.conflicts = self.connection.conflicts
        return self.report

    def _push(self, names: Sequence[str], deleted: Sequence[str]) -> None:
        if not self.report.is_dry_run:
            with self.journal.write():
                pass  # which a repository that is read-only refuses, before anything is sent
            self.connection.make()
        wishes = self._wishes(names)
        self._look(wishes, deleted)
        todo = []
        for wish in wishes:
            if wish.what in ("unchanged", "behind"):
                self._note(wish)
            else:
                todo.append(wish)
        if self.report.is_dry_run:
            self._count(todo)
        else:
            self._send(todo)
            for name in deleted:
                self._delete(name)

    def _wishes(self, names: Sequence[str]) -> list[Wish]:
        found = []
        with self.odb.read() as txn:
            for name in dict.fromkeys(names):
                if name.startswith(RUNS):
                    run = self.refs.run(txn, name[len(RUNS) :])
                    place = run.place if run.oid is not None else None
                    wish = Wish(name, name, run, place)
                else:
                    tag = self.refs.tag(txn, name[len(TAGS) :])
                    wish = Wish(name, name, tag, self.odb.locate(txn, tag.oid))
                if wish.place is not None:
                    wish.reach = ancestry.reach(self.odb, txn, [wish.place])
                found.append(wish)
            self._sending.find_attachments(txn, found)
        return found

    def _look(self, wishes: list[Wish], deleted: Sequence[str]) -> None:
        """Find out how each ref stands at the remote, and what is to be done."""
        names = [*(wish.there for wish in wishes), *deleted]
        seen: dict[str, SeenRef] = {}
        if self.connection.exists:
            seen = self.connection.read_refs(names, self._sending.known)
        refused = []
        for wish in wishes:
            self._decide(wish, seen.get(wish.there))
            if wish.what == "refused":
                refused.append(wish)
        for name in deleted:
            if name not in seen or seen[name].ref.deleted:
                raise NotFound(f"'{self.connection.shown}' has no '{name}'", name=name)
            self._sending.others[name] = seen[name]
        if refused:
            raise self._refusal(refused)

    def _refusal(self, refused: list[Wish]) -> Conflict:
        wish = refused[0]
        short = wish.there[5:]
        if wish.there in self.leases:
            why = "is not at the state that was given; fetch it and look at it first"
        elif self.force:
            why = "moved since it was last fetched; fetch it and look at it first"
        elif wish.there.startswith(TAGS):
            what = "annotation" if wish.shown_old == wish.ref.oid else "state"
            why = f"has another {what} there; delete it there first (--delete)"
        elif wish.base is None:
            why = "has states there that are not here; pull it first"
        else:
            why = "has other states there; pull it, or replace it with --force-with-lease"
        more = f" ({len(refused) - 1} more like it)" if len(refused) > 1 else ""
        return Conflict(
            f"push refused: '{short}' {why}{more}", names=[each.there for each in refused]
        )

    def _decide(self, wish: Wish, seen: SeenRef | None) -> None:
        """Set what is to be done for a ref, given how it is at the remote."""
        self._decide_freely(wish, seen)
        is_stale = wish.there in self.leases and self.leases[wish.there] != wish.shown_old
        if is_stale and wish.what != "unchanged":
            wish.what = "refused"

    def _decide_freely(self, wish: Wish, seen: SeenRef | None) -> None:
        wish.seen, wish.base, wish.shown_old = seen, None, None
        if seen is None or seen.ref.deleted:
            wish.what = "new"
            return
        old = wish.shown_old = seen.ref.oid
        with self.odb.read() as txn:
            place = None if old is None else self.odb.states.locate(txn, old)
            wish.base = place
            is_tag = wish.there.startswith(TAGS)
            if old == wish.ref.oid:
                wish.what = "refused" if is_tag and not self._same(wish) else "unchanged"
            elif old is None:
                wish.what = "forward"
            elif is_tag:
                wish.what = "refused"
            elif place is not None and wish.reach.get(place.line, -1) >= place.step:
                wish.what = "forward"
            elif (
                place is not None
                and wish.place is not None
                and (ancestry.is_ancestor(self.odb, txn, wish.place, place))
            ):
                wish.what = "behind"
            else:
                wish.what = "refused"
            if wish.what in ("refused", "behind") and self._is_forced(wish):
                wish.what = "forced" if self._holds(txn, wish) else "refused"
        if wish.what == "unchanged" and (not self._same(wish) or self._sending.has_more(wish)):
            wish.what = "updated"
        can_move = self.aside and not self._is_forced(wish) and wish.name.startswith(RUNS)
        if wish.what == "refused" and can_move:
            self._move_aside(wish)

    def _is_forced(self, wish: Wish) -> bool:
        return self.force or wish.there in self.leases

    def _holds(self, txn: ReadTxn, wish: Wish) -> bool:
        """Return True if the ref at the remote is as it was last seen, or as it was said to be."""
        if wish.there in self.leases:
            return self.leases[wish.there] == wish.shown_old
        known = self._sending.cache.ref(txn, layout.key_of_ref(wish.there))
        return known is not None and wish.seen is not None and known.data == wish.seen.data

    def _same(self, wish: Wish) -> bool:
        """Return True if the remote's ref says what ours does, but for the state."""
        assert wish.seen is not None
        return fields_of(wish.ref) == dict(wish.seen.ref.fields)

    def _move_aside(self, wish: Wish) -> None:
        """Find a name at the remote for a run whose own has other states there."""
        for name in conflict_names(wish.name[len(RUNS) :]):  # endless
            wish.there = RUNS + name
            seen = self.connection.read_ref(wish.there)
            was, self.aside = self.aside, False
            try:
                self._decide(wish, seen)
            finally:
                self.aside = was
            if wish.what != "refused":
                wish.what = "aside" if wish.what in ("new", "forward", "updated") else wish.what
                return

    # --- packs ---

    def _count(self, wishes: list[Wish]) -> None:
        """Say what would be sent."""
        chosen = self._sending.select(wishes)
        self.report.states = sum(piece.stop - piece.start for piece in chosen.pieces)
        for wish in wishes:
            self._note(wish)

    def _send(self, wishes: list[Wish]) -> None:
        if not wishes:
            return
        try:
            self._sending.send(wishes)
        finally:
            made = [pack.entry for pack in self._sending.packs]
            self.report.packs = len(made)
            self.report.bytes = sum(entry.size for entry in made)
            self.report.states = sum(entry.states for entry in made)
        written: list[tuple[Wish, SeenRef]] = []
        failed: list[Exception] = []
        try:
            for wish, now in zip(wishes, self.connection.at_once(self._tried, wishes), strict=True):
                if isinstance(now, Exception):
                    failed.append(now)
                else:
                    written.append((wish, now))
        finally:
            self._remember(written)
        if failed:
            raise failed[0]

    # --- refs ---

    def _tried(self, wish: Wish) -> SeenRef | Exception:
        """Replace a ref at the remote; return it, or why it was not: others go on."""
        try:
            return self._move(wish)
        except Exception as error:
            return error

    def _move(self, wish: Wish) -> SeenRef:
        """Replace a ref at the remote; return it as it is now."""
        for tried in range(TRIES):
            ref = self._ref(wish)
            since = self._secured(ref)
            try:
                if wish.what == "forced" and wish.seen is not None:
                    self._log("forced", wish.seen)
                now = self.connection.write_ref(ref, wish.seen)
            except Conflict:
                self.connection.wait(tried)
                self._again(wish)
                if wish.what in ("unchanged", "behind"):
                    assert wish.seen is not None
                    return wish.seen
                continue
            fail_point("push.ref")
            if since() > tombs.FRESH:
                self._confirm(now, wish.seen)
            return now
        raise Conflict(
            f"'{wish.there}' of '{self.connection.shown}' moved {TRIES} times while it was pushed; "
            "push again", name=wish.there,
        )  # fmt: skip

    def _secured(self, ref: RemoteRef) -> Elapsed:
        """Return since when gc deletes nothing that a ref is about to name.

        Raises:
            Conflict: it has.
        """
        if self._sending.since() <= tombs.FRESH:
            return self._sending.since
        since = Elapsed(self._clock)
        if not self.connection.secure(ref):
            raise self._too_late()
        return since

    def _too_late(self) -> Conflict:
        return Conflict(
            f"the push took longer than an hour, and gc of '{self.connection.shown}' has deleted "
            "packs that it needs; push again"
        )

    def _confirm(self, now: SeenRef, before: SeenRef | None) -> None:
        """Look whether a ref that was replaced late names what is there; else put the old back.

        Raises:
            Conflict: it does not.
        """
        if self.connection.secure(now.ref):
            return
        old = before.ref if before else replace(
            now.ref, oid=None, fields={}, shards=(), packs=(), deleted=True
        )  # fmt: skip
        back = replace(old, seq=now.ref.seq + 1, push=os.urandom(16))
        again = self.connection.write_ref(back, now)
        with self.odb.write() as txn:
            self._sending.cache.set_ref(txn, back.key, again.etag, again.data)
        raise self._too_late()

    def _again(self, wish: Wish) -> None:
        """Decide anew about a ref that somebody else moved."""
        what = wish.what
        self._decide(wish, self.connection.read_ref(wish.there))
        if wish.what == "refused":
            raise self._refusal([wish])
        if what in ("forced", "aside") and wish.what in ("new", "forward"):
            wish.what = what

    def _ref(self, wish: Wish) -> RemoteRef:
        """Return a ref as it is to be at the remote."""
        seen, info = wish.seen, self.connection.info
        with self.odb.read() as txn:
            writer = foreign.identity(txn)
        ref = RemoteRef(
            wish.there, info.id, wish.ref.oid, fields_of(wish.ref),
            seq=seen.ref.seq + 1 if seen else 1, writer=writer, push=os.urandom(16),
        )  # fmt: skip
        return self._sending.with_packs(wish, ref)

    def _remember(self, written: Iterable[tuple[Wish, SeenRef]]) -> None:
        """Note here what the remote has now."""
        with self.journal.write() as txn:
            for wish, now in written:
                self._sending.cache.set_ref(txn, layout.key_of_ref(wish.there), now.etag, now.data)
                if self.remote is not None and isinstance(wish.ref, RunRef):
                    self._track(txn, wish, now)
                self._note(wish)
            for pack in self._sending.packs:
                self._sending.cache.note_pack(txn, pack.entry.name)
                for oid in pack.bindings:
                    self._sending.cache.note_binding(txn, oid, pack.entry.name)
            if written:
                self._sending.cache.forget_uploads(txn)
            fail_point("push.notes")

    def _track(self, txn: Any, wish: Wish, now: SeenRef) -> None:
        assert self.remote is not None and isinstance(wish.ref, RunRef)
        if now.ref.oid == wish.ref.oid:
            set_remote_run(txn, self.remote, wish.there[len(RUNS) :], wish.ref, "push")

    def _note(self, wish: Wish) -> None:
        states = self._sending.states_of(wish)
        new = wish.ref.oid if wish.what not in ("unchanged", "behind") else wish.shown_old
        self.report.refs[wish.name] = PushedRef(wish.what, wish.there, wish.shown_old, new, states)

    # --- deletion ---

    def _log(self, what: str, seen: SeenRef) -> bytes:
        """Note a ref that is about to be replaced; return who replaces it."""
        with self.odb.read() as txn:
            writer = foreign.identity(txn)
        tombs.log_change(self.connection.transport, what, seen.ref.key, seen.data, writer)
        return writer

    def _delete(self, name: str) -> None:
        seen = self._sending.others[name]
        writer = self._log("deleted", seen)
        gone = RemoteRef(
            name,
            self.connection.info.id,
            None,
            {},
            seq=seen.ref.seq + 1,
            writer=writer,
            deleted=True,
        )
        now = self.connection.write_ref(gone, seen)
        with self.journal.write() as txn:
            self._sending.cache.set_ref(txn, layout.key_of_ref(name), now.etag, now.data)
            short = name[len(RUNS) :]
            if (
                self.remote
                and name.startswith(RUNS)
                and has_tracking(txn, f"{self.remote}/{short}")
            ):
                delete_remote_run(txn, self.remote, short, "push: deleted")
        self.report.refs[name] = PushedRef("deleted", name, seen.ref.oid, None)
