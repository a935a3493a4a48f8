"""The blocks of a bundle are stored as they came if they are what this program would read back."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest

from simgit import IntegrityError, Repository
from simgit.objects.oid import OID_SIZE
from simgit.odb.segments.block import Layout, choose_layout, encode_block, encode_layout
from simgit.odb.segments.header import header_at
from simgit.remotes.bundle import records
from simgit.remotes.bundle.records import RecordReader, RecordWriter
from simgit.remotes.bundle.states_head import decode_head

Parts = list[bytes]
"""Layout, fixed and variable part of a record of states."""
_SIZES = ("<H", "<I", "<I")
COUNT = 700  # enough rows for differences, and more than ten checkpoints


@pytest.fixture(scope="module")
def source() -> Repository:
    repo = Repository.init(":memory:")
    with repo.recorder("main", flush_every=COUNT) as recorder:
        for i in range(COUNT):
            recorder.append(np.float32([i, i / 3]), i % 4, float(i), i % 100 == 99)
    return repo


def parted(body: bytes) -> tuple[bytes, Parts, bytes]:
    at = decode_head(body).size
    head, found = body[:at], []
    for form in _SIZES:
        (size,) = struct.unpack_from(form, body, at)
        at += struct.calcsize(form)
        found.append(body[at : at + size])
        at += size
    return head, found, body[at:]


def changed(repo: Repository, change: Callable[[Parts], object]) -> bytes:
    """Return a bundle of the run whose record of states is changed, under right checksums."""
    whole, out = io.BytesIO(), io.BytesIO()
    repo.create_bundle(whole, ["main"])
    writer = RecordWriter(out.write)
    for kind, body in RecordReader(io.BytesIO(whole.getvalue()).read):
        if kind == records.STATES:
            head, parts, rest = parted(body)
            change(parts)
            sized = [struct.pack(f, len(p)) + p for f, p in zip(_SIZES, parts, strict=True)]
            body = head + b"".join(sized) + rest
        writer.put(kind, body)
    writer.finish()
    return out.getvalue()


def imported(data: bytes) -> Repository:
    repo = Repository.init(":memory:")
    repo.import_bundle(io.BytesIO(data))
    return repo


def stored(repo: Repository) -> tuple[bytes, int]:
    """Return the layout of the run's first segment, and the bytes of its blocks."""
    with repo.odb.read() as txn:
        header = header_at(txn, 0, 0)
        assert header is not None
        return header.layout, sum(each.fixed_size + each.variable_size for each in header.blocks)


def check_same(made: Repository, source: Repository) -> None:
    assert made.fsck().is_clean
    assert made.resolve("main") == source.resolve("main")
    mine, theirs = made.trajectory("main"), source.trajectory("main")
    assert np.array_equal(mine.observations, theirs.observations)
    assert np.array_equal(mine.rewards, theirs.rewards)
    for step in (0, 1, 64, 65, COUNT - 1):
        assert made.state(f"main@{step}").oid == source.state(f"main@{step}").oid


def test_another_layout_is_kept(source: Repository) -> None:
    with source.odb.read() as txn:
        rows = next(source.odb.states.rows(txn, 0, 0, COUNT))[1]
        before = [bytes(OID_SIZE), *source.odb.states.all_oids(txn, 0, 0, COUNT)[:-1]]
    assert choose_layout(rows).filters
    flat = Layout((), np.ones(rows.schema.fixed_size, np.uint8))  # each plane as it is

    def flatten(parts: Parts) -> None:
        parts[:2] = encode_layout(flat), encode_block(rows, before, flat, 3)[0]

    made = imported(changed(source, flatten))
    check_same(made, source)
    assert stored(made)[0] == encode_layout(flat)
    assert stored(made)[1] > stored(source)[1]


def test_checkpoints_that_lie_are_written_anew(source: Repository) -> None:
    for at in (0, OID_SIZE, 10 * OID_SIZE):

        def lie(parts: Parts, at: int = at) -> None:
            parts[1] = parts[1][:at] + bytes(OID_SIZE // 2) + b"x" + parts[1][at + 17 :]

        made = imported(changed(source, lie))
        check_same(made, source)
        assert stored(made) == stored(source)


def test_a_variable_part_that_no_field_has_is_not_stored(source: Repository) -> None:
    def more(parts: Parts) -> None:
        assert parts[2] == b""
        parts[2] = bytes(5000)

    made = imported(changed(source, more))
    check_same(made, source)
    assert stored(made) == stored(source)


def test_a_filter_that_comes_twice_is_refused(source: Repository) -> None:
    def twice(parts: Parts) -> None:
        (count,) = struct.unpack_from("<H", parts[0])
        assert count
        first = parts[0][2:11]
        parts[0] = struct.pack("<H", count + 1) + first + parts[0][2:]

    with pytest.raises(IntegrityError, match="layout does not fit"):
        imported(changed(source, twice))
