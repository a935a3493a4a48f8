"""How the size of a repository went: gc notes it each time.

meta: "size" ‖ 00 ‖ u64 time -> what it was then
      "settled"              -> u64 how many segments the last maintenance has left
      "upkeep"               -> the key of the segment at which maintenance goes on
      "collected"            -> u64 time at which maintenance last removed what can go
"""

from __future__ import annotations

from typing import Final, NamedTuple

from simgit.errors import IntegrityError
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.header import decode_header
from simgit.odb.segments.join import headers
from simgit.odb.segments.lines import line_key
from simgit.refs.oplog.log import OperationLog
from simgit.refs.records import pack_ref, unpack_ref
from simgit.refs.settings import GC_AUTO, get_setting
from simgit.storage.base import ReadTxn, WriteTxn

PREFIX: Final = b"size\0"
SETTLED: Final = b"settled"
"""The key of how many segments the last maintenance has left."""
UPKEEP_AT: Final = b"upkeep"
"""The key of the segment at which the next slice of maintenance goes on."""
COLLECTED: Final = b"collected"
"""The key of when maintenance has last removed what can go, in nanoseconds since 1970."""
COLLECT_EVERY: Final = 24 * 3600 * 10**9
"""Maintenance by itself removes something once in so many nanoseconds."""
_KEPT: Final = 1000


class Size(NamedTuple):
    """What a gc left: when, the bytes of the file, how many states and loose objects."""

    time: int
    bytes: int
    states: int
    objects: int


def note_size(odb: ObjectDatabase, txn: WriteTxn, time: int) -> None:
    """Note what there is; the oldest notes go."""
    record = {
        "bytes": odb.storage.size(), "states": count_states(txn), "objects": txn.count("objects"),
    }  # fmt: skip
    txn.put("meta", PREFIX + time.to_bytes(8, "big"), pack_ref(record))
    keys = [key for key, _ in txn.scan("meta", PREFIX, PREFIX + b"\xff" * 9)]
    for key in keys[:-_KEPT]:
        txn.delete("meta", key)


def sizes(txn: ReadTxn) -> list[Size]:
    """Return what the gcs so far have left, the oldest first.

    Raises:
        IntegrityError: a note is damaged.
    """
    found = []
    for key, value in txn.scan("meta", PREFIX, PREFIX + b"\xff" * 9):
        try:
            found.append(Size(int.from_bytes(key[-8:], "big"), **unpack_ref(value)))
        except TypeError:
            raise IntegrityError("a note of the repository's size is damaged") from None
    return found


def upkeep_due(txn: ReadTxn) -> bool:
    """Return whether maintenance has begun, or so many segments have come since that it should.

    Raises:
        IntegrityError: the setting that says how many is damaged.
    """
    most: int = get_setting(txn, GC_AUTO)
    settled = int.from_bytes(txn.get("meta", SETTLED) or b"", "big")
    begun = txn.get("meta", UPKEEP_AT) is not None
    return most > 0 and (begun or most < txn.count("segments") - settled)


def collection_due(txn: ReadTxn, now: int) -> bool:
    """Return whether it is time to see whether something can be removed.

    Raises:
        IntegrityError: the setting that says whether that is done is damaged.
    """
    if not get_setting(txn, GC_AUTO):
        return False
    value = txn.get("meta", COLLECTED)
    last = _begun(txn, now) if value is None else int.from_bytes(value, "big")
    return abs(now - last) >= COLLECT_EVERY  # a clock may have been wrong


def _begun(txn: ReadTxn, now: int) -> int:
    """Return when the oldest operation was that is known; now, if there is none."""
    log = OperationLog()
    first = log.find(txn, log.oldest(txn))
    return now if first is None else first.time


def count_states(txn: ReadTxn) -> int:
    """Return how many states there are."""
    lines = [int.from_bytes(key, "big") for key, _ in txn.scan("lines")]
    return sum(_length(txn, line) for line in lines)


def _length(txn: ReadTxn, line: int) -> int:
    first = next(headers(txn, line), None)
    last = txn.floor("segments", line_key(line) + b"\xff" * 8)
    if first is None or last is None:
        return 0
    return decode_header(*last).end - first.step
