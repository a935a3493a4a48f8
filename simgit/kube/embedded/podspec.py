"""A pod template compiled for the scheduler: amounts as integers, selectors, terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from simgit.errors import InvalidInput
from simgit.kube.embedded.fields import int_of, list_of, map_of, maps_of, packed, texts_of, unpacked
from simgit.kube.embedded.labels import (
    Labels,
    NodeTerm,
    Selector,
    Toleration,
    parse_node_term,
    parse_selector,
    parse_tolerations,
    with_default_tolerations,
)
from simgit.kube.embedded.priority import Priorities, read_priority
from simgit.kube.embedded.requests import container_texts, read_requests
from simgit.kube.embedded.validation import (
    Cause,
    InvalidPod,
    label_causes,
    pod_causes,
    resource_causes,
)


@dataclass(frozen=True, slots=True)
class PodTerm:
    """A term of pod affinity or anti-affinity: a selection of pods, and a topology key."""

    selector: Selector | None
    namespaces: frozenset[str]
    namespace_selector: Selector | None
    topology: str

    def covers(self, namespace: str, labels: Labels, *, known: Labels | None = None) -> bool:
        """Return True if the term selects a pod of the namespace with the labels.

        ``known`` are the namespace's own labels, by default its name.
        """
        if self.selector is None or not self.selector.matches(labels):
            return False
        if namespace in self.namespaces:
            return True
        if known is None:
            known = {"kubernetes.io/metadata.name": namespace}
        return self.namespace_selector is not None and self.namespace_selector.matches(known)


@dataclass(frozen=True, slots=True)
class Spread:
    """A topology spread constraint."""

    max_skew: int
    topology: str
    selector: Selector | None
    min_domains: int
    hard: bool
    honor_affinity: bool
    honor_taints: bool


@dataclass(frozen=True, slots=True, eq=False)
class PodFacts:
    """The facts that equal pods have in common; compared by identity."""

    spec: Mapping[str, Any]
    labels: Labels
    cpu: int
    memory: int
    storage: int
    extra: tuple[tuple[str, int], ...]
    score_cpu: int
    score_memory: int
    coming_cpu: int
    coming_memory: int
    priority: int
    preempts: bool
    node_name: str
    node_selector: tuple[tuple[str, str], ...]
    node_terms: tuple[NodeTerm, ...] | None
    node_preferences: tuple[tuple[int, NodeTerm], ...]
    tolerations: tuple[Toleration, ...]
    affinity: tuple[PodTerm, ...]
    anti_affinity: tuple[PodTerm, ...]
    pod_preferences: tuple[tuple[int, PodTerm], ...]
    spread: tuple[Spread, ...]
    ports: tuple[tuple[str, str, int], ...]
    gated: bool
    foreign: bool
    containers: tuple[tuple[tuple[str, str], ...], ...]
    error: str | None = None
    causes: tuple[Cause, ...] = ()
    """Why the API server refuses every such pod."""
    _relabelled: dict[tuple[tuple[str, str], ...], PodFacts] = field(
        init=False, default_factory=dict
    )

    @property
    def selects_nodes(self) -> bool:
        """True if a node selector or node affinity restricts the nodes."""
        return bool(self.node_selector) or self.node_terms is not None

    def relabelled(self, labels: Labels) -> PodFacts | None:
        """Return the facts of equal pods with other labels, None where more depends on these.

        Each replay adds the same labels to the same pods, so the facts are kept with these.
        """
        if self.causes or self.spec.get("affinity") or self.spec.get("topologySpreadConstraints"):
            return None
        key = tuple(labels.items())
        found = self._relabelled.get(key)
        if found is None:
            if len(self._relabelled) >= _MOST_RELABELLED:
                self._relabelled.clear()
            causes = tuple(label_causes("labels", labels))
            found = self._relabelled[key] = replace(self, labels=dict(labels), causes=causes)
        return found


_SCHEDULER = "default-scheduler"
_MOST_RELABELLED = 16


def read_pod(
    template: Mapping[str, Any], namespace: str, classes: Priorities, labels: Labels | None = None
) -> PodFacts:
    """Return the facts of a pod or a pod template; ``labels`` replace its own.

    Replays read the same templates again and again, so facts are kept by content: equal
    templates of the same namespace and priority share them.

    Raises InvalidInput for a malformed one. What else the API server would refuse is in
    ``causes``.
    """
    spec = template.get("spec")
    if not isinstance(spec, Mapping):
        raise InvalidInput("pod template has no spec")
    if labels is None:
        labels = texts_of(map_of(template.get("metadata")).get("labels"))
    priority = read_priority(spec, classes)
    key = packed((labels, spec))
    if key is None:
        return _facts(labels, spec, namespace, priority)
    return _known_facts(key, namespace, priority)


@lru_cache(maxsize=1024)
def _known_facts(key: bytes, namespace: str, priority: tuple[int, bool, str | None]) -> PodFacts:
    """Return the facts of a copy, which no later change of the template reaches."""
    labels, spec = unpacked(key)
    rest = packed((labels, _without_resources(spec)))
    outline = None if rest is None else _known_outline(rest, namespace, priority)
    if outline is None:
        return _facts(labels, spec, namespace, priority)
    return with_resources(outline, spec)


@lru_cache(maxsize=1024)
def _known_outline(
    key: bytes, namespace: str, priority: tuple[int, bool, str | None]
) -> PodFacts | None:
    """Return the facts of a pod without the amounts of its containers, None if it is refused.

    An agent changes the amounts and nothing else, so all the rest is read once.
    """
    labels, spec = unpacked(key)
    try:
        facts = _facts(labels, spec, namespace, priority)
    except InvalidInput:
        return None
    return None if facts.causes else facts


def _without_resources(spec: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(spec)
    for name in ("containers", "initContainers"):
        if isinstance(items := spec.get(name), tuple):
            found[name] = tuple(
                {k: v for k, v in item.items() if k != "resources"} if type(item) is dict else item
                for item in items
            )
    return found


def _facts(
    labels: Labels,
    spec: Mapping[str, Any],
    namespace: str,
    priority: tuple[int, bool, str | None],
) -> PodFacts:
    affinity = map_of(spec.get("affinity"))
    causes = tuple(pod_causes(spec, labels))
    if not list_of(spec.get("containers")):
        raise InvalidPod(causes)
    value, preempts, error = priority
    return PodFacts(
        **_requested(spec),
        labels=labels,
        priority=value,
        preempts=preempts,
        node_name=str(spec.get("nodeName") or ""),
        node_selector=tuple(texts_of(spec.get("nodeSelector")).items()),
        node_terms=_node_terms(affinity.get("nodeAffinity")),
        node_preferences=_node_preferences(affinity.get("nodeAffinity")),
        tolerations=with_default_tolerations(parse_tolerations(spec.get("tolerations"))),
        affinity=_required_terms(affinity.get("podAffinity"), namespace, labels),
        anti_affinity=_required_terms(affinity.get("podAntiAffinity"), namespace, labels),
        pod_preferences=(
            *_preferred_terms(affinity.get("podAffinity"), namespace, labels, 1),
            *_preferred_terms(affinity.get("podAntiAffinity"), namespace, labels, -1),
        ),
        spread=tuple(_spread(c, labels) for c in maps_of(spec.get("topologySpreadConstraints"))),
        ports=_host_ports(spec),
        gated=bool(list_of(spec.get("schedulingGates"))),
        foreign=(spec.get("schedulerName") or _SCHEDULER) != _SCHEDULER,
        error=error,
        causes=causes,
    )


def with_resources(facts: PodFacts, spec: Mapping[str, Any]) -> PodFacts:
    """Return the facts of a spec that differs in the resources of its containers."""
    return replace(facts, **_requested(spec), causes=tuple(resource_causes(spec)))


def _requested(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts about resources."""
    requests, coming, scored = read_requests(spec)
    return {
        "spec": spec,
        "cpu": requests.pop("cpu", 0),
        "memory": requests.pop("memory", 0),
        "storage": requests.pop("ephemeral-storage", 0),
        "extra": tuple(sorted((name, amount) for name, amount in requests.items() if amount)),
        "score_cpu": scored.get("cpu", 0),
        "score_memory": scored.get("memory", 0),
        "coming_cpu": coming.get("cpu", 0),
        "coming_memory": coming.get("memory", 0),
        "containers": container_texts(spec),
    }


