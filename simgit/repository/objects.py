"""Reading states and other objects."""

from __future__ import annotations

from collections.abc import Iterator

from simgit.errors import InvalidInput, NotFound
from simgit.history.state import State, load_state
from simgit.objects.kinds import Decodable
from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.refs.names import HEAD
from simgit.repository.base import RepositoryBase


class ObjectOperations(RepositoryBase):
    """Reading states and other objects."""

    def state(self, revision: str | Oid = HEAD) -> State:
        """Return a state.

        Raises:
            NotFound: see ``resolve``.
            IntegrityError: its bytes do not have its name.
        """
        with self._read() as txn:
            if isinstance(revision, Oid):
                place = self.odb.locate(txn, revision)
                return load_state(self.odb, txn, place, None, revision)
            found = self.revisions.find(txn, revision)
            return load_state(self.odb, txn, found.place, found.run, found.oid)

    def parents(self, revision: str | Oid = HEAD) -> list[State]:
        """Return a state's parents, first to last."""
        with self._read() as txn:
            place = self._resolve(txn, revision).place
            places = ancestry.parents_at(self.odb, txn, place)
            return [load_state(self.odb, txn, each) for each in places]

    def children(self, revision: str | Oid = HEAD) -> list[State]:
        """Return the states that have a state among their parents."""
        with self._read() as txn:
            place = self._resolve(txn, revision).place
            return [load_state(self.odb, txn, p) for p in self.odb.states.children(txn, place)]

    def leaves(self) -> list[State]:
        """Return the states that have no children."""
        with self._read() as txn:
            return [load_state(self.odb, txn, place) for place in ancestry.leaves(self.odb, txn)]

    def object(self, oid: Oid) -> Decodable:
        """Return any object, its name recomputed.

        Raises:
            NotFound: there is none of this name.
            IntegrityError: its bytes do not have this name.
        """
        with self._read() as txn:
            return self.odb.object(txn, oid)

    def find_object(self, digits: str) -> tuple[str, Oid]:
        """Return kind and oid of the one object whose name begins with ``digits``.

        Raises:
            NotFound: there is none.
            InvalidInput: there are several.
        """
        with self._read() as txn:
            if len(digits) < 4 or set(digits) - set("0123456789abcdef"):
                raise NotFound(f"object '{digits}' not found")
            found = self.odb.with_prefix(txn, digits)
        if not found:
            raise NotFound(f"object '{digits}' not found")
        if len(found) > 1:
            shown = ", ".join(f"{kind} {oid.short(12)}" for kind, oid in found)
            raise InvalidInput(f"'{digits}' is ambiguous: {shown}", candidates=found)
        return found[0]

    def object_size(self, oid: Oid) -> int:
        """Return the number of bytes of an object's content.

        Raises:
            NotFound: there is none of this name.
        """
        with self._read() as txn:
            if self.odb.kind(txn, oid) == "blob":
                return self.odb.blob_size(txn, oid)
            return len(self.odb.get(txn, oid)[1])

    def stream(self, oid: Oid) -> Iterator[bytes]:
        """Yield an object's content piece by piece; the last piece only if the name matches.

        Raises:
            NotFound: there is none of this name.
            IntegrityError: its bytes do not have this name.
        """
        with self._read() as txn:
            kind = self.odb.kind(txn, oid)
            if kind != "blob":
                yield self.odb.get(txn, oid)[1]
                return
        yield from self.odb.stream_blob(oid)

    def read_blob(self, oid: Oid) -> Iterator[bytes]:
        """Yield a blob's bytes piece by piece."""
        return self.odb.stream_blob(oid)
