"""Objects that the API server refuses, and its words for it."""

from typing import Any

import pytest

from simgit.errors import InvalidInput
from simgit.kube.dry_run import refused_objects
from simgit.kube.embedded import EmbeddedCluster
from simgit.kube.manifest import replace
from simgit.kube.task.actions import act
from simgit.kube.task.task import Task
from simgit.kube.trace.model import Event, Trace
from simgit.kube.unmodelled import unmodelled

Path = tuple[str | int, ...]
SPEC: Path = ("spec", "template", "spec")
FIRST: Path = (*SPEC, "containers", 0)
RESOURCES: Path = (*FIRST, "resources")
AT = "spec.template.spec.containers[0]"
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
    "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
NO_MATCH = "`selector` does not match template `labels`"


def valid(kind: str = "Deployment") -> dict[str, Any]:
    """Return an object that the API server takes."""
    pod = {"containers": [{"name": "c", "image": "x"}]}
    template: dict[str, Any] = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    group = "apps/v1"
    if kind in ("Job", "CronJob"):
        group, spec = "batch/v1", {"template": {"spec": {**pod, "restartPolicy": "Never"}}}
    if kind == "CronJob":
        spec = {"schedule": "@daily", "jobTemplate": {"spec": spec}}
    if kind == "Pod":
        group, spec = "v1", pod
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "web"}, "spec": spec}


def twice(name: str = "c") -> list[dict[str, Any]]:
    return [{"name": "c", "image": "x"}, {"name": name, "image": "x"}]


@pytest.mark.parametrize(
    "kind", ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod"]
)
def test_a_valid_object_is_taken_twice(kind: str) -> None:
    EmbeddedCluster().apply([valid(kind), valid(kind)])


