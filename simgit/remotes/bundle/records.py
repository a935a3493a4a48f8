"""The records of a bundle, written to and read from streams that need not seek."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from blake3 import blake3

from simgit.errors import FormatError, IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.remotes.bundle.states_head import decode_head

MAGIC: Final = b"simgit bundle 0\n"
PACK_MAGIC: Final = b"simgit bundle 1\n"
"""The beginning of version 1, which has a table before its end."""
NO_BUNDLE: Final = "not a bundle"
END, MANIFEST, OBJECT, BLOB, PIECE, STATES, TABLE = range(7)
MAX_OBJECT: Final = 1 << 31
"""The most bytes of an object; blobs come in pieces and may be larger."""
_HEAD: Final = struct.Struct("<BQ")
_END: Final = struct.Struct("<Q32s")
_LINE: Final = struct.Struct("<QQBI32s")
_NO_STATES: Final = bytes(32)
_AT_ONCE: Final = 1 << 20
_SLACK: Final = 1 << 16
_LIMITS: Final = {
    END: _END.size, MANIFEST: 64 << 20, BLOB: 40, PIECE: 1 << 17, STATES: MAX_OBJECT + _SLACK,
    TABLE: 64 << 20,
}  # fmt: skip
Read = Callable[[int], bytes]
Write = Callable[[bytes], object]
Progress = Callable[[int], object]
"""A function called with the number of states read so far."""


def encode_record(kind: int, *parts: bytes) -> bytes:
    """Return a record, its body given in parts."""
    record = b"".join((_HEAD.pack(kind, sum(map(len, parts))), *parts))
    return record + checksum(record)


def end_of(count: int, digest: bytes) -> bytes:
    """Return the last record, given the number of those before it and the hash of all before."""
    return encode_record(END, _END.pack(count, digest))


def table_line(offset: int, size: int, kind: int, body: bytes) -> bytes:
    """Return what a table says of a record at an offset; ``body`` needs no more than its head."""
    states, last = 0, _NO_STATES
    if kind == STATES:
        head = decode_head(body)
        states, last = head.rows, head.last
    return _LINE.pack(offset, size, kind, states, last)


class RecordWriter:
    """A writer of records; ``bytes`` and ``count`` are the totals so far."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._hasher = blake3()
        self.bytes = 0
        self.count = 0
        self._put(MAGIC)

    def put(self, kind: int, *parts: bytes) -> None:
        """Write a record, its body given in parts."""
        self._put(encode_record(kind, *parts))
        self.count += 1

    def finish(self) -> None:
        """Write the end."""
        self._put(end_of(self.count, self._hasher.digest()))

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._hasher.update(data)
        self.bytes += len(data)


class RecordReader:
    """A reader that checks each record, and after the last one that none is missing.

    A false length costs no more memory than the stream has bytes.
    """

    def __init__(self, read: Read, max_object: int = MAX_OBJECT) -> None:
        """Read the beginning.

        Raises:
            IntegrityError: it is not a bundle.
            FormatError: it has a newer version.
        """
        self._read = read
        self._hasher = blake3()
        self._max = max_object
        self.bytes = 0
        self.count = 0
        self._table: list[bytes] | None = None
        magic = self._begin()
        if magic == PACK_MAGIC:
            self._table = []
        elif magic != MAGIC:
            if magic[:14] == MAGIC[:14]:
                raise FormatError(
                    "the bundle was made by a newer simgit; install a newer one to read it"
                )
            raise IntegrityError(NO_BUNDLE)

    def _begin(self) -> bytes:
        """Return the first bytes; IntegrityError if they are fewer than a bundle begins with."""
        magic = b""
        while len(magic) < len(MAGIC):
            if not (piece := self._read(1)):
                cut = magic and MAGIC.startswith(magic)
                raise IntegrityError("the bundle is truncated" if cut else NO_BUNDLE)
            magic += piece
        self._hasher.update(magic)
        self.bytes += len(magic)
        return magic

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield type and body of each record but the last.

        Raises:
            IntegrityError: a record is damaged or too large, the bundle is truncated or has bytes
                after its end, or its table does not tell what is in it.
        """
        table = None
        while True:
            before, offset = self._hasher.digest(), self.bytes
            kind, body = self._record()
            if kind == END:
                if (table is None) != (self._table is None):
                    raise IntegrityError("malformed bundle: it lacks its table")
                return self._end(body, before)
            if table is not None:
                raise IntegrityError("malformed bundle: a record follows its table")
            self.count += 1
            if self._table is not None:
                if kind == TABLE:
                    table = body
                    if table != b"".join(self._table):
                        raise IntegrityError("malformed bundle: its table tells other records")
                    continue
                self._table.append(table_line(offset, self.bytes - offset, kind, body))
            yield kind, body

    def _record(self) -> tuple[int, bytes]:
        head = self._take(_HEAD.size)
        kind, size = _HEAD.unpack(head)
        if kind > (STATES if self._table is None else TABLE):
            raise IntegrityError(f"malformed bundle: record of unknown type {kind}")
        if size > _LIMITS.get(kind, self._max + _SLACK):
            raise IntegrityError(f"a record of the bundle claims {size} bytes, too many")
        body = self._take(size)
        check = self._take(CHECKSUM_SIZE)
        hasher = blake3(head)
        if hasher.update(body).digest(CHECKSUM_SIZE) != check:
            raise IntegrityError(f"the bundle is damaged: checksum mismatch of record {self.count}")
        return kind, body

    def _end(self, body: bytes, before: bytes) -> None:
        if len(body) != _END.size or _END.unpack(body) != (self.count, before):
            raise IntegrityError(
                "the bundle is damaged: its records do not match the final checksum"
            )
        if self._read(1):
            raise IntegrityError("malformed bundle: bytes after its end")

    def _take(self, size: int) -> bytes:
        """Return the next bytes, read in small parts: the size is not trusted."""
        pieces = []
        while size:
            piece = self._read(min(size, _AT_ONCE))
            if not piece:
                raise IntegrityError("the bundle is truncated")
            self._hasher.update(piece)
            self.bytes += len(piece)
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
