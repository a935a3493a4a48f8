"""Clones: a compact copy of a whole repository, consistent also while others write to it."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from simgit.errors import AlreadyExists
from simgit.odb.database import ObjectDatabase
from simgit.refs.refs import Refs
from simgit.storage.directory import is_repository, write_format
from simgit.storage.failpoints import fail_point
from simgit.storage.lmdb import LmdbStorage
from simgit.storage.lmdb.unlocked_copy import readable
from simgit.storage.regular import check


def clone(source: Path, target: Path) -> None:
    """Create ``target``, a ``.simgit``, as a copy of a repository at this moment.

    Files that an interrupted clone left at the target are removed. The clone does not count as a
    repository until it is complete and synced: its format file is written last.

    Raises:
        AlreadyExists: there is a repository at the target.
        StorageError: it cannot be written, or is full.
    """
    if is_repository(target):
        raise AlreadyExists(f"repository '{target}' already exists", path=target)
    if os.path.lexists(target):
        check(target)
    LmdbStorage.discard(target)
    with (
        readable(source, target) as place,
        closing(LmdbStorage.open(place, read_only=True, allow_network=True)) as storage,
    ):
        storage.copy_to(target, _release_runs)
    fail_point("clone.copied")
    write_format(target)


def _release_runs(made: LmdbStorage) -> None:
    """Note that no process writes the runs of the copy."""
    odb = ObjectDatabase(made)
    refs = Refs()
    with odb.write() as txn:
        for name, ref in list(refs.runs(txn)):
            if ref.writer is not None:
                refs.update_run(txn, name, ref, ref._replace(writer=None), None)
