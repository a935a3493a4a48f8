"""The place of an export: written beside its final path, and moved there when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from simgit.errors import AlreadyExists, InvalidInput, StorageError, reason
from simgit.storage.durable import is_special, sync, sync_names


@contextmanager
def new_place(target: Path, replace: bool) -> Iterator[Path]:
    """Yield a path at which a writer makes a file or directory; it is removed if that fails.

    A device or a pipe is yielded as it is.

    Args:
        target: the final path.
        replace: True if an existing file may be replaced.

    Raises:
        AlreadyExists: there is something already, and it may not or cannot be replaced.
        InvalidInput: nothing can have this path.
        StorageError: it cannot be written.
    """
    if not target.name or target.name == "..":
        raise InvalidInput(f"'{target}' is not the path of a new file or directory", path=target)
    try:
        if is_special(target):
            yield target
            return
        _check_free(target, replace)
        scratch = Path(mkdtemp(dir=target.parent, prefix=f".{target.name[:100]}."))
    except BrokenPipeError:
        raise  # whoever reads the pipe has seen enough
    except OSError as error:
        raise StorageError(f"cannot write '{target}': {reason(error)}", path=target) from error
    try:
        made = scratch / target.name
        yield made
        _sync_all(made)
        _check_free(target, replace)
        made.replace(target)
        sync_names(target.parent)
    except OSError as error:
        raise StorageError(f"cannot write '{target}': {reason(error)}", path=target) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a directory."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size if path.is_file() else 0


def _check_free(target: Path, replace: bool) -> None:
    if target.is_dir() and any(target.iterdir()):
        raise AlreadyExists(f"directory '{target}' is not empty: name a new one", path=target)
    if os.path.lexists(target) and not target.is_dir() and not replace:
        raise AlreadyExists(
            f"'{target}' exists already: replace it with --force (replace=True)", path=target
        )


def _sync_all(made: Path) -> None:
    if not made.exists():
        raise StorageError(f"nothing was written to '{made.name}'")
    if made.is_dir():
        for each in made.rglob("*"):
            sync(each)
    sync(made)
