"""Expiry of reflogs and of the operation log: removal of their oldest entries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from simgit.refs.names import HEAD
from simgit.refs.oplog.log import TABLE as OPERATIONS
from simgit.refs.oplog.log import WHOLE, OperationLog
from simgit.refs.records import decode_entry, pack_ref
from simgit.refs.refs import TRIMMED
from simgit.storage.base import ReadTxn, WriteTxn

_MANY: Final = 1 << 62


def expire_logs(txn: WriteTxn, before: int) -> int:
    """Remove the entries of reflogs that are older than a time; return the number of them.

    The newest entry of an existing ref is kept, and so are entries after one that is not old: a
    clock may have been wrong. A newest entry that is old loses what it names as the value before.
    """
    return sum(expire_log(txn, ref, before) for ref in list(logged_refs(txn)))


def logged_refs(txn: ReadTxn, start: bytes = b"") -> Iterator[bytes]:
    """Yield the full names of the refs that have a reflog, from one on."""
    place = start
    while (found := next(txn.scan("log", place), None)) is not None:
        yield (ref := found[0][:-9])
        place = max(ref + b"\1", found[0] + b"\0")  # forward also from a damaged key


def expire_log(txn: WriteTxn, ref: bytes, before: int, most: int | None = None) -> int:
    """Remove the oldest entries of one reflog, at most ``most``; return the number of them."""
    keys = [key for key, _ in islice(old_entries(txn, ref, before), most)]
    for key in keys:
        txn.delete("log", key)
    if keys and next(txn.scan("log", *_span(ref)), None) is None:
        txn.delete("meta", TRIMMED + ref)
    elif keys:
        first = int.from_bytes(keys[-1][-8:], "big") + 1
        txn.put("meta", TRIMMED + ref, first.to_bytes(8, "big"))
    if most is None or len(keys) < most:
        _forget_before(txn, ref, before)
    return len(keys)


def _forget_before(txn: WriteTxn, ref: bytes, before: int) -> None:
    """Let an old entry that is kept as the only one no longer name the value before it."""
    found = list(islice(txn.scan("log", *_span(ref)), 2))
    if len(found) == 1:
        key, value = found[0]
        entry = decode_entry(value)
        if entry.time < before and entry.old is not None:
            txn.put("log", key, pack_ref(entry._replace(old=None)._asdict()))


def old_entries(txn: ReadTxn, ref: bytes, before: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the expired entries of a reflog in stored form; see ``expire_logs``."""
    lives = ref == HEAD.encode() or txn.get("refs", ref) is not None
    newest = next(txn.scan("log", *_span(ref), reverse=True), None) if lives else None
    for key, value in txn.scan("log", *_span(ref)):
        if decode_entry(value).time >= before or (newest is not None and key == newest[0]):
            return
        yield key, value


def _span(ref: bytes) -> tuple[bytes, bytes]:
    return ref + b"\0", ref + b"\0" + b"\xff" * 9


def expire_operations(txn: WriteTxn, before: int) -> int:
    """Remove the operations that last wrote before a time; return the number of them.

    The newest is kept, without its changes: its number must not be given out again.
    """
    log = OperationLog()
    newest = log.newest(txn)
    gone = log.expire(txn, before, _MANY, 1, _MANY)
    last = log.find(txn, newest)
    if last is not None and last.until < before:
        for key, _ in txn.scan(OPERATIONS, newest.to_bytes(8, "big") + b"\0\0\0\1"):
            txn.delete(OPERATIONS, key)
        log.put(txn, replace(last, changes=0, moves=(), reverts=None))
        txn.put("meta", WHOLE, (newest + 1).to_bytes(8, "big"))
    return gone
