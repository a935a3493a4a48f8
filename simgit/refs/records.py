"""Records of refs and of reflog entries, and their stored form; see docs/store-layout.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from sys import intern
from types import NoneType
from typing import Any, Final, NamedTuple

from simgit.errors import IntegrityError, InvalidInput, shown
from simgit.objects.canonical import unpack_plain
from simgit.objects.codec import pack_record, unpack_value
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb.location import LIMIT, Location
from simgit.odb.segments.batch import Tip
from simgit.process import is_alive

Types = Mapping[str, tuple[type, ...]]
INT: Final = (int,)
TEXT: Final = (str,)
FLAG: Final = (bool,)
BYTES: Final = (bytes,)
MAYBE_INT: Final = (int, NoneType)
MAYBE_TEXT: Final = (str, NoneType)
MAYBE_BYTES: Final = (bytes, NoneType)


_SIGNED: Final = {"created", "ended", "time", "until", "returned"}
"""Fields that may be negative: times before 1970, and sums of rewards."""


def check_fields(record: Any, types: Types, what: str, every: bool = True) -> None:
    """Check that a record is a map of its known fields, each of its type and within its range.

    Args:
        record: the decoded record.
        types: the allowed types by name; a bool does not count as an int.
        what: the subject of the error message.
        every: True if no field may be missing.

    Raises:
        IntegrityError: it is malformed.
    """
    if type(record) is not dict or (every and len(record) != len(types)):
        raise IntegrityError(f"{what} is malformed: it must have the fields {', '.join(types)}")
    for name, value in record.items():
        if name not in types:
            raise IntegrityError(f"{what} is malformed: unknown field {shown(name)}")
        if type(value) not in types[name]:
            wanted = " or ".join(each.__name__.replace("NoneType", "None") for each in types[name])
            raise IntegrityError(
                f"{what} is malformed: field '{name}' must be {wanted}, got {shown(value)}"
            )
        if type(value) is int and not (-LIMIT * 2 if name in _SIGNED else 0) <= value < LIMIT * 2:
            raise IntegrityError(f"{what} is malformed: field '{name}' is out of range: {value}")
        if name in ("line", "step") and value >= LIMIT:
            raise IntegrityError(f"{what} is malformed: field '{name}' is out of range: {value}")


STATUSES: Final = ("active", "paused", "completed", "failed", "crashed")


class RunRef(NamedTuple):
    """The ref of a run: its newest state, the state's location, and the run's status."""

    oid: Oid | None
    line: int
    step: int
    record: Oid
    status: str = "active"
    created: int = 0
    ended: int | None = None
    writer: dict[str, Any] | None = None
    parent: str | None = None  # the name of the run that it was branched off
    episodes: int | None = 0  # in the newest state's history; None if that is shallow
    returned: float = 0.0  # the sum of its rewards

    @property
    def place(self) -> Location:
        """The location of the newest state."""
        return Location(self.line, self.step)

    @property
    def shown_status(self) -> str:
        """The status; ``crashed`` if the run's writer died without ending it."""
        gone = self.status == "active" and self.writer is not None and not is_alive(self.writer)
        return "crashed" if gone else self.status

    @property
    def is_claimed(self) -> bool:
        """True if a living process records the run."""
        return self.writer is not None and self.shown_status == "active"


class TagRef(NamedTuple):
    """The ref of a tag: a state, and the annotation if it has one."""

    oid: Oid
    tag: Oid | None = None


class LogEntry(NamedTuple):
    """One change of a ref."""

    old: Oid | None
    new: Oid | None
    time: int
    message: str
    pid: int


WRITER_TYPES: Final = {"machine": TEXT, "pid": INT, "start": TEXT}
HEAD_TYPES: Final = {"oid": BYTES, "run": TEXT}
RUN_TYPES: Final = {
    "oid": MAYBE_BYTES, "line": INT, "step": INT, "record": BYTES, "status": TEXT,
    "created": INT, "ended": MAYBE_INT, "writer": (dict, NoneType), "parent": MAYBE_TEXT,
    "episodes": MAYBE_INT, "returned": (float, int),
}  # fmt: skip
TAG_TYPES: Final = {"oid": BYTES, "tag": MAYBE_BYTES}
LOG_TYPES: Final = {
    "old": MAYBE_BYTES, "new": MAYBE_BYTES, "time": INT, "message": TEXT, "pid": INT,
}  # fmt: skip
_TYPES: Final[dict[type, Types]] = {RunRef: RUN_TYPES, TagRef: TAG_TYPES, LogEntry: LOG_TYPES}


