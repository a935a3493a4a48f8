"""Lines: maximal chains of states without a fork, and the tree that they form.

A state whose parent is the newest of a line continues that line; any other state begins a new
one. A line remembers where it forked off its first parent's line, and a jump to an ancestor that
makes every walk logarithmic in the number of forks (E. W. Myers, "An applicative random-access
stack", 1983).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from simgit.errors import IntegrityError
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.objects.oid import OID_SIZE
from simgit.odb.location import LIMIT, Location
from simgit.storage.base import ReadTxn, WriteTxn

NOWHERE: Final = (1 << 64) - 1
_FIXED: Final = struct.Struct("<QQQQQIQBB")


class Line(NamedTuple):
    """A line: its first state's step, generation and parents, and its position in the tree."""

    id: int
    step: int
    generation: int
    parent_line: int  # NOWHERE for a root
    parent_step: int
    jump: int
    depth: int
    record: int  # the number of the line's creation, for listings
    merged: bool  # True if a state on the way to the root has several parents
    parents: tuple[bytes, ...]
    origin: bytes
    cut: bool = False  # True if its last states were removed: it is never continued then

    @property
    def is_root(self) -> bool:
        """True if the first state has no parent."""
        return self.parent_line == NOWHERE


def line_key(line: int) -> bytes:
    """Return the key of a line.

    Raises:
        IntegrityError: no line has this number; it was taken from a damaged key.
    """
    if line >= LIMIT:
        raise IntegrityError(f"malformed key: no line can have number {line}")
    return line.to_bytes(8, "big")


def encode_line(line: Line) -> bytes:
    """Return a line's bytes, with their checksum."""
    body = _FIXED.pack(
        line.step, line.generation, line.parent_line, line.parent_step, line.jump, line.depth,
        line.record, line.merged | line.cut << 1, len(line.parents),
    ) + b"".join(line.parents or (line.origin,))  # fmt: skip
    return body + checksum(body)


@lru_cache(4096)  # commits, branches and marks read the same lines again and again
def decode_line(line: int, value: bytes) -> Line:
    """Return a line.

    Raises:
        IntegrityError: its checksum does not match, a number is out of range, or its parent lines
            are not older.
    """
    body = value[:-CHECKSUM_SIZE]
    if checksum(body) != value[-CHECKSUM_SIZE:] or len(body) < _FIXED.size:
        raise IntegrityError(f"line {line} is damaged")
    step, generation, above, fork, jump, depth, record, flags, count = _FIXED.unpack_from(body)
    oids = [body[i : i + OID_SIZE] for i in range(_FIXED.size, len(body), OID_SIZE)]
    if len(oids) != max(count, 1) or len(oids[-1]) != OID_SIZE or flags > 3:
        raise IntegrityError(f"line {line} is damaged")
    if (above == NOWHERE) != (count == 0):
        raise IntegrityError(f"malformed line {line}: it must have either parents or an origin")
    if max(step, generation, fork, depth, record) >= LIMIT:
        raise IntegrityError(f"malformed line {line}: a number is out of range")
    # so that every walk ends
    if any(number >= line and number != NOWHERE for number in (above, jump)):
        raise IntegrityError(f"malformed line {line}: its parent lines must be older")
    parents, origin = (tuple(oids), b"") if count else ((), oids[0])
    return Line(
        line, step, generation, above, fork, jump, depth, record, bool(flags & 1), parents, origin,
        bool(flags & 2),
    )  # fmt: skip


def read_line(txn: ReadTxn, line: int) -> Line:
    """Return a line.

    Raises:
        IntegrityError: it is missing or damaged.
    """
    value = txn.get("lines", line_key(line))
    if value is None:
        raise IntegrityError(f"line {line} is missing")
    return decode_line(line, value)


def counter(value: bytes, name: str) -> int:
    """Return the value of a counter in ``meta``; IntegrityError if none can have it."""
    number = int.from_bytes(value, "big")
    if len(value) != 8 or number >= LIMIT:
        raise IntegrityError(f"the counter '{name}' is damaged; see 'simgit fsck'")
    return number


