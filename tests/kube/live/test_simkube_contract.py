"""The contract of a cluster, for SimKube on the loopback API server.

Nobody but SimKube's driver writes to the cluster of a Simulation, and it does so from a trace that
is complete before it starts. So a change is an event more at the trace's end, and whoever looks
after a change sees another Simulation, which begins from an empty cluster. Two things follow that
an adapter cannot give, and the suite here declares them:

- Names, owners, times, labels and nodes (of those that are equal) of pods are those of the
  Simulation that runs (``passing``).
- An object that the API server refuses is noticed when it is replayed: the Simulation fails as a
  whole, and its error quotes the driver (``refuse``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from simgit.errors import ClusterError
from simgit.kube.cluster import KubeCluster, PodSelection
from simgit.kube.live.api import Api
from simgit.kube.live.driver import LiveSettings
from simgit.kube.live.simulation import SimkubeDriver
from simgit.kube.manifest import Manifest, check_identity, freeze, namespace_of
from simgit.kube.observation import Observation
from simgit.kube.trace.model import Event, Trace
from simgit.testing.apiserver import ApiServer
from simgit.testing.cluster_contract import SIMULATION, WEB, ClusterContract
from tests.support.served import connect


class Replays:
    """A KubeCluster whose changes are events of a trace, replayed when somebody looks."""

    def __init__(self, api: Api, driver: SimkubeDriver) -> None:
        self._api = api
        self._driver = driver
        self._events = [Event(0)]
        self._running = ExitStack()
        self._found: KubeCluster | None = None

    @property
    def now(self) -> float:
        """The clock's time."""
        return self._api.clock.time()

    def apply(self, manifests: Sequence[Manifest]) -> None:
        """Append an event; raises InvalidInput for what no trace can hold."""
        for each in manifests:
            check_identity(each, "manifest")
        self._add(applied=tuple(map(_recorded, manifests)))

    def delete(self, manifests: Sequence[Manifest]) -> None:
        """Append an event."""
        self._add(deleted=tuple(map(_recorded, manifests)))

    def take_back(self) -> None:
        """Remove the last event."""
        self.close()
        self._events.pop()

    def _add(self, **objects: Any) -> None:
        self.close()
        self._events.append(Event(self._events[-1].ts + 1, **objects))

    def close(self) -> None:
        """End the Simulation that runs."""
        self._running.close()
        self._found = None

    @property
    def _cluster(self) -> KubeCluster:
        """The cluster of the Simulation of all events."""
        if self._found is None:
            trace = Trace(tuple(self._events))
            replay = self._driver.replay(trace, SIMULATION, WEB, label="contract")
            self._found = self._running.enter_context(replay)
        return self._found

    def advance(self, seconds: float) -> None:
        self._cluster.advance(seconds)

    def observe(self, selection: PodSelection) -> Observation:
        return self._cluster.observe(selection)

    def pods(self) -> list[dict[str, Any]]:
        return self._cluster.pods()

    def nodes(self) -> list[dict[str, Any]]:
        return self._cluster.nodes()

    def events(self) -> list[dict[str, Any]]:
        return self._cluster.events()


def _recorded(manifest: Manifest) -> Manifest:
    """Return an object as a trace has it, which the driver moves to a virtual namespace."""
    plain = json.loads(json.dumps(manifest))
    plain["metadata"]["namespace"] = namespace_of(manifest).removeprefix(f"{SIMULATION.prefix}-")
    found: Manifest = freeze(plain)
    return found


@pytest.mark.slow
class TestSimkube(ClusterContract):
    passing = frozenset({"name", "owner", "created", "labels", "node"})

    @pytest.fixture
    def cluster(self, tmp_path: Path) -> Iterator[Replays]:
        given = LiveSettings("loopback", "simkube", trace_path=str(tmp_path))
        with ApiServer(nodes=3, simkube=True) as server, connect(server, tmp_path) as api:
            driver = SimkubeDriver(api, given)
            cluster = Replays(api, driver)
            yield cluster
            cluster.close()
            driver.close()
            assert server.objects("simulations.simkube.io") == []

    def refuse(self, cluster: KubeCluster, manifest: Any) -> None:
        """Check that the Simulation fails, and says why."""
        assert isinstance(cluster, Replays)
        cluster.apply([manifest])
        with pytest.raises(ClusterError, match=r"Simulation .* driver: Deployment"):
            cluster.pods()
        cluster.take_back()
