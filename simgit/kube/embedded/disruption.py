"""PodDisruptionBudgets: how many pods of a selection may be disrupted.

The counts are those of the disruption controller of Kubernetes 1.35, which here takes no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from simgit.kube.embedded.fields import map_of, share, text
from simgit.kube.embedded.labels import Selector, parse_selector
from simgit.kube.embedded.nodes import PENDING, Owned, Pod
from simgit.kube.embedded.validation import (
    check_object,
    choice_causes,
    invalid,
    selector_causes,
    share_causes,
)
from simgit.kube.manifest import Manifest, lookup

_LEAST, _MOST = ("spec", "minAvailable"), ("spec", "maxUnavailable")
_CHOICES = {"unhealthyPodEvictionPolicy": ("AlwaysAllow", "IfHealthyBudget")}
_TOO_MANY = (
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not "
    "support."
)
_VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."


class _Budget(NamedTuple):
    """A PodDisruptionBudget."""

    namespace: str
    selector: Selector | None
    manifest: Manifest

    def covers(self, pod: Pod) -> bool:
        """Return True if the pod is in its selection."""
        return (
            self.selector is not None
            and pod.namespace == self.namespace
            and self.selector.matches(pod.facts.labels)
        )


class Disruptions:
    """The PodDisruptionBudgets of a cluster, by namespace and name."""

    def __init__(self, pods: Mapping[int, Pod]) -> None:
        """Start without any; ``pods`` are those of the cluster, by uid."""
        self._pods = pods
        self._budgets: dict[tuple[str, str], _Budget] = {}

    def put(self, manifest: Manifest, namespace: str, name: str) -> None:
        """Add or replace one; raises InvalidInput."""
        spec = map_of(manifest.get("spec"))
        causes = [*selector_causes("spec.selector", spec.get("selector"))]
        for path in (_LEAST, _MOST):
            causes += share_causes(".".join(path), lookup(manifest, path), limited=True)
        if all(lookup(manifest, path) is not None for path in (_LEAST, _MOST)):
            why = "minAvailable and maxUnavailable cannot be both set"
            causes.append(invalid("spec", spec, why))
        causes += choice_causes("spec", spec, _CHOICES)
        check_object(manifest, causes)
        text(manifest, "spec", "unhealthyPodEvictionPolicy")
        for path in (_LEAST, _MOST):
            share(manifest, path, 1, up=True, default=0)
        selector = parse_selector(lookup(manifest, ("spec", "selector")))
        self._budgets[namespace, name] = _Budget(namespace, selector, manifest)

    def drop(self, namespace: str, name: str) -> None:
        """Remove one, if it exists."""
        self._budgets.pop((namespace, name), None)

    def _counts(self, budget: _Budget) -> tuple[int, int]:
        """Return (healthy pods, pods that have to be healthy)."""
        pods = [pod for pod in self._pods.values() if budget.covers(pod)]
        healthy = sum(pod.ready for pod in pods)
        manifest = budget.manifest
        if lookup(manifest, _MOST) is None and not isinstance(lookup(manifest, _LEAST), str):
            return healthy, share(manifest, _LEAST, 0, up=True, default=0)
        expected = _expected(pods)
        if not expected:
            return 0, 0  # the controller fails, or has nothing to count: it allows no disruption
        if lookup(manifest, _MOST) is None:
            return healthy, share(manifest, _LEAST, expected, up=True, default=0)
        return healthy, max(0, expected - share(manifest, _MOST, expected, up=True, default=0))

    def violating(self, pods: Sequence[Pod]) -> list[Pod]:
        """Return the pods, of some to be preempted in this order, that violate a budget.

        An empty selector selects nothing here, unlike in evictions.
        """
        chosen = [b for b in self._budgets.values() if b.selector and b.selector.requirements]
        left = [max(0, healthy - least) for healthy, least in map(self._counts, chosen)]
        found = []
        for pod in pods:
            covering = [i for i, budget in enumerate(chosen) if budget.covers(pod)]
            for i in covering:
                left[i] -= 1
            if any(left[i] < 0 for i in covering):
                found.append(pod)
        return found

    def eviction_refusal(self, pod: Pod) -> str | None:
        """Return why the API server refuses to evict a pod now, None if it evicts it.

        Pods that do not run yet, or have ended, are evicted whatever the budgets say.
        """
        budgets = [budget for budget in self._budgets.values() if budget.covers(pod)]
        if not budgets or pod.finished or pod.phase == PENDING:
            return None
        if len(budgets) > 1:
            return _TOO_MANY
        healthy, least = self._counts(budgets[0])
        if not pod.ready:
            policy = text(budgets[0].manifest, "spec", "unhealthyPodEvictionPolicy")
            if policy == "AlwaysAllow" or healthy >= least > 0:
                return None
        return None if healthy > least else _VIOLATED


def _expected(pods: Sequence[Pod]) -> int | None:
    """Return the replicas of the pods' owners, None if one has no number of replicas.

    Pods without a controller do not count.
    """
    owners = {id(top): top for pod in pods if (top := _top(pod.owner)).kind != "Pod"}
    counts = [getattr(owner, "replicas", None) for owner in owners.values()]
    return None if None in counts else sum(count for count in counts if count is not None)


def _top(owner: Owned) -> Owned:
    return owner if owner.owner is None else _top(owner.owner)
