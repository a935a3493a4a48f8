"""SQLite, plain LMDB and plain compression, given the same states."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import lmdb
import numpy as np
import zstandard
from numpy.typing import NDArray

from .checkpoints import Tensors
from .generate import Row

PACKED = struct.Struct("<4fqd??")
SQLITE_BATCH = 1000
LMDB_BATCH = 8192
GROUP = 64


def as_json(row: Row) -> bytes:
    """Return a state as one JSON document, the way a recorder of JSON lines would."""
    observation, action, reward, terminated, truncated, reset = row
    state = {
        "observation": observation.tolist(),
        "action": int(action),
        "reward": reward,
        "terminated": terminated,
        "truncated": truncated,
        "info": {},
        "reset": reset,
    }
    return json.dumps(state, separators=(",", ":")).encode()


def as_bytes(row: Row) -> bytes:
    """Return a state's fields packed, 34 bytes."""
    return PACKED.pack(*row[0], row[1], row[2], row[3], row[4])


class Sqlite:
    """One row a state, as JSON; write-ahead log, synced at each commit."""

    def __init__(self, path: Path) -> None:
        self.path = path / "states.db"
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE state (step INTEGER PRIMARY KEY, body TEXT NOT NULL)")

    def record(self, rows: Sequence[Row]) -> None:
        """Insert the states, one transaction for every thousand."""
        for start in range(0, len(rows), SQLITE_BATCH):
            self.db.execute("BEGIN")
            for step, row in enumerate(rows[start : start + SQLITE_BATCH], start):
                self.db.execute("INSERT INTO state VALUES (?, ?)", (step, as_json(row)))
            self.db.execute("COMMIT")

    def commit(self, row: Row) -> None:
        """Insert one state durably."""
        self.db.execute("INSERT INTO state (body) VALUES (?)", (as_json(row),))

    def read(self, step: int) -> object:
        """Return one state by its step."""
        query = "SELECT body FROM state WHERE step = ?"
        return json.loads(self.db.execute(query, (step,)).fetchone()[0])

    def columns(self) -> NDArray[np.float32]:
        """Read all states, and keep the observations and rewards as columns."""
        query = self.db.execute("SELECT body FROM state ORDER BY step")
        parsed = [json.loads(body) for (body,) in query]
        np.array([state["reward"] for state in parsed])
        return np.array([state["observation"] for state in parsed], np.float32)

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()


def parting(ours: Path, theirs: Path) -> int:
    """Return the first step at which two databases of ``Sqlite`` differ."""
    db = sqlite3.connect(ours / "states.db")
    db.execute("ATTACH ? AS other", (str(theirs / "states.db"),))
    query = "SELECT step FROM state JOIN other.state AS there USING (step) "
    query += "WHERE state.body <> there.body ORDER BY step LIMIT 1"
    found = int(db.execute(query).fetchone()[0])
    db.close()
    return found


class PlainLmdb:
    """One random 32-byte key a state; the value is the parent's key and the packed fields."""

    def __init__(self, path: Path) -> None:
        self.path = path / "lmdb"
        self.env = lmdb.open(str(self.path), map_size=1 << 34, lib_version=0)
        self.random = np.random.default_rng(0)
        self.keys: list[bytes] = []

    def record(self, rows: Sequence[Row]) -> None:
        """Put the states, one synced transaction for as many as simgit flushes at once."""
        drawn = self.random.bytes(32 * len(rows))
        keys = [drawn[at : at + 32] for at in range(0, len(drawn), 32)]
        parent = self.keys[-1] if self.keys else bytes(32)
        for start in range(0, len(rows), LMDB_BATCH):
            portion = slice(start, start + LMDB_BATCH)
            with self.env.begin(write=True) as txn:
                for key, row in zip(keys[portion], rows[portion], strict=True):
                    txn.put(key, parent + as_bytes(row))
                    parent = key
        self.keys += keys

    def commit(self, row: Row) -> None:
        """Put one state durably."""
        self.record([row])

    def read(self, step: int) -> object:
        """Return one state's fields by its key."""
        with self.env.begin() as txn:
            return PACKED.unpack_from(txn.get(self.keys[step]), 32)

    def columns(self) -> NDArray[np.float32]:
        """Walk the keys in the order of recording, and keep the observations."""
        with self.env.begin() as txn:
            data = b"".join(txn.get(key)[32:] for key in self.keys)
        return np.frombuffer(data, np.uint8).reshape(-1, PACKED.size)[:, :16].copy().view("f4")

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def synced_commits(path: Path, count: int) -> Iterator[float]:
    """Yield the seconds that each of ``count`` bare synced LMDB commits of 200 bytes takes."""
    env = lmdb.open(str(path / "bare"), map_size=1 << 28, lib_version=0)
    for number in range(count):
        start = time.perf_counter()
        with env.begin(write=True) as txn:
            txn.put(number.to_bytes(8, "big"), bytes(200))
        yield time.perf_counter() - start
    env.close()


def each_alone(arrays: Iterable[NDArray[np.generic]]) -> list[bytes]:
    """Compress each array on its own, zstd level 3."""
    compress = zstandard.ZstdCompressor(level=3).compress
    return [compress(array.tobytes()) for array in arrays]


def xor_groups(frames: NDArray[np.uint8]) -> list[bytes]:
    """XOR each frame with the one before it in groups of 64; one zstd frame a group, level 3."""
    compress = zstandard.ZstdCompressor(level=3).compress
    flat = frames.reshape(len(frames), -1)
    packed = []
    for start in range(0, len(flat), GROUP):
        group = flat[start : start + GROUP].copy()
        group[1:] ^= flat[start : start + len(group) - 1]
        packed.append(compress(group))
    return packed


def unxor_groups(packed: Iterable[bytes], frame_size: int) -> int:
    """Undo ``xor_groups`` group by group; return how many frames came out."""
    decompress = zstandard.ZstdDecompressor().decompress
    count = 0
    for data in packed:
        group = np.frombuffer(bytearray(decompress(data)), np.uint8).reshape(-1, frame_size)
        for above, frame in pairwise(group):
            frame ^= above
        count += len(group)
    return count


def xor_tensors(trees: Iterable[dict[str, Tensors]]) -> int:
    """Return the bytes of all tensors, each XORed with the one before it, in planes, zstd 3."""
    compress = zstandard.ZstdCompressor(level=3).compress
    before: dict[tuple[str, str], NDArray[np.uint32]] = {}
    total = 0
    for tree in trees:
        for part, tensors in tree.items():
            for name, array in tensors.items():
                bits = array.view(np.uint32).ravel().copy()
                delta = bits ^ before.get((part, name), np.uint32(0))
                before[part, name] = bits
                total += len(compress(delta.view(np.uint8).reshape(-1, 4).T.tobytes()))
    return total


def sync(path: Path, data: bytes) -> Callable[[], None]:
    """Return a function that writes bytes to a file and waits until they are on disk."""

    def write() -> None:
        with path.open("wb") as file:
            file.write(data)
            os.fsync(file.fileno())

    return write
