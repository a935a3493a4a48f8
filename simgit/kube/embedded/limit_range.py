"""LimitRanges: defaults and limits for the containers and pods of a namespace.

The rules and the words are those of the plugin LimitRanger of Kubernetes 1.35.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simgit.kube.embedded.fields import items_of, map_of, maps_of
from simgit.kube.embedded.requests import Quantities, container_quantities, pod_quantities, stored
from simgit.kube.embedded.validation import NEGATIVE, Cause, check_object, invalid
from simgit.kube.manifest import Manifest, lookup
from simgit.kube.quantity import NANO, Quantity

_PARTS = ("min", "max", "default", "defaultRequest", "maxLimitRequestRatio")
_CALLED = {
    "min": "min value", "default": "default value", "defaultRequest": "default request value",
}  # fmt: skip
_ORDER = (
    ("min", "max", "min", "max value"),
    ("min", "defaultRequest", "defaultRequest", "default request value"),
    ("defaultRequest", "max", "defaultRequest", "max value"),
    ("defaultRequest", "default", "defaultRequest", "default limit value"),
    ("min", "default", "default", "default value"),
    ("default", "max", "default", "max value"),
)
"""Of each two parts the first may not be greater; the place of the error, the second's name."""


@dataclass(frozen=True, slots=True)
class _Limit:
    """An item of a LimitRange: for each resource the amounts that it sets."""

    type: str
    min: Quantities
    max: Quantities
    default: Quantities
    request: Quantities
    ratio: Quantities


class LimitRanges:
    """The LimitRanges of a cluster, by namespace and name."""

    def __init__(self) -> None:
        """Start without any."""
        self._ranges: dict[tuple[str, str], tuple[_Limit, ...]] = {}
        self.version = 0

    def put(self, manifest: Manifest, namespace: str, name: str) -> None:
        """Add or replace one; raises InvalidInput."""
        items = maps_of(lookup(manifest, ("spec", "limits")))
        limits = tuple(
            _limit(
                str(item.get("type") or ""),
                {part: {k: stored(v) for k, v in items_of(item.get(part))} for part in _PARTS},
            )
            for item in items
        )
        causes = (_causes(f"spec.limits[{i}]", limit) for i, limit in enumerate(limits))
        check_object(manifest, [each for found in causes for each in found])
        self._ranges[namespace, name] = limits
        self.version += 1

    def drop(self, namespace: str, name: str) -> None:
        """Remove one, if it exists."""
        if self._ranges.pop((namespace, name), None) is not None:
            self.version += 1

    def _of(self, namespace: str) -> list[tuple[_Limit, ...]]:
        return [limits for (there, _), limits in sorted(self._ranges.items()) if there == namespace]

    def defaulted(self, spec: Mapping[str, Any], namespace: str) -> Mapping[str, Any]:
        """Return the spec of a pod with the defaults of a namespace, itself where none applies."""
        for limits in self._of(namespace):
            own = [limit for limit in limits if limit.type == "Container"]
            requests = {k: v for limit in own for k, v in limit.request.items()}
            most = {k: v for limit in own for k, v in limit.default.items()}
            for field in ("containers", "initContainers") if requests or most else ():
                if field in spec:
                    items = [_with_defaults(c, requests, most) for c in maps_of(spec[field])]
                    spec = {**spec, field: items}
        return spec

    def refusal(self, spec: Mapping[str, Any], namespace: str) -> str | None:
        """Return why the limits of a namespace refuse a pod, None if they do not."""
        for limits in self._of(namespace):
            found = [each for limit in limits for each in _violations(spec, limit)]
            if found:
                found = list(dict.fromkeys(found))
                return found[0] if len(found) == 1 else f"[{', '.join(found)}]"
        return None


