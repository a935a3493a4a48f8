"""Fields of a history in buckets of 2^k steps, for curves: n, min, max, mean, last of each.

Buckets are aligned to step 0 and whole, whatever part of a history is asked for, and their sums are
added up in the order of the states. So the same request gives the same bytes, and a history that
grows changes only its last bucket. From 2048 steps on they come from summaries, where these are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from simgit.errors import InvalidInput, NotFound, shown
from simgit.history import log
from simgit.history.block_bounds import scalar_of
from simgit.history.column_reader import no_such_field, read_columns
from simgit.history.leaf_column import LeafColumn
from simgit.history.paths import FieldPath, as_path, element_index, locate, path_text
from simgit.history.step_range import Piece, StepRange
from simgit.objects.schema import FIXED, Schema
from simgit.odb import ancestry
from simgit.odb.location import Location
from simgit.odb.segments import summaries
from simgit.odb.segments.block import BLOCK_ROWS
from simgit.odb.segments.lines import line_of_step, read_line
from simgit.odb.segments.summaries import ABSENT, GREATEST, LAST, LEAST, SUM, scalars
from simgit.odb.segments.times import time_spans

if TYPE_CHECKING:
    import numpy.typing as npt

    from simgit.odb.database import ObjectDatabase
    from simgit.storage.base import ReadTxn

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

Along = Literal["step", "episode", "time"]
EPISODES: Final = ("return", "length")
"""Fields of the episodes that have ended, at the steps of their last states."""
_AT_ONCE: Final = 32 * BLOCK_ROWS
"""The most states whose columns are in memory at once."""
_INDEX: Final = re.compile(r"\[(-?[0-9]{1,9})\]")


@dataclass(frozen=True)
class Bucketed:
    """A field in buckets, each column of shape (buckets,).

    NaN counts as no value. Where no state of a bucket has a value, ``n`` is 0 and the others are
    NaN. Infinities are values; a mean of both is NaN.

    Attributes:
        n: the number of states with a value (of episodes, for ``return`` and ``length``).
        min: the least value.
        max: the greatest.
        mean: the mean.
        last: the newest.
        smooth: the mean over a number of buckets up to this one, if it was asked for.
    """

    n: Ints
    min: Floats
    max: Floats
    mean: Floats
    last: Floats
    smooth: Floats | None = None


@dataclass(frozen=True)
class Buckets:
    """Fields of a history in buckets of ``width`` steps.

    Attributes:
        width: how many steps a bucket has, a power of two.
        stop: the step after the last state; up to it the last bucket may grow.
        step: the first step of each bucket, shape (buckets,).
        x: where each bucket lies: its first step, or the episode or the time (seconds since 1970,
            NaN if unknown) of its last state.
        fields: each field, by the name it was asked for.
    """

    width: int
    stop: int
    step: Ints
    x: Floats
    fields: dict[str, Bucketed] = field(default_factory=dict)


class Gathered:
    """Buckets of some fields while they are filled; arrays of shape (fields, buckets)."""

    def __init__(self, fields: int, first: int, count: int, width: int) -> None:
        self.first, self.width = first, width
        self.n = np.zeros((fields, count), np.int64)
        self.least = np.full((fields, count), np.inf)
        self.greatest = np.full((fields, count), -np.inf)
        self.sum, self.last = np.zeros((fields, count)), np.full((fields, count), np.nan)

    def add(
        self, i: int, steps: Ints, n: Ints, least: Floats, greatest: Floats, sum: Floats,
        last: Floats,
    ) -> None:  # fmt: skip
        """Add what is known of parts of one field, in the order of their steps."""
        has = n > 0
        if not has.all():
            steps, n, least, greatest = steps[has], n[has], least[has], greatest[has]
            sum, last = sum[has], last[has]
        at = (steps - self.first) // self.width
        np.add.at(self.n[i], at, n)
        np.minimum.at(self.least[i], at, least)
        np.maximum.at(self.greatest[i], at, greatest)
        with np.errstate(all="ignore"):  # infinities of both signs
            np.add.at(self.sum[i], at, sum)  # one after another
        self.last[i, at] = last  # of several the newest

    def values(self, i: int, steps: Ints, values: Floats, there: npt.NDArray[np.bool_]) -> None:
        """Add the values of single states of a field."""
        values = values.astype(np.float64) + 0.0  # -0 becomes 0
        there = there & (values == values)
        self.add(i, steps, there.astype(np.int64), values, values, values, values)

    def bucketed(self, i: int, skip: int, window: int) -> Bucketed:
        """Return a field without its first buckets, which were read for the window."""
        n = self.n[i]
        least, greatest = self.least[i].copy(), self.greatest[i].copy()
        least[n == 0] = greatest[n == 0] = np.nan
        with np.errstate(all="ignore"):
            mean, smooth = self.sum[i] / n, None
            if window > 1:
                sums, counts = (trailing(each, window) for each in (self.sum[i], n))
                smooth = (sums / counts)[skip:]
        mean[np.isnan(mean)] = np.nan  # of one sign, so that equal requests give equal bytes
        return Bucketed(
            n[skip:], least[skip:], greatest[skip:], mean[skip:], self.last[i][skip:], smooth
        )


def trailing(values: npt.NDArray[np.generic], window: int) -> Floats:
    """Return the sum of each value and those before it, ``window`` in all."""
    padded = np.concatenate([np.zeros(window - 1), values])
    found: Floats = np.lib.stride_tricks.sliding_window_view(padded, window).sum(axis=-1)
    return found


def width_for(start: int, stop: int, points: int) -> int:
    """Return the least power of two with which at most so many buckets cover the steps."""
    width = 1
    while -(-stop // width) - start // width > points:
        width *= 2
    return width


def read_buckets(
    odb: ObjectDatabase,
    txn: ReadTxn,
    tip: Location,
    names: Sequence[str],
    *,
    x: Along,
    start: int,
    stop: int,
    width: int,
    smooth: int = 1,
) -> Buckets:
    """Return fields of a state's history in buckets; see ``Repository.buckets``."""
    plain = known_paths(odb, txn, tip, names)
    first = start // width
    skip = min(first, smooth - 1)
    low = (first - skip) * width
    high = min(-(-stop // width) * width, tip.step + 1)
    count = max(skip, -(-high // width) - first + skip)
    found, episodes = gathered(odb, txn, tip, names, plain, low, high, count, width, x)
    buckets = np.arange(first, first + count - skip, dtype=np.int64) * width
    last = np.minimum(buckets + width, high) - 1
    along = buckets.astype(np.float64)
    if x == "time":
        along = _times(txn, StepRange(odb, tip, low, high).pieces(txn) if high > low else [], last)
    elif x == "episode" and episodes is not None:
        number = np.searchsorted(episodes.start, last, "right") - 1
        along = episodes.number[number].astype(np.float64)
    fields = {name: found.bucketed(i, skip, smooth) for i, name in enumerate(names)}
    return Buckets(width, high, buckets, along, fields)


def known_paths(
    odb: ObjectDatabase, txn: ReadTxn, tip: Location, names: Sequence[str]
) -> dict[int, FieldPath]:
    """Return the paths of names as ``field_paths`` does, if a state's history has all of them.

    Raises:
        NotFound: it has not.
    """
    schema = odb.schema(txn, odb.states.header(txn, tip).schema)  # which has all earlier fields
    plain = field_paths(names)
    for path in plain.values():
        if locate(schema, path) is None:
            raise no_such_field([schema], path)
    return plain


def has_summaries(odb: ObjectDatabase, txn: ReadTxn, tip: Location, name: str) -> bool:
    """Return whether wide buckets of a field decode no column."""
    schema = odb.schema(txn, odb.states.header(txn, tip).schema)
    return name not in EPISODES and scalar_of(schema, _path(name)) is not None


def field_paths(names: Sequence[str]) -> dict[int, FieldPath]:
    """Return the paths of the names that are not about episodes, by their index."""
    return {i: _path(name) for i, name in enumerate(names) if name not in EPISODES}


def gathered(
    odb: ObjectDatabase, txn: ReadTxn, tip: Location, names: Sequence[str],
    plain: dict[int, FieldPath], low: int, high: int, count: int, width: int, x: Along = "step",
) -> tuple[Gathered, log.EpisodeColumns | None]:  # fmt: skip
    """Return the buckets from step ``low`` to ``high``, and the episodes where they were read."""
    found = Gathered(len(names), low, count, width)
    if high > low:
        steps = StepRange(odb, tip, low, high)
        if width >= BLOCK_ROWS:
            for part in _parts(steps, txn) if plain else ():
                part.add_to(found, steps, txn, plain)
        else:
            for at in range(low, high, _AT_ONCE):
                _from_columns(found, StepRange(odb, tip, at, min(at + _AT_ONCE, high)), txn, plain)
    episodes = None
    if high > low and (x == "episode" or len(plain) < len(names)):
        episodes = log.episode_columns(odb, txn, line_of_step(txn, tip, high - 1), low)
        ended = episodes.terminated | episodes.truncated
        if high <= tip.step and len(ended):  # a state may follow an end without a reset
            here, after = (
                odb.states.tip(txn, line_of_step(txn, tip, at)).episode for at in (high - 1, high)
            )
            if here is None or after is None:
                raise odb.states.unknown_episodes(txn, tip)
            ended[-1] &= after > here
        ends, there = episodes.stop[ended] - 1, np.ones(int(ended.sum()), bool)
        lengths = (episodes.stop - episodes.start - 1).astype(np.float64)
        for i, name in enumerate(names):
            if name in EPISODES:
                values = episodes.return_ if name == "return" else lengths
                found.values(i, ends, values[ended], there)
    return found, episodes


class Summed(NamedTuple):
    """A field of some states: how many values, the least, greatest, mean, sum and newest."""

    n: int
    min: float
    max: float
    mean: float
    sum: float
    last: float


def sum_up(
    odb: ObjectDatabase, txn: ReadTxn, tip: Location, name: str, episodes: int = 0
) -> Summed | None:
    """Return a field of a state's history summed up, None if no state has a value.

    Args:
        odb: the database.
        txn: the transaction.
        tip: the state.
        name: the field, as in ``Repository.buckets``.
        episodes: only the last so many episodes, also if the newest has not ended; 0 for all.

    Raises:
        NotFound: the states have no such field.
        InvalidInput: it is not a number.
    """
    path = _path(name)
    schema = odb.schema(txn, odb.states.header(txn, tip).schema)
    if locate(schema, path) is None:
        raise no_such_field([schema], path)
    start = 0
    if episodes:
        newest = odb.states.known_standing(txn, odb.states.header(txn, tip), tip.step)[0]
        start = ancestry.episode_start(odb, txn, tip, max(1, newest - episodes + 1))
    found = Gathered(1, 0, 1, tip.step + 1)
    steps = StepRange(odb, tip, start, tip.step + 1)
    for part in _parts(steps, txn):
        part.add_to(found, steps, txn, {0: path})
    if not found.n[0, 0]:
        return None
    total = float(found.sum[0, 0])
    mean = found.bucketed(0, 0, 1).mean[0]
    least, greatest, last = float(found.least[0, 0]), float(found.greatest[0, 0]), found.last[0, 0]
    return Summed(int(found.n[0, 0]), least, greatest, float(mean), total, float(last))


def _path(name: str) -> FieldPath:
    """Return the path of a field such as ``observation.position[2]``."""
    return as_path(_INDEX.sub(r".\1", name))


def _times(txn: ReadTxn, pieces: Iterable[Piece], last: Ints) -> Floats:
    """Return when states were recorded, in seconds since 1970; NaN where that is not known."""
    starts, times = [0], [np.nan]
    for line, start, stop in pieces:
        for span in time_spans(txn, line, start, stop):
            starts.append(span.start)
            times.append(np.nan if span.time is None else span.time / 1e9)
    found: Floats = np.array(times)[np.searchsorted(starts, last, "right") - 1]
    return found


def _from_columns(
    found: Gathered, steps: StepRange, txn: ReadTxn, paths: dict[int, FieldPath]
) -> None:
    """Add states one by one, from columns."""
    schemas = steps.schemas(txn)
    # elements of one array are read together
    read = {i: _array_of(schemas, path) for i, path in paths.items() if _is_in(schemas, path)}
    columns = _read(steps, txn, set(read.values()))
    numbers = np.arange(steps.start, steps.stop, dtype=np.int64)
    for i, above in read.items():
        if above in columns:
            inside = paths[i][len(above) :]
            values = _numbers(columns[above], paths[i], inside)
            if values is not None:
                found.values(i, numbers, values, ~columns[above].absent)


def _is_in(schemas: Iterable[Schema], path: FieldPath) -> bool:
    return any(locate(schema, path) is not None for schema in schemas)


def _array_of(schemas: Iterable[Schema], path: FieldPath) -> FieldPath:
    """Return the field of small arrays of one shape that have the element, else the path itself."""
    found = set()
    for schema in schemas:
        if (located := locate(schema, path)) is not None:
            index, inside = located
            name, kind = schema.fields[index]
            is_small = kind.code == FIXED and len(inside) == len(kind.shape)
            found.add((name, kind.shape) if is_small else None)
    only = found.pop() if len(found) == 1 else None
    return path if only is None else only[0]


def _read(steps: StepRange, txn: ReadTxn, paths: set[FieldPath]) -> dict[FieldPath, LeafColumn]:
    """Read columns; those of fields that turn out to be in no state are left out."""
    while paths:
        try:
            read = read_columns(steps, txn, sorted(paths, key=str))
        except NotFound as error:
            missing = vars(error).get("path")
            if missing not in paths:
                raise
            paths = paths - {missing}
            continue
        for path, leaf in read.items():
            if not isinstance(leaf, LeafColumn):
                raise _no_number(path, "has several fields")
        return {path: leaf for path, leaf in read.items() if isinstance(leaf, LeafColumn)}
    return {}


def _numbers(leaf: LeafColumn, path: FieldPath, inside: FieldPath) -> Floats | None:
    """Return a column, or an element of each of its arrays, as floats; None if it has no value.

    Raises:
        InvalidInput: it has something else than one number for each state.
    """
    values = leaf.values
    if isinstance(values, list):
        if all(value is None for value in values):
            return None
        raise _no_number(path, f"is {shown(next(v for v in values if v is not None))}")
    if values.dtype.kind not in "biuf":
        raise _no_number(path, f"is of {values.dtype}")
    if inside:
        try:
            values = values[element_index(inside)]
        except (IndexError, ValueError):
            return None
    if values[:1].size != 1:
        raise _no_number(path, f"has shape {values.shape[1:]}: name one element, as in [0]")
    floats: Floats = np.asarray(values).reshape(len(values)).astype(np.float64)
    return floats


def _no_number(path: FieldPath, what: str) -> InvalidInput:
    return InvalidInput(f"field '{path_text(path)}' is not a number: it {what}", path=path)


# --- from summaries ----------------------------------------------------------------------------


class _Part:
    """Consecutive blocks of a line, with their summaries, which are of one schema."""

    def __init__(self, start: int, schema: Schema) -> None:
        self.start = self.stop = start
        self.schema = schema
        self.steps: list[int] = []
        self.entries: list[tuple[bytes, bytes]] = []

    def add_to(
        self, found: Gathered, steps: StepRange, txn: ReadTxn, paths: dict[int, FieldPath]
    ) -> None:
        """Add the fields to buckets: from summaries, or from columns where these are needed."""
        left = {}
        rows, values = summaries.decode_many(self.entries, scalars(self.schema).count)
        at = np.array(self.steps, np.int64)
        for i, path in paths.items():
            k = scalar_of(self.schema, path)
            if k is not None:
                v = values[:, :, k]
                n = rows - v[:, ABSENT].astype(np.int64)
                found.add(i, at, n, v[:, LEAST], v[:, GREATEST], v[:, SUM], v[:, LAST])
            elif locate(self.schema, path) is not None:
                left[i] = path  # only the columns say
        for low in range(self.start - self.start % _AT_ONCE, self.stop if left else 0, _AT_ONCE):
            here = max(low, self.start), min(low + _AT_ONCE, self.stop)
            _add_blocks(found, StepRange(steps.odb, steps.place, *here), txn, left)


def _add_blocks(
    found: Gathered, steps: StepRange, txn: ReadTxn, paths: dict[int, FieldPath]
) -> None:
    """Add blocks of a line from columns, with the sums that their summaries would have."""
    first = steps.start // BLOCK_ROWS * BLOCK_ROWS
    count = -(-steps.stop // BLOCK_ROWS) - first // BLOCK_ROWS
    blocks = Gathered(len(paths), first, count, BLOCK_ROWS)
    _from_columns(blocks, steps, txn, dict(enumerate(paths.values())))
    at = first + BLOCK_ROWS * np.arange(count, dtype=np.int64)
    for j, i in enumerate(paths):
        found.add(
            i, at, blocks.n[j], blocks.least[j], blocks.greatest[j], blocks.sum[j], blocks.last[j]
        )


def _parts(steps: StepRange, txn: ReadTxn) -> Iterator[_Part]:
    """Yield the range in order, as long parts as can be read at once."""
    spans = iter(steps.spans(txn))
    span = next(spans)
    for line, start, stop in steps.pieces(txn):
        first, part = read_line(txn, line).step, None
        low, high = start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)
        keys = summaries.summary_key(line, low), summaries.summary_key(line, high)
        stored = dict(txn.scan(summaries.TABLE, *keys))
        for block in range(low, high):
            at, end = max(start, block * BLOCK_ROWS), min(stop, (block + 1) * BLOCK_ROWS)
            key = summaries.summary_key(line, block)
            value = stored.get(key, b"")
            is_whole = at == max(first, block * BLOCK_ROWS) and summaries.rows_of(value) == end - at
            while span.line != line or span.stop < end:
                span = next(spans)
            if not is_whole:
                summary = summaries.compute(steps.odb.states, txn, line, at, end)
                value = summaries.encode(key, summary)
            if part is None or part.schema != span.schema:
                if part is not None:
                    yield part
                part = _Part(at, span.schema)
            part.stop = end
            part.steps.append(at)
            part.entries.append((key, value))
        if part is not None:
            yield part
