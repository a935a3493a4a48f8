"""Checking a store: every name is derived again from the bytes, every link is followed.

A problem says what is damaged and what it costs: the runs in whose history it lies, and which
steps of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

import numpy as np

from simgit import history, pending
from simgit.errors import Integrity, NotFound, SimgitError
from simgit.fsck.problems import ARRAYS as ARRAYS_DAMAGED
from simgit.fsck.problems import (
    CHILDREN,
    COUNTERS,
    INDEX,
    LINES,
    LOGS,
    NAMES,
    OBJECT,
    REFS,
    FsckReport,
    Problem,
    Sample,
)
from simgit.fsck.problems import STATES as STATES_DAMAGED
from simgit.objects import Binding, decode_object, links_of
from simgit.odb import ObjectDatabase
from simgit.oid import OID_SIZE, Oid
from simgit.opcheck import check_operations
from simgit.oplog import parse
from simgit.refnames import HEAD, RUNS, fold
from simgit.refrecords import RunRef, decode_entry
from simgit.refs import Refs
from simgit.segment import rows as rowlib
from simgit.segment.frames import decode_group, group_header, unstack
from simgit.segment.groups import groups_between, read_group
from simgit.segment.header import Header, Location, decode_header, segment_key
from simgit.segment.lines import Line, derived_line, read_line
from simgit.segment.lookup import ARRAYS, STATES, find_loose
from simgit.segment.pack import BLOCK_ROWS
from simgit.segment.packing import hash_array
from simgit.segment.states import SEGMENT_ROWS, episode_starts, rewards, total
from simgit.settings import DEFAULTS, get_setting
from simgit.sizes import sizes
from simgit.storage.base import ReadTxn

Progress = Callable[[int], None]
"""Told how many states have been checked."""


ALL: Final = Sample()
_MISSING: Final = re.compile(r"names '([0-9a-f]{64})', which is missing")
_END: Final = 1 << 62


class _IndexDamageError(Integrity):
    """The index is damaged: not the states that it leads to."""


class _TimeOverError(Exception):
    """What was to be checked took too long."""


class Fsck:
    """One check of a store, in one consistent snapshot."""

    def __init__(
        self,
        odb: ObjectDatabase,
        refs: Refs,
        progress: Progress | None = None,
        sample: Sample = ALL,
        seconds: float | None = None,
    ) -> None:
        """Check nothing yet.

        Args:
            odb: what is checked.
            refs: its refs.
            progress: told how many states have been checked.
            sample: which part of the segments and loose objects.
            seconds: stop after so many.
        """
        self.odb = odb
        self._sample = sample
        self._until = None if seconds is None else time.monotonic() + seconds
        self.refs = refs
        self.report = FsckReport()
        self._progress = progress or (lambda _: None)
        self._checked_arrays: set[bytes] = set()
        self._ends: dict[int, int] | None = None

    def run(self) -> FsckReport:
        """Check everything; return what was found.

        The file's structure comes first: where that is damaged, nothing is read through it.
        """
        self._check_pages()
        if not self.report.is_clean:
            self.report.is_complete = False
            return self.report
        with self.odb.read() as txn:
            try:  # what is short comes first
                self._check_tables(txn)
                self._check_objects(txn)
                for key, _ in txn.scan("lines"):
                    self._check_line(txn, int.from_bytes(key, "big"))
            except _TimeOverError:
                self.report.is_complete = False
        return self.report

    def _check_pages(self) -> None:
        storage = self.odb.storage
        if self._sample.parts == 1 and not storage.read_only:  # a writer may be at work otherwise
            for what in storage.audit():
                self._problem(
                    f"the file of the store is damaged: {what}; 'simgit clone' saves the rest"
                )

    def _check_tables(self, txn: ReadTxn) -> None:
        """Check everything but states and objects themselves."""
        self._check_stray_segments(txn)
        self._check_numbers(txn)
        self._check_loose(txn)
        self._check_refs(txn)
        self._check_names(txn)
        self._check_logs(txn)
        self._check_attachments(txn)
        self._check_pending(txn)
        self._check_settings(txn)
        for what in check_operations(self.odb, txn):
            missing = _MISSING.search(what)
            where = bytes.fromhex(missing[1]) if missing else None
            self._problem(what, kind=OBJECT if missing else "", where=where)

    def _check_time(self) -> None:
        if self._until is not None and time.monotonic() > self._until:
            raise _TimeOverError

    def _problem(
        self,
        what: str,
        runs: dict[str, tuple[int, int]] | None = None,
        kind: str = "",
        where: tuple[int, int] | bytes | None = None,
    ) -> None:
        self.report.problems.append(Problem(what, runs or {}, kind, where))

    # --- loose objects ---

    def _check_objects(self, txn: ReadTxn) -> None:
        for oid, _ in txn.scan("objects"):
            if not self._sample.has(oid[0]):
                continue
            self._check_time()
            self.report.objects += 1
            try:
                kind, payload = self.odb.get(txn, oid)
                for link in links_of(decode_object(kind, payload)):
                    if not self.odb.exists(txn, link):
                        self._problem(
                            f"{kind} {oid.hex()} refers to {link.hex()}, which is missing",
                            kind=OBJECT, where=bytes(link),
                        )  # fmt: skip
            except SimgitError as error:
                self._problem(str(error), kind=OBJECT, where=oid)

    # --- states ---

    def _check_line(self, txn: ReadTxn, number: int) -> None:
        try:
            line = read_line(txn, number)
        except SimgitError as error:
            cost = self._cost(txn, number, 0, _END)
            self._problem(str(error), cost, LINES, (number, 0))
            return
        try:
            self._check_parents(txn, line)
        except SimgitError as error:
            self._problem(str(error), self._cost(txn, number, 0, _END))
            return
        step, parent = line.step, None
        for key, value in txn.scan("segments", segment_key(number, 0), segment_key(number + 1, 0)):
            at = int.from_bytes(key[8:], "big")
            if at != step:
                self._lacks(txn, number, step, at)
                parent = None
            try:
                header = decode_header(key, value)
            except SimgitError as error:
                cost = self._cost(txn, number, at, _END)
                self._problem(str(error), cost, STATES_DAMAGED, (number, at))
                # where it ends is not known
                step, parent = self._next_step(txn, key, number), None
                continue
            if self._sample.has(number + at // SEGMENT_ROWS):
                self._check_segment(txn, line, header, parent)
            step, parent = header.end, header.last
        needed = self._needed(txn).get(number, 0)
        if step < needed:
            self._lacks(txn, number, step, needed)

    def _next_step(self, txn: ReadTxn, key: bytes, line: int) -> int:
        after = next(txn.scan("segments", key + b"\0", segment_key(line + 1, 0)), None)
        return _END if after is None else int.from_bytes(after[0][8:], "big")

    def _lacks(self, txn: ReadTxn, line: int, start: int, stop: int) -> None:
        self._problem(
            f"line {line} lacks the steps {start} to {stop - 1}",
            self._cost(txn, line, start, stop - 1), STATES_DAMAGED, (line, start),
        )  # fmt: skip

    def _check_parents(self, txn: ReadTxn, line: Line) -> None:
        places = () if line.is_root else tuple(history.parents_of(self.odb, txn, line))
        derived = derived_line(txn, line.id, line.parents, places, line.origin)
        if replace(line, cut=False) != derived:
            self._problem(
                f"line {line.id} does not follow from its parents",
                self._cost(txn, line.id, 0, _END), LINES, (line.id, 0),
            )  # fmt: skip
        if line.is_root:
            if not self.odb.exists(txn, line.origin):
                raise Integrity(f"the origin {line.origin.hex()} of line {line.id} is missing")
            return
        above = Location(line.parent_line, line.parent_step)
        for place in places:
            key = b"".join(n.to_bytes(8, "big") for n in (*place, line.id))
            if txn.get("children", key) is None:
                self._problem(
                    f"line {line.id} is missing among the children of its parent",
                    self._cost(txn, line.id, 0, _END),
                    CHILDREN,
                )
        if self.odb.states.row(txn, above)[0] != line.parents[0]:
            raise Integrity(f"line {line.id} does not begin where it says")

    def _check_segment(
        self, txn: ReadTxn, line: Line, header: Header, parent: bytes | None
    ) -> None:
        """Check one segment, which follows a state of an oid."""
        self._check_time()
        try:
            oids = self.odb.states.oids(txn, line.id, header.step, header.end)
            if oids[-1] != header.last or (parent is not None and header.parent != parent):
                raise Integrity(
                    f"the states of segment {line.id}/{header.step} do not have their names"
                )
            self._check_sums(txn, header)
            with _of_the_index():
                self._check_index(txn, header, oids)
            self._check_arrays(txn, header)
            self.report.states += header.count
            self._progress(self.report.states)
        except _IndexDamageError as error:
            self._problem(str(error), self._cost(txn, line.id, header.step, header.end - 1), INDEX)
        except SimgitError as error:
            self._problem(
                str(error), self._cost(txn, line.id, header.step, header.end - 1),
                STATES_DAMAGED, (line.id, header.step),
            )  # fmt: skip

    def _check_sums(self, txn: ReadTxn, header: Header) -> None:
        for number, info in enumerate(header.blocks):
            rows = self.odb.states.block(txn, header, number).rows
            root = header.step == 0 and number == 0
            resets = int(episode_starts(rows, root).sum())
            # the order of a sum, and so its last bits, differ from one machine to another
            near = np.isclose(total(rewards(rows)), info.rewards, equal_nan=True)
            if resets != info.resets or not near:
                step = header.step + number * BLOCK_ROWS
                raise Integrity(f"the sums of the block at {header.line}/{step} are wrong")

    def _check_index(self, txn: ReadTxn, header: Header, oids: list[bytes]) -> None:
        known = self.odb.states.index.maybe_known(txn, STATES, oids)
        if not known.all():
            first = header.step + int(np.flatnonzero(~known)[0])
            raise Integrity(f"the index lacks the state at {header.line}/{first}")
        for step, oid in enumerate(oids, header.step):
            if txn.get("oids", oid) is None:
                continue
            if find_loose(txn, STATES, oid) != (header.line, step):
                raise Integrity(
                    f"the index has a wrong place for the state at {header.line}/{step}"
                )

    def _check_arrays(self, txn: ReadTxn, header: Header) -> None:
        for index in self.odb.schema(txn, header.schema).arrays:
            for first, key in groups_between(txn, header.line, index, header.step, header.end):
                if first >= header.step:
                    self._check_group_of(txn, header, index, first, key)
        for step, rows in self.odb.states.rows(txn, header.line, header.step, header.end, False):
            for row, kind, oid in rowlib.references(rows):
                self._check_reference(txn, step + row, kind, oid)

    def _check_group_of(
        self, txn: ReadTxn, header: Header, index: int, first: int, key: bytes
    ) -> None:
        try:
            self._check_group(txn, header.line, index, first, key)
        except _IndexDamageError:
            raise
        except SimgitError as error:
            cost = self._cost(txn, header.line, first, header.end - 1)
            self._problem(str(error), cost, ARRAYS_DAMAGED, key)

    def _check_group(self, txn: ReadTxn, line: int, index: int, first: int, key: bytes) -> None:
        data = read_group(txn, key)
        steps = group_header(data).steps + first
        oids = self.odb.states.field_oids(txn, line, index, steps)
        for step, oid, array in zip(steps.tolist(), oids, unstack(decode_group(data)), strict=True):
            if hash_array(array) != oid:
                raise Integrity(f"the array {oid.hex()} of the state at {line}/{step} is damaged")
            self.report.arrays += 1
        with _of_the_index():
            if not self.odb.states.index.maybe_known(txn, ARRAYS, oids).all():
                raise Integrity(f"the index lacks arrays of the group at {line}/{first}")
            for oid in oids:
                alone = txn.get("oids", oid) is not None
                if alone and self.odb.states.find_array(txn, oid) is None:
                    raise Integrity(f"the index has a wrong place for the array {oid.hex()}")
        self._checked_arrays |= set(oids)

    def _check_reference(self, txn: ReadTxn, step: int, kind: str, oid: bytes) -> None:
        if oid in self._checked_arrays:
            return
        if not self.odb.exists(txn, oid):
            raise Integrity(f"{kind} {oid.hex()} of the state at step {step} is missing")
        self._checked_arrays.add(oid)

    def _check_stray_segments(self, txn: ReadTxn) -> None:
        lines = {key for key, _ in txn.scan("lines")}
        for line in sorted({key[:8] for key, _ in txn.scan("segments")} - lines):
            number = int.from_bytes(line, "big")
            self._problem(
                f"line {number} is missing, but has segments", self._cost(txn, number, 0, _END),
                LINES, (number, 0),
            )  # fmt: skip

    def _check_numbers(self, txn: ReadTxn) -> None:
        """Check that no number of a line or a run of the index would be given out again."""
        runs = txn.floor("index", b"\0" + b"\xff" * 8)
        for name, last in ((b"next-line", txn.last("lines")), (b"next-index", runs)):
            value = txn.get("meta", name)
            newest = int.from_bytes(last[0][-8:], "big") if last else -1
            if value is None and last is None:
                continue
            if value is None or len(value) != 8 or int.from_bytes(value, "big") <= newest:
                self._problem(
                    f"the counter {name.decode()} is missing or too small: do not write",
                    kind=COUNTERS,
                )

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
        elif name.startswith(RUNS):
            run = self.refs.run(txn, name[len(RUNS) :])
            if run.oid is not None:
                self.odb.states.row(txn, run.place, run.oid)
            if not self.odb.exists(txn, run.record):
                what = f"ref '{name}': the run's record is missing"
                self._problem(what, kind=OBJECT, where=bytes(run.record))
        else:
            tag = self.refs.tag(txn, name.partition("/")[2])
            self.odb.locate(txn, tag.oid)
            if tag.tag is not None and not self.odb.exists(txn, tag.tag):
                what = f"ref '{name}': the tag's annotation is missing"
                self._problem(what, kind=OBJECT, where=bytes(tag.tag))

    def _check_names(self, txn: ReadTxn) -> None:
        """Check that each run and tag has its name to itself, and that no other name is taken."""
        taken = {key[5:]: value for key, value in txn.scan("meta", b"fold\0", b"fold\1")}
        for key, _ in txn.scan("refs"):
            space, slash, name = key.decode(errors="replace").partition("/")
            if slash and taken.pop((space + slash + fold(name)).encode(), None) != name.encode():
                self._problem(
                    f"the name of {key.decode(errors='replace')} is not reserved", kind=NAMES
                )
        for key in taken:
            self._problem(
                f"the name {key.decode(errors='replace')} is reserved, but not in use", kind=NAMES
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
        runs = dict(self._runs(txn))
        for ref, (_, oid) in newest.items():
            name = ref.decode(errors="replace")
            run = runs.get(name[len(RUNS) :]) if name.startswith(RUNS) else None
            if run is not None and run.oid != oid:
                self._problem(f"the reflog of '{name}' does not end where the run does", kind=LOGS)
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
                    raise Integrity("the binding is of another state or name")
                self.odb.locate(txn, state)
            except SimgitError as error:
                what = f"attachment '{name}' of state {state.hex()}: {error}"
                self._problem(what, kind=OBJECT, where=value)

    def _check_settings(self, txn: ReadTxn) -> None:
        for name in DEFAULTS:
            with self._noting():
                get_setting(txn, name)
        with self._noting():
            sizes(txn)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Make an error of the block a problem."""
        try:
            yield
        except SimgitError as error:
            self._problem(str(error))

    def _check_pending(self, txn: ReadTxn) -> None:
        for key, value in txn.scan(pending.TABLE):
            try:
                pending.decode(key, value)
            except SimgitError as error:
                self._problem(str(error))

    # --- what it costs ---

    def _runs(self, txn: ReadTxn) -> Iterator[tuple[str, RunRef]]:
        """Yield the runs whose refs can be read."""
        for key, _ in txn.scan("refs", RUNS.encode(), RUNS.encode() + b"\xff"):
            with suppress(SimgitError):
                name = key.decode(errors="replace")[len(RUNS) :]
                yield name, self.refs.run(txn, name)

    def _needed(self, txn: ReadTxn) -> dict[int, int]:
        """Return for each line that a run leads through the step up to which it is needed."""
        if self._ends is None:
            self._ends = {}
            for _, ref in self._runs(txn):
                with suppress(SimgitError):
                    for part in history.stretches(txn, ref.place) if ref.oid else ():
                        if self._ends.get(part.line, 0) >= part.stop:
                            break  # so are the lines below
                        self._ends[part.line] = part.stop
        return self._ends

    def _cost(self, txn: ReadTxn, line: int, start: int, stop: int) -> dict[str, tuple[int, int]]:
        """Return the runs whose history leads through steps of a line, and which steps."""
        cost = {}
        for name, ref in self._runs(txn):
            at = ref.line if ref.oid else -1
            try:
                for part in history.stretches(txn, ref.place) if ref.oid else ():
                    at = read_line(txn, part.line).parent_line
                    first, last = max(part.start, start), min(part.stop - 1, stop)
                    if part.line == line and first <= last:
                        cost[name] = (first, ref.step)
            except SimgitError:
                if at == line:  # the line itself cannot be read: where it begins is not known
                    cost[name] = (0, ref.step)
        return cost


@contextmanager
def _of_the_index() -> Iterator[None]:
    """Tell damage of the index from other damage."""
    try:
        yield
    except SimgitError as error:
        raise _IndexDamageError(str(error)) from error
