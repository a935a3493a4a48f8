"""What a bundle makes of its bytes is bounded, and honest bundles keep to it."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgpack
import numpy as np
import pytest
from blake3 import blake3

from simgit import IntegrityError, InvalidInput, Repository
from simgit.objects import canonical, row_encoder, rows
from simgit.objects.canonical import MAX_PARTS, check_parts
from simgit.objects.codec import encode_value
from simgit.objects.compression import compress
from simgit.objects.kinds import KIND_CODES, Blob
from simgit.objects.oid import hash_object, object_header
from simgit.objects.schema import Schema
from simgit.odb.loose import HEAD, Encoding, encode_loose
from simgit.remotes.bundle import limits, records, verify
from simgit.remotes.bundle.records import RecordReader, RecordWriter
from simgit.remotes.bundle.states_head import decode_head
from tests.support.cost import at_most

EMPTY = {"prerequisites": [], "runs": {}, "tags": {}, "attachments": None}


def bundle(*found: tuple[int, bytes], manifest: bytes | None = None) -> bytes:
    out = io.BytesIO()
    writer = RecordWriter(out.write)
    writer.put(records.MANIFEST, encode_value(EMPTY) if manifest is None else manifest)
    for kind, body in found:
        writer.put(kind, body)
    writer.finish()
    return out.getvalue()


def maps(count: int) -> bytes:
    """Return the encoding of a list of so many empty maps."""
    return b"\xdd" + struct.pack(">I", count) + b"\x80" * count


def loose(kind: str, payload: bytes) -> tuple[int, bytes]:
    return records.OBJECT, hash_object(kind, payload) + encode_loose(kind, payload)


@contextmanager
def within(megabytes: int, calls: int) -> Iterator[None]:
    """Fail if the block takes more memory at once, or calls more functions."""
    tracemalloc.start()
    try:
        with at_most(calls):
            yield
        assert tracemalloc.get_traced_memory()[1] < megabytes << 20
    finally:
        tracemalloc.stop()


def refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"too many|more than \d+ parts|larger"):
        verify(io.BytesIO(data).read)
    repo = Repository.init(":memory:")
    with pytest.raises(IntegrityError, match=r"too many|more than \d+ parts|larger"):
        repo.import_bundle(io.BytesIO(data))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow fewer parts: where memory is traced, each takes some microseconds."""
    monkeypatch.setattr(limits, "MAX_PARTS", 1 << 16)


@pytest.mark.parametrize("kind", ["spec", "run"])
@pytest.mark.parametrize("count", [60_000_000, 8_000_000])
def test_an_object_of_empty_maps_is_refused_before_it_is_made(
    kind: str, count: int, few: None
) -> None:
    data = bundle(loose(kind, maps(count)))
    assert len(data) < 8000
    with within(40, 5_000):
        refused(data)


def test_a_manifest_of_empty_maps_is_refused_before_it_is_made(few: None) -> None:
    whole = encode_value(EMPTY | {"attachments": []})
    at = whole.index(b"attachments") + len(b"attachments")
    data = bundle(manifest=whole[:at] + maps(3_000_000) + whole[at + 1 :])
    with within(24, 5_000):
        refused(data)


@pytest.fixture(scope="module")
def frames() -> tuple[Repository, bytes]:
    repo = Repository.init(":memory:")
    generator = np.random.default_rng(1)
    with repo.recorder("main") as recorder:
        for i in range(400):
            frame = generator.integers(0, 255, (100, 100), dtype=np.uint8)
            recorder.append(frame, reward=0.0, info={"text": "x" * (i % 3), "list": [1] * i})
    out = io.BytesIO()
    repo.create_bundle(out, ["main"])
    return repo, out.getvalue()


@pytest.mark.slow
def test_the_limit_of_objects_is_that_of_one_array(frames: tuple[Repository, bytes]) -> None:
    source, data = frames
    for limit in (10_100, 200_000):
        repo = Repository.init(":memory:")
        assert repo.import_bundle(io.BytesIO(data), max_object=limit).states == 400
        assert repo.resolve("main") == source.resolve("main")
    with pytest.raises(IntegrityError, match="larger"):
        Repository.init(":memory:").import_bundle(io.BytesIO(data), max_object=9_999)


