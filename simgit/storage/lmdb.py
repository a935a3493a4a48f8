"""Storage on LMDB, in one directory: ``data.mdb``, ``lock.mdb`` and ``origin``.

LMDB allows one environment per file and process, and none of it to a forked child.
So handles share one ``_Environment`` through a registry, and open it anew in a child.
The file format is that of LMDB 0.9, whatever engine the library would choose.
Only default flags are used: without ``sync`` a power cut loses the store, and with ``writemap``
two processes that grow the file corrupt it.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, NoReturn

import lmdb
from lmdb import verify

from simgit import errors
from simgit.storage import datafile
from simgit.storage.base import (
    TABLES,
    ReadTxn,
    Storage,
    WriteTxn,
    check_key,
    check_start,
    check_table,
)
from simgit.storage.mounts import network_file_system

MAP_SIZE: Final = 1 << (40 if sys.maxsize > 2**32 else 30)
"""Address space reserved for the file; it costs nothing until it is used."""

_SMALLEST_MAP: Final = 1 << 24
_MAX_READERS: Final = 1022
_READER_CHECK_EVERY: Final = 16
_DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)


class LmdbStorage(Storage):
    """Tables in an LMDB environment; several handles in one process share the environment."""

    def __init__(self, directory: Path, environment: _Environment, read_only: bool) -> None:
        """Use ``create`` or ``open``."""
        self._directory = directory
        self._read_only = read_only
        self._closed = False
        self._hold(environment)

    @classmethod
    def create(cls, directory: Path | str, *, allow_network: bool = False) -> LmdbStorage:
        """Make an empty store in a directory, which is created if its parent exists.

        Raise ``AlreadyExists`` if there is a store, whole or damaged.
        """
        directory = Path(directory).absolute()
        _refuse_network(directory, allow_network)
        try:
            directory.mkdir(exist_ok=True)
            _initialise(directory)
        except OSError as error:
            raise errors.Storage(f"cannot create a store in '{directory}': {error}") from error
        return cls.open(directory, allow_network=allow_network)

    @classmethod
    def open(
        cls, directory: Path | str, read_only: bool = False, *, allow_network: bool = False
    ) -> LmdbStorage:
        """Open the store of a directory, for reading only where it cannot be written.

        Raise ``NotFound`` if there is none and ``Integrity`` if its file is damaged.
        A copied store is audited on first use (some 20 MB/s), because a copy may be torn.
        Where even the lock file cannot be written, nothing protects a reader from a writer who
        can: such a store should not be changed while it is read.
        """
        directory = Path(directory).absolute()
        if not (directory / "data.mdb").exists():
            raise errors.NotFound(f"no store in '{directory}'", path=directory)
        if not read_only:
            _refuse_network(directory, allow_network)
        network = network_file_system(directory) is not None and not allow_network
        may_write = not network and _may_write(directory)
        environment = _REGISTRY.acquire(directory, may_write and not read_only, may_write)
        return cls(directory, environment, read_only or not may_write)

    @property
    def path(self) -> Path:
        """Return the directory."""
        return self._directory

    @property
    def read_only(self) -> bool:
        """Whether ``write`` is refused."""
        return self._read_only

    def read(self) -> _LmdbRead:
        """Begin a read transaction."""
        return _LmdbRead(self._environment())

    def write(self) -> _LmdbWrite:
        """Begin the write transaction."""
        environment = self._environment()
        if self._read_only:
            raise errors.Storage(f"store is read-only: '{self._directory}'", path=self._directory)
        return _LmdbWrite(environment)

    def size(self) -> int:
        """Return the length of the data file."""
        self._environment()
        return (self._directory / "data.mdb").stat().st_size

    def close(self) -> None:
        """Give the environment back; the last handle closes it and ends its transactions."""
        self._closed = True
        self._release()

    def copy_to(self, directory: Path | str) -> None:
        """Write a consistent, compact copy into a directory, also while others write here.

        Raise ``AlreadyExists`` if there is a store already.
        """
        target = Path(directory).absolute()
        if (target / "data.mdb").exists():
            raise errors.AlreadyExists(f"a store exists in '{target}'", path=target)
        try:
            target.mkdir(exist_ok=True)
            self._environment().copy(target)
        except OSError as error:
            raise errors.Storage(f"cannot copy the store to '{target}': {error}") from error

    def readers(self) -> str:
        """Return LMDB's table of the read transactions of all processes, for people to read."""
        return self._environment().readers()

    def _environment(self) -> _Environment:
        if self._closed:
            raise errors.Storage(f"store is closed: '{self._directory}'", path=self._directory)
        if self._shared.pid != os.getpid():
            self._reopen_in_child()
        return self._shared

    def _reopen_in_child(self) -> None:
        self._release.detach()
        writable = not self._read_only
        self._hold(_REGISTRY.acquire(self._directory, writable, _may_write(self._directory)))

    def _hold(self, environment: _Environment) -> None:
        self._shared = environment
        self._release = weakref.finalize(self, _REGISTRY.release, environment)


