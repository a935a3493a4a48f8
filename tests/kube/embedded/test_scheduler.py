"""The scheduler: filters and their words, preemption, retries, scores."""

from collections import Counter
from typing import Any

import pytest

from simgit.kube.embedded import EmbeddedCluster, NodeSpec, node_spec

HOST = "kubernetes.io/hostname"
CLASSES = {"low": 10, "mid": 100, "high": 1000}
VIP = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "vip"},
    "value": 7,
    "globalDefault": True,
}
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
PREEMPTION = "no new claims to deallocate, preemption: "


def pod(name: str, cpu: str | None = "1", **spec: Any) -> Any:
    requests = {} if cpu is None else {"cpu": cpu}
    container = {"name": "c", "image": "x", "resources": {"requests": requests}}
    metadata = {"name": name, "labels": spec.pop("labels", {"app": name})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], **spec},
    }


def three(**parameters: Any) -> list[NodeSpec]:
    return [node_spec(name, **parameters) for name in ("n1", "n2", "n3")]


def run(*manifests: Any, nodes: list[NodeSpec] | None = None, seed: int = 0) -> EmbeddedCluster:
    nodes = three() if nodes is None else nodes
    cluster = EmbeddedCluster(nodes, seed=seed, priority_classes=CLASSES)
    for manifest in manifests:
        cluster.apply([manifest])
    return cluster


def placed(cluster: EmbeddedCluster) -> dict[str, str | None]:
    return {row["name"]: row["node"] for row in cluster.pods()}


def why(cluster: EmbeddedCluster, name: str) -> str:
    (message,) = [row["message"] for row in cluster.pods() if row["name"] == name]
    assert isinstance(message, str)
    return message


def expected(reasons: str, after: str, total: int = 3) -> str:
    return (
        f"0/{total} nodes are available: {reasons}. {PREEMPTION}"
        f"0/{total} nodes are available: {after}."
    )


def anti(app: str, key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    return {"podAntiAffinity": terms(app, key)}


def terms(app: str, key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}


def test_reasons_are_counted_and_sorted_as_text() -> None:
    nodes = [node_spec(f"n{i}", cpu="1") for i in range(10)]
    nodes += [
        node_spec("t", taints=[{"key": "k", "effect": "NoSchedule"}]),
        node_spec("m", memory=0),
    ]
    cluster = run(pod("p", "2", nodeSelector={}), nodes=nodes)
    assert placed(cluster) == {"p": "m"}
    cluster = run(pod("p", "17"), nodes=nodes)
    reasons = "1 node(s) had untolerated taint(s), 11 Insufficient cpu"
    assert why(cluster, "p") == expected(reasons, f"12 {NOT_HELPFUL}", 12)


def test_the_first_filter_that_refuses_has_the_word() -> None:
    nodes = [
        node_spec("cordoned", unschedulable=True, cpu="1"),
        node_spec("tainted", taints=[{"key": "k", "effect": "NoExecute"}], labels={"a": "b"}),
        node_spec("unlabelled", cpu="1"),
        node_spec("small", cpu="1", labels={"a": "b"}),
    ]
    reasons = (
        "1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint(s), 1 node(s) were unschedulable"
    )
    cluster = run(pod("p", "2", nodeSelector={"a": "b"}), nodes=nodes)
    assert why(cluster, "p") == expected(reasons, f"4 {NOT_HELPFUL}", 4)


@pytest.mark.parametrize(
    ("toleration", "lands"),
    [
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "k", "value": "v", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], lands: bool) -> None:
    nodes = [node_spec("n", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])]
    cluster = run(pod("p", tolerations=[toleration]), nodes=nodes)
    assert (placed(cluster)["p"] is not None) == lands


def test_a_cordon_can_be_tolerated() -> None:
    nodes = [node_spec("n", unschedulable=True)]
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert placed(run(pod("p", tolerations=[toleration]), nodes=nodes)) == {"p": "n"}


@pytest.mark.parametrize(
    ("expressions", "nodes"),
    [
        ([{"key": "gen", "operator": "Gt", "values": ["3"]}], {"new"}),
        ([{"key": "gen", "operator": "Lt", "values": ["5"]}], {"old"}),
        ([{"key": "gen", "operator": "DoesNotExist"}], {"bare"}),
        ([{"key": "gen", "operator": "NotIn", "values": ["2"]}], {"new", "bare"}),
        ([{"key": "gen", "operator": "Exists"}], {"new", "old"}),
        ([], set()),
    ],
)
def test_node_affinity_operators(expressions: list[Any], nodes: set[str]) -> None:
    specs = [node_spec("new", labels={"gen": "5"}), node_spec("old", labels={"gen": "2"})]
    specs.append(node_spec("bare"))
    required = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    pods = [pod(f"p{i}", "9", affinity=affinity) for i in range(4)]
    found = {node for node in placed(run(*pods, nodes=specs)).values() if node}
    assert found == nodes


