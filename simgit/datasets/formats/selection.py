"""The contents of an export: runs in order, each state once, with what its oid depends on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simgit.datasets.formats.exported_runs import ExportedRun, RunSelection
from simgit.errors import InvalidInput, near_or_known
from simgit.history.array_reader import ArrayReader
from simgit.history.column_reader import no_such_field
from simgit.history.paths import as_path
from simgit.history.step_range import Piece, StepRange
from simgit.history.trajectory import Trajectory
from simgit.history.where import Predicate
from simgit.objects import rows as rowlib
from simgit.objects.kinds import Spec
from simgit.objects.rows import Arrays, Rows
from simgit.objects.schema import TREE, Path, Schema
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import Line, read_line
from simgit.odb.segments.totals import episode_starts
from simgit.refs import run_config
from simgit.refs.refs import Refs
from simgit.storage.base import ReadTxn

Progress = Callable[[int, int | None], None]
"""A function that is told how many states are done, and of how many."""
PART_ROWS: Final = 16384
"""The most states that are in memory at once, fewer if they are large."""
PART_BYTES: Final = 16 << 20
FILES: Final = ("files",)
ALIGNMENT: Final = (
    "each row is one state: observation, reward and flags are what the environment returned for "
    "the action in the same row, which was chosen from the row before; the first row of an "
    "episode is its reset and has no action"
)
"""The alignment of observation and action, as every export says it."""


class Stretch(NamedTuple):
    """Consecutive states of one line and one schema within an export.

    Attributes:
        run: the number of the run in the export.
        line, start, stop: their location.
        schema: of all of them.
        parents, origin: of the first.
        last: the oid of the last.
    """

    run: int
    line: int
    start: int
    stop: int
    schema: Schema
    parents: tuple[bytes, ...]
    origin: bytes
    last: bytes


class PartOfRun(NamedTuple):
    """Consecutive states in memory: their rows, and their place in their run.

    Attributes:
        run: the run's name.
        number: the number of the stretch that they are in.
        step: the step of the first.
        steps: the step of each, shape (n,).
        episodes: the number of the episode of each in its run, counted from 1, shape (n,).
        episode_steps: the number of each state within its episode, 0 at the reset, shape (n,).
        rows: their rows, with all arrays.
    """

    run: str
    number: int
    step: int
    steps: npt.NDArray[np.int64]
    episodes: npt.NDArray[np.int64]
    episode_steps: npt.NDArray[np.int64]
    rows: Rows


class Export:
    """Runs to be written, each state once: in the first run that has it.

    Attributes:
        odb, refs: the repository's.
        runs: in the order in which they were named.
        fields: the top-level or nested fields that are written, None for all.
        where: a condition that a state has to meet, None for all.
        options: of the format, by name.
        progress: told how many states are done, and of how many.
        notes: what the writer says about the export, a line each.
        written: the number of states that ``parts`` has yielded.
    """

    def __init__(
        self,
        odb: ObjectDatabase,
        refs: Refs,
        revisions: Sequence[str],
        *,
        fields: Sequence[str | Path] | None = None,
        where: str | None = None,
        options: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Find the states of revisions; nothing is decoded yet.

        Raises:
            NotFound: a revision or a field is not found.
            InvalidInput: a range is symmetric, or the condition is malformed.
        """
        self.odb = odb
        self.refs = refs
        self.options = dict(options or {})
        self.notes: list[str] = []
        self.written = 0
        self._done = 0
        self.where = where
        self.predicate = None if where is None else Predicate(where)
        self._progress = progress
        with odb.read() as txn:
            self.runs = RunSelection(odb, refs, txn).runs(revisions)
            self.stretches = [*self._stretches(txn)]
        self.fields = None if fields is None else self._checked(fields)

    # --- facts ---

    @cached_property
    def count(self) -> int:
        """The number of states, before any condition."""
        return sum(run.count for run in self.runs)

    @cached_property
    def schemas(self) -> list[Schema]:
        """The schemas of the states as they are written, each once."""
        found = {stretch.schema: self._written(stretch.schema) for stretch in self.stretches}
        return list(dict.fromkeys(found.values()))

    @property
    def lossy(self) -> str | None:
        """The reason that what is written is not all that was recorded, None if it is."""
        if self.where is not None:
            return f"it has only the states where {self.where}"
        if self.fields is not None:
            return f"it has only the fields {', '.join(map('.'.join, self.fields))}"
        if self._has_files:
            return "it lacks the files of its states, which a bundle carries"
        return None

    @cached_property
    def _has_files(self) -> bool:
        """True if a state has a tree of files; only the presence of rows is read for it."""
        with self.odb.read() as txn:
            return any(
                rowlib.presence(rows, schema.index[FILES]).any()
                for _, line, start, stop, schema, *_ in self.stretches
                if FILES in schema.index
                for _, rows in self.odb.states.rows(txn, line, start, stop, False)
            )

    @cached_property
    def state_bytes(self) -> int:
        """About how many bytes a state takes with its arrays: the most of a few that are read."""
        sizes = [1]
        wide = [s for s in self.stretches if s.schema.arrays] or self.stretches
        for stretch in wide[:: max(1, len(wide) // 8)]:
            with self.odb.read() as txn:
                piece = Piece(stretch.line, stretch.stop - 1, stretch.stop)
                rows = self._rows(txn, piece)
            arrays = sum(a.nbytes for found in rows.arrays.values() for _, a in found)
            items = sum(len(item) for column in rows.variable for item in column)
            sizes.append(rows.fixed.shape[1] + items + arrays)
        return max(sizes)

    def at_once(self, most: int = PART_ROWS) -> int:
        """Return how many states are to be in memory together."""
        return max(1, min(most, PART_BYTES // self.state_bytes))

    def trajectory(self, run: ExportedRun) -> Trajectory:
        """Return a run's whole history as columns."""
        return Trajectory(self.odb, run.place, 0, run.place.step + 1, run.name)

    def config(self, run: ExportedRun) -> dict[str, Any]:
        """Return the resolved configuration of a run."""
        if run.ref is None:
            return {}
        with self.odb.read() as txn:
            return run_config.resolve(self.odb, txn, run.ref.record)

    def records(self, run: ExportedRun) -> list[bytes]:
        """Return the payloads of a run's record and of those that it inherits from, them first."""
        if run.ref is None:
            return []
        with self.odb.read() as txn:
            chain = run_config.ancestors(self.odb, txn, run.ref.record)
        return [record.payload for record in reversed(chain)]

    def spec(self, run: ExportedRun) -> dict[str, Any]:
        """Return the spec that a run's history begins with."""
        with self.odb.read() as txn:
            root = self.odb.states.ancestor(txn, run.place, 0)
            found = self.odb.object(txn, read_line(txn, root.line).origin)
        return dict(found.fields) if isinstance(found, Spec) else {}

    @cached_property
    def attachments(self) -> dict[str, int]:
        """The number of attachments of the states by name; no export carries them."""
        from simgit.objects.codec import decode_name

        found: dict[str, int] = {}
        with self.odb.read() as txn:
            for key, _ in txn.scan("attachments"):
                place = self.odb.states.locate(txn, key[:32])
                if place is not None and any(
                    p.line == place.line and p.start <= place.step < p.stop
                    for run in self.runs
                    for p in run.pieces
                ):
                    name = decode_name(key[32:])
                    found[name] = found.get(name, 0) + 1
        return found

    # --- states ---

    def parts(self, most: int = PART_ROWS) -> Iterator[PartOfRun]:
        """Yield the states in order, at most ``most`` of them in memory at once.

        A part lies within one stretch, and all stretches come in order.
        """
        done = 0
        for number, stretch in enumerate(self.stretches):
            yield from self._parts_of(number, stretch, most)
            done += stretch.stop - stretch.start
            if self._progress is not None:
                self._progress(done, self.count)

    def ranges(self) -> list[Trajectory]:
        """Return the states as trajectories, each of consecutive states of one run."""
        found = []
        for run in self.runs:
            bounds: list[list[int]] = []
            for _, start, stop in run.pieces:
                if bounds and bounds[-1][1] == start:
                    bounds[-1][1] = stop
                else:
                    bounds.append([start, stop])
            found += [Trajectory(self.odb, run.place, a, b, run.name) for a, b in bounds]
        return found

    def rows_of(self, states: Trajectory, start: int, stop: int) -> Iterator[Rows]:
        """Yield the rows of the steps start <= step < stop of a run's history, with all arrays."""
        steps = StepRange(self.odb, states.place, start, stop)
        with self.odb.read() as txn:
            pieces = steps.pieces(txn)
        for line, at, end in pieces:
            while at < end:
                with self.odb.read() as txn:
                    first = next(self.odb.states.rows(txn, line, at, end))[1].count
                    yield self._rows(txn, Piece(line, at, at + first))
                at += first

    def tell(self, read: int, written: int) -> None:
        """Note that so many states were read and written by a writer that takes ``ranges``."""
        self._done += read
        self.written += written
        if self._progress is not None:
            self._progress(self._done, self.count)

    def episodes(self) -> Iterator[list[PartOfRun]]:
        """Yield the states episode by episode; an episode's parts may have several schemas."""
        held: list[PartOfRun] = []
        for part in self.parts():
            cuts = np.flatnonzero(np.diff(part.episodes)) + 1
            for start, stop in itertools.pairwise([0, *cuts.tolist(), len(part.steps)]):
                if held and (held[0].run, held[0].episodes[0]) != (part.run, part.episodes[start]):
                    yield held
                    held = []
                held.append(_slice(part, start, stop))
        if held:
            yield held

    def _parts_of(self, number: int, stretch: Stretch, most: int) -> Iterator[PartOfRun]:
        run = self.runs[stretch.run]
        steps = StepRange(self.odb, run.place, stretch.start, stretch.stop)
        size = self.at_once(most)
        at = stretch.start
        while at < stretch.stop:
            stop = min(at + size, stretch.stop)
            with self.odb.read() as txn:
                rows = self._rows(txn, Piece(stretch.line, at, stop))
                numbers, begun = episodes_of(self.odb, txn, Location(stretch.line, at), rows)
            own = np.arange(at, stop, dtype=np.int64)
            part = PartOfRun(run.name, number, at, own, numbers, own - begun, rows)
            chosen = self._chosen(steps, part)
            if len(chosen.steps):
                self.written += len(chosen.steps)
                yield chosen
            at = stop

    def _rows(self, txn: ReadTxn, piece: Piece) -> Rows:
        """Return rows of one schema with all of their arrays."""
        found = [rows for _, rows in self.odb.states.rows(txn, *piece)]
        schema = found[0].schema
        fixed = found[0].fixed if len(found) == 1 else np.concatenate([r.fixed for r in found])
        variable = [
            [item for rows in found for item in rows.variable[i]]
            for i in range(len(schema.variable))
        ]
        rows = Rows(schema, fixed, variable)
        rows.arrays = {i: self._arrays(txn, piece, rows, i) for i in schema.arrays}
        return rows

    def _arrays(self, txn: ReadTxn, piece: Piece, rows: Rows, index: int) -> list[Any]:
        path = rows.schema.fields[index][0]
        reader = ArrayReader(self.odb, txn, path, rows.count)
        reader.add(0, rows, piece.line, piece.start)
        values = reader.result()
        here = np.flatnonzero(rowlib.presence(rows, index)).tolist()
        if isinstance(values, list):
            return [(row, values[row]) for row in here]
        # an element of texts would lose its width
        return [(row, values[row : row + 1].reshape(values.shape[1:])) for row in here]

    def _chosen(self, steps: StepRange, part: PartOfRun) -> PartOfRun:
        """Return the states and fields of a part that are written."""
        mask = None
        if self.predicate is not None:
            start, stop = part.step, part.step + len(part.steps)
            trajectory = Trajectory(self.odb, steps.place, start, stop)
            mask = np.flatnonzero(self.predicate(trajectory))
        if mask is not None:
            part = _take(part, mask)
        schema = self._written(part.rows.schema)
        return (
            part
            if schema is part.rows.schema
            else part._replace(rows=only_fields(part.rows, schema))
        )

    # --- fields ---

    def _checked(self, fields: Sequence[str | Path]) -> tuple[Path, ...]:
        known = {path for stretch in self.stretches for path, _ in stretch.schema.fields}
        found = [tuple(map(str, as_path(field))) for field in fields]
        for path in found:
            if path not in known:
                raise no_such_field([stretch.schema for stretch in self.stretches], path)
        return tuple(found)

    def _written(self, schema: Schema) -> Schema:
        """Return the schema of what is written of states of a schema."""
        if self.fields is None:
            if not self._has_files:
                return schema
            wanted = {path for path, kind in schema.fields if kind.code != TREE}
        else:
            wanted = {
                path
                for path, kind in schema.fields
                for field in self.fields
                if path[: len(field)] == field or field[: len(path)] == path
            }
        made = tuple(each for each in schema.fields if each[0] in wanted)
        return schema if made == schema.fields else Schema(made)

    # --- where states lie ---

    def _stretches(self, txn: ReadTxn) -> Iterator[Stretch]:
        """Yield the states of all runs in pieces of one schema; only headers are read."""
        states = self.odb.states
        for number, run in enumerate(self.runs):
            for line, start, stop in run.pieces:
                at = start
                while at < stop:
                    header = states.header(txn, Location(line, at))
                    end = min(header.end, stop)
                    while end < stop:
                        more = states.header(txn, Location(line, end))
                        if more.schema != header.schema:
                            break
                        end = min(more.end, stop)
                    parents, origin = self._above(txn, read_line(txn, line), at)
                    schema = self.odb.schema(txn, header.schema)
                    last = states.row(txn, Location(line, end - 1))[0]
                    yield Stretch(number, line, at, end, schema, parents, origin, bytes(last))
                    at = end

    def _above(self, txn: ReadTxn, line: Line, step: int) -> tuple[tuple[bytes, ...], bytes]:
        if step == line.step:
            return line.parents, line.origin
        return (bytes(self.odb.states.row(txn, Location(line.id, step - 1))[0]),), b""


def episodes_of(
    odb: ObjectDatabase, txn: ReadTxn, place: Location, rows: Rows
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the numbers of the episodes of consecutive stored states, and their first steps.

    Args:
        odb: the database.
        txn: what is read in.
        place: of the first state.
        rows: the states.
    """
    episode, first, _ = odb.states.known_standing(txn, odb.states.header(txn, place), place.step)
    starts = episode_starts(rows, place.step == 0)
    starts[0] = False  # counted by ``standing``
    own = np.arange(place.step, place.step + rows.count, dtype=np.int64)
    numbers = episode + np.cumsum(starts, dtype=np.int64)
    return numbers, np.maximum.accumulate(np.where(starts, own, first))


def check_options(options: Mapping[str, str], known: Sequence[str]) -> None:
    """Check that only options of a format were given.

    Raises:
        InvalidInput: there is another one.
    """
    for name in sorted(options.keys() - set(known)):
        near = near_or_known(name, known) if known else "; the format has none"
        raise InvalidInput(f"unknown option '{name}'{near}", option=name)


def _slice(part: PartOfRun, start: int, stop: int) -> PartOfRun:
    if (start, stop) == (0, len(part.steps)):
        return part
    return part._replace(
        step=int(part.steps[start]), steps=part.steps[start:stop],
        episodes=part.episodes[start:stop], episode_steps=part.episode_steps[start:stop],
        rows=part.rows.slice(start, stop),
    )  # fmt: skip


def _take(part: PartOfRun, chosen: npt.NDArray[np.intp]) -> PartOfRun:
    """Return some states of a part."""
    numbers = {int(row): i for i, row in enumerate(chosen)}
    rows = part.rows
    arrays: Arrays = {
        index: [(numbers[row], array) for row, array in found if row in numbers]
        for index, found in rows.arrays.items()
    }
    variable = [[column[row] for row in chosen.tolist()] for column in rows.variable]
    return part._replace(
        steps=part.steps[chosen], episodes=part.episodes[chosen],
        episode_steps=part.episode_steps[chosen],
        rows=Rows(rows.schema, rows.fixed[chosen], variable, arrays),
    )  # fmt: skip


def only_fields(rows: Rows, schema: Schema) -> Rows:
    """Return the fields of rows that a smaller schema has."""
    old = rows.schema
    fixed = np.zeros((rows.count, schema.fixed_size), np.uint8)
    variable, arrays = [], {}
    for i, (path, kind) in enumerate(schema.fields):
        index = old.index[path]
        byte, bit = divmod(i, 8)
        fixed[:, byte] |= rowlib.presence(rows, index).astype(np.uint8) << bit
        at = schema.offsets[i]
        fixed[:, at : at + kind.width] = rows.field(index)
        if kind.variable:
            variable.append(rows.variable[old.variable.index(index)])
        if index in rows.arrays:
            arrays[i] = rows.arrays[index]
    return Rows(schema, fixed, variable, arrays)
