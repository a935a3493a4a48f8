"""Undo: put refs, HEAD and bindings back; all of them or, on a conflict, none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simgit.errors import AlreadyExists, Conflict, NotFound
from simgit.objects.kinds import Binding
from simgit.objects.oid import Oid
from simgit.odb import foreign
from simgit.odb.database import ObjectDatabase
from simgit.process import is_alive, this_writer
from simgit.refs.names import RUNS
from simgit.refs.oplog.log import (
    HEAD_KEY,
    Fields,
    Key,
    KeyChange,
    Move,
    Operation,
    OperationLog,
    parse,
    shown_key,
    standing,
    unparse,
)
from simgit.refs.records import RUN_TYPES, WRITER_TYPES, check_fields, unpack_ref
from simgit.refs.refs import Refs
from simgit.refs.remote_cache import forget_packs_with
from simgit.storage.base import ReadTxn, WriteTxn

Was = dict[Key, Fields | None]
"""Earlier records of some keys."""


@dataclass(frozen=True)
class UndoPlan:
    """The plan of an undo: the records to put back, and the operations that it reverts."""

    was: Was
    taken: tuple[Operation, ...]
    what: str  # the beginning of an error
    message: str  # for the reflogs

    @property
    def files(self) -> bool:
        """True if files of the working directory were changed."""
        return any(operation.files for operation in self.taken)


class Undo:
    """Undo, redo and restore of one store: planned in a snapshot, carried out in a transaction."""

    def __init__(self, odb: ObjectDatabase, refs: Refs, log: OperationLog) -> None:
        self.odb = odb
        self.refs = refs
        self.log = log

    # --- earlier records ---

    def view(self, txn: ReadTxn, number: int) -> Was:
        """Return the records after an operation that differ from those of now; 0 is before all.

        Raises:
            NotFound: it, or the operation right after it, is no longer kept.
        """
        if number + 1 < (whole := self.log.whole(txn)):
            raise NotFound(
                f"operation {number} is too old: gc has removed the changes of operations before "
                f"{whole}",
                number=number,
            )
        if number or self.log.oldest(txn) != 1:
            self.log.operation(txn, number)
        return self._before(txn, number + 1)

    def _before(self, txn: ReadTxn, number: int) -> Was:
        """Return the records before an operation that differ from those of now."""
        was: Was = {}
        for operation in self.log.operations(txn, number):
            what = f"cannot look back over operation {operation.number}"
            for change in reversed(self._changes(txn, operation, what)):
                was[change.key] = change.inverse.apply(_current(txn, was, change.key))
        return was

    # --- the operation to undo or redo ---

    def to_undo(self, txn: ReadTxn) -> Operation:
        """Return the newest operation that changed something and was not undone.

        Running recordings, and calls of other programs through the API, are left out: give their
        number to undo them.

        Raises:
            NotFound: there is none.
        """
        left_out = 0
        for operation in self._standing(txn):
            if operation.reverts is None and self._is_mine(txn, operation):
                return operation
            left_out = left_out or operation.number * operation.program
        hint = f"; undo a program's operation with 'simgit undo {left_out}'" if left_out else ""
        raise NotFound(f"nothing to undo{hint}")

    def to_redo(self, txn: ReadTxn) -> Operation:
        """Return the newest undo that was not undone, if no command was given since.

        Raises:
            NotFound: there is none.
        """
        for operation in self._standing(txn):
            if operation.reverts is not None:
                undone = self.log.find(txn, operation.reverts)
                if undone is None or undone.reverts is None:
                    return operation
            elif self._is_mine(txn, operation):
                break
        raise NotFound("nothing to redo")

    def _standing(self, txn: ReadTxn) -> Iterator[Operation]:
        """Yield the operations that were not undone, the newest first."""
        return (each for each, stands in standing(self.log.operations(txn)) if stands)

    def _is_mine(self, txn: ReadTxn, operation: Operation) -> bool:
        """Return True if an undo without a number may choose an operation."""
        if operation.program and operation.process != this_writer():
            return False
        changes = self.log.changes(txn, operation.number)
        if all(change.is_empty for change in changes):
            return False
        return not (operation.session and any(_writer(txn, change.key) for change in changes))

    # --- plans ---

    def revert(self, txn: ReadTxn, number: int) -> UndoPlan:
        """Return the plan that undoes an operation.

        Raises:
            Conflict: some of its refs were changed again since (``refs`` lists them).
            NotFound: it changed nothing, or its changes are no longer kept.
        """
        operation = self.log.operation(txn, number)
        return self._reverted(txn, operation, "undo", operation)

    def redo(self, txn: ReadTxn, undo: int, again: Operation) -> UndoPlan:
        """Return the plan that reverts an undo, so that the operation takes effect again.

        Raises:
            Conflict, NotFound: see ``revert``.
        """
        return self._reverted(txn, self.log.operation(txn, undo), "redo", again)

    def _reverted(
        self, txn: ReadTxn, operation: Operation, verb: str, named: Operation
    ) -> UndoPlan:
        what = f"cannot {verb} operation {named.number} ({named.title})"
        changes = self._changes(txn, operation, what)
        if not changes and not operation.moves:
            raise NotFound(f"{what}: it changed nothing", number=operation.number)
        was: Was = {}
        stuck = []
        for change in reversed(changes):
            current = _current(txn, was, change.key)
            if not change.is_empty and not change.inverse.fits(current):
                stuck.append(change.key)
            was[change.key] = change.inverse.apply(current)
        if stuck:
            names = [shown_key(key) for key in dict.fromkeys(stuck)]
            by = self._changed_by(txn, operation.number, set(stuck))
            raise Conflict(f"{what}: {_listed(names)} changed since{by}", refs=names)
        self._check_head(txn, operation, was, what)
        return UndoPlan(was, (operation,), what, f"{verb}: {named.title}")

    def _changes(self, txn: ReadTxn, operation: Operation, what: str) -> list[KeyChange]:
        """Return all changes of an operation: without some of them, less would be put back."""
        changes, number = self.log.changes(txn, operation.number), operation.number
        if number < self.log.whole(txn) or len(changes) != operation.changes:
            raise NotFound(f"{what}: gc has removed its changes", number=number)
        return changes

    def _changed_by(self, txn: ReadTxn, number: int, keys: set[Key]) -> str:
        """Return a phrase about the newest later operation that changed one of some keys."""
        for each in self._standing(txn):
            if each.number <= number:
                break
            changes = self.log.changes(txn, each.number)
            if any(change.key in keys and not change.is_empty for change in changes):
                return f", last by operation {each.number} ({each.title})"
        return ""

    def restore(self, txn: ReadTxn, number: int) -> UndoPlan:
        """Return the plan that restores refs, HEAD and bindings as of an operation.

        Raises:
            NotFound: the operation is no longer kept.
        """
        was = self.view(txn, number)
        later = tuple(self.log.operations(txn, number + 1))
        what = f"cannot restore operation {number}"
        return UndoPlan(was, later, what, f"restore: operation {number}")

    def _check_head(self, txn: ReadTxn, operation: Operation, was: Was, what: str) -> None:
        """Refuse to remove a run that was checked out since."""
        run = _head(txn, was).get("run")
        if run is None or was.get(("refs", (RUNS + run).encode()), {}) is not None:
            return
        if _head(txn, self._before(txn, operation.number)).get("run") != run:
            raise Conflict(f"{what}: run '{run}' is checked out; check out another run first")

    def head_oid(self, txn: ReadTxn, plan: UndoPlan) -> Oid | None:
        """Return the state that HEAD will point at."""
        head = _head(txn, plan.was)
        if "run" in head:
            run = _current(txn, plan.was, ("refs", (RUNS + head["run"]).encode()))
            oid = run["oid"] if run else None
        else:
            oid = head["oid"]
        return None if oid is None else Oid(oid)

    def carry_out(self, txn: WriteTxn, plan: UndoPlan) -> list[Move]:
        """Carry out a plan; return the reflogs that were moved.

        Raises:
            Conflict: a process is writing a run that would change.
            NotFound: gc has removed an object that is to be put back.
        """
        different = {k: v for k, v in plan.was.items() if v != parse(k, txn.get(*k))}
        for key, record in different.items():
            self._check_writer(txn, key, record, plan.what)
            different[key] = self._found(txn, key, record, plan.what)
        moves = [
            (new, at, old, self.refs.move_log(txn, new, at, old))
            for operation in plan.taken
            for old, _, new, at in reversed(operation.moves)
        ]
        refs = {key[1].decode(): record for key, record in different.items() if key[0] == "refs"}
        try:
            self.refs.put_back(txn, refs, plan.message)
        except AlreadyExists as error:
            raise Conflict(f"{plan.what}: {error}") from None
        for ref in {move[end] for move in moves for end in (0, 2)}:
            self.refs.end_log(txn, str(ref), plan.message)
        removed = (txn.get(*k) for k, v in different.items() if k[0] == "attachments" and not v)
        forget_packs_with(txn, [oid for oid in removed if oid and foreign.is_foreign(txn, oid)])
        for key, record in different.items():
            if key[0] == "attachments" and record is None:
                txn.delete(*key)
            elif key[0] == "attachments" and record is not None:
                txn.put(*key, unparse(key, record))
        return moves

    def _check_writer(self, txn: ReadTxn, key: Key, record: Fields | None, what: str) -> None:
        writer = _writer(txn, key)
        current = parse(key, txn.get(*key))
        if writer is None or current is None or (record and record["oid"] == current["oid"]):
            return
        run = key[1].decode()[len(RUNS) :]
        raise Conflict(f"{what}: run '{run}' is being written by process {writer['pid']}", name=run)

    def _found(self, txn: ReadTxn, key: Key, record: Fields | None, what: str) -> Fields | None:
        """Return a record whose objects all exist, a run with the location of its state."""
        for oid in KeyChange(key, None, record).oids:
            if not self.odb.exists(txn, oid):
                raise NotFound(
                    f"{what}: gc has removed '{oid.short()}', the former {shown_key(key)}", oid=oid
                )
        if record is not None and "binding" in record:
            oid = Oid(record["binding"])
            binding = self.odb.object(txn, oid)
            if not isinstance(binding, Binding) or not self.odb.exists(txn, binding.target):
                raise NotFound(f"{what}: gc has removed the former {shown_key(key)}", oid=oid)
        if record is None or record.get("oid") is None or "line" not in record:
            return record
        place = self.odb.locate(txn, Oid(record["oid"]))
        return {**record, "line": place.line, "step": place.step}


def _current(txn: ReadTxn, was: Was, key: Key) -> Fields | None:
    return was[key] if key in was else parse(key, txn.get(*key))


def _head(txn: ReadTxn, was: Was) -> Fields:
    return _current(txn, was, HEAD_KEY) or {}


def _writer(txn: ReadTxn, key: Key) -> Fields | None:
    """Return the writer of a run, None if no process is writing it."""
    value = txn.get(*key) if key[0] == "refs" and key[1].startswith(RUNS.encode()) else None
    if value is None:
        return None
    record = unpack_ref(value)
    check_fields(record, RUN_TYPES, "a ref")
    writer: Fields | None = record["writer"]
    if writer is not None:
        check_fields(writer, WRITER_TYPES, "a ref")
    return writer if writer and record["status"] == "active" and is_alive(writer) else None


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