@pytest.mark.slow
def test_records_of_states_are_split(
    frames: tuple[Repository, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, whole = frames
    monkeypatch.setattr(limits, "SPLIT", 100_000)
    out = io.BytesIO()
    source.create_bundle(out, ["main"])
    reader = RecordReader(io.BytesIO(out.getvalue()).read)
    counts = [decode_head(body).rows for kind, body in reader if kind == records.STATES]
    assert sum(counts) == 400 and set(counts[:-1]) <= {8, 9}
    repo = Repository.init(":memory:")
    repo.import_bundle(io.BytesIO(out.getvalue()))
    assert repo.resolve("main") == source.resolve("main")
    assert repo.import_bundle(io.BytesIO(whole)).states == 0
    assert repo.fsck().is_clean


@pytest.mark.slow
def test_states_of_many_parts_are_refused(monkeypatch: pytest.MonkeyPatch, few: None) -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        for _ in range(3):
            recorder.append(1.0, info={"list": [0] * (1 << 17)})
    with pytest.raises(InvalidInput, match="too complex for a bundle"):
        repo.create_bundle(io.BytesIO(), ["main"])
    out = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MAX_PARTS", 1 << 30)
        repo.create_bundle(out, ["main"])
    with within(16, 5_000):
        refused(out.getvalue())
    monkeypatch.setattr(limits, "MAX_PARTS", 1 << 30)
    monkeypatch.setattr(limits, "MAX_VARIABLE", 1 << 18)
    refused(out.getvalue())


def test_what_no_reader_takes_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    repo = Repository.init(":memory:")
    with repo.recorder("main", spec={"data": b"x" * 1000}) as recorder:
        recorder.append(1.0)
    monkeypatch.setattr(limits, "MAX_STRUCTURED", 999)
    with pytest.raises(InvalidInput, match="too large for a bundle"):
        repo.create_bundle(io.BytesIO(), ["main"])


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (None, 1), ("x" * 70_000, 1), (2**80, 1), (1j, 1), (np.zeros(3), 1),
        ([1, 2, [3]], 5), ({"a": 1, "b": [None]}, 6), ((1, (2, 3)), 7), ([{}] * 70_000, 70_001),
        ({str(i): i for i in range(70_000)}, 140_001),
    ],
)  # fmt: skip
def test_parts_are_counted(value: object, parts: int) -> None:
    encoded = encode_value(value)
    assert check_parts(encoded, parts) == parts
    if parts > 1:
        with pytest.raises(IntegrityError, match=f"more than {parts - 1} parts"):
            check_parts(encoded, parts - 1)


@pytest.mark.parametrize(
    "data", [b"\xc1", b"\xd9\xff", b"\xc7\x05\x02ab", b"\xdb\xff\xff\xff\xffx"]
)
def test_what_is_no_encoding_is_not_counted(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        check_parts(data, 10)


def forged(monkeypatch: pytest.MonkeyPatch, encoded: Callable[[int], bytes], count: int) -> bytes:
    """Return a bundle of states whose infos have what is encoded as a value each."""
    repo = Repository.init(":memory:")
    with monkeypatch.context() as patch, repo.recorder("main") as recorder:
        patch.setattr(row_encoder, "encode_value", lambda value: encoded(value[0]))
        for row in range(count):
            recorder.append(1.0, info={"value": [row]})
        recorder.flush()
    out = io.BytesIO()
    repo.create_bundle(out, ["main"])
    return out.getvalue()


@pytest.mark.slow
def test_what_a_thousand_states_have_alike_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = msgpack.packb([{}] * 8000)
    looked: list[bytes] = []
    real = rows.check_value
    monkeypatch.setattr(rows, "check_value", lambda data: (looked.append(data), real(data)))
    data = forged(monkeypatch, lambda row: value, 2048)
    assert len(data) < 6000
    verify(io.BytesIO(data).read)
    assert looked == [value]
    repo = Repository.init(":memory:")
    repo.import_bundle(io.BytesIO(data))
    assert looked == [value] * 2
    assert repo.state("main@2047").info == {"value": [{}] * 8000} and repo.fsck().is_clean


def test_a_bundle_of_values_that_are_not_canonical_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {700: b"\x82\x01\xc0\x00\xc0"}
    data = forged(monkeypatch, lambda row: values.get(row, b"\x80"), 1000)
    with pytest.raises(IntegrityError, match="canonical"):
        verify(io.BytesIO(data).read)
    with pytest.raises(IntegrityError, match="canonical"):
        Repository.init(":memory:").import_bundle(io.BytesIO(data))


LARGEST = MAX_PARTS - 3
"""Items of the longest list that a spec of one field can have."""


@pytest.mark.slow
def test_the_largest_spec_and_configuration_come_through_a_bundle() -> None:
    repo = Repository.init(":memory:")
    config = {"list": [0] * (LARGEST - 10)}  # the record has five fields around it
    with repo.recorder("main", spec={"list": [0] * LARGEST}, config=config) as recorder:
        recorder.append(1.0)
    out = io.BytesIO()
    repo.create_bundle(out, ["main"])
    other = Repository.init(":memory:")
    other.import_bundle(io.BytesIO(out.getvalue()))
    assert other.config("main") == config
    assert other.resolve("main") == repo.resolve("main")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["spec", "config"])
