"""Refs: runs, tags and HEAD, each with its reflog. Changes happen in the caller's transaction.

refs: "HEAD" | "runs/…" | "tags/…"   -> canonical map; "remotes/…": see ``remotes``
log:  ref name ‖ 00 ‖ u64 number     -> canonical map
meta: "fold" ‖ 00 ‖ folded ref name  -> the name as it is spelt, of runs and tags
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from simgit.errors import AlreadyExists, Conflict, IntegrityError, NotFound, did_you_mean
from simgit.objects.codec import decode_name
from simgit.objects.oid import Oid
from simgit.process import now
from simgit.refs.names import HEAD, OF_RUNS, REMOTES, RUNS, TAGS, check_ref_name, fold
from simgit.refs.records import (
    LogEntry,
    RunRef,
    TagRef,
    decode_head,
    decode_one_of_many,
    decode_ref,
    decode_run,
    pack_ref,
    unpack_ref,
)
from simgit.refs.settings import REMOTE, URL, is_set
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.failpoints import fail_point

_COMPARED: Final = 1000
"""The most names of runs, and of tags, among which a hint at the right one is looked for."""
TRIMMED: Final = b"trimmed\0"
"""Followed by a ref's name: the key in ``meta`` of the number of its reflog's oldest entry."""


class Refs:
    """Runs, tags and HEAD of one store."""

    # --- reading ---

    def run(self, txn: ReadTxn, name: str) -> RunRef:
        """Return a run's ref.

        Raises:
            NotFound: there is no such run.
        """
        value = txn.get("refs", (RUNS + name).encode(errors="replace"))
        if value is None:
            raise NotFound(f"run '{name}' not found{self.near(txn, name, RUNS)}", name=name)
        return decode_run(value)

    def has_run(self, txn: ReadTxn, name: str) -> bool:
        """Return True if there is a run of this name."""
        return txn.get("refs", (RUNS + name).encode(errors="replace")) is not None

    def tag(self, txn: ReadTxn, name: str) -> TagRef:
        """Return a tag's ref.

        Raises:
            NotFound: there is no such tag.
        """
        value = txn.get("refs", (TAGS + name).encode(errors="replace"))
        if value is None:
            raise NotFound(f"tag '{name}' not found{self.near(txn, name, TAGS)}", name=name)
        found: TagRef = decode_ref(value, TagRef)
        return found

    def has_tag(self, txn: ReadTxn, name: str) -> bool:
        """Return True if there is a tag of this name."""
        return txn.get("refs", (TAGS + name).encode(errors="replace")) is not None

    def runs(self, txn: ReadTxn) -> Iterator[tuple[str, RunRef]]:
        """Yield name and ref of all runs, ordered by name."""
        for name, value in self.stored_runs(txn):
            yield name, decode_one_of_many(value)

    def stored_runs(self, txn: ReadTxn) -> Iterator[tuple[str, bytes]]:
        """Yield name and stored form of all runs, ordered by name."""
        for key, value in txn.scan("refs", b"runs/", b"runs0"):
            yield decode_name(key[len(RUNS) :]), value

    def tags(self, txn: ReadTxn) -> Iterator[tuple[str, TagRef]]:
        """Yield name and ref of all tags, ordered by name."""
        for key, value in txn.scan("refs", b"tags/", b"tags0"):
            yield decode_name(key[len(TAGS) :]), decode_ref(value, TagRef)

    def names(self, txn: ReadTxn, space: str, stem: str) -> Iterator[str]:
        """Yield the names of runs or tags that begin with a text, in any case or Unicode form."""
        start = b"fold\0" + (space + fold(stem)).encode()
        for _, name in txn.scan("meta", start, start + b"\xff"):
            yield decode_name(name)

    def unambiguous(self, txn: ReadTxn, name: str) -> str:
        """Return a name, with ``-`` for the first ``/`` if a remote is called as what is before it.

        So is a run of another repository called here, whose name a new run could not have.
        """
        while "/" in name and is_set(txn, f"{REMOTE}{name.partition('/')[0]}{URL}"):
            name = name.replace("/", "-", 1)
        return name

    def is_taken(self, txn: ReadTxn, name: str) -> bool:
        """Return True if a new run cannot have this name."""
        if self.has_tag(txn, name) or txn.get("refs", (REMOTES + name).encode()) is not None:
            return True
        return txn.get("meta", b"fold\0" + (RUNS + fold(name)).encode()) is not None

    def near(self, txn: ReadTxn, name: str, *prefixes: str) -> str:
        """Return a hint at the ref whose name is nearest to a wrong one; '' if none is near."""
        known: list[str] = []
        for prefix in prefixes:
            start = prefix.encode()  # names only: what a ref holds may be damaged
            found = islice(txn.scan("refs", start, start[:-1] + b"0"), _COMPARED)
            known += (key[len(start) :].decode(errors="replace") for key, _ in found)
        return did_you_mean(name, known)

    def head(self, txn: ReadTxn) -> str | Oid:
        """Return the name of the run that HEAD points at, or the oid of a detached HEAD."""
        value = txn.get("refs", b"HEAD")
        return "main" if value is None else decode_head(value)

    def log(self, txn: ReadTxn, ref: str) -> Iterator[LogEntry]:
        """Yield the changes of a ref, the newest first.

        Raises:
            IntegrityError: an entry is damaged or missing.
        """
        start = ref.encode() + b"\0"
        later: int | None = None
        for key, value in txn.scan("log", start, start + b"\xff" * 9, reverse=True):
            number = int.from_bytes(key[-8:], "big")
            if later is not None and number != later - 1:
                raise IntegrityError(f"the reflog of '{ref}' lacks entries; see 'simgit fsck'")
            yield decode_ref(value, LogEntry)
            later = number
        if later is not None and later != self.first_entry(txn, ref):
            raise IntegrityError(
                f"the reflog of '{ref}' lacks its oldest entries; see 'simgit fsck'"
            )

    def logged(self, txn: ReadTxn) -> list[str]:
        """Return the full names of all refs that have a reflog, deleted ones too."""
        return [*dict.fromkeys(decode_name(key[:-9]) for key, _ in txn.scan("log"))]

    def first_entry(self, txn: ReadTxn, ref: str) -> int:
        """Return the number of the oldest entry that a reflog must have.

        Raises:
            IntegrityError: the number is damaged.
        """
        value = txn.get("meta", TRIMMED + ref.encode(errors="replace"))
        if value is not None and len(value) != 8:
            raise IntegrityError(
                f"the reflog of '{ref}' lacks the number of its first entry; see 'simgit fsck'"
            )
        return 0 if value is None else int.from_bytes(value, "big")

    # --- writing ---

    def create_run(self, txn: WriteTxn, name: str, ref: RunRef, message: str) -> None:
        """Create a run.

        Raises:
            AlreadyExists: the name is taken, or differs from a taken one in case only.
        """
        check_ref_name(name)
        self._claim(txn, RUNS, name, "run")
        self._put(txn, RUNS + name, ref._asdict())
        self.log_entry(txn, RUNS + name, None, ref.oid, message)

    def update_run(
        self, txn: WriteTxn, name: str, old: RunRef, new: RunRef, message: str | None
    ) -> None:
        """Replace a run's ref if its state is still ``old``'s; ``message`` None logs nothing.

        Raises:
            Conflict: it moved.
        """
        current = self.run(txn, name)
        if current.oid != old.oid:
            raise Conflict(f"run '{name}' moved since it was read; try again", name=name)
        self._put(txn, RUNS + name, new._asdict())
        if message is not None:
            refs = [RUNS + name, HEAD] if self.head(txn) == name else [RUNS + name]
            self._add_to_logs(txn, refs, LogEntry(old.oid, new.oid, now(), message, os.getpid()))

    def delete_run(self, txn: WriteTxn, name: str, message: str) -> RunRef:
        """Remove a run; its reflog is kept, if the run ever had states."""
        ref = self.run(txn, name)
        txn.delete("refs", (RUNS + name).encode())
        from simgit.refs.simulations import forget_simulation

        forget_simulation(txn, name)
        self._release(txn, RUNS, name)
        self._rename_parent(txn, name, None)  # another run may get the name
        if all(entry.old is entry.new is None for entry in self.log(txn, RUNS + name)):
            start = (RUNS + name).encode() + b"\0"
            for key, _ in list(txn.scan("log", start, start + b"\xff" * 9)):
                txn.delete("log", key)
        else:
            self.log_entry(txn, RUNS + name, ref.oid, None, message)
        return ref

    def _rename_parent(self, txn: WriteTxn, old: str, new: str | None) -> None:
        for name, child in list(self.runs(txn)):
            if child.parent == old:
                self._put(txn, RUNS + name, child._replace(parent=new)._asdict())

    def rename_run(self, txn: WriteTxn, old: str, new: str) -> int:
        """Rename a run together with its reflog, and HEAD if it points there.

        Returns:
            The number in the new name's reflog of the old one's first entry.
        """
        check_ref_name(new)
        ref = self.run(txn, old)
        txn.delete("refs", (RUNS + old).encode())
        from simgit.refs.simulations import move_simulation

        move_simulation(txn, old, new)
        self._release(txn, RUNS, old)
        self._claim(txn, RUNS, new, "run")
        self._put(txn, RUNS + new, ref._asdict())
        moved_to = self.move_log(txn, RUNS + old, 0, RUNS + new)
        self._rename_parent(txn, old, new)
        self.log_entry(txn, RUNS + new, ref.oid, ref.oid, f"branch: renamed {old} to {new}")
        if self.head(txn) == old:
            self.set_head(txn, new, f"branch: renamed {old} to {new}")
        return moved_to

    def create_tag(self, txn: WriteTxn, name: str, ref: TagRef, force: bool = False) -> None:
        """Create a tag, or move it with ``force``.

        Raises:
            AlreadyExists: the name is taken, or differs from a taken one in case only.
        """
        check_ref_name(name, "a tag")
        old = None
        if force and self.has_tag(txn, name):
            old = self.tag(txn, name).oid
            self._release(txn, TAGS, name)
        self._claim(txn, TAGS, name, "tag")
        self._put(txn, TAGS + name, ref._asdict())
        self.log_entry(txn, TAGS + name, old, ref.oid, f"tag: {name}")

    def delete_tag(self, txn: WriteTxn, name: str) -> TagRef:
        """Remove a tag; its reflog is kept."""
        ref = self.tag(txn, name)
        txn.delete("refs", (TAGS + name).encode())
        self._release(txn, TAGS, name)
        self.log_entry(txn, TAGS + name, ref.oid, None, f"tag: deleted {name}")
        return ref

    def set_head(self, txn: WriteTxn, target: str | Oid, message: str) -> None:
        """Point HEAD at a run (which may not exist yet), or detach it at a state."""
        old = self.head_oid(txn)
        value = {"oid": bytes(target)} if isinstance(target, Oid) else {"run": target}
        txn.put("refs", b"HEAD", pack_ref(value))
        self.log_entry(txn, HEAD, old, self.head_oid(txn), message)

    def follow(self, txn: WriteTxn, name: str) -> None:
        """Point HEAD at a run that got its first states, if HEAD's own does not exist yet."""
        head = self.head(txn)
        if isinstance(head, str) and head != name and not self.has_run(txn, head):
            self.set_head(txn, name, f"HEAD: follows '{name}', which was recorded first")

    def head_oid(self, txn: ReadTxn) -> Oid | None:
        """Return the state that HEAD points at, None if its run has no states yet."""
        head = self.head(txn)
        if isinstance(head, Oid):
            return head
        return self.run(txn, head).oid if self.has_run(txn, head) else None

    def _put(self, txn: WriteTxn, ref: str, record: dict[str, Any]) -> None:
        txn.put("refs", ref.encode(), pack_ref(record))
        fail_point("refs.put")

    def _claim(self, txn: WriteTxn, space: str, name: str, what: str) -> None:
        key = b"fold\0" + (space + fold(name)).encode()
        taken = txn.get("meta", key)
        if taken is not None:
            other = decode_name(taken)
            why = (
                ""
                if other == name
                else f" as '{other}' (names must differ in more than case or form)"
            )
            raise AlreadyExists(f"{what} '{name}' already exists{why}", name=other)
        self._check_other(txn, space, name, what)
        txn.put("meta", key, name.encode())

    def _check_other(self, txn: ReadTxn, space: str, name: str, what: str) -> None:
        """Check that no ref of another kind has the name of a new run or tag."""
        is_taken, other = (self.has_tag, "tag") if space == RUNS else (self.has_run, "run")
        if is_taken(txn, name):
            raise AlreadyExists(
                f"cannot create {what} '{name}': there is a {other} '{name}', and the name would "
                f"be ambiguous; use '{name}-{what}'",
                name=name,
            )
        if txn.get("refs", (REMOTES + name).encode()) is not None:
            raise AlreadyExists(
                f"cannot create {what} '{name}': there is a remote-tracking ref '{name}', and the "
                f"name would be ambiguous; use '{name.replace('/', '-', 1)}'",
                name=name,
            )
        if (other := self.unambiguous(txn, name)) != name:
            raise AlreadyExists(
                f"cannot create {what} '{name}': '{name.partition('/')[0]}' is a remote, and the "
                f"name would be ambiguous with that of a run there; use '{other}'",
                name=name,
            )

    def _release(self, txn: WriteTxn, space: str, name: str) -> None:
        txn.delete("meta", b"fold\0" + (space + fold(name)).encode())

    def log_entry(
        self, txn: WriteTxn, ref: str, old: Oid | None, new: Oid | None, message: str
    ) -> None:
        """Add an entry to a ref's log."""
        self._add_to_logs(txn, [ref], LogEntry(old, new, now(), message, os.getpid()))

    def _add_to_logs(self, txn: WriteTxn, refs: list[str], entry: LogEntry) -> None:
        value = pack_ref(entry._asdict())
        for ref in refs:
            number = self._next_entry(txn, ref)
            txn.put("log", ref.encode() + b"\0" + number.to_bytes(8, "big"), value)

    def _next_entry(self, txn: ReadTxn, ref: str) -> int:
        """Return the number of the next entry of a reflog."""
        prefix = ref.encode() + b"\0"
        last = txn.floor("log", prefix + b"\xff" * 8)
        return int.from_bytes(last[0][-8:], "big") + 1 if last and last[0][:-8] == prefix else 0

    def move_log(self, txn: WriteTxn, old: str, first: int, new: str) -> int:
        """Move entries of a reflog to the end of another; return the number of the first there."""
        start = old.encode() + b"\0"
        entries = list(txn.scan("log", start + first.to_bytes(8, "big"), start + b"\xff" * 9))
        for key, _ in entries:
            txn.delete("log", key)
        if next(self.log(txn, old), None) is None:
            txn.delete("meta", TRIMMED + old.encode())  # its next entry will be the first
        # a deleted run of the new name has left its own entries, which remain the older ones
        at = self._next_entry(txn, new)
        for number, (_, value) in enumerate(entries, at):
            txn.put("log", new.encode() + b"\0" + number.to_bytes(8, "big"), value)
        return at

    def put_back(
        self, txn: WriteTxn, refs: Mapping[str, dict[str, Any] | None], message: str
    ) -> None:
        """Restore refs, given as full name to fields, None for a ref that did not exist.

        A run keeps its writer if its newest state is the same. The reflogs note the change.

        Raises:
            AlreadyExists: another ref has taken the name, or one that differs in case only.
        """
        head = self.head_oid(txn)
        before = {ref: self._fields_of(txn, ref) for ref in refs}
        for ref, fields in refs.items():
            if fields is None and before[ref] is not None:
                self._remove(txn, ref)
        for ref, fields in refs.items():
            if fields is not None:
                self._set_back(txn, ref, before[ref], fields)
        for ref, fields in refs.items():
            if ref != HEAD and (before[ref] or fields):
                self.log_entry(txn, ref, _oid_in(before[ref]), _oid_in(fields), message)
        if self.head_oid(txn) != head:
            self.log_entry(txn, HEAD, head, self.head_oid(txn), message)

    def recover(self, txn: WriteTxn, ref: str, fields: dict[str, Any], message: str) -> None:
        """Store a ref in place of an unreadable record, and note it in the reflog."""
        self._put(txn, ref, fields)
        old = None
        with suppress(IntegrityError):
            old = next((entry.new for entry in self.log(txn, ref)), None)
        oid = self.head_oid(txn) if ref == HEAD else _oid_in(fields)
        self.log_entry(txn, ref, old, oid, message)

    def end_log(self, txn: WriteTxn, ref: str, message: str) -> None:
        """Add the run's state to its reflog, after entries were moved to it."""
        newest = next(self.log(txn, ref), None)
        oid = _oid_in(self._fields_of(txn, ref))
        if newest is not None and newest.new != oid:
            self.log_entry(txn, ref, newest.new, oid, message)

    def _fields_of(self, txn: ReadTxn, ref: str) -> dict[str, Any] | None:
        value = txn.get("refs", ref.encode())
        return None if value is None else unpack_ref(value)

    def _remove(self, txn: WriteTxn, ref: str) -> None:
        txn.delete("refs", ref.encode())
        if ref.startswith(RUNS):
            self._rename_parent(txn, ref[len(RUNS) :], None)
        if ref.startswith((RUNS, TAGS)):
            space, _, name = ref.partition("/")
            self._release(txn, space + "/", name)

    def _set_back(
        self, txn: WriteTxn, ref: str, before: dict[str, Any] | None, fields: dict[str, Any]
    ) -> None:
        if ref.startswith((RUNS, TAGS)) and before is None:
            space, _, name = ref.partition("/")
            self._claim(txn, space + "/", name, space.rstrip("s"))
        if ref.startswith(OF_RUNS):
            stays = before is not None and before["oid"] == fields["oid"]
            fields = {**fields, "writer": before["writer"] if before and stays else None}
        self._put(txn, ref, fields)


def _oid_in(fields: dict[str, Any] | None) -> Oid | None:
    """Return the state that the fields of a run or a tag name."""
    return None if fields is None or fields["oid"] is None else Oid(fields["oid"])
