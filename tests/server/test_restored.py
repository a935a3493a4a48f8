"""States that are restored for a viewer: frames, films, plans; by processes that may fail."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import httpx
import numpy as np
import pytest
from PIL import Image, ImageSequence

from simgit import Repository
from simgit.gym import Recorder
from simgit.process import process_start
from simgit.server.docs import EXAMPLES
from simgit.server.restorers import MOST
from tests.server.test_docs import RESTORED
from tests.server.test_reading import printed
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.support.web import Client

WORLD = """
import os, pathlib, signal, time
import gymnasium, numpy as np
HERE = pathlib.Path(__file__).parent
(HERE / "imported").write_text("")
class Env(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-9, 9, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self, render_mode=None):
        self.render_mode, self.at = render_mode, 0.0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0.0
        return np.array([self.at]), {}
    def step(self, action):
        mood = (HERE / "mood").read_text()
        if mood == "hang":
            time.sleep(600)
        if mood == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if mood == "leave":  # a process that has all that this one has, and outlives it
            left = os.fork()
            if not left:
                time.sleep(600)
            (HERE / "left").write_text(str(left))
        if mood == "end":
            raise SystemExit(0)
        if mood == "print":
            os.write(1, b"noise"); print("noise", flush=True)
        self.at += 2.0 if mood == "drift" else 1.0
        return np.array([self.at]), 1.0, False, False, {}
    def render(self):
        return np.full((20, 40, 3), int(self.at), np.uint8)
class Blind(Env):
    metadata = {"render_modes": ["ansi"]}
"""


def shown(found: httpx.Response) -> Any:
    assert found.status_code == 200, found.text
    return np.asarray(Image.open(io.BytesIO(found.content)))


@pytest.fixture(scope="module")
def cart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, list[Any]]]:
    """CartPole in two episodes, recorded with what was to be seen then, and a client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDL_VIDEODRIVER", "dummy")
        where = tmp_path_factory.mktemp("cart")
        env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
        recorder = Recorder(env, where, provenance=False)
        seen = []
        for seed in (7, None):
            recorder.reset(seed=seed)
            seen.append(env.render())
            for step in range(12):
                recorder.step(step % 2)
                seen.append(env.render())
        recorder.close()
        with Repository.open(where) as repo:
            client = Client(repo)
            yield client, seen
            client.close()


@pytest.mark.slow
def test_a_frame_is_what_was_to_be_seen_in_any_order(cart: tuple[Client, list[Any]]) -> None:
    client, seen = cart
    for step in (20, 21, 22, 3, 4, 25, 0, 13, 12):
        assert np.array_equal(shown(client.get(f"frames/main@{step}")), seen[step]), step
    assert len(client.service.restorers.pids) == 1


@pytest.mark.slow
def test_a_frame_by_oid_is_for_ever(cart: tuple[Client, list[Any]]) -> None:
    client, seen = cart
    oid = client.repo.resolve("main@5").hex()
    by_oid, by_name = client.get(f"frames/{oid}"), client.get("frames/main@5")
    assert by_oid.headers["content-type"] == "image/png"
    assert by_oid.headers["etag"] == by_name.headers["etag"] == f'"{oid}"'
    assert "immutable" in by_oid.headers["cache-control"]
    assert "no-cache" in by_name.headers["cache-control"]
    assert by_name.headers["content-location"] == f"/v1/frames/{oid}"
    assert np.array_equal(shown(by_oid), seen[5])
    again = client.get("frames/main@5", headers={"If-None-Match": f'"{oid}"'})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.slow
def test_the_first_process_is_started_before_a_frame_is_asked_for(
    cart: tuple[Client, list[Any]], client: Client
) -> None:
    other = Client(cart[0].repo)
    assert other.service.restorers.pids == []
    assert other.get("episodes/main").status_code == 200
    until = time.monotonic() + 60
    while not (pids := other.service.restorers.pids):
        assert time.monotonic() < until
        time.sleep(0.01)
    other.get("episodes/main")
    assert np.array_equal(shown(other.get("frames/main@5")), cart[1][5])
    assert other.service.restorers.pids == pids
    other.close()
    assert all(map(is_gone, pids))
    client.get("episodes/main")  # its states are of no environment
    assert client.service.restorers.pids == [] and client.service.restorers._starting == 0


