"""Differences between values, states and configurations, as plain data.

Values are equal if their bits are: NaN equals the same NaN, 0.0 does not equal −0.0, and 1, 1.0
and True are three values. ``diff.runs`` compares two runs.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from simgit.errors import IntegrityError
from simgit.history.diff.arrays import ArrayChange, compare_arrays, same_bits
from simgit.objects.kinds import Tree
from simgit.objects.oid import Oid
from simgit.objects.rows import Reference, split_row, unpack_row
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.storage.base import ReadTxn

Key = str | int
ValuePath = tuple[Key, ...]


class _Missing:
    """The type of ``MISSING``."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""The value on the side that has none."""


@dataclass(frozen=True)
class Change:
    """One path at which two values differ."""

    path: ValuePath
    kind: str  # "added", "removed" or "changed"
    before: Any = MISSING
    after: Any = MISSING
    array: ArrayChange | None = None
    """The element-wise difference, if both are arrays."""

    @property
    def name(self) -> str:
        """The path as text, for instance ``info.lives`` or ``observation[2]``."""
        parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path]
        return "".join(parts).removeprefix(".")

    def to_json(self) -> dict[str, Any]:
        """Return the change as JSON types."""
        from simgit.objects.json_form import value_to_json

        out: dict[str, Any] = {"path": self.name, "kind": self.kind}
        if self.before is not MISSING:
            out["before"] = value_to_json(self.before, short=True)
        if self.after is not MISSING:
            out["after"] = value_to_json(self.after, short=True)
        if self.array is not None:
            out["array"] = self.array.to_json()
        return out


@dataclass(frozen=True)
class StateDiff:
    """Two states and the fields in which they differ."""

    a: Oid
    b: Oid
    steps: tuple[int, int]
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON types."""
        return {
            "a": {"oid": self.a.hex(), "step": self.steps[0]},
            "b": {"oid": self.b.hex(), "step": self.steps[1]},
            "changes": [change.to_json() for change in self.changes],
        }


def diff_values(a: Any, b: Any, path: ValuePath = ()) -> tuple[Change, ...]:
    """Return the differences of two nested values, in the order of their paths."""
    if a is MISSING or b is MISSING:
        if a is b:
            return ()
        return (Change(path, "added" if a is MISSING else "removed", a, b),)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = sorted({*a, *b}, key=lambda key: (type(key).__name__, key))
        pairs = [(key, a.get(key, MISSING), b.get(key, MISSING)) for key in keys]
    elif isinstance(a, (list, tuple)) and type(a) is type(b):
        pairs = [(i, _at(a, i), _at(b, i)) for i in range(max(len(a), len(b)))]
    else:
        return _diff_leaves(a, b, path)
    found = [diff_values(left, right, (*path, _key(key))) for key, left, right in pairs]
    return tuple(change for changes in found for change in changes)


def _at(values: Any, i: int) -> Any:
    return values[i] if i < len(values) else MISSING


def _key(key: Any) -> Key:
    return key if isinstance(key, (str, int)) else str(key.hex())


def _diff_leaves(a: Any, b: Any, path: ValuePath) -> tuple[Change, ...]:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        array = compare_arrays(a, b)
        return () if array is None else (Change(path, "changed", a, b, array),)
    return () if _same(a, b) else (Change(path, "changed", a, b),)


def _same(a: Any, b: Any) -> bool:
    """Return True if two leaves are equal by type and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, complex):
        return _same(a.real, b.real) and _same(a.imag, b.imag)
    if isinstance(a, np.generic):
        return same_bits(np.asarray(a), np.asarray(b))
    return bool(a == b)


def diff_configs(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the settings in which two configurations differ."""
    return diff_values(a, b)


def diff_states(odb: ObjectDatabase, a: Location, b: Location) -> StateDiff:
    """Return the differences of two states: fields, elements of arrays, files by name.

    Raises:
        IntegrityError: stored bytes are damaged.
    """
    with odb.read() as txn:
        left, before = _load(odb, txn, a)
        right, after = _load(odb, txn, b)
        found = tuple(_resolve(odb, txn, change) for change in diff_values(before, after))
    changes = [change for changes in found for change in changes]
    return StateDiff(left, right, (a.step, b.step), tuple(changes))


def _load(odb: ObjectDatabase, txn: ReadTxn, place: Location) -> tuple[Oid, dict[str, Any]]:
    oid, state = odb.states.state(txn, place)
    schema = odb.schema(txn, state.schema)
    return oid, unpack_row(split_row(schema, state.row), 0)


def _resolve(odb: ObjectDatabase, txn: ReadTxn, change: Change) -> tuple[Change, ...]:
    """Return a change with references replaced by the objects that they name."""
    sides = (change.before, change.after)
    if not any(isinstance(side, Reference) for side in sides):
        return (change,)
    before, after = (_fetch(odb, txn, side) for side in sides)
    if change.kind != "changed":
        return (replace(change, before=before, after=after),)
    return diff_values(before, after, change.path)


def _fetch(odb: ObjectDatabase, txn: ReadTxn, value: Any) -> Any:
    """Return the array or the directory that a reference names."""
    if not isinstance(value, Reference):
        return value
    return _directory(odb, txn, value.oid) if value.kind == "tree" else odb.array(txn, value.oid)


def _directory(odb: ObjectDatabase, txn: ReadTxn, oid: Oid) -> dict[str, Any]:
    """Return the files of a tree by their path, each as a reference."""
    found: dict[str, Any] = {}
    todo = [("", oid)]
    while todo:
        prefix, oid = todo.pop()
        tree = odb.object(txn, oid)
        if not isinstance(tree, Tree):
            raise IntegrityError(f"object '{oid.hex()}' is not a tree")
        for entry in tree.entries:
            if entry.kind == "tree":
                todo.append((f"{prefix}{entry.name}/", entry.oid))
            else:
                found[prefix + entry.name] = Reference(entry.kind, entry.oid)
    return found
