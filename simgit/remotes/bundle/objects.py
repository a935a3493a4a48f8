"""Objects of a bundle: their hashes recomputed, their links checked, and stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from simgit.errors import IntegrityError, InvalidInput, NotFound
from simgit.objects.arrays import decode_array
from simgit.objects.kinds import KIND_CODES, Binding, Decodable, Run, Tag, Tree, decode_object
from simgit.objects.oid import OID_SIZE, Oid, hash_object
from simgit.odb import foreign, trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.loose import loose_base, loose_chunks, loose_size
from simgit.refs import attachments, own_names
from simgit.remotes.bundle import limits
from simgit.remotes.bundle.records import MAX_OBJECT
from simgit.storage.base import ReadTxn, WriteTxn


def split_object(body: bytes, max_object: int) -> tuple[Oid, bytes]:
    """Return oid and stored form of a record's object.

    Raises:
        IntegrityError: it is malformed, or claims to be larger than allowed.
    """
    oid, value = body[:OID_SIZE], body[OID_SIZE:]
    size = loose_size(value)
    if size > max_object or limits.is_too_large(value):
        raise IntegrityError(f"object '{oid.hex()}' of the bundle claims {size} bytes, too many")
    if max_object == MAX_OBJECT and limits.inflates_too_much(value):
        raise IntegrityError(
            f"object '{oid.hex()}' of the bundle claims {size} bytes, too many for its "
            f"{len(value)}; accept it with --max-object (max_object)"
        )
    if loose_chunks(value) is not None:
        raise IntegrityError(f"malformed object '{oid.hex()}': encoding not allowed in a bundle")
    return Oid(oid), value


def decode(odb: ObjectDatabase, txn: ReadTxn, oid: Oid, value: bytes) -> tuple[str, bytes]:
    """Return kind and payload of an object, its hash recomputed.

    Raises:
        IntegrityError: its hash does not match, it is malformed, or its base is missing.
    """
    base = loose_base(value)
    if base is not None and odb.loose(txn, base) is None:
        raise IntegrityError(f"object '{oid.hex()}' of the bundle is a delta to a missing object")
    kind, payload = odb.decode_loose(txn, oid, value)
    if hash_object(kind, payload) != oid:
        raise IntegrityError(f"hash mismatch in the bundle: {kind} '{oid.hex()}'")
    limits.check_object(kind, payload)
    return kind, payload


class Bound(NamedTuple):
    """An attachment that was stored: its binding here, and its name if it was kept aside."""

    oid: Oid
    aside: str | None


def store(odb: ObjectDatabase, txn: WriteTxn, oid: Oid, value: bytes) -> Bound | None:
    """Store a new object; return what an attachment became.

    Raises:
        IntegrityError: it is damaged, or refers to a missing object.
    """
    # a binding that exists need not be bound
    if value[0] != KIND_CODES["binding"] and odb.exists(txn, oid):
        return None
    kind, payload = decode(odb, txn, oid, value)
    thing = decode_object(kind, payload)
    check_links(odb, txn, oid, thing)
    is_new = txn.get("objects", oid) is None
    if isinstance(thing, Binding):
        return bind(odb, txn, thing, is_new)
    if is_new and kind in foreign.KINDS:
        foreign.mark(txn, oid)
    if kind == "array":
        odb.put_array(txn, decode_array(payload), loose_base(value))
    else:
        odb.put_payload(txn, kind, payload)
    return None


def bind(odb: ObjectDatabase, txn: WriteTxn, binding: Binding, is_new: bool) -> Bound:
    """Bind an attachment, as a foreign one if it is new, or aside; return what it became.

    Raises:
        IntegrityError: its name is not allowed, or its state or target is missing.
    """
    target = binding.target_kind, binding.target
    try:
        bound = attachments.attachments(odb, txn, binding.state)
        there = bound.get(binding.name)
        base = own_names.name_to_bind(odb, txn, binding.name, target, there)  # of its session
        for name in attachments.names_aside(base):
            if bound.get(name) == target:
                return Bound(attachments.binding(txn, binding.state, name), None)
            if name not in bound:
                attachments.attach(odb, txn, binding.state, name, *target)
                oid = attachments.binding(txn, binding.state, name)
                if is_new or name != binding.name:
                    foreign.mark(txn, oid)
                return Bound(oid, name if name != base else None)
    except (InvalidInput, NotFound) as error:
        raise IntegrityError(f"malformed attachment in the bundle: {error}") from None
    raise AssertionError


def check_links(odb: ObjectDatabase, txn: ReadTxn, oid: bytes, thing: Decodable) -> None:
    """Check that all objects that an object refers to exist and are of the right kind.

    Raises:
        IntegrityError: one is missing or of another kind.
    """
    links = list(_links(thing))
    if isinstance(thing, Binding) and has(odb, txn, thing.target_kind, thing.target):
        named = trees.states_named(odb, txn, thing.target_kind, thing.target)
        links += [("state", each) for each in named]
    for kind, link in links:
        if not has(odb, txn, kind, link):
            raise IntegrityError(
                f"object '{oid.hex()}' refers to {kind} '{link.hex()}', which is missing"
            )


def has(odb: ObjectDatabase, txn: ReadTxn, kind: str, oid: bytes) -> bool:
    """Return True if there is an object of a kind and hash."""
    value = txn.get("objects", oid)
    if value is not None:
        return value[0] == KIND_CODES[kind]
    if kind == "state":
        return odb.states.locate(txn, oid) is not None
    return kind == "array" and odb.states.find_array(txn, oid) is not None


def _links(thing: Decodable) -> Iterator[tuple[str, bytes]]:
    """Yield kind and oid of the objects that an object refers to."""
    if isinstance(thing, Tree):
        yield from ((entry.kind, entry.oid) for entry in thing.entries)
    elif isinstance(thing, Binding):
        yield from (("state", thing.state), (thing.target_kind, thing.target))
    elif isinstance(thing, Tag):
        yield "state", thing.target
    elif isinstance(thing, Run):
        if thing.parent is not None:
            yield "run", thing.parent
        if thing.branch_point is not None:
            yield "state", thing.branch_point
