"""SimKube as a driver: each replay is a Simulation resource, observed while it runs.

SimKube removes what a simulation created as soon as its trace is over. So the trace is given a
duration that it does not reach, and the Simulation is deleted when its pods have been counted.
What the resource may and must have is read from the definition that is installed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from simgit.errors import AlreadyExists, ClusterError, InvalidInput, plural, warn
from simgit.kube.cluster import KubeCluster, PodSelection
from simgit.kube.embedded import PodDelays
from simgit.kube.live.api import UNCERTAIN, Api, ApiError, Object
from simgit.kube.live.cleanup import (
    RUN,
    SECONDS,
    Created,
    is_our_name,
    label_value,
    remove,
    run_of,
    shielded,
    terminable,
)
from simgit.kube.live.cluster import AppliedWorkload, LiveCluster, is_open, tally
from simgit.kube.live.delivery import TracePlace
from simgit.kube.live.driver import LiveSettings
from simgit.kube.live.lease import ClusterLease
from simgit.kube.live.nodes import condition
from simgit.kube.manifest import Manifest, full_name, gvk_of, lookup, namespace_of, template_of
from simgit.kube.quantity import parse_quantity
from simgit.kube.simulation import SIMULATION_LABEL, Simulation, virtual_object
from simgit.kube.trace.edit import cut
from simgit.kube.trace.model import Trace

API_VERSION: Final = "simkube.io/v1"
CRD: Final = "simulations.simkube.io"
REQUEST: Final = "simgit.io/request"
"""The annotation that tells our creation from another one of the same name."""
SK_LEASE: Final = "sk-lease"
"""The Lease by which SimKube runs one simulation at a time."""
_RETRIES: Final = 3
_LOG_LINES: Final = 50
_DRIVER_PORT: Final = 8888
_HOPELESS: Final = frozenset(
    {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CrashLoopBackOff"}
)
"""Reasons for which a container waits without end."""


@dataclass(frozen=True, slots=True)
class SimulationSchema:
    """The fields of a Simulation as an installed definition has them."""

    spec: Mapping[str, Any]
    digest: str

    @classmethod
    def of(cls, crd: Mapping[str, Any]) -> SimulationSchema:
        """Read a CustomResourceDefinition; raises ClusterError if it does not serve ``v1``."""
        versions = lookup(crd, ("spec", "versions")) or ()
        served = {each["name"]: each for each in versions if each.get("served")}
        if "v1" not in served:
            raise ClusterError(
                f"the cluster's {CRD} has version {', '.join(served) or 'none'}, and simgit needs "
                "v1: install SimKube 2.x"
            )
        schema = lookup(served["v1"], ("schema", "openAPIV3Schema")) or {}
        text = json.dumps(schema, sort_keys=True).encode()
        spec = lookup(schema, ("properties", "spec")) or {}
        return cls(spec, hashlib.sha256(text).hexdigest())

    def required(self) -> list[str]:
        """Return what is required, as ``driver.image``."""
        return [f"spec.{'.'.join(path)}" for path in _required(self.spec)]

    def build(
        self,
        settings: LiveSettings,
        simulation: Simulation,
        url: str,
        seconds: int,
    ) -> dict[str, Any]:
        """Return the ``spec`` of a Simulation.

        Args:
            settings: of the driver.
            simulation: speed and delays.
            url: where the trace is.
            seconds: the duration, in seconds of the trace.

        Raises:
            ClusterError: the definition requires a field that simgit does not know, or lacks one
                that the outcome depends on.
        """
        delays, usual = simulation.delays, PodDelays()
        fields: list[tuple[tuple[str, ...], Any, bool]] = [
            (("driver", "image"), settings.image, True),
            (("driver", "namespace"), settings.namespace, True),
            (("driver", "port"), settings.port, True),
            (("driver", "tracePath"), url, True),
            (("driver", "virtualNsPrefix"), simulation.prefix, simulation.prefix != "virtual"),
            (("duration",), f"+{seconds}s", True),
            (("speed",), simulation.speed, simulation.speed != 1),
            (("repetitions",), 1, False),
            (("lifecycleParams", "imagePullDelay"), delays.create, bool(delays.create)),
            (("lifecycleParams", "podStartupDelay"), delays.ready, bool(delays.ready)),
        ]
        if settings.port != _DRIVER_PORT:
            args = ["--admission-webhook-port", str(settings.port)]
            fields.append((("driver", "args"), args, True))
        for name, jitter in (
            ("imagePullJitter", delays.create_jitter), ("podStartupJitter", delays.ready_jitter),
        ):  # fmt: skip
            if jitter is not None:
                fields.append((("lifecycleParams", name), jitter, delays != usual))
        built: dict[str, Any] = {}
        for path, value, needed in fields:
            if _has(self.spec, path):
                into = built
                for part in path[:-1]:
                    into = into.setdefault(part, {})
                into[path[-1]] = value
            elif needed:
                raise ClusterError(
                    f"the cluster's {CRD} has no field spec.{'.'.join(path)}, which '{value}' "
                    "needs: install a newer SimKube"
                )
        for path in _required(self.spec):
            if lookup(built, path) is None:
                raise ClusterError(
                    f"the cluster's {CRD} requires spec.{'.'.join(path)}, which this simgit does "
                    "not know: install SimKube 2.4 to 2.7, or a newer simgit"
                )
        return built


def _required(schema: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the required fields, and below each those that it requires."""
    for name in schema.get("required") or ():
        path = (*above, str(name))
        yield path
        yield from _required(lookup(schema, ("properties", str(name))) or {}, path)