def _causes(place: str, limit: _Limit) -> Iterator[Cause]:
    values = (limit.min, limit.max, limit.default, limit.request, limit.ratio)
    kind, parts = limit.type, dict(zip(_PARTS, values, strict=True))
    if "/" not in kind and kind not in ("Container", "PersistentVolumeClaim", "Pod"):
        yield invalid(f"{place}.type", kind, "must be a standard limit type or fully qualified")
    for part in ("default", "defaultRequest"):
        if kind == "Pod" and parts[part]:
            yield Cause(f"{place}.{part}", "Forbidden: may not be specified when `type` is 'Pod'")
    for name, ratio in parts["maxLimitRequestRatio"].items():
        if ratio.nano < NANO:
            why = f"ratio {ratio} is less than 1"
            yield invalid(f"{place}.maxLimitRequestRatio[{name}]", str(ratio), why)
    for part, amounts in parts.items():
        for name, amount in amounts.items():
            if amount.nano < 0:
                yield invalid(f"{place}.{part}[{name}]", str(amount), NEGATIVE)
    for less, more, at, called in _ORDER:
        for name in parts[less]:
            low, high = parts[less][name], parts[more].get(name)
            if high is not None and low.nano > high.nano:
                told = f"{_CALLED[less]} {low} is greater than {called} {high}"
                yield invalid(f"{place}.{at}[{name}]", str(parts[at][name]), told)


def _limit(kind: str, parts: Mapping[str, Quantities]) -> _Limit:
    """Return an item with the API's defaults: a maximum is a default, and that a request."""
    default, request = parts["default"], parts["defaultRequest"]
    if kind == "Container":
        default = parts["max"] | default
        request = parts["min"] | default | request
    return _Limit(kind, parts["min"], parts["max"], default, request, parts["maxLimitRequestRatio"])


def _with_defaults(
    container: Mapping[str, Any], requests: Quantities, limits: Quantities
) -> Mapping[str, Any]:
    resources = map_of(container.get("resources"))
    own_limits = map_of(resources.get("limits"))
    # The API server has made requests of limits before.
    own = {**own_limits, **map_of(resources.get("requests"))}
    filled = {
        **resources,
        "requests": {**{k: str(v) for k, v in requests.items()}, **own},
        "limits": {**{k: str(v) for k, v in limits.items()}, **own_limits},
    }
    return {**container, "resources": {k: v for k, v in filled.items() if v}}


def _violations(spec: Mapping[str, Any], limit: _Limit) -> Iterator[str]:
    if limit.type == "Container":
        for field in ("containers", "initContainers"):
            for container in maps_of(spec.get(field)):
                yield from _compare(limit, *container_quantities(container))
    elif limit.type == "Pod":
        yield from _compare(limit, *pod_quantities(spec))


def _compare(limit: _Limit, requests: Quantities, limits: Quantities) -> Iterator[str]:
    def beyond(bound: str, name: str, amount: Quantity) -> Iterator[str]:
        told = f"{bound} {name} usage per {limit.type} is {amount}"
        sign = 1 if bound == "maximum" else -1
        needed, given = ("request", requests) if sign < 0 else ("limit", limits)
        other, rest = ("limit", limits) if sign < 0 else ("request", requests)
        if name not in given:
            yield f"{told}.  No {needed} is specified"
        elif sign * (given[name].nano - amount.nano) > 0:
            yield f"{told}, but {needed} is {given[name]}"
        elif name in rest and sign * (rest[name].nano - amount.nano) > 0:
            yield f"{told}, but {other} is {rest[name]}"

    for name, amount in sorted(limit.min.items()):
        yield from beyond("minimum", name, amount)
    for name, amount in sorted(limit.max.items()):
        yield from beyond("maximum", name, amount)
    for name, ratio in sorted(limit.ratio.items()):
        told = f"{name} max limit to request ratio per {limit.type} is {ratio}"
        request, most = requests.get(name), limits.get(name)
        if request is None or not request.nano:
            yield f"{told}, but no request is specified or request is 0"
        elif most is None or not most.nano:
            yield f"{told}, but no limit is specified or limit is 0"
        elif most.nano * 10**9 > ratio.nano * request.nano:
            yield f"{told}, but provided ratio is {most.nano / request.nano:f}"
