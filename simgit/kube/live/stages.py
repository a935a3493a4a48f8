"""The stages of pods on virtual nodes, as KWOK plays them: ready, complete, deleted.

A bound pod becomes Ready after its delays, Succeeded after its lifetime, and one that is being
deleted is deleted, as no kubelet stops its containers. Heartbeats keep the nodes ready.
"""

from __future__ import annotations

import heapq
import random
import re
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from simgit.errors import ClusterError, SimgitError
from simgit.kube.embedded import PodDelays
from simgit.kube.live.api import Api, ApiError, Object
from simgit.kube.live.nodes import beat, stamp
from simgit.kube.live.watching import Key, Watching
from simgit.kube.manifest import TEMPLATE_PATHS, Manifest, lookup, name_of, namespace_of
from simgit.kube.recorded_lifetimes import RecordedLifetimes

_CALL_SECONDS: Final = 10.0
_BEAT_SECONDS: Final = 10.0
_LONGEST_PAUSE: Final = 4.0
_SHORTEST_LIFE: Final = 1.0
"""As in the embedded cluster: a pod of no life at all would be replaced for ever."""


class Timing(Protocol):
    """The times that pods of the replay that is running are in a stage."""

    def created(self, pod: Object) -> None:
        """Take note of a new pod."""

    def start(self, pod: Object) -> float:
        """Return the seconds from bound to ready."""

    def life(self, pod: Object) -> float | None:
        """Return the seconds from ready to completed, None for ever."""

    def annotations(self, pod: Object) -> tuple[dict[str, str], dict[str, str]]:
        """Return the labels and annotations that say the same to KWOK."""

    def draw(self) -> float:
        """Return a random number from 0 to 1."""

    def now(self) -> float:
        """Return Unix time."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of pods in a state: after a delay in seconds, their next status, or deletion.

    ``delay`` returns None for pods that stay as they are; ``status`` None deletes the pod.
    """

    name: str
    matches: Callable[[Object, Timing], bool]
    delay: Callable[[Object, Timing], float | None]
    status: Callable[[Object, str], Object] | None


def _is_deleted(pod: Object, _: Timing) -> bool:
    return bool(lookup(pod, ("metadata", "deletionTimestamp")))


def _is_waiting(pod: Object, _: Timing) -> bool:
    phase = lookup(pod, ("status", "phase"))
    return phase == "Pending" and bool(lookup(pod, ("spec", "nodeName")))


def _is_running(pod: Object, _: Timing) -> bool:
    return bool(lookup(pod, ("status", "phase")) == "Running")


def _is_over(pod: Object) -> bool:
    return lookup(pod, ("status", "phase")) in ("Succeeded", "Failed")


def _started(pod: Object, now: str) -> Object:
    def states(name: str, state: Object, *, ready: bool) -> list[Object]:
        return [
            {
                "name": each["name"], "image": each.get("image", ""), "imageID": "", "ready": ready,
                "restartCount": 0, "state": state,
            }
            for each in pod["spec"].get(name) or ()
        ]  # fmt: skip

    done = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
    ip = address(str(pod["metadata"].get("uid")))
    status: Object = {
        "phase": "Running",
        "startTime": now,
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": _conditions(pod, now, {
            "Initialized": "True", "Ready": "True", "ContainersReady": "True",
            **{gate["conditionType"]: "True" for gate in pod["spec"].get("readinessGates") or ()},
        }),
        "containerStatuses": states("containers", {"running": {"startedAt": now}}, ready=True),
    }  # fmt: skip
    if pod["spec"].get("initContainers"):
        status["initContainerStatuses"] = states("initContainers", {"terminated": done}, ready=True)
    return status


def _completed(pod: Object, now: str) -> Object:
    began = lookup(pod, ("status", "startTime")) or now
    done = {"exitCode": 0, "reason": "Completed", "startedAt": began, "finishedAt": now}
    return {
        "phase": "Succeeded",
        "conditions": _conditions(
            pod, now, {"Ready": "False", "ContainersReady": "False"}, "PodCompleted"
        ),
        "containerStatuses": [
            {
                "name": each["name"], "image": each.get("image", ""), "imageID": "", "ready": False,
                "restartCount": 0, "started": False, "state": {"terminated": done},
            }
            for each in pod["spec"]["containers"]
        ],
    }  # fmt: skip


