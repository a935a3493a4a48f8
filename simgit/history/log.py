"""The log: the histories of some states as plain lines, read in columns block by block."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from simgit.errors import NotFound, plural, warn
from simgit.history.paths import FieldPath
from simgit.objects.oid import Oid
from simgit.objects.rows import Reference, Rows, column, presence, unpack_row
from simgit.objects.schema import MAP, NONE, TREE, TUPLE
from simgit.odb import ancestry
from simgit.odb.ancestry import LineRange
from simgit.odb.clock import clocks
from simgit.odb.database import ObjectDatabase
from simgit.odb.known_episodes import Known, Mark
from simgit.odb.location import Location
from simgit.odb.segments.lines import Line, read_line
from simgit.odb.segments.times import time_spans
from simgit.odb.segments.totals import episode_starts, total
from simgit.storage.base import ReadTxn

if TYPE_CHECKING:
    import numpy.typing as npt


class LogLine(NamedTuple):
    """One state of a log.

    ``episode_step`` is the state's number in its episode, ``skipped`` how many states between it
    and its first parent in the listing were left out (see ``outline``). ``time`` is when it was
    recorded, in nanoseconds since 1970, None if that is not known; ``clock`` is the simulator's
    time, None without one. ``episode`` and ``episode_step`` are None where a shallow history does
    not tell them.
    """

    oid: Oid
    parents: tuple[Oid, ...]
    step: int
    episode: int | None
    episode_step: int | None
    reset: bool
    action: Any
    reward: float | None
    terminated: bool | None
    truncated: bool | None
    message: str | None
    time: int | None = None
    clock: float | None = None
    skipped: int = 0


# --- which states, in which order --------------------------------------------------------------


class LogSelection(NamedTuple):
    """The states of a log: those reachable from the tips, without those from ``exclude``."""

    tips: tuple[Location, ...]
    exclude: tuple[Location, ...] = ()
    cuts: tuple[Location, ...] = ()


def ordered(odb: ObjectDatabase, txn: ReadTxn, wanted: LogSelection) -> Iterator[LineRange]:
    """Yield line ranges, children before parents and histories not mixed; read each from its end.

    One history without merges comes as it is walked; otherwise the lines are sorted first, which
    costs time with the forks, not with the states.
    """
    merged = any(read_line(txn, tip.line).merged for tip in wanted.tips)
    if len(wanted.tips) == 1 and not (merged or wanted.exclude or wanted.cuts):
        return ancestry.line_ranges(txn, wanted.tips[0], shallow=True)
    return _Sorting(odb, txn, wanted).ranges()


class _Sorting:
    """A topological sort of pieces of lines, cut where other lines fork off."""

    def __init__(self, odb: ObjectDatabase, txn: ReadTxn, wanted: LogSelection) -> None:
        self.tips = wanted.tips
        self.hidden = ancestry.reach(odb, txn, wanted.exclude)
        reach = ancestry.reach(odb, txn, wanted.tips)
        self.lines: dict[int, Line] = {line: read_line(txn, line) for line in reach}
        self.parents = {
            line.id: ancestry.parents_of(odb, txn, line) for line in self.lines.values()
        }
        ends = {line: {step} for line, step in reach.items()}
        self.waiting: dict[Location, int] = {}
        for place in (*wanted.tips, *wanted.cuts):
            if place.step <= reach.get(place.line, -1):
                ends[place.line].add(place.step)
        for parents in self.parents.values():
            for place in parents:
                ends[place.line].add(place.step)
                self.waiting[place] = self.waiting.get(place, 0) + 1
        for found in self.lines.values():
            if wanted.cuts and len(found.parents) != 1:
                ends[found.id].add(found.step)
        self.below: dict[Location, int] = {}
        for line, steps in ends.items():
            self._cut(self.lines[line], sorted(steps))

    def _cut(self, line: Line, steps: list[int]) -> None:
        for before, end in zip([line.step - 1, *steps], steps, strict=False):
            self.below[Location(line.id, end)] = before
            if before >= line.step:
                place = Location(line.id, before)
                self.waiting[place] = self.waiting.get(place, 0) + 1

    def ranges(self) -> Iterator[LineRange]:
        """Yield the pieces; a line is finished, as far as possible, before another is begun."""
        ready = [tip for tip in reversed(self.tips) if not self.waiting.get(tip)]
        done = set()
        while ready:
            place = ready.pop()
            if place in done:
                continue
            done.add(place)
            below = self.below[place]
            start = max(below, self.hidden.get(place.line, -1)) + 1
            if start <= place.step:
                yield LineRange(place.line, start, place.step + 1)
            goes_on = below >= self.lines[place.line].step
            for parent in [Location(place.line, below)] if goes_on else self.parents[place.line]:
                self.waiting[parent] -= 1
                if not self.waiting[parent]:
                    ready.append(parent)


def limited(ranges: Iterator[LineRange], limit: int | None) -> list[LineRange]:
    """Return the first ranges, the last one cut, with at most ``limit`` states together."""
    if limit is None:
        return list(ranges)
    kept = []
    for line_range in ranges if limit else ():
        start = max(line_range.start, line_range.stop - limit)
        kept.append(LineRange(line_range.line, start, line_range.stop))
        limit -= line_range.stop - start
        if not limit:
            break
    return kept


def after(ranges: Iterator[LineRange], place: Location) -> Iterator[LineRange]:
    """Yield the parts of some ranges, read from the end, that come after a state.

    Raises:
        NotFound: the state is in none of them.
    """
    for line, start, stop in ranges:
        if line == place.line and start <= place.step < stop:
            if start < place.step:
                yield LineRange(line, start, place.step)
            yield from ranges
            return
    raise NotFound("the state to continue after is not in this log")


def recorded_between(
    txn: ReadTxn, ranges: Iterator[LineRange], since: int | None, until: int | None
) -> Iterator[LineRange]:
    """Yield the parts of some ranges that were recorded in a time, read from the end.

    Warn of the states of which it is not known when they were recorded; they are left out.
    """
    low, high = 0 if since is None else since, sys.maxsize if until is None else until
    unknown = 0
    for each in ranges:
        end: int | None = None
        for start, stop, time in reversed(list(time_spans(txn, *each))):
            unknown += (stop - start) * (time is None)
            is_in = time is not None and low <= time <= high
            if end is not None and not is_in:
                yield LineRange(each.line, stop, end)
            end = (stop if end is None else end) if is_in else None
        if end is not None:
            yield LineRange(each.line, each.start, end)
    if unknown:
        it = "it was" if unknown == 1 else "they were"
        text = f"{plural(unknown, 'state')} left out: it is not known when {it} recorded"
        warn(text)


_VALUES: Final = ("action", "reward", "terminated", "truncated", "message")

# --- reading them ------------------------------------------------------------------------------


def pages(
    odb: ObjectDatabase, ranges: Sequence[LineRange], reverse: bool = False
) -> Iterator[list[LogLine]]:
    """Yield the lines of some ranges, newest first, a block at a time.

    Each block is found and read in a transaction of its own: a slow consumer pins no pages, and
    blocks may be joined in between.
    """
    for line_range in reversed(ranges) if reverse else ranges:
        line, start, stop = line_range.line, line_range.start, line_range.stop
        while start < stop:
            with odb.read() as txn:
                first, end = ancestry.block_of(odb, txn, line, start if reverse else stop - 1)
                part = LineRange(line, max(first, start), min(end, stop))
                found = lines(odb, txn, part)
            start, stop = (part.stop, stop) if reverse else (start, part.start)
            yield found[::-1] if reverse else found


def lines(odb: ObjectDatabase, txn: ReadTxn, part: LineRange) -> list[LogLine]:
    """Return the lines of the states of one block, newest first."""
    if part.stop - part.start == 1:  # which decodes few states
        rows = odb.states.row(txn, Location(part.line, part.start))[2]
    else:
        _, rows = next(odb.states.rows(txn, part.line, part.start, part.stop))
    oids, parents = _names(odb, txn, part)
    episodes, within, starts = _episodes(odb, txn, part, rows)
    steps = range(part.start, part.stop)
    columns: list[Sequence[Any]] = [oids, parents, steps, episodes, within, starts]
    columns += [values(rows, name) for name in _VALUES]
    spans = time_spans(txn, part.line, part.start, part.stop)
    columns.append([span.time for span in spans for _ in range(span.start, span.stop)])
    columns.append(clocks(rows))
    found = [LogLine(*row) for row in zip(*columns, strict=True)]
    found.reverse()
    return found


def matching(odb: ObjectDatabase, ranges: Sequence[LineRange], condition: str) -> Iterator[LogLine]:
    """Yield the lines of the states in some ranges that fulfil a condition.

    If there is none, warn of an entry of ``info`` or another mapping that no state has.

    Raises:
        InvalidInput: the condition is malformed, or does not apply to the values of a field.
    """
    from simgit.history.block_bounds import BlockBounds
    from simgit.history.step_range import Piece
    from simgit.history.trajectory import Trajectory
    from simgit.history.where import Predicate

    holds = Predicate(condition)
    known: set[FieldPath] | None = set()
    for line_range in ranges:
        stop = line_range.stop
        while stop > line_range.start:
            with odb.read() as txn:
                part = next(
                    ancestry.newest_blocks(
                        odb, txn, LineRange(line_range.line, line_range.start, stop)
                    )
                )
                may_hold = holds.may_hold(BlockBounds(odb, txn, Piece(*part)))
            block = Trajectory(odb, Location(part.line, part.stop - 1), part.start, part.stop)
            mask = holds(block) if may_hold else np.zeros(len(block), bool)
            if known is not None and holds.entries:
                known = None if mask.any() else known | block.paths()
            if mask.any():
                found = chain.from_iterable(pages(odb, [part]))
                yield from (line for line, good in zip(found, mask[::-1], strict=True) if good)
            stop = part.start
    for doubt in holds.unknown_entries(known or set()):
        warn(doubt)


def _names(
    odb: ObjectDatabase, txn: ReadTxn, part: LineRange
) -> tuple[list[Oid], list[tuple[Oid, ...]]]:
    line = read_line(txn, part.line)
    first = max(line.step, part.start - 1)
    oids = list(map(Oid, odb.states.all_oids(txn, part.line, first, part.stop)))
    if first < part.start:
        return oids[1:], [(oid,) for oid in oids[:-1]]
    above = tuple(Oid(oid) for oid in line.parents)
    return oids, [above, *((oid,) for oid in oids[:-1])]


def _episodes(
    odb: ObjectDatabase, txn: ReadTxn, part: LineRange, rows: Rows
) -> tuple[list[int | None], list[int | None], list[bool]]:
    """Return for each row its episode, its number in it, and True if it is marked as a reset."""
    header = odb.states.header(txn, Location(part.line, part.start))
    number, began, _ = odb.states.standing(txn, header, part.start)
    starts = episode_starts(rows, part.start == 0)
    steps = np.arange(part.start, part.stop)
    began_at = np.maximum.accumulate(np.where(starts, steps, -1 if began is None else began))
    within: list[int | None] = (steps - began_at).tolist()
    # a root starts an episode, but need not be a reset
    resets = episode_starts(rows, False).tolist()
    if number is None:
        within = [n if at >= 0 else None for n, at in zip(within, began_at.tolist(), strict=True)]
        return [None] * rows.count, within, resets
    episodes = number + np.cumsum(starts) - int(starts[0])
    return episodes.tolist(), within, resets


def values(rows: Rows, name: str) -> list[Any]:
    """Return a top-level field of all rows as Python values, None where it is absent."""
    index = rows.schema.index.get((name,))
    if index is None:
        return [None] * rows.count
    here = presence(rows, index)
    code = rows.schema.fields[index][1].code
    if code in (MAP, TUPLE):
        return [unpack_row(rows, i).get(name) for i in range(rows.count)]
    if code == NONE or not here.any():
        return [None] * rows.count
    found = column(rows, index)
    if rows.schema.fields[index][1].storage_dtype is None and isinstance(found, np.ndarray):
        kind = "tree" if code == TREE else "array"
        found = [Reference(kind, Oid(oid.tobytes())) for oid in found]
    listed: list[Any] = found.tolist() if isinstance(found, np.ndarray) else found
    if here.all():
        return listed
    return [value if there else None for value, there in zip(listed, here.tolist(), strict=True)]


def outline(odb: ObjectDatabase, txn: ReadTxn, pieces: Iterable[LineRange]) -> list[LogLine]:
    """Return the log in outline: tips, forks, merges, roots and the ends of the selection.

    The parents of a line are those in the outline; ``skipped`` is the number of states between.
    """
    found = []
    for piece in pieces:
        end = LineRange(piece.line, piece.stop - 1, piece.stop)
        (line,) = lines(odb, txn, end)
        if piece.stop - piece.start > 1:
            first = LineRange(piece.line, piece.start, piece.start + 1)
            above = _names(odb, txn, first)[1][0]
            line = line._replace(parents=above, skipped=piece.stop - piece.start - 1)
        found.append(line)
    return found


# --- episodes ----------------------------------------------------------------------------------


class EpisodeLine(NamedTuple):
    """One episode of a history, from the step of its reset to the one after its last state.

    ``steps`` is the number of actions in it; ``end`` is how it ended: ``terminated``,
    ``truncated``, both, or ``open``.
    """

    number: int
    start: int
    stop: int
    steps: int
    return_: float
    end: str


class EpisodeColumns(NamedTuple):
    """The episodes of a history, oldest first, each column of shape (episodes,).

    ``start`` is the step of an episode's reset, ``stop`` the one after its last state.
    """

    number: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    return_: npt.NDArray[np.float64]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]


def episode_columns(
    odb: ObjectDatabase, txn: ReadTxn, tip: Location, since: int = 0
) -> EpisodeColumns:
    """Return the episodes of a state's first-parent history, from that of a step on."""
    number, began, count = 1, 0, 0
    starts: list[npt.NDArray[np.int64]] = []
    returns: list[npt.NDArray[np.float64]] = []
    names = ("terminated", "truncated")
    ended: dict[str, list[npt.NDArray[np.bool_]]] = {name: [] for name in names}
    last = dict.fromkeys(names, False)  # the flags of the row before
    oids, known = _segment_ends(odb, txn, tip, since)
    if known is not None:
        (start, return_, *before), mark = known.columns, known.mark
        began, count, last = mark.stop, mark.begun, dict(zip(names, mark.flags, strict=True))
        starts, returns = [start], [np.append(return_[:-1], mark.returned)]
        ended = {name: [each] for name, each in zip(names, before, strict=True)}
    elif since:
        place = ancestry.ancestor(txn, tip, since)
        number, began, _ = odb.states.known_standing(txn, odb.states.header(txn, place), since)
    marks: dict[bytes, Mark] = {}
    for part in reversed(list(ancestry.line_ranges(txn, tip, began))):
        for step, rows in odb.states.rows(txn, *part, False):
            reward = _column(rows, "reward", float)
            at = np.flatnonzero(episode_starts(rows, step == 0))
            goes_on = bool(not len(at) or at[0])  # an episode of the block before
            sums = np.zeros(len(at) + goes_on)
            if goes_on and returns:
                sums[0] = returns[-1][-1]
                returns[-1] = returns[-1][:-1]
            counts = np.diff([*([0] if goes_on else []), *at.tolist(), rows.count])
            with np.errstate(all="ignore"):  # infinities of both signs
                # one after another: a sum must not depend on where blocks are cut
                np.add.at(sums, np.repeat(np.arange(len(sums)), counts), reward)
            returns.append(sums)
            starts += [at + step] if len(at) else []
            for name in names:
                flags = _column(rows, name, bool)
                if len(at):
                    before = flags[at - 1]
                    if not goes_on:
                        before[0] = last[name]
                    ended[name].append(before)
                last[name] = flags[-1]
            count += len(at)
            if (oid := oids.get(stop := step + rows.count)) is not None:
                flags_here = last["terminated"], last["truncated"]
                marks[oid] = Mark(stop, count, float(sums[-1]), flags_here)
    start, return_ = np.concatenate(starts), np.concatenate(returns)
    before = [np.concatenate(ended[name]) for name in names]
    if known is not None or not since:  # from the beginning
        odb.episodes.keep(marks, (start, return_, *before), known.oid if known else None)
    stops = np.append(start[1:], tip.step + 1)
    flags = [np.append(b[1:], last[name]) for b, name in zip(before, names, strict=True)]
    numbers = np.arange(number, number + len(start))
    first = int(np.searchsorted(start, since, "right")) - 1 if known is not None else 0
    found = (numbers, start, stops, return_, *flags)
    return EpisodeColumns(*(each[first:] for each in found))


