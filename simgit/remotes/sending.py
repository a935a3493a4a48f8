"""The packs of a push: made, sent, and listed by the refs that lead to what they hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Final

from simgit.errors import Conflict, NotFound, SimgitError
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb import ancestry
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import SHALLOW, Line, missing, read_line
from simgit.refs import run_config
from simgit.refs.names import RUNS, TAGS
from simgit.refs.records import RunRef, TagRef
from simgit.refs.remote_cache import RemoteCache
from simgit.refs.remotes import remote_runs
from simgit.remotes import layout, tombs
from simgit.remotes.bundle.select import BundleSelection, select_states
from simgit.remotes.connection import Connection, SeenRef
from simgit.remotes.elapsed import Elapsed
from simgit.remotes.layout import PackEntry, RemoteRef, ShardName
from simgit.remotes.pack_parts import PackParts
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


@dataclass
class Wish:
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


class Sending:
    """The packs of one push.

    Attributes:
        since: since when gc deletes nothing that was sent or found.
        packs: the packs that were made.
        others: refs of the remote besides those that are pushed, which have states of ours.
    """

    def __init__(
        self,
        odb: ObjectDatabase,
        connection: Connection,
        progress: Progress | None,
        clock: Callable[[], float],
    ) -> None:
        """Take where to send from and to.

        Args:
            odb: the database.
            connection: the remote.
            progress: called while states are sent.
            clock: the seconds since 1970, by the clock of this machine.
        """
        self.odb = odb
        self.connection = connection
        self.progress = progress
        self.since = Elapsed(clock)
        self.packs: list[Pack] = []
        self.others: dict[str, SeenRef] = {}
        self._clock = clock
        self._sending: list[Future[None]] = []
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

    @property
    def cache(self) -> RemoteCache:
        """The notes on the remote."""
        return RemoteCache(self.connection.info.id)

    def known(self, key: str) -> tuple[str, bytes] | None:
        """Return ETag and bytes of a ref of the remote as it was last seen."""
        with self.odb.read() as txn:  # of its own: threads ask, and they wait for the network
            return self.cache.ref(txn, key)

    # --- what the remote lacks ---

    def find_attachments(self, txn: ReadTxn, wishes: Sequence[Wish]) -> None:
        """Find the attachments of the states that refs lead to."""
        lines = {line for wish in wishes for line in wish.reach}
        for key, oid in txn.scan("attachments"):
            at = self.odb.states.locate(txn, key[:OID_SIZE])
            if at is not None and at.line in lines:
                self._attachments.setdefault(at.line, []).append((at.step, oid))

    def has_more(self, wish: Wish) -> bool:
        """Return True if states of a ref have attachments that the ref at the remote lacks."""
        assert wish.seen is not None
        with self.odb.read() as txn:
            packs = {tuple(self.cache.packs_of(txn, oid)) for oid in self._attached(wish)}
        there = {entry.name for entry in wish.seen.ref.packs}
        packs = {each for each in packs if there.isdisjoint(each)}
        if not packs or () in packs:
            return bool(packs)
        there = {entry.name for entry in self.connection.entries(wish.seen.ref)}
        return any(there.isdisjoint(each) for each in packs)

    def _attached(self, wish: Wish) -> list[bytes]:
        """Return the attachments of the states of a ref."""
        return [
            oid
            for line, last in wish.reach.items()
            for step, oid in self._attachments.get(line, ())
            if step <= last
        ]

    def select(self, wishes: Sequence[Wish]) -> BundleSelection:
        """Find out what the remote lacks, and which of its refs ours build on."""
        with self.odb.read() as txn:
            bases = [wish.base for wish in wishes if wish.base is not None]
            known = ancestry.reach(self.odb, txn, bases)
            others = self._other_bases(txn, wishes, known)
        now = self.connection.read_refs(others, self.known) if others else {}
        with self.odb.read() as txn:
            for name, seen in now.items():
                places = self._led_to(txn, seen.ref)
                if places:
                    self.others[name] = seen
                    bases += places
            own = [w.seen for w in wishes if w.seen is not None and w.base is not None]
            for seen in own:
                bases += self._led_to(txn, seen.ref)
            for seen in (*own, *self.others.values()):
                places = self._led_to(txn, seen.ref)
                if places:
                    self._bases.append((seen, ancestry.reach(self.odb, txn, places)))
        for number in range(len(self._bases)):
            self._list_base(number)
        runs = {w.name[len(RUNS) :]: w.ref for w in wishes if isinstance(w.ref, RunRef)}
        tags = {w.name[len(TAGS) :]: w.ref for w in wishes if isinstance(w.ref, TagRef)}
        with self.odb.read() as txn:
            chosen = self._chosen(txn, runs, tags, bases)
        if chosen.boundary:
            bases += self._bases_in_parts(chosen)
            with self.odb.read() as txn:
                chosen = self._chosen(txn, runs, tags, bases)
                for line in _begun(txn, chosen):
                    shown = self.connection.shown
                    raise missing(txn, line, f"push refused: '{shown}' lacks some states, and ")
        self._pieces = {piece.line: piece for piece in chosen.pieces}
        return chosen

    def _chosen(
        self,
        txn: ReadTxn,
        runs: dict[str, RunRef],
        tags: dict[str, TagRef],
        bases: Sequence[Location],
    ) -> BundleSelection:
        return select_states(
            self.odb, txn, runs, tags, bases, lambda oid: self._has_binding(txn, oid)
        )

    def _list_base(self, number: int) -> None:
        seen, reach = self._bases[number]
        for line, last in reach.items():
            self._bases_of.setdefault(line, []).append((last, number))
        for entry in self.connection.entries(seen.ref):
            self._listed.setdefault(entry.name, number)

    def _bases_in_parts(self, chosen: BundleSelection) -> list[Location]:
        """Return states of shallow histories that the remote has, by the tables of its packs.

        Such a history may have come from the middle of a run, whose newest state is not here.
        """
        with self.odb.read() as txn:
            begun = {line.id for line in _begun(txn, chosen)}
            names = {
                RUNS + name
                for _, name, ref in remote_runs(txn)
                if ref.oid is not None and begun & ancestry.reach(self.odb, txn, [ref.place]).keys()
            }
        found: list[Location] = []
        for seen in self.connection.read_refs(sorted(names), self.known).values():
            places = [] if seen.ref.oid is None else self._newest_in_packs(seen, begun)
            if places:
                with self.odb.read() as txn:
                    self._bases.append((seen, ancestry.reach(self.odb, txn, places)))
                self._list_base(len(self._bases) - 1)
                found += places
        return found

    def _newest_in_packs(self, seen: SeenRef, begun: set[int]) -> list[Location]:
        """Return for each of some lines the newest state that ends a record of a ref's packs."""
        newest: dict[int, Location] = {}
        with self.odb.read() as txn:
            first = min(read_line(txn, number).step for number in begun)
        for entry in self.connection.entries(seen.ref):
            if all(each.last < first for each in entry.stretches):
                continue
            lines = PackParts(self.connection, entry).lines
            with self.odb.read() as txn:
                for each in lines:
                    at = self.odb.states.locate(txn, each.last) if each.states else None
                    if at is not None and at.line in begun:
                        newest[at.line] = max(at, newest.get(at.line, at))
        return list(newest.values())

    def _led_to(self, txn: ReadTxn, ref: RemoteRef) -> list[Location]:
        """Return a ref's state, if it is here, and where its run and those above branched off.

        In a shallow history the first need not lead to the others.
        """
        place = None if ref.oid is None else self.odb.states.locate(txn, ref.oid)
        if place is None:
            return []
        found = [place]
        if txn.get("meta", SHALLOW) is not None and ref.fields.get("record") is not None:
            with suppress(NotFound):  # a record that gc removed here
                for record in run_config.ancestors(self.odb, txn, ref.fields["record"]):
                    if record.branch_point is not None:
                        at = self.odb.states.locate(txn, record.branch_point)
                        found += [] if at is None else [at]
        return found

    def _has_binding(self, txn: ReadTxn, oid: bytes) -> bool:
        """Return True if a pack that a ref of the remote names has an attachment."""
        return self.connection.exists and any(
            pack in self._listed for pack in self.cache.packs_of(txn, oid)
        )

    def _other_bases(
        self, txn: ReadTxn, wishes: Sequence[Wish], known: dict[int, int]
    ) -> list[str]:
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
        for key, cached in self.cache.refs(txn):
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

    def _has_records(self, wishes: Sequence[Wish]) -> set[str]:
        """Return the names of the refs whose records the remote has already."""
        return {
            wish.name
            for wish in wishes
            if wish.seen is not None
            and (wish.base is not None or wish.shown_old is None)
            and not wish.seen.ref.deleted
            and wish.what != "forced"
            and _record(wish.seen.ref) == fields_of(wish.ref).get(_record_field(wish.ref))
        }

    def states_of(self, wish: Wish) -> int:
        """Return how many states of a ref's history are sent."""
        sent = (self._pieces[line] for line in wish.reach if line in self._pieces)
        return sum(max(0, min(p.stop, wish.reach[p.line] + 1) - p.start) for p in sent)

    # --- packs ---

    def send(self, wishes: Sequence[Wish]) -> None:
        """Send all that the remote lacks of some refs."""
        chosen = self.select(wishes)
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
            for pack in self.packs:
                if not pack.file.closed:
                    _settle(self._sending)
                    pack.file.close()
        fail_point("push.packs")
        self._index_packs()

    def _take(self, pack: Pack) -> None:
        """Send a pack, beside others; what it holds is made meanwhile."""
        self.packs.append(pack)
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
                sent = self.cache.uploaded(txn, name)
            before = math.inf if sent is None else self._clock() - sent / 10**9
            if 0 <= before < tombs.FRESH:
                if before > self.since():
                    self.since.restart(before)
            else:
                key, whole = layout.key_of_pack(name), pack.entry.size <= _WHOLE
                now = self._clock()
                tombs.put_named(transport, key, file.read() if whole else file)
                with self.odb.write() as txn:
                    self.cache.note_upload(txn, name, int(now * 10**9))
                fail_point("push.pack")
        if self.progress is not None:
            self.progress(sum(p.entry.states for p in self.packs if p.file.closed), self._total)

    def _index_packs(self) -> None:
        """Note in which packs lines and records are: refs may be many, and so may packs."""
        for number, pack in enumerate(self.packs):
            self._numbers[pack.entry.name] = number
            for name in pack.records:
                self._of_records.setdefault(name, []).append(number)
            for each in pack.ranges:
                self._of_lines.setdefault(each.line, []).append((each.start, number))

    # --- what refs list ---

    def with_packs(self, wish: Wish, ref: RemoteRef) -> RemoteRef:
        """Return a ref that lists the packs with all that it leads to.

        Raises:
            Conflict: some of them have left the remote.
        """
        seen, new = wish.seen, self._new_packs(wish)
        keeps = (
            seen is not None
            and not seen.ref.deleted
            and wish.what != "forced"  # what it does not need any more is left to gc
            and (wish.base is not None or seen.ref.oid is None)  # it may have its run's record
        )
        bases = self._cover(wish, new, keeps)
        first = seen.ref if keeps and seen else bases.pop(0).ref if bases else None
        if first is not None:
            ref = replace(ref, shards=first.shards, packs=first.packs)
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

    def _cover(self, wish: Wish, new: list[Pack], keeps: bool) -> list[SeenRef]:
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

    def _cover_attachments(self, wish: Wish, found: list[SeenRef], keeps: bool) -> list[SeenRef]:
        """Return these refs, and those that have packs with attachments of the ref's states."""
        with self.odb.read() as txn:
            packs = {tuple(self.cache.packs_of(txn, oid)) for oid in self._attached(wish)}
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

    def _new_packs(self, wish: Wish) -> list[Pack]:
        """Return the packs of this push that a ref needs."""
        needed: set[int] = set()
        todo = [*self._of_records.get(wish.name, ())]
        for line, last in wish.reach.items():
            todo += [number for start, number in self._of_lines.get(line, ()) if start <= last]
        while todo:
            number = todo.pop()
            if number not in needed:
                needed.add(number)
                todo += (self._numbers[name] for name in self.packs[number].entry.after)
        return [self.packs[number] for number in sorted(needed)]


def _begun(txn: ReadTxn, chosen: BundleSelection) -> list[Line]:
    """Return the lines to be sent from where a shallow history begins."""
    lines = [(read_line(txn, piece.line), piece) for piece in chosen.pieces]
    return [line for line, piece in lines if line.grafted and line.step == piece.start]


def fields_of(ref: RunRef | TagRef) -> dict[str, Any]:
    """Return what a ref at the remote says of a run or tag besides its state."""
    if isinstance(ref, TagRef):
        return {"tag": ref.tag}
    return {
        "record": ref.record, "status": ref.shown_status, "created": ref.created,
        "ended": ref.ended, "parent": ref.parent,
    }  # fmt: skip


def _record_field(ref: RunRef | TagRef) -> str:
    return "record" if isinstance(ref, RunRef) else "tag"


def _record(ref: RemoteRef) -> Oid | None:
    return ref.fields.get("record" if ref.name.startswith(RUNS) else "tag")


def _settle(sending: Iterable[Future[None]]) -> None:
    for each in sending:
        if not each.cancelled():
            each.exception()
