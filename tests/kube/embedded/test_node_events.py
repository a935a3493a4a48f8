"""Nodes that join, leave, are cordoned and drained: what controllers and scheduler make of it.

The table is derived from the sources of kube-scheduler (its queueing hints), the DaemonSet
controller, the node lifecycle controller, the pod garbage collector and kubectl's drain.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simgit.errors import InvalidInput
from simgit.kube.embedded import EmbeddedCluster, Faults, NodeEvent, PodDelays, node_spec
from simgit.kube.embedded.labels import untolerated
from simgit.kube.embedded.node_events import NodeLifecycle, check_nodes
from simgit.kube.embedded.nodes import CORDON, Pod
from tests.kube.embedded.test_invariants import (
    CLASSES,
    FLUSH,
    HOST,
    ZONE,
    check_ownership,
    check_placement,
    nodes,
    required,
    steps,
    world,
    world_of,
)
from tests.support import examples

TAINT = [{"key": "k", "effect": "NoSchedule"}]
GONE = 40
"""Seconds until the pods of a node that left are collected."""


def join(at: float, name: str, cpu: str = "4", **more: Any) -> NodeEvent:
    return NodeEvent(at, "join", name, node_spec(name, cpu=cpu, **more))


def two(cpu: str = "4", **second: Any) -> list[Any]:
    return [
        node_spec("a", cpu=cpu, labels={ZONE: "1"}),
        node_spec("b", cpu=second.pop("size", cpu), labels={ZONE: "2"}, **second),
    ]


def workload(kind: str = "Deployment", cpu: str = "3", replicas: int = 3, **pod: Any) -> Any:
    name = pod.pop("name", "w")
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    container["ports"] = [
        {"hostPort": port, "containerPort": port} for port in pod.pop("ports", ())
    ]
    spec: dict[str, Any] = pod.pop("spec", {})
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **pod}}
    if kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
    elif kind != "Pod":
        spec = {"selector": {"matchLabels": {"app": name}}, **spec}
    if kind in ("Deployment", "StatefulSet"):
        spec = {"replicas": replicas, **spec}
    version = "batch/v1" if kind == "Job" else "v1" if kind == "Pod" else "apps/v1"
    manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
    if kind == "Pod":
        return manifest | template | {"metadata": {"name": name, "labels": {"app": name}}}
    return manifest | {"spec": {"template": template, **spec}}


def start(events: list[NodeEvent], *manifests: Any, **more: Any) -> EmbeddedCluster:
    given = more.pop("given", two())
    cluster = EmbeddedCluster(given, node_events=events, priority_classes=CLASSES, **more)
    cluster.apply(manifests)
    return cluster


def placed(cluster: EmbeddedCluster) -> dict[str, int]:
    """Return the number of ready pods by node; "" for those that wait."""
    counts: dict[str, int] = {}
    for pod in cluster.pods():
        place = pod["node"] or ""
        counts[place] = counts.get(place, 0) + (pod["ready"] or not place)
    return counts


def log(cluster: EmbeddedCluster, *reasons: str) -> list[tuple[float, str, str]]:
    return [
        (row["time"], row["reason"], row["name"])
        for row in cluster.events()
        if row["reason"] in reasons
    ]


# --- the scheduler's reaction ---


def attempts(cluster: EmbeddedCluster, seconds: int) -> set[float]:
    """Let time pass, and return the times at which the scheduler tried a pod."""
    scheduler, found = world_of(cluster).scheduler, set()
    real = scheduler._attempt

    def noted(pod: Pod) -> None:
        found.add(cluster.now)
        real(pod)

    scheduler._attempt = noted  # type: ignore[method-assign]
    cluster.advance(seconds)
    return found


SPREAD = {
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule",
            "topologyKey": ZONE,
            "labelSelector": {"matchLabels": {"app": "w"}},
        }
    ]
}
APART = {"affinity": {"podAntiAffinity": required("w", HOST)}}
TOGETHER = {"affinity": {"podAffinity": required("w", ZONE)}}

HINTS = [
    # (what keeps the third pod away, what joins, whether it is tried at once, whether it runs)
    ("it fits into the empty node", workload(), join(10, "c"), True, True),
    ("it does not fit", workload(), join(10, "c", "2"), False, False),
    ("it fits exactly", workload(), join(10, "c", "3"), True, True),
    ("too few pods", workload(), join(10, "c", pods=0), False, False),
    ("a cordoned node", workload(), join(10, "c", unschedulable=True), True, False),
    ("a taint that it does not tolerate", workload(), join(10, "c", taints=TAINT), True, False),
    (
        "a resource that the node lacks",
        workload(cpu="3", replicas=3, nodeSelector={"gpu": "yes"}),
        join(10, "c", labels={"gpu": "no"}),
        False,
        False,
    ),
    (
        "the label that it selects",
        workload(nodeSelector={"gpu": "yes"}),
        join(10, "c", "9", labels={"gpu": "yes"}),
        True,
        True,
    ),
    ("a free port", workload(cpu="1", ports=[80]), join(10, "c"), True, True),
    ("another host for its anti-affinity", workload(cpu="1", **APART), join(10, "c"), True, True),
    (
        "no label of its spread, but room",
        workload(cpu="3", replicas=3, **SPREAD),
        join(10, "c"),
        True,  # for the room, since the resources refused it too
        False,
    ),
    (
        "a new zone for its spread",
        workload(cpu="3", replicas=3, **SPREAD),
        join(10, "c", labels={ZONE: "3"}),
        True,
        True,
    ),
]


@pytest.mark.parametrize(
    ("why", "manifest", "event", "tried", "runs"), HINTS, ids=[why for why, *_ in HINTS]
)
def test_a_node_that_joins_is_tried_for_the_pods_that_it_may_help(
    why: str, manifest: Any, event: NodeEvent, tried: bool, runs: bool
) -> None:
    cluster = start([event], manifest)
    assert placed(cluster)[""] >= 1
    assert attempts(cluster, 20) == ({10.0} if tried else set()), why
    assert ("c" in placed(cluster)) == runs, why
    assert log(cluster, "RegisteredNode", "NodeReady") == [
        (10.0, "RegisteredNode", "c"),
        (10.0, "NodeReady", "c"),
    ]


def test_a_pod_that_no_hint_wakes_sees_the_new_node_when_the_queue_is_flushed() -> None:
    lonely = workload(name="w", replicas=2, cpu="1", **APART)
    guard = workload(
        name="g", cpu="0", replicas=2, affinity={"podAntiAffinity": required("x", HOST)}
    )
    repelled = workload(name="x", cpu="0", replicas=1)  # by others, and it has no terms itself
    cluster = start([join(10, "c", "2")], lonely, guard, repelled, workload(cpu="9", name="big"))
    assert "0/2" in cluster.pods()[4]["message"]
    cluster.advance(FLUSH - 1)
    assert not log(cluster, "Scheduled")[4:]
    cluster.advance(1)
    assert [place for _, _, place in log(cluster, "Scheduled")[4:]] == ["x-1-0"]
    assert "0/3 nodes are available: 3 Insufficient cpu." in cluster.pods()[-1]["message"]


def test_a_node_that_joins_an_empty_cluster_takes_its_pods() -> None:
    cluster = start([join(5, "c", "9")], workload(), given=[])
    assert {pod["message"] for pod in cluster.pods()} == {"no nodes available to schedule pods"}
    cluster.advance(5)
    assert placed(cluster) == {"c": 3}


def test_a_domain_that_leaves_no_longer_holds_back_a_spread() -> None:
    cluster = start(
        [NodeEvent(10, "leave", "b")], workload(cpu="1", replicas=4, **SPREAD),
        given=two("8", size="1"),
    )  # fmt: skip
    assert placed(cluster) == {"a": 2, "b": 1, "": 1}
    cluster.advance(10)
    assert placed(cluster) == {"a": 3, "b": 1}, "the pod of 'b' is not collected yet"


def test_a_cordon_keeps_pods_and_lets_none_in_until_it_is_lifted() -> None:
    events = [NodeEvent(10, "cordon", "a"), NodeEvent(12, "cordon", "a")]
    cluster = start([*events, NodeEvent(30, "uncordon", "a")], workload(replicas=1))
    home = cluster.pods()[0]["node"]
    assert home in ("a", "b")
    cluster.advance(20)
    assert placed(cluster) == {home: 1}
    cluster.apply([workload(cpu="4", replicas=2, name="later")])
    waits = [pod for pod in cluster.pods() if pod["node"] is None]
    assert "1 node(s) were unschedulable" in waits[0]["message"]
    assert [node["unschedulable"] for node in cluster.nodes()] == [True, False]
    cluster.advance(10)
    lifted = log(cluster, "Scheduled")[-1]
    assert (lifted[0] == 30.0) == (home == "b")
    assert log(cluster, "NodeNotSchedulable", "NodeSchedulable") == [
        (10.0, "NodeNotSchedulable", "a"),
        (30.0, "NodeSchedulable", "a"),
    ]


def test_an_uncordoned_node_is_tried_by_those_that_it_refused_and_tolerate_its_taints() -> None:
    given = [node_spec("a", taints=TAINT, unschedulable=True), node_spec("b", cpu="1")]
    tolerant = workload(name="t", replicas=1, tolerations=[{"key": "k", "operator": "Exists"}])
    cluster = start([NodeEvent(10, "uncordon", "a")], workload(replicas=1), tolerant, given=given)
    cluster.advance(10)
    assert [pod["node"] for pod in cluster.pods()] == [None, "a"]
    assert "1 node(s) had untolerated taint(s)" in cluster.pods()[0]["message"]


def test_a_pod_that_taints_keep_away_is_tried_where_there_are_none() -> None:
    given = two(taints=TAINT)[1:]
    cluster = start([join(10, "c", taints=TAINT), join(20, "d")], workload(replicas=1), given=given)
    assert attempts(cluster, 30) == {20.0}
    assert placed(cluster) == {"d": 1}


def test_a_pod_that_a_taint_kept_away_is_tried_when_a_cordon_is_lifted_anywhere() -> None:
    given = [*two("1")[:1], *two(taints=TAINT)[1:]]
    cordon = [NodeEvent(10, "cordon", "a"), NodeEvent(20, "uncordon", "a")]
    assert attempts(start(cordon, workload(replicas=1), given=given), 30) == {20.0}
    assert attempts(start(cordon, workload(replicas=1), given=given[:1]), 30) == set()


def test_a_node_without_the_label_of_a_spread_is_not_tried_for_it() -> None:
    given = two("9", taints=TAINT)  # zone 2 counts, but takes nothing
    zone = {"labels": {ZONE: "3"}, "taints": TAINT}
    events = [join(10, "c", taints=TAINT), NodeEvent(20, "leave", "c"), join(30, "d", **zone)]
    cluster = start(events, workload(cpu="1", **SPREAD), given=given)
    assert placed(cluster) == {"a": 1, "": 2}
    assert attempts(cluster, 40) == {30.0}


def test_every_node_that_joined_is_counted_in_the_reasons() -> None:
    joined = [join(10, "c", taints=TAINT), join(10, "d", taints=TAINT), join(10, "e", "3")]
    cluster = start(joined, workload(cpu="3", replicas=4))
    cluster.advance(10)
    assert (
        "0/5 nodes are available: 2 node(s) had untolerated taint(s), 3 Insufficient cpu."
        in (cluster.pods()[-1]["message"])
    )


# --- DaemonSets ---


def test_a_daemon_set_has_a_pod_on_each_node_that_joins_cordoned_ones_too() -> None:
    events = [
        join(10, "c"), join(10, "d", unschedulable=True), join(10, "e", taints=TAINT),
        NodeEvent(20, "cordon", "a"), NodeEvent(20, "drain", "b"), NodeEvent(30, "leave", "c"),
    ]  # fmt: skip
    cluster = start(events, workload("DaemonSet", "1"))
    assert placed(cluster) == {"a": 1, "b": 1}
    cluster.advance(10)
    assert placed(cluster) == {"a": 1, "b": 1, "c": 1, "d": 1}
    cluster.advance(20 + GONE - 1)
    assert placed(cluster) == {"a": 1, "b": 1, "c": 1, "d": 1}
    cluster.advance(1)
    assert placed(cluster) == {"a": 1, "b": 1, "d": 1}
    assert log(cluster, "DeletionByPodGC") == [(30.0 + GONE, "DeletionByPodGC", "w-2")]


def test_a_daemon_set_deletes_its_waiting_pod_of_a_node_that_left() -> None:
    given = [*two(), node_spec("c", cpu="1")]
    cluster = start([NodeEvent(10, "leave", "c")], workload("DaemonSet", "2"), given=given)
    assert placed(cluster) == {"a": 1, "b": 1, "": 1}
    cluster.advance(10)
    assert placed(cluster) == {"a": 1, "b": 1}
    assert log(cluster, "SuccessfulDelete")[0][0] == 10.0


# --- leaving ---


def test_pods_of_a_node_that_left_are_collected_later_and_then_replaced() -> None:
    cluster = start([NodeEvent(10, "leave", "a")], workload(replicas=2))
    cluster.advance(10 + GONE - 1)
    assert [node["name"] for node in cluster.nodes()] == ["b"]
    assert placed(cluster) == {"a": 1, "b": 1}, "nothing has told the controllers yet"
    cluster.advance(1)
    assert placed(cluster) == {"b": 1, "": 1}
    reasons = [(at, reason) for at, reason, _ in log(cluster, "RemovingNode", "DeletionByPodGC")]
    assert reasons == [(10.0, "RemovingNode"), (50.0, "DeletionByPodGC")]


def test_on_a_node_that_left_nothing_becomes_ready_and_nothing_ends() -> None:
    class Lives:
        def created(self, pod: Pod) -> None: ...

        def seconds(self, pod: Pod) -> int | None:
            return 20

    gone = [NodeEvent(10, "leave", "a")]
    slow = start(gone, workload(replicas=1), given=two()[:1], delays=PodDelays(ready=12_000))
    slow.advance(30)
    assert [pod["ready"] for pod in slow.pods()] == [False]
    job = start(gone, workload("Job"), given=two()[:1], lifetimes=Lives())
    job.advance(10 + GONE - 1)
    assert [pod["phase"] for pod in job.pods()] == ["Running"]
    job.advance(1)
    assert [(pod["name"], pod["phase"]) for pod in job.pods()] == [("w-1", "Pending")]


def test_a_node_may_return_under_its_name_once_its_pods_are_collected() -> None:
    back = [NodeEvent(10, "leave", "a"), join(10 + GONE, "a", "9")]
    cluster = start(back, workload(replicas=2), workload("DaemonSet", "1", name="d"))
    cluster.advance(100)
    assert placed(cluster) == {"a": 2, "b": 2}
    assert [node["cpu"] for node in cluster.nodes()] == ["4", "9"]


def test_an_unreachable_node_may_leave_and_a_joined_one_become_unreachable() -> None:
    faults = Faults(lost_nodes={"a": 5, "c": 30})
    events = [NodeEvent(10, "leave", "a"), join(20, "c", "9")]
    cluster = start(events, workload(replicas=2), faults=faults)
    cluster.advance(40)
    assert [(node["name"], node["ready"]) for node in cluster.nodes()] == [
        ("b", True),
        ("c", False),
    ]
    with pytest.raises(InvalidInput, match="fault lost_nodes: no such node 'c'"):
        start([join(31, "c")], faults=faults)
    with pytest.raises(InvalidInput, match="fault lost_nodes: no such node 'a'"):
        start([NodeEvent(5, "leave", "a")], faults=Faults(lost_nodes={"a": 5}))


def test_a_pod_that_names_its_node_runs_once_that_joins() -> None:
    cluster = start([join(10, "c")], workload(replicas=1, nodeName="c"))
    assert [pod["message"] for pod in cluster.pods()] == ["no node 'c'"]
    cluster.advance(10)
    assert [(pod["node"], pod["message"]) for pod in cluster.pods()] == [("c", None)]


# --- drains ---

KINDS = [workload(kind, "1", 1, name=kind.lower()) for kind in
         ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod")]  # fmt: skip


def test_a_drain_evicts_all_but_pods_of_daemon_sets() -> None:
    cluster = start([NodeEvent(10, "drain", "a")], *KINDS, given=two("9")[:1])
    assert placed(cluster) == {"a": 5}
    cluster.advance(10)
    rows = {pod["owner"]: pod["node"] for pod in cluster.pods()}
    assert rows.pop("DaemonSet/daemonset") == "a"
    assert len(rows) == 3 and set(rows.values()) == {None}, "nothing replaces a bare pod"
    assert len(log(cluster, "EvictionByEvictionAPI")) == 4
    assert log(cluster, "NodeNotSchedulable") == [(10.0, "NodeNotSchedulable", "a")]


def test_a_pod_that_ended_is_evicted_too_and_its_job_stays_complete() -> None:
    class Lives:
        def created(self, pod: Pod) -> None: ...

        def seconds(self, pod: Pod) -> int | None:
            return 5

    cluster = start(
        [NodeEvent(10, "drain", "a")], workload("Job"), given=two()[:1], lifetimes=Lives()
    )
    cluster.advance(9)
    assert [pod["phase"] for pod in cluster.pods()] == ["Succeeded"]
    cluster.advance(1)
    assert cluster.pods() == []
    cluster.advance(600)
    assert cluster.pods() == []


def test_an_eviction_that_is_refused_is_tried_again_every_five_seconds() -> None:
    cluster = start([], workload(cpu="1", replicas=2), given=two()[:1])
    asked: list[float] = []

    def refusal(pod: Pod) -> str | None:
        asked.append(cluster.now)
        return None if cluster.now >= (8 if pod.name == "w-1-0" else 18) else "it is needed"

    NodeLifecycle(world_of(cluster), refusal, lambda: None).plan(
        [NodeEvent(1, "drain", "a"), NodeEvent(3, "uncordon", "a")]
    )
    cluster.advance(60)
    assert asked == [1.0, 1.0, 6.0, 6.0, 11.0, 11.0, 16.0, 21.0]
    evicted = log(cluster, "EvictionByEvictionAPI")
    assert [(at, name) for at, _, name in evicted] == [(11.0, "w-1-0"), (21.0, "w-1-1")]
    assert [at for at, *_ in log(cluster, "TooManyRequests")] == [1.0, 1.0], "said once for each"


def test_a_drain_spares_what_a_budget_protects() -> None:
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "w"}}},
    }
    events = [NodeEvent(1, "drain", "a"), join(30, "c")]
    cluster = start(events, budget, workload(cpu="2", replicas=3), given=two()[:1] + two("2")[1:])
    assert placed(cluster) == {"a": 2, "b": 1}
    cluster.advance(20)
    assert placed(cluster) == {"a": 1, "b": 1, "": 1}, "one may go, and finds no other place"
    told = [message for row in cluster.events() if "budget" in (message := row["message"])]
    assert told == ["Cannot evict pod as it would violate the pod's disruption budget."]
    cluster.advance(60)
    assert placed(cluster) == {"b": 1, "c": 2}


def test_pods_of_a_node_that_left_in_its_drain_are_collected() -> None:
    cluster = start([], workload(cpu="1", replicas=2))
    NodeLifecycle(world_of(cluster), lambda pod: "no", lambda: None).plan(
        [NodeEvent(1, "drain", "a"), NodeEvent(3, "leave", "a")]
    )
    cluster.advance(100)
    assert placed(cluster) == {"b": 2}
    assert not log(cluster, "EvictionByEvictionAPI")


# --- order ---


def test_events_come_in_order_of_time_then_of_the_list() -> None:
    events = [
        NodeEvent(9, "cordon", "c"),
        join(5, "c"),
        NodeEvent(9, "uncordon", "c"),
        join(5, "d"),
    ]
    cluster = start(events)
    cluster.advance(20)
    assert log(cluster, "RegisteredNode", "NodeNotSchedulable", "NodeSchedulable") == [
        (5.0, "RegisteredNode", "c"),
        (5.0, "RegisteredNode", "d"),
        (9.0, "NodeNotSchedulable", "c"),
        (9.0, "NodeSchedulable", "c"),
    ]


def test_an_event_comes_before_what_is_applied_at_its_time() -> None:
    at_once = start([NodeEvent(0, "cordon", "a")], workload(cpu="1"))
    assert placed(at_once) == {"b": 3}
    cluster = start([NodeEvent(10, "cordon", "a")])
    cluster.advance(10)
    cluster.apply([workload(cpu="1")])
    assert placed(cluster) == {"b": 3}


BAD = [
    ([NodeEvent(1, "leave", "c")], "no node 'c' at 1 s at 'events[0].leave'"),
    (
        [NodeEvent(1, "cordon", "B")],
        "no node 'B' at 1 s; did you mean 'b'? at 'events[0].cordon'",
    ),
    ([join(1, "a")], "node 'a' is there already at 1 s at 'events[0].join'"),
    ([NodeEvent(9, "drain", "c"), join(9, "c")], "no node 'c' at 9 s at 'events[0].drain'"),
    (
        [NodeEvent(5, "drain", "a"), NodeEvent(2, "leave", "a")],
        "no node 'a' at 5 s at 'events[0].drain'",
    ),
    (
        [NodeEvent(5, "leave", "a"), join(44.5, "a")],
        "node 'a' left at 5 s and its pods are not collected before 45 s; "
        "let it join then, or under another name at 'events[1].join'",
    ),
]


@pytest.mark.parametrize(("events", "message"), BAD, ids=[message for _, message in BAD])
def test_an_event_that_cannot_happen_is_refused(events: list[NodeEvent], message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        start(events)
    assert str(raised.value) == message
    assert message.endswith(f"'{raised.value.path}'")


# --- a real control plane ---

REAL = [
    # (seconds, nodes of the DaemonSet's pods, nodes of the Deployment's pods, "-" for one that waits)
    (0, "ab", "-ab"),
    (10, "abc", "abc"),  # c joins
    (20, "abc", "-abc"),  # a is cordoned, and a fourth replica asked for
    (30, "abce", "abce"),  # e joins
    (40, "abce", "abce"),  # f joins, tainted
    (50, "abce", "-abe"),  # c is drained
    (60, "abce", "abce"),  # and uncordoned
    (70, "abce", "abce"),  # b leaves
    (109, "abce", "abce"),
    (110, "ace", "-ace"),  # 49 s after it left in the real one, whose collector has rounds of 20 s
]
"""What Kubernetes 1.20.2 (all but the kubelet) and ``kubectl drain`` of 1.32 made of it."""


def test_a_real_control_plane_went_through_the_same_states() -> None:
    events = [
        join(10, "c"), NodeEvent(20, "cordon", "a"), join(30, "e"),
        join(40, "f", "16", taints=TAINT), NodeEvent(50, "drain", "c"),
        NodeEvent(60, "uncordon", "c"), NodeEvent(70, "leave", "b"),
    ]  # fmt: skip
    daemons = workload("DaemonSet", "500m", name="d")
    cluster = start(events, daemons, workload(cpu="3", replicas=3))
    found = []
    for at, *_ in REAL:
        cluster.advance(at - cluster.now)
        if at == 20:
            cluster.apply([workload(cpu="3", replicas=4)])
        where = {"d": "", "w": ""}
        for pod in cluster.pods():
            assert pod["ready"] == (pod["node"] is not None)
            where[pod["labels"]["app"]] += pod["node"] or "-"
        found.append((at, *("".join(sorted(nodes)) for nodes in where.values())))
    assert found == REAL


# --- whatever happens ---

Draft = tuple[int, str, int, str]
drafts = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 7, 30, 90]),
        st.sampled_from(["join", "join", "leave", "cordon", "uncordon", "drain", "drain"]),
        st.integers(0, 5),
        st.sampled_from(["2", "6", "16"]),
    ),
    max_size=12,
)


def possible(draft: list[Draft]) -> list[NodeEvent]:
    """Return those of the drafted events that can happen after those before them."""
    found: list[NodeEvent] = []
    at = 0
    for gap, action, number, cpu in draft:
        at += gap
        name = f"n{number + 1}"
        event = join(at, name, cpu) if action == "join" else NodeEvent(at, action, name)
        try:
            check_nodes(nodes(), [*found, event])
        except InvalidInput:
            continue
        found.append(event)
    return found


def tolerates_cordon(pod: Pod) -> bool:
    return untolerated((CORDON,), pod.facts.tolerations) is None


def each_instant(cluster: EmbeddedCluster, seconds: int, check: Callable[[], None]) -> None:
    """Let time pass, and check after each step of the world."""
    world = world_of(cluster)
    end = world.clock.now + 1000 * seconds
    while True:
        while world._step():
            check()
        due = world.clock.next_time()
        if due is None or due > end:
            world.clock.now = end
            return
        world.clock.now = due


LEFT = [(7, "leave", 0, "2"), (0, "drain", 1, "2"), (30, "join", 4, "16"), (30, "join", 0, "6")]


@given(steps, drafts, st.integers(0, 3))
@example([("apply", workload(cpu="5", name="a")), ("apply", workload(cpu="3", name="b"))], LEFT, 0)
@settings(max_examples=examples.share(100))
def test_no_pod_is_where_it_must_not_be(
    todo: list[tuple[str, dict[str, Any]]], draft: list[Draft], seed: int
) -> None:
    events = possible(draft)
    cluster = EmbeddedCluster(nodes(), node_events=events, seed=seed, priority_classes=CLASSES)
    world = world_of(cluster)
    left = {(event.name, event.at) for event in events if event.action == "leave"}
    bound: set[int] = set()

    def check() -> None:
        for node in world.nodes:
            assert node.cpu == sum(pod.facts.cpu for pod in node.pods.values()) <= node.spec.cpu
            assert len(node.pods) <= node.spec.pods
            assert all(count <= 1 for count in node.ports.values())
            assert all(pod.nominated is node for pod in node.nominated)
        for pod in world.pods.values():
            if pod.node is None:
                continue
            if pod.uid not in bound:
                bound.add(pod.uid)
                assert pod.node in world.nodes, "a pod was placed on a node that is not there"
                assert not pod.node.unschedulable or tolerates_cordon(pod)
            elif pod.node not in world.nodes:
                since = max(at for name, at in left if name == pod.node.name and at <= cluster.now)
                assert cluster.now <= since + GONE

    for what, manifest in todo:
        (cluster.apply if what == "apply" else cluster.delete)([manifest])
        check()
        each_instant(cluster, 25, check)
    each_instant(cluster, 1500, check)  # the last event, its collection, and flushes of the queue
    for node in world.nodes:
        drained = [e.action for e in events if e.name == node.name and e.action != "cordon"][-1:]
        if node.unschedulable and drained == ["drain"]:
            assert all(map(tolerates_cordon, node.pods.values()))
    check_placement(world, quiet=False)
    check_ownership(world)


@given(steps, drafts, st.integers(0, 3))
@settings(max_examples=examples.share(40))
def test_equal_runs_are_equal(
    todo: list[tuple[str, dict[str, Any]]], draft: list[Draft], seed: int
) -> None:
    def run(pause: int) -> tuple[Any, ...]:
        given = {"node_events": possible(draft), "seed": seed, "priority_classes": CLASSES}
        cluster = EmbeddedCluster(nodes(), **given)  # type: ignore[arg-type]
        for what, manifest in todo:
            (cluster.apply if what == "apply" else cluster.delete)([manifest])
            for _ in range(60 // pause):
                cluster.advance(pause)
        cluster.advance(600)
        return world(cluster)

    assert run(60) == run(60) == run(12)
