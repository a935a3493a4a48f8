"""Walks over states: ancestors, episodes, merge bases, reachability. Cost grows with forks."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from simgit.errors import IntegrityError, NotFound, plural
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.block import BLOCK_ROWS
from simgit.odb.segments.header import Header, header_at, last_header
from simgit.odb.segments.lines import (
    Line,
    fork_point,
    graft_of,
    line_of_step,
    missing,
    read_line,
)
from simgit.odb.segments.totals import episode_starts
from simgit.storage.base import ReadTxn


class LineRange(NamedTuple):
    """Consecutive states of one line: start <= step < stop."""

    line: int
    start: int
    stop: int


def parents_of(odb: ObjectDatabase, txn: ReadTxn, line: Line) -> list[Location]:
    """Return the locations of the parents of a line's first state; those of a graft are not here.

    Who must know that they are all asks ``parents_at``.
    """
    if line.is_root or line.grafted:
        return []
    first = Location(line.parent_line, line.parent_step)
    return [first, *(odb.locate(txn, oid) for oid in line.parents[1:])]


def parents_at(odb: ObjectDatabase, txn: ReadTxn, place: Location) -> list[Location]:
    """Return the locations of a state's parents.

    Raises:
        Missing: they are not here.
    """
    line = read_line(txn, place.line)
    if place.step > line.step:
        return [Location(place.line, place.step - 1)]
    if line.grafted:
        raise missing(txn, line)
    return parents_of(odb, txn, line)


def line_ranges(
    txn: ReadTxn, place: Location, start: int = 0, *, shallow: bool = False
) -> Iterator[LineRange]:
    """Yield the line ranges of a state's first-parent history, newest first, down to a step.

    Args:
        txn: the transaction.
        place: the state's place.
        start: the step.
        shallow: end where a shallow history ends.

    Raises:
        Missing: the history ends before, and ``shallow`` is False.
    """
    line = read_line(txn, place.line)
    stop = place.step + 1
    while stop > start:
        yield LineRange(line.id, max(start, line.step), stop)
        if line.is_root or line.step <= start or (line.grafted and shallow):
            return
        if line.grafted:
            raise missing(txn, line)
        stop = line.parent_step + 1
        line = read_line(txn, line.parent_line)


def newest_blocks(odb: ObjectDatabase, txn: ReadTxn, line_range: LineRange) -> Iterator[LineRange]:
    """Cut a range into parts of one block each, from its end."""
    stop = line_range.stop
    while stop > line_range.start:
        start = max(line_range.start, block_of(odb, txn, line_range.line, stop - 1)[0])
        yield LineRange(line_range.line, start, stop)
        stop = start


def block_of(odb: ObjectDatabase, txn: ReadTxn, line: int, step: int) -> tuple[int, int]:
    """Return the first step of a state's block, and the step after its last."""
    header = odb.states.header(txn, Location(line, step))
    start = step - (step - header.step) % BLOCK_ROWS
    return start, min(start + BLOCK_ROWS, header.end)


def generation(txn: ReadTxn, place: Location) -> int:
    """Return a state's generation, which is greater than that of each of its parents."""
    line = read_line(txn, place.line)
    return line.generation + place.step - line.step


# --- episodes ----------------------------------------------------------------------------------


def episode_start(odb: ObjectDatabase, txn: ReadTxn, tip: Location, number: int) -> int:
    """Return the step at which an episode of a state's history begins.

    Raises:
        NotFound: the history does not have this episode.
        Missing: the history is shallow, so that episodes are not known.
    """
    last = odb.states.known_standing(txn, odb.states.header(txn, tip), tip.step)[0]
    if not 1 <= number <= last:
        raise NotFound(
            f"episode {number} not found: the history has episodes 1 to {last}", episode=number
        )
    line = read_line(txn, tip.line)
    while _first_episode(txn, line) >= number:
        jump = read_line(txn, line.jump)
        above = _first_episode(txn, jump) >= number
        line = jump if above else read_line(txn, line.parent_line)
    return _episode_in_line(odb, txn, line, number)


def _first_header(txn: ReadTxn, line: Line) -> Header:
    header = header_at(txn, line.id, line.step)
    if header is None:
        raise NotFound(f"line {line.id} has no first segment")
    return header


def _first_episode(txn: ReadTxn, line: Line) -> int:
    return _before(_first_header(txn, line))


def _before(header: Header) -> int:
    """Return the episode before a segment of a history that is not shallow."""
    if header.episode is None:
        raise IntegrityError(f"the episodes before segment {header.line}/{header.step} are missing")
    return header.episode


