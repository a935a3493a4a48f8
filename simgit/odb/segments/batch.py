"""Batches of hashed rows, the tips that they continue, and how they become segments."""

from __future__ import annotations

from typing import Final, NamedTuple

from simgit.objects.chain import chain_oids, first_head
from simgit.objects.compression import checksum
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import Oid
from simgit.objects.rows import Rows
from simgit.objects.schema import Schema
from simgit.odb.location import Location
from simgit.odb.segments.block import (
    BLOCK_ROWS,
    EncodedBlock,
    choose_layout,
    encode_block,
    encode_layout,
)
from simgit.odb.segments.header import INLINE_SIZE, BlockInfo, Blocks, Header, write_segment
from simgit.odb.segments.totals import episode_starts, rewards, total
from simgit.storage.base import WriteTxn

SEGMENT_ROWS: Final = 16 * BLOCK_ROWS
UNKNOWN: Final = (None, None, float("nan"))
"""Episode, its first step, and return before a graft."""


class Tip(NamedTuple):
    """A state that a chain can continue from, with the totals up to it.

    In a shallow history they are not known: ``episode`` is None, ``episode_start`` too until an
    episode has begun in it, and ``returned`` is NaN.
    """

    oid: Oid
    place: Location
    schema: Schema
    episode: int | None
    episode_start: int | None
    returned: float


class Graft(NamedTuple):
    """The end of a shallow history: parents that are not all here, and the step of their child.

    Attributes:
        parents: their oids.
        step: the step of the first state that is here.
        remote: the name of the remote that has the parents.
    """

    parents: tuple[bytes, ...]
    step: int
    remote: str


class StateBatch(NamedTuple):
    """Consecutive new states of one schema: rows, oids, parents and origin.

    ``block`` has all rows in stored form, if there is one already; its content is verified.
    ``graft`` stands for parents that are not here.
    """

    rows: Rows
    oids: list[bytes]
    parents: tuple[Tip, ...]
    origin: bytes
    block: EncodedBlock | None = None
    graft: Graft | None = None

    def until(self, count: int) -> StateBatch:
        """Return the batch with its first states only."""
        return self._replace(rows=self.rows.slice(0, count), oids=self.oids[:count], block=None)

    def without(self, count: int, tip: Tip) -> StateBatch:
        """Return the batch without its first states, which exist already and end at ``tip``."""
        rows = self.rows.slice(count, self.rows.count)
        return StateBatch(rows, self.oids[count:], (tip,), b"")


def new_batch(rows: Rows, parents: tuple[Tip, ...], origin: bytes) -> StateBatch:
    """Return packed rows as a batch, their states hashed."""
    head = first_head(rows.schema.oid, [tip.oid for tip in parents], origin)
    return StateBatch(rows, chain_oids(rows, head), parents, origin)


def write_rows(
    txn: WriteTxn,
    place: Location,
    rows: Rows,
    before: list[bytes],
    oids: list[bytes],
    tip: Tip | None,
    level: int,
    block: EncodedBlock | None = None,
    *,
    is_root: bool = True,
) -> Tip:
    """Store rows as one segment; return the tip of the last.

    Args:
        place: the location of the first row.
        before: for each row the oid of the state before it.
        oids: for each row its own oid.
        tip: the state before the first row, None without one.
        level: zstd's level.
        block: all rows in stored form; it is taken if its checkpoints are right.
        is_root: without a state before: False for a graft, whose totals are not known.
    """
    if block is not None and not block.follows(before):
        block = None
    layout = choose_layout(rows) if block is None else block.layout
    parts: list[bytes] = []
    blocks: list[BlockInfo] = []
    for at in range(0, rows.count, BLOCK_ROWS):
        part = rows.slice(at, min(at + BLOCK_ROWS, rows.count))
        if block is None:
            fixed, variable = encode_block(part, before[at : at + part.count], layout, level)
        else:
            _, fixed, variable = block
        offset = sum(map(len, parts))
        parts += [fixed, variable]
        blocks.append(_info(offset, fixed, variable, part, tip is None and is_root and at == 0))
    body = b"".join(parts)
    standing: tuple[int | None, int | None, float] = (0, 0, 0.0) if is_root else UNKNOWN
    if tip is not None:
        standing = tip.episode, tip.episode_start, tip.returned
    header = Header(
        place.line, place.step, rows.count, rows.schema.oid, before[0], oids[-1], *standing,
        encode_layout(layout), Blocks.pack(blocks),
        body if len(body) <= INLINE_SIZE else b"",
    )  # fmt: skip
    write_segment(txn, header, body)
    return _tip_after(header, rows, Oid(oids[-1]))


def _info(offset: int, fixed: bytes, variable: bytes, rows: Rows, root: bool) -> BlockInfo:
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
    episode = None if header.episode is None else header.episode + resets
    return Tip(oid, place, rows.schema, episode, start, returned)
