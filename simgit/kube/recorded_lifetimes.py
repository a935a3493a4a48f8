"""How long pods of a simulation run: as those that the trace recorded, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from simgit.kube.embedded.nodes import Owned, Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.manifest import TEMPLATE_PATHS
from simgit.kube.trace.model import Lifecycle, Trace
from simgit.kube.trace.spec_hash import pod_spec_hash

_GVK = {gvk.rpartition(".")[2]: gvk for gvk in TEMPLATE_PATHS}
_NAMED = frozenset({"StatefulSet"})
"""Kinds that write the pod's own name into its spec, so that no two have the same hash."""


@lru_cache(maxsize=1024)
def _hash_of(facts: PodFacts) -> int:
    return pod_spec_hash(facts.spec)


class RecordedLifetimes:
    """Gives the n-th pod of a spec the n-th recorded lifecycle, round and round."""

    def __init__(self, trace: Trace, prefix: str, speed: float) -> None:
        """``prefix`` is what namespaces have in front, ``speed`` shortens the lives."""
        self._trace = trace
        self._prefix = prefix
        self._speed = speed
        self._counts: dict[tuple[int, str], int] = {}
        self._sequence: dict[int, int] = {}

    def created(self, pod: Pod) -> None:
        """Number the pod among those of its spec."""
        key = (_hash_of(pod.facts), self._own_part(pod))
        self._sequence[pod.uid] = self._counts.get(key, 0)
        self._counts[key] = self._sequence[pod.uid] + 1

    def seconds(self, pod: Pod) -> int | None:
        """Return the whole seconds that the recorded pod ran, None if it was not seen to end."""
        for gvk, name in self._owners(pod):
            by_spec = self._trace.lifecycles.get((gvk, name))
            if by_spec and self._trace.tracks(gvk, name):
                life = self._pick(by_spec, pod)
                if life.seconds is not None:
                    return int(life.seconds / self._speed)
        return None

    def _pick(self, by_spec: Mapping[int, tuple[Lifecycle, ...]], pod: Pod) -> Lifecycle:
        """Prefer the lives of this very spec; SimKube takes any for the kinds it knows."""
        lives = by_spec.get(_hash_of(pod.facts)) or by_spec[min(by_spec)]
        return lives[self._sequence[pod.uid] % len(lives)]

    def _own_part(self, pod: Pod) -> str:
        return pod.name if pod.owner.kind in _NAMED else pod.target

    def _owners(self, pod: Pod) -> Iterator[tuple[str, str]]:
        owner: Owned | None = pod.owner
        while owner is not None:
            namespace = owner.namespace.removeprefix(self._prefix)
            yield _GVK[owner.kind], f"{namespace}/{owner.name}"
            owner = owner.owner
