from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simgit import Repository
from tests.support.tracking import track
from tests.support.web import Client


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    """A repository on disk: the run main of six states in two episodes, a branch, and what was fetched."""
    with Repository.init(tmp_path) as repo:
        with repo.recorder("main", config={"lr": 0.1}) as recorder:
            for episode in range(2):
                recorder.append(np.float64([0.0, episode]), reset={"seed": episode})
                for step in range(2):
                    recorder.append(np.float64([step + 0.5, episode]), step, 1.0, step == 1, False)
        repo.branch("sweep/1", "main@3", overrides={"lr": 0.2})
        repo.commit(np.float64([9.0, 9.0]), 1, 5.0, True, False, run="sweep/1")
        repo.tag("v1", "main@2", message="before")
        repo.attach("main@2", "pic", b"\x89PNG\r\n\x1a\n" + bytes(5000))
        repo.attach("main@2", "page", b"<html>x</html>")
        repo.attach("main@2", "vec", {"a": [1.5]})
        track(repo, "origin/main", "main", "main@2")
        yield repo


@pytest.fixture
def client(repo: Repository) -> Iterator[Client]:
    client = Client(repo)
    yield client
    client.close()
