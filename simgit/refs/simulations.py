"""Simulations at this moment, and what happened to them lately.

None of it is history: it is not in the operation log, and no clone or bundle takes it along.

meta: "live" ‖ 00 ‖ name of the run -> the record of its simulation ‖ check
meta: "event" ‖ 00 ‖ u64 number     -> what happened ‖ check
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, Final, NamedTuple

from simgit.errors import Conflict, IntegrityError
from simgit.objects.codec import decode_name
from simgit.process import is_alive, now
from simgit.refs.records import (
    FLAG,
    INT,
    MAYBE_INT,
    MAYBE_TEXT,
    TEXT,
    WRITER_TYPES,
    check_fields,
    pack_ref,
    unpack_ref,
)
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.datafile import birth_time

PHASES: Final = ("queued", "starting", "running", "paused", "asking", "stopping", "ended")
MOST_PRIORITY: Final = 1_000_000
_EXECUTION: Final = "[0-9a-f]{16}|"
_LIVE: Final = b"live\0"
_LIVE_STOP: Final = b"live\1"
_EVENT: Final = b"event\0"
_EVENT_STOP: Final = b"event\1"
_WRITER: Final = (dict, NoneType)


class SimulationRecord(NamedTuple):
    """A run's newest simulation.

    Attributes:
        type: the name or the import path of its type.
        phase: one of ``PHASES``.
        execution: which execution of the run this is; a process of another one has lost its claim.
        home: the identity of the repository's directory; see ``home_of``.
        number: its place in the queue among those of its priority; 0 if it was never queued.
        priority: those of a greater one are started first; at least 0.
        begin: how many states lie before the first that it executes, 0 for a new simulator; None
            if it is to find the newest state from which it can go on.
        folder: the directory in which it is started, where modules are imported from too.
        tracker: the process that started it, None while it is queued.
        process: the process that executes it.
        socket: the path at which it listens.
        created, began, ended: nanoseconds since 1970.
        is_remote: whether it was started over HTTP, where no setting may name code.
        outcome: how it ended: ``completed``, ``stopped``, ``failed`` or ``crashed``.
        reason: why, in a line.
    """

    type: str
    phase: str
    execution: str
    home: str
    number: int = 0
    priority: int = 0
    begin: int | None = None
    folder: str = ""
    tracker: dict[str, Any] | None = None
    process: dict[str, Any] | None = None
    socket: str | None = None
    created: int = 0
    began: int | None = None
    ended: int | None = None
    outcome: str | None = None
    reason: str | None = None
    is_remote: bool = False

    @property
    def is_over(self) -> bool:
        """True if it has ended, or its process has without a word."""
        return self.phase == "ended" or self.is_gone

    @property
    def is_gone(self) -> bool:
        """True if the process that executes it ended, and nobody has noted that yet."""
        return self.phase != "ended" and self.process is not None and not is_alive(self.process)

    @property
    def is_orphan(self) -> bool:
        """True if the tracker that was to start its process ended before it did."""
        return (
            self.phase == "starting"
            and self.process is None
            and self.tracker is not None
            and not is_alive(self.tracker)
        )


_TYPES: Final = {
    "is_remote": FLAG, "type": TEXT, "phase": TEXT, "execution": TEXT, "home": TEXT, "number": INT,
    "priority": INT, "begin": MAYBE_INT, "folder": TEXT, "tracker": _WRITER, "process": _WRITER,
    "socket": MAYBE_TEXT, "created": INT, "began": MAYBE_INT, "ended": MAYBE_INT,
    "outcome": MAYBE_TEXT, "reason": MAYBE_TEXT,
}  # fmt: skip


class KnownRecord(NamedTuple):
    """A record as it is stored, and decoded: None if it is damaged, or came with a copy."""

    stored: bytes
    record: SimulationRecord | None


class SimulationEvent(NamedTuple):
    """Something that happened to a simulation: a phase, a question, an answer, a setting."""

    number: int
    time: int
    run: str
    kind: str
    data: dict[str, Any]


def home_of(directory: Path | None) -> str:
    """Return the identity of a repository's directory, which no copy of it shares; "" in memory.

    It is the inode with the time of birth, which a move, a remount or a change of owner leaves as
    they are, and a copy cannot take over. Where no time of birth is known the device stands for it.
    """
    if directory is None:
        return ""
    status, born = directory.stat(), birth_time(directory)
    return f"{status.st_ino}@{born}" if born else f"{status.st_dev}:{status.st_ino}"


def _is_at(record: SimulationRecord, home: str) -> bool:
    """Return True if a record was made in the directory with an identity, and not in a copy of it.

    Older records have a device, which a remount changes, and an inode. A copy was born after all
    records that came with it.
    """
    inode, _, born = home.partition("@")
    if born and record.home.partition(":")[2] == inode:
        return record.created >= int(born)
    return record.home == home


def check_no_simulation(txn: ReadTxn, run: str, home: str) -> None:
    """Raise Conflict if a run's simulation is executed at this moment."""
    found = simulation_record(txn, run, home)
    if found is not None and found.phase != "queued" and not found.is_over:
        raise Conflict(f"a simulation of run '{run}' is {found.phase}; stop it first", name=run)


def simulation_record(txn: ReadTxn, run: str, home: str) -> SimulationRecord | None:
    """Return the record of a run's simulation, None without one in this directory.

    Raises:
        IntegrityError: it is damaged.
    """
    value = txn.get("meta", _key(run))
    found = None if value is None else _decoded(value, run)
    return found if found is not None and _is_at(found, home) else None


def simulation_records(txn: ReadTxn, home: str) -> Iterator[tuple[str, SimulationRecord]]:
    """Yield each run that has a simulation, with its record, in the order of the names.

    Records that came with a copy of the directory are left out: the processes are not this one's.
    """
    for run, each in known_records(txn, home).items():
        if each.record is not None:
            yield run, each.record


