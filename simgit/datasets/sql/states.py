"""States as a table of a query: of all runs, or of one revision."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from simgit.datasets.arrow import ArrowTable
from simgit.datasets.arrow_columns import ArrowColumn, ValueType, row_bytes
from simgit.datasets.sql.tables import (
    INTEGER,
    NAME,
    TEXT,
    TIME,
    Readable,
    RunHistory,
    json_field,
    run_column,
)
from simgit.errors import NotFound
from simgit.history.planned_columns import planned_columns, schemas_of
from simgit.history.step_range import find_pieces
from simgit.history.trajectory import Trajectory
from simgit.objects.codec import decode_value
from simgit.objects.json_form import value_to_json
from simgit.objects.oid import OID_SIZE
from simgit.odb.ancestry import episode_start
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.times import time_spans
from simgit.refs.run_config import first_own_step

_FIRST: Final = 4096
"""Rows of the first batch, which is all that a query with a limit may need."""
_ROWS: Final = 65536
_BUDGET: Final = 64 << 20
"""About the most bytes of a batch."""
_KEYS: Final = {
    "run": NAME, "step": INTEGER, "episode": INTEGER, "episode_step": INTEGER, "own": pa.int8(),
    "recorded_at": TIME,
}  # fmt: skip
_ORDERED: Final = {"run": str, "step": int, "episode": int, "own": int}
"""The columns by which rows are chosen before they are read, and Python's type of their values."""


class _History(NamedTuple):
    """The states of one run; ``own`` is the first step after its branch point."""

    states: Trajectory
    own: int


