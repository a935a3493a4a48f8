"""Runs: records, branching, sealing, configuration. All in the caller's transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simgit.errors import Conflict, InvalidInput, NotFound, did_you_mean, near_or_known, shown, warn
from simgit.objects.codec import encode_value
from simgit.objects.coerce import check_seed
from simgit.objects.compression import CHECKSUM_SIZE
from simgit.objects.kinds import NO_ORIGIN, Run, Spec
from simgit.objects.oid import Oid
from simgit.odb import foreign
from simgit.odb.ancestry import is_ancestor
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.lines import graft_of, read_line
from simgit.process import collection_paused, now, this_writer
from simgit.refs import run_config
from simgit.refs.names import COUNTER, RUNS, TAGS, more_names
from simgit.refs.records import STATUSES, RunRef, decode_one_of_many, moved
from simgit.refs.refs import Refs
from simgit.refs.remotes import tracking
from simgit.refs.revision import Resolved
from simgit.storage.base import ReadTxn, WriteTxn

if TYPE_CHECKING:
    from simgit.odb.segments.batch import Tip

_VERDICT: Final = "verdict"
SIMULATION: Final = "simulation"
"""The key of a run's metadata for the type of its simulation, which is code."""
HOOKS: Final = "simulator"
"""The key of a run's metadata for the names of a simulator's hooks, which are code."""
FORGETS: Final = "reset_forgets"
"""The key of a run's metadata that says whether a seeded reset of its environment forgets."""
DECLARATIONS: Final = "True, False or 'np_random'"
"""What it may be, in words."""
_DOUBTED: Final = frozenset({_VERDICT, HOOKS, FORGETS})
"""Keys of a run's metadata that count for nothing when they came from elsewhere."""
_EXACT: Final = ("exact", "exact by replay")
"""The verdicts with which an environment can be resumed."""


def is_declaration(value: object) -> bool:
    """Return True if a value says whether resets forget."""
    return isinstance(value, bool) or (isinstance(value, str) and value == "np_random")