def _segment_ends(
    odb: ObjectDatabase, txn: ReadTxn, tip: Location, since: int
) -> tuple[dict[int, bytes], Known | None]:
    """Return where segments of a history end, with oids, back to one that is known, and that.

    No further than a step: what is known before that is no help.
    """
    found: dict[int, bytes] = {}
    for part in ancestry.line_ranges(txn, tip, since):
        stop = part.stop
        while stop > part.start:
            header = odb.states.header(txn, Location(part.line, stop - 1))
            if header.end <= part.stop:
                if (known := odb.episodes.known(header.last)) is not None:
                    return found, known
                found[header.end] = header.last
            stop = header.step
    return found, None


def episodes(odb: ObjectDatabase, txn: ReadTxn, tip: Location) -> Iterator[EpisodeLine]:
    """Yield the episodes of a state's first-parent history, the newest first."""
    number = ancestry.episode_of(odb, txn, tip)[0]
    stop, rewards, end = tip.step + 1, 0.0, ""
    ranges = ancestry.line_ranges(txn, tip)
    for part in chain.from_iterable(ancestry.newest_blocks(odb, txn, each) for each in ranges):
        _, rows = next(odb.states.rows(txn, part.line, part.start, part.stop, False))
        flags = [_column(rows, name, bool) for name in ("terminated", "truncated")]
        reward = _column(rows, "reward", float)
        high = rows.count
        for start in reversed(np.flatnonzero(episode_starts(rows, part.start == 0)).tolist()):
            at = part.start + start
            rewards += total(reward[start:high])
            end = _ended(flags, high - 1) if part.start + high == stop else end
            yield EpisodeLine(number, at, stop, stop - at - 1, rewards, end)
            number, stop, rewards, high = number - 1, at, 0.0, start
        if high:
            rewards += total(reward[:high])
            end = _ended(flags, high - 1) if part.start + high == stop else end


def _ended(flags: Sequence[Any], row: int) -> str:
    names = [n for n, flag in zip(("terminated", "truncated"), flags, strict=True) if flag[row]]
    return "+".join(names) or "open"


def _column(rows: Rows, name: str, kind: type) -> Any:
    index = rows.schema.index.get((name,))
    return np.zeros(rows.count, kind) if index is None else column(rows, index)
