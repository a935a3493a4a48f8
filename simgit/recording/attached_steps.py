"""The steps of a history whose states have an attachment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from simgit.history.trajectory import Trajectory
from simgit.odb.database import ObjectDatabase
from simgit.refs import attachments

_FIRST: Final = 64
_MOST: Final = 16384


def attached_steps(
    odb: ObjectDatabase, states: Trajectory, name: str | Sequence[str], newest: int, oldest: int = 0
) -> Iterator[int]:
    """Yield the steps of a whole history up to ``newest`` whose states have an attachment.

    It has the name, or one of some names. Those before ``oldest`` are left out, and not looked at.

    The newest comes first. The states are looked at one by one, or, where these are fewer, the
    attachments.
    """
    names = (name,) if isinstance(name, str) else name
    stop, size = newest + 1, _FIRST
    while stop > oldest:
        start = max(oldest, stop - size)
        with odb.read() as txn:
            is_last = size > _FIRST and attachments.count(txn) < stop
            if is_last:
                place = odb.locate(txn, states[stop - 1].oid)
                found = attachments.steps_in_history(odb, txn, place, *names)
                steps = [step for step in found if step >= oldest]
            else:
                oids = states[start:stop].oids
                has = [any(attachments.is_bound(txn, oid, each) for each in names) for oid in oids]
                steps = [start + i for i in range(len(has) - 1, -1, -1) if has[i]]
        yield from steps
        if is_last:
            return
        stop, size = start, min(2 * size, _MOST)
