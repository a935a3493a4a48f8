"""Making packs of what a remote lacks: docs/remote-format.md §3."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, Final

from blake3 import blake3

from simgit.errors import IntegrityError
from simgit.objects.kinds import KIND_CODES, Binding
from simgit.objects.oid import OID_SIZE, Oid
from simgit.objects.rows import Rows
from simgit.odb import ancestry
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.refs import run_config
from simgit.refs.names import RUNS, TAGS
from simgit.remotes.bundle import records
from simgit.remotes.bundle.creation import Creation
from simgit.remotes.bundle.manifest import Manifest
from simgit.remotes.bundle.select import BundleSelection
from simgit.remotes.layout import PackEntry, PackStretch
from simgit.storage.base import ReadTxn

CUT: Final = 8 << 20
"""The bytes after which a pack is ended."""
_IN_MEMORY: Final = 32 << 20
_HELD: Final = 2
"""The packs of one snapshot that are kept in memory until it ends; more lie in files."""
_MOST_PREREQUISITES: Final = 64
_COPIED: Final = 1 << 20
_EVERYWHERE: Final = {KIND_CODES[kind].to_bytes() for kind in ("schema", "spec")}
"""Kinds of objects that each pack repeats: they are small, and no pack can be read without."""


@dataclass
class Pack:
    """A pack that was made.

    Attributes:
        entry: what refs say of it.
        file: its bytes, at their beginning.
        ranges: the states that it has, and those whose attachments it has.
        records: the full names of the refs whose records it has.
        bindings: the attachments that it has.
        needs: of each line the newest state that it builds on and does not have.
    """

    entry: PackEntry
    file: IO[bytes]
    ranges: list[ancestry.LineRange] = field(default_factory=list)
    records: set[str] = field(default_factory=set)
    bindings: list[bytes] = field(default_factory=list)
    needs: dict[int, int] = field(default_factory=dict)


class PackFile:
    """The records of one pack, without its beginning and its end, which are known last."""

    def __init__(self) -> None:
        """Begin without a record."""
        self.file: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self.bytes = 0
        self._lines: list[tuple[int, int, int, bytes]] = []

    def put(self, kind: int, *parts: bytes) -> None:
        """Write a record, its body given in parts."""
        record = records.encode_record(kind, *parts)
        head = parts[0] if kind == records.STATES else b""
        self._lines.append((self.bytes, len(record), kind, head))
        self.file.write(record)
        self.bytes += len(record)

    def whole(self, manifest: bytes) -> tuple[bytes, int, SpooledTemporaryFile[bytes]]:
        """Return hash, size and bytes of the pack."""
        first = records.encode_record(records.MANIFEST, manifest)
        start = len(records.PACK_MAGIC)
        lines = [records.table_line(start, len(first), records.MANIFEST, b"")]
        start += len(first)
        lines += [
            records.table_line(start + at, size, kind, head) for at, size, kind, head in self._lines
        ]
        table = records.encode_record(records.TABLE, b"".join(lines))
        whole = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        hasher = blake3()
        size = 0
        for piece in (records.PACK_MAGIC, first, *self._pieces(), table):
            whole.write(piece)
            hasher.update(piece)
            size += len(piece)
        end = records.end_of(len(lines) + 1, hasher.digest())
        whole.write(end)
        hasher.update(end)
        whole.seek(0)
        self.file.close()
        return hasher.digest(), size + len(end), whole

    def _pieces(self) -> Iterator[bytes]:
        self.file.seek(0)
        while piece := self.file.read(_COPIED):
            yield piece


@dataclass
class _Open:
    """The pack that is being made."""

    out: PackFile = field(default_factory=PackFile)
    repeated: set[bytes] = field(default_factory=set)
    needs: dict[int, int] = field(default_factory=dict)  # the newest needed step of each line
    after: set[int] = field(default_factory=set)
    states: int = 0
    stretches: list[PackStretch] = field(default_factory=list)
    ranges: list[ancestry.LineRange] = field(default_factory=list)  # one for each stretch
    bound: list[ancestry.LineRange] = field(default_factory=list)
    records: set[str] = field(default_factory=set)
    bindings: list[bytes] = field(default_factory=list)


class _SentBefore:
    """In which pack objects were sent; whoever asks for one needs that pack."""

    def __init__(self, need: Callable[[int], None], number: Callable[[], int]) -> None:
        self._need = need
        self._number = number
        self._packs: dict[bytes, int] = {}

    def __contains__(self, oid: object) -> bool:
        found = self._packs.get(oid)  # type: ignore[call-overload]
        if found is None:
            return False
        self._need(found)
        return True

    def __len__(self) -> int:
        return len(self._packs)

    def add(self, oid: bytes) -> None:
        """Note an object that is sent now."""
        self._packs[bytes(oid)] = self._number()


class Packing(Creation):
    """Packs of all that a remote lacks of some refs, each given away when it is made.

    Raises:
        InvalidInput: an object is too large for a pack.
    """

    def __init__(
        self,
        odb: ObjectDatabase,
        chosen: BundleSelection,
        put: Callable[[Pack], None],
        has_binding: Callable[[ReadTxn, bytes], bool],
        has_records: Container[str] = (),
    ) -> None:
        """Take what to pack.

        Args:
            odb: the database to read.
            chosen: the refs, and the states that the remote lacks.
            put: takes a pack, and owns its file; it may take long, and no snapshot is held.
            has_binding: returns True for a binding that the remote has.
            has_records: the full names of refs whose records the remote has.
        """
        self._pack = _Open()
        super().__init__(odb, chosen, self, None)
        self._put_pack = put
        self._ready: list[Pack] = []  # packs that were made within the snapshot of now
        self._has_binding = has_binding
        self._has_records = has_records
        self._names: list[bytes] = []
        self._records_of: list[set[str]] = []  # of each pack
        self._assuming: int | None = None  # the base whose files are counted as sent
        self._sent = _SentBefore(self._need_pack, self._number)
        self._sent_in: dict[int, list[tuple[int, int]]] = {}  # of each line: (last step, pack)
        self._refs_of: dict[int, str] = {}
        self._extra: list[Oid] = []

    # --- what is written ---

    def put(self, kind: int, *parts: bytes) -> None:
        """Write a record of the pack that is being made."""
        self._pack.out.put(kind, *parts)

    def pack_all(self) -> None:
        """Make all packs."""
        with self.odb.read() as txn:
            self._name_lines(txn)
        try:
            self.send_all()
            self._cut()
            self._between()
        finally:
            for file in (self._pack.out.file, *(pack.file for pack in self._ready)):
                file.close()

    def _between(self) -> None:
        while self._ready:
            self._put_pack(self._ready.pop(0))

    def _assume_known_files(self, txn: ReadTxn) -> None:
        for number, oid in enumerate(self.chosen.bases):
            self._assuming = number
            self._assume_files_of(txn, oid)
        self._assuming = None

    def _name_lines(self, txn: ReadTxn) -> None:
        """Note for each line with new states a ref that leads to it."""
        tips = [(RUNS + name, run.place) for name, run in self.chosen.runs.items() if run.oid]
        for name, tag in self.chosen.tags.items():
            tips.append((TAGS + name, self.odb.locate(txn, tag.oid)))
        missing = {piece.line for piece in self.chosen.pieces}
        for name, place in tips:
            for line in ancestry.reach(self.odb, txn, [place]) if missing else ():
                if line in missing:
                    missing.discard(line)
                    self._refs_of[line] = name

    # --- states ---

    def _send_rows(self, txn: ReadTxn, place: Location, rows: Rows) -> None:
        for parent in ancestry.parents_at(self.odb, txn, place):
            self._need_state(parent)
        super()._send_rows(txn, place, rows)
        self._cut_if_full()

    def _note_rows(self, place: Location, count: int, last: bytes) -> None:
        super()._note_rows(place, count, last)
        pack, stop, oid = self._pack, place.step + count, Oid(last)
        pack.states += count
        name = self._refs_of.get(place.line, "")
        before = pack.ranges[-1] if pack.ranges else None
        if before is not None and before.line == place.line and before.stop == place.step:
            pack.ranges[-1] = before._replace(stop=stop)
            pack.stretches[-1] = pack.stretches[-1]._replace(last=stop - 1, oid=oid)
        else:
            pack.ranges.append(ancestry.LineRange(place.line, place.step, stop))
            pack.stretches.append(PackStretch(name, place.step, stop - 1, oid))
        self._sent_in.setdefault(place.line, []).append((stop - 1, len(self._names)))

    def _is_sent(self, place: Location) -> bool:
        if not super()._is_sent(place):
            return False
        self._need_state(place)
        return True

    def _need_state(self, place: Location) -> None:
        """Note that the pack needs a state, which another one or the remote has."""
        if not self.chosen.receiver_has(place):
            sent = self._sent_in.get(place.line, ())
            number = next((number for last, number in sent if last >= place.step), None)
            if number is None or number == len(self._names):
                return  # in this pack
            self._pack.after.add(number)
        needs = self._pack.needs
        needs[place.line] = max(needs.get(place.line, 0), place.step)

    def _number(self) -> int:
        return len(self._names) if self._assuming is None else -1 - self._assuming

    def _need_pack(self, number: int) -> None:
        if number < 0:  # a file that the remote has with a state
            with self.odb.read() as txn:
                self._need_state(self.odb.locate(txn, self.chosen.bases[-1 - number]))
        elif number < len(self._names):
            self._pack.after.add(number)

    # --- objects ---

    def _send(self, txn: ReadTxn, oid: Oid) -> None:
        value = txn.get("objects", oid) or b""
        if value[:1] not in _EVERYWHERE:
            super()._send(txn, oid)
        elif oid not in self._pack.repeated:
            self._pack.repeated.add(oid)
            self._sent.add(oid)
            self._put_object(txn, oid)

    # --- attachments, records ---

    def _find_bindings(self, txn: ReadTxn) -> None:
        """Find the attachments that the remote lacks: of new states, and of those that it has."""
        for key, oid in txn.scan("attachments"):
            if self._has_binding(txn, oid):
                continue
            place = self.odb.states.locate(txn, key[:OID_SIZE])
            if place is None or self.chosen.sent.get(place.line, -1) < place.step:
                continue  # also if the remote has it: other refs lead to it
            if self.chosen.receiver_has(place):
                self._extra.append(Oid(oid))
            else:
                self._bindings.setdefault(place, []).append((key, Oid(oid)))

    def _send_binding(self, txn: ReadTxn, oid: Oid) -> None:
        binding = self.odb.object(txn, oid)
        if not isinstance(binding, Binding):
            raise IntegrityError(f"object '{oid.hex()}' must be a binding")
        place = self.odb.locate(txn, binding.state)
        self._need_state(place)
        super()._send_binding(txn, oid)
        if oid not in self._late:
            self._pack.bindings.append(oid)
            self._pack.bound.append(ancestry.LineRange(place.line, place.step, place.step + 1))
            self._cut_if_full()

    def _send_records(self) -> None:
        for oid in self._extra:
            with self.odb.read() as txn:
                self._send_binding(txn, oid)
            self._between()
        with self.odb.read() as txn:
            for name, run in self.chosen.runs.items():
                if RUNS + name in self._has_records:
                    continue
                for record in reversed(run_config.ancestors(self.odb, txn, run.record)):
                    if record.branch_point is not None:
                        self._need_state(self.odb.locate(txn, record.branch_point))
                    self._send(txn, record.oid)
                self._pack.records.add(RUNS + name)
                self._cut_if_full()
            for name, tag in self.chosen.tags.items():
                if tag.tag is not None and TAGS + name not in self._has_records:
                    self._need_state(self.odb.locate(txn, tag.oid))
                    self._send(txn, tag.tag)
                    self._pack.records.add(TAGS + name)
                    self._cut_if_full()

    # --- the end of a pack ---

    def _cut_if_full(self) -> None:
        if self._pack.out.bytes >= CUT or len(self._pack.needs) >= _MOST_PREREQUISITES:
            self._cut()

    def _cut(self) -> None:
        """End the pack that is being made, if anything is in it."""
        pack, self._pack = self._pack, _Open()
        if not pack.out.bytes:
            for number in pack.after:  # its refs share their records with others, in these
                self._records_of[number] |= pack.records
            pack.out.file.close()
            return
        with self.odb.read() as txn:
            needs = tuple(
                self.odb.states.row(txn, Location(line, step))[0]
                for line, step in sorted(pack.needs.items())
            )
        manifest = Manifest(needs, {}, {}, None)
        name, size, file = pack.out.whole(manifest.encode())
        after = tuple(self._names[number] for number in sorted(pack.after))
        entry = PackEntry(name, size, pack.states, after, tuple(pack.stretches))
        self._names.append(name)
        self._records_of.append(pack.records)
        if len(self._ready) >= _HELD:
            file.rollover()
        self._ready.append(
            Pack(entry, file, pack.ranges + pack.bound, pack.records, pack.bindings, pack.needs)
        )
