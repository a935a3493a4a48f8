"""Differences between two traces, as data and as lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simgit.kube.manifest import Manifest, full_name, gvk_of, name_of
from simgit.kube.trace.model import Trace

_Key = tuple[str, str]
_LISTS = (list, tuple)


@dataclass(frozen=True, slots=True)
class TraceChange:
    """A difference in a field of an object; an absent value is None."""

    gvk: str
    name: str
    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        """Return the change as one line: 'web: cpu 17 → 16500m'."""
        return self.line(self.name.partition("/")[2] or self.name or "trace")

    def line(self, subject: str) -> str:
        """Return the change as one line that begins with the subject."""
        return f"{subject}: {self.field} {_show(self.before)} → {_show(self.after)}"


def describe(changes: list[TraceChange]) -> list[str]:
    """Return changes as lines; objects that share a name get kind and namespace."""
    owners: dict[str, set[_Key]] = {}
    for change in changes:
        owners.setdefault(change.name.partition("/")[2], set()).add((change.gvk, change.name))
    return [
        str(change)
        if len(owners[change.name.partition("/")[2]]) == 1
        else change.line(f"{change.gvk} {change.name}")
        for change in changes
    ]


def diff_traces(before: Trace, after: Trace) -> list[TraceChange]:
    """Return the differences in objects and times, each once even if events repeat it."""
    old, new = _versions(before), _versions(after)
    changes = list(_diff_shape(before, after))
    for key in {**old, **new}:
        changes += diff_versions(key, old.get(key, []), new.get(key, []))
    return list(dict.fromkeys(changes))


def _versions(trace: Trace) -> dict[_Key, list[Manifest]]:
    found: dict[_Key, list[Manifest]] = {}
    for manifest in trace.applied():
        found.setdefault((gvk_of(manifest), full_name(manifest)), []).append(manifest)
    return found


def _diff_shape(before: Trace, after: Trace) -> Iterator[TraceChange]:
    if before.start != after.start:
        yield TraceChange("", "", "start", before.start, after.start)
    if before.seconds != after.seconds:
        yield TraceChange("", "", "seconds", before.seconds, after.seconds)
    if len(before.events) != len(after.events):
        yield TraceChange("", "", "events", len(before.events), len(after.events))


def diff_versions(key: _Key, old: list[Manifest], new: list[Manifest]) -> Iterator[TraceChange]:
    """Yield the differences between the versions of one object, pair by pair."""
    if not old or not new:
        before, after = (name_of(found[0]) if found else None for found in (old, new))
        yield TraceChange(*key, "object", before, after)
        return
    if len(old) != len(new):
        yield TraceChange(*key, "versions", len(old), len(new))
    for was, now in zip(old, new, strict=False):
        for path, a, b in _diff(was, now, ()):
            yield TraceChange(*key, _field(path, was), a, b)


def _diff(a: Any, b: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if a is b:
        return
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({**a, **b}):
            yield from _diff(a.get(key), b.get(key), (*path, key))
    elif isinstance(a, _LISTS) and isinstance(b, _LISTS) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _diff(x, y, (*path, str(i)))
    elif a != b or type(a) is not type(b):
        yield path, _frozen(a), _frozen(b)


def _frozen(value: Any) -> Any:
    """Return scalars as they are, the rest as text, so that a change can be hashed."""
    return value if value is None or isinstance(value, (str, int, float)) else repr(value)


def _field(path: tuple[str, ...], manifest: Manifest) -> str:
    """Return a short name of a field: 'cpu' for a request of the only container."""
    if path == ("spec", "replicas"):
        return "replicas"
    if path[-3:-1] == ("resources", "requests") and path[-5:-4] == ("containers",):
        return path[-1] if path[-4] == "0" else f"containers[{path[-4]}].{path[-1]}"
    return ".".join(path)


def _show(value: Any) -> str:
    return "none" if value is None else str(value)
