"""Checking a remote: what refs name is there, has its name, and is whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from simgit.errors import FormatError, IntegrityError, InvalidInput, NotFound, SimgitError
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.refs.names import RUNS
from simgit.refs.refs import Refs
from simgit.remotes import layout, tombs
from simgit.remotes.bundle.verification import read_manifest, verify
from simgit.remotes.connection import Connection, SeenRef, read_info
from simgit.remotes.fetch import Fetch
from simgit.remotes.layout import PackEntry
from simgit.remotes.lease import LeaseRecord
from simgit.remotes.transport.base import Listed
from simgit.storage.lmdb import LmdbStorage

Progress = Callable[[str, int, int], object]
"""A function called with what is done, how many are done, and how many there are to do."""
Deep = Callable[[ObjectDatabase, Refs], Iterable[str]]
"""A function that checks a repository, and returns what is wrong with it."""
_MOST_REFS: Final = 5


@dataclass(frozen=True)
class RemoteProblem:
    """Something that is wrong with a remote.

    Attributes:
        key: the object.
        what: what is wrong with it.
        refs: the full names of the refs that need it.
    """

    key: str
    what: str
    refs: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as one line."""
        more = f", … ({len(self.refs)} refs)" if len(self.refs) > _MOST_REFS else ""
        refs = f" (of {', '.join(self.refs[:_MOST_REFS])}{more})" if self.refs else ""
        return f"{self.key}: {self.what}{refs}"


