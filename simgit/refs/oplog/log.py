"""The operation log: the changes of refs and bindings by each command, in order.

operations: u64 operation ‖ u32 0       -> the operation
            u64 operation ‖ u32 number  -> one change
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from shlex import quote
from types import NoneType
from typing import Any, Final, NamedTuple

from simgit.errors import IntegrityError, NotFound
from simgit.objects.codec import decode_name
from simgit.objects.oid import OID_SIZE, Oid
from simgit.refs.names import HEAD, OF_RUNS
from simgit.refs.records import (
    BYTES,
    FLAG,
    HEAD_TYPES,
    INT,
    MAYBE_INT,
    RUN_TYPES,
    TAG_TYPES,
    TEXT,
    WRITER_TYPES,
    Types,
    check_fields,
    decode_oid,
    pack_ref,
    unpack_ref,
)
from simgit.storage.base import ReadTxn, WriteTxn

TABLE: Final = "operations"
WATCHED: Final = ("refs", "attachments")
"""The tables whose changes are logged."""
WHOLE: Final = b"whole"
_OF_RUNS: Final = tuple(space.encode() for space in OF_RUNS)
_END: Final = b"\xff" * 4
_IMPOSSIBLE: Final = 1 << 63
_LATER: Final = 16
"""The most later sessions after which a session still continues its operation."""

Fields = dict[str, Any]
Read = dict[bytes, tuple[Oid, ...]]
"""A cache: the oids that entries of a log name, by their stored form."""
Key = tuple[str, bytes]
"""A table and a key in it."""
HEAD_KEY: Final = ("refs", HEAD.encode())


# --- changes ------------------------------------------------------------------------------------


def parse(key: Key, value: bytes | None, is_new: bool = False) -> Fields | None:
    """Return the fields of a ref or a binding in the form that the log keeps.

    Args:
        key: its key.
        value: its stored form; None for HEAD stands for the first one.
        is_new: True if this transaction has written it: then its fields need no check.

    Raises:
        IntegrityError: it is damaged.
    """
    if value is None:
        return {"run": "main"} if key == HEAD_KEY else None
    if key[0] == "attachments":
        return {"binding": value}
    record = unpack_ref(value)
    if not is_new:
        types = RUN_TYPES if has_run_fields(key) else _side_types(key)
        check_fields(record, types, "a ref", key != HEAD_KEY)
    record.pop("writer", None)  # a writer is true at this moment only
    return record


def unparse(key: Key, record: Fields) -> bytes:
    """Return the stored form of a ref or a binding; a run has no writer in it."""
    if key[0] == "attachments":
        return bytes(record["binding"])
    return pack_ref({**record, "writer": None} if has_run_fields(key) else record)


def has_run_fields(key: Key) -> bool:
    """Return True for the key of a run's ref, or of a remote-tracking one."""
    return key[0] == "refs" and key[1].startswith(_OF_RUNS)


def same(a: Any, b: Any) -> bool:
    """Return True if two fields are equal, NaN to NaN included."""
    return bool(a == b or (a != a and b != b))


_WHAT: Final = "a change in the operation log"
_SIDE: Final = (dict, NoneType)
_OF_REF: Final = {"ref": TEXT, "old": _SIDE, "new": _SIDE}
_OF_BINDING: Final = {"state": BYTES, "name": TEXT, "old": _SIDE, "new": _SIDE}
_RUN: Final = {name: types for name, types in RUN_TYPES.items() if name != "writer"}


def _side_types(key: Key) -> Types:
    """Return the types of the fields that a record at a key can have."""
    if key[0] == "attachments":
        return {"binding": BYTES}
    if key == HEAD_KEY:
        return HEAD_TYPES
    return _RUN if has_run_fields(key) else TAG_TYPES


