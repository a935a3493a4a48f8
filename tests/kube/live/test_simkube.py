"""Replays as Simulations: what is counted, what goes wrong, and that nothing stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace as evolve
from pathlib import Path
from typing import Any

import pytest
import yaml

from simgit.errors import AlreadyExists, ClusterError, InvalidInput, SimgitWarning
from simgit.kube.embedded import PodDelays, virtual_nodes
from simgit.kube.live import api as api_module
from simgit.kube.live.api import Api
from simgit.kube.live.cleanup import Created
from simgit.kube.live.driver import LiveSettings
from simgit.kube.live.simulation import SimkubeDriver, SimulationSchema, simulation_schema
from simgit.kube.simulation import SimulationSpec, simulate
from simgit.kube.task.scenarios import SCENARIOS, generate
from simgit.kube.trace.edit import set_replicas, set_requests, workload
from simgit.kube.trace.model import Event, Trace
from simgit.testing.apiserver import (
    TOKEN,
    ApiFault,
    ApiServer,
    SimKubeSettings,
    simulation_crds,
)
from simgit.testing.apiserver.controllers import ControllerManager
from simgit.testing.apiserver.resources import PODS
from simgit.testing.apiserver.server import node_object
from simgit.testing.apiserver.simkube import SimKubeController
from tests.support.paths import RECORDED
from tests.support.served import connect, rights

SIMULATION = SimulationSpec(speed=60)
WEB = SIMULATION.selection("default", "web")
TRACE = generate("cpu-slight").trace
KINDS = (
    "simulations.simkube.io", "simulationroots.simkube.io", "jobs.batch", "services",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "leases.coordination.k8s.io", "deployments.apps", "pods",
)  # fmt: skip
FAULTS_OF_WATCHES = (
    "duplicate", "reorder", "gone", "closed", "cut", "empty-lines", "garbage", "split", "slow",
    "half-open",
)  # fmt: skip
NAMESPACES = {"default", "kube-system", "kube-public", "kube-node-lease", "simkube", "monitoring"}


class Bench:
    """A served cluster with SimKube, and drivers for it that share a leftovers file."""

    def __init__(self, server: ApiServer, directory: Path, stack: ExitStack) -> None:
        self.server = server
        self.directory = directory
        self.traces = directory / "traces"
        self.traces.mkdir()
        self.file = directory / "leftovers"
        self._stack = stack
        self.api = self.connect()

    def connect(self, token: str = TOKEN) -> Api:
        return self._stack.enter_context(connect(self.server, self.directory, token=token))

    def settings(self, **changes: Any) -> LiveSettings:
        given = {"driver": "simkube", "trace_path": str(self.traces), "timeout": 120.0, **changes}
        return LiveSettings("loopback", **given)

    @contextmanager
    def driver(self, *, api: Api | None = None, **changes: Any) -> Iterator[SimkubeDriver]:
        driver = SimkubeDriver(api or self.api, self.settings(**changes), leftovers=self.file)
        try:
            yield driver
        finally:
            driver.close()

    def step(self, trace: Trace = TRACE, **changes: Any) -> tuple[int, int, int]:
        with (
            self.driver(**changes) as driver,
            driver.replay(trace, SIMULATION, WEB, label="main") as cluster,
        ):
            return cluster.observe(WEB).counts()

    def left(self) -> list[str]:
        """Return what a step left on the cluster."""
        found = [
            f"{kind} {each['metadata']['name']}"
            for kind in KINDS
            for each in self.server.objects(kind)
            if each["metadata"]["name"] != "sk-ctrl-depl"
        ]
        spaces = {each["metadata"]["name"] for each in self.server.objects("namespaces")}
        return found + sorted(spaces - NAMESPACES)


@contextmanager
def bench(directory: Path, **options: Any) -> Iterator[Bench]:
    options.setdefault("simkube", True)
    with ExitStack() as stack:
        server = stack.enter_context(ApiServer(nodes=3, **options))
        yield Bench(server, directory, stack)


@pytest.fixture
def simkube(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as found:
        yield found
        assert found.left() == []
        assert not found.file.exists()
        assert list(found.traces.iterdir()) == []


def embedded(trace: Trace, simulation: SimulationSpec = SIMULATION) -> Any:
    return simulate(trace, simulation)


def failure(found: Bench, **changes: Any) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        found.step(**changes)
    assert "\n" not in str(caught.value)
    return caught.value


# What is counted


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("cpu-slight", "mem-replicas")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(SCENARIOS)
    ],
)
def test_a_scenario_counts_as_on_the_embedded_cluster(simkube: Bench, name: str) -> None:
    trace = generate(name).trace
    expected = embedded(trace)
    with (
        simkube.driver() as driver,
        driver.replay(trace, SIMULATION, WEB, label="main") as cluster,
    ):
        assert cluster.observe(WEB) == expected.observe(WEB)
        rows = [(p["phase"], p["ready"], p["cpu"], p["memory"]) for p in cluster.pods()]
        assert rows == [(p["phase"], p["ready"], p["cpu"], p["memory"]) for p in expected.pods()]
        for pod in cluster.pods():
            told = expected.pods()[0]["message"]
            assert told is None or str(pod["message"]).startswith(told[:40])
        assert len(cluster.nodes()) == 3
        assert {event["namespace"] for event in cluster.events()} == {"virtual-default"}
        assert cluster.now == simkube.server.now


@pytest.mark.slow
def test_steps_follow_each_other_from_an_empty_cluster(simkube: Bench) -> None:
    trace = TRACE
    with simkube.driver() as driver:
        for cpu, ready in (("17000m", 0), ("16500m", 0), ("16", 3), ("500m", 3)):
            trace = set_requests(trace, workload("web"), cpu=cpu)
            with driver.replay(trace, SIMULATION, WEB, label="main") as cluster:
                assert cluster.observe(WEB).counts() == (ready, 3 - ready, 3)
        names = [
            r.path.rpartition("/")[2]
            for r in simkube.server.requests
            if r.method == "DELETE" and "/simulations/" in r.path
        ]
        assert [name.split("-")[:3] for name in names] == [
            ["simgit", "main", str(step)] for step in range(1, 5)
        ]


def rolled() -> Trace:
    """Return a trace whose Deployment is changed, scaled and joined by another that goes."""
    first = TRACE.events[0].applied[0]
    small = set_requests(TRACE, workload("web"), cpu="2")
    changed = set_replicas(small, workload("web"), 5).events[0].applied[0]
    other = json.loads(json.dumps(first))
    other["metadata"]["name"] = "other"
    events = (
        Event(0, (first,)), Event(60, (other,)), Event(120, (changed,)), Event(180, (), (other,)),
    )  # fmt: skip
    return evolve(TRACE, events=events, source=None)


@pytest.mark.slow
def test_all_events_have_happened_when_pods_are_counted(simkube: Bench) -> None:
    trace = rolled()
    assert embedded(trace).observe(WEB).counts() == (5, 0, 5)
    assert simkube.step(trace) == (5, 0, 5)
    before = evolve(trace, events=trace.events[:3], source=None)
    assert simkube.step(before) == embedded(before).observe(WEB).counts() == (5, 3, 8)


def test_a_duration_cuts_the_trace_as_on_the_embedded_cluster(simkube: Bench) -> None:
    cut = SimulationSpec(speed=60, duration=100)
    with (
        simkube.driver() as driver,
        driver.replay(rolled(), cut, WEB, label="main") as cluster,
    ):
        assert cluster.observe(WEB) == embedded(rolled(), cut).observe(WEB)
        assert {pod["labels"]["app"] for pod in cluster.pods()} == {"web"}
        assert cluster.observe(WEB).total == 3 + 3  # both have the label


@pytest.mark.slow
def test_delays_and_linger_are_the_simulations(simkube: Bench) -> None:
    slow = SimulationSpec(speed=60, delays=PodDelays(ready=20_000))
    small = set_requests(TRACE, workload("web"), cpu="1")
    late = SimulationSpec(speed=60, delays=PodDelays(ready=20_000), linger=30)
    with simkube.driver() as driver:
        for simulation, counts in ((slow, (0, 0, 3)), (late, (3, 0, 3))):
            with driver.replay(small, simulation, WEB, label="main") as cluster:
                found = cluster.observe(WEB)
                assert (found.ready, found.total) == (counts[0], counts[2])


def test_no_pods_have_a_reason(simkube: Bench) -> None:
    none = set_replicas(TRACE, workload("web"), 0)
    with (
        simkube.driver() as driver,
        driver.replay(none, SIMULATION, WEB, label="main") as cluster,
    ):
        assert cluster.observe(WEB).reason == "Deployment 'web' has 0 replicas"


@pytest.mark.slow
def test_pods_that_nobody_creates_are_a_timeout_and_not_zeros(
    simkube: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ControllerManager.put

    def put(self: Any, resource: Any, value: Any) -> Any:
        """As if the controllers had not looked at the Deployment yet."""
        if value["kind"] == "Deployment" and value["metadata"]["name"] == "web":
            return None
        return kept(self, resource, value)

    monkeypatch.setattr(ControllerManager, "put", put)
    none = set_replicas(TRACE, workload("web"), 0)
    with pytest.raises(ClusterError, match="controllers have not acted") as told:
        simkube.step(none, timeout=30.0)
    assert told.value.__dict__["timeout"]


def elsewhere_scheduled() -> Trace:
    """Return a trace whose pods wait for a scheduler that the cluster does not have."""
    deployment = json.loads(json.dumps(TRACE.events[0].applied[0]))
    deployment["spec"]["template"]["spec"]["schedulerName"] = "theirs"
    return evolve(TRACE, events=(Event(0, (deployment,)),), source=None)


@pytest.mark.slow
def test_pods_that_nobody_schedules_are_a_timeout(simkube: Bench) -> None:
    with pytest.raises(ClusterError, match="3 pods not decided by the scheduler") as told:
        simkube.step(elsewhere_scheduled(), timeout=30.0)
    assert told.value.__dict__["timeout"]


def test_another_prefix_and_namespace_are_used(simkube: Bench) -> None:
    other = SimulationSpec(speed=60, prefix="copy")
    selection = other.selection("default", "web")
    with (
        simkube.driver(namespace="drivers") as driver,
        driver.replay(TRACE, other, selection, label="main") as cluster,
    ):
        assert cluster.observe(selection).counts() == (0, 3, 3)
        [found] = simkube.server.objects("simulations.simkube.io")
        assert found["spec"]["driver"]["virtualNsPrefix"] == "copy"
    simkube.server.delete("namespaces", "drivers") if "drivers" in simkube.left() else None


def test_the_resource_is_labelled_and_says_where_the_trace_is(simkube: Bench) -> None:
    with (
        simkube.driver(trace_path=f"{simkube.traces}:{simkube.traces}:mounted") as driver,
        driver.replay(TRACE, SIMULATION, WEB, label="train/web@1"),
    ):
        [found] = simkube.server.objects("simulations.simkube.io")
        assert found["metadata"]["labels"] == {"simgit.io/run": "train-web-1"}
        annotations = found["metadata"]["annotations"]
        assert annotations["controller.simkube.io/skip-local-volume-mount"] == "true"
        spec = found["spec"]
        assert (spec["speed"], spec["repetitions"]) == (60, 1)
        assert spec["lifecycleParams"] == {"imagePullDelay": 0, "podStartupDelay": 0}
        assert spec["driver"]["tracePath"].startswith(f"file://{simkube.traces}/")
        assert [entry["uid"] for entry in Created(simkube.file, simkube.server.url).entries()][
            -1
        ] == found["metadata"]["uid"]


def test_facts_name_versions_and_no_credentials(simkube: Bench) -> None:
    with simkube.driver() as driver:
        facts = driver.facts()
    assert facts["server"] == "v1.35.0" and len(facts["nodes"]) == 3
    assert set(map(len, facts["crds"].values())) == {64}
    assert facts["crds"].keys() == {"simulations", "simulationroots"}
    assert facts["image"] == simkube.settings().image
    assert facts.keys() == {"server", "nodes", "crds", "image"}
    assert TOKEN not in json.dumps(facts)


def slowly(found: Bench) -> Callable[[], None]:
    """Return an actor: pods are placed after 30 s, and a namespace lasts 20 s after its end."""
    other, moments = found.connect(), dict[str, float]()
    space = "/api/v1/namespaces/virtual-default"

    def after(what: str, there: bool, seconds: float) -> bool:
        if not there:
            moments.pop(what, None)
        return there and found.server.now > moments.setdefault(what, found.server.now) + seconds

    def act() -> None:
        spaces = {n["metadata"]["name"]: n for n in found.server.objects("namespaces")}
        metadata = spaces.get("virtual-default", {}).get("metadata", {})
        if metadata and not metadata.get("finalizers"):
            other.patch(space, {"metadata": {"finalizers": ["example.com/hold"]}})
        if after("end", bool(metadata.get("deletionTimestamp")), 20):
            other.patch(space, {"metadata": {"finalizers": None}})
        waiting = [
            pod["metadata"]["name"] for pod in found.server.objects("pods", "virtual-default")
            if not pod["spec"].get("nodeName")
        ]  # fmt: skip
        for name in waiting if after("pods", bool(waiting), 30) else ():
            target = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
            other.create(f"{space}/pods/{name}/binding", target)

    node = found.server.objects("nodes")[0]["metadata"]["name"]
    return act


@pytest.mark.slow
def test_nodes_that_change_between_two_replays_are_told_once(
    simkube: Bench, recwarn: pytest.WarningsRecorder
) -> None:
    with simkube.driver() as driver:
        assert len(driver.facts()["nodes"]) == 3
        for count, told in ((3, 0), (4, 1), (4, 0)):
            if count > len(simkube.server.objects("nodes")):
                [spec] = virtual_nodes(1)
                simkube.server.create(node_object(evolve(spec, name="another")))
            recwarn.clear()
            with driver.replay(TRACE, SIMULATION, WEB, label="main"):
                found = [each for each in recwarn if "nodes are others now" in str(each.message)]
            assert len(found) == told
            assert len(driver.facts()["nodes"]) == count


@pytest.mark.slow
def test_watches_that_are_all_dead_are_noticed(simkube: Bench) -> None:
    """Half-open: each was accepted, and tells nothing; lists find what happens."""
    simkube.server.faults = [
        ApiFault("half-open", match=lambda _, path: "watch=" in path, times=None)
    ]
    with simkube.driver() as driver:
        for _ in range(2):
            with driver.replay(TRACE, SIMULATION, WEB, label="main") as cluster:
                assert cluster.observe(WEB).counts() == (0, 3, 3)
    simkube.server.faults = []


@pytest.mark.slow
@pytest.mark.parametrize("slow", [False, True])
def test_a_step_needs_few_requests(tmp_path: Path, slow: bool) -> None:
    """Slow: the driver starts after 25 s. Renewals of the lease are not a step's: 6 a minute."""
    trace = elsewhere_scheduled() if slow else TRACE
    with bench(tmp_path, simkube=SimKubeSettings(pull=25.0 * slow)) as found:
        if slow:
            found.api.clock.after_sleep = slowly(found)  # type: ignore[attr-defined]
        with found.driver() as driver:
            for number in range(3):
                before, start = found.api.requests, found.server.now
                renewed = len(renewals(found))
                with driver.replay(trace, SIMULATION, WEB, label="main") as cluster:
                    assert cluster.observe(WEB).total == 3
                sent = found.api.requests - before - len(renewals(found)) + renewed
                took = found.server.now - start
                print(f"step {number}: {sent} requests in {took:.0f} s of the cluster")
                assert took > 75 * slow
                assert sent <= 40