def test_a_request_is_the_peak_of_init_containers_and_sidecars() -> None:
    def container(cpu: str, **more: Any) -> dict[str, Any]:
        asked = {"requests": {"cpu": cpu}}
        return {"name": f"i{cpu}", "image": "x", "resources": asked, **more}

    sidecar = container("2", restartPolicy="Always")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"initContainers": [container("10")]}, "10"),
        ({"initContainers": [container("3"), container("5")]}, "5"),
        ({"initContainers": [sidecar]}, "6"),
        ({"initContainers": [sidecar, container("3")]}, "6"),
        ({"initContainers": [sidecar, container("5")]}, "7"),
        ({"initContainers": [container("5"), sidecar]}, "6"),
        ({"overhead": {"cpu": "250m"}, "runtimeClassName": "vm"}, "4250m"),
        ({"resources": {"requests": {"cpu": "8"}}}, "8"),
    ]
    for spec, total in cases:
        assert run(pod("p", "4", **spec)).pods()[0]["cpu"] == total, spec


def test_a_limit_without_a_request_is_one() -> None:
    limited = pod("p")
    limited["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "17", "memory": "1Gi"}}
    assert why(run(limited), "p") == expected("3 Insufficient cpu", f"3 {NOT_HELPFUL}")


def test_ephemeral_storage_and_unknown_resources_are_hopeless_where_absent() -> None:
    greedy = pod("p")
    greedy["spec"]["containers"][0]["resources"]["requests"] = {
        "ephemeral-storage": "1Gi",
        "example.com/fpga": "1",
    }
    greedy["spec"]["containers"][0]["resources"]["limits"] = {"example.com/fpga": "1"}
    reasons = "3 Insufficient ephemeral-storage, 3 Insufficient example.com/fpga"
    assert why(run(greedy), "p") == expected(reasons, f"3 {NOT_HELPFUL}")


def test_no_pod_slots_is_not_hopeless() -> None:
    cluster = run(pod("a"), pod("b", None), nodes=[node_spec("n", pods=1)])
    assert why(cluster, "b") == expected("1 Too many pods", f"1 {NO_VICTIMS}", 1)


def test_host_ports_clash() -> None:
    def on_port(name: str, **port: Any) -> Any:
        made = pod(name)
        made["spec"]["containers"][0]["ports"] = [{"containerPort": 80, **port}]
        return made

    node = [node_spec("n")]
    cluster = run(on_port("a", hostPort=80), on_port("b", hostPort=80), nodes=node)
    reason = "1 node(s) didn't have free ports for the requested pod ports"
    assert why(cluster, "b") == expected(reason, f"1 {NO_VICTIMS}", 1)
    others = [on_port("b", hostPort=81), on_port("c", hostPort=80, protocol="UDP"), on_port("d")]
    assert None not in placed(run(on_port("a", hostPort=80), *others, nodes=node)).values()
    ips = [on_port(n, hostPort=80, hostIP=f"10.0.0.{i}") for i, n in enumerate("ab")]
    assert None not in placed(run(*ips, nodes=node)).values()
    assert placed(run(*ips, on_port("any", hostPort=80), nodes=node))["any"] is None


def test_pod_affinity_follows_and_waits() -> None:
    near = {"podAffinity": terms("db")}
    cluster = run(pod("web", affinity=near))
    reason = "3 node(s) didn't match pod affinity rules"
    assert why(cluster, "web") == expected(reason, f"3 {NOT_HELPFUL}")
    cluster.apply([pod("db")])
    where = placed(cluster)
    assert where["web"] == where["db"] is not None


def test_the_first_of_a_series_with_affinity_to_itself_may_start() -> None:
    labels = {"app": "ring"}
    pods = [
        pod(f"r{i}", "6", labels=labels, affinity={"podAffinity": terms("ring")}) for i in range(3)
    ]
    cluster = run(*pods)
    assert Counter(placed(cluster).values())[None] == 1
    assert why(cluster, "r2").startswith(
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match pod affinity rules."
    )


def test_existing_pods_keep_others_away() -> None:
    zones = [node_spec("a", labels={"zone": "1"}), node_spec("b", labels={"zone": "1"})]
    hermit = pod("hermit", affinity=anti("crowd", "zone"))
    cluster = run(hermit, pod("c", labels={"app": "crowd"}), nodes=zones)
    reason = "2 node(s) didn't satisfy existing pods anti-affinity rules"
    assert why(cluster, "c") == expected(reason, f"2 {NO_VICTIMS}", 2)


def test_anti_affinity_is_per_namespace() -> None:
    labels = {"app": "x"}
    pods = [pod(f"x{i}", labels=labels, affinity=anti("x")) for i in range(2)]
    pods[1]["metadata"]["namespace"] = "elsewhere"
    assert None not in placed(run(*pods, nodes=[node_spec("n")])).values()


def spread(skew: int = 1, key: str = "kubernetes.io/hostname", **more: Any) -> dict[str, Any]:
    return {
        "maxSkew": skew,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "s"}},
        **more,
    }


