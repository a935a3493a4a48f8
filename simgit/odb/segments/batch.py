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


class Tip(NamedTuple):
    """A state that a chain can continue from, with the totals up to it."""

    oid: Oid
    place: Location
    schema: Schema
    episode: int
    episode_start: int
    returned: float


class StateBatch(NamedTuple):
    """Consecutive new states of one schema: rows, oids, parents and origin.

    ``block`` has all rows in stored form, if there is one already; its content is verified.
    """

    rows: Rows
    oids: list[bytes]
    parents: tuple[Tip, ...]
    origin: bytes
    block: EncodedBlock | None = None

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
) -> Tip:
    """Store rows as one segment; return the tip of the last.

    Args:
        place: the location of the first row.
        before: for each row the oid of the state before it.
        oids: for each row its own oid.
        tip: the state before the first row, None for a root.
        level: zstd's level.
        block: all rows in stored form; it is taken if its checkpoints are right.
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
        blocks.append(_info(offset, fixed, variable, part, tip is None and at == 0))
    body = b"".join(parts)
    header = Header(
        place.line, place.step, rows.count, rows.schema.oid, before[0], oids[-1],
        tip.episode if tip else 0, tip.episode_start if tip else 0, tip.returned if tip else 0.0,
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
    return Tip(oid, place, rows.schema, header.episode + resets, start, returned)
