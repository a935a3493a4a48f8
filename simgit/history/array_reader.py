"""The large arrays of a column, each group of them decoded once, straight into the column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simgit.objects.arrays import AnyArray
from simgit.objects.rows import Rows, column, presence
from simgit.objects.schema import ARRAY, Path
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.array_codec import decode_group, group_header
from simgit.odb.segments.array_groups import group_before, groups_between, read_group
from simgit.storage.base import ReadTxn

Places = npt.NDArray[np.intp]
ArrayForm = tuple[np.dtype[Any], tuple[int, ...]]
"""The dtype and the shape of an array."""


class _Part(NamedTuple):
    """Consecutive rows on one line whose arrays are in the same field."""

    line: int
    field: int
    start: int
    stop: int
    at: int  # of the first in the column


class Stack:
    """A column of arrays: one array as long as dtype and shape agree, else a list."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.dense: AnyArray | None = None
        self.items: list[Any] | None = None
        self.filled = np.zeros(count, bool)

    def put(self, places: Places, arrays: AnyArray) -> None:
        """Set some entries; ``arrays`` has a leading axis for them."""
        if not len(places):
            return
        if self.items is None:
            if self.dense is None:
                self.dense = np.zeros((self.count, *arrays.shape[1:]), arrays.dtype)
            if self.dense.dtype != arrays.dtype or self.dense.shape[1:] != arrays.shape[1:]:
                self._to_list()
        if self.items is not None:
            for i, place in enumerate(places.tolist()):
                self.items[place] = _one(arrays, i)
        else:
            assert self.dense is not None
            first, last = int(places[0]), int(places[-1])
            if last - first + 1 == len(places):
                self.dense[first : last + 1] = arrays
            else:
                self.dense[places] = arrays
        self.filled[places] = True

    def _to_list(self) -> None:
        assert self.dense is not None
        self.items = [None] * self.count
        for place in np.flatnonzero(self.filled).tolist():
            self.items[place] = _one(self.dense, place)
        self.dense = None

    def result(self) -> Any:
        """Return the column; entries that were not set are zeros, or None in a list."""
        if self.dense is not None:
            return self.dense
        return [None] * self.count if self.items is None else self.items


class _Group(NamedTuple):
    """A stored group of arrays: which of its members are wanted, and for which entries."""

    data: bytes
    rows: Places
    places: Places


def _one(arrays: AnyArray, i: int) -> AnyArray:
    """Return a copy of one array; as an element, a text would lose its width."""
    return arrays[i : i + 1].reshape(arrays.shape[1:]).copy()


class ArrayReader:
    """A reader of one field's arrays: collects where they lie, then reads each group once."""

    def __init__(self, odb: ObjectDatabase, txn: ReadTxn, path: Path, count: int) -> None:
        self.odb = odb
        self.txn = txn
        self.path = path
        self.stack = Stack(count)
        self.parts: list[_Part] = []
        self.small: set[ArrayForm] = set()
        self._blocks: list[tuple[Places, npt.NDArray[np.uint8]]] = []

    def add(self, at: int, rows: Rows, line: int, step: int) -> None:
        """Note the arrays of a block; small ones stand in the rows themselves."""
        index = rows.schema.index.get(self.path)
        if index is None:
            return
        here = np.flatnonzero(presence(rows, index))
        kind = rows.schema.fields[index][1]
        if kind.code != ARRAY:
            if len(here) and kind.dtype is not None:
                self.small.add((kind.dtype, kind.shape))
            self.stack.put(at + here, column(rows, index)[here])
            return
        self._blocks.append((at + here, column(rows, index)[here]))
        last = self.parts[-1] if self.parts else None
        if last and (last.line, last.field, last.stop) == (line, index, step):
            self.parts[-1] = last._replace(stop=step + rows.count)
        else:
            self.parts.append(_Part(line, index, step, step + rows.count, at))

    def result(self) -> Any:
        """Read the arrays; return their column."""
        for found in self._found():
            if isinstance(found, _Group):
                arrays = decode_group(found.data, int(found.rows.max()))[found.rows]
                self.stack.put(found.places, arrays)
            else:
                self.stack.put(found[1], np.repeat(found[0][None], len(found[1]), axis=0))
        return self.stack.result()

    def forms(self) -> set[ArrayForm]:
        """Return the dtypes and shapes of the arrays, read from the headers of their groups."""
        forms = set(self.small)
        for found in self._found():
            if isinstance(found, _Group):
                header = group_header(found.data)
                forms.add((header.dtype, header.shape))
                self.stack.filled[found.places] = True
            else:
                forms.add((found[0].dtype, found[0].shape))
                self.stack.filled[found[1]] = True
        return forms

    def _found(self) -> Iterator[_Group | tuple[AnyArray, Places]]:
        """Yield the groups that hold the arrays, and those arrays that lie in none.

        Who takes a group notes its entries as filled before the next one is asked for.
        """
        for part in self.parts:
            for first, key in groups_between(
                self.txn, part.line, part.field, part.start, part.stop
            ):
                data = read_group(self.txn, key)
                steps = group_header(data).steps + first
                inside = np.flatnonzero((steps >= part.start) & (steps < part.stop))
                if len(inside):
                    yield _Group(data, inside, steps[inside] - part.start + part.at)
        yield from self._elsewhere(self._missing())

    def _missing(self) -> dict[bytes, list[int]]:
        """Return oid -> positions of the arrays that are not stored with their own state."""
        wanted: dict[bytes, list[int]] = {}
        for places, oids in self._blocks:
            for i in np.flatnonzero(~self.stack.filled[places]).tolist():
                wanted.setdefault(oids[i].tobytes(), []).append(int(places[i]))
        return wanted

    def _elsewhere(
        self, wanted: dict[bytes, list[int]]
    ) -> Iterator[_Group | tuple[AnyArray, Places]]:
        """Yield the arrays that are stored with other states, or as loose objects."""
        states = self.odb.states
        while wanted:
            oid = next(iter(wanted))
            found = states.find_array(self.txn, oid)
            before = None if found is None else group_before(self.txn, *found)
            if found is not None and before is not None:
                data = read_group(self.txn, before[1])
                steps = group_header(data).steps + before[0]
                oids = states.field_oids(self.txn, found[0], found[1], steps)
                known = _known(wanted, oids)
                if len(known[0]):
                    yield _Group(data, *known)
            if oid in wanted:
                places = np.array(wanted.pop(oid), np.intp)
                yield self.odb.array(self.txn, oid), places


def _known(wanted: dict[bytes, list[int]], oids: Sequence[bytes]) -> tuple[Places, Places]:
    """Return which of a group's arrays are wanted for which entries, in these's order."""
    rows, places = [], []
    for row, oid in enumerate(oids):
        for place in wanted.pop(oid, ()):
            rows.append(row)
            places.append(place)
    order = np.argsort(places)
    return np.array(rows, np.intp)[order], np.array(places, np.intp)[order]
