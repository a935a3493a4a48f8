"""The runs of an export: which states each has, so that every state is in one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simgit.errors import InvalidInput
from simgit.history.step_range import Piece, find_pieces
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import Line, read_line
from simgit.refs.records import RunRef
from simgit.refs.refs import Refs
from simgit.refs.revision import Revisions
from simgit.storage.base import ReadTxn


@dataclass(frozen=True)
class ExportedRun:
    """A run, or the history of another revision, that is exported.

    Attributes:
        name: of the run; of a tag or a state, its text.
        ref: of the run, None if the revision is not the tip of one.
        tip: the newest state.
        place: its location.
        pieces: the states that no run before has, oldest first.
        is_merged: True if it is there for a later run only, which was merged with it.
    """

    name: str
    ref: RunRef | None
    tip: Oid
    place: Location
    pieces: tuple[Piece, ...]
    is_merged: bool = False

    @property
    def count(self) -> int:
        """The number of states that no run before has."""
        return sum(piece.stop - piece.start for piece in self.pieces)


class RunSelection:
    """The choice of the states of revisions, each in the first run that has it."""

    def __init__(self, odb: ObjectDatabase, refs: Refs, txn: ReadTxn) -> None:
        """Begin with no state taken."""
        self.odb = odb
        self.refs = refs
        self.txn = txn
        self._taken: dict[int, list[tuple[int, int]]] = {}

    def runs(self, revisions: Sequence[str]) -> list[ExportedRun]:
        """Return the runs of revisions in their order, and before each those merged into it.

        Raises:
            NotFound: a revision is not found.
            InvalidInput: a revision is named twice, or is not a history.
        """
        found: list[ExportedRun] = []
        names: set[str] = set()
        for text in revisions:
            for each in self._run(text):
                if each.name in names:
                    raise InvalidInput(f"'{each.name}' is named twice", name=each.name)
                names.add(each.name)
                found.append(each)
        return found

    def _run(self, text: str) -> Iterator[ExportedRun]:
        revisions = Revisions(self.odb, self.refs)
        ends = revisions.resolve_range(self.txn, text)
        if ends is not None and ends.symmetric:
            raise InvalidInput(f"'{text}' is a symmetric range; use a..b", revision=text)
        end = revisions.resolve(self.txn, text) if ends is None else ends.end
        start = 0
        if ends is not None:
            place = ends.start.place
            above = self.odb.states.ancestor(self.txn, end.place, place.step)
            if place.step > end.place.step or above != place:
                raise InvalidInput(f"the start of '{text}' is not an ancestor of its end")
            start = place.step + 1
        ref = None
        if end.run is not None and self.refs.has_run(self.txn, end.run):
            ref = self.refs.run(self.txn, end.run)
            ref = ref if ref.oid == end.oid and start == 0 else None
        name = text.removeprefix("runs/") if ends is None and ref is None else (end.run or text)
        found = find_pieces(self.txn, end.place, start, end.place.step + 1)
        if start == 0:
            for piece in found:
                yield from self._merged(read_line(self.txn, piece.line))
        pieces = tuple(each for piece in found for each in self._new(piece))
        yield ExportedRun(name, ref, end.oid, end.place, pieces)

    def _merged(self, line: Line) -> Iterator[ExportedRun]:
        """Yield the histories of further parents of a line's first state, before any of it."""
        for oid in line.parents[1:]:
            place = self.odb.locate(self.txn, oid)
            found = find_pieces(self.txn, place, 0, place.step + 1)
            for piece in found:
                yield from self._merged(read_line(self.txn, piece.line))
            pieces = tuple(each for piece in found for each in self._new(piece))
            if pieces:
                name = f"merged-{oid.hex()[:12]}"
                yield ExportedRun(name, None, Oid(oid), place, pieces, True)

    def _new(self, piece: Piece) -> Iterator[Piece]:
        """Yield the parts of a piece that no run before has."""
        line, start, stop = piece
        taken = self._taken.setdefault(line, [])
        for low, high in sorted(taken):
            if start < min(low, stop):
                yield Piece(line, start, min(low, stop))
            start = max(start, high)
        if start < stop:
            yield Piece(line, start, stop)
        taken.append((piece.start, piece.stop))