def _has(schema: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    for part in path:
        if schema.get("x-kubernetes-preserve-unknown-fields") is True:
            return True
        found = (schema.get("properties") or {}).get(part)
        if not isinstance(found, Mapping):
            return False
        schema = found
    return True


def simulation_schema(api: Api) -> SimulationSchema:
    """Return the installed schema; raises ClusterError if SimKube is not installed."""
    kind = api.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    crd = api.find(kind.path(None, CRD))
    if crd is None:
        raise ClusterError(
            f"the cluster has no {CRD}: install SimKube 2.x, or use --driver replayer"
        )
    return SimulationSchema.of(crd)


def simulation_manifest(
    name: str, run: str, spec: Mapping[str, Any], annotations: Mapping[str, str]
) -> Object:
    """Return a Simulation of ours."""
    metadata = {"name": name, "labels": {RUN: run}, "annotations": dict(annotations)}
    return {"apiVersion": API_VERSION, "kind": "Simulation", "metadata": metadata, "spec": spec}


def blocker(api: Api) -> str | None:
    """Return the simulation that holds SimKube's lease, None if there is none."""
    path = api.kind("coordination.k8s.io/v1", "Lease").path()
    for lease in api.list(path, fields=f"metadata.name={SK_LEASE}")[0]:
        holder = lookup(lease, ("spec", "holderIdentity"))
        if lease["metadata"]["name"] == SK_LEASE and holder:
            return str(holder)
    return None


class SimulatedCluster(LiveCluster):
    """The cluster of a Simulation that runs: SimKube's driver writes, we look."""

    def __init__(self, api: Api, created: Created, name: str, namespaces: Sequence[str]) -> None:
        """Look at the pods of the simulation ``name`` in these namespaces."""
        super().__init__(api, created, run=name, session=name)
        self._selector = f"{SIMULATION_LABEL}={name}"
        self._of_trace = list(namespaces)

    @property
    def namespaces(self) -> list[str]:
        """The virtual namespaces of the trace."""
        return self._of_trace

    def apply(self, manifests: Sequence[Manifest]) -> None:
        """Raise ClusterError: SimKube's driver applies the trace, and nothing else."""
        if manifests:
            raise ClusterError("objects of a running Simulation are applied by SimKube only")

    delete = apply

    def show(self, manifests: Sequence[Manifest]) -> None:
        """Take the objects that should exist, for the reason why there are no pods."""
        self.workloads = {}
        for each in manifests:
            path = self._api.path_of(each)
            self.workloads[path] = AppliedWorkload(path, each)


class SimkubeDriver:
    """A ``driver.ClusterDriver`` that replays traces as Simulations of SimKube.

    Its first replay takes the lease of the cluster, which ``close`` gives back.
    """

    def __init__(
        self,
        api: Api,
        settings: LiveSettings,
        *,
        leftovers: Path | None = None,
    ) -> None:
        """Write nothing yet.

        Args:
            api: the API server; the driver does not close it.
            settings: of the cluster.
            leftovers: the file in which what is created is noted until it is removed.
        """
        self._api = api
        self._settings = settings
        self._place = TracePlace.of(settings.trace_path)
        self._created = Created(leftovers, api.url)
        self._lease: ClusterLease | None = None
        self._schema: SimulationSchema | None = None
        self._step = 0
        self._doing = ""
        self._image: str | None = None

    def close(self) -> None:
        """Remove what is left and give the lease back."""
        with shielded():
            if self._lease is not None:
                if self._created.entries():
                    remove(self._api, self._created)
                self._lease.release()
                self._lease = None

    def facts(self) -> dict[str, Any]:
        """Return what is recorded of the cluster: versions, schema, the driver's image."""
        schema = self._schema or simulation_schema(self._api)
        return {
            "driver": "simkube",
            "server_version": str(self._api.get("/version").get("gitVersion") or ""),
            "simulation_schema": schema.digest,
            "driver_image": self._image or self._settings.image,
        }

    @contextmanager
    def replay(
        self, trace: Trace, simulation: Simulation, selection: PodSelection, *, label: str
    ) -> Iterator[KubeCluster]:
        """Replay a trace as a Simulation, and give the cluster when its pods have settled.

        See ``driver.ClusterDriver``.
        """
        if not trace.events:
            raise InvalidInput("the trace has no events: SimKube's driver would refuse it")
        if simulation.duration is not None:
            trace = cut(trace, simulation.duration)
        timeout = self._settings.timeout
        takes = trace.seconds / simulation.speed + simulation.linger
        if takes >= timeout:
            raise InvalidInput(
                f"the replay takes {takes:.0f} s at speed {simulation.speed:g}, more than "
                f"cluster.timeout {timeout:g}: raise it, or the speed, or give a duration",
                value=takes,
            )
        self._step += 1
        run = label_value(label)
        name = f"simgit-{_short(run)}-{self._step}-{secrets.token_hex(2)}"
        with terminable():
            with self._timed("preparing the cluster"):
                schema = self._prepare(trace, simulation)
            try:
                with (
                    self._place.delivered(trace, self._created) as url,
                    self._timed("creating the Simulation"),
                ):
                    hold = trace.seconds + math.ceil((timeout + SECONDS) * simulation.speed)
                    spec = schema.build(self._settings, simulation, url, hold)
                    manifest = simulation_manifest(name, run, spec, self._place.annotations())
                    yield self._observed(manifest, trace, simulation, selection)
                    self._check_lease()
            finally:
                self._clean_up()

    # Before

    @contextmanager
    def _timed(self, doing: str) -> Iterator[None]:
        """Give a block the time of a step; where it does not suffice, say what it went by with."""
        self._doing = doing
        end = self._api.clock.monotonic() + self._settings.timeout
        try:
            with self._api.within(self._settings.timeout):
                yield
        except ApiError as error:
            if not error.timeout or self._api.clock.monotonic() + 1 < end:
                raise
            raise ClusterError(
                f"timed out after {self._settings.timeout:g} s: {self._doing}", timeout=True
            ) from error

    def _prepare(self, trace: Trace, simulation: Simulation) -> SimulationSchema:
        """Take the cluster, remove what is left on it and look whether the replay can begin."""
        self._place.check()
        if self._schema is None:
            self._schema = simulation_schema(self._api)
        if self._lease is None:
            lease = ClusterLease(self._api)
            lease.take()
            self._lease = lease
            self._created.read()
        self._check_lease()
        if self._created.entries() and (left := remove(self._api, self._created)):
            raise ClusterError(
                f"what an earlier simulation created is still there: {left[0]} "
                f"({len(left)} in all; 'simgit kube cleanup' tries again)", left=left,
            )  # fmt: skip
        for namespace in _namespaces(trace, simulation):
            path = self._api.kind("v1", "Namespace").path(None, namespace)
            while (found := self._api.find(path)) is not None:
                self._doing = f"namespace '{namespace}' is still being deleted"
                if not found["metadata"].get("deletionTimestamp"):
                    command = f"kubectl delete namespace {namespace}"
                    if run_of(found) is not None:  # of a session that noted it elsewhere
                        command = f"simgit kube cleanup --all --context {self._settings.context}"
                    raise AlreadyExists(
                        f"namespace '{namespace}' exists already, and pods in it would be counted: "
                        f"delete it ({command}), or choose another cluster.virtual_prefix",
                        namespace=namespace,
                    )
                self._pause()
        return self._schema

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    # While it runs

    def _observed(
        self, manifest: Object, trace: Trace, simulation: Simulation, selection: PodSelection
    ) -> SimulatedCluster:
        """Create the Simulation and return its cluster when it has settled."""
        name = manifest["metadata"]["name"]
        namespaces = _namespaces(trace, simulation)
        for path in (
            self._api.kind("simkube.io/v1", "SimulationRoot").path(None, f"sk-{name}-metaroot"),
            self._api.kind("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration").path(
                None, f"sk-{name}-mutatepods"
            ),
        ):
            self._created.note(path)  # SimKube makes and removes them; we see to it
        for each in namespaces:
            self._created.note(self._api.kind("v1", "Namespace").path(None, each), run=name)
        self._create(manifest)
        self._wait_for_driver(name)
        self._wait_for_trace(name, trace, simulation)
        cluster = SimulatedCluster(self._api, self._created, name, namespaces)
        cluster.show(_at_end(trace, simulation))
        cluster.advance(simulation.linger)
        self._settle(cluster, selection, name)
        self._doing = "observing the pods"
        return cluster

    def _create(self, manifest: Object) -> None:
        """Create the Simulation; a creation whose answer was lost is not repeated."""
        path = self._api.path_of(manifest)
        request = secrets.token_hex(8)
        manifest["metadata"]["annotations"][REQUEST] = request
        self._created.note(path)
        while True:
            error: ApiError | None = None
            try:
                made = self._api.create(self._api.path_of(manifest, single=False), manifest)
                break
            except ApiError as failed:
                if failed.status not in UNCERTAIN | {409}:
                    raise
                error = failed
            found = self._api.find(path)
            if found is not None:
                annotations = found["metadata"].get("annotations") or {}
                if annotations.get(REQUEST) == request:
                    made = found
                    break
                if run_of(found) is None:
                    self._created.gone(path)
                    raise AlreadyExists(
                        f"the cluster has a Simulation '{found['metadata']['name']}' already, and "
                        "it is not ours", name=found["metadata"]["name"],
                    ) from error  # fmt: skip
                remove(self._api, self._created, seconds=self._api.left())
            self._pause(error)
        self._created.note(path, made["metadata"]["uid"])

    def _wait_for_driver(self, name: str) -> None:
        """Wait until the driver's pod runs.

        Raises ClusterError if the simulation is blocked, fails or begins anew too often.
        """
        path = self._api.kind(API_VERSION, "Simulation").path(None, name)
        retries: set[str] = set()
        while True:
            found = self._api.find(path)
            if found is None:
                raise ClusterError(f"Simulation '{name}' was deleted by somebody else")
            state = lookup(found, ("status", "state"))
            self._doing = f"Simulation '{name}' is {state}" if state else (
                f"SimKube's controller has not taken Simulation '{name}': does sk-ctrl run?"
            )  # fmt: skip
            if state == "Running":
                if self._driver_runs(name):
                    return
            elif state == "Blocked":
                self._check_blocked(name)
            elif state == "Retrying":
                retries.add(found["metadata"]["resourceVersion"])
                if len(retries) > _RETRIES:
                    raise self._failure(name, f"begins anew again and again ({_RETRIES} times)")
            elif state in ("Failed", "Finished"):
                raise self._failure(name, f"{state.lower()} before its pods could be counted")
            elif state == "Paused":
                raise self._failure(name, "was paused by somebody else")
            self._pause()

    def _check_blocked(self, name: str) -> None:
        holder = blocker(self._api)
        self._doing = f"Simulation '{name}' is blocked by '{holder or 'another simulation'}'"
        if holder is not None and holder != name and not is_our_name(holder):
            raise ClusterError(
                f"{self._doing}: SimKube runs one at a time; wait for its end, or delete it "
                f"(kubectl delete simulation {holder})", holder=holder,
            )  # fmt: skip

    def _driver_runs(self, name: str) -> bool:
        """Return True if the driver's pod runs; raises ClusterError if it never will."""
        pods = self._driver_pods(name)
        if not pods:
            self._doing = f"the Job 'sk-{name}-driver' has no pod"
            return False
        pod = pods[-1]
        phase = lookup(pod, ("status", "phase"))
        states = lookup(pod, ("status", "containerStatuses")) or ()
        waiting = [lookup(each, ("state", "waiting")) or {} for each in states]
        told = next((each for each in waiting if each.get("reason")), {})
        why = f"{told.get('reason') or condition(pod, 'PodScheduled', 'message') or phase}"
        if told.get("message"):
            why += f": {told['message']}"
        self._doing = f"the driver's pod '{pod['metadata']['name']}' does not run ({why})"
        if phase == "Failed" or told.get("reason") in _HOPELESS:
            raise self._failure(name, f"has a driver that does not run ({why})")
        if phase == "Running":
            self._image = next((str(each.get("imageID")) for each in states), "") or self._image
        return bool(phase in ("Running", "Succeeded"))

    def _driver_pods(self, name: str) -> list[Object]:
        path = self._api.kind("v1", "Pod").path(self._settings.namespace)
        return self._api.list(path, labels=f"job-name=sk-{name}-driver")[0]

    def _wait_for_trace(self, name: str, trace: Trace, simulation: Simulation) -> None:
        """Wait until the driver has applied every event."""
        events = [event for event in trace.events if event.applied or event.deleted]
        if not events:
            return
        first = next((event for event in events if event.applied), None)
        if first is not None:
            self._wait_for(name, first.applied[-1], simulation, there=True, same=len(events) == 1)
        moments = [event.ts for event in trace.events]
        start = moments.index(events[0].ts)
        gaps = zip(moments[start:], moments[start + 1 :], strict=False)
        self._sleep(name, sum(int(max(0, b - a) / simulation.speed) for a, b in gaps))
        last = events[-1]
        if last.deleted:
            self._wait_for(name, last.deleted[-1], simulation, there=False, same=False)
        elif last is not first:
            self._wait_for(name, last.applied[-1], simulation, there=True, same=True)

    def _sleep(self, name: str, seconds: float) -> None:
        """Wait while the driver sleeps; look every 10 seconds whether it still runs."""
        self._doing = f"Simulation '{name}' replays the trace ({seconds:g} s)"
        end = self._api.clock.monotonic() + seconds
        while (rest := end - self._api.clock.monotonic()) > 0:
            self._api.left()
            self._api.clock.sleep(min(rest, 10.0))
            self._check_running(name)

    def _check_running(self, name: str) -> None:
        self._check_lease()
        found = self._api.find(self._api.kind(API_VERSION, "Simulation").path(None, name))
        state = "deleted by somebody else" if found is None else lookup(found, ("status", "state"))
        if state != "Running":
            raise self._failure(name, f"is {state} while its trace is replayed")

    def _wait_for(
        self, name: str, manifest: Manifest, simulation: Simulation, *, there: bool, same: bool
    ) -> None:
        """Wait until an object of the trace exists, as it was written, or does not."""
        namespace = simulation.namespace(namespace_of(manifest))
        kind = self._api.kind(manifest["apiVersion"], manifest["kind"])
        path = kind.path(namespace, manifest["metadata"]["name"])
        shown = f"{manifest['kind']} {namespace}/{manifest['metadata']['name']}"
        looks = 0
        while True:
            found = self._api.find(path)
            if (found is not None) is there and (not same or _as_written(manifest, found)):
                return
            self._doing = f"SimKube's driver has not {'applied' if there else 'deleted'} {shown}"
            looks += 1
            if looks % 5 == 0:
                self._check_running(name)
            self._pause()

    def _settle(self, cluster: SimulatedCluster, selection: PodSelection, name: str) -> None:
        """Wait until the counts of pods stay as they are, and nobody has to act on them."""
        clock, settle = self._api.clock, self._settings.settle
        seen: tuple[int, int, int] | None = None
        since = clock.monotonic()
        while True:
            try:
                pods = cluster.listed(selection)
            except ClusterError as error:
                self._api.left()
                self._doing, seen = f"pods cannot be counted: {error}", None
                self._pause()
                continue
            counts = tally(pods)
            if counts != seen:
                self._doing = f"the counts of pods change still: {counts}"
                seen, since = counts, clock.monotonic()
            elif clock.monotonic() - since >= settle:
                if undecided := sum(is_open(pod, at_once=False) for pod in pods):
                    self._doing = f"{plural(undecided, 'pod')} not decided by the scheduler"
                elif not cluster.controllers_acted(selection, counts[2]):
                    self._doing = f"{counts[2]} pods in all, and controllers have not acted"
                else:
                    self._check_running(name)
                    return
            self._pause()

    def _pause(self, error: ApiError | None = None) -> None:
        """Wait a second; raise an error if no time is left."""
        try:
            self._api.left()
        except ApiError as late:
            raise late from error
        self._api.clock.sleep(1.0)

    def _failure(self, name: str, what: str) -> ClusterError:
        """Return the error of a simulation that went wrong, with the driver's last words."""
        lines: list[str] = []
        events: list[str] = []
        with suppress(ClusterError):
            for pod in self._driver_pods(name)[-1:]:
                path = self._api.kind("v1", "Pod").path(
                    self._settings.namespace, pod["metadata"]["name"]
                )
                lines = self._api.text(f"{path}/log", tailLines=_LOG_LINES).splitlines()
        with suppress(ClusterError):
            for namespace in dict.fromkeys((self._settings.namespace, "default")):
                for event in self._api.list(self._api.kind("v1", "Event").path(namespace))[0]:
                    about = event.get("involvedObject") or {}
                    if str(about.get("name")).startswith((name, f"sk-{name}")):
                        events.append(
                            f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: "
                            f"{event.get('message')}"
                        )
        last = next((line for line in reversed(lines) if line.strip()), "")
        told = [f"driver: {last.strip()}"] if last else events[-1:]
        return ClusterError(
            f"Simulation '{name}' {what}" + (f": {told[0]}" if told else ""),
            log=lines[-_LOG_LINES:], events=events,
        )  # fmt: skip

    # After

    def _clean_up(self) -> None:
        """Remove what the replay created; warn of what is left."""
        with shielded():
            left = remove(self._api, self._created)
        if left:
            warn(f"{left[0]} ({len(left)} left in all: 'simgit kube cleanup' removes them)")


def _short(run: str) -> str:
    """Return the part of a run's label that names of Simulations begin with."""
    return re.sub("[^a-z0-9]", "", run.lower())[:8] or "run"


def _namespaces(trace: Trace, simulation: Simulation) -> list[str]:
    """Return the virtual namespaces of a trace."""
    names = dict.fromkeys(namespace_of(each) for each in trace.applied())
    return [simulation.namespace(name) for name in names]


def _at_end(trace: Trace, simulation: Simulation) -> list[Manifest]:
    """Return the objects that exist after the last event, as the driver writes them."""
    alive: dict[tuple[str, str], Manifest] = {}
    for event in trace.events:
        for each in event.applied:
            alive[gvk_of(each), full_name(each)] = each
        for each in event.deleted:
            alive.pop((gvk_of(each), full_name(each)), None)
    return [virtual_object(each, simulation) for each in alive.values()]


def _as_written(manifest: Manifest, found: Mapping[str, Any] | None) -> bool:
    """Return True if an object has the replicas and requests that the trace wrote."""
    if found is None or lookup(manifest, ("spec", "replicas")) not in (
        None, lookup(found, ("spec", "replicas")),
    ):  # fmt: skip
        return False
    return _requests(manifest) == _requests(found)


def _requests(manifest: Mapping[str, Any]) -> list[dict[str, int]]:
    """Return the requests of each container of an object's template, in thousandths."""
    containers = lookup(template_of(manifest) or {}, ("spec", "containers")) or ()
    found = []
    for each in containers:
        requests = lookup(each, ("resources", "requests")) or {}
        nanos = {key: parse_quantity(value).nano for key, value in requests.items()}
        found.append({key: -(-nano // 10**6) for key, nano in nanos.items()})
    return found
