"""A step on a served cluster that waits for a signal: ``python -m tests.support.interrupted NAME``.

It prints ``waiting`` when it is where the situation wants it, and at its end one JSON object: how
it ended, and what is left.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simgit.kube.hooks import Hooks
from simgit.kube.live.cleanup import Created
from simgit.kube.live.driver import LiveSettings
from simgit.kube.live.simulation import SimkubeDriver
from simgit.kube.simulation import SimulationSpec
from simgit.kube.task.scenarios import generate
from simgit.testing.apiserver import ApiFault, ApiServer, SimKubeSettings
from simgit.testing.apiserver.server import ServerClock
from tests.support.served import connect

SITUATIONS = (
    "driver never starts", "trace is replayed", "counts settle", "pods are observed",
    "namespace terminates", "lease is held", "server is unreachable", "blocked by a dead one",
    "hook runs", "cleaning up",
)  # fmt: skip
LEASES = "leases.coordination.k8s.io"


def _lease(name: str, namespace: str, holder: str) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 3600,
                 "renewTime": "2026-01-01T00:00:00.000000Z"},
    }  # fmt: skip


def main(situation: str) -> None:
    directory = Path(tempfile.mkdtemp())
    never = SimKubeSettings(driver="never" if situation == "driver never starts" else "runs")
    with ApiServer(simkube=never, nodes=3) as server, connect(server, directory) as api:
        settings = LiveSettings("loopback", driver="simkube", trace_path=str(directory))
        driver = SimkubeDriver(api, settings, leftovers=directory / "left")
        waiting = ("sh", "-c", "echo waiting > /proc/$PPID/fd/1; exec sleep 60")
        hooks = Hooks(waiting if situation == "hook runs" else ())
        clock = api.clock
        assert isinstance(clock, ServerClock)
        where = _prepare(situation, server, directory)
        said: list[bool] = []

        def wait() -> None:
            if not said and where(driver._doing):
                said.append(True)
                print("waiting", flush=True)
                if situation != "cleaning up":
                    time.sleep(60)
                sys.stdin.readline()  # the signal has come: the cleanup can end
                _hold(server, [])

        clock.after_sleep = wait
        ended = "done"
        simulation = SimulationSpec(speed=1 if situation == "trace is replayed" else 60)
        selection = simulation.selection("default", "web")
        try:
            trace = generate("cpu-slight").trace
            with hooks.around(), driver.replay(trace, simulation, selection, label="main"):
                if situation == "pods are observed":
                    print("waiting", flush=True)
                    time.sleep(60)
        except BaseException as error:
            ended = type(error).__name__
        clock.after_sleep = lambda: None
        server.faults = []
        driver.close()
        print(json.dumps({"ended": ended, "left": _left(server, directory)}), flush=True)


def _prepare(situation: str, server: ApiServer, directory: Path) -> Callable[[str], bool]:
    """Set the scene; return what tells from the driver's words that it is there."""
    if situation == "namespace terminates":
        metadata = {"name": "virtual-default", "finalizers": ["example.com/hold"]}
        server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        server.delete("namespaces", "virtual-default")
        return lambda doing: "still being deleted" in doing
    if situation == "lease is held":
        server.create(_lease("simgit", "default", "other_77_abcd"))
        return lambda doing: doing == "preparing the cluster"
    if situation == "server is unreachable":
        server.faults = [ApiFault("reset", times=None)]
        return lambda doing: doing == "preparing the cluster"
    if situation == "blocked by a dead one":
        server.create(_lease("sk-lease", "simkube", "simgit-main-7-0a1b"))
        return lambda doing: "is blocked by" in doing
    if situation == "cleaning up":

        def cleaning(doing: str) -> bool:
            found = server.objects("simulations.simkube.io")
            if doing.startswith("the counts of pods change"):
                _hold(server, ["example.com/hold"])
            return any(each["metadata"].get("deletionTimestamp") for each in found)

        return cleaning
    words = {
        "driver never starts": "does not run", "trace is replayed": "replays the trace",
        "counts settle": "counts of pods change",
    }  # fmt: skip
    word = words.get(situation, "never")
    return lambda doing: word in doing


def _hold(server: ApiServer, finalizers: list[str]) -> None:
    """Give the Simulation finalizers, as somebody else's controller would."""
    with connect(server, Path(tempfile.mkdtemp())) as other:
        for each in server.objects("simulations.simkube.io"):
            path = f"/apis/simkube.io/v1/simulations/{each['metadata']['name']}"
            kept = [f for f in each["metadata"].get("finalizers") or () if f[:7] != "example"]
            other.patch(path, {"metadata": {"finalizers": [*kept, *finalizers]}})


def _left(server: ApiServer, directory: Path) -> list[str]:
    kinds = (
        "simulations.simkube.io", "simulationroots.simkube.io", "jobs.batch", "pods", LEASES,
        "mutatingwebhookconfigurations.admissionregistration.k8s.io", "services",
    )  # fmt: skip
    names = [each["metadata"]["name"] for kind in kinds for each in server.objects(kind)]
    names += [entry["path"] for entry in Created(directory / "left", server.url).entries()]
    names += [path.name for path in directory.glob("*.sktrace")]
    spaces = {each["metadata"]["name"] for each in server.objects("namespaces")}
    return sorted([*names, *(name for name in spaces if name.startswith("virtual-"))])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
