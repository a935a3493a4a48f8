"""Credentials that expire while a cluster is used: read again, of the same cluster only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simgit.kube.live.api import Api, ApiError
from simgit.kube.live.cleanup import Created, remove
from simgit.testing.apiserver import ApiFault, ApiServer

_NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "virtual-x"}}


def test_a_context_that_names_another_cluster_by_now_is_not_followed(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    with ApiServer(faults=[ApiFault("401")]) as allowed, ApiServer() as other:
        with Api("loopback", kubeconfig=allowed.kubeconfig(file)) as api:
            other.kubeconfig(file)  # as 'kind delete cluster' and 'kind create cluster' do
            with pytest.raises(ApiError, match=f"now names {other.url}, not {allowed.url}"):
                api.create("/api/v1/namespaces", _NAMESPACE)
            assert api.url == allowed.url
            created = Created(None, api.url)
            created.note("/api/v1/namespaces/virtual-x")
            allowed.faults = [ApiFault("401")]
            (told,) = remove(api, created)  # it raises nothing
            assert f"now names {other.url}" in told
        assert other.requests == []


def test_a_current_context_that_was_switched_is_not_followed(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    with (
        ApiServer(faults=[ApiFault("401")]) as server,
        Api(kubeconfig=server.kubeconfig(file)) as api,
    ):
        config = json.loads(file.read_text())
        config["contexts"].append({**config["contexts"][0], "name": "other"})
        file.write_text(json.dumps({**config, "current-context": "other"}))
        api.create("/api/v1/namespaces", _NAMESPACE)
        assert api.context == "loopback"
