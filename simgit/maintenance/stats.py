"""Statistics of a repository's bytes: by kind, run, column and attachment."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from simgit.errors import IntegrityError
from simgit.maintenance.size_log import Size, sizes
from simgit.objects import rows as rowlib
from simgit.objects.codec import decode_name
from simgit.objects.compression import compress
from simgit.objects.kinds import Binding
from simgit.objects.oid import OID_SIZE
from simgit.objects.rows import Rows
from simgit.objects.schema import ARRAY
from simgit.odb import ancestry as history
from simgit.odb import trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.array_codec import group_header
from simgit.odb.segments.array_groups import read_group
from simgit.odb.segments.header import Header
from simgit.odb.segments.join import headers
from simgit.odb.segments.lines import read_line
from simgit.odb.segments.truncate import line_groups
from simgit.refs.refs import Refs
from simgit.storage.base import TABLES, ReadTxn

_SAMPLES: Final = 64
"""Blocks whose columns are compressed one by one, to estimate their shares of a block's bytes."""


@dataclass
class StoredPart:
    """A part of the stored data.

    Attributes:
        count: the number of states, objects, values or attachments.
        logical: the bytes without deduplication and compression.
        raw: the bytes after deduplication, before compression.
        stored: the bytes in the store.
    """

    count: int = 0
    logical: int = 0
    raw: int = 0
    stored: int = 0

    def add(self, count: int, size: int) -> None:
        """Add values that are all stored."""
        self.count += count
        self.logical += size
        self.raw += size

    @property
    def deduplication(self) -> float:
        """The ratio of logical to raw bytes."""
        return self.logical / self.raw if self.raw else 1.0

    @property
    def compression(self) -> float:
        """The ratio of raw to stored bytes."""
        return self.raw / self.stored if self.stored else 1.0


@dataclass
class RunPart:
    """The space of a run.

    Attributes:
        states: the number of states in its history.
        own: the number of these that are in no other run's history.
        stored: the bytes of the states of its history, with their arrays.
        own_stored: the bytes of its own states.
    """

    states: int = 0
    own: int = 0
    stored: int = 0
    own_stored: int = 0


@dataclass
class Stats:
    """The statistics of a repository.

    Attributes:
        size: the bytes of the file.
        spare: the bytes that a compact copy would give back.
        tables: the number of entries of each table.
        kinds: the states, the arrays that are stored with them (``state array``), and the loose
            objects, by kind.
        runs: the space of each run, by name.
        columns: the data of each column, by path. ``stored`` is exact for arrays; other columns
            are compressed together and estimated by their share in a sample of blocks.
        attachments: the data of attachments, by name; shared objects count for the first.
        history: the sizes after each gc.
    """

    size: int
    spare: int
    tables: dict[str, int]
    kinds: dict[str, StoredPart] = field(default_factory=dict)
    runs: dict[str, RunPart] = field(default_factory=dict)
    columns: dict[str, StoredPart] = field(default_factory=dict)
    attachments: dict[str, StoredPart] = field(default_factory=dict)
    history: list[Size] = field(default_factory=list)

    @property
    def total(self) -> StoredPart:
        """All kinds together."""
        found = StoredPart()
        for part in self.kinds.values():
            for name in ("count", "logical", "raw", "stored"):
                setattr(found, name, getattr(found, name) + getattr(part, name))
        return found


def stats(odb: ObjectDatabase, refs: Refs) -> Stats:
    """Return the statistics of a store.

    Raises:
        IntegrityError: stored bytes are damaged.
    """
    with odb.read() as txn:
        found = Stats(odb.storage.size(), 0, {table: txn.count(table) for table in TABLES})
        survey = _Survey(odb, txn, found)
        for key, _ in txn.scan("lines"):
            survey.line(int.from_bytes(key, "big"))
        survey.share_columns()
        survey.loose()
        survey.attached()
        survey.count_runs(refs)
        found.history = sizes(txn)
    found.spare = odb.storage.spare()
    return found


