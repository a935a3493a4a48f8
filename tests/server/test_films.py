"""Films are sent while they are made, and a film that fails is never taken for a shorter one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import httpx
import imageio_ffmpeg
import numpy as np
import pytest

from simgit import Repository
from simgit.gym import Recorder
from tests.support.paths import ROOT
from tests.support.web import Client, Process, serving

STATES = 400
WORLD = """
import pathlib, time
import gymnasium, numpy as np
HERE = pathlib.Path(__file__).parent
class Env(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-999, 999, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self, render_mode=None):
        self.render_mode, self.at = render_mode, 0.0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0.0
        return np.array([self.at]), {}
    def step(self, action):
        self.at += 1.0
        while self.render_mode and self.at == 300 and (HERE / "mood").read_text() == "hold":
            time.sleep(0.02)
        drifts = self.render_mode and self.at > 300 and (HERE / "mood").read_text() == "drift"
        return np.array([-1.0 if drifts else self.at]), 1.0, False, False, {}
    def render(self):
        return np.full((64, 64, 3), int(self.at) % 200, np.uint8)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a repository of 400 states, and a file that says how its world behaves."""
    where = tmp_path_factory.mktemp("films")
    (where / "heldworld.py").write_text(WORLD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(where))
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{where}")
        import heldworld  # type: ignore[import-not-found]

        env: gymnasium.Env[Any, Any] = heldworld.Env()
        with Recorder(env, where / "repo", provenance=False, self_check=False) as recorder:
            recorder.reset(seed=1)
            for _ in range(STATES - 1):
                recorder.step(1)
        yield where
        sys.modules.pop("heldworld")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Process]:
    """A process: a connection that is closed before its end is seen over a socket only."""
    with serving(place / "repo") as server:
        yield server


@pytest.fixture
def world(place: Path) -> Path:
    """The directory; the environment waits before state 300."""
    (place / "mood").write_text("hold")
    return place


def frames(data: bytes, path: Path) -> list[int]:
    """Return the grey of each frame of a film."""
    path.write_bytes(data)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo"]
    raw = subprocess.run(
        [*command, "-pix_fmt", "gray", "-"], capture_output=True, check=True
    ).stdout
    return [*np.frombuffer(raw, np.uint8).reshape(-1, 64 * 64).mean(axis=1).round().astype(int)]


@pytest.mark.slow
def test_an_mp4_comes_while_it_is_made_and_is_kept(server: Process, world: Path) -> None:
    url = server.url + "films/main?fps=10"
    with httpx.stream("GET", url, headers=server.headers, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        assert "content-length" not in answer.headers
        assert answer.headers["content-type"] == "video/mp4"
        pieces = answer.iter_raw()
        data = b""
        while b"moof" not in data:  # its environment has not come to state 300
            data += next(pieces)
        (world / "mood").write_text("")
        data += b"".join(pieces)
    seen = frames(data, world / "film.mp4")
    assert len(seen) == STATES
    assert max(abs(a - b % 200) for b, a in enumerate(seen)) <= 3
    whole = httpx.get(url, headers=server.headers, timeout=60)
    assert whole.content == data and whole.headers["content-length"] == str(len(data))
    assert whole.headers["etag"] == answer.headers["etag"]
    part = httpx.get(url, headers={**server.headers, "Range": "bytes=4-7"}, timeout=60)
    assert (part.status_code, part.content) == (206, b"ftyp")


@pytest.mark.slow
def test_a_film_that_fails_is_cut_off_visibly(server: Process, world: Path) -> None:
    url = server.url + "films/main?fps=11"
    with httpx.stream("GET", url, headers=server.headers, timeout=60) as answer:
        pieces = answer.iter_raw()
        data = b""
        while b"moof" not in data:
            data += next(pieces)
        (world / "mood").write_text("drift")
        with pytest.raises(httpx.RemoteProtocolError):
            for each in pieces:
                data += each
    (world / "mood").write_text("")
    again = httpx.get(url, headers=server.headers, timeout=60)
    assert len(frames(again.content, world / "film.mp4")) == STATES


@pytest.mark.slow
def test_what_nobody_waits_for_is_not_made(server: Process, world: Path) -> None:
    url = server.url + "films/main?fps=12"
    with httpx.stream("GET", url, headers=server.headers, timeout=60) as answer:
        next(answer.iter_raw())
    other, until = url + "&every=2", time.monotonic() + 60
    (world / "mood").write_text("")
    # while it was being made, another one would have been refused
    while (found := httpx.get(other, headers=server.headers, timeout=60)).status_code == 429:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert found.status_code == 200


@pytest.mark.slow
def test_a_film_that_is_there_is_not_made_again(world: Path) -> None:
    (world / "mood").write_text("")
    with Repository.open(world / "repo") as repo:
        client = Client(repo)
        made: list[Any] = []
        film = client.service.restorers.film
        client.service.restorers.film = lambda *a, **k: made.append(0) or film(*a, **k)  # type: ignore[method-assign]
        first, second = (client.get("films/main?width=64").content for _ in range(2))
        assert first == second and len(made) == 1
        client.close()
