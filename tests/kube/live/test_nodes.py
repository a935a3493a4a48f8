"""Virtual nodes on the loopback API server: created, read, kept alive, deleted; only ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgit.errors import AlreadyExists, InvalidInput
from simgit.kube.embedded import virtual_nodes
from simgit.kube.embedded.nodes import as_virtual, node_spec
from simgit.kube.live import stages
from simgit.kube.live.nodes import (
    add_nodes,
    condition,
    create_nodes,
    delete_nodes,
    spec_of,
    virtual,
)
from simgit.kube.simulation import simulate
from tests.kube.live.loopback import SIMULATION, WEB, deployment, loopback, replayer, trace
from tests.support.patience import PATIENCE


def test_nodes_are_those_of_the_embedded_cluster(tmp_path: Path) -> None:
    with loopback(tmp_path, nodes=0) as (_, api):
        specs = [
            node_spec("a", cpu="1500m", memory="3Gi", pods=7, extra={"nvidia.com/gpu": 2}),
            node_spec("b", labels={"zone": "x"}, taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]),
        ]  # fmt: skip
        assert add_nodes(api, specs) == ["a", "b"]
        for spec, node in zip(map(as_virtual, specs), virtual(api), strict=True):
            found = spec_of(node).plain()
            labels = found.pop("labels")
            assert labels.items() >= {**spec.labels, "simgit.io/run": "nodes"}.items()
            wanted = spec.plain()
            wanted.pop("labels")
            assert found == wanted
            assert condition(node, "Ready") == "True"


def test_names_are_those_that_are_free(tmp_path: Path) -> None:
    with loopback(tmp_path, nodes=2) as (server, api):
        server.delete("nodes", "simgit-node-1")
        assert create_nodes(api, 2) == ["simgit-node-1", "simgit-node-3"]
        with pytest.raises(AlreadyExists, match="'simgit-node-2'"):
            add_nodes(api, [node_spec("simgit-node-2")])
        with pytest.raises(
            InvalidInput, match="2 more virtual nodes would be 5, and 4 are the most"
        ):
            create_nodes(api, 2, most=4)
        with pytest.raises(InvalidInput, match="bad quantity"):
            create_nodes(api, 1, cpu="much")


def test_only_ours_are_deleted_and_kept_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_BEAT_SECONDS", 0.05)
    with loopback(tmp_path, nodes=0) as (server, api):
        (theirs,) = virtual_nodes(1)
        add_nodes(api, [theirs])
        api.patch("/api/v1/nodes/node1", {"metadata": {"labels": {"simgit.io/run": None}}})
        create_nodes(api, 2)
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        first = {
            each["metadata"]["name"]: each["spec"]["renewTime"] for each in api.list(leases)[0]
        }
        with (
            replayer(api) as driver,
            driver.replay(trace([deployment()]), SIMULATION, WEB, label="main") as cluster,
        ):
            assert cluster.observe(WEB).counts() == (3, 0, 3)
            for _ in range(int(PATIENCE / 0.05)):
                now = {e["metadata"]["name"]: e["spec"]["renewTime"] for e in api.list(leases)[0]}
                if all(now[f"simgit-node-{i}"] > first[f"simgit-node-{i}"] for i in (1, 2)):
                    break
                cluster.advance(0.05)
            assert now["node1"] == first["node1"]
        assert delete_nodes(api) == ["simgit-node-1", "simgit-node-2"]
        assert [node["metadata"]["name"] for node in virtual(api)] == ["node1"]
        assert [each["metadata"]["name"] for each in server.objects("nodes")] == ["node1"]


@pytest.mark.slow
def test_a_node_that_was_lost_is_brought_back(tmp_path: Path) -> None:
    with loopback(tmp_path, nodes=1) as (_, api):
        node = virtual(api)[0]
        lost = [{**each, "status": "Unknown"} for each in node["status"]["conditions"]]
        api.patch("/api/v1/nodes/simgit-node-1/status", {"status": {"conditions": lost}})
        with (
            replayer(api) as driver,
            driver.replay(trace([deployment()]), SIMULATION, WEB, label="main") as cluster,
        ):
            assert cluster.observe(WEB).counts() == (3, 0, 3)


def test_rows_are_those_of_the_embedded_cluster(tmp_path: Path) -> None:
    what = trace([deployment(cpu="10"), deployment("other", cpu="7", replicas=1)])
    embedded = simulate(what)
    with (
        loopback(tmp_path) as (_, api),
        replayer(api) as driver,
        driver.replay(what, SIMULATION, WEB, label="main") as cluster,
    ):
        for mine, theirs in (
            (cluster.pods(), embedded.pods()),
            (cluster.nodes(), embedded.nodes()),
            (cluster.events(), embedded.events()),
        ):
            assert [list(row) for row in mine[:1]] == [list(row) for row in theirs[:1]]
        own = {"created", "name", "labels", "node", "owner", "message"}
        assert [{k: v for k, v in row.items() if k not in own} for row in cluster.pods()] == [
            {k: v for k, v in row.items() if k not in own} for row in embedded.pods()
        ]
        assert [row["used"] for row in cluster.nodes()] == [row["used"] for row in embedded.nodes()]