@dataclass
class RemoteCheck:
    """The contents of a remote, and what is wrong with them.

    Attributes:
        problems: what is wrong.
        refs, deleted_refs: how many there are, and how many were deleted.
        shards, packs, states, bytes: those that refs lead to; bytes of packs.
        checked: packs that were read as a whole.
        unreferenced, unreferenced_bytes: packs that no ref leads to: of pushes that go on or were
            killed, and of refs that were replaced; gc deletes them.
        tombs: how many tombs there are in each state.
        log: entries of the log.
        leftovers: objects that nothing needs: shards that no ref leads to, and what tests of the
            storage have left.
        strangers: keys that no object of a remote has.
        locked_since: since when a gc runs, in seconds since 1970 by the clock of the storage; None
            if none does. It may be dead.
        requests, received: requests, and the bytes of their answers.
    """

    problems: list[RemoteProblem] = field(default_factory=list)
    refs: int = 0
    deleted_refs: int = 0
    shards: int = 0
    packs: int = 0
    states: int = 0
    bytes: int = 0
    checked: int = 0
    unreferenced: int = 0
    unreferenced_bytes: int = 0
    tombs: dict[str, int] = field(default_factory=dict)
    log: int = 0
    leftovers: int = 0
    strangers: list[str] = field(default_factory=list)
    locked_since: float | None = None
    requests: int = 0
    received: int = 0

    @property
    def is_clean(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems


def check(
    connection: Connection,
    *,
    quick: bool = False,
    sample: tuple[int, int] | None = None,
    deep: Deep | None = None,
    progress: Progress | None = None,
) -> RemoteCheck:
    """Check a remote; return what is there and what is wrong.

    Everything but packs is read, and the packs are listed. Unless it is quick, they are read too,
    one after the other: each must have its hash, and hold what its refs need of it.

    Args:
        connection: the remote.
        quick: do not read packs.
        sample: (k, n) reads only the k-th of n parts of the packs; whether each ref finds in its
            packs what it needs is not checked then.
        deep: called with a temporary repository that all refs were fetched into (in the directory
            of temporary files).
        progress: called while it goes on.

    Raises:
        InvalidInput: there is no such part.
        TransportError: the storage cannot be reached, or refuses.
    """
    if sample is not None and not 1 <= sample[0] <= sample[1]:
        raise InvalidInput(f"sample {sample[0]}/{sample[1]}: the part must be 1 to {sample[1]}")
    counts = connection.transport.counts
    start = counts.requests, counts.received
    checking = _Checking(connection, progress)
    checking.look()
    if not quick:
        checking.read_packs(sample)
    if deep is not None:
        checking.fetch_all(deep)
    found = checking.done
    found.requests = counts.requests - start[0]
    found.received = counts.received - start[1]
    return found


class _Checking:
    """One check."""

    def __init__(self, connection: Connection, progress: Progress | None) -> None:
        self.connection = connection.anew()
        self.transport = connection.transport
        self.done = RemoteCheck()
        self._progress = progress
        self._refs: dict[str, SeenRef] = {}
        self._entries: dict[str, list[PackEntry]] = {}  # of refs whose shards are all good
        self._users: defaultdict[bytes, list[str]] = defaultdict(list)  # of each pack
        self._packs: dict[bytes, PackEntry] = {}
        self._unreadable: set[bytes] = set()

    def _problem(self, key: str, what: object, refs: Iterable[str] = ()) -> None:
        self.done.problems.append(RemoteProblem(key, str(what), tuple(sorted(set(refs)))))

    def _tell(self, what: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(what, done, total)

    # --- all but packs ---

    def look(self) -> None:
        """Check everything but the contents of packs."""
        self._check_info()
        self._read_refs()
        self._read_shards()
        self._note_packs()
        listed: defaultdict[str, list[Listed]] = defaultdict(list)
        for each in self.transport.list(""):  # after the refs: what they name is there before
            listed[_place(each.key)].append(each)
        self._compare_packs(listed[layout.PACKS])
        self._compare_shards(listed[layout.INDEX])
        self._read_tombs(listed[layout.TOMBS])
        self._read_log(listed[layout.LOG])
        self.done.leftovers += len(listed[layout.PROBE])
        self.done.strangers += [each.key for each in listed[""]]
        self._check_lease()
        self._check_heads()

    def _check_info(self) -> None:
        try:
            found = read_info(self.transport)
            if found != self.connection.info:
                self._problem(layout.REMOTE, "is that of another remote than when it was opened")
        except (IntegrityError, FormatError, InvalidInput) as error:
            self._problem(layout.REMOTE, error)

    def _read_refs(self) -> None:
        keys = [each.key for each in self.transport.list(layout.REFS)]
        names = {}
        for key in keys:
            try:
                names[key] = layout.ref_of_key(key)
            except IntegrityError as error:
                self._problem(key, error)
        self.done.refs = self.done.deleted_refs = 0
        reads = self.connection.at_once(self._read_ref, names.values())
        for number, (name, seen) in enumerate(zip(names.values(), reads, strict=True)):
            self._tell("refs", number, len(names))
            if isinstance(seen, IntegrityError):
                self._problem(layout.key_of_ref(name), seen, [name])
            elif seen is not None and seen.ref.deleted:
                self.done.deleted_refs += 1
            elif seen is not None:
                self.done.refs += 1
                self._refs[name] = seen

    def _read_ref(self, name: str) -> SeenRef | IntegrityError | None:
        try:
            return self.connection.read_ref(name)
        except IntegrityError as error:
            return error

    def _read_shards(self) -> None:
        users: defaultdict[layout.ShardName, list[str]] = defaultdict(list)
        for name, seen in self._refs.items():
            for shard in seen.ref.shards:
                users[shard].append(name)
        damaged = set()
        reads = self.connection.at_once(self._read_shard, users)
        for number, (shard, error) in enumerate(zip(users, reads, strict=True)):
            self._tell("shards", number, len(users))
            if error is not None:
                self._problem(layout.key_of_shard(*shard), error, users[shard])
                damaged.add(shard)
        self.done.shards = len(users)
        self._shards = set(users)
        for name, seen in self._refs.items():
            if damaged.isdisjoint(seen.ref.shards):
                self._entries[name] = self.connection.entries(seen.ref)

    def _read_shard(self, shard: layout.ShardName) -> IntegrityError | None:
        try:
            self.connection.read_shard(shard)
        except IntegrityError as error:
            return error
        return None

    def _note_packs(self) -> None:
        for name, entries in self._entries.items():
            for entry in entries:
                self._users[entry.name].append(name)
                known = self._packs.setdefault(entry.name, entry)
                if (known.size, known.states) != (entry.size, entry.states):
                    self._problem(
                        layout.key_of_ref(name),
                        f"says of '{layout.key_of_pack(entry.name)}' another size or number of "
                        "states than another ref",
                        self._users[entry.name],
                    )
        self.done.packs = len(self._packs)
        self.done.states = sum(entry.states for entry in self._packs.values())
        self.done.bytes = sum(entry.size for entry in self._packs.values())

    def _compare_packs(self, listed: list[Listed]) -> None:
        there = {}
        for each in listed:
            name = layout.name_of_key(each.key)
            if name is None:
                self.done.strangers.append(each.key)
            else:
                there[name] = each
        for name, entry in self._packs.items():
            key = layout.key_of_pack(name)
            if name not in there:
                self._problem(key, "is missing", self._users[name])
                self._unreadable.add(name)
            elif there[name].size != entry.size:
                size = there[name].size
                self._problem(key, f"has {size} bytes, not {entry.size}", self._users[name])
                self._unreadable.add(name)
        rest = [each.size for name, each in there.items() if name not in self._packs]
        self.done.unreferenced, self.done.unreferenced_bytes = len(rest), sum(rest)

    def _compare_shards(self, listed: list[Listed]) -> None:
        named = {layout.key_of_shard(*shard) for shard in self._shards}
        for each in listed:
            if layout.name_of_key(each.key) is None:
                self.done.strangers.append(each.key)
            elif each.key not in named:
                self.done.leftovers += 1

    def _read_tombs(self, listed: list[Listed]) -> None:
        states: Counter[str] = Counter()
        for each, data in self._read(listed):
            try:
                state, _ = tombs.decode_tomb(data, each.key)
                states[state] += 1
            except IntegrityError as error:
                self._problem(each.key, f"{error}; gc writes it anew")
            if layout.name_of_key(each.key) is None:
                self.done.strangers.append(each.key)
        self.done.tombs = dict(states)

    def _read_log(self, listed: list[Listed]) -> None:
        for each, data in self._read(listed):
            self.done.log += 1
            try:
                tombs.decode_log(data, each.key, self.connection.info.id)
            except IntegrityError as error:
                self._problem(each.key, f"{error}; gc stops until its grace period is over")

    def _read(self, listed: list[Listed]) -> Iterator[tuple[Listed, bytes]]:
        """Yield objects with their bytes, without those that were deleted meanwhile."""
        found = self.connection.at_once(self._get, [each.key for each in listed])
        for each, data in zip(listed, found, strict=True):
            if data is not None:
                yield each, data

    def _get(self, key: str) -> bytes | None:
        try:
            most = layout.MAX_FRAME if key == layout.HEADS else layout.MAX_RECORD
            got = self.transport.get(key, most=most)
        except NotFound:
            return None
        except IntegrityError:
            return b""  # which is as damaged
        return None if got is None else got.data

    def _check_lease(self) -> None:
        try:
            got = self.transport.get(layout.LEASE, most=layout.MAX_RECORD)
            assert got is not None
            lease = LeaseRecord.decode(got.data)
        except NotFound:
            return
        except IntegrityError as error:
            self._problem(layout.LEASE, f"{error}; the next gc writes it anew")
            return
        if lease.holder:
            self.done.locked_since = lease.since or got.modified

    def _check_heads(self) -> None:
        data = self._get(layout.HEADS)
        if data is None:
            return
        try:
            if checksum(data[:-CHECKSUM_SIZE]) != data[-CHECKSUM_SIZE:]:
                raise layout.damaged(layout.HEADS)
            layout.decode_heads(data[:-CHECKSUM_SIZE])
        except IntegrityError as error:
            self._problem(layout.HEADS, f"{error}; it is a cache that is written anew")

    # --- packs ---

    def read_packs(self, sample: tuple[int, int] | None) -> None:
        """Read packs, and check that each ref finds in its own what it needs."""
        chosen = [
            entry
            for name, entry in self._packs.items()
            if name not in self._unreadable and _is_in(name, sample)
        ]
        wanted, needs = self._wanted(chosen)
        found: dict[bytes, set[bytes]] = {}
        for number, entry in enumerate(chosen):
            self._tell("packs", number, len(chosen))
            here: set[bytes] = set()
            try:
                with self.connection.read_pack(entry) as file:
                    verified = verify(file.read, seen=partial(_note, wanted, here))
                self._compare(entry, verified.states, here)
            except (IntegrityError, FormatError) as error:
                self._problem(layout.key_of_pack(entry.name), error, self._users[entry.name])
                self._unreadable.add(entry.name)
            found[entry.name] = here
            self.done.checked += 1
        if sample is None:
            for name, entries in self._entries.items():
                self._check_order(name, entries, needs, found)

    def _wanted(self, chosen: list[PackEntry]) -> tuple[set[bytes], dict[bytes, tuple[Oid, ...]]]:
        """Return what must be in some pack, and what each pack says that it needs."""
        needs: dict[bytes, tuple[Oid, ...]] = {}
        for entry in chosen:
            try:
                head = _Beginning(self.connection, layout.key_of_pack(entry.name))
                needs[entry.name] = read_manifest(head.read).prerequisites
            except (SimgitError, ValueError):  # it is told when the pack is read
                needs[entry.name] = ()
        wanted: set[bytes] = {oid for each in needs.values() for oid in each}
        for seen in self._refs.values():
            wanted.update(_needs_of(seen))
        wanted.update(s.oid for entry in chosen for s in entry.stretches)
        return wanted, needs

    def _compare(self, entry: PackEntry, states: int, here: set[bytes]) -> None:
        """Check that a pack holds what its entry says.

        Raises:
            IntegrityError: it does not.
        """
        if states != entry.states:
            raise IntegrityError(f"has {states} states, and refs say {entry.states}")
        for stretch in entry.stretches:
            if stretch.oid not in here:
                raise IntegrityError(f"lacks state '{stretch.oid.hex()}', which refs say it has")

    def _check_order(
        self,
        name: str,
        entries: Sequence[PackEntry],
        needs: dict[bytes, tuple[Oid, ...]],
        found: dict[bytes, set[bytes]],
    ) -> None:
        """Check that the packs of a ref hold what they and the ref need, in their order."""
        if any(entry.name in self._unreadable for entry in entries):
            return  # that is told already
        have: set[bytes] = set()
        for entry in entries:
            for oid in needs[entry.name]:
                if oid not in have:
                    self._problem(
                        layout.key_of_pack(entry.name),
                        f"needs state '{oid.hex()}', which no pack of the ref before it has",
                        [name],
                    )
            have |= found[entry.name]
        for oid in _needs_of(self._refs[name]):
            if oid not in have:
                self._problem(
                    layout.key_of_ref(name), f"names '{oid.hex()}', which none of its packs has",
                    [name],
                )  # fmt: skip

    # --- all of it ---

    def fetch_all(self, deep: Deep) -> None:
        """Fetch each ref into a temporary repository, and check that."""
        with (
            TemporaryDirectory(prefix="simgit-fsck-") as folder,
            closing(LmdbStorage.create(Path(folder))) as storage,
        ):
            odb, refs = ObjectDatabase(storage), Refs()
            for number, name in enumerate(self._refs):
                self._tell("fetch", number, len(self._refs))
                try:
                    Fetch(odb, refs, self.connection, "remote").run([name])
                except (IntegrityError, NotFound) as error:
                    self._problem(layout.key_of_ref(name), f"cannot be fetched: {error}", [name])
            for each in deep(odb, refs):
                self._problem(layout.PACKS, each)


class _Beginning:
    """The first bytes of an object, read in parts as they are asked for."""

    def __init__(self, connection: Connection, key: str) -> None:
        self._connection = connection
        self._key = key
        self._at = 0
        self._held = b""

    def read(self, size: int) -> bytes:
        """Return some of the next bytes."""
        if not self._held:
            self._held = self._connection.transport.get_range(self._key, self._at, 1 << 14)
            self._at += len(self._held)
        found, self._held = self._held[:size], self._held[size:]
        return found


def _note(wanted: set[bytes], here: set[bytes], oids: Sequence[bytes]) -> None:
    here.update(wanted.intersection(oids))


def _needs_of(seen: SeenRef) -> list[Oid]:
    ref = seen.ref
    other = ref.fields["record" if ref.name.startswith(RUNS) else "tag"]
    return [oid for oid in (ref.oid, other) if oid is not None]


def _is_in(name: bytes, sample: tuple[int, int] | None) -> bool:
    return sample is None or int.from_bytes(name[:8], "big") % sample[1] == sample[0] - 1


def _place(key: str) -> str:
    """Return which place of ``PLACES`` a key is of, empty for none."""
    return next((p for p in layout.PLACES if key == p or (p[-1:] == "/" and key.startswith(p))), "")