def _episode_in_line(odb: ObjectDatabase, txn: ReadTxn, line: Line, number: int) -> int:
    """Return the step of an episode's start: bisect over segments, then blocks, then rows."""
    low, high = line.step, last_header(txn, line.id).end
    header = _first_header(txn, line)
    while low < high:
        middle = (low + high) // 2
        found = odb.states.header(txn, Location(line.id, middle))
        if _before(found) < number:
            header, low = found, found.end
        else:
            high = found.step
    before = _before(header)
    for i, info in enumerate(header.blocks):
        if before + info.resets >= number:
            rows = odb.states.block(txn, header, i).rows
            starts = np.flatnonzero(episode_starts(rows, header.step == 0 and i == 0))
            return header.step + i * BLOCK_ROWS + int(starts[number - before - 1])
        before += info.resets
    raise NotFound(f"episode {number} not found")


def episode_of(odb: ObjectDatabase, txn: ReadTxn, place: Location) -> tuple[int, int]:
    """Return a state's episode (from 1), and its number in the episode (0 is the reset)."""
    header = odb.states.header(txn, place)
    episode, start, _ = odb.states.known_standing(txn, header, place.step)
    return episode, place.step - start


def episode_end(odb: ObjectDatabase, txn: ReadTxn, tip: Location, number: int) -> int:
    """Return the last step of an episode within a state's history."""
    try:
        return episode_start(odb, txn, tip, number + 1) - 1
    except NotFound:
        return tip.step


# --- merge base --------------------------------------------------------------------------------

_A, _B, _STALE = 1, 2, 4


def merge_bases(odb: ObjectDatabase, txn: ReadTxn, a: Location, b: Location) -> list[Location]:
    """Return the best common ancestors of two states, the one of highest generation first.

    Raises:
        Missing: one can lie in what a shallow history lacks.
    """
    if not (read_line(txn, a.line).merged or read_line(txn, b.line).merged):
        fork = fork_point(txn, a, b)
        return [] if fork is None else [fork]
    return _painted(odb, txn, a, b)


class _Painting:
    """The queue of a walk towards the roots, newest first.

    It holds locations that were reached, and exits: the first states of lines that were reached
    further up, so that a line costs one step however many states it has. An exit's marks are
    those of all locations that have reached its line so far.
    """

    def __init__(self, txn: ReadTxn) -> None:
        self.txn = txn
        self._marks: dict[tuple[bool, Location], int] = {}
        self._heap: list[tuple[int, bool, Location]] = []
        self._fresh = {_A: 0, _B: 0, _A | _B: 0}

    def add(self, place: Location, marks: int, exits: bool = False) -> None:
        """Add marks to a location, or to the exit of its line."""
        key = exits, place
        old = self._marks.get(key)
        if old is None:
            heapq.heappush(self._heap, (-generation(self.txn, place), exits, place))
        self._set(key, (old or 0) | marks)

    def _set(self, key: tuple[bool, Location], marks: int) -> None:
        old = self._marks.get(key, _STALE)
        for each, change in ((old, -1), (marks, 1)):
            if each in self._fresh:
                self._fresh[each] += change
        self._marks[key] = marks

    def pop(self) -> tuple[bool, Location, int]:
        """Return the newest: True for an exit, the location, and its marks."""
        _, exits, place = heapq.heappop(self._heap)
        self._set((exits, place), (marks := self._marks[exits, place]) | _STALE)
        del self._marks[exits, place]
        return exits, place, marks

    def on_line(self, line: Line) -> int:
        """Return the marks of the locations that reached a line further up."""
        return self._marks.get((True, Location(line.id, line.step)), 0)

    def is_live(self) -> bool:
        """Return True if entries with only one of the marks can still meet the other."""
        return bool(self._fresh[_A | _B] or (self._fresh[_A] and self._fresh[_B]))

    def reached(self) -> Iterator[tuple[int, int]]:
        """Yield line and marks of all that is still in the queue."""
        for (_, place), marks in self._marks.items():
            yield place.line, marks


def _painted(odb: ObjectDatabase, txn: ReadTxn, a: Location, b: Location) -> list[Location]:
    """Paint the ancestors of both from the newest down, as git does, a line at a time."""
    painting = _Painting(txn)
    painting.add(a, _A)
    painting.add(b, _B)
    bases: list[Location] = []
    ends: list[Line] = []  # grafts that only one of them leads to
    while painting.is_live():
        exits, place, marks = painting.pop()
        line = read_line(txn, place.line)
        if exits:
            if line.grafted and marks in (_A, _B):
                ends.append(line)
            for parent in parents_of(odb, txn, line):
                painting.add(parent, marks)
            continue
        marks |= painting.on_line(line)
        if marks == _A | _B:
            bases.append(place)
            marks |= _STALE
        painting.add(Location(line.id, line.step), marks, exits=True)
    if bases in ([a], [b]):  # whatever else is common is an ancestor of it
        return bases
    for number, marks in painting.reached():
        if marks in (_A, _B) and (graft := graft_of(txn, number)) is not None:
            ends.append(graft)
    if ends:
        raise missing(txn, ends[0])
    return bases


