"""Decoders given random and damaged bytes raise IntegrityError, soon and without taking much memory."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from simgit import IntegrityError, Oid, Repository
from simgit.objects.arrays import decode_array, encode_array
from simgit.objects.codec import decode_value, encode_value
from simgit.objects.compression import checksum, compress
from simgit.objects.kinds import (
    KIND_CODES,
    Array,
    Binding,
    Blob,
    Entry,
    Run,
    Spec,
    StateObject,
    Tag,
    Tree,
    ValueObject,
    decode_object,
)
from simgit.objects.rows import split_row, unpack_row
from simgit.odb import unreachable
from simgit.odb.array_delta import decode_elements, encode_elements
from simgit.odb.segments.array_codec import decode_group, encode_group
from simgit.odb.segments.block import (
    choose_layout,
    decode_block,
    decode_layout,
    encode_block,
    encode_layout,
)
from simgit.odb.segments.elias_fano import Page, PageWriter, decode_page, sort_entries
from simgit.odb.segments.header import decode_header
from simgit.odb.segments.index_runs import decode_record
from simgit.odb.segments.lines import Line, decode_line, encode_line
from simgit.recording.states import prepare
from simgit.refs.oplog.log import KeyChange, Operation, parse
from simgit.refs.records import (
    LogEntry,
    RunRef,
    TagRef,
    decode_entry,
    decode_ref,
    decode_run,
    pack_ref,
)
from tests.support.cost import at_most
from tests.support.examples import share

SETTINGS = settings(suppress_health_check=list(HealthCheck))
OID = Oid(bytes(range(32)))
ROWS = prepare(
    {
        "observation": [np.arange(4, dtype=np.float32) + i for i in range(70)],
        "action": list(range(70)),
        "reward": [i / 2 for i in range(70)],
        "info": [{"text": str(i), "pair": (i, [i]), "big": np.zeros(300)} for i in range(70)],
    },
    (),
)[0].rows
SCHEMA = ROWS.schema
LAYOUT = choose_layout(ROWS)
BLOCK = encode_block(ROWS, [bytes(OID)] * ROWS.count, LAYOUT, 3)
PAGE = next(
    PageWriter(500, 9).pages(
        sort_entries(np.arange(500, dtype=np.uint32) * 7919, np.arange(500, dtype=np.uint32)),
        is_last=True,
    )
)[1]
FRAMES = [np.arange(600, dtype=np.uint8).reshape(2, 20, 15) + i for i in range(4)]
GROUPS = [
    encode_group(FRAMES, [0, 1, 2, 3]),
    encode_group([f.astype("<f4") for f in FRAMES], [0, 2, 5, 9]),
    encode_group([np.roll(FRAMES[0], i, 0) for i in range(4)], [0, 1, 2, 3]),
]
WORDS = np.arange(100, dtype="<f4")


def from_store(table: str) -> tuple[bytes, bytes]:
    with Repository.init(":memory:") as repo:
        with repo.recorder() as rec:
            for i in range(200):
                rec.append(np.float32([i]), i)
        with repo.odb.read() as txn:
            return next(iter(txn.scan(table)))


HEADER_KEY, HEADER = from_store("segments")
META = from_store("index")[1]
LINE = encode_line(Line(1, 5, 5, 0, 4, 0, 1, 1, False, (bytes(OID),), b""))


def checked(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Give the bytes a right checksum, so that what comes after is reached."""
    return lambda data: decode(data + checksum(data))


def rows_of(data: bytes) -> Any:
    return [unpack_row(split_row(SCHEMA, data), 0)]


def block_of(data: bytes) -> Any:
    block = decode_block(SCHEMA, LAYOUT, ROWS.count, data, BLOCK[1])
    return [unpack_row(block.rows, i) for i in range(0, ROWS.count, 7)]


def variable_of(data: bytes) -> Any:
    block = decode_block(SCHEMA, LAYOUT, ROWS.count, BLOCK[0], data)
    return [unpack_row(block.rows, i) for i in range(0, ROWS.count, 7)]


