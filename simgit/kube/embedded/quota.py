"""ResourceQuotas: what the pods and objects of a namespace may use together.

They are counted, and refused in the words, of the quota admission of Kubernetes 1.35. There the
quota controller counts anew when a pod is deleted or ends; here that takes no time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from simgit.kube.embedded.fields import items_of, list_of, map_of, maps_of
from simgit.kube.embedded.labels import holds
from simgit.kube.embedded.nodes import Pod
from simgit.kube.embedded.podspec import PodFacts
from simgit.kube.embedded.requests import (
    Quantities,
    container_quantities,
    pod_quantities,
    stored,
)
from simgit.kube.embedded.validation import NEGATIVE, NOT_WHOLE, Cause, check_object, invalid
from simgit.kube.manifest import Manifest, lookup
from simgit.kube.quantity import NANO, Quantity
from simgit.kube.unmodelled import COUNTED, NATIVE, covers, is_of_pods

_ONE = Quantity(NANO)
_NONE = Quantity(0)
_DEMANDED = frozenset(p + n for p in ("", "requests.", "limits.") for n in ("cpu", "memory"))
"""Where a quota limits these, every container has to say its amount."""
_SCOPES: Mapping[Any, frozenset[str]] = {
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": frozenset(),
    **dict.fromkeys(
        ("CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass",
         "Terminating"),
        _DEMANDED | {"pods"},
    ),
}  # fmt: skip
"""The scopes, and what a quota of each may limit; nothing stands for what is not of pods."""
_ONLY_EXISTS = (
    "must be 'Exist' only operator when scope is any of ResourceQuotaScopeTerminating, "
    "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
    "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
_AMOUNTS = ("requests.storage",)
_WHOLE = frozenset(
    ("configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas",
     "secrets", "services", "services.loadbalancers", "services.nodeports")
)  # fmt: skip
"""What a quota may limit by these names beside what pods ask for; the second are numbers."""


class _Quota:
    """A ResourceQuota, and what is used of it."""

    def __init__(self, name: str, manifest: Manifest) -> None:
        """Read the limits and the scopes; nothing is used yet."""
        spec = map_of(manifest.get("spec"))
        self.name = name
        self.hard = {k: stored(v) for k, v in items_of(spec.get("hard")) if covers(k)}
        self.of_pods = {name for name in self.hard if is_of_pods(name)}
        self.scopes: list[Mapping[str, Any]] = [
            *({"scopeName": scope, "operator": "Exists"} for scope in list_of(spec.get("scopes"))),
            *maps_of(lookup(spec, ("scopeSelector", "matchExpressions"))),
        ]
        self.used: Quantities = dict.fromkeys(self.hard, _NONE)

    def applies_to(self, spec: Mapping[str, Any]) -> bool:
        """Return True if it limits a pod with this spec."""
        return bool(self.of_pods) and all(_is_in_scope(scope, spec) for scope in self.scopes)

    def add(self, usage: Quantities, sign: int = 1) -> None:
        """Count a usage as used, or with ``sign=-1`` as no longer used."""
        for name in self.hard.keys() & usage.keys():
            before, amount = self.used[name], usage[name]
            self.used[name] = before + amount if sign > 0 else before - amount

    def excess(self, usage: Quantities) -> str | None:
        """Return why a usage does not fit, None if it does."""
        wanted = {k: v for k, v in usage.items() if k in self.hard and v.nano}
        beyond = sorted(k for k, v in wanted.items() if (self.used[k] + v).nano > self.hard[k].nano)
        if not beyond:
            return None
        asked, used, hard = (
            ",".join(f"{name}={amounts[name]}" for name in beyond)
            for amounts in (wanted, self.used, self.hard)
        )
        return f"exceeded quota: {self.name}, requested: {asked}, used: {used}, limited: {hard}"


class Quotas:
    """The ResourceQuotas of a cluster, by namespace and name."""

    def __init__(self, pods: Mapping[int, Pod]) -> None:
        """Start without any; ``pods`` are those of the cluster, by uid."""
        self._pods = pods
        self._quotas: dict[str, dict[str, _Quota]] = {}
        self._objects: Counter[tuple[str, str]] = Counter()
        self._usages: dict[PodFacts, Quantities] = {}

    def put(self, manifest: Manifest, namespace: str, name: str) -> None:
        """Add or replace one, and count what is used; raises InvalidInput."""
        quota = _Quota(name, manifest)
        spec = map_of(manifest.get("spec"))
        check_object(manifest, [*_causes(spec.get("hard")), *_scope_causes(spec)])
        for pod in self._pods.values():
            if pod.namespace == namespace and quota.applies_to(pod.facts.spec):
                quota.add(self._usage(pod))
        for resource in COUNTED.values():
            count = self._objects[namespace, resource]
            quota.add({f"count/{resource}": Quantity(count * NANO)})
        there = self._quotas.setdefault(namespace, {})
        there[name] = quota
        self._quotas[namespace] = dict(sorted(there.items()))

    def drop(self, namespace: str, name: str) -> None:
        """Remove one, if it exists."""
        self._quotas.get(namespace, {}).pop(name, None)

    def used(self, namespace: str, name: str) -> dict[str, str]:
        """Return what is used of a quota, by resource."""
        return {k: str(v) for k, v in self._quotas[namespace][name].used.items()}

    def refusal(self, facts: PodFacts, namespace: str) -> str | None:
        """Return why the quotas of a namespace refuse a pod, None if they do not."""
        if not self._quotas:
            return None
        quotas = self._applying(facts, namespace)
        for quota in quotas:
            missing = _missing(facts.spec, quota.of_pods & _DEMANDED)
            if missing:
                return f"failed quota: {quota.name}: must specify {missing}"
        usage = self._full_usage(facts) if quotas else {}
        return next((why for quota in quotas if (why := quota.excess(usage))), None)

    def _applying(self, facts: PodFacts, namespace: str) -> list[_Quota]:
        quotas = self._quotas.get(namespace)
        return [q for q in quotas.values() if q.applies_to(facts.spec)] if quotas else []

    def joined(self, pod: Pod) -> None:
        """Count a new pod."""
        for quota in self._applying(pod.facts, pod.namespace) if self._quotas else ():
            quota.add(self._usage(pod))

    def ended(self, pod: Pod) -> bool:
        """Count of a pod that has run to its end only that it exists; True if that freed room."""
        quotas = self._applying(pod.facts, pod.namespace)
        for quota in quotas:
            quota.add(self._full_usage(pod.facts), -1)
            quota.add(self._usage(pod))
        return bool(quotas)

    def left(self, pod: Pod) -> bool:
        """Count a deleted pod no longer; True if that freed room."""
        quotas = self._applying(pod.facts, pod.namespace)
        for quota in quotas:
            quota.add(self._usage(pod), -1)
        return bool(quotas)

    def _usage(self, pod: Pod) -> Quantities:
        return {"count/pods": _ONE} if pod.finished else self._full_usage(pod.facts)

    def _full_usage(self, facts: PodFacts) -> Quantities:
        if facts not in self._usages:
            self._usages[facts] = dict(_usage_of(facts.spec))
        return self._usages[facts]

    def object_refusal(self, kind: str, namespace: str) -> str | None:
        """Return why the quotas of a namespace refuse one more object, None if they do not."""
        one = {f"count/{COUNTED[kind]}": _ONE} if kind in COUNTED else {}
        quotas = self._quotas.get(namespace, {}).values()
        return next((why for quota in quotas if (why := quota.excess(one))), None)

    def count(self, kind: str, namespace: str, sign: int) -> None:
        """Count an object that was created (1) or deleted (-1)."""
        if kind in COUNTED:
            self._objects[namespace, COUNTED[kind]] += sign
            for quota in self._quotas.get(namespace, {}).values():
                quota.add({f"count/{COUNTED[kind]}": _ONE}, sign)


def _causes(hard: Any) -> Iterator[Cause]:
    for name, text in items_of(hard):
        path, amount, is_counted = f"spec.hard[{name}]", stored(text), name in _WHOLE
        if "/" not in name and not (is_counted or name in _AMOUNTS or is_of_pods(name)):
            yield invalid(path, name, "must be a standard resource type or fully qualified")
            yield invalid(path, name, "must be a standard resource for quota")
        if amount.nano < 0:
            yield invalid(path, str(amount), NEGATIVE)
        if (is_counted or name.startswith("count/")) and amount.nano % NANO:
            yield invalid(path, str(amount), NOT_WHOLE)


def _scope_causes(spec: Mapping[str, Any]) -> Iterator[Cause]:
    scopes, hard = list_of(spec.get("scopes")), {name for name, _ in items_of(spec.get("hard"))}
    items = maps_of(lookup(spec, ("scopeSelector", "matchExpressions")))
    path = "spec.scopeSelector.matchExpressions"
    for scope in scopes:
        if scope not in _SCOPES:
            yield invalid("spec.scopes", scopes, "unsupported scope")
    for item in items:
        scope, operator, values = item.get("scopeName"), item.get("operator"), item.get("values")
        if scope not in _SCOPES:
            yield invalid(f"{path}.scopeName", scope, "unsupported scope")
        elif scope not in ("PriorityClass", "VolumeAttributesClass") and operator != "Exists":
            yield invalid(f"{path}.operator", operator, _ONLY_EXISTS)
        if operator in ("In", "NotIn") and not values:
            why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            yield Cause(f"{path}.values", f"Required value: {why}")
        elif operator in ("Exists", "DoesNotExist") and values:
            why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            yield invalid(f"{path}.values", values, why)
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    of_items = [item.get("scopeName") for item in items]
    for at, value, names in (("spec.scopes", scopes, scopes), (path, items, of_items)):
        if any(not hard <= (_SCOPES.get(name) or hard) for name in names):
            yield invalid(at, value, "unsupported scope applied to resource")
        for name in ("BestEffort", "Terminating"):
            if name in names and f"Not{name}" in names:
                yield invalid(at, value, "conflicting scopes")


def _usage_of(spec: Mapping[str, Any]) -> Iterator[tuple[str, Quantity]]:
    requests, limits = pod_quantities(spec)
    for name, text in items_of(spec.get("overhead")):
        requests[name] = requests.get(name, _NONE) + stored(text)
        if name in limits:
            limits[name] = limits[name] + stored(text)
    yield from (("pods", _ONE), ("count/pods", _ONE))
    for name, amount in requests.items():
        if name in NATIVE or name.startswith("hugepages-"):
            yield name, amount
        yield f"requests.{name}", amount
    yield from ((f"limits.{name}", limits[name]) for name in NATIVE if name in limits)


def _missing(spec: Mapping[str, Any], demanded: set[str]) -> str:
    """Return the demanded amounts that containers do not say, and which containers."""
    missing: dict[str, set[str]] = {}
    for field in ("containers", "initContainers"):
        for container in maps_of(spec.get(field)):
            requests, limits = container_quantities(container)
            for resource in demanded:
                part, _, name = resource.rpartition(".")
                if name not in (limits if part == "limits" else requests):
                    missing.setdefault(resource, set()).add(str(container.get("name", "")))
    return "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))


def _is_in_scope(scope: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    name = scope.get("scopeName")
    if name in ("Terminating", "NotTerminating"):
        limited = spec.get("activeDeadlineSeconds") is not None
        return limited if name == "Terminating" else not limited
    if name in ("BestEffort", "NotBestEffort"):
        best_effort = _is_best_effort(spec)
        return best_effort if name == "BestEffort" else not best_effort
    if name == "CrossNamespacePodAffinity":
        return _crosses_namespaces(spec)
    if name != "PriorityClass":
        return False
    priority = spec.get("priorityClassName")
    values = tuple(map(str, list_of(scope.get("values"))))
    labels = {"class": str(priority)} if priority else {}
    return holds(("class", str(scope.get("operator", "")), values), labels)


def _is_best_effort(spec: Mapping[str, Any]) -> bool:
    """Return True if no container says how much CPU or memory it needs, or may use."""
    holders = [spec, *maps_of(spec.get("containers")), *maps_of(spec.get("initContainers"))]
    return not any(
        amounts[name].nano > 0
        for holder in holders
        for amounts in container_quantities(holder)
        for name in ("cpu", "memory")
        if name in amounts
    )


def _crosses_namespaces(spec: Mapping[str, Any]) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = map_of(map_of(spec.get("affinity")).get(kind))
        required = maps_of(rules.get("requiredDuringSchedulingIgnoredDuringExecution"))
        preferred = maps_of(rules.get("preferredDuringSchedulingIgnoredDuringExecution"))
        for term in (*required, *(map_of(each.get("podAffinityTerm")) for each in preferred)):
            if term.get("namespaces") or term.get("namespaceSelector") is not None:
                return True
    return False
