"""The unreachable objects that still exist, and until when they can be restored."""

from __future__ import annotations

from dataclasses import dataclass

from simgit.maintenance.gc.plan import Planner, Window
from simgit.objects.kinds import Binding, Tag
from simgit.objects.oid import Oid
from simgit.odb import unreachable
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.unreachable import Since
from simgit.refs.refs import Refs
from simgit.storage.base import ReadTxn


@dataclass(frozen=True)
class UnreachableObject:
    """An unreachable object.

    Attributes:
        kind: its kind.
        oid: its hash. For states, that of the newest of a line: those before it come with it.
        states: the number of unreachable states of the line; 0 for other kinds.
        step: the step of that newest state.
        name: the name of an attachment or a tag.
        state: the state itself, or the state of an attachment or a tag.
        since: when it was first found to be unreachable, in nanoseconds since 1970.
        until: when a gc may remove it, in nanoseconds since 1970.
    """

    kind: str
    oid: Oid
    states: int
    step: int | None
    name: str | None
    state: Oid | None
    since: int
    until: int


def unreachable_objects(
    odb: ObjectDatabase, refs: Refs, window: Window, every: bool = False
) -> list[UnreachableObject]:
    """Return the unreachable ends of lines, attachments and tags.

    Args:
        odb: the database.
        refs: its refs, from which objects are reachable.
        window: the current time with the grace period.
        every: True to return also the other objects, which are reachable from those.
    """
    planner = Planner(odb, refs)
    with odb.read() as txn:
        plan = planner.plan(txn, window)
        kinds = odb.loose_kinds(txn)
        ends = {line: end for line, (_, end) in planner.marker.ends.items()}
        found = list(_lines(odb, txn, plan.pending, ends, window))
        for key, since in plan.pending.items():
            kind = kinds.get(key[1:], "") if key[:1] == unreachable.OBJECT else ""
            if kind in ("binding", "tag") or (every and kind):
                found.append(_object(odb, txn, kind, Oid(key[1:]), since, window))
    return found


def _lines(
    odb: ObjectDatabase,
    txn: ReadTxn,
    entries: dict[bytes, Since],
    ends: dict[int, int],
    window: Window,
) -> list[UnreachableObject]:
    """Return the unreachable ends of lines, one for each line."""
    found: dict[int, tuple[int, Since]] = {}
    for key, since in entries.items():
        if key[:1] == unreachable.STATES:
            line, step = int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:], "big")
            known = found.get(line, (step, since))
            # the newest states became unreachable first
            found[line] = min(known[0], step), min(known[1], since)
    objects = []
    for line, (first, since) in sorted(found.items()):
        last = ends[line] - 1
        oid = odb.states.state(txn, Location(line, last))[0]
        until = window.end(since)
        objects.append(
            UnreachableObject("state", oid, last - first + 1, last, None, oid, since.time, until)
        )
    return objects


def _object(
    odb: ObjectDatabase, txn: ReadTxn, kind: str, oid: Oid, since: Since, window: Window
) -> UnreachableObject:
    thing = odb.object(txn, oid) if kind in ("binding", "tag") else None
    name = thing.name if isinstance(thing, Binding | Tag) else None
    state = thing.state if isinstance(thing, Binding) else None
    state = thing.target if isinstance(thing, Tag) else state
    return UnreachableObject(kind, oid, 0, None, name, state, since.time, window.end(since))
