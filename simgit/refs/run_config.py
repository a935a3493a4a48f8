"""Configurations of runs: inherited settings, and overrides."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from simgit.errors import IntegrityError, InvalidInput, NotFound, nested_deeper, shown
from simgit.objects.canonical import MAX_DEPTH
from simgit.objects.kinds import Decodable, Run
from simgit.objects.oid import Oid
from simgit.odb import foreign
from simgit.odb.database import ObjectDatabase, decode_lasting
from simgit.storage.base import ReadTxn, WriteTxn


def run_record(odb: ObjectDatabase, txn: ReadTxn, oid: bytes) -> Run:
    """Return a run's record.

    Raises:
        IntegrityError: the object is not a run.
    """
    return _record(oid, odb.object(txn, oid))


def stored_record(odb: ObjectDatabase, txn: ReadTxn, oid: bytes) -> bytes | Run:
    """Return the stored form of a run's record, or the record if ``decoded`` cannot decode it."""
    return odb.lasting(txn, oid) or run_record(odb, txn, oid)


def decoded(oid: bytes, value: bytes) -> Run:
    """Return a run's record of which ``stored_record`` returned the stored form.

    Raises:
        IntegrityError: it is damaged, or the object is not a run.
    """
    return _record(oid, decode_lasting(oid, value))


def _record(oid: bytes, found: Decodable) -> Run:
    if not isinstance(found, Run):
        raise IntegrityError(f"object '{oid.hex()}' must be a run's record")
    return found


def first_own_step(odb: ObjectDatabase, txn: ReadTxn, oid: bytes) -> int:
    """Return the first step of a run that is after its branch point, by the run's record."""
    point = run_record(odb, txn, oid).branch_point
    try:
        return 0 if point is None else odb.locate(txn, point).step + 1
    except NotFound:  # a state that was purged
        return 0


def ancestors(odb: ObjectDatabase, txn: ReadTxn, oid: Oid | None) -> list[Run]:
    """Return a run's record and those that it inherits from, nearest first; any depth."""
    records = []
    while oid is not None:
        records.append(run_record(odb, txn, oid))
        oid = records[-1].parent
    return records


def successor(odb: ObjectDatabase, txn: WriteTxn, old: Oid, new: Run) -> Oid:
    """Store the record that replaces another; it is as foreign as that one."""
    is_new = txn.get("objects", new.oid) is None  # no record lies in a segment
    oid = odb.put(txn, new)
    if is_new and foreign.is_foreign(txn, old):
        foreign.mark(txn, oid)
    return oid


def noted(odb: ObjectDatabase, txn: WriteTxn, oid: Oid, metadata: Mapping[str, Any]) -> Oid:
    """Store a run's record with more metadata, merged map by map; return its oid."""
    old = run_record(odb, txn, oid)
    merged: dict[str, Any] = {}
    merge(merged, old.metadata)
    merge(merged, metadata)
    new = Run(old.overrides, old.parent, old.branch_point, old.seed, merged)
    return successor(odb, txn, oid, new)


def resolve(odb: ObjectDatabase, txn: ReadTxn, oid: Oid) -> dict[str, Any]:
    """Return a run's configuration: its parents', with its own overrides merged over them."""
    config: dict[str, Any] = {}
    for record in reversed(ancestors(odb, txn, oid)):
        merge(config, record.overrides)
    return config


def merge(config: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Merge overrides into a configuration: maps key by key, everything else replaced."""
    for key, value in overrides.items():
        old = config.get(key)
        if isinstance(value, Mapping) and isinstance(old, dict):
            merge(old, value)
        else:
            config[key] = copy.deepcopy(value)


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings whose keys may be dotted paths as nested maps.

    Raises:
        InvalidInput: a setting is given twice, a path leads through a value that is not a map or
            is malformed, or these are no settings.
    """
    config: dict[str, Any] = {}
    if not isinstance(settings, Mapping):
        raise InvalidInput(f"settings must be a dict, got {shown(settings)}")
    for path, value in settings.items():
        if not isinstance(path, str):
            raise InvalidInput(f"name of a setting must be a text, got {shown(path)}")
        *above, last = path.split(".")
        if len(above) > MAX_DEPTH - 8 or nested_deeper(value, MAX_DEPTH - 8 - len(above)):
            raise InvalidInput(
                f"setting {shown(path)} is nested deeper than {MAX_DEPTH - 8} levels"
            )
        level = config
        for key in above:
            level = level.setdefault(key, {})
            if not isinstance(level, dict):
                raise InvalidInput(f"setting '{path}' leads through a value that is not a map")
        if not last or "" in above:
            raise InvalidInput(f"malformed setting '{path}': write it as 'agent.lr'")
        if last in level:
            _add(level, last, value, path)
        else:
            level[last] = dict(value) if isinstance(value, Mapping) else value
    return config


def _add(level: dict[str, Any], key: Any, value: Any, path: str) -> None:
    """Add a setting to one that is there; maps have the settings of both."""
    old = level.get(key)
    if not isinstance(old, Mapping) or not isinstance(value, Mapping):
        raise InvalidInput(f"setting '{path}' is given twice: {shown(old)} and {shown(value)}")
    joined = dict(old)
    for name, item in value.items():
        if name in joined:
            _add(joined, name, item, f"{path}.{name}")
        else:
            joined[name] = item
    level[key] = joined


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings with dotted names."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def is_within(path: str, above: str) -> bool:
    """Return True if a dotted path is another one, or leads further."""
    return path == above or path.startswith(f"{above}.")
