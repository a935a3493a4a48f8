"""A write transaction that counts what is taken away, table by table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from simgit.storage.base import WriteTxn


class Tally(WriteTxn):
    """Passes everything on to a transaction.

    Attributes:
        entries: for each table how many entries it has fewer.
        bytes: for each table how many bytes of keys and values it has fewer.
    """

    def __init__(self, txn: WriteTxn, entries: Counter[str], size: Counter[str]) -> None:
        self._txn = txn
        self.entries = entries
        self.bytes = size

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
        self._change(table, key, len(key) + len(value), -1)
        self._txn.put(table, key, value)

    def append(self, table: str, key: bytes, value: bytes) -> None:
        """Add a key greater than every other one."""
        self._change(table, key, len(key) + len(value), -1)
        self._txn.append(table, key, value)

    def delete(self, table: str, key: bytes) -> bool:
        """Remove a key; return whether it was there."""
        self._change(table, key, 0, 0)
        return self._txn.delete(table, key)

    def _change(self, table: str, key: bytes, size: int, count: int) -> None:
        old = self._txn.get(table, key)
        self.entries[table] += count + (old is not None)
        self.bytes[table] += (len(key) + len(old) if old is not None else 0) - size
