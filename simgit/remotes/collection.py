"""gc of a remote: packs and shards that no ref leads to are deleted, in two phases far apart.

See docs/remote-format.md §7.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final, TypeVar

from simgit.errors import (
    AlreadyExists,
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    TransportError,
)
from simgit.remotes import joining, layout, tombs
from simgit.remotes.connection import Connection, SeenRef
from simgit.remotes.layout import PackEntry, RemoteRef
from simgit.remotes.lease import RemoteLease
from simgit.remotes.transport.base import PAGE, Got, Listed

T = TypeVar("T")
DAY: Final = 86400
Progress = Callable[[str, int, int], object]
"""A function called with what is done, how many are done, and how many there are to do."""


@dataclass
class RemoteCollection:
    """The outcome of a gc of a remote, or what it would be.

    Attributes:
        refs: refs that are there.
        packs, bytes: packs that they lead to, and their bytes.
        deleted, deleted_bytes: packs that were deleted.
        tombed, tombed_bytes: packs that got a tomb: a gc after the grace period deletes them.
        waiting, waiting_bytes: packs whose tomb is not old enough.
        young, young_bytes: packs that no ref leads to, younger than the grace period: they may be
            those of a push that goes on.
        rescued: packs and shards that had a tomb, and that a ref leads to again.
        shards: shards that were deleted.
        missing: keys of packs that a ref names and that are not there; see ``check``.
        log: entries of the log that were deleted.
        claims: claims of finished work that were deleted.
        leftovers: objects of a test of the storage that were deleted.
        joined, into: small packs that were joined, and the packs that they became.
        moved, left: refs that name the joined packs now, and refs that somebody else moved.
        is_dry_run: True if nothing was written.
        requests, sent, received: requests, and bytes of their bodies and answers.
    """

    refs: int = 0
    packs: int = 0
    bytes: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    tombed: int = 0
    tombed_bytes: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    young: int = 0
    young_bytes: int = 0
    rescued: int = 0
    shards: int = 0
    missing: list[str] = field(default_factory=list)
    log: int = 0
    claims: int = 0
    leftovers: int = 0
    joined: int = 0
    into: int = 0
    moved: int = 0
    left: int = 0
    is_dry_run: bool = False
    requests: int = 0
    sent: int = 0
    received: int = 0


def collect(
    connection: Connection,
    *,
    grace_days: float = 14.0,
    dry_run: bool = False,
    join: bool = True,
    progress: Progress | None = None,
    now: Callable[[], float] = time.time,
) -> RemoteCollection:
    """Delete unreachable packs and shards of a remote, join small packs; return the outcome.

    What no ref leads to is marked with a tomb; a gc that runs after the grace period deletes it.

    Args:
        connection: the remote.
        grace_days: the grace period, in days; at least an hour.
        dry_run: find out what would be done, and write nothing.
        join: join small packs of refs that have many.
        progress: called while it goes on.
        now: the seconds since 1970 by the clock of this machine. Ages are those of the storage's
            clock, except in a dry run.

    Raises:
        InvalidInput: the grace period is too short, or the remote is read-only here.
        Conflict: another gc runs.
        IntegrityError: a ref or shard is damaged or missing, so that it cannot be known which
            packs are needed. Nothing was deleted.
        TransportError: the storage cannot be reached, or refuses.
    """
    if not grace_days * DAY >= tombs.FRESH:
        raise InvalidInput(
            f"a grace period of {grace_days * DAY:.0f} s is too short: within an hour a push may "
            "rely on packs that no ref leads to yet; it must be an hour (1/24 of a day) at least"
        )
    if not dry_run:
        connection.check_writable()
    counts = connection.transport.counts
    start = counts.requests, counts.sent, counts.received
    found = _Collection(connection, grace_days * DAY, dry_run, join, progress, now).run()
    found.requests = counts.requests - start[0]
    found.sent = counts.sent - start[1]
    found.received = counts.received - start[2]
    return found


@dataclass
class _Marked:
    """The packs and shards that are needed."""

    refs: dict[str, SeenRef]
    named: set[bytes]  # the packs and shards of these
    all: set[bytes]  # these, and those that the log keeps


@dataclass
class _Tomb:
    """A tomb as it was read."""

    name: bytes
    got: Got
    state: str  # empty for a damaged one


class _Collection:
    """One gc."""

    def __init__(
        self,
        connection: Connection,
        grace: float,
        dry_run: bool,
        join: bool,
        progress: Progress | None,
        clock: Callable[[], float],
    ) -> None:
        self.connection = connection
        self.transport = connection.transport
        self.grace = grace
        self.dry_run = dry_run
        self.join = join
        self.done = RemoteCollection(is_dry_run=dry_run)
        self._progress = progress
        self._clock = clock
        self._lease = None if dry_run else RemoteLease(self.transport, clock)
        self._look = connection.anew()
        self._seen: dict[str, tuple[str, bytes]] = {}  # refs, by key
        self._log: dict[str, RemoteRef] = {}
        self._there: dict[bytes, list[Listed]] = {}  # packs and shards

    def run(self) -> RemoteCollection:
        """Do everything."""
        with self._lease or nullcontext():
            marked = self._mark()
            self._list(marked)
            self._expire()
            marked, tombed = self._old_tombs(marked)
            self._new_tombs(marked, tombed)
            self._count(marked)
            if self.join:
                self._join(marked)
        return self.done

    @property
    def _now(self) -> float:
        return self._clock() if self._lease is None else self._lease.now

    def _is_old(self, modified: float) -> bool:
        return self._now - modified > self.grace

    def _check(self) -> None:
        """Check that no other gc has taken over."""
        if self._lease is not None:
            self._lease.check()

    def _tell(self, what: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(what, done, total)

    # --- what is needed ---

    def _mark(self) -> _Marked:
        """Find out what is needed now."""
        self._check()
        try:
            refs = self._look.read_refs(None, self._seen.get)
            self._seen = {layout.key_of_ref(n): (each.etag, each.data) for n, each in refs.items()}
            refs = {name: each for name, each in refs.items() if not each.ref.deleted}
            # after the refs: what left one of them meanwhile is in the log
            kept = self._kept_by_log()
            named = self._names(each.ref for each in refs.values())
            return _Marked(refs, named, named | self._names(kept))
        except IntegrityError as error:
            raise IntegrityError(
                f"{error}; nothing was deleted, since it cannot be known which packs are needed: "
                "see 'simgit fsck --remote'"
            ) from None

    def _names(self, refs: Iterable[RemoteRef]) -> set[bytes]:
        found: set[bytes] = set()
        for number, ref in enumerate(refs):
            if number % 64 == 0:
                self._check()
            found.update(shard.name for shard in ref.shards)
            found.update(entry.name for entry in self._look.entries(ref))
        return found

    def _kept_by_log(self) -> list[RemoteRef]:
        """Return refs as they were before they were replaced, within the grace period."""
        young = [e.key for e in self.transport.list(layout.LOG) if not self._is_old(e.modified)]
        new = [key for key in young if key not in self._log]
        for key, ref in zip(new, self._look.at_once(self._read_log, new), strict=True):
            if ref is not None:
                self._log[key] = ref
        return [self._log[key] for key in young if key in self._log]

    def _read_log(self, key: str) -> RemoteRef | None:
        try:
            got = self.transport.get(key, most=layout.MAX_RECORD)
        except NotFound:
            return None
        return tombs.decode_log(got.data if got else b"", key, self._look.info.id)

    def _list(self, marked: _Marked) -> None:
        """Find out which packs and shards there are."""
        for place in (layout.PACKS, layout.INDEX):
            for number, each in enumerate(self.transport.list(place)):
                if number % PAGE == 0:
                    self._check()
                if (name := layout.name_of_key(each.key)) is not None:
                    self._there.setdefault(name, []).append(each)
        for seen in marked.refs.values():
            for shard in seen.ref.shards:
                if shard.name not in self._there:
                    raise IntegrityError(
                        f"the remote lacks '{layout.key_of_shard(*shard)}', which '{seen.ref.name}'"
                        " names; nothing was deleted: see 'simgit fsck --remote'"
                    )

    def _size(self, names: Iterable[bytes]) -> tuple[int, int]:
        """Return the number of packs among names, and their bytes."""
        sizes = [each.size for name in names for each in self._packs(name)]
        return len(sizes), sum(sizes)

    def _packs(self, name: bytes) -> Iterator[Listed]:
        return (e for e in self._there.get(name, ()) if e.key.startswith(layout.PACKS))

    def _modified(self, name: bytes) -> float:
        """Return when a pack or shard was written last."""
        return max(each.modified for each in self._there[name])

    # --- tombs ---

    def _old_tombs(self, marked: _Marked) -> tuple[_Marked, set[bytes]]:
        """Take the next step of each tomb; return what is needed now, and what has a tomb."""
        listed = {}
        for each in self.transport.list(layout.TOMBS):
            if (name := layout.name_of_key(each.key)) is not None:
                listed[name] = each.key
        stale = {name for name in listed if name not in self._there}
        rescued = {name for name in listed if name in marked.all} - stale
        rest = [name for name in listed if name not in stale and name not in rescued]
        candidates, waiting = [], []
        for part in _parts(rest, PAGE):
            self._check()
            for tomb in self._look.at_once(self._read_tomb, part):
                if tomb is None:
                    continue
                if not self._is_old(self._modified(tomb.name)):
                    stale.add(tomb.name)  # it was sent again, or the tomb is older than it
                elif tomb.state == tombs.DELETING or (
                    tomb.state == tombs.TOMBED and self._is_old(tomb.got.modified)
                ):
                    candidates.append(tomb)
                else:
                    waiting.append(tomb)
        doomed = self._begin_deletion(candidates)
        if doomed:
            marked = self._mark()
            rescued |= doomed & marked.all
            doomed -= marked.all
        self._delete(doomed)
        self._remove_tombs(stale | rescued)
        self._begin_again(waiting)
        self.done.rescued = len(rescued)
        self.done.waiting, self.done.waiting_bytes = self._size(tomb.name for tomb in waiting)
        return marked, set(listed) - stale - rescued

    def _read_tomb(self, name: bytes) -> _Tomb | None:
        key = tombs.key_of_tomb(name)
        try:
            got = self.transport.get(key, most=layout.MAX_RECORD)
        except NotFound:
            return None
        assert got is not None
        try:
            return _Tomb(name, got, tombs.decode_tomb(got.data, key)[0])
        except IntegrityError:
            return _Tomb(name, got, "")

    def _begin_deletion(self, candidates: list[_Tomb]) -> set[bytes]:
        """Tell writers that packs are being deleted; return those that no writer has kept."""
        found = set()
        for number, tomb in enumerate(candidates):
            self._check()
            self._tell("begin to delete", number, len(candidates))
            is_begun = tomb.state == tombs.DELETING
            if is_begun or self._replace(tomb, tombs.DELETING):
                found.add(tomb.name)
        return found

    def _begin_again(self, waiting: list[_Tomb]) -> None:
        """Let the grace period begin for tombs that are damaged, and that writers have not used."""
        for tomb in waiting:
            is_unused = tomb.state == tombs.KEPT and self._is_old(tomb.got.modified)
            if not tomb.state or is_unused:
                self._check()
                self._replace(tomb, tombs.TOMBED)

    def _replace(self, tomb: _Tomb, state: str) -> bool:
        """Replace a tomb that is as it was read; return False if it is not."""
        if self._lease is None:
            return True
        key = tombs.key_of_tomb(tomb.name)
        data = tombs.encode_tomb(state, self._lease.holder)
        try:
            self.transport.put_if(key, data, tomb.got.etag)
        except Conflict:
            return False
        except TransportError as error:
            if not error.unknown:
                raise
            now = self._read_tomb(tomb.name)
            return now is not None and now.got.data == data
        return True

    def _delete(self, doomed: set[bytes]) -> None:
        for number, part in enumerate(_parts(sorted(doomed), PAGE)):
            self._check()
            self._tell("delete", number * PAGE, len(doomed))
            keys = [each.key for name in part for each in self._there[name]]
            count, size = self._size(part)
            if not self.dry_run:
                self.transport.delete(keys)
            self.done.deleted += count
            self.done.deleted_bytes += size
            self.done.shards += len(keys) - count
            self._remove_tombs(part)
            for name in part:
                del self._there[name]

    def _remove_tombs(self, names: Iterable[bytes]) -> None:
        if not self.dry_run:
            self._check()
            self.transport.delete(map(tombs.key_of_tomb, names))

    def _new_tombs(self, marked: _Marked, tombed: set[bytes]) -> None:
        """Tomb what is not needed."""
        rest = [name for name in self._there if name not in marked.all and name not in tombed]
        old = [name for name in rest if self._is_old(self._modified(name))]
        self.done.young, self.done.young_bytes = self._size(set(rest) - set(old))
        for number, part in enumerate(_parts(old, 64)):
            self._check()
            self._tell("tombs", number * 64, len(old))
            for _ in self._look.at_once(self._tomb, part):
                pass
        self.done.tombed, self.done.tombed_bytes = self._size(old)

    def _tomb(self, name: bytes) -> None:
        if self._lease is None:
            return
        data = tombs.encode_tomb(tombs.TOMBED, self._lease.holder)
        try:
            self.transport.put_new(tombs.key_of_tomb(name), data)
        except AlreadyExists:
            pass
        except TransportError as error:
            if not error.unknown:  # else a later gc finds it missing
                raise

    def _count(self, marked: _Marked) -> None:
        packs = {
            entry.name: entry
            for seen in marked.refs.values()
            for entry in self._look.entries(seen.ref)
        }
        self.done.refs = len(marked.refs)
        self.done.packs = len(packs)
        self.done.bytes = sum(entry.size for entry in packs.values())
        self.done.missing = sorted(
            layout.key_of_pack(name) for name in packs if not any(self._packs(name))
        )

    # --- leftovers ---

    def _expire(self) -> None:
        """Delete old entries of the log, claims of finished work, and what tests have left."""
        log = [e.key for e in self.transport.list(layout.LOG) if self._is_old(e.modified)]
        left = [
            e.key for e in self.transport.list(layout.PROBE) if self._now - e.modified > tombs.FRESH
        ]
        done = self._finished_claims()
        self.done.log, self.done.leftovers, self.done.claims = len(log), len(left), len(done)
        if not self.dry_run and (log or left or done):
            self._check()
            self.transport.delete([*log, *left, *done])

    def _finished_claims(self) -> list[str]:
        """Return the keys of old claims whose work is done: nobody writes them any more."""
        old = [e.key for e in self.transport.list(layout.CLAIMS) if self._is_old(e.modified)]
        found = []
        for part in _parts(old, PAGE):
            self._check()
            states = self._look.at_once(self._claim_state, part)
            found += [key for key, state in zip(part, states, strict=True) if state == "done"]
        return found

    def _claim_state(self, key: str) -> str:
        """Return the state of a claim, empty for none and for a damaged one."""
        try:
            got = self.transport.get(key, most=layout.MAX_RECORD)
            return layout.ClaimRecord.decode(got.data, key).state if got else ""
        except (NotFound, IntegrityError):
            return ""

    # --- joining ---

    def _join(self, marked: _Marked) -> None:
        """Join small packs, and move the refs that name them."""
        entries = {name: self._look.entries(seen.ref) for name, seen in marked.refs.items()}
        groups = joining.groups(entries)
        new: dict[bytes, PackEntry] = {}
        for number, group in enumerate(groups):
            self._tell("join", number, len(groups))
            if self._lease is None:
                self.done.into += 1
                self.done.joined += len(group)
                continue
            self._check()
            new |= self._joined(group)
        if not new:
            return
        for name, seen in marked.refs.items():
            if any(entry.name in new for entry in entries[name]):
                self._check()
                self._move(seen, new)

    def _joined(self, group: joining.Group) -> dict[bytes, PackEntry]:
        """Make one pack of several, and store it."""
        members = []
        for entry in group:
            with self._look.read_pack(entry) as file:
                members.append((entry, file.read()))
        entry, data = joining.join(members)
        tombs.put_named(self.transport, layout.key_of_pack(entry.name), data)
        self.done.into += 1
        self.done.joined += len(group)
        return dict.fromkeys((each.name for each in group), entry)

    def _move(self, seen: SeenRef, new: dict[bytes, PackEntry]) -> None:
        """Let a ref name the joined packs, unless somebody else has moved it."""
        ref = joining.moved(seen.ref, new, self._look.read_shard, self.connection.write_shard)
        tombs.log_change(self.transport, "gc", seen.ref.key, seen.data, b"")
        try:
            self.connection.write_ref(ref, seen)
        except Conflict:
            self.done.left += 1
        else:
            self.done.moved += 1


def _parts(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    return (items[start : start + most] for start in range(0, len(items), most))
