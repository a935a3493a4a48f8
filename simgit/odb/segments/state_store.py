"""The states of a store: append to lines in segments, enter into the index, read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from simgit.objects import rows as rowlib
from simgit.objects.lazy_numpy import np
from simgit.objects.rows import Rows
from simgit.odb.location import Location
from simgit.odb.segments.block import CHECKPOINT_ROWS
from simgit.odb.segments.header import NO_PARENT, last_header
from simgit.odb.segments.index import LOOSE, add_loose
from simgit.odb.segments.index_runs import ARRAYS, STATES, state_places
from simgit.odb.segments.lines import GRAFTS, SHALLOW, Line, grafts, new_graft, new_line, read_line
from simgit.odb.segments.reader import SchemaReader, StateReader
from simgit.odb.segments.times import note_time
from simgit.storage.base import WriteTxn
from simgit.storage.failpoints import fail_point

if TYPE_CHECKING:
    from simgit.odb.segments.array_groups import Member
    from simgit.odb.segments.batch import StateBatch, Tip

NewStates = tuple[int, int, list[bytes]]
"""New states of a line: its number, the first step, the oids."""


class StateStore(StateReader):
    """The states of one store, to write and read; schemas are read through ``read_schema``."""

    def __init__(self, read_schema: SchemaReader) -> None:
        super().__init__(read_schema)
        self._waiting: list[NewStates] | None = None

    def append(
        self, txn: WriteTxn, batch: StateBatch, level: int = 3, time: int | None = None
    ) -> Tip:
        """Store the new states of a batch; return the tip of its last state.

        ``time`` is when they are recorded, None if that is not known.
        """
        if txn.get("meta", SHALLOW) is None and batch.graft is None:
            return self._append(txn, batch, level, time)
        return self._append_around(txn, batch, level, time)

    def _append_around(self, txn: WriteTxn, batch: StateBatch, level: int, time: int | None) -> Tip:
        """Store the new states of a batch in a store that has grafts.

        Where a state is the parent of a graft, what follows it may be here already: then the graft
        is joined to it, and the rest of the batch goes on from there.
        """
        from simgit.odb.segments.grafting import join_grafts

        self.forget_tip()  # a tip that was read before a graft was joined has other totals
        parents = (self.tip(txn, t.place) if t.place.line >= GRAFTS else t for t in batch.parents)
        batch = batch._replace(parents=tuple(parents))
        while True:
            waiting = {oid for oid, _ in grafts(txn)}
            met = next((i for i, oid in enumerate(batch.oids) if oid in waiting), None)
            if met is None:
                return self._append(txn, batch, level, time)
            place = self._append(txn, batch.until(met + 1), level, time).place
            self.enter_waiting(txn)
            join_grafts(self, txn)
            tip = self.tip(txn, place)
            if met + 1 == len(batch.oids):
                return tip
            batch = batch.without(met + 1, tip)

    def _append(self, txn: WriteTxn, batch: StateBatch, level: int, time: int | None) -> Tip:
        known = self._known(txn, batch)
        if known:
            place = self.locate(txn, batch.oids[known - 1])
            assert place is not None
            tip = self.tip(txn, place)
            if known == len(batch.oids):
                return tip
            batch = batch.without(known, tip)
        return self._write(txn, batch, level, time)

    def _known(self, txn: WriteTxn, batch: StateBatch) -> int:
        """Return the number of a batch's first states that exist already."""
        first = batch.parents[0].place if batch.parents else None
        if first is not None and next(self.children(txn, first), None) is None:
            return 0  # a parent without children: there is nothing to look for
        # a new state can only equal the first of other new states: its parent existed before
        if any(oids[0] == batch.oids[0] for _, _, oids in self._waiting or ()):
            self.enter_waiting(txn)
        low, high = 0, len(batch.oids)  # a state exists only if all before it do
        if self.locate(txn, batch.oids[0]) is None:
            return 0
        while high - low > 1:
            middle = (low + high) // 2
            if self.locate(txn, batch.oids[middle]) is None:
                high = middle
            else:
                low = middle
        return low + 1

    def _write(self, txn: WriteTxn, batch: StateBatch, level: int, time: int | None) -> Tip:
        from simgit.odb.segments import summaries
        from simgit.odb.segments.batch import SEGMENT_ROWS, write_rows

        line = self._line_for(txn, batch)
        start = batch.parents[0].place.step + 1 if batch.parents else line.step
        tip = batch.parents[0] if batch.parents else None
        above = bytes(tip.oid) if tip else line.parents[0] if line.grafted else NO_PARENT
        before = [above, *batch.oids[:-1]]
        for at in range(0, batch.rows.count, SEGMENT_ROWS):
            part = batch.rows.slice(at, min(at + SEGMENT_ROWS, batch.rows.count))
            oids = batch.oids[at : at + part.count]
            self._write_arrays(txn, line.id, start + at, part)
            place = Location(line.id, start + at)
            tip = write_rows(
                txn, place, part, before[at : at + part.count], oids, tip, level, batch.block,
                is_root=not line.grafted,
            )  # fmt: skip
        former = batch.parents[0].schema if batch.parents else None
        summaries.extend(txn, line, start, batch.rows, former)
        if time is not None:
            note_time(txn, Location(line.id, start), len(batch.oids), time)
        fail_point("states.stored")
        self.enter(txn, line.id, start, batch.oids)
        assert tip is not None
        self._tip = tip
        return tip

    def _line_for(self, txn: WriteTxn, batch: StateBatch) -> Line:
        """Return the line that the batch continues, or begin one."""
        parents = batch.parents
        if batch.graft is not None:
            return new_graft(txn, *batch.graft)
        if len(parents) == 1:
            line = read_line(txn, parents[0].place.line)
            if not line.cut and last_header(txn, line.id).end == parents[0].place.step + 1:
                return line
        oids = tuple(bytes(tip.oid) for tip in parents)
        return new_line(txn, oids, tuple(tip.place for tip in parents), batch.origin)

    def enter(self, txn: WriteTxn, line: int, start: int, oids: list[bytes]) -> None:
        """Enter new states into the index, now or at the end of ``together``."""
        if self._waiting is None:
            self._enter_all(txn, [(line, start, oids)])
        else:
            self._waiting.append((line, start, oids))

    @contextmanager
    def together(self, txn: WriteTxn) -> Iterator[None]:
        """Enter all states that the block appends into one run of the index, not one a line."""
        self._waiting = []
        try:
            yield
            self._enter_all(txn, self._waiting)
        finally:
            self._waiting = None

    def _enter_all(self, txn: WriteTxn, new: list[NewStates]) -> None:
        if sum(len(oids) for _, _, oids in new) < LOOSE:
            for line, start, oids in new:
                for i, oid in enumerate(oids):
                    add_loose(txn, STATES, oid, line, start + i)
            return
        slots, shift = [], 0
        for _, _, oids in new:
            slots.append(np.arange(len(oids)) // CHECKPOINT_ROWS + shift)
            shift += -(-len(oids) // CHECKPOINT_ROWS)
        places = state_places([(line, start, len(oids)) for line, start, oids in new])
        names = [oid for _, _, oids in new for oid in oids]
        self.index.add(txn, STATES, names, np.concatenate(slots), places)

    def enter_waiting(self, txn: WriteTxn, least: int = 1) -> None:
        """Enter what ``together`` has put off into a run now, if it is so many states."""
        if self._waiting and sum(len(oids) for _, _, oids in self._waiting) >= least:
            waiting, self._waiting = self._waiting, []
            self._enter_all(txn, waiting)

    def _write_arrays(self, txn: WriteTxn, line: int, start: int, rows: Rows) -> None:
        if not rows.arrays:
            return
        from simgit.odb.segments.array_groups import index_groups, write_groups

        groups = []
        for field, found in rows.arrays.items():
            oids = rowlib.column(rows, field)
            members = [(start + row, oids[row].tobytes(), array) for row, array in found]
            new = self._new_arrays(txn, members)
            groups += [(field, *each) for each in write_groups(txn, line, field, new)]
        if groups:
            index_groups(txn, self.index, line, groups)

    def _new_arrays(self, txn: WriteTxn, members: list[Member]) -> list[Member]:
        """Return the members whose arrays are not stored yet, each array once."""
        fresh = {oid: member for member in reversed(members) for oid in [member[1]]}
        if not fresh:
            return []
        oids = [member[1] for member in members if fresh.get(member[1]) is member]
        maybe = self.index.maybe_known(txn, ARRAYS, oids)
        return [
            fresh[oid]
            for oid, known in zip(oids, maybe.tolist(), strict=True)
            if not known or self.find_array(txn, oid) is None
        ]
