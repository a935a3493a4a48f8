"""Fetching a part of a run: some of its states, by ranges of the packs that have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from simgit.errors import IntegrityError, InvalidInput, Missing, NotFound
from simgit.objects import rows as rowlib
from simgit.objects.kinds import KIND_CODES, Run
from simgit.objects.oid import OID_SIZE, Oid
from simgit.objects.schema import Schema
from simgit.odb.database import ObjectDatabase
from simgit.remotes.bundle import objects, records
from simgit.remotes.bundle.loading import Imported, Pieces, load_pieces
from simgit.remotes.bundle.records import MAX_OBJECT
from simgit.remotes.bundle.states import decode_states
from simgit.remotes.bundle.states_head import decode_head
from simgit.remotes.connection import Connection
from simgit.remotes.layout import PackEntry, RemoteRef
from simgit.remotes.pack_parts import LocatedStretch, PackParts, Record, TableLine

_SMALL: Final = 64 << 10
"""Larger objects are neither schemas nor records of runs."""
_BINDING: Final = KIND_CODES["binding"]
_OF_REFS: Final = {KIND_CODES["run"], KIND_CODES["tag"], _BINDING}


class AskedSteps(NamedTuple):
    """The steps of states that are asked for.

    Attributes:
        first: the first one; negative: so many states before the newest one's end.
        last: the last one; None for the newest.
    """

    first: int
    last: int | None = None


class _Piece(NamedTuple):
    """Consecutive records of states in a pack."""

    parts: PackParts
    lines: list[TableLine]


class StretchFetch:
    """Fetches stretches of runs of one remote."""

    def __init__(self, odb: ObjectDatabase, connection: Connection, remote: str) -> None:
        """Take where to fetch from and to.

        Args:
            odb: the database.
            connection: the remote.
            remote: its name here.
        """
        self.odb = odb
        self.connection = connection
        self.remote = remote
        self._parts: dict[bytes, PackParts] = {}
        self._entries: list[PackEntry] = []
        self._stretches: list[LocatedStretch] = []

    @property
    def packs(self) -> int:
        """Of how many packs something was read."""
        return len(self._parts)

    def begin(self, ref: RemoteRef) -> int:
        """Look at a ref; return the step of its newest state.

        Raises:
            InvalidInput: that is no end of a stretch.
        """
        self._entries = self.connection.entries(ref)
        self._stretches = [
            LocatedStretch(entry, number)
            for entry in self._entries
            for number in range(len(entry.stretches))
        ]
        for each in self._stretches:
            if each.states.oid == ref.oid:
                return each.states.last
        raise InvalidInput(
            f"'{ref.name}' of '{self.connection.shown}' ends within another run there; "
            "fetch it whole",
            name=ref.name,
        )

    def oid_at(self, ref: RemoteRef, step: int) -> bytes:
        """Return the state of a step; ``begin`` comes before.

        Raises:
            InvalidInput: what leads to it cannot be told without the whole run.
        """
        ((stretch, *_),) = self._chosen(ref, step, step)
        parts, (line,) = self._piece(stretch, step, step)
        return self._oids(parts, line)[step - line.step]

    def fetch(
        self, ref: RemoteRef, first: int, last: int, *, attachments: bool = True
    ) -> tuple[Oid, Imported]:
        """Import the states from a step to another, with what they need; ``begin`` comes before.

        Whole records are imported, so there may be more of them.

        Returns:
            The newest state that was imported, and what came.

        Raises:
            InvalidInput: what leads to the states cannot be told without the whole run.
            IntegrityError: what came does not have its name, or does not fit together.
        """
        chosen = self._chosen(ref, first, last)
        pieces = [self._piece(each, low, high) for each, low, high, _ in chosen]
        runs = self._records(ref.fields["record"])
        extra = self._named_states(pieces, runs)
        done = self._load([*extra, *pieces], len(extra), runs, attachments=attachments)
        newest = pieces[-1].lines[-1]
        last = min(newest.step + newest.states - 1, chosen[-1][3])
        return self._tip(newest, pieces[0].lines[0].step, last), done

    def _tip(self, newest: TableLine, first: int, last: int) -> Oid:
        """Return the newest state of the run; after it, its record can have those of another.

        Raises:
            IntegrityError: what came does not lead to it.
        """
        with self.odb.read() as txn:
            try:
                place = self.odb.locate(txn, newest.last)
                place = self.odb.states.ancestor(txn, place, last)
                self.odb.states.ancestor(txn, place, first)
                return self.odb.states.row(txn, place)[0]
            except (NotFound, Missing):
                raise IntegrityError(
                    f"the packs of '{self.connection.shown}' do not have the states that refs say"
                ) from None

    # --- which records ---

    def _chosen(
        self, ref: RemoteRef, first: int, last: int
    ) -> list[tuple[LocatedStretch, int, int, int]]:
        """Return the stretches that have the steps, oldest first.

        Each comes with the first and the last step that is wanted, and the last one of the run.
        """
        at = next(each for each in self._stretches if each.states.oid == ref.oid)
        upto = at.states.last
        found: list[tuple[LocatedStretch, int, int, int]] = []
        while True:
            low, high = max(first, at.states.first), min(last, upto)
            if low <= high:
                found.append((at, low, high, upto))
            if at.states.first <= first:
                return found[::-1]
            at, upto = self._before(at)

    def _before(self, at: LocatedStretch) -> tuple[LocatedStretch, int]:
        """Return the range before one, and the step in it that the first state follows."""
        step = at.states.first - 1
        near = [each for each in self._stretches if each.states.first <= step <= each.states.last]
        same = [each for each in near if each.states.ref == at.states.ref]
        if len(same) == 1 and same[0].states.last == step:
            return same[0], step
        parts = self._open(at.entry)
        line = next(line for line in parts.lines if line.stretch == at.number)
        return self._find(parts.head(line).parents[0], [step])

    def _find(self, oid: bytes, steps: Sequence[int]) -> tuple[LocatedStretch, int]:
        """Return the range and the step of a state, which is at the end of one or at some step.

        Raises:
            InvalidInput: it is neither.
        """
        for each in self._stretches:
            if each.states.oid == oid:
                return each, each.states.last
        for step in steps:
            for each in self._stretches:
                if each.states.first <= step <= each.states.last:
                    parts, (line,) = self._piece(each, step, step)
                    if self._oids(parts, line)[step - line.step] == oid:
                        return each, step
        raise InvalidInput(
            f"where '{self.connection.shown}' has state '{oid.hex()[:10]}' cannot be told from "
            "parts of it; fetch the whole run"
        )

    def _oids(self, parts: PackParts, line: TableLine) -> list[bytes]:
        _, body = parts.record(line)
        head = decode_head(body)
        schema = self._schema(parts, head.schema)
        return decode_states(body, head, schema, MAX_OBJECT).oids

    def _schema(self, parts: PackParts, oid: bytes) -> Schema:
        with self.odb.read() as txn:
            if txn.get("objects", oid) is not None:
                return self.odb.schema(txn, oid)
            found = self._object(parts, oid)
            if found is None:
                raise IntegrityError(f"a pack of the remote lacks the schema '{oid.hex()}'")
            value = objects.split_object(found, MAX_OBJECT)[1]
            return Schema.decode(objects.decode(self.odb, txn, Oid(oid), value)[1])

    def _piece(self, stretch: LocatedStretch, first: int, last: int) -> _Piece:
        parts = self._open(stretch.entry)
        lines = [
            line for line in parts.lines
            if line.stretch == stretch.number and line.step <= last
            and line.step + line.states > first
        ]  # fmt: skip
        return _Piece(parts, lines)

    def _open(self, entry: PackEntry) -> PackParts:
        if entry.name not in self._parts:
            self._parts[entry.name] = PackParts(self.connection, entry)
        return self._parts[entry.name]

    # --- what they need ---

    def _object(self, parts: PackParts, oid: bytes) -> bytes | None:
        """Return the record of a small object of a pack: first of what was read, then of all."""
        small = [e for e in parts.lines if e.kind == records.OBJECT and e.size <= _SMALL]
        first = [line for line in small if parts.has(line.offset, line.stop)]
        for lines in (first, parts.begins(), small):
            parts.want(lines)
            for line in lines:
                _, body = parts.record(line)
                if body[:OID_SIZE] == oid:
                    return body
        return None

    def _records(self, oid: Oid | None) -> list[bytes]:
        """Return the records of a run and of those that it inherits from, the run's own last."""
        found: list[bytes] = []
        while oid is not None:
            with self.odb.read() as txn:
                is_here = txn.get("objects", oid) is not None
                thing = self.odb.object(txn, oid) if is_here else None
            if thing is None:
                body = self._anywhere(oid)
                value = objects.split_object(body, MAX_OBJECT)[1]
                with self.odb.read() as txn:
                    kind, payload = objects.decode(self.odb, txn, oid, value)
                thing = Run.decode(payload) if kind == "run" else None
                found.append(body)
            if not isinstance(thing, Run):
                raise IntegrityError(f"object '{oid.hex()}' of the remote must be a run's record")
            oid = thing.parent
        return found[::-1]

    def _anywhere(self, oid: Oid) -> bytes:
        """Return the record of a small object of any pack, the newest first."""
        for whole in (False, True):
            for entry in reversed(self._entries):
                parts = self._open(entry)
                lines = [
                    e for e in parts.lines
                    if e.kind == records.OBJECT and e.size <= _SMALL
                    and (whole or parts.has(e.offset, e.stop))
                ]  # fmt: skip
                parts.want(lines)
                for line in lines:
                    _, body = parts.record(line)
                    if body[:OID_SIZE] == oid:
                        return body
        raise IntegrityError(f"the packs of the remote lack '{oid.hex()}', which a ref names")

    def _named_states(self, pieces: list[_Piece], runs: list[bytes]) -> list[_Piece]:
        """Return records with states that others name: merged ones, and where runs branched off."""
        wanted: dict[bytes, None] = {}
        for piece in pieces:
            piece.parts.want(piece.lines)
            for line in piece.lines[1:] if piece is pieces[0] else piece.lines:
                wanted |= dict.fromkeys(piece.parts.head(line).parents[1:])
        for body in runs:
            value = objects.split_object(body, MAX_OBJECT)[1]
            with self.odb.read() as txn:
                run = Run.decode(objects.decode(self.odb, txn, Oid(body[:OID_SIZE]), value)[1])
            if run.branch_point is not None:
                wanted[bytes(run.branch_point)] = None
        have = {oid for piece in pieces for line in piece.lines for oid in [line.last]}
        hints = sorted(
            {e.states.first - 1 for e in self._stretches if e.states.first}, reverse=True
        )
        found = []
        for oid in wanted:
            with self.odb.read() as txn:
                is_here = self.odb.states.locate(txn, oid) is not None
            if is_here or oid in have or self._is_among(pieces, oid, hints):
                continue
            found.append(self._piece_of(*self._find(oid, hints)))
        return found

    def _piece_of(self, stretch: LocatedStretch, step: int) -> _Piece:
        return self._piece(stretch, step, step)

    def _is_among(self, pieces: list[_Piece], oid: bytes, steps: Sequence[int]) -> bool:
        """Return True if a state that others name is one of those that are imported anyway."""
        for piece in pieces:
            for line in piece.lines:
                near = [step for step in steps if line.step <= step < line.step + line.states]
                if near and oid in self._oids(piece.parts, line):
                    return True
        return False

    # --- importing ---

    def _load(
        self, pieces: list[_Piece], extra: int, runs: list[bytes], *, attachments: bool
    ) -> Imported:
        steps: dict[bytes, tuple[int, bool]] = {}
        for number, piece in enumerate(pieces):
            for i, line in enumerate(piece.lines):
                may_begin = (number < extra or number == extra) and i == 0
                steps.setdefault(line.last, (line.step, may_begin))
        plan = Pieces(self.remote, steps)
        try:
            return load_pieces(self.odb, self._stream(pieces, runs, attachments), plan)
        except IntegrityError as error:
            if "lacks" not in str(error) and "missing" not in str(error):
                raise
        return load_pieces(self.odb, self._whole(pieces, runs, attachments), plan)

    def _stream(
        self, pieces: list[_Piece], runs: list[bytes], attachments: bool
    ) -> Iterator[Record]:
        """Yield the records of pieces, with the schemas before them."""
        sent: set[bytes] = set()
        for piece in pieces:
            lines = [*piece.lines, *self._beside(piece)] if attachments else piece.lines
            piece.parts.want(lines)
            for line in sorted(lines):
                kind, body = piece.parts.record(line)
                if kind == records.STATES:
                    head = decode_head(body)
                    for oid in (head.schema, head.origin):
                        if oid and oid not in sent and not self._is_here(oid):
                            sent.add(oid)
                            if (found := self._object(piece.parts, oid)) is not None:
                                yield records.OBJECT, found
                elif kind == records.OBJECT and _kind(body) in _OF_REFS - {_BINDING}:
                    continue
                yield kind, body
        yield from ((records.OBJECT, body) for body in runs)

    def _is_here(self, oid: bytes) -> bool:
        with self.odb.read() as txn:
            return txn.get("objects", oid) is not None

    @staticmethod
    def _beside(piece: _Piece) -> list[TableLine]:
        """Return the lines of what lies between the states of a piece, and after them."""
        found, inside = [], False
        for line in piece.parts.lines:
            if line.kind == records.STATES:
                inside = line in piece.lines
            elif inside:
                found.append(line)
        return found

    def _whole(
        self, pieces: list[_Piece], runs: list[bytes], attachments: bool
    ) -> Iterator[Record]:
        """Yield the records of pieces with all objects that came before them, in any pack.

        Arrays that lie with other states come as objects.
        """
        wanted = {line.last for piece in pieces for line in piece.lines}
        last = max(self._entries.index(piece.parts.entry) for piece in pieces)
        arrays = self._arrays_wanted(pieces)
        for entry in self._entries[: last + 1]:
            parts, keeps = self._open(entry), False
            for kind, body in parts.all():
                if kind == records.STATES:
                    head = decode_head(body)
                    keeps = head.last in wanted
                    if keeps:
                        yield kind, body
                    elif arrays:
                        yield from self._arrays_of(body, arrays)
                elif (
                    kind != records.OBJECT
                    or _kind(body) not in _OF_REFS
                    or (_kind(body) == _BINDING and keeps and attachments)
                ):
                    yield kind, body
        yield from ((records.OBJECT, body) for body in runs)

    def _arrays_wanted(self, pieces: list[_Piece]) -> set[bytes]:
        """Return the arrays that rows name and that no record of a piece carries."""
        named: set[bytes] = set()
        for piece in pieces:
            for line in piece.lines:
                _, body = piece.parts.record(line)
                head = decode_head(body)
                rows = decode_states(
                    body, head, self._schema(piece.parts, head.schema), MAX_OBJECT
                ).rows
                named |= {oid for _, kind, oid in rowlib.references(rows) if kind == "array"}
                for field, found in rows.arrays.items():
                    named -= {rowlib.column(rows, field)[row].tobytes() for row, _ in found}
        return named

    def _arrays_of(self, body: bytes, wanted: set[bytes]) -> Iterator[Record]:
        from simgit.objects.arrays import encode_array
        from simgit.odb.loose import encode_loose

        head = decode_head(body)
        with self.odb.read() as txn:
            schema = self.odb.schema(txn, head.schema)
        if not schema.arrays:
            return
        rows = decode_states(body, head, schema, MAX_OBJECT).rows
        for field, found in rows.arrays.items():
            for row, array in found:
                oid = rowlib.column(rows, field)[row].tobytes()
                if oid in wanted:
                    yield records.OBJECT, oid + encode_loose("array", encode_array(array))


def _kind(body: bytes) -> int:
    """Return the code of the kind of an object, given its record."""
    return body[OID_SIZE] if len(body) > OID_SIZE else -1
