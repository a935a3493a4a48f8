"""The plan of a gc: the objects to remove, decided in one snapshot.

Two marks decide. The first starts from the roots (refs, reflogs and others) and finds the
unreachable objects, and since when they are. The second starts also from those whose grace period
is not over: what a kept object refers to is kept with it, whatever the clock says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from simgit.maintenance.gc.mark import Marker, Marks
from simgit.maintenance.gc.roots import line_ends, root_oids, root_runs
from simgit.objects.oid import OID_SIZE
from simgit.odb import unreachable as pending
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.header import Header, decode_header, segment_key
from simgit.odb.segments.truncate import dead_arrays, line_groups
from simgit.odb.unreachable import Since
from simgit.refs.oplog.log import Read
from simgit.refs.records import RunRef
from simgit.refs.refs import Refs
from simgit.storage.base import ReadTxn, WriteTxn

DAY: Final = 24 * 3600 * 10**9
REWRITTEN: Final = 8
"""The number of removable states of a line from which on one segment is rewritten."""
KEPT_GROUPS: Final = 1024
"""The number of removable array groups whose oids are cached: some 100 000 arrays."""
IN_FLIGHT: Final = DAY
"""The least grace period, in nanoseconds, of objects written ahead of those that refer to them."""


@dataclass(frozen=True)
class Window:
    """The current time, and the grace period of unreachable objects, in nanoseconds.

    A segment of which less than ``rewrite`` percent could be removed is kept as it is. Of each
    line at most about ``most`` states are removed at once, whole segments of them if they are
    large.
    """

    now: int
    grace: int
    rewrite: int = 0
    most: int | None = None

    def is_over(self, since: Since) -> bool:
        """Return True if a grace period is over."""
        return not since.in_flight and self.now - since.time >= self.grace

    def end(self, since: Since) -> int:
        """Return the earliest end of a grace period, in nanoseconds since 1970."""
        return since.time + self.grace + (IN_FLIGHT if since.in_flight else 0)

    def seen(self, since: Since) -> Since:
        """Return the time since which an object that is unreachable now has been so."""
        if since.in_flight and self.now - since.time >= IN_FLIGHT:
            return Since(self.now)  # until now an object may have referred to it
        # a time in the future comes from a clock that was wrong
        return since._replace(time=min(since.time, self.now))


@dataclass
class GcPlan:
    """The objects to remove.

    Attributes:
        pending: all unreachable objects, by their key in the table, with times.
        cuts: lines with the step from which on states are removed, and the step after the last.
        attachments: for each of these lines the attachments of those states.
        objects: loose objects with their kinds, referring ones before those that they refer to.
        chunks: chunks that only those objects need.
        moved: arrays that kept states need, but that are stored with removed states.
        rebased: kept arrays that are stored as deltas to removed arrays.
        arrays: for each of these lines the number of arrays that are removed with those states.
    """

    pending: dict[bytes, Since] = field(default_factory=dict)
    cuts: dict[int, tuple[int, int]] = field(default_factory=dict)
    attachments: dict[int, list[bytes]] = field(default_factory=dict)
    objects: dict[bytes, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    moved: list[bytes] = field(default_factory=list)
    rebased: list[bytes] = field(default_factory=list)
    arrays: dict[int, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to remove."""
        return not (self.cuts or self.objects or self.chunks)


