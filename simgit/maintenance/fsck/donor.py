"""Good copies of damaged states and objects, from another repository; equal oids, equal content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simgit.errors import IntegrityError, SimgitError
from simgit.maintenance.fsck.quarantine import Quarantine
from simgit.objects import rows as rowlib
from simgit.objects.arrays import decode_array
from simgit.objects.kinds import decode_object, links_of
from simgit.objects.oid import Oid
from simgit.objects.rows import Rows
from simgit.odb import ancestry
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.array_groups import group_key
from simgit.odb.segments.batch import Tip, write_rows
from simgit.odb.segments.header import header_at, segment_key
from simgit.odb.segments.lines import line_key
from simgit.storage.base import ReadTxn, WriteTxn

_LEVEL: Final = 3


class Copies:
    """A fetcher of states and objects that one store lacks from another."""

    def __init__(
        self, odb: ObjectDatabase, source: ObjectDatabase, source_txn: ReadTxn, kept: Quarantine
    ) -> None:
        self.odb = odb
        self.source = source
        self.source_txn = source_txn
        self.kept = kept

    def fetch(self, txn: WriteTxn, oid: bytes) -> bool:
        """Store an object anew, with all that it names; return True if the source has it."""
        try:
            kind, payload = self.source.get(self.source_txn, oid)
        except SimgitError:
            return False
        if kind == "state":
            return False
        self.kept.take(txn, "objects", oid)
        if kind == "array":
            self.odb.put_loose(txn, Oid(oid), decode_array(payload))
        else:
            self.odb.put_payload(txn, kind, payload)
        for link in links_of(decode_object(kind, payload)):
            self.ensure(txn, link)
        return True

    def ensure(self, txn: WriteTxn, oid: bytes) -> None:
        """Fetch an object if it is unreadable here."""
        try:
            self.odb.get(txn, oid)
        except SimgitError:
            self.fetch(txn, oid)

    def states(self, txn: WriteTxn, line: int, start: int, most: int, tip: Oid) -> bool:
        """Store the states of a line anew, from a step on, from the history of a state.

        Args:
            txn: the transaction.
            line: the line in this store.
            start: the first step of a segment, or of missing states.
            most: the last step of the line that is in the history of ``tip``.
            tip: a state that the source may have.

        Raises:
            IntegrityError: the source has other states there.
        """
        place = self.source.states.locate(self.source_txn, tip)
        if place is None:
            return False
        stop = self._end(txn, line, start, most)
        for table in ("segments", "blocks"):
            for key, _ in list(txn.scan(table, segment_key(line, start), segment_key(line, stop))):
                self.kept.take(txn, table, key)
        last, named = b"", []
        for step, rows, oids in self._rows(place, start, stop):
            self._write(txn, line, step, rows, oids, place)
            named += [oid for _, _, oid in rowlib.references(rows)]
            last = oids[-1]
        for oid in named:
            self.ensure(txn, oid)
        after = header_at(txn, line, stop)
        if after is not None and after.parent != last:
            raise IntegrityError(
                f"the other repository has other states from step {start} of line {line} on"
            )
        return True

    def _end(self, txn: ReadTxn, line: int, start: int, stop: int) -> int:
        """Return the first step of the next segment, ``stop`` if there is none."""
        after = segment_key(line, start) + b"\0"
        found = next(txn.scan("segments", after, line_key(line + 1)), None)
        return stop if found is None else min(stop, int.from_bytes(found[0][8:], "big"))

    def _rows(
        self, place: Location, start: int, stop: int
    ) -> Iterator[tuple[int, Rows, list[bytes]]]:
        """Yield first step, rows and oids of a range of the source's history, block by block."""
        parts = [p for p in ancestry.line_ranges(self.source_txn, place, start) if p.start < stop]
        states = self.source.states
        for part in reversed(parts):
            end = min(part.stop, stop)
            for step, rows in states.rows(self.source_txn, part.line, max(part.start, start), end):
                oids = states.oids(self.source_txn, part.line, step, step + rows.count)
                yield step, rows, oids

    def _write(
        self, txn: WriteTxn, line: int, step: int, rows: Rows, oids: list[bytes], place: Location
    ) -> None:
        self.ensure(txn, rows.schema.oid)
        before = None
        if step:
            above = ancestry.ancestor(self.source_txn, place, step - 1)
            tip = self.source.states.tip(self.source_txn, above)
            before = Tip(
                tip.oid, Location(line, step - 1), tip.schema, tip.episode, tip.episode_start,
                tip.returned,
            )  # fmt: skip
        heads = [bytes(before.oid) if before else bytes(32), *oids[:-1]]
        write_rows(txn, Location(line, step), rows, heads, oids, before, _LEVEL)

    def arrays(self, txn: WriteTxn, key: bytes) -> bool:
        """Store the arrays of a damaged group loose; return True if the source has them all."""
        line, field = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:10], "big")
        first = int.from_bytes(key[10:], "big")
        after = group_key(line, field, first) + b"\0"
        found = next(txn.scan("groups", after, group_key(line, field + 1, 0)), None)
        header = self.odb.states.header(txn, Location(line, first))
        stop = header.end if found is None else int.from_bytes(found[0][10:], "big")
        self.kept.take(txn, "groups", key)
        good = True
        for _, rows in self.odb.states.rows(txn, line, first, min(stop, header.end), False):
            oids = rowlib.column(rows, field)
            for row in rowlib.presence(rows, field).nonzero()[0].tolist():
                oid = oids[row].tobytes()
                self.ensure(txn, oid)
                good &= self.odb.exists(txn, oid)
        return good