TREE = Tree((Entry("a", "blob", OID), Entry("b", "tree", OID), Entry("é", "array", OID)))
PAYLOADS = {
    "blob": Blob(b"abc").payload,
    "array": Array(np.arange(6, dtype="<f4").reshape(2, 3)).payload,
    "tree": TREE.payload,
    "schema": SCHEMA.payload,
    "spec": Spec({"env": "CartPole", "arguments": {"n": 1}}).payload,
    "state": StateObject(SCHEMA.oid, (OID,), None, ROWS.row_bytes()[0]).payload,
    "run": Run({"a": {"b": 1}}, OID, OID, 2**70, {"x": [1, (2,)]}).payload,
    "binding": Binding(OID, "blob", OID, "name").payload,
    "tag": Tag(OID, "v1", "message", "me", 123).payload,
    "value": ValueObject(
        [1, (2, 3.5, None), {"a": np.ones(3), "b": 10**30, "c": 1j}, b"x", "é"]
    ).payload,
}
RUN_REF = RunRef(OID, 1, 2, OID, writer={"machine": "m", "pid": 3, "start": "4"})._asdict()
RUN_KEY = ("refs", b"runs/main")
CHANGES = [
    KeyChange(RUN_KEY, None, {k: v for k, v in RUN_REF.items() if k != "writer"}),
    KeyChange(RUN_KEY, {"step": 1, "returned": 0.5}, {"step": 2, "returned": 1.5}),
    KeyChange(("refs", b"HEAD"), {"run": "main"}, {"oid": bytes(OID)}),
    KeyChange(("refs", b"tags/v1"), {"oid": bytes(OID), "tag": None}, None),
    KeyChange(("attachments", bytes(OID) + b"agent"), None, {"binding": bytes(OID)}),
]
OPERATION = Operation(
    7, "rename", ("a", "b"), 5, 6, {"machine": "m", "pid": 3, "start": "4"},
    moves=(("runs/a", 0, "runs/b", 2),), changes=2,
)  # fmt: skip
RECORDS: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "run ref": (pack_ref(RUN_REF), decode_run),
    "tag ref": (pack_ref({"oid": OID, "tag": None}), lambda data: decode_ref(data, TagRef)),
    "log entry": (pack_ref(LogEntry(None, OID, 1, "m", 2)._asdict()), decode_entry),
    "parsed ref": (pack_ref(RUN_REF), lambda data: parse(RUN_KEY, data)),
    "operation": (OPERATION.encode(), lambda data: Operation.decode(7, data)),
    **{f"change {i}": (change.encode(), KeyChange.decode) for i, change in enumerate(CHANGES)},
}
PENDING = unreachable.OBJECT + OID
"""What is stored in tables, each with its checksum."""

DECODERS: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    **{
        kind: (payload, lambda data, kind=kind: decode_object(kind, data))
        for kind, payload in PAYLOADS.items()
    },
    "canonical": (PAYLOADS["value"], decode_value),
    "elements": (PAYLOADS["array"], decode_array),
    "row": (ROWS.row_bytes()[0], rows_of),
    "header": (HEADER[:-8], checked(lambda data: decode_header(HEADER_KEY, data))),
    "raw header": (HEADER, lambda data: decode_header(HEADER_KEY, data)),
    "line": (LINE[:-8], checked(lambda data: decode_line(1, data))),
    "raw line": (LINE, lambda data: decode_line(1, data)),
    "meta": (META[:-8], checked(lambda data: decode_record(1, data))),
    **{name: (value[:-8], checked(read)) for name, (value, read) in RECORDS.items()},
    **{f"raw {name}": each for name, each in RECORDS.items() if "change" not in name},
    "pending": (bytes(9), checked(lambda data: unreachable.decode(PENDING, data))),
    "page": (PAGE, decode_page),
    "found": (PAGE, lambda data: Page(data).find(0, 2**32 - 1)),
    "layout": (encode_layout(LAYOUT), lambda data: decode_layout(data, SCHEMA)),
    "block": (BLOCK[0], block_of),
    "variable": (BLOCK[1], variable_of),
    **{f"group {i}": (group, decode_group) for i, group in enumerate(GROUPS)},
    "residual": (
        encode_elements(memoryview(WORDS.tobytes()), 4),
        lambda data: decode_elements(memoryview(data), 400, 4),
    ),
}


def decode(name: str, data: bytes) -> None:
    tracemalloc.start()
    try:
        with at_most(10_000), suppress(IntegrityError):
            DECODERS[name][1](data)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < (8 << 20) + 1000 * len(data)


