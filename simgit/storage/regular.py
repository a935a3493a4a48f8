"""The files of a repository's directory: regular ones only, opened without following a link.

A directory may come from a stranger. A link in it would lead to any file of the user, which simgit
would then write, and a pipe would be waited for without end.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from simgit.errors import StorageError

NAMES: Final = ("data.mdb", "lock.mdb", "reserve", "format", "lease", "origin", "owner")
_SAFE: Final = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_KINDS: Final = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISREG, "a file"),
)


def check(directory: Path, *written: str) -> None:
    """Check that a repository's directory is one, and has regular files only.

    Args:
        directory: the ``.simgit``.
        written: names of files that will be written, which must not change a file of another
            name (a hard link) too.

    Raises:
        StorageError: it is a link, or one of its files is a link or a special file.
    """
    if not stat.S_ISDIR((found := os.lstat(directory)).st_mode):
        raise StorageError(
            f"'{directory}' is {kind_of(found.st_mode)}, not a repository's directory: "
            "name the repository itself",
            path=directory,
        )
    for name in NAMES:
        path = directory / name
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode):
            raise _refusal(path, kind_of(found.st_mode))
        if name in written and found.st_nlink > 1 and _has_other_name(path):
            raise _refusal(path, "a hard link, and writing it changes another file")


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file, and nothing else; return its descriptor.

    Raises:
        OSError: it cannot be opened.
        StorageError: it is a link or a special file.
    """
    try:
        handle = os.open(path, flags | _SAFE, 0o666)
    except OSError:  # of a link too, with an errno that differs between systems
        if path.is_symlink():
            raise _refusal(path, "a symbolic link") from None
        raise
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise _refusal(path, kind_of(mode))
    return handle


def reader(path: Path) -> BinaryIO:
    """Open a regular file for reading; see ``open_file``."""
    return os.fdopen(open_file(path), "rb")


def replace(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace a file, or what is in its place, at once; ``durable``: its bytes are synced first.

    Raises:
        OSError: it cannot be written.
    """
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)  # of a killed process; or a stranger's link
    handle = open_file(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def kind_of(mode: int) -> str:
    """Return what a mode is of, in words."""
    return next((words for test, words in _KINDS if test(mode)), "a special file")


def _has_other_name(path: Path) -> bool:
    """Return True unless the other name is of this repository: an interrupted init leaves it."""
    inside = 1
    for each in path.parent.glob(f".new-*/{path.name}"):
        with suppress(FileNotFoundError):  # the process that makes the store has removed it
            inside += path.samefile(each)
    return os.lstat(path).st_nlink > inside


def _refusal(path: Path, kind: str) -> StorageError:
    return StorageError(
        f"'{path}' is {kind}: a repository has regular files only; remove it if it is not yours",
        path=path,
    )
