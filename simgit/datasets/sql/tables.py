"""The tables of a query that have no states: runs, tags, episodes, attachments, logs.

A column is made when a query reads it. Times are UTC; oids are texts of 64 hex digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from simgit.datasets.series import Series, parts_of
from simgit.history.log import EpisodeColumns, episode_columns
from simgit.objects.json_form import value_to_json
from simgit.objects.kinds import Tag
from simgit.objects.oid import Oid
from simgit.odb.ancestry import line_ranges
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.refs import attachments
from simgit.refs.oplog.log import OperationLog
from simgit.refs.records import RunRef
from simgit.refs.refs import Refs
from simgit.refs.revision import Resolved, Revisions
from simgit.refs.run_config import first_own_step, flat
from simgit.refs.runs import RunInfo, Runs
from simgit.storage.base import ReadTxn

TEXT: Final = pa.string()
INTEGER: Final = pa.int64()
NUMBER: Final = pa.float64()
FLAG: Final = pa.bool_()
TIME: Final = pa.timestamp("ns")
NAME: Final = pa.dictionary(pa.int32(), pa.string())
JSON: Final = "json"
"""Text that DuckDB knows as JSON."""
_LATEST: Final = 9e9
"""The greatest number of seconds since 1970 that a time in nanoseconds holds."""
_JSON: Final = {"ARROW:extension:name": "arrow.json", "ARROW:extension:metadata": ""}


class Readable(Protocol):
    """An open store, as far as queries need it."""

    @property
    def odb(self) -> ObjectDatabase:
        """Return the objects."""
        ...

    @property
    def refs(self) -> Refs:
        """Return the refs."""
        ...

    @property
    def runs(self) -> Runs:
        """Return the runs."""
        ...

    @property
    def revisions(self) -> Revisions:
        """Return what resolves revisions."""
        ...

    @property
    def oplog(self) -> OperationLog:
        """Return the operation log."""
        ...

    def read(self) -> AbstractContextManager[ReadTxn]:
        """Begin a snapshot."""
        ...

    def resolve(self, txn: ReadTxn, revision: str | Oid, /) -> Resolved:
        """Return the state that a revision names."""
        ...


class RunHistory(NamedTuple):
    """A run and where its history ends, as of the moment of a query."""

    name: str
    ref: RunRef


Make = Callable[[], Any]
Columns = Mapping[str, tuple[Any, Make]]
"""Name to type, and what makes the column: an Arrow array, or a list of values."""


class MadeTable:
    """A table of columns that are made when they are read."""

    flags: Sequence[str] = ()

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.schema = pa.schema(
            [json_field(n) if t is JSON else (n, t) for n, (t, _) in columns.items()]
        )

    def applies(self, condition: Any) -> bool:
        """Return False: DuckDB filters."""
        return False

    def batches(self, names: Sequence[str], conditions: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        """Yield all rows as one batch."""
        fields = [self.schema.field(name) for name in names]
        arrays = []
        for field in fields:
            made = self._columns[field.name][1]()
            arrays.append(made if isinstance(made, pa.Array) else pa.array(made, field.type))
        yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def json_field(name: str) -> pa.Field:
    """Return the field of a column of JSON texts."""
    return pa.field(name, pa.string(), metadata=_JSON)


def json_text(value: Any) -> str | None:
    """Return a stored value as JSON, None for None."""
    return None if value is None else json.dumps(value_to_json(value), ensure_ascii=False)


def run_column(names: Sequence[str], counts: Sequence[int]) -> pa.Array:
    """Return a column of runs' names, each for a number of rows."""
    index = np.repeat(np.arange(len(names), dtype=np.int32), np.asarray(counts, np.int64))
    return pa.DictionaryArray.from_arrays(pa.array(index), pa.array(names, pa.string()))


def _hex(oid: bytes | None) -> str | None:
    return None if oid is None else oid.hex()


# --- the tables ----------------------------------------------------------------------------------


def runs(store: Readable, known: Sequence[RunHistory]) -> Columns:
    """Return the columns of ``runs``."""

    @cache
    def infos() -> list[RunInfo]:
        with store.read() as txn:
            return [store.runs.describe(txn, run.name, run.ref) for run in known]

    def of(name: str) -> Make:
        return lambda: [getattr(info, name) for info in infos()]

    def texts(make: Callable[[RunInfo], Any]) -> Make:
        return lambda: [json_text(make(info)) for info in infos()]

    def branch_steps() -> list[int | None]:
        with store.read() as txn:
            steps = [first_own_step(store.odb, txn, run.ref.record) for run in known]
        return [step - 1 if step else None for step in steps]

    return {
        "name": (TEXT, lambda: [run.name for run in known]),
        "status": (TEXT, of("status")),
        "parent": (TEXT, of("parent")),
        "branch_step": (INTEGER, branch_steps),
        "step": (INTEGER, of("step")),
        "states": (
            INTEGER,
            lambda: [0 if info.step is None else info.step + 1 for info in infos()],
        ),
        "episodes": (INTEGER, of("episodes")),
        "return": (NUMBER, of("return_")),
        "seed": (JSON, texts(lambda info: info.seed)),
        "config": (JSON, texts(lambda info: flat(dict(info.config)))),
        "metadata": (JSON, texts(lambda info: flat(dict(info.metadata)))),
        "created": (TIME, of("created")),
        "ended": (TIME, of("ended")),
        "tip": (TEXT, lambda: [_hex(run.ref.oid) for run in known]),
    }