class Planner:
    """A maker of plans for one store, with a cache of the links that it has read.

    Attributes:
        more_roots: objects to keep besides those reachable from the roots.
    """

    def __init__(self, odb: ObjectDatabase, refs: Refs) -> None:
        self.odb = odb
        self.refs = refs
        self.marker = Marker(odb)
        self.more_roots: list[bytes] = []
        self._logged: Read = {}
        self._runs: dict[bytes, RunRef] = {}
        self._dead: dict[bytes, list[bytes]] = {}

    @property
    def read(self) -> int:
        """The size of the cache, which grows with every object read."""
        return self.marker.read + len(self._logged) + len(self._runs) + len(self._dead)

    def plan(self, txn: ReadTxn, window: Window) -> GcPlan:
        """Return the plan.

        Raises:
            NotFound: a reachable object is missing: nothing may be removed then.
            IntegrityError: a reachable object is damaged.
            OutOfTime: the marker's deadline is over.
        """
        kinds, ends = self.odb.loose_kinds(txn), dict(self.marker.in_time(line_ends(txn)))
        live = self._live(txn, kinds, ends)
        plan = GcPlan(self._pending(txn, live, kinds, ends, window))
        places = _in_grace(plan.pending, window, ends)
        waiting = (key for key, since in plan.pending.items() if not window.is_over(since))
        oids = (key[1:] for key in waiting if key[:1] == pending.OBJECT)
        kept = self.marker.mark(txn, kinds, places, oids, live)
        while spared := list(_spared(txn, _cuts(kept, ends), window)):
            kept = self.marker.mark(txn, kinds, spared, (), kept)
        plan.cuts = _cuts(kept, ends)
        self._plan_attachments(txn, plan, kept)
        needed = kept.objects | self._plan_arrays(txn, plan, kept, kinds)
        self._plan_objects(txn, plan, kinds, needed)
        self._plan_chunks(txn, plan, kinds, needed, window)
        return plan

    def pending(self, txn: ReadTxn, window: Window) -> dict[bytes, Since]:
        """Return the unreachable objects by their key in the table, with times."""
        kinds, ends = self.odb.loose_kinds(txn), dict(self.marker.in_time(line_ends(txn)))
        return self._pending(txn, self._live(txn, kinds, ends), kinds, ends, window)

    def _live(
        self, txn: ReadTxn, kinds: dict[bytes, str], ends: dict[int, tuple[int, int]]
    ) -> Marks:
        """Return everything reachable from the roots."""
        self.marker.ends = ends
        runs = root_runs(txn, self._runs)
        places = [ref.place for ref in runs if ref.oid is not None]
        named = self.marker.in_time(root_oids(self.refs, txn, self._logged))
        records = (ref.record for ref in runs)
        oids: list[bytes] = [*dict.fromkeys(chain(records, named)), *self.more_roots]
        return self.marker.mark(txn, kinds, places, oids)

    def exclusive(self, txn: ReadTxn, bindings: Iterable[bytes]) -> int:
        """Return the bytes of objects reachable from some bindings but from no attachment."""
        gone = list(bindings)
        if not gone:
            return 0
        kinds = self.odb.loose_kinds(txn)
        shared = self._closure(txn, kinds, (value for _, value in txn.scan("attachments")))
        only = self._closure(txn, kinds, gone) - shared
        chunks = self._chunks_of(txn, kinds, only) - self._chunks_of(txn, kinds, shared)
        sizes = (self.odb.stored_size(txn, oid) for oid in only)
        return sum(sizes) + sum(len(txn.get("chunks", name) or b"") for name in chunks)

    def _closure(self, txn: ReadTxn, kinds: dict[bytes, str], todo: Iterable[bytes]) -> set[bytes]:
        """Return the loose objects reachable from objects, themselves included."""
        found: set[bytes] = set()
        waiting = list(todo)
        while waiting:
            oid = bytes(waiting.pop())
            if oid in kinds and oid not in found:
                found.add(oid)
                waiting += self.marker.links(txn, oid, kinds[oid])
        return found

    def _pending(
        self,
        txn: ReadTxn,
        live: Marks,
        kinds: dict[bytes, str],
        ends: dict[int, tuple[int, int]],
        window: Window,
    ) -> dict[bytes, Since]:
        """Return the unreachable objects; those that were so before keep their time."""
        found: dict[bytes, Since] = {}
        now = window.now
        before = pending.entries(txn, pending.STATES)
        for line, (first, end) in ends.items():
            cut = live.reach.get(line, first - 1) + 1
            if cut < end:
                found |= _dead_part(before, line, cut, end, now)
        known = pending.entries(txn, pending.OBJECT)
        for oid in kinds:
            if oid not in live.objects:
                found[pending.OBJECT + oid] = known.get(oid, Since(now))
        needed = self._chunks_of(txn, kinds, live.objects)
        for name, since in pending.entries(txn, pending.CHUNK).items():
            if name not in needed:
                found[pending.CHUNK + name] = since
        return {key: window.seen(since) for key, since in found.items()}

    def _chunks_of(
        self, txn: ReadTxn, kinds: dict[bytes, str], oids: Iterable[bytes]
    ) -> set[bytes]:
        blobs = (oid for oid in oids if kinds.get(oid) == "blob")
        return {name for oid in blobs for name in self.odb.chunks(txn, oid)}

    def _plan_attachments(self, txn: ReadTxn, plan: GcPlan, kept: Marks) -> None:
        for key, _ in self.marker.in_time(txn.scan("attachments")) if plan.cuts else ():
            place = self.marker.place(txn, key[:OID_SIZE])
            if not kept.holds(place):
                plan.attachments.setdefault(place.line, []).append(key)

    def _plan_arrays(
        self, txn: ReadTxn, plan: GcPlan, kept: Marks, kinds: dict[bytes, str]
    ) -> set[bytes]:
        """Plan the moves of arrays; return the loose ones that rows need."""
        stored: dict[bytes, int] = {}
        for line, (cut, _) in plan.cuts.items():
            stored |= dict.fromkeys(self._dead_arrays(txn, line, cut), line)
        loose = {oid for oid, kind in kinds.items() if kind == "array"} - kept.objects
        wanted = self.marker.arrays_named(txn, kept, loose | stored.keys()) | kept.arrays
        plan.moved = [oid for oid in stored if oid in wanted and oid not in kinds]
        plan.arrays = Counter(line for oid, line in stored.items() if oid not in wanted)
        for oid in wanted & loose:
            plan.pending.pop(pending.OBJECT + oid, None)
        return wanted & loose

    def _dead_arrays(self, txn: ReadTxn, line: int, cut: int) -> Iterator[bytes]:
        """Yield the arrays that are stored with a line's states from a step on."""
        for group in self.marker.in_time(line_groups(txn, line, cut)):
            key = group[2]
            ident = key + cut.to_bytes(8, "big") + (txn.get("groups", key) or b"")
            found = self._dead.get(ident)
            if found is None:
                found = dead_arrays(self.odb.states, txn, line, group, cut)
                if len(self._dead) < KEPT_GROUPS:
                    self._dead[ident] = found
            yield from found

    def _plan_objects(
        self, txn: ReadTxn, plan: GcPlan, kinds: dict[bytes, str], needed: set[bytes]
    ) -> None:
        dead = {oid: kind for oid, kind in kinds.items() if oid not in needed}
        bases: dict[bytes, bytes | None] = {}
        if "array" in dead.values():
            arrays = self.marker.in_time(oid for oid, kind in kinds.items() if kind == "array")
            bases = {oid: self.odb.delta_base(txn, oid) for oid in arrays}
        rebased = [oid for oid, base in bases.items() if oid in needed and base in dead]
        plan.rebased = sorted(rebased, key=lambda oid: (self.odb.delta_depth(txn, oid), oid))
        links = {
            oid: [each for each in (*self.marker.links(txn, oid, kind), bases.get(oid)) if each]
            for oid, kind in dead.items()
        }
        plan.objects = {oid: dead[oid] for oid in _referring_first(links)}

    def _plan_chunks(
        self,
        txn: ReadTxn,
        plan: GcPlan,
        kinds: dict[bytes, str],
        needed: set[bytes],
        window: Window,
    ) -> None:
        waiting = {k[1:]: s for k, s in plan.pending.items() if k[:1] == pending.CHUNK}
        dead = self._chunks_of(txn, kinds, plan.objects)
        dead |= {name for name, since in waiting.items() if window.is_over(since)}
        if dead:
            dead -= self._chunks_of(txn, kinds, needed)
            dead -= {name for name, since in waiting.items() if not window.is_over(since)}
        plan.chunks = sorted(dead)


