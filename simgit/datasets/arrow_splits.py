"""Recorded states in splits that processes read by themselves, each as one Arrow table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from simgit.datasets.arrow import ArrowTable
from simgit.datasets.arrow_columns import ArrowColumn, row_bytes
from simgit.errors import warn
from simgit.history.block_bounds import BlockBounds
from simgit.history.planned_columns import pieces_of
from simgit.history.step_range import Piece
from simgit.history.trajectory import Trajectory
from simgit.history.where import Predicate
from simgit.objects.oid import Oid
from simgit.odb import ancestry


class StateSplit(NamedTuple):
    """The states start <= step < stop of the history of a state, of a run of this name."""

    tip: Oid
    name: str
    start: int
    stop: int

    def of(self, history: Trajectory) -> Trajectory:
        """Return the states, given the history of the state."""
        states = history[self.start - history.start : self.stop - history.start]
        states.name = self.name
        return states


@dataclass(frozen=True)
class SplitReader:
    """The columns that all splits are read as; it can be sent to other processes.

    Attributes:
        schema: the Arrow schema of every table.
        columns: the fields among the columns.
        where: a condition on states, "" for none.
        names: the columns of the table, in order.
    """

    schema: Any
    columns: tuple[ArrowColumn, ...]
    where: str
    names: tuple[str, ...]

    @classmethod
    def plan(
        cls, ranges: Sequence[Trajectory], fields: Sequence[str] | None, where: str | None
    ) -> SplitReader:
        """Decide the columns, as ``Trajectory.to_arrow`` does, and check a condition.

        Raises:
            NotFound: no state has one of the fields.
            InvalidInput: the condition is malformed.
        """
        if where:
            holds = Predicate(where)
            known = set().union(*(states.paths() for states in ranges)) if holds.entries else set()
            for doubt in holds.unknown_entries(known):
                warn(doubt)
        table = ArrowTable(ranges, fields, oids="none")
        names = tuple(table.schema.names)
        return cls(table.schema, tuple(table.columns), where or "", names)

    def of(self, names: Collection[str]) -> SplitReader:
        """Return the same with some of its columns only: others are not read."""
        kept = tuple(name for name in names if name in self.names)
        columns = tuple(
            each for each in self.columns if {field.name for field in each.fields()} & set(kept)
        )
        schema = pa.schema([self.schema.field(name) for name in kept], self.schema.metadata)
        return replace(self, schema=schema, columns=columns, names=kept)

    @property
    def row_bytes(self) -> int:
        """About how many bytes a row takes."""
        return sum(row_bytes(field.type) for field in self.schema)

    def read(self, states: Trajectory) -> pa.Table:
        """Return the states for which the condition holds as one table.

        Blocks of states whose bounds tell that it holds for none are not read.

        Raises:
            InvalidInput: the condition does not apply to the values of a field.
            IntegrityError: stored bytes are damaged.
        """
        table = ArrowTable([states], oids="none", columns=self.columns)
        batches = []
        for part, mask in self._chosen(states):
            batch = table.batch(part)
            batches.append(batch if mask is None else batch.filter(pa.array(mask)))
        found = pa.Table.from_batches(batches, table.schema).select(list(self.names))
        return found.combine_chunks() if len(batches) > 1 else found

    def _chosen(self, states: Trajectory) -> Iterator[tuple[Trajectory, Any]]:
        """Yield parts of the states with masks, None for all of a part."""
        if not self.where:
            yield states, None
            return
        holds = Predicate(self.where)
        for piece in _blocks(states):
            with states._range.odb.read() as txn:
                if not holds.may_hold(BlockBounds(states._range.odb, txn, piece)):
                    continue
            part = states[piece.start - states.start : piece.stop - states.start]
            part.name = states.name
            mask = np.asarray(holds(part))
            if mask.any():
                yield part, mask


def splits(states: Trajectory, tip: Oid, rows: int) -> Iterator[StateSplit]:
    """Cut states into splits of so many rows at most, between blocks where they are as large.

    Only headers are read.
    """
    at = states.start
    pieces = pieces_of(states)
    with states._range.odb.read() as txn:
        while at < states.stop:
            end = min(at + rows, states.stop)
            if end < states.stop:
                line = next(each.line for each in pieces if each.start <= end < each.stop)
                block = ancestry.block_of(states._range.odb, txn, line, end)[0]
                end = block if block > at else end
            yield StateSplit(tip, states.name, at, end)
            at = end


def _blocks(states: Trajectory) -> list[Piece]:
    """Return the states cut into blocks, oldest first."""
    odb = states._range.odb
    found: list[Piece] = []
    for piece in pieces_of(states):
        with odb.read() as txn:
            parts = list(ancestry.newest_blocks(odb, txn, ancestry.LineRange(*piece)))
        found += [Piece(*part) for part in reversed(parts)]
    return found
