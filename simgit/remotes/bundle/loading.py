"""Importing a bundle into a repository. It is not trusted: see docs/bundle-format.md §1, §4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from simgit.errors import IntegrityError, InvalidInput, Missing, NotFound, plural, warn
from simgit.objects import rows as rowlib
from simgit.objects.kinds import KIND_CODES, Binding, decode_object
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb import trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.batch import Graft, StateBatch, Tip
from simgit.odb.segments.lines import GRAFTS
from simgit.odb.unreachable import note_states_in_flight
from simgit.refs.refs import Refs
from simgit.remotes.bundle import objects, records
from simgit.remotes.bundle.decoding import Decoding
from simgit.remotes.bundle.import_refs import ImportedRef, set_refs
from simgit.remotes.bundle.manifest import Manifest
from simgit.remotes.bundle.pieces import pieces_of, reader_of
from simgit.remotes.bundle.records import MAX_OBJECT, Progress, Read, RecordReader
from simgit.remotes.bundle.states_head import StatesHead, decode_head
from simgit.storage.base import WriteTxn
from simgit.storage.failpoints import fail_point

__all__ = ["Imported", "ImportedRef", "Pieces", "load", "load_pack", "load_pieces"]

BATCH: Final = 8 << 20
"""The bytes of records that go into one transaction."""
TOGETHER: Final = 1 << 14
"""The states of a line that are entered into the index together, as many as a recorder flushes."""
Record = tuple[int, bytes]


@dataclass
class Imported:
    """The result of an import.

    Attributes:
        states, objects: the numbers of new ones.
        refs: the outcome for each ref, by its full name in the bundle.
        attachments: names under which attachments were kept aside.
        bindings: the oids of the attachments that were there, and of what they became here.
    """

    states: int = 0
    objects: int = 0
    refs: dict[str, ImportedRef] = field(default_factory=dict)
    attachments: list[str] = field(default_factory=list)
    bindings: list[Oid] = field(default_factory=list)


def load(
    odb: ObjectDatabase,
    refs: Refs,
    read: Read,
    *,
    prefix: str = "",
    rename: str | None = None,
    max_object: int = MAX_OBJECT,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Imported:
    """Import a bundle; return the result.

    Args:
        odb: the database to import into.
        refs: its refs.
        read: returns at most ``n`` bytes, none at the end.
        prefix: a prefix for the names of runs and tags.
        rename: the name for the bundle's only run.
        max_object: the largest object, in bytes, that is accepted.
        jobs: the number of processes; this one writes, the others decode and hash states. None of
            them is started for some ten thousand states, whose import takes less time.
        progress: called with the number of states read so far.

    Raises:
        IntegrityError: the bundle is damaged, truncated or forged; refs are unchanged.
        NotFound: the repository lacks states that the bundle builds on (``oids``).
        InvalidInput: ``rename`` was given, but the bundle does not have exactly one run.
        StorageError: one of the processes was killed.
    """
    decoding = Decoding(odb, jobs, max_object)
    with closing(decoding):
        return _Loading(odb, max_object, decoding, progress).run(read, refs, prefix, rename)


def load_pack(
    odb: ObjectDatabase, read: Read, *, jobs: int = 1, progress: Progress | None = None
) -> Imported:
    """Import a pack of a remote, which is a bundle without refs; return the result.

    Raises:
        IntegrityError: it is damaged or forged, or lacks an object that it refers to.
        NotFound: the repository lacks states that it builds on (``oids``).
    """
    with closing(Decoding(odb, jobs, MAX_OBJECT)) as decoding:
        loading = _Loading(odb, MAX_OBJECT, decoding, progress)
        manifest = loading.store_all(read)
        if manifest.runs or manifest.tags:
            raise IntegrityError("a pack of the remote has runs or tags in it")
        return loading.done


class Pieces(NamedTuple):
    """Pieces of histories that are imported without what is before them.

    Attributes:
        remote: the name of the remote that has the rest.
        steps: for each record of states, by the oid of its last one: the step of its first, and
            whether a history may begin there.
    """

    remote: str
    steps: Mapping[bytes, tuple[int, bool]]


def load_pieces(odb: ObjectDatabase, stream: Iterator[Record], pieces: Pieces) -> Imported:
    """Import records of packs, each checked; return the result.

    Raises:
        IntegrityError: one is forged, or lacks something that it refers to.
    """
    with closing(Decoding(odb, 1, MAX_OBJECT)) as decoding:
        loading = _Loading(odb, MAX_OBJECT, decoding, None, pieces)
        loading.store_records(stream)
        return loading.done


class _Loading:
    """One import in progress."""

    def __init__(
        self,
        odb: ObjectDatabase,
        max_object: int,
        decoding: Decoding,
        progress: Progress | None,
        pieces: Pieces | None = None,
    ) -> None:
        self.odb = odb
        self.pieces = pieces
        self.max_object = max_object
        self.decoding = decoding
        self.progress = progress
        self._read = 0
        self.done = Imported()
        self._tip: Tip | None = None

    def run(self, read: Read, refs: Refs, prefix: str, rename: str | None) -> Imported:
        """Import everything."""
        manifest = self.store_all(read, rename)
        with self.odb.write() as txn:
            self.done.refs = set_refs(self.odb, refs, txn, manifest, prefix, rename)
            fail_point("import.refs")
        return self.done

    def store_all(self, read: Read, rename: str | None = None) -> Manifest:
        """Store all states and objects; return the manifest."""
        reader = RecordReader(read, self.max_object)
        stream = iter(reader)
        manifest = read_first(stream)
        if rename is not None and len(manifest.runs) != 1:
            raise InvalidInput(
                f"cannot rename the run: the bundle has {plural(len(manifest.runs), 'run')}"
            )
        self._check_prerequisites(manifest)
        self.store_records(stream)
        return manifest

    def store_records(self, stream: Iterator[Record]) -> None:
        """Store what records have."""
        for batch in self._offered(_batches(stream)):
            if batch[0][0] == records.BLOB:
                self._store_blob(batch[0][1], stream)
            else:
                self._store(batch)

    def _offered(self, batches: Iterator[list[Record]]) -> Iterator[list[Record]]:
        """Yield batches whose records of states are offered to be decoded.

        With several processes the batch that follows is read before one is stored, so that they
        have work meanwhile. Not so a blob, whose pieces are read when it is stored, and not after a
        batch that is large: no more than one such is in memory.
        """
        batch, error = self._next(batches)
        while batch:
            size = sum(len(body) for _, body in batch)
            if self.decoding.is_ahead and batch[0][0] != records.BLOB and size <= BATCH:
                following, error = self._next(batches)
                yield batch
            else:
                yield batch
                following, error = self._next(batches)
            batch = following
        if error is not None:
            raise error  # only now: what came before it is stored

    def _next(self, batches: Iterator[list[Record]]) -> tuple[list[Record], Exception | None]:
        """Return the next batch, none at the end, or the error that reading it raised."""
        try:
            batch = next(batches, [])
        except Exception as error:
            return [], error
        for kind, body in batch:
            if kind == records.STATES:
                self.decoding.offer(body)
        return batch, None

    def _check_prerequisites(self, manifest: Manifest) -> None:
        if not manifest.prerequisites:
            return
        with self.odb.write() as txn:
            missing = [oid for oid in manifest.prerequisites if not self._expect(txn, oid)]
        if missing:
            raise NotFound(
                f"the bundle builds on state '{missing[0].short(12)}', which is not in this "
                "repository; import the bundle or run that has it first",
                oids=missing,
            )

    def _store(self, batch: list[Record]) -> None:
        with self.odb.write() as txn, self.odb.states.together(txn):
            for kind, body in batch:
                if kind == records.OBJECT:
                    self.odb.states.enter_waiting(txn)  # it may refer to them
                    self._store_object(txn, body)
                elif kind == records.STATES:
                    self._store_states(txn, body)
                    self._read += decode_head(body).rows
                    if self.progress is not None:
                        self.progress(self._read)
                else:
                    raise IntegrityError(f"malformed bundle: misplaced record of type {kind}")
        fail_point("import.batch")

    def _store_object(self, txn: WriteTxn, body: bytes) -> None:
        oid, value = objects.split_object(body, self.max_object)
        if self.pieces is not None and self._is_elsewhere(txn, oid, value):
            return
        before = txn.get("objects", oid)
        bound = objects.store(self.odb, txn, oid, value)
        self.odb.expect(txn, oid)
        self.done.objects += before is None
        if bound is not None:
            self.done.bindings += dict.fromkeys((oid, bound.oid))  # of another name, if aside
            if bound.aside is not None:
                self.done.attachments.append(bound.aside)

    def _is_elsewhere(self, txn: WriteTxn, oid: Oid, value: bytes) -> bool:
        """Return True for an attachment of a state, or with names of states, that is not here.

        It comes with the whole run. The second kind is said: its own state is here.
        """
        if value[0] != KIND_CODES["binding"]:
            return False
        binding = decode_object(*objects.decode(self.odb, txn, oid, value))
        assert isinstance(binding, Binding)
        if not objects.has(self.odb, txn, "state", binding.state):
            return True
        if not objects.has(self.odb, txn, binding.target_kind, binding.target):
            return False  # which is found when it is stored
        named = trees.states_named(self.odb, txn, binding.target_kind, binding.target)
        if all(objects.has(self.odb, txn, "state", each) for each in named):
            return False
        warn(
            f"attachment '{binding.name}' of state '{binding.state.short(12)}' is left out: it "
            "names states that are not here; fetch the whole run for it"
        )
        return True

    # --- states ---

    def _expect(self, txn: WriteTxn, oid: bytes) -> bool:
        """Return True if a state exists, which gc then keeps until refs lead to it."""
        place = self.odb.states.locate(txn, oid)
        if place is not None:
            note_states_in_flight(txn, *place)
        return place is not None

    def _has(self, txn: WriteTxn, head: StatesHead) -> bool:
        """Return True if the states of a record exist."""
        tip, states = self._tip, self.odb.states
        if tip is not None and head.parents == (tip.oid,):
            states.enter_waiting(txn, TOGETHER)
            if next(states.children(txn, tip.place), None) is None:
                return False  # nothing follows the state that they follow
        states.enter_waiting(txn)
        return self._expect(txn, head.last) and self._is_whole(txn, head)

    def _is_whole(self, txn: WriteTxn, head: StatesHead) -> bool:
        """Return True if not only the last state of a record exists: a graft may begin in it."""
        place = self.odb.states.locate(txn, head.last)
        if place is None or place.line < GRAFTS:
            return place is not None
        try:
            self.odb.states.ancestor(txn, place, place.step - head.rows + 1)
        except Missing:
            return False
        return True

    def _store_states(self, txn: WriteTxn, body: bytes) -> None:
        head = decode_head(body)
        task = self.decoding.take()
        if self._has(txn, head):
            return  # with all its ancestors
        self.decoding.ahead(txn)
        parents, graft = self._parents(txn, head)
        if not head.parents and not objects.has(self.odb, txn, "spec", head.origin):
            raise IntegrityError(f"the bundle lacks the origin '{head.origin.hex()}' of a state")
        if not objects.has(self.odb, txn, "schema", head.schema):
            raise IntegrityError(f"the bundle lacks the schema '{head.schema.hex()}' of a state")
        schema = self.odb.schema(txn, head.schema)
        rows, oids, block = self.decoding.states(txn, task, body, head, schema)
        self._check_references(txn, rows)
        if oids[-1] != head.last:
            raise IntegrityError(f"hash mismatch in the bundle: {plural(head.rows, 'state')}")
        # the block is stored as it came: it was decoded to these rows, and is not made again
        batch = StateBatch(rows, oids, parents, head.origin, block, graft)
        self._tip = self.odb.states.append(txn, batch)
        note_states_in_flight(txn, *self._tip.place)
        self.done.states += head.rows

    def _parents(self, txn: WriteTxn, head: StatesHead) -> tuple[tuple[Tip, ...], Graft | None]:
        """Return the parents of a record, or what stands for them if they need not be here."""
        step, may_begin = (-1, False) if self.pieces is None else self.pieces.steps[head.last]
        if self.pieces is not None and may_begin and head.parents and step > 0:
            self.odb.states.enter_waiting(txn)
            if any(self.odb.states.locate(txn, oid) is None for oid in head.parents):
                return (), Graft(head.parents, step, self.pieces.remote)
        return tuple(self._parent(txn, oid) for oid in head.parents), None

    def _parent(self, txn: WriteTxn, oid: bytes) -> Tip:
        if self._tip is not None and self._tip.oid == oid:
            return self._tip
        place = self.odb.states.locate(txn, oid)
        if place is None:
            raise IntegrityError(f"the bundle lacks the parent '{oid.hex()}' of a state")
        return self.odb.states.tip(txn, place)

    def _check_references(self, txn: WriteTxn, rows: rowlib.Rows) -> None:
        """Check that the arrays and files of rows came before or with them."""
        here = {(field, row) for field, found in rows.arrays.items() for row, _ in found}
        carried = {rowlib.column(rows, field)[row].tobytes() for field, row in here}
        for _, kind, oid in rowlib.references(rows):
            if oid not in carried and not objects.has(self.odb, txn, kind, oid):
                raise IntegrityError(f"the bundle lacks the {kind} '{oid.hex()}' of a state")

    # --- blobs ---

    def _store_blob(self, body: bytes, stream: Iterator[Record]) -> None:
        oid, size = body[:OID_SIZE], int.from_bytes(body[OID_SIZE:], "little")
        pieces = pieces_of(stream, size)
        with self.odb.write() as txn:
            known = objects.has(self.odb, txn, "blob", oid)
            if known:
                self.odb.expect(txn, oid)
        if known:
            for _ in pieces:
                pass
            return
        if self.odb.put_blob(reader_of(pieces), size) != oid:
            raise IntegrityError(f"hash mismatch in the bundle: blob '{oid.hex()}'")
        self.done.objects += 1


def read_first(stream: Iterator[Record]) -> Manifest:
    """Return the manifest, the first record.

    Raises:
        IntegrityError: the bundle does not begin with it.
    """
    kind, body = next(stream, (records.END, b""))
    if kind != records.MANIFEST:
        raise IntegrityError("malformed bundle: it must begin with its manifest")
    return Manifest.decode(body)


def _batches(stream: Iterator[Record]) -> Iterator[list[Record]]:
    """Yield records in batches of one transaction each; the beginning of a blob alone."""
    batch: list[Record] = []
    size = 0
    for record in stream:
        if batch and (record[0] == records.BLOB or size + len(record[1]) > BATCH):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record[1])
        if record[0] == records.BLOB:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