def _cuts(kept: Marks, ends: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Return the lines with removable states: the first such step, and the step after the last."""
    cuts = {line: (kept.reach.get(line, first - 1) + 1, end) for line, (first, end) in ends.items()}
    return {line: (cut, end) for line, (cut, end) in cuts.items() if cut < end}


def _spared(txn: ReadTxn, cuts: dict[int, tuple[int, int]], window: Window) -> Iterator[Location]:
    """Yield the last kept states of lines whose removable states are not all removed."""
    for line, (start, end) in cuts.items() if window.rewrite or window.most is not None else ():
        cut = start if window.most is None else max(start, end - window.most)
        found = txn.floor("segments", segment_key(line, cut))
        header = decode_header(*found) if found else None
        if header is None or header.line != line:
            continue
        if header.step < cut < header.end and _is_kept_whole(header, cut, window):
            # the line's last segment is removed whole, or nothing ever would be
            is_removed = header.end == end and header.step >= start
            cut = header.step if is_removed else header.end
        if cut > start:
            yield Location(line, cut - 1)


def _is_kept_whole(header: Header, cut: int, window: Window) -> bool:
    """Return True if a segment is kept whole, rather than rewritten without its end."""
    is_large = window.most is not None and header.count > window.most // REWRITTEN
    return is_large or (header.end - cut) * 100 < window.rewrite * header.count


def _dead_part(
    before: dict[bytes, Since], line: int, cut: int, end: int, now: int
) -> dict[bytes, Since]:
    """Return the entries of a line's unreachable end."""
    first, last = pending.states_key(line, 0)[1:], pending.states_key(line, end)[1:]
    known = {
        int.from_bytes(key[8:], "big"): since
        for key, since in before.items() if first <= key < last
    }  # fmt: skip
    earlier = [step for step in known if step <= cut]
    found = {cut: known[max(earlier)] if earlier else Since(now)}
    found |= {step: since for step, since in known.items() if step > cut}
    return {pending.states_key(line, step): since for step, since in found.items()}


def _in_grace(
    found: dict[bytes, Since], window: Window, ends: dict[int, tuple[int, int]]
) -> Iterable[Location]:
    """Yield for each line the last state whose grace period is not over."""
    parts: dict[int, list[tuple[int, Since]]] = {}
    for key, since in found.items():
        if key[:1] == pending.STATES:
            line, step = int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:], "big")
            parts.setdefault(line, []).append((step, since))
    for line, entries in parts.items():
        first, end = ends[line]
        for step, since in sorted(entries, reverse=True):
            if not window.is_over(since):
                break
            end = step
        if end > first:
            yield Location(line, end - 1)


