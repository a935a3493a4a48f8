"""Refs: runs, tags and HEAD, each with its reflog. Changes happen in the caller's transaction.

refs: "HEAD" | "runs/…" | "tags/…"   -> canonical map
log:  ref name ‖ 00 ‖ u64 number     -> canonical map
meta: "fold" ‖ 00 ‖ folded ref name  -> the name as it is spelt
"""

from __future__ import annotations

import os
import platform
import re
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from types import NoneType
from typing import Any, Final

from simgit.codec import decode_name, pack_record, unpack_value
from simgit.errors import AlreadyExists, Conflict, Integrity, InvalidInput, NotFound
from simgit.failpoints import fail_point
from simgit.fieldtypes import (
    BYTES,
    INT,
    MAYBE_BYTES,
    MAYBE_INT,
    MAYBE_TEXT,
    TEXT,
    Types,
    check_fields,
)
from simgit.oid import OID_SIZE, Oid
from simgit.segment.header import Location
from simgit.segment.pack import CHECKSUM_SIZE, checksum
from simgit.segment.states import Tip
from simgit.storage.base import ReadTxn, WriteTxn

HEAD: Final = "HEAD"
RUNS: Final = "runs/"
TAGS: Final = "tags/"
TRIMMED: Final = b"trimmed\0"
"""With a ref's name behind it: where in ``meta`` the number of its reflog's oldest entry stands."""
STATUSES: Final = ("active", "paused", "completed", "failed", "crashed")
MAX_NAME: Final = 200
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_REVISION_LIKE: Final = re.compile(r"@(\d+|ep\d+(\.\d+)?)$")


def check_name(name: str, what: str = "run") -> str:
    """Return ``name`` if a run or tag may have it: git's check-ref-format, and no revision.

    Raises:
        InvalidInput: it may not; the message says why.
    """
    reason = None
    components = name.split("/")
    if not name or name in ("@", HEAD):
        reason = "the name is empty or reserved"
    elif _FORBIDDEN.search(name):
        reason = "it contains a character or sequence that revisions need"
    elif any(part.startswith(".") or part.endswith(".lock") or not part for part in components):
        reason = "a component is empty, begins with '.' or ends with '.lock'"
    elif name.endswith(".") or name.startswith("-"):
        reason = "it ends with '.' or begins with '-'"
    elif _REVISION_LIKE.search(name):
        reason = "it reads as a step or an episode of another run"
    elif len(name.encode(errors="replace")) > MAX_NAME:
        reason = f"it is longer than {MAX_NAME} bytes"
    elif not name.isprintable():
        reason = "it contains characters that cannot be shown"
    if reason is not None:
        raise InvalidInput(f"'{name}' is not a valid name for a {what}: {reason}", name=name)
    return name


def fold(name: str) -> str:
    """Return what two names that differ only in case or Unicode form have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


# --- who writes --------------------------------------------------------------------------------


@cache
def machine() -> str:
    """Return what tells this machine, since its last start, from others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{platform.node()} {boot}".strip()


def process_start(pid: int) -> str:
    """Return when a process started, in a form that tells it from a later one with its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def this_writer() -> dict[str, Any]:
    """Return a description of this process."""
    pid = os.getpid()
    return {"machine": machine(), "pid": pid, "start": process_start(pid)}


def is_alive(writer: dict[str, Any]) -> bool:
    """Return whether a writer still runs; those on other machines are taken to."""
    if writer["machine"] != machine():
        # after a restart of this machine none of its old processes runs
        return str(writer["machine"]).split(" ")[0] != machine().split(" ")[0]
    try:
        os.kill(writer["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return process_start(writer["pid"]) == str(writer["start"])


# --- records -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunRef:
    """What a run's ref says: its newest state, where that lies, and how the run stands."""

    oid: Oid | None
    line: int
    step: int
    record: Oid
    status: str = "active"
    created: int = 0
    ended: int | None = None
    writer: dict[str, Any] | None = None
    parent: str | None = None  # the name of the run that it was branched off
    episodes: int = 0  # of the newest state's history
    returned: float = 0.0  # the sum of its rewards

    @property
    def place(self) -> Location:
        """Where the newest state lies."""
        return Location(self.line, self.step)

    @property
    def shown_status(self) -> str:
        """The status, ``crashed`` if the run's writer is gone without having ended it."""
        gone = self.status == "active" and self.writer is not None and not is_alive(self.writer)
        return "crashed" if gone else self.status


