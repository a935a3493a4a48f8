"""The lease on a store's file: held shared while it is open, alone while the file is replaced.

A process that has the old file mapped would go on writing to it after the swap, and what it wrote
would be lost. So the file is only replaced while nobody else holds the lease.

Writers do not see a reader who cannot write LMDB's table of readers, and reuse pages that it
reads. So such a reader reads only while it holds the lease alone: writers hold it as long as they
have the store open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from pathlib import Path
from typing import Final

from simgit import errors
from simgit.storage import regular

try:
    import fcntl
except ImportError:  # no POSIX: the file is never replaced there
    fcntl = None  # type: ignore[assignment]

_FILE: Final = "lease"
_PATIENCE: Final = 2.0
"""Seconds to wait for other short readers."""
_HELD: Final = (errno.EWOULDBLOCK, errno.EACCES)


class Lease:
    """A shared lock on a directory's lease file; waits while another process replaces the file."""

    def __init__(self, directory: Path) -> None:
        self._handle: int | None = None
        if fcntl is None:
            return
        with contextlib.suppress(OSError):  # read-only directory: no lease, and no swap from here
            self._handle = _open(directory / _FILE, os.O_CREAT)
            fcntl.flock(self._handle, fcntl.LOCK_SH)

    def acquire_alone(self) -> bool:
        """Become the only holder, if no other process holds it; ``share`` reverts this."""
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
        """Let other processes hold it too."""
        if self._handle is not None:
            fcntl.flock(self._handle, fcntl.LOCK_SH)

    @property
    def is_deleted(self) -> bool:
        """True if its file was deleted, as it is with the whole store and in no other way."""
        return self._handle is not None and not os.fstat(self._handle).st_nlink

    def keep_writers_out(self) -> bool:
        """Begin to read; return True if others may have written since the last time."""
        return False

    def let_writers_in(self) -> None:
        """End reading."""

    def close(self) -> None:
        """Give the lease back; in a forked child this does not touch the parent's."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class LoneLease(Lease):
    """The lease of a reader that writers do not see: held alone, and only while it reads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._handle = None
        self._readers = 0
        self._mutex = threading.RLock()  # a transaction may be ended by a finalizer

    def keep_writers_out(self) -> bool:
        """Begin to read; return True if others may have written since the last time.

        Raises:
            StorageError: a process that may write has the store open.
        """
        with self._mutex:
            first = not self._readers
            if first and fcntl is not None:
                self._take()
            self._readers += 1
        return first

    def let_writers_in(self) -> None:
        """End reading."""
        with self._mutex:
            self._readers -= 1
            if not self._readers:
                self.close()

    def _take(self) -> None:
        try:
            self._handle = _open(self._directory / _FILE)
        except FileNotFoundError:
            return  # no process that can write has opened it yet
        except OSError:
            self._handle = None
        until = time.monotonic() + _PATIENCE
        while not self._is_taken():
            if time.monotonic() > until:
                self.close()
                raise errors.StorageError(self._refusal(), path=self._directory)
            time.sleep(0.005)

    def _refusal(self) -> str:
        why = f"store is in use by a process that may write: '{self._directory}'"
        if os.access(self._directory / "lock.mdb", os.W_OK):  # over a network
            return f"{why}; 'simgit clone' copies it meanwhile"
        return f"{why}; 'simgit clone' copies it meanwhile, or make its 'lock.mdb' writable"

    def _is_taken(self) -> bool:
        if self._handle is not None:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError as error:
                if error.errno in _HELD:
                    return False
        # a file system without such locks
        return bool(os.statvfs(self._directory).f_flag & os.ST_RDONLY)


def _open(path: Path, flags: int = 0) -> int:
    try:
        return regular.open_file(path, os.O_RDWR | flags)
    except OSError:
        return regular.open_file(path)
