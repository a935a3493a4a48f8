"""Rows, blocks, index pages, groups of arrays and lines: what is encoded is decoded."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from simgit import IntegrityError, Repository
from simgit.objects.columns import ABSENT
from simgit.objects.compression import checksum, compress, decompress
from simgit.objects.row_encoder import hash_array
from simgit.objects.rows import split_row, unpack_row
from simgit.odb.location import Location
from simgit.odb.segments import join
from simgit.odb.segments.array_codec import decode_group, encode_group, group_header, unstack
from simgit.odb.segments.block import (
    choose_layout,
    decode_block,
    decode_layout,
    encode_block,
    encode_layout,
    entropies,
)
from simgit.odb.segments.elias_fano import (
    Page,
    PageWriter,
    _pack_bits,
    _unpack_bits,
    decode_page,
    sort_entries,
)
from simgit.odb.segments.index import Index
from simgit.odb.segments.index_runs import (
    ARRAYS,
    STATES,
    delete_run,
    read_entries,
    write_run,
)
from simgit.odb.segments.lines import Line, decode_line, encode_line, fork_point, new_line
from simgit.recording.states import prepare
from simgit.storage.memory import MemoryStorage

# --- blocks ------------------------------------------------------------------------------------


def columns(count: int, rng: np.random.Generator) -> dict[str, list[Any]]:
    return {
        "observation": list(rng.standard_normal((count, 4)).astype("<f4").cumsum(0)),
        "action": [int(i) for i in rng.integers(-(2**40), 2**40, count)],
        "reward": [float(i % 5) if i % 3 else ABSENT for i in range(count)],
        "info": [
            {"t": np.int16(i % 7), "f": (i / 3, bool(i % 2)), "s": "é" * (i % 4), "n": None}
            for i in range(count)
        ],
    }


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 511, 512, 2047, 2048])
def test_a_block_is_decoded_as_it_was(count: int) -> None:
    batch = prepare(columns(count, np.random.default_rng(count)), ())[-1]
    rows = batch.rows
    layout = choose_layout(rows)
    assert (decode_layout(encode_layout(layout), rows.schema).raw == layout.raw).all()
    fixed, variable = encode_block(rows, batch.oids, layout, 3)
    block = decode_block(rows.schema, layout, rows.count, fixed, variable)
    assert block.rows.row_bytes() == rows.row_bytes()
    assert block.rows.row_bytes() == rows.row_bytes()
    for i in range(0, rows.count, max(1, rows.count // 9)):
        one = block.rows.slice(i, i + 1)
        assert one.row_bytes() == [rows.row_bytes()[i]]
        assert str(unpack_row(one, 0)) == str(unpack_row(rows, i))
        assert split_row(rows.schema, rows.row_bytes()[i]).row_bytes() == one.row_bytes()
        stretch = block.rows.slice(i, min(i + 70, rows.count))
        assert stretch.row_bytes() == rows.row_bytes()[i : i + 70]


def test_a_frame_that_claims_another_size_is_not_inflated() -> None:
    frame = compress(bytes(1000))
    assert decompress(frame, 1000) == bytes(1000)
    for size in (0, 999, 1001, 1 << 40):
        with pytest.raises(IntegrityError):
            decompress(frame, size)
    with pytest.raises(IntegrityError):
        decompress(frame + b"\0", 1000)
    with pytest.raises(IntegrityError):
        decompress(frame + frame, 1000)


def test_entropies_are_those_of_the_bytes_of_each_column() -> None:
    halves, quarters = np.arange(64) % 2, np.arange(64) % 4
    skewed = np.where(np.arange(64) < 16, 255, 0)  # a quarter: 0.25 · 2 + 0.75 · log2(4/3) bits
    sample = np.stack([np.zeros(64), halves, quarters * 85, skewed, np.arange(64)], axis=1)
    found = entropies(sample.astype(np.uint8))
    assert found.tolist() == pytest.approx([0, 1 / 8, 2 / 8, 0.8112781244591328 / 8, 6 / 8])


# --- index -------------------------------------------------------------------------------------


def bits(place: np.ndarray[Any, Any]) -> int:
    return int(place.max()).bit_length()


@pytest.mark.parametrize("count", [1, 2, 100, 5000, 100_000])
@pytest.mark.parametrize("kind", ["random", "few", "low", "high", "equal"])
def test_an_index_page_finds_all_of_its_entries(count: int, kind: str) -> None:
    rng = np.random.default_rng(count)
    prefix = {
        "random": rng.integers(0, 2**32, count),
        "few": rng.integers(0, 5, count) * 10**8,
        "low": np.arange(count),
        "high": 2**32 - 1 - np.arange(count) // 2,
        "equal": np.full(min(count, 5000), 2**32 - 1),
    }[kind].astype(np.uint32)
    place = rng.integers(0, count, len(prefix)).astype(np.uint32)
    entries = sort_entries(prefix, place)
    pages = list(PageWriter(len(place), bits(place)).pages(entries, is_last=True))
    decoded = [decode_page(page) for _, page in pages]
    assert (np.concatenate([p for p, _ in decoded]) == entries[0]).all()
    assert (np.concatenate([s for _, s in decoded]) == entries[1]).all()
    assert [first for first, _ in pages] == [int(p[0]) for p, _ in decoded]
    listed = list(zip(entries[0].tolist(), entries[1].tolist(), strict=True))
    for wanted in rng.choice(entries[0], 20).tolist():
        page = [page for first, page in pages if first <= wanted][-1]
        assert Page(page).find(wanted, wanted) == [each for each in listed if each[0] == wanted]
    first, page = pages[0]
    assert Page(page).find(0, 2**32 - 1) == listed[: len(decoded[0][0])]
    if first > 0:
        assert Page(page).find(0, first - 1) == []


@pytest.mark.parametrize("width", [1, 7, 8, 25, 33, 56, 57, 58, 63, 64])
def test_numbers_of_any_width_are_packed_one_after_another(width: int) -> None:
    values = [random.Random(width).getrandbits(width) for _ in range(101)] + [(1 << width) - 1]
    packed = _pack_bits(np.array(values, np.uint64), width)
    assert packed == sum(each << i * width for i, each in enumerate(values)).to_bytes(
        -(-len(values) * width // 8), "little"
    )
    assert _unpack_bits(packed, len(values), width).tolist() == values


def test_pages_are_the_same_however_entries_come() -> None:
    rng = np.random.default_rng(4)
    entries = sort_entries(
        rng.integers(0, 2**15, 40_000).astype(np.uint32) << 16,
        np.arange(40_000, dtype=np.uint32),
    )
    writer, pages, at = PageWriter(40_000, 16), [], 0
    while at < 40_000:
        end = min(at + int(rng.integers(1, 9000)), 40_000)
        end = int(np.searchsorted(entries[0], entries[0][end - 1], "right"))
        part = entries[0][at:end], entries[1][at:end]
        pages += writer.pages(part, is_last=end == 40_000)
        at = end
    assert pages == list(PageWriter(40_000, 16).pages(entries, is_last=True)) and len(pages) > 5
    assert writer.firsts == [first for first, _ in pages]


def test_runs_of_the_index_are_joined_a_few_entries_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Repository.init(":memory:") as repo:
        expected, arrays = {}, []
        for run, count in (("a", 700), ("b", 3), ("c", 1000)):
            with repo.recorder(run, flush_every=200) as rec:
                for i in range(count):
                    arrays.append(np.full(99, 1000 * len(expected) + i))
                    rec.append(arrays[-1], run)
            expected |= {bytes(repo.resolve(f"{run}@{i}")): (run, i) for i in range(count)}
        with repo.odb.read() as txn:
            lines = {run: repo.odb.locate(txn, repo.resolve(run)).line for run in "abc"}
        monkeypatch.setattr(join, "_TOGETHER", 50)
        repo.gc()
        with repo.odb.read() as txn:
            states = repo.odb.states
            assert sorted(run.kind for run in states.index.runs(txn)) == [STATES, ARRAYS]
            assert txn.count("oids") == 0
            for oid, (run, step) in expected.items():
                assert states.locate(txn, oid) == Location(lines[run], step)
            for array in arrays:
                found = states.array(txn, hash_array(array))
                assert found is not None and (found == array).all()
        assert repo.fsck().is_clean


def test_only_the_run_that_has_a_state_is_looked_into_if_it_is_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Repository.init(":memory:") as repo:
        for run, count in (("small", 70), ("large", 900), ("middle", 300)):
            with repo.recorder(run, flush_every=1000) as rec:
                for i in range(count):
                    rec.append(i, run)
        read: list[bytes] = []
        page = Index._page

        def counted(self: Index, txn: Any, key: bytes) -> Page:
            read.append(key)
            return page(self, txn, key)

        monkeypatch.setattr(Index, "_page", counted)
        for run, pages in (("large", 1), ("middle", 2), ("small", 3)):
            oid = repo.resolve(f"{run}@60")
            with repo.odb.read() as txn:
                read.clear()
                assert repo.odb.states.locate(txn, bytes(oid)) is not None
            assert len(read) == pages, run


def test_a_run_whose_record_counts_more_entries_than_it_has_is_not_joined() -> None:
    with Repository.init(":memory:") as repo:
        with repo.recorder("a", flush_every=100) as rec:
            for i in range(200):
                rec.append(i, "a")
        with repo.odb.write() as txn:
            first, second = repo.odb.states.index.runs(txn)
            entries = read_entries(txn, first)
            delete_run(txn, first.id)
            write_run(txn, STATES, 0, (entries[0][:99], entries[1][:99]), first.places)
            key = b"\0" + (first.id + 1).to_bytes(8, "big")
            body = bytearray(txn.get("index", key) or b"")[:-8]
            body[2:10] = (100).to_bytes(8, "little")
            txn.put("index", key, bytes(body) + checksum(bytes(body)))
        assert second.entries == 100
        repo.odb.states.index.forget()
        with pytest.raises(IntegrityError, match="entries are missing"):
            repo.gc()
        assert not repo.fsck().is_clean


def test_states_are_found_by_prefix_whichever_way_they_are_indexed() -> None:
    with Repository.init(":memory:") as repo:
        for run, count in (("a", 3), ("b", 100), ("c", 5000)):
            with repo.recorder(run, flush_every=1000) as rec:
                for i in range(count):
                    rec.append(i, run)
        rng = random.Random(1)
        for run, count in (("a", 3), ("b", 100), ("c", 5000)):
            for step in [0, count - 1, *(rng.randrange(count) for _ in range(10))]:
                oid = repo.resolve(f"{run}@{step}")
                assert repo.resolve(oid.hex()[:12]) == oid
                assert repo.resolve(oid.hex()[:9].upper()) == oid
                assert repo.find_object(oid.hex()) == ("state", oid)


# --- groups of arrays --------------------------------------------------------------------------

KINDS = [
    "?",
    "i1",
    "u1",
    "<i2",
    "<u4",
    "<i8",
    "<f2",
    "<f4",
    "<f8",
    "<c8",
    "<c16",
    "<M8[ns]",
    "S3",
    "<U5",
]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(
    "shape", [(), (0,), (5,), (2, 3), (4, 5, 6), (3, 0, 2), (20, 8, 3), (1, 1, 1)]
)
def test_a_group_is_decoded_as_it_was(dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    for count, contiguous in ((1, True), (2, False), (7, True)):
        arrays = [
            np.frombuffer(rng.integers(0, 2, size).astype("u1").tobytes(), dtype).reshape(shape)
            for _ in range(count)
        ]
        steps = list(range(5, 5 + count)) if contiguous else [5 + 3 * i for i in range(count)]
        data = encode_group(arrays, steps)
        assert (group_header(data).steps + 5).tolist() == steps
        found = decode_group(data)
        assert (found.dtype, found.shape) == (np.dtype(dtype), (count, *shape))
        assert [each.tobytes() for each in unstack(found)] == [each.tobytes() for each in arrays]


@pytest.mark.parametrize("axis", [0, 2])
def test_a_stack_of_frames_that_moves_is_predicted(axis: int) -> None:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 255, (12, 40, 40), np.uint8)
    stacks = [np.ascontiguousarray(np.moveaxis(frames[i : i + 4], 0, axis)) for i in range(8)]
    data = encode_group(stacks, list(range(8)))
    assert len(data) < 1.3 * (4 + 7) * 1600
    assert [each.tobytes() for each in decode_group(data)] == [s.tobytes() for s in stacks]


@pytest.mark.parametrize(
    "value", [np.array("a\0" + "b" * 99), np.array(b"x", "S300"), np.array(b"", "S999")]
)
def test_a_long_string_of_numpys_own_comes_back(value: np.ndarray) -> None:
    with Repository.init(":memory:") as repo:
        for i in range(3):
            repo.commit(value, i)
        repo.gc()
        found = repo.state().observation
        assert (found.dtype, found.shape, found.tobytes()) == (value.dtype, (), value.tobytes())
        assert repo.trajectory("main").observations.dtype == value.dtype
        assert not repo.fsck().problems


def test_arrays_that_come_again_are_stored_once() -> None:
    with Repository.init(":memory:") as repo:
        with repo.recorder(flush_every=10) as rec:
            for i in range(300):
                rec.append(
                    np.full((20, 20), i % 3, np.float32),
                    {"x": np.full((20, 20), i % 5, np.float32)},
                )
        for i in range(0, 300, 7):
            state = repo.state(f"main@{i}")
            assert (state.observation == i % 3).all()
            assert (state.action["x"] == i % 5).all()
        with repo.odb.read() as txn:
            before = txn.count("groups")
        repo.gc()
        for i in range(0, 300, 7):
            assert (repo.state(f"main@{i}").action["x"] == i % 5).all()
        assert not repo.fsck().problems
    assert before < 12


# --- lines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        Line(0, 0, 0, 2**64 - 1, 0, 2**64 - 1, 0, 0, False, (), bytes(32)),
        Line(7, 5, 9, 3, 4, 1, 2, 7, True, (b"\1" * 32, b"\2" * 32), b""),
    ],
)
def test_a_line_is_decoded_as_it_was(line: Line) -> None:
    data = encode_line(line)
    assert decode_line(line.id, data) == line
    for i in range(0, len(data), 3):
        with pytest.raises(IntegrityError):
            decode_line(line.id, data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        with pytest.raises(IntegrityError):
            decode_line(line.id, data[:i])


@pytest.mark.parametrize("seed", range(20))
def test_forks_are_found_as_by_walking(seed: int) -> None:
    rng = random.Random(seed)
    with MemoryStorage().write() as txn:
        lines = [new_line(txn, (), (), bytes(32))]
        for _ in range(60):
            above = rng.choice(lines[-rng.choice([1, 3, 60]) :])
            place = Location(above.id, above.step + rng.randrange(10))
            lines.append(new_line(txn, (bytes(32),), (place,), b""))
        for _ in range(100):
            a, b = (
                Location(line.id, line.step + rng.randrange(10)) for line in rng.choices(lines, k=2)
            )
            assert fork_point(txn, a, b) == _walk(lines, a, b)


def _walk(lines: list[Line], a: Location, b: Location) -> Location | None:
    reached: dict[int, int] = {}
    line, step = lines[a.line], a.step
    while True:
        reached[line.id] = step
        if line.is_root:
            break
        line, step = lines[line.parent_line], line.parent_step
    line, step = lines[b.line], b.step
    while line.id not in reached:
        if line.is_root:
            return None
        line, step = lines[line.parent_line], line.parent_step
    return Location(line.id, min(step, reached[line.id]))
