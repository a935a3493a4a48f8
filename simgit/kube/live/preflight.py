"""Checks whether a cluster is ready for a driver, each with what to do about it."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

from simgit.errors import ClusterError, plural
from simgit.kube.embedded.nodes import NodeSpec
from simgit.kube.live.api import Api, ApiError, Object
from simgit.kube.live.cleanup import RUN, Created, leftovers, remove, run_of
from simgit.kube.live.delivery import TracePlace
from simgit.kube.live.driver import LiveSettings
from simgit.kube.live.lease import NAMESPACE as LEASE_NAMESPACE
from simgit.kube.live.lease import ClusterLease, holder_of
from simgit.kube.live.nodes import VIRTUAL, condition, ready, spec_of, virtual
from simgit.kube.live.simulation import (
    API_VERSION,
    blocker,
    simulation_manifest,
    simulation_schema,
)
from simgit.kube.manifest import lookup
from simgit.kube.quantity import from_bytes, from_millicores
from simgit.kube.simulation import VIRTUAL_LABEL, SimulationSpec

Level = Literal["ok", "warning", "failed"]
SKEW_SECONDS: Final = 5.0
REACH_SECONDS: Final = 5.0
PROBE_SECONDS: Final = 10.0
_CALL_SECONDS: Final = 30.0
_PROBE: Final = "simgit-preflight"
_INSTALL: Final = "install SimKube 2.x, or use --driver replayer"

_READ: Final = ("get", "list")
_WATCHED: Final = (*_READ, "watch")
_Rights = dict[tuple[str, str], tuple[str, ...]]
_OF_BOTH: Final[_Rights] = {
    ("", "pods"): (*_WATCHED, "delete"),
    ("", "nodes"): _READ,
    ("", "events"): ("list",),
    ("", "namespaces"): (*_READ, "delete"),
    ("coordination.k8s.io", "leases"): ("get", "create", "update", "delete"),
    ("apiextensions.k8s.io", "customresourcedefinitions"): ("get",),
}
_OF: Final[dict[str, _Rights]] = {
    "simkube": {
        ("coordination.k8s.io", "leases"): ("list",),
        ("simkube.io", "simulations"): (*_WATCHED, "create", "delete"),
        ("simkube.io", "simulationroots"): (*_WATCHED, "delete"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): (*_READ, "delete"),
        ("", "pods/log"): ("get",),
        ("apps", "deployments"): _WATCHED,
        ("", "namespaces"): ("watch",),
    },
    "replayer": {
        ("", "namespaces"): ("create",),
        ("", "configmaps"): (*_WATCHED, "patch", "delete"),
        ("simkube.io", "simulationroots"): (*_WATCHED, "patch", "delete"),
        ("", "pods/status"): ("patch",),
        ("", "nodes/status"): ("patch",),
        ("apps", "deployments"): ("get", "patch", "delete"),
        ("coordination.k8s.io", "leases"): ("patch",),
    },
}
"""ClusterDriver -> (API group, resource) -> verbs that it needs, besides those of both."""


@dataclass(frozen=True, slots=True)
class PreflightCheck:
    """A thing that was looked at: what was found, what is wanted, and how to mend it."""

    what: str
    level: Level
    found: str
    wanted: str = ""
    fix: str = ""

    def plain(self) -> dict[str, str]:
        """Return the check as plain data, without what is empty."""
        return {key: value for key, value in asdict(self).items() if value}


def preflight(
    api: Api,
    settings: LiveSettings,
    nodes: Sequence[NodeSpec] = (),
    *,
    allowed: bool = True,
) -> Iterator[PreflightCheck]:
    """Yield the checks of a cluster, as they are done; all that they create is removed.

    Args:
        api: the API server.
        settings: of the cluster.
        nodes: the nodes that a trace is to run on; none if any will do.
        allowed: whether a pod may be created to see that it starts; all else is sent as a trial
            (``dryRun=All``), or only read.
    """
    reached = yield from _reachable(api)
    if not reached:
        return
    steps = [_clock, _permissions, _kinds, _driver, _nodes, _lease, _namespaces, _leftovers]
    for step in (*steps, _writes):
        try:
            with api.within(_CALL_SECONDS):
                yield from step(api, settings, nodes)
        except ClusterError as error:
            yield PreflightCheck(
                step.__name__.strip("_"), "failed", str(error), "an answer",
                "mend what it says, and look again",
            )  # fmt: skip
    if settings.driver == "simkube":
        yield from _probe(api, settings, allowed)


def _reachable(api: Api) -> Generator[PreflightCheck, None, bool]:
    """Return whether the API server answers (of the generator)."""
    what = "API server"
    try:
        with api.within(REACH_SECONDS):
            version = str(api.get("/version").get("gitVersion") or "of unknown version")
    except ClusterError as error:
        status = error.__dict__.get("status", 0)
        if status == 401:
            fix = f"renew the credentials of context '{api.context}'"
        elif status:
            fix = f"look at the cluster of context '{api.context}'"
        else:
            fix = f"start the cluster, or choose another context than '{api.context}'"
        wanted = f"an answer within {REACH_SECONDS:g} s"
        yield PreflightCheck(what, "failed", str(error), wanted, fix)
        return False
    yield PreflightCheck(what, "ok", f"{version} at {api.url}")
    return True


_Steps = Iterator[PreflightCheck]


def _clock(api: Api, settings: LiveSettings, nodes: Sequence[NodeSpec]) -> _Steps:
    skew = api.skew
    if skew is None:
        yield PreflightCheck("clock", "warning", "the server does not tell its time", "a Date")
    elif abs(skew) > SKEW_SECONDS:
        yield PreflightCheck(
            "clock", "warning", f"the server's is {skew:+.0f} s off", f"at most {SKEW_SECONDS:g} s",
            "set the clocks by NTP",
        )  # fmt: skip
    else:
        yield PreflightCheck("clock", "ok", f"within {SKEW_SECONDS:g} s of the server's")


def rights_of(driver: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the verbs that a driver needs by (API group, resource)."""
    wanted = dict(_OF_BOTH)
    for key, verbs in _OF[driver].items():
        wanted[key] = (*wanted.get(key, ()), *verbs)
    return wanted


