"""Whatever is asked of the server: its watches, lists and the cluster behind it agree."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from simgit.testing.apiserver import ApiServer
from tests.testing.test_apiserver import (
    DEPLOYMENTS,
    MAPS,
    MERGE,
    PODS,
    STRATEGIC,
    Client,
    config_map,
    deployment,
)

SETS = DEPLOYMENTS.replace("deployments", "statefulsets")
DAEMONS = DEPLOYMENTS.replace("deployments", "daemonsets")
JOBS = "/apis/batch/v1/namespaces/default/jobs"
WATCHED = (PODS, f"{PODS}?labelSelector=app%3Da", DEPLOYMENTS, MAPS, f"{MAPS}?labelSelector=x%3D1")
RUNNING = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def other(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    """Return a workload of another kind, with the template of a Deployment."""
    like = deployment(f"{kind.lower()}-{name}")
    spec = {"template": like["spec"]["template"], **fields}
    group = "batch/v1" if kind == "Job" else "apps/v1"
    if kind != "Job":
        spec["selector"] = like["spec"]["selector"]
    else:
        spec["template"]["spec"]["restartPolicy"] = "Never"
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec}


def bare(name: str, cpu: str) -> dict[str, Any]:
    """Return a pod of its own."""
    template = deployment(name, cpu=cpu)["spec"]["template"]
    return {"metadata": {"name": name}, "spec": template["spec"]}


def step(draw: random.Random, server: ApiServer, call: Client) -> int:
    """Do something at random, and return its status."""
    name = draw.choice("abc")
    one = f"{DEPLOYMENTS}/{name}"
    pods = call("GET", PODS)[1]["items"]
    bound = [  # those of which a kubelet would tell
        each for each in pods
        if each["spec"].get("nodeName") and each["status"]["phase"] in ("Pending", "Running")
    ]  # fmt: skip
    pod, told = (
        f"{PODS}/{draw.choice(found)['metadata']['name'] if found else 'none'}"
        for found in (pods, bound)
    )
    labels = {"metadata": {"labels": {"x": draw.choice("12")}}}
    size = {"spec": {"replicas": draw.randrange(6)}}
    policy = {"propagationPolicy": draw.choice(("Background", "Foreground", "Orphan"))}
    cpu = str(draw.choice((1, 5, 9)))
    template = {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}
    actions = [
        lambda: call("POST", DEPLOYMENTS, deployment(name, replicas=draw.randrange(4), cpu=cpu)),
        lambda: call("PATCH", one, size, MERGE),
        lambda: call("PATCH", one, {"spec": {"template": {"spec": template}}}, STRATEGIC),
        lambda: call("DELETE", one, policy),
        lambda: call("POST", SETS, other("StatefulSet", name, replicas=draw.randrange(3))),
        lambda: call("PATCH", f"{SETS}/{name}", size, MERGE),
        lambda: call("DELETE", f"{SETS}/{name}", policy),
        lambda: call("POST", DAEMONS, other("DaemonSet", name)),
        lambda: call("DELETE", f"{DAEMONS}/{name}"),
        lambda: call("POST", JOBS, other("Job", name, completions=2)),
        lambda: call("DELETE", f"{JOBS}/{name}", policy),
        lambda: call("POST", PODS, bare(f"bare-{name}", cpu)),
        lambda: call("DELETE", pod, {"gracePeriodSeconds": draw.choice((0, 30))}),
        lambda: call("PATCH", f"{told}/status", {"status": RUNNING}, STRATEGIC),
        lambda: call("PATCH", f"{told}/status", {"status": {"phase": "Failed"}}, MERGE),
        lambda: call("POST", MAPS, config_map(name, **labels["metadata"])),
        lambda: call("PATCH", f"{MAPS}/{name}", labels, MERGE),
        lambda: call("DELETE", f"{MAPS}/{name}"),
        lambda: call("PATCH", "/api/v1/nodes/node1", {"spec": {"unschedulable": True}}, MERGE),
        lambda: call("PATCH", "/api/v1/nodes/node1", {"spec": {"unschedulable": None}}, MERGE),
        lambda: call("DELETE", "/api/v1/namespaces/default") if draw.random() < 0.05 else (200, ""),
    ]
    code: int = draw.choice(actions)()[0]
    if draw.random() < 0.3:
        server.advance(draw.choice((1, 30)))
    return code


def replayed(call: Client, path: str, last: str) -> dict[str, Any]:
    """Return the objects that the watch of a path from the first version leads to."""
    mark = "&" if "?" in path else "?"
    found: dict[str, Any] = {}
    with call.stream(f"{path}{mark}watch=true&resourceVersion=1") as answer:
        for line in answer:
            event = json.loads(line)
            value, kind = event["object"], event["type"]
            name = value["metadata"]["name"]
            assert (kind == "ADDED") == (name not in found)
            found[name] = value
            if kind == "DELETED":
                del found[name]
            if name == last:
                break
    found.pop(last, None)
    return found


def check_agreement(server: ApiServer, call: Client, *, kwok: bool) -> None:
    pods = [each for each in server.objects("pods") if each["metadata"]["namespace"] == "default"]
    live = [each for each in pods if each["status"]["phase"] not in ("Succeeded", "Failed")]
    bound = Counter(each["spec"].get("nodeName") for each in live)
    del bound[None]
    rows = server.cluster_nodes()
    assert dict(bound) == {row["name"]: row["used"]["pods"] for row in rows if row["used"]["pods"]}
    kinds = ("deployments", "replicasets", "statefulsets", "daemonsets")
    owning = [each for kind in kinds for each in server.objects(f"{kind}.apps")]
    uids = {each["metadata"]["uid"] for each in (*owning, *server.objects("jobs.batch"))}
    for each in (*pods, *server.objects("replicasets.apps")):
        owners = [owner["uid"] for owner in each["metadata"].get("ownerReferences", ())]
        ends = "deletionTimestamp" in each["metadata"]
        assert ends or set(owners) <= uids
        assert not (ends and kwok)
    for found in server.objects("replicasets.apps"):
        if "deletionTimestamp" in found["metadata"]:
            continue
        uid = found["metadata"]["uid"]
        own = [
            each for each in live
            if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", ()))
            and "deletionTimestamp" not in each["metadata"]
        ]  # fmt: skip
        assert len(own) == found["spec"]["replicas"] == found["status"]["replicas"]


@pytest.mark.slow
@pytest.mark.parametrize("kwok", [True, False])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 20))]
)
def test_watches_lists_and_the_cluster_agree(seed: int, kwok: bool) -> None:
    draw = random.Random(seed)
    with ApiServer(nodes=2, kwok=kwok, history=100_000, seed=seed) as server:
        call = Client(server)
        codes = Counter(step(draw, server, call) // 100 for _ in range(60))
        assert codes[2] > 5 and not codes[5]
        check_agreement(server, call, kwok=kwok)
        if call("GET", "/api/v1/namespaces/default")[0] == 404:
            assert server.objects("pods") == server.objects("deployments.apps") == []
            return
        if call("GET", "/api/v1/namespaces/default")[1]["metadata"].get("deletionTimestamp"):
            return
        for path in WATCHED:
            labels = {"app": "a", "x": "1"}
            last = {
                "metadata": {"name": "last", "labels": labels},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            }
            if path == DEPLOYMENTS:
                last = deployment("last", replicas=0)
            base = path.partition("?")[0]
            _, listed = call("GET", path)
            assert call("POST", base, last)[0] == 201
            assert replayed(call, path, "last") == {
                each["metadata"]["name"]: each for each in listed["items"]
            }
            call("DELETE", f"{base}/last?gracePeriodSeconds=0")
