"""Lines: maximal chains of states without a fork, and the tree that they form.

A state whose parent is the newest of a line continues that line; any other state begins a new
one. A line remembers where it forked off its first parent's line, and a jump to an ancestor that
makes every walk logarithmic in the number of forks (E. W. Myers, "An applicative random-access
stack", 1983).

The parents of a *graft* are named, but they are not all here: history ends there, as in a shallow
clone of git. When they arrive it is joined to them.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple

from simgit.errors import IntegrityError, Missing, plural
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb.location import LIMIT, Location
from simgit.storage.base import ReadTxn, WriteTxn

NOWHERE: Final = (1 << 64) - 1
GRAFTS: Final = 1 << 61
"""The number of a graft, and of each line below one, is at least this."""
_SLOT: Final = 24
_MOST_STEPS: Final = 1 << 36
_GRAFT: Final = b"graft\0"
SHALLOW: Final = b"grafts"
"""The key in ``meta`` of a store that has a graft, or had one."""
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
    grafted: bool = False  # True if not all parents of the first state are here

    @property
    def is_root(self) -> bool:
        """True if the first state has no parent."""
        return not self.parents


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
        line.record, line.merged | line.cut << 1 | line.grafted << 2, len(line.parents),
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
    if len(oids) != max(count, 1) or len(oids[-1]) != OID_SIZE or flags > 7:
        raise IntegrityError(f"line {line} is damaged")
    grafted = bool(flags & 4)
    if (above == NOWHERE) != (count == 0 or grafted) or (grafted and not count):
        raise IntegrityError(f"malformed line {line}: it must have either parents or an origin")
    if max(step, generation, fork, depth, record) >= LIMIT:
        raise IntegrityError(f"malformed line {line}: a number is out of range")
    # so that every walk ends
    if any(number >= line and number != NOWHERE for number in (above, jump)):
        raise IntegrityError(f"malformed line {line}: its parent lines must be older")
    parents, origin = (tuple(oids), b"") if count else ((), oids[0])
    return Line(
        line, step, generation, above, fork, jump, depth, record, bool(flags & 1), parents, origin,
        bool(flags & 2), grafted,
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
    if any(place.line >= GRAFTS for place in places):
        slots = [(place.line - GRAFTS) >> _SLOT for place in places if place.line >= GRAFTS]
        number = _below_graft(number, max(places[0].step, *slots) + 1)
    line = derived_line(txn, number, parents, places, origin)
    txn.put("lines", line_key(number), encode_line(line))
    for place in places:
        txn.put("children", struct.pack(">QQQ", *place, number), b"")
    return line


def _below_graft(number: int, slot: int) -> int:
    """Return the number of a line of a shallow history, greater than that of its parents' lines.

    Its place in time is part of it, so that lines which arrive later come before it.
    """
    if slot >= _MOST_STEPS or number >> _SLOT:
        raise Missing("no more lines can be added to a shallow history; fetch the whole run")
    return GRAFTS | slot << _SLOT | number


def new_graft(txn: WriteTxn, parents: tuple[bytes, ...], step: int, remote: str) -> Line:
    """Create the line of a state with this step whose parents are not all here.

    Args:
        txn: the transaction.
        parents: the oids of the parents.
        step: the step of the first state.
        remote: the name of the remote that has them.
    """
    number = _below_graft(next_number(txn, b"next-line"), step)
    line = graft_line(number, parents, step)
    txn.put("lines", line_key(number), encode_line(line))
    txn.put("meta", SHALLOW, b"")
    name = remote.encode()
    for oid in parents:
        txn.put("meta", _GRAFT + oid + line_key(number), name + checksum(name))
    return line


def graft_line(number: int, parents: tuple[bytes, ...], step: int) -> Line:
    """Return a graft; it stands for a root until it is joined."""
    return Line(
        number, step, step, NOWHERE, 0, NOWHERE, 0, number, len(parents) > 1, parents, b"",
        grafted=True,
    )  # fmt: skip


def newest_number(txn: ReadTxn) -> int | None:
    """Return the greatest number that was given to a line that is here, None without lines."""
    before = txn.floor("lines", (GRAFTS - 1).to_bytes(8, "big"))
    found = [] if before is None else [int.from_bytes(before[0][-8:], "big")]
    for key, _ in txn.scan("lines", line_key(GRAFTS), LIMIT.to_bytes(8, "big")):
        found.append(int.from_bytes(key, "big") & ((1 << _SLOT) - 1))
    return max(found, default=None)


def grafts(txn: ReadTxn) -> list[tuple[bytes, int]]:
    """Return a parent and the line of each graft; one with several parents is there repeatedly."""
    size = len(_GRAFT)
    return [
        (key[size : size + OID_SIZE], int.from_bytes(key[size + OID_SIZE :], "big"))
        for key, _ in txn.scan("meta", _GRAFT, _GRAFT[:-1] + b"\1")
    ]


def check_grafts(txn: ReadTxn) -> None:
    """Check that the grafts are listed, and nothing else is.

    Raises:
        IntegrityError: they are not; ``list_grafts`` lists them.
    """
    is_shallow = next(txn.scan("lines", line_key(GRAFTS), LIMIT.to_bytes(8, "big")), None)
    if is_shallow is not None and txn.get("meta", SHALLOW) is None:
        raise IntegrityError("the store has a shallow history, but is not marked as such")
    if set(_listed(txn)) != {key for key, _ in txn.scan("meta", _GRAFT, _GRAFT[:-1] + b"\1")}:
        raise IntegrityError("the list of grafts is not that of the lines that are grafts")
    for _, value in txn.scan("meta", _GRAFT, _GRAFT[:-1] + b"\1"):
        if checksum(value[:-CHECKSUM_SIZE]) != value[-CHECKSUM_SIZE:]:
            raise IntegrityError("the name of the remote of a graft is damaged")


def list_grafts(txn: WriteTxn) -> None:
    """List the grafts anew, those whose remote is not known with an empty name."""
    listed = _listed(txn)
    for key, _ in list(txn.scan("meta", _GRAFT, _GRAFT[:-1] + b"\1")):
        if key not in listed:
            txn.delete("meta", key)
    for key in listed:
        value = txn.get("meta", key) or b""
        if checksum(value[:-CHECKSUM_SIZE]) != value[-CHECKSUM_SIZE:]:
            txn.put("meta", key, checksum(b""))
    if next(txn.scan("lines", line_key(GRAFTS), LIMIT.to_bytes(8, "big")), None) is not None:
        txn.put("meta", SHALLOW, b"")


def _listed(txn: ReadTxn) -> list[bytes]:
    """Return the keys that list the grafts, of all lines that can be read."""
    found = []
    for key, value in txn.scan("lines", line_key(GRAFTS), LIMIT.to_bytes(8, "big")):
        with suppress(IntegrityError):
            line = decode_line(int.from_bytes(key, "big"), value)
            found += [_GRAFT + oid + key for oid in line.parents if line.grafted]
    return found


def forget_graft(txn: WriteTxn, line: Line) -> None:
    """Note that a line is no graft any more: it was joined, or removed."""
    for oid in line.parents:
        txn.delete("meta", _GRAFT + oid + line_key(line.id))


def missing(txn: ReadTxn, line: Line, what: str = "") -> Missing:
    """Return the error for what lies before a graft; ``what`` is said before."""
    value = txn.get("meta", _GRAFT + line.parents[0] + line_key(line.id)) or b""
    remote = value[:-CHECKSUM_SIZE].decode(errors="replace") or "the remote"
    return Missing(
        f"{what}the history is shallow: the {plural(line.step, 'state')} before step {line.step} "
        f"{'is' if line.step == 1 else 'are'} not here; fetch them from '{remote}'",
        step=line.step, remote=remote, oids=tuple(map(Oid, line.parents)),
    )  # fmt: skip


def first_parent(txn: ReadTxn, line: Line) -> Location:
    """Return the location of the first parent of a line that is no root.

    Raises:
        Missing: the line is a graft.
    """
    if line.grafted:
        raise missing(txn, line)
    return Location(line.parent_line, line.parent_step)


def graft_of(txn: ReadTxn, number: int) -> Line | None:
    """Return the graft at which the first-parent history of a line ends, None if it is whole."""
    line = read_line(txn, number)
    while line.jump != NOWHERE:
        line = read_line(txn, line.jump)
    return line if line.grafted else None


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
        if line.grafted:
            raise missing(txn, line)
        if line.is_root:
            raise IntegrityError(f"line {line.id} does not reach step {step}")
        jump = read_line(txn, line.jump)
        # an ancestor that still begins after the step can be skipped to
        line = jump if step < jump.step else read_line(txn, line.parent_line)
    return Location(line.id, step)


def fork_point(txn: ReadTxn, a: Location, b: Location) -> Location | None:
    """Return the newest common first-parent ancestor of two states, or None.

    Raises:
        Missing: it can lie in what a shallow history lacks.
    """
    left, right = read_line(txn, a.line), read_line(txn, b.line)
    step_a, step_b = a.step, b.step
    left, step_a = _rise(txn, left, step_a, right.depth)
    right, step_b = _rise(txn, right, step_b, left.depth)
    while left.id != right.id:
        for line, other in ((left, right), (right, left)):
            if line.grafted:
                raise missing(txn, line)
            if line.is_root:
                if (graft := graft_of(txn, other.id)) is not None:
                    raise missing(txn, graft)
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
