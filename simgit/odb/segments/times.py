"""When states were recorded: a time for each flush, beside the states and no part of their oids.

meta: "time" ‖ 00 ‖ u64 line ‖ u64 first step -> u64 count ‖ u64 nanoseconds since 1970 ‖ check
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from simgit.errors import IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.odb.location import Location
from simgit.storage.base import ReadTxn, WriteTxn

PREFIX: Final = b"time\0"
_PLACE: Final = struct.Struct(">QQ")
_VALUE: Final = struct.Struct(">QQ")


class TimeSpan(NamedTuple):
    """Consecutive steps of a line and when they were recorded, None where that is not known."""

    start: int
    stop: int
    time: int | None


def note_time(txn: WriteTxn, place: Location, count: int, time: int) -> None:
    """Note when the states from a place on were recorded, in nanoseconds since 1970."""
    key, value = _key(place.line, place.step), _VALUE.pack(count, time)
    txn.put("meta", key, value + checksum(key + value))


def time_of(txn: ReadTxn, place: Location) -> int | None:
    """Return when a state was recorded, None if that is not known.

    Raises:
        IntegrityError: the time is damaged.
    """
    return next(time_spans(txn, place.line, place.step, place.step + 1)).time


def time_spans(txn: ReadTxn, line: int, start: int, stop: int) -> Iterator[TimeSpan]:
    """Yield when the states of a line were recorded, oldest first and without gaps.

    Raises:
        IntegrityError: a time is damaged.
    """
    before = txn.floor("meta", _key(line, start))
    is_of_line = before is not None and before[0].startswith(PREFIX + _PLACE.pack(line, 0)[:8])
    first = before[0] if before is not None and is_of_line else _key(line, start)
    at = start
    for key, value in txn.scan("meta", first, _key(line, stop)):
        step, count, time = read_time(key, value)
        if step > at:
            yield TimeSpan(at, step, None)
            at = step
        end = min(step + count, stop)
        if end > at:
            yield TimeSpan(at, end, time)
            at = end
    if at < stop:
        yield TimeSpan(at, stop, None)


def read_time(key: bytes, value: bytes) -> tuple[int, int, int]:
    """Return the first step, the number of states and the time of an entry.

    Raises:
        IntegrityError: it is damaged.
    """
    body = value[:-CHECKSUM_SIZE]
    place = key[len(PREFIX) :]
    is_whole = len(body) == _VALUE.size and len(place) == _PLACE.size
    if not is_whole or checksum(key + body) != value[-CHECKSUM_SIZE:]:
        raise IntegrityError("the time of recorded states is damaged; see 'simgit fsck'")
    return (_PLACE.unpack(place)[1], *_VALUE.unpack(body))


def forget_times(txn: WriteTxn, line: int, stop: int) -> None:
    """Remove the times of a line's states from a step on."""
    first, end = _key(line, stop), PREFIX + _PLACE.pack(line, (1 << 64) - 1)
    for key, _ in list(txn.scan("meta", first, end)):
        txn.delete("meta", key)


def _key(line: int, step: int) -> bytes:
    return PREFIX + _PLACE.pack(line, step)
