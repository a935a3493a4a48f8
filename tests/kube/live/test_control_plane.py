"""The control plane itself: it starts, schedules, survives kill -9, and ends with its tests."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from simgit.kube.embedded.nodes import default_nodes
from tests.kube.live.arena import Arena, Kubelet, embedded_outcome
from tests.kube.live.control_plane import ControlPlane, Refused, binaries
from tests.kube.live.refusals import LABELS, container, requests, workload
from tests.kube.live.spellings import normal
from tests.support.paths import RECORDED
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.live
CRD = RECORDED / "simulations-crd.yml"
UNFIT = "0/3 nodes are available: 3 Insufficient cpu."
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SIMULATIONS = "/apis/simkube.io/v1/simulations"


@pytest.fixture
def arena(control_plane: ControlPlane) -> Iterator[Arena]:
    arena = Arena(control_plane)
    arena.reset(default_nodes())
    yield arena
    arena.close()
    assert arena.kubelet.errors == []


def web(replicas: int = 3, cpu: str = "1") -> dict[str, object]:
    return workload("Deployment", container(resources=requests(cpu=cpu)), replicas=replicas)


def check(arena: Arena, cpu: str, ready: int, pending: int) -> None:
    """Wait for so many pods."""
    rows = [
        {"labels": LABELS, "containers": [{"cpu": cpu}], "ready": n < ready, "message": UNFIT}
        for n in range(ready + pending)
    ]
    wanted = embedded_outcome(rows)
    found = arena.outcome(wanted)
    assert found["counts"] == wanted["counts"]
    assert normal(found["messages"]) == normal(wanted["messages"])


def test_pods_are_scheduled_and_those_that_do_not_fit_say_why(arena: Arena) -> None:
    arena.apply([web(4, cpu="16")])
    check(arena, "16", 3, 1)
    arena.apply([web(2, cpu="16")])
    check(arena, "16", 2, 0)


def test_a_killed_server_goes_on_where_it_was(control_plane: ControlPlane, arena: Arena) -> None:
    arena.apply([web(3)])
    check(arena, "1", 3, 0)
    control_plane.kill_apiserver()
    assert not control_plane.ready()
    with pytest.raises(OSError):
        arena.api.get("/api/v1/pods")
    control_plane.start_apiserver()
    arena.apply([web(5)])
    check(arena, "1", 5, 0)
    arena.kubelet.errors.clear()  # its connections were lost for a while


def test_a_user_without_rights_is_refused(control_plane: ControlPlane) -> None:
    for token, code in (("guest-token", 403), ("no-such-token", 401)):
        user = control_plane.connect(token)
        with pytest.raises(Refused) as error:
            user.get("/api/v1/pods")
        assert error.value.code == code
        user.close()
    assert yaml.safe_load(control_plane.guest_kubeconfig().read_text())["users"]


@pytest.mark.skipif(not CRD.exists(), reason="the resource definition is absent")
def test_the_real_schema_takes_simulations_and_wants_its_required_fields(
    control_plane: ControlPlane,
) -> None:
    definitions = list(yaml.safe_load_all(CRD.read_text()))
    if control_plane.minor < 21:
        without_nulls(definitions)
    api = control_plane.api
    for definition in definitions:
        api.post(DEFINITIONS, definition)
    driver = {"image": "x", "namespace": "simkube", "port": 8888, "tracePath": "file:///t"}
    spec = {
        "driver": driver,
        "lifecycleParams": dict.fromkeys(
            ("createDelayMs", "createJitterMs", "readyDelayMs", "readyJitterMs"), 0
        ),
    }
    made = {"apiVersion": "simkube.io/v1", "kind": "Simulation", "metadata": {"name": "one"}}
    served_after = time.monotonic() + PATIENCE
    while True:
        try:
            api.post(SIMULATIONS, {**made, "spec": spec})
            break
        except Refused as refused:
            assert refused.code == 404 and time.monotonic() < served_after, refused
            time.sleep(0.05)
    stored = api.get(f"{SIMULATIONS}/one")["spec"]["driver"]
    assert stored == {**driver, "certManagerIssuer": "selfsigned", "virtualNsPrefix": "virtual"}
    with pytest.raises(Refused) as error:
        bare = {**made, "metadata": {"name": "two"}, "spec": {"driver": driver}}
        api.post(SIMULATIONS, bare)
    assert error.value.code == 422
    assert "lifecycleParams: Required value" in error.value.message
    for definition in definitions:
        api.delete(f"{DEFINITIONS}/{definition['metadata']['name']}")


def without_nulls(schema: object) -> None:
    """Take null out of every enum, which servers before 1.21 refuse."""
    if isinstance(schema, list):
        for each in schema:
            without_nulls(each)
    elif isinstance(schema, dict):
        if isinstance(schema.get("enum"), list):
            schema["enum"] = [each for each in schema["enum"] if each is not None]
        for each in schema.values():
            without_nulls(each)


KILLED = """
import sys
from pathlib import Path
from tests.kube.live.control_plane import ControlPlane
plane = ControlPlane(Path(sys.argv[1]), Path(sys.argv[2]))
print(*(p.pid for p in plane.processes.values()), flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_of_it_when_its_tests_are_killed(tmp_path: Path) -> None:
    folder = binaries()
    if folder is None:
        pytest.skip("no control plane of our own")
    tests = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tests.stdout is not None and tests.stdin is not None
    pids = [int(word) for word in tests.stdout.readline().split()]
    assert len(pids) == 4
    tests.send_signal(signal.SIGKILL)
    tests.wait()
    tests.stdin.close()
    tests.stdout.close()
    end = time.monotonic() + PATIENCE
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_kubelet_ends_when_it_is_told_to(control_plane: ControlPlane) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    kubelet = Kubelet(control_plane)
    kubelet.stop()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
