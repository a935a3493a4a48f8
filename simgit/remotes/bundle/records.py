"""The records of a bundle, written to and read from streams that need not seek."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from blake3 import blake3

from simgit.errors import FormatError, IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum

MAGIC: Final = b"simgit bundle 0\n"
NO_BUNDLE: Final = "not a bundle"
END, MANIFEST, OBJECT, BLOB, PIECE, STATES = range(6)
MAX_OBJECT: Final = 1 << 31
"""The most bytes of an object; blobs come in pieces and may be larger."""
_HEAD: Final = struct.Struct("<BQ")
_END: Final = struct.Struct("<Q32s")
_AT_ONCE: Final = 1 << 20
_SLACK: Final = 1 << 16
_LIMITS: Final = {
    END: _END.size, MANIFEST: 64 << 20, BLOB: 40, PIECE: 1 << 17, STATES: MAX_OBJECT + _SLACK,
}  # fmt: skip
Read = Callable[[int], bytes]
Write = Callable[[bytes], object]
Progress = Callable[[int], object]
"""A function called with the number of states read so far."""


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
        record = b"".join((_HEAD.pack(kind, sum(map(len, parts))), *parts))
        self._put(record + checksum(record))
        self.count += 1

    def finish(self) -> None:
        """Write the end."""
        self.put(END, _END.pack(self.count, self._hasher.digest()))

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
        magic = self._begin()
        if magic != MAGIC:
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
            IntegrityError: a record is damaged or too large, or the bundle is truncated or has
                bytes after its end.
        """
        while True:
            before = self._hasher.digest()
            kind, body = self._record()
            if kind == END:
                return self._end(body, before)
            self.count += 1
            yield kind, body

    def _record(self) -> tuple[int, bytes]:
        head = self._take(_HEAD.size)
        kind, size = _HEAD.unpack(head)
        if kind > STATES:
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