class StatesTable:
    """The states of some histories, one after the other."""

    def __init__(
        self,
        odb: ObjectDatabase,
        histories: Sequence[_History],
        is_of_runs: bool,
        mentioned: Collection[str] | None,
    ) -> None:
        """Decide the columns.

        Args:
            odb: the database.
            histories: of all runs, or the one of a revision.
            is_of_runs: True for columns ``run`` and ``own``.
            mentioned: only fields of these names, in lower case; None for all.
        """
        self._odb = odb
        self._histories = [each for each in histories if len(each.states)]
        ranges = [each.states for each in self._histories]
        self._fields: dict[str, ArrowColumn] = {}
        kinds: list[pa.Field] = []
        for column in _columns(ranges, mentioned):
            for field in column.fields():
                self._fields[field.name] = column
                kinds.append(_shown_field(field))
        names = [name for name in _KEYS if is_of_runs or name not in ("run", "own")]
        keys = [(name, _KEYS[name]) for name in names]
        self._keys = frozenset(names)
        self.flags = ("own",) if is_of_runs else ()
        self.schema = pa.schema([*keys, *kinds, ("oid", TEXT)])

    @classmethod
    def of_runs(
        cls, store: Readable, known: Sequence[RunHistory], mentioned: Collection[str] | None
    ) -> StatesTable:
        """Return the table ``states``."""
        histories = []
        with store.read() as txn:
            for run in known:
                if run.ref.oid is not None:
                    place = run.ref.place
                    states = Trajectory(store.odb, place, 0, place.step + 1, run.name)
                    own = first_own_step(store.odb, txn, run.ref.record)
                    histories.append(_History(states, own))
        return cls(store.odb, histories, True, mentioned)

    @classmethod
    def of_range(
        cls, store: Readable, states: Trajectory, mentioned: Collection[str] | None
    ) -> StatesTable:
        """Return the table of the states of a revision or a range."""
        return cls(store.odb, [_History(states, 0)], False, mentioned)

    def applies(self, condition: Any) -> bool:
        """Return True if the rows for which a condition does not hold are left out."""
        from simgit.datasets.sql.conditions import understood

        kinds = {name: kind for name, kind in _ORDERED.items() if name in self._keys}
        return understood(condition, kinds)

    def batches(self, names: Sequence[str], conditions: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        """Yield some columns of the states for which all conditions hold."""
        schema = pa.schema([self.schema.field(name) for name in names])
        width = sum(row_bytes(field.type) for field in schema)
        rows = max(1, min(_FIRST, _BUDGET // max(1, width)))
        for history in self._histories:
            states = history.states
            for start, stop in _chosen(self._odb, history, conditions):
                at = start
                while at < stop:
                    end = min(at + rows, stop)
                    part = states[at - states.start : end - states.start]
                    batch = self._batch(part, history.own, schema)
                    yield batch
                    at = end
                    # what has no fixed width shows its size when it is there
                    each = max(1, batch.nbytes // max(1, batch.num_rows))
                    rows = max(1, min(_ROWS, _BUDGET // each, 4 * rows))

    def _batch(self, states: Trajectory, own: int, schema: pa.Schema) -> pa.RecordBatch:
        columns = {
            id(column): column
            for name in schema.names
            if name not in _KEYS and (column := self._fields.get(name)) is not None
        }
        plans = {key: plan for each in columns.values() for key, plan in each.plans().items()}
        found = planned_columns(states, plans) if plans else {}
        made: dict[str, pa.Array] = {}
        for column in columns.values():
            arrays = column.arrays(found, len(states))
            made |= zip((field.name for field in column.fields()), arrays, strict=True)
        arrays = [
            _shown(made[name]) if name in made else _key(self._odb, name, states, own)
            for name in schema.names
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _columns(ranges: Sequence[Trajectory], mentioned: Collection[str] | None) -> list[ArrowColumn]:
    if not ranges:
        return []
    if mentioned is None:
        return ArrowTable(ranges, oids="none").columns
    schemas = {schema.oid: schema for states in ranges for schema in schemas_of(states)}
    tops = {path[0] for schema in schemas.values() for path, _ in schema.fields}
    wanted = sorted(
        name
        for name in tops
        if name in mentioned or any(m.startswith(f"{name}.__") for m in mentioned)
    )
    return ArrowTable(ranges, wanted, oids="none").columns if wanted else []


def _chosen(
    odb: ObjectDatabase, history: _History, conditions: Sequence[Any]
) -> list[tuple[int, int]]:
    """Return the ranges of steps for which all conditions hold."""
    states = history.states
    whole = (states.start, states.stop)
    if not conditions:
        return [whole]
    from simgit.datasets.sql.conditions import Ordered, common, spans_where

    start, stop = whole
    own = min(max(history.own, start), stop)

    def owned(value: int) -> int:
        return start if value <= 0 else own if value == 1 else stop

    def episode(number: int) -> int:
        return _episode_start(odb, states, number)

    columns = {
        "run": Ordered(
            whole, lambda name: start if states.name >= name else stop,
            lambda name: start if states.name > name else stop,
        ),
        "step": Ordered(whole, lambda step: step, lambda step: step + 1),
        "episode": Ordered(whole, episode, lambda number: episode(number + 1)),
        "own": Ordered(whole, owned, lambda value: owned(value + 1)),
    }  # fmt: skip
    chosen = [whole]
    for condition in conditions:
        chosen = common(chosen, spans_where(condition, columns, whole)) if chosen else []
    return chosen


def _episode_start(odb: ObjectDatabase, states: Trajectory, number: int) -> int:
    """Return the first step at which an episode of a history, or a later one, has begun."""
    if number <= 1:
        return states.start
    try:
        with odb.read() as txn:
            return episode_start(odb, txn, states.place, number)
    except NotFound:
        return states.stop


def _times(odb: ObjectDatabase, states: Trajectory) -> pa.Array:
    """Return when each state was recorded, null where that is not known."""
    with odb.read() as txn:
        spans = [
            span
            for piece in find_pieces(txn, states.place, states.start, states.stop)
            for span in time_spans(txn, *piece)
        ]
    counts = [span.stop - span.start for span in spans]
    times = np.repeat(np.array([span.time or 0 for span in spans], np.int64), counts)
    unknown = np.repeat(np.array([span.time is None for span in spans], bool), counts)
    return pa.array(times, pa.int64(), mask=unknown).cast(TIME)


def _key(odb: ObjectDatabase, name: str, states: Trajectory, own: int) -> pa.Array:
    """Return a column that is no field of the states."""
    match name:
        case "run":
            return run_column([states.name], [len(states)])
        case "step":
            return pa.array(states.steps)
        case "episode":
            return pa.array(states.episode_ids)
        case "episode_step":
            return pa.array(states.episode_steps)
        case "own":
            return pa.array((states.steps >= own).astype(np.int8))
        case "recorded_at":
            return _times(odb, states)
    return _hex(states.oid_array())


_DIGITS: Final = np.array(
    [list(f"{byte:02x}".encode()) for byte in range(256)], np.uint8
)  # fmt: skip


def _hex(oids: npt.NDArray[np.uint8]) -> pa.Array:
    """Return oids, of shape (n, 32), as texts."""
    count = len(oids)
    digits = _DIGITS[oids].reshape(count, 2 * OID_SIZE)
    offsets = np.arange(count + 1, dtype=np.int32) * (2 * OID_SIZE)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits))]
    return pa.Array.from_buffers(TEXT, count, buffers)


# --- types that SQL knows ------------------------------------------------------------------------


def _shown_field(field: pa.Field) -> pa.Field:
    if isinstance(field.type, ValueType):
        return json_field(field.name)
    return pa.field(field.name, _shown_type(field.type))


def _shown_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column has in a query."""
    if isinstance(kind, ValueType) or kind == pa.binary(OID_SIZE):
        return TEXT
    if isinstance(kind, pa.BaseExtensionType):
        return _shown_type(kind.storage_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_struct(kind):
        return pa.struct([_shown_field(field) for field in kind])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_shown_type(kind.value_type), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(_shown_type(kind.value_type))
    return kind


def _shown(array: pa.Array) -> pa.Array:
    """Return a column in the type that it has in a query; it shares memory where it can."""
    kind = array.type
    if isinstance(kind, ValueType):
        return pa.array([_json(value) for value in array.storage.to_pylist()], TEXT)
    if isinstance(kind, pa.BaseExtensionType):
        return _shown(array.storage)
    if kind == pa.binary(OID_SIZE):
        return pa.array([None if oid is None else oid.hex() for oid in array.to_pylist()], TEXT)
    if pa.types.is_struct(kind) and _shown_type(kind) != kind:
        fields = list(_shown_type(kind))
        parts = [_shown(array.field(i)) for i in range(len(fields))]
        return pa.StructArray.from_arrays(parts, fields=fields, mask=array.is_null())
    return array if _shown_type(kind) == kind else array.cast(_shown_type(kind))


def _json(encoded: bytes | None) -> str | None:
    if encoded is None:
        return None
    return json.dumps(value_to_json(decode_value(encoded)), ensure_ascii=False)
