"""What upstream documents of scheduler and controllers, beyond the recorded outcomes.

Each expectation is worked out by hand from Kubernetes' documentation or sources; nodes are three of
16 CPU and 32Gi unless others are given.
"""

from typing import Any

import pytest

from simgit.kube.embedded import EmbeddedCluster, NodeSpec, node_spec

FIT = "3 Insufficient cpu"
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
CLASSES = {"low": 10, "high": 1000}


def container(cpu: str = "1", **more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}, **more}


def workload(kind: str, cpu: str = "1", pod: Any = None, name: str = "web", **spec: Any) -> Any:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container(cpu)]}}
    template["spec"] |= pod or {}
    if kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def rolling(cpu: str, replicas: int, surge: Any, unavailable: Any, **spec: Any) -> Any:
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return workload("Deployment", cpu, replicas=replicas, strategy=strategy, **spec)


def run(*manifests: Any, nodes: list[NodeSpec] | None = None) -> EmbeddedCluster:
    cluster = EmbeddedCluster(nodes, priority_classes=CLASSES)
    for manifest in manifests:
        cluster.apply([manifest])
    return cluster


def by_cpu(cluster: EmbeddedCluster, name: str = "web") -> dict[str, tuple[int, int]]:
    """Return (ready, pending) pods of an application by the CPU that they ask for."""
    found: dict[str, tuple[int, int]] = {}
    for pod in cluster.pods():
        if pod["labels"].get("app") == name:
            ready, pending = found.get(pod["cpu"], (0, 0))
            found[pod["cpu"]] = ready + pod["ready"], pending + (pod["phase"] == "Pending")
    return found


def message(cluster: EmbeddedCluster, name: str = "web") -> str:
    (text,) = {
        pod["message"] for pod in cluster.pods() if pod["message"] and pod["labels"]["app"] == name
    }
    return str(text)


def said(reasons: str, after: str, total: int = 3) -> str:
    return (
        f"0/{total} nodes are available: {reasons}. no new claims to deallocate, "
        f"preemption: 0/{total} nodes are available: {after}."
    )


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "old", "new"),
    [
        # new = surge + what old pods make room for, old = replicas - maxUnavailable
        (4, "25%", "25%", 3, 2),  # surge 1, unavailable 1
        (5, "25%", "25%", 4, 3),  # surge 1.25 up to 2, unavailable 1.25 down to 1
        (10, "25%", "25%", 8, 5),  # surge 3, unavailable 2
        (3, "25%", "25%", 3, 1),  # surge 1, unavailable 0
        (8, 0, 3, 5, 3),
        (8, 3, 0, 8, 3),
        (8, "50%", "50%", 4, 8),
        (6, "100%", 0, 6, 6),
        (6, 0, "100%", 0, 6),
        (2, 0, "10%", 1, 1),  # both round to 0: one may be unavailable then
        (1, "25%", "25%", 1, 1),
    ],
)
def test_how_far_a_rollout_gets_whose_new_pods_never_fit(
    replicas: int, surge: Any, unavailable: Any, old: int, new: int
) -> None:
    cluster = run(*(rolling(cpu, replicas, surge, unavailable) for cpu in ("1", "17")))
    expected = {"1": (old, 0), "17": (0, new)}
    assert by_cpu(cluster) == {cpu: counts for cpu, counts in expected.items() if any(counts)}
    assert message(cluster) == said(FIT, f"3 {NOT_HELPFUL}")


def test_a_stuck_rollout_that_is_scaled_to_nothing_lets_all_go() -> None:
    cluster = run(*(rolling(c, n, 1, 1) for c, n in (("1", 4), ("17", 4), ("17", 0))))
    assert cluster.pods() == []


def test_a_deployment_that_comes_back_from_nothing_starts_only_the_new_template() -> None:
    cluster = run(*(rolling(c, n, 1, 1) for c, n in (("1", 4), ("1", 0), ("2", 0), ("2", 4))))
    assert by_cpu(cluster) == {"2": (4, 0)}


