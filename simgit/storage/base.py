"""The storage seam: ordered tables of bytes, read in snapshots and written one writer at a time.

Nothing here knows an object.
Hashing, compression, prefixes and compare-and-swap are written once, above this seam, so that an
implementation stays small and the in-memory one can serve as the model of the others.

What every implementation guarantees, and what ``simgit.testing.storage_contract`` checks:

- A read transaction sees one consistent snapshot, whatever is committed meanwhile.
- A write transaction sees its own writes.
  It commits durably when its block ends and leaves nothing behind when the block raises.
- There is one writer at a time over all threads and processes; the others wait.
  A thread that asks for a second write transaction while it holds one gets an error.
- Keys have 1 to 511 bytes and are ordered bytewise.
  Keys and values are returned as ``bytes`` that outlive the transaction.
- A transaction belongs to the thread that began it; once ended it raises ``StorageError``.
- A scan within a write transaction goes by key.
  A write behind the place that it has reached is not seen, one ahead of it is.
  Deleting the entry just yielded is therefore safe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from simgit.errors import InvalidInput, StorageFullError

Result = TypeVar("Result")

TABLES: Final = (
    "meta",
    "objects",
    "lines",
    "segments",
    "blocks",
    "groups",
    "index",
    "oids",
    "children",
    "refs",
    "log",
    "attachments",
    "chunks",
    "bodies",
    "operations",
    "pending",
    "summaries",
    "remotes",
)
OPTIONAL: Final = ("summaries", "remotes")
"""Tables that a store of an earlier version lacks; they read as empty until it is written."""

MAX_KEY: Final = 511
"""The longest key in bytes: LMDB's limit, kept by every implementation."""


class ReadTxn(ABC):
    """A consistent snapshot of every table."""

    @property
    @abstractmethod
    def txn_id(self) -> int:
        """Return the number of this snapshot, which grows with every write that changed something.

        Two snapshots of one handle that differ never have the same number, also if the file was
        replaced by a compact copy or the process was forked between them.
        Within a write transaction it is the number that its commit will have.
        """

    @abstractmethod
    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""

    @abstractmethod
    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries with ``start <= key < stop`` in key order, or in reversed key order."""

    @abstractmethod
    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the entry with the greatest key that is not greater than ``key``, or None."""

    @abstractmethod
    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """Return the entry with the greatest key, or None if the table is empty."""

    @abstractmethod
    def count(self, table: str) -> int:
        """Return the number of entries of a table."""


class WriteTxn(ReadTxn):
    """A snapshot with the changes that will be committed together."""

    @abstractmethod
    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set a key, whether it exists or not."""

    @abstractmethod
    def append(self, table: str, key: bytes, value: bytes) -> None:
        """Add a key greater than every key of the table, else raise ``StorageError``.

        Much cheaper than ``put``, on disk too, where keys grow.
        """

    @abstractmethod
    def delete(self, table: str, key: bytes) -> bool:
        """Remove a key; return True if it existed."""


class Storage(ABC):
    """The tables of one store."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse to be pickled; a storage on disk is opened where it is unpickled.

        Raises:
            InvalidInput: it is not on disk.
        """
        raise InvalidInput(
            "a repository in memory cannot be sent to another process: make it in a directory"
        )

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self  # what is copied may read the same store

    @property
    @abstractmethod
    def path(self) -> Path | None:
        """Return the directory, or None if there is none."""

    @property
    @abstractmethod
    def read_only(self) -> bool:
        """True if ``write`` is refused."""

    @property
    def is_writing(self) -> bool:
        """True if this thread holds the write transaction."""
        return False

    @property
    def is_deleted(self) -> bool:
        """True if the store was deleted while it was open: it can be read, and not be written."""
        return False

    @abstractmethod
    def read(self) -> AbstractContextManager[ReadTxn]:
        """Begin a read transaction; keep it short, for it keeps old pages from being reused."""

    @abstractmethod
    def write(self) -> AbstractContextManager[WriteTxn]:
        """Begin the write transaction, waiting for the writer before; commit at the block's end."""

    def is_alone(self) -> bool:
        """Return True if no other process has the store open; it may be opened right after."""
        return True

    def compact(self) -> bool:
        """Give unused space back, if that is possible now; return True if it was."""
        return False

    def give_up_reserve(self) -> bool:
        """Give up the space reserved for gc on a full disk; return True if that freed some."""
        return False

    def keep_reserve(self) -> None:
        """Reserve space again, if there is enough."""
        return

    @abstractmethod
    def spare(self) -> int:
        """Return how many of the bytes on disk ``compact`` would give back (0 in memory)."""

    def audit(self) -> list[str]:
        """Return the faults in the structure of the file, which is not mapped for that.

        A transaction that meets such damage cannot be used further.
        """
        return []

    @abstractmethod
    def size(self) -> int:
        """Return the bytes taken on disk (0 in memory)."""

    @abstractmethod
    def close(self) -> None:
        """Release everything; a second call does nothing, any later use raises ``StorageError``."""


def check_table(table: str) -> None:
    """Refuse a table that the store does not have."""
    if table not in TABLES:
        raise InvalidInput(f"unknown table '{table}'", table=table)


def check_key(key: bytes) -> None:
    """Refuse a key that cannot be stored."""
    if not 1 <= len(key) <= MAX_KEY:
        raise InvalidInput(f"key must have 1 to {MAX_KEY} bytes, got {len(key)}", key=key)


def check_start(start: bytes) -> None:
    """Refuse the start of a scan that could not be a key (an empty one stands for the first)."""
    if start:
        check_key(start)


def make_room(storage: Storage, work: Callable[[], Result]) -> Result:
    """Do what makes room; if there is no space for it, do it again with what is kept back.

    Raises:
        StorageFullError: that did not suffice; nothing of the last transaction was done.
    """
    while True:
        try:
            return work()
        except StorageFullError:
            if not storage.give_up_reserve():
                raise