def renewals(found: Bench) -> list[Any]:
    return [r for r in found.server.requests if r.method == "PUT" and "/leases/" in r.path]


@pytest.mark.slow
def test_the_permissions_of_preflight_suffice(tmp_path: Path) -> None:
    with bench(tmp_path, rules={TOKEN: rights("simkube")}) as found:
        assert found.step() == (0, 3, 3)
        assert found.left() == []
        lease = {"holderIdentity": "theirs", "leaseDurationSeconds": 60}
        metadata = {"name": "sk-lease", "namespace": "simkube"}
        found.server.create(
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
             "spec": lease}
        )  # fmt: skip
        assert "is blocked by 'theirs'" in str(failure(found))
        assert {r.status for r in found.server.requests} <= {200, 201, 404}


# The installed definition


def definitions(source: str) -> list[Any]:
    """Return the definitions of SimKube: the served ones, or those that SimKube ships."""
    if source.startswith("served"):
        return simulation_crds(lifecycle=source.endswith("2.7"))
    path = RECORDED / "simulations-crd.yml"
    if not path.exists():
        pytest.skip(f"needs {path}")
    found = list(yaml.safe_load_all(path.read_text()))
    if source.endswith("2.4"):
        spec = found[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["required"].remove("lifecycleParams")
        del spec["properties"]["lifecycleParams"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("source", ["served 2.7", "served 2.4", "shipped 2.7", "shipped 2.4"])
def test_fields_are_those_of_the_installed_definition(tmp_path: Path, source: str) -> None:
    with bench(tmp_path, crds=definitions(source)) as found:
        assert found.step() == (0, 3, 3)
        required = simulation_schema(found.api).required()
        assert ("spec.lifecycleParams" in required) is source.endswith("2.7")
        assert found.left() == []


def test_another_port_is_told_to_the_driver() -> None:
    [crd, *_] = definitions("shipped 2.7")
    settings = LiveSettings("loopback", driver="simkube", port=9999)
    spec = SimulationSchema.of(crd).build(settings, SIMULATION, "file:///trace", 10)
    assert spec["driver"]["args"] == ["--admission-webhook-port", "9999"]


def test_what_an_old_definition_lacks_is_refused_if_it_matters(tmp_path: Path) -> None:
    with bench(tmp_path, crds=simulation_crds(lifecycle=False)) as found:
        slow = SimulationSpec(speed=60, delays=PodDelays(ready=20_000))
        with found.driver() as driver, pytest.raises(ClusterError) as caught:
            driver.replay(TRACE, slow, WEB, label="main").__enter__()
        assert str(caught.value) == (
            "the cluster's simulations.simkube.io has no field spec.lifecycleParams."
            "podStartupDelay, which '20000' needs: install a newer SimKube"
        )
        assert found.left() == []


def test_a_required_field_that_is_not_known_is_refused(tmp_path: Path) -> None:
    crds = simulation_crds()
    spec = crds[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["required"] = [*spec["required"], "tenant"]
    spec["properties"]["tenant"] = {"type": "string"}
    with bench(tmp_path, crds=crds) as found:
        assert "requires spec.tenant, which this simgit does not know" in str(failure(found))
        assert found.left() == []


def test_without_the_definition_the_step_says_what_to_install(tmp_path: Path) -> None:
    with bench(tmp_path, simkube=False) as found:
        assert str(failure(found)) == (
            "the cluster has no simulations.simkube.io: install SimKube 2.x, or use "
            "--driver replayer"
        )
        assert {r.method for r in found.server.requests} == {"GET"}


def test_a_definition_without_v1_is_refused() -> None:
    [crd, *_] = simulation_crds()
    crd["spec"]["versions"][0]["name"] = "v2"
    with pytest.raises(ClusterError, match=r"has version v2, and simgit needs v1"):
        SimulationSchema.of(crd)


# What goes wrong


def test_an_unusable_trace_is_refused_before_anything_is_sent(simkube: Bench) -> None:
    with simkube.driver() as driver:
        for trace, told in (
            (evolve(TRACE, events=(), source=None), "no events"),
            (evolve(TRACE, events=(*TRACE.events, Event(10**6)), source=None), "cluster.timeout"),
        ):
            with pytest.raises(InvalidInput, match=told):
                driver.replay(trace, SIMULATION, WEB, label="main").__enter__()
    assert simkube.server.requests == []


def test_one_that_another_simulation_blocks_names_it(simkube: Bench) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "sk-lease", "namespace": "simkube"},
        "spec": {"holderIdentity": "theirs", "leaseDurationSeconds": 3600,
                 "renewTime": "2026-01-01T00:00:00.000000Z"},
    }  # fmt: skip
    simkube.server.create(lease)
    error = failure(simkube)
    assert "is blocked by 'theirs': SimKube runs one at a time" in str(error)
    assert error.holder == "theirs"  # type: ignore[attr-defined]
    assert simkube.left() == ["leases.coordination.k8s.io sk-lease"]
    simkube.server.delete("leases.coordination.k8s.io", "sk-lease", "simkube")


@pytest.mark.slow
def test_a_driver_that_never_starts_times_out_and_says_why(tmp_path: Path) -> None:
    with bench(tmp_path, simkube=SimKubeSettings(driver="never")) as found:
        began = found.server.now
        error = failure(found, timeout=30.0)
        assert "timed out after 30 s: the driver's pod 'sk-simgit-main-1-" in str(error)
        assert "(ErrImagePull: failed to pull and unpack image)" in str(error)
        assert error.timeout is True  # type: ignore[attr-defined]
        assert found.server.now - began < 40
        assert found.left() == [] and not found.file.exists()


def test_a_driver_that_fails_is_quoted(tmp_path: Path) -> None:
    with bench(tmp_path, simkube=SimKubeSettings(driver="fails")) as found:
        error = failure(found)
        assert str(error).endswith(": driver: the driver was told to fail")
        assert error.log == ["ERROR driver failed", "the driver was told to fail"]  # type: ignore[attr-defined]
        assert found.left() == []


def test_a_simulation_that_the_controller_fails_is_said(tmp_path: Path) -> None:
    with bench(tmp_path, simkube=SimKubeSettings(monitoring=False)) as found:
        assert "failed before its pods could be counted" in str(failure(found))
        assert found.left() == []


@pytest.mark.slow
def test_a_controller_that_does_not_run_is_said(tmp_path: Path) -> None:
    with bench(tmp_path, simkube=False, crds=simulation_crds()) as found:
        error = failure(found, timeout=20.0)
        assert "SimKube's controller has not taken Simulation" in str(error)
        assert str(error).endswith("does sk-ctrl run?")
        assert found.left() == []


def test_one_that_begins_anew_again_and_again_is_given_up(tmp_path: Path) -> None:
    with bench(tmp_path, simkube=False, crds=simulation_crds()) as found:
        resource, count = "simulations.simkube.io", iter(range(99))

        def retry() -> None:
            for each in found.server.objects(resource):
                name = each["metadata"]["name"]
                path = f"/apis/simkube.io/v1/simulations/{name}/status"
                status = {"state": "Retrying", "observedGeneration": next(count)}
                other.patch(path, {"status": status})

        other = found.connect()
        found.api.clock.after_sleep = retry  # type: ignore[attr-defined]
        assert "begins anew again and again (3 times)" in str(failure(found))
        assert found.left() == []


@pytest.mark.slow
def test_one_that_is_retried_while_its_driver_runs_goes_on(
    simkube: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, other = SimKubeController.set_state, simkube.connect()

    def set_state(self: SimKubeController, name: str, state: str, **more: Any) -> None:
        """As if reconciling failed as long as there are pods."""
        failing = state == "Running" and self.api.store.every(PODS, "virtual-default")
        kept(self, name, "Retrying" if failing else state, **more)

    def touch() -> None:
        for each in simkube.server.objects("simulations.simkube.io"):
            path = f"/apis/simkube.io/v1/simulations/{each['metadata']['name']}"
            other.patch(path, {"metadata": {"annotations": {"at": str(simkube.server.now)}}})

    monkeypatch.setattr(SimKubeController, "set_state", set_state)
    simkube.api.clock.after_sleep = touch  # type: ignore[attr-defined]
    with (
        simkube.driver() as driver,
        driver.replay(TRACE, SIMULATION, WEB, label="main") as cluster,
    ):
        assert cluster.observe(WEB).counts() == (0, 3, 3)
        [found] = simkube.server.objects("simulations.simkube.io")
        assert found["status"]["state"] == "Retrying"


def test_one_that_somebody_deletes_is_said(simkube: Bench) -> None:
    def delete() -> None:
        for each in simkube.server.objects("simulations.simkube.io"):
            if each.get("status", {}).get("state") == "Running":
                simkube.server.delete("simulations.simkube.io", each["metadata"]["name"])

    simkube.api.clock.after_sleep = delete  # type: ignore[attr-defined]
    assert "deleted by somebody else" in str(failure(simkube))


def test_a_namespace_that_is_not_ours_is_refused(simkube: Bench) -> None:
    simkube.server.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "virtual-default"}}
    )
    with pytest.raises(AlreadyExists) as caught:
        simkube.step()
    assert str(caught.value) == (
        "namespace 'virtual-default' exists already, and pods in it would be counted: delete it "
        "(kubectl delete namespace virtual-default), or choose another cluster.virtual_prefix"
    )
    assert simkube.left() == ["virtual-default"]
    simkube.server.delete("namespaces", "virtual-default")


