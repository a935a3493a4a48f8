"""The states of a dataset, each once, and how they follow one another.

The states of the sources stand in *rows*: a history that sources share is there once, with the one
of them that begins first, or else comes first. A *section* is what a source adds. Where it goes on
in the middle of an episode whose beginning an earlier one has (a branch), that beginning is its
*context*: transitions and sequences reach back into it. *Positions* number context and rows of all
sections, so that an episode is a range of positions, and ``rows`` leads from there to the states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simgit.history.column_reader import ColumnPlan
from simgit.history.paths import FieldPath, path_text
from simgit.history.planned_columns import pieces_of, planned_columns, schemas_of, steps_of
from simgit.history.spans import Mask, Positions, Spans, make_spans
from simgit.history.step_range import Piece
from simgit.history.trajectory import Trajectory
from simgit.objects.oid import OID_SIZE
from simgit.objects.schema import MAP, TUPLE, Schema

PART: Final = 65536
"""States that are looked at together."""
_LEAST: Final = 512
"""Where episodes have fewer states on average, the oids of all states are found at once."""


class Section(NamedTuple):
    """States that one source adds.

    Attributes:
        states: the states.
        context: the rows of the states before, from the beginning of their episode.
        first: the step at which the episode of the first state begins.
        row: the row of the first state.
        position: that of the first state of the context.
    """

    states: Trajectory
    context: Positions
    first: int
    row: int
    position: int

    @property
    def own(self) -> int:
        """The position of the first state of its own."""
        return self.position + len(self.context)


class EpisodeSpans(NamedTuple):
    """The episodes of the sections, one entry each.

    Attributes:
        section: the number of the section.
        spans: the positions of their states.
        first: the step at which each begins, which may lie before the states.
        number: its number in the run.
    """

    section: Positions
    spans: Spans
    first: Positions
    number: Positions


class _Covered:
    """The steps of lines that have a row already."""

    def __init__(self) -> None:
        self._lines: dict[int, list[tuple[int, int, int]]] = {}

    def add(self, piece: Piece, row: int) -> None:
        """Note that a piece of a line has rows from ``row`` on."""
        self._lines.setdefault(piece.line, []).append((piece.start, piece.stop, row))

    def cut(self, piece: Piece) -> Iterator[tuple[int, int, int | None]]:
        """Yield (start, stop, row) of the parts of a piece in order; row is None where new."""
        at = piece.start
        for start, stop, row in sorted(self._lines.get(piece.line, ())):
            if stop <= at or start >= piece.stop:
                continue
            if start > at:
                yield at, start, None
                at = start
            end = min(stop, piece.stop)
            yield at, end, row + at - start
            at = end
        if at < piece.stop:
            yield at, piece.stop, None


class StateLayout:
    """The states of some sources, each once."""

    def __init__(self, sources: Sequence[Trajectory]) -> None:
        """Find the sections; only headers and a state of each are read."""
        # what begins first comes first: so what a later one shares is the beginning of it
        self.sources = sorted(sources, key=lambda states: states.start)
        self.sections: list[Section] = []
        self.count = 0
        covered = _Covered()
        position = 0
        for source in self.sources:
            pieces = pieces_of(source)
            new = [(a, b) for piece in pieces for a, b, row in covered.cut(piece) if row is None]
            for start, stop in _joined(new):
                states = source[start - source.start : stop - source.start]
                first = start - int(states[:1].episode_steps[0])
                parts = [part for piece in pieces for part in covered.cut(piece)]
                context = _rows_before(parts, first, start)
                if len(context):
                    context = context[_after_end(steps_of(states, start - len(context), start)) :]
                self.sections.append(Section(states, context, first, self.count, position))
                row = self.count
                for piece in pieces_of(states):
                    covered.add(piece, row)
                    row += piece.stop - piece.start
                self.count += stop - start
                position += len(context) + stop - start
        self.positions = position

    @cached_property
    def schemas(self) -> list[Schema]:
        """The schemas of the states."""
        found = {s.oid: s for each in self.sections for s in schemas_of(each.states)}
        return list(found.values())

    @cached_property
    def types(self) -> dict[str, str]:
        """The fields of the states with their types."""
        found: dict[str, dict[str, None]] = {}
        for schema in self.schemas:
            above = {path[:-1] for path, _ in schema.fields}
            for path, kind in schema.fields:
                if not (kind.code in (MAP, TUPLE) and path in above):
                    found.setdefault(path_text(path), {})[str(kind)] = None
        return {name: " or ".join(kinds) for name, kinds in sorted(found.items())}

    @cached_property
    def rows(self) -> npt.NDArray[np.int64] | None:
        """The row of each position; None if they are the same."""
        if self.positions == self.count:
            return None
        parts = [
            part
            for each in self.sections
            for part in (each.context, np.arange(each.row, each.row + len(each.states)))
        ]
        return np.concatenate(parts).astype(np.int64)

    def rows_at(self, positions: Positions) -> Positions:
        """Return the rows of positions."""
        return positions if self.rows is None else self.rows[positions]

    @property
    def episode_count(self) -> int:
        """The number of episodes, from headers and the ends of the sections."""
        return sum(last - first + 1 for first, last in map(_numbers, self.sections))

    @property
    def step_count(self) -> int:
        """The number of steps (states that an action led to), likewise."""
        total = 0
        for each in self.sections:
            first, last = _numbers(each)
            # what has a context goes on in an episode; what has none begins here, if in its middle
            total += len(each.states) - (last - first) - (not len(each.context))
        return total

    @cached_property
    def _table(self) -> tuple[Spans, Positions, EpisodeSpans]:
        """The spans, the episode of each, and the episodes; reads marks and flags of all states."""
        spans: list[Spans] = []
        of_span: list[Positions] = []
        episodes: list[EpisodeSpans] = []
        total = 0
        for number, each in enumerate(self.sections):
            starts, ended = self._marks(each)
            count = len(each.states)
            whole = np.flatnonzero(starts)
            begins = np.append(whole, count)
            found = Spans(*(each.own + edge for edge in make_spans(starts, ended)))
            found.starts[0], found.own[0] = each.position, each.own
            of_span.append(total + np.searchsorted(whole, found.own - each.own, "right") - 1)
            spans.append(found)
            edges = Spans(
                *(
                    each.own + edge.astype(np.int64)
                    for edge in (begins[:-1], begins[1:], begins[:-1])
                )
            )
            edges.starts[0] = each.position
            steps = each.states.start + begins[:-1].astype(np.int64)
            steps[0] = each.first
            first = int(each.states[:1].episode_ids[0])
            numbers = first + np.arange(len(whole), dtype=np.int64)
            named = np.full(len(whole), number, np.int64)
            episodes.append(EpisodeSpans(named, edges, steps, numbers))
            total += len(whole)
        if not episodes:
            none = np.zeros(0, np.int64)
            return (
                Spans(none, none, none),
                none,
                EpisodeSpans(none, Spans(none, none, none), none, none),
            )
        joined = [np.concatenate(column) for column in zip(*spans, strict=True)]
        edges = Spans(*(np.concatenate(c) for c in zip(*(e.spans for e in episodes), strict=True)))
        rest = [np.concatenate([e[i] for e in episodes]) for i in (0, 2, 3)]
        return (
            Spans(*joined),
            np.concatenate(of_span),
            EpisodeSpans(rest[0], edges, rest[1], rest[2]),
        )

    def _marks(self, each: Section) -> tuple[Mask, Mask]:
        """Return masks of the states that start an episode, and of those at which one ended."""
        plans: dict[FieldPath, ColumnPlan] = {("reset",): ColumnPlan(("reset",), "presence")}
        for flag in ("terminated", "truncated"):
            if any((flag,) in schema.index for schema in self.schemas):
                plans[flag,] = ColumnPlan((flag,), "dense", np.dtype(bool))
        starts, ended = [], []
        for part in parts_of(each.states):
            found = planned_columns(part, plans)
            starts.append(np.asarray(found[("reset",)].values))
            flags = [leaf.values & ~leaf.absent for key, leaf in found.items() if key != ("reset",)]
            ended.append(np.logical_or.reduce([np.zeros(len(part), bool), *flags]))
        begins = np.concatenate(starts)
        begins[0] = True  # the first state begins what is here of its episode
        return begins, np.concatenate(ended)

    @property
    def spans(self) -> Spans:
        """The ranges of positions in which each state follows the one before."""
        return self._table[0]

    @property
    def episode_of_span(self) -> Positions:
        """The number of the episode of each span."""
        return self._table[1]

    @property
    def episodes(self) -> EpisodeSpans:
        """The episodes."""
        return self._table[2]

    @cached_property
    def first_oids(self) -> npt.NDArray[np.uint8]:
        """The oid of the first state of each episode, shape (episodes, 32).

        It is the state that the episode begins with in the run, be it among the states or not.
        """
        episodes = self.episodes
        found: npt.NDArray[np.uint8] = np.zeros((len(episodes.first), OID_SIZE), np.uint8)
        for number, each in enumerate(self.sections):
            mine = np.flatnonzero(episodes.section == number)
            steps = episodes.first[mine]
            before = mine[steps < each.states.start]
            for i, step in zip(before.tolist(), episodes.first[before].tolist(), strict=True):
                found[i] = steps_of(each.states, step, step + 1).oid_array()[0]
            inside = mine[steps >= each.states.start]
            offsets = episodes.first[inside] - each.states.start
            for at in range(0, len(each.states), PART):
                here = (offsets >= at) & (offsets < at + PART)
                part = each.states[at : at + PART]
                if here.sum() * _LEAST > len(part):
                    found[inside[here]] = part.oid_array()[offsets[here] - at]
                else:
                    for i, offset in zip(
                        inside[here].tolist(), (offsets[here] - at).tolist(), strict=True
                    ):
                        found[i] = part[offset : offset + 1].oid_array()[0]
        return found

    def shares(self, salt: bytes) -> npt.NDArray[np.float64]:
        """Return a number from 0 to 1 for each episode, by a hash of its first state's oid."""
        names = (
            blake2b(oid.tobytes(), digest_size=8, key=salt).digest() for oid in self.first_oids
        )
        return np.array([int.from_bytes(name, "big") / 2.0**64 for name in names], np.float64)


