"""Views of a trace: a table of its workloads, and the distinct parts that a store keeps once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from simgit.errors import InvalidInput
from simgit.kube.manifest import (
    REPLICATED,
    TEMPLATE_PATHS,
    Manifest,
    containers_of,
    full_name,
    gvk_of,
    lookup,
    name_of,
    namespace_of,
)
from simgit.kube.manifest import replace as set_in
from simgit.kube.quantity import Quantity, parse_quantity
from simgit.kube.trace.format import sort_keys
from simgit.kube.trace.model import Trace

TEMPLATE_HOLE = None
"""What stands in an object where its pod template was taken out."""


@dataclass(frozen=True, slots=True)
class WorkloadRow:
    """One workload as last applied: what it asks for, and when it was applied or deleted.

    Times are seconds from the first event; ``versions`` counts how often it was applied.
    """

    gvk: str
    namespace: str
    name: str
    replicas: int | None
    containers: int
    cpu: str
    memory: str
    versions: int
    first: int
    last: int
    deleted: int | None = None


def workload_table(trace: Trace) -> list[WorkloadRow]:
    """Return a row for each workload, in the order in which they first appear."""
    rows: dict[tuple[str, str], WorkloadRow] = {}
    for event in trace.events:
        offset = event.ts - trace.start
        for manifest in event.applied:
            key = (gvk_of(manifest), full_name(manifest))
            rows[key] = _row(manifest, offset, rows.get(key))
        for manifest in event.deleted:
            key = (gvk_of(manifest), full_name(manifest))
            if key in rows:
                rows[key] = replace(rows[key], deleted=offset)
    return list(rows.values())


def _row(manifest: Manifest, offset: int, before: WorkloadRow | None) -> WorkloadRow:
    return WorkloadRow(
        gvk=gvk_of(manifest),
        namespace=namespace_of(manifest),
        name=name_of(manifest),
        replicas=_replicas(manifest),
        containers=len(containers_of(manifest)),
        cpu=_total(manifest, "cpu"),
        memory=_total(manifest, "memory"),
        versions=before.versions + 1 if before else 1,
        first=before.first if before else offset,
        last=offset,
    )


def _replicas(manifest: Manifest) -> int | None:
    value = lookup(manifest, ("spec", "replicas"))
    if isinstance(value, int):
        return value
    return 1 if gvk_of(manifest) in REPLICATED else None


def _total(manifest: Manifest, resource: str) -> str:
    """Sum a request over the containers; '' if none asks, '?' if one asks for nonsense."""
    texts = [lookup(c, ("resources", "requests", resource)) for c in containers_of(manifest)]
    try:
        amounts = [parse_quantity(text) for text in texts if text is not None]
    except InvalidInput:
        return "?"
    return str(sum(amounts, Quantity(0))) if amounts else ""


@dataclass(frozen=True, slots=True)
class Parts:
    """A trace taken apart: each distinct object and pod template once.

    ``objects[i]`` is (object with a hole, index of its template or -1);
    ``events[i]`` is (ts, indices of the applied objects, of the deleted).
    """

    objects: tuple[tuple[Manifest, int], ...]
    templates: tuple[Manifest, ...]
    events: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]


def take_apart(trace: Trace) -> Parts:
    """Return the distinct parts of a trace, in the order in which they appear."""
    objects, templates = _Pool(), _Pool()

    def place(manifest: Manifest) -> int:
        rest, template = split_template(manifest)
        index = -1 if template is None else templates.place(template)
        return objects.place((rest, index))

    events = tuple(
        (e.ts, tuple(map(place, e.applied)), tuple(map(place, e.deleted))) for e in trace.events
    )
    return Parts(tuple(objects.items), tuple(templates.items), events)


def split_template(manifest: Manifest) -> tuple[Manifest, Manifest | None]:
    """Split an object into the rest, with a hole, and its pod template (None if it has none)."""
    path = TEMPLATE_PATHS.get(gvk_of(manifest))
    template = lookup(manifest, path) if path else None
    if path is None or template is None:
        return manifest, None
    return set_in(manifest, path, TEMPLATE_HOLE), template


def join_template(rest: Manifest, template: Manifest | None) -> Manifest:
    """Undo split_template."""
    if template is None:
        return rest
    joined: Manifest = set_in(rest, TEMPLATE_PATHS[gvk_of(rest)], template)
    return joined


class _Pool:
    """Items numbered by their content; the same object in memory is recognised at once."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._known: dict[Hashable, int] = {}

    def place(self, item: Any) -> int:
        key = msgpack.packb(sort_keys(item))
        if key not in self._known:
            self._known[key] = len(self.items)
            self.items.append(item)
        return self._known[key]