def test_a_namespace_that_another_session_left_is_refused_with_the_command(
    simkube: Bench,
) -> None:
    metadata = {"name": "virtual-default", "labels": {"simgit.io/run": "main"}}
    simkube.server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    with pytest.raises(AlreadyExists, match="simgit kube cleanup --all --context loopback"):
        simkube.step()
    simkube.server.delete("namespaces", "virtual-default")


@pytest.mark.slow
def test_a_namespace_that_terminates_is_waited_for(simkube: Bench) -> None:
    space = {"name": "virtual-default", "finalizers": ["example.com/hold"]}
    simkube.server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": space})
    simkube.server.delete("namespaces", "virtual-default")
    error = failure(simkube, timeout=20.0)
    assert str(error) == (
        "timed out after 20 s: namespace 'virtual-default' is still being deleted"
    )
    other, slept = simkube.connect(), []

    def let_go() -> None:
        slept.append(1)
        if len(slept) == 5:
            other.patch("/api/v1/namespaces/virtual-default", {"metadata": {"finalizers": None}})

    simkube.api.clock.after_sleep = let_go  # type: ignore[attr-defined]
    assert simkube.step() == (0, 3, 3)


def test_a_webhook_that_simkube_leaves_is_removed(tmp_path: Path) -> None:
    with bench(tmp_path, simkube=SimKubeSettings(leaves_webhook=True)) as found:
        assert found.step() == (0, 3, 3)
        assert found.left() == []