class _Environment:
    """One LMDB environment of this process, with what its handles and transactions share."""

    def __init__(self, directory: Path, writable: bool, lock: bool) -> None:
        self.pid: Final = os.getpid()
        self.directory: Final = directory
        self.handles = 0
        self.writable = writable
        self.full = False
        self.active: set[_LmdbRead] = set()
        self._lock_file = lock
        self._mutex = threading.Lock()
        self._writing = threading.Lock()
        self._writer: int | None = None
        self._writes = 0
        self._map_size = _address_space()
        self._open()

    def begin_read(self, txn: _LmdbRead) -> tuple[Any, dict[str, Any]]:
        """Begin a transaction; return it and the tables."""
        with self._mutex:
            try:
                began = self.env.begin()
            except lmdb.Error as error:
                began = self._begin_again(error)
            self.active.add(txn)
            return began, self.tables

    def begin_write(self, txn: _LmdbWrite) -> tuple[Any, dict[str, Any]]:
        """Wait for the writer before, of any thread and process, and begin."""
        if self._writer == threading.get_ident():
            raise errors.Storage("this thread already holds the write transaction")
        self._writing.acquire()
        self._writer = threading.get_ident()
        try:
            with self._mutex:
                self._prepare_write()
                self.active.add(txn)
            return self._begin_write(), self.tables
        except BaseException:
            self.end_write(txn)
            raise

    def end_read(self, txn: _LmdbRead) -> None:
        """Forget a read transaction."""
        self.active.discard(txn)

    def end_write(self, txn: _LmdbWrite) -> None:
        """Forget the write transaction and let the next one in."""
        self.active.discard(txn)
        self._writer = None
        self._writing.release()

    def upgrade(self) -> None:
        """Make an environment that was opened for reading writable."""
        with self._mutex:
            self._reopen(writable=True)

    def copy(self, target: Path) -> None:
        """Write a compact copy, synced, into an existing directory."""
        try:
            self.env.copy(str(target), compact=True)
        except lmdb.Error as error:
            self.fail(error)
        _sync(target / "data.mdb")
        datafile.record_origin(target)
        _sync(target)

    def readers(self) -> str:
        """Return the table of readers as text."""
        return str(self.env.readers())

    def close(self) -> None:
        """End every transaction and unmap the file."""
        self.env.close()

    def abandon(self) -> None:
        """In a forked child: drop the parent's objects without touching what they stand for.

        Closing them would free the reader slots of the parent; dropping them does nothing to it
        and lets the file be opened again.
        """
        for txn in list(self.active):
            txn.abandon()
        self.active.clear()
        self.env, self.tables = _ENDED, {}

    def fail(self, error: lmdb.Error) -> NoReturn:
        """Raise our error for one of LMDB's."""
        self.full = self.full or isinstance(error, lmdb.MapFullError)
        raise _translate(error, self.directory) from error

    def _open(self) -> None:
        try:
            self.env, self._map_size = _open_largest(
                self.directory, self._map_size, self.writable, self._lock_file
            )
            if self._lock_file:
                self.env.reader_check()
            self.tables = _open_tables(self.env, self.writable)
        except lmdb.Error as error:
            self.fail(error)

    def _reopen(self, *, map_size: int = 0, writable: bool = False) -> None:
        """Open again with a larger map or for writing; only while no transaction is open."""
        if self.active:
            raise errors.Storage("end every open transaction of this process and try again")
        self.env.close()
        self._map_size = max(self._map_size, map_size)
        self.writable = self.writable or writable
        self._open()

    def _prepare_write(self) -> None:
        """Drop the slots of killed readers now and then; enlarge a map that ran full."""
        if self._writes % _READER_CHECK_EVERY == 0:
            self.env.reader_check()
        self._writes += 1
        if self.full and not self.active:
            self._reopen(map_size=self._map_size * 2)
            self.full = False

    def _begin_write(self) -> Any:
        try:
            return self.env.begin(write=True)
        except lmdb.MapResizedError as error:
            self.full = True  # the next write enlarges the map, with no transaction open
            self.fail(error)
        except lmdb.Error as error:
            self.fail(error)

    def _begin_again(self, error: lmdb.Error) -> Any:
        """Try a second time after removing the cause; the mutex is held."""
        try:
            if isinstance(error, lmdb.ReadersFullError):
                self.env.reader_check()
                return self.env.begin()
            if isinstance(error, lmdb.MapResizedError):
                self._reopen(map_size=self._map_size * 2)
                return self.env.begin()
        except lmdb.Error as again:
            error = again
        self.fail(error)


