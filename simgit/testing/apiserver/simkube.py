"""SimKube's controller and driver on the server: a Simulation becomes a replay of its trace.

What is created, in which order and how it is named follows SimKube 2.7: the driver replays at once
after its start of five seconds, and deletes everything that it applied when the trace is at its
end, so that whoever wants to see pods looks before (``duration`` adds time).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from simgit.errors import SimgitError
from simgit.kube.embedded import PodDelays
from simgit.kube.manifest import lookup, namespace_of
from simgit.kube.recorded_lifetimes import RecordedLifetimes
from simgit.kube.simulation import SIMULATION_LABEL, VIRTUAL_LABEL, SimulationSpec, virtual_object
from simgit.kube.trace.edit import cut, parse_duration
from simgit.kube.trace.files import read_trace_file
from simgit.kube.trace.model import Event, Trace
from simgit.testing.apiserver.controllers import ControllerManager
from simgit.testing.apiserver.objects import Json, StoreChange, owner_reference
from simgit.testing.apiserver.patches import FieldManager
from simgit.testing.apiserver.resources import (
    DEPLOYMENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    PODS,
    SERVICES,
    WEBHOOKS,
    ApiResource,
)
from simgit.testing.apiserver.statuses import StatusError

GROUP = "simkube.io"
_TERMINAL = ("Finished", "Failed")
_LEASE = "sk-lease"
_START_S, _RETRY_S, _ERROR_S, _PAUSED_S = 5, 5, 30, 10


@dataclass(frozen=True)
class SimKubeSettings:
    """The behaviour of the emulated SimKube.

    Attributes:
        namespace: of the controller and of its lease.
        driver: ``runs``; ``never`` starts (its image cannot be pulled); ``fails`` after its start.
        pull: seconds until the driver's image is pulled.
        leaves_webhook: True if the webhook configuration is owned by nothing, and so left behind.
        monitoring: False if the namespace of that name is missing, without which every Simulation
            fails.
        traces: traces by URL, for tracePaths other than ``file://``.
    """

    namespace: str = "simkube"
    driver: Literal["runs", "never", "fails"] = "runs"
    pull: float = 0.0
    leaves_webhook: bool = False
    monitoring: bool = True
    traces: Mapping[str, Trace] = field(default_factory=dict)


class SimKubeController:
    """The controller: reconciles Simulations whenever they change or a moment is due."""

    def __init__(self, manager: ControllerManager, settings: SimKubeSettings) -> None:
        """Join the controllers of a server."""
        self.manager, self.api, self.settings = manager, manager.api, settings
        self.clock = manager.world.clock
        self._marked: dict[str, None] = {}
        self._drivers: dict[str, _Driver] = {}
        self._prepared: dict[str, int] = {}
        """When a Simulation's webhook has its certificate, in milliseconds."""
        manager.steps.append(self._step)
        manager.store.listeners.append(self._changed)
        names = [settings.namespace, *(["monitoring"] if settings.monitoring else [])]
        for name in names:
            self.create(NAMESPACES, name)
        self._create_itself()

    def _create_itself(self) -> None:
        labels = {"app.kubernetes.io/name": "sk-ctrl"}
        container = {"name": "sk-ctrl", "image": "quay.io/appliedcomputing/sk-ctrl:v2.7.0"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        made = self.create(
            DEPLOYMENTS, "sk-ctrl-depl", self.settings.namespace, labels=labels, spec=spec
        )
        if made is not None:
            counts = {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1}
            self.manager.put(DEPLOYMENTS, {**made, "status": counts})

    # helpers

    def resource(self, plural: str) -> ApiResource | None:
        """Return one of SimKube's resources, None if its CRD is missing."""
        return self.api.resource(GROUP, "v1", plural)

    def create(
        self,
        resource: ApiResource,
        name: str,
        namespace: str = "",
        *,
        owner: Json | None = None,
        labels: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Json:
        """Create an object, unless it is there."""
        found = self.api.store.get(resource, (namespace, name))
        if found is not None:
            return found
        metadata: Json = {"name": name, "labels": dict(labels or {})}
        if namespace:
            metadata["namespace"] = namespace
        if owner is not None:
            metadata["ownerReferences"] = [owner_reference(owner)]
        head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        return self.manager.create(resource, {**head, **fields})

    def micro_time(self) -> str:
        """Return the time as a lease has it."""
        now = datetime.fromtimestamp(self.clock.now / 1000, UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def later(self, seconds: float, name: str) -> None:
        """Reconcile a Simulation again after some time."""
        self.clock.at(self.clock.now + int(1000 * seconds), lambda: self.mark(name))

    def mark(self, name: str) -> None:
        """Reconcile a Simulation in this round."""
        self._marked[name] = None

    def _changed(self, change: StoreChange) -> None:
        if change.resource.group == GROUP and change.resource.plural == "simulations":
            self.mark(change.value["metadata"]["name"])

    def _step(self) -> None:
        marked, self._marked = self._marked, {}
        for name in marked:
            try:
                self._reconcile(name)
            except (SimgitError, StatusError):
                self.set_state(name, "Retrying")
                self.later(_ERROR_S, name)

    # reconciliation

    def _reconcile(self, name: str) -> None:
        resource = self.resource("simulations")
        found = None if resource is None else self.api.store.get(resource, ("", name))
        driver = self._drivers.get(name)
        if found is None or found["metadata"].get("deletionTimestamp"):
            self._prepared.pop(name, None)
            if driver is not None:
                self._drivers.pop(name).stop()
            return
        state = lookup(found, ("status", "state"))
        if state in _TERMINAL:
            return
        meta = self.root(f"sk-{name}-metaroot", found)
        waits = self._claim(name, meta)
        if waits is not None:
            self.set_state(name, "Blocked")
            self.later(waits, name)
        elif driver is None:
            self.set_state(name, "Initializing")
            self._set_up(name, found, meta)
        elif driver.outcome is not None:
            self.set_state(name, driver.outcome, end=True, completed=driver.completed)
            self._drivers.pop(name).stop()
            self._release(name)
        else:
            paused = found["spec"].get("pausedTime") is not None
            self.set_state(name, "Paused" if paused else "Running", start=True)
            driver.go_on(paused=paused)

    def root(self, name: str, owner: Json) -> Json:
        """Create a SimulationRoot of a Simulation, unless it is there."""
        resource = self.resource("simulationroots")
        if resource is None:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        labels = {SIMULATION_LABEL: owner["metadata"]["name"]}
        return self.create(resource, name, owner=owner, labels=labels, spec={})

    def _claim(self, name: str, meta: Json) -> float | None:
        """Claim the lease; return the seconds to wait if another holds it."""
        now, text = self.clock.now / 1000, self.micro_time()
        key = (self.settings.namespace, _LEASE)
        found = self.api.store.get(LEASES, key)
        spec = {"holderIdentity": name, "acquireTime": text, "renewTime": text}
        if found is None:
            self.create(LEASES, _LEASE, self.settings.namespace, owner=meta, spec=spec)
            return None
        held = found["spec"]
        if held.get("holderIdentity") == name:
            return None
        if not held.get("holderIdentity"):
            self.manager.put(LEASES, {**found, "spec": spec})
            return None
        renewed = datetime.fromisoformat(held.get("renewTime") or text)
        seconds = (held.get("leaseDurationSeconds") or 0) + _RETRY_S
        left = renewed.timestamp() + seconds - now
        return left if left > 0 else _RETRY_S

    def _set_up(self, name: str, simulation: Json, meta: Json) -> None:
        spec = simulation["spec"]
        namespace = spec["driver"]["namespace"]
        if self.api.store.get(NAMESPACES, ("", "monitoring")) is None:
            self.set_state(name, "Failed")
            return
        labels = {SIMULATION_LABEL: name}
        self.create(NAMESPACES, namespace, owner=simulation, labels=labels)
        port = {"port": spec["driver"]["port"], "protocol": "TCP"}
        self.create(
            SERVICES, f"sk-{name}-driver-svc", namespace, owner=meta, labels=labels,
            spec={"ports": [port], "selector": {"job-name": f"sk-{name}-driver"}},
        )  # fmt: skip
        hook = f"sk-{name}-mutatepods"
        if name not in self._prepared:
            service = {"namespace": namespace, "name": f"sk-{name}-driver-svc", **port}
            webhook = {
                "name": "create-update.mutatepods.simkube.io", "clientConfig": {"service": service},
                "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            }  # fmt: skip
            owner = None if self.settings.leaves_webhook else meta
            self.create(WEBHOOKS, hook, owner=owner, labels=labels, webhooks=[webhook])
            self._prepared[name] = self.clock.now + 1000 * _RETRY_S
            self.later(_RETRY_S, name)
        elif self._prepared[name] <= self.clock.now:
            self._drivers[name] = _Driver(self, simulation)
            self.mark(name)

    def _release(self, name: str) -> None:
        """Delete what has to last as long as the driver: lease, service, webhook."""
        resource = self.resource("simulationroots")
        found = resource and self.api.store.get(resource, ("", f"sk-{name}-metaroot"))
        if resource is not None and found:
            self.api.delete(resource, found)

    def set_state(
        self, name: str, state: str, *, start: bool = False, end: bool = False, completed: int = 0
    ) -> None:
        """Write a Simulation's status."""
        resource = self.resource("simulations")
        found = None if resource is None else self.api.store.get(resource, ("", name))
        if resource is None or found is None:
            return
        now, status = self.api.now_text(), dict(found.get("status") or {})
        status |= {"state": state, "observedGeneration": found["metadata"].get("generation", 1)}
        if start:
            status.setdefault("startTime", now)
        if end:
            status.setdefault("endTime", now)
        if completed:
            status["completedRuns"] = completed
        self.manager.put(resource, {**found, "status": status})


class _Driver:
    """The driver's Job, its pods one after another, and what they do."""

    def __init__(self, controller: SimKubeController, simulation: Json) -> None:
        self.controller, self.simulation = controller, simulation
        self.manager, self.api = controller.manager, controller.api
        self.name = simulation["metadata"]["name"]
        self.spec = simulation["spec"]
        self.namespace = self.spec["driver"]["namespace"]
        self.outcome: str | None = None
        self.completed = 0
        self._paused = self._stopped = False
        self._runs = 0
        container = {"name": "driver", "image": self.spec["driver"]["image"]}
        self._pod_spec = {"containers": [container], "restartPolicy": "Never"}
        job = f"sk-{self.name}-driver"
        controller.create(
            JOBS, job, self.namespace, owner=simulation, labels={SIMULATION_LABEL: self.name},
            spec={
                "backoffLimit": 0, "parallelism": 1, "completions": self.spec.get("repetitions"),
                "template": {"metadata": {"labels": {"job-name": job}}, "spec": self._pod_spec},
            },
        )  # fmt: skip
        self._job = (self.namespace, job)
        self._pod = ("", "")
        self._work = self._run()
        self._go()

    def stop(self) -> None:
        """End at once."""
        self._stopped = True
        self.manager.cluster.set_lifecycle(PodDelays(), None)

    def go_on(self, *, paused: bool) -> None:
        """Pause, or go on."""
        self._paused = paused

    def _go(self) -> None:
        if self._stopped:
            return
        try:
            seconds = next(self._work)
        except StopIteration:
            self._end("Complete", "Finished")
        except (SimgitError, StatusError) as error:
            self.manager.logs[self._pod] = f"ERROR driver failed\n{error}\n"
            self._set_pod("Failed")
            self._end("Failed", "Failed")
        else:
            clock = self.controller.clock
            clock.at(clock.now + int(1000 * seconds), self._soon)

    def _soon(self) -> None:
        """Take the next step among the controllers, where writing is safe."""
        self.manager.once.append(self._go)

    def _end(self, condition: str, outcome: str) -> None:
        self.outcome = outcome
        state = {"type": condition, "status": "True", "lastTransitionTime": self.api.now_text()}
        self._set_job({"succeeded": self.completed, "conditions": [state]})
        self.controller.mark(self.name)

    def _run(self) -> Iterator[float]:
        """Run the driver as often as wanted; yields the seconds to wait."""
        for number in range(self.spec.get("repetitions") or 1):
            self._start_pod(number)
            if self.controller.settings.driver == "never":
                while True:
                    yield 3600
            yield self.controller.settings.pull
            self._set_pod("Running")
            yield _START_S
            if self.controller.settings.driver == "fails":
                raise StatusError(500, "InternalError", "the driver was told to fail")
            yield from self._replay()
            self.completed += 1
            self._set_pod("Succeeded")

    def _replay(self) -> Iterator[float]:
        spec = self.spec
        trace, speed = self._trace(), spec.get("speed") or 1.0
        prefix = spec["driver"].get("virtualNsPrefix") or "virtual"
        simulation = SimulationSpec(name=self.name, speed=speed, prefix=prefix)
        lifetimes = RecordedLifetimes(trace, f"{prefix}-", speed) if trace.lifecycles else None
        self.manager.cluster.set_lifecycle(_delays(spec.get("lifecycleParams") or {}), lifetimes)
        root = self.controller.root(f"{self._pod[1]}-root", self.simulation)
        self._renew_lease(int(trace.seconds / speed))
        before: Event | None = None
        for event in trace.events:
            if before is not None:
                yield int(max(0, event.ts - before.ts) / speed)
            while self._paused:
                yield _PAUSED_S
            self._do(event, simulation, root)
            before = event
        yield from self._clean_up(root)

    def _trace(self) -> Trace:
        url = self.spec["driver"]["tracePath"]
        parts = urlsplit(url)
        if url in self.controller.settings.traces:
            trace = self.controller.settings.traces[url]
        elif parts.scheme == "file":
            trace = read_trace_file(unquote(parts.path))
        else:
            raise StatusError(500, "InternalError", f"cannot read '{url}'")
        duration = self.spec.get("duration")
        if not trace.events:
            raise StatusError(500, "InternalError", "no trace data")
        # SimKube reads times as GNU date does: "+5m" is from the beginning of the trace on
        return trace if duration is None else cut(trace, parse_duration(duration.removeprefix("+")))

    def _renew_lease(self, seconds: int) -> None:
        key = (self.controller.settings.namespace, _LEASE)
        found = self.api.store.get(LEASES, key)
        if found is None or found["spec"].get("holderIdentity") != self.name:
            raise StatusError(500, "InternalError", "lease is held by another simulation")
        renewed = {"leaseDurationSeconds": seconds, "renewTime": self.controller.micro_time()}
        spec = {**found["spec"], **renewed}
        self.manager.put(LEASES, {**found, "spec": spec})

    def _do(self, event: Event, simulation: SimulationSpec, root: Json) -> None:
        for manifest in event.applied:
            value = dict(virtual_object(manifest, simulation))
            resource = self._resource(value)
            namespace = namespace_of(value)
            labels = {SIMULATION_LABEL: self.name, VIRTUAL_LABEL: "true"}
            self.controller.create(NAMESPACES, namespace, owner=root, labels=labels)
            metadata = {**value["metadata"], "ownerReferences": [owner_reference(root)]}
            wanted = {k: v for k, v in value.items() if k != "status"}
            manager = FieldManager(
                "simkube", resource.api_version, self.api.now_text(), "", custom=resource.custom
            )
            plain = json.loads(json.dumps({**wanted, "metadata": metadata}))
            key = (namespace, metadata["name"])
            self.api.apply(resource, key, plain, manager)
        for manifest in event.deleted:
            value = dict(virtual_object(manifest, simulation))
            resource = self._resource(value)
            found = self.api.store.get(resource, (namespace_of(value), value["metadata"]["name"]))
            if found is not None:
                self.api.delete(resource, found)

    def _resource(self, value: Mapping[str, Any]) -> ApiResource:
        resource = self.api.resource_of(value)
        if resource is None:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        return resource

    def _clean_up(self, root: Json) -> Iterator[float]:
        """Delete the root in the foreground, and wait for its end."""
        resource = self.controller.resource("simulationroots")
        while resource is not None:
            found = self.api.store.get(resource, ("", root["metadata"]["name"]))
            if found is None:
                return
            self.api.delete(resource, found, policy="Foreground")
            yield _RETRY_S

    # the Job and its pod

    def _start_pod(self, number: int) -> None:
        name = f"{self._job[1]}-{'bcdfghjklmnpqrstvwxz'[number % 20] * 5}"
        self._pod = (self.namespace, name)
        job = self.api.store.get(JOBS, self._job)
        pod = self.controller.create(
            PODS, name, self.namespace, owner=job, labels={"job-name": self._job[1]},
            spec={**self._pod_spec, "nodeName": "control-plane"},
        )  # fmt: skip
        waiting = {"reason": "ErrImagePull", "message": "failed to pull and unpack image"}
        state = {"name": "driver", "image": self.spec["driver"]["image"], "imageID": "",
                 "ready": False, "restartCount": 0, "state": {"waiting": waiting}}  # fmt: skip
        scheduled = {"type": "PodScheduled", "status": "True"}
        status = {**pod["status"], "conditions": [scheduled], "containerStatuses": [state]}
        self.manager.put(PODS, {**pod, "status": status})
        self._set_job({"active": 1, "startTime": self.api.now_text()})

    def _set_pod(self, phase: str) -> None:
        found = self.api.store.get(PODS, self._pod)
        if found is None:
            return
        ready = {"type": "Ready", "status": "True" if phase == "Running" else "False"}
        ended = {"exitCode": int(phase == "Failed"), "reason": "Error"}
        state = {"running": {}} if phase == "Running" else {"terminated": ended}
        containers = [
            {**each, "ready": phase == "Running", "state": state}
            for each in found["status"].get("containerStatuses") or ()
        ]
        conditions = [found["status"]["conditions"][0], ready]
        status = {"phase": phase, "conditions": conditions, "containerStatuses": containers}
        self.manager.put(PODS, {**found, "status": {**found["status"], **status}})

    def _set_job(self, status: Json) -> None:
        found = self.api.store.get(JOBS, self._job)
        if found is not None:
            start = lookup(found, ("status", "startTime"))
            status = {**({"startTime": start} if start else {}), **status}
            self.manager.put(JOBS, {**found, "status": status})


def _delays(parameters: Mapping[str, Any]) -> PodDelays:
    return PodDelays(
        create=parameters.get("imagePullDelay") or 0,
        create_jitter=parameters.get("imagePullJitter"),
        ready=parameters.get("podStartupDelay") or 0,
        ready_jitter=parameters.get("podStartupJitter"),
    )


def simulation_crds(*, lifecycle: bool = True) -> list[Json]:
    """Return CRDs of SimKube as far as the server acts on them.

    ``lifecycle`` is False for those of 2.4, which do not know ``lifecycleParams``.
    """

    def optional(kind: str, **more: Any) -> Json:
        return {"type": kind, "nullable": True, **more}

    def required(*names: str, **properties: Any) -> Json:
        return {"type": "object", "properties": properties, "required": list(names)}

    text = {"type": "string"}
    delay = optional("integer", format="uint32", minimum=0)
    names = ("imagePullDelay", "imagePullJitter", "podStartupDelay", "podStartupJitter")
    driver = required(
        "image", "namespace", "port", "tracePath",
        image=text, namespace=text, port={"type": "integer", "format": "int32"}, tracePath=text,
        virtualNsPrefix={**text, "default": "virtual"},
    )  # fmt: skip
    hooks = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "nullable": True}
    fields = {
        "driver": driver,
        "duration": optional("string"),
        "hooks": hooks,
        "metrics": hooks,
        "pausedTime": optional("string", format="date-time"),
        "repetitions": optional("integer", format="int32"),
        "speed": optional("number", format="double"),
    }
    if lifecycle:
        fields["lifecycleParams"] = {"type": "object", "properties": dict.fromkeys(names, delay)}
    spec = required("driver", *(["lifecycleParams"] if lifecycle else []), **fields)
    states = ["Blocked", "Initializing", "Running", "Paused", "Retrying", "Finished", "Failed"]
    status = {
        **required(
            "observedGeneration",
            completedRuns=optional("integer", format="uint64", minimum=0),
            endTime=optional("string", format="date-time"),
            observedGeneration={"type": "integer", "format": "int64"},
            startTime=optional("string", format="date-time"),
            state=optional("string", enum=[*states, None]),
        ),
        "nullable": True,
    }
    return [
        _crd("Simulation", required("spec", spec=spec, status=status), {"status": {}}),
        _crd("SimulationRoot", required("spec", spec={"type": "object"}), {}),
    ]


def _crd(kind: str, schema: Json, subresources: Json) -> Json:
    plural = f"{kind.lower()}s"
    version = {
        "name": "v1", "served": True, "storage": True, "subresources": subresources,
        "schema": {"openAPIV3Schema": schema},
    }  # fmt: skip
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]},
    }
