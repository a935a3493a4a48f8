"""A place for cases on a control plane: nodes, a kubelet for all of them, and their outcome."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from simgit.kube.embedded.nodes import NodeSpec
from simgit.kube.quantity import from_bytes, from_millicores
from tests.kube.live.control_plane import APPLY, STRATEGIC, ControlPlane, Refused
from tests.kube.live.spellings import normal
from tests.support.patience import PATIENCE

Outcome = dict[str, Any]

PATHS = {
    "v1.Namespace": "/api/v1/namespaces",
    "v1.Node": "/api/v1/nodes",
    "v1.Pod": "/api/v1/namespaces/{}/pods",
    "v1.Service": "/api/v1/namespaces/{}/services",
    "v1.ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "v1.LimitRange": "/api/v1/namespaces/{}/limitranges",
    "v1.ReplicationController": "/api/v1/namespaces/{}/replicationcontrollers",
    "apps/v1.Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "apps/v1.ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "apps/v1.StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "apps/v1.DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "batch/v1.Job": "/apis/batch/v1/namespaces/{}/jobs",
    "batch/v1.CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
    "batch/v1beta1.CronJob": "/apis/batch/v1beta1/namespaces/{}/cronjobs",
    "policy/v1beta1.PodDisruptionBudget": "/apis/policy/v1beta1/namespaces/{}/poddisruptionbudgets",
    "policy/v1.PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "scheduling.k8s.io/v1.PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
}
WORKLOADS = (
    "apps/v1.Deployment", "apps/v1.ReplicaSet", "apps/v1.StatefulSet", "apps/v1.DaemonSet",
    "batch/v1.Job", "v1.ReplicationController",
)  # fmt: skip
SETTINGS = ("v1.ResourceQuota", "v1.LimitRange")
QUIET = 0.4
"""Seconds without a change after which an outcome that was expected is taken to stay."""
STUCK = 12.0
"""Seconds without a change after which no other outcome is expected: the scheduler tries a pod
again 10 seconds after something changed, at the latest.
"""


def path_of(manifest: Mapping[str, Any], namespace: str = "default") -> str:
    """Return the path of the collection that an object belongs to."""
    kind = f"{manifest['apiVersion']}.{manifest['kind']}"
    return PATHS[kind].format(manifest.get("metadata", {}).get("namespace", namespace))


class Kubelet:
    """In the place of every node's kubelet: bound pods become ready, deleted ones go."""

    def __init__(self, plane: ControlPlane) -> None:
        """Start a thread that follows the pods."""
        self._watch = plane.connect()
        self._api = plane.connect()
        self._ended = threading.Event()
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the second that its watch lasts at most."""
        self._ended.set()
        self._thread.join(PATIENCE)
        self._watch.close()
        self._api.close()

    def _run(self) -> None:
        version, next_beat = None, 0.0
        while not self._ended.is_set():
            try:
                if time.monotonic() > next_beat:
                    self._beat()
                    next_beat = time.monotonic() + 10
                if version is None:
                    listed = self._watch.get("/api/v1/pods")
                    for pod in listed["items"]:
                        self._handle(pod)
                    version = listed["metadata"]["resourceVersion"]
                for event in self._watch.watch("/api/v1/pods", version, seconds=1):
                    if event["type"] == "ERROR":
                        version = None
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "DELETED":
                        self._handle(event["object"])
            except (OSError, ValueError, Refused) as error:
                version = None
                self._watch.close()
                if not self._ended.wait(0.2):
                    self.errors.append(str(error))

    def _beat(self) -> None:
        """Say that the nodes are alive; after 40 seconds without it they count as lost."""
        for node in self._api.get(PATHS["v1.Node"])["items"]:
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": _now()}
            path = f"{PATHS['v1.Node']}/{node['metadata']['name']}/status"
            try:
                self._api.patch(path, {"status": {"conditions": [ready]}}, STRATEGIC)
            except Refused as error:
                if error.code != 404:
                    raise

    def _handle(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        try:
            if "deletionTimestamp" in meta:
                self._api.delete(
                    path, {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
                )
            elif pod["spec"].get("nodeName") and pod["status"]["phase"] == "Pending":
                self._api.patch(f"{path}/status", _running(pod), STRATEGIC)
        except Refused as error:
            if error.code not in (404, 409):  # gone, or another of that name
                self.errors.append(str(error))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _running(pod: dict[str, Any]) -> dict[str, Any]:
    now = _now()
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now}
        for kind in ("Initialized", "Ready", "ContainersReady")
    ]
    status = {"phase": "Running", "startTime": now, "conditions": conditions}
    return {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}


def node_object(spec: NodeSpec) -> dict[str, Any]:
    """Return the Node that a kubelet would have registered."""
    amounts = {
        "cpu": from_millicores(spec.cpu),
        "memory": from_bytes(spec.memory),
        "pods": str(spec.pods),
        **({"ephemeral-storage": from_bytes(spec.storage)} if spec.storage else {}),
        **{name: str(amount) for name, amount in spec.extra.items()},
    }
    now = _now()
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": spec.name, "labels": dict(spec.labels)},
        "spec": {
            "taints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in spec.taints],
            **({"unschedulable": True} if spec.unschedulable else {}),
        },
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [ready]},
    }


class Arena:
    """The namespace 'default' of a control plane, with the nodes of one case at a time."""

    def __init__(self, plane: ControlPlane) -> None:
        """Start the kubelet, and make the priority classes of the cases."""
        self.plane = plane
        self.api = plane.api
        self.kubelet = Kubelet(plane)
        for name, value in (("low", 10), ("high", 1000)):
            kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": value}
            self.apply([{**kind, "metadata": {"name": name}}])

    def close(self) -> None:
        """Remove everything."""
        self.reset([])
        self.kubelet.stop()

    def reset(self, nodes: Iterable[NodeSpec]) -> None:
        """Begin another case: an empty cluster with these nodes, all of them ready."""
        for kind in (*WORKLOADS, *SETTINGS):
            self.api.delete(PATHS[kind].format("default"), {"propagationPolicy": "Background"})
        self._until(self._empty, "the last case's objects to go")
        self.api.delete(PATHS["v1.Node"])
        specs = list(nodes)
        for spec in specs:
            self.api.post(PATHS["v1.Node"], node_object(spec))
        self._until(lambda: self._nodes_ready(len(specs)), "nodes")

    def _empty(self) -> bool:
        if any(self.api.get(PATHS[kind].format("default"))["items"] for kind in WORKLOADS):
            return False
        pods = PATHS["v1.Pod"].format("default")
        if self.api.get(pods)["items"]:
            self.api.delete(pods, {"gracePeriodSeconds": 0})
            return False
        return True

    def _nodes_ready(self, count: int) -> bool:
        found = self.api.get(PATHS["v1.Node"])["items"]
        keys = [t["key"] for node in found for t in node["spec"].get("taints", ())]
        return len(found) == count and "node.kubernetes.io/not-ready" not in keys

    def _until(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > end:
                raise RuntimeError(f"waited in vain for {what}")
            time.sleep(0.03)

    def apply(self, manifests: Iterable[Mapping[str, Any]]) -> None:
        """Apply objects as SimKube's driver does; raises Refused."""
        for manifest in manifests:
            path = f"{path_of(manifest)}/{manifest['metadata']['name']}"
            self.api.patch(path, manifest, APPLY, fieldManager="simkube", force="true")
            if manifest["kind"] == "ResourceQuota":
                self._until(partial(self._counts, path), "a quota")
                time.sleep(0.1)  # the admission's cache follows

    def _counts(self, path: str) -> bool:
        """Return True for a quota whose controller has looked at its newest form."""
        quota = self.api.get(path)
        return bool(quota.get("status", {}).get("hard") == quota["spec"]["hard"])

    def delete(self, manifests: Iterable[Mapping[str, Any]]) -> None:
        """Delete objects and what they own; the absence of one is no error."""
        for manifest in manifests:
            path = f"{path_of(manifest)}/{manifest['metadata']['name']}"
            try:
                self.api.delete(path, {"propagationPolicy": "Background"})
            except Refused as error:
                if error.code != 404:
                    raise

    def outcome(self, *expected: Outcome) -> Outcome:
        """Return the outcome once nothing changes any more: soon if it is an expected one."""
        hoped = [(each["counts"], normal(each["messages"])) for each in expected]
        end = time.monotonic() + PATIENCE
        last, since = None, time.monotonic()
        while time.monotonic() < end:
            self.plane.check()
            pods = self.api.get(PATHS["v1.Pod"].format("default"))["items"]
            objects, unseen = [*pods], False
            for kind in WORKLOADS:
                found = self.api.get(PATHS[kind].format("default"))["items"]
                objects += found
                unseen |= kind != "batch/v1.Job" and any(map(_unseen, found))
            state = [
                (each["metadata"]["uid"], each["metadata"]["resourceVersion"]) for each in objects
            ]
            now = time.monotonic()
            going = any("deletionTimestamp" in each["metadata"] for each in objects)
            if state != last or going or any(map(_undecided, pods)):
                last, since = state, now
            outcome = outcome_of(pods)
            known = (outcome["counts"], normal(outcome["messages"])) in hoped
            # a controller whose pods are refused may never say that it has seen a workload
            if now - since >= (QUIET if known and not unseen else STUCK):
                return outcome
            time.sleep(0.05)
        raise RuntimeError("the cluster does not come to rest")


