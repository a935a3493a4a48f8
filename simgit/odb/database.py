"""The object database: write, read (verified), exists, resolve a prefix.

Objects lie loose, one value each, or (states and their large arrays) in segments; callers need
not know which. The hash of every object that is read is recomputed.

    objects: 32-byte oid -> u8 kind ‖ u8 encoding ‖ u64 payload size ‖ body

The encoding's highest bit says that the body lies in overflow pages (see ``overflow``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from blake3 import blake3

from simgit.errors import IntegrityError, InvalidInput, NotFound
from simgit.objects.arrays import AnyArray, decode_array, encode_array, split_array
from simgit.objects.compression import compress, decompress, inflated
from simgit.objects.kinds import (
    COUNTED,
    EMPTY_SCHEMA,
    KIND_CODES,
    KIND_NAMES,
    Decodable,
    Named,
    decode_object,
)
from simgit.objects.oid import OID_SIZE, Oid, hash_object, object_header
from simgit.objects.schema import Schema, may_have
from simgit.odb.known_episodes import KnownEpisodes
from simgit.odb.location import Location
from simgit.odb.loose import (
    CHUNK_ITEM,
    ENCODINGS,
    HEAD,
    LEVEL,
    Encoding,
    PayloadCache,
    chunk_items,
    decode_delta,
    decode_full,
    encode_delta,
    encode_full,
    loose_base,
)
from simgit.odb.overflow import (
    INLINE,
    body_pieces,
    body_size,
    body_start,
    delete_body,
    get_body,
    put_body,
)
from simgit.odb.segments.state_store import StateStore
from simgit.storage.base import ReadTxn, Storage, WriteTxn
from simgit.storage.failpoints import fail_point

_ELSEWHERE: Final = 0x80
_LASTING: Final = frozenset((int(Encoding.RAW), int(Encoding.ZSTD)))
MAX_DELTA_DEPTH: Final = 32
CHUNKED_SIZE: Final = 64 << 10
"""The size in bytes from which on a blob is cut into chunks."""
_FLUSH_BYTES: Final = 8 << 20


class ObjectDatabase:
    """All objects of one store.

    Attributes:
        after_write: called after each committed transaction.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.states = StateStore(self.schema)
        self.episodes = KnownEpisodes()
        self._cache = PayloadCache()
        self.after_write: Callable[[], None] = _nothing
        self._schemas: dict[bytes, Schema] = {bytes(EMPTY_SCHEMA.oid): EMPTY_SCHEMA}

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same storage where it is unpickled; see ``Storage``."""
        return type(self), (self.storage,)

    def on(self, storage: Storage) -> ObjectDatabase:
        """Return the same database, its caches included, on a wrapper of its storage."""
        other = ObjectDatabase.__new__(ObjectDatabase)
        other.__dict__.update(self.__dict__, storage=storage)
        return other

    def read(self) -> AbstractContextManager[ReadTxn]:
        """Begin a read transaction."""
        return self.storage.read()

    @contextmanager
    def write(self) -> Iterator[WriteTxn]:
        """Begin a write transaction."""
        # a rolled-back transaction gave out numbers that will be given out again
        forget = self.states.index.forget
        try:
            with self.storage.write() as txn:
                try:
                    yield txn
                except BaseException:
                    forget()  # before the next writer begins
                    raise
        except BaseException:
            forget()
            raise
        self.after_write()

    # --- writing ---

    def put(self, txn: WriteTxn, thing: Named | Schema) -> Oid:
        """Store an object other than a state; return its oid. Storing it again costs nothing.

        Raises:
            InvalidInput: it has more parts than are allowed.
        """
        kind = "schema" if isinstance(thing, Schema) else thing.kind
        payload = thing.payload
        if kind in COUNTED:
            from simgit.objects.canonical import limit_parts

            limit_parts(payload, COUNTED[kind])
        return self.put_payload(txn, kind, payload)

    def put_payload(self, txn: WriteTxn, kind: str, payload: bytes) -> Oid:
        """Store an object that is given by its payload."""
        oid = hash_object(kind, payload)
        if txn.get("objects", oid) is None:
            body = compress(payload, LEVEL) if len(payload) > 64 else payload
            encoding = Encoding.ZSTD if len(body) < len(payload) else Encoding.RAW
            self._store(txn, oid, kind, encoding, len(payload), body if encoding else payload)
        return oid

    def _store(
        self, txn: WriteTxn, oid: bytes, kind: str, encoding: int, size: int, body: bytes
    ) -> None:
        if len(body) > INLINE and encoding != Encoding.CHUNKS:
            encoding, body = encoding | _ELSEWHERE, put_body(txn, body)
        txn.put("objects", oid, HEAD.pack(KIND_CODES[kind], encoding, size) + body)

    def drop(self, txn: WriteTxn, oid: bytes) -> bool:
        """Remove a loose object that nothing refers to; return True if it was there."""
        value = txn.get("objects", oid)
        if value is not None and value[1] & _ELSEWHERE:
            delete_body(txn, value[HEAD.size :])
        return txn.delete("objects", oid)

    def drop_chunk(self, txn: WriteTxn, name: bytes) -> bool:
        """Remove a chunk that no blob refers to; return True if it was there."""
        return txn.delete("chunks", name)

    def chunks(self, txn: ReadTxn, oid: bytes) -> list[bytes]:
        """Return the hashes of the chunks of a loose object, an empty list if it has none."""
        value = txn.get("objects", oid)
        if value is None or value[1] != Encoding.CHUNKS:
            return []
        return [CHUNK_ITEM.unpack(item)[0] for item in chunk_items(value[HEAD.size :])]

    def stored_size(self, txn: ReadTxn, oid: bytes) -> int:
        """Return the bytes of a loose object in the tables, without its chunks."""
        value = txn.get("objects", oid)
        if value is None:
            return 0
        elsewhere = body_size(value[HEAD.size :]) if value[1] & _ELSEWHERE else 0
        return OID_SIZE + len(value) + elsewhere

    def loose_kinds(self, txn: ReadTxn) -> dict[bytes, str]:
        """Return the oids of all loose objects with their kinds."""
        kinds = {code.to_bytes(1): name for code, name in KIND_NAMES.items()}
        return {oid: kinds.get(value[:1], "unknown") for oid, value in txn.scan("objects")}

    def rebase_array(self, txn: WriteTxn, oid: bytes, base: Oid | None) -> None:
        """Store a loose array anew, as its difference to ``base`` or by itself.

        Raises:
            IntegrityError: it is damaged.
        """
        array = decode_array(self.get(txn, oid)[1])
        self.drop(txn, oid)
        self.put_loose(txn, Oid(oid), array, base)

    def move_array(self, txn: WriteTxn, oid: bytes, base: Oid | None) -> None:
        """Store an array loose that lies with a state about to be removed.

        Raises:
            IntegrityError: it is damaged.
        """
        array = self.states.array(txn, oid)
        if array is None:
            raise IntegrityError(f"array '{oid.hex()}' is missing")
        self.put_loose(txn, Oid(oid), array, base)

    def loose(self, txn: ReadTxn, oid: bytes) -> bytes | None:
        """Return the stored form of a loose object, its body included; None if there is none.

        The bytes are those of docs/store-layout.md §3, with the body in place.
        """
        value = txn.get("objects", oid)
        if value is None:
            return None
        if len(value) < HEAD.size:
            raise IntegrityError(f"malformed object '{oid.hex()}': truncated")
        code, encoding, size = HEAD.unpack_from(value)
        if not encoding & _ELSEWHERE:
            return value
        body = get_body(txn, value[HEAD.size :])
        return HEAD.pack(code, encoding & ~_ELSEWHERE, size) + body

    def put_array(self, txn: WriteTxn, array: AnyArray, base: Oid | None = None) -> Oid:
        """Store an array, as a delta to ``base`` if that is a loose array of equal form."""
        from simgit.objects.row_encoder import hash_array

        oid = Oid(hash_array(array))
        if txn.get("objects", oid) is None and self.states.find_array(txn, oid) is None:
            self.put_loose(txn, oid, array, base)
        return oid

    def put_loose(self, txn: WriteTxn, oid: Oid, array: AnyArray, base: Oid | None = None) -> None:
        """Store an array loose, even if it is also stored with a state."""
        payload = encode_array(array)
        best, body = Encoding.FULL, encode_full(payload)
        if base is not None and base != oid:
            against = self._delta_base(txn, base, payload)
            if against is not None:
                depth, before = against
                delta = base + bytes([depth + 1]) + encode_delta(payload, before)
                if len(delta) < len(body):
                    best, body = Encoding.DELTA, delta
        if len(body) >= len(payload):
            best, body = Encoding.RAW, payload
        self._store(txn, oid, "array", best, len(payload), body)
        self._cache.keep(oid, payload)

    def _delta_base(self, txn: ReadTxn, base: Oid, payload: bytes) -> tuple[int, bytes] | None:
        """Return depth and payload of a base, None if ``payload`` cannot be a delta to it."""
        try:
            depth = self.delta_depth(txn, base)
            if depth is None or depth >= MAX_DELTA_DEPTH:
                return None
            kind, before = "array", self._cache.get(base)
            if before is None:
                kind, before = self.get(txn, base)
        except IntegrityError:
            return None  # a damaged base must not keep a new array from being stored
        if kind != "array" or len(before) != len(payload):
            return None
        offset = split_array(payload)[2]
        return (depth, before) if before[:offset] == payload[:offset] else None

    def put_blob(self, read: Callable[[int], bytes], size: int | None = None) -> Oid:
        """Store a blob that is read piece by piece, in transactions of its own.

        Args:
            read: returns at most ``n`` bytes, none at the end.
            size: the number of bytes, if known; else the chunks are read a second time.

        Raises:
            InvalidInput: there were more or fewer bytes than ``size``.
        """
        from simgit.objects.chunking import split

        hasher = blake3(object_header("blob", size)) if size is not None else None
        chunks: list[bytes] = []
        pending: list[tuple[bytes, bytes]] = []
        total = 0
        for chunk in split(read):
            if hasher is not None:
                hasher.update(chunk)
            name = blake3(chunk).digest()
            chunks.append(CHUNK_ITEM.pack(name, len(chunk)))
            pending.append((name, chunk))
            total += len(chunk)
            if len(pending) * 32768 > _FLUSH_BYTES:
                self._put_chunks(pending)
        if size is not None and total != size:
            raise InvalidInput(f"a blob must have the announced {size} bytes, got {total}")
        return self._finish_blob(chunks, pending, total, hasher)

    def _finish_blob(
        self, chunks: list[bytes], pending: list[tuple[bytes, bytes]], total: int, hasher: Any
    ) -> Oid:
        with self.write() as txn:
            self._put_chunks(pending, txn)
            if hasher is None:
                hasher = blake3(object_header("blob", total))
                for item in chunks:
                    hasher.update(self.chunk(txn, item))
            oid = Oid(hasher.digest())
            if txn.get("objects", oid) is None:
                self._store(txn, oid, "blob", Encoding.CHUNKS, total, b"".join(chunks))
            self.expect(txn, oid)
        return oid

    def expect(self, txn: WriteTxn, *oids: bytes) -> None:
        """Note that a later transaction will refer to objects, so that gc keeps them until then."""
        from simgit.odb.unreachable import OBJECT, note_in_flight

        for oid in oids:
            note_in_flight(txn, OBJECT + oid)

    def _put_chunks(self, pending: list[tuple[bytes, bytes]], txn: WriteTxn | None = None) -> None:
        if txn is None:
            with self.write() as own:
                self._put_chunks(pending, own)
            fail_point("blob.chunks")
            return
        from simgit.odb.unreachable import CHUNK, note_in_flight

        for name, chunk in pending:
            if txn.get("chunks", name) is None:
                packed = compress(chunk, LEVEL)
                value = b"\1" + packed if len(packed) < len(chunk) else b"\0" + chunk
                txn.put("chunks", name, value)
            note_in_flight(txn, CHUNK + name)
        pending.clear()

    # --- reading ---

    def delta_base(self, txn: ReadTxn, oid: bytes) -> Oid | None:
        """Return the base of a loose array that is stored as a delta, None if it is not."""
        value = self._loose_start(txn, oid)
        return None if value is None else loose_base(value)

    def delta_depth(self, txn: ReadTxn, oid: bytes) -> int | None:
        """Return the length of a loose object's delta chain, None if there is no such object."""
        value = self._loose_start(txn, oid)
        if value is None:
            return None
        return value[HEAD.size + OID_SIZE] if HEAD.unpack_from(value)[1] == Encoding.DELTA else 0

    def _loose_start(self, txn: ReadTxn, oid: bytes) -> bytes | None:
        """Return at least the beginning of a loose object, up to the oid of its base."""
        value = txn.get("objects", oid)
        if value is None or len(value) < HEAD.size or not value[1] & _ELSEWHERE:
            return self.loose(txn, oid)
        code, encoding, size = HEAD.unpack_from(value)
        body = body_start(txn, value[HEAD.size :], OID_SIZE + 1)
        return HEAD.pack(code, encoding & ~_ELSEWHERE, size) + body

    def exists(self, txn: ReadTxn, oid: bytes) -> bool:
        """Return True if there is an object of this hash."""
        if txn.get("objects", oid) is not None or self.states.locate(txn, oid) is not None:
            return True
        return self.states.find_array(txn, oid) is not None

    def get(self, txn: ReadTxn, oid: bytes) -> tuple[str, bytes]:
        """Return an object's kind and payload.

        Raises:
            NotFound: there is no such object.
            IntegrityError: its bytes are malformed or have another hash.
        """
        value = self.loose(txn, oid)
        if value is None:
            return self._get_packed(txn, oid)
        return _checked(oid, *self.decode_loose(txn, oid, value))

    def _get_packed(self, txn: ReadTxn, oid: bytes) -> tuple[str, bytes]:
        place = self.states.locate(txn, oid)
        if place is not None:
            return "state", self.states.state(txn, place, oid)[1].payload
        array = self.states.array(txn, oid)
        if array is None:
            raise NotFound(f"object '{oid.hex()}' not found")
        return "array", encode_array(array)

    def decode_loose(
        self, txn: ReadTxn, oid: bytes, value: bytes, depth: int = MAX_DELTA_DEPTH
    ) -> tuple[str, bytes]:
        """Return kind and payload of a stored form; the hash is not checked.

        Raises:
            IntegrityError: it is malformed, or its base or a chunk is missing.
        """
        kind, encoding, size = _head(oid, value)
        body = value[HEAD.size :]
        if encoding == Encoding.CHUNKS:
            payload = b"".join(self.chunk(txn, item) for item in chunk_items(body))
        elif encoding == Encoding.DELTA:
            payload = self._decode_delta(txn, oid, body, size, depth)
        else:
            payload = _decode_body(encoding, body, size)
        if len(payload) != size:
            raise IntegrityError(f"malformed object '{oid.hex()}': its length is wrong")
        return kind, payload

    def _decode_delta(self, txn: ReadTxn, oid: bytes, body: bytes, size: int, depth: int) -> bytes:
        value = self.loose(txn, body[:OID_SIZE])
        if value is None or depth == 0:
            raise IntegrityError(f"object '{oid.hex()}' is a delta to a missing object")
        _, before = self.decode_loose(txn, body[:OID_SIZE], value, depth - 1)
        if len(before) != size:
            raise IntegrityError(f"object '{oid.hex()}' is a delta to an object of another size")
        return decode_delta(memoryview(body)[OID_SIZE + 1 :], before)

    def chunk(self, txn: ReadTxn, item: bytes) -> bytes:
        name, size = CHUNK_ITEM.unpack(item)
        value = txn.get("chunks", name)
        if value is None:
            raise IntegrityError(f"chunk '{name.hex()}' is missing")
        chunk = decompress(value[1:], size) if value[:1] == b"\1" else value[1:]
        if (found := blake3(chunk).digest()) != name:
            raise IntegrityError(f"hash mismatch: chunk '{name.hex()}' has hash '{found.hex()}'")
        return chunk

    def payload_size(self, txn: ReadTxn, oid: bytes) -> int:
        """Return the size in bytes of an object's payload; of a loose one without reading it."""
        value = txn.get("objects", oid)
        return int(HEAD.unpack_from(value)[2]) if value else len(self.get(txn, oid)[1])

    def blob_size(self, txn: ReadTxn, oid: bytes) -> int:
        """Return the number of bytes of a blob without reading them."""
        value = txn.get("objects", oid)
        if value is None or value[0] != KIND_CODES["blob"]:
            raise NotFound(f"blob '{oid.hex()}' not found")
        return int(HEAD.unpack_from(value)[2])

    def stream_blob(self, oid: bytes) -> Iterator[bytes]:
        """Yield a blob's bytes piece by piece; the last piece comes only if the hash matches.

        Raises:
            NotFound: there is no such blob.
            IntegrityError: its bytes have another hash.
        """
        with self.read() as txn:
            size = self.blob_size(txn, oid)
            value = txn.get("objects", oid) or b""
            if value[1] != Encoding.CHUNKS:
                yield self.get(txn, oid)[1]
                return
        hasher = blake3(object_header("blob", size))
        held = b""
        for item in chunk_items(value[HEAD.size :]):
            if held:
                yield held
            with self.read() as txn:  # short transactions: a slow consumer must not pin pages
                held = self.chunk(txn, item)
            hasher.update(held)
        if (found := hasher.digest()) != oid:
            raise IntegrityError(f"hash mismatch: blob '{oid.hex()}' has hash '{found.hex()}'")
        if held:
            yield held

    def check_blob(self, txn: ReadTxn, oid: bytes) -> None:
        """Recompute the hash of a blob, piece by piece; see ``get`` for the errors."""
        value = txn.get("objects", oid) or b""
        size = self.blob_size(txn, oid)
        hasher = blake3(object_header("blob", size))
        left = size
        for piece in self.pieces(txn, oid, value):
            hasher.update(piece)
            left -= len(piece)
        if left:
            raise IntegrityError(f"malformed object '{oid.hex()}': its length is wrong")
        if (found := hasher.digest()) != oid:
            raise IntegrityError(f"hash mismatch: object '{oid.hex()}' has hash '{found.hex()}'")

    def pieces(self, txn: ReadTxn, oid: bytes, value: bytes) -> Iterator[bytes]:
        """Yield the payload of a stored form that is no array, piece by piece."""
        _, encoding, size = HEAD.unpack_from(value)
        body: Iterator[bytes] = iter([value[HEAD.size :]])
        if encoding & _ELSEWHERE:
            body = body_pieces(txn, value[HEAD.size :])
        match encoding & ~_ELSEWHERE:
            case Encoding.RAW:
                return body
            case Encoding.ZSTD:
                return inflated(body, size)
            case Encoding.CHUNKS:
                return (self.chunk(txn, item) for item in chunk_items(b"".join(body)))
        raise IntegrityError(f"malformed object '{oid.hex()}': unknown kind or encoding")

    def object(self, txn: ReadTxn, oid: bytes) -> Decodable:
        """Return a decoded object; see ``get`` for the errors."""
        return decode_object(*self.get(txn, oid))

    def lasting(self, txn: ReadTxn, oid: bytes) -> bytes | None:
        """Return the stored form of a loose object, which ``decode_lasting`` decodes at any time.

        None if there is no such object, or if others are needed to decode it.
        """
        value = self.loose(txn, oid)
        return value if value is not None and value[1] in _LASTING else None

    def array(self, txn: ReadTxn, oid: bytes, hint: tuple[int, int, int] | None = None) -> AnyArray:
        """Return an array; ``hint`` is the (line, field, step) of a state that has it."""
        array = self.states.array(txn, oid, hint) if hint or not txn.get("objects", oid) else None
        if array is not None:
            return array
        kind, payload = self.get(txn, oid)
        if kind != "array":
            raise IntegrityError(f"object '{oid.hex()}' is a {kind}, not an array")
        return decode_array(payload)

    def schema(self, txn: ReadTxn, oid: bytes) -> Schema:
        """Return a schema.

        Raises:
            IntegrityError: it is missing or damaged (states name all schemas that are read).
        """
        found = self._schemas.get(oid)
        if found is None:
            try:
                decoded = self.object(txn, oid)
            except NotFound as error:
                raise IntegrityError(
                    f"schema '{oid.hex()}' is missing; see 'simgit fsck'"
                ) from error
            if not isinstance(decoded, Schema):
                raise IntegrityError(f"object '{oid.hex()}' is not a schema")
            found = self._schemas[bytes(oid)] = decoded
        return found

    def may_have_field(self, txn: ReadTxn, oid: bytes, name: str) -> bool:
        """Return False if a schema has no such top-level field; it is not decoded to tell."""
        return txn.get("objects", oid) is None or may_have(self.get(txn, oid)[1], name)

    def kind(self, txn: ReadTxn, oid: bytes) -> str:
        """Return an object's kind without reading all of it."""
        value = txn.get("objects", oid)
        if value is not None:
            return KIND_NAMES.get(value[0], "unknown")
        return self.get(txn, oid)[0]

    def with_prefix(self, txn: ReadTxn, digits: str) -> list[tuple[str, Oid]]:
        """Return (kind, oid) of the objects whose oids begin with hex ``digits``, sorted."""
        low = bytes.fromhex(digits.ljust(2 * OID_SIZE, "0"))
        high = bytes.fromhex(digits.ljust(2 * OID_SIZE, "f"))
        found = {
            oid: KIND_NAMES.get(value[0], "unknown")
            for oid, value in txn.scan("objects", low, high + b"\0")
        }
        found |= {oid: "state" for oid, _ in self.states.with_prefix(txn, low, high)}
        found |= dict.fromkeys(self.states.arrays_with_prefix(txn, low, high), "array")
        return sorted((kind, Oid(oid)) for oid, kind in found.items())

    def locate(self, txn: ReadTxn, oid: bytes) -> Location:
        """Return the location of a state.

        Raises:
            NotFound: there is no such state.
        """
        place = self.states.locate(txn, oid)
        if place is None:
            raise NotFound(f"state '{oid.hex()}' not found")
        return place


