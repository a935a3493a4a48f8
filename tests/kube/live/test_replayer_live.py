"""The replayer on a real control plane: the contract of a cluster, real traces, crashes, leaks."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit.errors import ClusterError
from simgit.kube.cluster import KubeCluster
from simgit.kube.live.api import Api
from simgit.kube.live.driver import LiveSettings
from simgit.kube.live.nodes import create_nodes, delete_nodes
from simgit.kube.live.replay import ReplayDriver
from simgit.kube.simulation import Simulation, simulate
from simgit.kube.trace.files import read_trace_file
from simgit.kube.trace.model import Trace
from simgit.testing.cluster_contract import WEB, ClusterContract
from tests.kube.live.control_plane import ControlPlane
from tests.kube.live.loopback import SIMULATION, deployment, replayer, trace
from tests.support.paths import REAL_TRACES
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.live
STEP = trace([deployment(), deployment("other", replicas=1, cpu="17")])
KINDS = (
    "/api/v1/namespaces", "/api/v1/pods", "/api/v1/configmaps", "/api/v1/nodes",
    "/apis/apps/v1/deployments", "/apis/apps/v1/replicasets",
    "/apis/coordination.k8s.io/v1/leases",
)  # fmt: skip
STEPS = int(os.environ.get("SIMGIT_LIVE_STEPS", "60"))
"""Steps in a row that are looked at for leaks."""


@pytest.fixture(scope="module")
def api(kubeconfig: Path) -> Iterator[Api]:
    """The cluster's API, with three virtual nodes."""
    with Api(kubeconfig=str(kubeconfig)) as api:
        create_nodes(api, 3)
        yield api
        delete_nodes(api)


def settings(**values: Any) -> LiveSettings:
    return LiveSettings("test", **{"timeout": PATIENCE, "settle": 0.5, **values})


def objects(api: Api) -> dict[str, list[str]]:
    """Return the names of all objects that a replay could leave."""
    return {path: sorted(each["metadata"]["name"] for each in api.list(path)[0]) for path in KINDS}


class TestReplayer(ClusterContract):
    settle = 0.3

    @pytest.fixture
    def cluster(self, api: Api) -> Iterator[KubeCluster]:
        with (
            replayer(api, settings=settings()) as driver,
            driver.replay(Trace(), SIMULATION, WEB, label="contract") as cluster,
        ):
            yield cluster

    def counts(self, cluster: KubeCluster) -> tuple[int, int, int]:
        """Count the pods when nothing changed for a second, as nothing says that all is done."""
        end, since, before = time.monotonic() + PATIENCE, time.monotonic(), None
        while time.monotonic() - since < 1.0 and time.monotonic() < end:
            now = cluster.pods()
            if now != before or any(not pod["ready"] and not pod["message"] for pod in now):
                since, before = time.monotonic(), now
            cluster.advance(0.05)
        return cluster.observe(WEB).counts()


@pytest.mark.skipif(not REAL_TRACES.is_dir(), reason="recorded traces are absent")
def test_a_recorded_trace_ends_as_in_the_embedded_cluster(api: Api) -> None:
    recorded = read_trace_file(REAL_TRACES / "dsb-scaling.sktrace")
    simulation = Simulation(speed=1000)
    selection = simulation.selection("dsb", "nginx-thrift")
    with (
        replayer(api, settings=settings()) as driver,
        driver.replay(recorded, simulation, selection, label="dsb") as cluster,
    ):
        found = tallied(cluster)
        counts = cluster.observe(selection).counts()
    embedded = simulate(recorded, simulation)
    assert counts == embedded.observe(selection).counts() == (10, 0, 10)
    assert found == tallied(embedded)


def tallied(cluster: KubeCluster) -> Counter[Any]:
    """Return the numbers of pods by application, state and requests."""
    return Counter(
        (pod["labels"].get("app"), pod["ready"], pod["cpu"], pod["memory"])
        for pod in cluster.pods()
    )


@pytest.mark.filterwarnings("ignore:left on the cluster")  # a server may take long to start
def test_a_server_that_is_killed_in_a_step(
    api: Api, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """The step ends well or says why not, the next one is a new one, and nothing stays."""
    before = objects(api)
    left = tmp_path / "left"
    ended = []
    with replayer(api, settings=settings(), leftovers=left) as driver:
        for delay in (0.0, 0.05, 0.15):
            crash = threading.Thread(target=restart_after, args=(control_plane, delay))
            crash.start()
            ended.append(step(driver))
            crash.join()
            assert step(driver) == "ok"
    assert set(ended) <= {"ok", "error", "timeout"}, ended
    assert objects(api) == before
    assert not left.exists()


def restart_after(plane: ControlPlane, seconds: float) -> None:
    time.sleep(seconds)
    plane.kill_apiserver()
    plane.start_apiserver()


def step(driver: ReplayDriver) -> str:
    try:
        with driver.replay(STEP, SIMULATION, WEB, label="main") as cluster:
            seen = cluster.observe(WEB)
    except ClusterError as error:
        assert str(error)
        return "timeout" if error.__dict__.get("timeout") else "error"
    if seen.valid:
        assert seen.counts() == (3, 0, 3)
    else:
        assert seen.error
    return seen.validity


def test_many_steps_leave_nothing(api: Api) -> None:
    """Objects, sockets and threads are as many as before; memory does not grow."""
    at_first = objects(api)
    with replayer(api, settings=settings()) as driver:
        for _ in range(10):
            assert step(driver) == "ok"
        before, requests = usage(), api.requests
        begun, cpu = time.monotonic(), time.process_time()
        for _ in range(STEPS):
            assert step(driver) == "ok"
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
        after = usage()
        print(
            f"{STEPS} steps: {seconds / STEPS:.3f} s and {1000 * cpu / STEPS:.0f} ms CPU each, "
            f"{(api.requests - requests) / STEPS:.1f} requests each, {before} -> {after}"
        )
        assert api.requests - requests <= 40 * STEPS
        assert after["sockets"] <= before["sockets"]
        assert after["threads"] <= before["threads"]
        assert after["memory"] <= before["memory"] + 5_000_000
    assert objects(api) == at_first


def usage() -> dict[str, int]:
    """Return this process's sockets, threads, and resident bytes."""
    gc.collect()
    links = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "sockets": sum(link.startswith("socket:") for link in links),
        "threads": threading.active_count(),
        "memory": resident * os.sysconf("SC_PAGE_SIZE"),
    }
