"""A range of a run's steps as NumPy columns, episodes, windows and states.

Columns are read on first use, each in one transaction, and kept. They are shared between a
trajectory and its slices and therefore read-only: copy a column before changing it. What stands
where a state has no value is the same everywhere, see ``leaf_column``.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt

from simgit.errors import IntegrityError, InvalidInput, NotFound, shown
from simgit.history.column_reader import (
    Leaves,
    is_field,
    is_map,
    read_columns,
    read_presence,
)
from simgit.history.leaf_column import UNFILLED, Column, LeafColumn, Mask
from simgit.history.paths import FieldPath, as_path, locate, nested_paths
from simgit.history.state import State
from simgit.history.step_range import StepRange
from simgit.history.summary import to_html, to_text
from simgit.history.windows import Windows, make_transitions, make_windows, map_leaves
from simgit.objects.arguments import checked_methods
from simgit.objects.columns import ABSENT
from simgit.objects.oid import OID_SIZE, Oid
from simgit.objects.rows import column as row_column
from simgit.objects.rows import unpack_row, unpack_rows
from simgit.objects.schema import BOOL, COMPLEX, FIXED, FLOAT, INT, VALUE, Schema
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.block import BLOCK_ROWS
from simgit.odb.segments.totals import total

if TYPE_CHECKING:
    from simgit.plot import Drawing
    from simgit.storage.base import ReadTxn

T = TypeVar("T")
TableFactory = Callable[..., Any]
"""A function that makes an Arrow table of a trajectory, given fields and oids."""
StateFactory = Callable[[Location, int], Sequence[Any]]
"""A function that makes states from a location on: so many as are wanted, or fewer; not none."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@checked_methods
class Trajectory:
    """The states start <= step < stop of a first-parent history.

    Where a state has no value in a column, floats are NaN, other arrays masked, and lists have None
    (see ``column``); rewards are 0 and flags False at resets.
    """

    def __init__(
        self,
        odb: ObjectDatabase,
        place: Location,
        start: int,
        stop: int,
        name: str = "",
        state_factory: StateFactory | None = None,
        table_factory: TableFactory | None = None,
    ) -> None:
        """Note the range of states; nothing is read yet.

        Args:
            odb: the database.
            place: the location of the last state, or of one after it.
            start: the first step.
            stop: the step after the last.
            name: the run's name, for display.
            state_factory: makes the states that indexing and iteration return, given a location
                and how many are wanted from there on: so many or fewer, but one at least; without
                it they are dicts of their fields.
            table_factory: makes the table of ``to_arrow``.

        Raises:
            InvalidInput: the history does not have these steps.
        """
        self._range = StepRange(odb, place, start, stop)
        self._factory = state_factory
        self._tables = table_factory
        self._columns: dict[FieldPath, Leaves] = {}
        self._masks: dict[FieldPath, Mask] = {}
        self._source: Trajectory | None = None
        self.name = name

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: columns are read again where they are needed."""
        return {
            "_range": self._range, "_factory": self._factory, "_tables": self._tables,
            "name": self.name, "_columns": {}, "_masks": {}, "_source": None,
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

    def oid_array(self) -> npt.NDArray[np.uint8]:
        """Return the oid of each state, recomputed from its content, as bytes of shape (n, 32)."""
        found: npt.NDArray[np.uint8] = np.empty((len(self), OID_SIZE), np.uint8)
        odb, at = self._range.odb, 0
        with odb.read() as txn:
            for line, start, stop in self._range.pieces(txn):
                for step in range(start, stop, BLOCK_ROWS):
                    oids = odb.states.all_oids(txn, line, step, min(step + BLOCK_ROWS, stop))
                    part = np.frombuffer(b"".join(oids), np.uint8).reshape(-1, OID_SIZE)
                    found[at : at + len(part)] = part
                    at += len(part)
        found.flags.writeable = False
        return found

    # --- columns ---

    def column(self, path: str | Sequence[Any], *, fill: Any = UNFILLED) -> Column:
        """Return the column of one field, for instance ``"info.lives"``.

        Where a state has no value, floats and complex numbers are NaN, dates NaT, other arrays
        masked (``numpy.ma``), and lists have None; ``fill`` is put there instead. None among
        numbers reads as no value.

        Args:
            path: components joined by dots, or as a tuple. A component is a key of a dict (text,
                an integer, bytes) or the index of an element of a tuple, list or array.
            fill: the value where a state has none; for a nested field, in each column.

        Returns:
            An array with a leading axis for the states, where the values are numbers or arrays of
            one shape; a dict or tuple of columns for a nested field; else a list.

        Raises:
            NotFound: no state has this field.
            InvalidInput: the path is no path, or ``fill`` does not fit the values.
            IntegrityError: stored bytes are damaged.
        """
        return self.columns(path, fill=fill)[0]

    def columns(self, *paths: str | Sequence[Any], fill: Any = UNFILLED) -> tuple[Column, ...]:
        """Return several fields, read in one go; see ``column``."""
        found = self.leaf_columns(*paths)
        return tuple(map_leaves(column, lambda leaf: leaf.filled(fill)) for column in found)

    def leaf_columns(self, *paths: str | Sequence[Any]) -> tuple[Leaves, ...]:
        """Return fields as ``LeafColumn``, which knows what is absent; see ``column``."""
        keys = [as_path(path) for path in paths]
        missing = [key for key in dict.fromkeys(keys) if self._cached(key) is None]
        if missing:
            self._columns |= self._read(missing)
        return tuple(self._cached(key) for key in keys)

    def _reading(self, read: Callable[[StepRange, ReadTxn], T], *paths: FieldPath) -> T:
        """Return what is read in a transaction; an object that is missing is a damage."""
        with self._range.odb.read() as txn:
            try:
                return read(self._range, txn)
            except NotFound as error:
                if vars(error).get("path") in paths:
                    raise
                # not a field is missing, but an object that a state names
                raise IntegrityError(f"{error}; see 'simgit fsck'") from error

    def _read(self, paths: list[FieldPath]) -> dict[FieldPath, Leaves]:
        return self._reading(lambda steps, txn: read_columns(steps, txn, paths), *paths)

    def _cached(self, path: FieldPath) -> Leaves | None:
        """Return a column that this trajectory, or the one it is a slice of, has read already."""
        if path in self._columns:
            return self._columns[path]
        above = self._source._cached(path) if self._source else None
        if above is None or self._source is None:
            return None
        first = self.start - self._source.start
        here = slice(first, first + len(self))
        return map_leaves(above, lambda leaf: leaf.part(lambda values: values[here]))

    def has(self, path: str | Sequence[Any]) -> bool:
        """Return True if a schema of the states has a field (it may be absent in all of them), or
        a state has it inside a value."""
        key = as_path(path)
        with self._range.odb.read() as txn:
            if is_field(self._range.schemas(txn), key):
                return True
        return bool(self.present(key).any())

    def is_map(self, path: str | Sequence[Any]) -> bool:
        """Return True if a field is a dict of columns."""
        with self._range.odb.read() as txn:
            return is_map(self._range.schemas(txn), as_path(path))

    def paths(self) -> set[FieldPath]:
        """Return the paths of all fields in the schemas of the states, and of entries of values."""
        found: set[FieldPath] = set()
        with self._range.odb.read() as txn:
            schemas = self._range.schemas(txn)
            found.update(path for schema in schemas for path in schema.index)
            if not any(kind.code == VALUE for schema in schemas for _, kind in schema.fields):
                return found
            for _, _, rows in self._range.rows(txn):
                for index, (path, kind) in enumerate(rows.schema.fields):
                    if kind.code == VALUE:
                        for value in row_column(rows, index):
                            found |= nested_paths(value, path)
        return found

    def present(self, path: str | Sequence[Any]) -> Mask:
        """Return a mask of the states that have a field, be it None, shape (n,)."""
        key = as_path(path)
        if key not in self._masks:
            with self._range.odb.read() as txn:
                found = read_presence(self._range, txn, key)
            self._masks[key] = _freeze(self._present_inside(key) if found is None else found)
        return self._masks[key]

    def _present_inside(self, path: FieldPath) -> Mask:
        """Return a mask of the states that have a field inside a value."""
        try:
            (leaf,) = self.leaf_columns(path)
        except NotFound:
            return np.zeros(len(self), bool)
        assert isinstance(leaf, LeafColumn)
        return leaf.present

    def dtypes(self, path: str | Sequence[Any]) -> set[np.dtype[Any] | None]:
        """Return the dtypes of a field's values, None for Python's own numbers.

        A column holds all of them in one dtype; a state returns each as it was recorded.
        """
        key = as_path(path)
        with self._range.odb.read() as txn:
            schemas = self._range.schemas(txn)
        located = [(schema, at) for schema in schemas if (at := locate(schema, key))]
        types = [(schema.fields[index][1], inside) for schema, (index, inside) in located]
        if any(inside or kind.code == VALUE for kind, inside in types):
            leaf = self.leaf_columns(key)[0] if self.has(key) else None
            objects = getattr(leaf, "objects", None)
            if objects is not None:
                return {getattr(value, "dtype", None) for value in objects if value is not ABSENT}
            values = getattr(leaf, "values", None)
            return {values.dtype} if isinstance(values, np.ndarray) else set()
        return {kind.dtype for kind, _ in types}

    def _column_or(self, path: str, default: Callable[[], Column], fill: Any = UNFILLED) -> Column:
        try:
            if path in self._usual:  # the others are likely to be read soon
                self.leaf_columns(*self._usual)
            return self.column(path, fill=fill)
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
        """The action that led to each state, absent at resets: shape (n, …), or as observations."""
        return self._column_or("action", self._nothing)

    @property
    def rewards(self) -> Floats:
        """The reward of each state's action, 0 at resets, float64 of shape (n,)."""
        found: Floats = self._column_or("reward", lambda: np.zeros(len(self)), 0.0)
        return found

    @property
    def terminations(self) -> Mask:
        """A mask of the states at which an episode terminated, False at resets, shape (n,)."""
        found: Mask = self._column_or("terminated", lambda: np.zeros(len(self), bool), False)
        return found

    @property
    def truncations(self) -> Mask:
        """A mask of the states at which an episode was truncated, False at resets, shape (n,)."""
        found: Mask = self._column_or("truncated", lambda: np.zeros(len(self), bool), False)
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
            episode, first, _ = states.known_standing(txn, states.header(txn, place), self.start)
        return episode, first

    @property
    def episode_ids(self) -> Ints:
        """The number of each state's episode in its run, counted from 1, shape (n,)."""
        if not len(self):
            return np.zeros(0, np.int64)
        ids: Ints = np.cumsum(self.episode_starts, dtype=np.int64)
        ids += self._standing[0] - ids[0]
        return ids

    @property
    def episode_steps(self) -> Ints:
        """The number of each state in its episode, 0 for the reset, shape (n,)."""
        if not len(self):
            return np.zeros(0, np.int64)
        began = np.where(self.episode_starts, self.steps, self._standing[1])
        return self.steps - np.maximum.accumulate(began)

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
    def __getitem__(self, key: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> Trajectory: ...
    @overload
    def __getitem__(self, key: str | tuple[Any, ...]) -> Column: ...
    def __getitem__(self, key: Any) -> Any:
        """Return a state, a slice, or the column of a field (``run["info.lives"]``).

        Positions count from the first state here, not by step.

        Raises:
            IndexError: there is no such state.
            NotFound: no state has this field.
            InvalidInput: a slice has a stride, or the key is something else.
        """
        if isinstance(key, (str, tuple)):
            return self.column(key)
        if isinstance(key, slice):
            return self._slice(key)
        if not hasattr(key, "__index__") or isinstance(key, (bool, np.bool_, np.ndarray)):
            raise InvalidInput(
                "a trajectory is indexed by an integer, a slice or the name of a field, got "
                f"{shown(key)}; slice its columns by masks and lists"
            )
        try:
            key = operator.index(key)
        except TypeError:  # of a class, which has the method for its instances
            raise InvalidInput(f"a trajectory is indexed by an integer, got {shown(key)}") from None
        if not -len(self) <= key < len(self):
            raise IndexError(f"state {shown(key)} is out of range: the trajectory has {len(self)}")
        place = self._range.location(self.start + key % len(self))
        return self._make(place)

    def _slice(self, key: slice) -> Trajectory:
        try:
            first, last, stride = key.indices(len(self))
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"cannot slice a trajectory by {shown(key)}: {error}") from None
        if stride != 1:
            raise InvalidInput(
                f"cannot slice a trajectory with a stride of {key.step}: states are a chain; "
                "slice its columns"
            )
        start, stop = self.start + first, self.start + max(first, last)
        made = (self.name, self._factory, self._tables)
        part = Trajectory(self._range.odb, self.place, start, stop, *made)
        part._source = self
        return part

    def __contains__(self, item: object) -> bool:
        """Return True for the name of a field that it has, and for a state or oid in it."""
        if isinstance(item, (str, tuple)):
            return self.has(item)
        oid = item.oid if isinstance(item, State) else item
        return isinstance(oid, bytes) and oid in self._oid_set

    @cached_property
    def _oid_set(self) -> set[bytes]:
        return set(self.oids)

    def _make(self, place: Location) -> Any:
        if self._factory is not None:
            return self._factory(place, 1)[0]
        with self._range.odb.read() as txn:
            states = self._range.odb.states
            return unpack_row(next(states.rows(txn, place.line, place.step, place.step + 1))[1], 0)

    def __iter__(self) -> Iterator[Any]:
        """Yield the states, read some at a time; no transaction is held in between."""
        if self._factory is None:
            for _, _, rows in self._range.chunks():
                yield from unpack_rows(rows)
            return
        with self._range.odb.read() as txn:
            pieces = self._range.pieces(txn)
        for line, step, stop in pieces:
            while step < stop:
                found = self._factory(Location(line, step), stop - step)
                yield from found
                step += len(found)

    # --- for training ---

    def windows(
        self, length: int, stride: int = 1, *, across: bool = False, fill: Any = UNFILLED
    ) -> Windows:
        """Return the windows of ``length`` states that begin at every ``stride``-th.

        Args:
            length: states in each window.
            stride: states from the start of one window to the start of the next.
            across: True to allow windows across the border of an episode.
            fill: the value where a state has none, as in ``column``, such as for the action of a
                reset.

        Raises:
            InvalidInput: length or stride is less than 1.
        """
        return make_windows(self, length, stride, across, fill)

    def transitions(self, n_step: int = 1, gamma: float = 1.0) -> dict[str, Column]:
        """Return the transitions of each episode: from a state, over steps, to a later one.

        ``observations`` are those that the actions were chosen from; ``actions`` led from there to
        the next state; ``next_observations`` are those after the last step, with its
        ``terminations`` and ``truncations``. No transition leaves a state at which its episode
        ended. ``discounts`` is what the value of the next observation is multiplied with: 0 where
        the episode terminated, but not where it was only truncated.

        Args:
            n_step: the steps of a transition, fewer at the end of an episode; ``rewards`` are
                summed over them.
            gamma: the factor for each later step.

        Returns:
            Columns of equal length: ``observations``, ``actions``, ``rewards``,
            ``next_observations``, ``terminations``, ``truncations``, ``discounts``.

        Raises:
            InvalidInput: ``n_step`` is less than 1, or ``gamma`` less than 0.
        """
        return make_transitions(self, n_step, gamma)

    def to_arrow(
        self,
        fields: Sequence[str] | None = None,
        *,
        oids: Literal["none", "tips", "all"] = "tips",
    ) -> Any:
        """Return the states as a ``pyarrow.Table``, one row a state.

        A row holds the action that led *to* its observation, with reward, terminated and truncated;
        the observation before it is in the row before, if that is of the same ``episode``. Null is
        a value that a state does not have. Columns of numbers share memory with this trajectory's.
        ``simgit.datasets.arrow`` lists the types.

        Args:
            fields: such as ``info.lives``; all top-level fields without it.
            oids: "all" oids, "tips" for the last state's only, or "none" for no such column.

        Raises:
            NotFound: no state has a field, or pyarrow is not installed.
            InvalidInput: the states are of no repository.
        """
        if self._tables is None:
            raise InvalidInput("a table needs a trajectory of a repository")
        return self._tables(self, fields, oids)

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
        made = (whole.name, whole._factory, whole._tables)
        super().__init__(whole._range.odb, whole.place, start, stop, *made)
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


def _freeze(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        leaf.flags.writeable = False
    return leaf