def _nothing() -> None:
    pass


def decode_lasting(oid: bytes, value: bytes) -> Decodable:
    """Return the object of a stored form that ``ObjectDatabase.lasting`` has returned.

    Raises:
        IntegrityError: its bytes are malformed or have another hash.
    """
    kind, encoding, size = _head(oid, value)
    payload = _decode_body(encoding, value[HEAD.size :], size)
    if len(payload) != size:
        raise IntegrityError(f"malformed object '{oid.hex()}': its length is wrong")
    return decode_object(*_checked(oid, kind, payload))


def _head(oid: bytes, value: bytes) -> tuple[str, int, int]:
    """Return kind, encoding and size of the payload of a stored form."""
    if len(value) < HEAD.size:
        raise IntegrityError(f"malformed object '{oid.hex()}': truncated")
    code, encoding, size = HEAD.unpack_from(value)
    kind = KIND_NAMES.get(code)
    if kind is None or encoding not in ENCODINGS:
        raise IntegrityError(f"malformed object '{oid.hex()}': unknown kind or encoding")
    return kind, encoding, size


def _decode_body(encoding: int, body: bytes, size: int) -> bytes:
    """Return the payload of a body that needs no other."""
    if encoding == Encoding.FULL:
        return decode_full(body, size)
    return decompress(body, size) if encoding == Encoding.ZSTD else body


def _checked(oid: bytes, kind: str, payload: bytes) -> tuple[str, bytes]:
    """Return kind and payload of an object once the hash is checked."""
    if (found := hash_object(kind, payload)) != oid:
        raise IntegrityError(f"hash mismatch: object '{oid.hex()}' has hash '{found.hex()}'")
    return kind, payload