@dataclass(frozen=True)
class TagRef:
    """What a tag's ref says: a state, and the annotation if it has one."""

    oid: Oid
    tag: Oid | None = None


@dataclass(frozen=True)
class LogEntry:
    """One change of a ref."""

    old: Oid | None
    new: Oid | None
    time: int
    message: str
    pid: int = field(default_factory=os.getpid)


WRITER_TYPES: Final = {"machine": TEXT, "pid": INT, "start": TEXT}
HEAD_TYPES: Final = {"oid": BYTES, "run": TEXT}
RUN_TYPES: Final = {
    "oid": MAYBE_BYTES, "line": INT, "step": INT, "record": BYTES, "status": TEXT,
    "created": INT, "ended": MAYBE_INT, "writer": (dict, NoneType), "parent": MAYBE_TEXT,
    "episodes": INT, "returned": (float, int),
}  # fmt: skip
TAG_TYPES: Final = {"oid": BYTES, "tag": MAYBE_BYTES}
LOG_TYPES: Final = {
    "old": MAYBE_BYTES, "new": MAYBE_BYTES, "time": INT, "message": TEXT, "pid": INT,
}  # fmt: skip
_TYPES: Final[dict[type, Types]] = {RunRef: RUN_TYPES, TagRef: TAG_TYPES, LogEntry: LOG_TYPES}


def now() -> int:
    """Return the time in nanoseconds since 1970, UTC."""
    return time.time_ns()


def pack_ref(record: dict[str, Any]) -> bytes:
    """Return the fields of a ref, or of an entry of a log, as they are stored."""
    body = pack_record(record)
    return body + checksum(body)


