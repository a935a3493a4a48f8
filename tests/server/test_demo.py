"""The demo: what it shows, and that nothing of it is left."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from simgit.errors import NotFound
from simgit.live import demo
from simgit.live.demo import RUN
from tests.support.patience import PATIENCE
from tests.support.web import serving


@pytest.fixture
def short() -> Iterator[str]:
    """Return a directory with a short path: sockets are named by at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="sg-") as path:
        yield path


@pytest.mark.slow
def test_a_pendulum_swings_and_nothing_is_left(
    tmp_path: Path, short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, here = Path(short), tmp_path
    monkeypatch.setenv("TMPDIR", short)
    with serving(here, "--demo") as server:
        with httpx.Client(base_url=server.url, headers=server.headers, timeout=PATIENCE) as client:
            deadline = time.monotonic() + PATIENCE
            while not client.get(f"runs/{RUN}").json()["step"]:
                found = client.get(f"simulations/{RUN}").json()
                assert found["outcome"] is None and time.monotonic() < deadline, found
                time.sleep(0.05)
            process = client.get(f"simulations/{RUN}").json()["process"]
        (folder,) = scratch.glob("simgit-demo-*")
        assert (folder / ".simgit").is_dir()
        assert server.end()[0] == 0
    assert not folder.exists()
    assert [*here.iterdir()] == []
    while Path(f"/proc/{process}").exists():  # until the system has taken note of its end
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_NEEDED", ("gymnasium_that_nobody_has",))
    with pytest.raises(NotFound, match="pip install"), demo.demo():
        pass
