"""The identity of a store, and marks of objects that came from elsewhere: by an import or a clone.

meta: "identity"           -> 16 random bytes, which no other store has; a clone has its own
meta: "foreign" ‖ 00 ‖ oid -> empty

A spec names code, a binding may attach a pickle, and the record of a run may have a verdict. So
these are marked when they arrive, until the user trusts all that is here, or records the same.
"""

from __future__ import annotations

import os
from typing import Final

from simgit.objects.kinds import KIND_CODES
from simgit.storage.base import ReadTxn, WriteTxn

IDENTITY: Final = b"identity"
_IDENTITY_SIZE: Final = 16
_PREFIX: Final = b"foreign\0"
_STOP: Final = b"foreign\1"
KINDS: Final = ("spec", "binding", "run")
_CODES: Final = frozenset(KIND_CODES[kind] for kind in KINDS)


def identity(txn: ReadTxn) -> bytes:
    """Return the identity of a store; empty if an earlier version made it."""
    return txn.get("meta", IDENTITY) or b""


def is_malformed(txn: ReadTxn) -> bool:
    """Return True if a store's identity has another size; damage within it cannot be told."""
    found = txn.get("meta", IDENTITY)
    return found is not None and len(found) != _IDENTITY_SIZE


def new_identity(txn: WriteTxn) -> bytes:
    """Give a store a new identity, and return it."""
    made = os.urandom(_IDENTITY_SIZE)
    txn.put("meta", IDENTITY, made)
    return made


def is_foreign(txn: ReadTxn, oid: bytes) -> bool:
    """Return True if an object is marked."""
    return txn.get("meta", _PREFIX + oid) is not None


def mark(txn: WriteTxn, oid: bytes) -> None:
    """Mark an object."""
    txn.put("meta", _PREFIX + oid, b"")


def unmark(txn: WriteTxn, oid: bytes) -> None:
    """Remove the mark of an object, if it has one: this user has recorded the same."""
    if is_foreign(txn, oid):
        txn.delete("meta", _PREFIX + oid)


def mark_all(txn: WriteTxn) -> None:
    """Mark all objects that can lead to code, or say that something was checked."""
    for oid in [key for key, value in txn.scan("objects") if value[:1] and value[0] in _CODES]:
        mark(txn, oid)


def unmark_all(txn: WriteTxn) -> None:
    """Remove all marks."""
    for key in [key for key, _ in txn.scan("meta", _PREFIX, _STOP)]:
        txn.delete("meta", key)


def is_any(txn: ReadTxn) -> bool:
    """Return True if anything is marked."""
    return next(iter(txn.scan("meta", _PREFIX, _STOP)), None) is not None
