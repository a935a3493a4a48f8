"""simgit kube preflight, allow, cleanup and nodes create, against a served cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit.kube.live.cleanup import RUN, Created
from simgit.testing.apiserver import TOKEN, ApiFault, ApiServer, SimKubeSettings, simulation_crds
from tests.cli.conftest import Call, Result
from tests.support.served import rights

CERT_MANAGER: Any = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "certificates.cert-manager.io"},
    "spec": {
        "group": "cert-manager.io", "scope": "Namespaced",
        "names": {"kind": "Certificate", "plural": "certificates", "singular": "certificate"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object"}},
        }],
    },
}  # fmt: skip
CRDS = [*simulation_crds(), CERT_MANAGER]

Serve = Callable[..., ApiServer]


@pytest.fixture
def serve(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a served cluster that the user's kubeconfig names."""
    servers: list[ApiServer] = []

    def start(*, token: str = TOKEN, context: str = "kind-sim", **options: Any) -> ApiServer:
        given = {"nodes": 3, "simkube": True, "crds": CRDS, "time": "real", **options}
        server = ApiServer(**given).__enter__()
        servers.append(server)
        path = server.kubeconfig(directory / "kubeconfig", token=token, context=context)
        monkeypatch.setenv("KUBECONFIG", path)
        return server

    monkeypatch.setenv("SIMGIT_CONFIG_DIR", str(directory / "config"))
    (directory / "traces").mkdir()
    yield start
    for server in servers:
        server.__exit__(None, None, None)


def names(server: ApiServer, plural: str) -> list[str]:
    return [each["metadata"]["name"] for each in server.objects(plural)]


def told(result: Result, server: ApiServer, directory: Path) -> str:
    """Return an output without what differs from run to run."""
    return result.out.replace(server.url, "URL").replace(str(directory), "DIR")


def ours(name: str, **metadata: Any) -> Any:
    return {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {RUN: "r"}, **metadata},
    }  # fmt: skip


def preflight(run: Call, *more: object, code: int = 0) -> Result:
    return run(
        "kube", "preflight", "--driver", "simkube", "--set", "trace_path=traces", *more, code=code
    )


# Preflight

READY = """\
ok       API server: v1.35.0 at URL
ok       clock: within 5 s of the server's
ok       permissions: all 33
ok       Simulation CRD: requires spec.driver, spec.driver.image, spec.driver.namespace, \
spec.driver.port, spec.driver.tracePath, spec.lifecycleParams
ok       SimulationRoot CRD: installed
ok       cert-manager: installed
ok       sk-ctrl: 1 available replica in namespace 'simkube'
ok       trace path: DIR/traces, file://DIR/traces on the node
ok       virtual nodes: 3 × 16 CPU, 32Gi, 110 pods
ok       lease: free
ok       namespaces: none named virtual-*
ok       leftovers: none
ok       trial writes: accepted: Lease, Simulation
ok       KWOK: a pod became ready
context 'kind-sim' is ready
"""


@pytest.mark.slow
def test_a_cluster_that_is_ready(run: Call, serve: Serve, directory: Path) -> None:
    server = serve()
    run("kube", "allow", "kind-sim")
    before = {plural: names(server, plural) for plural in ("namespaces", "pods", "configmaps")}
    place = f"trace_path={directory}/traces"
    found = run("kube", "preflight", "--driver", "simkube", "--set", place)
    assert told(found, server, directory) == READY
    assert {plural: names(server, plural) for plural in before} == before
    records = run("kube", "preflight", "--driver", "simkube", "--set", place, "--json").records
    assert [record["level"] for record in records] == ["ok"] * 14
    assert records[0] == {"what": "API server", "level": "ok", "found": f"v1.35.0 at {server.url}"}


