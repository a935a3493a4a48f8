"""A replayer on the loopback API server, as the tests here use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simgit.kube.live.api import Api, ApiClock
from simgit.kube.live.driver import LiveSettings
from simgit.kube.live.nodes import create_nodes
from simgit.kube.live.replay import ReplayDriver
from simgit.kube.simulation import SimulationSpec
from simgit.kube.trace.model import Event, Trace
from simgit.testing.apiserver import ApiServer

SIMULATION = SimulationSpec()
WEB = SIMULATION.selection("default", "web")


def deployment(name: str = "web", *, replicas: int = 3, cpu: str = "1", **extra: Any) -> Any:
    """Return a Deployment as a trace has it."""
    labels = {"app": name}
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": extra.pop("namespace", "default")},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            **extra,
        },
    }


def trace(*events: Any) -> Trace:
    """Return a trace that applies the objects of each event, a second after those before."""
    return Trace(tuple(Event(number, tuple(each)) for number, each in enumerate(events)))


def settings(**values: Any) -> LiveSettings:
    """Return settings that do not wait for long."""
    return LiveSettings("loopback", **{"timeout": 20.0, "settle": 0.2, **values})


@contextmanager
def loopback(
    folder: Path, *, nodes: int = 3, clock: ApiClock | None = None, **options: Any
) -> Iterator[tuple[ApiServer, Api]]:
    """Start a server without a kubelet, with virtual nodes of ours; ``clock`` is the client's."""
    given = {} if clock is None else {"clock": clock}
    with (
        ApiServer(**{"kwok": False, "time": "real", **options}) as server,
        Api("loopback", kubeconfig=server.kubeconfig(folder / "kubeconfig"), **given) as api,
    ):
        create_nodes(api, nodes)
        yield server, api


@contextmanager
def replayer(api: Api, **options: Any) -> Iterator[ReplayDriver]:
    """Make a driver, and close it."""
    given = options.pop("settings", None) or settings()
    driver = ReplayDriver(api, given, **{"lease_seconds": 2, **options})
    try:
        yield driver
    finally:
        driver.close()


def left_on(server: ApiServer) -> list[str]:
    """Return the names of what a replay could have left on the server."""
    kinds = ("namespaces", "configmaps", "deployments.apps", "replicasets.apps", "pods")
    return [
        f"{plural}/{each['metadata']['name']}"
        for plural in kinds
        for each in server.objects(plural)
        if not each["metadata"]
        .get("namespace", each["metadata"]["name"])
        .startswith(("kube-", "default"))
    ]
