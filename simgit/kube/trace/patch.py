"""Patches: the changes of an edit as places and values, small enough for every step.

A patch maps places ('events/0/applied_objs/2/spec/replicas', escaped as in a JSON pointer) to
new values. Applying it needs no code of the action that made the edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as evolve
from typing import Any, Final

from simgit.errors import InvalidInput
from simgit.kube.manifest import Path, freeze, replace
from simgit.kube.trace.model import Trace
from simgit.kube.trace.sktrace import canonical_bytes, load_trace

Patch = Mapping[str, Any]
WHOLE: Final = "whole"
"""The key for a trace that differs in more than applied objects: its canonical bytes."""


def patch_of(base: Trace, trace: Trace) -> dict[str, Any]:
    """Return the patch from ``base`` to ``trace``; parts that they share are not compared."""
    if trace is base:
        return {}
    if _around(base) != _around(trace):  # not only the applied objects differ
        return {WHOLE: canonical_bytes(trace)}
    found: dict[str, Any] = {}
    for i, (old, new) in enumerate(zip(base.events, trace.events, strict=True)):
        if old is not new:
            _compare(f"events/{i}/applied_objs", old.applied, new.applied, found)
    return found


def _around(trace: Trace) -> tuple[object, ...]:
    """Return everything but the applied objects; shared parts compare by identity."""
    events = [(event.ts, event.deleted) for event in trace.events]
    return trace.config, trace.index, trace.lifecycles, events


def _compare(place: str, old: Any, new: Any, found: dict[str, Any]) -> None:
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() <= new.keys():
        for key, value in new.items():
            if (before := old.get(key, _ABSENT)) is not value:
                _compare(f"{place}/{_escape(key)}", before, value, found)
    elif isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
        for i, (left, right) in enumerate(zip(old, new, strict=True)):
            if left is not right:
                _compare(f"{place}/{i}", left, right, found)
    elif type(old) is not type(new) or repr(old) != repr(new):  # 0.0 is not -0.0
        found[place] = new


_ABSENT: Final = object()


def apply_patch(base: Trace, patch: Patch) -> Trace:
    """Return the base with a patch applied.

    Raises:
        InvalidInput: a place is not in the base, or the canonical bytes are not a trace.
    """
    if WHOLE in patch:
        return load_trace(patch[WHOLE])
    events = list(base.events)
    for place, value in patch.items():
        number, path = _parse(place)
        try:
            applied = replace(events[number].applied, path, freeze(value))
            events[number] = evolve(events[number], applied=applied)
        except (IndexError, KeyError, TypeError, ValueError):
            raise InvalidInput(f"the trace has no place '{place}'", path=place) from None
    return evolve(base, events=tuple(events), source=None) if patch else base


def _parse(place: str) -> tuple[int, Path]:
    parts = place.split("/")
    if len(parts) < 4 or parts[0] != "events" or parts[2] != "applied_objs":
        raise InvalidInput(f"bad place '{place}' of a patch", path=place)
    try:
        return int(parts[1]), (int(parts[3]), *map(_part, parts[4:]))
    except ValueError:
        raise InvalidInput(f"bad place '{place}' of a patch", path=place) from None


def _escape(key: str) -> str:
    """Return an escaped key; one of digits is marked, to tell it from an index."""
    text = key.replace("~", "~0").replace("/", "~1")
    return f"~2{text}" if text.isdigit() else text


def _part(text: str) -> str | int:
    if text.isdigit():
        return int(text)
    return text.removeprefix("~2").replace("~1", "/").replace("~0", "~")
