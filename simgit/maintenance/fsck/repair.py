"""The repair of a store: from its other data, from another repository, or by moving runs back.

Nothing is deleted: replaced entries go to a quarantine file. Derived data (the index, counters,
reserved names, records of lines) is derived again. Unreadable refs are restored from the logs.
Damaged states and objects are fetched from another repository, if one is given. Runs whose states
remain damaged move back to the last good one; their reflogs keep the state that they pointed at.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from simgit.errors import NotFound, SimgitError
from simgit.maintenance.fsck.check import Fsck
from simgit.maintenance.fsck.donor import Copies
from simgit.maintenance.fsck.findings import full_name, readable_runs
from simgit.maintenance.fsck.quarantine import Quarantine
from simgit.maintenance.fsck.repair_lines import repair_line
from simgit.maintenance.fsck.repair_refs import recover_ref
from simgit.maintenance.fsck.report import (
    ARRAYS,
    CHILDREN,
    COUNTERS,
    GRAFT_LIST,
    IDENTITY,
    INDEX,
    LINES,
    LOGS,
    NAMES,
    OBJECT,
    REFS,
    STATES,
    SUMMARIES,
    TIMES,
    FsckReport,
    Problem,
)
from simgit.objects.oid import Oid
from simgit.odb import ancestry, foreign
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import LIMIT, Location
from simgit.odb.segments import summaries
from simgit.odb.segments.array_codec import group_header
from simgit.odb.segments.array_groups import index_groups, read_group
from simgit.odb.segments.block import CHECKPOINT_ROWS
from simgit.odb.segments.index_merge import greatest_number
from simgit.odb.segments.join import headers
from simgit.odb.segments.lines import list_grafts, newest_number, read_line
from simgit.odb.segments.times import PREFIX, read_time
from simgit.odb.segments.truncate import line_groups
from simgit.refs.names import REMOTES, fold
from simgit.refs.records import RunRef, decode_run, moved
from simgit.refs.refs import Refs
from simgit.refs.remotes import set_remote_run
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.failpoints import fail_point

_ROUNDS: Final = 4


def _run_ref(txn: ReadTxn, name: str) -> RunRef:
    """Return the ref of a run, or a remote-tracking one, that a problem names."""
    return decode_run(txn.get("refs", full_name(txn, name).encode()) or b"")


@dataclass
class Repaired:
    """The result of a repair.

    Attributes:
        actions: descriptions of the single repairs.
        report: the report of the check afterwards.
        quarantine: the file with the replaced entries, None if there were none.
    """

    actions: list[str] = field(default_factory=list)
    report: FsckReport = field(default_factory=FsckReport)
    quarantine: Path | None = None


def repair(
    odb: ObjectDatabase, refs: Refs, directory: Path | None, source: ObjectDatabase | None = None
) -> Repaired:
    """Repair a store as far as possible; return the result.

    Args:
        odb: the database to repair.
        refs: its refs.
        directory: the directory for the quarantine file, None for a store in memory.
        source: a database with good copies, None if there is none.
    """
    repairer = _Repairer(odb, refs, Quarantine(directory), source)
    done = Repaired()
    for _ in range(_ROUNDS):  # after a repair the check sees further
        done.report = Fsck(odb, refs).run()
        actions = repairer.round(done.report.problems)
        done.actions += actions
        if not actions:
            break
    done.quarantine = repairer.kept.path
    return done


class _Repairer:
    def __init__(
        self, odb: ObjectDatabase, refs: Refs, kept: Quarantine, source: ObjectDatabase | None
    ) -> None:
        self.odb = odb
        self.refs = refs
        self.kept = kept
        self.source = source
        self._tried: set[object] = set()

    def round(self, problems: list[Problem]) -> list[str]:
        """Repair problems, all in one transaction; return descriptions of the repairs."""
        kinds = {problem.kind for problem in problems}
        simple: dict[str, Callable[[WriteTxn], str]] = {
            COUNTERS: self._counters, CHILDREN: self._children, INDEX: self._index,
            NAMES: self._names, LOGS: self._logs, TIMES: self._times, IDENTITY: self._identity,
            SUMMARIES: self._summaries, GRAFT_LIST: self._graft_list,
        }  # fmt: skip
        actions = self._copy(problems) if self.source is not None else []
        with self.odb.write() as txn:
            actions += self._lines(txn, problems) + self._refs(txn, problems)
            if kinds & {INDEX, CHILDREN} and not kinds & {COUNTERS}:
                simple[COUNTERS](txn)  # numbers are given out below
            actions += [call(txn) for kind, call in simple.items() if kind in kinds]
            if not actions:
                actions += self._drop(txn, problems)
            self.kept.save()
            fail_point("repair.saved")
        return actions

    # --- derived data ---

    def _lines(self, txn: WriteTxn, problems: list[Problem]) -> list[str]:
        """Derive the records of lines again, parents before children."""
        done = []
        for number in sorted({p.where[0] for p in problems if p.kind == LINES and p.where}):
            with suppress(SimgitError):
                repair_line(self.odb, txn, self.kept, int(number))
                done.append(f"rebuilt the record of line {number}")
        return done

    def _refs(self, txn: WriteTxn, problems: list[Problem]) -> list[str]:
        """Restore unreadable refs; HEAD last, since it may name one of them."""
        names = [p.where for p in problems if p.kind == REFS and isinstance(p.where, bytes)]
        texts = sorted({name.decode(errors="replace") for name in names}, reverse=True)
        return [recover_ref(self.odb, self.refs, txn, self.kept, name) for name in texts]

    def _counters(self, txn: WriteTxn) -> str:
        most = LIMIT - 2  # what is above it is a damaged key
        line = newest_number(txn)
        for name, number in (
            (b"next-line", line), (b"next-index", greatest_number(txn, most)),
        ):  # fmt: skip
            value = int.from_bytes((txn.get("meta", name) or b"")[:8], "big")
            newest = 0 if number is None else number + 1
            self.kept.take(txn, "meta", name)
            # a counter that is too large does no harm, but might overflow
            sound = newest <= value < newest + (1 << 32)
            txn.put("meta", name, (value if sound else newest).to_bytes(8, "big"))
        return "rebuilt the counters"

    @staticmethod
    def _graft_list(txn: WriteTxn) -> str:
        list_grafts(txn)
        return "listed where shallow histories end"

    def _children(self, txn: WriteTxn) -> str:
        for key, _ in list(txn.scan("lines")):
            with suppress(SimgitError):
                line = read_line(txn, int.from_bytes(key, "big"))
                for place in ancestry.parents_of(self.odb, txn, line):
                    child = b"".join(number.to_bytes(8, "big") for number in (*place, line.id))
                    txn.put("children", child, b"")
        return "entered missing children"

    def _index(self, txn: WriteTxn) -> str:
        """Rebuild the index from the readable segments and groups."""
        for table in ("index", "oids"):
            for key, _ in list(txn.scan(table)):
                self.kept.take(txn, table, key)
        self.odb.states.index.forget()
        for key, _ in list(txn.scan("lines")):
            number = int.from_bytes(key, "big")
            if number >= LIMIT:
                continue  # a damaged key: no line has this number
            for header in headers(txn, number):
                with suppress(SimgitError):
                    oids = self.odb.states.oids(txn, number, header.step, header.end)
                    if oids[-1] == header.last:
                        self.odb.states.enter(txn, number, header.step, oids)
            self._index_groups(txn, number)
        return "rebuilt the index"

    def _index_groups(self, txn: WriteTxn, line: int) -> None:
        found = []
        for index, first, key in line_groups(txn, line):
            with suppress(SimgitError):
                steps = group_header(read_group(txn, key)).steps + first
                oids = self.odb.states.field_oids(txn, line, index, steps)
                found.append((index, first, oids))
        if found:
            index_groups(txn, self.odb.states.index, line, found)

    def _names(self, txn: WriteTxn) -> str:
        for key, _ in list(txn.scan("meta", b"fold\0", b"fold\1")):
            self.kept.take(txn, "meta", key)
        for key, _ in txn.scan("refs"):
            space, slash, name = key.decode(errors="replace").partition("/")
            if slash and not key.startswith(REMOTES.encode()):
                txn.put("meta", b"fold\0" + (space + slash + fold(name)).encode(), name.encode())
        return "reserved the names of runs and tags"

    def _times(self, txn: WriteTxn) -> str:
        """Remove the unreadable times of recorded states, which nothing else holds."""
        for key, value in list(txn.scan("meta", PREFIX, PREFIX[:-1] + b"\1")):
            try:
                read_time(key, value)
            except SimgitError:
                self.kept.take(txn, "meta", key)
        return "removed unreadable times of recorded states"

    def _summaries(self, txn: WriteTxn) -> str:
        """Compute all summaries anew where the states can be read."""
        for key, _ in list(txn.scan(summaries.TABLE)):
            self.kept.take(txn, summaries.TABLE, key)
        for key, _ in list(txn.scan("lines")):
            with suppress(SimgitError):
                number = int.from_bytes(key, "big")
                for block in summaries.unsummarised(txn, number):
                    summaries.summarise(self.odb.states, txn, number, block)
        return "rebuilt the summaries"

    def _identity(self, txn: WriteTxn) -> str:
        self.kept.take(txn, "meta", foreign.IDENTITY)
        foreign.new_identity(txn)
        return "gave the store a new identity: trust it again with 'simgit trust'"

    def _logs(self, txn: WriteTxn) -> str:
        """Add the state of each run to its reflog where it is missing."""
        for name, ref in list(readable_runs(txn)):
            entry = next(self.refs.log(txn, name), None)
            if entry is None or entry.new != ref.oid:
                newest = entry.new if entry else None
                self.refs.log_entry(txn, name, newest, ref.oid, "fsck: state of the run")
        if txn.get("refs", b"HEAD") is not None and next(self.refs.log(txn, "HEAD"), None) is None:
            oid = self.refs.head_oid(txn)
            self.refs.log_entry(txn, "HEAD", None, oid, "fsck: state of HEAD")
        return "completed the reflogs"

    # --- copies ---

    def _copy(self, problems: list[Problem]) -> list[str]:
        """Fetch good copies, each in a transaction of its own; return descriptions of them."""
        done = []
        for problem in problems:
            if problem.where is None or problem.where in self._tried:
                continue
            self._tried.add(problem.where)
            with suppress(SimgitError):
                self._copy_alone(problem)
                done.append(f"fetched a good copy: {problem.what}")
        return done

    def _copy_alone(self, problem: Problem) -> None:
        """Fetch a copy.

        Raises:
            SimgitError: there is no good copy; nothing was changed.
        """
        assert self.source is not None
        try:
            with self.odb.write() as txn, self.source.read() as other:
                copies = Copies(self.odb, self.source, other, self.kept)
                if not self._copy_one(txn, copies, problem):
                    raise NotFound(f"no good copy found: {problem.what}")
                self.kept.save()
                fail_point("repair.saved")
        except BaseException:
            self.kept.forget()
            raise

    def _copy_one(self, txn: WriteTxn, copies: Copies, problem: Problem) -> bool:
        if problem.kind == OBJECT and isinstance(problem.where, bytes):
            return copies.fetch(txn, problem.where)
        if problem.kind == ARRAYS and isinstance(problem.where, bytes):
            return copies.arrays(txn, problem.where)
        if problem.kind != STATES or not isinstance(problem.where, tuple):
            return False
        line, step = problem.where
        start = max(step, read_line(txn, line).step)
        return any(
            copies.states(txn, line, start, stop, tip)
            for stop, tip in self._leading_through(txn, line, problem)
        )

    def _leading_through(self, txn: ReadTxn, line: int, problem: Problem) -> list[tuple[int, Oid]]:
        """Return the newest step of a line in each run's history, with the run's state."""
        found = []
        for name in problem.runs:
            ref = _run_ref(txn, name)
            if ref.oid is None:
                continue
            for part in ancestry.line_ranges(txn, ref.place, shallow=True):
                if part.line == line:
                    found.append((part.stop, ref.oid))
        return sorted(found, reverse=True)

    # --- moving runs back ---

    def _drop(self, txn: WriteTxn, problems: list[Problem]) -> list[str]:
        """Move runs whose states are damaged back to the last good one."""
        done = []
        broken = {
            name for problem in problems if problem.kind in (STATES, LINES) for name in problem.runs
        }
        for name in sorted(broken):
            ref = _run_ref(txn, name)
            place = self._last_good(txn, ref.place)
            if place == ref.place:
                continue
            if place is None:
                new = ref._replace(oid=None, line=0, step=0, episodes=0, returned=0.0)
                where = "the beginning, since it has no good state"
            else:
                new, where = moved(ref, self.odb.states.tip(txn, place)), f"step {place.step}"
            full, message = full_name(txn, name), "fsck: back to the last good state"
            if full.startswith(REMOTES):
                remote, _, run = full.removeprefix(REMOTES).partition("/")
                set_remote_run(txn, remote, run, new, message)
            else:
                self.refs.update_run(txn, name, ref, new, message)
            done.append(f"moved run '{name}' from step {ref.step} back to {where}")
        return done

    def _last_good(self, txn: ReadTxn, tip: Location) -> Location | None:
        """Return the newest state whose whole history is undamaged, None if there is none."""
        good: Location | None = None
        try:
            parts = list(ancestry.line_ranges(txn, tip, shallow=True))
        except SimgitError:
            return None  # a line on the way is unreadable
        for part in reversed(parts):
            step = part.start
            while step < part.stop:
                stop = min(part.stop, step - step % CHECKPOINT_ROWS + CHECKPOINT_ROWS)
                if not self._is_good(txn, part.line, step, stop):
                    while self._is_good(txn, part.line, step, step + 1):
                        good, step = Location(part.line, step), step + 1
                    return good
                good, step = Location(part.line, stop - 1), stop
        return good

    def _is_good(self, txn: ReadTxn, line: int, start: int, stop: int) -> bool:
        try:
            for _ in self.odb.states.rows(txn, line, start, stop):
                pass
            return len(self.odb.states.oids(txn, line, start, stop)) == stop - start
        except SimgitError:
            return False
