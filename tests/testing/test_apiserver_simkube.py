"""CRDs with the real schema, and the emulation of SimKube's controller and driver."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from simgit.kube.manifest import freeze
from simgit.kube.trace.files import write_trace_file
from simgit.kube.trace.model import Event, Trace
from simgit.testing.apiserver import ApiServer, SimKubeSettings, simulation_crds
from tests.support.paths import REAL_TRACES, RECORDED
from tests.testing.test_apiserver import DEPLOYMENTS, MERGE, PODS, Client, deployment

REAL_CRDS = RECORDED / "simulations-crd.yml"
SIMULATIONS = "/apis/simkube.io/v1/simulations"
ROOTS = "/apis/simkube.io/v1/simulationroots"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/simkube/leases/sk-lease"
JOB = "/apis/batch/v1/namespaces/simkube/jobs/sk-one-driver"


def real_crds() -> list[dict[str, Any]]:
    if not REAL_CRDS.exists():
        pytest.skip("the recorded CRDs are not here")
    return list(yaml.safe_load_all(REAL_CRDS.read_text()))


def simulation(name: str = "one", path: str = "file:///none", **spec: Any) -> dict[str, Any]:
    driver = {"image": "x", "namespace": "simkube", "port": 8888, "tracePath": path}
    return {
        "apiVersion": "simkube.io/v1",
        "kind": "Simulation",
        "metadata": {"name": name},
        "spec": {"driver": driver, "lifecycleParams": {}, **spec},
    }


@pytest.fixture
def trace_path(tmp_path: Path) -> str:
    """A trace: a Deployment at 0 s, two replicas more at 60 s, its deletion at 120 s."""
    small, large = deployment(replicas=1), deployment(replicas=3)
    for each in (small, large):
        each["metadata"]["namespace"] = "default"
    events = (
        Event(1000, applied=(freeze(small),)),
        Event(1060, applied=(freeze(large),)),
        Event(1120, deleted=(freeze(large),)),
    )
    path = tmp_path / "trace.sktrace"
    write_trace_file(path, Trace(events=events))
    return path.as_uri()


# schemas


@pytest.fixture(params=["real", "own"])
def crds(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return real_crds() if request.param == "real" else simulation_crds()


@pytest.mark.slow
def test_custom_resources_are_served_once_their_crd_is_there(crds: list[dict[str, Any]]) -> None:
    with ApiServer() as server:
        call = Client(server)
        assert call("GET", SIMULATIONS) == (404, "404 page not found\n")
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        code, made = call("POST", path, crds[0])
        assert code == 201
        conditions = {c["type"]: c["status"] for c in made["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}
        assert call("POST", SIMULATIONS, simulation())[0] == 201
        names = [r["name"] for r in call("GET", "/apis/simkube.io/v1")[1]["resources"]]
        assert names == ["simulations", "simulations/status"]
        call("DELETE", f"{path}/simulations.simkube.io")
        assert call("GET", SIMULATIONS)[0] == 404


def test_the_schema_requires_fills_and_prunes(crds: list[dict[str, Any]]) -> None:
    with ApiServer(crds=crds) as server:
        call = Client(server)
        bad = simulation()
        del bad["spec"]["lifecycleParams"], bad["spec"]["driver"]["image"]
        code, error = call("POST", SIMULATIONS, bad)
        assert (code, error["reason"]) == (422, "Invalid")
        assert {c["field"] for c in error["details"]["causes"]} == {
            "spec.lifecycleParams",
            "spec.driver.image",
        }
        assert 'Simulation.simkube.io "one" is invalid: [' in error["message"]
        assert "spec.lifecycleParams: Required value" in error["message"]
        given = simulation(unknown=1, speed=None)
        code, made = call("POST", SIMULATIONS, given)
        assert code == 201
        assert made["spec"]["driver"]["virtualNsPrefix"] == "virtual"  # a default
        assert "unknown" not in made["spec"] and made["spec"]["speed"] is None
        assert call("POST", f"{SIMULATIONS}?fieldValidation=Strict", simulation("b", x=1))[0] == 400


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("speed", "fast", 'spec.speed in body must be of type number: "string"'),
        ("repetitions", 1.5, 'spec.repetitions in body must be of type integer: "number"'),
        ("repetitions", 2**40, "must be of type integer with format int32"),
        ("pausedTime", "now", 'spec.pausedTime in body must be of type date-time: "now"'),
        (
            "lifecycleParams",
            {"imagePullDelay": -1},
            "spec.lifecycleParams.imagePullDelay in body should be greater than or equal to 0",
        ),
        ("lifecycleParams", None, "spec.lifecycleParams in body must be of type object: null"),
    ],
)
def test_values_are_checked(crds: list[dict[str, Any]], field: str, value: Any, told: str) -> None:
    with ApiServer(crds=crds) as server:
        code, error = Client(server)("POST", SIMULATIONS, simulation(**{field: value}))
        assert code == 422 and told in error["message"]


def test_an_enum_with_null(crds: list[dict[str, Any]]) -> None:
    with ApiServer(crds=crds) as server:
        call = Client(server)
        _, made = call("POST", SIMULATIONS, {**simulation(), "status": {"state": "Running"}})
        assert "status" not in made
        for state, code in (("Running", 200), (None, 200), ("Odd", 422)):
            value = {**made, "status": {"observedGeneration": 1, "state": state}}
            del value["metadata"]["resourceVersion"]
            value = copy.deepcopy(value)
            _, found = call("GET", f"{SIMULATIONS}/one")
            value["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
            got, answer = call("PUT", f"{SIMULATIONS}/one/status", value)
            assert got == code
            made["metadata"]["resourceVersion"] = "x"
        assert answer["message"].endswith(
            'status.state: Unsupported value: "Odd": supported values: "Blocked", '
            + (
                '"Initializing", "Finished", "Failed", "Paused", "Retrying", "Running"'
                if len(crds[0]["spec"]["names"]) > 3
                else '"Initializing", "Running", "Paused", "Retrying", "Finished", "Failed"'
            )
        )


def test_an_update_of_a_custom_resource_needs_its_version() -> None:
    with ApiServer(crds=simulation_crds()) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation())
        code, error = call("PUT", f"{SIMULATIONS}/one", simulation())
        assert code == 422 and "must be specified for an update" in error["message"]


def test_the_older_schema_does_not_know_lifecycles() -> None:
    with ApiServer(crds=simulation_crds(lifecycle=False)) as server:
        code, made = Client(server)("POST", SIMULATIONS, simulation())
        assert code == 201 and "lifecycleParams" not in made["spec"]


# the controller


def state_of(call: Client, name: str = "one") -> str | None:
    status = call("GET", f"{SIMULATIONS}/{name}")[1].get("status") or {}
    state: str | None = status.get("state")
    return state


def test_a_simulation_runs_its_trace_and_cleans_up(trace_path: str) -> None:
    crds = real_crds() if REAL_CRDS.exists() else None
    with ApiServer(nodes=3, simkube=True, crds=crds, start=1_700_000_000) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation(path=trace_path))
        assert state_of(call) == "Initializing"
        assert call("GET", f"{HOOKS}/sk-one-mutatepods")[0] == 200
        assert call("GET", f"{ROOTS}/sk-one-metaroot")[0] == 200
        assert call("GET", LEASE)[1]["spec"]["holderIdentity"] == "one"
        server.advance(5)
        assert state_of(call) == "Running"
        (pod,) = server.objects("pods", "simkube")
        assert pod["status"]["phase"] == "Running"
        assert pod["metadata"]["labels"]["job-name"] == "sk-one-driver"
        assert server.objects("deployments.apps", "virtual-default") == []
        server.advance(5)
        (found,) = server.objects("deployments.apps", "virtual-default")
        assert found["metadata"]["labels"]["simkube.io/simulation"] == "one"
        root = found["metadata"]["ownerReferences"][0]
        assert (root["kind"], root["name"]) == (
            "SimulationRoot",
            f"{pod['metadata']['name']}-root",
        )
        assert call("GET", LEASE)[1]["spec"]["leaseDurationSeconds"] == 120
        virtual = PODS.replace("default", "virtual-default")
        counts = []
        for _ in range(2):
            counts.append(len(call("GET", f"{virtual}?labelSelector=app%3Dweb")[1]["items"]))
            server.advance(60)
        assert counts == [1, 3]
        server.advance(5)
        assert state_of(call) == "Finished"
        status = call("GET", f"{SIMULATIONS}/one")[1]["status"]
        assert (status["completedRuns"], status["startTime"]) == (1, "2023-11-14T22:13:25Z")
        assert call("GET", "/api/v1/namespaces/virtual-default")[0] == 404
        for path in (f"{HOOKS}/sk-one-mutatepods", f"{ROOTS}/sk-one-metaroot", LEASE):
            assert call("GET", path)[0] == 404
        assert call("GET", JOB)[1]["status"]["succeeded"] == 1  # kept, with its log
        call("DELETE", f"{SIMULATIONS}/one")
        assert call("GET", JOB)[0] == 404
        assert server.objects("pods") == []


def test_a_simulation_that_is_deleted_midway_leaves_nothing(trace_path: str) -> None:
    for kwok in (True, False):
        with ApiServer(nodes=3, simkube=True, kwok=kwok) as server:
            call = Client(server)
            before = {name: server.objects(name) for name in ("namespaces", "deployments.apps")}
            call("POST", SIMULATIONS, simulation(path=trace_path))
            server.advance(75)
            assert len(server.objects("pods", "virtual-default")) == 3
            path = f"{SIMULATIONS}/one?propagationPolicy=Foreground"
            assert call("DELETE", path)[1].get("metadata", {}).get("finalizers")
            if not kwok:
                for pod in server.objects("pods", "virtual-default"):
                    name = pod["metadata"]["name"]
                    path = PODS.replace("default", "virtual-default")
                    call("DELETE", f"{path}/{name}?gracePeriodSeconds=0")
            assert call("GET", f"{SIMULATIONS}/one")[0] == 404
            server.advance(300)
            after = {name: server.objects(name) for name in before}
            assert after == before
            for plural in ("pods", "jobs.batch", "simulationroots.simkube.io"):
                assert server.objects(plural) == []


def test_one_simulation_runs_at_a_time(trace_path: str) -> None:
    with ApiServer(nodes=3, simkube=True) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation(path=trace_path))
        call("POST", SIMULATIONS, simulation("two", trace_path))
        assert state_of(call, "two") == "Blocked"
        server.advance(136)
        assert (state_of(call), state_of(call, "two")) == ("Finished", "Blocked")
        server.advance(5)
        assert state_of(call, "two") == "Initializing"
        server.advance(20)
        assert state_of(call, "two") == "Running"


def test_the_lease_of_another_blocks() -> None:
    with ApiServer(simkube=SimKubeSettings(driver="never")) as server:
        call = Client(server)
        spec = {"holderIdentity": "stranger", "leaseDurationSeconds": 60}
        call(
            "POST",
            LEASE.removesuffix("/sk-lease"),
            {"metadata": {"name": "sk-lease"}, "spec": spec},
        )
        call("POST", SIMULATIONS, simulation())
        server.advance(200)
        assert state_of(call) == "Blocked"
        call("DELETE", LEASE)
        server.advance(70)
        assert state_of(call) == "Running"


def test_a_driver_that_never_runs(trace_path: str) -> None:
    with ApiServer(simkube=SimKubeSettings(driver="never")) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation(path=trace_path))
        server.advance(3600)
        assert state_of(call) == "Running"  # as SimKube says as soon as there is a Job
        (pod,) = server.objects("pods", "simkube")
        assert pod["status"]["phase"] == "Pending"
        waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting["reason"] == "ErrImagePull"


def test_a_driver_that_cannot_read_its_trace_fails_with_a_log() -> None:
    with ApiServer(simkube=True) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation(path="file:///no/such.sktrace"))
        server.advance(30)
        assert state_of(call) == "Failed"
        (pod,) = server.objects("pods", "simkube")
        path = f"{PODS.replace('default', 'simkube')}/{pod['metadata']['name']}/log"
        code, log = call("GET", f"{path}?tailLines=1")
        assert (code, log) == (200, "cannot read '/no/such.sktrace': no such file\n")
        assert call("GET", f"{HOOKS}/sk-one-mutatepods")[0] == 404


def test_a_webhook_can_be_left_behind(trace_path: str) -> None:
    with ApiServer(nodes=1, simkube=SimKubeSettings(leaves_webhook=True)) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation(path=trace_path))
        server.advance(20)
        call("DELETE", f"{SIMULATIONS}/one")
        assert call("GET", f"{HOOKS}/sk-one-mutatepods")[0] == 200


def test_without_the_namespace_of_the_monitoring_it_fails() -> None:
    with ApiServer(simkube=SimKubeSettings(monitoring=False)) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation())
        assert state_of(call) == "Failed"


def test_a_paused_simulation_waits(trace_path: str) -> None:
    with ApiServer(nodes=1, simkube=True, start=1_700_000_000) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation(path=trace_path))
        server.advance(20)
        paused = {"spec": {"pausedTime": "2023-11-14T22:13:40Z"}}
        call("PATCH", f"{SIMULATIONS}/one", paused, MERGE)
        assert state_of(call) == "Paused"
        server.advance(600)
        assert len(server.objects("pods", "virtual-default")) == 1
        call("PATCH", f"{SIMULATIONS}/one", {"spec": {"pausedTime": None}}, MERGE)
        server.advance(20)
        assert len(server.objects("pods", "virtual-default")) == 3


def test_lifecycle_parameters_delay_pods(trace_path: str) -> None:
    with ApiServer(nodes=1, simkube=True) as server:
        call = Client(server)
        delays = {"imagePullDelay": 1000, "podStartupDelay": 2000}
        call("POST", SIMULATIONS, simulation(path=trace_path, lifecycleParams=delays))
        phases = []
        for seconds in (12, 2):
            server.advance(seconds)
            phases.append(server.objects("pods", "virtual-default")[0]["status"]["phase"])
        assert phases == ["Pending", "Running"]


def test_a_missing_crd_of_roots_is_retried() -> None:
    crds = simulation_crds()
    with ApiServer(simkube=True, crds=crds[:1]) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation())
        assert state_of(call) == "Retrying"
        server.create(crds[1])
        server.advance(31)
        assert state_of(call) == "Initializing"


@pytest.mark.slow
def test_a_real_trace_runs_to_its_end() -> None:
    path = REAL_TRACES / "dsb-scaling.sktrace"
    if not path.exists():
        pytest.skip("the recorded traces are not here")
    with ApiServer(nodes=3, simkube=True) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation(path=path.as_uri()))
        server.advance(600)
        pods = [p for p in server.objects("pods") if p["metadata"]["namespace"] != "simkube"]
        assert len(pods) > 27
        assert all(p["status"]["phase"] == "Running" for p in pods if p["spec"].get("nodeName"))
        server.advance(700)
        assert state_of(call) == "Finished"
        assert all(n["metadata"]["name"][:8] != "virtual-" for n in server.objects("namespaces"))


def test_a_deployment_of_a_simulation_can_be_read_by_its_path(trace_path: str) -> None:
    with ApiServer(nodes=3, simkube=True) as server:
        call = Client(server)
        call("POST", SIMULATIONS, simulation(path=trace_path, duration="30s"))
        server.advance(11)
        path = f"{DEPLOYMENTS.replace('default', 'virtual-default')}/web"
        assert call("GET", path)[1]["status"]["readyReplicas"] == 1
        server.advance(40)
        assert state_of(call) == "Finished"
