"""The objects of a remote but its packs, and their keys; docs/remote-format.md."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from blake3 import blake3

from simgit.errors import FormatError, IntegrityError, InvalidInput
from simgit.objects.canonical import check_parts, unpack_plain
from simgit.objects.codec import pack_record
from simgit.objects.compression import CHECKSUM_SIZE, checksum, compress, decompress
from simgit.objects.oid import OID_SIZE, Oid
from simgit.refs.names import RUNS, TAGS, check_name
from simgit.refs.records import STATUSES

REMOTE: Final = "simgit-remote"
HEADS: Final = "heads"
REFS: Final = "refs/"
PACKS: Final = "packs/"
INDEX: Final = "index/"
TOMBS: Final = "tombs/"
LOG: Final = "log/"
LEASE: Final = "locks/gc"
PROBE: Final = "probe/"
CLAIMS: Final = "claims/"
PLACES: Final = (REMOTE, HEADS, REFS, PACKS, INDEX, TOMBS, LOG, LEASE, PROBE, CLAIMS)
"""What the keys of a remote begin with."""
VERSION: Final = 1
CONDITIONS: Final = ("exclusive", "etag", "etag-unquoted", "none")
MAX_REF: Final = 8 << 10
"""The most bytes of a ref."""
MAX_RECORD: Final = 16 << 10
"""The most bytes of any other map with a check."""
FULL_REF: Final = 6 << 10
"""The bytes of a ref that would be larger without a shard."""
MAX_LISTED: Final = 64
"""The most packs that a ref lists itself."""
MAX_SHARD: Final = 10_000
"""The most packs of a shard."""
FANOUT: Final = 8
"""How many shards of a level become one of the next."""
MAX_FRAME: Final = 64 << 20
"""The most bytes of a shard, and of ``heads``."""
_MAX_INFLATED: Final = 256 << 20
_PARTS: Final = 1 << 22
_HASH: Final = re.compile("[0-9a-f]{64}")
_LEVEL: Final = re.compile("0|[1-9][0-9]?")


# --- keys ---------------------------------------------------------------------------------------


def key_of_ref(ref: str) -> str:
    """Return the key of a ref, given its full name: ``runs/…`` or ``tags/…``."""
    return REFS + "/".join(urllib.parse.quote(part, safe="") for part in ref.split("/")) + "@"


def folder_of_refs(names: str) -> str:
    """Return what the keys of refs begin with whose full names begin with ``names``.

    That is empty, or whole parts of a name with a slash at the end.
    """
    return REFS + "/".join(urllib.parse.quote(part, safe="") for part in names.split("/"))


def ref_of_key(key: str) -> str:
    """Return the full name of the ref that has a key.

    Raises:
        IntegrityError: no ref can have it.
    """
    try:
        name = "/".join(
            urllib.parse.unquote(part, errors="strict")
            for part in key.removeprefix(REFS).removesuffix("@").split("/")
        )
        if name.startswith((RUNS, TAGS)) and key_of_ref(check_ref(name)) == key:
            return name
    except (UnicodeDecodeError, InvalidInput):
        pass
    raise IntegrityError(f"the remote has an object '{key}', which is no ref")


def key_of_claim(name: str) -> str:
    """Return the key of a claim, given the name of what is claimed.

    Raises:
        InvalidInput: it cannot be the name of anything.
    """
    check_name(name, "a claim")
    return CLAIMS + "/".join(urllib.parse.quote(part, safe="") for part in name.split("/")) + "@"


def check_ref(name: str) -> str:
    """Return the full name of a run or tag, which must be one.

    Raises:
        InvalidInput: it cannot have this name.
    """
    check_name(name[5:], "a run" if name.startswith(RUNS) else "a tag")
    return name


def key_of_pack(name: bytes) -> str:
    """Return the key of a pack, given its hash."""
    digits = name.hex()
    return f"{PACKS}{digits[:2]}/{digits}"


def key_of_shard(level: int, name: bytes) -> str:
    """Return the key of a shard, given its level and hash."""
    return f"{INDEX}{level}/{name.hex()}"


def name_of_key(key: str) -> bytes | None:
    """Return the hash that is the name of a pack or shard, given its key or that of its tomb.

    Returns:
        None if nothing of these can have the key.
    """
    place, *middle, digits = key.split("/")
    if not _HASH.fullmatch(digits):
        return None
    if place + "/" == PACKS:
        good = middle == [digits[:2]]
    elif place + "/" == INDEX:
        good = len(middle) == 1 and _LEVEL.fullmatch(middle[0]) is not None
    else:
        good = place + "/" == TOMBS and not middle
    return bytes.fromhex(digits) if good else None


# --- records ------------------------------------------------------------------------------------


def encode_record(record: dict[str, Any]) -> bytes:
    """Return a map with its check."""
    body = pack_record(record)
    return body + checksum(body)


def decode_record(data: bytes, key: str) -> dict[str, Any]:
    """Return the map of an object.

    Raises:
        IntegrityError: it is damaged.
    """
    body = data[:-CHECKSUM_SIZE]
    if len(data) <= CHECKSUM_SIZE or checksum(body) != data[-CHECKSUM_SIZE:]:
        raise damaged(key)
    found = _unpacked(body, key)
    if type(found) is not dict:
        raise damaged(key)
    return found


def damaged(key: str) -> IntegrityError:
    """Return the error for an object of the remote that is not as its format says."""
    return IntegrityError(f"object '{key}' of the remote is damaged", key=key)


def _unpacked(body: bytes, key: str) -> Any:
    try:
        check_parts(body, _PARTS)
        return unpack_plain(body)
    except IntegrityError:
        raise damaged(key) from None


@dataclass(frozen=True)
class RemoteInfo:
    """The first object of a remote: which one it is, and how its refs are replaced."""

    id: bytes
    conditional: str

    def encode(self) -> bytes:
        """Return its bytes."""
        return encode_record(
            {"version": VERSION, "id": self.id, "conditional": self.conditional, "encryption": None}
        )

    @classmethod
    def decode(cls, data: bytes) -> RemoteInfo:
        """Return the decoded object.

        Raises:
            FormatError: a newer version wrote it, or it is encrypted.
            IntegrityError: it is damaged.
        """
        found = decode_record(data, REMOTE)
        version = found.get("version")
        if type(version) is int and version > VERSION:
            raise FormatError(
                f"the remote has format {version}, and this simgit reads format {VERSION}; "
                "install a newer simgit"
            )
        if version == VERSION and found.get("encryption") is not None:
            raise FormatError("the remote is encrypted; this simgit cannot read it")
        good = (
            version == VERSION
            and _is_bytes(found.get("id"), 16)
            and found.get("conditional") in CONDITIONS
        )
        if not good:
            raise damaged(REMOTE)
        return cls(found["id"], found["conditional"])


class ClaimRecord(NamedTuple):
    """A claim: a piece of work that at most one process has.

    Attributes:
        holder: 16 random bytes of the process that claimed it.
        interval: the time between two renewals, in milliseconds.
        state: ``held``, ``free`` or ``done``.
        seq: how many times it was written.
    """

    holder: bytes
    interval: int
    state: str
    seq: int

    def encode(self) -> bytes:
        """Return its bytes."""
        return encode_record(self._asdict())

    @classmethod
    def decode(cls, data: bytes, key: str) -> ClaimRecord:
        """Return the decoded claim.

        Raises:
            IntegrityError: it is damaged.
        """
        found = decode_record(data, key)
        record = cls(*(found.get(name) for name in cls._fields))  # type: ignore[arg-type]
        numbers = record.seq, record.interval
        good = (
            record.state in ("held", "free", "done")
            and all(type(each) is int and 0 < each < 1 << 62 for each in numbers)
            and _is_bytes(record.holder, 16)
        )
        if not good:
            raise damaged(key)
        return record


class PackStretch(NamedTuple):
    """Consecutive states in a pack.

    Attributes:
        ref: the full name of a ref that was pushed with them and leads to them.
        first, last: the steps of the first and the last one.
        oid: of the last one.
    """

    ref: str
    first: int
    last: int
    oid: Oid


class PackEntry(NamedTuple):
    """The description of a pack in shards and refs.

    Attributes:
        name: its hash.
        size: in bytes.
        states: how many it has.
        after: the packs that must be imported before it, of those that were pushed with it.
        stretches: its states.
    """

    name: bytes
    size: int
    states: int
    after: tuple[bytes, ...]
    stretches: tuple[PackStretch, ...]

    def plain(self) -> list[Any]:
        """Return the entry as a list of plain values."""
        stretches = [[each.ref, each.first, each.last, bytes(each.oid)] for each in self.stretches]
        return [self.name, self.size, self.states, list(self.after), stretches]


def _entry(found: Any) -> PackEntry:
    name, size, states, after, stretches = found
    for number in (size, states):
        _natural(number)
    if not _is_bytes(name, OID_SIZE) or not all(_is_bytes(each, OID_SIZE) for each in after):
        raise TypeError("a pack has a malformed name")
    return PackEntry(name, size, states, tuple(after), tuple(map(_stretch, stretches)))


def _stretch(found: Any) -> PackStretch:
    ref, first, last, oid = found
    if type(ref) is not str or not _natural(first) <= _natural(last):
        raise TypeError("a range of states is malformed")
    return PackStretch(ref, first, last, Oid(oid))


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError("a number is out of range")
    return value


def _is_bytes(value: Any, size: int) -> bool:
    return type(value) is bytes and len(value) == size


class ShardName(NamedTuple):
    """The level and the hash of a shard."""

    level: int
    name: bytes


def encode_shard(entries: Iterable[PackEntry]) -> bytes:
    """Return the bytes of a shard.

    Raises:
        InvalidInput: it would be too large to be read again.
    """
    body = pack_record({"packs": [each.plain() for each in entries]})
    data = _frame(body, 9)
    if data is None:
        raise InvalidInput(
            f"a list of packs with {len(body)} bytes is too large for a remote; push fewer runs "
            "at once"
        )
    return data


def _frame(body: bytes, level: int) -> bytes | None:
    """Return a map compressed at a level of zstd, None if it is larger than readers take."""
    try:
        check_parts(body, _PARTS)
    except IntegrityError:
        return None
    if len(body) > _MAX_INFLATED or len(data := compress(body, level)) > MAX_FRAME - CHECKSUM_SIZE:
        return None
    return data


def decode_shard(data: bytes, shard: ShardName) -> list[PackEntry]:
    """Return the entries of a shard.

    Raises:
        IntegrityError: its bytes do not have its hash, or are malformed.
    """
    key = key_of_shard(*shard)
    if blake3(data).digest() != shard.name:
        raise damaged(key)
    try:
        found = _unpacked(_inflated(data, key), key)
        entries = [_entry(each) for each in found["packs"]]
    except (ValueError, TypeError, KeyError, IntegrityError):
        raise damaged(key) from None
    if len(entries) > MAX_SHARD:
        raise damaged(key)
    return entries


def _inflated(data: bytes, key: str) -> bytes:
    import zstandard

    try:
        size = zstandard.frame_content_size(data)
    except zstandard.ZstdError:
        raise damaged(key) from None
    if not 0 <= size <= _MAX_INFLATED:
        raise damaged(key)
    return decompress(data, size)


# --- refs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RemoteRef:
    """A ref of a remote.

    Attributes:
        name: its full name: ``runs/…`` or ``tags/…``.
        remote: the id of the remote.
        oid: its newest state; None for a run without states.
        fields: of a run ``record``, ``status``, ``created``, ``ended``, ``parent``; of a tag
            ``tag``.
        shards: shards with the packs of its history.
        packs: the packs that are in no shard yet.
        seq: how many times it was written.
        writer: the identity of the repository that wrote it.
        push: random bytes, of the attempt that wrote it.
        deleted: True for one that was deleted: it has no state, no fields and no packs.
    """

    name: str
    remote: bytes
    oid: Oid | None
    fields: Mapping[str, Any]
    shards: tuple[ShardName, ...] = ()
    packs: tuple[PackEntry, ...] = ()
    seq: int = 1
    writer: bytes = b""
    push: bytes = field(default_factory=lambda: os.urandom(16))
    deleted: bool = False

    @property
    def key(self) -> str:
        """The key of its object."""
        return key_of_ref(self.name)

    def encode(self) -> bytes:
        """Return its bytes."""
        if self.deleted:
            return encode_record(
                {
                    "remote": self.remote, "name": self.name, "deleted": True,
                    "seq": self.seq, "writer": self.writer, "push": self.push,
                }
            )  # fmt: skip
        return encode_record(
            {
                "remote": self.remote, "name": self.name,
                "oid": None if self.oid is None else bytes(self.oid),
                **{k: bytes(v) if isinstance(v, Oid) else v for k, v in self.fields.items()},
                "shards": [list(each) for each in self.shards],
                "packs": [each.plain() for each in self.packs],
                "seq": self.seq, "writer": self.writer, "push": self.push,
            }
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes, name: str, remote: bytes) -> RemoteRef:
        """Return the decoded ref.

        Raises:
            IntegrityError: it is damaged, or that of another name or remote.
        """
        key = key_of_ref(name)
        if len(data) > MAX_REF:
            raise damaged(key)
        found = decode_record(data, key)
        if found.get("name") != name or found.get("remote") != remote:
            raise IntegrityError(f"object '{key}' of the remote is another ref, or of another one")
        try:
            return _ref(found, name)
        except (ValueError, TypeError, KeyError):
            raise damaged(key) from None


_COMMON: Final = {
    "remote", "name", "oid", "shards", "packs", "seq", "writer", "push",
}  # fmt: skip
_DELETED: Final = {"remote", "name", "deleted", "seq", "writer", "push"}
_RUN: Final = {"record", "status", "created", "ended", "parent"}


def _ref(found: dict[str, Any], name: str) -> RemoteRef:
    if type(found.get("writer")) is not bytes or not _is_bytes(found.get("push"), 16):
        raise ValueError("malformed writer")
    is_run = name.startswith(RUNS)
    if set(found) == _DELETED and found["deleted"] is True:
        return RemoteRef(
            name, found["remote"], None, {}, seq=_natural(found["seq"]), writer=found["writer"],
            push=found["push"], deleted=True,
        )  # fmt: skip
    if set(found) != _COMMON | (_RUN if is_run else {"tag"}):
        raise ValueError("unknown or missing fields")
    oid = None if found["oid"] is None else Oid(found["oid"])
    fields = _run_fields(found) if is_run else _tag_fields(found, oid)
    shards = tuple(ShardName(_natural(level), each) for level, each in found["shards"])
    if not all(_is_bytes(each.name, OID_SIZE) and each.level < 100 for each in shards):
        raise ValueError("a shard has a malformed name")
    return RemoteRef(
        name, found["remote"], oid, fields, shards, tuple(map(_entry, found["packs"])),
        _natural(found["seq"]), found["writer"], found["push"],
    )  # fmt: skip


def _run_fields(found: dict[str, Any]) -> dict[str, Any]:
    if found["status"] not in STATUSES:
        raise ValueError("unknown status")
    times = found["created"], found["ended"]
    for time in times if times[1] is not None else times[:1]:
        if type(time) is not int or not -(1 << 63) <= time < 1 << 63:
            raise ValueError("a time is out of range")
    parent = found["parent"]
    if parent is not None:
        check_name(parent, "a run")
    return {
        "record": Oid(found["record"]), "status": found["status"], "created": times[0],
        "ended": times[1], "parent": parent,
    }  # fmt: skip


def _tag_fields(found: dict[str, Any], oid: Oid | None) -> dict[str, Any]:
    if oid is None:
        raise ValueError("a tag without a state")
    return {"tag": None if found["tag"] is None else Oid(found["tag"])}


def encode_heads(refs: Mapping[str, tuple[str, bytes]]) -> bytes | None:
    """Return the frame of ``heads``, given ETag and bytes of refs by key; None if too large."""
    return _frame(pack_record({key: list(each) for key, each in refs.items()}), 3)


def decode_heads(frame: bytes) -> dict[str, tuple[str, bytes]]:
    """Return ETag and bytes of the refs in ``heads``, by key.

    Raises:
        IntegrityError: it is malformed.
    """
    found = _unpacked(_inflated(frame, HEADS), HEADS)
    try:
        pairs = {key: (etag, data) for key, (etag, data) in found.items()}
    except (ValueError, TypeError, AttributeError):
        raise damaged(HEADS) from None
    if not all(type(e) is str and type(d) is bytes for e, d in pairs.values()):
        raise damaged(HEADS)
    return pairs


# --- lists of packs -----------------------------------------------------------------------------


def with_packs(
    ref: RemoteRef,
    entries: Iterable[PackEntry],
    read: Callable[[ShardName], list[PackEntry]],
    write: Callable[[int, Sequence[PackEntry]], ShardName],
) -> RemoteRef:
    """Return a ref with more packs, in shards where they are many.

    Args:
        ref: the ref.
        entries: the packs, in the order of their import; those that it has already are left out
            by the caller.
        read: returns the entries of a shard.
        write: stores a shard of a level with entries, and returns its name.
    """
    packs = (*ref.packs, *entries)
    found = replace(ref, packs=packs)
    fits = sum(len(each.stretches) for each in packs) * OID_SIZE < FULL_REF  # or it is not encoded
    if len(packs) <= MAX_LISTED and fits and len(found.encode()) <= FULL_REF:
        return found
    shards = list(ref.shards)
    for start in range(0, len(packs), MAX_SHARD):
        shards.append(write(0, packs[start : start + MAX_SHARD]))
        while joined := _joined(shards, read, write):
            shards = joined
    found = replace(ref, packs=(), shards=tuple(shards))
    if len(found.encode()) > MAX_REF:
        raise InvalidInput(f"'{ref.name}' has too many packs for a remote; join them with gc")
    return found


def _joined(
    shards: list[ShardName],
    read: Callable[[ShardName], list[PackEntry]],
    write: Callable[[int, Sequence[PackEntry]], ShardName],
) -> list[ShardName] | None:
    """Return shards whose newest ones of one level are joined, None if there is nothing to do."""
    newest = shards[-FANOUT:]
    level = newest[0].level
    if len(newest) < FANOUT or any(each.level != level for each in newest):
        return None
    entries = [entry for each in newest for entry in read(each)]
    if len(entries) > MAX_SHARD:
        return None
    try:
        return [*shards[:-FANOUT], write(level + 1, entries)]
    except InvalidInput:  # too large as one: they stay
        return None