def pack_ref(record: dict[str, Any]) -> bytes:
    """Return the stored form of the fields of a ref or of an entry of a log."""
    body = pack_record(record)
    return body + checksum(body)


def unpack_ref(value: bytes) -> dict[str, Any]:
    """Return the fields of a ref, or of an entry of a log.

    Raises:
        IntegrityError: they are damaged.
    """
    return dict(_unpacked(value))


@lru_cache(64)  # a commit reads the ref that it moves several times
def _unpacked(value: bytes) -> dict[str, Any]:
    body = value[:-CHECKSUM_SIZE]
    if checksum(body) != value[-CHECKSUM_SIZE:]:
        raise IntegrityError("a ref is damaged")
    record = unpack_value(body)
    if not isinstance(record, dict):
        raise IntegrityError("a ref is damaged")
    return record


def decode_ref(value: bytes, kind: type[Any]) -> Any:
    """Return a ref, or an entry of a log, of one of the classes above.

    Raises:
        IntegrityError: it is malformed.
    """
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
        raise IntegrityError("a ref is damaged") from None


def decode_oid(raw: bytes, what: str) -> Oid:
    """Return a stored oid.

    Raises:
        IntegrityError: it does not have 32 bytes.
    """
    if len(raw) != OID_SIZE:
        raise IntegrityError(f"{what} is malformed: an oid must have {OID_SIZE} bytes")
    return Oid(raw)


@lru_cache(64)
def decode_head(value: bytes) -> str | Oid:
    """Return the run that HEAD points at, or the state; IntegrityError if it is malformed."""
    record = unpack_ref(value)
    check_fields(record, HEAD_TYPES, "HEAD", every=False)
    if len(record) != 1:
        raise IntegrityError("HEAD is malformed: it must name a run or a state")
    return decode_oid(record["oid"], "HEAD") if "oid" in record else str(record["run"])


@lru_cache(64)
def decode_run(value: bytes) -> RunRef:
    """Return a run's ref; see ``decode_one_of_many``."""
    return decode_one_of_many(value)


def decode_one_of_many(value: bytes) -> RunRef:
    """Return a run's ref without keeping it.

    Raises:
        IntegrityError: it is malformed.
    """
    found = _usual_run(value)
    return decode_ref(value, RunRef) if found is None else found


def _usual_run(value: bytes) -> RunRef | None:
    """Return the ref of a run that nobody records, as nearly all of many are; None of another.

    It is checked as ``decode_ref`` does, in a third of the time.
    """
    body = value[:-CHECKSUM_SIZE]
    if checksum(body) != value[-CHECKSUM_SIZE:]:
        return None
    fields = unpack_plain(body)
    if type(fields) is not dict or tuple(fields) != RunRef._fields:
        return None
    values = tuple(fields.values())
    if tuple(map(type, values)) not in _USUAL:
        return None
    oid, line, step, record, status, created, ended, _, parent, episodes, returned = values
    last = ended or 0
    if (
        min(line, step, created, last, episodes) < 0
        or max(line, step) >= LIMIT
        or max(created, last, episodes) >= LIMIT * 2
        or len(record) != OID_SIZE
        or (oid is not None and len(oid) != OID_SIZE)
    ):
        return None
    return RunRef(
        None if oid is None else bytes.__new__(Oid, oid), line, step, bytes.__new__(Oid, record),
        intern(status), created, ended, None, parent and intern(parent), episodes, returned,
    )  # fmt: skip


_USUAL: Final = frozenset(
    (oid, int, int, bytes, str, int, ended, NoneType, parent, int, float)
    for oid in (bytes, NoneType)
    for ended in (int, NoneType)
    for parent in (str, NoneType)
)
"""The types of a run's fields."""


def decode_entry(value: bytes) -> LogEntry:
    """Return an entry of a reflog.

    Raises:
        IntegrityError: it is damaged.
    """
    entry: LogEntry = decode_ref(value, LogEntry)
    return entry


def moved(ref: RunRef, tip: Tip) -> RunRef:
    """Return a run's ref moved to another state."""
    return ref._replace(
        oid=tip.oid, line=tip.place.line, step=tip.place.step, episodes=tip.episode,
        returned=tip.returned,
    )  # fmt: skip
