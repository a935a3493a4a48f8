"""Purging runs: they go with their reflogs, and their states at once, without a grace period."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from simgit.errors import Conflict
from simgit.maintenance.gc.plan import Planner, Window
from simgit.maintenance.gc.roots import line_ends
from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.odb import unreachable as pending
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import read_line
from simgit.refs.names import HEAD, RUNS, TAGS
from simgit.refs.records import decode_entry, pack_ref
from simgit.refs.reflog_expiry import expire_operations, logged_refs
from simgit.refs.refs import TRIMMED, Refs
from simgit.refs.remotes import run_refs
from simgit.refs.runs import check_unwritten
from simgit.storage.base import ReadTxn, WriteTxn

Reach = dict[int, int]
"""For each line the newest of its states that is meant."""


@dataclass(frozen=True)
class Purged:
    """The result of a purge.

    Attributes:
        runs: the names of the purged runs.
        states: the number of states that were removed.
        kept: for each ref whose history has states of those runs how many it has: full names of
            runs, tags and remote-tracking refs, and ``HEAD``; and with ``log: `` before its name
            how many more its reflog keeps.
        kept_states: the number of states that are kept, each counted once.
        bytes: the bytes that the store takes less on disk.
    """

    runs: tuple[str, ...]
    states: int
    kept: dict[str, int] = field(default_factory=dict)
    kept_states: int = 0
    bytes: int = 0


def remove_refs(
    odb: ObjectDatabase, refs: Refs, names: Sequence[str], clock: Callable[[], int]
) -> tuple[Reach, dict[str, int]]:
    """Remove runs with their reflogs, and the operations, which name them.

    What is unreachable from then on has no grace period: the next gc removes it.

    Returns:
        The states that the runs and their reflogs led to, and who still keeps how many of them.

    Raises:
        NotFound: there is no such run, and no reflog of a deleted one.
        Conflict: one is checked out and others stay, or a process writes it.
    """
    window = Window(clock(), 0)
    planner = Planner(odb, refs)
    with odb.write() as txn:
        before = planner.pending(txn, window)
        named: set[Oid] = set()
        head = refs.head(txn)
        if head in names and any(name not in names for name, _ in refs.runs(txn)):
            raise Conflict(f"run '{head}' is checked out; check out another run first", name=head)
        for name in names:
            named |= _named_by(refs, txn, name)
        places = [odb.locate(txn, oid) for oid in named]
        reach = ancestry.reach(odb, txn, places)
        for name in names:
            _remove(refs, txn, name)
        _forget_in_head(txn, named - _logged_elsewhere(txn))
        expire_operations(txn, clock() + 1)
        for key in planner.pending(txn, window).keys() - before.keys():
            pending.note(txn, key, pending.Since(1))
        return reach, dict(_keepers(odb, refs, txn, reach))


def purgeable(refs: Refs, txn: ReadTxn) -> list[str]:
    """Return the names of the runs that are there, and of deleted ones that have a reflog."""
    found = {name for name, _ in refs.runs(txn)}
    logged = (ref.decode(errors="replace") for ref in logged_refs(txn))
    return sorted(found | {name.removeprefix(RUNS) for name in logged if name.startswith(RUNS)})


def _named_by(refs: Refs, txn: ReadTxn, name: str) -> set[Oid]:
    """Return the states that a run and its reflog name."""
    found: set[Oid | None] = set()
    entries = list(refs.log(txn, RUNS + name))
    if not entries or refs.has_run(txn, name):
        ref = refs.run(txn, name)  # raises if there is none
        check_unwritten(name, ref)
        found.add(ref.oid)
    for entry in entries:
        found |= {entry.old, entry.new}
    return {oid for oid in found if oid is not None}


def _remove(refs: Refs, txn: WriteTxn, name: str) -> None:
    if refs.has_run(txn, name):
        refs.delete_run(txn, name, "purged")
    start = (RUNS + name).encode() + b"\0"
    for key, _ in list(txn.scan("log", start, start + b"\xff" * 9)):
        txn.delete("log", key)
    txn.delete("meta", TRIMMED + start[:-1])


def _logged_elsewhere(txn: ReadTxn) -> set[Oid]:
    """Return the states that other reflogs than HEAD's name."""
    found: set[Oid | None] = set()
    for key, value in txn.scan("log"):
        if key[:-9] != HEAD.encode():
            entry = decode_entry(value)
            found |= {entry.old, entry.new}
    return {oid for oid in found if oid is not None}


def _forget_in_head(txn: WriteTxn, gone: set[Oid]) -> None:
    """Let HEAD's reflog no longer name states; the entries themselves are kept."""
    start = HEAD.encode() + b"\0"
    entries = list(txn.scan("log", start, start + b"\xff" * 9))
    for key, value in entries:
        entry = decode_entry(value)
        is_newest = key == entries[-1][0]
        new = None if entry.new in gone and not is_newest else entry.new
        old = None if entry.old in gone else entry.old
        if (old, new) != (entry.old, entry.new):
            txn.put("log", key, pack_ref(entry._replace(old=old, new=new)._asdict()))


def _keepers(
    odb: ObjectDatabase, refs: Refs, txn: ReadTxn, reach: Reach
) -> Iterator[tuple[str, int]]:
    """Yield who leads to some of the states, and to how many."""
    found: list[tuple[str, list[Location]]] = [
        (name, [ref.place]) for name, ref in run_refs(txn) if ref.oid is not None
    ]
    found += [(TAGS + name, [odb.locate(txn, ref.oid)]) for name, ref in refs.tags(txn)]
    if isinstance(head := refs.head(txn), Oid):
        found.append((HEAD, [odb.locate(txn, head)]))
    by_refs: Reach = {}
    for name, places in found:
        held = ancestry.reach(odb, txn, places)
        _add(by_refs, held)
        if count := overlap(txn, reach, held):
            yield name, count
    for ref in list(logged_refs(txn)):
        name = ref.decode(errors="replace")
        oids = {oid for entry in refs.log(txn, name) for oid in (entry.old, entry.new) if oid}
        both = dict(by_refs)
        _add(both, ancestry.reach(odb, txn, [odb.locate(txn, oid) for oid in oids]))
        if more := overlap(txn, reach, both) - overlap(txn, reach, by_refs):
            yield f"log: {name}", more


def _add(reach: Reach, more: Reach) -> None:
    for line, step in more.items():
        reach[line] = max(step, reach.get(line, -1))


def overlap(txn: ReadTxn, a: Reach, b: Reach) -> int:
    """Return the number of states that two reaches share."""
    return sum(
        min(a[line], b[line]) - read_line(txn, line).step + 1 for line in a.keys() & b.keys()
    )


def remaining(odb: ObjectDatabase, reach: Reach) -> int:
    """Return how many of some states are still stored."""
    with odb.read() as txn:
        ends: Iterable[tuple[int, tuple[int, int]]] = line_ends(txn)
        return sum(
            min(reach[line] + 1, end) - start for line, (start, end) in ends if line in reach
        )


def counted(odb: ObjectDatabase, reach: Reach) -> int:
    """Return the number of states."""
    with odb.read() as txn:
        return sum(last - read_line(txn, line).step + 1 for line, last in reach.items())
