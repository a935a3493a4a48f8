"""Pushing: packs, then shards, then refs, so that nothing that is named is ever missing."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Final

from simgit.errors import Conflict, IntegrityError, NotFound, SimgitError
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb import ancestry, foreign
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import read_line
from simgit.refs.names import RUNS, TAGS, conflict_names
from simgit.refs.records import RunRef, TagRef
from simgit.refs.refs import Refs
from simgit.refs.remote_cache import RemoteCache
from simgit.refs.remotes import delete_remote_run, has_tracking, set_remote_run
from simgit.remotes import layout, tombs
from simgit.remotes.bundle.select import BundleSelection, select_states
from simgit.remotes.connection import TRIES, Connection, SeenRef
from simgit.remotes.elapsed import Elapsed
from simgit.remotes.layout import PackEntry, RemoteRef, ShardName
from simgit.remotes.packs import Pack, Packing
from simgit.storage.base import ReadTxn
from simgit.storage.failpoints import fail_point

_MOST_BASES: Final = 64
_IN_FLIGHT: Final = 4
"""The most packs that are being sent."""
_WHOLE: Final = 32 << 20
"""The bytes of a pack from which it is sent in parts."""
Progress = Callable[[int, int | None], object]
"""A function called with the number of states sent so far, and of all."""


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


@dataclass
class _Wish:
    """A ref that is to be pushed."""

    name: str  # its full name here
    there: str  # its full name at the remote
    ref: RunRef | TagRef
    place: Location | None
    what: str = ""
    seen: SeenRef | None = None
    shown_old: Oid | None = None
    reach: dict[int, int] = field(default_factory=dict)
    base: Location | None = None  # of the state that the remote's ref has, if that is here


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
        self.progress = progress
        self.report = PushReport(is_dry_run=dry_run)
        self._clock = clock
        self._since = Elapsed(clock)
        self._packs: list[Pack] = []
        self._sending: list[Future[None]] = []
        self._others: dict[str, SeenRef] = {}  # refs of the remote that ours build on
        self._bases: list[tuple[SeenRef, dict[int, int]]] = []  # with what they lead to
        self._bases_of: dict[int, list[tuple[int, int]]] = {}  # last steps and numbers, by line
        self._listed: dict[bytes, int] = {}  # the packs of bases, each with the first that has it
        self._pieces: dict[int, ancestry.LineRange] = {}  # the states that are sent, by line
        self._attachments: dict[int, list[tuple[int, bytes]]] = {}  # by line, with their steps
        self._numbers: dict[bytes, int] = {}  # of packs that are sent, by their names
        self._of_records: dict[str, list[int]] = {}  # numbers of packs, by full names of refs
        self._of_lines: dict[int, list[tuple[int, int]]] = {}  # first steps and numbers, by line
        self._total = 0
        self._shards: dict[tuple[int, tuple[PackEntry, ...]], Future[ShardName]] = {}
        self._shards_lock = Lock()

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
            if self._since() <= tombs.FRESH:
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

    def _wishes(self, names: Sequence[str]) -> list[_Wish]:
        found = []
        with self.odb.read() as txn:
            for name in dict.fromkeys(names):
                if name.startswith(RUNS):
                    run = self.refs.run(txn, name[len(RUNS) :])
                    place = run.place if run.oid is not None else None
                    wish = _Wish(name, name, run, place)
                else:
                    tag = self.refs.tag(txn, name[len(TAGS) :])
                    wish = _Wish(name, name, tag, self.odb.locate(txn, tag.oid))
                if wish.place is not None:
                    wish.reach = ancestry.reach(self.odb, txn, [wish.place])
                found.append(wish)
            lines = {line for wish in found for line in wish.reach}
            for key, oid in txn.scan("attachments"):
                at = self.odb.states.locate(txn, key[:OID_SIZE])
                if at is not None and at.line in lines:
                    self._attachments.setdefault(at.line, []).append((at.step, oid))
        return found

    @property
    def _cache(self) -> RemoteCache:
        return RemoteCache(self.connection.info.id)

    def _known(self, key: str) -> tuple[str, bytes] | None:
        with self.odb.read() as txn:  # of its own: threads ask, and they wait for the network
            return self._cache.ref(txn, key)

    def _look(self, wishes: list[_Wish], deleted: Sequence[str]) -> None:
        """Find out how each ref stands at the remote, and what is to be done."""
        names = [*(wish.there for wish in wishes), *deleted]
        seen: dict[str, SeenRef] = {}
        if self.connection.exists:
            seen = self.connection.read_refs(names, self._known)
        refused = []
        for wish in wishes:
            self._decide(wish, seen.get(wish.there))
            if wish.what == "refused":
                refused.append(wish)
        for name in deleted:
            if name not in seen or seen[name].ref.deleted:
                raise NotFound(f"'{self.connection.shown}' has no '{name}'", name=name)
            self._others[name] = seen[name]
        if refused:
            raise self._refusal(refused)

    def _refusal(self, refused: list[_Wish]) -> Conflict:
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

    def _decide(self, wish: _Wish, seen: SeenRef | None) -> None:
        """Set what is to be done for a ref, given how it is at the remote."""
        self._decide_freely(wish, seen)
        is_stale = wish.there in self.leases and self.leases[wish.there] != wish.shown_old
        if is_stale and wish.what != "unchanged":
            wish.what = "refused"

    def _decide_freely(self, wish: _Wish, seen: SeenRef | None) -> None:
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
        if wish.what == "unchanged" and (not self._same(wish) or self._has_more(wish)):
            wish.what = "updated"
        can_move = self.aside and not self._is_forced(wish) and wish.name.startswith(RUNS)
        if wish.what == "refused" and can_move:
            self._move_aside(wish)

    def _is_forced(self, wish: _Wish) -> bool:
        return self.force or wish.there in self.leases

    def _holds(self, txn: ReadTxn, wish: _Wish) -> bool:
        """Return True if the ref at the remote is as it was last seen, or as it was said to be."""
        if wish.there in self.leases:
            return self.leases[wish.there] == wish.shown_old
        known = self._cache.ref(txn, layout.key_of_ref(wish.there))
        return known is not None and wish.seen is not None and known.data == wish.seen.data

    def _same(self, wish: _Wish) -> bool:
        """Return True if the remote's ref says what ours does, but for the state."""
        assert wish.seen is not None
        return self._fields(wish.ref) == dict(wish.seen.ref.fields)

    def _has_more(self, wish: _Wish) -> bool:
        """Return True if states of a ref have attachments that the ref at the remote lacks."""
        assert wish.seen is not None
        with self.odb.read() as txn:
            packs = {tuple(self._cache.packs_of(txn, oid)) for oid in self._attached(wish)}
        there = {entry.name for entry in wish.seen.ref.packs}
        packs = {each for each in packs if there.isdisjoint(each)}
        if not packs or () in packs:
            return bool(packs)
        there = {entry.name for entry in self.connection.entries(wish.seen.ref)}
        return any(there.isdisjoint(each) for each in packs)

    def _attached(self, wish: _Wish) -> list[bytes]:
        """Return the attachments of the states of a ref."""
        return [
            oid
            for line, last in wish.reach.items()
            for step, oid in self._attachments.get(line, ())
            if step <= last
        ]

    def _move_aside(self, wish: _Wish) -> None:
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

    @staticmethod
    def _fields(ref: RunRef | TagRef) -> dict[str, Any]:
        if isinstance(ref, TagRef):
            return {"tag": ref.tag}
        return {
            "record": ref.record, "status": ref.shown_status, "created": ref.created,
            "ended": ref.ended, "parent": ref.parent,
        }  # fmt: skip

    # --- packs ---

    def _select(self, wishes: list[_Wish]) -> BundleSelection:
        """Find out what the remote lacks, and which of its refs ours build on."""
        with self.odb.read() as txn:
            bases = [wish.base for wish in wishes if wish.base is not None]
            known = ancestry.reach(self.odb, txn, bases)
            others = self._other_bases(txn, wishes, known)
        now = self.connection.read_refs(others, self._known) if others else {}
        with self.odb.read() as txn:
            for name, seen in now.items():
                place = None if seen.ref.oid is None else self.odb.states.locate(txn, seen.ref.oid)
                if place is not None:
                    self._others[name] = seen
                    bases.append(place)
            own = [w.seen for w in wishes if w.seen is not None and w.base is not None]
            for seen in (*own, *self._others.values()):
                place = None if seen.ref.oid is None else self.odb.states.locate(txn, seen.ref.oid)
                if place is not None:
                    self._bases.append((seen, ancestry.reach(self.odb, txn, [place])))
        for number, (seen, reach) in enumerate(self._bases):
            for line, last in reach.items():
                self._bases_of.setdefault(line, []).append((last, number))
            for entry in self.connection.entries(seen.ref):
                self._listed.setdefault(entry.name, number)
        runs = {w.name[len(RUNS) :]: w.ref for w in wishes if isinstance(w.ref, RunRef)}
        tags = {w.name[len(TAGS) :]: w.ref for w in wishes if isinstance(w.ref, TagRef)}
        with self.odb.read() as txn:
            chosen = select_states(
                self.odb, txn, runs, tags, bases, lambda oid: self._has_binding(txn, oid)
            )
        self._pieces = {piece.line: piece for piece in chosen.pieces}
        return chosen

    def _has_binding(self, txn: ReadTxn, oid: bytes) -> bool:
        """Return True if a pack that a ref of the remote names has an attachment."""
        return self.connection.exists and any(
            pack in self._listed for pack in self._cache.packs_of(txn, oid)
        )

    def _other_bases(self, txn: ReadTxn, wishes: list[_Wish], known: dict[int, int]) -> list[str]:
        """Return the names of other refs of the remote that ours build on, by what is known here.

        They are looked for only where a whole line of states is missing there: a run that goes on
        from what it pushed needs none.
        """
        lacking = {
            line: step for wish in wishes for line, step in wish.reach.items() if line not in known
        }
        if not lacking or not self.connection.exists:
            return []
        mine = {wish.there for wish in wishes}
        found: list[tuple[str, Location]] = []
        for key, cached in self._cache.refs(txn):
            try:
                name = layout.ref_of_key(key)
                ref = RemoteRef.decode(cached.data, name, self.connection.info.id)
            except SimgitError:  # what is known is only a hint
                continue
            place = None if ref.oid is None else self.odb.states.locate(txn, ref.oid)
            if name not in mine and place is not None:
                found.append((name, place))
        chosen: list[str] = []
        for name, place in sorted(found, key=lambda each: -each[1].step):
            gain = [line for line in ancestry.reach(self.odb, txn, [place]) if line in lacking]
            if gain and len(chosen) < _MOST_BASES:
                chosen.append(name)
                for line in gain:
                    del lacking[line]
        return chosen

    def _count(self, wishes: list[_Wish]) -> None:
        """Say what would be sent."""
        chosen = self._select(wishes)
        self.report.states = sum(piece.stop - piece.start for piece in chosen.pieces)
        for wish in wishes:
            self._note(wish)

    def _send(self, wishes: list[_Wish]) -> None:
        if not wishes:
            return
        chosen = self._select(wishes)
        self._total = sum(piece.stop - piece.start for piece in chosen.pieces)
        packing = Packing(
            self.odb, chosen, self._take, self._has_binding, self._has_records(wishes)
        )
        try:
            packing.pack_all()
            for sent in self._sending:
                sent.result()
        finally:
            for sent in self._sending:
                sent.cancel()
            for pack in self._packs:
                if not pack.file.closed:
                    _settle(self._sending)
                    pack.file.close()
        fail_point("push.packs")
        self._index_packs()
        written: list[tuple[_Wish, SeenRef]] = []
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

    def _has_records(self, wishes: list[_Wish]) -> set[str]:
        """Return the names of the refs whose records the remote has already."""
        return {
            wish.name
            for wish in wishes
            if wish.seen is not None
            and (wish.base is not None or wish.shown_old is None)
            and not wish.seen.ref.deleted
            and wish.what != "forced"
            and _record(wish.seen.ref) == self._fields(wish.ref).get(_record_field(wish.ref))
        }

    def _take(self, pack: Pack) -> None:
        """Send a pack, beside others; what it holds is made meanwhile."""
        self._packs.append(pack)
        self.report.packs += 1
        self.report.bytes += pack.entry.size
        self.report.states += pack.entry.states
        while sum(not each.done() for each in self._sending) >= _IN_FLIGHT:
            next(each for each in self._sending if not each.done()).result()
        for each in self._sending:
            if each.done():
                each.result()  # raises what it raised
        self._sending.append(self.connection.pool.submit(self._upload, pack))

    def _upload(self, pack: Pack) -> None:
        with pack.file as file:
            name, transport = pack.entry.name, self.connection.transport
            with self.odb.read() as txn:
                sent = self._cache.uploaded(txn, name)
            before = math.inf if sent is None else self._clock() - sent / 10**9
            if 0 <= before < tombs.FRESH:
                if before > self._since():
                    self._since.restart(before)
            else:
                key, whole = layout.key_of_pack(name), pack.entry.size <= _WHOLE
                now = self._clock()
                tombs.put_named(transport, key, file.read() if whole else file)
                with self.odb.write() as txn:
                    self._cache.note_upload(txn, name, int(now * 10**9))
                fail_point("push.pack")
        if self.progress is not None:
            self.progress(sum(p.entry.states for p in self._packs if p.file.closed), self._total)

    # --- refs ---

    def _tried(self, wish: _Wish) -> SeenRef | Exception:
        """Replace a ref at the remote; return it, or why it was not: others go on."""
        try:
            return self._move(wish)
        except Exception as error:
            return error

    def _move(self, wish: _Wish) -> SeenRef:
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
        if self._since() <= tombs.FRESH:
            return self._since
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
            self._cache.set_ref(txn, back.key, again.etag, again.data)
        raise self._too_late()

    def _again(self, wish: _Wish) -> None:
        """Decide anew about a ref that somebody else moved."""
        what = wish.what
        self._decide(wish, self.connection.read_ref(wish.there))
        if wish.what == "refused":
            raise self._refusal([wish])
        if what in ("forced", "aside") and wish.what in ("new", "forward"):
            wish.what = what

    def _ref(self, wish: _Wish) -> RemoteRef:
        """Return a ref as it is to be at the remote."""
        seen, info = wish.seen, self.connection.info
        with self.odb.read() as txn:
            writer = foreign.identity(txn)
        new = self._new_packs(wish)
        keeps = (
            seen is not None
            and not seen.ref.deleted
            and wish.what != "forced"  # what it does not need any more is left to gc
            and (wish.base is not None or seen.ref.oid is None)  # it may have its run's record
        )
        bases = self._cover(wish, new, keeps)
        first = seen.ref if keeps and seen else bases.pop(0).ref if bases else None
        ref = RemoteRef(
            wish.there, info.id, wish.ref.oid, self._fields(wish.ref),
            first.shards if first else (), first.packs if first else (),
            seen.ref.seq + 1 if seen else 1, writer, os.urandom(16),
        )  # fmt: skip
        more: dict[bytes, PackEntry] = {}
        if bases or new:
            have = {entry.name for entry in (self.connection.entries(ref) if bases else ref.packs)}
            for other in bases:
                more |= {entry.name: entry for entry in self.connection.entries(other.ref)}
            more |= {pack.entry.name: pack.entry for pack in new}
            for name in have & set(more):
                del more[name]
        return layout.with_packs(ref, more.values(), self.connection.read_shard, self._write_shard)

    def _write_shard(self, level: int, entries: Sequence[PackEntry]) -> ShardName:
        """Store a shard, once for all refs of this push that name it; return its name."""
        key = level, tuple(entries)
        with self._shards_lock:
            is_first = key not in self._shards
            writing = self._shards.setdefault(key, Future())
        if is_first:
            try:
                writing.set_result(self.connection.write_shard(level, entries))
            except BaseException as error:
                writing.set_exception(error)
        return writing.result()

    def _cover(self, wish: _Wish, new: list[Pack], keeps: bool) -> list[SeenRef]:
        """Return refs of the remote whose packs have what a ref needs besides its own and new ones.

        Raises:
            Conflict: none has them any more.
        """
        with self.odb.read() as txn:
            own = ancestry.reach(self.odb, txn, [wish.base]) if keeps and wish.base else {}
        needs = dict(wish.reach)
        for pack in new:
            for line, step in pack.needs.items():
                needs[line] = max(needs.get(line, -1), step)
        sent = self._pieces
        lacking = {
            line: min(step, sent[line].start - 1) if line in sent else step
            for line, step in needs.items()
        }
        lacking = {line: step for line, step in lacking.items() if own.get(line, -1) < step}
        lacking = {line: step for line, step in lacking.items() if step >= self._first(line)}
        found = []
        while lacking:
            gains: Counter[int] = Counter()
            for line, step in lacking.items():
                gains.update(i for last, i in self._bases_of.get(line, ()) if last >= step)
            best = max(gains, key=lambda i: (gains[i], -i), default=None)
            if best is None:
                raise Conflict(f"'{wish.there}' builds on states that left the remote; push again")
            seen, reach = self._bases[best]
            found.append(seen)
            lacking = {n: step for n, step in lacking.items() if reach.get(n, -1) < step}
        return self._cover_attachments(wish, found, keeps)

    def _cover_attachments(self, wish: _Wish, found: list[SeenRef], keeps: bool) -> list[SeenRef]:
        """Return these refs, and those that have packs with attachments of the ref's states."""
        with self.odb.read() as txn:
            packs = {tuple(self._cache.packs_of(txn, oid)) for oid in self._attached(wish)}
        there = {
            entry.name
            for seen in ([wish.seen] if keeps and wish.seen else []) + found
            for entry in self.connection.entries(seen.ref)
        }
        for each in sorted(packs):
            have = [self._listed[pack] for pack in each if pack in self._listed]
            if have and there.isdisjoint(each):
                seen, _ = self._bases[min(have)]
                found.append(seen)
                there |= {entry.name for entry in self.connection.entries(seen.ref)}
        return found

    def _first(self, line: int) -> int:
        with self.odb.read() as txn:
            return read_line(txn, line).step

    def _new_packs(self, wish: _Wish) -> list[Pack]:
        """Return the packs of this push that a ref needs."""
        needed: set[int] = set()
        todo = [*self._of_records.get(wish.name, ())]
        for line, last in wish.reach.items():
            todo += [number for start, number in self._of_lines.get(line, ()) if start <= last]
        while todo:
            number = todo.pop()
            if number not in needed:
                needed.add(number)
                todo += (self._numbers[name] for name in self._packs[number].entry.after)
        return [self._packs[number] for number in sorted(needed)]

    def _index_packs(self) -> None:
        """Note in which packs lines and records are: refs may be many, and so may packs."""
        for number, pack in enumerate(self._packs):
            self._numbers[pack.entry.name] = number
            for name in pack.records:
                self._of_records.setdefault(name, []).append(number)
            for each in pack.ranges:
                self._of_lines.setdefault(each.line, []).append((each.start, number))

    def _remember(self, written: Iterable[tuple[_Wish, SeenRef]]) -> None:
        """Note here what the remote has now."""
        with self.journal.write() as txn:
            for wish, now in written:
                self._cache.set_ref(txn, layout.key_of_ref(wish.there), now.etag, now.data)
                if self.remote is not None and isinstance(wish.ref, RunRef):
                    self._track(txn, wish, now)
                self._note(wish)
            for pack in self._packs:
                self._cache.note_pack(txn, pack.entry.name)
                for oid in pack.bindings:
                    self._cache.note_binding(txn, oid, pack.entry.name)
            if written:
                self._cache.forget_uploads(txn)
            fail_point("push.notes")

    def _track(self, txn: Any, wish: _Wish, now: SeenRef) -> None:
        assert self.remote is not None and isinstance(wish.ref, RunRef)
        if now.ref.oid == wish.ref.oid:
            set_remote_run(txn, self.remote, wish.there[len(RUNS) :], wish.ref, "push")

    def _note(self, wish: _Wish) -> None:
        sent = (self._pieces[line] for line in wish.reach if line in self._pieces)
        states = sum(max(0, min(p.stop, wish.reach[p.line] + 1) - p.start) for p in sent)
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
        seen = self._others[name]
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
            self._cache.set_ref(txn, layout.key_of_ref(name), now.etag, now.data)
            short = name[len(RUNS) :]
            if (
                self.remote
                and name.startswith(RUNS)
                and has_tracking(txn, f"{self.remote}/{short}")
            ):
                delete_remote_run(txn, self.remote, short, "push: deleted")
        self.report.refs[name] = PushedRef("deleted", name, seen.ref.oid, None)


def _record_field(ref: RunRef | TagRef) -> str:
    return "record" if isinstance(ref, RunRef) else "tag"


def _record(ref: RemoteRef) -> Oid | None:
    return ref.fields.get("record" if ref.name.startswith(RUNS) else "tag")


def _settle(sending: Iterable[Future[None]]) -> None:
    for each in sending:
        if not each.cancelled():
            each.exception()
