"""The roots of reachability: refs, HEAD, tags, reflogs, and oids in the operation log."""

from __future__ import annotations

from collections.abc import Iterator

from simgit.objects.oid import Oid
from simgit.odb.segments.header import last_header
from simgit.odb.segments.lines import read_line
from simgit.refs.names import OF_RUNS
from simgit.refs.oplog.log import OperationLog, Read
from simgit.refs.records import RunRef, decode_entry, decode_run
from simgit.refs.refs import Refs
from simgit.storage.base import ReadTxn


def root_runs(txn: ReadTxn, read: dict[bytes, RunRef]) -> list[RunRef]:
    """Return the refs of all runs, and of those of remotes.

    Args:
        txn: the transaction.
        read: a cache of refs by their stored form; it is added to.

    Raises:
        IntegrityError: one of them is unreadable.
    """
    spans = [(space.encode(), space[:-1].encode() + b"0") for space in OF_RUNS]
    values = [value for span in spans for _, value in txn.scan("refs", *span)]
    read |= {value: decode_run(value) for value in values if value not in read}
    return [read[value] for value in values]


def root_oids(refs: Refs, txn: ReadTxn, read: Read) -> Iterator[Oid]:
    """Yield the oids that tags, HEAD, reflogs and the operation log name.

    Args:
        refs: the refs.
        txn: the transaction.
        read: a cache of oids by the stored form of log entries; it is added to.

    Raises:
        IntegrityError: one of them is unreadable.
    """
    for _, tag in refs.tags(txn):
        yield from (tag.oid, *([tag.tag] if tag.tag else []))
    head = refs.head_oid(txn)
    yield from [head] if head is not None else []
    yield from logged_oids(txn, read)
    yield from OperationLog().roots(txn, read)


def logged_oids(txn: ReadTxn, read: Read) -> Iterator[Oid]:
    """Yield the states that the entries of all reflogs name."""
    for _, value in txn.scan("log"):
        if value not in read:
            entry = decode_entry(value)
            read[value] = tuple(oid for oid in (entry.old, entry.new) if oid is not None)
        yield from read[value]


def line_ends(txn: ReadTxn) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield for each line its first step and the step after its last."""
    for key, _ in txn.scan("lines"):
        number = int.from_bytes(key, "big")
        yield number, (read_line(txn, number).step, last_header(txn, number).end)
