"""The numbers of states that no ref leads to, by what keeps them: logs, or the grace period."""

from __future__ import annotations

from dataclasses import dataclass

from simgit.maintenance.gc.mark import Marker, Marks
from simgit.maintenance.gc.roots import line_ends, logged_oids, root_runs
from simgit.odb.database import ObjectDatabase
from simgit.refs.oplog.log import OperationLog
from simgit.refs.refs import Refs
from simgit.storage.base import ReadTxn


@dataclass(frozen=True)
class KeptStates:
    """The numbers of states that no ref of the present leads to, by what keeps them.

    Attributes:
        reflogs: those that reflogs name, with their history.
        operations: those that only the operation log names, so that undo can return to them.
        grace: unreachable ones, whose grace period is not over.
    """

    reflogs: int = 0
    operations: int = 0
    grace: int = 0


def kept_states(odb: ObjectDatabase, refs: Refs, txn: ReadTxn) -> KeptStates:
    """Return how many states are kept by what.

    Raises:
        NotFound: a reachable object is missing.
        IntegrityError: a reachable object is damaged.
    """
    marker = Marker(odb)
    kinds, marker.ends = odb.loose_kinds(txn), dict(line_ends(txn))
    runs = root_runs(txn, {})
    head = refs.head_oid(txn)
    named: list[bytes] = [*(ref.record for ref in runs), *([head] if head is not None else [])]
    for _, tag in refs.tags(txn):
        named += [tag.oid, *([tag.tag] if tag.tag else [])]
    places = [ref.place for ref in runs if ref.oid is not None]
    marks = marker.mark(txn, kinds, places, named)
    counts = [_count(marker, marks)]
    for oids in (logged_oids(txn, {}), OperationLog().roots(txn, {})):
        marks = marker.mark(txn, kinds, (), list(oids), marks)
        counts.append(_count(marker, marks))
    stored = sum(end - first for first, end in marker.ends.values())
    return KeptStates(counts[1] - counts[0], counts[2] - counts[1], stored - counts[2])


def _count(marker: Marker, marks: Marks) -> int:
    return sum(last + 1 - marker.ends[line][0] for line, last in marks.reach.items())
