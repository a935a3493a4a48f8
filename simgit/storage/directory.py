"""Where a repository lies, and which version of the format it has."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from simgit.errors import FormatError, IntegrityError, NotFound, StorageError, reason
from simgit.storage import durable

FORMAT: Final = 1
"""The version of what is stored; see docs/object-format.md and docs/store-layout.md."""
DIRECTORY: Final = ".simgit"
_FILE: Final = "format"


def is_repository(directory: Path) -> bool:
    """Return whether ``directory`` is a repository itself (a ``.simgit``)."""
    return (directory / _FILE).is_file()


def repository_directory(path: Path) -> Path:
    """Return the repository that ``path`` is, or has as its ``.simgit``.

    Raises:
        NotFound: neither.
    """
    for directory in (path / DIRECTORY, path):
        if is_repository(directory):
            return directory
    raise NotFound(f"'{path}' is not a simgit repository", path=path)


def find_repository(start: Path) -> Path:
    """Return the repository of a directory or of the nearest one above it.

    Raises:
        NotFound: there is none.
    """
    for directory in (start, *start.parents):
        if is_repository(directory / DIRECTORY):
            return directory / DIRECTORY
    raise NotFound(
        f"not a simgit repository (or any of the parent directories): '{start}'; "
        "create one with 'simgit init'",
        path=start,
    )


def write_format(directory: Path) -> None:
    """Note the format's version in a new repository, durably: from then on it is one.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        durable.write(directory / _FILE, f"{FORMAT}\n".encode("ascii"))
    except OSError as error:
        raise StorageError(
            f"cannot create '{directory}': {reason(error)}", path=directory
        ) from error


def check_format(directory: Path) -> None:
    """Check that this version of simgit can read a repository.

    Raises:
        FormatError: it was written by a newer version.
        IntegrityError: its version cannot be read.
    """
    text = (directory / _FILE).read_bytes()[:32].strip()
    if not text.isdigit():
        raise IntegrityError(f"the format of repository '{directory}' cannot be read")
    if int(text) > FORMAT:
        raise FormatError(
            f"repository '{directory}' has format {int(text)}, this simgit knows up to {FORMAT}; "
            "use a newer simgit",
            found=int(text),
        )
