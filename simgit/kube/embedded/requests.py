"""Requests of a pod: containers, init containers, sidecars and overhead, as integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from simgit.errors import InvalidInput
from simgit.kube.embedded.fields import items_of, list_of, map_of
from simgit.kube.quantity import Quantity, canonical, parse_quantity

_DEFAULT_CPU_M = 100
_DEFAULT_MEMORY = 200 * 2**20
_OF_PODS = ("cpu", "memory", "hugepages-")
"""Resources that a pod may request as a whole; all others are requested by containers."""

Amounts = dict[str, int]
"""Resource -> amount: millicores for cpu, whole units for all others."""
Quantities = dict[str, Quantity]
_T = TypeVar("_T", int, Quantity)


def read_requests(spec: Mapping[str, Any]) -> tuple[Amounts, Amounts, Amounts]:
    """Return (requests, requests scored for a new pod, requests scored for a placed pod).

    In scores an absent request counts with a default. Of a new pod only the containers are
    scored, of a placed one pod-level requests too, as in kube-scheduler 1.35.
    """
    defaults: Amounts = {"cpu": _DEFAULT_CPU_M, "memory": _DEFAULT_MEMORY}
    real = _pod_total(spec, _container_requests, {})
    coming = _pod_total(spec, _container_requests, defaults)
    whole = _pod_level(map_of(spec.get("resources")), real)
    asked, there = (real | whole, coming | real | whole) if whole else (real, coming)
    overhead = _amounts(spec.get("overhead"), "overhead")
    if not overhead:
        return asked, coming, there
    return _added(asked, overhead), _added(coming, overhead), _added(there, overhead)


def _pod_level(resources: Mapping[str, Any], containers: Amounts) -> Amounts:
    """Return the requests of the pod as a whole.

    A pod-level limit without a request becomes one: the sum of the containers' requests, or
    else the limit.
    """
    limits = _amounts(resources.get("limits"), "resources.limits")
    own = _amounts(resources.get("requests"), "resources.requests")
    asked = (limits | containers if limits else {}) | own
    return {name: amount for name, amount in asked.items() if name.startswith(_OF_PODS)}


def _pod_total(
    spec: Mapping[str, Any], read: Callable[[Any, str], dict[str, _T]], defaults: dict[str, _T]
) -> dict[str, _T]:
    """Return the amounts of containers and sidecars, or of an init container if greater."""
    containers = list_of(spec.get("containers"))
    if not containers:
        raise InvalidInput("pod template has no containers")
    total: dict[str, _T] = {}
    for number, container in enumerate(containers):
        total = _added(total, defaults | read(container, f"containers[{number}]"))
    sidecars: dict[str, _T] = {}
    peak: dict[str, _T] = {}
    for number, container in enumerate(list_of(spec.get("initContainers"))):
        asked = defaults | read(container, f"initContainers[{number}]")
        if container.get("restartPolicy") == "Always":
            sidecars = _added(sidecars, asked)
            peak = _greater(peak, sidecars)
        else:
            peak = _greater(peak, _added(sidecars, asked))
    return _greater(_added(total, sidecars), peak)


def _container_requests(container: Any, place: str) -> Amounts:
    """Return a container's requests; a limit without a request is one, as the API defaults."""
    if not isinstance(container, Mapping):
        raise InvalidInput("a container must be a map", pod_path=place)
    place += ".resources"
    resources = container.get("resources")
    if resources is None:
        return {}
    if not isinstance(resources, Mapping):
        raise InvalidInput("resources of a container must be a map", pod_path=place)
    limits = _amounts(resources.get("limits"), f"{place}.limits", validated=True)
    own = _amounts(resources.get("requests"), f"{place}.requests", validated=True)
    return limits | own


def _amounts(value: Any, place: str, *, validated: bool = False) -> Amounts:
    """Return amounts by resource; ``place`` is their place in the pod's spec.

    Raises InvalidInput, with the place in ``pod_path``, for a bad quantity, and for a negative one
    where none were found by validation.
    """
    amounts = {}
    name = ""
    try:
        for name, text in items_of(value):
            quantity = parse_quantity(text)
            if quantity.nano < 0 and not validated:
                raise InvalidInput(f"request of {name} must be 0 or more, got '{text}'", value=text)
            amounts[name] = quantity.milli if name == "cpu" else quantity.units
    except InvalidInput as error:
        vars(error)["pod_path"] = f"{place}.{name}" if name else place
        raise
    return amounts


def stored(text: Any) -> Quantity:
    """Return a quantity as the API server stores it: no finer than thousandths."""
    return parse_quantity(canonical(text))


def container_quantities(container: Mapping[str, Any]) -> tuple[Quantities, Quantities]:
    """Return (requests, limits) of a container; a limit without a request is one."""
    own, limits = _quantities(container.get("resources"))
    return limits | own, limits


def _quantities(resources: Any) -> tuple[Quantities, Quantities]:
    own, limits = (items_of(map_of(resources).get(field)) for field in ("requests", "limits"))
    return {k: stored(v) for k, v in own}, {k: stored(v) for k, v in limits}


def pod_quantities(spec: Mapping[str, Any]) -> tuple[Quantities, Quantities]:
    """Return (requests, limits) of a pod, without its overhead."""
    requests = _pod_total(spec, lambda container, _: container_quantities(container)[0], {})
    limits = _pod_total(spec, lambda container, _: container_quantities(container)[1], {})
    own, whole = _quantities(spec.get("resources"))
    return (whole | requests if whole else requests) | own, limits | whole


def _added(left: dict[str, _T], right: dict[str, _T]) -> dict[str, _T]:
    return {**left, **{k: left[k] + v if k in left else v for k, v in right.items()}}


def _greater(left: dict[str, _T], right: dict[str, _T]) -> dict[str, _T]:
    return {**left, **{k: max(left[k], v) if k in left else v for k, v in right.items()}}


def container_texts(spec: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return the requests of each container as the API server stores them."""
    return tuple(_texts(container.get("resources") or {}) for container in spec["containers"])


def _texts(resources: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    limits, requests = items_of(resources.get("limits")), items_of(resources.get("requests"))
    return tuple((name, canonical(text)) for name, text in sorted(dict(limits + requests).items()))