class KeyChange(NamedTuple):
    """The record at a key before and after an operation; None where there is none.

    Of a run that was there before and after only the fields that differ are kept, so that taking
    back a change of its configuration does not touch what was recorded since.
    """

    key: Key
    old: Fields | None
    new: Fields | None

    @classmethod
    def between(cls, key: Key, old: Fields | None, new: Fields | None) -> KeyChange:
        """Return the change from one record of a key to another."""
        if has_run_fields(key) and old is not None and new is not None:
            names = [name for name, value in new.items() if not same(old.get(name), value)]
            old, new = {name: old.get(name) for name in names}, {name: new[name] for name in names}
        return cls(key, old, new)

    @property
    def is_empty(self) -> bool:
        """True if nothing differs."""
        return self.old == self.new

    @property
    def inverse(self) -> KeyChange:
        """The change that reverts this one."""
        return KeyChange(self.key, self.new, self.old)

    def fits(self, current: Fields | None) -> bool:
        """Return True if a key is as it was before the change, in the fields that it touches."""
        if self.old is None or current is None:
            return self.old is current
        return all(same(current.get(name), value) for name, value in self.old.items())

    def apply(self, current: Fields | None) -> Fields | None:
        """Return the record at a key after the change."""
        if self.new is None or self.old is None or current is None or not has_run_fields(self.key):
            return self.new
        return {**current, **self.new}

    @property
    def ref(self) -> str | None:
        """The full name of the ref that was changed, None for a binding."""
        return decode_name(self.key[1]) if self.key[0] == "refs" else None

    @property
    def binding(self) -> tuple[Oid, str] | None:
        """State and name of the binding that was changed, None for a ref."""
        if self.key[0] == "refs":
            return None
        return Oid(self.key[1][:OID_SIZE]), decode_name(self.key[1][OID_SIZE:])

    @property
    def oids(self) -> Iterator[Oid]:
        """The oids of the objects that the change names."""
        return (Oid(raw) for _, raw in self._named())

    def _named(self) -> Iterator[tuple[str, bytes]]:
        for record in (self.old, self.new):
            for name in ("oid", "record", "tag", "binding"):
                if record is not None and record.get(name) is not None:
                    yield name, record[name]

    def encode(self) -> bytes:
        """Return the stored form of the change."""
        record: Fields = {"old": self.old, "new": self.new}
        if self.key[0] == "refs":
            record["ref"] = decode_name(self.key[1])
        else:
            record["state"], record["name"] = (
                self.key[1][:OID_SIZE],
                decode_name(self.key[1][OID_SIZE:]),
            )
        return pack_ref(record)

    @classmethod
    def decode(cls, value: bytes) -> KeyChange:
        """Return the change of a stored form.

        Raises:
            IntegrityError: it is damaged.
        """
        record = unpack_ref(value)
        check_fields(record, _OF_REF if "ref" in record else _OF_BINDING, _WHAT)
        if "ref" in record:
            key = ("refs", record["ref"].encode(errors="replace"))
        else:
            state = decode_oid(record["state"], _WHAT)
            key = ("attachments", state + record["name"].encode(errors="replace"))
        change = cls(key, record["old"], record["new"])
        change._check()
        return change

    def _check(self) -> None:
        types = _side_types(self.key)
        part = has_run_fields(self.key) and self.old is not None and self.new is not None
        every = not part and self.key != HEAD_KEY
        for record in (self.old, self.new):
            if record is not None:
                check_fields(record, types, _WHAT, every)
                if self.key == HEAD_KEY and len(record) != 1:
                    raise IntegrityError(f"malformed: {_WHAT}")
        for name, raw in self._named():
            decode_oid(raw, f"{_WHAT}, in its {name},")


def shown_key(key: Key) -> str:
    """Return the name of a ref or a binding in a message."""
    change = KeyChange(key, None, None)
    if change.binding is None:
        return f"'{change.ref}'"
    return f"attachment '{change.binding[1]}' of '{change.binding[0].short()}'"


# --- operations ---------------------------------------------------------------------------------


_MOVE: Final = (str, int, str, int)
_OPERATION: Final = {
    "command": TEXT, "arguments": (list,), "time": INT, "until": INT, "process": (dict,),
    "session": FLAG, "reverts": MAYBE_INT, "files": FLAG, "moves": (list,), "changes": INT,
    "program": FLAG,
}  # fmt: skip
Move = tuple[str, int, str, int]
"""A move of reflog entries: from one log and number on, to another log and number on."""


