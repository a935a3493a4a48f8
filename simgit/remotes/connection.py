"""A remote that is opened: its refs and shards, read and replaced by the rules of its format."""

from __future__ import annotations

import io
import os
import posixpath
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, NamedTuple, TypeVar

from blake3 import blake3

from simgit.errors import (
    AlreadyExists,
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    StorageError,
    TransportError,
)
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.remotes import layout, tombs
from simgit.remotes.layout import PackEntry, RemoteInfo, RemoteRef, ShardName
from simgit.remotes.transport.base import Listed, Transport, probe_conditions

T = TypeVar("T")
AT_ONCE: Final = 8
"""The most requests at once."""
FEW: Final = 8
"""The most refs that are asked for by name; more are listed."""
TRIES: Final = 8
_FIRST_WAIT: Final = 0.01
_WHOLE: Final = 32 << 20
"""The bytes of a pack from which it is read in parts, into a file."""
_PART: Final = 8 << 20
_CACHED: Final = 64
"""How many refs must have changed for ``heads`` to be worth a request."""


class SeenRef(NamedTuple):
    """A ref as it is at the remote now.

    Attributes:
        etag: the storage's.
        data: its bytes.
        ref: what they say.
        modified: when it was written, in seconds since 1970 by the storage's clock; 0 if the
            storage was not asked.
    """

    etag: str
    data: bytes
    ref: RemoteRef
    modified: float = 0.0


