"""Columns of a dataset's rows, read block by block on first use and kept while there is room.

A dataset that fits is one block, and taking rows of it costs what it costs in memory. A larger one
is read in blocks of some thousand states. Blocks are shared by datasets that have states in common.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from simgit.datasets.layout import StateLayout
from simgit.errors import NotFound
from simgit.history.column_reader import ColumnPlan, Leaves, make_plan
from simgit.history.leaf_column import LeafColumn, Mask
from simgit.history.paths import FieldPath
from simgit.history.planned_columns import array_forms, pieces_of, planned_columns, storage_of
from simgit.history.spans import Positions
from simgit.history.trajectory import Trajectory
from simgit.objects.columns import ABSENT

MEMORY: Final = 256 << 20
"""The bytes of blocks that are kept, unless a dataset is given a number of its own."""
_BLOCK_BYTES: Final = 4 << 20
_MOST_ROWS: Final = 8192
_OBJECT: Final = 256
"""About what a value takes that is no number."""


class ColumnBlock(NamedTuple):
    """One column of some rows: numbers as an array, other values in an array of objects."""

    values: npt.NDArray[Any]
    absent: Mask
    nbytes: int


class BlockCache:
    """The blocks that were used last, within a number of bytes."""

    def __init__(self, limit: int = MEMORY) -> None:
        self.limit = limit
        self.nbytes = 0
        self._blocks: OrderedDict[Any, ColumnBlock] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> ColumnBlock | None:
        """Return a block, None if it is not here."""
        with self._lock:
            found = self._blocks.get(key)
            if found is not None:
                self._blocks.move_to_end(key)
            return found

    def put(self, key: Any, block: ColumnBlock) -> None:
        """Keep a block, in the place of those that were used longest ago."""
        with self._lock:
            before = self._blocks.pop(key, None)
            self.nbytes += block.nbytes - (0 if before is None else before.nbytes)
            self._blocks[key] = block
            while self.nbytes > self.limit and len(self._blocks) > 1:
                _, oldest = self._blocks.popitem(last=False)
                self.nbytes -= oldest.nbytes


SHARED: Final = BlockCache()
"""The blocks of all datasets that have no memory of their own."""


_numbers = itertools.count()
_stores: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def store_of(sources: Sequence[Trajectory]) -> int:
    """Return a number for the store that trajectories are of, by which blocks are told apart."""
    storage = storage_of(sources[0]) if sources else None
    return -1 if storage is None else _stores.setdefault(storage, next(_numbers))


def cache_for(limit: int) -> BlockCache:
    """Return the cache that all share, or one of its own for another number of bytes."""
    return SHARED if limit == SHARED.limit else BlockCache(limit)


class RowColumns:
    """The fields of a layout's rows."""

    def __init__(self, layout: StateLayout, cache: BlockCache, store: object) -> None:
        """Note where the columns come from; nothing is read.

        Args:
            layout: the rows.
            cache: keeps the blocks.
            store: names the repository in the cache.
        """
        self.layout = layout
        self._cache = cache
        self._store = store
        self._plans: dict[FieldPath, ColumnPlan | None] = {}
        self._used: dict[FieldPath, ColumnPlan] = {}
        self._starts: dict[FieldPath, Positions] = {}
        self._names: dict[tuple[FieldPath, int], Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what another process makes it of, which reads the blocks anew."""
        return _reopened, (
            self.layout,
            self._cache.limit,
            [path for path, plan in self._plans.items() if plan],
        )

    def plan(self, path: FieldPath) -> ColumnPlan:
        """Return how a field is read.

        Raises:
            NotFound: no state can have it.
        """
        found = self._plans.get(path)
        if found is None:
            found = self._plans[path] = make_plan(self.layout.schemas, path)
            self._used |= {(*leaf.path, *leaf.inside): leaf for leaf in found.leaves()}
        return found

    def has(self, path: FieldPath) -> bool:
        """Return True if a state can have a field."""
        if path not in self._plans:
            try:
                self.plan(path)
            except NotFound:
                self._plans[path] = None
        return self._plans[path] is not None

    def take(self, path: FieldPath, rows: Positions) -> Leaves:
        """Return a field of some rows, in the shape of ``rows``, as leaves.

        Raises:
            NotFound: no state can have it.
            IntegrityError: stored bytes are damaged.
        """
        plan = self.plan(path)
        if plan.kind not in ("map", "tuple"):
            return self._take(plan, rows)
        done = {(*leaf.path, *leaf.inside): self._take(leaf, rows) for leaf in plan.leaves()}
        return plan.assemble(done)

    def _take(self, leaf: ColumnPlan, rows: Positions) -> LeafColumn:
        key = (*leaf.path, *leaf.inside)
        starts = self._starts.get(key)
        if starts is None:
            starts = self._cut(key, leaf)
        if len(starts) == 1:
            block = self._block(key, leaf, 0)
            return _column(block.values.take(rows, axis=0), block.absent.take(rows), leaf)
        flat = rows.reshape(-1)
        of = np.searchsorted(starts, flat, "right") - 1
        values: npt.NDArray[Any] | None = None
        absent = np.zeros(len(flat), bool)
        for number in np.unique(of).tolist():
            here = np.flatnonzero(of == number)
            block = self._block(key, leaf, number)
            at = flat[here] - starts[number]
            part = block.values.take(at, axis=0)
            if values is None:
                values = np.empty((len(flat), *part.shape[1:]), part.dtype)
            if values.dtype != part.dtype or values.shape[1:] != part.shape[1:]:
                values, part = _objects(values), _objects(part)
            values[here] = part
            absent[here] = block.absent.take(at)
        if values is None:
            values = self._block(key, leaf, 0).values[:0]
        return _column(
            values.reshape(*rows.shape, *values.shape[1:]), absent.reshape(rows.shape), leaf
        )

    def _cut(self, key: FieldPath, leaf: ColumnPlan) -> Positions:
        """Decide into which blocks the column is cut; return the first row of each."""
        sections = self.layout.sections
        width = self._width(leaf)
        if self.layout.count * self.row_bytes <= self._cache.limit // 2:
            cuts = [(0, 0)]
        else:
            size = max(1, min(_MOST_ROWS, _BLOCK_BYTES // max(1, width)))
            cuts = [
                (number, at)
                for number, each in enumerate(sections)
                for at in _edges(each.states, size)
            ]
        starts = np.array([sections[n].row + at if sections else 0 for n, at in cuts], np.int64)
        self._starts[key] = starts
        return starts

    @property
    def row_bytes(self) -> int:
        """About how many bytes a row of all fields takes that were asked for."""
        return sum(self._width(each) for each in self._used.values())

    def rows_at_once(self, path: FieldPath) -> int:
        """Return how many rows of a field to take at once where all are taken."""
        width = sum(self._width(leaf) for leaf in self.plan(path).leaves())
        return max(1, min(_MOST_ROWS, 8 * _BLOCK_BYTES // max(1, width)))

    def _width(self, leaf: ColumnPlan) -> int:
        """Return about how many bytes a state's value takes."""
        if leaf.kind == "dense" and leaf.dtype is not None:
            return leaf.dtype.itemsize * int(np.prod(leaf.shape, dtype=np.int64)) + 1
        sizes = [_OBJECT]
        if leaf.kind == "array":
            for each in self.layout.sections[:4]:
                forms = array_forms(each.states[:64], tuple(map(str, leaf.path)))
                sizes += [d.itemsize * int(np.prod(shape, dtype=np.int64)) for d, shape in forms]
        return max(sizes)

    def _block(self, key: FieldPath, leaf: ColumnPlan, number: int) -> ColumnBlock:
        found = self._cache.get(self._name(key, leaf, number))
        if found is not None:
            return found
        # fields that are cut likewise are likely to be read next, and cost little together
        same = {key: leaf} | {
            other: plan
            for other, plan in self._used.items()
            if plan.kind == "dense" and leaf.kind == "dense" and self._alike(key, other)
            and self._cache.get(self._name(other, plan, number)) is None
        }  # fmt: skip
        start, stop = self._range(key, number)
        columns = [planned_columns(part, same) for part in self._states(start, stop)]
        for other, plan in same.items():
            block = _joined([_block_of(each[other]) for each in columns])
            self._cache.put(self._name(other, plan, number), block)
            found = block if other == key else found
        assert found is not None
        return found

    def _alike(self, key: FieldPath, other: FieldPath) -> bool:
        if other not in self._starts:
            self._cut(other, self._used[other])
        return other != key and np.array_equal(self._starts[key], self._starts[other])

    def _range(self, key: FieldPath, number: int) -> tuple[int, int]:
        """Return the rows of a block, from the first to the one after the last."""
        starts = self._starts[key]
        stop = int(starts[number + 1]) if number + 1 < len(starts) else self.layout.count
        return int(starts[number]), stop

    def _name(self, key: FieldPath, leaf: ColumnPlan, number: int) -> Any:
        """Return the name of a block in the cache, by which other datasets find it."""
        name = self._names.get((key, number))
        if name is None:
            parts = self._states(*self._range(key, number))
            places = tuple((pieces_of(part)[-1].line, part.start, part.stop) for part in parts)
            name = (self._store, key, leaf.kind, str(leaf.dtype), places)
            self._names[key, number] = name
        return name

    def _states(self, start: int, stop: int) -> list[Trajectory]:
        """Return the states of a range of rows."""
        found = []
        for each in self.layout.sections:
            low = max(start, each.row) - each.row
            high = min(stop, each.row + len(each.states)) - each.row
            if low < high:
                found.append(each.states[low:high])
        return found


def _reopened(layout: StateLayout, limit: int, paths: Sequence[FieldPath]) -> RowColumns:
    columns = RowColumns(layout, cache_for(limit), store_of(layout.sources))
    for path in paths:
        columns.plan(path)
    return columns


def _edges(states: Trajectory, size: int) -> Sequence[int]:
    """Return where blocks begin, at multiples of ``size`` steps, so that other datasets agree."""
    first = -states.start % size
    return [0, *range(first, len(states), size)] if first else range(0, len(states), size)


def _block_of(leaf: LeafColumn) -> ColumnBlock:
    values = leaf.values
    if leaf.objects is not None or not isinstance(values, np.ndarray):
        items = leaf.objects if leaf.objects is not None else _marked(leaf)
        objects = np.empty(len(items), object)
        for i, item in enumerate(items):
            objects[i] = item
        return ColumnBlock(objects, leaf.absent, sum(map(_size, items)))
    return ColumnBlock(values, leaf.absent, values.nbytes + leaf.absent.nbytes)


def _marked(leaf: LeafColumn) -> list[Any]:
    return [ABSENT if a else v for v, a in zip(leaf.values, leaf.absent, strict=True)]


def _size(value: Any) -> int:
    size = getattr(value, "nbytes", None)
    if size is None:
        size = len(value) if isinstance(value, (str, bytes)) else _OBJECT
    return 64 + int(size)


def _objects(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the entries of an array as objects."""
    if values.dtype == object:
        return values
    found = np.empty(len(values), object)
    for i, value in enumerate(values):
        found[i] = value
    return found


def _joined(blocks: Sequence[ColumnBlock]) -> ColumnBlock:
    if len(blocks) == 1:
        return blocks[0]
    if not blocks:
        return ColumnBlock(np.empty(0, object), np.zeros(0, bool), 0)
    values = [block.values for block in blocks]
    if len({(each.dtype, each.shape[1:]) for each in values}) > 1:
        values = list(map(_objects, values))
    absent = np.concatenate([block.absent for block in blocks])
    return ColumnBlock(np.concatenate(values), absent, sum(block.nbytes for block in blocks))


def _column(values: npt.NDArray[Any], absent: Mask, leaf: ColumnPlan) -> LeafColumn:
    """Return taken values as a column; objects among which are only numbers become an array."""
    if values.dtype != object:
        found = LeafColumn.__new__(LeafColumn)
        found.values, found.absent, found.objects = values, absent, None
        return found
    items = [
        ABSENT if a and leaf.kind != "object" else v
        for v, a in zip(values.reshape(-1), absent.reshape(-1), strict=True)
    ]
    made = LeafColumn.of_objects(items, numbers=not leaf.texts)
    if values.ndim == 1:
        return made
    return made.part(lambda column: _nested(column, values.shape))


def _nested(column: Any, shape: tuple[int, ...]) -> Any:
    """Return a column of flat entries in rows of equal length."""
    if isinstance(column, np.ndarray):
        return column.reshape(*shape, *column.shape[1:])
    return [column[at : at + shape[1]] for at in range(0, len(column), shape[1])]