def _conditions(pod: Object, now: str, new: Mapping[str, str], reason: str = "") -> list[Object]:
    told = {"reason": reason} if reason else {}
    made = [
        {"type": kind, "status": status, "lastTransitionTime": now, **told}
        for kind, status in new.items()
    ]
    conditions: list[Object] = with_conditions(pod, {"conditions": made})["conditions"]
    return conditions


def with_conditions(pod: Object, status: Object) -> Object:
    """Return a new status with the conditions that it does not name: a patch replaces the list."""
    new = status.get("conditions") or ()
    named = {each["type"] for each in new}
    kept = [c for c in lookup(pod, ("status", "conditions")) or () if c["type"] not in named]
    return {**status, "conditions": [*kept, *new]}


def address(*parts: str) -> str:
    """Return an address in 10.0.0.0/8 that depends on the parts only."""
    number = zlib.crc32("/".join(parts).encode()) & 0xFFFFFF
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


DEFAULT_STAGES: Final = (
    Stage("pod-delete", _is_deleted, lambda pod, timing: 0.0, None),
    Stage("pod-ready", _is_waiting, lambda pod, timing: timing.start(pod), _started),
    Stage("pod-complete", _is_running, lambda pod, timing: timing.life(pod), _completed),
)
"""KWOK's stages in short: creation and readiness are one, as nobody looks between the two."""


