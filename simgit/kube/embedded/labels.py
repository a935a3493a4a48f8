"""Labels, selectors, taints and tolerations, compiled from manifests and matched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simgit.errors import InvalidInput, did_you_mean
from simgit.kube.embedded.fields import int_of, list_of, map_of, maps_of, texts_of

Labels = Mapping[str, str]
Requirement = tuple[str, str, tuple[str, ...]]
"""(key, operator, values)."""

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
HARD_EFFECTS = frozenset({"NoSchedule", "NoExecute"})
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_STAY = 300
_NUMBER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node: it keeps away the pods that do not tolerate it."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class Toleration:
    """A toleration of a pod; ``seconds`` limits it for NoExecute (None: for ever)."""

    key: str
    operator: str
    value: str
    effect: str
    seconds: int | None = None

    def tolerates(self, taint: Taint) -> bool:
        """Return True if it tolerates the taint; an empty key or effect matches all."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or (self.value == taint.value and bool(self.key))


@dataclass(frozen=True, slots=True)
class Selector:
    """A compiled label selector; without requirements it matches everything."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Labels) -> bool:
        """Return True if the labels meet every requirement."""
        return all(holds(requirement, labels) for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """A node selector term: requirements on labels, and on the node's name."""

    labels: tuple[Requirement, ...]
    fields: tuple[Requirement, ...]

    def matches(self, name: str, labels: Labels) -> bool:
        """Return True if the node meets the term; an empty term matches no node."""
        if not self.labels and not self.fields:
            return False
        return all(holds(r, labels) for r in self.labels) and all(
            holds(r, {"metadata.name": name}) for r in self.fields
        )


def holds(requirement: Requirement, labels: Labels) -> bool:
    """Return True if the labels meet a requirement; an absent label meets NotIn."""
    key, operator, values = requirement
    value = labels.get(key)
    if operator == "In":
        return value is not None and value in values
    if operator == "NotIn":
        return value is None or value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    return _compare(operator, value, values)


def _compare(operator: str, value: str | None, values: tuple[str, ...]) -> bool:
    numbers = (value or "", *values[:1])
    if len(numbers) < 2 or not all(map(_NUMBER.fullmatch, numbers)):
        return False
    left, right = map(int, numbers)
    return left > right if operator == "Gt" else left < right


def parse_selector(value: Any) -> Selector | None:
    """Compile a LabelSelector; None, which matches nothing, if there is none."""
    if value is None:
        return None
    pairs = texts_of(map_of(value).get("matchLabels"))
    equal = tuple((key, "In", (wanted,)) for key, wanted in pairs.items())
    return Selector(equal + parse_requirements(value.get("matchExpressions")))


def parse_requirements(value: Any) -> tuple[Requirement, ...]:
    """Compile matchExpressions or matchFields; raises InvalidInput for an unknown operator."""
    return tuple(_requirement(item) for item in maps_of(value))


def _requirement(item: Mapping[str, Any]) -> Requirement:
    operator = str(item.get("operator", ""))
    if operator not in _OPERATORS:
        raise InvalidInput(
            f"unknown selector operator '{operator[:40]}'{did_you_mean(operator[:40], _OPERATORS)}"
        )
    return str(item.get("key", "")), operator, tuple(str(v) for v in list_of(item.get("values")))


def parse_node_term(value: Mapping[str, Any]) -> NodeTerm:
    """Compile a nodeSelectorTerm or a preference."""
    return NodeTerm(
        parse_requirements(value.get("matchExpressions")),
        parse_requirements(value.get("matchFields")),
    )


def parse_tolerations(value: Any) -> tuple[Toleration, ...]:
    """Compile a pod's tolerations."""
    return tuple(_toleration(item) for item in maps_of(value))


def _toleration(item: Mapping[str, Any]) -> Toleration:
    seconds = item.get("tolerationSeconds")
    return Toleration(
        str(item.get("key") or ""),
        str(item.get("operator") or "Equal"),
        str(item.get("value") or ""),
        str(item.get("effect") or ""),
        None if seconds is None else int_of(seconds),
    )


def parse_taints(value: Any) -> tuple[Taint, ...]:
    """Compile a node's taints."""
    return tuple(
        Taint(str(t.get("key", "")), str(t.get("value") or ""), str(t.get("effect", "")))
        for t in maps_of(value)
    )


def untolerated(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> Taint | None:
    """Return the first taint that keeps the pod from being scheduled, None if none does."""
    for taint in taints:
        if taint.effect in HARD_EFFECTS and not any(t.tolerates(taint) for t in tolerations):
            return taint
    return None


def patience(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> int | None:
    """Return the seconds until a pod is evicted from a node with the taints, None for never.

    Only NoExecute evicts. Of several tolerations of a taint the first counts.
    """
    seconds: list[int] = []
    for taint in taints:
        if taint.effect == "NoExecute":
            found = next((t for t in tolerations if t.tolerates(taint)), None)
            if found is None:
                return 0
            if found.seconds is not None:
                seconds.append(max(0, found.seconds))
    return min(seconds, default=None)


def with_default_tolerations(tolerations: tuple[Toleration, ...]) -> tuple[Toleration, ...]:
    """Add admission's defaults: five minutes on a node that is not ready or unreachable."""
    missing = (
        Toleration(key, "Exists", "", "NoExecute", _STAY)
        for key in (NOT_READY, UNREACHABLE)
        if not any(t.key in (key, "") and t.effect in ("NoExecute", "") for t in tolerations)
    )
    return (*tolerations, *missing)
