"""The bounds of the fields of a block of states, from its summaries: what a condition can skip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simgit.history.paths import FieldPath, locate
from simgit.history.step_range import Piece
from simgit.objects.schema import Schema
from simgit.odb.location import Location
from simgit.odb.segments import summaries
from simgit.odb.segments.block import BLOCK_ROWS
from simgit.odb.segments.lines import read_line
from simgit.odb.segments.summaries import ABSENT, GREATEST, LEAST, scalars

if TYPE_CHECKING:
    import numpy.typing as npt

    from simgit.odb.database import ObjectDatabase
    from simgit.storage.base import ReadTxn

    Floats = npt.NDArray[np.float64]


def scalar_of(schema: Schema, path: FieldPath) -> int | None:
    """Return the number of the scalar that a path means, None if it means none."""
    located = locate(schema, path)
    if located is None:
        return None
    index, inside = located
    name, kind = schema.fields[index]
    first, count = scalars(schema).places.get(name, (0, 0))
    if not inside:
        return first if count == 1 else None
    if not count or len(inside) != len(kind.shape):
        return None
    try:
        at = tuple(int(part) for part in inside)
        return first + int(np.arange(count).reshape(kind.shape)[at])
    except (ValueError, IndexError):
        return None


class BlockBounds:
    """The bounds of fields of some states of one segment of a line, from their summaries."""

    def __init__(self, odb: ObjectDatabase, txn: ReadTxn, part: Piece) -> None:
        header = odb.states.header(txn, part_end := Location(part.line, part.stop - 1))
        self.schema = odb.schema(txn, header.schema)
        self.part = part
        self._found: list[tuple[Schema, Floats, int]] = []
        self.is_known = True
        first = read_line(txn, part.line).step
        for block in range(part.start // BLOCK_ROWS, part_end.step // BLOCK_ROWS + 1):
            key = summaries.summary_key(part.line, block)
            value = txn.get(summaries.TABLE, key) or b""
            stop = max(first, block * BLOCK_ROWS) + summaries.rows_of(value)
            if stop < min(part.stop, (block + 1) * BLOCK_ROWS):
                self.is_known = False
                return
            last = odb.states.header(txn, Location(part.line, stop - 1))
            schema = odb.schema(txn, last.schema)
            summary = summaries.decode(key, value, scalars(schema).count)
            self._found.append((schema, summary.values, summary.rows))

    def __call__(self, path: FieldPath) -> tuple[float, float] | None:
        """Return the least and greatest value of a path, (1, 0) for none, None if not known."""
        if not self.is_known:
            return None
        located = locate(self.schema, path)
        if located is None:
            is_step = path == ("step",)
            return (self.part.start, self.part.stop - 1) if is_step else None
        kind = self.schema.fields[located[0]][1]
        low, high = np.inf, -np.inf
        for schema, values, rows in self._found:
            k = scalar_of(schema, path)
            if k is None or len(kind.shape) != len(located[1]):
                return None  # of another type, or an array
            if values[ABSENT, k] < rows:
                low, high = min(low, values[LEAST, k]), max(high, values[GREATEST, k])
        return (float(low), float(high)) if low <= high else (1.0, 0.0)
