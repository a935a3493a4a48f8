"""The lease on a store's file: held shared while it is open, alone while the file is replaced.

A process that has the old file mapped would go on writing to it after the swap, and what it wrote
would be lost. So the file is only replaced while nobody else holds the lease.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

try:
    import fcntl
except ImportError:  # no POSIX: the file is never replaced there
    fcntl = None  # type: ignore[assignment]

_FILE: Final = "lease"


class Lease:
    """A shared lock on a directory's lease file; waits while somebody replaces the data file."""

    def __init__(self, directory: Path) -> None:
        self._handle: int | None = None
        if fcntl is None:
            return
        with contextlib.suppress(OSError):  # read-only directory: no lease, and no swap from here
            self._handle = _open(directory / _FILE)
            fcntl.flock(self._handle, fcntl.LOCK_SH)

    def acquire_alone(self) -> bool:
        """Become the only holder, if nobody else holds it; ``share`` goes back."""
        if self._handle is None:
            return False
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # a failed conversion may have given up the shared lock
            self.share()
            return False
        return True

    def share(self) -> None:
        """Let others hold it too."""
        if self._handle is not None:
            fcntl.flock(self._handle, fcntl.LOCK_SH)

    def close(self) -> None:
        """Give the lease back; in a forked child this does not touch the parent's."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
