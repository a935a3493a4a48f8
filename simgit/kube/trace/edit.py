"""Edits of a trace: each returns a new one that shares what it did not change.

Hashes in the index grow stale, which SimKube allows; ``rehash`` renews them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from dataclasses import replace as evolve
from operator import is_
from typing import Any

from simgit.errors import InvalidInput, NotFound, did_you_mean
from simgit.kube.manifest import (
    REPLICATED,
    TEMPLATE_PATHS,
    Manifest,
    containers_of,
    full_name,
    gvk_of,
    name_of,
    namespace_of,
    replace,
)
from simgit.kube.quantity import canonical
from simgit.kube.trace.model import Event, Trace
from simgit.kube.trace.spec_hash import spec_hash

Match = Callable[[Manifest], bool]
Change = Callable[[Manifest], Manifest]

ANY = "*"
"""The name of no workload in particular, in errors."""
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_MAX_REPLICAS = 2**31 - 1
_NAMED = 8
"""The number of workloads that an error lists."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A match of objects by name, and by namespace and kind if these are given."""

    name: str
    namespace: str | None = None
    gvk: str | None = None

    def __call__(self, manifest: Manifest) -> bool:
        """Return True for an object that matches."""
        if name_of(manifest) != self.name or self.namespace not in (None, namespace_of(manifest)):
            return False
        if self.gvk is None:
            return True
        gvk = gvk_of(manifest)
        return self.gvk in (gvk, gvk.rpartition(".")[2])

    def __str__(self) -> str:
        """Return the workload as errors show it: 'apps/v1.Deployment default/web'."""
        name = self.name if self.namespace is None else f"{self.namespace}/{self.name}"
        return name if self.gvk is None else f"{self.gvk} {name}"


def workload(name: str, *, namespace: str | None = None, gvk: str | None = None) -> Match:
    """Return a match of objects by name, and by namespace and kind if these are given.

    A kind is 'apps/v1.Deployment' or just 'Deployment'.
    """
    return Workload(name, namespace, gvk)


def no_workload(trace: Trace, match: Match) -> NotFound:
    """Return the error for a match without objects: it says what to type instead.

    That is the nearest workload's name, or a list of those that there are.
    """
    names = list(dict.fromkeys(full_name(m) for m in trace.applied() if containers_of(m)))
    asked = near = ""
    is_named = False
    if isinstance(match, Workload):
        asked = f" '{match}'"
        near = did_you_mean(match.name, {name.rpartition("/")[2] for name in names})
        is_named = match.name == ANY or match.gvk is None
    there = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    known = near.replace("'", "'--workload ", 1) or f" (there are: {there or 'none'})"
    typed = f"; choose one with --workload {names[0]}" if names and is_named and not near else ""
    return NotFound(f"no such workload{asked} in the trace{known}{typed}")


def edit(trace: Trace, match: Match, change: Change) -> Trace:
    """Change every applied object that matches; raises NotFound if none does.

    If every change returns the object it was given, so does ``edit`` the trace.
    """
    seen = False

    def edited(manifest: Manifest) -> Manifest:
        nonlocal seen
        if not match(manifest):
            return manifest
        seen = True
        return change(manifest)

    events = tuple(_edit_event(event, edited) for event in trace.events)
    if not seen:
        raise no_workload(trace, match)
    if all(map(is_, events, trace.events)):
        return trace
    return evolve(trace, events=events, source=None)


def _edit_event(event: Event, edited: Change) -> Event:
    applied = tuple(map(edited, event.applied))
    if all(map(is_, applied, event.applied)):
        return event
    return Event(event.ts, applied, event.deleted)


def set_requests(
    trace: Trace, match: Match, *, container: str | None = None, **requests: str
) -> Trace:
    """Set requests (cpu='500m', memory='1Gi') of a container, the first unless it is named.

    Raises NotFound for an unknown workload or container, InvalidInput for a bad quantity.
    """
    texts = {resource: canonical(text) for resource, text in requests.items()}
    return edit(trace, match, lambda manifest: _with_requests(manifest, container, texts))


def set_replicas(trace: Trace, match: Match, replicas: int) -> Trace:
    """Set the replicas of every matching Deployment, ReplicaSet or StatefulSet."""
    if isinstance(replicas, bool) or not 0 <= replicas <= _MAX_REPLICAS:
        raise InvalidInput(
            f"replicas must be in 0..{_MAX_REPLICAS}, got '{replicas}'", value=replicas
        )
    return edit(trace, match, lambda manifest: with_replicas(manifest, replicas))


def with_replicas(manifest: Manifest, replicas: int) -> Manifest:
    """Return the object with its replicas set; raises InvalidInput for a kind without them."""
    if gvk_of(manifest) not in REPLICATED:
        raise InvalidInput(f"a {gvk_of(manifest)} has no replicas, in '{full_name(manifest)}'")
    changed: Manifest = replace(manifest, ("spec", "replicas"), replicas)
    return changed


