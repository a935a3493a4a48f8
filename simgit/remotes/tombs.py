"""Packs that gc will delete, and the log of what was taken away: docs/remote-format.md §7."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from simgit.errors import Conflict, NotFound, StorageError
from simgit.remotes import layout

if TYPE_CHECKING:
    from simgit.remotes.connection import Connection, SeenRef

TOMBED: Final = "tombed"
DELETING: Final = "deleting"
KEPT: Final = "kept"
_PATIENCE: Final = 300
"""The seconds for which a deletion is waited for."""


def key_of_tomb(name: bytes) -> str:
    """Return the key of a pack's tomb, given the pack's hash."""
    return layout.TOMBS + name.hex()


def encode_tomb(state: str, holder: bytes) -> bytes:
    """Return the bytes of a tomb."""
    return layout.encode_record({"state": state, "holder": holder})


def decode_tomb(data: bytes, key: str) -> tuple[str, bytes]:
    """Return state and holder of a tomb.

    Raises:
        IntegrityError: it is damaged.
    """
    found = layout.decode_record(data, key)
    state, holder = found.get("state"), found.get("holder")
    if state not in (TOMBED, DELETING, KEPT) or type(holder) is not bytes:
        raise layout.damaged(key)
    return state, holder


def rescue(connection: Connection, names: Iterable[bytes]) -> list[bytes]:
    """Keep packs from gc that a ref will name; return those that it has deleted.

    Raises:
        StorageError: a gc that deletes one of them does not end.
    """
    names = list(names)
    listed = (
        {each.key for each in connection.transport.list(layout.TOMBS)} if len(names) > 1 else None
    )
    return [
        name
        for name in names
        if (listed is None or key_of_tomb(name) in listed) and not _is_kept(connection, name)
    ]


def _is_kept(connection: Connection, name: bytes) -> bool:
    """Return True if a pack has no tomb, or one in which a writer keeps it."""
    key = key_of_tomb(name)
    until = time.monotonic() + _PATIENCE
    was_deleting = False
    while time.monotonic() < until:
        try:
            got = connection.transport.get(key)
        except NotFound:
            return not was_deleting
        assert got is not None
        state, _ = decode_tomb(got.data, key)
        if state == KEPT:
            return True
        if state == TOMBED:
            try:
                connection.transport.put_if(key, encode_tomb(KEPT, b""), got.etag)
                return True
            except Conflict:
                continue
        was_deleting = True
        time.sleep(1)
    raise StorageError(
        f"a gc of '{connection.shown}' is deleting a pack and does not end; try again"
    )


def log_change(connection: Connection, what: str, seen: SeenRef, writer: bytes) -> None:
    """Note how a ref was before it is taken away, so that gc keeps it for its grace period."""
    date = datetime.now(UTC).strftime("%Y%m%d")
    record = {"what": what, "key": seen.ref.key, "old": seen.data, "writer": writer}
    connection.transport.put_new(f"{layout.LOG}{date}/{uuid4().hex}", layout.encode_record(record))
