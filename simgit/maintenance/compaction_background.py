"""Maintenance that runs by itself, a slice at a time, after what was written.

A slice looks for small segments while its time lasts, and joins the first that it finds: some
thousand rows in one transaction, so that nobody waits for long. Everything else is left to
``simgit gc``.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import Final

from simgit.maintenance.size_log import SETTLED, UPKEEP_AT
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.header import Header, decode_header, segment_key
from simgit.odb.segments.index import ARRAYS, STATES
from simgit.odb.segments.join import join_segments, pack_loose
from simgit.storage.base import ReadTxn, WriteTxn

SLICE: Final = 0.008
"""Seconds after which a slice begins nothing more."""
MAX_ROWS: Final = 2048
MAX_SEGMENTS: Final = 24
MAX_BYTES: Final = 128 << 10
_LOOK: Final = 256
_LOOSE: Final = 512
_LEVEL: Final = 3
_END: Final = b"\xff" * 16
"""Behind every segment."""


class AutoMaintenance:
    """One pass over all segments, slice by slice; another process goes on where one ended."""

    ends_with_process: Final = False

    def __init__(self, odb: ObjectDatabase) -> None:
        self.odb = odb
        with odb.read() as txn:
            self._at = txn.get("meta", UPKEEP_AT) or b""

    def slice(self) -> bool:
        """Do a slice; return whether more is to be done."""
        until = time.monotonic() + SLICE
        while not (stretch := self._look()) and self._at and time.monotonic() < until:
            pass
        # one transaction only: each waits for the disk
        with self.odb.write() as txn:
            if stretch:
                self._join(txn, stretch)
                self._at = self._at or _END
            if self._at:
                txn.put("meta", UPKEEP_AT, self._at)
            else:
                self._finish(txn)
        return bool(self._at)

    def _look(self) -> list[Header]:
        """Return the next segments that can be joined; nothing, and no place, at the end of all."""
        with self.odb.read() as txn:
            stretch, self._at = _next_stretch(txn, self._at)
        return stretch if len(stretch) > 1 else []

    def _join(self, txn: WriteTxn, stretch: list[Header]) -> None:
        keys = [segment_key(header.line, header.step) for header in stretch]
        found = txn.scan("segments", keys[0], keys[-1] + b"\0")
        current = [decode_header(key, value) for key, value in found]
        if [header.last for header in current] == [header.last for header in stretch]:
            join_segments(self.odb.states, txn, current, _LEVEL)

    def _finish(self, txn: WriteTxn) -> None:
        for kind in (STATES, ARRAYS):
            pack_loose(self.odb.states.index, txn, kind, _LOOSE)
        txn.delete("meta", UPKEEP_AT)
        txn.put("meta", SETTLED, txn.count("segments").to_bytes(8, "big"))


def _next_stretch(txn: ReadTxn, start: bytes) -> tuple[list[Header], bytes]:
    """Return segments that can be joined, and where to look on; nothing there at the end."""
    stretch: list[Header] = []
    size = 0
    for key, value in islice(txn.scan("segments", start), _LOOK):
        header = decode_header(key, value)
        more = _size(header)
        if stretch and not (_fits(stretch, header) and size + more <= MAX_BYTES):
            if len(stretch) > 1:
                return stretch, key
            stretch, size = [], 0
        stretch.append(header)
        size += more
        last = key
    if not stretch:
        return [], b""
    later = next(txn.scan("segments", last + b"\0"), None)
    return stretch, last + b"\0" if later else b""


def _fits(stretch: list[Header], header: Header) -> bool:
    """Return whether a segment can be joined with those before it, and they are few and short."""
    first = stretch[0]
    return (
        (header.line, header.schema) == (first.line, first.schema)
        and len(stretch) < MAX_SEGMENTS
        and header.end - first.step <= MAX_ROWS
    )


def _size(header: Header) -> int:
    return sum(info.fixed_size + info.variable_size for info in header.blocks)
