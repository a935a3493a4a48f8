"""A write transaction that counts what is taken away, table by table."""

from __future__ import annotations

from collections import Counter

from simgit.storage.base import WriteTxn
from simgit.storage.watched import WatchedWrite


class Tally(WatchedWrite):
    """Passes everything on to a transaction.

    Attributes:
        entries: for each table how many entries it has fewer.
        bytes: for each table how many bytes of keys and values it has fewer.
    """

    def __init__(self, txn: WriteTxn, entries: Counter[str], size: Counter[str]) -> None:
        self._txn = txn
        self.entries = entries
        self.bytes = size

    def _watch(self, table: str, key: bytes, value: bytes | None) -> None:
        old = self._txn.get(table, key)
        self.entries[table] += (old is not None) - (value is not None)
        self.bytes[table] += _size(key, old) - _size(key, value)


def _size(key: bytes, value: bytes | None) -> int:
    return 0 if value is None else len(key) + len(value)
