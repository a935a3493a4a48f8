"""Notes on remotes, which save questions to them.

remotes: 16-byte id ‖ "r" ‖ key of a ref     -> u16 length ‖ etag ‖ the ref's bytes ‖ check
         16-byte id ‖ "p" ‖ name of a pack   -> check: all of it is here
         16-byte id ‖ "b" ‖ oid of a binding -> names of packs that have it ‖ check
         16-byte id ‖ "u" ‖ name of a pack   -> u64 time ‖ check: it was uploaded

Of a key of more than 480 bytes the hash is noted. A damaged entry counts for nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from blake3 import blake3

from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.objects.oid import OID_SIZE
from simgit.storage.base import ReadTxn, WriteTxn

TABLE: Final = "remotes"
ID_SIZE: Final = 16
_REF, _PACK, _BINDING, _UPLOADED = b"r", b"p", b"b", b"u"
_MOST_KEY: Final = 480
_MOST_PACKS: Final = 32
"""Of so many packs that have a binding a note is kept."""


class CachedRef(NamedTuple):
    """A ref of a remote as it was read or written last: the storage's ETag, and its bytes."""

    etag: str
    data: bytes


class RemoteCache:
    """The notes of one store on one remote."""

    def __init__(self, remote: bytes) -> None:
        self.remote = remote

    # --- refs ---

    def ref(self, txn: ReadTxn, key: str) -> CachedRef | None:
        """Return a ref as it was last, None for an unknown one."""
        return _decode_ref(self._get(txn, _REF, _noted(key)))

    def refs(self, txn: ReadTxn) -> Iterator[tuple[str, CachedRef]]:
        """Yield key and content of all refs that are known, of a long key its hash."""
        start = self.remote + _REF
        for key, value in txn.scan(TABLE, start, start[:-1] + bytes([start[-1] + 1])):
            if (found := _decode_ref(_checked(value))) is not None:
                yield key[len(start) :].decode(errors="replace"), found

    def set_ref(self, txn: WriteTxn, key: str, etag: str, data: bytes) -> None:
        """Note a ref."""
        tag = etag.encode()
        self._put(txn, _REF, _noted(key), struct.pack("<H", len(tag)) + tag + data)

    def forget_ref(self, txn: WriteTxn, key: str) -> None:
        """Forget a ref."""
        txn.delete(TABLE, self.remote + _REF + _noted(key))

    # --- packs, and the attachments in them ---

    def has_pack(self, txn: ReadTxn, name: bytes) -> bool:
        """Return True if all that a pack holds is here, or was removed on purpose."""
        return self._get(txn, _PACK, name) is not None

    def note_pack(self, txn: WriteTxn, name: bytes) -> None:
        """Note that all of a pack is here."""
        self._put(txn, _PACK, name, b"")

    def packs_of(self, txn: ReadTxn, binding: bytes) -> list[bytes]:
        """Return packs that are known to have a binding, the newest last."""
        found = self._get(txn, _BINDING, binding) or b""
        return [found[at : at + OID_SIZE] for at in range(0, len(found), OID_SIZE)]

    def note_binding(self, txn: WriteTxn, binding: bytes, pack: bytes) -> None:
        """Note a pack that has a binding."""
        packs = [each for each in self.packs_of(txn, binding) if each != pack]
        self._put(txn, _BINDING, binding, b"".join([*packs, pack][-_MOST_PACKS:]))

    # --- uploads ---

    def uploaded(self, txn: ReadTxn, pack: bytes) -> int | None:
        """Return when a pack was uploaded, in nanoseconds since 1970; None if it was not."""
        found = self._get(txn, _UPLOADED, pack)
        return int.from_bytes(found, "little") if found is not None and len(found) == 8 else None

    def note_upload(self, txn: WriteTxn, pack: bytes, time: int) -> None:
        """Note that a pack was uploaded."""
        self._put(txn, _UPLOADED, pack, time.to_bytes(8, "little"))

    def forget_uploads(self, txn: WriteTxn) -> None:
        """Forget all uploads: refs name them now."""
        start = self.remote + _UPLOADED
        for key, _ in list(txn.scan(TABLE, start, start[:-1] + bytes([start[-1] + 1]))):
            txn.delete(TABLE, key)

    def _get(self, txn: ReadTxn, what: bytes, rest: bytes) -> bytes | None:
        key = self.remote + what + rest
        value = txn.get(TABLE, key)
        return None if value is None else _checked(value)

    def _put(self, txn: WriteTxn, what: bytes, rest: bytes, body: bytes) -> None:
        txn.put(TABLE, self.remote + what + rest, body + checksum(body))


def _noted(key: str) -> bytes:
    """Return what stands for the key of a ref in the table, whose keys have at most 511 bytes."""
    data = key.encode()
    return data if len(data) <= _MOST_KEY else blake3(data).digest()


def forget_packs(txn: WriteTxn) -> None:
    """Forget which packs are here whole: states or attachments of some are removed."""
    for key, _ in list(txn.scan(TABLE)):
        if key[ID_SIZE : ID_SIZE + 1] == _PACK:
            txn.delete(TABLE, key)


def forget_packs_with(txn: WriteTxn, bindings: Iterable[bytes]) -> None:
    """Forget that packs with some attachments are here whole: the next fetch brings these again."""
    sought = set(bindings)
    if not sought:
        return
    for key, value in list(txn.scan(TABLE)):
        remote, what, binding = key[:ID_SIZE], key[ID_SIZE : ID_SIZE + 1], key[ID_SIZE + 1 :]
        if what == _BINDING and binding in sought:
            found = _checked(value) or b""
            for at in range(0, len(found), OID_SIZE):
                txn.delete(TABLE, remote + _PACK + found[at : at + OID_SIZE])


def _checked(value: bytes) -> bytes | None:
    body = value[:-CHECKSUM_SIZE]
    return body if checksum(body) == value[-CHECKSUM_SIZE:] else None


def _decode_ref(body: bytes | None) -> CachedRef | None:
    if body is None or len(body) < 2:
        return None
    size = int.from_bytes(body[:2], "little")
    return CachedRef(body[2 : 2 + size].decode(errors="replace"), body[2 + size :])
