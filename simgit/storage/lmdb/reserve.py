"""Reserved space, with which gc can make room on a full disk.

Removing something needs space too, since LMDB writes changed pages beside the old ones. So a file
beside the data file takes some of the disk, and ordinary writers get a little less than the whole
address space. Both reserves are given up when room must be made, and taken again later.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from simgit.storage import regular

_FILE: Final = "reserve"
_SHARE: Final = 16
_LEAST: Final = 256 << 10
_LAST: Final = _LEAST // 2
_MOST: Final = 16 << 20
_PLENTY: Final = 4
"""The reserve is taken only where at least this multiple of it stays free."""


def wanted(size: int) -> int:
    """Return the reserve in bytes for a store, or a map, of a size."""
    return min(max(size // _SHARE, _LEAST), _MOST)


def keep(directory: Path) -> None:
    """Let the reserve file grow to the wanted size, if there is enough space."""
    path = directory / _FILE
    with suppress(OSError):  # without it everything works but making room on a full disk
        size = wanted((directory / "data.mdb").stat().st_size)
        missing = size - (path.lstat().st_size if path.exists() else 0)
        if missing > 0 and free(directory) >= _PLENTY * size:
            _grow(path, missing)


def give_up(directory: Path) -> bool:
    """Give back the reserve file except for a last part, then that too; return True if any was.

    What is removed frees space that can be used two transactions later. The last part is for those
    two, where the others have used the reserve up to its last page.
    """
    path = directory / _FILE
    try:
        if path.lstat().st_size > _LAST:
            with os.fdopen(regular.open_file(path, os.O_WRONLY), "wb") as file:
                file.truncate(_LAST)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def free(directory: Path) -> int:
    """Return the free bytes on the file system of a directory."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _grow(path: Path, more: int) -> None:
    """Take blocks of the disk, with random bytes: a file system may compress zeros to nothing."""
    handle = regular.open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with os.fdopen(handle, "ab") as file:
        try:
            file.write(os.urandom(more))
            file.flush()
        except OSError:
            path.unlink()
            raise
