"""Checks of an LMDB data file by its first pages, before it is mapped.

A mapped file that is shorter than its own meta page says kills the process with SIGBUS, which
Python cannot catch; so the length is compared first.
The layout is that of LMDB 0.9 on 64-bit machines, in the machine's byte order: a page header of
16 bytes, then magic, version, address, map size, two tables of 48 bytes (the first begins with
the page size), the number of the last page and of the last transaction.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from simgit import errors
from simgit.storage import regular

_META: Final = struct.Struct("=16x II 8x 8x I 44x 48x QQ")
_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_PAGE_SIZES: Final = [1 << power for power in range(8, 17)]
_ORIGIN: Final = "origin"
_ORIGIN_SIZE: Final = 256
# statx(2), which Python 3.11 does not offer
_AT_FDCWD: Final = -100
_STATX_BTIME: Final = 0x800
_STATX_SIZE: Final = 256
_STATX_BORN: Final = struct.Struct("=qI")
_STATX_BORN_AT: Final = 80


class Origin(NamedTuple):
    """The identity of a store's file, which no copy of it shares.

    ``directory`` and ``data`` are inodes, ``device`` is the number of the file's device, which can
    change from one boot to the next, and ``born`` is the time at which the file was created.
    """

    directory: int
    data: int
    device: int
    born: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Return the recorded identity.

        Raises:
            ValueError: the text is malformed.
        """
        numbers = [int(part) for part in text.split()]
        if len(numbers) != len(cls._fields):
            raise ValueError(f"malformed origin '{text}'")
        return cls(*numbers)


class Meta(NamedTuple):
    """One of the two meta pages; the one of the higher transaction is valid."""

    magic: int
    version: int
    page_size: int
    last_page: int
    txn_id: int


def needed_size(data: Path) -> int:
    """Return the size in bytes that the file must have.

    Zero on 32-bit machines, whose layout differs.

    Raise ``IntegrityError`` if it is not a data file.
    """
    if sys.maxsize < 2**32:
        return 0
    with regular.reader(data) as file:
        newest = newest_meta(data, file)
    return (newest.last_page + 1) * newest.page_size


def newest_meta(data: Path, file: BinaryIO) -> Meta:
    """Return the valid meta page, or raise ``IntegrityError`` if it is not a data file."""
    file.seek(0)
    first = _parse(data, file.read(_META.size))
    file.seek(first.page_size)
    second = _parse(data, file.read(_META.size))
    return max(first, second, key=lambda meta: meta.txn_id)._replace(page_size=first.page_size)


def is_short(data: Path) -> bool:
    """Return True if the file ends before its last page.

    The file only grows, and its length is taken last: a writer at work cannot make it look short.
    """
    return needed_size(data) > data.stat().st_size


def is_copy(directory: Path) -> bool:
    """Return True if the store was copied here (with ``cp`` or the like) since it was recorded.

    A copy made while a writer was at work is torn, and reading it can abort the process.
    """
    try:
        with regular.reader(directory / _ORIGIN) as file:
            recorded = file.read(_ORIGIN_SIZE).decode("ascii")
        return not _same(Origin.parse(recorded), identity(directory))
    except (FileNotFoundError, ValueError):
        return True


def record_origin(directory: Path) -> None:
    """Record that the file at this path was created or checked here."""
    text = " ".join(map(str, identity(directory))) + "\n"
    regular.replace(directory / _ORIGIN, text.encode("ascii"))


def sweep(directory: Path) -> None:
    """Remove the files of a process that died while it recorded the origin."""
    for scratch in directory.glob(f"{_ORIGIN}.*"):
        with suppress(OSError):  # it may be a directory
            scratch.unlink()


def identity(directory: Path) -> Origin:
    """Return the identity of a store's file, which no copy of it shares."""
    data = directory / "data.mdb"
    status = data.stat()
    return Origin(directory.stat().st_ino, status.st_ino, status.st_dev, birth_time(data))


def _same(recorded: Origin, found: Origin) -> bool:
    """Return True if two identities are of one file.

    A copy has another time of birth, also where a new file system numbers it like the original;
    a remount changes the device only.
    """
    if recorded.born and found.born:
        return recorded._replace(device=0) == found._replace(device=0)
    return recorded == found


def birth_time(path: Path) -> int:
    """Return the creation time of a file in nanoseconds since 1970; 0 where it is not known."""
    if sys.platform != "linux":
        return int(getattr(path.stat(), "st_birthtime", 0) * 1_000_000_000)
    try:
        statx = ctypes.CDLL(None).statx
    except (OSError, AttributeError):
        return 0
    found = ctypes.create_string_buffer(_STATX_SIZE)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, found):
        return 0
    seconds, nanoseconds = _STATX_BORN.unpack_from(found, _STATX_BORN_AT)
    known = int.from_bytes(found.raw[:4], sys.byteorder) & _STATX_BTIME
    return int(seconds * 1_000_000_000 + nanoseconds) if known else 0


def _parse(data: Path, page: bytes) -> Meta:
    if len(page) < _META.size:
        raise errors.IntegrityError(f"store is truncated: '{data}' has no meta page", path=data)
    meta = Meta(*_META.unpack(page))
    if meta.magic != _MAGIC:
        raise errors.IntegrityError(
            f"'{data}' is not a store, or one of another kind of machine", path=data
        )
    if meta.version != _VERSION:
        raise errors.IntegrityError(
            f"store has an unknown file version {meta.version}: '{data}'", path=data
        )
    if meta.page_size not in _PAGE_SIZES:
        raise errors.IntegrityError(f"impossible page size {meta.page_size} in '{data}'", path=data)
    return meta
