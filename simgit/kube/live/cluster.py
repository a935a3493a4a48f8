"""A real cluster as a KubeCluster: applies into namespaces of its own, observes by lists.

Whatever is applied belongs to a root object in a namespace that was created for it; nothing else
on the cluster is written to. Pods that are being deleted count as long as they exist, as in
SimKube's observers and ``kubectl get pods``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from simgit.errors import ClusterError, InvalidInput, NotFound
from simgit.kube.cluster import PodSelection
from simgit.kube.embedded.requests import container_texts, read_requests
from simgit.kube.live.api import Api, ApiError, Kind, Object
from simgit.kube.live.cleanup import RUN, Created
from simgit.kube.live.nodes import condition, row, seconds_of, virtual
from simgit.kube.live.watching import Watching
from simgit.kube.manifest import (
    REPLICATED,
    TEMPLATE_PATHS,
    Manifest,
    check_identity,
    gvk_of,
    lookup,
    name_of,
    namespace_of,
    pod_labels,
    replace,
    template_of,
)
from simgit.kube.observation import Observation, failed, why_no_pods
from simgit.kube.quantity import from_bytes, from_millicores

MAX_PODS: Final = 10_000
SESSION: Final = "simgit.io/session"
"""The label of what a session created: two of one run must not touch each other's."""
ROOT: Final = "simgit-root"
MANAGER: Final = "simkube"
_CALL_SECONDS: Final = 30.0
_PODS: Final = "/api/v1/pods"
_NAMESPACES: Final = "/api/v1/namespaces"
_SET_BY_SERVER: Final = (
    "managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink",
    "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences",
)  # fmt: skip


@dataclass(slots=True)
class AppliedWorkload:
    """An object that was applied: its manifest, and how often it was applied with a change."""

    path: str
    manifest: Manifest
    changes: int = 1

    @property
    def wanted(self) -> int | None:
        """The number of pods that it wants, None where the manifest alone does not tell."""
        gvk = gvk_of(self.manifest)
        if gvk == "v1.Pod":
            return 1
        if gvk not in REPLICATED or lookup(self.manifest, ("spec", "paused")):
            return None
        replicas = lookup(self.manifest, ("spec", "replicas"))
        return 1 if replicas is None else int(replicas)


_OBSERVED: Final = REPLICATED | {"apps/v1.DaemonSet"}
"""Kinds whose controllers write which generation of an object they have acted on."""

_OWNING: Final = frozenset({*TEMPLATE_PATHS, "v1.ConfigMap", "v1.Service", "v1.ServiceAccount"})
"""Kinds of which nothing is made that outlives them."""

AfterApply = Callable[[Manifest, Manifest], None]


