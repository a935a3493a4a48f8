"""A SimKube trace in memory: immutable, comparable, with the bytes it was read from."""

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
    """The objects applied and deleted at a time, in Unix seconds."""

    ts: int
    applied: tuple[Manifest, ...] = ()
    deleted: tuple[Manifest, ...] = ()


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The start and end of a recorded pod, in Unix seconds; None if not recorded."""

    start: int | None = None
    end: int | None = None

    @property
    def seconds(self) -> int | None:
        """The seconds that it ran, at least 0; None if its start or end was not recorded."""
        if self.start is None or self.end is None:
            return None
        return max(0, self.end - self.start)


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace, compared by content; ``source`` is the file it was read from, if unchanged."""

    events: tuple[Event, ...] = ()
    config: Mapping[str, Any] = field(default_factory=lambda: {"trackedObjects": {}})
    index: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    lifecycles: Mapping[LifecycleKey, Mapping[int, tuple[Lifecycle, ...]]] = field(
        default_factory=dict
    )
    source: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def start(self) -> int:
        """The time of the first event; 0 without events."""
        return self.events[0].ts if self.events else 0

    @property
    def seconds(self) -> int:
        """The seconds from the first event to the last."""
        return max(0, self.events[-1].ts - self.start) if self.events else 0

    def applied(self) -> Iterator[Manifest]:
        """Yield every applied object in order."""
        for event in self.events:
            yield from event.applied

    def tracks(self, gvk: str, full_name: str) -> bool:
        """Return True if the index has the object; SimKube gives lifecycles only to these."""
        return full_name in self.index.get(gvk, {})
