"""The timeline of a trace: what each event creates, changes and deletes."""

from __future__ import annotations

from dataclasses import dataclass

from simgit.kube.manifest import Manifest, full_name, gvk_of
from simgit.kube.trace.diff import diff_versions
from simgit.kube.trace.model import Event, Trace

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event: seconds from the first one, names, and changes as lines."""

    number: int
    offset: int
    created: tuple[str, ...]
    changed: tuple[str, ...]
    deleted: tuple[str, ...]


def timeline(trace: Trace) -> list[EventRow]:
    """Return a row for each event, in order; empty events have empty rows."""
    alive: dict[_Key, Manifest] = {}
    return [_row(i, event, trace.start, alive) for i, event in enumerate(trace.events)]


def _row(number: int, event: Event, start: int, alive: dict[_Key, Manifest]) -> EventRow:
    created: list[str] = []
    changed: list[str] = []
    for manifest in event.applied:
        key = (gvk_of(manifest), full_name(manifest))
        before = alive.get(key)
        if before is None:
            created.append(key[1])
        else:
            changed += [str(change) for change in diff_versions(key, [before], [manifest])]
        alive[key] = manifest
    gone = [full_name(m) for m in event.deleted if alive.pop((gvk_of(m), full_name(m)), None)]
    return EventRow(number, event.ts - start, tuple(created), tuple(changed), tuple(gone))