def tags(store: Readable, known: Sequence[RunHistory]) -> Columns:
    """Return the columns of ``tags``."""

    @cache
    def found() -> list[tuple[str, Oid, Tag | None]]:
        with store.read() as txn:
            notes = [(name, ref.oid, ref.tag) for name, ref in store.refs.tags(txn)]
            read = [store.odb.object(txn, tag) if tag else None for _, _, tag in notes]
        kept = [each if isinstance(each, Tag) else None for each in read]
        return [(name, oid, note) for (name, oid, _), note in zip(notes, kept, strict=True)]

    def note(name: str) -> Make:
        return lambda: [getattr(each, name, None) for _, _, each in found()]

    def steps() -> list[int]:
        with store.read() as txn:
            return [store.odb.locate(txn, oid).step for _, oid, _ in found()]

    return {
        "name": (TEXT, lambda: [name for name, _, _ in found()]),
        "step": (INTEGER, steps),
        "message": (TEXT, note("message")),
        "tagger": (TEXT, note("tagger")),
        "time": (TIME, note("time")),
        "state": (TEXT, lambda: [oid.hex() for _, oid, _ in found()]),
    }


def episodes(store: Readable, known: Sequence[RunHistory]) -> Columns:
    """Return the columns of ``episodes``: those of each run's whole history."""
    known = [run for run in known if run.ref.oid is not None]

    @cache
    def found() -> list[EpisodeColumns]:
        with store.read() as txn:
            return [episode_columns(store.odb, txn, run.ref.place) for run in known]

    def joined(make: Callable[[EpisodeColumns], Any], kind: pa.DataType) -> Make:
        return lambda: pa.array(np.concatenate([np.zeros(0, bool), *map(make, found())]), kind)

    def own() -> pa.Array:
        with store.read() as txn:
            firsts = [first_own_step(store.odb, txn, run.ref.record) for run in known]
        masks = [each.start >= first for each, first in zip(found(), firsts, strict=True)]
        return pa.array(np.concatenate([np.zeros(0, bool), *masks]), FLAG)

    return {
        "run": (NAME, lambda: run_column([r.name for r in known], [len(e.start) for e in found()])),
        "episode": (INTEGER, joined(lambda e: e.number, INTEGER)),
        "start": (INTEGER, joined(lambda e: e.start, INTEGER)),
        "stop": (INTEGER, joined(lambda e: e.stop, INTEGER)),
        "length": (INTEGER, joined(lambda e: e.stop - e.start - 1, INTEGER)),
        "return": (NUMBER, joined(lambda e: e.return_, NUMBER)),
        "terminated": (FLAG, joined(lambda e: e.terminated, FLAG)),
        "truncated": (FLAG, joined(lambda e: e.truncated, FLAG)),
        "own": (FLAG, own),
    }


class _OfRun(NamedTuple):
    run: str | None
    is_own: bool | None
    what: attachments.Attached


def attached(store: Readable, known: Sequence[RunHistory]) -> Columns:
    """Return the columns of ``attachments``: one row for each run in whose history it is."""

    @cache
    def found() -> list[_OfRun]:
        with store.read() as txn:
            return list(_attached(store, txn, known))

    def of(make: Callable[[_OfRun], Any]) -> Make:
        return lambda: [make(each) for each in found()]

    return {
        "run": (TEXT, of(lambda each: each.run)),
        "step": (INTEGER, of(lambda each: each.what.step)),
        "name": (TEXT, of(lambda each: each.what.name)),
        "kind": (TEXT, of(lambda each: each.what.kind)),
        "own": (FLAG, of(lambda each: each.is_own)),
        "oid": (TEXT, of(lambda each: each.what.oid.hex())),
        "state": (TEXT, of(lambda each: each.what.state.hex())),
    }