class _Survey:
    """One walk over a store, in one snapshot."""

    def __init__(self, odb: ObjectDatabase, txn: ReadTxn, found: Stats) -> None:
        self.odb = odb
        self.txn = txn
        self.found = found
        self._per_step: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
        self._shares: Counter[str] = Counter()
        self._sampled = 0
        self._columns: dict[str, StoredPart] = defaultdict(StoredPart)
        self._arrays: Counter[str] = Counter()

    def line(self, number: int) -> None:
        """Count the states of a line and their arrays."""
        states = self.found.kinds.setdefault("state", StoredPart())
        for header in headers(self.txn, number):
            blocks = sum(info.fixed_size + info.variable_size for info in header.blocks)
            stored = 16 + len(header.blocks.data) + len(header.layout) + blocks
            raw = self._raw(header)
            states.add(header.count, raw)
            states.stored += stored
            self._per_step[number].append((header.step, header.end, stored / header.count))
        for index, first, key in line_groups(self.txn, number):
            self._group(number, index, first, key)

    def _raw(self, header: Header) -> int:
        """Return the bytes of a segment's rows, and count them among its columns'."""
        schema = self.odb.schema(self.txn, header.schema)
        for path, kind in schema.fields:
            column = self._columns[".".join(path)]
            if kind.code != ARRAY:
                column.add(0, header.count * kind.width)
        raw = header.count * schema.fixed_size
        for number in range(len(header.blocks)):
            raw += self._block(self.odb.states.block(self.txn, header, number).rows)
        return raw

    def _block(self, rows: Rows) -> int:
        """Count the values that rows have, and their variable bytes; return those."""
        fields = rows.schema.fields
        for index, (path, _) in enumerate(fields):
            here = int(np.count_nonzero(rowlib.presence(rows, index)))
            self._columns[".".join(path)].count += here
        raw = 0
        for index, items in zip(rows.schema.variable, rows.variable, strict=True):
            size = sum(4 + len(item) for item in items)
            self._columns[".".join(fields[index][0])].add(0, size)
            raw += size
        if self._sampled < _SAMPLES:
            self._sample(rows)
        return raw

    def _sample(self, rows: Rows) -> None:
        """Compress each column of a block by itself, to estimate its share."""
        self._sampled += 1
        for index, (path, kind) in enumerate(rows.schema.fields):
            data = b""
            if kind.variable:
                data = b"".join(rows.variable[rows.schema.variable.index(index)])
            elif kind.width:
                data = np.ascontiguousarray(rows.field(index).T).tobytes()
            self._shares[".".join(path)] += len(compress(data)) if data else 0

    def _group(self, line: int, index: int, first: int, key: bytes) -> None:
        """Count a group of arrays."""
        data = read_group(self.txn, key)
        group = group_header(data)
        count = len(group.steps)
        raw = count * int(np.prod(group.shape, dtype=np.int64)) * group.dtype.itemsize
        header = self.odb.states.header(self.txn, Location(line, first))
        schema = self.odb.schema(self.txn, header.schema)
        if index not in schema.arrays:
            raise IntegrityError(f"the arrays at {line}/{first} belong to no field")
        name = ".".join(schema.fields[index][0])
        self._arrays[name] += count
        for part in (self._columns[name], self.found.kinds.setdefault("state array", StoredPart())):
            part.raw += raw
            part.stored += len(data)
        end = int(first + group.steps[-1] + 1)
        self._per_step[line].append((first, end, len(data) / (end - first)))

    def share_columns(self) -> None:
        """Share the bytes of segments among the columns, by the sample."""
        stored = self.found.kinds.get("state", StoredPart()).stored
        total = sum(self._shares.values())
        for name, share in self._shares.items():
            self._columns[name].stored += stored * share // max(total, 1)
        for name, stored_arrays in self._arrays.items():
            # as if each state had its array by itself
            column = self._columns[name]
            column.logical = column.raw * column.count // stored_arrays
            arrays = self.found.kinds["state array"]
            arrays.count += stored_arrays
            arrays.logical += column.logical
        self.found.columns = {name: c for name, c in sorted(self._columns.items()) if c.raw}

    def loose(self) -> None:
        """Count the loose objects."""
        for oid, kind in self.odb.loose_kinds(self.txn).items():
            part = self.found.kinds.setdefault(kind, StoredPart())
            part.add(1, self.odb.payload_size(self.txn, oid))
            part.stored += self._stored_loose(oid)

    def _stored_loose(self, oid: bytes) -> int:
        chunks = self.odb.chunks(self.txn, oid)
        own = sum(len(self.txn.get("chunks", name) or b"") for name in dict.fromkeys(chunks))
        return self.odb.stored_size(self.txn, oid) + own

    def attached(self) -> None:
        """Count the attachments."""
        seen: set[bytes] = set()
        for key, value in self.txn.scan("attachments"):
            part = self.found.attachments.setdefault(decode_name(key[OID_SIZE:]), StoredPart())
            part.count += 1
            binding = self.odb.object(self.txn, value)
            if not isinstance(binding, Binding):
                raise IntegrityError(f"object '{value.hex()}' must be a binding")
            for _, _, oid in trees.walk(
                self.odb, self.txn, binding.target_kind, binding.target, set()
            ):
                size = self.odb.payload_size(self.txn, oid)
                part.logical += size
                if oid not in seen:
                    seen.add(oid)
                    part.raw += size
                    part.stored += self._stored_loose(oid)

    def count_runs(self, refs: Refs) -> None:
        """Count the states in the histories of the runs."""
        stops: dict[str, dict[int, int]] = {}
        for name, ref in refs.runs(self.txn):
            place = None if ref.oid is None else ref.place
            parts = history.line_ranges(self.txn, place, shallow=True) if place else ()
            stops[name] = {part.line: part.stop for part in parts}
        for name, mine in stops.items():
            part = self.found.runs.setdefault(name, RunPart())
            for line, stop in mine.items():
                others = [each[line] for n, each in stops.items() if n != name and line in each]
                self._count(part, line, stop, max(others, default=0))

    def _count(self, part: RunPart, line: int, stop: int, shared: int) -> None:
        first = read_line(self.txn, line).step
        part.states += stop - first
        part.own += max(0, stop - max(first, shared))
        for start, end, each in self._per_step[line]:
            part.stored += int(each * max(0, min(end, stop) - start))
            part.own_stored += int(each * max(0, min(end, stop) - max(start, shared)))
