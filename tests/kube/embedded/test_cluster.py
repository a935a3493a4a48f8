"""The embedded cluster meets the contract, repeats itself, and fails only when asked to."""

import json
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import pytest

from simgit.errors import ClusterError, InvalidInput
from simgit.kube.embedded import EmbeddedCluster, Faults, PodDelays, node_spec, virtual_nodes
from simgit.kube.observation import at_goal
from simgit.testing.cluster_contract import WEB, ClusterContract, deployment


class TestEmbedded(ClusterContract):
    @pytest.fixture
    def cluster(self) -> EmbeddedCluster:
        return EmbeddedCluster(virtual_nodes())


class TestEmbeddedWithSlowPods(ClusterContract):
    settle = 300.0

    @pytest.fixture
    def cluster(self) -> EmbeddedCluster:
        delays = PodDelays(create=500, create_jitter=2000, ready=1000, ready_jitter=1500)
        return EmbeddedCluster(virtual_nodes(), delays=delays)


def make(**parameters: Any) -> EmbeddedCluster:
    return EmbeddedCluster(virtual_nodes(), **parameters)


def everything(cluster: EmbeddedCluster) -> Any:
    return cluster.pods(), cluster.nodes(), cluster.events(), cluster.now


def busy(cluster: EmbeddedCluster) -> Any:
    cluster.apply([deployment(cpu="3", replicas=20), deployment("b", cpu="500m", replicas=7)])
    cluster.advance(7.5)
    cluster.apply([deployment(cpu="4", replicas=9)])
    cluster.advance(30)
    return everything(cluster)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_calls_give_the_same_cluster(seed: int) -> None:
    parameters: dict[str, Any] = {
        "seed": seed,
        "delays": PodDelays(create=100, create_jitter=5000),
        "faults": Faults(late_pods=0.3, lost_nodes={"node2": 20}),
    }
    assert busy(make(**parameters)) == busy(make(**parameters))


def test_another_seed_breaks_ties_and_draws_jitter_otherwise() -> None:
    delays = PodDelays(create_jitter=5000)
    assert busy(make(seed=1, delays=delays)) != busy(make(seed=2, delays=delays))


def test_pods_become_ready_after_their_delays() -> None:
    cluster = make(delays=PodDelays(create=2000, ready=3000))
    cluster.apply([deployment()])
    assert cluster.observe(WEB).counts() == (0, 3, 3)
    cluster.advance(4.999)
    assert cluster.observe(WEB).counts() == (0, 3, 3)
    cluster.advance(0.001)
    assert cluster.observe(WEB).counts() == (3, 0, 3)


def test_a_jitter_is_the_upper_end_of_the_delay() -> None:
    cluster = make(delays=PodDelays(create=1000, create_jitter=9000))
    cluster.apply([deployment(replicas=40, cpu="100m")])
    cluster.advance(0.999)
    assert cluster.observe(WEB).counts()[0] == 0
    cluster.advance(4)
    assert 0 < cluster.observe(WEB).counts()[0] < 40
    cluster.advance(4.001)
    assert cluster.observe(WEB).counts() == (40, 0, 40)


def test_late_pods_are_late() -> None:
    cluster = make(faults=Faults(late_pods=1.0, late_seconds=30))
    cluster.apply([deployment()])
    cluster.advance(29)
    assert cluster.observe(WEB).counts() == (0, 3, 3)
    cluster.advance(1)
    assert at_goal(cluster.observe(WEB), 3)


def test_a_lost_node_loses_its_pods_after_five_minutes() -> None:
    cluster = make(faults=Faults(lost_nodes={"node1": 10}))
    cluster.apply([deployment(cpu="8")])
    cluster.advance(10)
    ready, pending, total = cluster.observe(WEB).counts()
    assert (pending, total) == (0, 3)
    assert ready < 3
    cluster.advance(300)
    assert cluster.observe(WEB).counts() == (3, 0, 3)
    assert all(pod["node"] != "node1" for pod in cluster.pods())
    assert [node["ready"] for node in cluster.nodes()] == [False, True, True]


@pytest.mark.parametrize(
    ("faults", "validity"), [(Faults(timeouts=1.0), "timeout"), (Faults(api_errors=1.0), "error")]
)
def test_a_failed_observation_says_so_and_has_no_counts(faults: Faults, validity: str) -> None:
    cluster = make(faults=faults)
    seen = cluster.observe(WEB)
    assert (seen.validity, seen.ready, seen.pending, seen.total) == (validity, None, None, None)
    assert seen.error
    with pytest.raises(ClusterError):
        cluster.apply([deployment()])


@pytest.mark.parametrize(
    "bad",
    [
        {"late_pods": 1.5},
        {"timeouts": -0.1},
        {"api_errors": float("nan")},
        {"lost_nodes": {"a": -1}},
        {"late_seconds": float("nan")},
    ],
)
def test_bad_faults_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Faults(**bad)


def test_a_flood_of_pods_is_refused() -> None:
    cluster = make(max_pods=50)
    with pytest.raises(InvalidInput, match="more than 50 pods"):
        cluster.apply([deployment(replicas=2**31 - 1)])


def test_bad_time_and_nodes_are_refused() -> None:
    for seconds in (-1, float("nan"), float("inf")):
        with pytest.raises(InvalidInput):
            make().advance(seconds)
    with pytest.raises(InvalidInput, match="two nodes are named 'node1'"):
        EmbeddedCluster([*virtual_nodes(1), *virtual_nodes(1)])
    with pytest.raises(InvalidInput, match="invalid node"):
        virtual_nodes(1, cpu="-1")
    with pytest.raises(InvalidInput):
        PodDelays(create=-1)
    with pytest.raises(InvalidInput, match="no such node 'n9'"):
        make(faults=Faults(lost_nodes={"n9": 1}))


def test_nodes_as_plain_data_make_the_same_nodes() -> None:
    nodes = virtual_nodes(2, cpu="2500m", extra={"nvidia.com/gpu": 2}, unschedulable=True)
    again = [node_spec(**json.loads(json.dumps(node.plain()))) for node in nodes]
    assert tuple(again) == nodes


def test_kinds_without_pods_are_noted() -> None:
    cluster = make()
    cluster.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}])
    assert [event["reason"] for event in cluster.events()] == ["Ignored"]


def test_a_template_that_was_changed_in_place_is_read_again() -> None:
    manifest = deployment(replicas=1)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    for cpu in ("1", "2", "1"):
        container["resources"]["requests"]["cpu"] = cpu
        cluster = make()
        cluster.apply([manifest])
        assert [row["cpu"] for row in cluster.pods()] == [cpu]


def test_a_template_that_is_not_plain_data_is_read_too() -> None:
    class Seconds(IntEnum):
        ONE = 1

    manifest = deployment(replicas=1)
    template = MappingProxyType(
        {key: MappingProxyType(value) for key, value in manifest["spec"]["template"].items()}
    )
    cluster = make()
    cluster.apply([{**manifest, "spec": {**manifest["spec"], "template": template}}])
    assert [row["cpu"] for row in cluster.pods()] == ["1"]
    pod = manifest["spec"]["template"]["spec"]
    pod["tolerations"] = [*pod["tolerations"], {"tolerationSeconds": Seconds.ONE}]
    with pytest.raises(InvalidInput, match="expected a whole number"):
        make().apply([manifest])
