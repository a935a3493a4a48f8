"""The manifest of a bundle: its refs, and the states that a receiver must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simgit.errors import IntegrityError, InvalidInput
from simgit.objects.canonical import limit_parts
from simgit.objects.codec import decode_value, encode_value
from simgit.objects.oid import Oid
from simgit.refs.names import check_name, own_ancestor
from simgit.refs.records import STATUSES
from simgit.remotes.bundle import limits


@dataclass(frozen=True)
class RunEntry:
    """A run of a bundle: the fields of its ref that do not follow from its newest state."""

    oid: Oid | None
    record: Oid
    status: str
    created: int
    ended: int | None
    parent: str | None


@dataclass(frozen=True)
class TagEntry:
    """A tag of a bundle: a state, and the annotation if it has one."""

    oid: Oid
    tag: Oid | None


@dataclass(frozen=True)
class Manifest:
    """The first record of a bundle.

    Attributes:
        prerequisites: states that the receiver must have, with all their ancestors.
        runs: by name.
        tags: by name.
        attachments: the names of the included attachments; None for all.
    """

    prerequisites: tuple[Oid, ...]
    runs: dict[str, RunEntry]
    tags: dict[str, TagEntry]
    attachments: tuple[str, ...] | None

    @property
    def refs(self) -> dict[str, Oid | None]:
        """The full names of runs and tags, with their states."""
        found = {f"runs/{name}": run.oid for name, run in self.runs.items()}
        return found | {f"tags/{name}": tag.oid for name, tag in self.tags.items()}

    def encode(self) -> bytes:
        """Return the body of its record.

        Raises:
            InvalidInput: it names more runs and tags than a reader accepts.
        """
        record = {
            "prerequisites": [bytes(oid) for oid in self.prerequisites],
            "runs": {name: _plain(run) for name, run in self.runs.items()},
            "tags": {name: _plain(tag) for name, tag in self.tags.items()},
            "attachments": None if self.attachments is None else list(self.attachments),
        }
        body = encode_value(record, "manifest")
        limit_parts(body, "the manifest of the bundle")
        return body

    @classmethod
    def decode(cls, body: bytes) -> Manifest:
        """Return the manifest of a record's body.

        Raises:
            IntegrityError: it is malformed, or has a name that is not allowed for a ref.
        """
        limits.check_manifest(body)
        record = decode_value(body)
        try:
            found = cls(
                tuple(Oid(oid) for oid in record["prerequisites"]),
                {check_name(name, "a run"): _run(entry) for name, entry in record["runs"].items()},
                {check_name(name, "a tag"): _tag(entry) for name, entry in record["tags"].items()},
                None if record["attachments"] is None else tuple(map(_text, record["attachments"])),
            )
            if name := own_ancestor({name: run.parent for name, run in found.runs.items()}):
                raise InvalidInput(f"run '{name}' is its own ancestor")
            return found
        except InvalidInput as error:
            raise IntegrityError(f"malformed manifest of the bundle: {error}") from None
        except (KeyError, TypeError, AttributeError):
            raise IntegrityError("malformed manifest of the bundle") from None


def _plain(entry: RunEntry | TagEntry) -> dict[str, Any]:
    fields = {name: getattr(entry, name) for name in entry.__dataclass_fields__}
    return {k: bytes(v) if isinstance(v, Oid) else v for k, v in fields.items()}


def _run(entry: dict[str, Any]) -> RunEntry:
    oid = None if entry["oid"] is None else Oid(entry["oid"])
    times = _integer(entry["created"]), None if entry["ended"] is None else _integer(entry["ended"])
    parent = None if entry["parent"] is None else check_name(_text(entry["parent"]), "a run")
    status = entry["status"]
    if status not in STATUSES:
        raise TypeError(f"unknown status '{status}'")
    return RunEntry(oid, Oid(entry["record"]), status, *times, parent)


def _tag(entry: dict[str, Any]) -> TagEntry:
    return TagEntry(Oid(entry["oid"]), None if entry["tag"] is None else Oid(entry["tag"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name must be a string")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise TypeError("a time must be an integer of 64 bits")
    return value
