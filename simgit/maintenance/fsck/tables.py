"""The check of the small tables: refs, logs, names, attachments, counters, settings."""

from __future__ import annotations

from simgit.errors import IntegrityError, NotFound, SimgitError
from simgit.maintenance.fsck.findings import END, Findings, readable_runs
from simgit.maintenance.fsck.oplog import check_operations
from simgit.maintenance.fsck.report import (
    COUNTERS,
    GRAFT_LIST,
    IDENTITY,
    INDEX,
    LINES,
    LOGS,
    NAMES,
    OBJECT,
    REFS,
    SUMMARIES,
    TIMES,
)
from simgit.maintenance.size_log import sizes
from simgit.objects.kinds import Binding
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb import foreign, unreachable
from simgit.odb.location import LIMIT, Location
from simgit.odb.segments import summaries
from simgit.odb.segments.array_groups import group_place
from simgit.odb.segments.index import find_loose
from simgit.odb.segments.index_merge import check_merge, greatest_number, unfinished
from simgit.odb.segments.index_runs import STATES, check_run
from simgit.odb.segments.lines import check_grafts, counter, newest_number
from simgit.odb.segments.times import PREFIX, read_time
from simgit.odb.segments.totals import near
from simgit.refs.names import HEAD, OF_RUNS, REMOTES, RUNS, fold, own_ancestor
from simgit.refs.oplog.log import OperationLog, parse
from simgit.refs.records import decode_entry, decode_run
from simgit.refs.saved_queries import saved_queries
from simgit.refs.settings import get_setting, setting_names
from simgit.refs.simulations import check_simulations, events
from simgit.storage.base import ReadTxn


