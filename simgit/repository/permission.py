"""The permission of a repository to name code: whether its user trusts it."""

from __future__ import annotations

from simgit.objects.oid import Oid
from simgit.odb import foreign
from simgit.repository.store import Store
from simgit.storage.trust import TrustList


class Permission:
    """The trust of the user in a store, and in what came into it from elsewhere.

    A store in memory was made by this process.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._directory = store.directory

    def given(self, oid: Oid | None) -> bool:
        with self._store.read() as txn:
            identity = foreign.identity(txn)
            is_foreign = oid is not None and foreign.is_foreign(txn, oid)
        is_trusted = self._directory is None or TrustList().has(self._directory, identity)
        return is_trusted and not is_foreign

    def give(self) -> bool:
        with self._store.read() as txn:
            identity, marked = foreign.identity(txn), foreign.is_any(txn)
        was = self.given(None)
        if marked or not (identity or self._store.storage.read_only):
            with self._store.storage.write() as write:
                foreign.unmark_all(write)
                identity = identity or foreign.new_identity(write)
        if self._directory is not None and not was:
            TrustList().add(self._directory, identity)
        return marked or not was

    def take_away(self) -> bool:
        with self._store.read() as txn:
            identity = foreign.identity(txn)
        return self._directory is not None and TrustList().remove(self._directory, identity)