NOT_READY = """\
ok       API server: v1.35.0 at URL
warning  clock: the server's is +60 s off
         wanted: at most 5 s
         fix: set the clocks by NTP
failed   permissions: may not create leases.coordination.k8s.io; delete simulations.simkube.io
         wanted: 33 permissions
         fix: have a ClusterRole with these bound to you
failed   Simulation CRD: the cluster has no simulations.simkube.io: install SimKube 2.x, or use \
--driver replayer
         wanted: that of SimKube 2.4 to 2.7
         fix: install SimKube 2.x, or use --driver replayer
failed   SimulationRoot CRD: missing
         wanted: simulationroots.simkube.io
         fix: install SimKube 2.x, or use --driver replayer
failed   cert-manager: missing
         wanted: certificates.cert-manager.io
         fix: install cert-manager
failed   sk-ctrl: no Deployment of SimKube's controller
         wanted: 1 available replica
         fix: install SimKube 2.x, or use --driver replayer
warning  metrics: no namespace 'monitoring'
         wanted: SimKube 2.x fails simulations without it
         fix: kubectl create namespace monitoring
failed   trace path: cluster.trace_path must be absolute, got 'traces'
         wanted: a directory that the driver's node has too
         fix: --set cluster.trace_path=DIR[:DIR-ON-NODE]
failed   virtual nodes: none with type=virtual
         wanted: 3 × 16 CPU, 32Gi, 110 pods
         fix: simgit kube nodes create 3 --cpu 16 --memory 32Gi --context kind-sim
failed   lease: held by simgit on 'host', process 77
         wanted: one session at a time
         fix: wait for its end; the lease of one that was killed ends by itself within a minute
failed   sk-lease: held by Simulation 'theirs'
         wanted: no other simulation
         fix: wait for its end, or kubectl delete simulation theirs
failed   namespace: 'virtual-old' is being deleted since TIME
         wanted: its end
         fix: wait, or see what keeps it: kubectl get namespace virtual-old -o yaml
warning  namespace: 'virtual-web' exists and is not simgit's
         wanted: none of the names of virtual namespaces
         fix: kubectl delete namespace virtual-web, or choose another cluster.virtual_prefix
warning  leftovers: 1 object of other sessions (Namespace other)
         wanted: none
         fix: simgit kube cleanup --all --context kind-sim
failed   trial writes: Lease: leases.coordination.k8s.io is forbidden
         wanted: all accepted
         fix: see what refuses them: permissions, quotas, webhooks
warning  KWOK: not tried: the context is not allowed
         wanted: a pod on a virtual node is ready within 10 s
         fix: simgit kube allow kind-sim
context 'kind-sim' is not ready: 11 failures
"""


def test_a_cluster_that_is_not_ready(run: Call, serve: Serve, directory: Path) -> None:
    lacking = (("leases.coordination.k8s.io", "create"), ("simulations.simkube.io", "delete"))
    server = serve(
        nodes=0, simkube=False, crds=(), skew=60,
        rules={TOKEN: rights("simkube", *lacking)},
    )  # fmt: skip

    def lease(name: str, namespace: str, holder: str) -> Any:
        return {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace}, "spec": {"holderIdentity": holder},
        }  # fmt: skip

    def namespace(name: str, **metadata: Any) -> Any:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}

    server.create(
        namespace("virtual-web"), namespace("virtual-old", finalizers=["example.com/hold"]),
        lease("simgit", "default", "host_77_ab"), lease("sk-lease", "simkube", "theirs"),
        namespace("other", labels={RUN: "r"}),
    )  # fmt: skip
    server.delete("namespaces", "virtual-old")
    text = told(preflight(run, code=3), server, directory)
    text = re.sub(r"since \S+", "since TIME", text)
    text = re.sub(r"\+[56]\d s off", "+60 s off", text)
    text = re.sub(r"(Lease: leases\S+).* is forbidden.*", r"\1 is forbidden", text)
    assert text == NOT_READY


def test_the_replayer_needs_no_simkube(run: Call, serve: Serve) -> None:
    server = serve(simkube=False, crds=())
    lines = run("kube", "preflight").lines
    assert lines[-2] == "ok       trial writes: accepted: Lease, Namespace, ConfigMap, Deployment"
    assert not any("SimKube" in line for line in lines)
    assert names(server, "deployments.apps") == []
    found = run("kube", "preflight", "--nodes", "5").out
    assert "warning  virtual nodes: 3 × 16 CPU, 32Gi, 110 pods\n" in found


