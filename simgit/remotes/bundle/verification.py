"""Verification of a bundle without a repository: its contents, and that it is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from blake3 import blake3

from simgit.errors import IntegrityError, plural
from simgit.objects.kinds import EMPTY_SCHEMA, decode_object
from simgit.objects.oid import OID_SIZE, object_header
from simgit.objects.schema import Schema
from simgit.odb.database import ObjectDatabase
from simgit.odb.loose import loose_base
from simgit.remotes.bundle import objects, records
from simgit.remotes.bundle.loading import read_first
from simgit.remotes.bundle.manifest import Manifest
from simgit.remotes.bundle.pieces import pieces_of
from simgit.remotes.bundle.records import MAX_OBJECT, Progress, Read, RecordReader
from simgit.remotes.bundle.states import decode_states
from simgit.remotes.bundle.states_head import decode_head
from simgit.storage.memory import MemoryStorage

Seen = Callable[[Sequence[bytes]], object]
"""A function called with the hashes of what comes."""


@dataclass(frozen=True)
class Verified:
    """The contents of a verified bundle."""

    manifest: Manifest
    states: int
    objects: int
    bytes: int


def read_manifest(read: Read) -> Manifest:
    """Return the manifest of a bundle; only its beginning is read.

    Raises:
        IntegrityError: it is not a bundle, or damaged.
    """
    return read_first(iter(RecordReader(read)))


def verify(
    read: Read,
    max_object: int = MAX_OBJECT,
    progress: Progress | None = None,
    seen: Seen | None = None,
) -> Verified:
    """Read a bundle to its end and recompute every hash; return its contents.

    Of arrays that are stored as deltas only the checksums are compared; an import checks their
    hashes too, and every link.

    Args:
        read: returns at most ``n`` bytes, none at the end.
        max_object: the largest object, in bytes, that is accepted.
        progress: called with the number of states read so far.
        seen: called with the hashes of states and objects as they come.

    Raises:
        IntegrityError: it is damaged, truncated or forged.
    """
    return _Verification(max_object, progress, seen or (lambda oids: None)).run(read)


class _Verification:
    """One verification in progress; only schemas are kept in memory."""

    def __init__(self, max_object: int, progress: Progress | None, seen: Seen) -> None:
        self.max_object = max_object
        self.progress = progress
        self.seen = seen
        self.states = 0
        self.objects = 0
        self._odb = ObjectDatabase(MemoryStorage())
        self._schemas: dict[bytes, Schema] = {bytes(EMPTY_SCHEMA.oid): EMPTY_SCHEMA}

    def run(self, read: Read) -> Verified:
        """Verify everything."""
        reader = RecordReader(read, self.max_object)
        stream = iter(reader)
        manifest = read_first(stream)
        for kind, body in stream:
            self._look(kind, body, stream)
        return Verified(manifest, self.states, self.objects, reader.bytes)

    def _look(self, kind: int, body: bytes, stream: Iterator[tuple[int, bytes]]) -> None:
        if kind == records.STATES:
            self._states(body)
        elif kind == records.BLOB:
            self._blob(body, stream)
        elif kind == records.OBJECT:
            self._object(body)
        else:
            raise IntegrityError(f"malformed bundle: misplaced record of type {kind}")

    def _object(self, body: bytes) -> None:
        oid, value = objects.split_object(body, self.max_object)
        self.objects += 1
        self.seen((oid,))
        if loose_base(value) is not None:
            return
        with self._odb.read() as txn:
            thing = decode_object(*objects.decode(self._odb, txn, oid, value))
        if isinstance(thing, Schema):
            self._schemas[oid] = thing

    def _states(self, body: bytes) -> None:
        head = decode_head(body)
        if head.schema not in self._schemas:
            raise IntegrityError(f"the bundle lacks the schema '{head.schema.hex()}' of a state")
        found = decode_states(body, head, self._schemas[head.schema], self.max_object)
        if found.oids[-1] != head.last:
            raise IntegrityError(f"hash mismatch in the bundle: {plural(head.rows, 'state')}")
        self.states += head.rows
        self.seen(found.oids)
        if self.progress is not None:
            self.progress(self.states)

    def _blob(self, body: bytes, stream: Iterator[tuple[int, bytes]]) -> None:
        size = int.from_bytes(body[OID_SIZE:], "little")
        hasher = blake3(object_header("blob", size))
        for piece in pieces_of(stream, size):
            hasher.update(piece)
        if hasher.digest() != body[:OID_SIZE]:
            raise IntegrityError(f"hash mismatch in the bundle: blob '{body[:OID_SIZE].hex()}'")
        self.objects += 1
        self.seen((body[:OID_SIZE],))
