"""The observations of an episode by trace: one that was seen is not replayed again.

Equal traces, setups and seeds give equal clusters, and so equal counts.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from simgit.kube.embedded.fields import packed
from simgit.kube.observation import Observation
from simgit.kube.trace.model import Trace

KEPT: Final = 1024
"""The number of observations that are kept, the last ones."""


class Replayed:
    """Observations by the content of the trace, all of one setup and seed."""

    def __init__(self) -> None:
        """Start empty."""
        self._seen: dict[bytes, Observation] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def get(self, key: bytes | None) -> Observation | None:
        """Return the observation of a key of ``content_key``, None if there is none."""
        return None if key is None else self._seen.get(key)

    def put(self, key: bytes | None, observation: Observation) -> None:
        """Keep an observation; without a key it is not kept."""
        if key is None:
            return
        if len(self._seen) >= KEPT:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = observation


def content_key(trace: Trace) -> bytes | None:
    """Return a digest of all that a replay reads of a trace; None for a large or strange one.

    It is of the content, now: manifests that somebody changed have another.
    """
    lives = [
        (key, number, [(life.start, life.end) for life in found])
        for key, by_spec in trace.lifecycles.items()
        for number, found in by_spec.items()
    ]
    events = [(event.ts, event.applied, event.deleted) for event in trace.events]
    key = packed((events, lives, trace.index if lives else None))
    return None if key is None else blake2b(key, digest_size=16).digest()