def ref_fields(record: Any) -> dict[str, Any]:
    """Return a record's fields; unlike ``asdict`` without copying what is in them."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def unpack_ref(value: bytes) -> dict[str, Any]:
    """Return the fields of a ref, or of an entry of a log.

    Raises:
        Integrity: they are damaged.
    """
    return dict(_unpacked(value))


@lru_cache(64)  # a commit reads the ref that it moves several times
def _unpacked(value: bytes) -> dict[str, Any]:
    body = value[:-CHECKSUM_SIZE]
    if checksum(body) != value[-CHECKSUM_SIZE:]:
        raise Integrity("a ref is damaged")
    record = unpack_value(body)
    if not isinstance(record, dict):
        raise Integrity("a ref is damaged")
    return record


def _decode(value: bytes, kind: type[Any]) -> Any:
    record = unpack_ref(value)
    check_fields(record, _TYPES[kind], "a ref")
    if record.get("writer") is not None:
        check_fields(record["writer"], WRITER_TYPES, "a ref")
    try:
        for name in ("oid", "record", "tag", "old", "new"):
            if record.get(name) is not None:
                record[name] = Oid(record[name])
        return kind(**record)
    except (TypeError, AttributeError, InvalidInput):
        raise Integrity("a ref is damaged") from None


def decode_oid(raw: bytes, what: str) -> Oid:
    """Return an oid that was stored.

    Raises:
        Integrity: it is none.
    """
    if len(raw) != OID_SIZE:
        raise Integrity(f"{what} is damaged: it names no object")
    return Oid(raw)


@lru_cache(64)
def _decode_run(value: bytes) -> RunRef:
    found: RunRef = _decode(value, RunRef)
    return found


def decode_entry(value: bytes) -> LogEntry:
    """Return an entry of a reflog.

    Raises:
        Integrity: it is damaged.
    """
    entry: LogEntry = _decode(value, LogEntry)
    return entry


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
            raise NotFound(f"run '{name}' not found", name=name)
        return _decode_run(value)

    def has_run(self, txn: ReadTxn, name: str) -> bool:
        """Return whether there is a run of this name."""
        return txn.get("refs", (RUNS + name).encode(errors="replace")) is not None

    def tag(self, txn: ReadTxn, name: str) -> TagRef:
        """Return a tag's ref.

        Raises:
            NotFound: there is no such tag.
        """
        value = txn.get("refs", (TAGS + name).encode(errors="replace"))
        if value is None:
            raise NotFound(f"tag '{name}' not found", name=name)
        found: TagRef = _decode(value, TagRef)
        return found

    def has_tag(self, txn: ReadTxn, name: str) -> bool:
        """Return whether there is a tag of this name."""
        return txn.get("refs", (TAGS + name).encode(errors="replace")) is not None

    def runs(self, txn: ReadTxn) -> Iterator[tuple[str, RunRef]]:
        """Yield name and ref of all runs, ordered by name."""
        for key, value in txn.scan("refs", b"runs/", b"runs0"):
            yield decode_name(key[len(RUNS) :]), _decode_run(value)

    def tags(self, txn: ReadTxn) -> Iterator[tuple[str, TagRef]]:
        """Yield name and ref of all tags, ordered by name."""
        for key, value in txn.scan("refs", b"tags/", b"tags0"):
            yield decode_name(key[len(TAGS) :]), _decode(value, TagRef)

    def head(self, txn: ReadTxn) -> str | Oid:
        """Return the name of the run that HEAD points at, or the oid of a detached HEAD."""
        raw = txn.get("refs", b"HEAD")
        value: dict[str, Any] = {"run": "main"} if raw is None else unpack_ref(raw)
        check_fields(value, HEAD_TYPES, "HEAD", every=False)
        if len(value) != 1:
            raise Integrity("HEAD is damaged")
        return decode_oid(value["oid"], "HEAD") if "oid" in value else str(value["run"])

    def log(self, txn: ReadTxn, ref: str) -> Iterator[LogEntry]:
        """Yield the changes of a ref, the newest first."""
        key = ref.encode() + b"\0"
        for _, value in txn.scan("log", key, key + b"\xff" * 9, reverse=True):
            yield _decode(value, LogEntry)

    # --- writing ---

    def create_run(self, txn: WriteTxn, name: str, ref: RunRef, message: str) -> None:
        """Create a run.

        Raises:
            AlreadyExists: there is one of this name, or one that differs in case or Unicode form.
        """
        check_name(name)
        self._claim(txn, RUNS, name, "run")
        self._put(txn, RUNS + name, ref_fields(ref))
        self.log_entry(txn, RUNS + name, None, ref.oid, message)

    def update_run(
        self, txn: WriteTxn, name: str, old: RunRef, new: RunRef, message: str | None
    ) -> None:
        """Replace a run's ref if it still is ``old``'s state; ``message`` None logs nothing.

        Raises:
            Conflict: it moved.
        """
        current = self.run(txn, name)
        if current.oid != old.oid:
            raise Conflict(f"run '{name}' moved since it was read", name=name)
        self._put(txn, RUNS + name, ref_fields(new))
        if message is not None:
            self.log_entry(txn, RUNS + name, old.oid, new.oid, message)
            if self.head(txn) == name:
                self.log_entry(txn, HEAD, old.oid, new.oid, message)

    def delete_run(self, txn: WriteTxn, name: str, message: str) -> RunRef:
        """Remove a run; its reflog stays."""
        ref = self.run(txn, name)
        txn.delete("refs", (RUNS + name).encode())
        self._release(txn, RUNS, name)
        self._rename_parent(txn, name, None)  # another run may get the name
        self.log_entry(txn, RUNS + name, ref.oid, None, message)
        return ref

    def _rename_parent(self, txn: WriteTxn, old: str, new: str | None) -> None:
        for name, child in list(self.runs(txn)):
            if child.parent == old:
                self._put(txn, RUNS + name, ref_fields(replace(child, parent=new)))

    def rename_run(self, txn: WriteTxn, old: str, new: str) -> int:
        """Rename a run together with its reflog, and HEAD if it points there.

        Returns:
            Which entry of the new name's reflog was the old one's first.
        """
        check_name(new)
        ref = self.run(txn, old)
        txn.delete("refs", (RUNS + old).encode())
        self._release(txn, RUNS, old)
        self._claim(txn, RUNS, new, "run")
        self._put(txn, RUNS + new, ref_fields(ref))
        moved_to = self.move_log(txn, RUNS + old, 0, RUNS + new)
        self._rename_parent(txn, old, new)
        self.log_entry(txn, RUNS + new, ref.oid, ref.oid, f"branch: renamed {old} to {new}")
        if self.head(txn) == old:
            self.set_head(txn, new, f"branch: renamed {old} to {new}")
        return moved_to

    def create_tag(self, txn: WriteTxn, name: str, ref: TagRef, force: bool = False) -> None:
        """Create a tag, or move it with ``force``.

        Raises:
            AlreadyExists: there is one of this name, or one that differs in case or Unicode form.
        """
        check_name(name, "tag")
        old = None
        if force and self.has_tag(txn, name):
            old = self.tag(txn, name).oid
            self._release(txn, TAGS, name)
        self._claim(txn, TAGS, name, "tag")
        self._put(txn, TAGS + name, ref_fields(ref))
        self.log_entry(txn, TAGS + name, old, ref.oid, f"tag: {name}")

    def delete_tag(self, txn: WriteTxn, name: str) -> TagRef:
        """Remove a tag; its reflog stays."""
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

    def move_head(self, txn: WriteTxn, oid: Oid, message: str) -> None:
        """Move a detached HEAD."""
        self.set_head(txn, oid, message)

    def head_oid(self, txn: ReadTxn) -> Oid | None:
        """Return the state that HEAD leads to, None if there is none yet."""
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
            other = taken.decode()
            why = "" if other == name else f" as '{other}' (names that differ only in case or form)"
            raise AlreadyExists(f"{what} '{name}' already exists{why}", name=other)
        txn.put("meta", key, name.encode())

    def _release(self, txn: WriteTxn, space: str, name: str) -> None:
        txn.delete("meta", b"fold\0" + (space + fold(name)).encode())

    def log_entry(
        self, txn: WriteTxn, ref: str, old: Oid | None, new: Oid | None, message: str
    ) -> None:
        """Add an entry to a ref's log."""
        entry = ref_fields(LogEntry(old, new, now(), message))
        number = self._next_entry(txn, ref)
        txn.put("log", ref.encode() + b"\0" + number.to_bytes(8, "big"), pack_ref(entry))

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
            txn.delete("meta", TRIMMED + old.encode())  # the next entry will be its first
        # a deleted run of the new name has left its own entries, which remain the older ones
        at = self._next_entry(txn, new)
        for number, (_, value) in enumerate(entries, at):
            txn.put("log", new.encode() + b"\0" + number.to_bytes(8, "big"), value)
        return at

    def put_back(
        self, txn: WriteTxn, refs: Mapping[str, dict[str, Any] | None], message: str
    ) -> None:
        """Make refs what they were: full names to fields, None for a ref that was not there.

        A run keeps its writer if its newest state stays. The reflogs say what happened.

        Raises:
            AlreadyExists: another ref has taken a name that differs only in case or Unicode form.
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
        """Store a ref whose record could not be read; the reflog says so."""
        self._put(txn, ref, fields)
        old = None
        with suppress(Integrity):
            old = next((entry.new for entry in self.log(txn, ref)), None)
        oid = self.head_oid(txn) if ref == HEAD else _oid_in(fields)
        self.log_entry(txn, ref, old, oid, message)

    def end_log(self, txn: WriteTxn, ref: str, message: str) -> None:
        """Let the reflog of a run end where the run is, after entries were moved to it."""
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
        if ref != HEAD:
            space, _, name = ref.partition("/")
            self._release(txn, space + "/", name)

    def _set_back(
        self, txn: WriteTxn, ref: str, before: dict[str, Any] | None, fields: dict[str, Any]
    ) -> None:
        if ref != HEAD and before is None:
            space, _, name = ref.partition("/")
            self._claim(txn, space + "/", name, space.rstrip("s"))
        if ref.startswith(RUNS):
            stays = before is not None and before["oid"] == fields["oid"]
            fields = {**fields, "writer": before["writer"] if before and stays else None}
        self._put(txn, ref, fields)


def _oid_in(fields: dict[str, Any] | None) -> Oid | None:
    """Return the state that the fields of a run or a tag name."""
    return None if fields is None or fields["oid"] is None else Oid(fields["oid"])


def moved(ref: RunRef, tip: Tip) -> RunRef:
    """Return a run's ref after it went on to another state."""
    return replace(
        ref, oid=tip.oid, line=tip.place.line, step=tip.place.step,
        episodes=tip.episode, returned=tip.returned,
    )  # fmt: skip