def _node_terms(value: Any) -> tuple[NodeTerm, ...] | None:
    required = map_of(value).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return None
    return tuple(
        parse_node_term(term) for term in maps_of(map_of(required).get("nodeSelectorTerms"))
    )


def _node_preferences(value: Any) -> tuple[tuple[int, NodeTerm], ...]:
    preferred = map_of(value).get("preferredDuringSchedulingIgnoredDuringExecution")
    return tuple(
        (int_of(item.get("weight")), parse_node_term(map_of(item.get("preference"))))
        for item in maps_of(preferred)
    )


def _required_terms(value: Any, namespace: str, labels: Labels) -> tuple[PodTerm, ...]:
    required = map_of(value).get("requiredDuringSchedulingIgnoredDuringExecution")
    return tuple(_pod_term(item, namespace, labels) for item in maps_of(required))


def _preferred_terms(
    value: Any, namespace: str, labels: Labels, sign: int
) -> Iterable[tuple[int, PodTerm]]:
    preferred = map_of(value).get("preferredDuringSchedulingIgnoredDuringExecution")
    for item in maps_of(preferred):
        term = _pod_term(map_of(item.get("podAffinityTerm")), namespace, labels)
        yield sign * int_of(item.get("weight")), term


def _pod_term(item: Mapping[str, Any], namespace: str, labels: Labels) -> PodTerm:
    named = frozenset(str(n) for n in list_of(item.get("namespaces")))
    chosen = parse_selector(item.get("namespaceSelector"))
    if not named and chosen is None:
        named = frozenset((namespace,))
    return PodTerm(
        _with_label_keys(parse_selector(item.get("labelSelector")), item, labels),
        named,
        chosen,
        str(item.get("topologyKey") or ""),
    )


