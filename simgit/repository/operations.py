"""The operation log: looking at it, undo and redo, and the repository as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

from simgit.errors import Conflict, InvalidInput, NotFound
from simgit.refs.oplog.log import KeyChange, Operation
from simgit.refs.settings import DEFAULTS, GC_KEEP, get_setting, put_setting
from simgit.repository.checkouts import CheckoutOperations

if TYPE_CHECKING:
    from simgit.refs.oplog.undo import Undo, UndoPlan
    from simgit.storage.base import ReadTxn

_NAME: Final = re.compile(r"(?P<number>\d{1,18})|@(?:~(?P<back>\d{1,18})|(?P<dash>-)?)")


class LogOperations(CheckoutOperations):
    """The operation log: looking at it, undo and redo, and the repository as it was."""

    @property
    def _undo(self) -> Undo:
        from simgit.refs.oplog.undo import Undo

        return Undo(self.odb, self.refs, self.oplog)

    def operations(self, limit: int | None = None) -> list[Operation]:
        """Return what was done, the newest first."""
        with self._read() as txn:
            return list(islice(self.oplog.operations(txn), limit))

    def operation(self, name: str | int = "@") -> Operation:
        """Return an operation by its number, or ``@`` (the newest), ``@~2`` (two before it).

        Raises:
            NotFound: there is none, or no longer.
            InvalidInput: the text is none of these.
        """
        with self._read() as txn:
            return self.oplog.operation(txn, self._number(txn, name))

    def changes(self, operation: str | int = "@") -> list[KeyChange]:
        """Return what an operation changed: refs and bindings before and after.

        Raises:
            NotFound: see ``operation``.
        """
        with self._read() as txn:
            number = self.oplog.operation(txn, self._number(txn, operation)).number
            return [c for c in self.oplog.changes(txn, number) if not c.is_empty]

    def _number(self, txn: ReadTxn, name: str | int) -> int:
        match = _NAME.fullmatch(str(name))
        if match is None:
            raise InvalidInput(f"'{name}' is not an operation: a number, '@' or '@~N' is needed")
        if match["number"] is not None:
            return int(match["number"])
        number = self.oplog.newest(txn) - int(match["back"] or bool(match["dash"]))
        if number < 1:
            raise NotFound(f"operation '{name}' not found")
        return number

    # --- taking back ---

    def undo(self, operation: str | int | None = None) -> Operation:
        """Take back an operation; return it.

        Without a number it is the newest that is not taken back yet, was given as a command or
        made by this process, and is not being written. What others did since stays: if something
        that the operation changed was changed again, nothing is done.

        Raises:
            Conflict: what it changed was changed since (``refs`` lists what), a process writes a
                run that would change, or files of the working directory have local changes.
            NotFound: there is nothing to undo; the operation is not kept any more; or what it
                replaced is gone, since gc's grace period has passed.
        """
        with self._read() as txn:
            if operation is None:
                target = self._undo.to_undo(txn)
            else:
                target = self.oplog.operation(txn, self._number(txn, operation))
        number = target.number
        self._carry_out("undo", number, lambda txn: self._undo.revert(txn, target), number)
        return target

    def redo(self) -> Operation:
        """Do again what was undone last; return it. A command given since ends redoing.

        Raises:
            Conflict: see ``undo``.
            NotFound: there is nothing to redo; see ``undo``.
        """
        with self._read() as txn:
            undo = self._undo.to_redo(txn)
            again = self.oplog.find(txn, undo.reverts or 0) or undo
        self._carry_out(
            "redo", again.number, lambda txn: self._undo.redo(txn, undo, again), undo.number
        )
        return again

    def restore_operation(self, operation: str | int) -> None:
        """Make refs, HEAD and bindings what they were after an operation (0: before all).

        This is a new operation, which can be undone.

        Raises:
            Conflict: a process writes a run that would change, or files have local changes.
            NotFound: see ``undo``.
        """
        with self._read() as txn:
            number = self._number(txn, operation)
        self._carry_out("op restore", number, lambda txn: self._undo.restore(txn, number))

    def _carry_out(
        self,
        command: str,
        number: int,
        plan: Callable[[ReadTxn], UndoPlan],
        reverts: int | None = None,
    ) -> None:
        with self._read() as txn:
            first, head = plan(txn), self.refs.head_oid(txn)
            then = self._undo.head_oid(txn, first)
        with self._write(command, number, reverts=reverts, files=first.files) as txn:
            if first.files and self.refs.head_oid(txn) != head:
                raise Conflict(f"{first.what}: HEAD moved since it was read")
            txn.moves += self._undo.carry_out(txn, plan(txn))
            if first.files:  # last: what is refused must leave them alone
                self._switch_files(head, then)

    # --- as it was ---

    def at_operation(self, operation: str | int) -> Self:
        """Return the repository as it was after an operation (0: before all), to be read only.

        Runs, tags, HEAD and attachments are those of then; reflogs are shown as they are now.

        Raises:
            NotFound: see ``operation``.
        """
        from simgit.refs.oplog.as_of import PastStorage

        with self._read() as txn:
            number = self._number(txn, operation)
        return type(self)(PastStorage(self._storage, self._undo, number), self.directory)

    # --- how long it is kept ---

    def settings(self) -> dict[str, Any]:
        """Return the settings of the repository; docs/reliability.md says what they mean."""
        with self._read() as txn:
            return {name: get_setting(txn, name) for name in DEFAULTS}

    def set_setting(self, name: str, value: float | str | None) -> None:
        """Change a setting of the repository; None brings its default back.

        Raises:
            InvalidInput: there is no such setting, or it cannot have this value.
        """
        if name == GC_KEEP and isinstance(value, str):
            from simgit.maintenance.gc.retention import parse_rules

            parse_rules(value)
        with self._write("set", name, value) as txn:
            put_setting(txn, name, value)
