"""The steps of a history whose states have an attachment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simgit.history.trajectory import Trajectory
from simgit.odb.database import ObjectDatabase
from simgit.refs import attachments

_FIRST: Final = 64
_MOST: Final = 16384


def attached_steps(
    odb: ObjectDatabase, states: Trajectory, name: str, newest: int
) -> Iterator[int]:
    """Yield the steps of a whole history up to ``newest`` whose states have an attachment.

    The newest comes first.
    """
    stop, size = newest + 1, _FIRST
    while stop > 0:
        start = max(0, stop - size)
        oids = states[start:stop].oids
        with odb.read() as txn:
            has = [attachments.is_bound(txn, oid, name) for oid in oids]
        yield from (start + i for i in range(len(has) - 1, -1, -1) if has[i])
        stop, size = start, min(2 * size, _MOST)
