"""What is on a live cluster now: the pods, nodes and events of simulations, whoever runs them."""

from __future__ import annotations

from typing import Any, Final

from simgit.kube.live.api import Api, Object
from simgit.kube.live.cleanup import RUN
from simgit.kube.live.cluster import event_row, pod_row
from simgit.kube.live.nodes import row, seconds_of, virtual
from simgit.kube.simulation import SIMULATION_LABEL

_PODS: Final = "/api/v1/pods"


class CurrentCluster:
    """The rows of a live cluster, each read when it is asked for. All raise ClusterError."""

    def __init__(self, api: Api, prefix: str = "virtual") -> None:
        """Take the API server, and what the namespaces of simulations begin with."""
        self._api = api
        self._prefix = prefix

    @property
    def start(self) -> float:
        """The Unix time at which the oldest namespace of a simulation was created; 0 if none."""
        times = [seconds_of(each["metadata"]["creationTimestamp"]) for each in self._namespaces()]
        return min(times, default=0.0)

    def _namespaces(self) -> list[Object]:
        found = self._api.list("/api/v1/namespaces")[0]
        return [
            each
            for each in found
            if each["metadata"]["name"].startswith(f"{self._prefix}-")
            or RUN in (each["metadata"].get("labels") or {})
        ]

    def pods(self) -> list[dict[str, Any]]:
        """Return a row for each pod of a simulation, the oldest first."""
        found = self._api.list(_PODS, labels=SIMULATION_LABEL)[0]
        return sorted(map(pod_row, found), key=lambda pod: (pod["created"], pod["name"]))

    def nodes(self) -> list[dict[str, Any]]:
        """Return a row for each virtual node, with the pods of all on it."""
        nodes, pods = virtual(self._api), self._api.list(_PODS)[0]
        return [row(node, pods) for node in nodes]

    def events(self) -> list[dict[str, Any]]:
        """Return a row for each event in the namespaces of simulations, the oldest first."""
        kind = self._api.kind("v1", "Event")
        names = [each["metadata"]["name"] for each in self._namespaces()]
        found = [event for name in names for event in self._api.list(kind.path(name))[0]]
        return sorted(map(event_row, found), key=lambda event: float(event["time"]))
