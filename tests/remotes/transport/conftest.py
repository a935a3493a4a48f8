"""A server with S3's interface, and an environment that knows no credentials of the user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.remotes.transport import servers


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
