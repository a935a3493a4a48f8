"""Recorded states as Arrow tables: which columns there are, and batches of them.

A row is a state. Its ``action``, ``reward``, ``terminated`` and ``truncated`` are those of the
step that led *to* its ``observation``; the observation that the action was chosen from is in the
row before, if that is of the same run and episode. A reset's row has no action.

======================================  ==========================================================
field                                   Arrow
======================================  ==========================================================
number, bool, date in s, ms, us or ns   its primitive; dates of days are date32, other units int64
complex                                 struct of ``re`` and ``im``
array of one dtype and shape            ``arrow.fixed_shape_tensor``
arrays of several shapes                list, and a column ``NAME.__shape``
dict, tuple                             struct; an empty one has the child ``__empty``
string, bytes                           large_string, large_binary
any other value                         large_binary as ``simgit.value``: canonical MessagePack
None only                               null, with ``NAME.__present`` if some states have no field
======================================  ==========================================================

Null is a state that does not have the field. Numbers of fixed width are not copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from simgit.datasets.arrow_columns import ArrowColumn, Mask, of_items, of_numbers, row_bytes
from simgit.datasets.arrow_plan import plan_columns
from simgit.errors import InvalidInput
from simgit.history.planned_columns import planned_columns
from simgit.history.trajectory import Trajectory
from simgit.objects.oid import OID_SIZE

OIDS: Final = ("none", "tips", "all")
ROWS: Final = 65536
BUDGET: Final = 64 << 20
"""The bytes that a batch should not exceed, unless it has one row."""
ALIGNMENT: Final = (
    "a row holds the action that led to its observation, with reward, terminated and truncated; "
    "the observation before it is in the row before, of the same run and episode"
)
_KEYS: Final = (
    pa.field("run", pa.dictionary(pa.int32(), pa.string())),
    pa.field("step", pa.int64()),
    pa.field("episode", pa.int32()),
    pa.field("episode_step", pa.int32()),
)


def stream_bytes(table: pa.Table) -> bytes:
    """Return a table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


class ArrowTable:
    """The columns of ranges of states, all of one Arrow schema, read batch by batch.

    Attributes:
        schema: the Arrow schema of every batch.
    """

    def __init__(
        self,
        ranges: Sequence[Trajectory],
        fields: Sequence[str] | None = None,
        *,
        oids: str = "tips",
        exact: bool = False,
        columns: Sequence[ArrowColumn] | None = None,
    ) -> None:
        """Decide the columns; headers and schemas are read for it.

        Values of several types, and large arrays, are looked through too.

        Args:
            ranges: the states, in the order of the rows.
            fields: the fields, such as ``info.lives``; all top-level ones without it.
            oids: "all" oids, "tips" for that of the last row of each batch, or "none".
            exact: keep every value of a field without a type as ``simgit.value``, with ``forms``,
                so that the states can be made again; else numbers and texts among them become
                columns of their own type, dates NaT become null, and ``forms`` are left out.
            columns: those of another table, which were decided for more states.

        Raises:
            NotFound: no state has one of the fields.
            InvalidInput: ``oids`` is something else.
        """
        if oids not in OIDS:
            raise InvalidInput(f"oids must be 'none', 'tips' or 'all', got '{oids}'")
        self.ranges = list(ranges)
        self._oids = oids
        self.columns: list[ArrowColumn] = (
            plan_columns(self.ranges, fields, exact) if columns is None else list(columns)
        )
        more = [pa.field("oid", pa.binary(OID_SIZE))] if oids != "none" else []
        own = [field for column in self.columns for field in column.fields()]
        self.schema = pa.schema([*_KEYS, *more, *own], {"simgit.alignment": ALIGNMENT})

    def batches(self, rows: int = ROWS, budget: int = BUDGET) -> Iterator[pa.RecordBatch]:
        """Yield the states in order; no transaction is held in between.

        Args:
            rows: rows in a batch, at most; a batch is of one range.
            budget: bytes in a batch, more or less.

        Raises:
            IntegrityError: stored bytes are damaged.
        """
        most = rows
        width = sum(row_bytes(field.type) for field in self.schema)
        rows = max(1, min(rows, budget // max(1, width)))
        for whole in self.ranges:
            at = 0
            while at < len(whole):
                batch = self.batch(whole[at : at + rows])
                yield batch
                at += batch.num_rows
                # what has no fixed width shows its size when it is there
                each = max(1, batch.nbytes // max(1, batch.num_rows))
                rows = max(1, min(most, budget // each, 4 * rows))

    def batch(self, states: Trajectory) -> pa.RecordBatch:
        """Return some states as one batch; they are of the ranges, or a part of one."""
        count = len(states)
        plans = {key: plan for column in self.columns for key, plan in column.plans().items()}
        found = planned_columns(states, plans) if plans and count else {}
        arrays: list[Any] = list(self._keys(states))
        if self._oids != "none":
            arrays.append(self._names(states))
        for column in self.columns:
            arrays += column.arrays(found, count) if count else column.nothing()
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def reader(self, rows: int = ROWS, chosen: Mask | None = None) -> pa.RecordBatchReader:
        """Return a reader of the batches, of all states or of those that a mask names."""

        def batches() -> Iterator[pa.RecordBatch]:
            at = 0
            for each in self.batches(rows):
                mask = None if chosen is None else chosen[at : at + each.num_rows]
                at += each.num_rows
                if mask is None:
                    yield each
                elif mask.any():
                    yield each.filter(pa.array(mask))

        return pa.RecordBatchReader.from_batches(self.schema, batches())

    def table(self) -> pa.Table:
        """Return all states as one table; it takes as much memory as they do."""
        batches = [self.batch(states) for states in self.ranges if len(states)]
        return pa.Table.from_batches(batches, self.schema)

    def _keys(self, states: Trajectory) -> Iterator[pa.Array]:
        count = len(states)
        index = of_numbers(np.zeros(count, np.int32))
        names = of_items([states.name.encode()], pa.string())
        yield pa.DictionaryArray.from_arrays(index, names)
        yield of_numbers(states.steps)
        yield of_numbers(states.episode_ids.astype(np.int32))
        yield of_numbers(states.episode_steps.astype(np.int32))

    def _names(self, states: Trajectory) -> pa.Array:
        count = len(states)
        names: npt.NDArray[np.uint8] = np.zeros((count, OID_SIZE), np.uint8)
        validity = None
        if self._oids == "all":
            names = states.oid_array()
        elif count:
            names[-1] = states[-1:].oid_array()[0]
            last = np.zeros(count, bool)
            last[-1] = True
            validity = pa.py_buffer(np.packbits(last, bitorder="little"))
        return pa.Array.from_buffers(pa.binary(OID_SIZE), count, [validity, pa.py_buffer(names)])