class RunInfo:
    """The facts about a run; they are of one moment, and cannot be changed."""

    __slots__ = ("_config", "_is_marked", "_name", "_record", "_ref", "_resolve", "_status")

    def __init__(
        self,
        name: str,
        ref: RunRef,
        status: str,
        record: Run | bytes,
        is_marked: bool,
        resolve: Callable[[Run], Mapping[str, Any]],
    ) -> None:
        """Note what is known.

        Args:
            name: the name.
            ref: its ref.
            status: its status.
            record: its record, or the record's stored form, which is decoded on first use.
            is_marked: True if the record came from elsewhere.
            resolve: returns the resolved configuration of a record.
        """
        self._name = name
        self._status = status
        self._ref = ref
        self._record = record
        self._is_marked = is_marked
        self._resolve = resolve
        self._config: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self._name

    @property
    def status(self) -> str:
        """The run's status; ``crashed`` if its writer died without ending it."""
        return self._status

    @property
    def oid(self) -> Oid | None:
        """The newest state; None if there is none."""
        return self._ref.oid

    @property
    def step(self) -> int | None:
        """The newest state's step; None if there is none."""
        return self._ref.step if self._ref.oid else None

    @property
    def episodes(self) -> int | None:
        """The number of episodes; None if its history is shallow, so that it is not known."""
        return self._ref.episodes

    @property
    def return_(self) -> float:
        """The sum of all rewards on the way to the newest state; NaN in a shallow history."""
        return self._ref.returned

    @property
    def overrides(self) -> Mapping[str, Any]:
        """The run's own settings."""
        return self._facts.overrides

    @property
    def parent(self) -> str | None:
        """The run that it was branched off; None without one, and if that was deleted."""
        return self._ref.parent

    @property
    def inherited(self) -> Oid | None:
        """The record of the run that it was branched off, as it was then; of a remote's too."""
        return self._facts.parent

    @property
    def branch_point(self) -> Oid | None:
        """The state at which it was branched off."""
        return self._facts.branch_point

    @property
    def seed(self) -> Any:
        """The seed that was given with it."""
        return self._facts.seed

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The notes about the run, by their names."""
        return self._facts.metadata

    @property
    def created(self) -> int:
        """When it was created: nanoseconds since 1970 (UTC)."""
        return self._ref.created

    @property
    def ended(self) -> int | None:
        """When it ended: nanoseconds since 1970 (UTC); None if it has not."""
        return self._ref.ended

    @property
    def writer(self) -> Mapping[str, Any] | None:
        """The process that records it."""
        return self._ref.writer

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration, read on first use: it may be inherited over many runs."""
        if self._config is None:
            self._config = self._resolve(self._facts)
        return self._config

    @property
    def is_foreign(self) -> bool:
        """True if its metadata have a verdict, or name hooks, that came from elsewhere.

        That is by an import or a clone.
        """
        return self._is_marked and not _DOUBTED.isdisjoint(self.metadata)

    @property
    def _facts(self) -> Run:
        if isinstance(self._record, bytes):
            self._record = run_config.decoded(self._ref.record, self._record)
        return self._record

    def as_foreign(self) -> RunInfo:
        """Return the same facts about a run whose record counts as another's."""
        return self._with(self.status, True)

    def _with(self, status: str, is_marked: bool) -> RunInfo:
        if status == self.status and is_marked == self._is_marked:
            return self
        return RunInfo(self.name, self._ref, status, self._record, is_marked, self._resolve)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunInfo):
            return NotImplemented
        return self.name == other.name and self._told() == other._told()

    __hash__ = None  # type: ignore[assignment]  # maps are among the facts

    def __reduce__(self) -> tuple[Any, ...]:
        """Take the resolved configuration along: the repository may not be there."""
        known = (self.name, self._ref, self.status, self._facts, self._is_marked)
        return type(self), (*known, partial(_given, dict(self.config)))

    def _told(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FACTS}

    def __repr__(self) -> str:
        return f"RunInfo({', '.join(f'{key}={value!r}' for key, value in self._told().items())})"

    def _repr_html_(self) -> str:
        from simgit.plot import notebook

        rows: list[tuple[str, object]] = [
            ("run", self.name), ("status", self.status), ("step", _or_none(self.step)),
            ("episodes", _or_none(self.episodes)), ("return", f"{self.return_:.6g}"),
            ("newest state", notebook.code(self.oid.short() if self.oid else "none")),
            ("branched off", self.parent or "nothing"),
            ("own settings", notebook.code(dict(self.overrides))), ("seed", _or_none(self.seed)),
        ]  # fmt: skip
        return notebook.table(rows)


_FACTS: Final = (
    "name", "oid", "step", "episodes", "return_", "status", "overrides", "parent", "branch_point",
    "seed", "metadata", "created", "ended", "writer",
)  # fmt: skip


def _given(config: Mapping[str, Any], record: Run) -> Mapping[str, Any]:
    """Return a configuration that was resolved before."""
    return config


def _or_none(value: object) -> object:
    return "none" if value is None else value


class Opened(NamedTuple):
    """A run that was opened to be recorded.

    Attributes:
        name: its name.
        ref: its ref.
        warning: why it is not the run that was asked for, if it is not.
    """

    name: str
    ref: RunRef
    warning: str | None = None


_MOST_CONFIGS: Final = 256
"""The most inherited configurations that are kept."""


class _Known(NamedTuple):
    """The runs of a snapshot: facts, checksums of the refs, refs of those that are recorded now."""

    txn_id: int
    infos: dict[str, RunInfo]
    checksums: dict[str, bytes]
    written: dict[str, RunRef]
    has_marks: bool


