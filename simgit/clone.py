"""Clones: a compact copy of a whole repository, consistent also while others write to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simgit.errors import AlreadyExists
from simgit.failpoints import fail_point
from simgit.layout import is_repository, write_format
from simgit.odb import ObjectDatabase
from simgit.refs import Refs
from simgit.storage.base import WriteTxn
from simgit.storage.lmdb import LmdbStorage


def clone(source: LmdbStorage, refs: Refs, target: Path) -> None:
    """Make ``target``, a ``.simgit``, a repository with all that the source holds now.

    What an interrupted clone has left at the target is removed. The clone is no repository until
    it is whole and synced: its format is noted last.

    Raises:
        AlreadyExists: there is a repository at the target.
        Storage: it cannot be written, or is full.
    """
    if is_repository(target):
        raise AlreadyExists(f"repository '{target}' already exists", path=target)
    LmdbStorage.discard(target)
    source.copy_to(target, prepare=lambda made: _release_runs(made, refs))
    fail_point("clone.copied")
    write_format(target)


def _release_runs(made: LmdbStorage, refs: Refs) -> None:
    """Note that nobody writes the runs of the copy."""
    with ObjectDatabase(made).write() as txn:
        for name, ref in list(refs.runs(txn)):
            if ref.writer is not None:
                _release(refs, txn, name)


def _release(refs: Refs, txn: WriteTxn, name: str) -> None:
    ref = refs.run(txn, name)
    refs.update_run(txn, name, ref, replace(ref, writer=None), None)
