"""Transactions on an LMDB environment."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol

import lmdb

from simgit import errors
from simgit.storage.base import (
    OPTIONAL,
    ReadTxn,
    Storage,
    WriteTxn,
    check_key,
    check_start,
    check_table,
)
from simgit.storage.failpoints import fail_point
from simgit.storage.interrupts import interrupts_held_back
from simgit.storage.limits import current_limit


class OpenFile(Protocol):
    """The open file that transactions are on; see ``environment.Environment``."""

    @property
    def opened(self) -> int: ...

    def begin_read(self, txn: LmdbRead) -> tuple[Any, dict[str, Any]]: ...

    def end_read(self, txn: LmdbRead) -> None: ...

    def begin_write(self, txn: LmdbWrite) -> tuple[Any, dict[str, Any]]: ...

    def end_write(self, txn: LmdbWrite) -> None: ...

    def fail(self, error: lmdb.Error) -> NoReturn: ...


class Ended:
    """A transaction that is not open: every use of it raises."""

    def __getattr__(self, name: str) -> Any:
        raise errors.StorageError("transaction has ended")


ENDED: Final[Any] = Ended()


class _NoEntries:
    """The cursor of a table that the store does not have."""

    def set_range(self, _: bytes) -> bool:
        return False

    def last(self) -> bool:
        return False


class LmdbRead(ReadTxn):
    def __init__(self, storage: Storage, environment: OpenFile) -> None:
        self._storage: Final = storage  # which would close the environment if it were dropped
        self._environment = environment
        self._limit = current_limit()
        self._txn = ENDED
        self._tables: dict[str, Any] = {}
        self._cause: lmdb.Error | None = None

    def __enter__(self) -> LmdbRead:
        self._txn, self._tables = self._environment.begin_read(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        txn, self._txn = self._txn, ENDED
        if txn is not ENDED:
            txn.abort()
        del txn  # before a fork may go on: the child must inherit nothing
        self._environment.end_read(self)

    def abandon(self) -> None:
        """Forget the transaction of the parent process."""
        self._txn, self._tables = ENDED, {}

    @property
    def txn_id(self) -> int:
        # LMDB counts from 1 again in a compact copy; caches by number must not mistake that
        return int(self._txn.id()) | self._environment.opened << 64

    def get(self, table: str, key: bytes) -> bytes | None:
        check_key(key)
        try:
            handle = self._handle(table)
            value: bytes | None = None if handle is None else self._txn.get(key, None, handle)
            return value
        except lmdb.Error as error:
            self._fail(error)

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        check_start(start)
        cursor = self._cursor(table)
        return self._descend(cursor, start, stop) if reverse else self._ascend(cursor, start, stop)

    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        check_key(key)
        cursor = self._cursor(table)
        try:
            if not cursor.set_range(key):
                found = cursor.last()
            else:
                found = cursor.key() == key or cursor.prev()
            return cursor.item() if found else None
        except lmdb.Error as error:
            self._fail(error)

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        cursor = self._cursor(table)
        try:
            return cursor.item() if cursor.last() else None
        except lmdb.Error as error:
            self._fail(error)

    def count(self, table: str) -> int:
        try:
            handle = self._handle(table)
            return 0 if handle is None else int(self._txn.stat(handle)["entries"])
        except lmdb.Error as error:
            self._fail(error)

    def _handle(self, table: str) -> Any:
        """Return the handle of a table, None for an optional one that the store does not have."""
        if self._limit is not None:
            self._limit.check()
        try:
            return self._tables[table]
        except KeyError:
            check_table(table)
            if self._txn is ENDED or table not in OPTIONAL:
                raise errors.StorageError("transaction has ended") from None
            return None

    def _cursor(self, table: str) -> Any:
        try:
            handle = self._handle(table)
            return _NoEntries() if handle is None else self._txn.cursor(handle)
        except lmdb.Error as error:
            self._fail(error)

    def _ascend(
        self, cursor: Any, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        limit = self._limit
        try:
            if cursor.set_range(start):
                for entry in cursor.iternext():
                    if limit is not None:
                        limit.check()
                    if stop is not None and entry[0] >= stop:
                        return
                    yield entry
        except lmdb.Error as error:
            self._fail(error)

    def _descend(
        self, cursor: Any, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        limit = self._limit
        try:
            if _before(cursor, stop):
                for entry in cursor.iterprev():
                    if limit is not None:
                        limit.check()
                    if entry[0] < start:
                        return
                    yield entry
        except lmdb.Error as error:
            self._fail(error)

    def _fail(self, error: lmdb.Error) -> NoReturn:
        if self._txn is ENDED:
            raise errors.StorageError("transaction has ended") from error
        # after one error LMDB refuses everything else: only the first one is meaningful
        self._cause = self._cause or error
        self._environment.fail(self._cause)


class LmdbWrite(LmdbRead, WriteTxn):
    _changes = 0

    def __enter__(self) -> LmdbWrite:
        try:
            with interrupts_held_back():
                self._txn, self._tables = self._environment.begin_write(self)
        except BaseException:
            if self._txn is not ENDED:  # it came while the transaction began
                self._end(commit=False)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with interrupts_held_back():  # or other writers of this process would wait for ever
            self._end(commit=kind is None)

    def _end(self, commit: bool) -> None:
        txn, self._txn = self._txn, ENDED
        try:
            if commit:
                fail_point("commit.before")
                txn.commit()
                fail_point("commit.after")
            elif txn is not ENDED:
                txn.abort()
        except lmdb.Error as failure:
            self._environment.fail(failure)
        finally:
            del txn
            self._environment.end_write(self)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        check_key(key)
        self._changes += 1
        try:
            self._txn.put(key, value, db=self._handle(table))
        except lmdb.Error as error:
            self._fail(error)

    def append(self, table: str, key: bytes, value: bytes) -> None:
        check_key(key)
        self._changes += 1
        try:
            added = self._txn.put(key, value, append=True, db=self._handle(table))
        except lmdb.Error as error:
            self._fail(error)
        if not added:
            raise errors.StorageError(
                f"cannot append to '{table}': key is not the greatest", key=key
            )

    def delete(self, table: str, key: bytes) -> bool:
        check_key(key)
        self._changes += 1
        try:
            return bool(self._txn.delete(key, db=self._handle(table)))
        except lmdb.Error as error:
            self._fail(error)

    def _ascend(
        self, cursor: Any, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        try:
            found, changes = cursor.set_range(start), self._changes
            while found:
                key, value = cursor.item()
                if stop is not None and key >= stop:
                    return
                yield key, value
                found = cursor.next() if changes == self._changes else _after(cursor, key)
                changes = self._changes
        except lmdb.Error as error:
            self._fail(error)

    def _descend(
        self, cursor: Any, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        try:
            found, changes = _before(cursor, stop), self._changes
            while found:
                key, value = cursor.item()
                if key < start:
                    return
                yield key, value
                found = cursor.prev() if changes == self._changes else _before(cursor, key)
                changes = self._changes
        except lmdb.Error as error:
            self._fail(error)


def _before(cursor: Any, key: bytes | None) -> bool:
    """Move to the greatest key below ``key`` (the last one for None)."""
    if key is not None and cursor.set_range(key):
        return bool(cursor.prev())
    return bool(cursor.last())


def _after(cursor: Any, key: bytes) -> bool:
    """Move to the least key above ``key``."""
    return bool(cursor.set_range(key) and (cursor.key() != key or cursor.next()))