def _permissions(api: Api, settings: LiveSettings, nodes: Sequence[NodeSpec]) -> _Steps:
    wanted = rights_of(settings.driver)
    if settings.driver == "replayer" and api.find("/apis/simkube.io/v1") is None:
        del wanted["simkube.io", "simulationroots"]  # ConfigMaps take their place
    missing: list[str] = []
    for (group, resource), verbs in wanted.items():
        lacking = [verb for verb in verbs if not _may(api, group, resource, verb)]
        if lacking:
            missing.append(f"{', '.join(lacking)} {resource}{'.' * bool(group)}{group}")
    count = sum(map(len, wanted.values()))
    if missing:
        yield PreflightCheck(
            "permissions", "failed", f"may not {'; '.join(missing)}", plural(count, "permission"),
            "have a ClusterRole with these bound to you",
        )  # fmt: skip
    else:
        yield PreflightCheck("permissions", "ok", f"all {count}")


def _may(api: Api, group: str, resource: str, verb: str) -> bool:
    name, _, part = resource.partition("/")
    about = {"group": group, "resource": name, "subresource": part, "verb": verb}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in about.items() if value}},
    }
    answer = api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(lookup(answer, ("status", "allowed")))


def _kinds(api: Api, settings: LiveSettings, nodes: Sequence[NodeSpec]) -> _Steps:
    if settings.driver != "simkube":
        return
    what = "Simulation CRD"
    try:
        schema = simulation_schema(api)
        schema.build(settings, SimulationSpec(prefix=settings.virtual_prefix), "file:///trace", 1)
    except ApiError:
        raise
    except ClusterError as error:
        yield PreflightCheck(what, "failed", str(error), "that of SimKube 2.4 to 2.7", _INSTALL)
    else:
        yield PreflightCheck(what, "ok", f"requires {', '.join(schema.required())}")
    kind = api.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    for name, title, fix in (
        ("simulationroots.simkube.io", "SimulationRoot CRD", _INSTALL),
        ("certificates.cert-manager.io", "cert-manager", "install cert-manager"),
    ):
        if api.find(kind.path(None, name)) is not None:
            yield PreflightCheck(title, "ok", "installed")
        else:
            yield PreflightCheck(title, "failed", "missing", name, fix)


