"""The past: a storage that shows refs and bindings as of an operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from heapq import merge
from pathlib import Path
from typing import Any

from simgit.errors import StorageError as StorageError
from simgit.refs.oplog.log import TABLE, unparse
from simgit.refs.oplog.undo import Undo, Was
from simgit.storage.base import ReadTxn, Storage

Table = dict[bytes, bytes | None]


class PastTxn(ReadTxn):
    """A snapshot with earlier values of some keys; None where a key did not exist."""

    def __init__(self, txn: ReadTxn, was: Was, number: int) -> None:
        self._txn = txn
        self._end = (number + 1).to_bytes(8, "big")  # of the operations of that moment
        self._was: dict[str, Table] = {}
        for key, record in was.items():
            value = None if record is None else unparse(key, record)
            self._was.setdefault(key[0], {})[key[1]] = value

    @property
    def txn_id(self) -> int:
        """Return the number of the snapshot."""
        return self._txn.txn_id

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value that a key had, or None."""
        if table == TABLE and key >= self._end:
            return None
        was = self._was.get(table, {})
        return was[key] if key in was else self._txn.get(table, key)

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries of that moment, in the order of their keys."""
        was = self._was.get(table)
        if table == TABLE:
            stop = self._end if stop is None else min(stop, self._end)
        now = self._txn.scan(table, start, stop, reverse=reverse)
        if was is None:
            return now
        inside = sorted(
            (k for k in was if k >= start and (stop is None or k < stop)), reverse=reverse
        )
        then = ((key, value) for key in inside if (value := was[key]) is not None)
        kept = (entry for entry in now if entry[0] not in was)
        return merge(kept, then, key=lambda entry: entry[0], reverse=reverse)

    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the entry that had the greatest key not greater than ``key``."""
        if table == TABLE:
            return self._txn.floor(table, min(key, self._end))
        if table not in self._was:
            return self._txn.floor(table, key)
        return next(self.scan(table, b"", key + b"\0", reverse=True), None)

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """Return the entry that had the greatest key."""
        if table == TABLE:
            return self._txn.floor(table, self._end)
        if table not in self._was:
            return self._txn.last(table)
        return next(self.scan(table, reverse=True), None)

    def count(self, table: str) -> int:
        """Return the number of entries of that moment."""
        if table != TABLE and table not in self._was:
            return self._txn.count(table)
        return sum(1 for _ in self.scan(table))


class PastStorage(Storage):
    """A read-only view of a storage as of an operation.

    Everything but refs and bindings is as it is now: states are immutable, and reflogs only grow.
    """

    def __init__(self, storage: Storage, undo: Undo, number: int) -> None:
        """View a storage as of an operation.

        Raises:
            NotFound: the operation is no longer kept.
        """
        self._storage = storage
        self._undo = undo
        self.number = number
        self._seen: tuple[int, Was] | None = None
        with self.read():
            pass

    @property
    def path(self) -> Path | None:
        """Return the directory, or None if there is none."""
        return self._storage.path

    @property
    def read_only(self) -> bool:
        """Return True."""
        return True

    @contextmanager
    def read(self) -> Iterator[ReadTxn]:
        """Begin a read transaction."""
        with self._storage.read() as txn:
            seen = self._seen
            if seen is None or seen[0] != txn.txn_id:
                seen = self._seen = txn.txn_id, self._undo.view(txn, self.number)
            yield PastTxn(txn, seen[1], self.number)

    def write(self) -> Any:
        """Refuse to write."""
        raise StorageError(f"cannot write: the repository is shown as of operation {self.number}")

    def spare(self) -> int:
        """Return the bytes that ``compact`` would give back."""
        return self._storage.spare()

    def size(self) -> int:
        """Return the bytes taken on disk."""
        return self._storage.size()

    def close(self) -> None:
        """Release the storage."""
        self._storage.close()
