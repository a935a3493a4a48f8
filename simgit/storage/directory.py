"""Repository directories: how one is found, and the version of its format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from simgit.errors import FormatError, IntegrityError, NotFound, StorageError, reason
from simgit.storage import durable, regular

FORMAT: Final = 1
"""The version of the stored format of a new store; see docs/store-layout.md."""
SHALLOW_FORMAT: Final = 2
"""That of a store which has, or had, a shallow history: older readers refuse it."""
DIRECTORY: Final = ".simgit"
_FILE: Final = "format"


def is_repository(directory: Path) -> bool:
    """Return True if ``directory`` is a repository itself (a ``.simgit``), or looks like one."""
    return os.path.lexists(directory / _FILE)


def repository_directory(path: Path) -> Path:
    """Return the repository that ``path`` is, or has as its ``.simgit``.

    Raises:
        NotFound: neither.
    """
    for directory in (path / DIRECTORY, path):
        if is_repository(directory):
            return directory
    raise NotFound(f"'{path}' is not a simgit repository", path=path)


def find_repository(start: Path, *, anyone: bool = False) -> Path:
    """Return the repository of a directory or of the nearest one above it.

    Args:
        start: the directory.
        anyone: it may belong to another user.

    Raises:
        NotFound: there is none.
        StorageError: it is a link, has links or special files, or belongs to another user.
    """
    for directory in (start, *start.parents):
        if is_repository(directory / DIRECTORY):
            regular.check(directory / DIRECTORY)
            if not anyone:
                _check_owner(directory / DIRECTORY)
            return directory / DIRECTORY
    raise NotFound(
        f"not a simgit repository (or any of the parent directories): '{start}'; "
        "create one with 'simgit init'",
        path=start,
    )


def _check_owner(directory: Path) -> None:
    """Check that a repository that was found, and not named, belongs to this user or to root."""
    owner = directory.lstat().st_uid
    if hasattr(os, "geteuid") and owner not in (os.geteuid(), 0):
        from simgit.storage.trust import check_stranger

        check_stranger(directory, owner)


def write_format(directory: Path, version: int = FORMAT) -> None:
    """Write the format's version into a new repository, durably, which completes it.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        durable.write(directory / _FILE, f"{version}\n".encode("ascii"))
    except OSError as error:
        raise StorageError(
            f"cannot create '{directory}': {reason(error)}", path=directory
        ) from error


def raise_format(directory: Path, version: int) -> None:
    """Note durably that a store needs a version of the format, before it does.

    Raises:
        StorageError: it cannot be written.
    """
    if read_format(directory) < version:
        write_format(directory, version)


def check_format(directory: Path) -> None:
    """Check that this version of simgit can read a repository.

    Raises:
        FormatError: it was written by a newer version.
        IntegrityError: its version is malformed.
        StorageError: it has links or special files.
    """
    regular.check(directory)
    version = read_format(directory)
    if version > SHALLOW_FORMAT:
        raise FormatError(
            f"repository '{directory}' has format {version}, this simgit reads up to "
            f"{SHALLOW_FORMAT}; install a newer simgit",
            found=version,
        )


def read_format(directory: Path) -> int:
    """Return the version of a repository's format.

    Raises:
        IntegrityError: it is malformed.
    """
    with regular.reader(directory / _FILE) as file:
        text = file.read(32).strip()
    if not text.isdigit():
        raise IntegrityError(f"repository '{directory}' has a malformed format version")
    return int(text)