class LiveCluster:
    """A KubeCluster on an API server, for one replay: time is the clock's."""

    def __init__(
        self,
        api: Api,
        created: Created,
        *,
        run: str,
        session: str,
        prefix: str = "virtual",
        namespaces: dict[str, str] | None = None,
        pods: Watching | None = None,
        root: Object | None = None,
        most_pods: int = MAX_PODS,
        applied: AfterApply | None = None,
    ) -> None:
        """Write nothing yet.

        Args:
            api: the API server.
            created: where namespaces and roots are noted before they are created.
            run: the value of the label ``simgit.io/run`` of all that is created.
            session: the value of the label ``simgit.io/session``; namespaces without are refused.
            prefix: the namespaces are ``<prefix>-*``.
            namespaces: namespaces of the session that exist, to their uids; new ones are added.
            pods: the watched pods, which tell the order in which pods of a second came.
            root: what owns the objects of all namespaces; by default a ConfigMap in each does.
            most_pods: the most pods that all workloads together may want.
            applied: told of each workload and its pod template.
        """
        self._api = api
        self._created = created
        self._labels = {RUN: run, SESSION: session}
        self._selector = f"{SESSION}={session}"
        self._prefix = prefix
        self._namespaces = {} if namespaces is None else namespaces
        self._pods = pods
        self._root = root
        self._most_pods = most_pods
        self._applied = applied
        self._owners: dict[str, Object] = {}
        self.workloads: dict[str, AppliedWorkload] = {}
        """Path -> what is applied now."""
        self.deleted = False
        """True if an object was deleted in this replay."""
        self.owns_all = True
        """True if all that comes of what was applied is deleted with it."""
        self._since = 0

    @property
    def now(self) -> float:
        """The clock's Unix time in seconds."""
        return self._api.clock.time()

    @property
    def namespaces(self) -> list[str]:
        """The namespaces that were created."""
        return list(self._owners)

    def advance(self, seconds: float) -> None:
        """Wait."""
        if not 0 <= seconds < 2**40:
            raise InvalidInput(
                f"seconds must be 0 or more and below 2**40, got '{seconds}'", value=seconds
            )
        if seconds:
            self._api.clock.sleep(seconds)

    # Writing

    def apply(self, manifests: Sequence[Manifest]) -> None:
        """Apply objects in order; those before one that is refused are applied.

        Raises InvalidInput for what the API server refuses as wrong, and for what lies outside
        the namespaces of the replay; else ClusterError.
        """
        for number, manifest in enumerate(manifests):
            check_identity(manifest, f"manifests[{number}]")
            with self._api.within(_CALL_SECONDS):
                self._apply(manifest)

    def _apply(self, manifest: Manifest) -> None:
        kind = self._kind(manifest)
        if not kind.namespaced:
            self._check_outside(manifest, kind)
            return
        namespace = self._namespace(manifest)
        path = kind.path(namespace, name_of(manifest))
        self._check_size(path, manifest)
        body = self._body(manifest, self._owner(namespace))
        try:
            self._api.apply(path, body, manager=MANAGER)
        except ApiError as error:
            raise self._refused(manifest, error) from error
        known = self.workloads.get(path)
        if gvk_of(manifest) not in _OWNING or lookup(manifest, ("spec", "volumeClaimTemplates")):
            self.owns_all = False
        if known is None:
            self.workloads[path] = AppliedWorkload(path, manifest)
        elif known.manifest != manifest:
            known.manifest, known.changes = manifest, known.changes + 1
        template = template_of(manifest)
        if template is not None and self._applied is not None:
            self._applied(manifest, template)

    def delete(self, manifests: Sequence[Manifest]) -> None:
        """Delete objects and, soon after, everything they own."""
        for number, manifest in enumerate(manifests):
            check_identity(manifest, f"manifests[{number}]")
            kind = self._kind(manifest)
            namespace = self._namespace(manifest)
            if not kind.namespaced or namespace not in self._owners:
                continue  # nothing of ours is there
            path = kind.path(namespace, name_of(manifest))
            with self._api.within(_CALL_SECONDS):
                if self._api.delete(path):
                    self.deleted = True
            self.workloads.pop(path, None)

    def _kind(self, manifest: Manifest) -> Kind:
        try:
            return self._api.kind(manifest["apiVersion"], manifest["kind"])
        except NotFound as error:
            raise InvalidInput(str(error), value=manifest["kind"]) from error

    def _namespace(self, manifest: Manifest) -> str:
        namespace = namespace_of(manifest)
        if not namespace.startswith(f"{self._prefix}-"):
            raise InvalidInput(
                f"{manifest['kind']} '{name_of(manifest)}' is in namespace '{namespace}': a replay "
                f"writes to namespaces '{self._prefix}-*' only", value=namespace,
            )  # fmt: skip
        return namespace

    def _check_outside(self, manifest: Manifest, kind: Kind) -> None:
        """Refuse an object without a namespace, unless the cluster has it as it should be."""
        found = self._api.find(kind.path(None, name_of(manifest)))
        same = found is not None and all(
            found.get(key) == _plain(value)
            for key, value in manifest.items()
            if key not in ("metadata", "apiVersion", "kind", "status")
        )
        if not same:
            state = "exists with other content" if found else "does not exist"
            raise InvalidInput(
                f"{kind.kind} '{name_of(manifest)}' {state}, and a replay writes to namespaces "
                f"'{self._prefix}-*' only: create it yourself, or take it out of the trace",
                value=name_of(manifest),
            )

    def _check_size(self, path: str, manifest: Manifest) -> None:
        others = sum(w.wanted or 0 for p, w in self.workloads.items() if p != path)
        try:
            wanted = AppliedWorkload(path, manifest).wanted or 0
        except (TypeError, ValueError):
            return  # the server says what is wrong with it
        if others + wanted > self._most_pods:
            raise InvalidInput(
                f"the replay wants {others + wanted} pods, and {self._most_pods} are the most",
                value=others + wanted,
            )

    def _body(self, manifest: Manifest, owner: Object) -> Object:
        metadata = {k: v for k, v in manifest["metadata"].items() if k not in _SET_BY_SERVER}
        labels = {**(metadata.get("labels") or {}), **self._labels}
        path = TEMPLATE_PATHS.get(gvk_of(manifest))
        body: Any = {k: v for k, v in manifest.items() if k != "status"}
        if path and isinstance(lookup(manifest, path), Mapping):
            where = (*path, "metadata", "labels")
            body = replace(body, where, {**(lookup(manifest, where) or {}), **self._labels})
        found: Object = _plain({
            **body, "metadata": {**metadata, "labels": labels, "ownerReferences": [owner]},
        })  # fmt: skip
        return found

    def _refused(self, manifest: Manifest, error: ApiError) -> ClusterError | InvalidInput:
        if error.status in (400, 422):
            subject = f"{manifest['kind']} {namespace_of(manifest)}/{name_of(manifest)}"
            return InvalidInput(f"the API server refuses {subject}: {error}", value=subject)
        return error

    def _owner(self, namespace: str) -> Object:
        """Return the reference to what owns a namespace's objects; create both at first."""
        known = self._owners.get(namespace)
        if known is None:
            self._namespaces[namespace] = self._create_namespace(namespace)
            root = self._root or self._config(namespace)
            known = self._owners[namespace] = owner_reference(root)
            self._since = self._since or _version_of(root)
        return known

    def _config(self, namespace: str) -> Object:
        """Create the ConfigMap that owns the objects of a namespace."""
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"{ROOT}-{uuid.uuid4().hex[:8]}",
                "namespace": namespace,
                "labels": self._labels,
            },
        }
        path = self._api.path_of(body)
        self._created.note(path)
        made = self._api.apply(path, body, manager=MANAGER)
        self._created.note(path, made["metadata"]["uid"])
        return {**body, **made}

    def _create_namespace(self, name: str) -> str:
        """Create a namespace of ours and return its uid; one that is being deleted is waited for.

        One of an earlier replay, and a creation whose answer was lost, are found by their label:
        since then somebody may have put a namespace of his own there.
        """
        path = f"{_NAMESPACES}/{name}"
        found = self._api.find(path)
        while True:
            if found is None:
                body = {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {
                        "name": name,
                        "labels": self._labels,
                    },
                }
                self._created.note(path)
                try:
                    found = self._api.create(_NAMESPACES, body)
                except ApiError as error:
                    if error.status not in (0, 409, 500, 502, 503, 504):
                        raise
                    if error.status != 409:
                        self._wait_a_second(error)
                    found = self._api.find(path)
                    continue
            metadata = found["metadata"]
            if metadata.get("deletionTimestamp"):
                self._wait_a_second(
                    ApiError(f"namespace '{name}' is still being deleted", timeout=True)
                )
                found = self._api.find(path)
            elif (metadata.get("labels") or {}).get(SESSION) == self._labels[SESSION]:
                if self._namespaces.get(name) != metadata["uid"]:
                    self._created.note(path, metadata["uid"])
                return str(metadata["uid"])
            else:
                self._created.gone(path)
                raise ClusterError(
                    f"namespace '{name}' exists and is not of this session: delete it "
                    f"(kubectl delete namespace {name}, simgit kube cleanup), or choose another "
                    "prefix", namespace=name,
                )  # fmt: skip

    def _wait_a_second(self, error: ApiError) -> None:
        self._api.clock.sleep(1.0)
        try:
            self._api.left()
        except ApiError:
            raise error from None

    # Reading

    def observe(self, selection: PodSelection) -> Observation:
        """Count the selected pods by a new list; a failure gives no counts and says why."""
        try:
            found = self.listed(selection)
        except ClusterError as error:
            return failed("timeout" if error.__dict__.get("timeout") else "error", str(error))
        ready, pending, total = tally(found)
        reason = None if total else self._why_none(selection)
        return Observation(ready, pending, total, reason=reason)

    def listed(self, selection: PodSelection) -> list[Object]:
        """Return the selected pods by a new list; raises ClusterError."""
        path = self._api.kind("v1", "Pod").path(selection.namespace)
        with self._api.within(_CALL_SECONDS):
            return self._api.list(path, labels=f"{selection.label}={selection.value}")[0]

    def _why_none(self, selection: PodSelection) -> str:
        manifests = [each.manifest for each in self.workloads.values()]

        def refusal(manifest: Manifest) -> str | None:
            name = name_of(manifest)
            for event in reversed(events):
                if event["reason"] == "FailedCreate" and (
                    event["name"] == name or event["name"].startswith(f"{name}-")
                ):
                    return str(event["message"])
            return None

        try:
            events = self._events_of(selection.namespace)
        except ClusterError:
            events = []
        return why_no_pods(
            selection.namespace, selection.label, selection.value, manifests, refusal
        )

    def controllers_acted(self, selection: PodSelection, total: int) -> bool:
        """Return True if the controllers of the selected pods have acted on the newest objects.

        ``total`` is the number of these pods; too few are believed only where a controller says
        why. Raises ApiError.
        """
        few = self.lacks(selection, total)
        return all(self._acted(each, total, few=few) for each in self._selected(selection))

    def lacks(self, selection: PodSelection, total: int) -> bool:
        """Return True if ``total`` is fewer pods than the selected workloads want."""
        return total < sum(each.wanted or 0 for each in self._selected(selection))

    def _selected(self, selection: PodSelection) -> list[AppliedWorkload]:
        return [
            each for each in self.workloads.values()
            if namespace_of(each.manifest) == selection.namespace
            and pod_labels(each.manifest).get(selection.label) == selection.value
        ]  # fmt: skip

    def _acted(self, workload: AppliedWorkload, total: int, *, few: bool) -> bool:
        now = self._api.get(workload.path)
        gvk = gvk_of(workload.manifest)
        if gvk == "batch/v1.Job":  # one that is suspended has a condition, and no time
            if not (lookup(now, ("status", "startTime")) or lookup(now, ("status", "conditions"))):
                return False
        elif gvk in _OBSERVED:
            generation = lookup(now, ("metadata", "generation")) or 0
            if (lookup(now, ("status", "observedGeneration")) or 0) < generation:
                return False
        if not few or not workload.wanted:
            return True
        ordered = gvk == "apps/v1.StatefulSet" and total > 0  # makes one after another
        return ordered or condition(now, "ReplicaFailure") == "True"

    def pods(self) -> list[dict[str, Any]]:
        """Return a row for each pod of the replay, the oldest first; raises ClusterError."""
        with self._api.within(_CALL_SECONDS):
            found = self._api.list(_PODS, labels=self._selector)[0]
        return [pod_row(pod) for pod in self._by_age(found)]

    def _by_age(self, pods: list[Object]) -> list[Object]:
        """Order pods by age; times are whole seconds, so the order seen by the watch helps."""
        watched = self._pods.objects() if self._pods is not None else []
        seen = {each["metadata"]["uid"]: number for number, each in enumerate(watched)}

        def age(pod: Object) -> tuple[str, int, str]:
            metadata = pod["metadata"]
            place = seen.get(metadata["uid"], len(seen))
            return metadata["creationTimestamp"], place, metadata["name"]

        return sorted(pods, key=age)

    def nodes(self) -> list[dict[str, Any]]:
        """Return a row for each virtual node, with the pods of all on it; raises ClusterError."""
        with self._api.within(_CALL_SECONDS):
            nodes = virtual(self._api)
            pods = self._by_age(self._api.list(_PODS)[0])
        return [row(node, pods) for node in nodes]

    def events(self) -> list[dict[str, Any]]:
        """Return a row for each event of the replay, the oldest first; raises ClusterError."""
        found = [event for namespace in self.namespaces for event in self._events_of(namespace)]
        return sorted(found, key=lambda event: float(event["time"]))

    def _events_of(self, namespace: str) -> list[dict[str, Any]]:
        with self._api.within(_CALL_SECONDS):
            found = self._api.list(self._api.kind("v1", "Event").path(namespace))[0]
        # a namespace that served a replay before has that one's events too
        own = [event for event in found if _version_of(event) > self._since]
        return sorted(map(event_row, own), key=lambda event: float(event["time"]))