def test_recreate_stops_everything_even_for_pods_that_never_fit() -> None:
    both = [workload("Deployment", cpu, replicas=5, strategy={"type": "Recreate"}) for cpu in ("1", "17")]  # fmt: skip
    assert by_cpu(run(*both)) == {"17": (0, 5)}


def test_important_pods_push_out_others_which_then_wait() -> None:
    low = workload("Deployment", "10", {"priorityClassName": "low"}, "low", replicas=3)
    high = workload("Deployment", "10", {"priorityClassName": "high"}, replicas=2)
    cluster = run(low, high)
    assert by_cpu(cluster) == {"10": (2, 0)} and by_cpu(cluster, "low") == {"10": (1, 2)}
    assert message(cluster, "low") == said(FIT, f"3 {NO_VICTIMS}")


def test_no_more_is_pushed_out_than_is_needed() -> None:
    low = workload("Deployment", "5", {"priorityClassName": "low"}, "low", replicas=9)
    cluster = run(low, workload("Deployment", "6", {"priorityClassName": "high"}, replicas=1))
    assert by_cpu(cluster) == {"6": (1, 0)} and by_cpu(cluster, "low") == {"5": (8, 1)}


def test_host_ports_allow_one_pod_a_node() -> None:
    ports = [{"containerPort": 80, "hostPort": 80}]
    pod = {"containers": [container(ports=ports)]}
    cluster = run(workload("Deployment", pod=pod, replicas=4))
    assert by_cpu(cluster) == {"1": (3, 1)}
    reason = "3 node(s) didn't have free ports for the requested pod ports"
    assert message(cluster) == said(reason, f"3 {NO_VICTIMS}")


def test_overhead_and_the_greatest_init_container_count() -> None:
    init = [{**container("9"), "name": "a"}, {**container("12"), "name": "b"}]
    pod = {"initContainers": init, "overhead": {"cpu": "5"}, "runtimeClassName": "vm"}
    assert message(run(workload("Deployment", "2", pod, replicas=1))) == said(FIT, f"3 {NOT_HELPFUL}")  # fmt: skip
    fits = run(workload("Deployment", "2", {**pod, "overhead": {"cpu": "4"}}, replicas=4))
    assert by_cpu(fits) == {"16": (3, 1)}


def test_a_limit_of_the_pod_stands_in_where_no_container_asks() -> None:
    bare = {"name": "c", "image": "x"}
    pod = {"containers": [bare], "resources": {"limits": {"cpu": "9"}}}
    assert by_cpu(run(workload("Deployment", pod=pod, replicas=4))) == {"9": (3, 1)}
    asks = {"containers": [container("2")], "resources": {"limits": {"cpu": "9"}}}
    assert by_cpu(run(workload("Deployment", pod=asks, replicas=4))) == {"2": (4, 0)}
    own = {"containers": [container("2")], "resources": {"requests": {"cpu": "9"}}}
    assert by_cpu(run(workload("Deployment", pod=own, replicas=4))) == {"9": (3, 1)}


def zoned() -> list[NodeSpec]:
    zones = {"a": "z1", "b": "z1", "c": "z2"}
    return [
        node_spec(name, labels={"topology.kubernetes.io/zone": zone})
        for name, zone in zones.items()
    ]