@dataclass(frozen=True)
class Operation:
    """An operation: the work of one command, one call or one recorder.

    Times are in nanoseconds since 1970 (UTC); ``number`` alone gives the order. ``session`` marks
    a recorder's. ``reverts`` is the operation that an undo or a redo reverted. ``changes`` is the
    number of changes. ``program`` marks a call of the Python API.
    """

    number: int
    command: str
    arguments: tuple[str, ...]
    time: int
    until: int
    process: Fields = field(repr=False)
    session: bool = False
    reverts: int | None = None
    files: bool = False
    moves: tuple[Move, ...] = ()
    changes: int = 0
    program: bool = False

    @property
    def title(self) -> str:
        """The command with its arguments, quoted for a shell."""
        return " ".join((self.command, *map(quote, self.arguments)))

    def encode(self) -> bytes:
        """Return the stored form of the operation."""
        record = self.__dict__.copy()
        del record["number"]
        return pack_ref(record)

    @classmethod
    def decode(cls, number: int, value: bytes) -> Operation:
        """Return the operation of a stored form.

        Raises:
            IntegrityError: it is damaged.
        """
        # the first repositories of format 1 do not have the field 'program'
        record = {"program": False, **unpack_ref(value)}
        what = f"operation {number}"
        check_fields(record, _OPERATION, what)
        check_fields(record["process"], WRITER_TYPES, what)
        moves = record["moves"]
        if not all(type(each) is list and tuple(map(type, each)) == _MOVE for each in moves):
            raise IntegrityError(f"{what} is malformed: field 'moves' must be a list of moves")
        if any(not 0 <= number < _IMPOSSIBLE for each in moves for number in each[1::2]):
            raise IntegrityError(f"{what} is malformed: field 'moves' has a number out of range")
        if not all(type(each) is str for each in record["arguments"]):
            raise IntegrityError(f"{what} is malformed: field 'arguments' must be strings")
        arguments, moved = tuple(record["arguments"]), tuple(map(tuple, moves))
        return cls(number, **{**record, "arguments": arguments, "moves": moved})


def standing(operations: Iterable[Operation]) -> Iterator[tuple[Operation, bool]]:
    """Yield operations, given newest first, with True for those that were not reverted."""
    reverted = set()
    for operation in operations:
        stands = operation.number not in reverted
        if stands and operation.reverts is not None:
            reverted.add(operation.reverts)
        yield operation, stands


