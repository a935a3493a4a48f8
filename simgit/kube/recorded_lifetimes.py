"""Lifetimes of simulated pods: as long as the pods that the trace recorded, in order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from simgit.kube.embedded.nodes import Owned, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.manifest import TEMPLATE_PATHS
from simgit.kube.trace.model import Trace
from simgit.kube.trace.spec_hash import pod_spec_hash

_GVK = {gvk.rpartition(".")[2]: gvk for gvk in TEMPLATE_PATHS}
_NAMED = frozenset({"StatefulSet"})
"""Kinds that write a pod's name into its spec, so that no two of their pods share a hash."""


@lru_cache(maxsize=1024)
def _hash_of(facts: PodFacts) -> int:
    return pod_spec_hash(facts.spec)


class RecordedLifetimes:
    """The recorded lifecycles of a trace, dealt out to pods of the same spec in turn."""

    def __init__(self, trace: Trace, prefix: str, speed: float) -> None:
        """Take the trace, the prefix of virtual namespaces, and the factor that shortens lives."""
        self._trace = trace
        self._prefix = prefix
        self._speed = speed
        self._counts: dict[tuple[int, str], int] = {}
        self._sequence: dict[int, int] = {}

    def created(self, pod: Pod) -> None:
        """Number a pod among those of its spec."""
        own_part = pod.name if pod.owner.kind in _NAMED else pod.target
        key = (_hash_of(pod.facts), own_part)
        self._sequence[pod.uid] = self._counts.get(key, 0)
        self._counts[key] = self._sequence[pod.uid] + 1

    def seconds(self, pod: Pod) -> int | None:
        """Return the whole seconds that the recorded pod ran, None if its end was not recorded."""
        for gvk, name in self._owners(pod):
            by_spec = self._trace.lifecycles.get((gvk, name))
            if by_spec and self._trace.tracks(gvk, name):
                # of this very spec, or else of any spec of the owner, as SimKube does
                lives = by_spec.get(_hash_of(pod.facts)) or by_spec[min(by_spec)]
                life = lives[self._sequence[pod.uid] % len(lives)]
                if life.seconds is not None:
                    return int(life.seconds / self._speed)
        return None

    def _owners(self, pod: Pod) -> Iterator[tuple[str, str]]:
        owner: Owned | None = pod.owner
        while owner is not None:
            namespace = owner.namespace.removeprefix(self._prefix)
            yield _GVK[owner.kind], f"{namespace}/{owner.name}"
            owner = owner.owner
