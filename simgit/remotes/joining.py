"""Joining small packs of a remote to larger ones that hold the same."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final

from simgit.errors import IntegrityError
from simgit.objects.oid import OID_SIZE, Oid
from simgit.remotes import layout, packs
from simgit.remotes.bundle import records
from simgit.remotes.bundle.loading import read_first
from simgit.remotes.bundle.manifest import Manifest
from simgit.remotes.bundle.records import RecordReader
from simgit.remotes.bundle.states_head import StatesHead, decode_head
from simgit.remotes.bundle.verification import read_manifest, verify
from simgit.remotes.layout import PackEntry, PackStretch, RemoteRef, ShardName

MANY: Final = 8
"""How many small packs a ref may have."""
Group = tuple[PackEntry, ...]
"""Packs that follow each other in all refs that have one of them."""


def groups(refs: Mapping[str, Sequence[PackEntry]]) -> list[Group]:
    """Return which packs are to be joined, given those of all refs in the order of their import.

    Packs of refs that have many small ones are: as many as make a full one, and only packs that
    follow each other in each ref that has one of them, so that the order stays right for all.
    """
    places: defaultdict[bytes, dict[str, int]] = defaultdict(dict)
    for ref, entries in refs.items():
        for place, entry in enumerate(entries):
            places[entry.name][ref] = place
    found: dict[tuple[bytes, ...], Group] = {}
    for entries in refs.values():
        if sum(map(_is_small, entries)) > MANY:
            for group in _groups_of(entries, places):
                found.setdefault(tuple(entry.name for entry in group), group)
    return list(found.values())


def _is_small(entry: PackEntry) -> bool:
    return entry.size < packs.CUT // 2


def _groups_of(
    entries: Sequence[PackEntry], places: Mapping[bytes, dict[str, int]]
) -> Iterator[Group]:
    group: list[PackEntry] = []
    for entry in entries:
        follows = group and places[entry.name] == {
            ref: place + 1 for ref, place in places[group[-1].name].items()
        }
        if group and not (follows and _is_small(entry) and _size(group) < packs.CUT):
            if len(group) > 1:
                yield tuple(group)
            group = []
        if _is_small(entry):
            group.append(entry)
    if len(group) > 1:
        yield tuple(group)


def _size(group: Sequence[PackEntry]) -> int:
    return sum(entry.size for entry in group)


def join(members: Sequence[tuple[PackEntry, bytes]]) -> tuple[PackEntry, bytes]:
    """Return entry and bytes of a pack with all that some packs have, given in their order.

    Every hash is computed anew, of what is read and of what is made.

    Raises:
        IntegrityError: one of them is damaged, or its entry says something else.
    """
    joining = _Joining()
    with closing(joining):
        return joining.join(members)


class _Joining:
    """The records of a joined pack."""

    def __init__(self) -> None:
        self._wanted: set[bytes] = set()  # the prerequisites of all that come
        self._out = packs.PackFile()
        self._needs: dict[Oid, None] = {}
        self._had: set[bytes] = set()  # of the wanted ones those that came
        self._objects: set[bytes] = set()
        self._lasts: set[bytes] = set()  # of each record of states
        self._stretches: list[PackStretch] = []
        self._states = 0
        self._last = b""

    def close(self) -> None:
        """Give back what was made."""
        self._out.file.close()

    def join(self, members: Sequence[tuple[PackEntry, bytes]]) -> tuple[PackEntry, bytes]:
        """Do everything."""
        self._wanted = {
            oid for _, data in members for oid in read_manifest(io.BytesIO(data).read).prerequisites
        }
        for entry, data in members:
            self._add(entry, data)
        return self._whole([entry for entry, _ in members])

    def _add(self, entry: PackEntry, data: bytes) -> None:
        """Add the records of a pack that are not there yet."""
        stream = iter(RecordReader(io.BytesIO(data).read))
        manifest = read_first(stream)
        self._needs |= dict.fromkeys(p for p in manifest.prerequisites if p not in self._had)
        stretches = _Stretches(entry)
        is_new_blob = True
        for kind, body in stream:
            if kind in (records.OBJECT, records.BLOB):
                is_new = is_new_blob = body[:OID_SIZE] not in self._objects
                self._objects.add(body[:OID_SIZE])
            elif kind == records.PIECE:
                is_new = is_new_blob
            elif kind == records.STATES:
                head = decode_head(body)
                is_new = head.last not in self._lasts
                self._note_states(stretches.take(head.rows), head, is_new)
            else:
                raise IntegrityError(f"malformed bundle: misplaced record of type {kind}")
            if is_new:
                self._out.put(kind, body)
        stretches.check_end()
        verify(io.BytesIO(data).read, seen=self._note_seen)

    def _note_seen(self, oids: Sequence[bytes]) -> None:
        self._had.update(self._wanted.intersection(oids))

    def _note_states(self, found: PackStretch, head: StatesHead, is_new: bool) -> None:
        if not is_new:
            return
        self._lasts.add(head.last)
        self._states += head.rows
        found = found._replace(oid=Oid(head.last))
        before = self._stretches[-1] if self._stretches else None
        if (
            before is not None
            and head.parents == (bytes(before.oid),)
            and (before.ref, before.last + 1) == (found.ref, found.first)
        ):
            self._stretches[-1] = before._replace(last=found.last, oid=found.oid)
        else:
            self._stretches.append(found)

    def _whole(self, members: Sequence[PackEntry]) -> tuple[PackEntry, bytes]:
        """Return entry and bytes."""
        name, size, file = self._out.whole(Manifest(tuple(self._needs), {}, {}, None).encode())
        with file:
            data = file.read()
        if verify(io.BytesIO(data).read).states != self._states:
            raise IntegrityError("a joined pack has other states than those that it is made of")
        names = {entry.name for entry in members}
        after = dict.fromkeys(n for entry in members for n in entry.after if n not in names)
        return PackEntry(name, size, self._states, tuple(after), tuple(self._stretches)), data


class _Stretches:
    """The stretches of a pack, told record by record."""

    def __init__(self, entry: PackEntry) -> None:
        self._entry = entry
        self._left = list(reversed(entry.stretches))
        self._states = 0

    def take(self, rows: int) -> PackStretch:
        """Return what the entry says of the next states, which are of one record."""
        self._states += rows
        if not self._left or self._left[-1].last - self._left[-1].first + 1 < rows:
            raise self._wrong()
        whole = self._left.pop()
        found = whole._replace(last=whole.first + rows - 1)
        if found.last < whole.last:
            self._left.append(whole._replace(first=found.last + 1))
        return found

    def check_end(self) -> None:
        """Check that all was told.

        Raises:
            IntegrityError: the entry says something else than the pack.
        """
        if self._left or self._states != self._entry.states:
            raise self._wrong()

    def _wrong(self) -> IntegrityError:
        key = layout.key_of_pack(self._entry.name)
        return IntegrityError(f"the pack '{key}' of the remote has other states than refs say")


def moved(
    ref: RemoteRef,
    new: Mapping[bytes, PackEntry],
    read: Callable[[ShardName], list[PackEntry]],
    write: Callable[[int, Sequence[PackEntry]], ShardName],
) -> RemoteRef:
    """Return a ref that names joined packs in the place of those that are in them.

    Args:
        ref: the ref.
        new: by name of a pack that was joined, the one that it is in now.
        read: returns the entries of a shard.
        write: stores a shard of a level, and returns its name.
    """
    parts = [(shard, read(shard)) for shard in ref.shards] + [(None, list(ref.packs))]
    there: set[bytes] = set()
    kept: list[ShardName] = []
    rest: list[PackEntry] = []
    for shard, before in parts:
        after = []
        for entry in (_moved_entry(each, new) for each in before):
            if entry.name not in there:
                there.add(entry.name)
                after.append(entry)
        if shard is not None and not rest and after == before:
            kept.append(shard)
        else:
            rest += after
    found = replace(ref, shards=tuple(kept), packs=(), seq=ref.seq + 1, push=os.urandom(16))
    return layout.with_packs(found, rest, read, write)


def _moved_entry(entry: PackEntry, new: Mapping[bytes, PackEntry]) -> PackEntry:
    if entry.name in new:
        entry = new[entry.name]
    after = dict.fromkeys(new[name].name if name in new else name for name in entry.after)
    return entry._replace(after=tuple(after))