def _undecided(pod: dict[str, Any]) -> bool:
    """Return True for a pod that the scheduler, or then the kubelet, has not come to yet."""
    pending = pod["status"]["phase"] == "Pending"
    refused = any(c.get("message") for c in pod["status"].get("conditions", ()))
    return bool(pending and ("nodeName" in pod["spec"] or not refused))


def _unseen(found: dict[str, Any]) -> bool:
    """Return True for a workload whose last change its controller has not seen."""
    return bool(found["status"].get("observedGeneration") != found["metadata"]["generation"])


def outcome_of(pods: Iterable[dict[str, Any]]) -> Outcome:
    """Return the counts of ready and pending pods by template, and the messages."""
    counts: Counter[str] = Counter()
    messages: Counter[str] = Counter()
    for pod in pods:
        conditions = {c["type"]: c for c in pod["status"].get("conditions", ())}
        ready = conditions.get("Ready", {}).get("status") == "True"
        requests = [c["resources"].get("requests") for c in pod["spec"]["containers"]]
        app = pod["metadata"].get("labels", {}).get("app")
        counts[_key(app, requests, ready)] += 1
        if not ready:
            messages[conditions.get("PodScheduled", {}).get("message", "")] += 1
    return {"counts": dict(counts), "messages": dict(messages)}


def embedded_outcome(rows: Iterable[dict[str, Any]]) -> Outcome:
    """Return the same of the rows of an embedded cluster."""
    counts: Counter[str] = Counter()
    messages: Counter[str] = Counter()
    for pod in rows:
        counts[_key(pod["labels"].get("app"), pod["containers"], pod["ready"])] += 1
        if not pod["ready"]:
            messages[pod["message"] or ""] += 1
    return {"counts": dict(counts), "messages": dict(messages)}


def _key(app: str | None, requests: list[Any], ready: bool) -> str:
    amounts = [dict(sorted(each.items())) if each else None for each in requests]
    return f"{app} {json.dumps(amounts)} {'ready' if ready else 'pending'}"
