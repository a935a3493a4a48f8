"""Data bound to states without changing their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simgit.errors import InvalidInput
from simgit.objects.oid import Oid
from simgit.refs.names import HEAD
from simgit.repository.base import RepositoryBase
from simgit.storage.room import make_room


class AttachmentOperations(RepositoryBase):
    """Data bound to states without changing their names."""

    def attach(self, revision: str | Oid, name: str, data: Any) -> Oid:
        """Bind data to a state without changing its name; return the data's oid.

        Args:
            data: bytes or a path (a blob, streamed), an array, nested dicts, lists and tuples of
                arrays and plain values (a checkpoint: stored as its difference to the last one of
                this name), or any plain value.

        Raises:
            NotFound: there is no such state.
            InvalidInput: the name is not allowed, or some part of the data has no encoding.
        """
        from simgit.odb import trees
        from simgit.refs import attachments

        state = self.resolve(revision)
        blob = None
        if isinstance(data, Path):
            with data.open("rb") as file:
                blob = self.odb.put_blob(file.read, data.stat().st_size)
        with self._write("attach", revision, name) as txn:
            if blob is not None:
                kind, oid = "blob", blob
            else:
                base = attachments.latest(txn, name)
                kind, oid = trees.store_data(self.odb, txn, data, base)
            attachments.attach(self.odb, txn, state, name, kind, oid)
        return oid

    def attachments(self, revision: str | Oid = HEAD) -> dict[str, tuple[str, Oid]]:
        """Return a state's attachments: name to kind and oid."""
        from simgit.refs import attachments

        with self._read() as txn:
            state = self._resolve(txn, revision).oid
            return attachments.attachments(self.odb, txn, state)

    def attachment(self, revision: str | Oid, name: str) -> Any:
        """Return the data of an attachment; arrays are read-only.

        Raises:
            NotFound: the state has none of this name.
        """
        from simgit.odb import trees
        from simgit.refs import attachments

        with self._read() as txn:
            state = self._resolve(txn, revision).oid
            return trees.load_data(self.odb, txn, *attachments.find(self.odb, txn, state, name))

    def detach(self, revision: str | Oid, name: str) -> Oid:
        """Remove an attachment; return the oid of what it was."""
        return make_room(self._storage, lambda: self._detach(revision, name))

    def _detach(self, revision: str | Oid, name: str) -> Oid:
        from simgit.refs import attachments

        with self._write("detach", revision, name) as txn:
            state = self._resolve(txn, revision).oid
            return attachments.detach(self.odb, txn, state, name)[1]

    def reattach(self, binding: Oid) -> Oid:
        """Bind again what was detached or thinned out; return the state's oid.

        Args:
            binding: the oid of the binding, as ``unreachable`` lists it.

        Raises:
            NotFound: there is no such object, or no longer.
            InvalidInput: it is no binding.
        """
        from simgit.objects.kinds import Binding
        from simgit.refs import attachments

        with self.odb.write() as txn:
            found = self.odb.object(txn, binding)
            if not isinstance(found, Binding):
                raise InvalidInput(f"object '{binding.short()}' is not a binding", oid=binding)
            attachments.attach(
                self.odb, txn, found.state, found.name, found.target_kind, found.target
            )
        return found.state
