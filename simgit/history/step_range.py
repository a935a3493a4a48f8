"""A range of steps of a chain: where its states lie, across lines and segments.

A location (line, step) stays valid when segments are joined, so a range keeps nothing else: the
segments are looked up in each transaction anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from simgit.errors import InvalidInput
from simgit.objects.rows import Rows
from simgit.objects.schema import Schema
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import first_parent, line_of_step, read_line
from simgit.storage.base import ReadTxn


class Piece(NamedTuple):
    """The states start <= step < stop of one line."""

    line: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a range that lies in one segment."""

    line: int
    start: int
    stop: int
    schema: Schema


class StepRange:
    """The states start <= step < stop of the first-parent history of a state."""

    def __init__(self, odb: ObjectDatabase, place: Location, start: int, stop: int) -> None:
        """Note the range; nothing is read yet.

        Raises:
            InvalidInput: ``start`` is negative, or ``stop`` lies after the last state or before
                ``start``.
        """
        if not 0 <= start <= stop <= place.step + 1:
            raise InvalidInput(
                f"steps {start}..{stop} are not within the history, which has steps 0..{place.step}"
            )
        self.odb = odb
        self.place = place
        self.start = start
        self.stop = stop
        self._pieces: list[Piece] | None = None
        self._spans: tuple[int, list[Span]] | None = None

    @property
    def count(self) -> int:
        """The number of states."""
        return self.stop - self.start

    def pieces(self, txn: ReadTxn) -> list[Piece]:
        """Return the range line by line, oldest first."""
        if self._pieces is None:
            self._pieces = find_pieces(txn, self.place, self.start, self.stop)
        return self._pieces

    def spans(self, txn: ReadTxn) -> list[Span]:
        """Return the range segment by segment, oldest first."""
        if self._spans is None or self._spans[0] != txn.txn_id:
            self._spans = txn.txn_id, list(self._find_spans(txn))
        return self._spans[1]

    def _find_spans(self, txn: ReadTxn) -> Iterator[Span]:
        states = self.odb.states
        for line, step, stop in self.pieces(txn):
            while step < stop:
                header = states.header(txn, Location(line, step))
                end = min(header.end, stop)
                yield Span(line, step, end, self.odb.schema(txn, header.schema))
                step = end

    def schemas(self, txn: ReadTxn) -> list[Schema]:
        """Return the schemas that occur; of an empty range, the schema of the last state."""
        found = {span.schema.oid: span.schema for span in self.spans(txn)}
        if not found:
            header = self.odb.states.header(txn, self.place)
            return [self.odb.schema(txn, header.schema)]
        return list(found.values())

    def rows(self, txn: ReadTxn, variable: bool = True) -> Iterator[tuple[int, int, Rows]]:
        """Yield (line, first step, rows), block by block."""
        for line, start, stop in self.pieces(txn):
            for step, rows in self.odb.states.rows(txn, line, start, stop, variable):
                yield line, step, rows

    def chunks(self) -> Iterator[tuple[int, int, Rows]]:
        """Yield the same as ``rows``, each block read in a transaction of its own."""
        with self.odb.read() as txn:
            pieces = self.pieces(txn)
        for line, step, stop in pieces:
            while step < stop:
                with self.odb.read() as txn:
                    first, rows = next(self.odb.states.rows(txn, line, step, stop))
                yield line, first, rows
                step += rows.count

    def location(self, step: int) -> Location:
        """Return the location of the state with a step."""
        with self.odb.read() as txn:
            return line_of_step(txn, self.place, step)


def find_pieces(txn: ReadTxn, place: Location, start: int, stop: int) -> list[Piece]:
    """Return the pieces of lines that hold the steps of a chain, oldest first.

    Raises:
        IntegrityError: a line is missing.
    """
    found: list[Piece] = []
    while start < stop:
        place = line_of_step(txn, place, stop - 1)
        line = read_line(txn, place.line)
        first = max(start, line.step)
        found.append(Piece(line.id, first, stop))
        stop = first
        if start < stop:
            place = first_parent(txn, line)
    found.reverse()
    return found
