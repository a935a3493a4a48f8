"""The control plane behind the API: objects become pods, pods become objects, owners are followed.

The embedded cluster decides (``engine``). After each request and at each moment at which something
is due, its pods, ReplicaSets, Jobs, statuses and events are written as objects, and what clients
wrote is taken over: statuses of pods, nodes, deletions. Garbage collection and the deletion of
namespaces happen here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from simgit.kube.embedded.controllers.controller import Controller, PodOwner
from simgit.kube.embedded.controllers.deployment import Deployment
from simgit.kube.embedded.controllers.job import Job
from simgit.kube.embedded.controllers.replicaset import ReplicaSet
from simgit.kube.embedded.nodes import PENDING, SUCCEEDED, Pod
from simgit.kube.manifest import Manifest, lookup, template_of
from simgit.testing.apiserver.api import KubeApi
from simgit.testing.apiserver.engine import ServedCluster, check_accepted, children_of, read_node
from simgit.testing.apiserver.objects import (
    Json,
    ObjectKey,
    StoreChange,
    key_of,
    owner_reference,
    owner_uids,
)
from simgit.testing.apiserver.resources import (
    CRDS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    REPLICA_SETS,
    STATEFUL_SETS,
    WORKLOADS,
    ApiResource,
    resources_of,
)
from simgit.testing.apiserver.statuses import StatusError, bad_request, forbidden

_BY_KIND = {
    "CronJob": CRON_JOBS,
    "DaemonSet": DAEMON_SETS,
    "Deployment": DEPLOYMENTS,
    "Job": JOBS,
    "Node": NODES,
    "Pod": PODS,
    "ReplicaSet": REPLICA_SETS,
    "StatefulSet": STATEFUL_SETS,
}
_WARNINGS = frozenset({"FailedCreate", "FailedScheduling", "NodeNotReady", "BackoffLimitExceeded"})
_UNTOLD = frozenset({"Deleted", "Ignored"})
"""Events of the embedded cluster that a real one does not have."""


class ControllerManager:
    """The controllers over an API."""

    def __init__(self, api: KubeApi, cluster: ServedCluster) -> None:
        """Act on the objects of ``api``; ``cluster`` shares its clock."""
        self.api, self.store, self.cluster = api, api.store, cluster
        self.world = cluster.world
        self.logs: dict[ObjectKey, str] = {}
        """What the containers of pods wrote, by pod."""
        self.pods: dict[ObjectKey, Pod] = {}
        self._shown: dict[int, tuple[Any, ...]] = {}
        self._told = 0
        self._writing = False
        self.steps: list[Callable[[], None]] = []
        """Further controllers, called in every round."""
        self.once: list[Callable[[], None]] = []
        """Called in the next round, once."""
        self._removed: list[tuple[ApiResource, Json]] = []
        self._dying: dict[str, None] = {}
        """The uids of objects that wait for their deletion."""
        self._closing: dict[str, None] = {}
        """Namespaces that wait for their contents to be gone."""
        self._children: set[tuple[ApiResource, ObjectKey]] = set()
        api.control = self
        self.store.listeners.append(self._changed)

    # before a write

    def admit(
        self, resource: ApiResource, value: Json, before: Json | None, *, dry_run: bool
    ) -> None:
        """Refuse what the cluster refuses (InvalidInput), or else give it the object."""
        if resource is NODES:
            read_node(value)
        if self._writing or not self._is_the_clusters(resource):
            return
        if before is not None and before.get("spec") == value.get("spec"):
            return
        if resource is PODS and before is not None:
            return
        if resource in (REPLICA_SETS, JOBS) and self._is_child(resource, value):
            return
        if dry_run:
            check_accepted(value, lambda: self.world.priorities)
            return
        why = self.cluster.accept(value)
        if why is not None:
            raise forbidden(resource, key_of(value)[1], why)

    def _is_the_clusters(self, resource: ApiResource) -> bool:
        """Return True for a resource whose objects the embedded cluster acts on."""
        return (
            resource in WORKLOADS
            or resource is PRIORITY_CLASSES
            or resource.gvk in self.cluster.policy_kinds
        )

    def _is_child(self, resource: ApiResource, value: Json) -> bool:
        """Return True for an object that a controller of the cluster owns."""
        namespace, name = key_of(value)
        return any(
            (child.kind, child.namespace, child.name) == (resource.kind, namespace, name)
            for controller in self.cluster.controllers()
            for child in children_of(controller)
        )

    def bind(self, key: ObjectKey, node: str) -> None:
        """Place a pod on a node, as another scheduler does."""
        if self.store.get(NODES, ("", node)) is None:
            raise bad_request(f'node "{node}" not found')
        if key in self.pods:
            self.world.place(self.pods[key], node)

    def log_of(self, key: ObjectKey) -> str:
        """Return what a pod's container wrote."""
        return self.logs.get(key, "")

    # after a write

    def _changed(self, change: StoreChange) -> None:
        resource, value, metadata = change.resource, change.value, change.value["metadata"]
        if change.type == "DELETED":
            self._dying.pop(metadata["uid"], None)
            self._removed.append((resource, value))
            return
        if metadata.get("deletionTimestamp"):
            self._dying[metadata["uid"]] = None
            if resource is NAMESPACES:
                self._closing[metadata["name"]] = None
        if change.type == "ADDED" and owner_uids(value):
            self._dying[metadata["uid"]] = None  # its owner may be gone already
        if resource is NODES:
            self.cluster.set_node(read_node(value))
        elif resource is PODS and not self._writing:
            self._take_status(value)

    def _take_status(self, value: Json) -> None:
        pod = self.pods.get(key_of(value))
        status = value.get("status") or {}
        if pod is not None and status.get("phase"):
            ready = any(
                each.get("type") == "Ready" and each.get("status") == "True"
                for each in status.get("conditions") or ()
            )
            self.world.report(pod, status["phase"], ready)

    def settle(self) -> None:
        """Let everything happen that is due now."""
        while True:
            version = self.store.version
            self._collect()
            self.world.settle()
            self._show()
            once, self.once = self.once, []
            for step in (*self.steps, *once):
                step()
            if self.store.version == version and not self._removed and not self.once:
                return

    def advance(self, milliseconds: int) -> None:
        """Let time pass; at each moment at which something is due, objects are written."""
        clock = self.world.clock
        end = clock.now + milliseconds
        self.settle()
        while (due := clock.next_time()) is not None and due <= end:
            self.world.advance(max(0, due - clock.now))
            self.settle()
        self.world.advance(end - clock.now)
        self.api.wake()

    # deletion

    def _collect(self) -> None:
        """Follow deletions: to the cluster, to dependents, to the contents of namespaces."""
        while self._removed:
            resource, value = self._removed.pop(0)
            self._forget(resource, value)
            for place in list(self.store.dependents.get(value["metadata"]["uid"], ())):
                self._lose_owner(place[0], self.store.get(*place))
        for uid in list(self._dying):
            if uid not in self.store.places:
                self._dying.pop(uid, None)
                continue
            resource, key = self.store.places[uid]
            dying = self.store.get(resource, key)
            assert dying is not None
            self._step_deletion(resource, dying)
        for name in list(self._closing):
            self._empty(name)

    def _forget(self, resource: ApiResource, value: Json) -> None:
        """Let the cluster forget an object that was deleted."""
        key = key_of(value)
        if resource is PODS:
            pod = self.pods.pop(key, None)
            if pod is not None:
                self.world.release(pod)
                self._shown.pop(pod.uid, None)
        if self._is_the_clusters(resource):
            self.cluster.withdraw(value)
        elif resource is NODES:
            self.world.drop_node(key[1])
        elif resource is CRDS:
            for each in resources_of(value):
                for instance in self.store.every(each):
                    self._delete(each, instance)

    def _lose_owner(self, resource: ApiResource, value: Json | None) -> None:
        """Delete a dependent whose last owner was deleted, else drop void references."""
        if value is None:
            return
        references = value["metadata"].get("ownerReferences") or []
        left = [each for each in references if each.get("uid") in self.store.places]
        if references and not left:
            self._delete(resource, value)
        elif len(left) < len(references):
            metadata = {**value["metadata"], "ownerReferences": left}
            self.put(resource, {**value, "metadata": metadata})

    def _delete(self, resource: ApiResource, value: Json, policy: str = "Background") -> None:
        if not value["metadata"].get("deletionTimestamp"):
            self.api.delete(resource, value, policy=policy)

    def _step_deletion(self, resource: ApiResource, value: Json) -> None:
        metadata = value["metadata"]
        if not metadata.get("deletionTimestamp"):
            self._dying.pop(metadata["uid"], None)
            if owner_uids(value):
                self._lose_owner(resource, value)
            return
        finalizers = metadata.get("finalizers") or []
        if resource is PODS:
            pod = self.pods.get(key_of(value))
            if pod is not None:
                self.world.delete_pod(pod, "Killing", "deleted")
        if "orphan" in finalizers:
            self._let_go(resource, value)
            self._drop_finalizer(resource, value, "orphan")
        elif "foregroundDeletion" in finalizers:
            if resource in WORKLOADS:
                self.cluster.withdraw(value)
            if not self._delete_dependents(metadata["uid"]):
                self._drop_finalizer(resource, value, "foregroundDeletion")
        elif not finalizers and resource is PODS and self._ends_itself(key_of(value)):
            self.store.remove(resource, key_of(value))

    def _ends_itself(self, key: ObjectKey) -> bool:
        """Return True for a pod of KWOK's, or on a node that the API does not have (any more)."""
        node = lookup(self.store.get(PODS, key) or {}, ("spec", "nodeName")) or ""
        return self.cluster.kwok or self.store.get(NODES, ("", node)) is None

    def _let_go(self, resource: ApiResource, value: Json) -> None:
        uid = value["metadata"]["uid"]
        self.cluster.withdraw(value, orphan=True)
        for place in list(self.store.dependents.get(uid, ())):
            dependent = self.store.get(*place)
            if dependent is not None:
                left = [
                    each
                    for each in dependent["metadata"]["ownerReferences"]
                    if each.get("uid") != uid
                ]
                metadata = {**dependent["metadata"], "ownerReferences": left}
                self.put(place[0], {**dependent, "metadata": metadata})

    def _delete_dependents(self, uid: str) -> bool:
        """Delete what an object owns; return True while something of it holds the owner up."""
        blocks = False
        for resource, key in list(self.store.dependents.get(uid, ())):
            value = self.store.get(resource, key)
            if value is not None:
                self._delete(resource, value, "Foreground")
            value = self.store.get(resource, key)
            for each in (value or {}).get("metadata", {}).get("ownerReferences") or ():
                blocks |= each.get("uid") == uid and bool(each.get("blockOwnerDeletion"))
        return blocks

    def _drop_finalizer(self, resource: ApiResource, value: Json, name: str) -> None:
        value = self.store.get(resource, key_of(value)) or value
        left = [each for each in value["metadata"].get("finalizers") or () if each != name]
        self.api.update(
            resource, value, {**value, "metadata": {**value["metadata"], "finalizers": left}}
        )

    def _empty(self, namespace: str) -> None:
        """Delete what is in a namespace that ends, and it when nothing is left."""
        for resource, value in self.store.contents(namespace):
            self._delete(resource, value)
        found = self.store.get(NAMESPACES, ("", namespace))
        if found is not None and not self.store.contents(namespace) and not self._removed:
            if found["metadata"].get("finalizers"):
                return
            self.store.remove(NAMESPACES, ("", namespace))
            found = None
        if found is None:
            self._closing.pop(namespace, None)

    # what the cluster did, as objects

    def put(self, resource: ApiResource, value: Json) -> Json:
        """Store a version that a controller wrote."""
        self._writing = True
        try:
            return self.store.put(resource, value)
        finally:
            self._writing = False

    def create(self, resource: ApiResource, value: Json) -> Json:
        """Create an object of a controller; the embedded cluster is not asked."""
        self._writing = True
        try:
            return self.api.create(resource, value)
        finally:
            self._writing = False

    def _create(self, resource: ApiResource, value: Json) -> Json | None:
        with suppress(StatusError):  # its namespace ends
            return self.create(resource, value)
        return None

    def _show(self) -> None:
        taken, self.world.deleted = self.world.deleted, []
        for pod in taken:
            value = self.store.get(PODS, (pod.namespace, pod.name))
            if value is not None and self.pods.get(key_of(value)) is pod:
                self._delete(PODS, value)
        children = set()
        for controller in self.cluster.controllers():
            for child in children_of(controller):
                self._show_child(controller, child)
                children.add((_BY_KIND[child.kind], (child.namespace, child.name)))
        for place in self._children - children:  # Jobs beyond the limit of a history
            gone = self.store.get(*place)
            if gone is not None and not self.cluster.is_own(place[0].gvk, place[1]):
                self._delete(place[0], gone)
        self._children = children
        for pod in list(self.world.pods.values()):
            self._show_pod(pod)
        for controller in self.cluster.controllers():
            self._show_status(controller)
        self._show_events()

    def _show_child(self, parent: Controller, child: PodOwner) -> None:
        resource = _BY_KIND[child.kind]
        key = (child.namespace, child.name)
        found = self.store.get(resource, key)
        if found is not None:
            replicas = getattr(child, "replicas", None)
            if replicas is not None and found["spec"].get("replicas") != replicas:
                metadata = found["metadata"]
                metadata = {**metadata, "generation": metadata.get("generation", 1) + 1}
                sized = {**found["spec"], "replicas": replicas}
                self.put(resource, {**found, "metadata": metadata, "spec": sized})
            return
        owner = self.store.get(_BY_KIND[parent.kind], (parent.namespace, parent.name))
        if owner is None or owner["metadata"].get("deletionTimestamp"):
            return
        template = _template(child)
        labels = {**(lookup(template, ("metadata", "labels")) or {})}
        spec: Json = dict(lookup(parent.original, ("spec", "jobTemplate", "spec")) or {})
        if isinstance(child, ReplicaSet):
            hashed = {"pod-template-hash": str(child.revision)}
            labels = {**labels, **hashed}
            meta = {**(template.get("metadata") or {}), "labels": labels}
            wanted = lookup(parent.original, ("spec", "selector", "matchLabels")) or {}
            spec = {
                "replicas": child.replicas,
                "selector": {"matchLabels": {**wanted, **hashed}},
                "template": {**template, "metadata": meta},
            }
        self._create(
            resource,
            {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": {
                    "name": child.name,
                    "namespace": child.namespace,
                    "labels": labels,
                    "ownerReferences": [owner_reference(owner, controller=True)],
                },
                "spec": spec,
            },
        )

    def _show_pod(self, pod: Pod) -> None:
        key = (pod.namespace, pod.name)
        if self.pods.get(key) is not pod:
            if key in self.pods or not self._make_pod(pod):
                return  # the one before has to go first, or its namespace ends
            self.pods[key] = pod
        node = pod.node.name if pod.node else None
        nominated = pod.nominated.name if pod.nominated else None
        bound: tuple[Any, ...] = (node, pod.message, nominated)
        stage = (*bound, pod.phase, pod.ready)
        shown = self._shown.get(pod.uid)
        if shown == stage:
            return
        value = self.store.get(PODS, key)
        if value is None:
            return
        if shown is None or shown[:3] != bound:
            value = self.put(PODS, self._scheduled(pod, value, node, nominated))
        if self.cluster.kwok and pod.phase != PENDING and value["status"].get("phase") != SUCCEEDED:
            self.put(PODS, {**value, "status": self._started(pod, value)})
        self._shown[pod.uid] = stage

    def _make_pod(self, pod: Pod) -> bool:
        key = (pod.namespace, pod.name)
        found = self.store.get(PODS, key)
        if pod.owner.kind == "Pod":
            return found is not None
        if found is not None:
            return False
        owner = self.store.get(_BY_KIND[pod.owner.kind], (pod.owner.namespace, pod.owner.name))
        if owner is None:
            return False
        template = _template(pod.owner)
        metadata = template.get("metadata") or {}
        labels = dict(pod.facts.labels)
        spec = dict(template.get("spec") or pod.facts.spec)
        if pod.target:
            field = {"key": "metadata.name", "operator": "In", "values": [pod.target]}
            spec["affinity"] = {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchFields": [field]}]
                    }
                }
            }
        spec["priority"] = pod.facts.priority
        value = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod.name,
                "namespace": pod.namespace,
                "generateName": f"{pod.owner.name}-",
                "labels": labels,
                **({"annotations": dict(metadata["annotations"])}
                   if metadata.get("annotations") else {}),
                "ownerReferences": [owner_reference(owner, controller=True)],
            },
            "spec": spec,
        }  # fmt: skip
        return self._create(PODS, value) is not None

    def _scheduled(self, pod: Pod, value: Json, node: str | None, nominated: str | None) -> Json:
        status = dict(value.get("status") or {})
        others = [each for each in status.get("conditions") or () if each["type"] != "PodScheduled"]
        condition: Json = {"type": "PodScheduled", "lastTransitionTime": self.api.now_text()}
        if node is not None:
            value = {**value, "spec": {**value["spec"], "nodeName": node}}
            condition["status"] = "True"
        elif pod.message is not None:
            reason = "SchedulingGated" if pod.facts.gated else "Unschedulable"
            condition |= {"status": "False", "reason": reason, "message": pod.message}
        if "status" in condition:
            status["conditions"] = [*others, condition]
        status.pop("nominatedNodeName", None)
        if nominated is not None and node is None:
            status["nominatedNodeName"] = nominated
        return {**value, "status": status}

    def _started(self, pod: Pod, value: Json) -> Json:
        """Return the status of a pod that KWOK runs."""
        now, status = self.api.now_text(), dict(value["status"])
        ready = "True" if pod.ready else "False"
        others = [each for each in status.get("conditions") or () if each["type"] == "PodScheduled"]
        status["phase"] = pod.phase
        status["conditions"] = [
            {"type": kind, "status": state, "lastTransitionTime": now}
            for kind, state in (
                ("Initialized", "True"),
                ("Ready", ready),
                ("ContainersReady", ready),
            )
        ] + others
        state: Json = {"running": {"startedAt": now}}
        if pod.finished:
            began = status.get("startTime", now)
            code = 0 if pod.phase == SUCCEEDED else 1
            reason = "Completed" if code == 0 else "Error"
            state = {
                "terminated": {
                    "exitCode": code, "reason": reason, "startedAt": began, "finishedAt": now,
                }
            }  # fmt: skip
        status.setdefault("startTime", now)
        number = pod.uid
        status["podIP"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        status["hostIP"] = "127.0.0.1"
        status["containerStatuses"] = [
            {"name": each["name"], "image": each.get("image", ""), "ready": pod.ready,
             "imageID": "", "restartCount": 0, "started": pod.ready, "state": state}
            for each in value["spec"]["containers"]
        ]  # fmt: skip
        return status

    def _show_status(self, controller: Controller) -> None:
        resource = _BY_KIND[controller.kind]
        if resource is PODS:
            return
        value = self.store.get(resource, (controller.namespace, controller.name))
        if value is None:
            return
        status = self._status_of(controller, value)
        if status is not None and status != value.get("status"):
            self.put(resource, {**value, "status": status})

    def _status_of(self, controller: Controller, value: Json) -> Json | None:
        spec = value["spec"]
        seen: Json = {"observedGeneration": value["metadata"].get("generation", 1)}
        if isinstance(controller, Job):
            return self._job_status(controller, value)
        if not isinstance(controller, PodOwner):
            return None
        pods = list(_pods_of(controller))
        ready = sum(pod.ready for pod in pods)
        if controller.kind == "DaemonSet":
            wanted = len({pod.target for pod in pods})
            return {
                **seen, "desiredNumberScheduled": wanted, "currentNumberScheduled": len(pods),
                "numberMisscheduled": 0, "numberReady": ready, "numberAvailable": ready,
                "updatedNumberScheduled": len(pods),
            }  # fmt: skip
        counts = {"replicas": len(pods), "readyReplicas": ready}
        available = sum(len(each.available) for each in (children_of(controller) or [controller]))
        counts["availableReplicas"] = available
        if isinstance(controller, Deployment):
            newest = controller._new
            counts["updatedReplicas"] = len(newest.pods) if newest else 0
            counts["unavailableReplicas"] = max(0, spec.get("replicas", 1) - available)
            has = available >= controller.replicas - controller.unavailable
            state = self._availability(value, has)
            return {**seen, **{k: v for k, v in counts.items() if v}, "conditions": [state]}
        return {**seen, **counts}

    def _availability(self, value: Json, holds: bool) -> Mapping[str, Any]:
        text = "True" if holds else "False"
        for each in lookup(value, ("status", "conditions")) or ():
            if each["status"] == text:
                return dict(each)
        now = self.api.now_text()
        return {
            "type": "Available", "status": text, "lastTransitionTime": now, "lastUpdateTime": now,
            "reason": f"MinimumReplicas{'Available' if holds else 'Unavailable'}",
            "message": f"Deployment {'has' if holds else 'does not have'} minimum availability.",
        }  # fmt: skip

    def _job_status(self, job: Job, value: Json) -> Json:
        now = self.api.now_text()
        before = value.get("status") or {}
        status: Json = {"startTime": before.get("startTime", now)}
        counts = {
            "active": len(job.pods),
            "ready": sum(pod.ready for pod in job.pods.values()),
            "succeeded": job.succeeded,
            "failed": job.failed,
        }
        status |= {name: count for name, count in counts.items() if count}
        if job.state:
            known = before.get("conditions")
            status["conditions"] = known or [
                {"type": job.state, "status": "True", "lastTransitionTime": now}
            ]
            if job.state == "Complete":
                status["completionTime"] = before.get("completionTime", now)
        return status

    def _show_events(self) -> None:
        events = self.world.events
        while self._told < len(events):
            event = events[self._told]
            self._told += 1
            if event.reason in _UNTOLD or event.kind not in _BY_KIND:
                continue
            at = datetime.fromtimestamp(event.time // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            resource = _BY_KIND[event.kind]
            involved = self.store.get(resource, (event.namespace, event.name))
            namespace = event.namespace or "default"
            reference = {
                "kind": event.kind, "apiVersion": resource.api_version, "name": event.name,
                **({"namespace": event.namespace} if event.namespace else {}),
                **({"uid": involved["metadata"]["uid"]} if involved else {}),
            }  # fmt: skip
            self._create(EVENTS, {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{event.name}.{self._told:x}", "namespace": namespace},
                "involvedObject": reference,
                "reason": event.reason,
                "message": event.message,
                "type": "Warning" if event.reason in _WARNINGS else "Normal",
                "count": 1,
                "firstTimestamp": at,
                "lastTimestamp": at,
                "source": {"component": _component(event.kind, event.reason)},
            })  # fmt: skip


def _component(kind: str, reason: str) -> str:
    if reason in ("Scheduled", "FailedScheduling", "Preempted"):
        return "default-scheduler"
    return f"{kind.lower()}-controller"


def _pods_of(controller: PodOwner) -> Iterator[Pod]:
    for each in children_of(controller) or [controller]:
        yield from each.pods.values()


def _template(owner: Any) -> Manifest:
    """Return the pod template that a controller makes pods from."""
    own = getattr(owner, "template", None)
    if own:
        found: Manifest = own
        return found
    original = owner.original or owner.owner.original
    return template_of(original) or {}
