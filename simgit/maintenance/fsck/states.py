"""The check of states: hashes, links, totals, index and arrays of every line, by segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from simgit.errors import IntegrityError, SimgitError
from simgit.maintenance.fsck.findings import END, Findings
from simgit.maintenance.fsck.report import ARRAYS as ARRAYS_DAMAGED
from simgit.maintenance.fsck.report import CHILDREN, INDEX, LINES, SUMMARIES
from simgit.maintenance.fsck.report import STATES as STATES_DAMAGED
from simgit.objects import rows as rowlib
from simgit.objects.row_encoder import hash_array
from simgit.odb import ancestry
from simgit.odb.location import Location
from simgit.odb.segments import summaries
from simgit.odb.segments.array_codec import decode_group, group_header, unstack
from simgit.odb.segments.array_groups import (
    array_place,
    field_and_step,
    groups_between,
    read_group,
)
from simgit.odb.segments.batch import SEGMENT_ROWS
from simgit.odb.segments.block import BLOCK_ROWS
from simgit.odb.segments.elias_fano import prefixes
from simgit.odb.segments.header import Header, decode_header, segment_key
from simgit.odb.segments.index import find_loose
from simgit.odb.segments.index_runs import ARRAYS, STATES
from simgit.odb.segments.lines import Line, derived_line, graft_line, read_line
from simgit.odb.segments.totals import episode_starts, near, rewards, total
from simgit.storage.base import ReadTxn

if TYPE_CHECKING:
    import numpy.typing as npt


_CLAIMS: Final = 1 << 20
"""Places that are looked up in the index together."""
_OF_CLAIM: Final = 32
"""The places that a segment or a group counts for besides its own, since it takes memory too."""


class _IndexDamageError(IntegrityError):
    """Damage of the index, not of the states that it leads to."""


class _Claim(NamedTuple):
    """Places of one line that the index has to lead to."""

    kind: int
    line: int
    start: int  # the steps that depend on them, from the first to before ``end``
    end: int
    wanted: npt.NDArray[np.uint32]  # their prefixes
    where: npt.NDArray[np.uint64]  # see ``Index.lead_to``
    oids: Sequence[bytes] = ()  # of arrays only


class StateChecks(Findings):
    """The check of lines, segments and the arrays of their states."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Prepare a check; see ``Findings``."""
        super().__init__(*args, **options)
        self._claims: list[_Claim] = []
        self._claimed = 0

    def _check_line(self, txn: ReadTxn, number: int) -> None:
        try:
            line = read_line(txn, number)
        except SimgitError as error:
            cost = self._cost(txn, number, 0, END)
            self._problem(str(error), cost, LINES, (number, 0))
            return
        try:
            self._check_parents(txn, line)
        except SimgitError as error:
            self._problem(str(error), self._cost(txn, number, 0, END))
            return
        step, parent = line.step, None
        is_first = line.is_root or line.grafted
        before = None if is_first else Location(line.parent_line, line.parent_step)
        for key, value in txn.scan("segments", segment_key(number, 0), segment_key(number + 1, 0)):
            at = int.from_bytes(key[8:], "big")
            if at != step:
                self._lacks(txn, number, step, at)
                parent = before = None
            try:
                header = decode_header(key, value)
            except SimgitError as error:
                cost = self._cost(txn, number, at, END)
                self._problem(str(error), cost, STATES_DAMAGED, (number, at))
                # its last step is unknown
                step, parent = self._next_step(txn, key, number), None
                before = None
                continue
            if self._sample.has(number + at // SEGMENT_ROWS):
                self._check_segment(txn, line, header, parent, before)
            step, parent = header.end, header.last
            before = Location(number, header.end - 1)
        self._check_summaries(txn, line)
        needed = self._needed(txn).get(number, 0)
        if step < needed:
            self._lacks(txn, number, step, needed)

    def _check_summaries(self, txn: ReadTxn, line: Line) -> None:
        first, end = summaries.summary_key(line.id, 0), summaries.summary_key(line.id + 1, 0)
        for key, value in txn.scan(summaries.TABLE, first, end):
            number = int.from_bytes(key[8:], "big")
            if not self._sample.has(line.id + number * BLOCK_ROWS // SEGMENT_ROWS):
                continue
            try:
                summaries.check(self.odb.states, txn, line, key, value)
            except SimgitError as error:
                self._problem(str(error), kind=SUMMARIES)

    def _next_step(self, txn: ReadTxn, key: bytes, line: int) -> int:
        after = next(txn.scan("segments", key + b"\0", segment_key(line + 1, 0)), None)
        return END if after is None else int.from_bytes(after[0][8:], "big")

    def _lacks(self, txn: ReadTxn, line: int, start: int, stop: int) -> None:
        self._problem(
            f"line {line} lacks steps {start} to {stop - 1}",
            self._cost(txn, line, start, stop - 1), STATES_DAMAGED, (line, start),
        )  # fmt: skip

    def _check_parents(self, txn: ReadTxn, line: Line) -> None:
        if line.grafted:
            if line._replace(cut=False) != graft_line(line.id, line.parents, line.step):
                self._problem(
                    f"graft {line.id} does not follow from its parents",
                    self._cost(txn, line.id, 0, END), LINES, (line.id, 0),
                )  # fmt: skip
            return
        places = tuple(ancestry.parents_of(self.odb, txn, line))
        derived = derived_line(txn, line.id, line.parents, places, line.origin)
        if line._replace(cut=False) != derived:
            self._problem(
                f"line {line.id} does not follow from its parents",
                self._cost(txn, line.id, 0, END), LINES, (line.id, 0),
            )  # fmt: skip
        if line.is_root:
            if not self.odb.exists(txn, line.origin):
                raise IntegrityError(f"origin '{line.origin.hex()}' of line {line.id} is missing")
            return
        above = Location(line.parent_line, line.parent_step)
        for place in places:
            key = b"".join(n.to_bytes(8, "big") for n in (*place, line.id))
            if txn.get("children", key) is None:
                self._problem(
                    f"line {line.id} is missing among the children of its parent",
                    self._cost(txn, line.id, 0, END),
                    CHILDREN,
                )
        if self.odb.states.row(txn, above)[0] != line.parents[0]:
            raise IntegrityError(f"line {line.id} does not begin at its parent")

    def _check_segment(
        self,
        txn: ReadTxn,
        line: Line,
        header: Header,
        parent: bytes | None,
        before: Location | None,
    ) -> None:
        """Check one segment, which follows a state of an oid at a location."""
        self._check_time()
        try:
            oids = self.odb.states.oids(txn, line.id, header.step, header.end)
            if oids[-1] != header.last or (parent is not None and header.parent != parent):
                raise IntegrityError(
                    f"hash mismatch: the states of segment {line.id}/{header.step}"
                )
            self._check_sums(txn, header)
            self._check_standing(txn, header, before)
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
            if resets != info.resets or not near(total(rewards(rows)), info.rewards):
                step = header.step + number * BLOCK_ROWS
                raise IntegrityError(f"the totals of the block at {header.line}/{step} are wrong")

    def _check_standing(self, txn: ReadTxn, header: Header, before: Location | None) -> None:
        """Check that the episode and the return before a segment are those of the state before."""
        if before is not None:
            above = self.odb.states.header(txn, before)
            episode, start, returned = self.odb.states.standing(txn, above, before.step)
        elif header.step == 0:
            episode, start, returned = 0, 0, 0.0
        else:
            return  # what is before is missing, and reported
        same = (episode, start) == (header.episode, header.episode_start)
        if not same or not near(returned, header.returned):
            raise IntegrityError(
                f"the episode or return before segment {header.line}/{header.step} is wrong"
            )

    def _check_index(self, txn: ReadTxn, header: Header, oids: list[bytes]) -> None:
        """Check the entries of single states; that runs lead to the others is checked later."""
        alone = self._alone(txn, oids)
        for i in np.flatnonzero(alone).tolist():
            step = header.step + i
            if find_loose(txn, STATES, oids[i]) != (header.line, step):
                raise IntegrityError(
                    f"the index has a wrong place for the state at {header.line}/{step}"
                )
        steps = np.arange(header.step, header.end, dtype=np.uint64)[~alone]
        wanted = prefixes(oids)[~alone]
        self._claim(txn, _Claim(STATES, header.line, header.step, header.end, wanted, steps))

    @staticmethod
    def _alone(txn: ReadTxn, oids: list[bytes]) -> npt.NDArray[np.bool_]:
        """Return a mask of the oids that have an entry of their own."""
        if not txn.count("oids"):
            return np.zeros(len(oids), bool)
        return np.fromiter((txn.get("oids", oid) is not None for oid in oids), bool, len(oids))

    def _claim(self, txn: ReadTxn, claim: _Claim) -> None:
        """Check later that the index leads to places: each look reads all of it."""
        if len(claim.wanted):
            self._claims.append(claim)
            self._claimed += len(claim.wanted) + _OF_CLAIM
        if self._claimed >= _CLAIMS:
            self._check_claims(txn)

    def _check_claims(self, txn: ReadTxn) -> None:
        claims, self._claims, self._claimed = self._claims, [], 0
        for kind in (STATES, ARRAYS):
            chosen = [each for each in claims if each.kind == kind]
            if not chosen:
                continue
            lines = [np.full(len(each.wanted), each.line, np.uint64) for each in chosen]
            wanted = np.concatenate([each.wanted for each in chosen])
            where = np.concatenate([each.where for each in chosen])
            try:
                leads = self.odb.states.index.lead_to(
                    txn, kind, wanted, np.concatenate(lines), where
                )
            except SimgitError as error:
                for line in sorted({each.line for each in chosen}):
                    mine = [each for each in chosen if each.line == line]
                    first, end = min(each.start for each in mine), max(each.end for each in mine)
                    self._problem(str(error), self._cost(txn, line, first, end - 1), INDEX)
                continue
            at = 0
            for each in chosen:
                missing = np.flatnonzero(~leads[at : at + len(each.wanted)])
                at += len(each.wanted)
                if len(missing):
                    self._check_missing(txn, each, missing.tolist())

    def _check_missing(self, txn: ReadTxn, claim: _Claim, missing: list[int]) -> None:
        """Note that the index does not lead to places, unless it leads to the same elsewhere."""
        first = int(claim.where[missing[0]])
        what = f"the index does not lead to the state at {claim.line}/{first}"
        if claim.kind == ARRAYS:
            first = field_and_step(first)[1]
            what = f"the index lacks arrays of the group at {claim.line}/{first}"
            states = self.odb.states
            try:  # another group may have the same array
                if all(states.find_array(txn, claim.oids[i]) is not None for i in missing):
                    return
            except SimgitError as error:
                what = str(error)
        self._problem(what, self._cost(txn, claim.line, first, claim.end - 1), INDEX)

    def _check_arrays(self, txn: ReadTxn, header: Header) -> None:
        for index in self.odb.schema(txn, header.schema).arrays:
            for first, key in groups_between(txn, header.line, index, header.step, header.end):
                if first >= header.step:
                    self._check_group_of(txn, header, index, first, key)
        for step, rows in self.odb.states.rows(txn, header.line, header.step, header.end, False):
            for row, kind, oid in rowlib.references(rows):
                if oid in self._checked_arrays:
                    continue
                if not self.odb.exists(txn, oid):
                    what = f"{kind} '{oid.hex()}' of the state at step {step + row}"
                    raise IntegrityError(f"{what} is missing")
                self._checked_arrays.add(oid)

    def _check_group_of(
        self, txn: ReadTxn, header: Header, index: int, first: int, key: bytes
    ) -> None:
        try:
            self._check_group(txn, header.line, index, first, header.end, key)
        except _IndexDamageError:
            raise
        except SimgitError as error:
            cost = self._cost(txn, header.line, first, header.end - 1)
            self._problem(str(error), cost, ARRAYS_DAMAGED, key)

    def _check_group(
        self, txn: ReadTxn, line: int, index: int, first: int, end: int, key: bytes
    ) -> None:
        data = read_group(txn, key)
        steps = group_header(data).steps + first
        oids = self.odb.states.field_oids(txn, line, index, steps)
        for step, oid, array in zip(steps.tolist(), oids, unstack(decode_group(data)), strict=True):
            if hash_array(array) != oid:
                raise IntegrityError(
                    f"hash mismatch: array '{oid.hex()}' of the state at {line}/{step}"
                )
            self.report.arrays += 1
        with _of_the_index():
            where = np.full(len(oids), array_place(index, first), np.uint64)
            alone = self._alone(txn, oids)
            for i in np.flatnonzero(alone).tolist():
                if self.odb.states.find_array(txn, oids[i]) is None:
                    raise IntegrityError(f"the index has a wrong place for array '{oids[i].hex()}'")
            left = [oid for oid, is_alone in zip(oids, alone.tolist(), strict=True) if not is_alone]
            claim = _Claim(ARRAYS, line, first, end, prefixes(left), where[~alone], left)
            self._claim(txn, claim)
        if len(self._checked_arrays) > _CLAIMS:
            self._checked_arrays.clear()  # it only spares a second look
        self._checked_arrays |= set(oids)


@contextmanager
def _of_the_index() -> Iterator[None]:
    """Mark the errors of a block as damage of the index."""
    try:
        yield
    except SimgitError as error:
        raise _IndexDamageError(str(error)) from error