@pytest.mark.parametrize(
    ("kind", "path", "value", "told"),
    [
        ("Deployment", RESOURCES, {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
         f'{AT}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
        ("Deployment", RESOURCES, {"requests": {"memory": "-1Gi"}},
         f'{AT}.resources.requests[memory]: Invalid value: "-1Gi": must be greater than or equal to 0'),
        ("Deployment", RESOURCES, {"limits": {"example.com/gpu": "500m"}},
         f'{AT}.resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer'),
        ("Deployment", RESOURCES, {"requests": {"example.com/gpu": "1"}},
         f"{AT}.resources.limits: Required value: Limit must be set for non overcommitable resources"),
        ("Deployment", RESOURCES,
         {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "2"}},
         f'{AT}.resources.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2'),
        ("Deployment", RESOURCES, {"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}},
         f'{AT}.resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer '
         "multiple of hugepages-2Mi"),
        ("Deployment", RESOURCES, {"limits": {"hugepages-2Mi": "4Mi"}},
         f"{AT}.resources: Forbidden: HugePages require cpu or memory"),
        ("Deployment", RESOURCES, {"requests": {"gpu": "1"}, "limits": {"gpu": "1"}},
         f'[{AT}.resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for '
         f'containers, {AT}.resources.requests[gpu]: Invalid value: "gpu": must be a standard '
         "resource for containers]"),
        ("Deployment", FIRST, {"name": "c"}, f"{AT}.image: Required value"),
        ("Deployment", FIRST, {"image": "x"}, f"{AT}.name: Required value"),
        ("Deployment", FIRST, {"name": "C_1", "image": "x"},
         f'{AT}.name: Invalid value: "C_1": {LABEL}'),
        ("Deployment", (*SPEC, "containers"), twice(),
         'spec.template.spec.containers[1].name: Duplicate value: "c"'),
        ("Deployment", (*SPEC, "initContainers"), twice("d")[:1],
         'spec.template.spec.initContainers[0].name: Duplicate value: "c"'),
        ("Deployment", (*SPEC, "volumes"), [{"name": "v"}, {"name": "v"}],
         'spec.template.spec.volumes[1].name: Duplicate value: "v"'),
        ("Deployment", (*FIRST, "ports"),
         [{"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 70_000}],
         f'[{AT}.ports[1].name: Duplicate value: "http", {AT}.ports[1].containerPort: Invalid '
         "value: 70000: must be between 1 and 65535, inclusive]"),
        ("Deployment", (*SPEC, "containers"), [], "spec.template.spec.containers: Required value"),
        ("Deployment", (*SPEC, "restartPolicy"), "Never",
         'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'),
        ("Deployment", (*SPEC, "restartPolicy"), "Perhaps",
         'spec.template.spec.restartPolicy: Unsupported value: "Perhaps": supported values: '
         '"Always", "Never", "OnFailure"'),
        ("Job", (*SPEC, "restartPolicy"), None,
         'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'),
        ("CronJob", ("spec", "jobTemplate", *SPEC, "containers", 0, "image"), "",
         "spec.jobTemplate.spec.template.spec.containers[0].image: Required value"),
        ("Pod", ("spec", "containers", 0, "resources"), {"limits": {"cpu": "-1"}},
         'spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or '
         "equal to 0"),
        ("Pod", ("metadata", "labels"), {"a b": "c"},
         'metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '
         "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or "
         "'my.name',  or '123-abc', regex used for validation is "
         "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"),
        ("Deployment", ("spec", "selector"), None,
         "[spec.selector: Required value, spec.template.metadata.labels: Invalid value: "
         f'{{"app":"web"}}: {NO_MATCH}]'),
        ("Deployment", ("spec", "selector"), {"matchLabels": {"app": "api"}},
         f'spec.template.metadata.labels: Invalid value: {{"app":"web"}}: {NO_MATCH}'),
        ("DaemonSet", ("spec", "selector"), {},
         "spec.selector: Invalid value: {}: empty selector is invalid for daemonset"),
        ("Deployment", ("spec", "replicas"), -1,
         "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ("Job", ("spec", "backoffLimit"), -2,
         "spec.backoffLimit: Invalid value: -2: must be greater than or equal to 0"),
        ("Deployment", ("spec", "strategy"), {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
         "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` "
         "is 0"),
        ("Deployment", ("spec", "strategy"),
         {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": "0%"}},
         'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when '
         "`maxSurge` is 0"),
        ("Deployment", ("spec", "strategy"), {"type": "Recreate", "rollingUpdate": {}},
         "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is "
         "'Recreate'"),
        ("Deployment", ("spec", "strategy"), {"rollingUpdate": {"maxUnavailable": "101%"}},
         'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater '
         "than 100%"),
        ("Deployment", ("spec", "minReadySeconds"), 600,
         "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"),
        ("DaemonSet", ("spec", "updateStrategy"), {"rollingUpdate": {"maxSurge": 1}},
         "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when "
         "maxUnavailable is non-zero"),
        ("DaemonSet", ("spec", "updateStrategy"), {"rollingUpdate": {"maxUnavailable": 0}},
         "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when "
         "maxSurge is 0"),
        ("StatefulSet", ("spec", "updateStrategy"), {"rollingUpdate": {"maxUnavailable": 0}},
         "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"),
        ("StatefulSet", ("spec", "template", "metadata", "labels"), {"app": "web", "": "b"},
         '[spec.template.labels: Invalid value: "": name part must be non-empty, '
         'spec.template.labels: Invalid value: "": name part must consist of alphanumeric characters, '
         "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or "
         "'my.name',  or '123-abc', regex used for validation is "
         "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')]"),
        ("Deployment", ("metadata", "namespace"), "a.b",
         f'metadata.namespace: Invalid value: "a.b": {LABEL}'),
        ("CronJob", ("metadata", "name"), "c" * 53,
         f'metadata.name: Invalid value: "{"c" * 53}": must be no more than 52 characters'),
        ("Deployment", ("metadata", "labels"), {"app": "a" * 64},
         f'metadata.labels: Invalid value: "{"a" * 64}": must be no more than 63 bytes'),
        ("Deployment", (*SPEC, "tolerations"), [{"key": "k", "operator": "Like"}],
         'spec.template.spec.tolerations[0].operator: Unsupported value: "Like": supported values: '
         '"Equal", "Exists"'),
        ("Deployment", (*SPEC, "tolerations"), [{"value": "v"}],
         'spec.template.spec.tolerations[0].operator: Invalid value: "": operator must be Exists '
         'when `key` is empty, which means "match all values and all keys"'),
        ("Deployment", (*SPEC, "tolerations"), [{"key": "k", "tolerationSeconds": 5}],
         'spec.template.spec.tolerations[0].effect: Invalid value: "": effect must be \'NoExecute\' '
         "when `tolerationSeconds` is set"),
        # what 1.20 did not have: no answer of a real server is recorded
        ("Job", ("spec", "completionMode"), "Sorted",
         'spec.completionMode: Unsupported value: "Sorted": supported values: "Indexed", "NonIndexed"'),
        ("Deployment", (*SPEC, "topologySpreadConstraints"),
         [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2,
           "nodeTaintsPolicy": "Obey"}],
         "[spec.template.spec.topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: "
         '"Obey": supported values: "Honor", "Ignore", '
         "spec.template.spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use "
         "minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway]"),
        ("Deployment", (*SPEC, "topologySpreadConstraints"),
         [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}],
         "spec.template.spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater "
         "than zero"),
    ],
)  # fmt: skip
def test_an_invalid_object_is_refused_in_the_servers_words(
    kind: str, path: Path, value: Any, told: str
) -> None:
    bad = replace(valid(kind), path, value)
    with pytest.raises(InvalidInput) as caught:
        EmbeddedCluster().apply([bad])
    text = str(caught.value)
    group = {"Pod": "Pod", "Job": "Job.batch", "CronJob": "CronJob.batch"}.get(kind, f"{kind}.apps")
    name, namespace = bad["metadata"]["name"], bad["metadata"].get("namespace", "default")
    prefix = f'{namespace}/{name}: {group} "{name}" is invalid: '
    assert text.startswith(prefix)
    assert text.removeprefix(prefix) == told


@pytest.mark.parametrize(
    ("kind", "path", "value", "told"),
    [
        ("Deployment", ("spec", "selector", "matchLabels"), {"tier": "b"},
         'spec.selector: Invalid value: {"matchLabels":{"tier":"b"}}: field is immutable'),
        ("Job", ("spec", "completions"), 3, "spec.completions: Invalid value: 3: field is immutable"),
        ("Job", (*FIRST, "image"), "y", "spec.template: Invalid value: {"),
        ("StatefulSet", ("spec", "podManagementPolicy"), "Parallel",
         "spec: Forbidden: updates to statefulset spec for fields other than 'replicas'"),
    ],
)  # fmt: skip
def test_what_cannot_change_stays_as_it_was(kind: str, path: Path, value: Any, told: str) -> None:
    first = valid(kind)
    if kind == "Deployment":
        first = replace(
            first, ("spec", "template", "metadata", "labels"), {"app": "web", "tier": "b"}
        )
    if kind == "Job":
        first = replace(first, ("spec", "completions"), 2)
    cluster = EmbeddedCluster()
    cluster.apply([first])
    before = cluster.pods()
    with pytest.raises(InvalidInput, match=r"is invalid: ") as caught:
        cluster.apply([replace(first, path, value)])
    assert told in str(caught.value)
    assert cluster.pods() == before
    again = replace(first, (*FIRST, "terminationMessagePath"), "/dev/termination-log")
    cluster.apply([again])  # a default that is written out is no change


def test_the_pods_of_a_statefulset_are_validated_when_they_are_created() -> None:
    """The API server takes the set: only pods have their specs validated."""
    resources = {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}
    cluster = EmbeddedCluster()
    cluster.apply([replace(valid("StatefulSet"), RESOURCES, resources)])
    (told,) = (row["message"] for row in cluster.events() if row["reason"] == "FailedCreate")
    assert told == (
        'Pod "web-0" is invalid: spec.containers[0].resources.requests: Invalid value: "2": must be '
        "less than or equal to cpu limit of 1"
    )
    cluster.apply([valid("StatefulSet")])
    assert [row["ready"] for row in cluster.pods()] == [True]


def test_the_claims_of_a_statefulset_are_volumes_of_its_pods() -> None:
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("data", "logs")]
    made = replace(valid("StatefulSet"), (*FIRST, "volumeMounts"), mounts)
    claims = [{"metadata": {"name": "data"}}]
    for others, told in (
        (
            [],
            ['Pod "web-0" is invalid: spec.containers[0].volumeMounts[1].name: Not found: "logs"'],
        ),
        ([{"name": "logs", "emptyDir": {}}], []),
    ):
        cluster = EmbeddedCluster()
        with_volumes = replace(made, (*SPEC, "volumes"), others)
        cluster.apply([replace(with_volumes, ("spec", "volumeClaimTemplates"), claims)])
        events = cluster.events()
        assert [row["message"] for row in events if row["reason"] == "FailedCreate"] == told
        assert len(cluster.pods()) == (not told)


def test_a_job_keeps_the_completions_that_it_was_created_with() -> None:
    cluster = EmbeddedCluster()
    cluster.apply([valid("Job"), replace(valid("Job"), ("spec", "parallelism"), 3)])
    assert len(cluster.pods()) == 1


def test_a_pod_that_is_not_there_is_created_whatever_was_applied_before() -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
             "spec": {"hard": {"pods": "0"}}}  # fmt: skip
    other = replace(valid("Pod"), ("spec", "containers"), [{"name": "d", "image": "x"}])
    cluster = EmbeddedCluster()
    cluster.apply([quota, valid("Pod")])
    assert cluster.pods() == []
    cluster.delete([quota])
    cluster.apply([other])
    assert len(cluster.pods()) == 1
    with pytest.raises(InvalidInput, match="pod updates may not change fields other than"):
        cluster.apply([valid("Pod")])


def test_the_place_in_a_trace_is_that_of_the_first_cause() -> None:
    bad = replace(valid(), RESOURCES, {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})
    (error,) = refused_objects(Trace((Event(0, (valid("Pod"), bad)),)))
    place = "events[0].applied_objs[1].spec.template.spec.containers[0].resources.requests"
    assert vars(error)["path"] == place and error.message.endswith(f" at '{place}'")
    assert 'Deployment.apps "web" is invalid: ' in error.message


def test_a_change_that_is_not_allowed_is_found_in_a_trace() -> None:
    labels = {"app": "web", "tier": "b"}
    first = replace(valid(), ("spec", "template", "metadata", "labels"), labels)
    second = replace(first, ("spec", "selector", "matchLabels"), labels)
    events = [Event(0, (first,)), Event(1, (second,)), Event(2, (), (second,)), Event(3, (second,))]
    (error,) = refused_objects(Trace(tuple(events)))
    assert vars(error)["path"] == "events[1].applied_objs[0].spec.selector"


def test_an_action_beyond_the_containers_limit_is_blocked() -> None:
    resources = {"requests": {"cpu": "1"}, "limits": {"cpu": "1200m"}}
    trace = Trace((Event(0, (replace(valid(), RESOURCES, resources),)),))
    match = Task(workload="web").find(trace)
    result = act(trace, match, "bump_cpu_small")
    assert result.trace is trace and result.error == (
        f'default/web: {AT}.resources.requests: Invalid value: "1500m": must be less than or equal '
        "to cpu limit of 1200m"
    )
    assert act(trace, match, "reduce_cpu_small").changed


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((), "serviceAccountName of apps/v1.Deployment is ignored; in a real cluster its pods are "
             "refused while there is no such account (the first is 'default/web')"),
        (({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}},), None),
    ],
)  # fmt: skip
def test_a_service_account_that_no_object_creates_is_spoken_of(
    others: Any, said: str | None
) -> None:
    web = replace(valid(), (*SPEC, "serviceAccountName"), "robot")
    assert unmodelled(Trace((Event(0, (*others, web, web)),))) == [said] * (said is not None)


def test_what_a_quota_counts_beyond_the_model_is_spoken_of() -> None:
    hard = {"pods": "1", "requests.cpu": "1", "count/jobs.batch": "1", "services": "1"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
             "spec": {"hard": hard}}  # fmt: skip
    (said,) = unmodelled(Trace((Event(0, (quota,)),)))
    assert said.startswith("'services' of v1.ResourceQuota is ignored; in a real cluster objects")
    EmbeddedCluster().apply([quota])
