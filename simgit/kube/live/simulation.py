"""SimKube as a driver: each replay is a Simulation resource, observed while it runs.

SimKube removes what a simulation created as soon as its trace is over. So the trace is given a
duration that it does not reach, and the Simulation is deleted when its pods have been counted.
What the resource may and must have is read from the definition that is installed.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from simgit.errors import AlreadyExists, ClusterError, InvalidInput, SimgitError, plural, warn
from simgit.kube.cluster import KubeCluster, PodSelection
from simgit.kube.embedded import PodDelays
from simgit.kube.live.api import UNCERTAIN, Api, ApiClock, ApiError, Object
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
from simgit.kube.live.driver import ClusterFacts, LiveSettings, check_time
from simgit.kube.live.lease import ClusterLease
from simgit.kube.live.nodes import condition, virtual
from simgit.kube.live.watching import Changes, Watching
from simgit.kube.manifest import Manifest, full_name, gvk_of, lookup, namespace_of, template_of
from simgit.kube.quantity import parse_quantity
from simgit.kube.simulation import SIMULATION_LABEL, SimulationSpec, virtual_object
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
_LOOK_SECONDS: Final = 4.0
_LEASE_SECONDS: Final = 5.0
"""The longest time between two looks at our own lease, which need no request."""
_GONE_SECONDS: Final = 45.0
_POD_SECONDS: Final = 2.0
"""How long pods that are being deleted are left to KWOK."""
_DRIVER_PORT: Final = 8888
_HOPELESS: Final = frozenset(
    {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CrashLoopBackOff"}
)
"""Reasons for which a container waits without end."""


@dataclass(frozen=True, slots=True)
class SimulationSchema:
    """The fields of a Simulation as an installed definition has them."""

    spec: Mapping[str, Any]

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
        path = ("schema", "openAPIV3Schema", "properties", "spec")
        return cls(lookup(served["v1"], path) or {})

    def required(self) -> list[str]:
        """Return what is required, as ``driver.image``."""
        return [f"spec.{'.'.join(path)}" for path in _required(self.spec)]

    def build(
        self,
        settings: LiveSettings,
        simulation: SimulationSpec,
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

    def __init__(
        self, api: Api, created: Created, name: str, namespaces: Sequence[str], pods: Watching
    ) -> None:
        """Look at the pods of the simulation ``name`` in these namespaces."""
        super().__init__(api, created, run=name, session=name, pods=pods)
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


@dataclass(frozen=True, slots=True)
class _Watched:
    """The copies of what a session looks at: they share ``changes``."""

    changes: Changes
    simulations: Watching
    roots: Watching
    namespaces: Watching
    drivers: Watching
    """The pods of Jobs in the namespace of SimKube's drivers."""
    pods: Watching
    """The pods of the namespace whose pods are counted."""
    namespace: str
    closing: ExitStack

    @classmethod
    def open(cls, api: Api, drivers: str, namespace: str) -> _Watched:
        """Open the watches; raises ApiError."""
        changes = Changes(api.clock)
        pods = api.kind("v1", "Pod")
        with ExitStack() as stack:

            def watch(path: str, labels: str = "") -> Watching:
                found = Watching(api, path, changes, labels=labels)
                stack.callback(found.close)
                return found

            return cls(
                changes,
                simulations=watch(api.kind(API_VERSION, "Simulation").path()),
                roots=watch(api.kind(API_VERSION, "SimulationRoot").path()),
                namespaces=watch(api.kind("v1", "Namespace").path()),
                drivers=watch(pods.path(drivers), "job-name"),
                pods=watch(pods.path(namespace)),
                namespace=namespace,
                closing=stack.pop_all(),
            )

    def driver_pods(self, name: str) -> list[Object]:
        """Return the pods of a Simulation's driver, the newest last."""
        job = f"sk-{name}-driver"
        labels = ("metadata", "labels", "job-name")
        return [pod for pod in self.drivers.objects() if lookup(pod, labels) == job]

    def left(self, name: str, namespaces: Sequence[str]) -> list[Watching]:
        """Return the copies that have something of a Simulation."""
        owner = ("metadata", "labels", SIMULATION_LABEL)
        found = {
            self.simulations: self.simulations.get(("", name)) is not None,
            self.roots: any(lookup(each, owner) == name for each in self.roots.objects()),
            self.namespaces: any(self.namespaces.get(("", each)) for each in namespaces),
        }
        return [copy for copy, there in found.items() if there]

    def ending(self, namespaces: Sequence[str]) -> bool:
        """Return True if pods that are being deleted are there still."""
        pods = (each["metadata"] for each in self.pods.objects())
        return any(
            each.get("deletionTimestamp") and each["namespace"] in namespaces for each in pods
        )


