"""The check of the operation log: complete, naming existing objects, ending at the current refs."""

from __future__ import annotations

from collections.abc import Iterator

from simgit.errors import SimgitError
from simgit.odb.database import ObjectDatabase
from simgit.refs.oplog.log import (
    TABLE,
    Fields,
    Key,
    KeyChange,
    Operation,
    OperationLog,
    parse,
    shown_key,
)
from simgit.storage.base import ReadTxn

Fault = tuple[str, bytes | None]
"""A message, and the oid of an object that is missing, if that is the fault."""
_UNKNOWN: Fields = {}


def check_operations(odb: ObjectDatabase, txn: ReadTxn) -> Iterator[Fault]:
    """Yield the faults in the operation log of a store."""
    was: dict[Key, Fields | None] = {}
    expected: tuple[int, int] | None = None
    top = 0
    for key, value in txn.scan(TABLE, reverse=True):
        if len(key) != 12:
            yield f"the operation log has a malformed key '{key.hex()}'", None
            continue
        number, row = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
        if expected is not None and not _follows(expected, number, row):
            yield f"the operation log has a gap after {number}/{row}", None
        if expected is None or expected[0] != number:
            top = row
        expected = number, row
        try:
            if row == 0:
                if Operation.decode(number, value).changes != top:
                    yield f"operation {number} lacks some of its changes", None
            else:
                yield from _check_change(odb, txn, number, KeyChange.decode(value), was)
        except SimgitError as error:
            yield f"operation {number}: {error}", None


def _follows(later: tuple[int, int], number: int, row: int) -> bool:
    """Return True if an entry comes right before another."""
    if later[1] > 0:
        return (number, row) == (later[0], later[1] - 1)
    return number == later[0] - 1


def _check_change(
    odb: ObjectDatabase, txn: ReadTxn, number: int, change: KeyChange, was: dict[Key, Fields | None]
) -> Iterator[Fault]:
    for oid in change.oids:
        if not odb.exists(txn, oid):
            yield f"operation {number} names '{oid.hex()}', which is missing", oid
    key = change.key
    if key not in was:
        try:
            was[key] = parse(key, txn.get(*key))
        except SimgitError:
            was[key] = _UNKNOWN  # the ref's own check reports it
    if was[key] is _UNKNOWN:
        return
    if not change.is_empty and not change.inverse.fits(was[key]):
        yield f"operation {number} does not lead to the value of {shown_key(key)} after it", None
        was[key] = _UNKNOWN
        return
    was[key] = change.inverse.apply(was[key])
    if change.old is None and _is_repair(txn, number):
        was[key] = _UNKNOWN  # the earlier record is unreadable


def _is_repair(txn: ReadTxn, number: int) -> bool:
    try:
        operation = OperationLog().find(txn, number)
    except SimgitError:
        return False
    return operation is not None and operation.command.startswith("fsck")