class TableChecks(Findings):
    """The check of everything but states and objects themselves."""

    def _check_tables(self, txn: ReadTxn) -> None:
        """Check everything but states and objects themselves."""
        self._check_stray_segments(txn)
        self._check_numbers(txn)
        with self._noting(GRAFT_LIST):
            check_grafts(txn)
        self._check_index_pages(txn)
        self._check_loose(txn)
        self._check_refs(txn)
        self._check_parents_of_runs(txn)
        self._check_names(txn)
        self._check_logs(txn)
        self._check_attachments(txn)
        self._check_pending(txn)
        self._check_settings(txn)
        with self._noting():
            OperationLog().whole(txn)
        self._check_times(txn)
        if foreign.is_malformed(txn):
            self._problem("the identity of the store is malformed", kind=IDENTITY)
        for what, missing in check_operations(self.odb, txn):
            self._problem(what, kind=OBJECT if missing else "", where=missing)

    def _check_stray_segments(self, txn: ReadTxn) -> None:
        lines = {key for key, _ in txn.scan("lines")}
        stored = {key[:8] for key, _ in txn.scan("segments")}
        for line in sorted(stored - lines):
            number = int.from_bytes(line, "big")
            self._problem(
                f"line {number} is missing, but has segments", self._cost(txn, number, 0, END),
                LINES, (number, 0),
            )  # fmt: skip

        for line in sorted({key[:8] for key, _ in txn.scan(summaries.TABLE)} - lines - stored):
            self._problem(f"a summary is of the missing line {line.hex()}", kind=SUMMARIES)

        for key, _ in txn.scan("groups"):
            with self._noting():
                number, field, first = group_place(key)
                header = self.odb.states.header(txn, Location(number, first))
                if field not in self.odb.schema(txn, header.schema).arrays:
                    raise IntegrityError(f"the arrays at {number}/{first} belong to no field")

    def _check_numbers(self, txn: ReadTxn) -> None:
        """Check that the counters are above all used numbers."""
        last = txn.last("lines")
        damaged = last is not None and int.from_bytes(last[0][-8:], "big") >= LIMIT
        line = LIMIT if damaged else newest_number(txn)
        run = greatest_number(txn, (1 << 64) - 1)
        for name, newest in ((b"next-line", line), (b"next-index", run)):
            value = txn.get("meta", name)
            if value is None and newest is None:
                continue
            try:
                sound = value is not None and counter(value, name.decode()) > (
                    -1 if newest is None else newest
                )
            except SimgitError:
                sound = False
            if not sound:
                self._problem(
                    f"the counter '{name.decode()}' is missing or wrong; do not write before "
                    "it is repaired",
                    kind=COUNTERS,
                )

    def _check_index_pages(self, txn: ReadTxn) -> None:
        """Check that each run of the index finds its pages, and these what they lead to."""
        try:
            for run in self.odb.states.index.runs(txn):
                check_run(txn, run)
            for merge in unfinished(txn):
                check_merge(txn, merge)
        except SimgitError as error:
            self._problem(str(error), kind=INDEX)

    def _check_loose(self, txn: ReadTxn) -> None:
        for oid, _ in txn.scan("oids"):
            try:
                find_loose(txn, STATES, oid)
            except SimgitError as error:
                self._problem(str(error), kind=INDEX)

    # --- refs ---

    def _check_refs(self, txn: ReadTxn) -> None:
        for key, value in txn.scan("refs"):
            name = key.decode(errors="replace")
            try:
                parse(("refs", key), value)
            except SimgitError as error:
                self._problem(f"ref '{name}': {error}", kind=REFS, where=key)
                continue
            try:
                self._check_ref(txn, name)
            except SimgitError as error:
                self._problem(f"ref '{name}': {error}")

    def _check_ref(self, txn: ReadTxn, name: str) -> None:
        if name == HEAD:
            head = self.refs.head(txn)
            if not isinstance(head, str):
                self.odb.locate(txn, head)
        elif name.startswith(OF_RUNS):
            run = decode_run(txn.get("refs", name.encode()) or b"")
            if run.oid is not None:
                self.odb.states.row(txn, run.place, run.oid)
                tip = self.odb.states.tip(txn, run.place)
                if run.episodes is None and run.returned != run.returned:
                    return  # it was shallow when it was set
                if tip.episode != run.episodes or not near(tip.returned, run.returned):
                    raise IntegrityError("its episodes and return are not those of its state")
            if not self.odb.exists(txn, run.record):
                what = f"ref '{name}': the run's record is missing"
                self._problem(what, kind=OBJECT, where=bytes(run.record))
        else:
            tag = self.refs.tag(txn, name.partition("/")[2])
            self.odb.locate(txn, tag.oid)
            if tag.tag is not None and not self.odb.exists(txn, tag.tag):
                what = f"ref '{name}': the tag's annotation is missing"
                self._problem(what, kind=OBJECT, where=bytes(tag.tag))

    def _check_parents_of_runs(self, txn: ReadTxn) -> None:
        parents = {
            name.removeprefix(RUNS): run.parent
            for name, run in readable_runs(txn)
            if name.startswith(RUNS)
        }
        if name := own_ancestor(parents):
            self._problem(
                f"ref 'runs/{name}': the run is its own ancestor", kind=REFS,
                where=(RUNS + name).encode(),
            )  # fmt: skip

    def _check_names(self, txn: ReadTxn) -> None:
        """Check that the reserved names are those of the runs and tags."""
        taken = {key[5:]: value for key, value in txn.scan("meta", b"fold\0", b"fold\1")}
        for key, _ in txn.scan("refs"):
            space, slash, name = key.decode(errors="replace").partition("/")
            if key.startswith(REMOTES.encode()):
                continue  # a remote may have names that differ in case only
            if slash and taken.pop((space + slash + fold(name)).encode(), None) != name.encode():
                self._problem(
                    f"the name '{key.decode(errors='replace')}' is not reserved", kind=NAMES
                )
        for key in taken:
            self._problem(
                f"the name '{key.decode(errors='replace')}' is reserved, but not in use", kind=NAMES
            )

    def _check_logs(self, txn: ReadTxn) -> None:
        newest: dict[bytes, tuple[int, Oid | None]] = {}
        for key, value in txn.scan("log"):
            ref, number = key[:-9], int.from_bytes(key[-8:], "big")
            name = ref.decode(errors="replace")
            before = newest[ref][0] if ref in newest else self.refs.first_entry(txn, name) - 1
            newest[ref] = number, None
            try:
                if number != before + 1:
                    self._problem(
                        f"the reflog of '{name}': entries {before + 1} to {number - 1} are missing"
                    )
                entry = decode_entry(value)
                newest[ref] = number, entry.new
                for oid in (entry.old, entry.new):
                    if oid is not None and self.odb.states.locate(txn, oid) is None:
                        raise NotFound(f"it names '{oid.hex()}', which is missing")
            except SimgitError as error:
                self._problem(f"the reflog of '{name}': {error}")
        for key, _ in txn.scan("refs"):
            if key not in newest:
                name = key.decode(errors="replace")
                self._problem(f"the reflog of '{name}' is missing", kind=LOGS)
        runs = dict(readable_runs(txn))
        for ref, (_, oid) in newest.items():
            name = ref.decode(errors="replace")
            run = runs.get(name)
            if run is not None and run.oid != oid:
                self._problem(f"the reflog of '{name}' does not end at its state", kind=LOGS)
            elif oid is not None and name != HEAD and txn.get("refs", ref) is None:
                what = f"ref '{name}' is missing: its reflog ends at '{oid.hex()}'"
                self._problem(what, kind=REFS, where=ref)

    def _check_attachments(self, txn: ReadTxn) -> None:
        for key, value in txn.scan("attachments"):
            state, name = key[:OID_SIZE], key[OID_SIZE:].decode(errors="replace")
            try:
                binding = self.odb.object(txn, value)
                if not isinstance(binding, Binding) or (binding.state, binding.name) != (
                    state,
                    name,
                ):
                    raise IntegrityError("the binding belongs to another state or name")
                self.odb.locate(txn, state)
            except SimgitError as error:
                what = f"attachment '{name}' of state {state.hex()}: {error}"
                self._problem(what, kind=OBJECT, where=value)

    def _check_settings(self, txn: ReadTxn) -> None:
        for name in setting_names(txn):
            with self._noting():
                get_setting(txn, name)
        with self._noting():
            saved_queries(txn)
        with self._noting():
            check_simulations(txn)
        with self._noting():
            list(events(txn))
        with self._noting():
            sizes(txn)

    def _check_times(self, txn: ReadTxn) -> None:
        for key, value in txn.scan("meta", PREFIX, PREFIX[:-1] + b"\1"):
            try:
                read_time(key, value)
            except SimgitError as error:
                self._problem(str(error), kind=TIMES)

    def _check_pending(self, txn: ReadTxn) -> None:
        for key, value in txn.scan(unreachable.TABLE):
            try:
                unreachable.decode(key, value)
            except SimgitError as error:
                self._problem(str(error))
