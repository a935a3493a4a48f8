"""A Kubernetes API server for tests: real HTTP on the loopback interface, objects in memory.

    with ApiServer(kwok=True, nodes=3) as server:
        api = kubernetes.config.new_client_from_config(server.kubeconfig(tmp_path / "config"))
        kubernetes.client.AppsV1Api(api).create_namespaced_deployment("default", deployment)
        server.advance(1)
        pods = kubernetes.client.CoreV1Api(api).list_namespaced_pod("default")
        server.faults = [ApiFault("429", match=lambda method, path: method == "DELETE")]
        assert [r.path for r in server.requests if r.status == 409] == []

- ``server``: the context manager; ``http``: bytes; ``faults``: what goes wrong, and when.
- ``api``: paths, verbs, watches; ``resources``: what is served; ``access``: who may.
- ``objects``: the store; ``patches``; ``schema``: CRDs; ``defaults``; ``statuses``: errors.
- ``simkube``: SimKube's controller and driver.
- ``controllers``: deletion, and pods as objects; ``engine``: the embedded cluster behind it.
"""

from simgit.testing.apiserver.access import EVERYTHING
from simgit.testing.apiserver.faults import (
    ANSWERS,
    CONNECTIONS,
    FAULT_KINDS,
    WATCHES,
    ApiFault,
    random_faults,
)
from simgit.testing.apiserver.server import TOKEN, ApiServer
from simgit.testing.apiserver.simkube import SimKubeSettings, simulation_crds

__all__ = [
    "ANSWERS",
    "CONNECTIONS",
    "EVERYTHING",
    "FAULT_KINDS",
    "TOKEN",
    "WATCHES",
    "ApiFault",
    "ApiServer",
    "SimKubeSettings",
    "random_faults",
    "simulation_crds",
]