@st.composite
def damaged(draw: Any, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(out)))
        kind = draw(st.sampled_from(["set", "insert", "cut", "extreme", "drop"]))
        if kind == "set" and at < len(out):
            out[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            out[at:at] = draw(st.binary(max_size=4))
        elif kind == "cut":
            del out[at:]
        elif kind == "drop":
            del out[at : at + draw(st.integers(1, 8))]
        else:
            many = draw(st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff"]))
            out[at : at + len(many)] = many
    return bytes(out)


@pytest.mark.parametrize("name", DECODERS)
@SETTINGS
@given(data=st.data())
def test_damaged_bytes_raise_integrity_only(name: str, data: st.DataObject) -> None:
    decode(name, data.draw(damaged(DECODERS[name][0])))


@pytest.mark.parametrize("name", DECODERS)
@settings(SETTINGS, max_examples=share(80))
@given(data=st.binary(max_size=200))
@example(b"")
@example(b"\xff" * 100)
@example(b"\0" * 100)
def test_random_bytes_raise_integrity_only(name: str, data: bytes) -> None:
    decode(name, data)


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_not_damaged_is_decoded(name: str) -> None:
    payload, decoder = DECODERS[name]
    decoder(payload)
    if name in KIND_CODES:
        assert decode_object(name, payload).payload == payload


@SETTINGS
@given(st.data())
def test_a_payload_that_is_decoded_is_the_canonical_one(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(PAYLOADS)))
    payload = data.draw(damaged(PAYLOADS[name]))
    try:
        found = decode_object(name, payload)
    except IntegrityError:
        return
    assert found.payload == payload


def fixed_field(dtype: str, shape: tuple[int, ...]) -> bytes:
    head = struct.pack("<HBH1sBB", 1, 1, 1, b"a", 5, len(dtype)) + dtype.encode()
    return head + struct.pack(f"<B{len(shape)}I", len(shape), *shape)


BIG = 2**32 - 1
CRAFTED = [
    ("tree", b"\1" + struct.pack("<I", 1) + struct.pack("<BH", 1, 5000) + b"9" * 5000 + OID),
    ("tree", b"\1" + struct.pack("<I", 1) + struct.pack("<BH", 1, 3) + b"--5" + OID),
    ("tree", b"\1" + struct.pack("<I", 1) + struct.pack("<BH", 1, 2) + "²".encode() + OID),
    ("tree", b"\0" + struct.pack("<I", BIG)),
    ("schema", fixed_field("<i8", (2**31, 2**31))),
    ("schema", fixed_field("<i8", (0, BIG, BIG, BIG))),
    ("schema", fixed_field("|u1", (1,) * 33)),
    ("schema", fixed_field("|u1", (1,) * 200)),
    ("schema", struct.pack("<H", 65535)),
    ("array", b"\3<i8\2" + struct.pack("<QQ", 2**32, 2**32)),
    ("array", b"\3<i8\2" + struct.pack("<QQ", 2**63, 0)),
    ("array", b"\3<i8\3" + struct.pack("<QQQ", 0, 2**61, 2**61)),
    ("array", b"\3<i8\x21" + struct.pack("<33Q", *[1] * 33) + bytes(8)),
    ("array", b"\3|O8\0" + bytes(8)),
    ("array", b"\3>i8\0" + bytes(8)),
    ("value", b"\xdd\xff\xff\xff\xff" * 100),
    ("value", b"\xdd\x00\x01\x00\x00" * 20_000),
    ("value", b"\x91" * 5000 + b"\xc0"),
    ("value", b"\xd6\xff\x00\x00\x00\x00"),
    ("value", b"\x81\x91\x01\x01"),
    ("value", b"\x82\xa1a\x01\xa1a\x01"),
    ("value", b"\x81\xc3\x01"),
    ("value", b"\xca" + struct.pack(">f", 1.5)),
    ("value", b"\xd9\x01a"),
    ("value", b"\xcc\x01"),
    ("value", b"\xa1\xff"),
    ("value", msgpack.packb(msgpack.ExtType(1, b"\0" + b"\x01"))),
    ("value", msgpack.packb(msgpack.ExtType(1, b"\2" + b"\x01" * 9))),
    ("value", msgpack.packb(msgpack.ExtType(1, b"\0\0" + b"\x01" * 9))),
    ("value", msgpack.packb(msgpack.ExtType(2, b"\x81\x01\x02"))),
    ("value", msgpack.packb(msgpack.ExtType(5, b"1"))),
    ("value", msgpack.packb(msgpack.ExtType(9, b"1"))),
    ("state", bytes(32) + b"\2" + bytes(64)),
    ("spec", b"\x90"),
    ("spec", b"\x81\x01\x01"),
    ("binding", OID + b"\6" + OID + b"x"),
    ("binding", OID + b"\1" + OID),
    (
        "group 0",
        struct.pack("<HBBQ", 4, 2, 1, 0)
        + b"\3|u1\3"
        + struct.pack("<QQQ", 0, 3, 3)
        + compress(b""),
    ),
    ("group 0", struct.pack("<HBBQ", 4, 0, 1, 2**62) + b"\3|u1\1" + struct.pack("<Q", 2**62)),
    ("variable", struct.pack("<Q", 1 << 30) + b"\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x40" + bytes(9)),
]


@pytest.mark.parametrize(("name", "data"), CRAFTED)
def test_crafted_bytes_are_refused(name: str, data: bytes) -> None:
    decode(name, data)
    with pytest.raises(IntegrityError):
        DECODERS[name][1](data)


def test_a_line_with_a_short_oid_is_refused() -> None:
    body = LINE[:-9]
    with pytest.raises(IntegrityError):
        decode_line(1, body + checksum(body))


def test_a_value_of_sixty_four_levels_is_decoded_and_one_of_sixty_five_is_not() -> None:
    value: Any = 1
    for i in range(64):
        value = ([value], (value,), {"a": value})[i % 3]
    assert decode_value(encode_value(value)) == value
    with pytest.raises(IntegrityError):
        decode_value(b"\x91" + encode_value(value))


def test_an_array_payload_claims_no_more_than_it_has() -> None:
    payload = encode_array(np.zeros((3, 4)))
    for i in range(5, 21):
        with pytest.raises(IntegrityError):
            decode_array(payload[:i] + b"\x7f" + payload[i + 1 :])
