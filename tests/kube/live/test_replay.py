"""The replayer on the loopback API server: what it waits for, what it refuses, what it writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simgit.errors import ClusterError, InvalidInput
from simgit.kube.embedded import PodDelays
from simgit.kube.live import replay as replaying
from simgit.kube.live import stages
from simgit.kube.live.api import Api
from simgit.kube.live.nodes import create_nodes, delete_nodes, virtual
from simgit.kube.simulation import SimulationSpec
from simgit.kube.trace.model import Event, Lifecycle, Trace
from simgit.kube.trace.spec_hash import pod_spec_hash
from simgit.testing.apiserver import EVERYTHING, TOKEN, ApiFault, ApiServer
from simgit.testing.apiserver.controllers import ControllerManager
from tests.kube.live.loopback import (
    SIMULATION,
    WEB,
    deployment,
    left_on,
    loopback,
    replayer,
    settings,
    trace,
)
from tests.support.patience import PATIENCE
from tests.support.served import rights

FAST = SimulationSpec(speed=100)
SLOW = SimulationSpec(speed=99)
ROOTS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "simulationroots.simkube.io"},
    "spec": {
        "group": "simkube.io",
        "scope": "Cluster",
        "names": {"plural": "simulationroots", "singular": "simulationroot", "kind": "SimulationRoot"},
        "versions": [{
            "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object"}},
            }},
        }],
    },
}  # fmt: skip


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[ApiServer, Api]]:
    with loopback(tmp_path) as both:
        yield both


def counts(api: Api, what: Trace, simulation: SimulationSpec = SIMULATION, **options: Any) -> Any:
    with (
        replayer(api, **options) as driver,
        driver.replay(what, simulation, WEB, label="main") as cluster,
    ):
        return cluster.observe(WEB).counts()


def test_each_step_begins_empty_and_ends_empty(served: tuple[ApiServer, Api]) -> None:
    server, api = served
    with replayer(api) as driver:
        for replicas, cpu, expected in (
            (3, "1", (3, 0, 3)),
            (5, "16", (3, 2, 5)),
            (1, "17", (0, 1, 1)),
        ):
            what = trace([deployment(replicas=replicas, cpu=cpu)])
            with driver.replay(what, SIMULATION, WEB, label="main") as cluster:
                assert cluster.observe(WEB).counts() == expected
                assert {event["namespace"] for event in cluster.events()} == {"virtual-default"}
            assert left_on(server) == ["namespaces/virtual-default"]
    assert left_on(server) == []
    assert driver.left == []


def test_a_root_owns_all_that_is_created(tmp_path: Path) -> None:
    with loopback(tmp_path, crds=[ROOTS]) as (server, api), replayer(api) as driver:
        what = trace([deployment(), deployment("other", namespace="elsewhere")])
        with driver.replay(what, SIMULATION, WEB, label="main") as cluster:
            (root,) = server.objects("simulationroots.simkube.io")
            owners = [
                each["metadata"]["ownerReferences"] for each in server.objects("deployments.apps")
            ]
            assert [[o["uid"] for o in each] for each in owners] == [[root["metadata"]["uid"]]] * 2
            assert server.objects("configmaps") == []
            assert cluster.observe(WEB).counts() == (3, 0, 3)
        assert server.objects("simulationroots.simkube.io") == []
        assert driver.facts()["crds"].keys() == {"simulationroots"}
        assert driver.facts().keys() == {"server", "nodes", "crds"}


def test_nodes_that_change_between_two_replays_are_told_once(
    served: tuple[ApiServer, Api], recwarn: pytest.WarningsRecorder
) -> None:
    _, api = served
    what = trace([deployment(cpu="16", replicas=4)])
    with replayer(api) as driver:
        assert len(driver.facts()["nodes"]) == 3
        for count, told in ((3, 0), (4, 1), (4, 0)):
            create_nodes(api, count - len(virtual(api)))
            recwarn.clear()
            with driver.replay(what, SIMULATION, WEB, label="main") as cluster:
                assert cluster.observe(WEB).counts() == (count, 4 - count, 4)
            found = [each for each in recwarn if "nodes are others now" in str(each.message)]
            assert len(found) == told
            assert len(driver.facts()["nodes"]) == count


@pytest.mark.slow
def test_the_last_of_several_events_is_what_is_seen(served: tuple[ApiServer, Api]) -> None:
    _, api = served
    what = trace(
        [deployment(replicas=5)], [deployment(replicas=2)], [deployment(replicas=4, cpu="2")]
    )
    assert counts(api, what, FAST) == (4, 0, 4)


def test_deletes_come_after_applies(served: tuple[ApiServer, Api]) -> None:
    _, api = served
    both = Trace((Event(0, (deployment(), deployment("other")), (deployment(),)),))
    assert counts(api, both) == (0, 0, 0)


@pytest.mark.slow
def test_room_that_is_freed_is_waited_for(
    served: tuple[ApiServer, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "BACKOFF_SECONDS", 0.5)
    _, api = served
    other = deployment("other", cpu="16")
    what = Trace((Event(0, (other,)), Event(60, (deployment(cpu="16"),)), Event(120, (), (other,))))
    assert counts(api, what, FAST) == (3, 0, 3)


def test_why_there_are_no_pods(served: tuple[ApiServer, Api]) -> None:
    _, api = served
    with (
        replayer(api) as driver,
        driver.replay(trace([deployment(replicas=0)]), SIMULATION, WEB, label="main") as cluster,
    ):
        seen = cluster.observe(WEB)
        assert (seen.counts(), seen.reason) == ((0, 0, 0), "Deployment 'web' has 0 replicas")


def test_delays_are_those_of_the_simulation(served: tuple[ApiServer, Api]) -> None:
    _, api = served
    slow = SimulationSpec(delays=PodDelays(ready=3_600_000))
    assert counts(api, trace([deployment()]), slow) == (0, 3, 3)
    soon = SimulationSpec(delays=PodDelays(create=20, ready=20), linger=1)
    assert counts(api, trace([deployment()]), soon) == (3, 0, 3)


@pytest.mark.slow
def test_pods_live_as_long_as_recorded(served: tuple[ApiServer, Api]) -> None:
    _, api = served
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"completions": 1, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]},
        }},
    }  # fmt: skip
    key = ("batch/v1.Job", "default/web")
    lives = {pod_spec_hash(job["spec"]["template"]["spec"]): (Lifecycle(0, 400),)}
    what = Trace((Event(0, (job,)),), index={key[0]: {key[1]: 1}}, lifecycles={key: lives})
    with (
        replayer(api) as driver,
        driver.replay(what, FAST, WEB, label="main") as cluster,
    ):
        assert cluster.observe(WEB).counts() == (1, 0, 1)
        cluster.advance(4.5)
        assert [pod["phase"] for pod in cluster.pods()] == ["Succeeded"]


# Refusals


def test_a_namespace_of_somebody_else_is_refused(served: tuple[ApiServer, Api]) -> None:
    server, api = served
    server.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "virtual-default"}}
    )
    with pytest.raises(ClusterError, match="'virtual-default' exists and is not of this session"):
        counts(api, trace([deployment()]))
    assert server.objects("namespaces") != []
    assert left_on(server) == ["namespaces/virtual-default"]


def test_a_namespace_that_was_replaced_between_two_replays_is_not_written_to(
    served: tuple[ApiServer, Api],
) -> None:
    server, api = served
    with replayer(api) as driver:

        def step() -> Any:
            with driver.replay(trace([deployment()]), SIMULATION, WEB, label="main") as cluster:
                return cluster.observe(WEB).counts()

        assert step() == (3, 0, 3)
        server.delete("namespaces", "virtual-default")
        assert step() == (3, 0, 3)
        server.delete("namespaces", "virtual-default")
        server.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "virtual-default"}}
        )
        before = len(server.requests)
        with pytest.raises(ClusterError, match="'virtual-default' exists and is not of this"):
            step()
        assert not [each for each in server.requests[before:] if "virtual-default/" in str(each)]
    assert left_on(server) == ["namespaces/virtual-default"]


@pytest.mark.slow
def test_a_namespace_that_does_not_go_away_is_said(served: tuple[ApiServer, Api]) -> None:
    server, api = served
    metadata = {"name": "virtual-default", "finalizers": ["example.com/held"]}
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    server.delete("namespaces", "virtual-default")
    with pytest.raises(ClusterError, match="'virtual-default' is still being deleted") as told:
        counts(api, trace([deployment()]), settings=settings(timeout=2))
    assert told.value.__dict__["timeout"]


@pytest.mark.slow
def test_one_session_at_a_time(served: tuple[ApiServer, Api], tmp_path: Path) -> None:
    """Also not with the leftovers of the one that runs, which the other reads from the same file."""
    server, api = served
    file = tmp_path / "left"
    with (
        replayer(api, leftovers=file) as one,
        one.replay(trace([deployment()]), SIMULATION, WEB, label="main") as cluster,
    ):
        with pytest.raises(ClusterError, match="is in use by simgit on"):
            counts(api, trace([deployment(replicas=1)]), leftovers=file)
        assert cluster.observe(WEB).counts() == (3, 0, 3)
    assert left_on(server) == []


def test_a_lease_that_was_lost_is_taken_again(served: tuple[ApiServer, Api]) -> None:
    server, api = served
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/simgit"
    with replayer(api) as driver:
        with driver.replay(trace([deployment()]), SIMULATION, WEB, label="main"):
            lease = api.get(path)
            lease["spec"]["holderIdentity"] = "other_1_a"
            api.replace(path, lease)
            assert driver._lease is not None
            driver._lease.renew()
            with pytest.raises(ClusterError, match="lost: it was taken over"):
                driver._hold_lease(anew=False)
        with driver.replay(trace([deployment()]), SIMULATION, WEB, label="main") as cluster:
            assert cluster.observe(WEB).counts() == (3, 0, 3)
    assert left_on(server) == []


@pytest.mark.slow
def test_nodes_are_alive_from_the_first_step_and_a_machine_that_slept_in_one_is_said(
    served: tuple[ApiServer, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, api = served
    leases = "leases.coordination.k8s.io"
    for each in server.objects(leases):
        server.delete(leases, each["metadata"]["name"], "kube-node-lease")
    slept = [0.0]
    clock = SimpleNamespace(time=lambda: time.time() + slept[0], monotonic=time.monotonic)
    monkeypatch.setattr(stages, "time", clock)
    kept = Api.apply

    def apply(self: Api, path: str, body: Any, **options: Any) -> Any:
        slept[0] += 60 * (simulation is SLOW and "deployments" in path)
        return kept(self, path, body, **options)

    monkeypatch.setattr(Api, "apply", apply)
    with replayer(api) as driver:
        for simulation in (SIMULATION, SLOW, SIMULATION):
            replay = driver.replay(trace([deployment()]), simulation, WEB, label="main")
            if simulation is SLOW:
                with pytest.raises(ClusterError, match="nodes had no heartbeat for 60 s, as when"):
                    replay.__enter__()
                continue
            with replay as cluster:
                assert cluster.observe(WEB).counts() == (3, 0, 3)
            end = time.monotonic() + PATIENCE
            while len([e for e in server.objects(leases) if "node" in e["metadata"]["name"]]) < 3:
                assert time.monotonic() < end
                time.sleep(0.01)
    assert left_on(server) == []


def test_nothing_is_written_outside(served: tuple[ApiServer, Api]) -> None:
    server, api = served
    with (
        replayer(api) as driver,
        driver.replay(Trace(), SIMULATION, WEB, label="main") as cluster,
    ):
        sent = len(server.requests)
        with pytest.raises(InvalidInput, match=r"writes to namespaces 'virtual-\*' only"):
            cluster.apply([deployment(namespace="kube-system")])
        for kind, group in (
            ("PriorityClass", "scheduling.k8s.io/v1"),
            ("Namespace", "v1"),
            ("Node", "v1"),
        ):
            thing = {"apiVersion": group, "kind": kind, "metadata": {"name": "high"}, "value": 7}
            with pytest.raises(InvalidInput, match="create it yourself"):
                cluster.apply([thing])
        with pytest.raises(InvalidInput):
            cluster.delete([deployment(namespace="kube-system")])
        writes = [each for each in server.requests[sent:] if each.method != "GET"]
        assert all("/kube-node-lease/" in each.path for each in writes)  # heartbeats
        server.create(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "high"},
                "value": 7,
            }
        )
        cluster.apply(
            [
                {
                    "apiVersion": "scheduling.k8s.io/v1",
                    "kind": "PriorityClass",
                    "metadata": {"name": "high"},
                    "value": 7,
                }
            ]
        )


def test_limits(served: tuple[ApiServer, Api]) -> None:
    _, api = served
    with pytest.raises(InvalidInput, match="wants 6 pods, and 5 are the most"):
        counts(api, trace([deployment(), deployment("other")]), most_pods=5)
    with pytest.raises(ClusterError, match="3 virtual nodes, and 2 are the most"):
        counts(api, trace([deployment()]), most_nodes=2)
    long = Trace((Event(0, (deployment(),)), Event(1000, (deployment(),))))
    with pytest.raises(
        InvalidInput, match=r"takes 1000 s at speed 1, more than cluster.timeout 20"
    ):
        counts(api, long)


def test_a_cluster_without_virtual_nodes_says_so(served: tuple[ApiServer, Api]) -> None:
    _, api = served
    delete_nodes(api)
    with pytest.raises(ClusterError, match="no virtual nodes"):
        counts(api, trace([deployment()]))


def test_a_trace_that_the_server_refuses(served: tuple[ApiServer, Api]) -> None:
    server, api = served
    with pytest.raises(InvalidInput, match="refuses Deployment virtual-default/web"):
        counts(api, trace([deployment(cpu="-1")]))
    with pytest.raises(InvalidInput, match="has no kind 'Rocket'"):
        counts(
            api,
            trace([{"apiVersion": "example.com/v1", "kind": "Rocket", "metadata": {"name": "x"}}]),
        )
    assert left_on(server) == []


# What never comes


@pytest.mark.slow
def test_pods_that_nobody_schedules_are_a_timeout(served: tuple[ApiServer, Api]) -> None:
    server, api = served
    what = deployment()
    what["spec"]["template"]["spec"]["schedulerName"] = "nobody"
    with pytest.raises(
        ClusterError, match=r"0 ready, 3 pending, 3 in all.* 3 pods not dec"
    ) as told:
        counts(api, trace([what]), settings=settings(timeout=3))
    assert told.value.__dict__["timeout"]
    assert left_on(server) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "doing"),
    [
        ("/leases/simgit", "waiting for the lease of the cluster: http"),
        ("/api/v1/pods?limit", "listing what is on the cluster: http"),
        ("/api/v1/nodes?limit", "waiting for the virtual nodes: http"),
        ("/deployments/web", "applying the trace's objects: http"),
    ],
)
def test_what_took_the_time_of_a_step_is_said(
    served: tuple[ApiServer, Api], where: str, doing: str
) -> None:
    server, api = served
    with replayer(api, settings=settings(timeout=1)) as driver:
        server.faults = [ApiFault("half-open", times=None, match=lambda _, path: where in path)]
        with pytest.raises(ClusterError) as told:
            driver.replay(trace([deployment()]), SIMULATION, WEB, label="main").__enter__()
        server.faults = []
    assert f"timed out after 1 s (cluster.timeout) while {doing}" in str(told.value)
    assert told.value.__dict__["timeout"]
    assert left_on(server) == []


@pytest.mark.slow
def test_a_lease_of_another_that_takes_all_the_time_is_said(
    served: tuple[ApiServer, Api],
) -> None:
    server, api = served
    server.create({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "simgit", "namespace": "default"},
        "spec": {"holderIdentity": "other_7_ab", "leaseDurationSeconds": 30},
    })  # fmt: skip
    with pytest.raises(ClusterError) as told:
        counts(api, trace([deployment()]), settings=settings(timeout=1))
    assert str(told.value) == (
        "timed out after 1 s (cluster.timeout) while waiting for the lease of the cluster"
    )


@pytest.mark.slow
def test_pods_that_nobody_creates_are_a_timeout_and_not_zeros(
    served: tuple[ApiServer, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, api = served
    what = deployment()
    what["spec"]["paused"] = False
    kept = Api.apply

    def apply(self: Api, path: str, body: Any, **options: Any) -> Any:
        """As if no controller looked at Deployments: there is an object, and nothing comes of it."""
        if "deployments" in path:
            body = {**body, "spec": {**body["spec"], "replicas": 0}}
        return kept(self, path, body, **options)

    monkeypatch.setattr(Api, "apply", apply)
    with pytest.raises(
        ClusterError, match="not settled in 3 s: 0 ready, 0 pending, 0 in all"
    ) as told:
        counts(api, trace([what]), settings=settings(timeout=3))
    assert told.value.__dict__["timeout"]
    assert left_on(server) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "kind", "spec"),
    [
        ("apps/v1", "DaemonSet", {}),
        ("batch/v1", "Job", {"parallelism": 0}),
        ("apps/v1", "Deployment", {"paused": True, "replicas": 0}),
    ],
)
def test_no_pods_are_believed_only_where_a_controller_has_looked(
    served: tuple[ApiServer, Api],
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    kind: str,
    spec: Any,
) -> None:
    _, api = served
    what = {**deployment(), "apiVersion": version, "kind": kind}
    template = what["spec"]["template"]
    template["spec"]["nodeSelector"] = {"no": "node"}
    if kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
        what["spec"] = {"template": template, **spec}
    else:
        what["spec"] = {"selector": what["spec"]["selector"], "template": template, **spec}
    assert counts(api, trace([what])) == (0, 0, 0)
    monkeypatch.setattr(ControllerManager, "_show_status", lambda *_: None)
    with pytest.raises(ClusterError, match="not settled in 2 s: 0 ready, 0 pending, 0 in all"):
        counts(api, trace([what]), settings=settings(timeout=2))


@pytest.mark.parametrize("crds", [(), (ROOTS,)])
def test_the_permissions_of_preflight_suffice(tmp_path: Path, crds: Any) -> None:
    with loopback(tmp_path, crds=crds) as (server, api):
        server.set_tokens({TOKEN: rights("replayer")})
        before = len(server.requests)
        assert counts(api, trace([deployment()])) == (3, 0, 3)
        refused = [each for each in server.requests[before:] if each.status not in (200, 201, 404)]
        assert refused == []
        assert left_on(server) == []


@pytest.mark.slow
def test_a_token_that_may_not_write_the_status_of_pods(tmp_path: Path) -> None:
    with loopback(tmp_path) as (server, api):
        listed = (
            "pods",
            "nodes",
            "configmaps",
            "namespaces",
            "deployments",
            "leases",
            "nodes/status",
        )
        server.set_tokens({TOKEN: [{"apiGroups": ["*"], "resources": listed, "verbs": ["*"]}]})
        with pytest.raises(ClusterError, match=r"the stage controller is refused: .*forbidden"):
            counts(api, trace([deployment()]))
        server.set_tokens({TOKEN: [EVERYTHING]})
        assert left_on(server) == []
