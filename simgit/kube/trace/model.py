"""A SimKube trace in memory: frozen, comparable, with the bytes it was read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simgit.kube.manifest import Manifest

VERSION = 2

LifecycleKey = tuple[str, str]
"""(GVK of the owner, 'namespace/name')."""


@dataclass(frozen=True, slots=True)
class Event:
    """What was applied and deleted at one second of Unix time."""

    ts: int
    applied: tuple[Manifest, ...] = ()
    deleted: tuple[Manifest, ...] = ()


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """When a recorded pod ran, in Unix seconds; a part that was not seen is None."""

    start: int | None = None
    end: int | None = None

    @property
    def seconds(self) -> int | None:
        """How long it ran, never below zero; None if it was not seen to finish."""
        if self.start is None or self.end is None:
            return None
        return max(0, self.end - self.start)


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace. Equality is that of the content; ``source`` is the file, if unchanged."""

    events: tuple[Event, ...] = ()
    config: Mapping[str, Any] = field(default_factory=lambda: {"trackedObjects": {}})
    index: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    lifecycles: Mapping[LifecycleKey, Mapping[int, tuple[Lifecycle, ...]]] = field(
        default_factory=dict
    )
    source: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def start(self) -> int:
        """Time of the first event; 0 for a trace without events."""
        return self.events[0].ts if self.events else 0

    @property
    def seconds(self) -> int:
        """Time from the first event to the last."""
        return max(0, self.events[-1].ts - self.start) if self.events else 0

    def applied(self) -> Iterator[Manifest]:
        """Yield every applied object in order."""
        for event in self.events:
            yield from event.applied

    def tracks(self, gvk: str, full_name: str) -> bool:
        """Tell whether the index has the object: SimKube gives lifecycles to no other."""
        return full_name in self.index.get(gvk, {})
