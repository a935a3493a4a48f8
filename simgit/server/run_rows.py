"""The list of all runs as it is sent: rows, blocks of rows and their compression are kept.

A row whose run has not moved is not encoded again, and a block whose rows have not changed is not
compressed again.
"""

from __future__ import annotations

import secrets
import threading
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from simgit.errors import InvalidInput
from simgit.refs.runs import RunInfo
from simgit.repository.jsonable import json_text, run_record
from simgit.repository.run_table import RunTable
from simgit.repository.runs import KeptRuns

BLOCK: Final = 64
"""The number of rows of a block: longer ones are compressed better, shorter ones sooner."""
MEMBERS: Final = (
    "name", "oid", "step", "episodes", "return", "status", "overrides", "config", "parent",
    "branch_point", "seed", "metadata", "created", "ended", "writer",
)  # fmt: skip
_LEVEL: Final = 6
_GZIP: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST: Final = b"\x03\x00"
"""An empty last block."""
_MOST_GONE: Final = 10_000
_MOST_KINDS: Final = 4


class _RowBlock(NamedTuple):
    rows: tuple[str, ...]
    text: bytes
    packed: bytes
    digest: bytes


class Packed(NamedTuple):
    """A body in both forms, and its tag."""

    body: bytes
    gzipped: bytes
    tag: str


class _ChosenRows:
    """The rows of one choice of members."""

    def __init__(self, members: Sequence[str]) -> None:
        self._members = members
        self._rows: dict[str, tuple[RunInfo, str]] = {}
        self._blocks: list[_RowBlock] = []
        self._packed: Packed | None = None

    def row(self, info: RunInfo) -> str:
        """Return the row of a run; one that is as it was is not encoded again."""
        found = self._rows.get(info.name)
        if found is None or found[0] is not info:
            record = run_record(info)
            text = json_text({each: record[each] for each in self._members})
            found = self._rows[info.name] = (info, text)
        return found[1]

    def packed(self, infos: Sequence[RunInfo]) -> Packed:
        """Return all rows as one body."""
        rows = [self.row(info) for info in infos]
        blocks = []
        for start in range(0, len(rows), BLOCK):
            part = tuple(rows[start : start + BLOCK])
            index = start // BLOCK
            there = self._blocks[index] if index < len(self._blocks) else None
            is_same = there is not None and there.rows == part
            blocks.append(there if is_same and there is not None else _block(part, start > 0))
        if self._packed is None or blocks != self._blocks:
            self._blocks, self._packed = blocks, _joined(blocks)
        if len(self._rows) > len(infos):
            names = {info.name for info in infos}
            self._rows = {name: each for name, each in self._rows.items() if name in names}
        return self._packed


def _told(info: RunInfo) -> str:
    """Return what is told of a run; 1, True and 1.0 are equal, and not told as the same."""
    return json_text(run_record(info))


def _block(rows: tuple[str, ...], has_before: bool) -> _RowBlock:
    text = ((", " if has_before else "") + ", ".join(rows)).encode()
    return _RowBlock(rows, text, _deflated(text), blake3(text).digest())


def _deflated(text: bytes) -> bytes:
    """Return a text as a part of a deflate stream that needs nothing of what comes before."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)


def _joined(blocks: Sequence[_RowBlock]) -> Packed:
    body = b"".join([b"[", *(each.text for each in blocks), b"]"])
    tail = zlib.crc32(body).to_bytes(4, "little") + (len(body) % 2**32).to_bytes(4, "little")
    parts = [_GZIP, _deflated(b"["), *(each.packed for each in blocks), _deflated(b"]"), _LAST]
    tag = blake3(b"".join(each.digest for each in blocks)).hexdigest(16)
    return Packed(body, b"".join([*parts, tail]), tag)


class RunRows:
    """The runs for requests: infos, rows, the table, and what has changed since a cursor."""

    def __init__(self, runs: KeptRuns) -> None:
        """Begin with nothing known."""
        self._runs = runs
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, ...], _ChosenRows] = {}
        self._begin()
        self._seen: dict[str, RunInfo] = {}

    def _begin(self) -> None:
        self._epoch, self._number = secrets.token_hex(4), 0
        self._changed: dict[str, int] = {}
        self._gone: dict[str, int] = {}

    def infos(self) -> list[RunInfo]:
        """Return what is known of all runs."""
        return list(self._runs.values())

    def table(self) -> RunTable:
        """Return the runs as columns."""
        return self._runs.table()

    def packed(self, infos: Sequence[RunInfo], members: tuple[str, ...]) -> Packed:
        """Return all runs as one body, with chosen members."""
        with self._lock:
            return self._kind(members).packed(infos)

    def texts(self, infos: Sequence[RunInfo], members: tuple[str, ...]) -> list[str]:
        """Return the rows of some runs."""
        with self._lock:
            kind = self._kind(members)
            return [kind.row(info) for info in infos]

    def _kind(self, members: tuple[str, ...]) -> _ChosenRows:
        for each in members:
            if each not in MEMBERS:
                raise InvalidInput(f"unknown member '{each}'; known: {', '.join(MEMBERS)}")
        found = self._kinds.pop(members, None) or _ChosenRows(members)
        self._kinds[members] = found  # the newest is the last
        while len(self._kinds) > _MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]
        return found

    def since(
        self, infos: Sequence[RunInfo], cursor: str | None
    ) -> tuple[str, list[RunInfo] | None, list[str]]:
        """Return the cursor of now; the runs that changed since one, None if that is unknown.

        And the names of those that were removed since.
        """
        with self._lock:
            self._note(infos)
            now = f"{self._epoch}-{self._number}"
            epoch, _, number = (cursor or "").partition("-")
            if epoch != self._epoch or not number.isdecimal() or len(number) > 18:
                return now, None, []
            after = int(number)
            changed = [each for each in infos if self._changed[each.name] > after]
            return now, changed, [name for name, at in self._gone.items() if at > after]

    def _note(self, infos: Sequence[RunInfo]) -> None:
        """Note which runs have changed since the last look."""
        seen, number = self._seen, self._number + 1
        now = {info.name: info for info in infos}
        for name, info in now.items():
            before = seen.get(name)
            if before is not info and (before is None or _told(before) != _told(info)):
                self._changed[name], self._number = number, number
                self._gone.pop(name, None)
        if len(seen) > len(now) or seen.keys() - now.keys():
            for name in seen.keys() - now.keys():
                self._gone[name] = self._number = number
                del self._changed[name]
        self._seen = now
        if len(self._gone) > _MOST_GONE:
            self._begin()
            self._changed = dict.fromkeys(now, 0)