def parts_of(states: Trajectory, size: int = PART) -> Iterator[Trajectory]:
    """Yield a trajectory in parts."""
    for at in range(0, len(states), size):
        yield states[at : at + size]


def _numbers(each: Section) -> tuple[int, int]:
    """Return the numbers of the first and the last episode of a section."""
    return int(each.states[:1].episode_ids[0]), int(each.states[-1:].episode_ids[0])


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges of steps with those joined that touch."""
    found: list[tuple[int, int]] = []
    for start, stop in ranges:
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], stop
        else:
            found.append((start, stop))
    return found


def _after_end(states: Trajectory) -> int:
    """Return how many states there are up to the last one at which an episode ended."""
    ended = np.flatnonzero(states.terminations | states.truncations)
    return int(ended[-1]) + 1 if len(ended) else 0


def _rows_before(parts: Sequence[tuple[int, int, int | None]], first: int, start: int) -> Positions:
    """Return the rows of the steps from ``first`` up to ``start``, as far back as they have any."""
    rows: list[Any] = []
    for a, b, row in reversed(parts):
        low, high = max(a, first), min(b, start)
        if row is not None and low < high and high == start:
            rows.append(np.arange(row + low - a, row + high - a))
            start = low
    return np.concatenate(rows[::-1]).astype(np.int64) if rows else np.zeros(0, np.int64)