def _driver(api: Api, settings: LiveSettings, nodes: Sequence[NodeSpec]) -> _Steps:
    if settings.driver != "simkube":
        return
    path = api.kind("apps/v1", "Deployment").path()
    found = api.list(path, labels="app.kubernetes.io/name=sk-ctrl")[0]
    what, wanted = "sk-ctrl", "1 available replica"
    fix = "kubectl -n simkube describe deployment sk-ctrl-depl"
    if not found:
        yield PreflightCheck(
            what, "failed", "no Deployment of SimKube's controller", wanted, _INSTALL
        )
    else:
        count = max(int(lookup(each, ("status", "availableReplicas")) or 0) for each in found)
        level: Level = "ok" if count else "failed"
        told = f"{plural(count, 'available replica')} in namespace "
        told += f"'{found[0]['metadata']['namespace']}'"
        yield PreflightCheck(what, level, told, *(() if count else (wanted, fix)))
    if api.find(api.kind("v1", "Namespace").path(None, "monitoring")) is None:
        yield PreflightCheck(
            "metrics", "warning", "no namespace 'monitoring'",
            "SimKube 2.x fails simulations without it", "kubectl create namespace monitoring",
        )  # fmt: skip
    try:
        place = TracePlace.of(settings.trace_path)
        place.check()
    except (ClusterError, ValueError) as error:
        yield PreflightCheck(
            "trace path", "failed", str(error), "a directory that the driver's node has too",
            "--set cluster.trace_path=DIR[:DIR-ON-NODE]",
        )  # fmt: skip
    else:
        yield PreflightCheck("trace path", "ok", f"{place.local}, file://{place.node} on the node")


def _nodes(api: Api, settings: LiveSettings, nodes: Sequence[NodeSpec]) -> _Steps:
    found = virtual(api)
    what, wanted = "virtual nodes", _table(nodes) if nodes else f"at least 1 with {VIRTUAL}"
    first = nodes[0] if nodes else NodeSpec("node")
    fix = (
        f"simgit kube nodes create {len(nodes) or 3} --cpu {from_millicores(first.cpu)} "
        f"--memory {from_bytes(first.memory)} --context {api.context}"
    )
    if not found:
        yield PreflightCheck(what, "failed", f"none with {VIRTUAL}", wanted, fix)
        return
    untainted = [
        each["metadata"]["name"]
        for each in found
        if not any(t["key"] == "kwok-provider" for t in lookup(each, ("spec", "taints")) or ())
    ]
    if untainted:
        yield PreflightCheck(
            "taint", "warning", f"{plural(len(untainted), 'virtual node')} without kwok-provider",
            "other pods kept away",
            f"kubectl taint node {untainted[0]} kwok-provider=true:NoSchedule",
        )  # fmt: skip
    asleep = [each["metadata"]["name"] for each in found if not ready(each)]
    if asleep and settings.driver == "simkube":
        yield PreflightCheck(
            what, "failed", f"{len(asleep)} of {len(found)} not ready ({asleep[0]})", "all ready",
            "see that KWOK runs, and that it manages the node",
        )  # fmt: skip
    specs = [spec_of(each) for each in found]
    if nodes and sorted(map(_offer, specs)) != sorted(map(_offer, nodes)):
        yield PreflightCheck(what, "warning", _table(specs), wanted, fix)
    else:
        yield PreflightCheck(what, "ok", _table(specs))


def _offer(spec: NodeSpec) -> tuple[int, int, int]:
    return spec.cpu, spec.memory, spec.pods


