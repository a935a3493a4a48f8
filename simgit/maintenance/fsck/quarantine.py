"""Where a repair puts what it replaces: nothing is deleted.

A file ``quarantine-TIME`` beside the data file: MessagePack arrays [table, key, value], one after
another, as they lay in the tables.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgpack

from simgit.storage.base import WriteTxn


class Quarantine:
    """Takes entries out of the tables and keeps them.

    Attributes:
        path: the file, None if there was nothing to keep, or the store is in memory.
        count: how many entries were kept.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._kept: list[bytes] = []
        self.path: Path | None = None
        self.count = 0

    def take(self, txn: WriteTxn, table: str, key: bytes) -> None:
        """Remove an entry from its table; it is kept once ``save`` was called."""
        value = txn.get(table, key)
        if value is not None:
            self._kept.append(msgpack.packb([table, key, value]))
            txn.delete(table, key)

    def forget(self) -> None:
        """Keep nothing of what was taken since the last ``save``: it was put back."""
        self._kept.clear()

    def save(self) -> None:
        """Write what was taken, durably. Call this before the transaction is committed."""
        self.count += len(self._kept)
        if self._kept and self._directory is not None:
            if self.path is None:
                self.path = self._directory / f"quarantine-{time.time_ns()}"
            with self.path.open("ab") as file:
                file.write(b"".join(self._kept))
                file.flush()
                os.fsync(file.fileno())
        self._kept.clear()
