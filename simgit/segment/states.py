"""The states of a store: appended to lines in segments, found by oid or by place, read in columns.

Names are checked on the way out: a single state's oid is recomputed from its row and the nearest
checkpoint; column reads rely on the checksums of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simgit.arrays import AnyArray
from simgit.errors import Integrity
from simgit.failpoints import fail_point
from simgit.objects import State
from simgit.oid import OID_SIZE, Oid
from simgit.schema import Schema
from simgit.segment import rows as rowlib
from simgit.segment.chain import chain_oids, first_head, linear_head
from simgit.segment.groups import (
    Member,
    array_here,
    find_array,
    group_oids,
    index_groups,
    write_groups,
)
from simgit.segment.header import (
    INLINE_SIZE,
    NO_PARENT,
    BlockInfo,
    Blocks,
    Header,
    Location,
    header_at,
    last_header,
    read_part,
    write_segment,
)
from simgit.segment.index import prefix_of
from simgit.segment.lines import Line, line_of_step, new_line, read_line
from simgit.segment.lookup import ARRAYS, LOOSE, STATES, Index, add_loose, find_loose, state_places
from simgit.segment.pack import (
    BLOCK_ROWS,
    CHECKPOINT_ROWS,
    Block,
    Layout,
    checksum,
    choose_layout,
    decode_block,
    decode_layout,
    encode_block,
    encode_layout,
)
from simgit.segment.packing import hash_array
from simgit.segment.rows import Rows
from simgit.storage.base import ReadTxn, WriteTxn

SEGMENT_ROWS: Final = 16 * BLOCK_ROWS
Stretch = tuple[int, int, list[bytes]]
"""New states of a line: its number, the first step, the oids."""
SchemaReader = Callable[[ReadTxn, bytes], Schema]
Key = tuple[bytes, int, int, int]
"""Last state and rows of a segment, number of a block, and what of it."""


@dataclass(frozen=True, slots=True)
class Tip:
    """A state as the place where a chain can go on."""

    oid: Oid
    place: Location
    schema: Schema
    episode: int
    episode_start: int
    returned: float


@dataclass
class Batch:
    """Consecutive new states of one schema: rows, oids, and what they come from."""

    rows: Rows
    oids: list[bytes]
    parents: tuple[Tip, ...]
    origin: bytes

    def without(self, count: int, tip: Tip) -> Batch:
        """Return the batch without its first states, which exist already and end at ``tip``."""
        rows = self.rows.slice(count, self.rows.count)
        return Batch(rows, self.oids[count:], (tip,), b"")


def batch_head(schema: Schema, parents: Sequence[Tip], origin: bytes) -> bytes:
    """Return what precedes the row in the payload of a batch's first state."""
    return first_head(schema.oid, [tip.oid for tip in parents], origin)


@dataclass(frozen=True, slots=True)
class _Named:
    """Consecutive rows of a block with their names, and what precedes the first in its payload."""

    key: Key
    head: bytes
    oids: list[bytes]
    rows: Rows


