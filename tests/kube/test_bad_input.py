"""What a hostile or broken trace may hold: each gets one clear line, and nobody stumbles."""

from typing import Any

import pytest

from simgit.errors import InvalidInput, SimgitError, SimgitWarning
from simgit.kube.dry_run import refused_objects
from simgit.kube.embedded import EmbeddedCluster
from simgit.kube.manifest import replace
from simgit.kube.task.cluster_setup import ClusterSetup
from simgit.kube.task.loop import Loop
from simgit.kube.task.task import Task
from simgit.kube.trace.files import read_trace_file
from simgit.kube.trace.json_form import trace_from_data, trace_from_json
from simgit.kube.trace.model import Trace
from simgit.kube.unmodelled import unmodelled
from tests.support.paths import TRACES

POD = ("spec", "template", "spec")
WEB: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [
                    {"name": "c", "image": "x", "resources": {"requests": {"cpu": "17"}}}
                ]
            },
        },
    },
}
CONTAINER = (*POD, "containers", 0)
REQUESTS = (*CONTAINER, "resources", "requests")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
BROKEN: list[tuple[tuple[str | int, ...], Any]] = [
    (("spec", "replicas"), -1),
    (("spec", "replicas"), "3"),
    (("spec", "template"), None),
    (("spec", "template", "metadata"), "x"),
    (("spec", "template", "metadata", "labels"), "x"),
    (("spec", "selector"), ["x"]),
    ((*POD, "containers"), []),
    ((*POD, "containers"), {"a": 1}),
    (CONTAINER, "x"),
    ((*CONTAINER, "resources"), "x"),
    (REQUESTS, [1]),
    ((*REQUESTS, "cpu"), "1x"),
    ((*REQUESTS, "cpu"), "-1"),
    ((*REQUESTS, "cpu"), None),
    ((*REQUESTS, "cpu"), "9" * 5000),
    ((*POD, "affinity"), "x"),
    ((*POD, "affinity"), {"podAntiAffinity": "x"}),
    ((*POD, "affinity"), {"podAntiAffinity": {REQUIRED: "x"}}),
    ((*POD, "affinity"), {"podAntiAffinity": {REQUIRED: ["x"]}}),
    ((*POD, "affinity"), {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": ["x"]}}}),
    ((*POD, "affinity"), {"nodeAffinity": {PREFERRED: [{"weight": "x", "preference": {}}]}}),
    ((*POD, "topologySpreadConstraints"), [{"maxSkew": "x"}]),
    ((*POD, "topologySpreadConstraints"), [{"labelSelector": "x"}]),
    ((*POD, "tolerations"), ["x"]),
    ((*POD, "tolerations"), [{"tolerationSeconds": "x"}]),
    ((*POD, "initContainers"), ["x"]),
    ((*POD, "schedulingGates"), 5),
    ((*POD, "overhead"), "x"),
    ((*POD, "resources"), "x"),
    ((*POD, "priority"), "x"),
]


def broken(path: tuple[str | int, ...], value: Any) -> Any:
    return replace(WEB, path, value)


@pytest.mark.parametrize(("path", "value"), BROKEN)
def test_the_cluster_refuses_it_in_words_that_are_not_pythons(path: Any, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        EmbeddedCluster().apply([broken(path, value)])
    text = str(caught.value)
    assert "default/web" in text and "\n" not in text and len(text) < 300
    assert "object has no attribute" not in text and "invalid literal" not in text


def trace_of(*manifests: Any) -> Trace:
    """Return a trace that applies objects at its second event."""
    empty = {"ts": 0, "applied_objs": [], "deleted_objs": []}
    return trace_from_data({
        "version": 2, "config": {"trackedObjects": {}}, "index": {}, "pod_lifecycles": [],
        "events": [empty, {"ts": 1, "applied_objs": list(manifests), "deleted_objs": []}],
    })  # fmt: skip


@pytest.mark.parametrize(("path", "value"), BROKEN)
def test_a_trace_is_refused_at_the_very_object(path: Any, value: Any) -> None:
    other = replace(WEB, ("metadata", "name"), "other")
    trace = trace_of(other, broken(path, value), other)
    found = refused_objects(trace)
    assert [vars(error)["path"].split(".")[:2] for error in found] == [
        ["events[1]", "applied_objs[1]"]
    ]
    with pytest.raises(InvalidInput) as caught:
        EmbeddedCluster().apply([trace.events[1].applied[1]])
    assert found[0].message.split(" at ")[0] == str(caught.value).split(" at ")[0]


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("spec", "replicas"), -1, "spec.replicas"),
        ((*REQUESTS, "cpu"), "abc", "spec.template.spec.containers[0].resources.requests.cpu"),
        ((*REQUESTS, "memory"), "-1Gi", "spec.template.spec.containers[0].resources.requests.memory"),
        ((*CONTAINER, "resources", "limits"), {"cpu": "x"},
         "spec.template.spec.containers[0].resources.limits.cpu"),
        ((*POD, "initContainers"), [{"name": "a"}, {"resources": {"requests": {"cpu": "x"}}}],
         "spec.template.spec.initContainers[1].resources.requests.cpu"),
        ((*POD, "overhead"), {"cpu": "-1"}, "spec.template.spec.overhead.cpu"),
        ((*POD, "resources"), {"limits": {"cpu": "x"}}, "spec.template.spec.resources.limits.cpu"),
        (REQUESTS, [1], "spec.template.spec.containers[0].resources.requests"),
    ],
)  # fmt: skip
def test_the_place_of_an_amount_is_named(path: Any, value: Any, place: str) -> None:
    (error,) = refused_objects(trace_of(broken(path, value)))
    assert vars(error)["path"] == f"events[1].applied_objs[0].{place}"
    assert (
        error.message.endswith(f" at '{vars(error)['path']}'") and error.message.count(" at '") == 1
    )