class StageController:
    """A thread that leads the pods of a replay through their stages, and keeps nodes alive."""

    def __init__(self, api: Api, stages: tuple[Stage, ...] = DEFAULT_STAGES) -> None:
        """Take the stages, in the order in which they are tried; ``start`` starts the thread."""
        self._api = api
        if all(stage.status is not None for stage in stages):
            stages = (DEFAULT_STAGES[0], *stages)  # without it no pod that is deleted would go
        self._stages = stages
        self._pods: Watching | None = None
        self._timing: Timing = ReplayTiming()
        self._nodes: dict[str, Object] = {}
        self.foreign: frozenset[str] = frozenset()
        self._next_beat = float("inf")
        self._beaten = 0.0  # Unix time, which goes on while this machine sleeps
        self._begun = self._lapse = 0.0
        self._lock = threading.Condition()
        self._queue: list[tuple[float, int, Key]] = []
        self._count = 0
        self._due: dict[str, tuple[str, float]] = {}  # uid -> stage, time
        self._failures: dict[str, int] = {}
        self._closed = False
        self.error: ClusterError | None = None
        """The last call that failed, None if calls succeed."""
        self.freed: float | None = None
        """The time, of ``time.monotonic``, at which a pod last left its node; None if none did."""
        self._thread = threading.Thread(target=self._run, name="simgit stages", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            self._lock.notify()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def play(self, pods: Watching, timing: Timing) -> None:
        """Play the pods of another replay from now on; ``changed`` is to be told of its changes."""
        with self._lock:
            self._pods, self._timing = pods, timing
            self._queue.clear()
            self._due.clear()
            self._failures.clear()
            self.error = self.freed = None
            self._begun, self._lapse = time.time(), 0.0
        for pod in pods.objects():
            self.changed(None, pod)

    def keep_alive(self, nodes: Mapping[str, Object], foreign: frozenset[str]) -> None:
        """Send heartbeats for these nodes; pods on the nodes ``foreign`` are played by others."""
        with self._lock:
            self._nodes, self.foreign = dict(nodes), foreign
            if not nodes:
                self._next_beat = float("inf")
            elif time.time() - self._beaten > _BEAT_SECONDS:  # or who knows how long ago
                self._next_beat = time.monotonic()
            self._lock.notify()

    def lapse(self) -> float:
        """Return the longest time in seconds without heartbeats of this replay until now."""
        with self._lock:
            last = max(self._begun, self._beaten)
            return max(self._lapse, time.time() - last) if self._nodes else 0.0

    def changed(self, old: Object | None, new: Object | None) -> None:
        """Take note of a change of a pod, to be looked at by the thread."""
        with self._lock:
            uid = (new or old or {}).get("metadata", {}).get("uid", "")
            if old is not None and (new is None or (_is_over(new) and not _is_over(old))):
                self.freed = time.monotonic()
            if new is None:
                self._due.pop(uid, None)
                self._failures.pop(uid, None)
                return
            if old is None or old["metadata"].get("uid") != uid:
                self._timing.created(new)
            self._plan(new)

    def _plan(self, pod: Object) -> None:
        stage = self._stage(pod)
        uid = pod["metadata"]["uid"]
        if stage is None:
            self._due.pop(uid, None)
            return
        planned = self._due.get(uid)
        if planned is not None and planned[0] == stage.name:
            return
        try:
            delay = stage.delay(pod, self._timing)
        except SimgitError as error:  # no other try ends better
            self.error, delay = ClusterError(str(error), status=400), None
        if delay is None:
            self._due.pop(uid, None)
            return
        self._at(pod, stage, time.monotonic() + delay)

    def _at(self, pod: Object, stage: Stage, due: float) -> None:
        metadata = pod["metadata"]
        self._due[metadata["uid"]] = (stage.name, due)
        self._count += 1
        key = (str(metadata.get("namespace") or ""), str(metadata["name"]))
        heapq.heappush(self._queue, (due, self._count, key))
        self._lock.notify()

    def _stage(self, pod: Object) -> Stage | None:
        if (lookup(pod, ("spec", "nodeName")) or "") in self.foreign:
            return None
        return next((stage for stage in self._stages if stage.matches(pod, self._timing)), None)

    # The thread

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._closed and self._wait_seconds() > 0:
                    seconds = self._wait_seconds()
                    self._lock.wait(None if seconds == float("inf") else seconds)
                if self._closed:
                    return
                now = time.monotonic()
                key = (
                    heapq.heappop(self._queue)[2]
                    if self._queue and self._queue[0][0] <= now
                    else None
                )
                nodes = list(self._nodes.values()) if self._next_beat <= now else []
                if nodes:
                    self._next_beat = now + _BEAT_SECONDS
                pods = self._pods
            if nodes:
                self._beat(nodes)
            pod = None if key is None or pods is None else pods.get(key)
            if pod is not None:
                self._step(pod)

    def _wait_seconds(self) -> float:
        due = min(self._next_beat, self._queue[0][0] if self._queue else float("inf"))
        return max(0.0, due - time.monotonic())

    def _beat(self, nodes: list[Object]) -> None:
        began, well = time.time(), True
        for node in nodes:
            try:
                with self._api.within(_CALL_SECONDS):
                    path = f"/api/v1/nodes/{node['metadata']['name']}"
                    beat(self._api, node if len(nodes) > 20 else self._api.get(path))
            except ClusterError as error:
                self.error = error
                well = well and getattr(error, "status", 0) == 404  # it was deleted
        with self._lock:
            if well:
                self._lapse = max(self._lapse, began - max(self._begun, self._beaten))
                self._beaten = began

    def _step(self, pod: Object) -> None:
        metadata = pod["metadata"]
        uid = metadata["uid"]
        with self._lock:
            stage, planned = self._stage(pod), self._due.get(uid)
            if stage is None or planned is None or planned[0] != stage.name:
                return
            if planned[1] > time.monotonic():
                return
        try:
            with self._api.within(_CALL_SECONDS):
                self._move(pod, stage)
        except ApiError as error:
            self._failed(pod, stage, error)
        except Exception as error:  # of a template, or ours: it must be told, and end no thread
            told = str(error) if isinstance(error, SimgitError) else repr(error)
            self.error = ClusterError(f"stage '{stage.name}': {told}", status=400)
        else:
            with self._lock:
                self._failures.pop(uid, None)
                self.error = None

    def _move(self, pod: Object, stage: Stage) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if stage.status is None:
            if metadata.get("finalizers"):
                self._api.patch(path, {"metadata": {"uid": metadata["uid"], "finalizers": None}})
            self._api.delete(path, grace=0, uid=metadata["uid"])
            return
        status = stage.status(pod, stamp(time.time()))
        self._api.patch(f"{path}/status", {"metadata": {"uid": metadata["uid"]}, "status": status})

    def _failed(self, pod: Object, stage: Stage, error: ApiError) -> None:
        """Plan a stage again, except for a pod that was deleted or is another one by now."""
        if error.status == 404:
            return
        uid = pod["metadata"]["uid"]
        with self._lock:
            if uid not in self._due:
                return
            failures = self._failures[uid] = self._failures.get(uid, 0) + 1
            if error.status != 409:
                self.error = error
            pause = min(_LONGEST_PAUSE, 0.1 * 2.0 ** min(failures, 10))
            self._at(pod, stage, time.monotonic() + pause)
        pods = self._pods
        if pods is not None:
            pods.changes.notify()


# How long stages last


class ReplayTiming:
    """The delays of a simulation, and the lifetimes that its trace recorded."""

    def __init__(
        self, delays: PodDelays | None = None, lifetimes: RecordedLifetimes | None = None
    ) -> None:
        """Take the delays (by default none) and the recorded lifetimes, if there are any."""
        self._delays = delays or PodDelays()
        self._lifetimes = lifetimes
        self._random = random.Random()
        self._facts: dict[tuple[str, str, str], _Facts] = {}
        self._pods: dict[str, _RecordedPod] = {}

    def applied(self, manifest: Manifest, template: Manifest) -> None:
        """Take note of a workload's newest pod template: lifetimes are those of equal specs."""
        if self._lifetimes is not None:
            key = (str(manifest["kind"]), namespace_of(manifest), name_of(manifest))
            self._facts[key] = _Facts(template.get("spec") or {})

    def created(self, pod: Object) -> None:
        """Number a pod among those of its spec."""
        if self._lifetimes is None:
            return
        known = self._recorded(pod)
        if known is not None:
            self._pods[pod["metadata"]["uid"]] = known
            self._lifetimes.created(known)  # type: ignore[arg-type]  # it has what is asked of it

    def start(self, pod: Object) -> float:
        """Return the seconds from bound to ready."""
        return 0.0 if self._delays.none else self._delays.draw(self._random) / 1000

    def life(self, pod: Object) -> float | None:
        """Return the seconds from ready to completed, None for ever."""
        known = self._pods.get(pod["metadata"]["uid"])
        if known is None or self._lifetimes is None:
            return None
        seconds = self._lifetimes.seconds(known)  # type: ignore[arg-type]
        return None if seconds is None else max(_SHORTEST_LIFE, float(seconds))

    def annotations(self, pod: Object) -> tuple[dict[str, str], dict[str, str]]:
        """Return the labels and annotations that say the same to KWOK."""
        delays = {
            "create-delay": self._delays.create,
            "create-delay-jitter": self._delays.create_jitter,
            "ready-delay": self._delays.ready,
            "ready-delay-jitter": self._delays.ready_jitter,
        }
        told = {f"{_STAGE}-{key}": f"{ms}ms" for key, ms in delays.items() if ms is not None}
        life = self.life(pod)
        if life is None:
            return {}, told
        return {f"{_STAGE}-complete": "true"}, {**told, f"{_STAGE}-complete-time": f"{life:g}s"}

    def draw(self) -> float:
        """Return a random number from 0 to 1."""
        return self._random.random()

    def now(self) -> float:
        """Return Unix time."""
        return time.time()

    def _recorded(self, pod: Object) -> _RecordedPod | None:
        metadata = pod["metadata"]
        owners = metadata.get("ownerReferences") or ()
        kind, name = next(
            ((each["kind"], each["name"]) for each in owners if each.get("controller")),
            ("Pod", metadata["name"]),
        )
        owner = self._owner(kind, metadata["namespace"], name)
        top = owner.owner or owner
        facts = self._facts.get((top.kind, top.namespace, top.name))
        if facts is None or kind not in _WITH_TEMPLATE:
            return None
        target = str(lookup(pod, _NODE_OF_DAEMON) or "") if kind == "DaemonSet" else ""
        return _RecordedPod(metadata["uid"], metadata["name"], target, owner, facts)

    def _owner(self, kind: str, namespace: str, name: str) -> _Owner:
        """Return an owner with its own owner, which its name tells: no call is needed."""
        above, pattern = _OWNERS.get(kind, ("", ""))
        parent = re.sub(pattern, "", name)
        if above and (above, namespace, parent) in self._facts:
            return _Owner(kind, namespace, name, _Owner(above, namespace, parent, None))
        return _Owner(kind, namespace, name, None)


_STAGE: Final = "simkube.io/kwok-stage"
_WITH_TEMPLATE: Final = frozenset(gvk.rpartition(".")[2] for gvk in TEMPLATE_PATHS)
_NODE_OF_DAEMON: Final = (
    "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms", 0, "matchFields", 0, "values", 0,
)  # fmt: skip
_OWNERS: Final = {"ReplicaSet": ("Deployment", r"-[^-]+$"), "Job": ("CronJob", r"-\d+$")}


@dataclass(frozen=True, slots=True)
class _Owner:
    kind: str
    namespace: str
    name: str
    owner: _Owner | None


@dataclass(frozen=True, eq=False)
class _Facts:
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _RecordedPod:
    """The part of a pod that RecordedLifetimes asks for."""

    uid: str
    name: str
    target: str
    owner: _Owner
    facts: _Facts
