"""The replayer on a real control plane: the contract of a cluster, real traces, crashes, leaks.

``-s`` shows the figures, those of the loopback server beside them.
"""

from __future__ import annotations

import gc
import os
import signal
import statistics
import subprocess
import sys
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
from simgit.kube.simulation import SimulationSpec, simulate
from simgit.kube.trace.files import read_trace_file
from simgit.kube.trace.model import Trace
from simgit.testing.cluster_contract import WEB, ClusterContract
from tests.kube.live.control_plane import ControlPlane
from tests.kube.live.loopback import SIMULATION, deployment, loopback, replayer, trace
from tests.kube.live.test_interrupts import SCRIPT
from tests.support.paths import REAL_TRACES, ROOT
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.live
STEP = trace([deployment(), deployment("other", replicas=1, cpu="17")])
KINDS = (
    "/api/v1/namespaces", "/api/v1/pods", "/api/v1/configmaps", "/api/v1/nodes",
    "/apis/apps/v1/deployments", "/apis/apps/v1/replicasets",
    "/apis/coordination.k8s.io/v1/leases",
)  # fmt: skip
STEPS = int(os.environ.get("SIMGIT_LIVE_STEPS", "200"))
"""Steps in a row that are looked at for leaks."""
CHANGES = 200
"""Changes of a pod whose notice is timed."""


@pytest.fixture(scope="module")
def api(kubeconfig: Path) -> Iterator[Api]:
    """The cluster's API, with three virtual nodes."""
    with Api(kubeconfig=str(kubeconfig)) as api:
        create_nodes(api, 3)
        yield api
        delete_nodes(api)


Place = tuple[str, Api, Path]


@pytest.fixture(params=["loopback", "control plane"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A cluster with three virtual nodes: its name, its API, its kubeconfig."""
    if request.param == "loopback":
        with loopback(tmp_path) as (_, api):
            yield request.param, api, tmp_path / "kubeconfig"
    else:
        api = request.getfixturevalue("api")
        yield request.param, api, request.getfixturevalue("kubeconfig")


def settings(**values: Any) -> LiveSettings:
    return LiveSettings("test", **{"timeout": PATIENCE, "settle": 0.5, **values})


def objects(api: Api) -> dict[str, list[str]]:
    """Return the names of all objects that a replay could leave."""
    return {path: sorted(each["metadata"]["name"] for each in api.list(path)[0]) for path in KINDS}


class TestReplayer(ClusterContract):
    settle = 3.0

    @pytest.fixture
    def cluster(self, api: Api) -> Iterator[KubeCluster]:
        with (
            replayer(api, settings=settings()) as driver,
            driver.replay(Trace(), SIMULATION, WEB, label="contract") as cluster,
        ):
            yield cluster

    def counts(self, cluster: KubeCluster) -> tuple[int, int, int]:
        """Count the pods when nothing has changed for a while, as nothing says that all is done.

        Pods that wait may be tried again only seconds after room was freed.
        """
        end, since, before = time.monotonic() + PATIENCE, time.monotonic(), None
        while time.monotonic() < end:
            now = cluster.pods()
            open_ = any(not pod["ready"] and (pod["node"] or not pod["message"]) for pod in now)
            if now != before or open_:
                since, before = time.monotonic(), now
            if time.monotonic() - since > (1.5 if all(pod["ready"] for pod in now) else 6.0):
                break
            cluster.advance(0.05)
        return cluster.observe(WEB).counts()


@pytest.mark.skipif(not REAL_TRACES.is_dir(), reason="recorded traces are absent")
def test_a_recorded_trace_ends_as_in_the_embedded_cluster(api: Api) -> None:
    recorded = read_trace_file(REAL_TRACES / "dsb-scaling.sktrace")
    simulation = SimulationSpec(speed=1000)
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


@pytest.mark.filterwarnings("ignore:left on the cluster")
# Python's ssl leaves a socket to the garbage collector that is reset before its handshake
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
def test_a_server_that_is_killed_in_a_step(
    api: Api, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """The step ends well or says why not, the steps go on, and nothing stays.

    The controllers of 1.20 look for a server that was away only after half a minute and more.
    """
    before = objects(api)
    left = tmp_path / "left"
    with replayer(api, settings=settings(timeout=30), leftovers=left) as driver:
        for delay in (0.05, 0.3):
            crash = threading.Thread(target=restart_after, args=(control_plane, delay))
            crash.start()
            ended = [step(driver)]
            crash.join()
            end = time.monotonic() + PATIENCE
            while ended[-1] != "ok" or len(ended) == 1:
                assert time.monotonic() < end, ended
                ended.append(step(driver))
            print(f"killed after {delay} s: {ended}")
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
        assert after["sockets"] <= after["threads"]  # each has one connection at most
        assert after["threads"] <= before["threads"]
        assert after["memory"] <= before["memory"] + 5_000_000
    assert objects(api) == at_first


@pytest.mark.slow
def test_a_change_on_the_server_is_seen_soon(place: Place) -> None:
    name, api, config = place
    seconds = []
    with (
        replayer(api, settings=settings()) as driver,
        Api(kubeconfig=str(config)) as other,
        driver.replay(STEP, SIMULATION, WEB, label="main"),
    ):
        pods = driver._pods
        assert pods is not None
        pod = pods.objects()[0]["metadata"]
        path = f"/api/v1/namespaces/{pod['namespace']}/pods/{pod['name']}"
        for number in map(str, range(CHANGES)):

            def is_seen(number: str = number) -> bool:
                known = pods.get((pod["namespace"], pod["name"])) or {}
                return bool(known["metadata"].get("annotations", {}).get("number") == number)

            sent = time.monotonic()
            other.patch(path, {"metadata": {"annotations": {"number": number}}})
            assert pods.changes.wait_until(is_seen, PATIENCE)
            seconds.append(1000 * (time.monotonic() - sent))
    print(
        f"{name}, from sending a change to its notice, of {CHANGES}: median "
        f"{statistics.median(seconds):.1f} ms, 95 of 100 within "
        f"{statistics.quantiles(seconds, n=20)[-1]:.1f} ms, longest {max(seconds):.1f} ms"
    )


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["being applied", "settled"])
def test_after_ctrl_c_the_cluster_is_clean_soon(place: Place, moment: str, tmp_path: Path) -> None:
    name, api, config = place
    before = objects(api)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(config), str(tmp_path / "left"), "60", "40"], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    if moment == "settled":
        assert process.stdout.readline() == "settled\n"
    end = time.monotonic() + PATIENCE
    while not api.list("/api/v1/pods")[0]:
        assert time.monotonic() < end
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    print(f"{name}, from SIGINT to a clean cluster, {moment}: {time.monotonic() - began:.2f} s")
    assert err.endswith("KeyboardInterrupt\n")
    assert objects(api) == before
    assert not (tmp_path / "left").exists()


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