def test_what_the_cluster_takes_is_not_refused() -> None:
    assert refused_objects(trace_of(WEB, replace(WEB, (*REQUESTS, "cpu"), "1500m"))) == []
    for file in sorted(TRACES.glob("*.sktrace")):
        assert refused_objects(read_trace_file(file)) == []


@pytest.mark.slow
def test_an_object_of_too_many_pods_does_not_count_against_others() -> None:
    many = replace(broken(("spec", "replicas"), 20_000), ("metadata", "name"), "many")
    (error,) = refused_objects(trace_of(many, WEB))
    assert vars(error)["path"] == "events[1].applied_objs[0]"
    assert "more than 10000 pods" in error.message


def test_objects_that_are_never_there_all_at_once_are_not_refused() -> None:
    """In a replay pods of jobs end, of which validation knows nothing."""
    jobs = [
        {**WEB, "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"job-{i}"},
         "spec": {"parallelism": 4000, "completions": 4000, "ttlSecondsAfterFinished": 1,
                  "template": {"spec": {**WEB["spec"]["template"]["spec"],
                                        "restartPolicy": "Never"}}}}
        for i in range(4)
    ]  # fmt: skip
    assert refused_objects(trace_of(*jobs)) == []


@pytest.mark.parametrize(("path", "value"), BROKEN)
def test_the_loop_refuses_it_before_it_begins(path: Any, value: Any) -> None:
    data = {
        "version": 2,
        "config": {"trackedObjects": {}},
        "events": [{"ts": 0, "applied_objs": [broken(path, value)], "deleted_objs": []}],
        "index": {},
        "pod_lifecycles": [],
    }
    with pytest.raises(SimgitError) as caught:
        Loop(Task(), ClusterSetup(), trace_from_data(data)).check()
    assert "object has no attribute" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"x": "\xff"}', "not UTF-8 at byte 7"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "nested too deeply"),
        ('{"version":' + "9" * 50_000 + "}", "a number has too many digits"),
        ('{"version": 2', "not JSON"),
    ],
)
def test_a_broken_file_is_named_without_pythons_words(text: str | bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        trace_from_json(text)
    assert "recursion" not in str(caught.value) and "sys." not in str(caught.value)


def kind(api: str, name: str) -> Any:
    return {"apiVersion": api, "kind": name, "metadata": {"name": "q"}, "spec": {}}


SCALER = kind("autoscaling/v2", "HorizontalPodAutoscaler")


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (SCALER, "HorizontalPodAutoscaler is ignored; in a real cluster replicas change"),
        (kind("v1", "ReplicationController"), "its pods run"),
        (kind("extensions/v1beta1", "Deployment"), "without extensions/v1beta1 refuses it"),
        (kind("argoproj.io/v1alpha1", "Rollout"), "its controller may run pods"),
        (kind("resource.k8s.io/v1", "ResourceClaim"), "pods wait for its devices"),
        (broken(("spec", "template", "spec", "schedulerName"), "mine"), "another scheduler"),
        (broken(("spec", "template", "spec", "runtimeClassName"), "gvisor"), "has to exist"),
        (broken(("spec", "template", "spec", "resourceClaims"), [{"name": "g"}]), "for devices"),
        (
            broken(
                ("spec", "template", "spec", "volumes"),
                [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
            ),
            "a volume claim of apps/v1.Deployment is ignored",
        ),
        (broken(("spec", "volumeClaimTemplates"), [{}]), "its pods wait for volumes"),
    ],
)
def test_what_is_not_modelled_is_said_once_with_what_a_real_cluster_does(
    manifest: Any, told: str
) -> None:
    (said,) = unmodelled(trace_of(manifest, manifest))
    assert told in said and "(the first is '" in said
    with pytest.warns(SimgitWarning, match="is ignored; in a real cluster") as caught:
        Loop(Task(workload="web"), ClusterSetup(), trace_of(manifest, WEB)).check()
    assert [str(warning.message) for warning in caught] == [said]


@pytest.mark.parametrize(
    "manifest",
    [
        WEB,
        kind("v1", "Service"),
        kind("networking.k8s.io/v1", "Ingress"),
        broken(("spec", "template", "spec", "schedulerName"), "default-scheduler"),
        broken(("spec", "template", "spec", "volumes"), [{"name": "v", "emptyDir": {}}]),
    ],
)
def test_what_changes_nothing_is_not_spoken_of(manifest: Any) -> None:
    assert unmodelled(trace_of(manifest)) == []


def test_the_event_of_an_ignored_object_says_what_a_real_cluster_does() -> None:
    cluster = EmbeddedCluster()
    cluster.apply([SCALER, kind("v1", "Service")])
    assert [event["message"] for event in cluster.events()] == [
        "in a real cluster replicas change with the load",
        "objects of this kind run no pods",
    ]
