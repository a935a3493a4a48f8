"""A directory that is read and written without following a symbolic link below it.

Every component is opened relative to the one before (``dir_fd``) with ``O_NOFOLLOW``: a link in
the way is seen as such, even if somebody puts it there meanwhile.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final

from simgit import errors
from simgit.repository.worktree.names import Parts, is_reserved
from simgit.storage.failpoints import fail_point

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def io_errors(what: str) -> Iterator[None]:
    """Raise NotFound and StorageError for the operating system's errors."""
    try:
        yield
    except FileNotFoundError:
        raise errors.NotFound(f"file '{what}' not found", name=what) from None
    except OSError as error:
        raise errors.StorageError(f"cannot use '{what}': {error.strerror}", name=what) from error


class Directory:
    """The tree of files below one directory. A context manager."""

    def __init__(self, root: Path) -> None:
        with io_errors(str(root)):
            self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    @contextmanager
    def _opened(self, parts: Parts, create: bool = False) -> Iterator[int]:
        """Open a directory below; raises OSError if there is none, or a link in the way."""
        fd = os.dup(self._fd)
        try:
            for part in parts:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=fd)
                inner = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    def mode(self, parts: Parts) -> int | None:
        """Return a file's mode (a link's own), None if there is none at this place."""
        try:
            with self._opened(parts[:-1]) as fd:
                return os.stat(parts[-1], dir_fd=fd, follow_symlinks=False).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:  # a link among the directories
            return None

    def is_file(self, parts: Parts) -> bool:
        """Return whether there is a regular file."""
        mode = self.mode(parts)
        return mode is not None and stat.S_ISREG(mode)

    def is_directory(self, parts: Parts) -> bool:
        """Return whether there is a directory."""
        mode = self.mode(parts)
        return mode is not None and stat.S_ISDIR(mode)

    @contextmanager
    def reading(self, parts: Parts) -> Iterator[FileIO]:
        """Open a regular file for reading."""
        with io_errors("/".join(parts)), self._opened(parts[:-1]) as fd:
            file = os.open(parts[-1], _READ, dir_fd=fd)
        with os.fdopen(file, "rb", buffering=0) as stream:
            yield stream

    def write(self, parts: Parts, pieces: Iterable[bytes]) -> None:
        """Put a file in place of what is there (a link itself, not what it leads to), at once."""
        with io_errors("/".join(parts)), self._opened(parts[:-1], create=True) as fd:
            temporary = f".tmp-{secrets.token_hex(8)}"
            file = os.open(temporary, _CREATE, 0o666, dir_fd=fd)
            try:
                with os.fdopen(file, "wb") as stream:
                    for piece in pieces:
                        stream.write(piece)
                fail_point("file.written")
                os.rename(temporary, parts[-1], src_dir_fd=fd, dst_dir_fd=fd)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=fd)
                raise

    def remove(self, parts: Parts) -> None:
        """Remove a file or link, and the directories that are empty then."""
        with io_errors("/".join(parts)):
            try:
                with self._opened(parts[:-1]) as fd:
                    os.unlink(parts[-1], dir_fd=fd)
            except FileNotFoundError:
                return
        for end in range(len(parts) - 1, 0, -1):
            try:
                with self._opened(parts[: end - 1]) as fd:
                    os.rmdir(parts[end - 1], dir_fd=fd)
            except OSError:
                return

    def prune(self, parts: Parts) -> None:
        """Remove a directory in which there is nothing but directories."""
        with io_errors("/".join(parts)), self._opened(parts) as fd:
            for entry in list(os.scandir(fd)):
                self.prune((*parts, entry.name))
        with io_errors("/".join(parts)), self._opened(parts[:-1]) as fd:
            os.rmdir(parts[-1], dir_fd=fd)

    def entries(self, parts: Parts) -> list[tuple[str, bool]]:
        """Return the names in a directory, without the repository's own, each with True for a
        directory; in order."""
        with io_errors("/".join(parts) or "."), self._opened(parts) as fd:
            found = [(each.name, each.is_dir(follow_symlinks=False)) for each in os.scandir(fd)]
        return sorted(each for each in found if not is_reserved(each[0]))

    def files(self, below: Parts = ()) -> Iterator[Parts]:
        """Yield all that is no directory, without the repository's own, in order."""
        waiting = [below]
        while waiting:
            parts = waiting.pop()
            entries = self.entries(parts)
            waiting += [(*parts, name) for name, is_dir in reversed(entries) if is_dir]
            yield from ((*parts, name) for name, is_dir in entries if not is_dir)
