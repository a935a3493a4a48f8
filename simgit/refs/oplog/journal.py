"""The journal: a storage that writes an operation in each transaction that changes refs."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from simgit.errors import IntegrityError
from simgit.process import now, this_writer
from simgit.refs.oplog.log import (
    WATCHED,
    Fields,
    Key,
    KeyChange,
    Move,
    Operation,
    OperationLog,
    parse,
)
from simgit.refs.settings import OPLOG_DAYS, OPLOG_KEEP, get_setting
from simgit.storage.base import ReadTxn, Storage, WriteTxn
from simgit.storage.watched import WatchedWrite

MAX_ARGUMENT: Final = 80
MAX_ARGUMENTS: Final = 32
LEAST: Final = 100
"""The newest operations that are kept whatever the clock says, which may have jumped."""
_PASSWORD: Final = re.compile(r"(://[^/@:\s]*):[^@\s]*@")
_EXPIRE_EVERY: Final = 32
_EXPIRE_ROWS: Final = 2000
_DAY: Final = 24 * 3600 * 10**9


class JournalTxn(WatchedWrite):
    """A write transaction that logs its changes of the watched tables.

    A context manager: the operation is written last, before the block's end commits.
    """

    def __init__(self, journal: Journal, begin: AbstractContextManager[WriteTxn]) -> None:
        self._journal = journal
        self._begin = begin
        self.before: dict[Key, bytes | None] = {}
        self.moves: list[Move] = []

    def __enter__(self) -> JournalTxn:
        self._txn = self._begin.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if kind is not None:
            return self._begin.__exit__(kind, error, trace)
        try:
            written = self._journal.record(self._txn, self)
        except BaseException as failed:
            self._begin.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._begin.__exit__(None, None, None)
        self._journal.wrote(written)  # only now: what was rolled back was not written
        return None

    def mark(self, files: bool) -> None:
        """Note that files of the working directory are changed too, if so."""
        self._journal.mark(files=files)

    def _watch(self, table: str, key: bytes, value: bytes | None) -> None:
        if table in WATCHED and (table, key) not in self.before:
            self.before[table, key] = self._txn.get(table, key)

    def changes(self) -> list[KeyChange]:
        """Return the changes of the transaction, with whole records on both sides."""
        found = []
        for key, before in self.before.items():
            after = self._txn.get(*key)
            if after != before:
                old, new = _parsed(key, before), parse(key, after, True)
                if old != new:  # not only a run's writer
                    found.append(KeyChange(key, old, new))
        return found


def _parsed(key: Key, value: bytes | None) -> Fields | None:
    """Return the record at a key; a damaged one, which is now being repaired, counts as absent."""
    try:
        return parse(key, value)
    except IntegrityError:
        return None


@dataclass(frozen=True)
class _Written:
    """The operation that a journal continues, in stored form, and its changes of refs."""

    operation: Operation
    stored: bytes
    pid: int
    rows: dict[Key, tuple[int, KeyChange]] = field(default_factory=dict)


def _continues(written: _Written, change: KeyChange, is_newest: bool) -> bool:
    """Return True if a change continues what the journal wrote, without another in between."""
    if change.key not in written.rows:
        return is_newest or change.old is None
    return written.rows[change.key][1].inverse.fits(change.old)


@dataclass
class _Progress:
    """The progress of an operation, which all handles of one command share."""

    session: bool = False
    files: bool = False
    always: bool = False
    reverts: int | None = None
    written: _Written | None = None


class Journal(Storage):
    """A storage whose writes become one operation, that of a command, a call or a recorder.

    Everything but ``write`` is the storage's own. Safe with threads, as transactions exclude each
    other; a forked child begins an operation of its own.
    """

    def __init__(
        self,
        storage: Storage,
        log: OperationLog,
        command: str,
        arguments: tuple[object, ...] = (),
        program: bool = True,
    ) -> None:
        """Wrap a storage; the first transaction that changes a ref begins the operation.

        Args:
            storage: the storage to write to.
            log: the operation log.
            command: the name of the operation.
            arguments: the command's arguments; long ones are shortened.
            program: True for a call of the Python API, False for a command.
        """
        self._storage = storage
        self._log = log
        self._command = command
        self._arguments = shortened(arguments)
        self._program = program
        self._progress = _Progress()

    def on(self, storage: Storage) -> Journal:
        """Return a journal of the same operation over another handle of the same store."""
        other = object.__new__(type(self))  # a copy of a storage is the storage itself
        vars(other).update(vars(self), _storage=storage)
        return other

    def mark(
        self,
        *,
        session: bool = False,
        files: bool = False,
        reverts: int | None = None,
        always: bool = False,
    ) -> None:
        """Note the kind of the operation.

        Args:
            session: True for a recorder's, which continues at each flush.
            files: True if it changes files of the working directory.
            reverts: the operation that it undoes.
            always: True to log it even if it changes no ref (gc, for instance).
        """
        self._progress.session |= session
        self._progress.files |= files
        self._progress.always |= always
        if reverts is not None:
            self._progress.reverts = reverts

    @property
    def number(self) -> int | None:
        """The number of the operation last written, None if nothing was changed."""
        written = self._progress.written
        return written.operation.number if written else None

    @property
    def written(self) -> _Written | None:
        """The operation as far as it was written."""
        return self._progress.written

    def wrote(self, written: _Written | None) -> None:
        """Note the committed operation."""
        self._progress.written = written

    @property
    def is_writing(self) -> bool:
        """True if this thread holds the write transaction."""
        return self._storage.is_writing

    def write(self) -> JournalTxn:
        """Begin the write transaction, as part of the operation."""
        return JournalTxn(self, self._storage.write())

    def record(self, txn: WriteTxn, recorded: JournalTxn) -> _Written | None:
        """Write or continue the operation; return it in stored form."""
        changes = recorded.changes()
        progress = self._progress
        is_due = progress.always and progress.written is None
        if not changes and not recorded.moves and not is_due:
            return progress.written
        if self._continues_last(txn, changes):
            return self._continue(txn, changes, recorded)
        return self._begin(txn, changes, recorded)

    def _begin(self, txn: WriteTxn, changes: list[KeyChange], recorded: JournalTxn) -> _Written:
        number, time, pid = self._log.newest(txn) + 1, now(), os.getpid()
        parts = [KeyChange.between(whole.key, whole.old, whole.new) for whole in changes]
        rows = {part.key: (row, part) for row, part in enumerate(parts, 1) if part.ref is not None}
        operation = Operation(
            number, self._command, self._arguments, time, time, _process(pid),
            self._progress.session, self._progress.reverts, self._progress.files,
            tuple(recorded.moves), len(changes), self._program,
        )  # fmt: skip
        stored = self._log.add(txn, operation, parts)
        if number % _EXPIRE_EVERY == 0:
            expire(self._log, txn)
        return _Written(operation, stored, pid, rows)

    def _continues_last(self, txn: ReadTxn, changes: list[KeyChange]) -> bool:
        """Return True if the changes can be part of the operation that was written last."""
        written = self._progress.written
        if written is None or written.pid != os.getpid():
            return False
        number = written.operation.number
        # another thread may have continued it and not noted it yet
        if self._log.stored(txn, number) != written.stored:
            return False
        is_newest = number == self._log.newest(txn)
        return (is_newest or self._log.only_sessions_since(txn, number)) and all(
            _continues(written, change, is_newest) for change in changes
        )

    def _continue(self, txn: WriteTxn, changes: list[KeyChange], recorded: JournalTxn) -> _Written:
        written = self._progress.written
        assert written is not None
        number, count = written.operation.number, written.operation.changes
        rows = dict(written.rows)
        for whole in changes:
            row, old = count + 1, whole.old
            if whole.key in rows:
                row, before = rows[whole.key]
                old = before.inverse.apply(old)
            count = max(count, row)
            change = KeyChange.between(whole.key, old, whole.new)
            self._log.put_change(txn, number, row, change)
            if change.ref is not None:
                rows[change.key] = row, change
        moves = written.operation.moves + tuple(recorded.moves)
        operation = replace(
            written.operation, until=now(), moves=moves, changes=count,
            session=self._progress.session, files=self._progress.files,
        )  # fmt: skip
        stored = self._log.put(txn, operation)
        return _Written(operation, stored, written.pid, rows)

    # --- everything else is the storage's ---

    @property
    def path(self) -> Path | None:
        """Return the directory, or None if there is none."""
        return self._storage.path

    @property
    def read_only(self) -> bool:
        """True if ``write`` is refused."""
        return self._storage.read_only

    def read(self) -> Any:
        """Begin a read transaction."""
        return self._storage.read()

    def audit(self) -> list[str]:
        """Return the faults in the structure of the file, as messages."""
        return self._storage.audit()

    def compact(self) -> bool:
        """Give unused space back, if that is possible now."""
        return self._storage.compact()

    def give_up_reserve(self) -> bool:
        """Give up the reserved space."""
        return self._storage.give_up_reserve()

    def keep_reserve(self) -> None:
        """Reserve space again."""
        self._storage.keep_reserve()

    def spare(self) -> int:
        """Return the bytes that ``compact`` would give back."""
        return self._storage.spare()

    def size(self) -> int:
        """Return the bytes taken on disk."""
        return self._storage.size()

    def close(self) -> None:
        """Release everything."""
        self._storage.close()


def expire(log: OperationLog, txn: WriteTxn) -> int:
    """Remove a bounded number of operations that are too old or too many; return the number."""
    before = now() - int(get_setting(txn, OPLOG_DAYS) * _DAY)
    return log.expire(txn, before, int(get_setting(txn, OPLOG_KEEP)), LEAST, _EXPIRE_ROWS)


@cache
def _process(pid: int) -> dict[str, Any]:
    """Return the identity of this process; ``pid``, its number, differs in a forked child."""
    return this_writer()


def without_password(text: str) -> str:
    """Return a text without the password of a URL in it, which is in no log."""
    return _PASSWORD.sub(r"\1@", text)


def shortened(arguments: tuple[object, ...]) -> tuple[str, ...]:
    """Return arguments in the form that the log keeps: printable, short, and few."""
    found = [text if len(text) <= MAX_ARGUMENT else text[: MAX_ARGUMENT - 1] + "…"
             for text in map(without_password, map(str, arguments[:MAX_ARGUMENTS]))]  # fmt: skip
    safe = [text.encode(errors="replace").decode() for text in found]
    return (*safe, "…") if len(arguments) > MAX_ARGUMENTS else tuple(safe)
