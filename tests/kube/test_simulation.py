"""Replays of traces: the driver's manners, recorded lifetimes, and hostile traces."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit.errors import InvalidInput
from simgit.kube.cluster import PodSelection
from simgit.kube.embedded import (
    EmbeddedCluster,
    PodDelays,
    default_nodes,
    node_spec,
    virtual_nodes,
)
from simgit.kube.manifest import replace
from simgit.kube.simulation import DEFAULT, SimulationSpec, replay, simulate, virtual_object
from simgit.kube.task.cluster_setup import cluster_setup
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.model import Event, Lifecycle, Trace
from simgit.kube.trace.sktrace import load_trace
from tests.support.examples import share
from tests.support.paths import REAL_TRACES

needs_traces = pytest.mark.skipif(not REAL_TRACES.exists(), reason="real traces are absent")


def real(name: str) -> Trace:
    return load_trace((REAL_TRACES / f"{name}.sktrace").read_bytes())


def pod(name: str, **spec: Any) -> Any:
    container = {"name": "c", "image": "x", "ports": ({"containerPort": 80, "hostPort": 80},)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": (container,), **spec},
    }


def test_objects_are_applied_in_their_virtual_place() -> None:
    placed = virtual_object(pod("p", nodeSelector={"disk": "ssd"}), SimulationSpec(name="s1"))
    assert placed["metadata"]["namespace"] == "virtual-default"
    assert placed["metadata"]["labels"]["simkube.io/simulation"] == "s1"
    assert placed["spec"]["nodeSelector"] == {"disk": "ssd", "type": "virtual"}
    assert placed["spec"]["tolerations"][0]["key"] == "kwok-provider"
    assert "ports" not in placed["spec"]["containers"][0]


def test_pods_go_to_virtual_nodes_only() -> None:
    trace = Trace((Event(0, (pod("p"),)),))
    assert simulate(trace).observe(DEFAULT.selection("default", "p")).counts() == (1, 0, 1)
    elsewhere = simulate(trace, nodes=default_nodes(labels={"type": "real"}))
    assert elsewhere.observe(DEFAULT.selection("default", "p")).counts() == (0, 1, 1)


def test_nodes_given_by_hand_are_virtual_linux_nodes_with_storage() -> None:
    node = {
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": "a",
    }
    wanting = pod("p", nodeSelector=node)
    wanting["spec"]["containers"][0]["resources"] = {"requests": {"ephemeral-storage": "10Gi"}}
    by_hand = {"name": "a", "cpu": "8"}
    for setup in (cluster_setup([by_hand]), cluster_setup([node_spec(**by_hand)])):
        (row,) = setup.replay(Trace((Event(0, (wanting, pod("q"))),)), 0, 0).nodes()
        assert row["running"] == ["virtual-default/p", "virtual-default/q"]
        assert row["labels"] == node | {"type": "virtual"}
        assert row["taints"] == [{"key": "kwok-provider", "value": "true", "effect": "NoSchedule"}]
        assert cluster_setup([row_arguments(row)]).replay(Trace(()), 0, 0).nodes()[0] == row | {
            "running": [], "used": {"cpu": "0", "memory": "0", "pods": 0}
        }  # fmt: skip


def row_arguments(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in row if key not in ("ready", "used", "running")}


def test_what_a_node_given_by_hand_says_is_kept() -> None:
    labels = {"type": "other", "kubernetes.io/os": "windows", "kubernetes.io/arch": "arm64"}
    given = node_spec("a", labels=labels, storage="5Gi")
    (row,) = simulate(Trace((Event(0, (pod("p"),)),)), nodes=[given]).nodes()
    assert row["labels"] == labels | {"kubernetes.io/hostname": "a"}
    assert (row["taints"], row["storage"], row["running"]) == ([], 5 * 2**30, [])


def test_time_passes_in_whole_seconds_of_the_gap_by_speed() -> None:
    trace = Trace((Event(100), Event(107), Event(107), Event(103), Event(110)))
    seen: list[float] = []
    simulate(
        trace,
        SimulationSpec(speed=2.0),
        after=lambda cluster, number, event: seen.append(cluster.now),
    )
    assert seen == [100, 103, 103, 103, 106]


def test_a_duration_cuts_the_run_and_linger_prolongs_it() -> None:
    trace = Trace((Event(0), Event(50), Event(100)))
    assert simulate(trace, SimulationSpec(duration=70)).now == 70
    assert simulate(trace, SimulationSpec(linger=25)).now == 125


def test_objects_of_an_event_are_deleted_after_the_others_are_applied() -> None:
    trace = Trace((Event(0, (pod("a"),)), Event(5, (pod("b"),), (pod("a"), pod("never")))))
    assert [row["name"] for row in simulate(trace).pods()] == ["b"]


def test_recorded_lives_go_round_by_sequence() -> None:
    key = ("v1.Pod", "default/a")
    lives = (Lifecycle(0, 30), Lifecycle(5), Lifecycle(0, 10))
    index = {"v1.Pod": {"default/a": 1}}
    trace = Trace((Event(0, (pod("a"),)),), index=index, lifecycles={key: {7: lives}})
    assert simulate(trace, SimulationSpec(linger=29)).pods()[0]["phase"] == "Running"
    assert simulate(trace, SimulationSpec(linger=30)).pods()[0]["phase"] == "Succeeded"
    assert simulate(trace, SimulationSpec(linger=3, speed=10)).pods()[0]["phase"] == "Succeeded"


def test_an_object_that_the_index_lacks_has_no_lifetime() -> None:
    lives = {("v1.Pod", "default/a"): {7: (Lifecycle(0, 1),)}}
    trace = Trace((Event(0, (pod("a"),)),), lifecycles=lives)
    assert simulate(trace, SimulationSpec(linger=100)).pods()[0]["phase"] == "Running"


@needs_traces
def test_the_real_cronjob_runs_three_jobs_of_thirty_seconds() -> None:
    cluster = simulate(real("cronjob"))
    done = [event["time"] for event in cluster.events() if event["reason"] == "Completed"]
    assert done[::2] == [1743286890, 1743286950, 1743287010]
    assert cluster.pods() == []


@needs_traces
def test_the_real_scaling_trace_ends_healthy() -> None:
    counts: list[int] = []
    wanted = {}
    most = 0
    for manifest in real("dsb-scaling").applied():
        wanted[manifest["metadata"]["name"]] = manifest["spec"]["replicas"]
        most = max(most, sum(wanted.values()))
    cluster = simulate(
        real("dsb-scaling"), after=lambda cluster, number, event: counts.append(len(cluster.pods()))
    )
    assert (counts[0], counts[1], max(counts)) == (0, 27, most)
    assert cluster.now == 1710893272
    assert all(row["ready"] for row in cluster.pods())
    assert cluster.observe(DEFAULT.selection("dsb", "nginx-thrift")).counts() == (10, 0, 10)


@needs_traces
def test_a_replay_is_the_same_every_time() -> None:
    simulation = SimulationSpec(delays=PodDelays(create=500, create_jitter=9000))
    first, second = (simulate(real("dsb-scaling"), simulation, seed=3) for _ in range(2))
    assert (first.pods(), first.nodes(), first.events()) == (
        second.pods(),
        second.nodes(),
        second.events(),
    )


BAD = [{"speed": 0}, {"speed": -1}, {"speed": float("nan")}, {"linger": -1}]


@pytest.mark.parametrize("bad", BAD)
def test_bad_simulations_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        SimulationSpec(**bad)


PLACES = [
    ("metadata",),
    ("metadata", "labels"),
    ("spec",),
    ("spec", "replicas"),
    ("spec", "template"),
    ("spec", "template", "metadata"),
    ("spec", "template", "metadata", "labels"),
    ("spec", "template", "spec"),
    ("spec", "template", "spec", "containers"),
    ("spec", "template", "spec", "containers", 0),
    ("spec", "template", "spec", "containers", 0, "resources"),
    ("spec", "template", "spec", "containers", 0, "resources", "requests"),
    ("spec", "template", "spec", "initContainers"),
    ("spec", "template", "spec", "affinity"),
    ("spec", "template", "spec", "tolerations"),
    ("spec", "template", "spec", "nodeSelector"),
    ("spec", "template", "spec", "topologySpreadConstraints"),
    ("spec", "strategy"),
    ("spec", "minReadySeconds"),
]
hostile = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.text(max_size=4) | st.floats(0, 1),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["key", "operator", "values", "name", "cpu", "a"]), inner)
    ),
    max_leaves=8,
)
KINDS = ["apps/v1.Deployment", "apps/v1.StatefulSet", "apps/v1.DaemonSet", "batch/v1.Job"]


@given(st.sampled_from(KINDS), st.lists(st.tuples(st.sampled_from(PLACES), hostile), max_size=3))
@settings(max_examples=share(300))
def test_a_hostile_manifest_is_replayed_or_refused(gvk: str, edits: list[Any]) -> None:
    version, _, kind = gvk.rpartition(".")
    manifest = next(generate("cpu-slight").trace.applied())
    manifest = {**manifest, "apiVersion": version, "kind": kind}
    for place, value in edits:
        with contextlib.suppress(TypeError, IndexError, ValueError, AttributeError):
            manifest = replace(manifest, place, value)
    cluster = EmbeddedCluster(virtual_nodes(), max_pods=200)
    with contextlib.suppress(InvalidInput):
        replay(Trace((Event(0, (manifest,)), Event(60))), cluster)


def web(**spec: Any) -> dict[str, Any]:
    labels, containers = {"app": "web"}, ({"name": "c", "image": "x"},)
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


@pytest.mark.parametrize(
    ("applied", "app", "reason"),
    [
        ([], "web", "no workload exists in namespace 'default'"),
        (
            [web()],
            "api",
            "no workload in namespace 'default' gives its pods the label app=api "
            "(labels there: app=web)",
        ),
        ([web(replicas=0)], "web", "Deployment 'web' has 0 replicas"),
        (
            [replace(web(), ("spec", "template", "spec", "priorityClassName"), "gold")],
            "web",
            "Deployment 'web' cannot create pods: pods \"web-1-0\" is forbidden: "
            "no PriorityClass with name gold was found",
        ),
        ([web(paused=True)], "web", "Deployment 'web' is paused"),
    ],
)
def test_an_observation_without_pods_says_why(applied: Any, app: str, reason: str) -> None:
    cluster = EmbeddedCluster()
    cluster.apply(applied)
    seen = cluster.observe(PodSelection("default", app))
    assert (seen.counts(), seen.reason) == ((0, 0, 0), reason)


def test_an_observation_of_pods_has_no_reason() -> None:
    cluster = EmbeddedCluster()
    cluster.apply([web()])
    assert cluster.observe(PodSelection("default", "web")).reason is None
