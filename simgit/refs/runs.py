"""Runs: records, branching, sealing, configuration. All in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from simgit.errors import Conflict, InvalidInput, NotFound, did_you_mean, near_or_known
from simgit.objects.kinds import NO_ORIGIN, Run, Spec
from simgit.objects.oid import Oid
from simgit.odb.ancestry import is_ancestor
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.batch import Tip
from simgit.odb.segments.lines import read_line
from simgit.refs import run_config
from simgit.refs.records import STATUSES, RunRef, moved
from simgit.refs.refs import Refs
from simgit.refs.revision import Resolved
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.process import now

_EXACT: Final = ("exact", "exact by replay")
"""The verdicts with which an environment can be resumed."""


@dataclass(frozen=True)
class RunInfo:
    """The facts about a run.

    ``step`` is the newest state's (None if there is none), ``return_`` the sum of all rewards on
    the way to it, times are in nanoseconds since 1970 (UTC).
    """

    name: str
    oid: Oid | None
    step: int | None
    episodes: int
    return_: float
    status: str
    overrides: Mapping[str, Any]
    parent: str | None
    branch_point: Oid | None
    seed: Any
    metadata: Mapping[str, Any]
    created: int
    ended: int | None
    writer: Mapping[str, Any] | None
    resolve: Callable[[], dict[str, Any]] = field(repr=False, compare=False)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration, read on first use: it may be inherited over many runs."""
        return self.resolve()

    def _repr_html_(self) -> str:
        from simgit.plot import notebook

        rows: list[tuple[str, object]] = [
            ("run", self.name), ("status", self.status), ("step", _or_none(self.step)),
            ("episodes", self.episodes), ("return", f"{self.return_:.6g}"),
            ("newest state", notebook.code(self.oid.short() if self.oid else "none")),
            ("branched off", self.parent or "nothing"),
            ("own settings", notebook.code(dict(self.overrides))), ("seed", _or_none(self.seed)),
        ]  # fmt: skip
        return notebook.table(rows)


def _or_none(value: object) -> object:
    return "none" if value is None else value


