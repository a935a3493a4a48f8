"""The LMDB environments of this process: one per file, shared by handles, abandoned by a child."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import lmdb

from simgit import errors
from simgit.storage import datafile, regular
from simgit.storage.durable import sync
from simgit.storage.failpoints import fail_point
from simgit.storage.lmdb import files, reserve
from simgit.storage.lmdb.lease import Lease, LoneLease
from simgit.storage.lmdb.transactions import ENDED

if TYPE_CHECKING:
    from simgit.storage.lmdb.transactions import LmdbRead, LmdbWrite

_READER_CHECK_EVERY: Final = 16
_FORK_WAIT: Final = 2.0
_OPENED: Final = itertools.count()
"""The number of times this process (or those that it was forked from) has opened a file."""


class Environment:
    """One LMDB environment of this process, shared by its handles and transactions."""

    def __init__(self, directory: Path, writable: bool, lock: bool) -> None:
        self.pid: Final = os.getpid()
        self.directory: Final = directory
        self.handles = 0
        self.writable = writable
        self.full = False
        self._tight = False
        self._spending = False
        self.opened = 0
        self.active: dict[LmdbRead, int] = {}
        self._forking = False
        self.registered = lock
        self._lease = Lease(directory) if lock else LoneLease(directory)
        self._mutex = threading.Lock()
        self._writing = threading.Lock()
        self._writer: int | None = None
        self._writes = 0
        self._map_size = files.address_space()
        self.tables: dict[str, Any] = {}
        try:
            self._lease.keep_writers_out()
            try:
                files.check(directory, lock)
                self._open()
            finally:
                self._lease.let_writers_in()
            if writable:
                reserve.keep(directory)
        except BaseException:
            self._lease.close()
            raise

    def begin_read(self, txn: LmdbRead) -> tuple[Any, dict[str, Any]]:
        """Begin a transaction; return it and the tables."""
        if self._forking:
            self._wait_for_fork()
        with self._mutex:
            if self._lease.keep_writers_out():
                self._follow()
            try:
                began = self._begin_read()
            except BaseException:
                self._lease.let_writers_in()
                raise
            self.active[txn] = threading.get_ident()
            return began, self.tables

    def _begin_read(self) -> Any:
        try:
            return self.env.begin()
        except lmdb.Error as error:
            return self._begin_again(error)

    @property
    def is_writing(self) -> bool:
        """True if this thread holds the write transaction."""
        return self._writer == threading.get_ident()

    @property
    def is_deleted(self) -> bool:
        """True if the store was deleted while it was open: what is written is lost."""
        return self._lease.is_deleted

    def begin_write(self, txn: LmdbWrite) -> tuple[Any, dict[str, Any]]:
        """Wait for the writer before, of any thread and process, and begin."""
        if self.is_writing:
            raise errors.StorageError("this thread already holds the write transaction")
        if self.is_deleted:
            raise errors.StorageError(
                f"store was deleted while it was open: '{self.directory}'", path=self.directory
            )
        if self._forking:
            self._wait_for_fork()
        self._writing.acquire()
        self._writer = threading.get_ident()
        try:
            with self._mutex:
                self._prepare_write()
                self.active[txn] = threading.get_ident()
            fail_point("write.begins")
            return self._begin_write(txn), self.tables
        except BaseException:
            self.end_write(txn)
            raise

    def end_read(self, txn: LmdbRead) -> None:
        """Forget a read transaction."""
        if self.active.pop(txn, None) is not None:
            self._lease.let_writers_in()

    def end_write(self, txn: LmdbWrite) -> None:
        """Forget the write transaction and let the next one in."""
        self.active.pop(txn, None)
        self._writer = None
        self._writing.release()

    def upgrade(self) -> None:
        """Make an environment that was opened for reading writable, and seen by other writers."""
        with self._mutex:
            if not self.registered and not self.active:
                self._lease, self.registered = Lease(self.directory), True
            self._reopen(writable=True)

    def give_up_reserve(self) -> bool:
        """Let writers use the reserved space; return True if there is any."""
        with self._mutex:
            enlarged = self.full and not self.active
            if enlarged:
                self._spending = True
                self._reopen(enlarge=True)
                self.full = False
        return reserve.give_up(self.directory) or enlarged

    def keep_reserve(self) -> None:
        """Reserve space again."""
        with self._mutex:
            if self._spending and not self.active:
                self._spending = False
                self._reopen()
        reserve.keep(self.directory)

    def copy(self, target: Path) -> None:
        """Write a compact copy, synced, into an existing directory."""
        try:
            self.env.copy(str(target), compact=True)
        except lmdb.Error as error:
            self.fail(error)
        sync(target / "data.mdb")
        datafile.record_origin(target)

    def is_alone(self) -> bool:
        """Return True if no other process holds the lease, and no thread a transaction."""
        if self.is_writing:
            return False
        with self._writing, self._mutex:
            if self.active:
                return False
            try:
                return self._lease.acquire_alone()
            finally:
                self._lease.share()
                self._follow()

    def compact(self) -> bool:
        """Replace the file by a compact copy if no other process has it open; return True if so."""
        if self._writer == threading.get_ident():
            return False
        with self._writing, self._mutex:
            if self.active:
                return False
            if not self._lease.acquire_alone():
                self._follow()
                return False
            try:
                self._replace_file()
            except OSError as error:
                raise files.failed(error, "compact the store in", self.directory) from error
            finally:
                self._lease.share()
                self._follow()
        return True

    def _replace_file(self) -> None:
        """Replace the file by a compact copy; keep the old one if that fails."""
        files.sweep(self.directory)
        with files.scratch(self.directory) as scratch:
            fail_point("compact.begun")
            self.copy(scratch)
            self.env.close()
            try:
                fail_point("compact.copied")
                files.put_in_place(scratch, self.directory)
            finally:
                self._open()

    def _follow(self) -> None:
        """Open the file again if it was replaced while this process was without the lease.

        Going from one kind of lock to the other gives it up for a moment, in which another process
        may get it. Writes of this process to the old file would be lost.
        """
        if self._inode != files.inode(self.directory):
            self.env.close()
            self._open()

    def used(self) -> int:
        """Return the bytes of the pages in use."""
        with self.env.begin() as txn:
            stats = [self.env.stat(), *(txn.stat(table) for table in self.tables.values())]
        pages = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)
        return int(stats[0]["psize"] * (pages + 2))

    def readers(self) -> str:
        """Return the table of readers as text."""
        return str(self.env.readers())

    def close(self) -> None:
        """End every transaction and unmap the file."""
        self.env.close()
        self._lease.close()

    def before_fork(self) -> None:
        """Let the transactions of other threads end, and no new one begin.

        The child would inherit the locks of those threads and could never release them.
        After a while the fork happens anyway: such a child gets an error, not damage.
        """
        self._forking, deadline = True, time.monotonic() + _FORK_WAIT
        self._mutex.acquire()
        while self._others() and time.monotonic() < deadline:
            self._mutex.release()
            time.sleep(0.0002)
            self._mutex.acquire()

    def after_fork(self) -> None:
        """Resume in the parent."""
        self._mutex.release()
        self._forking = False

    def abandon(self) -> None:
        """Drop the parent's objects in a forked child, without closing what they stand for.

        Closing them would free the reader slots of the parent; dropping them does nothing to it
        and lets the file be opened again.
        """
        for txn in list(self.active):
            txn.abandon()
        self.active.clear()
        self._lease.close()
        self.env, self.tables = ENDED, {}

    def fail(self, error: lmdb.Error) -> NoReturn:
        """Raise simgit's error for one of LMDB's."""
        self.full = self.full or isinstance(error, lmdb.MapFullError)
        raise files.translate(error, self.directory, self._tight) from error

    def _others(self) -> bool:
        """Return True if another thread has a transaction."""
        me = threading.get_ident()
        return any(thread != me for thread in list(self.active.values()))

    def _wait_for_fork(self) -> None:
        """Wait, unless this thread has a transaction that the fork waits for."""
        me = threading.get_ident()
        while self._forking and me not in list(self.active.values()):
            time.sleep(0.0002)

    def _open(self) -> None:
        try:
            regular.check(self.directory, *self._written())
            self._inode = files.inode(self.directory)  # of what the lease protects
            self.env, found = files.open_largest(
                self.directory, self._map_size, self.writable, self.registered
            )
            self._check_opened()
            self._tight = self._tight or found < self._map_size
            self._map_size = found
            if not self._spending:  # now it is known that the reserve fits, too
                self.env.set_mapsize(found - reserve.wanted(found))
            if self.registered:
                self.env.reader_check()
            self.tables = files.open_tables(self.env, self.writable)
            self.opened = next(_OPENED)
        except lmdb.Error as error:
            self.fail(error)

    def _written(self) -> tuple[str, ...]:
        """Return the names of the files that LMDB and simgit will write in their place."""
        return ("lock.mdb",) * self.registered + ("data.mdb", "reserve") * self.writable

    def _check_opened(self) -> None:
        """Check the files again: LMDB opens them by name, and follows links."""
        try:
            regular.check(self.directory, *self._written())
        except BaseException:
            self.env.close()
            raise

    def _reopen(self, *, enlarge: bool = False, writable: bool = False) -> None:
        """Open again with a larger map or for writing; only while no transaction is open."""
        if self.active:
            raise errors.StorageError("end every open transaction of this process and try again")
        self.env.close()
        if enlarge:  # beyond the file too, which another process may have enlarged
            length = (self.directory / "data.mdb").stat().st_size
            self._map_size = 2 * max(self._map_size, length)
        self.writable = self.writable or writable
        self._open()

    def _prepare_write(self) -> None:
        """Drop the slots of killed readers now and then; enlarge a full map."""
        if self._writes % _READER_CHECK_EVERY == 0:
            self.env.reader_check()
        self._writes += 1
        if self.full and not self.active:
            self._reopen(enlarge=True)
            self.full = False

    def _begin_write(self, txn: LmdbWrite) -> Any:
        try:
            try:
                return self.env.begin(write=True)
            except lmdb.PanicError:
                self._recover(txn)
                return self.env.begin(write=True)
        except lmdb.MapResizedError as error:
            self.full = True  # the next write enlarges the map, with no transaction open
            self.fail(error)
        except lmdb.Error as error:
            self.fail(error)

    def _recover(self, txn: LmdbWrite) -> None:
        """Open again after an unfinished commit: LMDB refuses everything until then."""
        with self._mutex:
            self.active.pop(txn, None)
            self._reopen()
            self.active[txn] = threading.get_ident()

    def _begin_again(self, error: lmdb.Error) -> Any:
        """Try a second time after removing the cause; the mutex is held."""
        try:
            if isinstance(error, lmdb.ReadersFullError):
                self.env.reader_check()
                return self.env.begin()
            if isinstance(error, (lmdb.MapResizedError, lmdb.PanicError)):
                self._reopen(enlarge=isinstance(error, lmdb.MapResizedError))
                return self.env.begin()
        except lmdb.Error as again:
            error = again
        return self.fail(error)


class OpenEnvironments:
    """The environments that are open in this process, by device and inode of the directory.

    Not of the data file, which compaction replaces by another.
    """

    def __init__(self) -> None:
        self._mutex = threading.RLock()  # a finalizer may run while it is held
        self._open: dict[tuple[int, int], Environment] = {}

    def acquire(self, directory: Path, writable: bool, lock: bool) -> Environment:
        """Return the environment of a directory, opened if needed, with one more handle."""
        with self._mutex:
            environment = self._open.get(_file_key(directory))
            if environment is not None and environment.is_deleted:  # an inode comes again
                self._open[-1, id(environment)] = self._open.pop(_file_key(directory))
                environment = None
            if environment is None:
                environment = Environment(directory, writable, lock)
                self._open[_file_key(directory)] = environment
            elif writable and not environment.writable:
                environment.upgrade()
            environment.handles += 1
            return environment

    def release(self, environment: Environment) -> None:
        """Take one handle away; close the environment after the last."""
        if environment.pid != os.getpid():
            return
        with self._mutex:
            environment.handles -= 1
            if not environment.handles:
                self._open = {k: e for k, e in self._open.items() if e is not environment}
                environment.close()

    def before_fork(self) -> None:
        """Bring every environment to rest."""
        self._mutex.acquire()
        for environment in self._open.values():
            environment.before_fork()

    def after_fork_in_parent(self) -> None:
        """Resume in the parent."""
        for environment in self._open.values():
            environment.after_fork()
        self._mutex.release()

    def after_fork_in_child(self) -> None:
        """Start empty in a forked child; a lock may be held by a thread that it does not have."""
        inherited, self._open = self._open, {}
        self._mutex = threading.RLock()
        for environment in inherited.values():
            environment.abandon()


def _file_key(directory: Path) -> tuple[int, int]:
    status = directory.stat()
    return status.st_dev, status.st_ino


REGISTRY: Final = OpenEnvironments()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=REGISTRY.before_fork,
        after_in_parent=REGISTRY.after_fork_in_parent,
        after_in_child=REGISTRY.after_fork_in_child,
    )
