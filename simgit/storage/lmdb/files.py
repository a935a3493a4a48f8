"""Creating, checking and opening the files of an LMDB store; translating LMDB's errors."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import lmdb

from simgit import errors
from simgit.storage import datafile
from simgit.storage.base import OPTIONAL, TABLES
from simgit.storage.durable import sync
from simgit.storage.failpoints import fail_point
from simgit.storage.lmdb import reserve
from simgit.storage.mounts import network_file_system

MAP_SIZE: Final = 1 << (40 if sys.maxsize > 2**32 else 30)
"""Address space in bytes reserved for the file; it costs nothing until it is used."""

_SMALLEST_MAP: Final = 1 << 24
_MAX_READERS: Final = 1022
_DAMAGE: Final = (
    lmdb.BadTxnError,  # it met damage before, without an error
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)
_SCRATCH: Final = ".new-"
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOTHING: Final = 64 << 10
_ROOM: Final = "delete runs that are not needed, and run 'simgit gc --expire now --grace now'"


def initialise(directory: Path) -> None:
    """Create the data file, atomically: a crash leaves all of it or nothing."""
    data = directory / "data.mdb"
    if data.exists():
        raise errors.AlreadyExists(f"a store already exists in '{directory}'", path=directory)
    with scratch(directory) as place:
        _make_tables(place)
        fail_point("init.made")
        try:
            os.link(place / "data.mdb", data)
        except FileExistsError as error:
            raise errors.AlreadyExists(
                f"a store already exists in '{directory}'", path=directory
            ) from error
        except OSError:  # a file system without hard links
            (place / "data.mdb").rename(data)
        fail_point("init.linked")
    datafile.record_origin(directory)
    sync(directory)


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """Yield a directory beside the data file, on its file system, that is removed afterwards."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix=_SCRATCH, dir=directory) as place:
        yield Path(place)


def put_in_place(place: Path, directory: Path) -> None:
    """Move a complete and synced data file into place, durably."""
    (place / "data.mdb").replace(directory / "data.mdb")
    fail_point("copy.moved")
    datafile.record_origin(directory)
    sync(directory)


def discard(directory: Path) -> None:
    """Remove a data file, and the files of killed processes beside it."""
    (directory / "data.mdb").unlink(missing_ok=True)
    sweep(directory)


def sweep(directory: Path) -> None:
    """Remove the scratch directories of killed processes; only while no other process is active."""
    from shutil import rmtree

    for place in directory.glob(_SCRATCH + "*"):
        rmtree(place, ignore_errors=True)
    datafile.sweep(directory)


def _make_tables(directory: Path) -> None:
    try:
        env, _ = open_largest(directory, _SMALLEST_MAP, True, True)
        open_tables(env, True)
        env.close()
    except lmdb.Error as error:
        raise translate(error, directory) from error


def check(directory: Path, may_write: bool) -> None:
    """Refuse a data file that is truncated or a torn copy, before it is mapped."""
    data = directory / "data.mdb"
    copied = datafile.is_copy(directory)
    if not datafile.is_short(data) and not copied:
        return
    problems = audit(data)
    if problems and (not copied or datafile.is_copy(directory)):
        raise errors.IntegrityError(
            _refusal(data, copied, problems[0]), path=data, problems=problems
        )
    if copied and may_write:
        with suppress(OSError):  # else it will be audited again
            datafile.record_origin(directory)


def _refusal(data: Path, copied: bool, problem: str) -> str:
    if not copied:
        return f"store is truncated: '{data}' ({problem})"
    return (
        f"store was copied while it was written, or is damaged: '{data}' ({problem}); "
        "copy it with 'simgit clone', which is safe at any time"
    )


def audit(data: Path) -> list[str]:
    """Return the faults in the structure of a data file, which is read and not mapped."""
    if sys.maxsize < 2**32:
        return []
    from lmdb import verify

    try:
        return list(verify.verify(str(data)))  # type: ignore[no-untyped-call]
    except verify.VerifyError as error:
        return [str(error)]


def open_largest(
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
                mode=0o666,  # less the umask
                max_spare_txns=0,  # a cached transaction would be damaged by a fork
                lib_version=0,
            )
        except lmdb.MemoryError:
            if map_size <= _SMALLEST_MAP:
                raise
            map_size //= 2
        else:
            return env, map_size