def test_a_lease_that_another_session_holds_is_said(simkube: Bench) -> None:
    with (
        simkube.driver(api=simkube.connect()) as first,
        first.replay(TRACE, SIMULATION, WEB, label="main"),
    ):
        simkube.api.clock.after_sleep = lambda: first._lease.renew()  # type: ignore
        assert "the cluster is in use by simgit on" in str(failure(simkube))
        assert len(simkube.server.objects("simulations.simkube.io")) == 1


@pytest.mark.slow
def test_a_lease_that_is_lost_ends_the_step(simkube: Bench) -> None:
    def take() -> None:
        for each in simkube.server.objects("leases.coordination.k8s.io"):
            if each["metadata"]["name"] == "simgit" and simkube.server.objects("pods"):
                spec = {**each["spec"], "holderIdentity": "other_7_ab"}
                simkube.server.delete("leases.coordination.k8s.io", "simgit", "default")
                metadata = {"name": "simgit", "namespace": "default"}
                simkube.server.create({**each, "metadata": metadata, "spec": spec})

    simkube.api.clock.after_sleep = take  # type: ignore[attr-defined]
    slow = SimulationSpec()  # a minute
    with simkube.driver() as driver, pytest.raises(ClusterError, match="lease of the cluster"):
        driver.replay(TRACE, slow, WEB, label="main").__enter__()
    simkube.server.delete("leases.coordination.k8s.io", "simgit", "default")


