"""Quotas, limit ranges and disruption budgets, in the words of a real control plane."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit.errors import InvalidInput
from simgit.kube.cluster import PodSelection
from simgit.kube.embedded import EmbeddedCluster, node_spec
from simgit.kube.embedded.kwok import PodDelays
from simgit.kube.embedded.nodes import Pod
from simgit.kube.embedded.world import World
from simgit.kube.manifest import replace
from simgit.kube.quantity import parse_quantity
from simgit.kube.simulation import DEFAULT, simulate
from simgit.kube.trace.model import Event, Trace
from tests.support import examples

GPU = "example.com/gpu"


def container(name: str = "c", **resources: Any) -> dict[str, Any]:
    return {"name": name, "image": "x", "resources": resources}


def asks(**requests: str) -> dict[str, Any]:
    return container(requests=requests)


def pod_spec(*containers: Any, **spec: Any) -> dict[str, Any]:
    return {"containers": list(containers), **spec}


def workload(kind: str, spec: Any, name: str = "web", **more: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    if kind == "Job":
        template["spec"] = {**spec, "restartPolicy": "Never"}
    else:
        more["selector"] = {"matchLabels": labels}
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"template": template, **more},
    }


def web(replicas: int, *containers: Any, name: str = "web", **spec: Any) -> dict[str, Any]:
    rest = pod_spec(*(containers or (asks(cpu="1"),)), **spec)
    return workload("Deployment", rest, name, replicas=replicas)


def policy(api: str, kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def quota(name: str = "q", **spec: Any) -> dict[str, Any]:
    return policy("v1", "ResourceQuota", name, **spec)


def limit_range(*limits: Any, name: str = "l") -> dict[str, Any]:
    return policy("v1", "LimitRange", name, limits=list(limits))


def budget(app: str, name: str = "b", **spec: Any) -> dict[str, Any]:
    spec.setdefault("selector", {"matchLabels": {"app": app}})
    return policy("policy/v1", "PodDisruptionBudget", name, **spec)


def run(*manifests: Any, **parameters: Any) -> EmbeddedCluster:
    cluster = EmbeddedCluster(**parameters)
    cluster.apply(manifests)
    return cluster


def refusals(cluster: EmbeddedCluster) -> list[str]:
    return [row["message"] for row in cluster.events() if row["reason"] == "FailedCreate"]


def world_of(cluster: EmbeddedCluster) -> World:
    return cluster._world


class Lives:
    """Every pod runs as long as told."""

    def __init__(self, seconds: int) -> None:
        self.life = seconds

    def created(self, pod: Pod) -> None:
        pass

    def seconds(self, pod: Pod) -> int | None:
        return self.life


# --- ResourceQuota ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hard", "manifests", "told"),
    [
        ({"pods": "2"}, [web(3)],
         'pods "web-1-2" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, '
         "limited: pods=2"),
        ({"requests.cpu": "2500m", "requests.memory": "1Gi"},
         [web(9, asks(cpu="500m", memory="300Mi"))],
         'pods "web-1-3" is forbidden: exceeded quota: q, requested: requests.memory=300Mi, '
         "used: requests.memory=900Mi, limited: requests.memory=1Gi"),
        ({"cpu": "1", "pods": "1"}, [web(2)],
         'pods "web-1-1" is forbidden: exceeded quota: q, requested: cpu=1,pods=1, '
         "used: cpu=1,pods=1, limited: cpu=1,pods=1"),
        ({"limits.cpu": "3"}, [web(2, container(limits={"cpu": "2"}))],
         'pods "web-1-1" is forbidden: exceeded quota: q, requested: limits.cpu=2, '
         "used: limits.cpu=2, limited: limits.cpu=3"),
        ({f"requests.{GPU}": "1"}, [web(2, container(limits={GPU: "1"}))],
         f'pods "web-1-1" is forbidden: exceeded quota: q, requested: requests.{GPU}=1, '
         f"used: requests.{GPU}=1, limited: requests.{GPU}=1"),
        ({"requests.cpu": "9", "limits.memory": "9Gi"}, [web(1, asks(memory="1Gi"))],
         'pods "web-1-0" is forbidden: failed quota: q: must specify limits.memory for: c; '
         "requests.cpu for: c"),
        ({"cpu": "3"}, [web(1, asks(cpu="1"), container("b"),
                            initContainers=[container("i", limits={"cpu": "2"})])],
         'pods "web-1-0" is forbidden: failed quota: q: must specify cpu for: b'),
        ({"cpu": "1"}, [web(1, asks(cpu="1"), overhead={"cpu": "250m"}, runtimeClassName="vm")],
         'pods "web-1-0" is forbidden: exceeded quota: q, requested: cpu=1250m, used: cpu=0, '
         "limited: cpu=1"),
        ({"count/pods": "1"}, [web(2)],
         'pods "web-1-1" is forbidden: exceeded quota: q, requested: count/pods=1, '
         "used: count/pods=1, limited: count/pods=1"),
        ({"count/deployments.apps": "1"}, [web(1), web(1, name="api")],
         'deployments.apps "api" is forbidden: exceeded quota: q, requested: '
         "count/deployments.apps=1, used: count/deployments.apps=1, "
         "limited: count/deployments.apps=1"),
        ({"count/replicasets.apps": "1"}, [web(1), workload("ReplicaSet", pod_spec(asks()), "api")],
         'replicasets.apps "api" is forbidden: exceeded quota: q, requested: '
         "count/replicasets.apps=1, used: count/replicasets.apps=1, limited: count/replicasets.apps=1"),
        ({"pods": "0"}, [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                          "spec": pod_spec(asks(cpu="1"))}],
         'pods "p" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, '
         "limited: pods=0"),
        ({"pods": "0"}, [workload("StatefulSet", pod_spec(asks()), replicas=2)],
         'pods "web-0" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, '
         "limited: pods=0"),
    ],
)  # fmt: skip
def test_what_exceeds_a_quota_is_refused_in_the_servers_words(
    hard: Any, manifests: Any, told: str
) -> None:
    assert refusals(run(quota(hard=hard), *manifests)) == [told]


def test_a_quota_is_of_its_namespace_and_counts_what_was_there_before() -> None:
    cluster = run(web(2), quota(hard={"pods": "3"}), web(9, name="api"))
    elsewhere = web(4, name="far")
    elsewhere["metadata"]["namespace"] = "far"
    cluster.apply([elsewhere])
    assert len(cluster.pods()) == 3 + 4
    assert world_of(cluster).quotas.used("default", "q") == {"pods": "3"}


@pytest.mark.parametrize(
    "free",
    [
        lambda cluster: cluster.delete([web(3, name="old")]),
        lambda cluster: cluster.apply([web(1, name="old")]),
        lambda cluster: cluster.apply([quota(hard={"pods": "9"})]),
        lambda cluster: cluster.delete([quota()]),
        lambda cluster: cluster.apply([quota(scopes=["Terminating"], hard={"pods": "1"})]),
    ],
)
def test_what_was_refused_is_created_when_room_is_free(free: Any) -> None:
    cluster = run(quota(hard={"pods": "4"}), web(3, name="old"), web(3))
    seen = cluster.observe(PodSelection("default", "web"))
    assert seen.counts() == (1, 0, 1)
    free(cluster)
    assert cluster.observe(PodSelection("default", "web")).counts() == (3, 0, 3)


def test_pods_that_ran_to_their_end_do_not_count() -> None:
    job = workload("Job", pod_spec(asks(cpu="1")), "batch", completions=6, parallelism=6)
    cluster = run(
        quota(hard={"requests.cpu": "2"}),
        quota("all", hard={"count/pods": "5"}),
        job,
        lifetimes=Lives(10),
    )
    used = world_of(cluster).quotas.used
    assert used("default", "q") == {"requests.cpu": "2"} and len(cluster.pods()) == 2
    cluster.advance(10)
    assert len(cluster.pods()) == 4 and used("default", "q") == {"requests.cpu": "2"}
    cluster.advance(100)
    assert used("default", "q") == {"requests.cpu": "0"}
    assert used("default", "all") == {"count/pods": "5"} and len(cluster.pods()) == 5


def test_a_rollout_in_a_full_quota_goes_on_by_what_it_removes() -> None:
    cluster = run(quota(hard={"pods": "4"}), web(4))
    cluster.apply([web(4, asks(cpu="2"))])
    assert [row["cpu"] for row in cluster.pods()] == ["2"] * 4


@pytest.mark.parametrize("strategy", ["RollingUpdate", "Recreate"])
def test_a_rollout_waits_while_there_are_as_many_replica_sets_as_may_be(strategy: str) -> None:
    first, second = (
        replace(web(2, asks(cpu=cpu)), ("spec", "strategy"), {"type": strategy}) for cpu in "12"
    )
    cluster = run(quota(hard={"count/replicasets.apps": "1"}), first, second, second)
    kept = ["1", "1"] if strategy == "RollingUpdate" else []
    assert [row["cpu"] for row in cluster.pods()] == kept
    assert refusals(cluster) == [
        'replicasets.apps "web-2" is forbidden: exceeded quota: q, requested: '
        "count/replicasets.apps=1, used: count/replicasets.apps=1, limited: count/replicasets.apps=1"
    ]
    cluster.apply([quota(hard={"count/replicasets.apps": "2"})])
    assert [row["cpu"] for row in cluster.pods()] == ["2", "2"]
    assert world_of(cluster).quotas.used("default", "q") == {"count/replicasets.apps": "2"}
    cluster.delete([second])
    assert world_of(cluster).quotas.used("default", "q") == {"count/replicasets.apps": "0"}


@pytest.mark.parametrize(("limit", "kept"), [({}, 11), ({"revisionHistoryLimit": 0}, 1)])
def test_old_replica_sets_are_deleted_beyond_the_limit(limit: Any, kept: int) -> None:
    cluster = run(quota(hard={"count/replicasets.apps": "99"}))
    for number in range(1, 15):
        made = web(1, asks(cpu=f"{number}m"))
        cluster.apply([{**made, "spec": {**made["spec"], **limit}}])
    used = world_of(cluster).quotas.used("default", "q")
    assert used == {"count/replicasets.apps": str(kept)}


def test_a_cronjob_waits_while_there_are_as_many_jobs_as_may_be() -> None:
    template = {"spec": pod_spec(asks(cpu="1"), restartPolicy="Never")}
    tick = policy("batch/v1", "CronJob", "tick", schedule="* * * * *",
                  jobTemplate={"spec": {"template": template}})  # fmt: skip
    cluster = run(quota(hard={"count/jobs.batch": "1"}), tick, lifetimes=Lives(90))
    cluster.advance(90)
    assert len(cluster.pods()) == 1
    cluster.advance(60)
    (told,) = refusals(cluster)
    assert told.startswith('jobs.batch "tick-2" is forbidden: exceeded quota: q, requested: count')
    cluster.apply([quota(hard={"count/jobs.batch": "2"})])
    assert [row["name"] for row in cluster.pods()] == ["tick-1-0", "tick-2-0"]


HIGH = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "high"}, "value": 5}  # fmt: skip


def classes(operator: str, *values: str) -> dict[str, Any]:
    rule = {"scopeName": "PriorityClass", "operator": operator, "values": list(values)}
    return {"scopeSelector": {"matchExpressions": [rule]}}


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ({"scopes": ["BestEffort"]}, pod_spec(container()), pod_spec(asks(cpu="1"))),
        ({"scopes": ["NotBestEffort"]}, pod_spec(asks(memory="1")), pod_spec(asks(cpu="0"))),
        ({"scopes": ["Terminating"]}, pod_spec(asks(), activeDeadlineSeconds=5), pod_spec(asks())),
        ({"scopes": ["NotTerminating", "BestEffort"]}, pod_spec(asks()), pod_spec(asks(cpu="1"))),
        (classes("In", "high"), pod_spec(asks(), priorityClassName="high"), pod_spec(asks())),
        (classes("NotIn", "high"), pod_spec(asks()), pod_spec(asks(), priorityClassName="high")),
        (classes("Exists"), pod_spec(asks(), priorityClassName="high"), pod_spec(asks())),
        (classes("DoesNotExist"), pod_spec(asks()), pod_spec(asks(), priorityClassName="high")),
        (
            {"scopes": ["CrossNamespacePodAffinity"]},
            pod_spec(asks(), affinity={"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "z", "namespaces": ["far"]}]}}),
            pod_spec(asks(), affinity={"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z"}]}}),
        ),
    ],
)  # fmt: skip
def test_a_scope_chooses_the_pods_that_a_quota_limits(
    scope: Any, inside: Any, outside: Any
) -> None:
    for spec, count in ((inside, 1), (outside, 3)):
        kind = "Job" if "activeDeadlineSeconds" in spec else "ReplicaSet"
        number = {"parallelism": 3} if kind == "Job" else {"replicas": 3}
        cluster = run(HIGH, quota(hard={"pods": "1"}, **scope), workload(kind, spec, **number))
        assert len(cluster.pods()) == count, spec


def test_an_observation_says_that_the_quota_is_used_up() -> None:
    cluster = run(
        quota(hard={"pods": "1", "count/deployments.apps": "2"}), web(1), web(2, name="b")
    )
    assert cluster.observe(PodSelection("default", "b")).reason == (
        "Deployment 'b' cannot create pods: pods \"b-1-0\" is forbidden: exceeded quota: q, "
        "requested: pods=1, used: pods=1, limited: pods=1"
    )
    cluster.apply([web(0, name="b")])
    assert cluster.observe(PodSelection("default", "b")).reason == "Deployment 'b' has 0 replicas"
    cluster.apply([web(1, name="d")])
    reason = cluster.observe(PodSelection("default", "d")).reason
    assert reason is not None and "Deployment 'd' was refused: deployments.apps \"d\"" in reason


def test_the_reason_is_that_of_the_newest_template() -> None:
    demands = quota(hard={"requests.cpu": "1"})
    cluster = run(demands, web(1, asks(memory="1Gi")))
    cluster.apply([web(1, asks(cpu="2"))])
    reason = cluster.observe(PodSelection("default", "web")).reason
    assert reason is not None and 'pods "web-2-0" is forbidden: exceeded quota: q' in reason
    bare = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "p"}},
            "spec": pod_spec(asks(cpu="2"))}  # fmt: skip
    cluster.apply([bare, web(0)])
    reason = cluster.observe(PodSelection("default", "p")).reason
    assert reason is not None and "Pod 'p' cannot create pods: pods \"p\" is forbidden" in reason
    cluster.apply([quota(hard={"requests.cpu": "2"}), bare])
    assert cluster.observe(PodSelection("default", "p")).counts() == (1, 0, 1)


def test_the_quota_of_a_trace_rules_in_its_virtual_namespace() -> None:
    trace = Trace((Event(0, (quota(hard={"pods": "2"}), web(5))),))
    cluster = simulate(trace)
    assert cluster.observe(DEFAULT.selection("default", "web")).counts() == (2, 0, 2)
    assert world_of(cluster).quotas.used("virtual-default", "q") == {"pods": "2"}


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r'"q" is invalid: spec.hard\[pods\]: Invalid value: "-1"'
    ):
        run(quota(hard={"pods": "-1"}))


changes = st.lists(
    st.tuples(
        st.sampled_from(
            ["Deployment", "StatefulSet", "Job", "DaemonSet", "delete", "quota", "wait"]
        ),
        st.sampled_from(["a", "b"]),
        st.integers(0, 6),
        st.sampled_from(["0", "500m", "1", "3"]),
    ),
    max_size=9,
)


@given(changes, st.integers(1, 8), st.sampled_from([0, 700]))
@settings(max_examples=examples.share(80))
def test_a_quota_is_never_exceeded_and_its_count_is_that_of_the_pods(
    todo: list[tuple[str, str, int, str]], cpu: int, delay: int
) -> None:
    cluster = EmbeddedCluster(lifetimes=Lives(20), delays=PodDelays(ready=delay))
    cluster.apply([quota(hard={"requests.cpu": str(cpu), "pods": "7"})])
    world = world_of(cluster)

    def check() -> None:
        pods = [pod for pod in world.pods.values() if not pod.finished]
        used = world.quotas.used("default", "q")
        assert int(used["pods"]) == len(pods) <= 7
        milli = sum(pod.facts.cpu for pod in pods)
        assert parse_quantity(used["requests.cpu"]).milli == milli <= 1000 * cpu

    for what, name, number, amount in todo:
        if what == "delete":
            every = ("Deployment", "StatefulSet", "Job", "DaemonSet")
            cluster.delete([workload(kind, pod_spec(asks()), f"{name}-{kind.lower()}")
                            for kind in every])  # fmt: skip
        elif what == "wait":
            end = world.clock.now + 5000 * number
            while (due := world.clock.next_time()) is not None and due <= end:
                world.clock.now = due
                while world._step():
                    check()
            world.clock.now = end
        elif what != "quota":
            more = {"parallelism": number, "completions": number} if what == "Job" else {}
            more |= {"replicas": number} if what in ("Deployment", "StatefulSet") else {}
            spec = pod_spec(asks(cpu=amount))
            try:
                cluster._apply_one(workload(what, spec, f"{name}-{what.lower()}", **more))
            except InvalidInput as error:
                assert "field is immutable" in str(error)
        while world._step():
            check()
        if what == "quota":
            cluster.apply([quota(hard={"requests.cpu": str(cpu), "pods": "7"})])
        check()


# --- LimitRange ---------------------------------------------------------------------------------

DEFAULTS = {"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "500m"}}


@pytest.mark.parametrize(
    ("limits", "own", "requests", "most"),
    [
        ([DEFAULTS], {}, "500m", "2"),
        ([DEFAULTS], {"requests": {"cpu": "1"}}, "1", "2"),
        ([DEFAULTS], {"limits": {"cpu": "1"}}, "1", "1"),
        ([DEFAULTS], {"requests": {"cpu": "3"}, "limits": {"cpu": "4"}}, "3", "4"),
        ([{"type": "Container", "default": {"cpu": "2"}}], {}, "2", "2"),
        ([{"type": "Container", "defaultRequest": {"cpu": "2"}}], {}, "2", None),
        ([{"type": "Container", "max": {"cpu": "3"}}], {}, "3", "3"),
        ([{"type": "Container", "max": {"cpu": "3"}, "min": {"cpu": "1"}}], {}, "3", "3"),
        ([{"type": "Container", "min": {"cpu": "1"}}], {}, "1", None),
        ([{"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "4"},
           "defaultRequest": {"cpu": "2"}}], {}, "2", "4"),
        ([{"type": "Pod", "max": {"cpu": "3"}}], {"limits": {"cpu": "1"}}, "1", "1"),
        ([{"type": "Container", "default": {"memory": "1Gi"}}], {"requests": {"cpu": "1"}}, "1", None),
    ],
)  # fmt: skip
def test_a_limit_range_fills_in_what_a_container_does_not_say(
    limits: Any, own: Any, requests: str, most: str | None
) -> None:
    cluster = run(limit_range(*limits), web(1, container(**own)))
    (row,) = cluster.pods()
    assert row["cpu"] == requests
    (pod,) = world_of(cluster).pods.values()
    assert pod.facts.spec["containers"][0].get("resources", {}).get("limits", {}).get("cpu") == most


MIN_MAX = {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "2"}}
POD = {"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "3", "memory": "1Gi"}}
RATIO = {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}


def both(requests: str, limits: str, resource: str = "cpu") -> dict[str, Any]:
    return container(requests={resource: requests}, limits={resource: limits})


@pytest.mark.parametrize(
    ("limit", "containers", "told"),
    [
        (MIN_MAX, [both("50m", "1")],
         "minimum cpu usage per Container is 100m, but request is 50m"),
        (MIN_MAX, [both("1", "3")], "maximum cpu usage per Container is 2, but limit is 3"),
        (POD, [both("500m", "1")],
         "[minimum cpu usage per Pod is 1, but request is 500m, "
         "maximum memory usage per Pod is 1Gi.  No limit is specified]"),
        ({"type": "Pod", "max": {"cpu": "3"}}, [both("1", "2"), {**both("1", "2"), "name": "d"}],
         "maximum cpu usage per Pod is 3, but limit is 4"),
        ({"type": "Pod", "min": {"cpu": "1"}}, [container()],
         "minimum cpu usage per Pod is 1.  No request is specified"),
        (RATIO, [both("1", "3")],
         "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
        (RATIO, [container(requests={"cpu": "1"})],
         "cpu max limit to request ratio per Container is 2, but no limit is specified or limit "
         "is 0"),
        (RATIO, [container()],
         "cpu max limit to request ratio per Container is 2, but no request is specified or "
         "request is 0"),
    ],
)  # fmt: skip
def test_pods_outside_of_a_limit_range_are_refused_in_the_servers_words(
    limit: Any, containers: Any, told: str
) -> None:
    cluster = run(limit_range(limit), web(2, *containers))
    assert refusals(cluster) == [f'pods "web-1-0" is forbidden: {told}'] and not cluster.pods()
    cluster.delete([limit_range()])
    assert len(cluster.pods()) == 2


def test_a_default_limit_below_the_request_makes_the_pod_invalid() -> None:
    cluster = run(limit_range(DEFAULTS), web(1, asks(cpu="3")))
    assert refusals(cluster) == [
        'Pod "web-1-0" is invalid: spec.containers[0].resources.requests: Invalid value: "3": '
        "must be less than or equal to cpu limit of 2"
    ]


def test_defaults_come_before_the_quota_and_equal_pods_share_their_facts() -> None:
    cluster = run(
        limit_range(DEFAULTS), quota(hard={"cpu": "2", "limits.cpu": "9"}), web(9, container())
    )
    assert [row["cpu"] for row in cluster.pods()] == ["500m"] * 4
    assert len({pod.facts for pod in world_of(cluster).pods.values()}) == 1
    assert world_of(cluster).quotas.used("default", "q") == {"cpu": "2", "limits.cpu": "8"}


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ({"min": {"cpu": "2"}, "max": {"cpu": "1"}},
         '[spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1, '
         'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default '
         'request value 1, spec.limits[0].default[cpu]: Invalid value: "1": min value 2 is greater '
         "than default value 1]"),
        ({"default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}},
         'spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is '
         "greater than default limit value 1"),
        ({"max": {"cpu": "-1"}},
         '[spec.limits[0].max[cpu]: Invalid value: "-1": must be greater than or equal to 0, '
         'spec.limits[0].default[cpu]: Invalid value: "-1": must be greater than or equal to 0, '
         'spec.limits[0].defaultRequest[cpu]: Invalid value: "-1": must be greater than or equal to 0]'),
    ],
)  # fmt: skip
def test_a_limit_range_that_contradicts_itself_is_refused(limit: Any, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        run(limit_range({"type": "Container", **limit}))
    assert str(caught.value) == f'default/l: LimitRange "l" is invalid: {told}'


# --- PodDisruptionBudget ------------------------------------------------------------------------


def important(cpu: str) -> dict[str, Any]:
    spec = pod_spec(asks(cpu=cpu), priorityClassName="high")
    return workload("ReplicaSet", spec, "urgent", replicas=1)


def left(cluster: EmbeddedCluster) -> dict[str, int]:
    rows = [row for row in cluster.pods() if row["ready"]]
    return {app: sum(row["labels"]["app"] == app for row in rows) for app in ("a", "b")}


def sets(a: int, b: int) -> list[dict[str, Any]]:
    return [workload("ReplicaSet", pod_spec(asks(cpu="4")), name, replicas=count)
            for name, count in (("a", a), ("b", b))]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "cpu", "expected"),
    [
        (None, "4", {"a": 2, "b": 1}),  # the youngest goes
        ({"app": "b", "minAvailable": 2}, "4", {"a": 1, "b": 2}),
        ({"app": "b", "minAvailable": 1}, "4", {"a": 2, "b": 1}),
        ({"app": "b", "maxUnavailable": 0}, "8", {"a": 0, "b": 2}),
        ({"app": "b", "maxUnavailable": "50%"}, "8", {"a": 1, "b": 1}),
        ({"app": "b", "minAvailable": "100%"}, "12", {"a": 0, "b": 1}),  # it cannot be helped
        ({"app": "b", "minAvailable": 2, "selector": {}}, "4", {"a": 2, "b": 1}),
    ],
)
def test_preemption_takes_what_a_budget_protects_last(rule: Any, cpu: str, expected: Any) -> None:
    rules = [] if rule is None else [budget(**rule)]
    cluster = run(HIGH, *sets(2, 2), *rules, nodes=[node_spec("n", cpu="16")])
    cluster.apply([important(cpu)])
    assert left(cluster) == expected


def test_preemption_prefers_the_node_where_no_budget_is_violated() -> None:
    nodes = [
        node_spec("n1", cpu="4", labels={"for": "a"}),
        node_spec("n2", cpu="4", labels={"for": "b"}),
    ]
    here = [
        workload(
            "ReplicaSet", pod_spec(asks(cpu="4"), nodeSelector={"for": name}), name, replicas=1
        )
        for name in ("a", "b")
    ]
    for protected, gone in (("a", "b"), ("b", "a")):
        cluster = run(HIGH, *here, budget(protected, minAvailable=1), nodes=nodes)
        cluster.apply([important("4")])
        assert left(cluster) == {protected: 1, gone: 0}


VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ([], 4),
        ([{"minAvailable": 3}], 1),
        ([{"minAvailable": 4}], 0),
        ([{"minAvailable": "60%"}], 1),
        ([{"maxUnavailable": 1}], 1),
        ([{"maxUnavailable": "30%"}], 2),
        ([{"maxUnavailable": "100%"}], 4),
        ([{"minAvailable": 1, "selector": {}}], 3),
        ([{"minAvailable": 4, "selector": None}], 4),
    ],
)
def test_an_eviction_is_allowed_while_enough_pods_stay_ready(rules: Any, allowed: int) -> None:
    cluster = run(web(4), *(budget("web", **rule) for rule in rules))
    world = world_of(cluster)
    evicted = 0
    for node in world.nodes:
        node.unschedulable = True  # so that nothing replaces what is evicted
    for pod in list(world.pods.values()):
        why = world.disruptions.eviction_refusal(pod)
        assert why in (None, VIOLATED)
        if why is None:
            world.delete_pod(pod, "Evicted", "evicted")
            world.settle()
            evicted += 1
    assert evicted == allowed


def test_evictions_of_pods_that_are_not_ready_or_have_two_budgets() -> None:
    cluster = run(web(2), budget("web", minAvailable=2), delays=PodDelays(ready=5000))
    world = world_of(cluster)
    first, second = world.pods.values()
    assert world.disruptions.eviction_refusal(first) is None  # it does not run yet
    cluster.advance(5)
    assert world.disruptions.eviction_refusal(first) == VIOLATED
    first.ready = False
    assert world.disruptions.eviction_refusal(first) == VIOLATED  # too few are healthy
    cluster.apply([budget("web", minAvailable=2, unhealthyPodEvictionPolicy="AlwaysAllow")])
    assert world.disruptions.eviction_refusal(first) is None
    cluster.apply([budget("web", minAvailable=1)])
    assert world.disruptions.eviction_refusal(first) is None
    cluster.apply([budget("web", "second", minAvailable=0)])
    assert "more than one PodDisruptionBudget" in str(world.disruptions.eviction_refusal(second))
    cluster.delete([budget("web"), budget("web", "second")])
    assert world.disruptions.eviction_refusal(second) is None


def test_a_share_of_pods_without_a_number_of_replicas_allows_no_disruption() -> None:
    job = workload("Job", pod_spec(asks(cpu="1")), parallelism=3, completions=3)
    for rule, refused in (({"maxUnavailable": 1}, True), ({"minAvailable": 1}, False)):
        world = world_of(run(job, budget("web", **rule)))
        (pod, *_) = world.pods.values()
        assert (world.disruptions.eviction_refusal(pod) == VIOLATED) is refused


def test_a_budget_with_both_rules_is_refused() -> None:
    told = 'PodDisruptionBudget.policy "b" is invalid: spec: Invalid value: .* minAvailable and max'
    with pytest.raises(InvalidInput, match=told):
        run(budget("web", minAvailable=1, maxUnavailable=1))


def test_pods_are_created_once_their_priority_class_is_there() -> None:
    cluster = run(web(2, priorityClassName="high"))
    assert refusals(cluster) == [
        'pods "web-1-0" is forbidden: no PriorityClass with name high was found'
    ]
    cluster.apply([HIGH])
    assert [row["priority"] for row in cluster.pods()] == [5, 5]
