"""Where what must be kept begins: refs, HEAD, tags, reflogs, and what the operation log names."""

from __future__ import annotations

from collections.abc import Iterator

from simgit.oid import Oid
from simgit.oplog import OperationLog
from simgit.refrecords import decode_entry
from simgit.refs import Refs
from simgit.segment.header import Location, last_header
from simgit.segment.lines import read_line
from simgit.storage.base import ReadTxn


def root_places(refs: Refs, txn: ReadTxn) -> list[Location]:
    """Return the places of the states that runs point at."""
    return [ref.place for _, ref in refs.runs(txn) if ref.oid is not None]


def root_oids(refs: Refs, txn: ReadTxn) -> list[Oid]:
    """Return the oids that refs, reflogs and the operation log name.

    Raises:
        Integrity: one of them cannot be read.
    """
    oids = [ref.record for _, ref in refs.runs(txn)]
    for _, tag in refs.tags(txn):
        oids += [tag.oid, *([tag.tag] if tag.tag else [])]
    head = refs.head_oid(txn)
    oids += [head] if head is not None else []
    oids += _logged(txn)
    oids += OperationLog().roots(txn)
    return list(dict.fromkeys(oids))


def _logged(txn: ReadTxn) -> Iterator[Oid]:
    """Yield the states that the entries of all reflogs name."""
    for _, value in txn.scan("log"):
        entry = decode_entry(value)
        yield from (oid for oid in (entry.old, entry.new) if oid is not None)


def line_ends(txn: ReadTxn) -> dict[int, tuple[int, int]]:
    """Return for each line its first step and the step after its last."""
    found = {}
    for key, _ in txn.scan("lines"):
        number = int.from_bytes(key, "big")
        found[number] = read_line(txn, number).step, last_header(txn, number).end
    return found