def _referring_first(links: dict[bytes, list[bytes]]) -> list[bytes]:
    """Return objects in an order in which each precedes those that it refers to."""
    order: list[bytes] = []
    done: set[bytes] = set()
    for start in sorted(links):
        todo = [(start, False)]
        while todo:
            oid, visited = todo.pop()
            if visited:
                order.append(oid)
            elif oid not in done:
                done.add(oid)
                todo.append((oid, True))
                todo += [(each, False) for each in links[oid] if each in links]
    return order[::-1]


def forget_found(txn: WriteTxn, known: dict[bytes, bytes], found: dict[bytes, Since]) -> None:
    """Remove from the table the objects that are reachable again.

    Args:
        txn: a write transaction.
        known: the entries of the table in the snapshot of the plan.
        found: the unreachable objects in that snapshot.
    """
    for key, value in known.items():
        if key not in found and txn.get(pending.TABLE, key) == value:
            txn.delete(pending.TABLE, key)
    for key in found.keys() - known.keys():  # the rest of a line that is reachable in part
        if key[:1] == pending.STATES and txn.get(pending.TABLE, key) is None:
            pending.note(txn, key, found[key])


def write_pending(txn: WriteTxn, plan: GcPlan) -> None:
    """Replace the entries of the table by those that the plan found.

    An object that this very plan removes, and that was not pending before, is not entered: on a
    full disk there is no space to write down all that is removed.
    """
    found, removed = dict(plan.pending), _removed_keys(plan)
    for key, value in txn.scan(pending.TABLE):
        if key not in found:
            txn.delete(pending.TABLE, key)
        elif key in removed or pending.decode(key, value) == found[key]:
            found.pop(key)
    for key, since in found.items():
        if key not in removed:
            pending.note(txn, key, since)


def _removed_keys(plan: GcPlan) -> set[bytes]:
    """Return the keys of what is removed whole: all pending states of a line, or none of them."""
    removed = {pending.OBJECT + oid for oid in plan.objects}
    removed |= {pending.CHUNK + name for name in plan.chunks}
    states = [key for key in plan.pending if key[:1] == pending.STATES]
    kept: set[bytes] = set()
    for key in states:
        line = int.from_bytes(key[1:9], "big")
        if line not in plan.cuts or key < pending.states_key(line, plan.cuts[line][0]):
            kept.add(key[1:9])
    return removed | {key for key in states if key[1:9] not in kept}
