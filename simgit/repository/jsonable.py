"""Results of the repository as JSON: the records that ``--json`` prints and the API sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import visible_json
from simgit.objects.json_form import record_to_json, value_to_json
from simgit.objects.oid import Oid

if TYPE_CHECKING:
    from simgit.history.log import EpisodeLine, LogLine
    from simgit.history.state import State
    from simgit.maintenance.stats import Stats
    from simgit.objects.kinds import Tag
    from simgit.refs.oplog.log import Fields, KeyChange, Operation
    from simgit.refs.records import LogEntry
    from simgit.refs.runs import RunInfo


def to_jsonable(value: Any) -> Any:
    """Return what a call of the repository returned as JSON types, in the form of docs/json.md."""
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return [to_jsonable(each) for each in value]
    record = _RECORDS.get(type(value).__name__)
    if record is None:
        record = getattr(type(value), "to_json", None)
    return record_to_json(value if record is None else record(value))


def json_text(record: Any, *, ascii: bool = False) -> str:
    """Return a record as one JSON document on a line; what ``visible`` escapes is escaped."""
    return plain_text(record_to_json(record), ascii=ascii)


def plain_text(data: Any, *, ascii: bool = False) -> str:
    """Return what is made of JSON's types already as ``json_text`` does."""
    return visible_json(json.dumps(data, ensure_ascii=ascii, allow_nan=False))


def stamp(nanoseconds: int | None) -> str | None:
    """Return a time in nanoseconds since 1970 as JSON has it: RFC 3339, UTC, with nine digits."""
    if nanoseconds is None:
        return None
    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:  # a clock that was far off
        return f"{nanoseconds} ns"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def run_record(info: RunInfo) -> dict[str, Any]:
    """Return a run as a record."""
    return {
        "name": info.name, "oid": info.oid, "step": info.step, "episodes": info.episodes,
        "return": info.return_, "status": info.status,
        "overrides": value_to_json(dict(info.overrides)),
        "config": value_to_json(dict(info.config)), "parent": info.parent,
        "branch_point": info.branch_point, "seed": info.seed,
        "metadata": value_to_json(dict(info.metadata)), "created": stamp(info.created),
        "ended": stamp(info.ended), "writer": dict(info.writer) if info.writer else None,
    }  # fmt: skip


def column_record(values: dict[str, Any]) -> dict[str, Any]:
    """Return chosen columns of a run as a record."""
    return {
        name: stamp(value) if name in ("created", "ended") else value_to_json(value)
        for name, value in values.items()
    }


def tag_record(name: str, oid: Oid, note: Tag | None) -> dict[str, Any]:
    """Return a tag as a record."""
    return {
        "name": name, "oid": oid, "annotation": note.oid if note else None,
        "message": note.message if note else None, "tagger": note.tagger if note else None,
        "time": stamp(note.time) if note else None,
    }  # fmt: skip


def state_record(state: State) -> dict[str, Any]:
    """Return a state as a record, without the time at which it was recorded."""
    from simgit.odb.clock import clock_of

    value = {name: value_to_json(each) for name, each in state.value.items() if name != "files"}
    if state.files:
        value["files"] = state.files
    if (clock := clock_of(state.info)) is not None:
        value["clock"] = value_to_json(clock)
    return {
        "oid": state.oid, "parents": list(state.parents), "origin": state.origin,
        "run": state.run, "step": state.step, "episode": state.episode,
        "episode_step": state.episode_step, **value,
    }  # fmt: skip


def line_record(line: LogLine) -> dict[str, Any]:
    """Return a line of the log as a record."""
    found = line._asdict() | {"action": value_to_json(line.action), "time": stamp(line.time)}
    found["clock"] = value_to_json(line.clock)
    if not line.skipped:
        del found["skipped"]
    if line.clock is None:
        del found["clock"]
    return found


def episode_record(line: EpisodeLine) -> dict[str, Any]:
    """Return an episode as a record."""
    named = line._asdict()
    return {"episode" if k == "number" else k.rstrip("_"): value for k, value in named.items()}


def operation_record(operation: Operation) -> dict[str, Any]:
    """Return an operation as a record."""
    return {
        "number": operation.number, "command": operation.command,
        "arguments": list(operation.arguments), "time": stamp(operation.time),
        "until": stamp(operation.until),
        "process": operation.process, "session": operation.session, "reverts": operation.reverts,
        "changes": operation.changes,
    }  # fmt: skip


def change_record(change: KeyChange) -> dict[str, Any]:
    """Return a change of an operation as a record: oids as hex."""
    sides = {"old": _with_oids(change.old), "new": _with_oids(change.new)}
    if change.binding is not None:
        return {"state": change.binding[0], "name": change.binding[1], **sides}
    return {"ref": change.ref, **sides}


def _with_oids(fields: Fields | None) -> Fields | None:
    if fields is None:
        return None
    return {name: Oid(v) if isinstance(v, bytes) else v for name, v in fields.items()}


def entry_record(index: int, entry: LogEntry) -> dict[str, Any]:
    """Return an entry of a reflog as a record."""
    return {
        "index": index, "old": entry.old, "new": entry.new, "time": stamp(entry.time),
        "message": entry.message, "pid": entry.pid,
    }  # fmt: skip


def stats_record(found: Stats) -> dict[str, Any]:
    """Return where the bytes are as a record."""
    history = [{**each._asdict(), "time": stamp(each.time)} for each in found.history]
    return asdict(found) | {"history": history, "total": asdict(found.total)}


def error_data(error: BaseException) -> dict[str, Any]:
    """Return the attributes of an error as a record, without its message."""
    found = vars(error).items()
    data = {k: str(v) if isinstance(v, Path) else v for k, v in found if k != "message"}
    record: dict[str, Any] = record_to_json(data)
    return record


_RECORDS: Final[dict[str, Callable[[Any], Any]]] = {
    "RunInfo": run_record, "State": state_record, "LogLine": line_record,
    "EpisodeLine": episode_record, "Operation": operation_record, "KeyChange": change_record,
    "Stats": stats_record, "Attached": lambda each: each._asdict(),
}  # fmt: skip
"""By the name of the class (each is used once): none has to be imported for this."""
