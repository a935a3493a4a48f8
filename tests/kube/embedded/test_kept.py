"""What the cluster keeps of templates and nodes is never of one that has changed since."""

from copy import deepcopy
from typing import Any

import pytest

from simgit.kube.embedded import EmbeddedCluster, node_spec, validation
from simgit.kube.embedded.labels import Taint
from simgit.kube.embedded.nodes import Node
from simgit.kube.embedded.podspec import read_pod
from simgit.kube.embedded.scheduler.filters import Cycle, refusal
from simgit.kube.embedded.validation import resource_causes


def web(replicas: int = 3, **requests: str) -> dict[str, Any]:
    container = {"name": "c", "image": "x", "resources": {"requests": requests or {"cpu": "1"}}}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": spec,
    }


def rows(cluster: EmbeddedCluster) -> tuple[Any, ...]:
    return cluster.pods(), cluster.nodes(), cluster.events()


def test_a_manifest_that_is_changed_after_use_is_read_anew() -> None:
    manifest = web()
    EmbeddedCluster().apply([manifest])
    template = manifest["spec"]["template"]
    template["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "9"
    template["metadata"]["labels"]["tier"] = "front"
    changed, fresh = EmbeddedCluster(), EmbeddedCluster()
    changed.apply([manifest])
    fresh.apply([deepcopy(manifest)])
    assert rows(changed) == rows(fresh)
    assert {pod["cpu"] for pod in changed.pods()} == {"9"}
    assert {pod["labels"]["tier"] for pod in changed.pods()} == {"front"}


def test_two_clusters_at_once_do_not_reach_each_other() -> None:
    alone = []
    for cpu in ("1", "9"):
        cluster = EmbeddedCluster()
        for replicas in (2, 4, 1):
            cluster.apply([web(replicas, cpu=cpu)])
        alone.append(rows(cluster))
    one, other = EmbeddedCluster(), EmbeddedCluster()
    for replicas in (2, 4, 1):
        one.apply([web(replicas, cpu="1")])
        other.apply([web(replicas, cpu="9")])
    assert [rows(one), rows(other)] == alone


def template(**spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "1"}}}]
    return {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": containers, **spec}}


@pytest.mark.parametrize("labels", [{"app": "b"}, {"app": "a", "x": "1"}, {"app": "not valid!"}])
def test_relabelled_facts_are_those_of_a_template_with_the_labels(labels: dict[str, str]) -> None:
    facts = read_pod(template(), "default", {})
    for _ in range(2):
        found, expected = facts.relabelled(labels), read_pod(template(), "default", {}, labels)
        assert found is not None
        for field in type(facts).__dataclass_fields__:
            if field != "_relabelled":
                assert getattr(found, field) == getattr(expected, field), field
    assert facts.labels == {"app": "a"}


def test_facts_whose_terms_look_at_labels_are_not_relabelled() -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    spread |= {"labelSelector": {}, "matchLabelKeys": ["app"]}
    facts = read_pod(template(topologySpreadConstraints=[spread]), "default", {})
    assert facts.relabelled({"app": "b"}) is None
    assert read_pod({"spec": {"containers": [{}]}}, "default", {}).relabelled({}) is None


def test_only_some_relabelled_facts_are_kept() -> None:
    facts = read_pod(template(), "default", {})
    for number in range(100):
        assert facts.relabelled({"n": str(number)}).labels == {"n": str(number)}  # type: ignore[union-attr]
    assert len(facts._relabelled) < 20


def test_amounts_that_are_changed_after_a_look_are_looked_at_anew() -> None:
    spec = template()["spec"]
    assert not [*resource_causes(spec)]
    spec["containers"][0]["resources"]["requests"]["cpu"] = "-1"
    assert len([*resource_causes(spec)]) == 1
    spec["containers"][0]["resources"]["requests"]["cpu"] = "1"
    assert not [*resource_causes(spec)]
    assert validation._known_in_resources.cache_info().maxsize == 1024


def test_a_verdict_on_a_node_ends_with_what_it_looked_at() -> None:
    cluster = EmbeddedCluster([node_spec("n", cpu="4")])
    cluster.apply([web(1, cpu="5")])
    (pod,) = cluster._world.pods.values()
    (node,) = cluster._world.nodes

    def reasons(node: Node) -> tuple[str, ...] | None:
        found = refusal(Cycle(pod, [node]), node)
        return found and found.reasons

    assert reasons(node) == ("Insufficient cpu",)
    node.unschedulable = True
    assert reasons(node) == ("node(s) were unschedulable",)
    node.unschedulable = False
    assert reasons(node) == ("Insufficient cpu",)
    node.taints = (Taint("k"),)
    assert reasons(node) == ("node(s) had untolerated taint(s)",)
    node.taints = (Taint("k", effect="PreferNoSchedule"),)
    assert reasons(node) == ("Insufficient cpu",)
    assert node.avoided == node.taints
