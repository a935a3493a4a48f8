"""From what a user passes for a state to named, stored states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput, shown
from simgit.objects.arrays import to_array
from simgit.objects.coerce import coerce
from simgit.objects.columns import ABSENT, Columns, check_columns, row_value, slice_columns
from simgit.objects.kinds import EMPTY_SCHEMA, NO_ORIGIN, Spec
from simgit.objects.oid import OID_SIZE, Oid
from simgit.objects.row_encoder import pack
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.batch import StateBatch, Tip, new_batch
from simgit.storage.base import WriteTxn

MIN_WINDOW: Final = 16
"""So many states at least are packed at once, however often the schema changes."""


def coerce_reward(value: Any) -> float:
    """Return a reward as the float64 that is stored.

    Raises:
        InvalidInput: it is no real number, or float64 cannot hold it exactly.
    """
    if type(value) is float:
        return value
    if not isinstance(value, (bool, int, float, complex, str, bytes)):
        value = _scalar(value, "reward")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise InvalidInput(f"reward: {shown(value)} is not a number", path="reward")
    if isinstance(value, np.complexfloating):
        raise InvalidInput(f"reward: {shown(value)} is not a real number", path="reward")
    try:
        reward = float(value)
    except OverflowError:
        reward = float("inf")
    if reward != value and value == value:
        raise InvalidInput(f"reward: {shown(value)} has no exact float64", path="reward")
    return reward


def coerce_flag(value: Any, name: str) -> bool:
    """Return a flag as a bool.

    Raises:
        InvalidInput: it is anything else.
    """
    if type(value) is bool:
        return value
    if not isinstance(value, (bool, np.bool_)):
        value = _scalar(value, name)
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidInput(f"{name}: {shown(value)} is not a bool", path=name)
    return bool(value)


def _scalar(value: Any, name: str) -> Any:
    """Return the element of an array of one element, anything else as it is."""
    if isinstance(value, np.generic) or not hasattr(value, "__array__"):
        return value
    array = to_array(value, name)
    if array.size != 1:
        raise InvalidInput(f"{name}: an array of {array.size} elements is not a scalar", path=name)
    return array.reshape(-1)[0]


def coerce_reset(value: Any) -> Any:
    """Return a reset mark: a map of the seed and options that were given, or ABSENT.

    Raises:
        InvalidInput: it is neither a bool nor a map with these keys.
    """
    if value is None or value is False:
        return ABSENT
    if value is True or isinstance(value, np.bool_):
        return {} if value else ABSENT
    if not isinstance(value, Mapping) or not set(value) <= {"seed", "options"}:
        raise InvalidInput(
            "reset: a bool or a map with 'seed' and 'options' is needed", path="reset"
        )
    return coerce({key: item for key, item in value.items() if item is not None}, "reset")


def coerce_files(value: Any) -> Oid:
    """Return the oid of a tree of files.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(value, bytes) or len(value) != OID_SIZE:
        raise InvalidInput("files: the oid of a stored tree is needed", path="files")
    return Oid(value)


def coerce_message(value: Any) -> str:
    """Return a message.

    Raises:
        InvalidInput: it is no string.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"message: {shown(value)} is not a string", path="message")
    text: str = coerce(value, "message")
    return text


def coerce_info(value: Any) -> dict[Any, Any]:
    """Return an info.

    Raises:
        InvalidInput: it is no mapping, or some value in it has no encoding.
    """
    if not isinstance(value, dict):
        raise InvalidInput(f"info: {shown(value)} is not a mapping", path="info")
    found: dict[Any, Any] = coerce(value, "info")
    return found


def coerce_fields(**given: Any) -> dict[str, Any]:
    """Return the frozen top-level fields of a state; None means that it has no such field.

    Raises:
        InvalidInput: a value has no encoding, or there is none at all.
    """
    frozen = {name: _COERCE[name](value) for name, value in given.items() if value is not None}
    fields = {name: value for name, value in frozen.items() if value is not ABSENT}
    if not fields:
        raise InvalidInput("a state without any field cannot be recorded")
    return fields


_COERCE: Final[dict[str, Callable[[Any], Any]]] = {
    "observation": lambda value: coerce(value, "observation"),
    "action": lambda value: coerce(value, "action"),
    "reward": coerce_reward,
    "terminated": lambda value: coerce_flag(value, "terminated"),
    "truncated": lambda value: coerce_flag(value, "truncated"),
    "info": coerce_info,
    "reset": coerce_reset,
    "files": coerce_files,
    "message": coerce_message,
}


def prepare(
    columns: Columns, parents: tuple[Tip, ...], origin: bytes | None = None
) -> list[StateBatch]:
    """Pack and name the states of columns of frozen values; cut where the schema changes.

    The batches after the first name their parent by its oid only: ``store`` puts its place in.
    """
    count = check_columns(columns)
    batches: list[StateBatch] = []
    schema = parents[0].schema if parents else EMPTY_SCHEMA
    start, window = 0, count
    while start < count:
        # where the schema changes often, trying all of the rest each time would take for ever
        size = min(window, count - start)
        part = columns if size == count else slice_columns(columns, start, start + size)
        rows = pack(schema, part, size) if schema.fields else None
        if rows is None or rows.count == 0:
            schema = schema.extended(row_value(part, 0))
            rows = pack(schema, part, size)
            assert rows.count, "a state does not fit the schema that was made for it"
        batch = new_batch(rows, parents, b"" if parents else bytes(origin or NO_ORIGIN.oid))
        batches.append(batch)
        parents = (pending_tip(batch),)
        start += rows.count
        window = 8 * size if rows.count == size else max(4 * rows.count, MIN_WINDOW)
    return batches


def pending_tip(batch: StateBatch) -> Tip:
    """Return the tip after a prepared batch: its oid and schema, but not yet its place."""
    return Tip(Oid(batch.oids[-1]), Location(0, 0), batch.rows.schema, 0, 0, 0.0)


def store(
    odb: ObjectDatabase, txn: WriteTxn, batches: list[StateBatch], parents: tuple[Tip, ...]
) -> Tip:
    """Store prepared batches; return the tip of the last state."""
    if not parents and batches[0].origin == NO_ORIGIN.oid:
        odb.put(txn, Spec({}))
    tip = None
    for batch in batches:
        batch.parents = parents if tip is None else (tip,)
        if not batch.parents or batch.parents[0].schema is not batch.rows.schema:
            odb.put(txn, batch.rows.schema)
        tip = odb.states.append(txn, batch)
    assert tip is not None
    return tip