class Connection:
    """A remote that is opened, or one that is still to be made."""

    def __init__(
        self,
        transport: Transport,
        info: RemoteInfo | None,
        *,
        read_only: bool = False,
        single_writer: bool = False,
        shown: str | None = None,
    ) -> None:
        """Take a transport, and what its first object says.

        Args:
            transport: the storage.
            info: the first object; None if there is none yet.
            read_only: True if nothing may be written.
            single_writer: True to accept storage that ignores conditions.
            shown: the remote as messages name it.
        """
        self.transport = transport
        self.read_only = read_only
        self.single_writer = single_writer
        self.shown = shown or transport.url
        self._info = info
        self._shards: dict[ShardName, list[PackEntry]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self.conflicts = 0
        if info is not None:
            self._use(info)

    @classmethod
    def open(cls, transport: Transport, **options: Any) -> Connection:
        """Open a remote.

        Raises:
            InvalidInput: there is something else at its place.
            FormatError: a newer version made it.
            IntegrityError: its first object is damaged.
            TransportError: the storage cannot be reached, or refuses.
        """
        return cls(transport, read_info(transport), **options)

    def anew(self) -> Connection:
        """Return another look at the remote, which remembers nothing and writes nothing.

        It shares transport and threads with this one, and is not closed.
        """
        other = Connection(self.transport, self.info, read_only=True, shown=self.shown)
        other._pool = self.pool
        return other

    @property
    def exists(self) -> bool:
        """True if the remote has been made."""
        return self._info is not None

    @property
    def info(self) -> RemoteInfo:
        """Which remote it is.

        Raises:
            NotFound: it is not made yet.
        """
        if self._info is None:
            raise NotFound(f"'{self.shown}' is empty: nothing was pushed to it yet")
        return self._info

    def _use(self, info: RemoteInfo) -> None:
        self._info = info
        if info.conditional in ("etag", "etag-unquoted"):
            self.transport.conditional = info.conditional

    def check_writable(self) -> None:
        """Check that this side may write.

        Raises:
            InvalidInput: the remote is noted as read-only.
        """
        if self.read_only:
            raise InvalidInput(f"'{self.shown}' is read-only here; see 'simgit remote show'")

    def make(self) -> None:
        """Make the remote if it is not there; how the storage keeps conditions is tried before.

        Raises:
            InvalidInput: the storage ignores conditions.
        """
        self.check_writable()
        if self._info is not None:
            return
        conditional = probe_conditions(self.transport, layout.PROBE)
        if conditional == "none" and not self.single_writer:
            raise InvalidInput(
                f"'{self.shown}' ignores conditional writes, so two writers would overwrite each "
                "other unnoticed; if there is only one, add the remote with --single-writer"
            )
        info = RemoteInfo(os.urandom(16), conditional)
        with suppress(AlreadyExists):
            self.transport.put_new(layout.REMOTE, info.encode())
        found = read_info(self.transport)  # another writer's, if that was first
        if found is None:
            raise IntegrityError(f"'{self.shown}' does not keep what is written to it")
        self._use(found)

    def close(self) -> None:
        """End its threads, and close the transport."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self.transport.close()

    def at_once(self, call: Callable[..., T], items: Iterable[Any]) -> Iterator[T]:
        """Yield the results of calls in their order; some are made at once."""
        items = list(items)
        if len(items) < 2:
            return map(call, items)
        return self.pool.map(call, items)

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The threads for its requests."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, "simgit-remote")
        return self._pool

    # --- refs ---

    def read_ref(self, name: str, known: tuple[str, bytes] | None = None) -> SeenRef | None:
        """Return a ref, None if there is none.

        Args:
            name: its full name.
            known: ETag and bytes as they were last, which need not be sent again.

        Raises:
            IntegrityError: it is damaged.
        """
        try:
            got = self.transport.get(
                layout.key_of_ref(name), unless=known[0] if known else None, most=layout.MAX_REF
            )
        except NotFound:
            return None
        if got is None:
            etag, data = known or ("", b"")
            return self._seen(name, etag, data)
        return self._seen(name, got.etag, got.data, got.modified)

    def _seen(self, name: str, etag: str, data: bytes, modified: float = 0.0) -> SeenRef:
        return SeenRef(etag, data, RemoteRef.decode(data, name, self.info.id), modified)

    def read_refs(
        self, names: Iterable[str] | None, known: Callable[[str], tuple[str, bytes] | None]
    ) -> dict[str, SeenRef]:
        """Return the refs of full names, those that exist; None for all.

        A few are asked for one by one. More are listed, and those that changed are read.

        Args:
            names: the full names; one that ends with a slash stands for all refs below it.
            known: returns what was last seen under a key.
        """
        wanted = list(dict.fromkeys(("",) if names is None else names))
        folders = [layout.folder_of_refs(each) for each in wanted if not each or each[-1] == "/"]
        keys = [layout.key_of_ref(each) for each in wanted if each and each[-1] != "/"]
        if len(keys) > FEW:
            # the ref 'worker/3' lies beside the folder of 'worker/3/a', and beside all of 'worker'
            above = {key for key in keys if any(k.startswith(f"{key[:-1]}/") for k in keys)}
            above = above if len(above) <= FEW else set()
            common = _common(key for key in keys if key not in above)
            listed = self._list_refs(common)
            rest = [key for key in keys if key in above and key not in listed]
            listed = {key: listed[key] for key in keys if key in listed}
        else:
            listed, rest = {}, keys
        for folder in folders:
            listed |= self._list_refs(folder)
        found = self._read_listed(listed, known) if listed else {}
        one_by_one = [layout.ref_of_key(key) for key in rest if key not in listed]
        read = self.at_once(lambda n: self.read_ref(n, known(layout.key_of_ref(n))), one_by_one)
        return found | {n: seen for n, seen in zip(one_by_one, read, strict=True) if seen}

    def _list_refs(self, prefix: str) -> dict[str, Listed]:
        return {each.key: each for each in self.transport.list(prefix, etags=True)}

    def _read_listed(
        self, listed: dict[str, Listed], known: Callable[[str], tuple[str, bytes] | None]
    ) -> dict[str, SeenRef]:
        have = {key: known(key) for key in listed}
        old = [key for key, each in listed.items() if (have[key] or ("",))[0] != each.etag]
        if len(old) > _CACHED:
            cached = self._read_heads()
            have |= {key: cached[key] for key in old if key in cached}
            old = [key for key in old if (have[key] or ("",))[0] != listed[key].etag]
        names = {key: layout.ref_of_key(key) for key in listed}
        read = dict(zip(old, self.at_once(lambda key: self.read_ref(names[key]), old), strict=True))
        found = {}
        for key, name in names.items():
            if key in read:
                seen = read[key]
            else:
                etag, data = have[key] or ("", b"")
                seen = self._seen(name, etag, data, listed[key].modified)
            if seen is not None:
                found[name] = seen
        if len(old) > _CACHED and not self.read_only:
            self._write_heads({layout.key_of_ref(name): seen for name, seen in found.items()})
        return found

    def _read_heads(self) -> dict[str, tuple[str, bytes]]:
        """Return the cache of refs, empty if it is missing or damaged: it is never relied on."""
        try:
            got = self.transport.get(layout.HEADS, most=layout.MAX_FRAME)
            data = b"" if got is None else got.data
            if checksum(data[:-CHECKSUM_SIZE]) != data[-CHECKSUM_SIZE:]:
                return {}
            return layout.decode_heads(data[:-CHECKSUM_SIZE])
        except (NotFound, IntegrityError):
            return {}

    def _write_heads(self, found: dict[str, SeenRef]) -> None:
        frame = layout.encode_heads({k: (s.etag, s.data) for k, s in found.items()})
        if frame is None:
            return  # nobody would read it
        with suppress(StorageError):  # whoever may not write goes without
            self.transport.put(layout.HEADS, frame + checksum(frame))

    def write_ref(self, ref: RemoteRef, before: SeenRef | None) -> SeenRef:
        """Replace a ref that is as it was read, or create it; return it as it is now.

        Raises:
            Conflict: somebody else has replaced it.
            TransportError: the storage cannot be reached, or refuses.
        """
        data = ref.encode()
        try:
            if before is None:
                etag = self.transport.put_new(ref.key, data)
            else:
                etag = self.transport.put_if(ref.key, data, before.etag)
        except (AlreadyExists, Conflict, TransportError) as error:
            if isinstance(error, TransportError) and not error.unknown:
                raise
            return self._after_doubt(ref, before, error)
        return SeenRef(etag, data, ref)

    def _after_doubt(self, ref: RemoteRef, before: SeenRef | None, error: Exception) -> SeenRef:
        """Tell a lost answer from a conflict: the ref has the push's own bytes, or another's."""
        now = self.read_ref(ref.name)
        if now is not None and now.ref.push == ref.push:
            return now
        unchanged = (now.etag if now else None) == (before.etag if before else None)
        if isinstance(error, TransportError) and unchanged:
            raise error
        self.conflicts += 1
        raise Conflict(
            f"'{ref.name}' of '{self.shown}' moved since it was read", name=ref.name
        ) from None

    def wait(self, tried: int) -> None:
        """Wait before a ref is tried again: longer each time, and never as long as others."""
        time.sleep(_FIRST_WAIT * 2**tried * (0.5 + random.random()))

    # --- shards ---

    def read_shard(self, shard: ShardName) -> list[PackEntry]:
        """Return the entries of a shard.

        Raises:
            IntegrityError: it is damaged or missing.
        """
        if shard not in self._shards:
            key = layout.key_of_shard(*shard)
            try:
                got = self.transport.get(key, most=layout.MAX_FRAME)
            except NotFound:
                raise IntegrityError(f"the remote lacks '{key}', which a ref names") from None
            self._shards[shard] = layout.decode_shard(got.data if got else b"", shard)
        return self._shards[shard]

    def write_shard(self, level: int, entries: Sequence[PackEntry]) -> ShardName:
        """Store a shard, and return its name."""
        data = layout.encode_shard(entries)
        shard = ShardName(level, blake3(data).digest())
        tombs.put_named(self.transport, layout.key_of_shard(*shard), data)
        return shard

    def entries(self, ref: RemoteRef) -> list[PackEntry]:
        """Return the packs of a ref, in the order of their import."""
        found = [entry for shard in ref.shards for entry in self.read_shard(shard)]
        return [*found, *ref.packs]

    def secure(self, ref: RemoteRef) -> bool:
        """Keep what a ref names from gc for the next hour; return False if some of it is missing.

        Raises:
            StorageError: a gc that deletes some of it does not end.
        """
        shards = [layout.key_of_shard(*shard) for shard in ref.shards]
        if tombs.secure(self.transport, shards):  # before they are read
            return False
        packs = [layout.key_of_pack(entry.name) for entry in self.entries(ref)]
        return not tombs.secure(self.transport, packs)

    # --- packs ---

    def read_pack(self, entry: PackEntry) -> IO[bytes]:
        """Return a pack whose bytes have its name, from their beginning.

        A large one is read in parts, into a temporary file.

        Raises:
            IntegrityError: they have not, or it is missing.
        """
        key = layout.key_of_pack(entry.name)
        try:
            if entry.size <= _WHOLE:
                # no more than the ref says: what lies there may be far larger
                data = self.transport.get_range(key, 0, max(1, entry.size))
                if blake3(data).digest() != entry.name:
                    raise layout.damaged(key)
                return io.BytesIO(data)
            return self._read_parts(key, entry)
        except InvalidInput:  # it is empty, or shorter
            raise layout.damaged(key) from None
        except NotFound:
            raise IntegrityError(
                f"the remote lacks '{key}', which a ref names; see 'simgit fsck --remote'", key=key
            ) from None

    def _read_parts(self, key: str, entry: PackEntry) -> IO[bytes]:
        file: IO[bytes] = SpooledTemporaryFile(_PART)  # noqa: SIM115
        hasher = blake3()
        try:
            for start in range(0, entry.size, _PART):
                size = min(_PART, entry.size - start)
                data = self.transport.get_range(key, start, size)
                if len(data) != size:
                    raise layout.damaged(key)
                hasher.update(data)
                file.write(data)
            if hasher.digest() != entry.name:
                raise layout.damaged(key)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file


def read_info(transport: Transport) -> RemoteInfo | None:
    """Return the first object of a remote, None if nothing is there.

    Raises:
        InvalidInput: there is something else.
        FormatError: a newer version made it.
        IntegrityError: it is damaged.
    """
    try:
        got = transport.get(layout.REMOTE, most=layout.MAX_RECORD)
    except NotFound:
        for each in islice(transport.list(""), 100):
            if not each.key.startswith(layout.PROBE):
                raise InvalidInput(
                    f"'{transport.url}' is not a remote: it has no '{layout.REMOTE}', but "
                    f"'{each.key}'"
                ) from None
        return None
    return RemoteInfo.decode(got.data if got else b"")


def _common(keys: Iterable[str]) -> str:
    """Return the parts that all keys begin with."""
    return posixpath.commonpath(keys)