def _with_label_keys(
    selector: Selector | None, item: Mapping[str, Any], labels: Labels
) -> Selector | None:
    """Add the requirements that matchLabelKeys and mismatchLabelKeys stand for."""
    if selector is None:
        return None
    extra = [
        (key, operator, (labels[key],))
        for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
        for key in list_of(item.get(field))
        if key in labels
    ]
    return Selector((*selector.requirements, *extra)) if extra else selector


def _spread(item: Mapping[str, Any], labels: Labels) -> Spread:
    return Spread(
        max_skew=int_of(item.get("maxSkew"), 1),
        topology=str(item.get("topologyKey", "")),
        selector=_with_label_keys(parse_selector(item.get("labelSelector")), item, labels),
        min_domains=int_of(item.get("minDomains"), 1),
        hard=item.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        honor_affinity=item.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=item.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _host_ports(spec: Mapping[str, Any]) -> tuple[tuple[str, str, int], ...]:
    """Return (address, protocol, port) of every host port."""
    on_host = bool(spec.get("hostNetwork"))
    sidecars = [
        c for c in maps_of(spec.get("initContainers")) if c.get("restartPolicy") == "Always"
    ]
    return tuple(
        (str(p.get("hostIP") or "0.0.0.0"), str(p.get("protocol") or "TCP"), int_of(number))
        for container in (*spec["containers"], *sidecars)
        for p in maps_of(container.get("ports"))
        if (number := p.get("hostPort") or (on_host and p.get("containerPort")))
    )
