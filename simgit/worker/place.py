"""The local directory of a worker: one process has it, and the next one of the name finds it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from blake3 import blake3

from simgit.errors import InvalidInput, StorageError, reason
from simgit.storage.directory import DIRECTORY, is_repository

LOG: Final = logging.getLogger("simgit.worker")
_FILE: Final = "worker.lock"
_MOST: Final = 1000
_taken: dict[str, int] = {}
"""The directories that a process has, with its number: it does not exclude itself by its locks."""
_guard = threading.Lock()


class WorkerPlace:
    """A directory that this process has for itself, until ``release`` or its end."""

    def __init__(self, directory: Path, handle: int) -> None:
        self.directory = directory
        self._handle = handle

    @classmethod
    def take(cls, url: str, name: str, directory: Path | None = None) -> WorkerPlace:
        """Take the directory of a worker, or the next free one beside it.

        Args:
            url: the remote.
            name: the worker.
            directory: the directory; None for one in the directory for temporary files.

        Raises:
            InvalidInput: the directory has a repository that was not made for this worker.
            StorageError: it cannot be written, or belongs to somebody else.
        """
        if directory is None:
            digest = blake3(f"{url}\n{name}\n{os.getuid()}".encode()).hexdigest()[:16]
            directory = Path(tempfile.gettempdir()) / f"simgit-{digest}"
        for number in range(1, _MOST):
            path = directory if number == 1 else directory.with_name(f"{directory.name}-{number}")
            try:
                found = cls._take_one(path, url, name)
            except OSError as error:
                raise StorageError(
                    f"cannot use '{path}' as the directory of a worker: {reason(error)}", path=path
                ) from error
            if found is not None:
                return found
        raise StorageError(f"{_MOST} processes of this machine work as '{name}'", path=directory)

    @classmethod
    def _take_one(cls, path: Path, url: str, name: str) -> WorkerPlace | None:
        """Take a directory; return None if another process has it."""
        while True:
            path.mkdir(0o700, parents=True, exist_ok=True)
            _check_own(path)
            handle = os.open(
                path / _FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            try:
                if not _lock(path, handle):
                    LOG.warning(
                        "process %s of this machine works as '%s' already; this one uses another "
                        "directory, and its states are kept apart where both record a run",
                        _told(handle).get("pid", "?"), name,
                    )  # fmt: skip
                    os.close(handle)
                    return None
                if not _is_there(path, handle):  # its last user has just removed it
                    _unlock(path, handle)
                    continue
                cls._note(path, handle, url, name)
            except BaseException:
                _unlock(path, handle)
                raise
            return cls(path, handle)

    @staticmethod
    def _note(path: Path, handle: int, url: str, name: str) -> None:
        before = _told(handle)
        if before and (before.get("url"), before.get("name")) != (url, name):
            raise InvalidInput(
                f"'{path}' is the directory of the worker '{before.get('name')}' of "
                f"'{before.get('url')}'; name another one",
                path=path,
            )
        if not before and is_repository(path / DIRECTORY):
            raise InvalidInput(
                f"'{path}' has a repository that no worker made; name another directory", path=path
            )
        text = json.dumps({"url": url, "name": name, "pid": os.getpid()})
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)

    def release(self, *, remove: bool) -> None:
        """Give the directory back; with ``remove`` what the worker had in it is deleted."""
        if remove:
            shutil.rmtree(self.directory / DIRECTORY, ignore_errors=True)
            with suppress(OSError):
                (self.directory / _FILE).unlink()
                self.directory.rmdir()  # unless something else is in it
        _unlock(self.directory, self._handle)


def _lock(path: Path, handle: int) -> bool:
    """Lock a file for this process: unlike those of ``flock``, forked children do not hold it."""
    with _guard:
        if _taken.get(str(path)) == os.getpid():
            return False
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        _taken[str(path)] = os.getpid()
        return True


def _unlock(path: Path, handle: int) -> None:
    with _guard:
        if _taken.get(str(path)) == os.getpid():
            del _taken[str(path)]
        os.close(handle)


def _is_there(path: Path, handle: int) -> bool:
    try:
        found = (path / _FILE).lstat()
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


def _told(handle: int) -> dict[str, object]:
    """Return what the last process noted in the file."""
    try:
        found = json.loads(os.pread(handle, 1 << 16, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _check_own(path: Path) -> None:
    """Check that a directory is this user's: a predictable name could be somebody else's trap.

    Raises:
        StorageError: it is not, or is a link.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.getuid(), 0):
        raise StorageError(
            f"'{path}' is not a directory of this user; name another one for the worker", path=path
        )
