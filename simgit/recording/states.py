"""User values to hashed, stored states: check, coerce, pack, hash, store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput, shown
from simgit.objects.arrays import is_arraylike, to_array
from simgit.objects.coerce import check_seed, coerce
from simgit.objects.columns import ABSENT, Columns, check_columns, row_value, slice_columns
from simgit.objects.kinds import EMPTY_SCHEMA, NO_ORIGIN, Spec
from simgit.objects.oid import OID_SIZE, Oid
from simgit.objects.row_encoder import pack
from simgit.objects.simplify import Simplified, Simplifier, stored_forms
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.batch import StateBatch, Tip, new_batch
from simgit.process import now
from simgit.storage.base import WriteTxn

MIN_WINDOW: Final = 16
"""States that are packed at once at least, however often the schema changes."""


def coerce_reward(value: Any) -> float:
    """Return a reward as the float64 that is stored.

    Raises:
        InvalidInput: it is not a real number or an array of one, or has no exact float64.
    """
    if type(value) is float:
        return value
    if not isinstance(value, (bool, int, float, complex, str, bytes)):
        value = _scalar(value, "reward", "a number")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise InvalidInput(f"reward must be a number, got {shown(value)}", path="reward")
    if isinstance(value, np.complexfloating):
        raise InvalidInput(f"reward must be a real number, got {shown(value)}", path="reward")
    try:
        reward = float(value)
    except OverflowError:
        reward = float("inf")
    if reward != value and value == value:
        raise InvalidInput(
            f"reward must fit a float64 exactly, got {shown(value)}; convert it with float(reward)",
            path="reward",
        )
    return reward


def coerce_flag(value: Any, name: str) -> bool:
    """Return a flag as a bool.

    Raises:
        InvalidInput: it is not a bool or an array of one.
    """
    if type(value) is bool:
        return value
    if not isinstance(value, (bool, np.bool_)):
        value = _scalar(value, name, "a bool")
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidInput(f"{name} must be a bool, got {shown(value)}", path=name)
    return bool(value)


def _scalar(value: Any, name: str, wanted: str) -> Any:
    """Return the element of an array of one element, anything else that is no array as it is."""
    if isinstance(value, np.generic) or not hasattr(value, "__array__"):
        return value
    array = to_array(value, name)
    if array.size != 1:
        raise InvalidInput(
            f"{name} must be {wanted}, got an array of shape {array.shape}", path=name
        )
    return array.reshape(-1)[0]


def coerce_reset(value: Any) -> Any:
    """Return a reset mark: a dict of the seed and options that were given, or ABSENT.

    Raises:
        InvalidInput: it is neither a bool nor a dict of these keys.
    """
    if value is None or value is False:
        return ABSENT
    if value is True or isinstance(value, np.bool_):
        return {} if value else ABSENT
    if type(value) is dict and not value:
        return {}
    if not isinstance(value, Mapping) or not set(value) <= {"seed", "options"}:
        raise InvalidInput(
            f"reset must be a bool or a dict of 'seed' and 'options', got {shown(value)}",
            path="reset",
        )
    check_seed(value.get("seed"), "reset.seed")
    options = value.get("options")
    if options is not None and not isinstance(options, Mapping):
        raise InvalidInput(f"reset.options must be a dict, got {shown(options)}", path="reset")
    return coerce({key: item for key, item in value.items() if item is not None}, "reset")


def coerce_files(value: Any) -> Oid:
    """Return the oid of a tree of files as an ``Oid``.

    Raises:
        InvalidInput: it does not have 32 bytes.
    """
    if not isinstance(value, bytes) or len(value) != OID_SIZE:
        raise InvalidInput(
            f"files must be the oid of a stored tree, got {shown(value)}", path="files"
        )
    return Oid(value)


def coerce_message(value: Any) -> str:
    """Return a message as a plain string.

    Raises:
        InvalidInput: it is not a string.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"message must be a string, got {shown(value)}", path="message")
    text: str = coerce(value, "message")
    return text


def coerce_info(value: Any) -> dict[Any, Any]:
    """Return an info as a dict of coerced values.

    Raises:
        InvalidInput: it is not a dict, or a value in it cannot be recorded.
    """
    if not isinstance(value, dict):
        raise InvalidInput(f"info must be a dict, got {shown(value)}", path="info")
    found: dict[Any, Any] = coerce(value, "info")
    return found


def coerce_fields(**given: Any) -> dict[str, Any]:
    """Return the coerced top-level fields of a state; None means that it has no such field.

    Raises:
        InvalidInput: a value cannot be recorded, or there is no field at all.
    """
    try:
        coerced = {name: _COERCE[name](value) for name, value in given.items() if value is not None}
    except Exception:  # also of what a user's class does
        coerced = simplified_fields(Simplifier(), given)
    fields = {name: value for name, value in coerced.items() if value is not ABSENT}
    if not fields:
        raise InvalidInput(
            "cannot record a state without fields; pass an observation, for instance"
        )
    return fields


def simplified_fields(simplifier: Simplifier, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the coerced fields of a state of which ``coerce`` refused one; ABSENT if left out.

    Args:
        simplifier: decides what is left out.
        given: the fields, a ``Simplified`` where that was done before.

    Raises:
        InvalidInput: a value cannot be recorded, and may not be left out.
    """
    fields: dict[str, Any] = {}
    forms = {}
    for name, value in given.items():
        if value is None:
            continue
        if name == "reward" and (rewards := _vector(value)) is not None:
            fields["rewards"] = rewards
        elif isinstance(value, Simplified) or name in ("observation", "action", "info", "reset"):
            each = value if isinstance(value, Simplified) else simplifier.simplify(value, name)
            fields[name] = each.value
            if name in ("info", "reset") and each.value is not ABSENT:
                fields[name] = simplifier.guard(_COERCE[name], each.value, name)
            forms[name] = [] if fields[name] is ABSENT else each.forms
        else:
            fields[name] = simplifier.guard(_COERCE[name], value, name)
    listed = stored_forms(forms)
    return fields | ({"forms": listed} if listed else {})


def _vector(value: Any) -> Any:
    """Return a reward of several numbers as an array, None for anything else."""
    try:
        if isinstance(value, (list, tuple)):
            if not all(isinstance(each, (int, float, np.number)) for each in value):
                return None
            value = np.asarray(value)
        elif not is_arraylike(value):
            return None
        array = to_array(value)
    except Exception:  # also of what a user's class does
        return None
    return array.copy() if array.size != 1 and array.dtype.kind in "iuf" else None


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
    """Pack and hash the states of coerced columns; return a batch for each schema.

    The batches after the first know their parent by its oid only: ``store`` adds its location.
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
    """Return the tip after a prepared batch: its oid and schema, but not yet its location."""
    return Tip(Oid(batch.oids[-1]), Location(0, 0), batch.rows.schema, 0, 0, 0.0)


def store(
    odb: ObjectDatabase, txn: WriteTxn, batches: list[StateBatch], parents: tuple[Tip, ...]
) -> Tip:
    """Store prepared batches; return the tip of the last state."""
    if not parents and batches[0].origin == NO_ORIGIN.oid:
        odb.put(txn, Spec({}))
    tip, time = None, now()
    for prepared in batches:
        batch = prepared._replace(parents=parents if tip is None else (tip,))
        if not batch.parents or batch.parents[0].schema is not batch.rows.schema:
            odb.put(txn, batch.rows.schema)
        tip = odb.states.append(txn, batch, time=time)
    assert tip is not None
    return tip
