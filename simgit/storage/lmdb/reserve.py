"""Space that is kept back, so that room can be made when there is no other left.

Removing something needs space too, for LMDB writes changed pages beside the old ones. So a file
beside the data file takes some of the disk, and ordinary writers are given a little less than the
address space that there is. Both are given up when room must be made, and kept back again later.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_FILE: Final = "reserve"
_SHARE: Final = 16
_LEAST: Final = 256 << 10
_MOST: Final = 16 << 20
_PLENTY: Final = 4
"""Nothing is kept back where less than so many times as much would be left."""


def wanted(size: int) -> int:
    """Return how many bytes are kept back for a store of a size, or in a map of one."""
    return min(max(size // _SHARE, _LEAST), _MOST)


def keep(directory: Path) -> None:
    """Let the reserve file grow to what the store needs, if there is space enough."""
    path = directory / _FILE
    with suppress(OSError):  # without it everything works but making room on a full disk
        size = wanted((directory / "data.mdb").stat().st_size)
        missing = size - (path.stat().st_size if path.exists() else 0)
        if missing > 0 and free(directory) >= _PLENTY * size:
            _grow(path, missing)


def give_up(directory: Path) -> bool:
    """Remove the reserve file; return whether there was one."""
    try:
        (directory / _FILE).unlink()
    except OSError:
        return False
    return True


def free(directory: Path) -> int:
    """Return the bytes that are free on the file system of a directory."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _grow(path: Path, more: int) -> None:
    """Take blocks of the disk; zeros would take none where the file system compresses."""
    with path.open("ab") as file:
        try:
            file.write(os.urandom(more))
            file.flush()
        except OSError:
            path.unlink()
            raise