def _table(specs: Sequence[NodeSpec]) -> str:
    """Return how many nodes there are of each size."""
    counts: dict[tuple[int, int, int], int] = {}
    for spec in specs:
        counts[_offer(spec)] = counts.get(_offer(spec), 0) + 1
    return ", ".join(
        f"{count} × {from_millicores(cpu)} CPU, {from_bytes(memory)}, {plural(pods, 'pod')}"
        for (cpu, memory, pods), count in counts.items()
    )


def _lease(api: Api, settings: LiveSettings, nodes: Sequence[NodeSpec]) -> _Steps:
    holder = holder_of(api)
    if holder is None:
        yield PreflightCheck("lease", "ok", "free")
    else:
        yield PreflightCheck(
            "lease", "failed", f"held by {holder}", "one session at a time",
            "wait for its end; the lease of one that was killed ends by itself within a minute",
        )  # fmt: skip
    if settings.driver == "simkube" and (blocking := blocker(api)) is not None:
        yield PreflightCheck(
            "sk-lease", "failed", f"held by Simulation '{blocking}'", "no other simulation",
            f"wait for its end, or kubectl delete simulation {blocking}",
        )  # fmt: skip


def _namespaces(api: Api, settings: LiveSettings, nodes: Sequence[NodeSpec]) -> _Steps:
    prefix = f"{settings.virtual_prefix}-"
    found = [
        each
        for each in api.list(api.kind("v1", "Namespace").path())[0]
        if each["metadata"]["name"].startswith(prefix)
    ]
    for each in found:
        name, since = each["metadata"]["name"], each["metadata"].get("deletionTimestamp")
        if since:
            yield PreflightCheck(
                "namespace", "failed", f"'{name}' is being deleted since {since}", "its end",
                f"wait, or see what keeps it: kubectl get namespace {name} -o yaml",
            )  # fmt: skip
        elif run_of(each) is None:
            yield PreflightCheck(
                "namespace", "warning", f"'{name}' exists and is not simgit's",
                "none of the names of virtual namespaces",
                f"kubectl delete namespace {name}, or choose another cluster.virtual_prefix",
            )  # fmt: skip
    if not found:
        yield PreflightCheck("namespaces", "ok", f"none named {prefix}*")


def _leftovers(api: Api, settings: LiveSettings, nodes: Sequence[NodeSpec]) -> _Steps:
    left = [each for each in leftovers(api) if each["kind"] not in ("Node", "Lease")]
    if not left:
        yield PreflightCheck("leftovers", "ok", "none")
        return
    first = left[0]
    yield PreflightCheck(
        "leftovers", "warning",
        f"{plural(len(left), 'object')} of other sessions ({first['kind']} {first['name']})",
        "none", f"simgit kube cleanup --all --context {api.context}",
    )  # fmt: skip


def _writes(api: Api, settings: LiveSettings, nodes: Sequence[NodeSpec]) -> _Steps:
    """Try each kind of write, without effect."""
    refused: list[str] = []
    trials = list(_trials(api, settings))
    for name, method, path, body in trials:
        try:
            if method == "apply":
                api.apply(path, body, manager="simkube", dryRun="All")
            else:
                api.create(path, body, dryRun="All")
        except ApiError as error:
            if error.status in (0, 401):
                raise
            refused.append(f"{name}: {error}")
    what = "trial writes"
    if refused:
        yield PreflightCheck(
            what, "failed", "; ".join(refused), "all accepted",
            "see what refuses them: permissions, quotas, webhooks",
        )  # fmt: skip
    else:
        yield PreflightCheck(what, "ok", f"accepted: {', '.join(name for name, *_ in trials)}")


