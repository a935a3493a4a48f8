"""A write transaction around another one that observes every change before it is made."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from simgit.storage.base import WriteTxn


class WatchedWrite(WriteTxn):
    """A wrapper of ``_txn`` whose subclass observes the changes."""

    _txn: WriteTxn

    @abstractmethod
    def _watch(self, table: str, key: bytes, value: bytes | None) -> None:
        """Observe a change that is about to be made; None stands for a deletion."""

    @property
    def txn_id(self) -> int:
        """Return the number of the snapshot."""
        return self._txn.txn_id

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        return self._txn.get(table, key)

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield entries in the order of their keys."""
        return self._txn.scan(table, start, stop, reverse=reverse)

    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the entry with the greatest key that is not greater than ``key``."""
        return self._txn.floor(table, key)

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """Return the entry with the greatest key."""
        return self._txn.last(table)

    def count(self, table: str) -> int:
        """Return the number of entries of a table."""
        return self._txn.count(table)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set a key."""
        self._watch(table, key, value)
        self._txn.put(table, key, value)

    def append(self, table: str, key: bytes, value: bytes) -> None:
        """Add a key greater than every other one."""
        self._watch(table, key, value)
        self._txn.append(table, key, value)

    def delete(self, table: str, key: bytes) -> bool:
        """Remove a key; return True if it existed."""
        self._watch(table, key, None)
        return self._txn.delete(table, key)
