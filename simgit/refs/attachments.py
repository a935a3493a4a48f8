"""Attachments: objects bound to states by a name, without being part of the states' hashes.

attachments: 32-byte state oid ‖ name in UTF-8 -> oid of the binding
meta:        "latest" ‖ 00 ‖ name in UTF-8    -> oid of the last tree attached under a name
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

from simgit.errors import IntegrityError, InvalidInput, NotFound, shown
from simgit.objects.codec import decode_name
from simgit.objects.columns import ABSENT
from simgit.objects.kinds import Binding
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb import ancestry, foreign, trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import graft_of, missing
from simgit.odb.trees import Data
from simgit.refs import own_names
from simgit.refs.names import check_name
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.failpoints import fail_point

_LONGEST: Final = 4096
"""The most characters of a path."""
_SUFFIX: Final = r"[^.]\.[A-Za-z][A-Za-z0-9]{0,9}$"
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
        NotFound: there is no such state or object, or the data refer to a state that is not here.
    """
    check_attachment(name, kind)
    odb.locate(txn, state)
    if not odb.exists(txn, oid):
        raise NotFound(f"object '{oid}' not found", oid=oid)
    for each in trees.states_named(odb, txn, kind, oid):
        odb.locate(txn, each)
    before = _target(odb, txn, _key(state, name))
    _bind(odb, txn, state, name, kind, oid)
    return before


def attach_data(odb: ObjectDatabase, txn: WriteTxn, state: Oid, name: str, data: Data) -> None:
    """Store data and bind it to an existing state, under a name that was checked.

    A tree is stored as its difference to the last one of this name. What another session attached
    under the name remains, see ``own_names``.
    """
    target = trees.store(odb, txn, data, latest(txn, name))
    if name in own_names.OWN and is_bound(txn, state, name):
        bound = _target(odb, txn, _key(state, name))
        name = own_names.name_to_bind(odb, txn, name, target, bound)
    _bind(odb, txn, state, name, *target)
    foreign.unmark(txn, binding(txn, state, name))


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
    target = _target(odb, txn, _key(state, name)) if is_attachment_name(name) else None
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

    Raises:
        Missing: at the end, where one of the name can lie in what a shallow history lacks.
    """
    for step, here, key in _on_path(odb, txn, tip, None if name is None else {name}):
        yield attached(odb, txn, step, here, key)
    if name is not None and (graft := graft_of(txn, tip.line)) is not None:
        raise missing(txn, graft)


def names_in_history(
    odb: ObjectDatabase, txn: ReadTxn, tip: Location, names: AbstractSet[str]
) -> list[tuple[int, str]]:
    """Return step and name of a history's attachments that have one of some names, newest first."""
    return [(step, here) for step, here, _ in _on_path(odb, txn, tip, names)]


def _on_path(
    odb: ObjectDatabase, txn: ReadTxn, tip: Location, names: AbstractSet[str] | None
) -> list[tuple[int, str, bytes]]:
    """Return step, name and key of the attachments of a history, the newest first."""
    parts = {part.line: part for part in ancestry.line_ranges(txn, tip, shallow=True)}
    found = []
    for place, here, key in placed(odb, txn, names):
        part = parts.get(place.line)
        if part is not None and part.start <= place.step < part.stop:
            found.append((-place.step, here, key))
    return [(-step, here, key) for step, here, key in sorted(found)]


def count(txn: ReadTxn) -> int:
    """Return the number of attachments of all states."""
    return txn.count(_TABLE)


def placed(
    odb: ObjectDatabase, txn: ReadTxn, names: AbstractSet[str] | None = None
) -> Iterator[tuple[Location, str, bytes]]:
    """Yield the place of each attachment's state, its name, and the key of its binding.

    Args:
        odb: the database.
        txn: the transaction.
        names: only attachments of these names; None for all.
    """
    places: dict[bytes, Location] = {}
    for key, _ in txn.scan(_TABLE):
        state, here = key[:OID_SIZE], decode_name(key[OID_SIZE:])
        if names is not None and here not in names:
            continue
        if state not in places:
            places[state] = odb.locate(txn, Oid(state))
        yield places[state], here, key


def attached(odb: ObjectDatabase, txn: ReadTxn, step: int, name: str, key: bytes) -> Attached:
    """Return an attachment whose binding has a key."""
    target = _target(odb, txn, key)
    assert target is not None
    return Attached(Oid(key[:OID_SIZE]), step, name, *target)


def is_bound(txn: ReadTxn, state: Oid, name: str) -> bool:
    """Return whether a state has an attachment of a name."""
    return txn.get(_TABLE, _key(state, name)) is not None


def binding(txn: ReadTxn, state: Oid, name: str) -> Oid:
    """Return the oid of the binding of an attachment.

    Raises:
        NotFound: the state has no attachment of this name.
    """
    oid = txn.get(_TABLE, _key(state, name))
    if oid is None:
        raise NotFound(f"state '{state.short()}' has no attachment '{name}'", name=name)
    return Oid(oid)


def has_others(odb: ObjectDatabase, txn: ReadTxn, state: Oid, session: str | None) -> bool:
    """Return True if other sessions begin at a state than a given one, None for one unnamed."""
    name = own_names.KEY
    own = None if session is None else own_names.own_name(name, session)
    first = _key(state, name)
    for key, _ in txn.scan(_TABLE, first, first + b"."):  # "-" is before "."
        here = decode_name(key[OID_SIZE:])
        if here not in (name, own) and own_names.base_name(here) == name:
            return True
    target = _target(odb, txn, first)
    return target is not None and own_names.stored_session(odb, txn, target) != session


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


def attachable(name: str, data: Any = ABSENT, path: str | PathLike[str] | None = None) -> Any:
    """Return what is to be attached: data, or the ``Path`` of a file that exists.

    Raises:
        InvalidInput: neither or both are given, or the data are a text that names a file, whose
            content would be lost.
        NotFound: the file does not exist.
    """
    if (data is ABSENT) == (path is None):
        raise InvalidInput(f"attachment '{name}' needs either data or path=", name=name)
    if isinstance(data, str) and _names_file(data):
        raise InvalidInput(
            f"attachment '{name}': {shown(data)} names a file, whose content would not be stored; "
            "use path= to attach the file, or attach the text in a list",
            name=name,
        )
    if path is None and not isinstance(data, PathLike):
        return data
    try:
        file = Path(data if path is None else path)
    except TypeError as error:
        raise InvalidInput(f"path {shown(path)} is not a path: {error}", name=name) from None
    if "\0" in str(file):
        raise InvalidInput(f"path {shown(str(file))} is not a path: it contains a NUL", name=name)
    try:
        if file.is_file():
            return file
        exists = file.exists()
    except (OSError, ValueError) as error:  # too long a name, or one that is no text
        raise InvalidInput(f"path {shown(str(file))} is not a path: {error}", name=name) from None
    if exists:
        raise InvalidInput(f"cannot attach '{file}': not a regular file", name=name)
    raise NotFound(f"cannot attach '{file}': no such file", name=name)


def _names_file(text: str) -> bool:
    """Return True if a text is the path of a file, or looks like one that is elsewhere."""
    if not text or len(text) > _LONGEST or "\0" in text:
        return False
    if os.path.lexists(text):
        return True
    above, name = os.path.split(text)
    if "://" in text or re.search(r"\s", text) or not name:
        return False
    return bool(re.search(_SUFFIX, name)) or (bool(above) and Path(above).is_dir())


def is_attachment_name(name: str) -> bool:
    """Return True if an attachment may have a name."""
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
