"""The API server for tests, met with the real client, and byte by byte where that matters."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simgit.kube.embedded import NodeSpec, PodDelays, node_spec
from simgit.testing.apiserver import EVERYTHING, TOKEN, ApiServer
from simgit.testing.apiserver.server import node_object
from tests.support.patience import PATIENCE

# its names are imported when they are used: all of its models take seconds
kubernetes = pytest.importorskip("kubernetes")
api = kubernetes.client

POD = {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "1"}}}]}


def deployment(
    name: str = "web", *, replicas: int = 3, cpu: str = "1", **metadata: Any
) -> dict[str, Any]:
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    tolerations = [{"key": "kwok-provider", "operator": "Exists", "effect": "NoSchedule"}]
    spec = {"containers": [container], "tolerations": tolerations}
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
        },
    }


def config_map(name: str, **metadata: Any) -> dict[str, Any]:
    metadata = {"name": name, **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "v"}}


class Client:
    """A client without models: JSON in, (status, JSON or text) out."""

    def __init__(self, server: ApiServer, token: str = TOKEN) -> None:
        self._host = server.url.removeprefix("http://")
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "tests/1"}

    def __call__(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._host, timeout=PATIENCE)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {**self._headers, "Content-Type": kind})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.headers["Content-Type"] == "application/json":
            return answer.status, json.loads(text)
        return answer.status, text.decode()

    @contextmanager
    def stream(self, path: str) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, timeout=PATIENCE)
        connection.request("GET", path, headers=self._headers)
        answer = connection.getresponse()
        try:
            yield answer
        finally:
            answer.close()
            connection.close()

    def watch(self, path: str, count: int) -> list[tuple[str, str]]:
        """Return type and name of the first events of a watch."""
        with self.stream(path) as answer:
            events = [json.loads(answer.readline()) for _ in range(count)]
        return [(each["type"], each["object"]["metadata"].get("name", "")) for each in events]


MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(nodes=3, start=1_700_000_000) as server:
        yield server


@pytest.fixture
def call(server: ApiServer) -> Client:
    return Client(server)


@pytest.fixture
def client(server: ApiServer, tmp_path: Path) -> Iterator[api.ApiClient]:
    path = server.kubeconfig(tmp_path / "config")
    with kubernetes.config.new_client_from_config(path) as client:
        yield client


# the real client


@pytest.mark.slow
def test_the_real_client_sees_a_deployment_become_ready_pods(
    server: ApiServer, client: api.ApiClient
) -> None:
    apps, core = api.AppsV1Api(client), api.CoreV1Api(client)
    apps.create_namespaced_deployment("default", deployment())
    pods = core.list_namespaced_pod("default", label_selector="app=web").items
    assert [pod.status.phase for pod in pods] == ["Running"] * 3
    assert {pod.spec.node_name for pod in pods} == {"node1", "node2", "node3"}
    for pod in pods:
        assert {c.type: c.status for c in pod.status.conditions}["Ready"] == "True"
        (owner,) = pod.metadata.owner_references
        assert owner.kind == "ReplicaSet"
        found = apps.read_namespaced_replica_set(owner.name, "default")
        assert (found.metadata.uid, found.metadata.owner_references[0].name) == (owner.uid, "web")
    status = apps.read_namespaced_deployment("web", "default").status
    assert (status.ready_replicas, status.available_replicas, status.observed_generation) == (
        3,
        3,
        1,
    )


@pytest.mark.slow
def test_pods_that_do_not_fit_have_the_schedulers_message(
    server: ApiServer, client: api.ApiClient
) -> None:
    api.AppsV1Api(client).create_namespaced_deployment("default", deployment(cpu="17000m"))
    core = api.CoreV1Api(client)
    for pod in core.list_namespaced_pod("default").items:
        (condition,) = pod.status.conditions
        assert (condition.type, condition.status, condition.reason) == (
            "PodScheduled",
            "False",
            "Unschedulable",
        )
        assert condition.message.startswith("0/3 nodes are available: 3 Insufficient cpu.")
        assert pod.spec.containers[0].resources.requests == {"cpu": "17"}  # as the server writes it
    events = core.list_namespaced_event("default", field_selector="reason=FailedScheduling").items
    assert len(events) == 3


def test_the_real_clients_watch_follows_a_scale_down(
    server: ApiServer, client: api.ApiClient
) -> None:
    apps, core = api.AppsV1Api(client), api.CoreV1Api(client)
    apps.create_namespaced_deployment("default", deployment())
    version = core.list_namespaced_pod("default").metadata.resource_version
    apps.patch_namespaced_deployment("web", "default", {"spec": {"replicas": 1}})
    seen = []
    watch = kubernetes.watch.Watch()
    for event in watch.stream(
        core.list_namespaced_pod, "default", resource_version=version, _request_timeout=PATIENCE
    ):
        seen.append(event["type"])
        if seen.count("DELETED") == 2:
            break
    assert seen == ["MODIFIED"] * 2 + ["DELETED"] * 2  # told of their end, then gone
    assert len(core.list_namespaced_pod("default").items) == 1


def test_the_dynamic_client_discovers_what_is_served(
    server: ApiServer, client: api.ApiClient
) -> None:
    from kubernetes.dynamic import DynamicClient

    dynamic = DynamicClient(client)
    resource = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    resource.create(namespace="default", body=deployment())
    assert resource.get(namespace="default", name="web").spec.replicas == 3
    assert kubernetes.client.VersionApi(client).get_code().git_version == "v1.35.0"


# a stage controller from outside


def test_without_kwok_a_bound_pod_waits_for_whoever_runs_it() -> None:
    with ApiServer(kwok=False, nodes=1) as server:
        call = Client(server)
        assert call("POST", DEPLOYMENTS, deployment(replicas=2))[0] == 201
        _, pods = call("GET", PODS)
        assert [p["status"]["phase"] for p in pods["items"]] == ["Pending"] * 2
        assert [p["spec"]["nodeName"] for p in pods["items"]] == ["node1"] * 2
        name = pods["items"][0]["metadata"]["name"]
        ready = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
        code, pod = call("PATCH", f"{PODS}/{name}/status", {"status": ready}, STRATEGIC)
        assert code == 200
        assert {c["type"] for c in pod["status"]["conditions"]} == {"PodScheduled", "Ready"}
        _, found = call("GET", f"{DEPLOYMENTS}/web")
        assert found["status"]["readyReplicas"] == 1


def test_without_kwok_a_deleted_pod_keeps_its_place_until_it_is_removed() -> None:
    with ApiServer(kwok=False, nodes=1) as server:
        call = Client(server)
        call("POST", DEPLOYMENTS, deployment(replicas=1, cpu="16"))
        call("POST", DEPLOYMENTS, deployment("late", replicas=1, cpu="16"))
        call("DELETE", f"{DEPLOYMENTS}/web")
        _, pods = call("GET", PODS)
        gone, late = sorted(pods["items"], key=lambda p: "late" in p["metadata"]["name"])
        assert gone["metadata"]["deletionTimestamp"]
        assert "nodeName" not in late["spec"]
        name = gone["metadata"]["name"]
        assert call("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})[0] == 200
        _, pods = call("GET", PODS)
        assert [p["spec"].get("nodeName") for p in pods["items"]] == ["node1"]


def test_delays_pass_in_virtual_time() -> None:
    delays = PodDelays(create=2000, ready=3000)
    with ApiServer(nodes=1, delays=delays, start=1_700_000_000) as server:
        call = Client(server)
        call("POST", DEPLOYMENTS, deployment(replicas=1))
        phases = []
        for seconds in (0, 4.5, 0.6):
            server.advance(seconds)
            phases.append(call("GET", PODS)[1]["items"][0]["status"]["phase"])
        assert phases == ["Pending", "Pending", "Running"]
        assert server.now == 1_700_000_005.1
        ready = call("GET", PODS)[1]["items"][0]["status"]["conditions"][1]
        assert ready["lastTransitionTime"] == "2023-11-14T22:13:25Z"


def test_nodes_of_the_api_are_those_of_the_scheduler(call: Client) -> None:
    call("POST", DEPLOYMENTS, deployment(replicas=1, cpu="20"))
    assert "nodeName" not in call("GET", PODS)[1]["items"][0]["spec"]
    node = {
        "metadata": {"name": "big", "labels": {"type": "virtual"}},
        "status": {"allocatable": {"cpu": "32000m", "memory": "64Gi", "pods": "110"}},
    }
    code, made = call("POST", "/api/v1/nodes", node)
    assert (code, made["status"]["allocatable"]["cpu"]) == (201, "32")
    assert call("GET", PODS)[1]["items"][0]["spec"]["nodeName"] == "big"
    assert call("GET", f"{PODS}?fieldSelector=spec.nodeName%3Dbig")[1]["items"]
    call("DELETE", "/api/v1/nodes/big")
    assert "nodeName" not in call("GET", PODS)[1]["items"][0]["spec"]


def test_a_cordoned_node_takes_no_pods() -> None:
    with ApiServer(nodes=[node_spec("a")]) as server:
        call = Client(server)
        call("PATCH", "/api/v1/nodes/a", {"spec": {"unschedulable": True}}, MERGE)
        call("POST", DEPLOYMENTS, deployment(replicas=1))
        (pod,) = call("GET", PODS)[1]["items"]
        assert "node(s) were unschedulable" in pod["status"]["conditions"][0]["message"]
        call("PATCH", "/api/v1/nodes/a", {"spec": {"unschedulable": None}}, MERGE)
        assert call("GET", PODS)[1]["items"][0]["spec"]["nodeName"] == "a"


# objects


def test_create_read_update_delete_and_their_errors(call: Client) -> None:
    code, made = call("POST", MAPS, config_map("a"))
    assert code == 201
    assert {"uid", "creationTimestamp", "resourceVersion", "managedFields"} <= set(made["metadata"])
    code, error = call("POST", MAPS, config_map("a"))
    assert (code, error["reason"], error["message"]) == (
        409,
        "AlreadyExists",
        'configmaps "a" already exists',
    )
    code, changed = call("PUT", f"{MAPS}/a", {**made, "data": {"k": "w"}})
    assert (code, changed["data"]) == (200, {"k": "w"})
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    code, error = call("PUT", f"{MAPS}/a", made)
    assert (code, error["reason"]) == (409, "Conflict")
    assert error["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please '
        "apply your changes to the latest version and try again"
    )
    code, done = call("DELETE", f"{MAPS}/a")
    assert (code, done["status"], done["details"]["uid"]) == (
        200,
        "Success",
        made["metadata"]["uid"],
    )
    code, error = call("GET", f"{MAPS}/a")
    assert (code, error["message"]) == (404, 'configmaps "a" not found')
    assert error["details"] == {"name": "a", "kind": "configmaps"}


def test_a_path_that_is_not_served_has_a_body_of_text(call: Client) -> None:
    for path in ("/apis/simkube.io/v1/simulations", "/nothing", "/api/v1/namespaces/a/nodes/b"):
        assert call("GET", path) == (404, "404 page not found\n")


def test_an_equal_update_makes_no_version(call: Client) -> None:
    _, made = call("POST", MAPS, config_map("a"))
    _, same = call("PUT", f"{MAPS}/a", made)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_names_are_generated_and_checked(call: Client) -> None:
    generated = {"metadata": {"generateName": "a-"}}
    names = {call("POST", MAPS, generated)[1]["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3 and all(name.startswith("a-") and len(name) == 7 for name in names)
    code, error = call("POST", MAPS, config_map("A"))
    assert (code, error["reason"]) == (422, "Invalid")
    assert error["details"]["causes"][0]["field"] == "metadata.name"


def test_a_dry_run_changes_nothing(server: ApiServer, call: Client) -> None:
    before = server.objects("deployments.apps")
    assert call("POST", f"{DEPLOYMENTS}?dryRun=All", deployment())[0] == 201
    assert call("POST", f"{DEPLOYMENTS}?dryRun=All", deployment(cpu="-1"))[0] == 422
    assert server.objects("deployments.apps") == before
    assert server.objects("pods") == []
    call("POST", DEPLOYMENTS, deployment())
    _, patched = call("PATCH", f"{DEPLOYMENTS}/web?dryRun=All", {"spec": {"replicas": 9}}, MERGE)
    assert patched["spec"]["replicas"] == 9
    call("DELETE", f"{DEPLOYMENTS}/web?dryRun=All")
    assert call("GET", f"{DEPLOYMENTS}/web")[1]["spec"]["replicas"] == 3


def test_what_the_cluster_refuses_is_invalid(server: ApiServer, call: Client) -> None:
    code, error = call("POST", DEPLOYMENTS, deployment(cpu="-1"))
    assert (code, error["reason"]) == (422, "Invalid")
    assert error["message"].startswith('Deployment.apps "web" is invalid: ')
    assert call("POST", DEPLOYMENTS, deployment(cpu="1Q"))[0] == 400
    assert server.objects("deployments.apps") == server.objects("pods") == []


def test_the_generation_counts_changes_of_the_spec_only(call: Client) -> None:
    call("POST", DEPLOYMENTS, deployment())
    call("PATCH", f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert call("GET", f"{DEPLOYMENTS}/web")[1]["metadata"]["generation"] == 1
    call("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 1}}, MERGE)
    assert call("GET", f"{DEPLOYMENTS}/web")[1]["metadata"]["generation"] == 2


def test_spec_and_status_are_written_apart(call: Client) -> None:
    _, made = call("POST", DEPLOYMENTS, {**deployment(replicas=0), "status": {"replicas": 7}})
    assert "replicas" not in made.get("status", {})
    path = f"{DEPLOYMENTS}/web/status"
    both = {"spec": {"replicas": 5}, "status": {"collisionCount": 2}}
    assert call("PATCH", path, both, MERGE)[1]["spec"]["replicas"] == 0
    _, found = call("PATCH", f"{DEPLOYMENTS}/web", {"status": {"collisionCount": 9}}, MERGE)
    assert found["status"].get("collisionCount") != 9


def test_an_immutable_field_is_refused(call: Client) -> None:
    call("POST", DEPLOYMENTS, deployment())
    other = {"spec": {"selector": {"matchLabels": {"app": "x"}}}}
    code, error = call("PATCH", f"{DEPLOYMENTS}/web", other, MERGE)
    assert code == 422 and error["message"].endswith("field is immutable")
    name = call("GET", PODS)[1]["items"][0]["metadata"]["name"]
    code, error = call("PATCH", f"{PODS}/{name}", {"spec": {"hostNetwork": True}}, MERGE)
    assert code == 422 and "pod updates may not change fields other than" in error["message"]


# patches


def test_json_patches(call: Client) -> None:
    call("POST", MAPS, config_map("a"))
    steps = [
        {"op": "test", "path": "/data/k", "value": "v"},
        {"op": "add", "path": "/data/x~1y", "value": "1"},
        {"op": "move", "from": "/data/k", "path": "/data/m"},
        {"op": "copy", "from": "/data/m", "path": "/data/n"},
        {"op": "replace", "path": "/data/n", "value": "2"},
        {"op": "add", "path": "/metadata/finalizers", "value": ["a.b/c"]},
        {"op": "add", "path": "/metadata/finalizers/-", "value": "d.e/f"},
        {"op": "remove", "path": "/metadata/finalizers/0"},
    ]
    kind = "application/json-patch+json"
    code, found = call("PATCH", f"{MAPS}/a", steps, kind)
    assert (code, found["data"]) == (200, {"x/y": "1", "m": "v", "n": "2"})
    assert found["metadata"]["finalizers"] == ["d.e/f"]
    for bad in (
        {"op": "test", "path": "/data/m", "value": "other"},
        {"op": "replace", "path": "/data/none", "value": 1},
        {"op": "remove", "path": "/data/none"},
    ):
        assert call("PATCH", f"{MAPS}/a", [bad], kind)[0] == 422


def test_merge_patches_remove_by_null_and_replace_lists(call: Client) -> None:
    call("POST", MAPS, config_map("a", finalizers=["a.b/c"]))
    patch = {"data": {"k": None, "n": "1"}, "metadata": {"finalizers": None}}
    _, found = call("PATCH", f"{MAPS}/a", patch, MERGE)
    assert found["data"] == {"n": "1"} and "finalizers" not in found["metadata"]
    stale = {"metadata": {"resourceVersion": "1"}, "data": {"n": "2"}}
    assert call("PATCH", f"{MAPS}/a", stale, MERGE)[0] == 409


def test_strategic_patches_merge_lists_by_their_key(call: Client) -> None:
    call("POST", DEPLOYMENTS, deployment(replicas=0))
    containers = [{"name": "c", "image": "y"}, {"name": "d", "image": "z"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    _, found = call("PATCH", f"{DEPLOYMENTS}/web", patch, STRATEGIC)
    first, second = found["spec"]["template"]["spec"]["containers"]
    assert (first["image"], first["resources"]) == ("y", {"requests": {"cpu": "1"}})
    assert second["name"] == "d"
    containers = [{"name": "d", "$patch": "delete"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    _, found = call("PATCH", f"{DEPLOYMENTS}/web", patch, STRATEGIC)
    assert [c["name"] for c in found["spec"]["template"]["spec"]["containers"]] == ["c"]
    assert call("PATCH", f"{DEPLOYMENTS}/web", patch, "text/plain")[0] == 415


def test_apply_owns_fields_and_refuses_those_of_others(call: Client) -> None:
    path = f"{MAPS}/a?fieldManager="
    body = config_map("a")
    assert call("PATCH", f"{MAPS}/a", body, APPLY)[0] == 422
    code, made = call("PATCH", path + "one", {**body, "data": {"k": "1", "mine": "x"}}, APPLY)
    assert (code, made["data"]) == (201, {"k": "1", "mine": "x"})
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("one", "Apply")
    assert entry["fieldsV1"] == {"f:data": {"f:k": {}, "f:mine": {}}}
    code, error = call("PATCH", path + "two", {**body, "data": {"k": "2"}}, APPLY)
    assert (code, error["reason"]) == (409, "Conflict")
    assert error["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.k'
    code, found = call("PATCH", path + "two&force=true", {**body, "data": {"k": "2"}}, APPLY)
    assert (code, found["data"]) == (200, {"k": "2", "mine": "x"})
    code, found = call("PATCH", path + "one", {**body, "data": {}}, APPLY)
    assert (code, found["data"]) == (200, {"k": "2"})  # what it no longer applies is gone


def test_applying_the_same_again_changes_nothing(server: ApiServer, call: Client) -> None:
    path = f"{DEPLOYMENTS}/web?fieldManager=simkube&force=true"
    assert call("PATCH", path, deployment(cpu="17000m"), APPLY)[0] == 201
    server.advance(5)
    before = call("GET", f"{DEPLOYMENTS}/web")[1]
    assert call("PATCH", path, deployment(cpu="17000m"), APPLY)[0] == 200
    assert call("GET", f"{DEPLOYMENTS}/web")[1] == before


def test_apply_removes_a_container_that_is_no_longer_applied(call: Client) -> None:
    path = f"{DEPLOYMENTS}/web?fieldManager=simkube"
    two = deployment(replicas=0)
    containers = two["spec"]["template"]["spec"]["containers"]
    containers.append({"name": "d", "image": "z"})
    call("PATCH", path, two, APPLY)
    _, found = call("PATCH", path, deployment(replicas=0), APPLY)
    assert [c["name"] for c in found["spec"]["template"]["spec"]["containers"]] == ["c"]


# deletion


def test_finalizers_hold_an_object_until_they_are_removed(call: Client) -> None:
    call("POST", MAPS, config_map("a", finalizers=["a.b/c"]))
    code, found = call("DELETE", f"{MAPS}/a")
    assert code == 200 and found["metadata"]["deletionTimestamp"]
    more = {"metadata": {"finalizers": ["a.b/c", "d.e/f"]}}
    code, error = call("PATCH", f"{MAPS}/a", more, MERGE)
    assert code == 422 and "no new finalizers can be added" in error["message"]
    assert call("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, MERGE)[0] == 200
    assert call("GET", f"{MAPS}/a")[0] == 404


def owned(name: str, owner: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    return config_map(name, ownerReferences=[reference], **metadata)


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_dependents_follow_their_owner_or_are_orphaned(call: Client, policy: str) -> None:
    _, owner = call("POST", MAPS, config_map("owner"))
    call("POST", MAPS, owned("child", owner, finalizers=["a.b/c"]))
    code, _ = call("DELETE", f"{MAPS}/owner", {"propagationPolicy": policy})
    assert code == 200
    code, child = call("GET", f"{MAPS}/child")
    assert call("GET", f"{MAPS}/owner")[0] == (200 if policy == "Foreground" else 404)
    if policy == "Orphan":
        assert not child["metadata"].get("ownerReferences")
        assert "deletionTimestamp" not in child["metadata"]
        return
    assert child["metadata"]["deletionTimestamp"]
    call("PATCH", f"{MAPS}/child", {"metadata": {"finalizers": None}}, MERGE)
    assert call("GET", f"{MAPS}/child")[0] == call("GET", f"{MAPS}/owner")[0] == 404


def test_a_dependent_of_an_owner_that_is_gone_is_collected(call: Client) -> None:
    _, owner = call("POST", MAPS, config_map("owner"))
    call("DELETE", f"{MAPS}/owner")
    assert call("POST", MAPS, owned("child", owner))[0] == 201
    assert call("GET", f"{MAPS}/child")[0] == 404


def test_preconditions(call: Client) -> None:
    call("POST", MAPS, config_map("a"))
    body = {"preconditions": {"uid": "other"}}
    code, error = call("DELETE", f"{MAPS}/a", body)
    assert code == 409 and "Precondition failed: UID in precondition: other" in error["message"]


def test_a_foreground_deletion_of_a_deployment_waits_for_its_pods() -> None:
    with ApiServer(kwok=False, nodes=1) as server:
        call = Client(server)
        call("POST", DEPLOYMENTS, deployment(replicas=1))
        code, found = call("DELETE", f"{DEPLOYMENTS}/web?propagationPolicy=Foreground")
        assert (code, found["metadata"]["finalizers"]) == (200, ["foregroundDeletion"])
        (pod,) = call("GET", PODS)[1]["items"]
        assert pod["metadata"]["deletionTimestamp"]
        assert len(server.objects("replicasets.apps")) == 1
        call("DELETE", f"{PODS}/{pod['metadata']['name']}?gracePeriodSeconds=0")
        assert server.objects("pods") == server.objects("replicasets.apps") == []
        assert server.objects("deployments.apps") == []


def test_an_orphaned_replica_set_keeps_its_pods(server: ApiServer, call: Client) -> None:
    call("POST", DEPLOYMENTS, deployment())
    before = {pod["metadata"]["uid"] for pod in server.objects("pods")}
    call("DELETE", f"{DEPLOYMENTS}/web?propagationPolicy=Orphan")
    (found,) = server.objects("replicasets.apps")
    assert not found["metadata"].get("ownerReferences")
    assert {pod["metadata"]["uid"] for pod in server.objects("pods")} == before
    name = server.objects("pods")[0]["metadata"]["name"]
    call("DELETE", f"{PODS}/{name}")
    assert len(server.objects("pods")) == 3  # the set is still there to replace it


def test_a_collection_is_deleted_by_label(server: ApiServer, call: Client) -> None:
    call("POST", DEPLOYMENTS, deployment(labels={"run": "1"}))
    call("POST", DEPLOYMENTS, deployment("other"))
    assert call("DELETE", f"{DEPLOYMENTS}?labelSelector=run%3D1")[0] == 200
    assert [d["metadata"]["name"] for d in server.objects("deployments.apps")] == ["other"]
    assert len(server.objects("pods")) == 3


# namespaces


def test_namespaces_hold_their_contents(server: ApiServer, call: Client) -> None:
    path = "/api/v1/namespaces/virtual-a/configmaps"
    code, error = call("POST", path, config_map("a"))
    assert (code, error["message"]) == (404, 'namespaces "virtual-a" not found')
    call("POST", "/api/v1/namespaces", {"metadata": {"name": "virtual-a"}})
    call("POST", path, config_map("a", finalizers=["a.b/c"]))
    call("POST", path, config_map("b"))
    _, ending = call("DELETE", "/api/v1/namespaces/virtual-a")
    assert ending["status"]["phase"] == "Terminating"
    assert [each["metadata"]["name"] for each in server.objects("configmaps")] == ["a"]
    code, error = call("POST", path, config_map("c"))
    assert (code, error["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    assert error["message"] == (
        'configmaps "c" is forbidden: unable to create new content in namespace virtual-a because '
        "it is being terminated"
    )
    call("PATCH", f"{path}/a", {"metadata": {"finalizers": None}}, MERGE)
    assert call("GET", "/api/v1/namespaces/virtual-a")[0] == 404


def test_a_namespace_takes_its_deployments_along(server: ApiServer, call: Client) -> None:
    call("POST", "/api/v1/namespaces", {"metadata": {"name": "virtual-a"}})
    call("POST", "/apis/apps/v1/namespaces/virtual-a/deployments", deployment())
    assert len(server.objects("pods", "virtual-a")) == 3
    call("DELETE", "/api/v1/namespaces/virtual-a")
    assert server.objects("pods") == server.objects("replicasets.apps") == []
    assert call("GET", "/api/v1/namespaces/virtual-a")[0] == 404
    assert all(not node["used"]["pods"] for node in server.cluster_nodes())


# lists and watches


def test_lists_come_in_pages_of_one_version(call: Client) -> None:
    for n in range(5):
        call("POST", MAPS, config_map(f"m{n}"))
    _, first = call("GET", f"{MAPS}?limit=2")
    call("POST", MAPS, config_map("m9"))
    token = first["metadata"]["continue"]
    assert first["metadata"]["remainingItemCount"] == 3
    _, second = call("GET", f"{MAPS}?limit=2&continue={token}")
    _, third = call("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
    names = [m["metadata"]["name"] for page in (first, second, third) for m in page["items"]]
    assert names == ["m0", "m1", "m2", "m3", "m4"]
    assert len({p["metadata"]["resourceVersion"] for p in (first, second, third)}) == 1
    assert "continue" not in third["metadata"]
    assert call("GET", f"{MAPS}?limit=2&continue=unknown")[0] == 410


def test_label_selectors(call: Client) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2", "y": ""}), ("c", {})):
        call("POST", MAPS, config_map(name, labels=labels))
    for selector, names in (
        ("x=1", "a"), ("x==1", "a"), ("x!=1", "bc"), ("x", "ab"), ("!x", "c"),
        ("x in (1,2)", "ab"), ("x notin (1)", "bc"), ("x,y", "b"), ("x in (1,2),!y", "a"),
    ):  # fmt: skip
        _, found = call("GET", f"{MAPS}?labelSelector={selector.replace(' ', '%20')}")
        assert "".join(m["metadata"]["name"] for m in found["items"]) == names, selector
    assert call("GET", f"{MAPS}?labelSelector=(")[0] == 400
    assert call("GET", f"{MAPS}?fieldSelector=data.k%3Dv")[0] == 400


def test_a_watch_tells_of_everything_after_its_version(call: Client) -> None:
    _, made = call("POST", MAPS, config_map("a"))
    call("PATCH", f"{MAPS}/a", {"data": {"k": "w"}}, MERGE)
    call("POST", MAPS, config_map("b"))
    call("DELETE", f"{MAPS}/a")
    path = f"{MAPS}?watch=true&resourceVersion={made['metadata']['resourceVersion']}"
    assert call.watch(path, 3) == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert call.watch(f"{MAPS}?watch=true", 1) == [("ADDED", "b")]


def test_a_watch_gets_what_happens_while_it_is_open(server: ApiServer, call: Client) -> None:
    with call.stream(f"{MAPS}?watch=true&resourceVersion=1") as answer:
        assert answer.status == 200
        for name in ("a", "b"):
            call("POST", MAPS, config_map(name))
            assert json.loads(answer.readline())["object"]["metadata"]["name"] == name
        assert server.watches == 1


def test_an_object_that_leaves_a_selection_is_deleted_for_its_watch(call: Client) -> None:
    call("POST", MAPS, config_map("a", labels={"x": "1"}))
    call("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"x": "2"}}}, MERGE)
    call("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"x": "1"}}}, MERGE)
    call("PATCH", f"{MAPS}/a", {"data": {"k": "w"}}, MERGE)
    path = f"{MAPS}?watch=true&resourceVersion=1&labelSelector=x%3D1"
    assert [kind for kind, _ in call.watch(path, 4)] == ["ADDED", "DELETED", "ADDED", "MODIFIED"]


@pytest.mark.parametrize("expired", ["status", "event"])
def test_a_watch_from_before_the_history_is_told_so(expired: Any) -> None:
    with ApiServer(history=3, expired=expired) as server:
        call = Client(server)
        _, made = call("POST", MAPS, config_map("a"))
        for n in range(5):
            call("PATCH", f"{MAPS}/a", {"data": {"k": str(n)}}, MERGE)
        path = f"{MAPS}?watch=true&resourceVersion={made['metadata']['resourceVersion']}"
        with call.stream(path) as answer:
            error = json.loads(answer.readline())
            assert answer.status == (410 if expired == "status" else 200)
        if expired == "event":
            assert error["type"] == "ERROR"
            error = error["object"]
        assert (error["code"], error["reason"]) == (410, "Expired")


def test_a_compaction_makes_every_older_version_too_old(server: ApiServer, call: Client) -> None:
    _, first = call("POST", MAPS, config_map("a"))
    _, second = call("POST", MAPS, config_map("b"))
    server.forget_history()
    path = f"{MAPS}?watch=true&resourceVersion="
    assert call("GET", path + first["metadata"]["resourceVersion"])[0] == 410
    with call.stream(path + second["metadata"]["resourceVersion"]) as answer:
        call("POST", MAPS, config_map("c"))
        assert json.loads(answer.readline())["object"]["metadata"]["name"] == "c"


def test_bookmarks_and_the_end_of_a_watch_come_by_the_servers_clock(
    server: ApiServer, call: Client
) -> None:
    path = f"{MAPS}?watch=true&resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=100"
    with call.stream(path) as answer:
        call("POST", MAPS, config_map("a"))
        assert json.loads(answer.readline())["type"] == "ADDED"
        server.advance(61)
        event = json.loads(answer.readline())
        version = call("GET", MAPS)[1]["metadata"]["resourceVersion"]
        assert (event["type"], event["object"]["metadata"]["resourceVersion"]) == (
            "BOOKMARK",
            version,
        )
        server.advance(40)
        assert json.loads(answer.readline())["type"] == "BOOKMARK"
        assert answer.readline() == b""


@pytest.mark.slow
def test_who_waits_by_the_servers_clock_sees_what_is_due_at_its_time() -> None:
    """Time passes only while no news comes."""
    with ApiServer(nodes=1, delays=PodDelays(ready=90_000), start=0) as server:
        call, news, clock = Client(server), threading.Condition(), server.clock
        seen: list[tuple[str, float]] = []
        call("POST", DEPLOYMENTS, deployment(replicas=1))

        def read() -> None:
            with call.stream(f"{PODS}?watch=true&timeoutSeconds=300") as answer:
                for line in answer:
                    with news:
                        phase = json.loads(line)["object"]["status"]["phase"]
                        seen.append((phase, clock.monotonic()))
                        news.notify_all()

        reader = threading.Thread(target=read)
        reader.start()
        with news:
            while len(seen) < 2:
                clock.wait(news, 120)
        server.advance(300)
        reader.join(PATIENCE)
        assert [phase for phase, _ in seen] == ["Pending", "Running"]
        assert seen[1][1] >= 90


# access


def test_tokens_and_rules() -> None:
    reader = {"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    with ApiServer(rules={"all": [EVERYTHING], "few": [reader]}) as server:
        code, error = Client(server, "wrong")("GET", PODS)
        assert (code, error["reason"]) == (401, "Unauthorized")
        few = Client(server, "few")
        assert few("GET", PODS)[0] == 200
        code, error = few("POST", DEPLOYMENTS, deployment())
        assert (code, error["reason"]) == (403, "Forbidden")
        assert error["message"] == (
            'deployments.apps is forbidden: User "simgit" cannot create resource "deployments" in '
            'API group "apps" in the namespace "default"'
        )
        review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        for verb, allowed in (("list", True), ("delete", False)):
            spec = {"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": "a"}}
            assert few("POST", review, {"spec": spec})[1]["status"]["allowed"] is allowed
        server.set_tokens({"new": [EVERYTHING]})
        assert few("GET", PODS)[0] == 401


def test_the_real_client_raises_for_401_and_403(tmp_path: Path) -> None:
    with ApiServer(rules={"none": []}) as server:
        for token, status in (("none", 403), ("wrong", 401)):
            path = server.kubeconfig(tmp_path / "config", token=token)
            with kubernetes.config.new_client_from_config(path) as client:
                with pytest.raises(api.ApiException) as caught:
                    api.CoreV1Api(client).list_namespaced_pod("default")
                assert caught.value.status == status


# the server itself


def test_connections_are_kept_and_requests_are_logged(server: ApiServer, call: Client) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE)
    for path in ("/version", "/readyz"):
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        assert answer.headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
        answer.read()
        assert connection.sock is not None
    connection.close()
    assert [(r.number, r.method, r.path, r.status) for r in server.requests] == [
        (1, "GET", "/version", 200),
        (2, "GET", "/readyz", 200),
    ]


def test_the_date_may_be_skewed() -> None:
    with ApiServer(start=1_700_000_000, skew=-3600) as server, Client(server).stream("/") as answer:
        assert answer.headers["Date"] == "Tue, 14 Nov 2023 21:13:20 GMT"


def test_nothing_of_the_server_is_left_after_the_context() -> None:
    before = threading.active_count()
    with ApiServer() as server, Client(server).stream(f"{MAPS}?watch=true") as answer:
        host = server.url.removeprefix("http://")
        assert answer.status == 200
    assert threading.active_count() == before
    with pytest.raises(ConnectionError):
        http.client.HTTPConnection(host, timeout=5).request("GET", "/")


def test_a_server_can_be_seeded_without_requests() -> None:
    with ApiServer(nodes=[NodeSpec("n", labels={"type": "virtual"})]) as server:
        server.create(deployment(namespace="virtual-a", replicas=1))
        (pod,) = server.objects("pods", "virtual-a")
        assert pod["spec"]["nodeName"] == "n"
        server.delete("deployments.apps", "web", "virtual-a")
        assert server.objects("pods") == [] and server.requests == []


def test_admission_forbids_a_pod_of_an_unknown_priority_class(
    server: ApiServer, call: Client
) -> None:
    pod = {"metadata": {"name": "a"}, "spec": {**POD, "priorityClassName": "high"}}
    code, error = call("POST", PODS, pod)
    assert (code, error["reason"]) == (403, "Forbidden")
    assert error["message"] == ('pods "a" is forbidden: no PriorityClass with name high was found')
    assert server.objects("pods") == []
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    assert call("POST", classes, {"metadata": {"name": "high"}, "value": 1000})[0] == 201
    assert call("POST", PODS, pod)[0] == 201
    assert server.objects("pods")[0]["status"]["phase"] == "Pending"  # it does not tolerate
    call("DELETE", f"{classes}/high")
    other = {**pod, "metadata": {"name": "b"}}
    assert call("POST", PODS, other)[0] == 403


def test_a_daemon_set_follows_the_nodes(server: ApiServer, call: Client) -> None:
    like = deployment("each")["spec"]
    daemons = DEPLOYMENTS.replace("deployments", "daemonsets")
    spec = {"selector": like["selector"], "template": like["template"]}
    call("POST", daemons, {"metadata": {"name": "each"}, "spec": spec})
    assert len(server.objects("pods")) == 3
    server.create(node_object(node_spec("late")))
    assert {pod["spec"]["nodeName"] for pod in server.objects("pods")} >= {"late"}
    call("DELETE", "/api/v1/nodes/late")
    assert len(server.objects("pods")) == 3
    _, found = call("GET", f"{daemons}/each")
    assert found["status"]["numberReady"] == 3
