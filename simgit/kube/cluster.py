"""The protocol behind which a cluster stands: apply events, observe, advance.

The embedded cluster is the first implementation; a live one follows. What every implementation
must do is checked by ``simgit.testing.cluster_contract``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from simgit.kube.manifest import Manifest
from simgit.kube.observation import Observation


@dataclass(frozen=True, slots=True)
class PodSelection:
    """Which pods to count: those of a namespace whose label has the value."""

    namespace: str
    value: str
    label: str = "app"


class KubeCluster(Protocol):
    """A cluster that simulations run on. Times are seconds."""

    @property
    def now(self) -> float:
        """The time of the cluster: virtual, or the wall clock's."""

    def apply(self, manifests: Sequence[Manifest]) -> None:
        """Create or replace objects. Raises InvalidInput for a bad one, Cluster on failure."""

    def delete(self, manifests: Sequence[Manifest]) -> None:
        """Delete objects and what they own; one that does not exist is no error."""

    def advance(self, seconds: float) -> None:
        """Let time pass until everything that happens meanwhile has happened."""

    def observe(self, selection: PodSelection) -> Observation:
        """Count pods; a failure is an observation that says so, never one of zeros."""

    def pods(self) -> list[dict[str, Any]]:
        """Return a row for each pod, the oldest first."""

    def nodes(self) -> list[dict[str, Any]]:
        """Return a row for each node."""

    def events(self) -> list[dict[str, Any]]:
        """Return a row for each event, the oldest first."""