def _trials(api: Api, settings: LiveSettings) -> Iterator[tuple[str, str, str, Object]]:
    """Yield (name, method, path, body) of the writes of a driver."""
    label = {RUN: _PROBE}
    lease = api.kind("coordination.k8s.io/v1", "Lease").path(LEASE_NAMESPACE)
    yield "Lease", "create", lease, {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": _PROBE, "namespace": LEASE_NAMESPACE, "labels": label},
        "spec": {"holderIdentity": _PROBE},
    }  # fmt: skip
    name = f"{settings.virtual_prefix}-{_PROBE}"
    if settings.driver == "simkube":
        try:
            schema = simulation_schema(api)
            simulation = SimulationSpec(prefix=settings.virtual_prefix)
            spec = schema.build(settings, simulation, "file:///trace", 1)
        except ApiError:
            raise
        except ClusterError:
            return  # its own check says why
        kind = api.kind(API_VERSION, "Simulation")
        yield "Simulation", "create", kind.path(), simulation_manifest(_PROBE, _PROBE, spec, {})
        return
    yield "Namespace", "create", api.kind("v1", "Namespace").path(), {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": label},
    }  # fmt: skip
    metadata = {"name": _PROBE, "namespace": LEASE_NAMESPACE, "labels": label}
    pod = {"containers": [{"name": "c", "image": "none"}]}
    template = {"metadata": {"labels": label}, "spec": pod}
    workload = {"replicas": 0, "selector": {"matchLabels": label}, "template": template}
    bodies: list[Object] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": workload},
    ]
    for body in bodies:
        yield body["kind"], "apply", api.path_of(body), body


def _probe(api: Api, settings: LiveSettings, allowed: bool) -> _Steps:
    """Create a pod for the virtual nodes and see that KWOK makes it ready; remove it again."""
    what, wanted = "KWOK", f"a pod on a virtual node is ready within {PROBE_SECONDS:g} s"
    if not allowed:
        yield PreflightCheck(
            what, "warning", "not tried: the context is not allowed", wanted,
            f"simgit kube allow {api.context}",
        )  # fmt: skip
        return
    created = Created(None, api.url)
    left: list[str] = []
    try:
        holder = holder_of(api)
        if holder is not None:  # a pod more would change what it counts
            busy = f"not tried: {holder} uses the cluster"
            yield PreflightCheck(what, "warning", busy, wanted, "wait for its end")
            return
        with ClusterLease(api):
            try:
                with api.within(_CALL_SECONDS):
                    told = _probed(api, settings, created)
            finally:
                left = remove(api, created) if created.entries() else []
    except ClusterError as error:
        told = str(error)
    if told is not None:
        fix = "see that KWOK runs with the stages of pods, and that virtual nodes have room"
        yield PreflightCheck(what, "failed", told, wanted, fix)
    else:
        yield PreflightCheck(what, "ok", "a pod became ready")
    if left:
        yield PreflightCheck(
            what, "warning", f"left behind: {left[0]}", "nothing",
            f"simgit kube cleanup --all --context {api.context}",
        )  # fmt: skip


def _probed(api: Api, settings: LiveSettings, created: Created) -> str | None:
    """Return why the pod is not ready, None if it is."""
    namespace = f"{settings.virtual_prefix}-{_PROBE}-{secrets.token_hex(4)}"
    labels = {RUN: _PROBE, VIRTUAL_LABEL: "true"}
    kind = api.kind("v1", "Namespace")
    created.note(kind.path(None, namespace))
    api.create(kind.path(), {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels},
    })  # fmt: skip
    body = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": _PROBE, "namespace": namespace, "labels": labels},
        "spec": {
            "containers": [{"name": "c", "image": "none"}], "nodeSelector": {"type": "virtual"},
            "tolerations": [{"key": "kwok-provider", "operator": "Exists", "effect": "NoSchedule"}],
        },
    }  # fmt: skip
    path = api.path_of(body)
    end = api.clock.monotonic() + PROBE_SECONDS
    while True:
        try:
            pod = api.find(path) or api.create(api.path_of(body, single=False), body)
        except ApiError as error:  # a namespace has a ServiceAccount only after a moment
            if error.status != 403 or api.clock.monotonic() >= end:
                raise
            pod = {}
        if condition(pod, "Ready") == "True":
            return None
        if api.clock.monotonic() >= end:
            unscheduled = condition(pod, "PodScheduled", "message")
            return unscheduled or f"the pod is {lookup(pod, ('status', 'phase'))} still"
        api.clock.sleep(1.0)


def failures(checks: Sequence[PreflightCheck]) -> int:
    """Return how many checks failed."""
    return sum(check.level == "failed" for check in checks)