class _Looks:
    """Moments at which to list what a watch should have told: it may be dead.

    Each comes after twice the time of the one before, so a dead watch at most doubles a wait, and
    a long wait needs few requests.
    """

    def __init__(self, clock: ApiClock, *, at_once: bool = False) -> None:
        self._clock = clock
        self._pause = 0.0 if at_once else _LOOK_SECONDS
        self._next = clock.monotonic() + self._pause

    @property
    def rest(self) -> float:
        """The seconds until the next one."""
        return self._next - self._clock.monotonic()

    def due(self) -> bool:
        """Return True at such a moment, and choose the next one."""
        if self.rest > 0:
            return False
        self._pause = 2 * self._pause or _LOOK_SECONDS
        self._next = self._clock.monotonic() + self._pause
        return True


Awaited = tuple[Watching, float]
"""The copy in which something is awaited, and the seconds after which to decide again."""


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
        self._watched: _Watched | None = None
        self._facts = ClusterFacts(api)
        self._step = 0
        self._doing = ""
        self._image: str | None = None

    def close(self) -> None:
        """Remove what is left, end the watches and give the lease back."""
        with shielded():
            if self._lease is not None:
                if self._created.entries():
                    remove(self._api, self._created)
                self._lease.release()
                self._lease = None
            self._unwatch()

    def facts(self) -> dict[str, Any]:
        """Return what is recorded of the cluster, see ``driver.ClusterDriver``.

        Raises ClusterError if SimKube is not installed there, or cannot be reached.
        """
        self._schema = self._schema or simulation_schema(self._api)
        return {**self._facts.get(), "image": self._image or self._settings.image}

    @contextmanager
    def replay(
        self, trace: Trace, simulation: SimulationSpec, selection: PodSelection, *, label: str
    ) -> Iterator[KubeCluster]:
        """Replay a trace as a Simulation, and give the cluster when its pods have settled.

        See ``driver.ClusterDriver``.
        """
        if not trace.events:
            raise InvalidInput("the trace has no events: SimKube's driver would refuse it")
        if simulation.duration is not None:
            trace = cut(trace, simulation.duration)
        check_time(trace, simulation, self._settings)
        self._step += 1
        run = label_value(label)
        name = f"simgit-{_short(run)}-{self._step}-{secrets.token_hex(2)}"
        with terminable():
            with self._timed("preparing the cluster"):
                schema, watched = self._prepare(trace, simulation, selection)
            try:
                time = self._settings.timeout + SECONDS
                hold = trace.seconds + math.ceil(time * simulation.speed)
                with (
                    self._place.delivered(trace, self._created) as url,
                    self._timed("creating the Simulation"),
                ):
                    spec = schema.build(self._settings, simulation, url, hold)
                    manifest = simulation_manifest(name, run, spec, self._place.annotations())
                    yield self._observed(watched, manifest, trace, simulation, selection)
                    self._check_lease()
            finally:
                self._clean_up(name, _namespaces(trace, simulation))

    # Before

    @contextmanager
    def _timed(self, doing: str) -> Iterator[None]:
        """Give a block the time of a step; where it does not suffice, say what was awaited."""
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

    def _prepare(
        self, trace: Trace, simulation: SimulationSpec, selection: PodSelection
    ) -> tuple[SimulationSchema, _Watched]:
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
        if self._facts.known:
            self._facts.check_nodes(virtual(self._api))
        watched = self._watch(selection.namespace)
        namespaces = _namespaces(trace, simulation)
        self._await(lambda: self._taken(watched, namespaces))
        return self._schema, watched

    def _watch(self, namespace: str) -> _Watched:
        """Return the copies, with the pods of a namespace; that of the namespaces is fresh."""
        if self._watched is not None and self._watched.namespace == namespace:
            self._watched.namespaces.refresh()
            return self._watched
        self._unwatch()
        self._watched = _Watched.open(self._api, self._settings.namespace, namespace)
        return self._watched

    def _unwatch(self) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            watched.closing.close()

    def _taken(self, watched: _Watched, namespaces: Sequence[str]) -> Awaited | None:
        """Await the end of each namespace; raises AlreadyExists for one that is to stay."""
        for namespace in namespaces:
            found = watched.namespaces.get(("", namespace))
            if found is None:
                continue
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
            return watched.namespaces, math.inf
        return None

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    # While it runs

    def _await(self, decide: Callable[[], Awaited | None]) -> None:
        """Decide after each change, until nothing is awaited any more."""
        assert self._watched is not None
        changes, looks = self._watched.changes, _Looks(self._api.clock)
        while True:
            count = changes.count
            awaited = decide()
            if awaited is None:
                return
            self._check_lease()
            copy, seconds = awaited
            if looks.due():
                copy.refresh()
            changes.wait_for_news(count, min(seconds, looks.rest, _LEASE_SECONDS, self._api.left()))

    def _observed(
        self,
        watched: _Watched,
        manifest: Object,
        trace: Trace,
        simulation: SimulationSpec,
        selection: PodSelection,
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
        watched.simulations.know(self._create(manifest))
        self._wait_for_driver(watched, name)
        self._wait_for_trace(watched, name, trace, simulation)
        cluster = SimulatedCluster(self._api, self._created, name, namespaces, watched.pods)
        cluster.show(_at_end(trace, simulation))
        cluster.advance(simulation.linger)
        self._settle(watched, cluster, selection, name)
        self._doing = "observing the pods"
        return cluster

    def _create(self, manifest: Object) -> Object:
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
            self._api.pause(1.0, error)
        self._created.note(path, made["metadata"]["uid"])
        return made

    def _wait_for_driver(self, watched: _Watched, name: str) -> None:
        """Wait until the driver's pod runs.

        Raises ClusterError if the simulation is blocked, fails or begins anew too often.
        """
        retries: set[str] = set()
        looks = _Looks(self._api.clock, at_once=True)

        def runs() -> Awaited | None:
            found = watched.simulations.get(("", name))
            if found is None:
                raise ClusterError(f"Simulation '{name}' was deleted by somebody else")
            state = lookup(found, ("status", "state"))
            self._doing = f"Simulation '{name}' is {state}" if state else (
                f"SimKube's controller has not taken Simulation '{name}': does sk-ctrl run?"
            )  # fmt: skip
            if state == "Running":
                return None if self._driver_runs(watched, name) else (watched.drivers, math.inf)
            if state == "Blocked":
                if looks.due():
                    self._check_blocked(name)
                return watched.simulations, looks.rest
            if state == "Retrying":
                retries.add(found["metadata"]["resourceVersion"])
                if len(retries) > _RETRIES:
                    raise self._failure(name, f"begins anew again and again ({_RETRIES} times)")
            elif state in ("Failed", "Finished"):
                raise self._failure(name, f"{state.lower()} before its pods could be counted")
            elif state == "Paused":
                raise self._failure(name, "was paused by somebody else")
            return watched.simulations, math.inf

        self._await(runs)

    def _check_blocked(self, name: str) -> None:
        holder = blocker(self._api)
        self._doing = f"Simulation '{name}' is blocked by '{holder or 'another simulation'}'"
        if holder is not None and holder != name and not is_our_name(holder):
            raise ClusterError(
                f"{self._doing}: SimKube runs one at a time; wait for its end, or delete it "
                f"(kubectl delete simulation {holder})", holder=holder,
            )  # fmt: skip

    def _driver_runs(self, watched: _Watched, name: str) -> bool:
        """Return True if the driver's pod runs; raises ClusterError if it never will."""
        pods = watched.driver_pods(name)
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

    def _wait_for_trace(
        self, watched: _Watched, name: str, trace: Trace, simulation: SimulationSpec
    ) -> None:
        """Wait until the driver has applied every event."""
        events = [event for event in trace.events if event.applied or event.deleted]
        if not events:
            return
        first = next((event for event in events if event.applied), None)
        last = events[-1]
        with ExitStack() as stack:
            copies: dict[str, Watching] = {}

            def wait_for(manifest: Manifest, *, there: bool, same: bool) -> None:
                placed = virtual_object(manifest, simulation)
                path = self._api.path_of(placed, single=False)
                if path not in copies:
                    copies[path] = Watching(self._api, path, watched.changes)
                    stack.callback(copies[path].close)
                self._wait_for(watched, name, placed, copies[path], there=there, same=same)

            if first is not None:
                wait_for(first.applied[-1], there=True, same=len(events) == 1)
            moments = [event.ts for event in trace.events]
            start = moments.index(events[0].ts)
            gaps = zip(moments[start:], moments[start + 1 :], strict=False)
            self._sleep(watched, name, sum(int(max(0, b - a) / simulation.speed) for a, b in gaps))
            if last.deleted:
                wait_for(last.deleted[-1], there=False, same=False)
            elif last is not first:
                wait_for(last.applied[-1], there=True, same=True)

    def _sleep(self, watched: _Watched, name: str, seconds: float) -> None:
        """Wait while the driver sleeps, and see that it still runs."""
        self._doing = f"Simulation '{name}' replays the trace ({seconds:g} s)"
        clock = self._api.clock
        end = clock.monotonic() + seconds

        def over() -> Awaited | None:
            self._check_running(watched, name)
            rest = end - clock.monotonic()
            return (watched.simulations, rest) if rest > 0 else None

        self._await(over)

    def _check_running(self, watched: _Watched, name: str) -> None:
        """Raise ClusterError if the Simulation does not run; one that is retried does."""
        found = watched.simulations.get(("", name))
        state = "deleted by somebody else" if found is None else lookup(found, ("status", "state"))
        if state not in ("Running", "Retrying"):
            raise self._failure(name, f"is {state} while its trace is replayed")

    def _wait_for(
        self,
        watched: _Watched,
        name: str,
        manifest: Manifest,
        copy: Watching,
        *,
        there: bool,
        same: bool,
    ) -> None:
        """Wait until an object of the trace exists, as it was written, or does not."""
        namespace, own = namespace_of(manifest), manifest["metadata"]["name"]
        shown = f"{manifest['kind']} {namespace}/{own}"

        def come() -> Awaited | None:
            found = next((o for o in copy.objects() if o["metadata"]["name"] == own), None)
            if (found is not None) is there and (not same or _as_written(manifest, found)):
                return None
            self._doing = f"SimKube's driver has not {'applied' if there else 'deleted'} {shown}"
            self._check_running(watched, name)
            return copy, math.inf

        self._await(come)

    def _settle(
        self, watched: _Watched, cluster: SimulatedCluster, selection: PodSelection, name: str
    ) -> None:
        """Wait until the counts of pods stay as they are, and nobody has to act on them."""
        clock = self._api.clock
        looks = _Looks(clock, at_once=True)
        seen: tuple[int, int, int] | None = None
        since = clock.monotonic()

        def settled() -> Awaited | None:
            nonlocal seen, since, looks
            self._check_running(watched, name)
            pods = [pod for pod in watched.pods.objects() if _is_selected(pod, selection)]
            counts = tally(pods)
            if counts != seen:
                self._doing = f"the counts of pods change still: {counts}"
                seen, since = counts, clock.monotonic()
                if not cluster.lacks(selection, counts[2]):
                    looks = _Looks(clock, at_once=True)
            rest = since + self._settings.settle - clock.monotonic()
            if rest > 0:
                return watched.pods, rest
            if undecided := sum(is_open(pod, at_once=False) for pod in pods):
                self._doing = f"{plural(undecided, 'pod')} not decided by the scheduler"
                return watched.pods, math.inf
            if not looks.due():
                return watched.pods, looks.rest
            if not (watched.pods.refresh() and watched.simulations.refresh()):
                return watched.pods, 0.0  # a watch is late, or dead
            if not cluster.controllers_acted(selection, counts[2]):
                self._doing = f"{counts[2]} pods in all, and controllers have not acted"
                return watched.pods, looks.rest
            return None

        self._await(settled)

    def _failure(self, name: str, what: str) -> ClusterError:
        """Return the error of a simulation that went wrong, with the driver's last words."""
        lines: list[str] = []
        events: list[str] = []
        with suppress(ClusterError):
            for pod in self._watched.driver_pods(name)[-1:] if self._watched else ():
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

    def _clean_up(self, name: str, namespaces: Sequence[str]) -> None:
        """Remove what the replay created; warn of what is left."""
        with shielded():
            with suppress(SimgitError), self._api.within(_GONE_SECONDS, afresh=True):
                self._end(name, namespaces)
            left = remove(self._api, self._created)
        if left:
            warn(f"{left[0]} ({len(left)} left in all: 'simgit kube cleanup' removes them)")

    def _end(self, name: str, namespaces: Sequence[str]) -> None:
        """Delete the Simulation and wait for the end of all that is its.

        Pods that nobody removes are left to ``remove``, as is what was left by mistake.
        """
        path = self._api.kind(API_VERSION, "Simulation").path(None, name)
        uid = next((each["uid"] for each in self._created.entries() if each["path"] == path), None)
        if uid is None or self._watched is None:
            return
        self._api.delete(path, propagation="Foreground", uid=uid)
        watched, clock = self._watched, self._api.clock
        count, since = -1, clock.monotonic()

        def gone() -> Awaited | None:
            nonlocal count, since
            left = watched.left(name, namespaces)
            if not left or not watched.ending(namespaces):
                return (left[0], math.inf) if left else None
            if watched.changes.count != count:
                count, since = watched.changes.count, clock.monotonic()
            rest = since + _POD_SECONDS - clock.monotonic()
            return (left[0], rest) if rest > 0 else None

        self._await(gone)


def _is_selected(pod: Object, selection: PodSelection) -> bool:
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    return (metadata["namespace"], labels.get(selection.label)) == (
        selection.namespace, selection.value,
    )  # fmt: skip


def _short(run: str) -> str:
    """Return the part of a run's label that names of Simulations begin with."""
    return re.sub("[^a-z0-9]", "", run.lower())[:8] or "run"


def _namespaces(trace: Trace, simulation: SimulationSpec) -> list[str]:
    """Return the virtual namespaces of a trace."""
    names = dict.fromkeys(namespace_of(each) for each in trace.applied())
    return [simulation.namespace(name) for name in names]


def _at_end(trace: Trace, simulation: SimulationSpec) -> list[Manifest]:
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