def constraint(key: str, **more: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app": "web"}}
    base = {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule"}
    return {"topologySpreadConstraints": [{**base, "labelSelector": selector, **more}]}


def test_zones_are_filled_evenly_until_one_is_full() -> None:
    pod = constraint("topology.kubernetes.io/zone")
    cluster = run(workload("Deployment", "8", pod, replicas=6), nodes=zoned())
    # zone z2 holds two pods of 8 CPU, so z1 may hold three, though it has room for four:
    # one of its nodes is full as well, and only the other is refused for the skew
    assert by_cpu(cluster) == {"8": (5, 1)}
    skew = "1 node(s) didn't match pod topology spread constraints"
    assert message(cluster) == said(f"{skew}, 2 Insufficient cpu", f"3 {NO_VICTIMS}")


def test_a_zone_that_the_selector_leaves_out_does_not_hold_the_others_back() -> None:
    pod = constraint("topology.kubernetes.io/zone")
    pod["nodeSelector"] = {"topology.kubernetes.io/zone": "z1"}
    cluster = run(workload("Deployment", "1", pod, replicas=6), nodes=zoned())
    assert by_cpu(cluster) == {"1": (6, 0)}
    ignoring = constraint("topology.kubernetes.io/zone", nodeAffinityPolicy="Ignore")
    ignoring["nodeSelector"] = pod["nodeSelector"]
    cluster = run(workload("Deployment", "1", ignoring, replicas=6), nodes=zoned())
    assert by_cpu(cluster) == {"1": (1, 5)}


def test_fewer_domains_than_asked_for_count_as_an_empty_one() -> None:
    pod = constraint("topology.kubernetes.io/zone", minDomains=3)
    assert by_cpu(run(workload("Deployment", "1", pod, replicas=4), nodes=zoned())) == {"1": (2, 2)}


def test_anti_affinity_over_zones_gives_each_zone_one_pod() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "topology.kubernetes.io/zone"}  # fmt: skip
    rule = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster = run(workload("Deployment", "1", {"affinity": rule}, replicas=3), nodes=zoned())
    assert by_cpu(cluster) == {"1": (2, 1)}
    reason = "3 node(s) didn't match pod anti-affinity rules"
    assert message(cluster) == said(reason, f"3 {NO_VICTIMS}")


def test_a_taint_a_selector_and_a_shortage_are_told_apart() -> None:
    nodes = [
        node_spec("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]),
        node_spec("b", labels={"disk": "ssd"}),
        node_spec("c"),
    ]
    pod = {"nodeSelector": {"disk": "ssd"}}
    cluster = run(workload("Deployment", "17", pod, replicas=1), nodes=nodes)
    reasons = "1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s)"  # fmt: skip
    assert message(cluster) == said(reasons, f"3 {NOT_HELPFUL}")


def test_a_stateful_set_scales_down_from_the_top_and_up_in_order() -> None:
    cluster = run(*(workload("StatefulSet", "1", replicas=n) for n in (4, 2, 3)))
    assert [pod["name"] for pod in cluster.pods()] == ["web-0", "web-1", "web-2"]


def test_a_stateful_set_that_waits_for_room_goes_on_in_order() -> None:
    blocker = workload("Deployment", "16", name="block", replicas=2)
    cluster = run(blocker, workload("StatefulSet", "16", replicas=3))
    assert by_cpu(cluster) == {"16": (1, 1)}
    cluster.delete([blocker])
    assert by_cpu(cluster) == {"16": (3, 0)}


def test_a_daemon_set_skips_taints_it_does_not_tolerate_and_takes_room_last() -> None:
    nodes = [node_spec("a"), node_spec("b", cpu="1"), node_spec("c", taints=[{"key": "k", "effect": "NoExecute"}])]  # fmt: skip
    cluster = run(workload("DaemonSet", "2"), nodes=nodes)
    assert by_cpu(cluster) == {"2": (1, 1)}
    reasons = "1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]"
    assert message(cluster) == said(reasons, f"3 {NOT_HELPFUL}")


def test_a_job_runs_no_more_at_once_than_it_may() -> None:
    cluster = run(workload("Job", "1", parallelism=3, completions=10, selector=None))
    assert by_cpu(cluster) == {"1": (3, 0)}


@pytest.mark.parametrize(
    ("amount", "fits"),
    [("16", 3), ("16000m", 3), ("16001m", 0), ("1.6e1", 3), ("16000000001n", 0), ("0.0160k", 3)],
)
def test_amounts_are_compared_exactly_and_rounded_up(amount: str, fits: int) -> None:
    cluster = run(workload("Deployment", amount, replicas=3))
    assert sum(pod["ready"] for pod in cluster.pods()) == fits
