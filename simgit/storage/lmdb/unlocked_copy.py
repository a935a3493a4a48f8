"""Copying a store whose writers do not see this reader, and reuse pages that nobody reads.

They do not reuse pages of a snapshot before the third commit after it: the first frees them, and
during the second they still belong to the snapshot that a crash would fall back to. So a copy is
consistent if at most one commit came while it was made.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from simgit import errors
from simgit.storage import datafile, regular
from simgit.storage.durable import make_directories
from simgit.storage.lmdb import files
from simgit.storage.mounts import network_file_system

_TRIES: Final = 100
_BLOCK: Final = 1 << 20


@contextmanager
def readable(directory: Path, target: Path) -> Iterator[Path]:
    """Yield a directory in which a store can be read while others write to it.

    That is its own, or, where this process cannot enter LMDB's table of readers, a private copy
    inside ``target``, which is created if needed.

    Raises:
        StorageError: it cannot be copied, or is written too often.
    """
    if network_file_system(directory) is None and files.may_register(directory):
        yield directory
        return
    try:
        make_directories(target)
        with files.scratch(target) as place:
            _copy(directory / "data.mdb", place / "data.mdb")
            yield place
    except OSError as error:
        raise files.failed(error, "copy the store to", target) from error


def _copy(data: Path, copy: Path) -> None:
    for _ in range(_TRIES):
        with regular.reader(data) as source, copy.open("wb+") as made:
            shutil.copyfileobj(source, made, _BLOCK)  # its meta pages first
            copied = datafile.newest_meta(data, made).txn_id
            if datafile.newest_meta(data, source).txn_id - copied <= 1:
                return
    raise errors.StorageError(
        f"store is written too often to be copied, try again: '{data}'", path=data
    )
