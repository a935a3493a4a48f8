"""An open store: its objects and refs, and the transactions that read and write them.

The parts of the repository all work on one ``Store``. Its methods take the transaction that they
read in; a write transaction becomes one operation of the operation log.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from simgit.errors import AlreadyExists, NotFound, StorageError, reason
from simgit.objects.oid import Oid
from simgit.odb import foreign
from simgit.odb.database import ObjectDatabase
from simgit.refs.refs import Refs
from simgit.refs.revision import Resolved, Revisions
from simgit.refs.runs import Runs
from simgit.storage.base import ReadTxn, Storage
from simgit.storage.directory import (
    DIRECTORY,
    check_format,
    is_repository,
    repository_directory,
    write_format,
)

if TYPE_CHECKING:
    from pathlib import Path

    from simgit.recording.flush import RecorderBase
    from simgit.refs.oplog.journal import Journal, JournalTxn
    from simgit.refs.oplog.log import OperationLog


class Store:
    """The layers below the repository, for one storage.

    Attributes:
        directory: the ``.simgit``, None in memory.
        recorders: the recorders that write through this handle.
        all_recorders: these, and those of all handles that ``again`` opened from it.
    """

    def __init__(self, storage: Storage, directory: Path | None = None) -> None:
        self.storage = storage
        self.directory = directory
        self.odb = ObjectDatabase(storage)
        self.refs = Refs()
        self.runs = Runs(self.odb, self.refs)
        self.revisions = Revisions(self.odb, self.refs)
        self._named: tuple[str, tuple[object, ...]] | None = None
        self._command: Journal | None = None
        self._lock = threading.Lock()
        self._joined = threading.local()
        self.recorders: weakref.WeakSet[RecorderBase] = weakref.WeakSet()
        self.all_recorders: weakref.WeakSet[RecorderBase] = weakref.WeakSet()

    @classmethod
    def create(cls, path: Path) -> Store:
        """Create ``path/.simgit`` or open it; see ``Repository.init``."""
        from simgit.storage.durable import make_directories
        from simgit.storage.failpoints import fail_point
        from simgit.storage.lmdb import LmdbStorage
        from simgit.storage.regular import check
        from simgit.storage.trust import TrustList

        directory = path.resolve() / DIRECTORY
        if is_repository(directory):
            return cls.open(directory)
        try:
            make_directories(directory)
        except OSError as error:
            raise StorageError(f"cannot create '{directory}': {reason(error)}") from None
        check(directory)
        try:
            storage = LmdbStorage.create(directory)
        except AlreadyExists:
            # an earlier init was interrupted before it wrote the format, which it does last
            storage = LmdbStorage.open(directory)
        with storage.write() as txn:
            identity = foreign.identity(txn) or foreign.new_identity(txn)
        TrustList().mark_own(directory, identity)
        fail_point("init.format")
        write_format(directory)
        return cls(storage, directory)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Store:
        """Open the ``.simgit`` that ``path`` is or has; see ``Repository.open``."""
        from simgit.storage.lmdb import LmdbStorage

        directory = repository_directory(path.resolve())
        check_format(directory)
        return cls(LmdbStorage.open(directory, read_only=read_only), directory)

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same directory where it is unpickled.

        Raises:
            InvalidInput: it is in memory, or a view of the past.
        """
        self.storage.__reduce__()  # only what lies on disk can be opened there
        assert self.directory is not None
        return partial(Store.open, self.directory, read_only=self.storage.read_only), ()

    def __deepcopy__(self, _: dict[int, Any]) -> Store:
        return self  # what is copied may read the same store

    def again(self) -> Store:
        """Open the same directory once more; a named command is shared."""
        assert self.directory is not None
        other = Store.open(self.directory, read_only=self.storage.read_only)
        other.all_recorders = self.all_recorders
        if (journal := self._command_journal()) is not None:
            other._command = journal.on(other.storage)
        return other

    @cached_property
    def oplog(self) -> OperationLog:
        """The operation log; its code is not imported before, which only writing needs."""
        from simgit.refs.oplog.log import OperationLog

        return OperationLog()

    # --- transactions ---

    def read(self) -> AbstractContextManager[ReadTxn]:
        """Begin a snapshot, or join the write transaction that this thread is in."""
        txn: ReadTxn | None = getattr(self._joined, "txn", None)
        return self.odb.read() if txn is None else nullcontext(txn)

    @contextmanager
    def write(
        self,
        command: str,
        *arguments: object,
        files: bool = False,
        reverts: int | None = None,
    ) -> Iterator[JournalTxn]:
        """Begin the write transaction of a command, or join the one that this thread is in.

        Args:
            command: the operation is logged under this name.
            arguments: what the command was given.
            files: the command changes files of the working directory.
            reverts: the number of the operation that this one undoes or redoes.
        """
        txn: JournalTxn | None = getattr(self._joined, "txn", None)
        if txn is not None:
            txn.mark(files)
            yield txn
            return
        odb = self.journaled(command, *arguments, files=files, reverts=reverts)
        with odb.write() as begun:
            self._joined.txn = txn = cast("JournalTxn", begun)  # the journal's, which wraps it
            try:
                yield txn
            finally:
                self._joined.txn = None

    def journaled(
        self,
        command: str,
        *arguments: object,
        session: bool = False,
        files: bool = False,
        reverts: int | None = None,
        always: bool = False,
    ) -> ObjectDatabase:
        """Return the object database for the writes of a command, which become one operation."""
        from simgit.refs.oplog.journal import Journal

        journal = self._command_journal()
        if journal is None:
            journal = Journal(self.storage, self.oplog, command, arguments)
        journal.mark(session=session, files=files, reverts=reverts, always=always)
        return self.odb.on(journal)

    def name_command(self, command: str, *arguments: object) -> None:
        """Log all later writes as one operation under this name."""
        self._named, self._command = (command, arguments), None

    @property
    def named_operation(self) -> int | None:
        """Return the number of the operation that the named command wrote, None without one."""
        return None if self._command is None else self._command.number

    def _command_journal(self) -> Journal | None:
        """Return the journal of the named command; it is made at its first write."""
        with self._lock:
            if self._command is None and self._named is not None:
                from simgit.refs.oplog.journal import Journal

                self._command = Journal(self.storage, self.oplog, *self._named, program=False)
            return self._command

    # --- names ---

    def resolve(self, txn: ReadTxn, revision: str | Oid) -> Resolved:
        """Return the state that a revision or an oid names, and where it lies.

        Raises:
            NotFound: there is none.
            InvalidInput: the text is no revision, or is ambiguous.
        """
        if isinstance(revision, Oid):
            return Resolved(revision, self.odb.locate(txn, revision))
        return self.revisions.resolve(txn, revision)

    def head_run(self, txn: ReadTxn) -> str:
        """Return the name of HEAD's run.

        Raises:
            NotFound: HEAD is detached, or the run does not exist yet.
        """
        head = self.refs.head(txn)
        if isinstance(head, Oid):
            raise NotFound("HEAD is detached: name a run")
        if not self.refs.has_run(txn, head):
            raise NotFound(f"HEAD points at run '{head}', which has no states yet", name=head)
        return head
