"""The operation log: reading it, undo and redo, and the repository as it was."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import Conflict, InvalidInput, NotFound, warn
from simgit.objects.codec import decode_name
from simgit.refs.names import REMOTES
from simgit.refs.oplog.as_of import PastStorage
from simgit.refs.oplog.undo import Undo
from simgit.refs.remotes import remotes
from simgit.refs.settings import GC_KEEP, get_setting, put_setting, setting_names
from simgit.repository.store import Store

if TYPE_CHECKING:
    from simgit.refs.oplog.log import KeyChange, Operation
    from simgit.refs.oplog.undo import UndoPlan
    from simgit.repository.worktree.checkout import Checkout
    from simgit.storage.base import ReadTxn

_NAME: Final = re.compile(r"(?P<number>\d{1,18})|@(?:~(?P<back>\d{1,18})|(?P<dash>-)?)")


class OperationHistory:
    """Reads the operation log, and undoes what is in it."""

    def __init__(self, store: Store, worktree: Checkout) -> None:
        self._store = store
        self._worktree = worktree
        self._log = store.oplog
        self._undo = Undo(store.odb, store.refs, store.oplog)

    def operations(self, limit: int | None) -> list[Operation]:
        with self._store.read() as txn:
            most = None if limit is None else min(limit, sys.maxsize)
            return list(islice(self._log.operations(txn), most))

    def operation(self, name: str | int) -> Operation:
        with self._store.read() as txn:
            return self._log.operation(txn, self._number(txn, name))

    def changes(self, name: str | int) -> list[KeyChange]:
        with self._store.read() as txn:
            number = self._log.operation(txn, self._number(txn, name)).number
            return [c for c in self._log.changes(txn, number) if not c.is_empty]

    def _number(self, txn: ReadTxn, name: str | int) -> int:
        match = _NAME.fullmatch(str(name))
        if match is None:
            raise InvalidInput(f"'{name}' is not an operation: use its number, '@' or '@~N'")
        if match["number"] is not None:
            return int(match["number"])
        number = self._log.newest(txn) - int(match["back"] or bool(match["dash"]))
        if number < 1:
            raise NotFound(f"operation '{name}' not found")
        return number

    # --- undo ---

    def undo(self, name: str | int | None) -> Operation:
        with self._store.read() as txn:
            if name is None:
                target = self._undo.to_undo(txn)
            else:
                target = self._log.operation(txn, self._number(txn, name))
        number = target.number
        self._carry_out("undo", number, lambda txn: self._undo.revert(txn, number), number)
        return target

    def redo(self) -> Operation:
        with self._store.read() as txn:
            undo = self._undo.to_redo(txn)
            again = self._log.find(txn, undo.reverts or 0) or undo
        self._carry_out(
            "redo", again.number, lambda txn: self._undo.redo(txn, undo.number, again), undo.number
        )
        return again

    def restore(self, name: str | int) -> None:
        with self._store.read() as txn:
            number = self._number(txn, name)
        self._carry_out("op restore", number, lambda txn: self._undo.restore(txn, number))

    def _carry_out(
        self,
        command: str,
        number: int,
        plan: Callable[[ReadTxn], UndoPlan],
        reverts: int | None = None,
    ) -> None:
        refs = self._store.refs
        with self._store.read() as txn:
            first, head = plan(txn), refs.head_oid(txn)
            then = self._undo.head_oid(txn, first)
        with self._store.write(command, number, reverts=reverts, files=first.files) as txn:
            if first.files and refs.head_oid(txn) != head:
                raise Conflict(f"{first.what}: HEAD moved since it was read")
            txn.moves += self._undo.carry_out(txn, plan(txn))
            if first.files:  # last: if the plan is refused, files must not have changed
                self._worktree.switch(head, then)
            lost = self._remotes_without_settings(txn, first)
        if lost:
            warn(
                f"runs of {', '.join(map(repr, lost))} are back, but not where it lies: operations "
                f"keep no settings; add it again with 'simgit remote add {lost[0]} URL'"
            )

    @staticmethod
    def _remotes_without_settings(txn: ReadTxn, plan: UndoPlan) -> list[str]:
        """Return the removed remotes whose tracking refs, but not settings, a plan puts back."""
        if not any(each.title.startswith("remote rm ") for each in plan.taken):
            return []
        start = REMOTES.encode()
        back = (k for (_, k), record in plan.was.items() if record is not None)
        found = {decode_name(k).split("/")[1] for k in back if k.startswith(start)}
        return sorted(found - set(remotes(txn)))

    def store_at(self, name: str | int) -> Store:
        """Return the store as it was after an operation, to be read only."""
        with self._store.read() as txn:
            number = self._number(txn, name)
        return Store(PastStorage(self._store.storage, self._undo, number), self._store.directory)

    # --- settings ---

    def settings(self) -> dict[str, Any]:
        with self._store.read() as txn:
            return {name: get_setting(txn, name) for name in setting_names(txn)}

    def set_setting(self, name: str, value: float | str | None) -> None:
        if name == GC_KEEP and isinstance(value, str):
            from simgit.maintenance.gc.retention import parse_rules

            parse_rules(value)
        with self._store.write("set", name, value) as txn:
            put_setting(txn, name, value)
