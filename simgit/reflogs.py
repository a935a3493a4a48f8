"""Reflogs are kept for a time: their oldest entries go, and with them what only they named."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from simgit.oplog import TABLE as OPERATIONS
from simgit.oplog import WHOLE, OperationLog
from simgit.refnames import HEAD
from simgit.refrecords import decode_entry
from simgit.refs import TRIMMED
from simgit.storage.base import ReadTxn, WriteTxn

_MANY: Final = 1 << 62


def expire_logs(txn: WriteTxn, before: int) -> int:
    """Remove the entries of reflogs that are older than a time; return how many.

    The newest entry of a ref that exists stays. So does what follows an entry that is not old:
    a clock may have been wrong.
    """
    gone = 0
    for ref in _logs(txn):
        gone += _expire(txn, ref, before)
    return gone


def _logs(txn: ReadTxn) -> list[bytes]:
    found: dict[bytes, None] = {}
    for key, _ in txn.scan("log"):
        found[key[:-9]] = None
    return list(found)


def _expire(txn: WriteTxn, ref: bytes, before: int) -> int:
    keys = []
    entries = list(txn.scan("log", ref + b"\0", ref + b"\0" + b"\xff" * 9))
    for key, value in entries:
        if decode_entry(value).time >= before:
            break
        keys.append(key)
    if ref == HEAD.encode() or txn.get("refs", ref) is not None:
        keys = keys[: len(entries) - 1]
    for key in keys:
        txn.delete("log", key)
    if len(keys) == len(entries):
        txn.delete("meta", TRIMMED + ref)
    elif keys:
        first = int.from_bytes(keys[-1][-8:], "big") + 1
        txn.put("meta", TRIMMED + ref, first.to_bytes(8, "big"))
    return len(keys)


def expire_operations(txn: WriteTxn, before: int) -> int:
    """Remove the operations that last wrote before a time; return how many.

    The newest stays, without its changes: its number must not be given out again.
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