def stored_simulations(txn: ReadTxn) -> Iterator[tuple[str, bytes]]:
    """Yield each run that has a record of a simulation, with its stored form."""
    for key, value in txn.scan("meta", _LIVE, _LIVE_STOP):
        yield decode_name(key[len(_LIVE) :]), value


def decoded_simulation(value: bytes, run: str, home: str) -> SimulationRecord | None:
    """Return a record from its stored form; None if it is another directory's, or damaged."""
    with suppress(IntegrityError):  # fsck names it; it must not hide the others
        if _is_at(found := _decoded(value, run), home):
            return found
    return None


def known_records(
    txn: ReadTxn, home: str, before: Mapping[str, KnownRecord] = MappingProxyType({})
) -> dict[str, KnownRecord]:
    """Return the records by run, in the order of the names; only what changed is decoded.

    Args:
        txn: where to read.
        home: the identity of the directory; see ``home_of``.
        before: what this function returned before.
    """
    found: dict[str, KnownRecord] = {}
    for run, value in stored_simulations(txn):
        there = before.get(run)
        if there is None or there.stored != value:
            there = KnownRecord(value, decoded_simulation(value, run, home))
        found[run] = there
    return found


def check_simulations(txn: ReadTxn) -> None:
    """Raise IntegrityError if a record is damaged."""
    for run, value in stored_simulations(txn):
        _decoded(value, run)


def put_simulation(
    txn: WriteTxn,
    run: str,
    record: SimulationRecord | None,
    expected: SimulationRecord | None,
    home: str,
) -> None:
    """Replace the record of a run's simulation, or remove it.

    Raises:
        Conflict: it is not the expected one any more.
    """
    if simulation_record(txn, run, home) != expected:
        raise Conflict(f"the simulation of run '{run}' has changed meanwhile", name=run)
    if record is None:
        txn.delete("meta", _key(run))
    else:
        value = pack_ref(record._asdict())
        _decoded(value, run)  # one that cannot be read would hide all others
        txn.put("meta", _key(run), value)


def move_simulation(txn: WriteTxn, old: str, new: str) -> None:
    """Let the record of a run that is renamed follow it."""
    value = txn.get("meta", _key(old))
    if value is not None:
        txn.delete("meta", _key(old))
        txn.put("meta", _key(new), value)


def forget_simulation(txn: WriteTxn, run: str) -> None:
    """Remove the record of a run that is deleted."""
    if txn.get("meta", _key(run)) is not None:
        txn.delete("meta", _key(run))


def next_number(txn: ReadTxn, home: str) -> int:
    """Return a number above that of every simulation in the queue."""
    return max((each.number for _, each in simulation_records(txn, home)), default=0) + 1


def clear_simulations(txn: WriteTxn) -> None:
    """Remove every record and event: a clone has neither."""
    for start, stop in ((_LIVE, _LIVE_STOP), (_EVENT, _EVENT_STOP)):
        for key, _ in list(txn.scan("meta", start, stop)):
            txn.delete("meta", key)


def note_event(txn: WriteTxn, run: str, kind: str, data: Mapping[str, Any]) -> int:
    """Note what happened; return its number."""
    number = newest_event(txn) + 1
    body = {"time": now(), "run": run, "kind": kind, "data": dict(data)}
    txn.put("meta", _EVENT + number.to_bytes(8, "big"), pack_ref(body))
    return number


def newest_event(txn: ReadTxn) -> int:
    """Return the number of the newest event, 0 without one."""
    last = next(iter(txn.scan("meta", _EVENT, _EVENT_STOP, reverse=True)), None)
    return 0 if last is None else int.from_bytes(last[0][len(_EVENT) :], "big")


def events(txn: ReadTxn, after: int = 0) -> Iterator[SimulationEvent]:
    """Yield what happened after the event of a number, in order.

    Raises:
        IntegrityError: one is damaged.
    """
    for key, value in txn.scan("meta", _EVENT + (after + 1).to_bytes(8, "big"), _EVENT_STOP):
        yield _decoded_event(key, value)


def trim_events(txn: WriteTxn, before: int) -> int:
    """Remove events from before a time, in nanoseconds since 1970; return how many.

    The newest is kept: numbers must not be used again, or who has seen them would miss events.
    """
    count = 0
    for key, value in list(txn.scan("meta", _EVENT, _EVENT_STOP))[:-1]:
        try:
            is_old = _decoded_event(key, value).time < before
        except IntegrityError:
            is_old = True
        if not is_old:
            break
        txn.delete("meta", key)
        count += 1
    return count


def _key(run: str) -> bytes:
    return _LIVE + run.encode(errors="surrogateescape")


def _decoded(value: bytes, run: str) -> SimulationRecord:
    what = f"the simulation of run '{run}'"
    fields = unpack_ref(value)
    check_fields(fields, _TYPES, what)
    for name in ("tracker", "process"):
        if fields[name] is not None:
            check_fields(fields[name], WRITER_TYPES, what)
    found = SimulationRecord(**fields)
    if not re.fullmatch(_EXECUTION, found.execution):  # it is a part of names of files
        raise IntegrityError(f"{what} is damaged: its execution is malformed")
    if found.phase not in PHASES:
        raise IntegrityError(f"{what} is damaged: unknown phase '{found.phase}'")
    return found


def _decoded_event(key: bytes, value: bytes) -> SimulationEvent:
    fields = unpack_ref(value)
    types = {"time": INT, "run": TEXT, "kind": TEXT, "data": (dict,)}
    check_fields(fields, types, "an event")
    return SimulationEvent(int.from_bytes(key[len(_EVENT) :], "big"), **fields)
