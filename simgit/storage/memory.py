"""Storage in memory: the model of the other one, and the store of tests and throw-away work."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from simgit import errors
from simgit.storage.base import (
    TABLES,
    ReadTxn,
    Storage,
    WriteTxn,
    check_key,
    check_start,
    check_table,
)
from simgit.storage.limits import current_limit


class _Table:
    """The entries of one table; never changed once a commit has published it."""

    __slots__ = ("keys", "values")

    def __init__(self, keys: list[bytes], values: dict[bytes, bytes]) -> None:
        self.keys: Final = keys
        self.values: Final = values

    def copy(self) -> _Table:
        return _Table(self.keys.copy(), self.values.copy())

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = value

    def delete(self, key: bytes) -> bool:
        if self.values.pop(key, None) is None:
            return False
        del self.keys[bisect_left(self.keys, key)]
        return True


class _Snapshot:
    """All tables as one commit left them."""

    __slots__ = ("number", "tables")

    def __init__(self, number: int, tables: dict[str, _Table]) -> None:
        self.number: Final = number
        self.tables: Final = tables


class MemoryStorage(Storage):
    """Tables in memory, with the guarantees of the seam except durability.

    A commit publishes one immutable snapshot; a writer copies a table when it first changes it.
    """

    def __init__(self) -> None:
        self._snapshot = _Snapshot(0, {table: _Table([], {}) for table in TABLES})
        self._writing = threading.Lock()
        self._writer: int | None = None
        self._closed = False

    @property
    def path(self) -> Path | None:
        """Return None: nothing is on disk."""
        return None

    @property
    def read_only(self) -> bool:
        """Return False: memory can always be written."""
        return False

    @property
    def is_writing(self) -> bool:
        """True if this thread holds the write transaction."""
        return self._writer == threading.get_ident()

    def read(self) -> _MemoryRead:
        """Begin a read transaction."""
        self._check_open()
        return _MemoryRead(self)

    def write(self) -> _MemoryWrite:
        """Begin the write transaction."""
        self._check_open()
        return _MemoryWrite(self)

    def spare(self) -> int:
        """Return 0."""
        self._check_open()
        return 0

    def size(self) -> int:
        """Return 0."""
        self._check_open()
        return 0

    def close(self) -> None:
        """Drop every entry."""
        self._closed = True
        self._snapshot = _Snapshot(self._snapshot.number, {})

    def _check_open(self) -> None:
        if self._closed:
            raise errors.StorageError("storage is closed")

    def _current(self) -> _Snapshot:
        self._check_open()
        return self._snapshot

    def _acquire(self) -> None:
        if self.is_writing:
            raise errors.StorageError("this thread already holds the write transaction")
        self._writing.acquire()
        self._writer = threading.get_ident()

    def _release(self) -> None:
        self._writer = None
        self._writing.release()

    def _publish(self, snapshot: _Snapshot) -> None:
        self._check_open()
        self._snapshot = snapshot


class _MemoryRead(ReadTxn):
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._tables: dict[str, _Table] | None = None
        self._limit = current_limit()
        self._number = 0
        self._changes = 0

    def __enter__(self) -> _MemoryRead:
        snapshot = self._storage._current()
        self._tables, self._number = snapshot.tables, snapshot.number
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tables = None

    @property
    def txn_id(self) -> int:
        self._open_tables()
        return self._number

    def get(self, table: str, key: bytes) -> bytes | None:
        check_key(key)
        return self._table(table).values.get(key)

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        check_start(start)
        self._table(table)
        return self._descend(table, start, stop) if reverse else self._ascend(table, start, stop)

    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        check_key(key)
        entries = self._table(table)
        return _entry(entries, bisect_right(entries.keys, key) - 1)

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        entries = self._table(table)
        return _entry(entries, len(entries.keys) - 1)

    def count(self, table: str) -> int:
        return len(self._table(table).keys)

    def _open_tables(self) -> dict[str, _Table]:
        if self._tables is None:
            raise errors.StorageError("transaction has ended")
        return self._tables

    def _table(self, table: str) -> _Table:
        check_table(table)
        if self._limit is not None:
            self._limit.check()
        return self._open_tables()[table]

    def _ascend(
        self, table: str, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        entries = self._table(table)
        place, changes = bisect_left(entries.keys, start), self._changes
        while place < len(entries.keys):
            key = entries.keys[place]
            if stop is not None and key >= stop:
                return
            yield key, entries.values[key]
            entries, place = self._table(table), place + 1
            if changes != self._changes:
                place, changes = bisect_right(entries.keys, key), self._changes

    def _descend(
        self, table: str, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        entries = self._table(table)
        end = len(entries.keys) if stop is None else bisect_left(entries.keys, stop)
        place, changes = end - 1, self._changes
        while place >= 0 and entries.keys[place] >= start:
            key = entries.keys[place]
            yield key, entries.values[key]
            entries, place = self._table(table), place - 1
            if changes != self._changes:
                place, changes = bisect_left(entries.keys, key) - 1, self._changes


class _MemoryWrite(_MemoryRead, WriteTxn):
    def __enter__(self) -> _MemoryWrite:
        self._storage._acquire()
        try:
            snapshot = self._storage._current()
        except BaseException:
            self._storage._release()
            raise
        self._tables, self._number = dict(snapshot.tables), snapshot.number + 1
        self._copied: set[str] = set()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tables, self._tables = self._open_tables(), None
        try:
            if kind is None and self._copied:
                self._storage._publish(_Snapshot(self._number, tables))
        finally:
            self._storage._release()

    def put(self, table: str, key: bytes, value: bytes) -> None:
        check_key(key)
        self._changing(table).put(key, bytes(value))

    def append(self, table: str, key: bytes, value: bytes) -> None:
        check_key(key)
        newest = self.last(table)
        if newest is not None and key <= newest[0]:
            raise errors.StorageError(
                f"cannot append to '{table}': key is not the greatest", key=key
            )
        self._changing(table).put(key, bytes(value))

    def delete(self, table: str, key: bytes) -> bool:
        check_key(key)
        return key in self._table(table).values and self._changing(table).delete(key)

    def _changing(self, table: str) -> _Table:
        entries = self._table(table)
        self._changes += 1
        if table not in self._copied:
            self._copied.add(table)
            entries = self._open_tables()[table] = entries.copy()
        return entries


def _entry(entries: _Table, place: int) -> tuple[bytes, bytes] | None:
    if place < 0:
        return None
    key = entries.keys[place]
    return key, entries.values[key]