def _version_of(found: Object) -> int:
    version = str(found["metadata"].get("resourceVersion") or "")
    return int(version) if version.isdecimal() else 1


def owner_reference(root: Object) -> Object:
    """Return the reference to an owner that is deleted after what it owns."""
    metadata = root["metadata"]
    return {
        "apiVersion": root["apiVersion"], "kind": root["kind"], "name": metadata["name"],
        "uid": metadata["uid"], "blockOwnerDeletion": True,
    }  # fmt: skip


def tally(pods: Sequence[Object]) -> tuple[int, int, int]:
    """Return (ready, pending, total) of pods."""
    ready = sum(condition(pod, "Ready") == "True" for pod in pods)
    pending = sum(lookup(pod, ("status", "phase")) == "Pending" for pod in pods)
    return ready, pending, len(pods)


def is_open(pod: Object, at_once: bool) -> bool:
    """Return True for a pod that somebody is about to change.

    Those are the scheduler and, if pods become ready ``at_once``, the stage controller.
    """
    if lookup(pod, ("metadata", "deletionTimestamp")):
        return True
    if lookup(pod, ("status", "phase")) != "Pending":
        return False
    if lookup(pod, ("spec", "nodeName")):
        return at_once and condition(pod, "Ready") != "True"
    if lookup(pod, ("status", "nominatedNodeName")):
        return True
    return condition(pod, "PodScheduled", "reason") not in ("Unschedulable", "SchedulingGated")