class OperationLog:
    """The operations of one store, read and written in the caller's transaction."""

    # --- reading ---

    def newest(self, txn: ReadTxn) -> int:
        """Return the number of the newest operation, 0 if there is none.

        Raises:
            IntegrityError: the number is impossible.
        """
        last = txn.last(TABLE)
        newest = int.from_bytes(last[0][:8], "big") if last else 0
        if newest >= _IMPOSSIBLE:
            raise IntegrityError(f"the operation log is damaged: impossible number {newest}")
        return newest

    def whole(self, txn: ReadTxn) -> int:
        """Return the number of the oldest operation whose changes are kept.

        Raises:
            IntegrityError: the number is impossible.
        """
        number = int.from_bytes(txn.get("meta", WHOLE) or b"", "big")
        if number > self.newest(txn) + 1:
            raise IntegrityError(f"the operation log is damaged: no operation {number - 1}")
        return number

    def oldest(self, txn: ReadTxn) -> int:
        """Return the number of the oldest operation that is kept, 1 if there is none yet."""
        for key, _ in txn.scan(TABLE):
            if key[8:] == bytes(4):
                return int.from_bytes(key[:8], "big")
        return 1

    def find(self, txn: ReadTxn, number: int) -> Operation | None:
        """Return an operation, None if it does not exist or is no longer kept."""
        value = txn.get(TABLE, _key(number, 0)) if 0 < number < 1 << 64 else None
        return None if value is None else Operation.decode(number, value)

    def operation(self, txn: ReadTxn, number: int) -> Operation:
        """Return an operation.

        Raises:
            NotFound: it does not exist, or is no longer kept.
        """
        found = self.find(txn, number)
        if found is None:
            oldest, newest = self.oldest(txn), self.newest(txn)
            kept = f"{oldest} to {newest} are kept" if newest else "there are no operations yet"
            raise NotFound(f"operation {number} not found: {kept}", number=number)
        return found

    def operations(self, txn: ReadTxn, down_to: int = 1) -> Iterator[Operation]:
        """Yield the operations, the newest first, down to a number."""
        number = self.newest(txn)
        while number >= down_to:
            found = self.find(txn, number)
            if found is None:
                return  # older ones were removed
            yield found
            before = txn.floor(TABLE, (number - 1).to_bytes(8, "big") + _END)
            number = int.from_bytes(before[0][:8], "big") if before else 0

    def changes(self, txn: ReadTxn, number: int) -> list[KeyChange]:
        """Return the changes of an operation, in order."""
        rows = txn.scan(TABLE, _key(number, 1), _key(number + 1, 0))
        return [KeyChange.decode(value) for _, value in rows]

    def roots(self, txn: ReadTxn, read: Read | None = None) -> Iterator[Oid]:
        """Yield every oid that the log names: states, runs' records, tags' notes, bindings.

        These and all that is reachable from them must be kept as long as the operation, so that it
        can be undone.

        Args:
            txn: the transaction.
            read: a cache of the oids read before; it is added to.
        """
        read = {} if read is None else read
        for key, value in txn.scan(TABLE):
            if key[8:] != bytes(4):
                if value not in read:
                    read[value] = tuple(KeyChange.decode(value).oids)
                yield from read[value]

    # --- writing ---

    def add(self, txn: WriteTxn, operation: Operation, changes: Iterable[KeyChange]) -> bytes:
        """Store a new operation with its changes; return its stored form without them.

        Keys are appended in order, so that pages are filled.
        """
        value = operation.encode()
        txn.append(TABLE, _key(operation.number, 0), value)
        for row, change in enumerate(changes, 1):
            txn.append(TABLE, _key(operation.number, row), change.encode())
        return value

    def put(self, txn: WriteTxn, operation: Operation) -> bytes:
        """Store an operation that was continued; return its stored form."""
        value = operation.encode()
        txn.put(TABLE, _key(operation.number, 0), value)
        return value

    def stored(self, txn: ReadTxn, number: int) -> bytes | None:
        """Return the stored form of an operation, without its changes."""
        return txn.get(TABLE, _key(number, 0))

    def put_change(self, txn: WriteTxn, number: int, row: int, change: KeyChange) -> None:
        """Store a change of an operation under a number from 1 on."""
        txn.put(TABLE, _key(number, row), change.encode())

    def only_sessions_since(self, txn: ReadTxn, number: int) -> bool:
        """Return True if an operation is kept and only few sessions came after it."""
        for count, later in enumerate(self.operations(txn, number)):
            if later.number == number:
                return True
            if not later.session or count == _LATER:
                return False
        return False

    def expire(self, txn: WriteTxn, before: int, keep: int, least: int, most: int) -> int:
        """Remove the oldest operations; return the number of them.

        Args:
            txn: a write transaction.
            before: remove those that last wrote before this time (nanoseconds since 1970) ...
            keep: ... and those that are not among the newest ``keep``.
            least: keep at least the newest ``least``, whatever the clock says.
            most: remove at most ``most`` rows, so that other writers wait only shortly.
        """
        removed = 0
        newest = self.newest(txn)
        for row, (key, value) in enumerate(txn.scan(TABLE)):
            number = int.from_bytes(key[:8], "big")
            if row == most or number > newest - least:
                break
            if key[8:] == bytes(4):
                if number > newest - keep and Operation.decode(number, value).until >= before:
                    break
                removed += 1
            txn.delete(TABLE, key)
        return removed


def _key(number: int, row: int) -> bytes:
    return number.to_bytes(8, "big") + row.to_bytes(4, "big")