@pytest.mark.slow
def test_kwok_that_does_not_run_is_found(
    run: Call, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(kwok=False)
    run("kube", "allow", "kind-sim")
    monkeypatch.setattr("simgit.kube.live.preflight.PROBE_SECONDS", 0.0)
    assert "failed   KWOK: the pod is Pending still\n" in preflight(run, code=3).out
    monkeypatch.undo()
    assert probes(server) == []


def probes(server: ApiServer) -> list[str]:
    """Return the namespaces of probes that are there."""
    return [name for name in names(server, "namespaces") if name.startswith("virtual-simgit-")]


@pytest.mark.slow
def test_a_preflight_hurts_no_session_and_no_other_preflight(run: Call, serve: Serve) -> None:
    from simgit.kube.live.api import Api
    from simgit.kube.live.lease import ClusterLease

    server = serve()
    run("kube", "allow", "kind-sim")
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "virtual-simgit-preflight", "labels": {RUN: "simgit-preflight"}}})  # fmt: skip
    assert "KWOK: a pod became ready\n" in preflight(run, code=3).out  # one that was killed
    assert probes(server) == ["virtual-simgit-preflight"]
    with Api(kubeconfig="kubeconfig") as api, ClusterLease(api):
        sent = len(server.requests)
        found = preflight(run, code=3).out
        writes = [f"{each.method} {each.path}" for each in server.requests[sent:]]
    assert "warning  KWOK: not tried: simgit on " in found
    assert not [each for each in writes if each.startswith("DELETE") or "/pods" in each]


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        ({"rules": {}}, 3, "failed   API server: Unauthorized"),
        ({"faults": [ApiFault("reset", times=None)]}, 3, "failed   API server: URL does not"),
        ({"faults": [ApiFault("503", times=None, body="text")]}, 3, "failed   API server: "),
        ({"simkube": SimKubeSettings(monitoring=False)}, 3, "warning  metrics: no namespace"),
    ],
)
def test_what_is_wrong_is_one_line_each(
    run: Call, serve: Serve, directory: Path, options: Any, code: int, line: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("simgit.kube.live.preflight.REACH_SECONDS", 0.5)
    server = serve(**options)
    assert f"\n{line}" in "\n" + told(preflight(run, code=code), server, directory)


def test_a_context_that_does_not_exist_is_refused_with_the_nearest(run: Call, serve: Serve) -> None:
    serve()
    for words in (["preflight"], ["cleanup"], ["nodes", "delete"], ["nodes", "create", "1"]):
        found = run("kube", *words, "--context", "kind-sin", code=128)
        assert "no context 'kind-sin' in the kubeconfig; did you mean 'kind-sim'?" in found.err


# Permission


def test_a_context_is_allowed_listed_and_revoked(run: Call, serve: Serve) -> None:
    server = serve()
    refused = run("kube", "nodes", "create", "1", code=128).err
    assert refused == (
        f"fatal: context 'kind-sim' is not allowed for {server.url}: allow simgit to write to "
        "this cluster with 'simgit kube allow kind-sim'\n"
    )
    assert [request.method for request in server.requests] == []
    assert run("kube", "allow", "kind-sim").out == (
        f"context 'kind-sim' is now allowed ({server.url})\n"
    )
    assert "is already allowed" in run("kube", "allow", "kind-sim").out
    assert run("kube", "allow", "--list").out == f"kind-sim  {server.url}\n"
    assert run("kube", "allow", "--list", "--json").records == [
        {"context": "kind-sim", "server": server.url}
    ]
    run("kube", "nodes", "create", "1")
    assert run("kube", "allow", "--revoke", "kind-sim", "--json").json == {
        "context": "kind-sim", "allowed": False, "changed": True,
    }  # fmt: skip
    run("kube", "nodes", "create", "1", code=128)
    run("kube", "allow", code=2)
    run("kube", "allow", "--list", "kind-sim", code=2)


def test_another_cluster_under_the_name_is_not_allowed(run: Call, serve: Serve) -> None:
    first = serve()
    run("kube", "allow", "kind-sim")
    second = serve()
    assert f"it was allowed for {first.url}" in run("kube", "nodes", "delete", code=128).err
    assert second.requests == []


def test_production_needs_a_yes(run: Call, serve: Serve) -> None:
    serve(context="eu-Prod-1")
    assert "allow it with --yes" in run("kube", "allow", "eu-Prod-1", code=2).err
    assert run("kube", "allow", "--list").out == ""
    run("kube", "allow", "eu-Prod-1", "--yes")


# Nodes


def test_nodes_are_created_and_deleted(run: Call, serve: Serve) -> None:
    server = serve(nodes=0)
    run("kube", "allow", "kind-sim")
    created = run("kube", "nodes", "create", "2", "--cpu", "8", "--memory", "16Gi", "--pods", "20")
    assert created.lines == ["created simgit-node-1", "created simgit-node-2"]
    [first, _] = server.objects("nodes")
    assert first["status"]["allocatable"]["cpu"] == "8"
    assert first["spec"]["taints"][0]["key"] == "kwok-provider"
    assert run("kube", "nodes", "create", "1", "--json").json == {
        "node": "simgit-node-3", "created": True,
    }  # fmt: skip
    server.create({"apiVersion": "v1", "kind": "Node", "metadata": {
        "name": "theirs", "labels": {"type": "virtual"}}})  # fmt: skip
    assert len(run("kube", "nodes", "delete").lines) == 3
    assert names(server, "nodes") == ["theirs"]
    assert run("kube", "nodes", "delete").out == "no nodes of simgit's\n"
    assert "bad quantity" in run("kube", "nodes", "create", "1", "--cpu", "x", code=128).err
    run("kube", "nodes", "create", "0", code=2)


# Cleanup


def test_cleanup_removes_what_the_users_sessions_left(
    run: Call, serve: Serve, directory: Path
) -> None:
    server = serve()
    run("kube", "allow", "kind-sim")
    assert run("kube", "cleanup").out == "nothing to remove\n"
    server.create(ours("mine"), ours("others"))
    path = "/api/v1/namespaces/default/configmaps/mine"
    Created(directory / "config" / "live-leftovers", server.url).note(path)
    assert run("kube", "cleanup", "--dry-run").out == f"would remove {path}\n"
    assert "mine" in names(server, "configmaps")
    assert run("kube", "cleanup", "--json").records == [{"path": path, "removed": True}]
    assert names(server, "configmaps").count("mine") == 0
    assert "others" in names(server, "configmaps")
    assert run("kube", "cleanup", "--all").lines == [f"removed {path.replace('mine', 'others')}"]
    assert names(server, "leases.coordination.k8s.io") == []


def test_cleanup_says_what_it_only_forgets(run: Call, serve: Serve, directory: Path) -> None:
    server = serve()
    run("kube", "allow", "kind-sim")
    theirs = {**ours("theirs"), "metadata": {"name": "theirs", "namespace": "default"}}
    server.create(theirs, ours("mine"))
    maps = "/api/v1/namespaces/default/configmaps"
    notes = directory / "config" / "live-leftovers"

    def note() -> None:
        for name in ("theirs", "gone"):
            Created(notes, server.url).note(f"{maps}/{name}")

    told = [
        f"forget {maps}/theirs: another's has this name", f"forget {maps}/gone: it does not exist",
        f"remove {maps}/mine",
    ]  # fmt: skip
    note()
    assert run("kube", "cleanup", "--all", "-n").lines == [f"would {each}" for each in told]
    done = [each.replace("forget ", "forgot ").replace("remove ", "removed ") for each in told]
    assert run("kube", "cleanup", "--all").lines == done
    note()
    assert run("kube", "cleanup", "--json").records == [
        {"path": f"{maps}/theirs", "removed": False, "absent": "another's has this name"},
        {"path": f"{maps}/gone", "removed": False, "absent": "it does not exist"},
    ]
    assert "theirs" in names(server, "configmaps") and not notes.exists()


@pytest.mark.slow
def test_cleanup_waits_for_no_session_that_lives(run: Call, serve: Serve) -> None:
    server = serve()
    run("kube", "allow", "kind-sim")
    server.create(ours("busy"))
    from simgit.kube.live.api import Api
    from simgit.kube.live.lease import ClusterLease

    with Api(kubeconfig="kubeconfig") as api, ClusterLease(api, renew=0.2):
        for command in (("cleanup", "--all"), ("nodes", "delete")):
            assert "the cluster is in use by simgit on" in run("kube", *command, code=128).err
    assert "busy" in names(server, "configmaps")
    assert len(names(server, "nodes")) == 3


@pytest.mark.slow
def test_what_does_not_go_is_said_and_forced_on_request(
    run: Call, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    run("kube", "allow", "kind-sim")
    server.create(ours("held", finalizers=["example.com/hold"]))
    monkeypatch.setattr("simgit.kube.live.cleanup.remove.__kwdefaults__", {
        "seconds": 1.0, "force": False,
    })  # fmt: skip
    found = run("kube", "cleanup", "--all", code=1)
    assert found.out == (
        "left /api/v1/namespaces/default/configmaps/held: still being deleted "
        "(finalizers: example.com/hold)\n"
    )
    assert "removed" in run("kube", "cleanup", "--all", "--force").out
    assert "held" not in names(server, "configmaps")
