"""The sizes that a compressed Arrow file claims, compared with its bytes before it is inflated.

pyarrow does not tell whether a message is compressed. Its header is a FlatBuffer, of which a few
numbers are read here; see Message.fbs of Apache Arrow.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import pyarrow as pa

from simgit.errors import IntegrityError

_FREE: Final = 64 << 20
_MOST: Final = 2 << 30
_RATIO: Final = 1000
"""How many times its bytes a larger batch may inflate to."""
_HEADER, _BUFFERS, _COMPRESSION = 2, 2, 3
_DICTIONARY: Final = 2
"""The type of messages whose batch is one level deeper."""


def check_sizes(source: Any) -> None:
    """Check every message of a stream, from where the source stands to its end.

    Raises:
        IntegrityError: a batch would inflate to much more than it has bytes.
    """
    for message in pa.ipc.MessageReader.open_stream(source):
        if message.body is None or not message.body.size:
            continue
        head, body = memoryview(message.metadata), memoryview(message.body)
        try:
            size = _inflated(head, body)
        except (struct.error, IndexError):
            raise IntegrityError("malformed Arrow file: the header of a message") from None
        if size > min(_MOST, max(_FREE, _RATIO * len(body))):
            raise IntegrityError("a batch of the Arrow file is too large for its bytes")


def _inflated(head: memoryview, body: memoryview) -> int:
    """Return the bytes that the buffers of a message claim to have when they are inflated."""
    root = _number(head, "<I", 0)
    kind = _field(head, root, 1)
    batch = _below(head, _field(head, root, _HEADER))
    if kind is not None and head[kind] == _DICTIONARY:
        batch = _below(head, _field(head, batch, 1))
    if _field(head, batch, _COMPRESSION) is None:
        return 0
    buffers = _below(head, _field(head, batch, _BUFFERS))
    total = 0
    for i in range(_number(head, "<I", buffers)):
        offset, length = struct.unpack_from("<qq", head, buffers + 4 + 16 * i)
        if length:
            total += max(0, _number(body, "<q", offset))  # -1: this one is not compressed
    return total


def _number(data: memoryview, form: str, at: int) -> int:
    return int(struct.unpack_from(form, data, at)[0])


def _field(head: memoryview, table: int, number: int) -> int | None:
    """Return the place of a field of a table, None if it does not have it."""
    names = table - _number(head, "<i", table)
    if 4 + 2 * number >= _number(head, "<H", names):
        return None
    offset = _number(head, "<H", names + 4 + 2 * number)
    return table + offset if offset else None


def _below(head: memoryview, at: int | None) -> int:
    if at is None:
        raise IndexError("a field is missing")
    return at + _number(head, "<I", at)