def open_tables(env: lmdb.Environment, writable: bool) -> dict[str, Any]:
    """Open every table; only in a write transaction do the handles outlive it.

    Only a writer makes the optional ones; a reader goes without those that are not there.
    """
    if not writable:
        tables = {}
        for table in TABLES:
            try:
                tables[table] = env.open_db(table.encode(), create=False)
            except lmdb.NotFoundError:
                if table not in OPTIONAL:
                    raise
        return tables
    with env.begin(write=True) as txn:
        return {table: env.open_db(table.encode(), txn=txn) for table in TABLES}


def inode(directory: Path) -> int:
    """Return the inode of the data file, which changes when it is replaced."""
    return (directory / "data.mdb").stat().st_ino


def address_space() -> int:
    """Return the address space to reserve, at most a quarter of the process's limit."""
    try:
        import resource
    except ImportError:
        return MAP_SIZE
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return MAP_SIZE if limit == resource.RLIM_INFINITY else min(MAP_SIZE, limit // 4)


def may_write(directory: Path) -> bool:
    """Return True if the data file and the lock file can be written."""
    lock = directory / "lock.mdb"
    return os.access(directory / "data.mdb", os.W_OK) and os.access(
        lock if lock.exists() else directory, os.W_OK
    )


def may_register(directory: Path) -> bool:
    """Return True if readers can enter LMDB's table of readers, so that writers keep their pages.

    A user who cannot write the store must not create its lock file, which would then be theirs.
    """
    lock = directory / "lock.mdb"
    return os.access(lock, os.W_OK) if lock.exists() else may_write(directory)


def refuse_network(directory: Path, allowed: bool) -> None:
    kind = None if allowed else network_file_system(directory)
    if kind is not None:
        raise errors.StorageError(
            f"cannot write a store on a network file system: '{directory}' is on {kind}",
            path=directory,
            kind=kind,
        )


def translate(error: lmdb.Error, directory: Path, tight: bool = False) -> errors.SimgitError:
    """Return simgit's error for one of LMDB's; ``tight``: the map cannot be enlarged."""
    where = f"'{directory}': {error}"
    if isinstance(error, _DAMAGE):
        return errors.IntegrityError(f"store is damaged: {where}", path=directory)
    if isinstance(error, lmdb.NotFoundError):
        return errors.IntegrityError(f"store lacks a table: {where}", path=directory)
    if isinstance(error, lmdb.BadValsizeError):
        return errors.InvalidInput(f"key or value is too large: {where}")
    if isinstance(error, lmdb.MapFullError) and tight:
        return errors.StorageFullError(
            f"address space is used up; {_ROOM}: {where}", path=directory
        )
    if isinstance(error, (lmdb.MapFullError, lmdb.MapResizedError)):
        return errors.StorageFullError(
            f"address space of the store is used up; it will be enlarged, try again: {where}",
            path=directory,
        )
    if is_full(error, directory):
        return errors.StorageFullError(f"disk is full; {_ROOM}: {where}", path=directory)
    if isinstance(error, lmdb.ReadersFullError):
        return errors.StorageError(f"too many read transactions are open: {where}", path=directory)
    if "already open in this process" in str(error):
        return errors.StorageError(
            f"process was forked while a transaction was in use: {where}", path=directory
        )
    return errors.StorageError(f"storage failed: {where}", path=directory)


def failed(error: OSError, what: str, directory: Path) -> errors.StorageError:
    """Return simgit's error for one of the operating system's."""
    kind = errors.StorageFullError if error.errno in _NO_SPACE else errors.StorageError
    return kind(f"cannot {what} '{directory}': {errors.reason(error)}", path=directory)


def is_full(error: lmdb.Error, directory: Path) -> bool:
    """Return True if the disk was full (LMDB reports a short write as an I/O error)."""
    if isinstance(error, lmdb.DiskError) or os.strerror(errno.EFBIG) in str(error):
        return True
    with suppress(OSError):
        return os.strerror(errno.EIO) in str(error) and reserve.free(directory) < _NOTHING
    return False
