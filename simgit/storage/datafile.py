"""What can be learnt of an LMDB data file by reading its first pages, before it is mapped.

A mapped file that is shorter than its own meta page says kills the process with SIGBUS, which
Python cannot catch; so the length is compared first.
The layout is that of LMDB 0.9 on 64-bit machines, in the machine's byte order: a page header of
16 bytes, then magic, version, address, map size, two tables of 48 bytes (the first begins with
the page size), the number of the last page and of the last transaction.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Final, NamedTuple

from simgit import errors

_META: Final = struct.Struct("=16x II 8x 8x I 44x 48x QQ")
_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_PAGE_SIZES: Final = [1 << power for power in range(8, 17)]
_ORIGIN: Final = "origin"


class Meta(NamedTuple):
    """One of the two meta pages; that of the higher transaction counts."""

    magic: int
    version: int
    page_size: int
    last_page: int
    txn_id: int


def needed_size(data: Path) -> int:
    """Return how many bytes the file must have, or raise ``Integrity`` if it is not a data file.

    Zero on 32-bit machines, whose layout is another.
    """
    if sys.maxsize < 2**32:
        return 0
    with data.open("rb") as file:
        first = _parse(data, file.read(_META.size))
        file.seek(first.page_size)
        second = _parse(data, file.read(_META.size))
    newest = max(first, second, key=lambda meta: meta.txn_id)
    return (newest.last_page + 1) * first.page_size


def is_short(data: Path) -> bool:
    """Whether the file ends before its last page; raise ``Integrity`` if it is not a data file.

    The file only grows, and its length is taken last: a writer at work cannot make it look short.
    """
    return needed_size(data) > data.stat().st_size


def is_copy(directory: Path) -> bool:
    """Whether the store was copied here (with ``cp`` or the like) since it was last recorded.

    A copy made while a writer was at work is torn, and reading it can abort the process.
    The inodes of file and directory recognise the original; the device is left out, because its
    number changes from one boot to the next.
    """
    try:
        return (directory / _ORIGIN).read_text("ascii") != _identity(directory)
    except (FileNotFoundError, UnicodeDecodeError):
        return True


def record_origin(directory: Path) -> None:
    """Remember that the file in this place was created or checked here."""
    scratch = directory / f"{_ORIGIN}.{os.getpid()}"
    scratch.write_text(_identity(directory), "ascii")
    scratch.replace(directory / _ORIGIN)


def _identity(directory: Path) -> str:
    inodes = directory.stat().st_ino, (directory / "data.mdb").stat().st_ino
    return "{} {}\n".format(*inodes)


def _parse(data: Path, page: bytes) -> Meta:
    if len(page) < _META.size:
        raise errors.Integrity(f"store is truncated: '{data}' has no meta page", path=data)
    meta = Meta(*_META.unpack(page))
    if meta.magic != _MAGIC:
        raise errors.Integrity(f"not a store of this kind of machine: '{data}'", path=data)
    if meta.version != _VERSION:
        raise errors.Integrity(
            f"unknown version {meta.version} of the store's file: '{data}'", path=data
        )
    if meta.page_size not in _PAGE_SIZES:
        raise errors.Integrity(f"impossible page size {meta.page_size} in '{data}'", path=data)
    return meta