def is_ancestor(odb: ObjectDatabase, txn: ReadTxn, old: Location, new: Location) -> bool:
    """Return True if ``old`` is ``new`` or one of its ancestors."""
    return old in merge_bases(odb, txn, old, new)


# --- reachability ---------------------------------------------------------------------------------


def reach(odb: ObjectDatabase, txn: ReadTxn, places: Sequence[Location]) -> dict[int, int]:
    """Return for each line the newest step that is reachable from some states."""
    found: dict[int, int] = {}
    todo = list(places)
    while todo:
        place = todo.pop()
        known = found.get(place.line)
        if known is not None and known >= place.step:
            continue
        found[place.line] = place.step
        if known is None:
            todo += parents_of(odb, txn, read_line(txn, place.line))
    return found


def ahead_behind(
    odb: ObjectDatabase, txn: ReadTxn, a: Location | None, b: Location | None
) -> tuple[int, int]:
    """Return how many states of each of two histories are not in the other; None is an empty one.

    Cost grows with the forks since their common ancestors; not with states.

    Raises:
        Missing: they are not all here.
    """
    if not any(read_line(txn, each.line).merged for each in (a, b) if each is not None):
        fork = fork_point(txn, a, b) if a is not None and b is not None else None
        shared = 0 if fork is None else fork.step + 1
        lengths = [0 if tip is None else tip.step + 1 for tip in (a, b)]
        return lengths[0] - shared, lengths[1] - shared
    sides = _Sides()
    sides.add(a, (True, False))
    sides.add(b, (False, True))
    ahead = behind = 0
    while sides.differ:
        number, mine, other = sides.pop()
        line = read_line(txn, number)
        ahead += max(0, mine - max(other, line.step - 1))
        behind += max(0, other - max(mine, line.step - 1))
        if line.grafted and (mine < 0) != (other < 0):
            raise missing(txn, line)
        for parent in parents_of(odb, txn, line):
            sides.add(parent, (mine >= 0, other >= 0))
    return ahead, behind


class _Sides:
    """Lines that two histories have reached, with the newest step of each in them; -1 for none.

    A line's parents lie on lines of smaller numbers: when the one of the greatest number is taken,
    nothing reaches it any more.

    Attributes:
        differ: how many of the lines the histories have not reached at the same step.
    """

    def __init__(self) -> None:
        self.differ = 0
        self._steps: dict[int, tuple[int, int]] = {}
        self._heap: list[int] = []

    def add(self, place: Location | None, sides: tuple[bool, bool]) -> None:
        """Let one of the histories, or both, reach a state."""
        if place is None:
            return
        if place.line not in self._steps:
            heapq.heappush(self._heap, -place.line)
        old = self._steps.get(place.line, (-1, -1))
        mine, other = (
            max(step, place.step) if side else step for step, side in zip(old, sides, strict=True)
        )
        self.differ += (mine != other) - (old[0] != old[1])
        self._steps[place.line] = mine, other

    def pop(self) -> tuple[int, int, int]:
        """Return the line of the greatest number, with the newest steps in it."""
        line = -heapq.heappop(self._heap)
        mine, other = self._steps.pop(line)
        self.differ -= mine != other
        return line, mine, other


def leaves(odb: ObjectDatabase, txn: ReadTxn) -> Iterator[Location]:
    """Yield the states without children."""
    for key, _ in txn.scan("lines"):
        header = last_header(txn, int.from_bytes(key, "big"))
        place = Location(header.line, header.end - 1)
        if next(odb.states.children(txn, place), None) is None:
            yield place


def ancestor(txn: ReadTxn, place: Location, step: int) -> Location:
    """Return the first-parent ancestor with a step.

    Raises:
        NotFound: the step is negative, or greater than the state's own.
    """
    if step < 0:
        raise NotFound(f"only {plural(place.step, 'state')} before it", step=step)
    if step > place.step:
        raise NotFound(f"step {step} not found: the history has steps 0 to {place.step}", step=step)
    return line_of_step(txn, place, step)


def oids_of(odb: ObjectDatabase, txn: ReadTxn, line_range: LineRange) -> list[Oid]:
    """Return the recomputed oids of a line range."""
    return [
        Oid(oid)
        for oid in odb.states.all_oids(txn, line_range.line, line_range.start, line_range.stop)
    ]
