"""The table of unreachable objects, with times: gc removes them after their grace period.

    pending: "s" ‖ u64 line ‖ u64 step -> the line's states from this step on
             "o" ‖ 32-byte oid         -> a loose object
             "c" ‖ 32-byte name        -> a chunk

with the value u64 time (big-endian, nanoseconds since 1970) ‖ u8 in flight ‖ check. Objects *in
flight* were written ahead of those that will refer to them: a file's chunks, its blob, a
recorder's spec.
"""

from __future__ import annotations

import struct
import time
from typing import Final, NamedTuple

from simgit.errors import IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.storage.base import ReadTxn, WriteTxn

TABLE: Final = "pending"
STATES: Final = b"s"
OBJECT: Final = b"o"
CHUNK: Final = b"c"
_VALUE: Final = struct.Struct(">QB")
_SIZES: Final = {STATES: 17, OBJECT: 33, CHUNK: 33}


class Since(NamedTuple):
    """The time since which an object is unreachable, in nanoseconds since 1970."""

    time: int
    in_flight: bool = False


def states_key(line: int, step: int) -> bytes:
    """Return the key of the states of a line from a step on."""
    return STATES + struct.pack(">QQ", line, step)


def note(txn: WriteTxn, key: bytes, since: Since) -> None:
    """Enter an unreachable object."""
    body = _VALUE.pack(*since)
    txn.put(TABLE, key, body + checksum(body))


def note_in_flight(txn: WriteTxn, key: bytes) -> None:
    """Enter an object that a later transaction will refer to."""
    note(txn, key, Since(time.time_ns(), True))


def note_states_in_flight(txn: WriteTxn, line: int, step: int) -> None:
    """Enter the states of a line up to a step, and with them their ancestors.

    Earlier entries of them are removed, so that their grace period begins anew.
    """
    for key, _ in txn.scan(TABLE, states_key(line, 0), states_key(line, step + 1)):
        txn.delete(TABLE, key)
    note_in_flight(txn, states_key(line, 0))


def since(txn: ReadTxn, key: bytes) -> Since | None:
    """Return the time since which an object is unreachable, None if it has no entry.

    Raises:
        IntegrityError: the entry is damaged.
    """
    value = txn.get(TABLE, key)
    return None if value is None else decode(key, value)


def decode(key: bytes, value: bytes) -> Since:
    """Return the content of an entry.

    Raises:
        IntegrityError: it is damaged.
    """
    body = value[:-CHECKSUM_SIZE]
    if (
        len(body) != _VALUE.size
        or checksum(body) != value[-CHECKSUM_SIZE:]
        or _SIZES.get(key[:1]) != len(key)
    ):
        raise IntegrityError(f"entry '{key.hex()}' of the unreachable objects is damaged")
    moment, flying = _VALUE.unpack(body)
    return Since(moment, bool(flying))


def entries(txn: ReadTxn, kind: bytes) -> dict[bytes, Since]:
    """Return the entries of a kind, without the kind in their keys."""
    stop = bytes([kind[0] + 1])
    return {key[1:]: decode(key, value) for key, value in txn.scan(TABLE, kind, stop)}
