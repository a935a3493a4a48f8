"""The steps of a history whose states have an attachment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final

from simgit.history.trajectory import Trajectory
from simgit.odb.database import ObjectDatabase
from simgit.refs import attachments

_FIRST: Final = 64
_MOST: Final = 16384


def attached_steps(
    odb: ObjectDatabase,
    states: Trajectory,
    name: str,
    newest: int,
    oldest: int = 0,
    beside: Mapping[int, str] | None = None,
) -> Iterator[int]:
    """Yield the steps of a whole history up to ``newest`` whose states have an attachment.

    Those before ``oldest`` are left out, and not looked at. With ``beside`` an attachment may also
    have another name, by the step from which on it may.

    The newest comes first. The states are looked at one by one, or, where these are fewer, the
    attachments.
    """
    others = beside or {}
    begun = sorted(others)

    def names(step: int) -> tuple[str, ...]:
        found = bisect_right(begun, step)
        return (name, others[begun[found - 1]]) if found else (name,)

    stop, size = newest + 1, _FIRST
    while stop > oldest:
        start = max(oldest, stop - size)
        with odb.read() as txn:
            is_last = size > _FIRST and attachments.count(txn) < stop
            if is_last:
                place = odb.locate(txn, states[stop - 1].oid)
                bound = attachments.names_in_history(odb, txn, place, {name, *others.values()})
                found = [step for step, here in bound if step >= oldest and here in names(step)]
                steps = [*dict.fromkeys(found)]
            else:
                steps = [
                    step
                    for step, oid in zip(range(start, stop), states[start:stop].oids, strict=True)
                    if any(attachments.is_bound(txn, oid, each) for each in names(step))
                ][::-1]
        yield from steps
        if is_last:
            return
        stop, size = start, min(2 * size, _MOST)
