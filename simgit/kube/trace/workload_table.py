"""The table of a trace's workloads."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simgit.errors import InvalidInput
from simgit.kube.manifest import (
    REPLICATED,
    Manifest,
    containers_of,
    full_name,
    gvk_of,
    lookup,
    name_of,
    namespace_of,
)
from simgit.kube.quantity import Quantity, parse_quantity
from simgit.kube.trace.model import Trace


@dataclass(frozen=True, slots=True)
class WorkloadRow:
    """A workload as last applied: its requests, and when it was applied or deleted.

    Times are in seconds from the first event; ``versions`` is the number of times it was applied.
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
    """Return the sum of a request over the containers; '' without one, '?' for a bad quantity."""
    texts = [lookup(c, ("resources", "requests", resource)) for c in containers_of(manifest)]
    try:
        amounts = [parse_quantity(text) for text in texts if text is not None]
    except InvalidInput:
        return "?"
    return str(sum(amounts, Quantity(0))) if amounts else ""
