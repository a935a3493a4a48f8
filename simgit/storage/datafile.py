"""What can be learnt of an LMDB data file by reading its first pages, before it is mapped.

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
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from simgit import errors

_META: Final = struct.Struct("=16x II 8x 8x I 44x 48x QQ")
_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_PAGE_SIZES: Final = [1 << power for power in range(8, 17)]
_ORIGIN: Final = "origin"
# statx(2), which Python 3.11 does not offer
_AT_FDCWD: Final = -100
_STATX_BTIME: Final = 0x800
_STATX_SIZE: Final = 256
_STATX_BORN: Final = struct.Struct("=qI")
_STATX_BORN_AT: Final = 80


class Origin(NamedTuple):
    """What tells a store's file from every copy of it.

    ``directory`` and ``data`` are inodes, ``device`` is the number of the file's device, which can
    change from one boot to the next, and ``born`` the time at which the file was created.
    """

    directory: int
    data: int
    device: int
    born: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Return what was recorded.

        Raises:
            ValueError: that is something else.
        """
        numbers = [int(part) for part in text.split()]
        if len(numbers) != len(cls._fields):
            raise ValueError(f"'{text}' is no origin")
        return cls(*numbers)


class Meta(NamedTuple):
    """One of the two meta pages; that of the higher transaction counts."""

    magic: int
    version: int
    page_size: int
    last_page: int
    txn_id: int


def needed_size(data: Path) -> int:
    """Return how many bytes the file must have; raise ``IntegrityError`` if it is no data file.

    Zero on 32-bit machines, whose layout is another.
    """
    if sys.maxsize < 2**32:
        return 0
    with data.open("rb") as file:
        newest = newest_meta(data, file)
    return (newest.last_page + 1) * newest.page_size


def newest_meta(data: Path, file: BinaryIO) -> Meta:
    """Return the meta page that counts, or raise ``IntegrityError`` if it is not a data file."""
    file.seek(0)
    first = _parse(data, file.read(_META.size))
    file.seek(first.page_size)
    second = _parse(data, file.read(_META.size))
    return max(first, second, key=lambda meta: meta.txn_id)._replace(page_size=first.page_size)


def is_short(data: Path) -> bool:
    """Return whether the file ends before its last page; raise ``IntegrityError`` if it has none.

    The file only grows, and its length is taken last: a writer at work cannot make it look short.
    """
    return needed_size(data) > data.stat().st_size


def is_copy(directory: Path) -> bool:
    """Whether the store was copied here (with ``cp`` or the like) since it was last recorded.

    A copy made while a writer was at work is torn, and reading it can abort the process.
    """
    try:
        recorded = (directory / _ORIGIN).read_text("ascii")
        return not _same(Origin.parse(recorded), identity(directory))
    except (FileNotFoundError, ValueError):
        return True


def record_origin(directory: Path) -> None:
    """Remember that the file in this place was created or checked here."""
    scratch = directory / f"{_ORIGIN}.{os.getpid()}"
    scratch.write_text(" ".join(map(str, identity(directory))) + "\n", "ascii")
    scratch.replace(directory / _ORIGIN)


def sweep(directory: Path) -> None:
    """Remove what a process left that ended while it recorded the origin."""
    for scratch in directory.glob(f"{_ORIGIN}.*"):
        scratch.unlink(missing_ok=True)


def identity(directory: Path) -> Origin:
    """Return what tells a store's file from every copy of it."""
    data = directory / "data.mdb"
    status = data.stat()
    return Origin(directory.stat().st_ino, status.st_ino, status.st_dev, birth_time(data))


def _same(recorded: Origin, found: Origin) -> bool:
    """Whether two identities are of one file.

    A copy has another time of birth, also where a new file system numbers it like the original;
    a remount changes the device only.
    """
    if recorded.born and found.born:
        return recorded._replace(device=0) == found._replace(device=0)
    return recorded == found


def birth_time(path: Path) -> int:
    """Return when a file was created, in nanoseconds since 1970; 0 where that is not known."""
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
    return int(seconds * 1_000_000_000 + nanoseconds) if _known(found.raw) else 0


def _known(status: bytes) -> bool:
    return bool(int.from_bytes(status[:4], sys.byteorder) & _STATX_BTIME)


def _parse(data: Path, page: bytes) -> Meta:
    if len(page) < _META.size:
        raise errors.IntegrityError(f"store is truncated: '{data}' has no meta page", path=data)
    meta = Meta(*_META.unpack(page))
    if meta.magic != _MAGIC:
        raise errors.IntegrityError(f"not a store of this kind of machine: '{data}'", path=data)
    if meta.version != _VERSION:
        raise errors.IntegrityError(
            f"unknown version {meta.version} of the store's file: '{data}'", path=data
        )
    if meta.page_size not in _PAGE_SIZES:
        raise errors.IntegrityError(f"impossible page size {meta.page_size} in '{data}'", path=data)
    return meta