class Runs:
    """The runs of one store: created, changed and described."""

    def __init__(self, odb: ObjectDatabase, refs: Refs) -> None:
        self.odb = odb
        self.refs = refs

    def info(self, txn: ReadTxn, name: str) -> RunInfo:
        """Return the facts about a run.

        Raises:
            NotFound: there is no such run.
        """
        ref = self.refs.run(txn, name)
        record = run_config.run_record(self.odb, txn, ref.record)
        return RunInfo(
            name, ref.oid, ref.step if ref.oid else None, ref.episodes, ref.returned,
            ref.shown_status, record.overrides, ref.parent, record.branch_point, record.seed,
            record.metadata, ref.created, ref.ended, ref.writer, lambda: self.config(ref.record),
        )  # fmt: skip

    def config(self, record: Oid) -> dict[str, Any]:
        """Return the resolved configuration of a run's record."""
        with self.odb.read() as txn:
            return run_config.resolve(self.odb, txn, record)

    def create(
        self,
        txn: WriteTxn,
        name: str,
        start: Resolved | None,
        overrides: Mapping[str, Any],
        seed: Any,
        metadata: Mapping[str, Any],
        message: str,
    ) -> RunRef:
        """Create a run, empty or at a state, whose run's configuration it inherits."""
        parent = start.run if start else None
        above = self.refs.run(txn, parent).record if parent else None
        point = start.oid if start else None
        record = Run(run_config.nested(overrides), above, point, seed, dict(metadata))
        oid = self.odb.put(txn, record)
        ref = RunRef(None, 0, 0, oid, created=now(), parent=parent)
        if start is not None:
            ref = moved(ref, self.odb.states.tip(txn, start.place))
        self.refs.create_run(txn, name, ref, message)
        return ref

    def ensure(
        self, txn: WriteTxn, name: str, config: Mapping[str, Any] | None, seed: Any
    ) -> RunRef:
        """Return a run's ref for writing; create the run if there is none.

        Raises:
            InvalidInput: the run is completed, or exists and has another configuration.
        """
        if not self.refs.has_run(txn, name):
            return self.create(txn, name, None, config or {}, seed, {}, "run: created")
        ref = self.refs.run(txn, name)
        if ref.status == "completed":
            raise completed(name)
        if config:
            self.configure(txn, name, config)
            ref = self.refs.run(txn, name)
        return ref

    def configure(
        self,
        txn: WriteTxn,
        name: str,
        overrides: Mapping[str, Any] = {},
        unset: tuple[str, ...] = (),
        metadata: Mapping[str, Any] = {},
    ) -> None:
        """Change a run's own overrides and metadata; its children keep what they inherited."""
        ref = self.refs.run(txn, name)
        record = run_config.run_record(self.odb, txn, ref.record)
        merged: dict[str, Any] = {}
        run_config.merge(merged, record.overrides)
        run_config.merge(merged, run_config.nested(overrides))
        for path in unset:
            _remove(merged, path)
        new = Run(
            merged, record.parent, record.branch_point, record.seed,
            {**record.metadata, **metadata},
        )  # fmt: skip
        self.refs.update_run(
            txn, name, ref, ref._replace(record=self.odb.put(txn, new)), "config: changed"
        )

    def set_status(self, txn: WriteTxn, name: str, status: str) -> None:
        """Set the status of a run; ``active`` reopens a completed one.

        Raises:
            InvalidInput: there is no such status.
        """
        if status not in STATUSES:
            near = near_or_known(status, STATUSES)
            raise InvalidInput(f"unknown status '{status}'{near}", status=status)
        ref = self.refs.run(txn, name)
        ended = now() if status in ("completed", "failed", "crashed") else None
        new = ref._replace(status=status, ended=ended, writer=None)
        self.refs.update_run(txn, name, ref, new, f"run: {status}")

    def delete(self, txn: WriteTxn, name: str, force: bool) -> RunRef:
        """Remove a run's ref; its states stay reachable through its reflog.

        Raises:
            Conflict: HEAD points at it, or it is being written.
        """
        if self.refs.head(txn) == name:
            raise Conflict(f"run '{name}' is checked out; check out another run first", name=name)
        ref = self.refs.run(txn, name)
        if not force:
            check_unwritten(name, ref, "; delete it anyway with -D (force=True)")
        return self.refs.delete_run(txn, name, f"branch: deleted {name}")

    def reset(self, txn: WriteTxn, name: str, to: Resolved, message: str) -> RunRef:
        """Move a run to a state; it keeps its configuration and metadata. Return its old ref.

        Where it is set back to before its branch point, or moved to where it has not been, that
        state is its branch point from now on.

        Raises:
            Conflict: it is being written.
            InvalidInput: it is completed.
        """
        ref = self.refs.run(txn, name)
        check_unwritten(name, ref)
        if ref.status == "completed":
            raise completed(name)
        parent, point = ref.parent, run_config.run_record(self.odb, txn, ref.record).branch_point
        if ref.oid is None or not is_ancestor(self.odb, txn, to.place, ref.place):
            parent, point = self._parent(txn, name, to.run), to.oid
        elif point is not None and not self._is_after(txn, point, to):
            point = to.oid
        new = moved(ref, self.odb.states.tip(txn, to.place))._replace(
            record=self._record(txn, ref, point), parent=parent, status="active", ended=None,
            writer=None,
        )  # fmt: skip
        self.refs.update_run(txn, name, ref, new, message)
        return ref

    def _is_after(self, txn: ReadTxn, point: Oid, state: Resolved) -> bool:
        return is_ancestor(self.odb, txn, self.odb.locate(txn, point), state.place)

    def _parent(self, txn: ReadTxn, name: str, parent: str | None) -> str | None:
        """Return the run that a run leaves, None if that one was itself branched off it."""
        above, seen = parent, {name}
        while above is not None and above not in seen and self.refs.has_run(txn, above):
            seen.add(above)
            above = self.refs.run(txn, above).parent
        return None if above in seen else parent

    def _record(self, txn: WriteTxn, ref: RunRef, point: Oid | None) -> Oid:
        """Return a run's record with another branch point."""
        old = run_config.run_record(self.odb, txn, ref.record)
        if old.branch_point == point:
            return ref.record
        return self.odb.put(txn, Run(old.overrides, old.parent, point, old.seed, old.metadata))

    def doubt(self, txn: ReadTxn, start: Resolved) -> str | None:
        """Return why resuming from a state may not be exact, None if there is no reason.

        Only states of an environment are in question: the verdict is that of the run or of one
        that it was branched off. See ``simgit.gym.restoring.verify``.
        """
        if start.run is None:
            return None
        origin = read_line(txn, self.odb.states.ancestor(txn, start.place, 0).line).origin
        if origin == NO_ORIGIN.oid:
            return None
        verdict = self._verdict(txn, self.refs.run(txn, start.run).record)
        if verdict in _EXACT or not self._is_of_environment(txn, origin):
            return None
        if verdict == "not deterministic":
            return f"run '{start.run}' is not deterministic and cannot be resumed exactly"
        return (
            f"run '{start.run}' was not checked for determinism; "
            f"check it with 'simgit verify {start.run}'"
        )

    def _verdict(self, txn: ReadTxn, record: Oid) -> Any:
        for each in run_config.ancestors(self.odb, txn, record):
            if "verdict" in each.metadata:
                return each.metadata["verdict"].get("result")
        return None

    def _is_of_environment(self, txn: ReadTxn, origin: bytes) -> bool:
        spec = self.odb.object(txn, origin)
        return isinstance(spec, Spec) and "environment" in spec.fields

    def tip(self, txn: ReadTxn, ref: RunRef) -> Tip | None:
        """Return the newest state of a run, None if it has no states."""
        return None if ref.oid is None else self.odb.states.tip(txn, ref.place)

    def origin(self, txn: WriteTxn, spec: Mapping[str, Any] | None) -> Oid:
        """Store a spec; return its oid."""
        oid = self.odb.put(txn, Spec(dict(spec)) if spec else NO_ORIGIN)
        self.odb.expect(txn, oid)
        return oid


def completed(name: str) -> InvalidInput:
    """Return the error for a completed run that is to be continued."""
    return InvalidInput(
        f"run '{name}' is completed; reopen it with 'simgit run reopen {name}', or branch off it",
        name=name,
    )


def check_unwritten(name: str, ref: RunRef, advice: str = "") -> None:
    """Raise Conflict if a process is writing a run."""
    if ref.writer is not None and ref.shown_status == "active":
        pid = ref.writer["pid"]
        raise Conflict(
            f"run '{name}' is being written by process {pid}{advice}", name=name, pid=pid
        )


def _remove(config: dict[str, Any], path: str) -> None:
    *above, last = path.split(".")
    level: Any = config
    for key in above:
        level = level.get(key) if isinstance(level, dict) else None
    if not isinstance(level, dict) or last not in level:
        near = did_you_mean(path, run_config.flat(config))
        raise NotFound(f"setting '{path}' not found among the run's own overrides{near}", name=path)
    del level[last]
