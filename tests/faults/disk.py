"""A disk in memory: what may be left of recorded writes and syncs after a power cut.

A write that was not synced may be there, in part (sectors of 512 bytes), or not; in any order. A
name (of a file made, linked, moved or removed) may be there or not until its directory is synced,
but in the order in which the names were changed, as on a file system with a journal.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_HEAD = struct.Struct("<cQQI")


@dataclass(frozen=True)
class Call:
    """One call that a process made: see tests/faults/preload.c."""

    kind: str
    a: int
    b: int
    first: bytes
    second: bytes


def read_log(path: Path) -> Iterator[Call]:
    """Yield the calls that the preloaded library has recorded."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        kind, a, b, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        first = data[at : at + size]
        at += size
        (more,) = struct.unpack_from("<I", data, at)
        yield Call(kind.decode(), a, b, first, data[at + 4 : at + 4 + more])
        at += 4 + more


@dataclass
class File:
    """A file's bytes as they are on the disk, and the changes that may not be there yet."""

    data: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def settle(self) -> None:
        """Bring everything to the disk."""
        for at, data in self.pending:
            _change(self.data, at, data)
        self.pending.clear()


def _change(target: bytearray, at: int, data: bytes | None) -> None:
    """Write at a place; no data stands for setting the length."""
    if data is None:
        del target[at:]
        target.extend(bytes(at - len(target)))
        return
    target.extend(bytes(max(0, at - len(target))))
    target[at : at + len(data)] = data


class Disk:
    """Files by inode, and names; both with what is not on the disk yet."""

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self.directories: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self._ids: dict[int, int] = {}  # of the file that has an inode now, for inodes come again
        self._changes: list[tuple[str, str, str, int]] = []
        self.said = b""

    def apply(self, call: Call) -> None:
        """Let a call happen."""
        path, other = call.first.decode(errors="replace"), call.second.decode(errors="replace")
        if call.kind == "A":
            self.said += call.first
        elif call.kind == "W":
            self._write(call)
        elif call.kind == "T":
            self._file(call.a).pending.append((call.b, None))
        elif call.kind == "S":
            self._sync(call.a)
        else:
            self._rename(call.kind, path, other, call.a)

    def _file(self, inode: int) -> File:
        return self.files[self._ids[inode]]

    def _write(self, call: Call) -> None:
        if call.second == b"\1":
            _change(self._file(call.a).data, call.b, call.first)
        else:
            self._file(call.a).pending.append((call.b, call.first))

    def _sync(self, inode: int) -> None:
        if inode in self._ids:
            self._file(inode).settle()
        synced = {path for path, each in self.directories.items() if each == inode}
        last = max(
            (n for n, change in enumerate(self._changes, 1) if _parents(change) & synced), default=0
        )
        for change in self._changes[:last]:
            _rename(self.names, *change)
        del self._changes[:last]

    def _rename(self, kind: str, path: str, other: str, inode: int) -> None:
        if kind == "M":
            self.directories[path] = inode
        if kind == "C":
            self._ids[inode] = len(self.files) + 1
            self.files[self._ids[inode]] = File()
        change = (kind, path, other, self._ids.get(inode, 0))
        self._changes.append(change)

    def after_cut(self, rng: random.Random | None, keep: bool = False) -> dict[str, bytes]:
        """Return the files that are there after a power cut.

        Args:
            rng: decides what is there of what was not synced; without it all of it or none.
            keep: whether it is all there.
        """
        count = len(self._changes) if keep else rng.randint(0, len(self._changes)) if rng else 0
        names = dict(self.names)
        for change in self._changes[:count]:
            _rename(names, *change)
        return {path: self._left(number, rng, keep) for path, number in names.items() if number}

    def _left(self, number: int, rng: random.Random | None, keep: bool) -> bytes:
        file = self.files[number]
        data = bytearray(file.data)
        for at, change in file.pending:
            if keep:
                _change(data, at, change)
            elif rng is not None:
                _tear(data, at, change, rng)
        return bytes(data)


def _tear(data: bytearray, at: int, change: bytes | None, rng: random.Random) -> None:
    """Let a write happen, or some of its sectors, or nothing of it."""
    fate = rng.random()
    if fate < 0.35:
        return
    if change is None or fate < 0.7:
        _change(data, at, change)
        return
    for start in range(0, len(change), SECTOR):
        if rng.random() < 0.5:
            _change(data, at + start, change[start : start + SECTOR])


def _rename(names: dict[str, int], kind: str, path: str, other: str, inode: int) -> None:
    if kind == "C":
        names[path] = inode
    elif kind == "M":
        names[path] = 0
    elif kind in "UD":
        names.pop(path, None)
    elif path in names:
        names[other] = names[path] if kind == "L" else names.pop(path)


def _parents(change: tuple[str, str, str, int]) -> set[str]:
    return {str(Path(path).parent) for path in change[1:3] if path}