def _attached(store: Readable, txn: ReadTxn, known: Sequence[RunHistory]) -> Iterator[_OfRun]:
    by_line: dict[int, list[tuple[Location, attachments.Attached]]] = {}
    for place, name, key in attachments.placed(store.odb, txn):
        each = attachments.attached(store.odb, txn, place.step, name, key)
        by_line.setdefault(place.line, []).append((place, each))
    left = {id(each): each for found in by_line.values() for _, each in found}
    for run in known if left else ():
        if run.ref.oid is None:
            continue
        first = first_own_step(store.odb, txn, run.ref.record)
        for part in line_ranges(txn, run.ref.place, shallow=True):
            for place, each in by_line.get(part.line, ()):
                if part.start <= place.step < part.stop:
                    left.pop(id(each), None)
                    yield _OfRun(run.name, place.step >= first, each)
    yield from (_OfRun(None, None, each) for each in left.values())


def series(store: Readable, known: Sequence[RunHistory]) -> Columns:
    """Return the columns of ``series``: the points of each run's whole history."""

    @cache
    def found() -> list[tuple[str, bool, str, Series]]:
        with store.read() as txn:
            return list(_series(store, txn, known))

    def joined(make: Callable[[Series], Any], kind: pa.DataType) -> Make:
        return lambda: pa.array(np.concatenate([[], *(make(s) for *_, s in found())]), kind)

    def steps() -> pa.Array:
        return pa.array(np.concatenate([np.zeros(0, np.int64), *(s.step for *_, s in found())]))

    def times() -> pa.Array:
        seconds = np.concatenate([[], *(s.time for *_, s in found())])
        known_ones = np.abs(seconds) < _LATEST  # which NaN is not
        counts = (np.where(known_ones, seconds, 0) * 1e9).astype(np.int64)
        return pa.array(counts, INTEGER, mask=~known_ones).cast(TIME)

    def counts() -> list[int]:
        return [len(s.step) for *_, s in found()]

    return {
        "run": (NAME, lambda: run_column([run for run, *_ in found()], counts())),
        "tag": (NAME, lambda: run_column([tag for _, _, tag, _ in found()], counts())),
        "step": (INTEGER, steps),
        "time": (TIME, times),
        "value": (NUMBER, joined(lambda s: s.value, NUMBER)),
        "own": (FLAG, lambda: pa.array(np.repeat([own for _, own, *_ in found()], counts()), FLAG)),
    }


def _series(
    store: Readable, txn: ReadTxn, known: Sequence[RunHistory]
) -> Iterator[tuple[str, bool, str, Series]]:
    """Yield the points of each run, attachment by attachment: run, whether own, tag, points."""
    for run in known:
        if run.ref.oid is None:
            continue
        first = first_own_step(store.odb, txn, run.ref.record)
        for part in parts_of(store.odb, txn, run.ref.place):
            for tag, points in part.series.items():
                yield run.name, part.at >= first, tag, points


def reflog(store: Readable, known: Sequence[RunHistory]) -> Columns:
    """Return the columns of ``reflog``: the changes of all refs, deleted ones too."""

    @cache
    def found() -> list[tuple[str, int, Any]]:
        with store.read() as txn:
            return [
                (ref, number, entry) for ref in store.refs.logged(txn)
                for number, entry in enumerate(store.refs.log(txn, ref))
            ]  # fmt: skip

    return {
        "ref": (TEXT, lambda: [ref for ref, _, _ in found()]),
        "number": (INTEGER, lambda: [number for _, number, _ in found()]),
        "message": (TEXT, lambda: [entry.message for _, _, entry in found()]),
        "time": (TIME, lambda: [entry.time for _, _, entry in found()]),
        "process": (INTEGER, lambda: [entry.pid for _, _, entry in found()]),
        "old": (TEXT, lambda: [_hex(entry.old) for _, _, entry in found()]),
        "new": (TEXT, lambda: [_hex(entry.new) for _, _, entry in found()]),
    }


def operations(store: Readable, known: Sequence[RunHistory]) -> Columns:
    """Return the columns of ``operations``, the newest first."""

    @cache
    def found() -> list[Any]:
        with store.read() as txn:
            return list(store.oplog.operations(txn))

    def of(name: str) -> Make:
        return lambda: [getattr(each, name) for each in found()]

    return {
        "number": (INTEGER, of("number")),
        "command": (TEXT, of("command")),
        "arguments": (pa.list_(TEXT), lambda: [list(each.arguments) for each in found()]),
        "title": (TEXT, of("title")),
        "time": (TIME, of("time")),
        "until": (TIME, of("until")),
        "changes": (INTEGER, of("changes")),
        "reverts": (INTEGER, of("reverts")),
        "session": (FLAG, of("session")),
        "program": (FLAG, of("program")),
        "process": (INTEGER, lambda: [each.process.get("pid") for each in found()]),
    }


TABLES: Final[Mapping[str, Callable[[Readable, Sequence[RunHistory]], Columns]]] = {
    "runs": runs, "tags": tags, "episodes": episodes, "attachments": attached, "series": series,
    "reflog": reflog, "operations": operations,
}  # fmt: skip
"""Name of a table to what returns its columns."""