def test_a_frame_can_be_smaller(cart: tuple[Client, list[Any]]) -> None:
    client, seen = cart
    whole = seen[5].astype(int)
    half = (whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2] + 2) // 4
    assert np.array_equal(shown(client.get("frames/main@5?width=300")), half)
    assert shown(client.get("frames/main@5?width=1920")).shape == (400, 600, 3)
    for width in (0, 15, 1921, 10**30, "x"):
        assert client.get(f"frames/main@5?width={width}").status_code == 422


def test_a_plan_says_from_where_and_how_many_steps(cart: tuple[Client, list[Any]]) -> None:
    client, _ = cart
    repo = client.repo
    found = client.json("plan/main@20")
    start = found["start"]
    assert (found["oid"], found["step"], found["run"]) == (
        repo.resolve("main@20").hex(),
        20,
        "main",
    )
    assert start["oid"] == repo.resolve(f"main@{start['step']}").hex()
    assert start["run"] == "main"
    assert found["how"] == "snapshot" and "snapshot" in repo.attachments(start["oid"])
    assert found["steps"] == 20 - start["step"]
    seconds = repo.runs["main"].metadata["step_seconds"]
    assert found["seconds"] == pytest.approx(found["steps"] * seconds)
    assert found["error"] is None
    assert (found["exact"], found["why"]) == (True, None)


def length(film: httpx.Response) -> int:
    """Return the milliseconds of a GIF: frames that are equal are one, for as long."""
    found = Image.open(io.BytesIO(film.content))
    return sum(each.info["duration"] for each in ImageSequence.Iterator(found))