def spreading(count: int, **constraint: Any) -> list[Any]:
    constraints = [spread(**constraint)]
    return [
        pod(f"s{i}", "4", labels={"app": "s"}, topologySpreadConstraints=constraints)
        for i in range(count)
    ]


def test_topology_spread_stops_at_the_skew() -> None:
    nodes = [node_spec("big"), node_spec("small", cpu="4")]
    cluster = run(*spreading(4), nodes=nodes)
    assert Counter(placed(cluster).values()) == {"big": 2, "small": 1, None: 1}
    reasons = "1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints"
    assert why(cluster, "s3") == expected(reasons, f"2 {NO_VICTIMS}", 2)


def test_a_tainted_node_counts_as_a_domain_unless_taints_are_honoured() -> None:
    nodes = [node_spec("a"), node_spec("b", taints=[{"key": "k", "effect": "NoSchedule"}])]
    assert placed(run(*spreading(2), nodes=nodes))["s1"] is None
    honoured = run(*spreading(2, nodeTaintsPolicy="Honor"), nodes=nodes)
    assert placed(honoured)["s1"] == "a"


def test_a_missing_label_and_too_few_domains() -> None:
    reason = "3 node(s) didn't match pod topology spread constraints (missing required label)"
    cluster = run(*spreading(1, key="zone"))
    assert why(cluster, "s0") == expected(reason, f"3 {NOT_HELPFUL}")
    few = run(*spreading(4, minDomains=4))
    assert Counter(placed(few).values())[None] == 1


def test_preemption_takes_the_least_important_and_as_few_as_will_do() -> None:
    pods = [
        pod("low-big", "10", priorityClassName="low"),
        pod("mid-big", "10", priorityClassName="mid"),
        pod("low-a", "4", priorityClassName="low"),
        pod("high", "9", priorityClassName="high"),
    ]
    nodes = [node_spec("n1"), node_spec("n2")]
    cluster = run(*pods, nodes=nodes)
    assert "low-big" not in placed(cluster)
    assert {"mid-big", "low-a", "high"} <= placed(cluster).keys()
    assert placed(cluster)["high"] is not None
    assert "Preempted" in {event["reason"] for event in cluster.events()}


def test_preemption_reprieves_what_need_not_go() -> None:
    nodes = [node_spec("n")]
    small = [pod(f"l{i}", "5", priorityClassName="low") for i in range(3)]
    cluster = run(*small, pod("high", "6", priorityClassName="high"), nodes=nodes)
    assert placed(cluster) == {"l0": "n", "l1": "n", "high": "n"}


def test_where_even_preemption_leaves_too_little_its_reason_is_told() -> None:
    nodes = [node_spec("n")]
    pods = [pod("mid", "10", priorityClassName="mid"), pod("low", "4", priorityClassName="low")]
    cluster = run(*pods, pod("p", "8", priorityClassName="mid"), nodes=nodes)
    assert why(cluster, "p") == expected("1 Insufficient cpu", "1 Insufficient cpu", 1)


def test_a_pod_that_never_preempts_says_so() -> None:
    polite = {**VIP, "preemptionPolicy": "Never", "globalDefault": False}
    waiting = pod("p", "9", priorityClassName="vip")
    low = pod("low", "9", labels={"app": "low"})
    cluster = run(polite, low, waiting, nodes=[node_spec("n")])
    assert why(cluster, "p") == (
        "0/1 nodes are available: 1 Insufficient cpu. "
        + PREEMPTION
        + "not eligible due to preemptionPolicy=Never."
    )


def test_equals_do_not_preempt_and_priority_decides_who_is_retried() -> None:
    cluster = run(
        pod("first", "16", priorityClassName="high"),
        pod("low", "16", priorityClassName="low"),
        pod("late", "16", priorityClassName="mid"),
        nodes=[node_spec("n")],
    )
    assert why(cluster, "late") == expected("1 Insufficient cpu", f"1 {NO_VICTIMS}", 1)
    cluster.delete([pod("first")])
    assert placed(cluster) == {"low": None, "late": "n"}
    cluster.delete([pod("late")])
    assert placed(cluster) == {"low": "n"}


