"""A range of a run's steps as NumPy columns, episodes, windows and states.

Columns are read on first use, each in one transaction, and kept. They are shared between a
trajectory and its slices and therefore read-only: copy a column before changing it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
import numpy.typing as npt

from simgit.errors import IntegrityError, InvalidInput, NotFound
from simgit.history.column_reader import Column, Mask, read_columns, read_presence
from simgit.history.step_range import StepRange
from simgit.history.summary import to_html, to_text
from simgit.history.windows import Windows, make_transitions, make_windows, map_column
from simgit.objects.arguments import checked_methods
from simgit.objects.oid import Oid
from simgit.objects.rows import unpack_row
from simgit.objects.schema import BOOL, COMPLEX, FIXED, FLOAT, INT, Path, Schema
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.totals import total

if TYPE_CHECKING:
    from simgit.plot import Drawing

StateFactory = Callable[[Location, dict[str, Any] | None], Any]
"""A function that makes a state from its location, and from its unpacked row if given."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@checked_methods
class Trajectory:
    """The states start <= step < stop of a first-parent history.

    Where a state does not have a field, numbers read as zeros (see ``present``), others as None.
    """

    def __init__(
        self,
        odb: ObjectDatabase,
        place: Location,
        start: int,
        stop: int,
        name: str = "",
        state_factory: StateFactory | None = None,
    ) -> None:
        """Note the range of states; nothing is read yet.

        Args:
            odb: the database.
            place: the location of the last state, or of one after it.
            start: the first step.
            stop: the step after the last.
            name: the run's name, for display.
            state_factory: makes the states that indexing and iteration return; without it they
                are dicts of their fields.

        Raises:
            InvalidInput: the history does not have these steps.
        """
        self._range = StepRange(odb, place, start, stop)
        self._factory = state_factory
        self._columns: dict[Path, Column] = {}
        self._masks: dict[Path, Mask] = {}
        self._source: Trajectory | None = None
        self.name = name

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: columns are read again where they are needed."""
        return {
            "_range": self._range, "_factory": self._factory, "name": self.name,
            "_columns": {}, "_masks": {}, "_source": None,
        }  # fmt: skip

    # --- where ---

    @property
    def place(self) -> Location:
        """The location that the history was given by, that of the last state or of a later one."""
        return self._range.place

    @property
    def start(self) -> int:
        """The step of the first state."""
        return self._range.start

    @property
    def stop(self) -> int:
        """The step after the last state's."""
        return self._range.stop

    def __len__(self) -> int:
        return self._range.count

    @property
    def steps(self) -> Ints:
        """The step of each state, shape (n,)."""
        return np.arange(self.start, self.stop, dtype=np.int64)

    @cached_property
    def oids(self) -> list[Oid]:
        """The oid of each state, recomputed from its content."""
        found: list[Oid] = []
        odb = self._range.odb
        with odb.read() as txn:
            for piece in self._range.pieces(txn):
                found += map(Oid, odb.states.all_oids(txn, *piece))
        return found

    # --- columns ---

    def column(self, path: str | Sequence[str]) -> Column:
        """Return the column of one field, for instance ``"info.lives"``.

        Args:
            path: components joined by dots, or as a tuple.

        Returns:
            An array with a leading axis for the states, where the field is numeric and of one
            shape; a dict or tuple of columns for a nested field; else a list.

        Raises:
            NotFound: no state has this field.
            IntegrityError: stored bytes are damaged.
        """
        return self.columns(path)[0]

    def columns(self, *paths: str | Sequence[str]) -> tuple[Column, ...]:
        """Return several fields, read in one go; see ``column``."""
        keys = [as_path(path) for path in paths]
        missing = [key for key in dict.fromkeys(keys) if self._cached(key) is None]
        if missing:
            found = self._read(missing)
            self._columns |= {key: map_column(column, _freeze) for key, column in found.items()}
        return tuple(self._cached(key) for key in keys)

    def _read(self, paths: list[Path]) -> dict[Path, Column]:
        with self._range.odb.read() as txn:
            try:
                return read_columns(self._range, txn, paths)
            except NotFound as error:
                schemas = list(self._range.schemas(txn))
                if not all(any(path in schema.index for schema in schemas) for path in paths):
                    raise
                # not a field is missing, but an object that a state names
                raise IntegrityError(f"{error}; see 'simgit fsck'") from error

    def _cached(self, path: Path) -> Column | None:
        """Return a column that this trajectory, or the one it is a slice of, has read already."""
        if path in self._columns:
            return self._columns[path]
        above = self._source._cached(path) if self._source else None
        if above is None or self._source is None:
            return None
        first = self.start - self._source.start
        return map_column(above, lambda leaf: leaf[first : first + len(self)])

    def has(self, path: str | Sequence[str]) -> bool:
        """Return True if a schema of the states has a field (it may be absent in all of them)."""
        key = as_path(path)
        with self._range.odb.read() as txn:
            return any(key in schema.index for schema in self._range.schemas(txn))

    def paths(self) -> set[Path]:
        """Return the paths of all fields in the schemas of the states."""
        with self._range.odb.read() as txn:
            return {path for schema in self._range.schemas(txn) for path in schema.index}

    def present(self, path: str | Sequence[str]) -> Mask:
        """Return a mask of the states that have a field, shape (n,)."""
        key = as_path(path)
        if key not in self._masks:
            with self._range.odb.read() as txn:
                self._masks[key] = _freeze(read_presence(self._range, txn, key))
        return self._masks[key]

    def dtypes(self, path: str | Sequence[str]) -> set[np.dtype[Any] | None]:
        """Return the dtypes of a field's values, None for Python's own numbers.

        A column holds all of them in one dtype; a state returns each as it was recorded.
        """
        key = as_path(path)
        with self._range.odb.read() as txn:
            schemas = list(self._range.schemas(txn))
        return {
            schema.fields[schema.index[key]][1].dtype for schema in schemas if key in schema.index
        }

    def _column_or(self, path: str, default: Callable[[], Column]) -> Column:
        try:
            if path in self._usual:  # the others are likely to be read soon
                self.columns(*self._usual)
            return self.column(path)
        except NotFound:
            return default()

    @cached_property
    def _usual(self) -> tuple[str, ...]:
        """The top-level fields of small fixed width, which cost little to read together."""
        with self._range.odb.read() as txn:
            schemas = list(self._range.schemas(txn))
        return tuple(name for name in _USUAL if _is_small(schemas, name))

    @property
    def observations(self) -> Column:
        """The observations: an array of shape (n, …), a list, or a dict or tuple of columns."""
        return self._column_or("observation", self._nothing)

    @property
    def actions(self) -> Column:
        """The action that led to each state: an array of shape (n, …), or as observations."""
        return self._column_or("action", self._nothing)

    @property
    def rewards(self) -> Floats:
        """The reward of each state's action, 0 at resets, float64 of shape (n,)."""
        found: Floats = self._column_or("reward", lambda: np.zeros(len(self)))
        return found

    @property
    def terminations(self) -> Mask:
        """A mask of the states at which an episode terminated, shape (n,)."""
        found: Mask = self._column_or("terminated", lambda: np.zeros(len(self), bool))
        return found

    @property
    def truncations(self) -> Mask:
        """A mask of the states at which an episode was truncated, shape (n,)."""
        found: Mask = self._column_or("truncated", lambda: np.zeros(len(self), bool))
        return found

    @property
    def infos(self) -> Column:
        """The infos as a dict of columns (or a list, if some are not dicts)."""
        return self._column_or("info", dict)

    @property
    def messages(self) -> list[str | None]:
        """The message of each state, None where there is none."""
        found: list[str | None] = self._column_or("message", self._nothing)
        return found

    @property
    def files(self) -> list[Oid | None]:
        """The oid of each state's tree of files, None where there is none."""
        found: list[Oid | None] = self._column_or("files", self._nothing)
        return found

    def _nothing(self) -> list[None]:
        return [None] * len(self)

    # --- episodes ---

    @cached_property
    def episode_starts(self) -> Mask:
        """A mask of the states that start an episode (resets and roots), shape (n,)."""
        found = self.present("reset").copy()
        if self.start == 0 and len(self):
            found[0] = True
        return found

    @cached_property
    def _standing(self) -> tuple[int, int]:
        """The number and first step of the first state's episode."""
        states = self._range.odb.states
        with self._range.odb.read() as txn:
            place = states.ancestor(txn, self.place, self.start)
            episode, first, _ = states.standing(txn, states.header(txn, place), self.start)
        return episode, first

    @property
    def episode_ids(self) -> Ints:
        """The number of each state's episode in its run, counted from 1, shape (n,)."""
        if not len(self):
            return np.zeros(0, np.int64)
        ids: Ints = np.cumsum(self.episode_starts, dtype=np.int64)
        ids += self._standing[0] - ids[0]
        return ids

    @cached_property
    def _borders(self) -> npt.NDArray[np.intp]:
        """The positions where the episodes begin, and the end of the last."""
        if not len(self):
            return np.zeros(1, np.intp)
        inner = np.flatnonzero(self.episode_starts[1:]) + 1
        return np.array([0, *inner.tolist(), len(self)], np.intp)

    @property
    def returns(self) -> Floats:
        """The sum of rewards of each episode within the trajectory, shape (episodes,)."""
        starts = self._borders[:-1]
        with np.errstate(all="ignore"):  # infinities of both signs
            return np.add.reduceat(self.rewards, starts) if len(starts) else np.zeros(0)

    @property
    def lengths(self) -> Ints:
        """The number of actions of each episode within the trajectory, shape (episodes,)."""
        borders = self._borders
        resets = self.episode_starts[borders[:-1]]
        return (np.diff(borders) - resets).astype(np.int64)

    @property
    def episodes(self) -> list[Episode]:
        """The episodes, the first and last perhaps cut; those of a slice share its columns."""
        if not len(self):
            return []
        number, first = self._standing
        borders = (self._borders + self.start).tolist()
        return [
            Episode(self, a, b, number + i, first if i == 0 else a)
            for i, (a, b) in enumerate(itertools.pairwise(borders))
        ]

    # --- states ---

    @overload
    def __getitem__(self, key: int) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> Trajectory: ...
    def __getitem__(self, key: int | slice) -> Any:
        """Return a state, or a slice; positions count from the first state here, not by step.

        Raises:
            IndexError: there is no such state.
            InvalidInput: a slice has a stride.
        """
        if isinstance(key, slice):
            first, last, stride = key.indices(len(self))
            if stride != 1:
                raise InvalidInput(
                    f"cannot slice a trajectory with a stride of {key.step}: states are a chain; "
                    "slice its columns"
                )
            start, stop = self.start + first, self.start + max(first, last)
            part = Trajectory(self._range.odb, self.place, start, stop, self.name, self._factory)
            part._source = self
            return part
        if not -len(self) <= key < len(self):
            raise IndexError(f"state {key} is out of range: the trajectory has {len(self)}")
        place = self._range.location(self.start + key % len(self))
        return self._make(place, None)

    def _make(self, place: Location, value: dict[str, Any] | None) -> Any:
        if self._factory is not None:
            return self._factory(place, value)
        if value is None:
            with self._range.odb.read() as txn:
                _, rows = next(
                    self._range.odb.states.rows(txn, place.line, place.step, place.step + 1)
                )
            value = unpack_row(rows, 0)
        return value

    def __iter__(self) -> Iterator[Any]:
        """Yield the states, read block by block; no transaction is held in between."""
        for line, step, rows in self._range.chunks():
            for i in range(rows.count):
                yield self._make(Location(line, step + i), unpack_row(rows, i))

    # --- for training ---

    def windows(self, length: int, stride: int = 1, *, across: bool = False) -> Windows:
        """Return the windows of ``length`` states that begin at every ``stride``-th.

        Args:
            length: states in each window.
            stride: states from the start of one window to the start of the next.
            across: True to allow windows across the border of an episode.

        Raises:
            InvalidInput: length or stride is less than 1.
        """
        return make_windows(self, length, stride, across)

    def transitions(self) -> dict[str, Column]:
        """Return the transitions between successive states of each episode.

        Returns:
            Columns of equal length: ``observations``, ``actions``, ``rewards``,
            ``next_observations``, ``terminations``, ``truncations``.
        """
        return make_transitions(self)

    # --- display ---

    def plot(self, *fields: str, window: int = 1, title: str = "") -> Drawing:
        """Draw these fields over steps; without any, returns and lengths of the episodes.

        A single episode is drawn as its rewards. ``window`` smoothes returns and lengths.

        Raises:
            NotFound: there is no such field, or matplotlib is not installed.
            InvalidInput: a field is not numeric.
        """
        from simgit import plot

        title = title or self.name
        episodes = self.episodes
        if not fields and len(episodes) > 1:
            number = self.episode_ids[self._borders[:-1]].astype(np.float64)
            series = {"return": self.returns, "length (steps)": self.lengths.astype(np.float64)}
            drawn = {label: [plot.Curve(self.name, number, y)] for label, y in series.items()}
            return plot.learning_curve(drawn, title=title, window=window)
        found = dict(zip(fields, self.columns(*fields), strict=True)) or {"reward": self.rewards}
        starts = self.steps[self.episode_starts].astype(float).tolist()
        return plot.columns(self.steps, found, starts=starts, title=title)

    def __repr__(self) -> str:
        return to_text(self._title(), self._range)

    def _repr_html_(self) -> str:
        return to_html(self._title(), self._range, self.__getitem__)

    def _title(self) -> str:
        return f"{type(self).__name__} {self.name}".rstrip()


