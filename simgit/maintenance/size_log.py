"""Notes of maintenance: the size after each gc, how far the background is, and what is due.

meta: "size" ‖ 00 ‖ u64 time -> the size at that time
      "settled"              -> u64 number of segments after the last compaction
      "upkeep"               -> the key of the segment at which compaction resumes
      "collected"            -> u64 time at which the last collection began
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from simgit.errors import IntegrityError
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.header import decode_header, segment_key
from simgit.odb.segments.lines import line_key
from simgit.refs.oplog.log import OperationLog
from simgit.refs.records import pack_ref, unpack_ref
from simgit.refs.settings import GC_AUTO, get_setting
from simgit.storage.base import ReadTxn, WriteTxn

PREFIX: Final = b"size\0"
SETTLED: Final = b"settled"
"""The key of the number of segments after the last compaction."""
UPKEEP_AT: Final = b"upkeep"
"""The key of the segment at which the next slice of compaction resumes."""
COLLECTED: Final = b"collected"
"""The key of the time at which the last collection began, in nanoseconds since 1970."""
COLLECT_EVERY: Final = 24 * 3600 * 10**9
"""Nanoseconds from one collection in the background to the next."""
_KEPT: Final = 1000


class Size(NamedTuple):
    """The size after a gc: when, the bytes of the file, how many states and loose objects."""

    time: int
    bytes: int
    states: int
    objects: int


def note_size(odb: ObjectDatabase, txn: WriteTxn, time: int) -> None:
    """Note the size of the repository; remove the oldest notes."""
    lines = [int.from_bytes(key, "big") for key, _ in txn.scan("lines")]
    states = sum(_states_of_line(txn, line) for line in lines)
    record = {"bytes": odb.storage.size(), "states": states, "objects": txn.count("objects")}
    txn.put("meta", PREFIX + time.to_bytes(8, "big"), pack_ref(record))
    keys = [key for key, _ in txn.scan("meta", PREFIX, PREFIX + b"\xff" * 9)]
    for key in keys[:-_KEPT]:
        txn.delete("meta", key)


def _states_of_line(txn: ReadTxn, line: int) -> int:
    first = next(txn.scan("segments", segment_key(line, 0), segment_key(line + 1, 0)), None)
    last = txn.floor("segments", line_key(line) + b"\xff" * 8)
    if first is None or last is None:
        return 0
    return decode_header(*last).end - decode_header(*first).step


def sizes(txn: ReadTxn) -> list[Size]:
    """Return the sizes that were noted, the oldest first.

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


def due(txn: ReadTxn, now: int) -> Literal["collection", "compaction"] | None:
    """Return which maintenance in the background is due, None if none is or it is turned off.

    A collection is due once a day; a compaction if one has begun, or if many segments were written
    since the last one. This is cheap: it is asked after writes.

    Raises:
        IntegrityError: the setting that says how many segments are many is damaged.
    """
    many: int = get_setting(txn, GC_AUTO)
    if not many:
        return None
    value = txn.get("meta", COLLECTED)
    if value is not None:
        last = int.from_bytes(value, "big")
    else:  # no collection yet: the age of the oldest operation counts
        log = OperationLog()
        first = log.find(txn, log.oldest(txn))
        last = now if first is None else first.time
    if abs(now - last) >= COLLECT_EVERY:  # a clock may have been wrong
        return "collection"
    settled = int.from_bytes(txn.get("meta", SETTLED) or b"", "big")
    begun = txn.get("meta", UPKEEP_AT) is not None
    return "compaction" if begun or many < txn.count("segments") - settled else None
