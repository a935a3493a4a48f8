"""Resources of a workload: requests of its first container, and replicas, as integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simgit.errors import InvalidInput
from simgit.kube.manifest import Manifest, containers_of, full_name, lookup
from simgit.kube.quantity import Quantity, from_bytes, from_millicores, parse_quantity
from simgit.kube.trace.edit import Match, container_index, no_workload, with_replicas, with_request
from simgit.kube.trace.model import Trace

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Resources:
    """CPU in millicores, memory in bytes, number of replicas."""

    cpu_m: int = 0
    memory: int = 0
    replicas: int = 1

    def plain(self) -> dict[str, str | int]:
        """Return the resources with canonical quantities."""
        return {
            "cpu": from_millicores(self.cpu_m),
            "memory": from_bytes(self.memory),
            "replicas": self.replicas,
        }


def read_resources(manifest: Manifest) -> Resources:
    """Return a workload's resources; absent requests are 0, absent replicas 1.

    Raises NotFound if it has no container, InvalidInput for a bad quantity.
    """
    requests = requests_of(_first_container(manifest))
    return Resources(
        parse_quantity(requests.get("cpu", 0)).milli,
        parse_quantity(requests.get("memory", 0)).units,
        _replicas(manifest),
    )


def final_resources(trace: Trace, match: Match) -> Resources:
    """Return the resources of a workload as last applied; raises NotFound if there is none."""
    return read_resources(last_applied(trace, match))


def last_applied(trace: Trace, match: Match) -> Manifest:
    """Return the last version of a workload; raises NotFound if there is none."""
    for event in reversed(trace.events):
        for manifest in reversed(event.applied):
            if match(manifest):
                return manifest
    raise no_workload(trace, match)


def requests_of(container: Manifest) -> Mapping[str, Any]:
    """Return a container's requests; raises InvalidInput if they are not a map."""
    found = lookup(container, ("resources", "requests"))
    if found is not None and not isinstance(found, Mapping):
        raise InvalidInput(f"requests must be a map, got '{str(found)[:40]}'", value=found)
    return found or {}


def add_request(manifest: Manifest, resource: str, amount: str) -> Manifest:
    """Return the workload with an amount (negative: '-500m') added to its first container."""
    present = lookup(_first_container(manifest), ("resources", "requests", resource))
    before = Quantity(0) if present is None else parse_quantity(present)
    return with_request(manifest, 0, resource, str(before + parse_quantity(amount)))


def _first_container(manifest: Manifest) -> Manifest:
    containers = containers_of(manifest)
    return containers[0] if containers else containers[container_index(manifest)]  # which raises


def add_replicas(manifest: Manifest, count: int) -> Manifest:
    """Return the workload with more or fewer replicas; the result is not checked."""
    return with_replicas(manifest, _replicas(manifest) + count)


def _replicas(manifest: Manifest) -> int:
    value = lookup(manifest, ("spec", "replicas"))
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(
            f"replicas must be a whole number in '{full_name(manifest)}', got '{str(value)[:40]}'",
            value=value,
        )
    return value