@pytest.mark.slow
def test_a_film_has_a_frame_for_each_state(cart: tuple[Client, list[Any]]) -> None:
    client, _ = cart
    found = client.get("films/main@3..9?format=gif&fps=10&width=300")
    assert found.headers["content-type"] == "image/gif"
    assert length(found) == 6 * 100
    assert Image.open(io.BytesIO(found.content)).size == (300, 200)
    asked = {"If-None-Match": found.headers["etag"]}
    assert (
        client.get("films/main@3..9?format=gif&fps=10&width=300", headers=asked).status_code == 304
    )
    assert length(client.get("films/main?format=gif&every=5&fps=10&width=64")) == 6 * 100
    mp4 = client.get("films/main@ep2?width=64")
    assert mp4.headers["content-type"] == "video/mp4" and mp4.content[4:8] == b"ftyp"
    part = client.get("films/main@ep2?width=64", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert part.headers["content-range"] == f"bytes 4-7/{len(mp4.content)}"


def test_a_film_has_bounds(cart: tuple[Client, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = cart
    monkeypatch.setitem(sys.modules["simgit.server.routes.restored"].FRAMES, "gif", 5)
    found = client.get("films/main?format=gif")
    assert (found.status_code, found.json()["frames"], found.json()["limit"]) == (413, 26, 5)
    assert client.get("films/main@0..main@4?format=gif&width=16").status_code == 200
    for query in ("fps=0", "fps=nan", "fps=1e9", "width=5", "every=0", "format=avi"):
        assert client.get(f"films/main?{query}").status_code == 422
    assert client.get("films/main@5..main@5").status_code == 404


@pytest.mark.slow
def test_each_request_on_the_page_is_answered(cart: tuple[Client, list[Any]]) -> None:
    client, _ = cart
    for name in RESTORED:
        found = client.get(EXAMPLES[name][0].removeprefix("/v1/"))
        expected = 404 if "cluster" in name else 200  # it is of SimKube
        assert found.status_code == expected, found.text


ALONE = """
import sys
from simgit import Repository
from tests.support.web import Client
with Repository.open(sys.argv[1]) as repo:
    client = Client(repo)
    paths = ("plan/main", "frames/main@5", "films/main@1..main@3?format=gif", "cluster/main",
             "bands?field=reward", "machine")
    print([client.get(each).status_code for each in paths])
    client.close()
print(sorted({"gymnasium", "torch", "pygame", "matplotlib"} & sys.modules.keys()))
"""


@pytest.mark.slow
def test_the_server_itself_imports_no_environments(cart: tuple[Client, list[Any]]) -> None:
    found = subprocess.run(
        [sys.executable, "-c", ALONE, str(cart[0].repo.worktree)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert found.stdout.splitlines() == ["[200, 200, 200, 404, 200, 200]", "[]"], found.stderr


# --- processes that fail ------------------------------------------------------------------------

Mood = Callable[[str], None]


@pytest.fixture
def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Repository, Mood, Path]]:
    """A repository of an environment in a module of the user's, and what tells it how to behave."""
    (tmp_path / "oddworld.py").write_text(WORLD)
    (tmp_path / "mood").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    import oddworld  # type: ignore[import-not-found]

    for name, kind in (("main", oddworld.Env), ("blind", oddworld.Blind)):
        with Recorder(
            kind(), tmp_path / "repo", run=name, provenance=False, self_check=False
        ) as recorder:
            recorder.reset(seed=1)
            for _ in range(6):
                recorder.step(1)
    (tmp_path / "imported").unlink()
    with Repository.open(tmp_path / "repo") as repo:
        yield repo, (tmp_path / "mood").write_text, tmp_path / "imported"
    sys.modules.pop("oddworld")


@pytest.fixture
def odd(world: tuple[Repository, Mood, Path]) -> Iterator[tuple[Client, Mood]]:
    client = Client(world[0])
    yield client, world[1]
    client.close()


def is_gone(pid: int) -> bool:
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_a_process_that_hangs_is_killed_and_one_that_crashes_takes_nothing_with_it(
    odd: tuple[Client, Mood], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, mood = odd
    assert (shown(client.get("frames/main@2")) == 2).all()
    (pid,) = client.service.restorers.pids
    mood("hang")
    monkeypatch.setattr("simgit.server.restorers.SECONDS", 1.0)
    found = client.get("frames/main@3")
    assert (found.status_code, found.json()["type"]) == (504, "TimedOut")
    assert client.service.restorers.pids == [] and is_gone(pid)
    monkeypatch.setattr("simgit.server.restorers.SECONDS", PATIENCE)
    mood("crash")
    found = client.get("frames/main@3")
    assert found.status_code == 502 and "SIGSEGV" in found.json()["detail"]
    assert client.service.restorers.pids == []
    mood("print")  # what it prints is no answer
    assert (shown(client.get("frames/main@3")) == 3).all()
    mood("drift")
    found = client.get("frames/main@5")
    assert found.status_code == 409
    assert (found.json()["type"], found.json()["field"]) == ("Divergence", "observation")
    assert found.json()["step"] in range(1, 6)
    mood("")
    assert (shown(client.get("frames/main@5")) == 5).all()
    found = client.get("frames/blind@2")
    assert found.status_code == 404 and "renders no images" in found.json()["detail"]
    assert client.get("films/blind").status_code == 404
    pids = client.service.restorers.pids
    client.close()
    assert pids and all(map(is_gone, pids))
    assert client.get("frames/main@5").status_code == 503


@pytest.mark.slow
def test_processes_that_ended_while_they_were_idle_are_replaced(
    odd: tuple[Client, Mood],
) -> None:
    client, _ = odd
    restorers = client.service.restorers
    taken = [restorers._taken(at, time.monotonic() + 20) for at in range(MOST)]
    for one in taken:
        oid = client.repo.resolve("main@2").hex()
        one.ask({"what": "plan", "oid": oid, "as_of": None}, time.monotonic() + 20)
        restorers._give_back(one)
    pids = restorers.pids
    assert len(pids) == MOST
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
    assert (shown(client.get("frames/main@3")) == 3).all()
    assert len(restorers.pids) == 1 and not set(pids) & set(restorers.pids)
    assert all(is_gone(pid) for pid in pids)


@pytest.mark.slow
def test_one_that_ended_and_left_another_with_its_pipes_is_not_waited_for(
    odd: tuple[Client, Mood], world: tuple[Repository, Mood, Path]
) -> None:
    client, mood = odd
    mood("leave")
    assert (shown(client.get("frames/main@1")) == 1).all()
    mood("")
    (pid,), left = client.service.restorers.pids, int((world[2].parent / "left").read_text())
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process_start(left)
    assert (shown(client.get("frames/main@2")) == 2).all()
    deadline = time.monotonic() + PATIENCE
    while process_start(left):  # it belonged to what was started
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_code_runs_only_where_the_repository_is_trusted(
    world: tuple[Repository, Mood, Path], tmp_path: Path
) -> None:
    repo, _, imported = world
    assert repo.distrust()
    client = Client(repo)
    for path in ("frames/main@2", "films/main"):
        found = client.get(path)
        assert (found.status_code, found.json()["type"]) == (403, "Untrusted"), found.text
    plan = client.json("plan/main@2")
    assert (plan["how"], plan["error"], plan["exact"]) == (None, "Untrusted", False)
    assert "simgit trust" in plan["why"]
    assert not imported.exists()
    client.close()
    # what came from elsewhere is not trusted in a repository that is
    repo.create_bundle(tmp_path / "b", ["main"])
    with Repository.init(tmp_path / "mine") as mine:
        mine.import_bundle(tmp_path / "b")
        client = Client(mine)
        assert client.get("frames/main@2").status_code == 403
        assert not imported.exists()
        mine.trust()
        assert client.get("frames/main@2").status_code == 200
        assert imported.exists()
        client.close()


def test_too_many_requests_are_refused(
    odd: tuple[Client, Mood], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = odd
    monkeypatch.setattr("simgit.server.restorers.WAITING", 0)
    found = client.get("frames/main@2")
    assert (found.status_code, found.headers["retry-after"]) == (429, "1")


@pytest.mark.slow
def test_states_without_an_environment_are_not_found(client: Client) -> None:
    found = client.get("frames/main@2")
    assert found.status_code == 404 and "not recorded from an environment" in found.json()["detail"]
    plan = client.json("plan/main@2")
    assert (plan["how"], plan["error"]) == (None, "InvalidInput")
    assert client.get("frames/none").status_code == 404
    assert client.get("plan/main@{").status_code == 422


def test_a_repository_in_memory_has_no_frames() -> None:
    with Repository.init(":memory:") as repo:
        repo.commit([1.0], run="main")
        client = Client(repo)
        assert client.get("frames/main").status_code == 404
        client.close()


# --- clusters -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cluster_is_what_the_commands_print(tmp_path: Path) -> None:
    with Recorder(
        gymnasium.make("simgit/SimKube-v0"), tmp_path, provenance=False, self_check=False
    ) as recorder:
        recorder.reset(seed=3)
        for action in (1, 2):
            recorder.step(action)
    with Repository.open(tmp_path) as repo:
        client = Client(repo)
        found = client.get("cluster/main@2")
        cluster = found.json()
        for name in ("nodes", "pods", "events"):
            assert cluster[name] == printed(repo, "kube", name, "main@2"), name
            assert cluster[name]
        state = repo.state("main@2")
        assert cluster["totals"] == {n: state.info[n] for n in ("ready", "pending", "total")}
        assert (cluster["reward"], cluster["step"]) == (state.reward, 2)
        assert (cluster["oid"], cluster["why"]) == (state.oid.hex(), None)
        again = client.get("cluster/main@2", headers={"If-None-Match": found.headers["etag"]})
        assert again.status_code == 304
        client.close()


def test_other_states_have_no_cluster(cart: tuple[Client, list[Any]]) -> None:
    found = cart[0].get("cluster/main@2")
    assert found.status_code == 404 and "not recorded from SimKube" in found.json()["detail"]
