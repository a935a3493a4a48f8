"""Bundle files: written beside their final path and moved there when complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

from simgit.errors import IntegrityError, NotFound, StorageError, reason
from simgit.remotes.bundle.records import NO_BUNDLE, Read, Write
from simgit.storage.durable import is_special, sync_names


@contextmanager
def reading(file: str | Path | BinaryIO) -> Iterator[Read]:
    """Yield a function that reads a bundle.

    Raises:
        NotFound: there is no such file.
        IntegrityError: it is not a bundle.
        StorageError: it cannot be read.
    """
    if not isinstance(file, (str, Path)):
        yield file.read
        return
    try:
        with Path(file).open("rb") as opened:
            yield opened.read
    except IntegrityError as error:
        if error.message == NO_BUNDLE:
            raise IntegrityError(f"'{file}' is not a bundle", path=file) from None
        raise
    except FileNotFoundError:
        raise NotFound(f"bundle '{file}' not found", path=file) from None
    except OSError as error:
        raise StorageError(f"cannot read bundle '{file}': {reason(error)}", path=file) from error


@contextmanager
def writing(file: str | Path | BinaryIO) -> Iterator[Write]:
    """Yield a function that writes a bundle.

    Raises:
        StorageError: the file cannot be written.
    """
    if not isinstance(file, (str, Path)):
        yield file.write
        return
    path = Path(file)
    try:
        if is_special(path):
            with path.open("wb") as opened:
                yield opened.write
            return
        with _beside(path) as opened:
            yield opened.write
            opened.flush()
            os.fsync(opened.fileno())
            Path(opened.name).replace(path)
            sync_names(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write bundle '{file}': {reason(error)}", path=file) from error


@contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file in the directory of another; it is removed if it is still there."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as opened:
        try:
            os.fchmod(opened.fileno(), 0o666 & ~_umask())
            yield opened  # type: ignore[misc]
        finally:
            with suppress(OSError):
                Path(opened.name).unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
