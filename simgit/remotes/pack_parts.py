"""Parts of packs, read by ranges: the table at a pack's end tells where each record lies."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from simgit.errors import IntegrityError, InvalidInput, NotFound
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.odb.segments.block import BLOCK_ROWS
from simgit.remotes import layout
from simgit.remotes.bundle import records
from simgit.remotes.bundle.states_head import StatesHead, decode_head
from simgit.remotes.connection import Connection
from simgit.remotes.layout import PackEntry, PackStretch

_HEAD: Final = struct.Struct("<BQ")
_END: Final = struct.Struct("<Q32s")
_LINE: Final = struct.Struct("<QQBI32s")
_PIECE: Final = 1 << 16
_BESIDE: Final = 4 << 10
"""The bytes that are read before the table: what ends a push lies there."""
_GAP: Final = 16 << 10
"""So many bytes that nobody asked for are read rather than asking twice."""
Record = tuple[int, bytes]
"""Type and body of a record."""


class TableLine(NamedTuple):
    """A line of a pack's table: a record, and the step of its first state (-1 for others)."""

    offset: int
    size: int
    kind: int
    states: int
    last: bytes
    step: int
    stretch: int

    @property
    def stop(self) -> int:
        """The offset after it."""
        return self.offset + self.size


class PackParts:
    """A pack of which parts are read; each record is checked."""

    def __init__(self, connection: Connection, entry: PackEntry) -> None:
        """Read the table.

        Raises:
            IntegrityError: it is damaged, or says something else than the entry.
        """
        self._connection = connection
        self.entry = entry
        self._key = layout.key_of_pack(entry.name)
        self._parts: list[tuple[int, bytes]] = []
        self.lines = self._table()

    def _table(self) -> list[TableLine]:
        entry = self.entry
        lines = entry.states // BLOCK_ROWS + 2 * len(entry.stretches) + entry.size // _PIECE + 16
        tail = lines * _LINE.size + _BESIDE  # a guess: the end tells, and the rest is read then
        start = max(0, self.entry.size - tail)
        if start < self.entry.size // 2:
            start = 0
        self._read(start, self.entry.size)
        if not start and blake3(self._parts[0][1]).digest() != self.entry.name:
            raise layout.damaged(self._key)
        size = _HEAD.size + _END.size + CHECKSUM_SIZE
        kind, end = self._record(self.entry.size - size, size)
        if kind != records.END:
            raise layout.damaged(self._key)
        count, _ = _END.unpack(end)
        table = _HEAD.size + (count - 1) * _LINE.size + CHECKSUM_SIZE
        first = self.entry.size - size - table
        if not len(records.PACK_MAGIC) <= first:
            raise layout.damaged(self._key)
        kind, body = self._record(first, table)
        if kind != records.TABLE:
            raise layout.damaged(self._key)
        return self._lines(body, first)

    def _lines(self, body: bytes, end: int) -> list[TableLine]:
        """Return the lines of a table, each with the steps that the entry tells."""
        found, at, left = [], len(records.PACK_MAGIC), [*enumerate(self.entry.stretches)]
        for offset, size, kind, states, last in _LINE.iter_unpack(body):
            step = stretch = -1
            if kind == records.STATES:
                if not left:
                    raise self._differs()
                stretch, whole = left.pop(0)
                step, stop = whole.first, whole.first + states
                if stop <= whole.last:
                    left.insert(0, (stretch, whole._replace(first=stop)))
                elif stop > whole.last + 1 or last != whole.oid:
                    raise self._differs()
            if offset != at:
                raise layout.damaged(self._key)
            found.append(TableLine(offset, size, kind, states, last, step, stretch))
            at += size
        if at != end or left:
            raise self._differs()
        return found

    def _differs(self) -> IntegrityError:
        return IntegrityError(
            f"the pack '{self._key}' of the remote has other states than refs say"
        )

    # --- bytes ---

    def _read(self, start: int, stop: int) -> None:
        try:
            data = self._connection.transport.get_range(self._key, start, stop - start)
        except InvalidInput:
            raise layout.damaged(self._key) from None
        except NotFound:
            raise IntegrityError(
                f"the remote lacks '{self._key}', which a ref names; see 'simgit fsck --remote'",
                key=self._key,
            ) from None
        if len(data) != stop - start:
            raise layout.damaged(self._key)
        self._parts.append((start, data))

    def has(self, start: int, stop: int) -> bool:
        """Return True if some bytes were read."""
        return any(at <= start and stop <= at + len(data) for at, data in self._parts)

    def _bytes(self, start: int, size: int) -> bytes:
        for at, data in self._parts:
            if at <= start and start + size <= at + len(data):
                return data[start - at : start - at + size]
        self._read(start, start + size)
        return self._parts[-1][1]

    def _record(self, offset: int, size: int) -> Record:
        data = self._bytes(offset, size)
        body = data[:-CHECKSUM_SIZE]
        if checksum(body) != data[-CHECKSUM_SIZE:]:
            raise layout.damaged(self._key)
        kind, length = _HEAD.unpack_from(body)
        if length != len(body) - _HEAD.size:
            raise layout.damaged(self._key)
        return kind, body[_HEAD.size :]

    def want(self, lines: Sequence[TableLine]) -> None:
        """Read what some records take, as few parts as are worth it."""
        spans: list[list[int]] = []
        for line in sorted(lines):
            if self.has(line.offset, line.stop):
                continue
            if spans and line.offset - spans[-1][1] <= _GAP:
                spans[-1][1] = line.stop
            else:
                spans.append([line.offset, line.stop])
        for start, stop in spans:
            self._read(start, stop)

    def record(self, line: TableLine) -> Record:
        """Return a record.

        Raises:
            IntegrityError: it is damaged, or not what the table says.
        """
        kind, body = self._record(line.offset, line.size)
        if kind != line.kind:
            raise layout.damaged(self._key)
        if kind == records.STATES:
            head = decode_head(body)
            if (head.rows, head.last) != (line.states, line.last):
                raise self._differs()
        return kind, body

    def head(self, line: TableLine) -> StatesHead:
        """Return the head of a record of states."""
        return decode_head(self.record(line)[1])

    def load(self) -> None:
        """Read all of it; its bytes have its name then."""
        if not self.has(0, self.entry.size):
            with self._connection.read_pack(self.entry) as file:
                self._parts = [(0, file.read())]

    def all(self) -> Iterator[Record]:
        """Yield all records but the manifest, the table and the end, checked as a whole."""
        self.load()
        stream = iter(records.RecordReader(io.BytesIO(self._bytes(0, self.entry.size)).read))
        next(stream)
        yield from stream

    def begins(self) -> list[TableLine]:
        """Return the lines of the objects before the first states: what all packs repeat."""
        found: list[TableLine] = []
        for line in self.lines[1:]:
            if line.kind != records.OBJECT:
                break
            found.append(line)
        return found


class LocatedStretch(NamedTuple):
    """A range of states, and the pack that has it."""

    entry: PackEntry
    number: int

    @property
    def states(self) -> PackStretch:
        """The range, as the entry of the pack has it."""
        return self.entry.stretches[self.number]
