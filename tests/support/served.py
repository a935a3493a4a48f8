"""A served cluster with the clients of tests: its virtual clock is the client's too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simgit.kube.live.api import Api
from simgit.kube.live.preflight import rights_of
from simgit.testing.apiserver import TOKEN, ApiServer


def connect(server: ApiServer, directory: Path, *, token: str = TOKEN) -> Api:
    """Return a client whose clock is the server's."""
    path = server.kubeconfig(directory / f"kubeconfig-{token}", token=token)
    return Api(kubeconfig=path, clock=server.clock)


def rights(driver: str, *without: tuple[str, str]) -> list[Mapping[str, Any]]:
    """Return rules that allow what preflight asks for, and nothing else."""
    wanted = {key: set(verbs) for key, verbs in rights_of(driver).items()}
    for resource, verb in without:
        for (group, name), verbs in wanted.items():
            if f"{name}.{group}".rstrip(".") == resource:
                verbs.remove(verb)
    rules: list[Mapping[str, Any]] = [
        {"apiGroups": [group], "resources": [name], "verbs": sorted(verbs)}
        for (group, name), verbs in wanted.items()
    ]
    asks = {
        "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews"],
        "verbs": ["create"],
    }  # fmt: skip
    return [*rules, asks]
