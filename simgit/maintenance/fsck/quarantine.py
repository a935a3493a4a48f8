"""The quarantine file, which keeps the entries that a repair replaces: nothing is deleted.

The file ``quarantine-TIME`` beside the data file has a MessagePack array [table, key, value] for
each entry.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgpack

from simgit.storage.base import WriteTxn
from simgit.storage.regular import open_file


class Quarantine:
    """A keeper of entries that are taken out of the tables.

    Attributes:
        path: the file, None if nothing was kept, or the store is in memory.
        count: the number of kept entries.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._kept: list[bytes] = []
        self.path: Path | None = None
        self.count = 0

    def take(self, txn: WriteTxn, table: str, key: bytes) -> None:
        """Remove an entry from its table; ``save`` keeps it."""
        value = txn.get(table, key)
        if value is not None:
            self._kept.append(msgpack.packb([table, key, value]))
            txn.delete(table, key)

    def forget(self) -> None:
        """Drop the entries taken since the last ``save``: they were put back."""
        self._kept.clear()

    def save(self) -> None:
        """Write the taken entries durably; call this before the transaction is committed."""
        self.count += len(self._kept)
        if self._kept and self._directory is not None:
            if self.path is None:
                self.path = self._directory / f"quarantine-{time.time_ns()}"
            handle = open_file(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            with os.fdopen(handle, "ab") as file:
                file.write(b"".join(self._kept))
                file.flush()
                os.fsync(file.fileno())
        self._kept.clear()