class Episode(Trajectory):
    """The states of a trajectory that belong to one episode."""

    def __init__(self, whole: Trajectory, start: int, stop: int, number: int, first: int) -> None:
        super().__init__(whole._range.odb, whole.place, start, stop, whole.name, whole._factory)
        self._source = whole
        self.number = number
        """The episode's number in the run, from 1."""
        self.first = first
        """The step of its reset, which may lie before ``start`` if the trajectory cuts it."""

    @property
    def return_(self) -> float:
        """The sum of the rewards."""
        return total(self.rewards)

    @property
    def length(self) -> int:
        """The number of actions."""
        return len(self) - (self.start == self.first)

    @property
    def terminated(self) -> bool:
        """True if it terminated."""
        return bool(self.terminations.any())

    @property
    def truncated(self) -> bool:
        """True if it was truncated."""
        return bool(self.truncations.any())

    @property
    def seed(self) -> Any:
        """The seed that its reset was given, or None."""
        reset = Trajectory(self._range.odb, self.place, self.first, self.first + 1)
        if not reset.present("reset.seed")[0]:
            return None
        seed = reset.column("reset.seed")[0]
        return seed.item() if isinstance(seed, np.integer) else seed


_USUAL: Final = ("observation", "action", "reward", "terminated", "truncated")


def _is_small(schemas: Sequence[Schema], name: str) -> bool:
    """Return True if a top-level field exists and consists of numbers in the row only."""
    kinds = {s.fields[s.index[(name,)]][1].code for s in schemas if (name,) in s.index}
    return bool(kinds) and kinds <= {BOOL, INT, FLOAT, COMPLEX, FIXED}


def as_path(path: str | Sequence[str]) -> Path:
    """Return a path as a tuple of components."""
    return tuple(path.split(".")) if isinstance(path, str) else tuple(path)


def _freeze(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        leaf.flags.writeable = False
    return leaf
