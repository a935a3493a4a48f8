"""The kinds of objects: immutable, each with a payload and an oid. See docs/object-format.md."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple

from simgit.errors import IntegrityError, InvalidInput
from simgit.objects.arrays import AnyArray, decode_array, encode_array, to_array
from simgit.objects.codec import decode_value, encode_value
from simgit.objects.oid import OID_SIZE, Oid, hash_object
from simgit.objects.schema import Schema

KIND_CODES: Final = {
    "blob": 1, "array": 2, "tree": 3, "schema": 4, "spec": 5,
    "state": 6, "run": 7, "binding": 8, "tag": 9, "value": 10,
}  # fmt: skip
_EMPTY: Final[Mapping[str, Any]] = {}
KIND_NAMES: Final = {code: kind for kind, code in KIND_CODES.items()}


class Named:
    """The base of all objects: a kind and a payload, and therefore an oid.

    Objects are immutable, and equal if their oids are. They are plain classes: every command
    imports them, and a dataclass takes longer to make than the module to read.
    """

    kind: ClassVar[str]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and self.oid == other.oid

    def __hash__(self) -> int:
        return hash(self.oid)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"

    @property
    def payload(self) -> bytes:
        """The canonical encoding."""
        raise NotImplementedError

    @cached_property
    def oid(self) -> Oid:
        """The object's hash."""
        return hash_object(self.kind, self.payload)


class Blob(Named):
    """Bytes."""

    kind: ClassVar[str] = "blob"

    def __init__(self, data: bytes) -> None:
        self.data: Final = data

    @property
    def payload(self) -> bytes:
        """The bytes themselves."""
        return self.data

    @classmethod
    def decode(cls, payload: bytes) -> Blob:
        """Return the blob of these bytes."""
        return cls(payload)


class Array(Named):
    """A dtype, a shape and elements; two arrays are equal if their oids are."""

    kind: ClassVar[str] = "array"

    def __init__(self, data: AnyArray) -> None:
        self.data: Final = to_array(data)

    @cached_property
    def payload(self) -> bytes:
        """Header and elements."""
        return encode_array(self.data)

    @classmethod
    def decode(cls, payload: bytes) -> Array:
        """Return the array; raise IntegrityError if ``payload`` is malformed."""
        return cls(decode_array(payload))


class ValueObject(Named):
    """A canonical value."""

    kind: ClassVar[str] = "value"

    def __init__(self, value: Any) -> None:
        self.value: Final = value

    @property
    def payload(self) -> bytes:
        """Its canonical encoding."""
        return encode_value(self.value)

    @classmethod
    def decode(cls, payload: bytes) -> ValueObject:
        """Return the value; raise IntegrityError if ``payload`` is not canonical."""
        return cls(decode_value(payload))


TREE_FORMS: Final = ("map", "intmap", "list", "tuple")
_TREE_KINDS: Final = ("blob", "array", "tree", "value")
_DECIMAL: Final = r"0|-?[1-9][0-9]{0,19}"


class Entry(NamedTuple):
    """One entry of a tree."""

    name: str
    kind: str
    oid: Oid


