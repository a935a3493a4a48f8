"""What a pod requests: containers, init containers, sidecars and overhead, as integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simgit.errors import InvalidInput
from simgit.kube.embedded.fields import items_of, list_of, map_of
from simgit.kube.quantity import canonical, parse_quantity

_DEFAULT_CPU_M = 100
_DEFAULT_MEMORY = 200 * 2**20
_OF_PODS = ("cpu", "memory", "hugepages-")
"""What a pod as a whole may ask for; anything else is for containers to ask."""

Amounts = dict[str, int]
"""Resource name to integer: millicores for cpu, whole units for all others."""


def read_requests(spec: Mapping[str, Any]) -> tuple[Amounts, Amounts, Amounts]:
    """Return what is requested, what is weighed of a pod that comes, and of one that is there.

    For scores what is not written counts with a default; and of a pod that comes (not of one that
    is there) only its containers are weighed, as kube-scheduler 1.35 does it.
    """
    real = _pod_total(spec, {})
    coming = _pod_total(spec, {"cpu": _DEFAULT_CPU_M, "memory": _DEFAULT_MEMORY})
    whole = _pod_level(map_of(spec.get("resources")), real)
    asked, there = (real | whole, coming | real | whole) if whole else (real, coming)
    overhead = _amounts(spec.get("overhead"), "overhead")
    if not overhead:
        return asked, coming, there
    return _added(asked, overhead), _added(coming, overhead), _added(there, overhead)


def _pod_level(resources: Mapping[str, Any], containers: Amounts) -> Amounts:
    """Return what the pod itself requests.

    Once it has a limit, its containers' sum is its request, or the limit where they do not ask.
    """
    limits = _amounts(resources.get("limits"), "resources.limits")
    own = _amounts(resources.get("requests"), "resources.requests")
    asked = (limits | containers if limits else {}) | own
    return {name: amount for name, amount in asked.items() if name.startswith(_OF_PODS)}


def _pod_total(spec: Mapping[str, Any], defaults: Amounts) -> Amounts:
    """Sum containers and sidecars; an init container counts with the sidecars before it."""
    containers = list_of(spec.get("containers"))
    if not containers:
        raise InvalidInput("pod template has no containers")
    total: Amounts = {}
    for number, container in enumerate(containers):
        asked = _container_requests(container, f"containers[{number}]")
        total = _added(total, defaults | asked)
    sidecars: Amounts = {}
    peak: Amounts = {}
    for number, container in enumerate(list_of(spec.get("initContainers"))):
        asked = defaults | _container_requests(container, f"initContainers[{number}]")
        if container.get("restartPolicy") == "Always":
            sidecars = _added(sidecars, asked)
            peak = _greater(peak, sidecars)
        else:
            peak = _greater(peak, _added(sidecars, asked))
    return _greater(_added(total, sidecars), peak)


def _container_requests(container: Any, place: str) -> Amounts:
    """Return a container's requests; a limit without a request is one, as the API defaults it."""
    if not isinstance(container, Mapping):
        raise InvalidInput("container is not a map", pod_path=place)
    place += ".resources"
    resources = container.get("resources") or {}
    if not isinstance(resources, Mapping):
        raise InvalidInput("resources of a container are not a map", pod_path=place)
    limits = _amounts(resources.get("limits"), f"{place}.limits")
    return limits | _amounts(resources.get("requests"), f"{place}.requests")


def _amounts(value: Any, place: str) -> Amounts:
    """Return amounts by the name of the resource; ``place`` is where in the pod's spec they are.

    Raises InvalidInput, with the place in ``pod_path``, for one that is no quantity or negative.
    """
    amounts = {}
    name = ""
    try:
        for name, text in items_of(value):
            quantity = parse_quantity(text)
            if quantity.nano < 0:
                raise InvalidInput(f"request of {name} is negative: '{text}'", value=text)
            amounts[name] = quantity.milli if name == "cpu" else quantity.units
    except InvalidInput as error:
        vars(error)["pod_path"] = f"{place}.{name}" if name else place
        raise
    return amounts


def _added(left: Amounts, right: Amounts) -> Amounts:
    return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}


def _greater(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in {**left, **right}}


def container_texts(spec: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return the requests of each container as they read back from the API server."""
    return tuple(_texts(container.get("resources") or {}) for container in spec["containers"])


def _texts(resources: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    limits, requests = items_of(resources.get("limits")), items_of(resources.get("requests"))
    return tuple((name, canonical(text)) for name, text in sorted(dict(limits + requests).items()))
