"""The demo: what it shows, and that nothing of it is left."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from simgit.errors import NotFound
from simgit.server import demo
from simgit.server.demo import RUN
from tests.support.patience import PATIENCE
from tests.support.web import serving


def test_a_pendulum_swings_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, here = tmp_path / "scratch", tmp_path / "here"
    scratch.mkdir()
    here.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with serving(here, "--demo") as server:
        with httpx.Client(base_url=server.url, headers=server.headers, timeout=PATIENCE) as client:
            deadline = time.monotonic() + PATIENCE
            while not client.get(f"runs/{RUN}").json()["step"]:
                assert time.monotonic() < deadline, client.get(f"simulations/{RUN}").text
                time.sleep(0.05)
            process = client.get(f"simulations/{RUN}").json()["process"]
        (folder,) = scratch.glob("simgit-demo-*")
        assert (folder / ".simgit").is_dir()
        assert server.end()[0] == 0
    assert not folder.exists()
    assert [*here.iterdir()] == []
    assert not Path(f"/proc/{process}").exists()


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_NEEDED", ("gymnasium_that_nobody_has",))
    with pytest.raises(NotFound, match="pip install"), demo.demo():
        pass
