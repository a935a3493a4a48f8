"""The clusters that a user allows: by name and server, in the user's own configuration."""

from pathlib import Path

import pytest

from simgit.errors import ClusterError, InvalidInput, StorageError
from simgit.storage.allowed_clusters import AllowedClusters, check_allowed

HERE, THERE = "https://127.0.0.1:6443", "https://10.0.0.1:6443"


def test_a_context_is_allowed_once_and_can_be_forbidden(tmp_path: Path) -> None:
    allowed = AllowedClusters(tmp_path / "config")
    with pytest.raises(ClusterError) as caught:
        allowed.check("kind sim", HERE)
    assert str(caught.value) == (
        "context 'kind sim' is not allowed for https://127.0.0.1:6443: allow simgit to write to "
        "this cluster with 'simgit kube allow 'kind sim''"
    )
    assert allowed.allow("kind sim", HERE) and not allowed.allow("kind sim", HERE)
    AllowedClusters(tmp_path / "config").check("kind sim", HERE)
    assert allowed.forbid("kind sim") and not allowed.forbid("kind sim")
    with pytest.raises(ClusterError):
        allowed.check("kind sim", HERE)


def test_a_name_that_has_another_server_now_is_not_allowed(tmp_path: Path) -> None:
    allowed = AllowedClusters(tmp_path)
    allowed.allow("work", HERE)
    with pytest.raises(ClusterError, match=r"it was allowed for https://127\.0\.0\.1:6443"):
        allowed.check("work", THERE)
    allowed.allow("work", THERE)
    assert allowed.entries() == {"work": THERE}


def test_the_users_own_configuration_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMGIT_CONFIG_DIR", str(tmp_path))
    with pytest.raises(ClusterError):
        check_allowed("kind", HERE)
    AllowedClusters().allow("kind", HERE)
    check_allowed("kind", HERE)


def test_a_damaged_list_allows_nothing(tmp_path: Path) -> None:
    (tmp_path / "clusters").write_text('{"context": "kind"}\n')
    with pytest.raises(InvalidInput, match="must have a JSON object on each line"):
        AllowedClusters(tmp_path).check("kind", HERE)
    (tmp_path / "clusters").write_bytes(b"\xff")
    with pytest.raises(StorageError, match="not UTF-8"):
        AllowedClusters(tmp_path).check("kind", HERE)
