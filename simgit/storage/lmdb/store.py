"""The handle on an LMDB store."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from simgit import errors
from simgit.storage import regular
from simgit.storage.base import Storage
from simgit.storage.durable import make_directories
from simgit.storage.lmdb import files
from simgit.storage.lmdb.environment import REGISTRY, Environment
from simgit.storage.lmdb.transactions import LmdbRead, LmdbWrite
from simgit.storage.mounts import network_file_system


class LmdbStorage(Storage):
    """Tables in an LMDB environment; several handles in one process share the environment."""

    def __init__(self, directory: Path, environment: Environment, read_only: bool) -> None:
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
        files.refuse_network(directory, allow_network)
        try:
            directory.mkdir(exist_ok=True)
            files.initialise(directory)
        except OSError as error:
            raise files.failed(error, "create a store in", directory) from error
        return cls.open(directory, allow_network=allow_network)

    @classmethod
    def open(
        cls, directory: Path | str, read_only: bool = False, *, allow_network: bool = False
    ) -> LmdbStorage:
        """Open the store of a directory, for reading only where it cannot be written.

        Raise ``NotFound`` if there is none and ``IntegrityError`` if its file is damaged.
        Opening for writing waits for a running write, opening for reading does not.
        A copied store is audited on first use (some 20 MB/s), because a copy may be torn.
        Where even the lock file cannot be written, and over a network, the store can only be read
        while no process that may write has it open; reading raises ``StorageError`` otherwise.
        """
        directory = Path(directory).absolute()
        if not (directory / "data.mdb").exists():
            raise errors.NotFound(f"no store in '{directory}'", path=directory)
        if not read_only:
            files.refuse_network(directory, allow_network)
        regular.check(directory)
        network = network_file_system(directory) is not None and not allow_network
        may_write = not network and files.may_write(directory)
        lock = not network and files.may_register(directory)
        environment = REGISTRY.acquire(directory, may_write and not read_only, lock)
        return cls(directory, environment, read_only or not may_write)

    @staticmethod
    def discard(directory: Path | str) -> None:
        """Remove a store that is not in use yet, and the files of a killed copy."""
        files.discard(Path(directory))

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same directory where it is unpickled."""
        return type(self).open, (self._directory, self._read_only)

    @property
    def path(self) -> Path:
        """Return the directory."""
        return self._directory

    @property
    def read_only(self) -> bool:
        """True if ``write`` is refused."""
        return self._read_only

    def read(self) -> LmdbRead:
        """Begin a read transaction."""
        return LmdbRead(self, self._environment())

    def write(self) -> LmdbWrite:
        """Begin the write transaction."""
        environment = self._environment()
        if self._read_only:
            raise errors.StorageError(
                f"store is read-only: '{self._directory}'", path=self._directory
            )
        return LmdbWrite(self, environment)

    def spare(self) -> int:
        """Return the bytes of the pages that belong to no table."""
        with self.read():  # as long as it lasts, no other thread replaces the file
            return self.size() - self._environment().used()

    def audit(self) -> list[str]:
        """Return the faults in the pages of the file; large values are not read.

        The write transaction is held meanwhile, so that no one writes.
        """
        if self._read_only:
            return files.audit(self._directory / "data.mdb")
        with self.write():
            return files.audit(self._directory / "data.mdb")

    def size(self) -> int:
        """Return the length of the data file."""
        self._environment()
        return (self._directory / "data.mdb").stat().st_size

    def is_alone(self) -> bool:
        """Return True if no other process has the store open; it may be opened right after."""
        return self._environment().is_alone()

    @property
    def is_writing(self) -> bool:
        """True if this thread holds the write transaction."""
        return not self._closed and self._environment().is_writing

    @property
    def is_deleted(self) -> bool:
        """True if the store was deleted while it was open."""
        return not self._closed and self._environment().is_deleted

    def close(self) -> None:
        """Release the environment; the last handle closes it and ends its transactions."""
        self._closed = True
        self._release()

    def copy_to(
        self,
        directory: Path | str,
        prepare: Callable[[LmdbStorage], None] | None = None,
        *,
        allow_network: bool = False,
    ) -> None:
        """Write a consistent, compact copy into a directory, also while others write here.

        The copy is written beside its final path, changed by ``prepare``, synced, and then moved.
        Raise ``AlreadyExists`` if there is a store already.
        """
        target = Path(directory).absolute()
        if (target / "data.mdb").exists():
            raise errors.AlreadyExists(f"a store already exists in '{target}'", path=target)
        try:
            make_directories(target)
            files.refuse_network(target, allow_network)
            with files.scratch(target) as place:
                self._copy(place, prepare)
                files.put_in_place(place, target)
        except OSError as error:
            raise files.failed(error, "copy the store to", target) from error

    def _copy(self, place: Path, prepare: Callable[[LmdbStorage], None] | None) -> None:
        with self.read():  # as long as it lasts, no other thread replaces the file
            self._environment().copy(place)
        if prepare is not None:
            with closing(LmdbStorage.open(place, allow_network=True)) as made:
                prepare(made)

    def compact(self) -> bool:
        """Give unused space back to the file system, if no other process has the store open."""
        environment = self._environment()
        return not self._read_only and environment.compact()

    def give_up_reserve(self) -> bool:
        """Let the next transactions use the reserved space; return True if there was any."""
        environment = self._environment()
        return not self._read_only and environment.give_up_reserve()

    def keep_reserve(self) -> None:
        """Reserve space again, on the disk and in the map."""
        if not self._read_only:
            self._environment().keep_reserve()

    def readers(self) -> str:
        """Return LMDB's table of the read transactions of all processes, for people to read."""
        return self._environment().readers()

    def _environment(self) -> Environment:
        if self._closed:
            raise errors.StorageError(f"store is closed: '{self._directory}'", path=self._directory)
        if self._shared.pid != os.getpid():
            self._release.detach()
            writable = not self._read_only
            self._hold(REGISTRY.acquire(self._directory, writable, self._shared.registered))
        return self._shared

    def _hold(self, environment: Environment) -> None:
        self._shared = environment
        self._release = weakref.finalize(self, REGISTRY.release, environment)
