"""What a hostile or broken trace may hold: each gets one clear line, and nobody stumbles."""

from typing import Any

import pytest

from simgit.errors import InvalidInput, SimgitError
from simgit.kube.embedded import EmbeddedCluster
from simgit.kube.loop import Loop
from simgit.kube.manifest import replace
from simgit.kube.setting import Setting
from simgit.kube.task import Task
from simgit.kube.trace_json import trace_from_data, trace_from_json

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
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "17"}}}]},
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
    (("spec", "template", "metadata", "labels"), "x"),
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
        Loop(Task(), Setting(), trace_from_data(data)).check()
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
