"""Grafts: histories that begin at a state whose parents are not here, and how they are joined.

The numbers of their lines keep the order of time (``lines.new_graft``), so that a line's parents
are older than it, whenever they arrive. Places never change: joining rewrites what lines and
segments say of the history before them, and nothing else. See docs/store-layout.md §4.1.
"""

from __future__ import annotations

import heapq
import struct

from simgit.errors import IntegrityError, InvalidInput
from simgit.odb.location import Location
from simgit.odb.segments.header import Header, decode_header, encode_header, segment_key
from simgit.odb.segments.lines import (
    Line,
    derived_line,
    encode_line,
    forget_graft,
    grafts,
    line_key,
    read_line,
)
from simgit.odb.segments.reader import StateReader
from simgit.storage.base import WriteTxn


def join_grafts(states: StateReader, txn: WriteTxn) -> list[int]:
    """Join all grafts whose parents are here now; return the lines whose history has changed.

    All states must be in the index.

    Raises:
        IntegrityError: a graft has another step than its parent says: whoever sent it was wrong.
        InvalidInput: its number is not greater than those of its parents' lines.
    """
    changed: set[int] = set()
    for number in sorted({line for _, line in grafts(txn)}):
        line = read_line(txn, number)
        found = [states.locate(txn, oid) for oid in line.parents]
        places = tuple(place for place in found if place is not None)
        if len(places) < len(found):
            continue
        if any(place.line >= number for place in places):
            raise InvalidInput(
                f"the states from step {line.step} of a shallow history cannot be joined to those "
                "before them, since one that is merged there came with a later step; clone the "
                "remote whole",
                step=line.step,
            )
        if places[0].step + 1 != line.step:
            raise IntegrityError(
                f"the states from step {line.step} of a shallow history follow step "
                f"{places[0].step}: the remote that they came from gave wrong steps",
                step=line.step,
            )
        forget_graft(txn, line)
        for place in places:
            txn.put("children", struct.pack(">QQQ", *place, number), b"")
        changed |= _rewrite(states, txn, number, places)
    if changed:
        states.forget_tip()
    return sorted(changed)


def _rewrite(
    states: StateReader, txn: WriteTxn, first: int, places: tuple[Location, ...]
) -> set[int]:
    """Write anew what a line that was joined, and those below it, say of what is before them."""
    todo, done = [first], set()
    while todo:
        number = heapq.heappop(todo)
        if number in done:
            continue
        done.add(number)
        line = read_line(txn, number)
        if number != first:
            above = Location(line.parent_line, line.parent_step)
            more = [states.locate(txn, oid) for oid in line.parents[1:]]
            places = (above, *(place for place in more if place is not None))
        new = derived_line(txn, number, line.parents, places, line.origin)
        txn.put("lines", line_key(number), encode_line(new._replace(cut=line.cut)))
        _count_on(states, txn, new, places[0])
        start = line_key(number)
        for key, _ in txn.scan("children", start, line_key(number + 1)):
            heapq.heappush(todo, int.from_bytes(key[16:], "big"))
    return done


def _count_on(states: StateReader, txn: WriteTxn, line: Line, above: Location) -> None:
    """Write the totals before each segment of a line anew."""
    standing = states.standing(txn, states.header(txn, above), above.step)
    found = txn.scan("segments", segment_key(line.id, 0), segment_key(line.id + 1, 0))
    for key, value in list(found):
        old = decode_header(key, value)
        episode, start, returned = standing
        new = Header(
            old.line, old.step, old.count, old.schema, old.parent, old.last, episode, start,
            returned, old.layout, old.blocks, old.inline,
        )  # fmt: skip
        txn.put("segments", key, encode_header(new))
        standing = states.standing(txn, new, new.end - 1)
