"""The interface of a cluster: apply objects, let time pass, observe.

The embedded cluster implements it, and the live ones of ``simgit.kube.live``.
``simgit.testing.cluster_contract`` checks what every implementation must do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from simgit.kube.manifest import Manifest
from simgit.kube.observation import Observation


@dataclass(frozen=True, slots=True)
class PodSelection:
    """A selection of pods: those of a namespace that have a label with this value."""

    namespace: str
    value: str
    label: str = "app"


class ClusterRows(Protocol):
    """What is shown of a cluster."""

    def pods(self) -> list[dict[str, Any]]:
        """Return a row for each pod, the oldest first."""

    def nodes(self) -> list[dict[str, Any]]:
        """Return a row for each node."""


@dataclass(frozen=True, slots=True)
class KeptRows:
    """The rows of a cluster that is changed or emptied afterwards."""

    kept_pods: list[dict[str, Any]]
    kept_nodes: list[dict[str, Any]]

    def pods(self) -> list[dict[str, Any]]:
        """Return a row for each pod, the oldest first."""
        return self.kept_pods

    def nodes(self) -> list[dict[str, Any]]:
        """Return a row for each node."""
        return self.kept_nodes


class KubeCluster(ClusterRows, Protocol):
    """A cluster that simulations run on. Times are seconds."""

    @property
    def now(self) -> float:
        """The cluster's time in Unix seconds: virtual, or the wall clock's."""

    def apply(self, manifests: Sequence[Manifest]) -> None:
        """Create or replace objects. Raises InvalidInput for a bad one, else ClusterError."""

    def delete(self, manifests: Sequence[Manifest]) -> None:
        """Delete objects and what they own; one that does not exist is no error."""

    def advance(self, seconds: float) -> None:
        """Let time pass; whatever is due on the way has happened afterwards."""

    def observe(self, selection: PodSelection) -> Observation:
        """Count pods; a failure gives an observation without counts, never one of zeros."""

    def events(self) -> list[dict[str, Any]]:
        """Return a row for each event, the oldest first."""