@pytest.mark.slow
def test_the_namespace_of_who_took_the_lease_meanwhile_stays(simkube: Bench) -> None:
    """As after a night in which this machine slept: another session has cleaned up, and works."""
    server = simkube.server
    label = {"simkube.io/simulation": "simgit-other-1-abcd"}

    def replace() -> None:
        simkube.api.clock.after_sleep = lambda: None  # type: ignore[attr-defined]
        metadata = {"name": "virtual-default", "labels": label}
        server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        raise ClusterError("the lease of the cluster is lost")

    simkube.api.clock.after_sleep = replace  # type: ignore[attr-defined]
    assert "lease of the cluster" in str(failure(simkube))
    (found,) = (n for n in server.objects("namespaces") if n["metadata"]["name"] not in NAMESPACES)
    assert found["metadata"]["labels"].items() >= label.items()
    assert "deletionTimestamp" not in found["metadata"]
    server.delete("namespaces", "virtual-default")


@pytest.mark.slow
def test_credentials_that_expire_end_the_step_in_one_line(tmp_path: Path) -> None:
    with bench(tmp_path) as found:
        rules = found.server._api.rules

        def expire() -> None:
            if found.server.objects("simulations.simkube.io"):
                found.server.set_tokens({})

        found.api.clock.after_sleep = expire  # type: ignore[attr-defined]
        with pytest.warns(SimgitWarning, match="simgit kube cleanup"):
            error = failure(found)
        assert error.status == 401  # type: ignore[attr-defined]
        assert "Unauthorized" in str(error)
        assert found.file.exists()
        found.api.clock.after_sleep = lambda: None  # type: ignore[attr-defined]
        found.server.set_tokens(rules)
        found.server.advance(60)
        assert found.step() == (0, 3, 3)
        assert found.left() == [] and not found.file.exists()


