"""Ctrl-C in a step, in a process of its own: the cluster is clean afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from simgit.testing.apiserver import ApiServer
from tests.kube.live.loopback import SIMULATION, WEB, deployment, left_on, loopback, replayer, trace
from tests.support.patience import PATIENCE

SCRIPT = """
import sys
from pathlib import Path
from simgit.kube.live.api import Api
from tests.kube.live.loopback import *
with Api(kubeconfig=sys.argv[1]) as api, replayer(api, leftovers=Path(sys.argv[2])) as driver:
    with driver.replay(trace([deployment(replicas=int(sys.argv[4]))], [deployment("other")]), SIMULATION, WEB, label="main") as cluster:
        print("settled", flush=True)
        cluster.advance(float(sys.argv[3]))
    print("left the block", flush=True)
"""


def interrupted(
    server: ApiServer, folder: Path, strikes: Callable[[int, str, str], bool], *, signals: int = 1
) -> subprocess.CompletedProcess[str]:
    """Run a step, and interrupt it at the first request that ``strikes`` takes."""
    here = Path(__file__).parents[3]
    struck = threading.Event()
    calm = server.faults

    def watch(number: int, method: str, path: str) -> None:
        if not struck.is_set() and strikes(number, method, path):
            struck.set()
        return calm(number, method, path)

    server.faults = watch
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder / "kubeconfig"), str(folder / "left"), "0", "3"],
        cwd=here, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert struck.wait(PATIENCE)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    server.faults = calm
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


POINTS = {
    "namespace": lambda n, m, p: m == "POST" and p.startswith("/api/v1/namespaces"),
    "root": lambda n, m, p: m == "PATCH" and "configmaps" in p,
    "apply": lambda n, m, p: m == "PATCH" and "deployments/web" in p,
    "gap": lambda n, m, p: m == "PATCH" and p.endswith("/status"),
    "second apply": lambda n, m, p: m == "PATCH" and "deployments/other" in p,
    "cleanup of the root": lambda n, m, p: m == "DELETE" and "configmaps" in p,
    "cleanup of pods": lambda n, m, p: m == "DELETE" and "/pods/" in p,
    "cleanup of the namespace": lambda n, m, p: m == "DELETE" and p.endswith("virtual-default"),
}


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_after_ctrl_c_nothing_is_left(tmp_path: Path, point: str) -> None:
    with loopback(tmp_path) as (server, _):
        ended = interrupted(server, tmp_path, POINTS[point])
        assert ended.returncode != 0
        assert "KeyboardInterrupt" in ended.stderr
        assert left_on(server) == []
        assert not (tmp_path / "left").exists()


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_second_ctrl_c_stops_and_the_next_start_removes(tmp_path: Path, point: str) -> None:
    with loopback(tmp_path) as (server, api):
        ended = interrupted(server, tmp_path, POINTS[point], signals=2)
        assert ended.returncode != 0
        assert (tmp_path / "left").exists() or not left_on(server)
        with (
            replayer(api, leftovers=tmp_path / "left") as driver,
            driver.replay(trace([deployment()]), SIMULATION, WEB, label="other") as cluster,
        ):
            assert cluster.observe(WEB).counts() == (3, 0, 3)
        assert left_on(server) == []
        assert not (tmp_path / "left").exists()


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_what_a_killed_process_left_is_removed(tmp_path: Path, point: str) -> None:
    with loopback(tmp_path) as (server, api):
        here, strikes = Path(__file__).parents[3], POINTS[point]
        process = None
        calm = server.faults

        def kill(number: int, method: str, path: str) -> None:
            if process is not None and process.returncode is None and strikes(number, method, path):
                process.kill()

        server.faults = kill
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "kubeconfig"), str(tmp_path / "left"), "0", "3"],
            cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.wait(PATIENCE) == -signal.SIGKILL
        server.faults = calm
        with (
            replayer(api, leftovers=tmp_path / "left") as driver,
            driver.replay(trace([deployment()]), SIMULATION, WEB, label="other") as cluster,
        ):
            assert cluster.observe(WEB).counts() == (3, 0, 3)
        assert left_on(server) == []
        assert not (tmp_path / "left").exists()
