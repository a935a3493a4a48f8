"""Repair of unreadable refs: from the operation log, or else from their reflogs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from simgit.errors import SimgitError
from simgit.maintenance.fsck.quarantine import Quarantine
from simgit.objects.kinds import Run
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.refs.names import HEAD, OF_RUNS, RUNS
from simgit.refs.oplog.log import Fields, OperationLog
from simgit.refs.records import RUN_TYPES, LogEntry, RunRef, decode_entry, moved
from simgit.refs.refs import Refs
from simgit.storage.base import ReadTxn, WriteTxn

_MESSAGE = "fsck: restored"


def recover_ref(odb: ObjectDatabase, refs: Refs, txn: WriteTxn, kept: Quarantine, ref: str) -> str:
    """Store a ref anew, given by its full name; return a description of the repair."""
    kept.take(txn, "refs", ref.encode())
    newest = next(iter(_entries(txn, ref)), None)
    fields = _logged(txn, ref)
    if ref == HEAD:
        fields = _head(odb, refs, txn, fields, newest)
    elif ref.startswith(OF_RUNS):
        fields = _run(odb, txn, fields, newest)
    elif fields is None and newest is not None and newest.new is not None:
        fields = {"oid": newest.new, "tag": None}
    if fields is None:
        return f"dropped ref '{ref}': it is neither in the operation log nor in a reflog"
    refs.recover(txn, ref, fields, _MESSAGE)
    return f"restored ref '{ref}'"


def _entries(txn: ReadTxn, ref: str) -> list[LogEntry]:
    """Return the readable entries of a reflog, the newest first."""
    start = ref.encode() + b"\0"
    found = []
    for _, value in txn.scan("log", start, start + b"\xff" * 9, reverse=True):
        with suppress(SimgitError):
            found.append(decode_entry(value))
    return found


def _logged(txn: ReadTxn, ref: str) -> Fields | None:
    """Return the fields of a ref by the operation log, as far back as that is readable."""
    log = OperationLog()
    found: Fields = {}
    with suppress(SimgitError):
        for operation in log.operations(txn):
            for change in reversed(log.changes(txn, operation.number)):
                if change.ref != ref:
                    continue
                if change.new is None:
                    return found or None  # earlier entries are of another ref of this name
                found = {**change.new, **found}
                if change.old is None or ref == HEAD:
                    return found
    return found or None


def _head(
    odb: ObjectDatabase, refs: Refs, txn: ReadTxn, known: Fields | None, newest: LogEntry | None
) -> Fields | None:
    """Return HEAD by the operation log, or else a run that is at the end of HEAD's reflog."""
    if known is not None and ("run" in known or odb.states.locate(txn, known["oid"]) is not None):
        return known
    oid = newest.new if newest is not None else None
    for key, _ in txn.scan("refs", RUNS.encode(), RUNS.encode() + b"\xff") if oid else ():
        name = key.decode(errors="replace")[len(RUNS) :]
        with suppress(SimgitError):
            if refs.run(txn, name).oid == oid:
                return {"run": name}
    return {"oid": oid} if oid and odb.states.locate(txn, oid) is not None else None


def _run(
    odb: ObjectDatabase, txn: WriteTxn, known: Fields | None, newest: LogEntry | None
) -> Fields | None:
    """Return the fields of a run: the known ones, and the state at the end of its reflog."""
    fields: dict[str, Any] = dict(known or {})
    if not fields and newest is None:
        return None
    if fields.keys() < RUN_TYPES.keys() - {"writer"}:
        fields = _blank(odb, txn, newest) | fields
    fields["writer"] = None
    oid = newest.new if newest is not None else fields["oid"]
    place = odb.states.locate(txn, Oid(oid)) if oid is not None else None
    if place is None or (oid == fields["oid"] and known and "line" in known):
        return fields
    made = RunRef(**{**fields, "record": Oid(fields["record"])})
    return moved(made, odb.states.tip(txn, place))._asdict()


def _blank(odb: ObjectDatabase, txn: WriteTxn, newest: LogEntry | None) -> Fields:
    """Return the fields of a run that is in no log."""
    return {
        "oid": None, "line": 0, "step": 0, "record": odb.put(txn, Run()), "status": "active",
        "created": newest.time if newest else 0, "ended": None, "parent": None, "episodes": 0,
        "returned": 0.0,
    }  # fmt: skip
