"""What every part of the facade stands on: opening, closing, finding states."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from simgit.errors import AlreadyExists, NotFound, StorageError, reason
from simgit.objects.oid import SHORT, Oid
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.refs.oplog.journal import Journal, JournalTxn
from simgit.refs.oplog.log import OperationLog
from simgit.refs.refs import Refs
from simgit.refs.revision import Resolved, Revisions
from simgit.refs.runs import Runs
from simgit.repository.background import Upkeep
from simgit.storage.base import ReadTxn, Storage
from simgit.storage.directory import (
    DIRECTORY,
    check_format,
    find_repository,
    is_repository,
    repository_directory,
    write_format,
)
from simgit.storage.durable import make_directories
from simgit.storage.failpoints import fail_point
from simgit.storage.memory import MemoryStorage

MEMORY: Final = ":memory:"


class RepositoryBase:
    """What every part of the facade stands on: opening, closing, finding states."""

    def __init__(self, storage: Storage, directory: Path | None) -> None:
        self._storage = storage
        self.directory = directory
        self.odb = ObjectDatabase(storage)
        self.refs = Refs()
        self.runs_ = Runs(self.odb, self.refs)
        self.revisions = Revisions(self.odb, self.refs)
        self.oplog = OperationLog()
        self._command: Journal | None = None
        self._joined = threading.local()
        self._upkeep = Upkeep(self.odb.on(storage), self.refs)  # what it does is no operation
        # no cycle: a handle is closed by the last reference to it
        mine = weakref.WeakMethod(self._upkeep.after_write)
        self.odb.after_write = lambda: (found := mine()) and found()

    @classmethod
    def init(cls, path: str | Path = ".") -> Self:
        """Create ``path/.simgit`` and return the repository; ``":memory:"`` makes one in memory.

        Raises:
            AlreadyExists: there is one already.
            StorageError: the directory cannot be written.
        """
        if str(path) == MEMORY:
            return cls(MemoryStorage(), None)
        from simgit.storage.lmdb import LmdbStorage

        directory = Path(path).resolve() / DIRECTORY
        if is_repository(directory):
            raise AlreadyExists(f"repository '{directory}' already exists")
        try:
            make_directories(directory)
        except OSError as error:
            raise StorageError(f"cannot create '{directory}': {reason(error)}") from None
        try:
            storage = LmdbStorage.create(directory)
        except AlreadyExists:
            # an earlier init was cut off before it noted the format, which it does last
            storage = LmdbStorage.open(directory)
        fail_point("init.format")
        write_format(directory)
        return cls(storage, directory)

    @classmethod
    def clone(cls, source: str | Path, target: str | Path) -> Self:
        """Make ``target/.simgit`` a compact copy of a repository and return it.

        It is the copy of one moment, also while other processes record into the source, which may
        lie on media that cannot be written. No run of it is marked as being written.

        Raises:
            NotFound: there is no repository at the source.
            AlreadyExists: there is one at the target.
            StorageError: the target cannot be written; or the source's ``lock.mdb`` cannot, and the
                source is written too often to be copied without it.
        """
        from simgit.remotes.clone import clone

        found = repository_directory(Path(source).resolve())
        check_format(found)
        directory = Path(target).resolve() / DIRECTORY
        clone(found, directory)
        return cls.open(directory)

    @classmethod
    def open(cls, path: str | Path = ".", *, read_only: bool = False) -> Self:
        """Open the repository that ``path`` is, or has as its ``.simgit``.

        A directory that cannot be written is opened read-only. If even its ``lock.mdb`` cannot be
        written, it is read only while no process that may write has it open.

        Raises:
            NotFound: there is none.
            StorageError: such a process has it open.
            FormatError: it was written by a newer version of simgit.
            IntegrityError: its file is damaged.
        """
        from simgit.storage.lmdb import LmdbStorage

        directory = repository_directory(Path(path).resolve())
        check_format(directory)
        return cls(LmdbStorage.open(directory, read_only=read_only), directory)

    def again(self) -> Self:
        """Open the repository once more; what both write under a command is one operation.

        The other handle stays open when this one is closed. In memory there is but this one.
        """
        if self.directory is None:
            return self
        other = self.open(self.directory)
        if self._command is not None:
            other._command = self._command.on(other._storage)
        return other

    @classmethod
    def discover(cls, start: str | Path = ".", *, read_only: bool = False) -> Self:
        """Open the repository of a directory or of the nearest one above it.

        Raises:
            NotFound: there is none.
        """
        return cls.open(find_repository(Path(start).resolve()), read_only=read_only)

    def close(self) -> None:
        """Close the repository; closing it twice is fine."""
        try:
            self._upkeep.close()
        finally:  # also if Ctrl-C ends that
            self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written."""
        return self._storage.read_only

    @property
    def worktree(self) -> Path | None:
        """The directory whose ``.simgit`` this is, None in memory."""
        return self.directory.parent if self.directory else None

    def size(self) -> int:
        """Return the bytes that the store takes on disk."""
        return self._storage.size()

    def _read(self) -> AbstractContextManager[ReadTxn]:
        txn: ReadTxn | None = getattr(self._joined, "txn", None)
        return self.odb.read() if txn is None else nullcontext(txn)

    # --- what is written, as one operation ---

    def name_command(self, command: str, *arguments: object) -> None:
        """Log whatever this object does from now on as one operation, under a name of its own."""
        self._command = Journal(self._storage, self.oplog, command, arguments, program=False)

    @contextmanager
    def transaction(self, command: str = "transaction", *arguments: object) -> Iterator[None]:
        """Do what this thread does in the block in one transaction, and log it as one operation.

        If the block raises, nothing was done. Recorders cannot flush in it.
        """
        with self._write(command, *arguments):
            yield

    @contextmanager
    def _write(
        self,
        command: str,
        *arguments: object,
        files: bool = False,
        reverts: int | None = None,
    ) -> Iterator[JournalTxn]:
        """Begin the write transaction of a command, or join that of ``transaction``."""
        txn: JournalTxn | None = getattr(self._joined, "txn", None)
        if txn is not None:
            txn.mark(files)
            yield txn
            return
        with self._journaled(command, *arguments, files=files, reverts=reverts).write() as begun:
            assert isinstance(begun, JournalTxn)
            self._joined.txn = begun
            try:
                yield begun
            finally:
                self._joined.txn = None

    def _journaled(
        self,
        command: str,
        *arguments: object,
        session: bool = False,
        files: bool = False,
        reverts: int | None = None,
        always: bool = False,
    ) -> ObjectDatabase:
        """Return the object database for the writes of a command, which become one operation."""
        journal = self._command
        if journal is None:
            journal = Journal(self._storage, self.oplog, command, arguments)
        journal.mark(session=session, files=files, reverts=reverts, always=always)
        return self.odb.on(journal)

    def resolve(self, revision: str | Oid) -> Oid:
        """Return the oid of the state that a revision names; see simgit/revision.py.

        Raises:
            NotFound: there is none.
            InvalidInput: the text is no revision, or is ambiguous (``candidates`` lists what fits).
        """
        with self._read() as txn:
            return self._resolve(txn, revision).oid

    def _resolve(self, txn: ReadTxn, revision: str | Oid) -> Resolved:
        if isinstance(revision, Oid):
            return Resolved(revision, self.odb.locate(txn, revision))
        return self.revisions.resolve(txn, revision)

    def _tips(self, txn: ReadTxn) -> list[Location]:
        """Return the places that refs point at: HEAD's first, then by step, the newest first."""
        tips = [ref.place for _, ref in self.refs.runs(txn) if ref.oid is not None]
        tips += [self.odb.locate(txn, ref.oid) for _, ref in self.refs.tags(txn)]
        tips.sort(key=lambda place: -place.step)
        head = self.refs.head_oid(txn)
        return ([self.odb.locate(txn, head)] if head is not None else []) + tips

    def _head_run(self, txn: ReadTxn) -> str:
        head = self.refs.head(txn)
        if isinstance(head, Oid):
            raise NotFound("HEAD is detached: name a run")
        if not self.refs.has_run(txn, head):
            raise NotFound(f"HEAD points at run '{head}', which has no states yet", name=head)
        return head

    @property
    def abbreviation(self) -> int:
        """How many hex digits of an oid listings show: enough for the states that can be there."""
        most = self._storage.size() // 12  # no state takes less on disk
        return max(SHORT, most.bit_length() // 2 + 1)
