"""The contract of a cluster: subclass ``ClusterContract`` and provide a ``cluster`` fixture."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simgit.errors import InvalidInput
from simgit.kube.cluster import KubeCluster, PodSelection
from simgit.kube.simulation import SimulationSpec, virtual_object

SIMULATION = SimulationSpec()
WEB = SIMULATION.selection("default", "web")
POD_KEYS = {"namespace", "name", "labels", "phase", "ready", "node", "message"}
NODE_KEYS = {"name", "cpu", "memory", "pods", "ready", "used", "running"}
EVENT_KEYS = {"time", "kind", "namespace", "name", "reason", "message"}


def deployment(name: str = "web", *, replicas: int = 3, cpu: str = "1") -> Any:
    """Build a Deployment as the driver would apply it."""
    labels = {"app": name}
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    template = {"metadata": {"labels": {**labels, "tier": "front"}}}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {**template, "spec": {"containers": (container,)}},
        },
    }
    return virtual_object(manifest, SIMULATION)


class ClusterContract:
    """The suite; the fixture ``cluster`` yields an empty one of three virtual nodes of 16 CPU.

    What a cluster cannot give it declares: by an attribute, or by its own ``refuse``.

    Attributes:
        settle: the time in seconds that the cluster needs to apply a change.
        passing: the keys of a pod's row that any change of the cluster may change.
    """

    settle: float = 0.0
    passing: frozenset[str] = frozenset()

    def counts(self, cluster: KubeCluster) -> tuple[int, int, int]:
        """Let the cluster settle, then count the pods of the application 'web'."""
        cluster.advance(self.settle)
        return cluster.observe(WEB).counts()

    def rows(self, cluster: KubeCluster) -> list[dict[str, Any]]:
        """Return the rows of pods, without what is passing."""
        return [{k: v for k, v in pod.items() if k not in self.passing} for pod in cluster.pods()]

    def refuse(self, cluster: KubeCluster, manifest: Any) -> None:
        """Check that an object which an API server refuses is refused, and leaves nothing."""
        with pytest.raises(InvalidInput):
            cluster.apply([manifest])

    def test_an_empty_cluster_has_nodes_and_a_valid_observation(self, cluster: KubeCluster) -> None:
        assert self.counts(cluster) == (0, 0, 0)
        assert cluster.observe(WEB).validity == "ok"
        assert cluster.pods() == []
        assert len(cluster.nodes()) == 3

    def test_what_fits_becomes_ready(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment()])
        assert self.counts(cluster) == (3, 0, 3)
        assert all(pod["node"] and pod["phase"] == "Running" for pod in cluster.pods())

    def test_what_does_not_fit_stays_pending_and_says_why(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment(cpu="17")])
        assert self.counts(cluster) == (0, 3, 3)
        for pod in cluster.pods():
            assert (pod["phase"], pod["node"]) == ("Pending", None)
            assert pod["message"].startswith("0/3 nodes are available: 3 Insufficient cpu.")

    def test_an_exact_fit_fits(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment(cpu="16", replicas=4)])
        assert self.counts(cluster) == (3, 1, 4)

    def test_replicas_follow_the_manifest(self, cluster: KubeCluster) -> None:
        for replicas in (2, 5, 0, 1):
            cluster.apply([deployment(replicas=replicas)])
            assert self.counts(cluster) == (replicas, 0, replicas)

    def test_a_new_template_is_rolled_out(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment()])
        before = {pod["name"] for pod in cluster.pods()}
        cluster.apply([deployment(cpu="2")])
        assert self.counts(cluster) == (3, 0, 3)
        assert before.isdisjoint(pod["name"] for pod in cluster.pods())
        assert {pod["cpu"] for pod in cluster.pods()} == {"2"}

    def test_applying_the_same_again_changes_nothing(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment()])
        self.counts(cluster)
        before = self.rows(cluster)
        cluster.apply([deployment()])
        assert self.counts(cluster) == (3, 0, 3)
        assert self.rows(cluster) == before

    def test_freed_room_is_used_by_what_waits(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment("other", cpu="16")])
        self.counts(cluster)
        cluster.apply([deployment(cpu="10")])
        assert self.counts(cluster) == (0, 3, 3)
        cluster.delete([deployment("other")])
        assert self.counts(cluster) == (3, 0, 3)

    def test_deletion_takes_pods_along_and_absence_is_no_error(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment(), deployment("other")])
        cluster.delete([deployment()])
        assert self.counts(cluster) == (0, 0, 0)
        assert len(cluster.pods()) == 3
        cluster.delete([deployment()])

    def test_only_the_selected_pods_are_counted(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment(), deployment("other", replicas=2)])
        assert self.counts(cluster) == (3, 0, 3)
        assert cluster.observe(SIMULATION.selection("elsewhere", "web")).counts() == (0, 0, 0)

    def test_a_bad_manifest_is_refused(self, cluster: KubeCluster) -> None:
        self.refuse(cluster, deployment(cpu="1Q"))
        with pytest.raises(InvalidInput):
            cluster.apply([{"kind": "Deployment"}])
        assert self.counts(cluster) == (0, 0, 0)

    def test_time_goes_on(self, cluster: KubeCluster) -> None:
        before = cluster.now
        cluster.advance(2)
        assert cluster.now >= before + 2

    def test_rows_are_plain_data(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment()])
        self.counts(cluster)
        assert cluster.pods()[0].keys() >= POD_KEYS
        assert cluster.nodes()[0].keys() >= NODE_KEYS
        assert cluster.events()[0].keys() >= EVENT_KEYS
        assert json.dumps([cluster.pods(), cluster.nodes(), cluster.events()])

    def test_nodes_say_what_is_taken(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment(cpu="10")])
        self.counts(cluster)
        assert [node["used"]["cpu"] for node in cluster.nodes()] == ["10", "10", "10"]
        assert sum(len(node["running"]) for node in cluster.nodes()) == 3

    def test_nothing_is_applied_or_deleted_without_error(self, cluster: KubeCluster) -> None:
        cluster.apply([])
        cluster.delete([])
        cluster.advance(0)
        assert self.counts(cluster) == (0, 0, 0)

    def test_time_does_not_run_back(self, cluster: KubeCluster) -> None:
        with pytest.raises(InvalidInput):
            cluster.advance(-1)

    def test_kinds_without_pods_are_no_error(self, cluster: KubeCluster) -> None:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
        }
        cluster.apply([virtual_object(service, SIMULATION), deployment()])
        assert self.counts(cluster) == (3, 0, 3)
        cluster.delete([virtual_object(service, SIMULATION)])
        assert self.counts(cluster) == (3, 0, 3)

    def test_what_stands_before_a_bad_manifest_stays(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment()])
        self.refuse(cluster, deployment(cpu="-1"))
        assert self.counts(cluster) == (3, 0, 3)

    def test_pods_of_another_label_can_be_selected(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment(), deployment("other")])
        self.counts(cluster)
        every = PodSelection(WEB.namespace, "front", "tier")
        assert cluster.observe(every).counts() == (6, 0, 6)

    def test_the_oldest_come_first(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment("other", replicas=1)])
        cluster.advance(max(self.settle, 1))
        cluster.apply([deployment(replicas=1)])
        self.counts(cluster)
        assert [pod["labels"]["app"] for pod in cluster.pods()] == ["other", "web"]
        times = [event["time"] for event in cluster.events()]
        assert times == sorted(times)

    def test_a_pod_that_waits_is_on_no_node(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment(cpu="16", replicas=4)])
        self.counts(cluster)
        running = {name for node in cluster.nodes() for name in node["running"]}
        placed = {f"{pod['namespace']}/{pod['name']}" for pod in cluster.pods() if pod["node"]}
        assert running == placed and len(running) == 3

    def test_looking_changes_nothing(self, cluster: KubeCluster) -> None:
        cluster.apply([deployment()])
        self.counts(cluster)
        first = [cluster.pods(), cluster.nodes(), cluster.events()]
        cluster.pods()[0]["labels"]["app"] = "changed by the caller"
        cluster.nodes()[0]["used"]["cpu"] = "changed by the caller"
        cluster.observe(WEB)
        assert [cluster.pods(), cluster.nodes(), cluster.events()] == first