class Runs:
    """The runs of one store: created, changed and described."""

    def __init__(self, odb: ObjectDatabase, refs: Refs) -> None:
        self.odb = odb
        self.refs = refs
        self._known = _Known(-1, {}, {}, {}, False)
        self._configs: dict[Oid, dict[str, Any]] = {}

    def infos(self, txn: ReadTxn) -> Mapping[str, RunInfo]:
        """Return the facts about all runs by name, in the order of their names.

        They are kept by the checksums of their refs, and shared: nothing in them must be changed.
        """
        if isinstance(txn, WriteTxn):  # what it wrote may be rolled back
            return {name: self.describe(txn, name, ref) for name, ref in self.refs.runs(txn)}
        known = self._known  # read once: another thread may replace it
        if known.txn_id != txn.txn_id:
            with collection_paused():  # nothing that is made there is in a circle
                known = self._read_all(txn, known)
        alive: dict[tuple[Any, ...], str] = {}
        changed: dict[str, RunInfo] = {}
        for name, ref in known.written.items():  # a process may end without writing anything
            writer = tuple(sorted((ref.writer or {}).items()))
            if writer not in alive:
                alive[writer] = ref.shown_status
            if known.infos[name].status != alive[writer]:
                changed[name] = known.infos[name]._with(alive[writer], known.infos[name]._is_marked)
        if changed:
            known = known._replace(infos={**known.infos, **changed})
        self._known = known
        return known.infos

    def _read_all(self, txn: ReadTxn, before: _Known) -> _Known:
        """Return the runs of a snapshot; those whose refs have not moved are as they were."""
        infos: dict[str, RunInfo] = {}
        checksums, written = {}, {}
        has_marks, resolve = foreign.is_any(txn), self._resolved
        for name, value in self.refs.stored_runs(txn):
            checksums[name] = value[-CHECKSUM_SIZE:]
            if before.checksums.get(name) != checksums[name]:
                ref = decode_one_of_many(value)
                record = run_config.stored_record(self.odb, txn, ref.record)
                is_marked = has_marks and foreign.is_foreign(txn, ref.record)
                infos[name] = RunInfo(name, ref, ref.shown_status, record, is_marked, resolve)
                if ref.status == "active" and ref.writer is not None:
                    written[name] = ref
                continue
            info = infos[name] = before.infos[name]
            if name in before.written:
                written[name] = before.written[name]
            if has_marks or before.has_marks:  # 'simgit trust' moves no ref
                is_marked = has_marks and foreign.is_foreign(txn, info._ref.record)
                infos[name] = info._with(info.status, is_marked)
        return _Known(txn.txn_id, infos, checksums, written, has_marks)

    def info(self, txn: ReadTxn, name: str) -> RunInfo:
        """Return the facts about a run.

        Raises:
            NotFound: there is no such run.
        """
        return self.describe(txn, name, self.refs.run(txn, name))

    def describe(self, txn: ReadTxn, name: str, ref: RunRef) -> RunInfo:
        """Return the facts about a run whose ref was read before."""
        record = run_config.run_record(self.odb, txn, ref.record)
        is_marked = foreign.is_foreign(txn, ref.record)
        return RunInfo(name, ref, ref.shown_status, record, is_marked, self._resolved)

    def config(self, record: Oid) -> dict[str, Any]:
        """Return the resolved configuration of a run's record."""
        with self.odb.read() as txn:
            return run_config.resolve(self.odb, txn, record)

    def _resolved(self, record: Run) -> dict[str, Any]:
        """Return the resolved configuration of a record; what many inherit is read once."""
        config: dict[str, Any] = {}
        if record.parent is not None:
            run_config.merge(config, self._inherited(record.parent))
        run_config.merge(config, record.overrides)
        return config

    def _inherited(self, record: Oid) -> dict[str, Any]:
        """Return the resolved configuration of a record that others inherit, which is kept."""
        known = self._configs  # another thread may replace it
        found = known.get(record)
        if found is None:
            above = []
            oid: Oid | None = record
            with self.odb.read() as txn:
                while oid is not None and oid not in known:
                    above.append(run_config.run_record(self.odb, txn, oid))
                    oid = above[-1].parent
            found = {} if oid is None else deepcopy(known[oid])
            for each in reversed(above):
                run_config.merge(found, each.overrides)
            if len(known) >= _MOST_CONFIGS:
                known = self._configs = {}
            known[record] = found
        return found

    def create(
        self,
        txn: WriteTxn,
        name: str,
        start: Resolved | None,
        overrides: Mapping[str, Any],
        seed: Any,
        metadata: Mapping[str, Any],
        message: str,
        above: str | None = None,
    ) -> RunRef:
        """Create a run, empty or at a state, whose run's configuration it inherits.

        ``above`` is the run that an empty one inherits from. A state that was reached through a
        remote-tracking ref has that run's configuration, but no run here is the parent.
        """
        parent = start.run if start else above
        inherited = self.refs.run(txn, parent).record if parent else self._tracked(txn, start)
        point = start.oid if start else None
        check_seed(seed)
        _check_declaration(metadata.get(FORGETS))
        record = Run(run_config.nested(overrides), inherited, point, seed, dict(metadata))
        oid = self.odb.put(txn, record)
        ref = RunRef(None, 0, 0, oid, created=now(), parent=parent)
        if start is not None:
            ref = moved(ref, self.odb.states.tip(txn, start.place))
        self.refs.create_run(txn, name, ref, message)
        return ref

    def _tracked(self, txn: ReadTxn, start: Resolved | None) -> Oid | None:
        """Return the record of the run of a remote that a state was reached through, if any."""
        if start is None or start.tracking is None:
            return None
        return tracking(txn, start.tracking).record

    def ensure(self, txn: WriteTxn, name: str) -> RunRef:
        """Return a run's ref for a commit; create the run if there is none.

        Raises:
            InvalidInput: the run is completed.
            Conflict: another process records it.
        """
        if not self.refs.has_run(txn, name):
            return self.create(txn, name, None, {}, None, {}, "run: created")
        ref = self.refs.run(txn, name)
        if ref.status == "completed":
            raise completed(name)
        if ref.is_claimed and ref.writer != this_writer():
            raise being_recorded(name, ref.writer)
        return ref

    def open(
        self,
        txn: WriteTxn,
        name: str,
        config: Mapping[str, Any] | None,
        seed: Any,
        branch: bool = False,
    ) -> Opened:
        """Return the run to record to; it is created if there is none.

        Args:
            txn: the transaction in which the run is claimed then.
            name: the run that was asked for.
            config: the configuration; the run's own states must have been recorded with it.
            seed: the seed; likewise.
            branch: take a new run, branched off the one that cannot be recorded to.

        Raises:
            InvalidInput: the run is completed, and no ``branch``.
            Conflict: another recorder writes it, or it has states of other settings; likewise.
        """
        if not self.refs.has_run(txn, name):
            ref = self.create(txn, name, None, config or {}, seed, {}, "run: created")
            return Opened(name, ref)
        ref = self.refs.run(txn, name)
        try:
            self._check_free(name, ref)
            return Opened(name, self._with_settings(txn, name, ref, config, seed))
        except (Conflict, InvalidInput) as error:
            if not branch:
                raise
            start = None if ref.oid is None else Resolved(ref.oid, ref.place, name)
            above = {} if start is not None else run_config.resolve(self.odb, txn, ref.record)
            run_config.merge(above, run_config.nested(config or {}))
            names = more_names(self.refs.unambiguous(txn, name))
            other = next(each for each in names if not self.refs.is_taken(txn, each))
            ref = self.create(txn, other, start, above, seed, {}, f"run: created beside {name}")
            why = str(error).partition(";")[0]
            return Opened(other, ref, f"{why}; recording to run '{other}' instead")

    def _check_free(self, name: str, ref: RunRef) -> None:
        if ref.status == "completed":
            raise completed(name)
        if ref.is_claimed:
            raise being_recorded(name, ref.writer, ANOTHER_RUN)

    def _with_settings(
        self,
        txn: WriteTxn,
        name: str,
        ref: RunRef,
        config: Mapping[str, Any] | None,
        seed: Any,
    ) -> RunRef:
        """Return the ref of a run whose configuration has some settings; none may lie of a state.

        Raises:
            Conflict: the run has states of its own, recorded with other settings.
        """
        record = run_config.run_record(self.odb, txn, ref.record)
        has_states = ref.oid is not None and ref.oid != record.branch_point
        if has_states:
            before = run_config.resolve(self.odb, txn, ref.record)
            after = run_config.resolve(self.odb, txn, ref.record)
            run_config.merge(after, run_config.nested(config or {}))
            _check_same(name, run_config.flat(before), run_config.flat(after))
            _check_same(name, {"seed": record.seed}, {} if seed is None else {"seed": seed})
        if not config:
            return ref
        self.configure(txn, name, config)
        return self.refs.run(txn, name)

    def take_over(self, txn: WriteTxn, writer: Mapping[str, Any]) -> None:
        """Mark the runs of a process that no longer exists as crashed."""
        for name, ref in list(self.refs.runs(txn)):
            if ref.writer == writer:
                new = ref._replace(status="crashed", ended=now(), writer=None)
                self.refs.update_run(txn, name, ref, new, None)

    def numbered(self, txn: ReadTxn, names: Sequence[str]) -> list[str]:
        """Return names with their counters, ``{auto}`` or ``%03d``, replaced by the next number.

        Names that are alike up to the counter get the same number: the lanes of one environment.
        It is greater than that of any run; the caller creates the runs in this transaction.
        """
        numbers: dict[str, int] = {}
        found = []
        for name in names:
            if (counter := re.search(COUNTER, name)) is not None:
                stem = name[: counter.start()]
                if stem not in numbers:
                    numbers[stem] = self._last_number(txn, stem) + 1
                number = str(numbers[stem]).zfill(int(counter["width"] or 0))
                name = stem + number + name[counter.end() :]
            found.append(name)
        return found

    def _last_number(self, txn: ReadTxn, stem: str) -> int:
        """Return the greatest number that follows a text in the name of a run or tag, 0 if none."""
        digits = re.compile(rf"{re.escape(stem)}([0-9]{{1,18}})(?![0-9])", re.IGNORECASE)
        names = chain(self.refs.names(txn, RUNS, stem), self.refs.names(txn, TAGS, stem))
        return max((int(each[1]) for each in map(digits.match, names) if each), default=0)

    def configure(
        self,
        txn: WriteTxn,
        name: str,
        overrides: Mapping[str, Any] = {},
        unset: tuple[str, ...] = (),
        metadata: Mapping[str, Any] = {},
    ) -> None:
        """Change a run's own overrides and metadata; its children keep what they inherited.

        A verdict and ``reset_forgets`` are the user's own word from then on, in a record that came
        from elsewhere too; there the other's word on the other of these is removed.

        Raises:
            InvalidInput: ``reset_forgets`` would not count, since the record came from elsewhere
                and names code.
        """
        ref = self.refs.run(txn, name)
        record = run_config.run_record(self.odb, txn, ref.record)
        merged: dict[str, Any] = {}
        run_config.merge(merged, record.overrides)
        run_config.merge(merged, run_config.nested(overrides))
        for path in unset:
            _remove(merged, path)
        known = dict(record.metadata)
        names_code = record.metadata.get(SIMULATION) or record.metadata.get(HOOKS)
        is_own = HOOKS in metadata or not names_code
        words = metadata.keys() & {_VERDICT, FORGETS}
        if FORGETS in words:
            _check_declaration(metadata[FORGETS])
        if words and foreign.is_foreign(txn, ref.record):
            if not is_own and FORGETS in words:
                raise InvalidInput(
                    f"'{FORGETS}' would not count for run '{name}', which came from elsewhere and "
                    "names code: trust the repository with 'simgit trust' first",
                    name=name,
                )
            for each in (_VERDICT, FORGETS):  # of another's word this user's says nothing
                known.pop(each, None)
        new = Run(merged, record.parent, record.branch_point, record.seed, {**known, **metadata})
        oid = run_config.successor(self.odb, txn, ref.record, new)
        if words and is_own:
            foreign.unmark(txn, oid)  # this user has noted it, and names no code of another's
        self.refs.update_run(txn, name, ref, ref._replace(record=oid), "config: changed")

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
            Conflict: HEAD points at it and there are others, or it is being written; no ``force``.
        """
        ref = self.refs.run(txn, name)
        others = (other for other, _ in self.refs.runs(txn) if other != name)
        if self.refs.head(txn) == name and not force and next(others, None) is not None:
            raise Conflict(
                f"run '{name}' is checked out; check out another run first, or delete it anyway "
                "with -D (force=True)",
                name=name,
            )
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
        new = Run(old.overrides, old.parent, point, old.seed, old.metadata)
        return run_config.successor(self.odb, txn, ref.record, new)

    def doubt(self, txn: ReadTxn, start: Resolved) -> str | None:
        """Return why resuming from a state may not be exact, None if there is no reason.

        Only states of an environment are in question: the verdict is that of the run or of one
        that it was branched off. See ``simgit.gym.restoring.verify``.
        """
        name = start.run or start.tracking
        record = self.refs.run(txn, start.run).record if start.run else self._tracked(txn, start)
        if record is None:
            return None
        is_shallow = graft_of(txn, start.place.line) is not None  # its origin is not known
        verdict = self._verdict(txn, record)
        if not is_shallow:
            origin = read_line(txn, self.odb.states.ancestor(txn, start.place, 0).line).origin
            if origin == NO_ORIGIN.oid or not self._is_of_environment(txn, origin):
                return None
        if verdict in _EXACT or (is_shallow and verdict is None):
            return None
        if verdict == "live":
            return f"run '{name}' is live: what follows may be otherwise than recorded"
        if verdict == "not deterministic":
            return f"run '{name}' is not deterministic and cannot be resumed exactly"
        if verdict == "depends on the process":
            return f"run '{name}' depends on the process: it may continue otherwise in another"
        return f"run '{name}' was not checked for determinism; check it with 'simgit verify {name}'"

    def _verdict(self, txn: ReadTxn, record: Oid) -> Any:
        for each in run_config.ancestors(self.odb, txn, record):
            if isinstance(verdict := each.metadata.get(_VERDICT), dict):
                return None if foreign.is_foreign(txn, each.oid) else str(verdict.get("result"))
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
        foreign.unmark(txn, oid)
        return oid


def completed(name: str) -> InvalidInput:
    """Return the error for a completed run that is to be continued."""
    return InvalidInput(
        f"run '{name}' is completed; reopen it with 'simgit run reopen {name}', or branch off it",
        name=name,
    )


ANOTHER_RUN: Final = ", or record to another run (--run, or on_conflict='branch')"


def being_recorded(name: str, writer: Mapping[str, Any] | None, what_else: str = "") -> Conflict:
    """Return the error for a run that a living process records already."""
    mine = this_writer()
    who, more = "in this process", ""
    pid = None if writer is None else writer["pid"]
    if writer is not None and dict(writer) != mine:
        who = f"by process {pid}"
        if writer["machine"] != mine["machine"]:
            who += f" of '{str(writer['machine']).partition(' ')[0]}'"
            more = f"; if it runs no more: simgit run reopen {name}"
    return Conflict(
        f"run '{name}' is being recorded {who}; close that recorder{what_else}{more}",
        name=name,
        pid=pid,
        writer=writer,
    )


def _check_same(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for path, value in after.items():
        if path in before and encode_value(before[path]) == encode_value(value):
            continue
        was = shown(before[path]) if path in before else "not set"
        raise Conflict(
            f"run '{name}' has states that were recorded with other settings: {path} was {was}, "
            f"is {shown(value)}; record to another run (--run '{name}-{{auto}}', or "
            "on_conflict='branch')",
            name=name,
            path=path,
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


def check_unwritten(name: str, ref: RunRef, advice: str = "") -> None:
    """Raise Conflict if a process is writing a run."""
    if ref.writer is not None and ref.is_claimed:
        pid = ref.writer["pid"]
        raise Conflict(
            f"run '{name}' is being written by process {pid}{advice}", name=name, pid=pid
        )


def _check_declaration(value: object) -> None:
    """Warn if what a user notes of resets is nothing that counts."""
    if value is not None and not is_declaration(value):
        warn(f"'{FORGETS}' must be {DECLARATIONS}, got {shown(value)}: it counts for nothing")
