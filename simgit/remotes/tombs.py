"""Packs and shards that gc will delete, and the log of what was taken away.

See docs/remote-format.md §7.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import IO, Final
from uuid import uuid4

from simgit.errors import AlreadyExists, Conflict, NotFound, StorageError, TransportError
from simgit.remotes import layout
from simgit.remotes.transport.base import Transport

TOMBED: Final = "tombed"
DELETING: Final = "deleting"
KEPT: Final = "kept"
FRESH: Final = 3600
"""The seconds for which a writer need not fear gc: no grace period is shorter."""
_PATIENCE: Final = 300
"""The seconds for which a deletion is waited for."""
_PAUSE: Final = 1.0
_FEW: Final = 8
"""How many objects are asked for one by one; more are listed."""
_TRIES: Final = 8


def key_of_tomb(name: bytes) -> str:
    """Return the key of the tomb of a pack or shard, given its hash."""
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


# --- writers ------------------------------------------------------------------------------------


def put_named(transport: Transport, key: str, data: bytes | IO[bytes]) -> None:
    """Store a pack or shard so that no gc deletes it within the next hour.

    Args:
        transport: the storage.
        key: names the hash of the bytes.
        data: the bytes, or a file from its beginning, which is sent in parts.

    Raises:
        StorageError: a gc that deletes it does not end.
    """
    for _ in range(_TRIES):
        if isinstance(data, bytes):
            try:
                transport.put_new(key, data)
                return
            except AlreadyExists:
                pass
            except TransportError as error:
                if not error.unknown:
                    raise
                transport.put(key, data)
        else:
            data.seek(0)
            transport.put(key, data)  # type: ignore[arg-type]
        # it may have been there, and a gc may be deleting it
        if not secure(transport, [key]):
            return
    raise StorageError(f"a gc of '{transport.url}' deleted '{key}' {_TRIES} times; try again later")


def secure(transport: Transport, keys: Iterable[str]) -> list[str]:
    """Keep packs and shards from gc for the next hour; return the keys of those that are missing.

    Raises:
        StorageError: a gc that deletes one of them does not end.
    """
    wanted = list(dict.fromkeys(keys))
    tombed = {key: key_of_tomb(bytes.fromhex(key.rpartition("/")[2])) for key in wanted}
    if not wanted:
        return []
    if len(wanted) > 1:
        listed = {each.key for each in transport.list(layout.TOMBS)}
        tombed = {key: tomb for key, tomb in tombed.items() if tomb in listed}
    for tomb in tombed.values():
        _keep(transport, tomb)
    # only now: what has no tomb, or one that says it stays, is not deleted for a while
    if len(wanted) <= _FEW:
        return [key for key in wanted if not _exists(transport, key)]
    places = [
        each for each in (layout.PACKS, layout.INDEX) if any(k.startswith(each) for k in wanted)
    ]
    there = {each.key for place in places for each in transport.list(place)}
    return [key for key in wanted if key not in there]


def _exists(transport: Transport, key: str) -> bool:
    try:
        transport.head(key)
    except NotFound:
        return False
    return True


def _keep(transport: Transport, tomb: str) -> None:
    """Write into a tomb, if there is one, that its pack is kept; wait for a deletion to end."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            got = transport.get(tomb, most=layout.MAX_RECORD)
        except NotFound:
            return
        assert got is not None
        state, _ = decode_tomb(got.data, tomb)
        if state == DELETING:
            if time.monotonic() >= until:
                raise StorageError(
                    f"a gc of '{transport.url}' is deleting what is to be kept, and does not end: "
                    "if it was killed, run 'simgit gc --remote' to finish it; then try again"
                )
            time.sleep(_PAUSE)
            continue
        try:  # of one that says so already too: its time counts
            transport.put_if(tomb, encode_tomb(KEPT, b""), got.etag)
            return
        except Conflict:
            continue
        except TransportError as error:
            if not error.unknown:
                raise


# --- the log ------------------------------------------------------------------------------------


def log_change(transport: Transport, what: str, key: str, old: bytes, writer: bytes) -> None:
    """Note how a ref was before it is replaced, so that gc keeps it for its grace period.

    Args:
        transport: the storage.
        what: ``forced``, ``deleted`` or ``gc``.
        key: the key of the ref.
        old: its bytes.
        writer: the identity of the repository that replaces it.
    """
    date = datetime.now(UTC).strftime("%Y%m%d")
    record = {"what": what, "key": key, "old": old, "writer": writer}
    data = layout.encode_record(record)
    # a new name: nothing is there, so it may be sent twice
    transport.put(f"{layout.LOG}{date}/{uuid4().hex}", data)


def decode_log(data: bytes, key: str, remote: bytes) -> layout.RemoteRef:
    """Return the ref that an entry of the log keeps.

    Raises:
        IntegrityError: it is damaged.
    """
    found = layout.decode_record(data, key)
    name, old = found.get("key"), found.get("old")
    if type(name) is not str or type(old) is not bytes:
        raise layout.damaged(key)
    return layout.RemoteRef.decode(old, layout.ref_of_key(name), remote)
