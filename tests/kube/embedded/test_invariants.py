"""Properties of every cluster: what must hold whatever is applied in whatever order."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from math import ceil, floor
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simgit.kube import recorded_lifetimes
from simgit.kube.embedded import EmbeddedCluster, PodDelays, node_spec, podspec, validation
from simgit.kube.embedded.controllers import cron_schedule
from simgit.kube.embedded.nodes import Node, Pod
from simgit.kube.embedded.scheduler.filters import Cycle, refusal_with_nominated
from simgit.kube.embedded.world import World
from simgit.kube.simulation import SimulationSpec, simulate
from simgit.kube.trace.model import Event, Lifecycle, Trace
from tests.support import examples

HOST, ZONE = "kubernetes.io/hostname", "zone"
CLASSES = {"low": 10, "high": 1000}
FLUSH = 300
"""Seconds after which the scheduler retries a pod that no queueing hint brought back."""


def term(app: str, key: str) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}


def required(app: str, key: str) -> dict[str, Any]:
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term(app, key)]}


apps = st.sampled_from(["a", "b", "c"])
keys = st.sampled_from([HOST, ZONE])
extras = st.one_of(
    st.just({}),
    st.builds(lambda a, k: {"affinity": {"podAntiAffinity": required(a, k)}}, apps, keys),
    st.builds(lambda a, k: {"affinity": {"podAffinity": required(a, k)}}, apps, keys),
    st.builds(
        lambda a, k, skew: {
            "topologySpreadConstraints": [
                {"maxSkew": skew, "whenUnsatisfiable": "DoNotSchedule", **term(a, k)}
            ]
        },
        apps,
        keys,
        st.integers(1, 2),
    ),
    st.just({"nodeSelector": {ZONE: "1"}}),
    st.just({"tolerations": [{"operator": "Exists"}]}),
)


@st.composite
def workloads(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(
        st.sampled_from(["Deployment", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"])
    )
    name = draw(apps)
    cpu = draw(st.sampled_from(["0", "500m", "1", "3", "5", "9"]))
    ports = draw(st.sampled_from([[], [], [], [{"hostPort": 80, "containerPort": 80}]]))
    pod = {
        "containers": [
            {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}, "ports": ports}
        ],
        **draw(extras),
    }
    if draw(st.booleans()):
        pod["priorityClassName"] = draw(st.sampled_from(sorted(CLASSES)))
    labels = {"app": name}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if kind != "DaemonSet":
        spec["replicas"] = draw(st.integers(0, 7))
    if kind == "StatefulSet" and name == "b":  # which cannot be changed
        spec["podManagementPolicy"] = "Parallel"
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def deployment(name: str, cpu: str, replicas: int, **pod: Any) -> tuple[str, dict[str, Any]]:
    ports = [{"hostPort": port, "containerPort": port} for port in pod.pop("ports", ())]
    resources = {"requests": {"cpu": cpu}}
    container = {"name": "c", "image": "x", "resources": resources, "ports": ports}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], **pod}}
    spec = {"selector": {"matchLabels": labels}, "replicas": replicas, "template": template}
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}
    return "apply", manifest | {"spec": spec}


APART = {"podAntiAffinity": required("a", ZONE)}
WITHDRAWN = [
    deployment("a", "0", 1, affinity=APART, ports=[80]),
    deployment("c", "0", 7),
    deployment(
        "a", "3", 3, affinity={"podAffinity": required("c", HOST)}, priorityClassName="high"
    ),
    deployment("a", "1", 6, affinity=APART, priorityClassName="high"),
]
"""A pod loses its nomination to n1, and another that waited only for that fits there."""

steps = st.lists(st.tuples(st.sampled_from(["apply"] * 4 + ["delete"]), workloads()), max_size=7)


def nodes() -> list[Any]:
    taint = {"key": "k", "effect": "NoSchedule"}
    return [
        node_spec("n1", cpu="10", labels={ZONE: "1"}),
        node_spec("n2", cpu="16", pods=4, labels={ZONE: "1"}),
        node_spec("n3", cpu="8", labels={ZONE: "2"}, taints=[taint]),
        node_spec("n4", cpu="4"),
    ]


def world_of(cluster: EmbeddedCluster) -> World:
    return cluster._world


def check_node(node: Node) -> None:
    assert node.cpu == sum(pod.facts.cpu for pod in node.pods.values()) <= node.spec.cpu
    assert len(node.pods) <= node.spec.pods
    assert all(count <= 1 for count in node.ports.values())
    assert Counter(pod.group for pod in node.pods.values()) == {
        g: n for g, n in node.owned.items() if n
    }
    assert all(pod.nominated is node and pod.node is None for pod in node.nominated)
    for pod in node.pods.values():
        assert pod.node is node
        assert pod.ready


def check_placement(world: World, quiet: bool) -> None:
    """A pod that is placed is known to its node, and one that waits is not forgotten.

    No node would take a waiting pod; but after a change that no queueing hint told it of, it
    may wait for the next flush.
    """
    for pod in world.pods.values():
        if pod.node is None:
            assert pod.message
            assert pod.uid in world.scheduler.unschedulable
            waits = pod.overlooked and world.clock.now - pod.parked_at < 1000 * FLUSH
            assert (waits and not quiet) or not would_take(world, pod)
        else:
            assert pod.uid in pod.node.pods
    assert not (quiet and any(node.nominated for node in world.nodes))


def would_take(world: World, pod: Pod) -> list[str]:
    names = [term.fields[0][2][0] for term in pod.facts.node_terms or () if term.fields]
    cycle = Cycle(pod, world.nodes)
    return [
        node.name
        for node in world.nodes
        if (not names or node.name in names) and refusal_with_nominated(cycle, node) is None
    ]


def check_ownership(world: World) -> None:
    for pod in world.pods.values():
        assert pod.owner.pods[pod.uid] is pod
        assert not pod.owner.gone
        assert (pod.uid in pod.owner.available) == pod.ready
    assert world.scheduler.unschedulable.keys() == {
        p.uid for p in world.pods.values() if not p.node
    }


def settle(cluster: EmbeddedCluster, flushes: int = 5) -> None:
    """Check the cluster at each flush of the queue, until one at which nothing changed any more.

    Not every cluster gets there: a pod may preempt another whose controller replaces it at
    once, and do so again at the next flush, for ever. kube-scheduler does the same.
    """
    world = world_of(cluster)
    for _ in range(flushes):
        before = world.scheduler._version
        cluster.advance(FLUSH + 1)
        quiet = world.scheduler._version == before
        for node in world.nodes:
            check_node(node)
        check_placement(world, quiet)
        check_ownership(world)
        if quiet:
            return


@given(steps, st.integers(0, 3))
@example(WITHDRAWN, 1)
@settings(max_examples=examples.share(150))
def test_every_state_is_consistent(todo: list[tuple[str, dict[str, Any]]], seed: int) -> None:
    cluster = EmbeddedCluster(nodes(), seed=seed, priority_classes=CLASSES)
    for what, manifest in todo:
        (cluster.apply if what == "apply" else cluster.delete)([manifest])
        settle(cluster)


def rolled(kind: str, replicas: int, cpu: str, policy: str = "", **rolling: Any) -> dict[str, Any]:
    _, manifest = deployment("w", cpu, replicas)
    spec = manifest["spec"] | {"podManagementPolicy": policy}
    strategy = "strategy" if kind == "Deployment" else "updateStrategy"
    return manifest | {"kind": kind, "spec": spec | {strategy: {"rollingUpdate": rolling}}}


def ready_pods(cluster: EmbeddedCluster, below: int = 100) -> int:
    return sum(pod.ready and pod.ordinal < below for pod in world_of(cluster).pods.values())


def least_ready(cluster: EmbeddedCluster, manifest: dict[str, Any], wait: int = 0) -> int:
    """Apply an object, let time pass, and return the fewest ready pods at any instant of it."""
    world = world_of(cluster)
    cluster._apply_one(manifest)
    least, end = ready_pods(cluster), world.clock.now + wait
    while True:
        while world._step():
            least = min(least, ready_pods(cluster))
        due = world.clock.next_time()
        if due is None or due > end:
            world.clock.now = end
            return least
        world.clock.now = due


@pytest.mark.slow
def test_an_update_at_once_with_a_change_of_size_keeps_what_must_be_ready() -> None:
    for before, after in product(range(6), range(6)):
        for surge, down, old, new in product((0, 1, 3), (0, 1, 2), ("1", "9"), ("2", "18")):
            if not surge and not down:
                continue
            cluster = EmbeddedCluster()
            cluster.apply([rolled("Deployment", before, old, maxSurge=surge, maxUnavailable=down)])
            ready = ready_pods(cluster)
            update = rolled("Deployment", after, new, maxSurge=surge, maxUnavailable=down)
            missing = min(after, down)
            assert least_ready(cluster, update) >= min(ready, after - missing), (before, update)


bounds = st.sampled_from([0, 1, 2, 3, "25%", "50%", "100%"])
versions = st.tuples(
    st.integers(0, 8),
    st.sampled_from(["1", "2", "5", "9", "17", "18"]),
    bounds,
    bounds,
    st.sampled_from([0, 700, 1500, 60_000]),
)


LEFT_BY_SURGE = [
    (0, "17", 2, 0, 0),
    (0, "2", 1, 0, 700),
    (0, "18", 3, 0, 700),
    (0, "5", 0, 1, 0),
]
"""The last update finds several outdated pods on each node, of which one is ready."""


def resolved(value: int | str, of: int, *, up: bool) -> int:
    exact = of * int(value[:-1]) / 100 if isinstance(value, str) else value
    return ceil(exact) if up else floor(exact)


@given(
    st.sampled_from(["Deployment", "StatefulSet", "DaemonSet"]),
    st.lists(versions, min_size=2, max_size=5),
    st.sampled_from(["Parallel", "OrderedReady"]),
    st.sampled_from([0, 1000]),
    st.integers(0, 3),
)
@settings(max_examples=examples.share(300))
@example("DaemonSet", LEFT_BY_SURGE, "", 1000, 0)
def test_no_update_makes_more_unavailable_than_it_may(
    kind: str, todo: list[tuple[Any, ...]], policy: str, delay: int, partition: int
) -> None:
    cluster = EmbeddedCluster(delays=PodDelays(ready=delay))
    size = 0
    for replicas, cpu, surge, down, wait in todo:
        if kind == "DaemonSet":  # exactly one of the two is above 0
            most = 0 if surge else resolved(down or 1, 3, up=True)
            update = rolled(kind, 0, cpu, maxSurge=surge, maxUnavailable=0 if surge else down or 1)
            least = min(ready_pods(cluster), 3 - most)
        elif kind == "StatefulSet":  # its highest numbers go, ready or not, and then some more
            most = resolved(down, replicas, up=False) or 1
            many = {"maxUnavailable": down} if down else {}
            update = rolled(kind, replicas, cpu, policy, partition=partition, **many)
            least = ready_pods(cluster, replicas) - most
        else:
            down = down or (0 if surge else 1)
            most = resolved(down, replicas, up=False)
            most = min(replicas, most or (0 if resolved(surge, replicas, up=True) else 1))
            update = rolled(kind, replicas, cpu, maxSurge=surge, maxUnavailable=down)
            least = min(ready_pods(cluster), replicas - most)
            if replicas != size and len({pod["cpu"] for pod in cluster.pods()}) > 1:
                least = 0  # in the middle of a rollout all revisions shrink in proportion
        size = replicas
        assert least_ready(cluster, update, wait) >= least


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["1", "4", "9", "17"])), min_size=1, max_size=6
    ),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
@settings(max_examples=examples.share(150))
def test_a_rollout_keeps_its_bounds_and_ends_when_all_fits(
    versions: list[tuple[int, str]], bounds: tuple[int, int]
) -> None:
    surge, down = bounds[0], bounds[1] or int(not bounds[0])
    cluster = EmbeddedCluster()
    for replicas, cpu in versions:
        cluster.apply([rolled("Deployment", replicas, cpu, maxSurge=surge, maxUnavailable=down)])
        rows = cluster.pods()
        assert len(rows) <= replicas + surge
        assert len(rows) >= replicas - down
        if cpu == "1":
            assert [row["cpu"] for row in rows] == ["1"] * replicas
            assert all(row["ready"] for row in rows)


CACHES = [
    (podspec, "_known_facts"),
    (podspec, "_known_outline"),
    (validation, "_known_causes"),
    (validation, "_known_in_resources"),
    (cron_schedule, "_times_of"),
    (cron_schedule, "parse_schedule"),
    (recorded_lifetimes, "_hash_of"),
]


@contextmanager
def uncached() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, name in CACHES:
            patch.setattr(module, name, getattr(module, name).__wrapped__)
        yield


def world(cluster: EmbeddedCluster) -> tuple[Any, ...]:
    return cluster.pods(), cluster.nodes(), cluster.events()


def applied(todo: list[tuple[str, dict[str, Any]]], seed: int) -> list[tuple[Any, ...]]:
    cluster = EmbeddedCluster(nodes(), seed=seed, priority_classes=CLASSES)
    worlds = []
    for what, manifest in todo:
        (cluster.apply if what == "apply" else cluster.delete)([manifest])
        worlds.append(world(cluster))
        cluster.advance(301)
    return [*worlds, world(cluster)]


@given(steps, st.integers(0, 3))
@settings(max_examples=examples.share(100))
def test_a_cached_replay_gives_the_same_world(
    todo: list[tuple[str, dict[str, Any]]], seed: int
) -> None:
    with uncached():
        expected = applied(todo, seed)
    assert applied(todo, seed) == expected
    assert applied(todo, seed) == expected, "with every cache warm"


def test_facts_of_huge_templates_are_not_kept() -> None:
    def read(args: str) -> podspec.PodFacts:
        container = {"name": "c", "args": [args]}
        return podspec.read_pod({"spec": {"containers": [container]}}, "default", {})

    assert read("a") is read("a") and read("a") is not read("b")
    assert read("a" * 100_000) is not read("a" * 100_000)


def cron_trace(schedule: str, zone: str) -> Trace:
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "1"}}}
    template = {"spec": {"containers": (container,), "restartPolicy": "Never"}}
    spec = {
        "schedule": schedule,
        "timeZone": zone,
        "jobTemplate": {"spec": {"template": template}},
    }
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "w"},
        "spec": spec,
    }
    gvk, name, start = "batch/v1.CronJob", "default/w", 1_743_296_000  # the day before a change
    lives = {(gvk, name): {1: (Lifecycle(start, start + 90), Lifecycle(start, start + 7))}}
    events = (Event(start, (manifest,)), Event(start + 30 * 3600))
    return Trace(events, index={gvk: {name: 1}}, lifecycles=lives)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["*/7 * * * *", "30 2 * * *", "0 0 1 * *", "@every 50m"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", pytest.param("", marks=pytest.mark.slow)])
def test_a_cached_schedule_gives_the_same_world(schedule: str, zone: str) -> None:
    trace, simulation = cron_trace(schedule, zone), SimulationSpec(linger=3600)
    with uncached():
        expected = world(simulate(trace, simulation))
    assert world(simulate(trace, simulation)) == expected
    assert world(simulate(trace, simulation)) == expected, "with every cache warm"