def next_number(txn: WriteTxn, what: bytes) -> int:
    """Return a number that was never given out before.

    Raises:
        IntegrityError: the counter is malformed.
    """
    number = counter(txn.get("meta", what) or bytes(8), what.decode())
    txn.put("meta", what, (number + 1).to_bytes(8, "big"))
    return number


def new_line(
    txn: WriteTxn,
    parents: tuple[bytes, ...],
    places: tuple[Location, ...],
    origin: bytes,
) -> Line:
    """Create the line of a state with these parents, which lie at these locations."""
    number = next_number(txn, b"next-line")
    line = derived_line(txn, number, parents, places, origin)
    txn.put("lines", line_key(number), encode_line(line))
    for place in places:
        txn.put("children", struct.pack(">QQQ", *place, number), b"")
    return line


def derived_line(
    txn: ReadTxn,
    number: int,
    parents: tuple[bytes, ...],
    places: tuple[Location, ...],
    origin: bytes,
) -> Line:
    """Return the line of a state with these parents, from which all of it follows."""
    if not places:
        return Line(number, 0, 0, NOWHERE, 0, NOWHERE, 0, number, False, (), origin)
    return _branch_line(txn, number, parents, places)


def _branch_line(
    txn: ReadTxn, number: int, parents: tuple[bytes, ...], places: tuple[Location, ...]
) -> Line:
    lines = [read_line(txn, place.line) for place in places]
    generation = 1 + max(
        line.generation + place.step - line.step for line, place in zip(lines, places, strict=True)
    )
    first = lines[0]
    return Line(
        number, places[0].step + 1, generation, first.id, places[0].step,
        _jump(txn, first), first.depth + 1, number,
        len(places) > 1 or any(line.merged for line in lines), parents, b"",
    )  # fmt: skip


def _jump(txn: ReadTxn, parent: Line) -> int:
    """Return the line that a child of ``parent`` jumps to: Myers' rule, on depths."""
    if parent.jump == NOWHERE:
        return parent.id
    near = read_line(txn, parent.jump)
    if near.jump == NOWHERE:
        return parent.id
    far = read_line(txn, near.jump)
    equal = parent.depth - near.depth == near.depth - far.depth
    return near.jump if equal else parent.id


def line_of_step(txn: ReadTxn, place: Location, step: int) -> Location:
    """Return the location of the first-parent ancestor with a step.

    Raises:
        IntegrityError: a line is missing.
    """
    line = read_line(txn, place.line)
    while step < line.step:
        if line.is_root:
            raise IntegrityError(f"line {line.id} does not reach step {step}")
        jump = read_line(txn, line.jump)
        # an ancestor that still begins after the step can be skipped to
        line = jump if step < jump.step else read_line(txn, line.parent_line)
    return Location(line.id, step)


def fork_point(txn: ReadTxn, a: Location, b: Location) -> Location | None:
    """Return the newest common first-parent ancestor of two states, or None."""
    left, right = read_line(txn, a.line), read_line(txn, b.line)
    step_a, step_b = a.step, b.step
    left, step_a = _rise(txn, left, step_a, right.depth)
    right, step_b = _rise(txn, right, step_b, left.depth)
    while left.id != right.id:
        if left.is_root or right.is_root:
            return None
        if left.jump != right.jump:
            left, step_a = _to_jump(txn, left)
            right, step_b = _to_jump(txn, right)
        else:
            left, step_a = read_line(txn, left.parent_line), left.parent_step
            right, step_b = read_line(txn, right.parent_line), right.parent_step
    return Location(left.id, min(step_a, step_b))


def _rise(txn: ReadTxn, line: Line, step: int, depth: int) -> tuple[Line, int]:
    """Return the ancestor line at a depth, and the step at which the path leaves it."""
    while line.depth > depth:
        jump = read_line(txn, line.jump)
        if jump.depth > depth:
            line, step = jump, jump.step
        else:
            step, line = line.parent_step, read_line(txn, line.parent_line)
    return line, step


def _to_jump(txn: ReadTxn, line: Line) -> tuple[Line, int]:
    # the two lines differ here, so the step at which the path leaves this one is never used
    jump = read_line(txn, line.jump)
    return jump, jump.step