def test_what_no_bundle_could_carry_is_not_recorded(what: str) -> None:
    repo = Repository.init(":memory:")
    name = {"spec": "the spec of a state", "config": "the record of a run"}[what]
    with (
        pytest.raises(InvalidInput, match=f"^{name} must have at most {MAX_PARTS} parts"),
        repo.recorder("main", **{what: {"list": [0] * (LARGEST + 1)}}) as recorder,
    ):
        recorder.append(1.0)
    assert repo.fsck().is_clean
    repo.commit(1.0, run="next")


@pytest.mark.slow
def test_a_spec_that_was_written_before_it_was_limited_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repo = Repository.init(":memory:")
    with monkeypatch.context() as patch:
        patch.setattr(canonical, "MAX_PARTS", 1 << 30)
        with repo.recorder("main", spec={"list": [0] * (LARGEST + 1)}) as recorder:
            recorder.append(1.0)
    with pytest.raises(InvalidInput, match=r"^the spec of a state must have at most"):
        repo.create_bundle(io.BytesIO(), ["main"])


def test_more_refs_than_a_reader_takes_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    repo = Repository.init(":memory:")
    oid = repo.commit(1.0, run="main")
    for number in range(20):
        repo.tag(f"tag-{number}", oid)
    monkeypatch.setattr(canonical, "MAX_PARTS", 100)
    with pytest.raises(InvalidInput, match=r"^the manifest of the bundle must have at most 100"):
        repo.create_bundle(io.BytesIO(), [f"tags/tag-{number}" for number in range(20)])


# --- what inflates --------------------------------------------------------------------------------


def zeros(kind: str, header: bytes, encoding: int, size: int, body: bytes) -> tuple[int, bytes]:
    """Return an object of zeros in a stored form of our choice."""
    hasher = blake3(object_header(kind, len(header) + size) + header)
    for _ in range(size >> 20):
        hasher.update(bytes(1 << 20))
    head = HEAD.pack(KIND_CODES[kind], encoding, len(header) + size)
    return records.OBJECT, hasher.digest() + head + body


def a_blob() -> tuple[int, bytes]:
    return zeros("blob", b"", Encoding.ZSTD, 512 << 20, compress(bytes(512 << 20)))


def an_array() -> tuple[int, bytes]:
    """An array of zeros: its planes take no bytes at all."""
    size = 1 << 30
    header = b"\3|u1\1" + struct.pack("<Q", size)
    return zeros("array", header, Encoding.FULL, size, struct.pack("<H", 13) + header + b"\0\2")


@pytest.mark.slow
@pytest.mark.parametrize("make", [a_blob, an_array])
def test_a_small_bundle_is_refused_before_it_inflates(
    make: Callable[[], tuple[int, bytes]],
) -> None:
    data = bundle(make())
    assert len(data) < 66_000
    tracemalloc.start()
    try:
        refused(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_states_of_one_row_are_bounded_too() -> None:
    for stored, size, count in ((66_000, 2 << 30, 1), (100, 257 << 20, 1), (66_000, 200 << 20, 2)):
        with pytest.raises(IntegrityError, match="larger"):
            limits.check_group(stored, size, count, records.MAX_OBJECT)
    limits.check_group(100, 256 << 20, 1, records.MAX_OBJECT)
    limits.check_group(100, 2 << 30, 1, 3 << 30)  # who names a limit gets it
    claimed = (300 << 20).to_bytes(8, "little")
    with pytest.raises(IntegrityError, match="larger"):
        limits.check_block(Schema(), 1, claimed + bytes(1000))


@pytest.mark.slow
def test_honest_objects_of_zeros_pass_whatever_their_size() -> None:
    source = Repository.init(":memory:")
    source.commit(0)
    source.attach("main", "weights", {"zeros": np.zeros(9 << 20)})  # 72 MiB
    source.attach("main", "text", b"0" * (20 << 20))
    out = io.BytesIO()
    source.create_bundle(out, ["main"])
    repo = Repository.init(":memory:")
    repo.import_bundle(io.BytesIO(out.getvalue()))
    assert repo.attachments("main") == source.attachments("main")
    kinds = [kind for kind, _ in RecordReader(io.BytesIO(out.getvalue()).read)]
    assert kinds.count(records.BLOB) == 1 and kinds.count(records.PIECE) == 320


def test_a_bundle_of_an_older_writer_may_have_a_blob_in_one_piece() -> None:
    content = bytes(range(251)) * 1000
    body = HEAD.pack(KIND_CODES["blob"], Encoding.ZSTD, len(content)) + compress(content)
    data = bundle((records.OBJECT, Blob(content).oid + body))
    assert Repository.init(":memory:").import_bundle(io.BytesIO(data)).objects == 1
