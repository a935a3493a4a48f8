"""Reading states: found by oid or by location, one by one or in columns.

Reads are verified: a single state's oid is recomputed from its row and the nearest checkpoint;
column reads rely on the checksums of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from simgit.errors import IntegrityError, Missing
from simgit.objects import rows as rowlib
from simgit.objects.arrays import AnyArray
from simgit.objects.chain import chain_oids, first_head, linear_head
from simgit.objects.kinds import StateObject
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import OID_SIZE, Oid
from simgit.objects.rows import Rows
from simgit.objects.schema import Schema
from simgit.odb.location import Location
from simgit.odb.segments.block import (
    BLOCK_ROWS,
    CHECKPOINT_ROWS,
    Block,
    EncodedBlock,
    Layout,
    decode_block,
    decode_layout,
)
from simgit.odb.segments.elias_fano import prefix_of
from simgit.odb.segments.header import Header, header_at, read_part
from simgit.odb.segments.index import Index, find_loose
from simgit.odb.segments.index_runs import ARRAYS, STATES
from simgit.odb.segments.lines import graft_of, line_of_step, missing, read_line
from simgit.odb.segments.totals import episode_starts, rewards, total
from simgit.storage.base import ReadTxn

if TYPE_CHECKING:
    import numpy.typing as npt

    from simgit.odb.segments.batch import Tip

SchemaReader = Callable[[ReadTxn, bytes], Schema]
Key = tuple[bytes, int, int, int]
"""A cache key: last state and rows of a segment, number of a block, and which part of it."""

_MOST_BLOCKS: Final = 128
"""The most blocks that are kept decoded, for those who go to and fro between states."""
_SMALL: Final = 128 << 10
"""The most bytes of such a block."""
_OBJECT: Final = 64
"""About what an object of Python takes beside its bytes."""


class _Named(NamedTuple):
    """Consecutive rows of a block with the oids of the first ones.

    ``head`` are the bytes before the first row in its state's payload.
    """

    key: Key
    head: bytes
    oids: list[bytes]
    rows: Rows
    checkpoints: bytes  # of the block


def _taken_apart(block: Block, start: int, stop: int) -> Rows:
    lazy = block.rows.slice(start, stop)
    return Rows(lazy.schema, lazy.fixed, lazy.variable)


class StateReader:
    """A reader of the states of one store; schemas are read through ``read_schema``."""

    def __init__(self, read_schema: SchemaReader) -> None:
        self.index = Index()
        self.read_schema = read_schema
        self._layouts: dict[bytes, Layout] = {}
        self._tip: Tip | None = None
        self._last_named: _Named | None = None
        self._block: tuple[Key, Block] | None = None
        self._blocks: dict[Key, Block] = {}

    def forget(self) -> None:
        """Forget what was read, so that the next reads are of the bytes themselves."""
        self.index.forget()
        self._tip = self._last_named = self._block = None
        self._blocks = {}

    def forget_tip(self) -> None:
        """Forget the totals of the state that was written last: they may have changed."""
        self._tip = None

    def locate(self, txn: ReadTxn, oid: bytes) -> Location | None:
        """Return the location of a state, its hash recomputed; None if there is no such state."""
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
            IntegrityError: it is missing.
        """
        header = header_at(txn, place.line, place.step)
        if header is None:
            raise IntegrityError(
                f"step {place.step} of line {place.line} lies in no segment: it was removed since "
                "it was looked up, or the store is damaged ('simgit fsck' tells)"
            )
        return header

    def block(self, txn: ReadTxn, header: Header, number: int, variable: bool = True) -> Block:
        """Return a block of a segment, its checksums compared."""
        key = (header.last, header.count, number, variable)
        cached = self._block  # read once: another thread may replace it
        if cached is not None and cached[0] == key:
            return cached[1]
        block = self._blocks.get(key)
        if block is not None:
            self._block = (key, block)
            return block
        schema = self.read_schema(txn, header.schema)
        layout = self._layout(header, schema)
        is_whole = variable and bool(schema.variable)
        fixed, found = self._parts(txn, header, number, is_whole)
        rest = found if is_whole else None
        block = decode_block(schema, layout, header.block_rows(number), fixed, rest)
        self._block = (key, block)
        kept = self._blocks  # another thread may replace it
        inflated = int.from_bytes(rest[:8], "little") if rest else 0
        row = schema.fixed_size + len(schema.variable) * _OBJECT
        if inflated + header.block_rows(number) * row <= _SMALL:
            kept[key] = block
            if len(kept) > _MOST_BLOCKS:
                with suppress(RuntimeError, KeyError):  # another thread does so too
                    del kept[next(iter(kept))]
        return block

    def encoded(self, txn: ReadTxn, place: Location, count: int) -> EncodedBlock | None:
        """Return consecutive states as they are stored, checksums compared, if they are a block.

        Returns:
            None if they are a part of one, or of several.
        """
        header = self.header(txn, place)
        number, within = divmod(place.step - header.step, BLOCK_ROWS)
        if within or header.block_rows(number) != count:
            return None
        schema = self.read_schema(txn, header.schema)
        layout = self._layout(header, schema)
        return EncodedBlock(layout, *self._parts(txn, header, number, bool(schema.variable)))

    @staticmethod
    def _parts(txn: ReadTxn, header: Header, number: int, variable: bool) -> tuple[bytes, bytes]:
        """Return the fixed part of a block and, unless it is left out, the variable one."""
        info = header.blocks[number]
        fixed = read_part(txn, header, info.offset, info.fixed_size, info.fixed_check)
        if not variable:
            return fixed, b""
        offset = info.offset + info.fixed_size
        return fixed, read_part(txn, header, offset, info.variable_size, info.variable_check)

    def _layout(self, header: Header, schema: Schema) -> Layout:
        key = header.schema + header.layout
        if key not in self._layouts:
            if len(self._layouts) > 1000:
                self._layouts.clear()
            self._layouts[key] = decode_layout(header.layout, schema)
        return self._layouts[key]

    def head(self, txn: ReadTxn, header: Header, block: Block, group: int, row: int) -> bytes:
        """Return the bytes before the first row of a group of 64 in its state's payload.

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
            IntegrityError: one of them is missing or damaged.
        """
        found = self.oids(txn, line, start, stop)
        if len(found) != stop - start:
            raise IntegrityError(f"the state at {line}/{start + len(found)} is missing")
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
        count, group = stop - first, first // CHECKPOINT_ROWS
        named = self._last_named  # read once: another thread may replace it
        if named is None or named.key != key:
            block = self.block(txn, header, number)
            head = self.head(txn, header, block, group, number * BLOCK_ROWS + first)
            rows = _taken_apart(block, first, stop)
            named = _Named(key, head, chain_oids(rows, head), rows, block.checkpoints)
        elif len(named.oids) < count:
            known, rows = len(named.oids), named.rows
            if rows.count < count:  # who goes on in a group is likely to read the rest of it
                block = self.block(txn, header, number)
                rows = _taken_apart(block, first, max(stop, first + CHECKPOINT_ROWS))
            head = linear_head(header.schema, named.oids[-1])
            more = chain_oids(rows.slice(known, count), head)
            named = named._replace(oids=named.oids + more, rows=rows)
        else:
            return named
        self._check_chain(named, group)
        self._last_named = named
        return named

    @staticmethod
    def _check_chain(named: _Named, group: int) -> None:
        for i in range(CHECKPOINT_ROWS, len(named.oids), CHECKPOINT_ROWS):
            at = (group + i // CHECKPOINT_ROWS) * OID_SIZE
            if named.checkpoints[at : at + OID_SIZE] != named.oids[i - 1]:
                raise IntegrityError("hash mismatch: the states of a block; see 'simgit fsck'")

    def row(
        self, txn: ReadTxn, place: Location, oid: bytes | None = None
    ) -> tuple[Oid, bytes, Rows]:
        """Return a state's recomputed oid, the bytes before its row in its payload, and its row.

        Raises:
            IntegrityError: its hash is not ``oid``.
        """
        header, named, i, _ = self._group(txn, place, 1)
        found = named.oids[i]
        if oid is not None and found != oid:
            raise IntegrityError(
                f"hash mismatch: state '{oid.hex()}' at step {place.step} has hash '{found.hex()}'"
            )
        head = linear_head(header.schema, named.oids[i - 1]) if i else named.head
        return Oid(found), head, named.rows.slice(i, i + 1)

    def group(
        self, txn: ReadTxn, place: Location, count: int
    ) -> tuple[list[tuple[Oid, bytes]], Rows]:
        """Return states from a place on: ``count`` at most, and none beyond the 64 that it is of.

        For each there are its recomputed oid and the bytes before its row in its payload; and
        their rows.
        """
        header, named, start, end = self._group(txn, place, count)
        heads = [linear_head(header.schema, oid) for oid in named.oids[max(0, start - 1) : end - 1]]
        if start == 0:
            heads.insert(0, named.head)
        oids = map(Oid, named.oids[start:end])
        return list(zip(oids, heads, strict=True)), named.rows.slice(start, end)

    def _group(self, txn: ReadTxn, place: Location, count: int) -> tuple[Header, _Named, int, int]:
        """Return the 64 rows that a state is of, named as far as needed, and which are wanted."""
        header = self.header(txn, place)
        number, within = divmod(place.step - header.step, BLOCK_ROWS)
        first = within // CHECKPOINT_ROWS * CHECKPOINT_ROWS
        stop = min(within + count, first + CHECKPOINT_ROWS, header.block_rows(number))
        named = self._named(txn, header, number, first, stop)
        return header, named, within - first, stop - first

    def state(
        self, txn: ReadTxn, place: Location, oid: bytes | None = None
    ) -> tuple[Oid, StateObject]:
        """Return a state and its recomputed oid; see ``row``."""
        found, head, rows = self.row(txn, place, oid)
        return found, StateObject.decode(head + rows.row_bytes()[0])

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

    def check_tip(self, txn: ReadTxn, place: Location, oid: bytes) -> None:
        """Check that a location holds the state that a ref names: cheaply at a segment's end.

        Raises:
            IntegrityError: it holds another state.
        """
        header = self.header(txn, place)
        if place.step != header.end - 1:
            self.row(txn, place, oid)
        elif header.last != oid:
            raise IntegrityError(
                f"hash mismatch: state '{oid.hex()}' is not at {place.line}/{place.step}"
            )

    def tip(self, txn: ReadTxn, place: Location) -> Tip:
        """Return a state as a tip that a chain can continue."""
        header = self.header(txn, place)
        known = self._tip
        if known is not None and known.place == place and known.oid == header.last:
            return known  # written last by this process: equal oids are equal states
        schema = self.read_schema(txn, header.schema)
        if place.step == header.end - 1:
            oid = Oid(header.last)
        else:
            oid, _ = self.state(txn, place)
        episode, start, returned = self.standing(txn, header, place.step)
        from simgit.odb.segments.batch import Tip

        return Tip(oid, place, schema, episode, start, returned)

    def known_standing(self, txn: ReadTxn, header: Header, step: int) -> tuple[int, int, float]:
        """Return the same as ``standing``.

        Raises:
            Missing: the history is shallow, so they are not known.
        """
        episode, start, returned = self.standing(txn, header, step)
        if episode is None or start is None:
            raise self.unknown_episodes(txn, Location(header.line, step))
        return episode, start, returned

    @staticmethod
    def unknown_episodes(txn: ReadTxn, place: Location) -> Missing:
        """Return the error for episodes and sums of a shallow history, which are not known."""
        graft = graft_of(txn, place.line)
        if graft is None:
            return Missing("the episodes of this history are not known; see 'simgit fsck'")
        return missing(txn, graft, "its episodes are not known: ")

    def standing(
        self, txn: ReadTxn, header: Header, step: int
    ) -> tuple[int | None, int | None, float]:
        """Return a state's episode, the episode's first step, and the return up to the state.

        In a shallow history they are None, None until an episode has begun in it, and NaN.
        """
        episode, start, returned = header.episode, header.episode_start, header.returned
        number = (step - header.step) // BLOCK_ROWS
        for info in header.blocks[:number]:
            episode = None if episode is None else episode + info.resets
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
            if episode is not None:
                episode += len(found) if i == number else 0
            if len(found):
                return episode, first + int(found[-1]), returned
        return episode, start, returned

    def children(self, txn: ReadTxn, place: Location) -> Iterator[Location]:
        """Yield the locations of the children of a state."""
        if header_at(txn, place.line, place.step + 1) is not None:
            yield Location(place.line, place.step + 1)
        key = place.line.to_bytes(8, "big") + place.step.to_bytes(8, "big")
        for found, _ in txn.scan("children", key, key + b"\xff" * 9):
            line = read_line(txn, int.from_bytes(found[16:], "big"))
            yield Location(line.id, line.step)

    # --- arrays ---

    def find_array(self, txn: ReadTxn, oid: bytes) -> tuple[int, int, int] | None:
        """Return (line, field, step) of the state with which an array is stored, or None."""
        from simgit.odb.segments.array_groups import find_array

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
        """Return an array, its hash recomputed, or None if it is not stored with a state.

        Args:
            hint: (line, field, step) of a state that has it, where it is probably stored.
        """
        from simgit.objects.row_encoder import hash_array
        from simgit.odb.segments.array_groups import array_here

        if hint is not None:
            array = array_here(txn, *hint)
            if array is not None and hash_array(array) == oid:
                return array
        place = self.find_array(txn, oid)
        if place is None:
            return None
        array = array_here(txn, *place)
        if array is None or hash_array(array) != oid:
            raise IntegrityError(f"hash mismatch: array '{oid.hex()}'; see 'simgit fsck'")
        return array

    def arrays_with_prefix(self, txn: ReadTxn, low: bytes, high: bytes) -> Iterator[bytes]:
        """Yield the oids between two, both included, of the arrays stored with states."""
        from simgit.odb.segments.array_groups import group_oids

        loose = [oid for oid, _ in txn.scan("oids", low, high + b"\0")]
        yield from (oid for oid in loose if find_loose(txn, ARRAYS, oid) is not None)
        found = self.index.candidates(txn, ARRAYS, prefix_of(low), prefix_of(high))
        for line, where in dict.fromkeys(place for _, place in found):
            for oid in group_oids(txn, line, where, self.field_oids):
                if low <= oid <= high:
                    yield oid

    def ancestor(self, txn: ReadTxn, place: Location, step: int) -> Location:
        """Return the location of the first-parent ancestor with a step."""
        return line_of_step(txn, place, step)