class _Registry:
    """The environments that are open in this process, by device and inode of the data file."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()  # a finalizer may run while it is held
        self._open: dict[tuple[int, int], _Environment] = {}

    def acquire(self, directory: Path, writable: bool, lock: bool) -> _Environment:
        """Return the environment of a directory, opened if it is not, with one handle more."""
        with self._mutex:
            environment = self._open.get(_key(directory))
            if environment is None:
                _check(directory, lock)
                environment = _Environment(directory, writable, lock)
                self._open[_key(directory)] = environment
            elif writable and not environment.writable:
                environment.upgrade()
            environment.handles += 1
            return environment

    def release(self, environment: _Environment) -> None:
        """Take one handle away; close the environment after the last."""
        if environment.pid != os.getpid():
            return
        with self._mutex:
            environment.handles -= 1
            if not environment.handles:
                self._open = {k: e for k, e in self._open.items() if e is not environment}
                environment.close()

    def after_fork(self) -> None:
        """Start empty in a forked child; a lock may be held by a thread that is not there."""
        inherited, self._open = self._open, {}
        self._mutex = threading.RLock()
        for environment in inherited.values():
            environment.abandon()


class _Ended:
    """Stands for a transaction that is not open: whatever is asked of it raises."""

    def __getattr__(self, name: str) -> Any:
        raise errors.Storage("transaction has ended")


_ENDED: Final[Any] = _Ended()
_REGISTRY: Final = _Registry()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_REGISTRY.after_fork)


class _LmdbRead(ReadTxn):
    def __init__(self, environment: _Environment) -> None:
        self._environment = environment
        self._txn = _ENDED
        self._tables: dict[str, Any] = {}

    def __enter__(self) -> _LmdbRead:
        self._txn, self._tables = self._environment.begin_read(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        txn, self._txn = self._txn, _ENDED
        if txn is not _ENDED:
            txn.abort()
        self._environment.end_read(self)

    def abandon(self) -> None:
        """Forget the transaction of the parent process."""
        self._txn, self._tables = _ENDED, {}

    @property
    def txn_id(self) -> int:
        return int(self._txn.id())

    def get(self, table: str, key: bytes) -> bytes | None:
        check_key(key)
        try:
            value: bytes | None = self._txn.get(key, None, self._handle(table))
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
        exact = cursor.set_range(key) and cursor.key() == key
        return cursor.item() if exact or _before(cursor, key) else None

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        cursor = self._cursor(table)
        return cursor.item() if cursor.last() else None

    def count(self, table: str) -> int:
        return int(self._txn.stat(self._handle(table))["entries"])

    def _handle(self, table: str) -> Any:
        try:
            return self._tables[table]
        except KeyError:
            check_table(table)
            raise errors.Storage("transaction has ended") from None

    def _cursor(self, table: str) -> Any:
        try:
            return self._txn.cursor(self._handle(table))
        except lmdb.Error as error:
            self._fail(error)

    def _ascend(
        self, cursor: Any, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        try:
            if cursor.set_range(start):
                for entry in cursor.iternext():
                    if stop is not None and entry[0] >= stop:
                        return
                    yield entry
        except lmdb.Error as error:
            self._fail(error)

    def _descend(
        self, cursor: Any, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        try:
            if _before(cursor, stop):
                for entry in cursor.iterprev():
                    if entry[0] < start:
                        return
                    yield entry
        except lmdb.Error as error:
            self._fail(error)

    def _fail(self, error: lmdb.Error) -> NoReturn:
        if self._txn is _ENDED:
            raise errors.Storage("transaction has ended") from error
        self._environment.fail(error)


class _LmdbWrite(_LmdbRead, WriteTxn):
    _changes = 0

    def __enter__(self) -> _LmdbWrite:
        self._txn, self._tables = self._environment.begin_write(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        txn, self._txn = self._txn, _ENDED
        try:
            if kind is None:
                txn.commit()
            elif txn is not _ENDED:
                txn.abort()
        except lmdb.Error as failure:
            self._environment.fail(failure)
        finally:
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
            raise errors.Storage(f"cannot append to '{table}': key is not the greatest", key=key)

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


def _initialise(directory: Path) -> None:
    """Make the data file beside its place and link it in, so that a crash leaves all or nothing."""
    data = directory / "data.mdb"
    if data.exists():
        raise errors.AlreadyExists(f"a store exists in '{directory}'", path=directory)
    with TemporaryDirectory(prefix=".new-", dir=directory) as scratch:
        _make_tables(Path(scratch))
        try:
            os.link(Path(scratch) / "data.mdb", data)
        except FileExistsError as error:
            raise errors.AlreadyExists(
                f"a store exists in '{directory}'", path=directory
            ) from error
        except OSError:  # a file system without hard links
            (Path(scratch) / "data.mdb").rename(data)
    datafile.record_origin(directory)
    _sync(directory)


def _make_tables(directory: Path) -> None:
    try:
        env, _ = _open_largest(directory, _SMALLEST_MAP, True, True)
        _open_tables(env, True)
        env.close()
    except lmdb.Error as error:
        raise _translate(error, directory) from error


def _check(directory: Path, may_write: bool) -> None:
    """Refuse a data file that is truncated or a torn copy, before it is mapped."""
    data = directory / "data.mdb"
    copied = datafile.is_copy(directory)
    if not datafile.is_short(data) and not copied:
        return
    problems = _audit(data)
    if problems and (not copied or datafile.is_copy(directory)):
        raise errors.Integrity(
            f"store is damaged or was copied while it was written: '{data}' ({problems[0]})",
            path=data,
            problems=problems,
        )
    if copied and may_write:
        datafile.record_origin(directory)


def _audit(data: Path) -> list[str]:
    if sys.maxsize < 2**32:
        return []
    try:
        return list(verify.verify(str(data)))
    except verify.VerifyError as error:
        return [str(error)]


def _open_largest(
    directory: Path, map_size: int, writable: bool, lock: bool
) -> tuple[lmdb.Environment, int]:
    """Open with the largest map up to ``map_size`` for which there is address space."""
    while True:
        try:
            env = lmdb.open(
                str(directory),
                map_size=map_size,
                readonly=not writable,
                lock=lock,
                create=False,
                max_dbs=len(TABLES),
                max_readers=_MAX_READERS,
                max_spare_txns=0,  # a cached transaction would be damaged by a fork
                lib_version=0,
            )
        except lmdb.MemoryError:
            if map_size <= _SMALLEST_MAP:
                raise
            map_size //= 2
        else:
            return env, map_size


def _open_tables(env: lmdb.Environment, writable: bool) -> dict[str, Any]:
    """Open every table; only in a write transaction do the handles outlive it."""
    if not writable:
        return {table: env.open_db(table.encode(), create=False) for table in TABLES}
    with env.begin(write=True) as txn:
        return {table: env.open_db(table.encode(), txn=txn) for table in TABLES}


def _address_space() -> int:
    """Return how much to reserve: at most a quarter of what the process is allowed."""
    try:
        import resource
    except ImportError:
        return MAP_SIZE
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return MAP_SIZE if limit == resource.RLIM_INFINITY else min(MAP_SIZE, limit // 4)


def _may_write(directory: Path) -> bool:
    """Whether the data file and the lock file can be written."""
    lock = directory / "lock.mdb"
    return os.access(directory / "data.mdb", os.W_OK) and os.access(
        lock if lock.exists() else directory, os.W_OK
    )


def _refuse_network(directory: Path, allowed: bool) -> None:
    kind = None if allowed else network_file_system(directory)
    if kind is not None:
        raise errors.Storage(
            f"will not write a store on a network file system: '{directory}' is on {kind}",
            path=directory,
            kind=kind,
        )


def _key(directory: Path) -> tuple[int, int]:
    status = (directory / "data.mdb").stat()
    return status.st_dev, status.st_ino


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _translate(error: lmdb.Error, directory: Path) -> errors.SimgitError:
    """Return our error for one of LMDB's."""
    where = f"'{directory}': {error}"
    if isinstance(error, _DAMAGE):
        return errors.Integrity(f"store is damaged: {where}", path=directory)
    if isinstance(error, lmdb.NotFoundError):
        return errors.Integrity(f"store lacks a table: {where}", path=directory)
    if isinstance(error, lmdb.BadValsizeError):
        return errors.InvalidInput(f"key or value has a size that cannot be stored: {where}")
    if isinstance(error, (lmdb.MapFullError, lmdb.MapResizedError)):
        return errors.Storage(
            f"address space of the store is used up; it will be enlarged, try again: {where}",
            path=directory,
        )
    if isinstance(error, lmdb.ReadersFullError):
        return errors.Storage(f"too many read transactions are open: {where}", path=directory)
    return errors.Storage(f"storage failed (is the disk full?): {where}", path=directory)
