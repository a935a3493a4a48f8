"""Clones: a compact copy of a whole repository, consistent also while others write to it."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from simgit.errors import AlreadyExists
from simgit.odb import foreign
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.lines import SHALLOW
from simgit.refs.refs import Refs
from simgit.refs.settings import forget_families
from simgit.refs.simulations import clear_simulations
from simgit.storage.directory import FORMAT, SHALLOW_FORMAT, is_repository, write_format
from simgit.storage.failpoints import fail_point
from simgit.storage.lmdb import LmdbStorage
from simgit.storage.lmdb.unlocked_copy import readable
from simgit.storage.regular import check
from simgit.storage.trust import TrustList


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
        with storage.read() as txn:
            is_trusted = TrustList().has(source, foreign.identity(txn))
        storage.copy_to(target, lambda made: _make_own(made, is_trusted))
    with closing(LmdbStorage.open(target, read_only=True)) as copied, copied.read() as txn:
        TrustList().mark_own(target, foreign.identity(txn))
        version = FORMAT if txn.get("meta", SHALLOW) is None else SHALLOW_FORMAT
    fail_point("clone.copied")
    write_format(target, version)


def is_remote(source: str) -> bool:
    """Return True if what is to be cloned is a remote, and no repository: by URL or directory."""
    if "://" in source:
        return True
    from simgit.remotes.layout import REMOTE

    return (Path(source) / REMOTE).is_file()


def _make_own(made: LmdbStorage, is_trusted: bool) -> None:
    """Give the copy its identity, and note that no process writes or executes its runs.

    Unless the source is trusted, what it has is foreign, no types of simulations are registered,
    and there are no remotes.
    """
    odb = ObjectDatabase(made)
    refs = Refs()
    with odb.write() as txn:
        foreign.new_identity(txn)
        clear_simulations(txn)
        if not is_trusted:
            foreign.mark_all(txn)
            forget_families(txn)
        for name, ref in list(refs.runs(txn)):
            if ref.writer is not None:
                refs.update_run(txn, name, ref, ref._replace(writer=None), None)
