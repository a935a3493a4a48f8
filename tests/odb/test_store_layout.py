"""docs/store-layout.md is enough to read a repository: here is a reader made from it alone."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import lmdb
import msgpack
import numpy as np
import zstandard
from blake3 import blake3

import simgit
from simgit.refs.simulations import SimulationRecord, note_event, put_simulation


class Reader:
    """Reads the rows of a line; every number in it stands on the page."""

    def __init__(self, directory: Path) -> None:
        assert (directory / "format").read_text() == "1\n"
        self.env = lmdb.open(str(directory), readonly=True, max_dbs=16, lib_version=0)

    def table(self, name: str) -> dict[bytes, bytes]:
        handle = self.env.open_db(name.encode(), create=False)
        with self.env.begin(db=handle) as txn:
            return dict(txn.cursor())

    def line(self, number: int) -> tuple[Any, ...]:
        value = checked(self.table("lines")[number.to_bytes(8, "big")])
        return (*struct.unpack_from("<QQQQQIQBB", value), value[54:])

    def segments(self, line: int) -> list[tuple[int, np.ndarray[Any, Any], bytes, bytes]]:
        """Return (step, rows, schema, last) of each segment."""
        found = []
        for key, value in sorted(self.table("segments").items()):
            number, step = struct.unpack(">QQ", key)
            if number == line:
                found.append((step, *self.segment(key, checked(value))))
        return found

    def segment(self, key: bytes, body: bytes) -> tuple[np.ndarray[Any, Any], bytes, bytes]:
        version, rows, schema, _, last, _, _, _, layout_size, inline_size = struct.unpack_from(
            "<BI32s32s32sQQdHH", body
        )
        assert version == 1
        layout, at = body[129 : 129 + layout_size], 129 + layout_size
        blocks = [
            struct.unpack_from("<IIIId8s8s", body, at + 40 * i) for i in range(-(-rows // 2048))
        ]
        data = body[at + 40 * len(blocks) :]
        assert len(data) == inline_size
        pieces = sorted((k, v) for k, v in self.table("blocks").items() if k[:16] == key)
        data = data or b"".join(value for _, value in pieces)
        parts = []
        for number, (offset, size, _, _, _, check, _) in enumerate(blocks):
            fixed = data[offset : offset + size]
            assert blake3(fixed).digest(8) == check
            parts.append(decode_fixed(fixed, min(2048, rows - 2048 * number), layout))
        return np.concatenate(parts), schema, last


def checked(value: bytes) -> bytes:
    assert blake3(value[:-8]).digest(8) == value[-8:]
    return value[:-8]


def bits(data: bytes, count: int) -> np.ndarray[Any, Any]:
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:count].astype(bool)


def decode_fixed(fixed: bytes, rows: int, layout: bytes) -> np.ndarray[Any, Any]:
    """Return the fixed parts of rows, (rows, width)."""
    (count,) = struct.unpack_from("<H", layout)
    filters = [struct.unpack_from("<IBI", layout, 2 + 9 * i) for i in range(count)]
    bit_set = layout[2 + 9 * count :]
    at = 32 * -(-rows // 64)
    constant = bits(fixed[at : at + len(bit_set)], 8 * len(bit_set))
    raw = bits(bit_set, 8 * len(bit_set)) & ~constant
    at += len(bit_set)
    values = fixed[at : at + constant.sum()]
    at += len(values)
    stored = np.frombuffer(fixed, np.uint8, raw.sum() * rows, at).reshape(-1, rows)
    frame = zstandard.ZstdDecompressor().decompress(fixed[at + stored.size :])
    packed = np.frombuffer(frame, np.uint8).reshape(-1, rows)
    width = len(values) + len(stored) + len(packed)
    planes = np.zeros((width, rows), np.uint8)
    planes[constant[:width]] = np.frombuffer(values, np.uint8)[:, None]
    planes[raw[:width]] = stored
    planes[~(constant | raw)[:width]] = packed
    matrix = planes.T.copy()
    for offset, size, words in filters:
        part = matrix[:, offset : offset + size * words].copy().view(f"<u{size}")
        part = (part >> 1) ^ -(part & 1)
        for start in range(0, rows, 64):
            part[start : start + 64] = np.cumsum(part[start : start + 64], axis=0, dtype=part.dtype)
        matrix[:, offset : offset + size * words] = part.view(np.uint8)
    return matrix


def test_names_follow_from_what_the_page_says(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with simgit.Repository.init(tmp_path) as repo:
        with repo.recorder("main") as recorder:
            recorder.append(np.zeros(4, np.float32), reset={"seed": 1})
            for t in range(1, 3000):
                moved = (random.normal(size=4) * [1, 0.01, 0, 1] + [0, t, 5, 0]).astype(np.float32)
                recorder.append(moved, t % 2, 1.0 * t, t % 100 == 0, False)
        repo.commit(np.zeros(4, np.float32), 1, 0.5, False, False)
        wanted = repo["main"].oids
        place = repo.state("main").place
    assert place.line == 0

    reader = Reader(tmp_path / ".simgit")
    step, generation, above, fork, jump, depth, number, merged, parents, rest = reader.line(0)
    none = (1 << 64) - 1
    assert (step, generation, above, fork, jump) == (0, 0, none, 0, none)
    assert (depth, number, merged, parents, len(rest)) == (0, 0, 0, 0, 32)
    oids: list[bytes] = []
    for first, matrix, schema, last in reader.segments(0):
        assert first == len(oids)
        for row in matrix:
            above_it = b"\x01" + oids[-1] if oids else b"\x00" + rest
            payload = schema + above_it + row.tobytes()
            oids.append(blake3(b"state %d\0" % len(payload) + payload).digest())
        assert oids[-1] == last
    assert oids == wanted


def test_the_records_of_simulations_are_what_the_page_says(tmp_path: Path) -> None:
    with simgit.Repository.init(tmp_path) as repo:
        record = SimulationRecord(
            "a.py:f", "ended", "0123456789abcdef", "1:2", number=3, outcome="stopped", created=5
        )
        with repo.odb.write() as txn:
            put_simulation(txn, "p/1", record, None, "1:2")
            assert note_event(txn, "p/1", "ended", {"outcome": "stopped"}) == 1
            assert note_event(txn, "p/1", "queued", {}) == 2
    meta = Reader(tmp_path / ".simgit").table("meta")
    # a map of 17 fields in their order, then the first 8 bytes of BLAKE3
    body = bytes.fromhex(
        "de0011a474797065a6612e70793a66a57068617365a5656e646564a9657865637574696f6eb0303132333435"
    )
    value = checked(meta[b"live\0p/1"])
    assert value.startswith(body)
    assert msgpack.unpackb(value) == {
        "type": "a.py:f", "phase": "ended", "execution": "0123456789abcdef", "home": "1:2",
        "number": 3, "priority": 0, "begin": None, "folder": "", "tracker": None, "process": None,
        "socket": None, "created": 5, "began": None, "ended": None, "outcome": "stopped",
        "reason": None, "is_remote": False,
    }  # fmt: skip
    found = {key: msgpack.unpackb(checked(v)) for key, v in meta.items() if key[:6] == b"event\0"}
    assert [int.from_bytes(key[6:], "big") for key in sorted(found)] == [1, 2]
    first = found[b"event\0\0\0\0\0\0\0\0\1"]
    assert {name: first[name] for name in ("run", "kind", "data")} == {
        "run": "p/1", "kind": "ended", "data": {"outcome": "stopped"},
    }  # fmt: skip
    assert set(first) == {"run", "kind", "data", "time"}