class Tree(Named):
    """Named objects, in the order of the names' bytes."""

    kind: ClassVar[str] = "tree"

    def __init__(self, entries: tuple[Entry, ...], form: str = "map") -> None:
        ordered = sorted(entries, key=lambda entry: entry.name.encode())
        self.entries: Final = tuple(ordered)
        self.form: Final = form
        if len({entry.name for entry in ordered}) != len(ordered):
            raise InvalidInput("a tree cannot have two entries of one name")

    @property
    def payload(self) -> bytes:
        """Form, count and entries."""
        parts = [struct.pack("<BI", TREE_FORMS.index(self.form), len(self.entries))]
        for entry in self.entries:
            name = entry.name.encode()
            if len(name) > 0xFFFF:
                raise InvalidInput(f"a name in a tree must be shorter, got {len(name)} bytes")
            parts.append(struct.pack("<BH", KIND_CODES[entry.kind], len(name)) + name + entry.oid)
        return b"".join(parts)

    @classmethod
    def decode(cls, payload: bytes) -> Tree:
        """Return the tree; raise IntegrityError if ``payload`` is malformed."""
        try:
            form, count = struct.unpack_from("<BI", payload)
            entries, at = [], 5
            for _ in range(min(count, len(payload))):
                code, size = struct.unpack_from("<BH", payload, at)
                name = payload[at + 3 : at + 3 + size].decode()
                at += 3 + size + OID_SIZE
                entries.append(_entry(name, code, payload[at - OID_SIZE : at]))
            tree = cls(tuple(entries), TREE_FORMS[form])
        except (struct.error, UnicodeDecodeError, IndexError, InvalidInput):
            raise IntegrityError("malformed tree: truncated or not UTF-8") from None
        if len(entries) != count or tree.payload != payload:
            raise IntegrityError("malformed tree: not in canonical form")
        tree._check_names()
        return tree

    def _check_names(self) -> None:
        names = [entry.name for entry in self.entries]
        if self.form == "map":
            good = all(name and "\0" not in name for name in names)
        elif self.form == "intmap":
            good = all(re.fullmatch(_DECIMAL, name) for name in names)
        else:
            good = set(names) == {str(i) for i in range(len(names))}
        if not good:
            raise IntegrityError(f"malformed tree: a name does not fit the form '{self.form}'")

    def __getitem__(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(name)


def _entry(name: str, code: int, raw: bytes) -> Entry:
    kind = KIND_NAMES.get(code, "")
    if kind not in _TREE_KINDS or len(raw) != OID_SIZE:
        raise IntegrityError(f"malformed tree: an entry is of unknown kind {code}")
    return Entry(name, kind, Oid(raw))


def _map_payload(payload: bytes, kind: str) -> dict[str, Any]:
    value = decode_value(payload)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise IntegrityError(f"malformed {kind}: it must be a map with strings as keys")
    return value


class Spec(Named):
    """The origin of root states: canonical fields that can re-create an environment."""

    kind: ClassVar[str] = "spec"

    def __init__(self, fields: Mapping[str, Any] = _EMPTY) -> None:
        self.fields: Final = fields

    @property
    def payload(self) -> bytes:
        """The fields as a canonical map."""
        return encode_value(dict(self.fields), "spec")

    @classmethod
    def decode(cls, payload: bytes) -> Spec:
        """Return the spec; raise IntegrityError if ``payload`` is malformed."""
        return cls(_map_payload(payload, "spec"))


class StateObject(Named):
    """One moment of a simulation, linked to its parent states."""

    kind: ClassVar[str] = "state"

    def __init__(
        self, schema: Oid, parents: tuple[Oid, ...], origin: Oid | None, row: bytes
    ) -> None:
        self.schema: Final = schema
        self.parents: Final = parents
        self.origin: Final = origin
        self.row: Final = row

    @property
    def payload(self) -> bytes:
        """Schema, parents, origin, row."""
        origin = b"" if self.parents else (self.origin or b"")
        return b"".join((self.schema, bytes([len(self.parents)]), *self.parents, origin, self.row))

    @classmethod
    def decode(cls, payload: bytes) -> StateObject:
        """Return the state without decoding its row; raise IntegrityError if it is malformed."""
        if len(payload) < OID_SIZE + 1:
            raise IntegrityError("malformed state: truncated")
        count = payload[OID_SIZE]
        start = OID_SIZE + 1
        end = start + OID_SIZE * max(count, 1)
        if end > len(payload):
            raise IntegrityError("malformed state: truncated")
        oids = tuple(Oid(payload[i : i + OID_SIZE]) for i in range(start, end, OID_SIZE))
        if len(set(oids)) != len(oids):
            raise IntegrityError("malformed state: a parent occurs twice")
        parents, origin = (oids, None) if count else ((), oids[0])
        return cls(Oid(payload[:OID_SIZE]), parents, origin, payload[end:])


def _optional_oid(value: Any, what: str) -> Oid | None:
    if value is None:
        return None
    if not isinstance(value, bytes) or len(value) != OID_SIZE:
        raise IntegrityError(f"malformed oid: {what} must have {OID_SIZE} bytes")
    return Oid(value)


class Run(Named):
    """A run's configuration record: overrides of its parent's settings, and its branch point."""

    kind: ClassVar[str] = "run"

    def __init__(
        self,
        overrides: Mapping[str, Any] = _EMPTY,
        parent: Oid | None = None,
        branch_point: Oid | None = None,
        seed: Any = None,
        metadata: Mapping[str, Any] = _EMPTY,
    ) -> None:
        self.overrides: Final = overrides
        self.parent: Final = parent
        self.branch_point: Final = branch_point
        self.seed: Final = seed
        self.metadata: Final = metadata

    @property
    def payload(self) -> bytes:
        """The record as a canonical map."""
        record = {
            "overrides": dict(self.overrides),
            "parent": self.parent,
            "branch_point": self.branch_point,
            "seed": self.seed,
            "metadata": dict(self.metadata),
        }
        return encode_value(record, "run")

    @classmethod
    def decode(cls, payload: bytes) -> Run:
        """Return the record; raise IntegrityError if ``payload`` is malformed."""
        record = _map_payload(payload, "run")
        if set(record) != {"overrides", "parent", "branch_point", "seed", "metadata"}:
            raise IntegrityError("malformed run: it must have exactly its five fields")
        if not isinstance(record["overrides"], dict) or not isinstance(record["metadata"], dict):
            raise IntegrityError("malformed run: overrides and metadata must be maps")
        record["parent"] = _optional_oid(record["parent"], "a run's parent")
        record["branch_point"] = _optional_oid(record["branch_point"], "a run's branch point")
        return cls(**record)


class Binding(Named):
    """An attachment: an object that is bound to a state by a name, outside the state's hash."""

    kind: ClassVar[str] = "binding"

    def __init__(self, state: Oid, target_kind: str, target: Oid, name: str) -> None:
        self.state: Final = state
        self.target_kind: Final = target_kind
        self.target: Final = target
        self.name: Final = name

    @property
    def payload(self) -> bytes:
        """State, target, name."""
        return b"".join(
            (self.state, bytes([KIND_CODES[self.target_kind]]), self.target, self.name.encode())
        )

    @classmethod
    def decode(cls, payload: bytes) -> Binding:
        """Return the binding; raise IntegrityError if ``payload`` is malformed."""
        try:
            kind = KIND_NAMES[payload[OID_SIZE]]
            name = payload[2 * OID_SIZE + 1 :].decode()
            target = Oid(payload[OID_SIZE + 1 : 2 * OID_SIZE + 1])
            state = Oid(payload[:OID_SIZE])
        except (IndexError, KeyError, UnicodeDecodeError, InvalidInput):
            raise IntegrityError("malformed binding: truncated or not UTF-8") from None
        if kind not in _TREE_KINDS or not name:
            raise IntegrityError("malformed binding: it must have a name and an attachable target")
        return cls(state, kind, target, name)


class Tag(Named):
    """An annotated tag."""

    kind: ClassVar[str] = "tag"

    def __init__(self, target: Oid, name: str, message: str, tagger: str, time: int) -> None:
        self.target: Final = target
        self.name: Final = name
        self.message: Final = message
        self.tagger: Final = tagger
        self.time: Final = time

    @property
    def payload(self) -> bytes:
        """The tag as a canonical map."""
        record = {
            "target": self.target, "kind": "state", "name": self.name,
            "message": self.message, "tagger": self.tagger, "time": self.time,
        }  # fmt: skip
        return encode_value(record, "tag")

    @classmethod
    def decode(cls, payload: bytes) -> Tag:
        """Return the tag; raise IntegrityError if ``payload`` is malformed."""
        record = _map_payload(payload, "tag")
        texts = [record.get(key) for key in ("name", "message", "tagger", "kind")]
        if len(record) != 6 or not all(isinstance(text, str) for text in texts):
            raise IntegrityError("malformed tag: it must have exactly its six fields")
        if record.pop("kind") != "state" or type(record.get("time")) is not int:
            raise IntegrityError("malformed tag: unknown kind or malformed time")
        record["target"] = _optional_oid(record.get("target") or b"", "a tag's target")
        return cls(**record)


Decodable = Blob | Array | Tree | Spec | StateObject | Run | Binding | Tag | ValueObject | Schema
_DECODERS: Final[dict[str, type[Decodable]]] = {
    kind.kind: kind
    for kind in (Blob, Array, Tree, Spec, StateObject, Run, Binding, Tag, ValueObject)
} | {"schema": Schema}


def decode_object(kind: str, payload: bytes) -> Decodable:
    """Return the object of a kind that a payload encodes.

    Raises:
        IntegrityError: the kind is unknown, or the payload malformed or not in canonical form.
    """
    if kind not in _DECODERS:
        raise IntegrityError(f"unknown kind of object '{kind}'")
    return _DECODERS[kind].decode(payload)


NO_ORIGIN: Final = Spec({})
COUNTED: Final = {"spec": "the spec of a state", "run": "the record of a run"}
"""Kinds that are one value of any shape, whose parts are limited, with their names in messages."""
EMPTY_SCHEMA: Final = Schema()


def links_of(thing: Decodable) -> Iterator[bytes]:
    """Yield the oids that an object refers to."""
    if isinstance(thing, Tree):
        yield from (entry.oid for entry in thing.entries)
    elif isinstance(thing, Binding):
        yield from (thing.state, thing.target)
    elif isinstance(thing, Tag):
        yield thing.target
    elif isinstance(thing, Run):
        yield from (oid for oid in (thing.parent, thing.branch_point) if oid is not None)
