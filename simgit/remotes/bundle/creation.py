"""Writing a bundle, state by state and object by object, in short transactions."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from blake3 import blake3

from simgit.errors import IntegrityError
from simgit.objects import rows as rowlib
from simgit.objects.canonical import limit_parts
from simgit.objects.codec import decode_name
from simgit.objects.kinds import COUNTED, KIND_CODES, Binding
from simgit.objects.oid import OID_SIZE, Oid, object_header
from simgit.objects.rows import Rows
from simgit.odb import ancestry, trees
from simgit.odb.database import CHUNKED_SIZE, ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.loose import HEAD, Encoding, encode_loose, loose_base
from simgit.odb.segments.array_codec import decode_group, group_header, unstack
from simgit.odb.segments.array_groups import Member, groups_between, read_group
from simgit.odb.segments.header import NO_PARENT
from simgit.odb.segments.lines import read_line
from simgit.refs import run_config
from simgit.refs.own_names import base_name
from simgit.refs.records import TagRef
from simgit.refs.refs import Refs
from simgit.remotes.bundle import records
from simgit.remotes.bundle.limits import (
    check_sent,
    check_sent_values,
    inflates_too_much,
    is_counted,
    parts_of,
)
from simgit.remotes.bundle.manifest import Manifest, RunEntry, TagEntry
from simgit.remotes.bundle.pieces import MAX_PIECE, encode_piece
from simgit.remotes.bundle.records import RecordWriter, Write
from simgit.remotes.bundle.select import BundleSelection, select, select_states
from simgit.remotes.bundle.states import encode_rows, encode_stored
from simgit.remotes.bundle.states_head import encode_head
from simgit.storage.base import ReadTxn

_MAX_TREES = 64


@dataclass(frozen=True)
class BundleInfo:
    """The contents of a written bundle: numbers of states and objects, and its size in bytes."""

    states: int
    objects: int
    bytes: int
    refs: dict[str, Oid | None]
    prerequisites: tuple[Oid, ...]


def create(
    odb: ObjectDatabase,
    refs: Refs,
    write: Write,
    names: Sequence[str],
    exclude: Sequence[str | Oid] = (),
    attachments: Sequence[str] | None = None,
) -> BundleInfo:
    """Write a bundle of some runs and tags; return its contents.

    Args:
        odb: the database to read.
        refs: its refs.
        write: takes the bytes, in order.
        names: the names of the runs and tags.
        exclude: revisions that the receiver has, with all their ancestors.
        attachments: the names of the attachments to include, None for all.

    Raises:
        NotFound: a name or revision is not found.
    """
    with odb.read() as txn:
        chosen = select(odb, refs, txn, names, exclude, attachments)
    return Creation(odb, chosen, RecordWriter(write), attachments).run()


def create_of_states(odb: ObjectDatabase, write: Write, states: Sequence[Oid]) -> BundleInfo:
    """Write a bundle of states with their history, without attachments; tags name the states.

    Raises:
        NotFound: there is no such state.
    """
    tags = {f"states/{each.hex()}": TagRef(each, None) for each in states}
    with odb.read() as txn:
        chosen = select_states(odb, txn, {}, tags, (), None, ())
    return Creation(odb, chosen, RecordWriter(write), ()).run()


class Sent(Protocol):
    """The objects that were sent."""

    def __contains__(self, oid: object, /) -> bool: ...

    def __len__(self) -> int: ...

    def add(self, oid: bytes, /) -> None:
        """Note one that is sent now."""


class Out(Protocol):
    """A receiver of records."""

    def put(self, kind: int, *parts: bytes) -> None:
        """Write a record, its body given in parts."""


class Creation:
    """One bundle while it is written."""

    def __init__(
        self,
        odb: ObjectDatabase,
        chosen: BundleSelection,
        out: Out,
        attachments: Sequence[str] | None,
    ) -> None:
        self.odb = odb
        self.chosen = chosen
        self.out = out
        self.names = None if attachments is None else tuple(attachments)
        self.states = 0
        self._sent: Sent = set()
        self._done: dict[int, int] = {}  # the newest sent step of each line
        self._bindings: dict[Location, list[tuple[bytes, Oid]]] = {}
        self._late: list[Oid] = []  # the bindings that refer to states which come later

    def run(self) -> BundleInfo:
        """Write everything."""
        writer = self.out
        assert isinstance(writer, RecordWriter)
        manifest = self._manifest()
        writer.put(records.MANIFEST, manifest.encode())
        self.send_all()
        writer.finish()
        return BundleInfo(
            self.states, len(self._sent), writer.bytes, manifest.refs, manifest.prerequisites
        )

    def send_all(self) -> None:
        """Write what follows the manifest."""
        with self.odb.read() as txn:
            self._assume_known_files(txn)
            self._find_bindings(txn)
        for piece in self.chosen.pieces:
            self._send_piece(piece)
        late, self._late = self._late, []
        for oid in late:
            with self.odb.read() as txn:
                self._send_binding(txn, oid)
            if self._late:
                raise IntegrityError(f"object '{oid.hex()}' refers to a missing state")
            self._between()
        self._send_records()

    def _between(self) -> None:
        """Do what may take long: no snapshot is held, as one would keep freed pages from use."""

    def _manifest(self) -> Manifest:
        runs = {
            name: RunEntry(ref.oid, ref.record, ref.status, ref.created, ref.ended, ref.parent)
            for name, ref in self.chosen.runs.items()
        }
        tags = {name: TagEntry(ref.oid, ref.tag) for name, ref in self.chosen.tags.items()}
        needed = tuple(dict.fromkeys((*self.chosen.bases, *self.chosen.boundary)))
        return Manifest(needed, runs, tags, self.names)

    def _assume_known_files(self, txn: ReadTxn) -> None:
        """Count the files of the receiver's newest states as sent."""
        for oid in self.chosen.bases:
            self._assume_files_of(txn, oid)

    def _assume_files_of(self, txn: ReadTxn, oid: Oid) -> None:
        place = self.odb.locate(txn, oid)
        line_range = ancestry.LineRange(place.line, place.step, place.step + 1)
        for _, _, rows in self._rows(txn, line_range):
            for _, kind, tree in rowlib.references(rows):
                if kind == "tree":
                    for _, _, each in trees.walk(self.odb, txn, kind, Oid(tree)):
                        self._sent.add(each)

    def _find_bindings(self, txn: ReadTxn) -> None:
        """Find the attachments to include, by the locations of their states."""
        for key, oid in txn.scan("attachments"):
            name = base_name(decode_name(key[OID_SIZE:]))
            if self.names is not None and name not in self.names:
                continue
            place = self.odb.states.locate(txn, key[:OID_SIZE])
            if place and self.chosen.has(place) and not self.chosen.receiver_has(place):
                self._bindings.setdefault(place, []).append((key, Oid(oid)))

    # --- states ---

    def _rows(self, txn: ReadTxn, piece: ancestry.LineRange) -> list[tuple[int, int, Rows]]:
        """Return (line, step, rows) of the first block of a piece."""
        for step, rows in self.odb.states.rows(txn, piece.line, piece.start, piece.stop):
            return [(piece.line, step, rows)]
        raise IntegrityError(
            f"the state at {piece.line}/{piece.start} is missing; see 'simgit fsck'"
        )

    def _send_piece(self, piece: ancestry.LineRange) -> None:
        step = piece.start
        while step < piece.stop:
            with self.odb.read() as txn:
                rest = ancestry.LineRange(piece.line, step, piece.stop)
                for line, first, rows in self._rows(txn, rest):
                    for start, stop in parts_of(txn, Location(line, first), rows):
                        part = rows.slice(start, stop) if stop - start < rows.count else rows
                        self._send_rows(txn, Location(line, first + start), part)
                    step += rows.count
            self._between()

    def _send_rows(self, txn: ReadTxn, place: Location, rows: Rows) -> None:
        check_sent_values(rows)
        parents, origin = self._above(txn, place)
        if origin:
            self._send(txn, Oid(origin))
        self._send(txn, Oid(rows.schema.oid))
        self._done[place.line] = place.step + rows.count - 1
        arrays = self._arrays(txn, place, rows)
        for _, kind, oid in rowlib.references(rows):
            if kind == "tree":
                self._send_tree(txn, Oid(oid))
        first = parents[0] if parents else NO_PARENT
        stop = place.step + rows.count
        stored = self.odb.states.encoded(txn, place, rows.count)
        if stored is not None and stored.follows([first]):
            # neither encoded nor hashed again: the receiver computes all hashes
            oids = self.odb.states.all_oids(txn, place.line, stop - 1, stop)
            parts = encode_stored(stored, arrays)
        else:
            oids = self.odb.states.all_oids(txn, place.line, place.step, stop)
            parts = encode_rows(rows, [first, *oids[:-1]], arrays)
        head = encode_head(parents, origin, rows.schema.oid, oids[-1], rows.count)
        self.out.put(records.STATES, head, *parts)
        self._note_rows(place, rows.count, oids[-1])
        self._send_bindings(txn, place, rows.count)

    def _note_rows(self, place: Location, count: int, last: bytes) -> None:
        """Note that states were sent, the oid of the last one given."""
        self.states += count

    def _above(self, txn: ReadTxn, place: Location) -> tuple[list[bytes], bytes]:
        """Return parents and origin of a state."""
        line = read_line(txn, place.line)
        if place.step == line.step:
            return list(line.parents), line.origin
        return [bytes(self.odb.states.row(txn, Location(place.line, place.step - 1))[0])], b""

    def _arrays(self, txn: ReadTxn, place: Location, rows: Rows) -> dict[int, list[Member]]:
        """Return the arrays to send with the rows, by field; others are sent as objects."""
        found: dict[int, list[Member]] = {}
        for field in rows.schema.arrays:
            oids = rowlib.column(rows, field)
            members = self._members(txn, place, rows.count, field, oids)
            here = {row for row, _, _ in members}
            for row in np.flatnonzero(rowlib.presence(rows, field)).tolist():
                if row not in here:
                    self._send_array(txn, Oid(oids[row].tobytes()))
            if members:
                found[field] = members
        return found

    def _members(
        self, txn: ReadTxn, place: Location, count: int, field: int, oids: np.ndarray
    ) -> list[Member]:
        """Return the arrays of a field that are stored with their own state."""
        members: list[Member] = []
        line, start = place
        for first, key in groups_between(txn, line, field, start, start + count):
            data = read_group(txn, key)
            steps = group_header(data).steps + first - start
            inside = np.flatnonzero((steps >= 0) & (steps < count)).tolist()
            if inside:
                arrays = unstack(decode_group(data, inside[-1]))
                members += [(int(steps[i]), oids[steps[i]].tobytes(), arrays[i]) for i in inside]
        return members

    def _send_array(self, txn: ReadTxn, oid: Oid) -> None:
        """Send an array that lies with another state, unless the receiver has that state."""
        where = self.odb.states.find_array(txn, oid)
        if where is not None:
            place = Location(where[0], where[2])
            if self._is_sent(place):
                return
        self._send(txn, oid)

    # --- objects ---

    def _send(self, txn: ReadTxn, oid: Oid) -> None:
        """Send an object, once, without the objects that it refers to."""
        if oid in self._sent:
            return
        self._sent.add(oid)
        self._put_object(txn, oid)

    def _put_object(self, txn: ReadTxn, oid: Oid) -> None:
        if self._send_blob(txn, oid):
            return
        value = self.odb.loose(txn, oid)
        base = None if value is None else loose_base(value)
        if value is None or (base is not None and base not in self._sent):
            value = encode_loose(*self.odb.get(txn, oid))
        if inflates_too_much(value):  # a reader would refuse it
            kind, payload = self.odb.get(txn, oid)
            value = HEAD.pack(value[0], Encoding.RAW, len(payload)) + payload
        check_sent(oid, value)
        if is_counted(oid, value):  # those of today are limited when they are written
            kind, payload = self.odb.get(txn, oid)
            limit_parts(payload, COUNTED[kind])
        self.out.put(records.OBJECT, oid, value)

    def _send_blob(self, txn: ReadTxn, oid: Oid) -> bool:
        """Send a blob in pieces; return False for a small one, and for other objects."""
        value = txn.get("objects", oid) or b""
        if value[:1] != KIND_CODES["blob"].to_bytes():
            return False
        size = self.odb.blob_size(txn, oid)
        if size < CHUNKED_SIZE and value[1] != Encoding.CHUNKS:
            return False
        self.out.put(records.BLOB, oid, struct.pack("<Q", size))
        hasher = blake3(object_header("blob", size))
        held = bytearray()  # the pieces do not depend on how the blob is stored
        for part in self.odb.pieces(txn, oid, value):
            hasher.update(part)
            held += part
            while len(held) >= MAX_PIECE:
                self.out.put(records.PIECE, encode_piece(bytes(held[:MAX_PIECE])))
                del held[:MAX_PIECE]
        if held:
            self.out.put(records.PIECE, encode_piece(bytes(held)))
        if hasher.digest() != oid:
            raise IntegrityError(f"hash mismatch: object '{oid.hex()}'; see 'simgit fsck'")
        return True

    def _send_tree(self, txn: ReadTxn, oid: Oid, depth: int = 0) -> None:
        """Send a tree after its entries."""
        if oid in self._sent:
            return
        if depth > _MAX_TREES:
            raise IntegrityError(f"trees are nested deeper than {_MAX_TREES} levels", oid=oid)
        for entry in trees.load_tree(self.odb, txn, oid).entries:
            if entry.kind == "tree":
                self._send_tree(txn, entry.oid, depth + 1)
            elif entry.kind == "array":
                self._send_array(txn, entry.oid)
            else:
                self._send(txn, entry.oid)
        self._send(txn, oid)

    def _send_bindings(self, txn: ReadTxn, place: Location, count: int) -> None:
        """Send the attachments of some states."""
        steps: Iterable[int] = range(place.step, place.step + count)
        if len(self._bindings) < count:  # which is so for nearly all
            steps = sorted(s for line, s in self._bindings if line == place.line and s in steps)
        for step in steps:
            for _, oid in self._bindings.pop(Location(place.line, step), ()):
                self._send_binding(txn, oid)

    def _send_binding(self, txn: ReadTxn, oid: Oid) -> None:
        binding = self.odb.object(txn, oid)
        if not isinstance(binding, Binding):
            raise IntegrityError(f"object '{oid.hex()}' must be a binding")
        if binding.target_kind == "tree":
            self._send_tree(txn, binding.target)
        elif binding.target_kind == "array":
            self._send_array(txn, binding.target)
        else:
            self._send(txn, binding.target)
        states = trees.states_named(self.odb, txn, binding.target_kind, binding.target)
        if all(self._is_sent(self.odb.locate(txn, each)) for each in states):
            self._send(txn, oid)
        else:
            self._late.append(oid)

    def _is_sent(self, place: Location) -> bool:
        return self.chosen.receiver_has(place) or self._done.get(place.line, -1) >= place.step

    def _send_records(self) -> None:
        """Send the records of runs, parents first, and the annotations of tags."""
        with self.odb.read() as txn:
            for run in self.chosen.runs.values():
                chain = run_config.ancestors(self.odb, txn, run.record)
                for record in reversed(chain):
                    self._send(txn, record.oid)
            for tag in self.chosen.tags.values():
                if tag.tag is not None:
                    self._send(txn, tag.tag)