class StateStore:
    """Reads and writes the states of one store; schemas are read through ``read_schema``."""

    def __init__(self, read_schema: SchemaReader) -> None:
        self.index = Index()
        self.read_schema = read_schema
        self._layouts: dict[bytes, Layout] = {}
        self._tip: Tip | None = None
        self._waiting: list[Stretch] | None = None
        self._last_named: _Named | None = None
        self._block: tuple[Key, Block] | None = None

    # --- writing ---

    def append(self, txn: WriteTxn, batch: Batch, level: int = 3) -> Tip:
        """Store what is new of a batch; return the tip of its last state."""
        known = self._known(txn, batch)
        if known:
            place = self.locate(txn, batch.oids[known - 1])
            assert place is not None
            tip = self.tip(txn, place)
            if known == len(batch.oids):
                return tip
            batch = batch.without(known, tip)
        return self._write(txn, batch, level)

    def _known(self, txn: WriteTxn, batch: Batch) -> int:
        """Return how many of a batch's first states exist already."""
        if not self._may_exist(txn, batch.parents):
            return 0
        self._enter_waiting(txn, batch.oids[0])
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

    def _may_exist(self, txn: WriteTxn, parents: tuple[Tip, ...]) -> bool:
        """Return False if the first parent has no children, so that none can be found."""
        if not parents:
            return True
        return next(self.children(txn, parents[0].place), None) is not None

    def _write(self, txn: WriteTxn, batch: Batch, level: int) -> Tip:
        line = self._line_for(txn, batch)
        start = batch.parents[0].place.step + 1 if batch.parents else 0
        tip = batch.parents[0] if batch.parents else None
        before = [bytes(tip.oid) if tip else NO_PARENT, *batch.oids[:-1]]
        for at in range(0, batch.rows.count, SEGMENT_ROWS):
            part = batch.rows.slice(at, min(at + SEGMENT_ROWS, batch.rows.count))
            oids = batch.oids[at : at + part.count]
            self._write_arrays(txn, line.id, start + at, part)
            place = Location(line.id, start + at)
            tip = write_rows(txn, place, part, before[at : at + part.count], oids, tip, level)
        fail_point("states.stored")
        self.enter(txn, line.id, start, batch.oids)
        assert tip is not None
        self._tip = tip
        return tip

    def _line_for(self, txn: WriteTxn, batch: Batch) -> Line:
        """Return the line that the batch continues, or begin one."""
        parents = batch.parents
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
        """Enter what is appended in the block into one run of the index, not one for each line."""
        self._waiting = []
        try:
            yield
            self._enter_all(txn, self._waiting)
        finally:
            self._waiting = None

    def _enter_all(self, txn: WriteTxn, stretches: list[Stretch]) -> None:
        if sum(len(oids) for _, _, oids in stretches) < LOOSE:
            for line, start, oids in stretches:
                for i, oid in enumerate(oids):
                    add_loose(txn, STATES, oid, line, start + i)
            return
        slots, shift = [], 0
        for _, _, oids in stretches:
            slots.append(np.arange(len(oids)) // CHECKPOINT_ROWS + shift)
            shift += -(-len(oids) // CHECKPOINT_ROWS)
        places = state_places([(line, start, len(oids)) for line, start, oids in stretches])
        names = [oid for _, _, oids in stretches for oid in oids]
        self.index.add(txn, STATES, names, np.concatenate(slots), places)

    def _enter_waiting(self, txn: WriteTxn, oid: bytes) -> None:
        """Enter what waits, if it begins with a state that is looked for."""
        # a new state can only equal the first of another stretch: its parent existed before
        if self._waiting and any(oids[0] == oid for _, _, oids in self._waiting):
            waiting, self._waiting = self._waiting, []
            self._enter_all(txn, waiting)

    def _write_arrays(self, txn: WriteTxn, line: int, start: int, rows: Rows) -> None:
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

    # --- reading ---

    def locate(self, txn: ReadTxn, oid: bytes) -> Location | None:
        """Return where a state lies, its name recomputed; None if there is no such state."""
        loose = find_loose(txn, STATES, oid)
        if loose is not None and self.oids(txn, *loose, loose[1] + 1) == [oid]:
            return Location(*loose)
        prefix = prefix_of(oid)
        for _, (line, step) in self.index.candidates(txn, STATES, prefix, prefix):
            oids = self.oids(txn, line, step, step + CHECKPOINT_ROWS)
            if oid in oids:
                return Location(line, step + oids.index(oid))
        return None

    def with_prefix(
        self, txn: ReadTxn, low: bytes, high: bytes
    ) -> Iterator[tuple[bytes, Location]]:
        """Yield (oid, place) of the states whose oids lie between two, both included."""
        for oid, _ in txn.scan("oids", low, high + b"\0"):
            place = find_loose(txn, STATES, oid)
            if place is not None:
                yield oid, Location(*place)
        found = self.index.candidates(txn, STATES, prefix_of(low), prefix_of(high))
        for line, step in dict.fromkeys(place for _, place in found):
            for i, oid in enumerate(self.oids(txn, line, step, step + CHECKPOINT_ROWS)):
                if low <= oid <= high:
                    yield oid, Location(line, step + i)

    def header(self, txn: ReadTxn, place: Location) -> Header:
        """Return the header of the segment that holds a state.

        Raises:
            Integrity: there is none.
        """
        header = header_at(txn, place.line, place.step)
        if header is None:
            raise Integrity(f"there is no segment with step {place.step} of line {place.line}")
        return header

    def block(self, txn: ReadTxn, header: Header, number: int, variable: bool = True) -> Block:
        """Return a block of a segment, checked against its checksums."""
        info = header.blocks[number]
        key = (header.last, header.count, number, variable)
        cached = self._block  # read once: another thread may replace it
        if cached is not None and cached[0] == key:
            return cached[1]
        schema = self.read_schema(txn, header.schema)
        layout = self._layout(header, schema)
        fixed = read_part(txn, header, info.offset, info.fixed_size, info.fixed_check)
        rest = None
        if variable and schema.variable:
            offset = info.offset + info.fixed_size
            rest = read_part(txn, header, offset, info.variable_size, info.variable_check)
        block = decode_block(schema, layout, header.block_rows(number), fixed, rest)
        self._block = (key, block)
        return block

    def _layout(self, header: Header, schema: Schema) -> Layout:
        key = header.schema + header.layout
        if key not in self._layouts:
            if len(self._layouts) > 1000:
                self._layouts.clear()
            self._layouts[key] = decode_layout(header.layout, schema)
        return self._layouts[key]

    def head(self, txn: ReadTxn, header: Header, block: Block, group: int, row: int) -> bytes:
        """Return what precedes the first row of a group of 64 in its state's payload.

        Args:
            group: the group's number in its block.
            row: the first row's number in the segment.
        """
        if row == 0:
            line = read_line(txn, header.line)
            if line.step == header.step:
                return first_head(header.schema, line.parents, line.origin)
        checkpoint = block.checkpoints[group * OID_SIZE : (group + 1) * OID_SIZE]
        return linear_head(header.schema, checkpoint)

    def oids(self, txn: ReadTxn, line: int, start: int, stop: int) -> list[bytes]:
        """Return the recomputed oids of the states of a line from a step to another.

        The list ends early where the line does.
        """
        out: list[bytes] = []
        while start < stop:
            header = header_at(txn, line, start)
            if header is None:
                return out
            found = self._segment_oids(txn, header, start - header.step, stop - header.step)
            out += found
            start += len(found)
        return out

    def all_oids(self, txn: ReadTxn, line: int, start: int, stop: int) -> list[bytes]:
        """Return the recomputed oids of states that must be there.

        Raises:
            Integrity: one of them is missing or damaged.
        """
        found = self.oids(txn, line, start, stop)
        if len(found) != stop - start:
            raise Integrity(f"the state at {line}/{start + len(found)} is missing")
        return found

    def _segment_oids(self, txn: ReadTxn, header: Header, start: int, stop: int) -> list[bytes]:
        """Return oids of rows of one block, the one with row ``start``."""
        number, within = divmod(start, BLOCK_ROWS)
        first = within // CHECKPOINT_ROWS * CHECKPOINT_ROWS
        last = min(stop - number * BLOCK_ROWS, header.block_rows(number))
        return self._named(txn, header, number, first, last).oids[within - first : last - first]

    def _named(self, txn: ReadTxn, header: Header, number: int, first: int, stop: int) -> _Named:
        """Return rows of a block with their oids, from a 64th one on (perhaps beyond ``stop``)."""
        key = (header.last, header.count, number, first)
        named = self._last_named  # read once: another thread may replace it
        if named is None or named.key != key or len(named.oids) < stop - first:
            block = self.block(txn, header, number)
            group = first // CHECKPOINT_ROWS
            head = self.head(txn, header, block, group, number * BLOCK_ROWS + first)
            lazy = block.rows.slice(first, stop)
            rows = Rows(lazy.schema, lazy.fixed, lazy.variable)
            named = _Named(key, head, chain_oids(rows, head), rows)
            self._check_chain(block, named.oids, group)
            self._last_named = named
        return named

    def _check_chain(self, block: Block, oids: list[bytes], group: int) -> None:
        for i in range(CHECKPOINT_ROWS, len(oids), CHECKPOINT_ROWS):
            at = (group + i // CHECKPOINT_ROWS) * OID_SIZE
            if block.checkpoints[at : at + OID_SIZE] != oids[i - 1]:
                raise Integrity("the names of states do not match the checkpoints of their block")

    def row(
        self, txn: ReadTxn, place: Location, oid: bytes | None = None
    ) -> tuple[Oid, bytes, Rows]:
        """Return a state's recomputed oid, what precedes its row in its payload, and its row.

        Raises:
            Integrity: it does not have the oid that it is asked for by.
        """
        header = self.header(txn, place)
        number, within = divmod(place.step - header.step, BLOCK_ROWS)
        first = within // CHECKPOINT_ROWS * CHECKPOINT_ROWS
        named = self._named(txn, header, number, first, within + 1)
        i = within - first
        found = named.oids[i]
        if oid is not None and found != oid:
            raise Integrity(f"the state at step {place.step} is not '{oid.hex()}'")
        head = linear_head(header.schema, named.oids[i - 1]) if i else named.head
        return Oid(found), head, named.rows.slice(i, i + 1)

    def state(self, txn: ReadTxn, place: Location, oid: bytes | None = None) -> tuple[Oid, State]:
        """Return a state and its recomputed oid; see ``row``."""
        found, head, rows = self.row(txn, place, oid)
        return found, State.decode(head + rows.row_bytes()[0])

    def rows(
        self, txn: ReadTxn, line: int, start: int, stop: int, variable: bool = True
    ) -> Iterator[tuple[int, Rows]]:
        """Yield (first step, rows) of the states start <= step < stop of a line, block by block."""
        while start < stop:
            header = self.header(txn, Location(line, start))
            number, within = divmod(start - header.step, BLOCK_ROWS)
            for i in range(number, len(header.blocks)):
                block = self.block(txn, header, i, variable)
                end = min(stop - start + within, block.rows.count)
                yield start, block.rows.slice(within, end)
                start += end - within
                within = 0
                if start >= stop:
                    break

    def tip(self, txn: ReadTxn, place: Location) -> Tip:
        """Return a state as the place where a chain can go on."""
        header = self.header(txn, place)
        known = self._tip
        if known is not None and known.place == place and known.oid == header.last:
            return known  # what this process wrote last: the name says that it is the same
        schema = self.read_schema(txn, header.schema)
        if place.step == header.end - 1:
            oid = Oid(header.last)
        else:
            oid, _ = self.state(txn, place)
        episode, start, returned = self.standing(txn, header, place.step)
        return Tip(oid, place, schema, episode, start, returned)

    def standing(self, txn: ReadTxn, header: Header, step: int) -> tuple[int, int, float]:
        """Return episode, the episode's first step, and the return so far of a segment's state."""
        episode, start, returned = header.episode, header.episode_start, header.returned
        number = (step - header.step) // BLOCK_ROWS
        for info in header.blocks[:number]:
            episode += info.resets
            returned += info.rewards
        # the episode's start lies in the newest block with a reset
        for i in range(number, -1, -1):
            first = header.step + i * BLOCK_ROWS
            if i < number and not header.blocks[i].resets:
                continue
            rows = self.block(txn, header, i).rows
            if i == number:
                rows = rows.slice(0, step - first + 1)
                returned += total(rewards(rows))
            found = np.flatnonzero(episode_starts(rows, header.step == 0 and i == 0))
            episode += len(found) if i == number else 0
            if len(found):
                return episode, first + int(found[-1]), returned
        return episode, start, returned

    def children(self, txn: ReadTxn, place: Location) -> Iterator[Location]:
        """Yield the places of the states that have a state among their parents."""
        if header_at(txn, place.line, place.step + 1) is not None:
            yield Location(place.line, place.step + 1)
        key = place.line.to_bytes(8, "big") + place.step.to_bytes(8, "big")
        for found, _ in txn.scan("children", key, key + b"\xff" * 9):
            line = read_line(txn, int.from_bytes(found[16:], "big"))
            yield Location(line.id, line.step)

    # --- arrays ---

    def find_array(self, txn: ReadTxn, oid: bytes) -> tuple[int, int, int] | None:
        """Return (line, field, step) of the state with which an array is stored, or None."""
        return find_array(txn, self.index, oid, self.field_oids)

    def field_oids(
        self, txn: ReadTxn, line: int, field: int, steps: npt.NDArray[np.int64]
    ) -> list[bytes]:
        """Return the oids that an array field has at some steps of a line, ascending."""
        out: list[bytes] = []
        for start, rows in self.rows(txn, line, int(steps[0]), int(steps[-1]) + 1, False):
            here = steps[(steps >= start) & (steps < start + rows.count)] - start
            oids = rowlib.column(rows, field)
            out += [oids[row].tobytes() for row in here.tolist()]
        return out

    def array(
        self, txn: ReadTxn, oid: bytes, hint: tuple[int, int, int] | None = None
    ) -> AnyArray | None:
        """Return an array, its name recomputed, or None if no state has stored it.

        Args:
            hint: (line, field, step) of a state that has it, where it is probably stored.
        """
        if hint is not None:
            array = array_here(txn, *hint)
            if array is not None and hash_array(array) == oid:
                return array
        place = self.find_array(txn, oid)
        if place is None:
            return None
        array = array_here(txn, *place)
        if array is None or hash_array(array) != oid:
            raise Integrity(f"array '{oid.hex()}' is damaged")
        return array

    def arrays_with_prefix(self, txn: ReadTxn, low: bytes, high: bytes) -> Iterator[bytes]:
        """Yield the oids between two, both included, of the arrays stored with states."""
        loose = [oid for oid, _ in txn.scan("oids", low, high + b"\0")]
        yield from (oid for oid in loose if find_loose(txn, ARRAYS, oid) is not None)
        found = self.index.candidates(txn, ARRAYS, prefix_of(low), prefix_of(high))
        for line, where in dict.fromkeys(place for _, place in found):
            for oid in group_oids(txn, line, where, self.field_oids):
                if low <= oid <= high:
                    yield oid

    def ancestor(self, txn: ReadTxn, place: Location, step: int) -> Location:
        """Return the place of the first-parent ancestor with a step."""
        return line_of_step(txn, place, step)


def rewards(rows: Rows) -> npt.NDArray[np.float64]:
    """Return the rewards of rows, 0 where there is none."""
    index = rows.schema.index.get(("reward",))
    if index is None:
        return np.zeros(rows.count)
    values: npt.NDArray[np.float64] = rowlib.column(rows, index)
    return values


def total(values: npt.NDArray[np.float64]) -> float:
    """Return the sum of rewards."""
    with np.errstate(all="ignore"):  # infinities of both signs
        return float(values.sum())


def episode_starts(rows: Rows, root: bool) -> npt.NDArray[np.bool_]:
    """Return for each row whether an episode starts there; a root starts one in any case."""
    index = rows.schema.index.get(("reset",))
    found = np.zeros(rows.count, bool) if index is None else rowlib.presence(rows, index)
    if root and rows.count:
        found[0] = True
    return found


def write_rows(
    txn: WriteTxn,
    place: Location,
    rows: Rows,
    before: list[bytes],
    oids: list[bytes],
    tip: Tip | None,
    level: int,
) -> Tip:
    """Store rows as one segment; return the tip of the last.

    Args:
        place: of the first row.
        before: for each row the oid of the state before it.
        oids: for each row its own.
        tip: the state before the first row, None for a root.
        level: zstd's.
    """
    layout = choose_layout(rows)
    parts: list[bytes] = []
    blocks: list[BlockInfo] = []
    for at in range(0, rows.count, BLOCK_ROWS):
        part = rows.slice(at, min(at + BLOCK_ROWS, rows.count))
        info = _write_block(
            parts, part, before[at : at + part.count], layout, level, tip is None and at == 0
        )
        blocks.append(info)
    body = b"".join(parts)
    header = Header(
        place.line, place.step, rows.count, rows.schema.oid, before[0], oids[-1],
        tip.episode if tip else 0, tip.episode_start if tip else 0, tip.returned if tip else 0.0,
        encode_layout(layout), Blocks.pack(blocks),
        body if len(body) <= INLINE_SIZE else b"",
    )  # fmt: skip
    write_segment(txn, header, body)
    return _tip_after(header, rows, Oid(oids[-1]))


def _write_block(
    parts: list[bytes], rows: Rows, before: list[bytes], layout: Layout, level: int, root: bool
) -> BlockInfo:
    fixed, variable = encode_block(rows, before, layout, level)
    offset = sum(map(len, parts))
    parts += [fixed, variable]
    return BlockInfo(
        offset, len(fixed), len(variable), int(np.count_nonzero(episode_starts(rows, root))),
        total(rewards(rows)), checksum(fixed), checksum(variable),
    )  # fmt: skip


def _tip_after(header: Header, rows: Rows, oid: Oid) -> Tip:
    resets = sum(info.resets for info in header.blocks)
    start = header.episode_start
    if resets:
        start = header.step + int(np.flatnonzero(episode_starts(rows, header.step == 0))[-1])
    returned = header.returned + sum(info.rewards for info in header.blocks)
    place = Location(header.line, header.end - 1)
    return Tip(oid, place, rows.schema, header.episode + resets, start, returned)


def new_batch(rows: Rows, parents: tuple[Tip, ...], origin: bytes) -> Batch:
    """Name the states of packed rows and return them as a batch."""
    return Batch(rows, chain_oids(rows, batch_head(rows.schema, parents, origin)), parents, origin)
