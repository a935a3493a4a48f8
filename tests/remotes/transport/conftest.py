"""A server with S3's interface, and an environment that knows no credentials of the user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.remotes.transport import ceph, replies, servers


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of a server that has S3's interface."""
    pytest.importorskip("moto")
    with servers.moto() as address:
        yield address


@pytest.fixture
def bucket(moto: str) -> str:
    """The name of an empty bucket."""
    name = f"bucket-{uuid4().hex}"
    servers.make_bucket(moto, name)
    return name


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the user's credentials, and every setting of S3."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/credentials")
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/config")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An access key, in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """The address of Ceph's gateway."""
    with ceph.gateway(ceph.ACCESS, ceph.SECRET) as address:
        yield address


@pytest.fixture
def place(gateway: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of a bucket of Ceph's, and the keys to it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ceph.ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ceph.SECRET)
    ceph.make_bucket(gateway, "tests", ceph.ACCESS, ceph.SECRET)
    return f"s3://tests/{uuid4().hex}"


@pytest.fixture
def server() -> Iterator[replies.Server]:
    """A server that answers as it is told."""
    with replies.replying() as server:
        yield server