def test_among_equals_the_oldest_is_retried_first() -> None:
    waiting = [pod(name, "16") for name in "dcba"]
    cluster = run(pod("first", "16"), *waiting, nodes=[node_spec("n")])
    order = []
    for name in ("first", "d", "c", "b"):
        cluster.delete([pod(name)])
        order += [n for n, node in placed(cluster).items() if node]
    assert order == ["d", "c", "b", "a"]


def test_a_place_that_is_no_longer_kept_for_a_pod_goes_to_its_equals() -> None:
    """No queueing hint tells a preemptor that a pod which repelled it left: it waits."""
    repels = {"labelSelector": {"matchLabels": {"app": "vip"}}, "topologyKey": HOST}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [repels]}}
    vip = pod("vip", "16", priorityClassName="high")
    equal = pod("equal", "1", priorityClassName="high")
    more = pod("more", "1", priorityClassName="vip")
    cluster = run(VIP, pod("shy", "0", affinity=anti), vip, equal, more, nodes=three()[:1])
    (nominated, *_) = cluster.pods()
    assert (nominated["name"], nominated["node"], nominated["nominated"]) == ("vip", None, "n1")
    assert placed(cluster) == {"vip": None, "equal": None, "more": None}
    cluster.delete([vip])
    assert placed(cluster) == {"equal": "n1", "more": "n1"}


def test_a_small_pod_passes_a_big_one_that_waits() -> None:
    cluster = run(pod("a", "10"), pod("big", "16"), pod("small", "6"), nodes=[node_spec("n")])
    assert placed(cluster) == {"a": "n", "big": None, "small": "n"}


def test_gates_hold_a_pod_back_and_a_named_node_passes_the_scheduler() -> None:
    gated = pod("g", schedulingGates=[{"name": "wait"}])
    cluster = run(gated, pod("named", "99", nodeName="n2"))
    assert why(cluster, "g") == "Scheduling is blocked due to non-empty scheduling gates"
    assert placed(cluster)["named"] == "n2"


def test_a_pod_of_another_scheduler_waits_in_silence() -> None:
    cluster = run(pod("p", schedulerName="mine"), pod("q", schedulerName="default-scheduler"))
    assert {row["name"]: row["message"] for row in cluster.pods() if not row["node"]} == {"p": None}


def test_an_unknown_priority_class_keeps_pods_from_being_made() -> None:
    cluster = run(pod("p", priorityClassName="nope"))
    assert cluster.pods() == []
    assert "no PriorityClass with name nope was found" in str(cluster.events())


def test_a_priority_class_may_be_applied() -> None:
    cluster = run(VIP, pod("a"), pod("b", priorityClassName="vip"))
    assert [row["priority"] for row in cluster.pods()] == [7, 7]


@pytest.mark.parametrize("seed", range(5))
def test_scores_spread_equal_pods_and_fill_no_node_first(seed: int) -> None:
    cluster = run(*[pod(f"p{i}", "2") for i in range(6)], seed=seed)
    assert sorted(Counter(placed(cluster).values()).values()) == [2, 2, 2]


def test_preferences_are_preferred() -> None:
    nodes = [node_spec("a"), node_spec("b", labels={"disk": "ssd"}), node_spec("c")]
    preference = {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}
    wish = {"weight": 100, "preference": preference}
    likes = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}
    term = terms("a")["requiredDuringSchedulingIgnoredDuringExecution"][0]
    near = {"weight": 100, "podAffinityTerm": term}
    follows = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [near]}}
    flees = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [near]}}
    where = placed(
        run(
            pod("a", affinity=likes),
            pod("f", affinity=follows),
            pod("x", affinity=flees),
            nodes=nodes,
        )
    )
    assert where["a"] == where["f"] == "b"
    assert where["x"] != "b"


def test_a_soft_taint_is_avoided_while_there_is_room() -> None:
    nodes = [node_spec("a", taints=[{"key": "k", "effect": "PreferNoSchedule"}]), node_spec("b")]
    where = placed(run(pod("p", "10"), pod("q", "10"), nodes=nodes))
    assert where == {"p": "b", "q": "a"}


@pytest.mark.parametrize(
    "broken",
    [
        {"containers": []},
        {"containers": [{"resources": {"requests": {"cpu": "-1"}}}]},
        {"containers": [{"resources": {"requests": {"cpu": []}}}]},
        {"containers": ["c"]},
        {"containers": 5},
        {"tolerations": 5},
        {"affinity": 7},
        {"affinity": {"nodeAffinity": [1]}},
        {"topologySpreadConstraints": [3]},
        {"nodeSelector": ["a"]},
        {"priority": "x"},
    ],
)
def test_a_malformed_pod_is_refused_and_named(broken: dict[str, Any]) -> None:
    from simgit.errors import InvalidInput

    with pytest.raises(InvalidInput, match="default/p"):
        run(pod("p", **broken))
