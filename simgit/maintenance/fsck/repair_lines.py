"""Repair of a line's record: from its first segment, the links of children, and its hash.

The rest of a record follows from the parents of the line's first state. Its hash covers them, so
that a candidate record either leads to the stored hashes or is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, permutations

from simgit.errors import NotFound, SimgitError
from simgit.maintenance.fsck.quarantine import Quarantine
from simgit.objects.chain import chain_oids, first_head
from simgit.objects.oid import OID_SIZE
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.block import CHECKPOINT_ROWS
from simgit.odb.segments.header import Header
from simgit.odb.segments.join import headers
from simgit.odb.segments.lines import Line, derived_line, encode_line, line_key
from simgit.storage.base import ReadTxn, WriteTxn

_MOST = 5000
"""The most orders of parents, or origins, that are tried."""
Origin = tuple[tuple[bytes, ...], tuple[Location, ...], bytes]
"""Parents of a line's first state, their locations, and the origin if there are none."""


def repair_line(odb: ObjectDatabase, txn: WriteTxn, kept: Quarantine, number: int) -> None:
    """Store the record of a line anew; the lines of its parents must be intact.

    Raises:
        NotFound: the record cannot be derived.
        IntegrityError: the beginning of the line is damaged itself.
    """
    line = _derived(odb, txn, number)
    kept.take(txn, "lines", line_key(number))
    # it may have been cut, which is unknown: a line that is never continued does no harm
    txn.put("lines", line_key(number), encode_line(line._replace(cut=True)))


def _derived(odb: ObjectDatabase, txn: ReadTxn, number: int) -> Line:
    header = next(headers(txn, number), None)
    if header is None:
        raise NotFound(f"line {number} has no segments")
    rows = odb.states.block(txn, header, 0).rows.slice(0, min(header.count, CHECKPOINT_ROWS))
    name = _name_of_last(odb, txn, header)
    for parents, places, origin in islice(_origins(odb, txn, header), _MOST):
        if chain_oids(rows, first_head(header.schema, parents, origin))[-1] == name:
            return derived_line(txn, number, parents, places, origin)
    raise NotFound(f"the parents of line {number} cannot be derived")


def _name_of_last(odb: ObjectDatabase, txn: ReadTxn, header: Header) -> bytes:
    """Return the stored oid of the 64th state of a segment, or of its last one."""
    if header.count <= CHECKPOINT_ROWS:
        return header.last
    return odb.states.block(txn, header, 0).checkpoints[OID_SIZE : 2 * OID_SIZE]


def _origins(odb: ObjectDatabase, txn: ReadTxn, header: Header) -> Iterator[Origin]:
    if not any(header.parent):
        yield from (((), (), oid) for oid, kind in odb.loose_kinds(txn).items() if kind == "spec")
        return
    places = _parents(odb, txn, header)
    first = places.pop(header.parent, None) or odb.states.locate(txn, header.parent)
    if first is not None:
        for order in permutations(places.items()):
            oids = (header.parent, *(oid for oid, _ in order))
            yield oids, (first, *(place for _, place in order)), b""


def _parents(odb: ObjectDatabase, txn: ReadTxn, header: Header) -> dict[bytes, Location]:
    """Return the locations, by oid, of the states that have the line among their children."""
    found = {}
    for key, _ in txn.scan("children"):
        if key[16:] == line_key(header.line):
            place = Location(int.from_bytes(key[:8], "big"), int.from_bytes(key[8:16], "big"))
            with suppress(SimgitError):
                found[bytes(odb.states.row(txn, place)[0])] = place
    return found