def with_request(manifest: Manifest, index: int, resource: str, text: str) -> Manifest:
    """Return the object with one request of the container at the index set."""
    path = TEMPLATE_PATHS[gvk_of(manifest)]
    place = (*path, "spec", "containers", index, "resources", "requests", resource)
    changed: Manifest = replace(manifest, place, text)
    return changed


def _with_requests(manifest: Manifest, container: str | None, texts: dict[str, str]) -> Manifest:
    index = container_index(manifest, container)
    for resource, text in texts.items():
        manifest = with_request(manifest, index, resource, text)
    return manifest


def container_index(manifest: Manifest, container: str | None = None) -> int:
    """Return the index of the named container, or of the first; raises NotFound without one."""
    for index, found in enumerate(containers_of(manifest)):
        if container is None or found.get("name") == container:
            return index
    named = "no container" if container is None else f"no container '{container}'"
    raise NotFound(f"{named} in '{full_name(manifest)}'")


def cut(trace: Trace, seconds: int) -> Trace:
    """Keep the events of the first seconds, and append an empty one, as SimKube does."""
    if seconds < 0:
        raise InvalidInput(f"duration must be 0 seconds or more, got {seconds}")
    end = trace.start + seconds
    kept = tuple(event for event in trace.events if event.ts < end)
    return evolve(trace, events=(*kept, Event(end)), source=None)


def parse_duration(text: str) -> int:
    """Return a duration such as '90', '90s', '5m' or '1h30m' in whole seconds."""
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return int(text)
    parts = re.findall(r"([0-9]{1,9})([dhms])", text, re.ASCII)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidInput(f"duration must be like 90s or 1h30m, got '{text[:40]}'")
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def filter_objects(
    trace: Trace,
    *,
    kinds: Collection[str] = (),
    namespaces: Collection[str] = (),
    names: Collection[str] = (),
) -> Trace:
    """Keep the objects of these kinds ('Deployment' or 'apps/v1.Deployment'), namespaces, names.

    An empty collection keeps all. Events are kept even if they become empty, for their times.
    """

    def keep(gvk: str, namespace: str, name: str) -> bool:
        return (
            (not kinds or gvk in kinds or gvk.rpartition(".")[2] in kinds)
            and (not namespaces or namespace in namespaces)
            and (not names or name in names)
        )

    return _keep_objects(trace, keep)


def _keep_objects(trace: Trace, keep: Callable[[str, str, str], bool]) -> Trace:
    def kept(objects: tuple[Manifest, ...]) -> tuple[Manifest, ...]:
        return tuple(m for m in objects if keep(gvk_of(m), namespace_of(m), name_of(m)))

    def known(gvk: str, full: str) -> bool:
        namespace, _, name = full.partition("/")
        return keep(gvk, namespace, name)

    return evolve(
        trace,
        events=tuple(Event(e.ts, kept(e.applied), kept(e.deleted)) for e in trace.events),
        index={g: {n: h for n, h in ns.items() if known(g, n)} for g, ns in trace.index.items()},
        lifecycles={key: lives for key, lives in trace.lifecycles.items() if known(*key)},
        source=None,
    )


def filter_time(trace: Trace, start: int, end: int) -> Trace:
    """Keep the seconds from start to end (exclusive), counted from the first event.

    Objects that exist at the start are applied there, so that the replay is the same.
    """
    if start < 0 or end <= start:
        raise InvalidInput(f"range of seconds must be 0 <= start < end, got {start} to {end}")
    begin = trace.start + start
    before = [event for event in trace.events if event.ts < begin]
    kept = [e for e in trace.events if begin <= e.ts < trace.start + end]
    head = (Event(begin, _alive(before)),) if start else ()
    return evolve(trace, events=(*head, *kept), source=None)


def _alive(events: list[Event]) -> tuple[Manifest, ...]:
    alive: dict[tuple[str, str], Manifest] = {}
    for event in events:
        alive |= {(gvk_of(m), full_name(m)): m for m in event.applied}
        for manifest in event.deleted:
            alive.pop((gvk_of(manifest), full_name(manifest)), None)
    return tuple(alive.values())


def rehash(trace: Trace) -> Trace:
    """Set every object in the index to the hash of its last applied spec."""
    index: dict[str, dict[str, Any]] = {gvk: dict(names) for gvk, names in trace.index.items()}
    for manifest in _alive([Event(0, tuple(trace.applied()))]):
        index.setdefault(gvk_of(manifest), {})[full_name(manifest)] = spec_hash(manifest)
    return evolve(trace, index=index, source=None)
