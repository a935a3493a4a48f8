"""Corners of the scheduler, each as kube-scheduler 1.35.4 decided it with the same nodes and pods.

A case names the source file (of kubernetes, tag v1.35.4) that it follows: nodes, steps, and where
each pod is at the end or the very words in which it waits. Pods stand alone, and where one could
go to several equal nodes the case does not say where.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest

from simgit.kube.embedded import EmbeddedCluster, NodeSpec, node_spec

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
PLUGINS = "pkg/scheduler/framework/plugins/"
CLASSES = {"low": 10, "mid": 100, "high": 1000}
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_AFFINITY = "node(s) didn't match pod affinity rules"
KEPT_AWAY = "node(s) didn't satisfy existing pods anti-affinity rules"
SKEW = "node(s) didn't match pod topology spread constraints"
NO_LABEL = "node(s) didn't match pod topology spread constraints (missing required label)"
NO_PORTS = "node(s) didn't have free ports for the requested pod ports"
NO_MATCH = "node(s) didn't match Pod's node affinity/selector"
TAINTED = "node(s) had untolerated taint(s)"
CORDONED = "node(s) were unschedulable"
OTHERS = "node(s) didn't satisfy plugin(s) [NodeAffinity]"


class Case(NamedTuple):
    """Steps are pods to create, or names of pods to delete; ``ends`` names nodes or messages."""

    name: str
    follows: str
    nodes: list[NodeSpec]
    steps: list[Any]
    ends: dict[str, str | None]


def pod(name: str, cpu: str | None = "1", **more: Any) -> dict[str, Any]:
    requests = more.pop("requests", {} if cpu is None else {"cpu": cpu})
    resources = {"requests": requests, **more.pop("resources_of_container", {})}
    container = {"name": "c", "image": "x", "resources": resources, **more.pop("container", {})}
    labels = more.pop("labels", {"app": more.pop("app", name)})
    metadata = {"name": name, "namespace": more.pop("namespace", "default"), "labels": labels}
    spec = {"containers": [container], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def node(name: str, cpu: str = "16", **more: Any) -> NodeSpec:
    return node_spec(name, cpu=cpu, **more)


def said(reasons: str, after: str, total: int) -> str:
    return (
        f"0/{total} nodes are available: {reasons}. no new claims to deallocate, "
        f"preemption: 0/{total} nodes are available: {after}."
    )


def term(app: str | None, key: str = HOST, **more: Any) -> dict[str, Any]:
    selector = {} if app is None else {"matchLabels": {"app": app}}
    return {"labelSelector": selector, "topologyKey": key, **more}


def near(*terms: Any) -> dict[str, Any]:
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def apart(*terms: Any) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    return {"affinity": {"podAntiAffinity": required}}


def on(*terms: Any) -> dict[str, Any]:
    required = {"nodeSelectorTerms": terms}
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    }


def named(operator: str, *names: str) -> dict[str, Any]:
    return {"key": "metadata.name", "operator": operator, "values": names}


def label(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}


def spread(key: str = HOST, app: str | None = "s", **more: Any) -> dict[str, Any]:
    base = {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", **term(app, key)}
    return {"topologySpreadConstraints": [{**base, **more}]}


def host_port(number: int = 80, **more: Any) -> dict[str, Any]:
    return {"container": {"ports": [{"containerPort": 8080, "hostPort": number, **more}]}}


def taint(key: str, effect: str = "NoSchedule", **more: Any) -> dict[str, str]:
    return {"key": key, "effect": effect, **more}


GPU = "example.com/gpu"
CASES = [
    Case(
        "names of nodes that rule each other out",
        PLUGINS + "nodeaffinity/node_affinity.go",
        [node("a"), node("b")],
        [pod("p", **on({"matchFields": [named("In", "a"), named("In", "b")]}))],
        {"p": "0/2 nodes are available: pod affinity terms conflict. not found"},
    ),
    Case(
        "the name of a node that is not there",
        PLUGINS + "nodeaffinity/node_affinity.go",
        [node("a"), node("b")],
        [pod("p", **on({"matchFields": [named("In", "z")]}))],
        {"p": said(f"2 {OTHERS}", f"2 {NOT_HELPFUL}", 2)},
    ),
    Case(
        "one of two terms names a node, so that all are looked at",
        PLUGINS + "nodeaffinity/node_affinity.go",
        [node("a"), node("b", labels={"disk": "ssd"}), node("c")],
        [pod("p", "17", **on({"matchFields": [named("In", "a")]}, label("disk", "Exists")))],
        {"p": said(f"1 {NO_MATCH}, 2 Insufficient cpu", f"3 {NOT_HELPFUL}", 3)},
    ),
    Case(
        "any node but one",
        PLUGINS + "nodeaffinity/node_affinity.go",
        [node("a"), node("b")],
        [pod("p", **on({"matchFields": [named("NotIn", "a")]}))],
        {"p": "b"},
    ),
    Case(
        "an underscore makes no number",
        "staging/src/k8s.io/apimachinery/pkg/labels/selector.go",
        [node("a", labels={"gen": "1_0"}), node("b", labels={"gen": "6"})],
        [pod("p", **on(label("gen", "Gt", "5"))), pod("q", **on(label("gen", "Gt", "7")))],
        {"p": "b", "q": said(f"2 {NO_MATCH}", f"2 {NOT_HELPFUL}", 2)},
    ),
    Case(
        "a node that is not ready is put up with for five minutes",
        "plugin/pkg/admission/defaulttolerationseconds/admission.go",
        [
            node("a", taints=[taint("node.kubernetes.io/not-ready", "NoExecute")]),
            node("b", taints=[taint("node.kubernetes.io/not-ready", "NoSchedule")]),
        ],
        [pod("p"), pod("q", "17")],
        {"p": "a", "q": said(f"1 Insufficient cpu, 1 {TAINTED}", f"2 {NOT_HELPFUL}", 2)},
    ),
    Case(
        "an own word about unreachable nodes replaces the default",
        "plugin/pkg/admission/defaulttolerationseconds/admission.go",
        [node("a", taints=[taint("node.kubernetes.io/unreachable", "NoExecute", value="v")])],
        [
            pod("p", tolerations=[{"key": "node.kubernetes.io/unreachable", "value": "w"}]),
            pod("q"),
        ],
        {"p": said(f"1 {TAINTED}", f"1 {NOT_HELPFUL}", 1), "q": "a"},
    ),
    Case(
        "an empty selector counts no pods for a spread",
        PLUGINS + "podtopologyspread/common.go",
        [node("a"), node("b", cpu="1")],
        [pod(f"s{i}", "3", **spread(app=None)) for i in range(3)],
        {f"s{i}": "a" for i in range(3)},
    ),
    Case(
        "no selector at all counts none either",
        PLUGINS + "podtopologyspread/common.go",
        [node("a"), node("b", cpu="1")],
        [pod(f"s{i}", "3", **spread(labelSelector=None)) for i in range(3)],
        {f"s{i}": "a" for i in range(3)},
    ),
    Case(
        "a cordoned node is a domain",
        PLUGINS + "podtopologyspread/filtering.go",
        [node("a"), node("b", unschedulable=True)],
        [pod(f"s{i}", app="s", **spread()) for i in range(2)],
        {
            "s0": "a",
            "s1": said(f"1 {SKEW}, 1 {CORDONED}", f"1 {NO_VICTIMS}, 1 {NOT_HELPFUL}", 2),
        },
    ),
    Case(
        "a cordoned node is none where taints are honoured",
        PLUGINS + "podtopologyspread/common.go",
        [node("a"), node("b", unschedulable=True)],
        [pod(f"s{i}", app="s", **spread(nodeTaintsPolicy="Honor")) for i in range(2)],
        {"s0": "a", "s1": "a"},
    ),
    Case(
        "pods that do not match their own constraint pile up as far as others do",
        PLUGINS + "podtopologyspread/filtering.go",
        [node("a"), node("b", cpu="1")],
        [
            pod("s0", "3", app="s"),
            *(pod(f"x{i}", "3", **spread()) for i in range(2)),
            pod("s1", "3", app="s"),
            pod("x2", "3", **spread()),
        ],
        {
            **dict.fromkeys(("s0", "x0", "x1", "s1"), "a"),
            "x2": said(f"1 Insufficient cpu, 1 {SKEW}", f"1 {NO_VICTIMS}, 1 {NOT_HELPFUL}", 2),
        },
    ),
    Case(
        "two constraints: a node that lacks one label is no domain of the other",
        PLUGINS + "podtopologyspread/filtering.go",
        [node("a", labels={ZONE: "z"}), node("b")],
        [
            pod(
                f"s{i}",
                app="s",
                topologySpreadConstraints=[
                    *spread(HOST)["topologySpreadConstraints"],
                    *spread(ZONE)["topologySpreadConstraints"],
                ],
            )
            for i in range(3)
        ],
        dict.fromkeys(("s0", "s1", "s2"), "a"),
    ),
    Case(
        "keys of labels narrow the selector to the pod's own values",
        PLUGINS + "podtopologyspread/common.go",
        [node("a"), node("b", cpu="1")],
        [
            pod("s0", "3", labels={"app": "s", "v": "1"}, **spread(matchLabelKeys=["v"])),
            pod("s1", "3", labels={"app": "s", "v": "2"}, **spread(matchLabelKeys=["v"])),
            pod("s2", "3", labels={"app": "s", "v": "2"}, **spread(matchLabelKeys=["v"])),
        ],
        {
            "s0": "a",
            "s1": "a",
            "s2": said(f"1 Insufficient cpu, 1 {SKEW}", f"1 {NO_VICTIMS}, 1 {NOT_HELPFUL}", 2),
        },
    ),
    Case(
        "spread is counted in one namespace",
        PLUGINS + "podtopologyspread/common.go",
        [node("a"), node("b", cpu="1")],
        [
            pod("s0", "3", app="s", namespace="other"),
            pod("s1", "3", app="s", **spread()),
        ],
        {"s0": "a", "s1": "a"},
    ),
    Case(
        "a shortage comes before a spread, and the spread before an affinity",
        PLUGINS + "../../apis/config/v1/default_plugins.go",
        [node("a"), node("b", cpu="1")],
        [
            pod("s0", "3", app="s"),
            pod("p", "3", labels={"app": "s"}, **spread(), **apart(term("s"))),
        ],
        {
            "s0": "a",
            "p": said(f"1 Insufficient cpu, 1 {SKEW}", f"1 {NO_VICTIMS}, 1 {NOT_HELPFUL}", 2),
        },
    ),
    Case(
        "without the label of the topology no two pods are in one place",
        PLUGINS + "interpodaffinity/filtering.go",
        [node("a")],
        [pod(f"p{i}", app="p", **apart(term("p", ZONE))) for i in range(2)],
        {"p0": "a", "p1": "a"},
    ),
    Case(
        "without the label of the topology nobody is near",
        PLUGINS + "interpodaffinity/filtering.go",
        [node("a")],
        [pod("p", **near(term("p", ZONE)))],
        {"p": said(f"1 {NO_AFFINITY}", f"1 {NOT_HELPFUL}", 1)},
    ),
    Case(
        "one pod must match all the terms",
        PLUGINS + "interpodaffinity/filtering.go",
        [node("a")],
        [
            pod("x", labels={"app": "x"}),
            pod("y", labels={"app": "y"}),
            pod("p", **near(term("x"), term("y"))),
        ],
        {"x": "a", "y": "a", "p": said(f"1 {NO_AFFINITY}", f"1 {NOT_HELPFUL}", 1)},
    ),
    Case(
        "a term that names a namespace leaves out the own one",
        PLUGINS + "interpodaffinity/filtering.go",
        [node("a")],
        [pod("x"), pod("p", **near(term("x", namespaces=["other"])))],
        {"x": "a", "p": said(f"1 {NO_AFFINITY}", f"1 {NOT_HELPFUL}", 1)},
    ),
    Case(
        "an empty selector of namespaces means all of them",
        PLUGINS + "interpodaffinity/filtering.go",
        [node("a"), node("b", cpu="2")],
        [
            pod("x", "3", namespace="other"),
            pod("p", **near(term("x", namespaceSelector={}))),
            pod("q", **apart(term("x", namespaceSelector={}))),
        ],
        {"x": "a", "p": "a", "q": "b"},
    ),
    Case(
        "a pod that is there keeps others away from its whole zone",
        PLUGINS + "interpodaffinity/filtering.go",
        [node("a", labels={ZONE: "z"}), node("b", "2", labels={ZONE: "z"}), node("c", "1")],
        [pod("x", "3", **apart(term("p", ZONE))), pod("p", "2")],
        {
            "x": "a",
            "p": said(f"1 Insufficient cpu, 2 {KEPT_AWAY}", f"1 {NOT_HELPFUL}, 2 {NO_VICTIMS}", 3),
        },
    ),
    Case(
        "a pod that was kept away is not told when the way is free",
        PLUGINS + "interpodaffinity/plugin.go",
        [node("a")],
        [pod("x", **apart(term("p"))), pod("p"), "x"],
        {"p": said(f"1 {KEPT_AWAY}", f"1 {NO_VICTIMS}", 1)},
    ),
    Case(
        "a pod that keeps away itself is told",
        PLUGINS + "interpodaffinity/plugin.go",
        [node("a")],
        [pod("x"), pod("p", **apart(term("x"))), "x"],
        {"p": "a"},
    ),
    Case(
        "a pod that waits for another is told of none but that one",
        PLUGINS + "interpodaffinity/plugin.go",
        [node("a", "4")],
        [pod("p", "2", **near(term("y"))), pod("x", "3"), "x", pod("y", "1")],
        {"p": "a", "y": "a"},
    ),
    Case(
        "what waits for another is not asked again when the room goes",
        PLUGINS + "interpodaffinity/plugin.go",
        [node("a", "4")],
        [pod("p", "2", **near(term("y"))), pod("x", "3")],
        {"x": "a", "p": said(f"1 {NO_AFFINITY}", f"1 {NOT_HELPFUL}", 1)},
    ),
    Case(
        "a port that is freed is told of",
        PLUGINS + "nodeports/node_ports.go",
        [node("a")],
        [pod("x", **host_port()), pod("p", **host_port()), "x"],
        {"p": "a"},
    ),
    Case(
        "another port that is freed is not",
        PLUGINS + "nodeports/node_ports.go",
        [node("a", "4")],
        [
            pod("x", **host_port()),
            pod("y", "3", **host_port(81)),
            pod("p", "2", **host_port()),
            "y",
            pod("z", "3"),
        ],
        {"x": "a", "z": "a", "p": said(f"1 {NO_PORTS}", f"1 {NO_VICTIMS}", 1)},
    ),
    Case(
        "on the host's network a port is the host's",
        "pkg/apis/core/v1/defaults.go",
        [node("a")],
        [
            pod(f"p{i}", hostNetwork=True, container={"ports": [{"containerPort": 80}]})
            for i in range(2)
        ],
        {"p0": "a", "p1": said(f"1 {NO_PORTS}", f"1 {NO_VICTIMS}", 1)},
    ),
    Case(
        "a sidecar holds its port of the host",
        "pkg/scheduler/util/utils.go",
        [node("a")],
        [
            pod(
                "p0",
                initContainers=[
                    {
                        "name": "i",
                        "image": "x",
                        "restartPolicy": "Always",
                        "ports": [{"containerPort": 80, "hostPort": 80}],
                    }
                ],
            ),
            pod("p1", **host_port()),
        ],
        {"p0": "a", "p1": said(f"1 {NO_PORTS}", f"1 {NO_VICTIMS}", 1)},
    ),
    Case(
        "an explicit nothing is a request: the pod's limit does not stand in",
        "pkg/apis/core/v1/defaults.go",
        [node("a")],
        [
            pod("p", "0", resources={"limits": {"cpu": "17"}}),
            pod("q", None, resources={"limits": {"cpu": "17"}}),
        ],
        {"p": "a", "q": said("1 Insufficient cpu", f"1 {NOT_HELPFUL}", 1)},
    ),
    Case(
        "a pod as a whole has no devices",
        "staging/src/k8s.io/component-helpers/resource/helpers.go",
        [node("a")],
        [pod("p", resources={"requests": {"cpu": "2", GPU: "1"}})],
        {"p": "a"},
    ),
    Case(
        "memory, storage and devices are told together, with the room for pods first",
        PLUGINS + "noderesources/fit.go",
        [node("a", pods=1, extra={GPU: 1}, storage="1Gi")],
        [
            pod("x", requests={GPU: "1"}, resources_of_container={"limits": {GPU: "1"}}),
            pod(
                "p",
                requests={"memory": "33Gi", GPU: "1", "ephemeral-storage": "2Gi", "cpu": "17"},
                resources_of_container={"limits": {GPU: "1"}},
            ),
        ],
        {
            "x": "a",
            "p": said(
                f"1 Insufficient cpu, 1 Insufficient ephemeral-storage, 1 Insufficient {GPU}, "
                "1 Insufficient memory, 1 Too many pods",
                f"1 {NOT_HELPFUL}",
                1,
            ),
        },
    ),
    Case(
        "huge pages that a node has not",
        PLUGINS + "noderesources/fit.go",
        [node("a"), node("b", extra={"hugepages-2Mi": 4 * 2**20})],
        [
            pod(
                f"p{i}",
                requests={"hugepages-2Mi": "4Mi", "cpu": "1"},
                resources_of_container={"limits": {"hugepages-2Mi": "4Mi"}},
            )
            for i in range(2)
        ],
        {
            "p0": "b",
            "p1": said("2 Insufficient hugepages-2Mi", f"1 {NO_VICTIMS}, 1 {NOT_HELPFUL}", 2),
        },
    ),
    Case(
        "a pod that asks for devices only is not weighed for balance",
        PLUGINS + "noderesources/balanced_allocation.go",
        [node("a", extra={GPU: 2}), node("b", "64", extra={GPU: 2})],
        [
            pod(
                "x",
                "15",
                **on({"matchFields": [named("In", "a")]}),
                requests={"cpu": "15", "memory": "30Gi"},
            ),
            pod("y", **on({"matchFields": [named("In", "b")]}), requests={"cpu": "63"}),
            pod("p", requests={GPU: "1"}, resources_of_container={"limits": {GPU: "1"}}),
        ],
        {"x": "a", "y": "b", "p": "b"},
    ),
    Case(
        "of a pod that comes only the containers are weighed",
        PLUGINS + "noderesources/fit.go",
        [node("a", "8", memory="8Gi"), node("b", "16", memory="4Gi")],
        [pod("p", "1", resources={"requests": {"cpu": "8"}})],
        {"p": "b"},
    ),
    Case(
        "a soft taint that is tolerated does not count",
        PLUGINS + "tainttoleration/taint_toleration.go",
        [
            node("a", taints=[taint("k", "PreferNoSchedule"), taint("l", "PreferNoSchedule")]),
            node("b", "8", taints=[taint("k", "PreferNoSchedule")]),
            node("c", "4", taints=[taint("l", "PreferNoSchedule")]),
        ],
        [pod("p", tolerations=[{"key": "l", "operator": "Exists"}]), pod("q")],
        {"p": "c", "q": "b"},
    ),
    Case(
        "an empty preference prefers nothing",
        "staging/src/k8s.io/component-helpers/scheduling/corev1/nodeaffinity/nodeaffinity.go",
        [node("a", "8", labels={"disk": "ssd"}), node("b")],
        [
            pod(
                "p",
                affinity={
                    "nodeAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"weight": 100, "preference": {}},
                            {"weight": 1, "preference": label("disk", "Exists")},
                        ]
                    }
                },
            )
        ],
        {"p": "a"},
    ),
    Case(
        "what a pod wants near counts for its equals that come later",
        PLUGINS + "interpodaffinity/scoring.go",
        [node("a"), node("b", "32", memory="64Gi")],
        [
            pod("x", **near(term("x")), nodeSelector={HOST: "a"}),
            pod("y", app="x"),
        ],
        {"x": "a", "y": "a"},
    ),
    Case(
        "three ways in which a node is no use for preemption",
        "pkg/scheduler/framework/preemption/preemption.go",
        [node("a"), node("b"), node("c"), node("d", "4"), node("e", taints=[taint("k")])],
        [
            pod("x", "12", nodeSelector={HOST: "a"}, priorityClassName="mid"),
            pod("y", "12", nodeSelector={HOST: "b"}, priorityClassName="high"),
            pod("l", "4", nodeSelector={HOST: "b"}, priorityClassName="low"),
            pod("z", "9", nodeSelector={HOST: "c"}, priorityClassName="mid"),
            pod("p", "8", priorityClassName="mid"),
        ],
        {
            "x": "a",
            "y": "b",
            "l": "b",
            "z": "c",
            "p": said(
                f"1 {TAINTED}, 4 Insufficient cpu",
                f"1 Insufficient cpu, 2 {NO_VICTIMS}, 2 {NOT_HELPFUL}",
                5,
            ),
        },
    ),
    Case(
        "the node whose most important victim matters least",
        "pkg/scheduler/framework/preemption/preemption.go",
        [node("a"), node("b")],
        [
            pod("x", "16", nodeSelector={HOST: "a"}, priorityClassName="mid"),
            pod("y0", "8", nodeSelector={HOST: "b"}, priorityClassName="low"),
            pod("y1", "8", nodeSelector={HOST: "b"}, priorityClassName="low"),
            pod("p", "16", priorityClassName="high"),
        ],
        {"x": "a", "p": "b"},
    ),
    Case(
        "of equal victims the fewest",
        "pkg/scheduler/framework/preemption/preemption.go",
        [node("a"), node("b")],
        [
            pod("y0", "8", nodeSelector={HOST: "a"}, priorityClassName="low"),
            pod("y1", "8", nodeSelector={HOST: "a"}, priorityClassName="low"),
            pod("x", "16", nodeSelector={HOST: "b"}, priorityClassName="low"),
            pod("p", "16", priorityClassName="high"),
        ],
        {"y0": "a", "y1": "a", "p": "b"},
    ),
    Case(
        "a pod of less importance that keeps another away has to go, and the other is not told",
        PLUGINS + "defaultpreemption/default_preemption.go",
        [node("a")],
        [
            pod("x", priorityClassName="low", **apart(term("p"))),
            pod("y", priorityClassName="low"),
            pod("p", priorityClassName="high"),
        ],
        {"y": "a", "p": f"0/1 nodes are available: 1 {KEPT_AWAY}."},
    ),
    Case(
        "preemption does not bring a pod near one that would go",
        PLUGINS + "defaultpreemption/default_preemption.go",
        [node("a")],
        [
            pod("x", "10", priorityClassName="low"),
            pod("p", "10", priorityClassName="high", **near(term("x"))),
        ],
        {
            "x": "a",
            "p": said("1 Insufficient cpu", f"1 {NO_AFFINITY}", 1),
        },
    ),
    Case(
        "slots for pods are made free as well",
        PLUGINS + "defaultpreemption/default_preemption.go",
        [node("a", pods=2)],
        [
            pod("x", priorityClassName="mid"),
            pod("y", priorityClassName="low"),
            pod("p", None, priorityClassName="high"),
        ],
        {"x": "a", "p": "a"},
    ),
    Case(
        "a port is made free by the one pod that holds it",
        PLUGINS + "defaultpreemption/default_preemption.go",
        [node("a")],
        [
            pod("x", priorityClassName="low"),
            pod("y", priorityClassName="low", **host_port()),
            pod("p", priorityClassName="high", **host_port()),
        ],
        {"x": "a", "p": "a"},
    ),
]


def run(case: Case, seed: int) -> EmbeddedCluster:
    cluster = EmbeddedCluster(case.nodes, seed=seed, priority_classes=CLASSES)
    for step in case.steps:
        if isinstance(step, str):
            cluster.delete([pod(step)])
        else:
            cluster.apply([step])
    return cluster


def ends(cluster: EmbeddedCluster) -> dict[str, str | None]:
    return {row["name"]: row["node"] or row["message"] for row in cluster.pods()}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_scheduler_decides_as_the_real_one_did(case: Case) -> None:
    for seed in range(4):
        assert ends(run(case, seed)) == case.ends


def test_every_case_is_there_once_and_names_its_source() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert all(case.follows.endswith(".go") for case in CASES)


def lasting(cases: Iterable[Case], name: str) -> Case:
    (case,) = [case for case in cases if case.name == name]
    return case


def test_what_nobody_hints_at_is_tried_again_after_five_minutes() -> None:
    case = lasting(CASES, "a pod that was kept away is not told when the way is free")
    cluster = run(case, 0)
    cluster.advance(299)
    assert ends(cluster) == case.ends
    cluster.advance(1)
    assert ends(cluster) == {"p": "a"}