def pod_row(pod: Object) -> dict[str, Any]:
    """Return a pod's row as the embedded cluster has it."""
    metadata, spec = pod["metadata"], pod["spec"]
    owner = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), None)
    requests = read_requests(spec)[0]
    node = spec.get("nodeName") or None
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "owner": f"{owner['kind']}/{owner['name']}" if owner else f"Pod/{metadata['name']}",
        "labels": dict(metadata.get("labels") or {}),
        "phase": lookup(pod, ("status", "phase")),
        "ready": condition(pod, "Ready") == "True",
        "node": node,
        "nominated": lookup(pod, ("status", "nominatedNodeName")) or None,
        "cpu": from_millicores(requests.get("cpu", 0)),
        "memory": from_bytes(requests.get("memory", 0)),
        "priority": int(spec.get("priority") or 0),
        "containers": [dict(texts) for texts in container_texts(spec)],
        "created": seconds_of(metadata["creationTimestamp"]),
        "message": None if node else condition(pod, "PodScheduled", "message"),
    }


def event_row(event: Object) -> dict[str, Any]:
    """Return an event's row; the time is when it was last seen."""
    about = event.get("involvedObject") or {}
    metadata = event["metadata"]
    time = event.get("lastTimestamp") or event.get("eventTime") or metadata["creationTimestamp"]
    return {
        "time": seconds_of(time),
        "kind": about.get("kind") or "",
        "namespace": about.get("namespace") or metadata["namespace"],
        "name": about.get("name") or "",
        "reason": event.get("reason") or "",
        "message": event.get("message") or "",
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