def test_an_unreachable_server_is_one_line(simkube: Bench) -> None:
    simkube.server.faults = [ApiFault("reset", times=None)]
    error = failure(simkube, timeout=10.0)
    assert str(error).startswith(("timed out after 10 s: preparing", "http://127.0.0.1:"))
    simkube.server.faults = []


@pytest.mark.slow
def test_what_a_killed_session_left_is_removed_at_the_next_start(simkube: Bench) -> None:
    killed = SimkubeDriver(simkube.connect(), simkube.settings(), leftovers=simkube.file)
    replay = killed.replay(TRACE, SIMULATION, WEB, label="main")
    replay.__enter__()
    left = simkube.left()
    assert any(each.startswith("simulations") for each in left)
    killed._lease._end.set()  # type: ignore[union-attr]
    assert len(list(simkube.traces.iterdir())) == 1
    with pytest.warns(SimgitWarning, match="which does not answer: waiting for"):
        assert simkube.step() == (0, 3, 3)
    assert settled(simkube)
    replay.__exit__(None, None, None)  # as far as Python is concerned


def requests_of_a_step(found: Bench) -> int:
    before = len(found.server.requests)
    assert found.step() == (0, 3, 3)
    return len(found.server.requests) - before


def settled(found: Bench) -> bool:
    """Return True if nothing is left on the cluster, or here."""
    return not (found.left() or found.file.exists() or list(found.traces.iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["401", "429", "500", "503", "reset", "reset-after", "half-open", "slow", "split"]
)
def test_a_fault_at_any_request_of_a_step_is_overcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(api_module, "READ_SECONDS", 0.15)  # of a connection that is dead
    with bench(tmp_path) as found:
        for number in range(1, requests_of_a_step(found) + 1):
            found.server.faults = [ApiFault(kind, at=len(found.server.requests) + number)]
            assert found.step() == (0, 3, 3), number
            assert settled(found), number


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS_OF_WATCHES)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_fault_of_any_watch_is_overcome(tmp_path: Path, kind: str, after: int) -> None:
    """``after``: the events that pass before the fault."""
    with bench(tmp_path) as found:
        watched = {"simulations", "simulationroots", "namespaces", "pods", "deployments"}
        for plural in sorted(watched):
            struck: list[str] = []

            def strikes(method: str, path: str, plural: str = plural, to: Any = struck) -> bool:
                if "watch=" in path and path.partition("?")[0].endswith(f"/{plural}"):
                    to.append(path)
                    return True
                return False

            found.server.faults = [ApiFault(kind, match=strikes, after=after, times=3)]
            assert found.step() == (0, 3, 3), plural
            assert settled(found), plural
            assert struck, plural


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::simgit.errors.SimgitWarning")
@pytest.mark.parametrize("kind", ["401", "503", "reset"])
def test_a_server_that_fails_from_any_request_on_ends_the_step_and_the_next_cleans_up(
    tmp_path: Path, kind: str
) -> None:
    with bench(tmp_path) as found:
        for number in range(1, requests_of_a_step(found) + 1):
            first = len(found.server.requests) + number
            found.server.faults = lambda n, *_, first=first: ApiFault(kind) if n >= first else None  # type: ignore[misc]
            try:
                assert found.step(timeout=60.0) == (0, 3, 3), number
            except ClusterError as error:  # else all was done but the cleanup
                assert "\n" not in str(error) and len(str(error)) > 20, number
            found.server.faults = []
            created = any(each.startswith("simulations") for each in found.left())
            assert found.file.exists() or not created, number
            assert found.step() == (0, 3, 3), number
            assert settled(found), number
