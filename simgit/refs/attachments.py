"""Attachments: objects bound to states by a name, without being part of the states' hashes.

attachments: 32-byte state oid ‖ name in UTF-8 -> oid of the binding
meta:        "latest" ‖ 00 ‖ name in UTF-8    -> oid of the last tree attached under a name
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final, NamedTuple

from simgit.errors import IntegrityError, InvalidInput, NotFound
from simgit.objects.codec import decode_name
from simgit.objects.kinds import Binding
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb import ancestry, trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.trees import Data
from simgit.refs.names import check_name
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.failpoints import fail_point

KINDS: Final = ("blob", "array", "tree", "value")
_TABLE: Final = "attachments"
_LATEST: Final = b"latest\0"
Target = tuple[str, Oid]


def attach(
    odb: ObjectDatabase, txn: WriteTxn, state: Oid, name: str, kind: str, oid: Oid
) -> Target | None:
    """Bind an object to a state; return the object that this name had there before, if any.

    Raises:
        InvalidInput: the name or the kind is not allowed for an attachment.
        NotFound: there is no such state or object.
    """
    check_attachment(name, kind)
    odb.locate(txn, state)
    if not odb.exists(txn, oid):
        raise NotFound(f"object '{oid}' not found", oid=oid)
    before = _target(odb, txn, _key(state, name))
    _bind(odb, txn, state, name, kind, oid)
    return before


def attach_data(odb: ObjectDatabase, txn: WriteTxn, state: Oid, name: str, data: Data) -> None:
    """Store data and bind it to an existing state, under a name that was checked.

    A tree is stored as its difference to the last one of this name.
    """
    _bind(odb, txn, state, name, *trees.store(odb, txn, data, latest(txn, name)))


def _bind(odb: ObjectDatabase, txn: WriteTxn, state: Oid, name: str, kind: str, oid: Oid) -> None:
    txn.put(_TABLE, _key(state, name), odb.put(txn, Binding(state, kind, oid, name)))
    fail_point("attachment.bound")
    if kind == "tree":
        txn.put("meta", _LATEST + name.encode(), oid)


def detach(odb: ObjectDatabase, txn: WriteTxn, state: Oid, name: str) -> Target:
    """Remove a binding; return the kind and oid of the object that was bound.

    Raises:
        NotFound: the state has no attachment of this name.
    """
    target = find(odb, txn, state, name)
    txn.delete(_TABLE, _key(state, name))
    return target


def attachments(odb: ObjectDatabase, txn: ReadTxn, state: Oid) -> dict[str, Target]:
    """Return kind and oid of everything that is attached to a state, by name, in order."""
    found = {}
    stop = (int.from_bytes(state, "big") + 1).to_bytes(OID_SIZE + 1, "big")[-OID_SIZE:]
    last = None if stop == bytes(OID_SIZE) else stop
    for key, _ in txn.scan(_TABLE, state, last):
        target = _target(odb, txn, key)
        assert target is not None
        found[decode_name(key[OID_SIZE:])] = target
    return found


def find(odb: ObjectDatabase, txn: ReadTxn, state: Oid, name: str) -> Target:
    """Return kind and oid of one attachment.

    Raises:
        NotFound: the state has no attachment of this name.
    """
    target = _target(odb, txn, _key(state, name)) if _is_name(name) else None
    if target is None:
        raise NotFound(f"state '{state.short()}' has no attachment '{name}'", name=name)
    return target


class Attached(NamedTuple):
    """An attachment in a history: its state, its name, and kind and oid of its data."""

    state: Oid
    step: int
    name: str
    kind: str
    oid: Oid


def in_history(
    odb: ObjectDatabase, txn: ReadTxn, tip: Location, name: str | None = None
) -> Iterator[Attached]:
    """Yield the attachments of a state and of its first-parent history, the newest first.

    Args:
        odb: the database.
        txn: the transaction.
        tip: the state.
        name: only attachments of this name.
    """
    parts = {part.line: part for part in ancestry.line_ranges(txn, tip)}
    found: list[tuple[int, str, bytes]] = []
    places: dict[bytes, Location] = {}
    for key, _ in txn.scan(_TABLE):
        state, here = key[:OID_SIZE], decode_name(key[OID_SIZE:])
        if name not in (None, here):
            continue
        if state not in places:
            places[state] = odb.locate(txn, Oid(state))
        place = places[state]
        part = parts.get(place.line)
        if part is not None and part.start <= place.step < part.stop:
            found.append((-place.step, here, key))
    for step, here, key in sorted(found):
        target = _target(odb, txn, key)
        assert target is not None
        yield Attached(Oid(key[:OID_SIZE]), -step, here, *target)


def is_bound(txn: ReadTxn, state: Oid, name: str) -> bool:
    """Return whether a state has an attachment of a name."""
    return txn.get(_TABLE, _key(state, name)) is not None


def names_aside(name: str) -> Iterator[str]:
    """Yield a name, and those under which another attachment of that name is kept beside it."""
    yield name
    yield from (f"{name}.conflict-{number}" for number in itertools.count(1))


def latest(txn: ReadTxn, name: str) -> Target | None:
    """Return the last tree attached under a name to any state; it may be removed or damaged."""
    oid = txn.get("meta", _LATEST + name.encode())
    return ("tree", Oid(oid)) if oid is not None and len(oid) == OID_SIZE else None


def check_attachment(name: str, kind: str = "value") -> None:
    """Check a name and kind of an attachment.

    Raises:
        InvalidInput: the name or the kind is not allowed for an attachment.
    """
    check_name(name, "an attachment")
    if "/" in name:
        raise InvalidInput(f"'{name}' is not a valid name for an attachment: it contains '/'")
    if kind not in KINDS:
        raise InvalidInput(f"a {kind} cannot be attached", kind=kind)


def _is_name(name: str) -> bool:
    try:
        check_attachment(name)
    except InvalidInput:
        return False
    return True


def _key(state: Oid, name: str) -> bytes:
    return state + name.encode()


def _target(odb: ObjectDatabase, txn: ReadTxn, key: bytes) -> Target | None:
    """Return the kind and oid that the binding of a key names.

    Raises:
        IntegrityError: the binding is missing, malformed, or that of another state or name.
    """
    oid = txn.get(_TABLE, key)
    if oid is None:
        return None
    try:
        kind, payload = odb.get(txn, oid)
    except NotFound:
        raise IntegrityError(f"binding '{oid.hex()}' is missing") from None
    if kind != "binding":
        raise IntegrityError(f"object '{oid.hex()}' is a {kind}, not a binding")
    binding = Binding.decode(payload)
    if _key(binding.state, binding.name) != key:
        raise IntegrityError(f"binding '{oid.hex()}' belongs to another state or name")
    return binding.target_kind, binding.target
