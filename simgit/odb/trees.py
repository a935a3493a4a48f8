"""Nested Python data as objects, and back. See docs/object-format.md §4.

A top-level dict, list or tuple is a tree, an inner one only if it holds, at any depth, an array or
bytes of ``LARGE`` bytes or more; everything small lies in values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from simgit.errors import IntegrityError, InvalidInput, NotFound, text_of
from simgit.objects.arrays import is_arraylike, to_array
from simgit.objects.canonical import MAX_DEPTH
from simgit.objects.codec import decode_value, encode_value
from simgit.objects.kinds import Binding, Blob, Decodable, Entry, Tree, links_of
from simgit.objects.lazy_numpy import np
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb.database import ObjectDatabase
from simgit.storage.base import ReadTxn, WriteTxn

LARGE: Final = 256
"""The size in bytes of an array or bytes that makes its container a tree; such bytes are a blob."""
STATES: Final = "@states"
"""The entry of an attached tree that names the states which the attachment refers to."""
Target = tuple[str, Oid]
"""The kind and the oid of an object."""


# --- storing -----------------------------------------------------------------------------------


def store_data(odb: ObjectDatabase, txn: WriteTxn, data: Any, base: Target | None = None) -> Target:
    """Store nested data; return the kind and the oid of the object for all of it.

    Args:
        odb: the database to store in.
        txn: the transaction.
        data: dicts, lists, tuples, arrays of any library, bytes and plain values.
        base: an earlier object of the same form; arrays are stored as deltas to those at the same
            paths in it. It may be missing.

    Raises:
        InvalidInput: a part cannot be stored; ``path`` names it.
    """
    return store(odb, txn, plan(data), base)


class Data:
    """A part of the data: bytes, an array (converted), a container, or a plain value."""

    __slots__ = ("children", "data", "form", "is_large", "is_tree", "path")

    def __init__(
        self,
        path: str,
        data: Any,
        is_large: bool = False,
        is_tree: bool = False,
        form: str | None = None,
        children: list[tuple[str, Data]] | None = None,
    ) -> None:
        self.path = path
        self.data = data
        self.is_large = is_large
        self.is_tree = is_tree
        self.form = form
        self.children = children

    @property
    def size(self) -> int:
        """The approximate size in bytes."""
        if isinstance(self.data, np.ndarray):
            return 64 + self.data.nbytes
        own = len(self.data) if isinstance(self.data, (bytes, str)) else 0
        return 64 + own + sum(child.size for _, child in self.children or ())


def plan(data: Any) -> Data:
    """Return nested data in the form that ``store`` takes; arrays are not copied.

    Raises:
        InvalidInput: see ``store_data``; plain values are checked when they are stored.
    """
    node = _plan(data, "value", 0)
    node.is_tree = node.children is not None and node.form is not None
    return node


def _plan(data: Any, path: str, depth: int) -> Data:
    """Return the nodes of nested data.

    Raises:
        InvalidInput: it nests too deep, or a dict with large parts has keys that no tree can have.
    """
    if depth > MAX_DEPTH:
        raise InvalidInput(f"{path}: nested deeper than {MAX_DEPTH} levels", path=path)
    if isinstance(data, (bytes, bytearray, memoryview)):
        content = bytes(data)
        return Data(path, content, len(content) >= LARGE)
    if isinstance(data, (dict, list, tuple)):
        return _plan_container(data, path, depth)
    if is_arraylike(data) and not isinstance(data, np.generic):
        array = to_array(data, path)
        return Data(path, array, array.nbytes >= LARGE)
    return Data(path, data)


def _plan_container(data: Any, path: str, depth: int) -> Data:
    if isinstance(data, dict):
        parts = [
            (name, f"{path}.{name}", item)
            for key, item in data.items()
            for name in [str.__str__(key) if isinstance(key, str) else text_of(key)]
        ]
    else:
        parts = [(str(i), f"{path}[{i}]", item) for i, item in enumerate(data)]
    children = [(name, _plan(item, where, depth + 1)) for name, where, item in parts]
    is_large = any(child.is_large for _, child in children)
    form = _form(data)
    if is_large and form is None:
        raise InvalidInput(
            f"{path}: a dict that holds an array or bytes of {LARGE} bytes or more needs keys that "
            "are all non-empty strings without NUL, or all integers of 64 bits",
            path=path,
        )
    return Data(path, data, is_large, is_large, form, children)


def _form(data: Any) -> str | None:
    """Return the form of the tree for a container, None if a tree cannot have its keys."""
    if not isinstance(data, dict):
        return "list" if isinstance(data, list) else "tuple"
    if all(isinstance(key, str) and _is_name(key) for key in data):
        return "map"
    # not a bool or an enum, which does not come back as it was
    whole = all(
        isinstance(key, np.integer) or (type(key) is int and -(1 << 63) <= key < 1 << 64)
        for key in data
    )
    return "intmap" if whole else None


def _is_name(key: str) -> bool:
    try:
        return bool(key) and "\0" not in key and len(key.encode()) <= 0xFFFF
    except UnicodeEncodeError:
        return False


def store(odb: ObjectDatabase, txn: WriteTxn, node: Data, base: Target | None = None) -> Target:
    """Store planned data; see ``store_data``."""
    if isinstance(node.data, np.ndarray):
        before = base[1] if base is not None and base[0] == "array" else None
        return "array", odb.put_array(txn, node.data, before)
    if isinstance(node.data, bytes) and node.is_large:
        return "blob", odb.put(txn, Blob(node.data))
    if not node.is_tree:
        return "value", odb.put_payload(txn, "value", encode_value(node.data, node.path))
    earlier = _earlier(odb, txn, base)
    entries = tuple(
        Entry(name, *store(odb, txn, child, earlier.get(name)))
        for name, child in node.children or ()
    )
    return "tree", odb.put(txn, Tree(entries, node.form or "map"))


def _earlier(odb: ObjectDatabase, txn: ReadTxn, base: Target | None) -> dict[str, Target]:
    """Return the entries of an earlier tree by name; none if it is missing or damaged."""
    if base is None or base[0] != "tree":
        return {}
    try:
        entries = load_tree(odb, txn, base[1]).entries
    except (NotFound, IntegrityError):
        return {}
    return {entry.name: (entry.kind, entry.oid) for entry in entries}


# --- loading -----------------------------------------------------------------------------------


def load_tree(odb: ObjectDatabase, txn: ReadTxn, oid: Oid) -> Tree:
    """Return a tree's entries.

    Raises:
        NotFound: there is no such object.
        IntegrityError: it is damaged, or not a tree.
    """
    kind, payload = odb.get(txn, oid)
    if kind != "tree":
        raise IntegrityError(f"object '{oid.hex()}' is a {kind}, not a tree", oid=oid)
    return Tree.decode(payload)


def load_data(odb: ObjectDatabase, txn: ReadTxn, kind: str, oid: Oid) -> Any:
    """Return the data that ``store_data`` stored; arrays are read-only.

    Raises:
        NotFound: an object is missing.
        IntegrityError: one is damaged or of another kind, or trees are nested too deeply.
    """
    return _load(odb, txn, kind, oid, 0)


def _load(odb: ObjectDatabase, txn: ReadTxn, kind: str, oid: Oid, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise IntegrityError(f"trees are nested deeper than {MAX_DEPTH} levels", oid=oid)
    if kind == "array":
        array = odb.array(txn, oid).view()
        array.flags.writeable = False
        return array
    if kind != "tree":
        found, payload = odb.get(txn, oid)
        if found != kind or kind not in ("value", "blob"):
            raise IntegrityError(f"object '{oid.hex()}' must be a {kind}, got a {found}", oid=oid)
        return payload if kind == "blob" else decode_value(payload)
    tree = load_tree(odb, txn, oid)
    items = {e.name: _load(odb, txn, e.kind, e.oid, depth + 1) for e in tree.entries}
    if tree.form == "map":
        return items
    if tree.form == "intmap":
        return {int(name): item for name, item in items.items()}
    ordered = [items[str(i)] for i in range(len(items))]
    return ordered if tree.form == "list" else tuple(ordered)


def walk(
    odb: ObjectDatabase, txn: ReadTxn, kind: str, oid: Oid, seen: set[Oid] | None = None
) -> Iterator[tuple[tuple[str, ...], str, Oid]]:
    """Yield path, kind and oid of an object and of all objects below it; only trees are read.

    Args:
        odb: the database.
        txn: the transaction.
        kind: the object's.
        oid: the object's hash; it comes first, with the path ().
        seen: objects to leave out; those yielded are added. Without it an object comes once for
            each of its paths, which can be many more than there are objects.

    Raises:
        NotFound: a tree is missing.
        IntegrityError: a tree is damaged, or trees are nested too deeply.
    """
    waiting: list[tuple[tuple[str, ...], str, Oid]] = [((), kind, oid)]
    while waiting:
        path, kind, oid = waiting.pop()
        if seen is not None:
            if oid in seen:
                continue
            seen.add(oid)
        yield path, kind, oid
        if len(path) > MAX_DEPTH:
            raise IntegrityError(f"trees are nested deeper than {MAX_DEPTH} levels", oid=oid)
        if kind == "tree":
            entries = load_tree(odb, txn, oid).entries
            waiting += [((*path, e.name), e.kind, e.oid) for e in reversed(entries)]


# --- links ---------------------------------------------------------------------------------------


def links(odb: ObjectDatabase, txn: ReadTxn, thing: Decodable) -> Iterator[bytes]:
    """Yield the oids that an object refers to, those of an attachment's states included."""
    yield from links_of(thing)
    if isinstance(thing, Binding):
        yield from states_named(odb, txn, thing.target_kind, thing.target)


def states_named(odb: ObjectDatabase, txn: ReadTxn, kind: str, oid: Oid) -> list[Oid]:
    """Return the states that attached data refer to by their entry ``@states``, a list of oids.

    Data whose entry is something else refer to none.

    Raises:
        NotFound: an object is missing.
        IntegrityError: one is damaged.
    """
    if kind != "tree":
        return []
    tree = load_tree(odb, txn, oid)
    for entry in tree.entries:
        if entry.name == STATES and entry.kind == "value" and tree.form == "map":
            found = _load(odb, txn, entry.kind, entry.oid, 0)
            if isinstance(found, list) and all(
                isinstance(each, bytes) and len(each) == OID_SIZE for each in found
            ):
                return [Oid(each) for each in found]
    return []
