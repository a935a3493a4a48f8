"""Checking the operation log: it is whole, what it names is there, and it leads to what is now."""

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

_UNKNOWN: Fields = {}


def check_operations(odb: ObjectDatabase, txn: ReadTxn) -> Iterator[str]:
    """Yield what is wrong with the operation log of a store."""
    was: dict[Key, Fields | None] = {}
    expected: tuple[int, int] | None = None
    top = 0
    for key, value in txn.scan(TABLE, reverse=True):
        if len(key) != 12:
            yield f"the operation log has a key '{key.hex()}'"
            continue
        number, row = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
        if expected is not None and not _follows(expected, number, row):
            yield f"the operation log has a gap after {number}/{row}"
        if expected is None or expected[0] != number:
            top = row
        expected = number, row
        try:
            if row == 0:
                if Operation.decode(number, value).changes != top:
                    yield f"operation {number} lacks some of its changes"
            else:
                yield from _check_change(odb, txn, number, KeyChange.decode(value), was)
        except SimgitError as error:
            yield f"operation {number}: {error}"


def _follows(later: tuple[int, int], number: int, row: int) -> bool:
    """Return whether an entry comes right before another; the changes of one may be many."""
    if later[1] > 0:
        return (number, row) == (later[0], later[1] - 1)
    return number == later[0] - 1


def _check_change(
    odb: ObjectDatabase, txn: ReadTxn, number: int, change: KeyChange, was: dict[Key, Fields | None]
) -> Iterator[str]:
    for oid in change.oids:
        if not odb.exists(txn, oid):
            yield f"operation {number} names '{oid.hex()}', which is missing"
    key = change.key
    if key not in was:
        try:
            was[key] = parse(key, txn.get(*key))
        except SimgitError:
            was[key] = _UNKNOWN  # the ref's own check says so
    if was[key] is _UNKNOWN:
        return
    if not change.is_empty and not change.inverse.fits(was[key]):
        yield f"operation {number} does not lead to what {shown_key(key)} is after it"
        was[key] = _UNKNOWN
        return
    was[key] = change.inverse.apply(was[key])
    if change.old is None and _is_repair(txn, number):
        was[key] = _UNKNOWN  # what was there before could not be read


def _is_repair(txn: ReadTxn, number: int) -> bool:
    try:
        operation = OperationLog().find(txn, number)
    except SimgitError:
        return False
    return operation is not None and operation.command.startswith("fsck")
