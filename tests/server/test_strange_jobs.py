"""Jobs that came with a stranger's directory: nothing in them is believed, opened or ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository
from simgit.process import writer_of
from simgit.server.jobs import Jobs
from simgit.server.watch import Watch
from tests.support.web import Client

SECRET = "SECRET-OF-THE-USER"


@pytest.fixture
def place(repo: Repository) -> Path:
    """The directory of job 1, as a stranger made it."""
    found = Path(str(repo.directory)) / "live" / "jobs" / "1"
    found.mkdir(parents=True)
    return found


def record(**more: Any) -> dict[str, Any]:
    return {
        "job": 1, "kind": "exports", "arguments": [], "created": 1, "process": None, "by": None,
        "ended": 2, "code": 0, **more,
    }  # fmt: skip


def own(repo: Repository, place: Path, **more: Any) -> None:
    """Write a record as one of this directory, to look at what else is refused."""
    home = Jobs(repo.directory)._home
    (place / "job.json").write_text(json.dumps(record(home=home, **more)))


def test_a_record_of_another_directory_is_none(client: Client, place: Path) -> None:
    for text in (json.dumps(record()), json.dumps(record(home="1@2")), "{}", "[]", "[" * 9999, "x"):
        (place / "job.json").write_text(text)
        assert client.json("jobs") == []
        assert client.get("jobs/1").status_code == 404
        assert client.get("exports/1").status_code == 404


@pytest.mark.parametrize("name", ["bundle", "out", "err", "progress", "job.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_nothing_but_regular_files_is_opened(
    client: Client, repo: Repository, place: Path, tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / "secret").write_text(f'{{"secret": "{SECRET}"}}')
    (place / "out").write_text("{}")
    own(repo, place)
    (place / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place / name)
    else:
        (place / name).symlink_to(tmp_path / "secret" if kind == "link" else "/dev/zero")
    for path in ("jobs", "jobs/1", "exports/1"):
        found = client.get(path)
        assert SECRET not in found.text
        assert found.status_code in (200, 404, 503)


def test_a_directory_of_a_job_is_no_link(client: Client, repo: Repository, place: Path) -> None:
    own(repo, place)
    place.rename(place.with_name("elsewhere"))
    place.symlink_to(place.with_name("elsewhere"))
    assert client.get("jobs/1").status_code == 404
    assert client.request("DELETE", "jobs/1").status_code == 404
    assert (place.with_name("elsewhere") / "job.json").exists()


def test_a_get_writes_nothing_whatever_a_record_says(
    client: Client, repo: Repository, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "bundle").write_text("mine")
    home = Jobs(repo.directory)._home
    strange = record(home=home, job=str(tmp_path / "home"), kind="imports", ended=None)
    (place / "job.json").write_text(json.dumps(strange))
    assert client.get("jobs/1").status_code == 404
    own(repo, place, kind="imports", ended=None)
    before = (place / "job.json").read_bytes()
    assert client.json("jobs/1")["outcome"] == "crashed"  # its server died long ago
    assert (place / "job.json").read_bytes() == before
    assert [each.name for each in (tmp_path / "home").iterdir()] == ["bundle"]


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the user that is no job; it leads a group."""
    code = "import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as found:
        yield found
        found.kill()


@pytest.mark.slow
@pytest.mark.parametrize("change", [
    lambda process: {"machine": "elsewhere x"},
    lambda process: {"machine": "elsewhere x", "pid": -process["pid"]},
    lambda process: {"pid": -process["pid"]},
    lambda process: {"start": "1"},
])  # fmt: skip
def test_no_process_is_ended_that_is_not_the_jobs(
    client: Client, repo: Repository, place: Path, bystander: subprocess.Popen[bytes],
    change: Callable[[Any], Any],
) -> None:  # fmt: skip
    process = writer_of(bystander.pid)
    assert process is not None
    own(repo, place, ended=None, process={**process, **change(process)})
    client.request("DELETE", "jobs/1?timeout=0")
    time.sleep(0.3)
    assert bystander.poll() is None


def test_a_nul_is_refused_and_leaves_no_job(client: Client) -> None:
    for _ in range(9):
        assert client.post("gc", json={"grace": "a\0b"}).status_code == 422
        assert client.post("verify/a%00b").status_code in (403, 422)
    assert client.json("jobs") == []


@pytest.mark.slow
def test_a_text_that_looks_like_the_jobs_file_is_a_text(client: Client) -> None:
    made = client.post("exports", json={"refs": ["{bundle}"]}).json()
    deadline = time.monotonic() + 60
    while (found := client.json(f"jobs/{made['job']}"))["phase"] != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "'{bundle}'" in found["error"]["detail"]


def test_files_of_a_job_are_the_users_alone(client: Client, repo: Repository) -> None:
    made = client.post("fsck").json()
    place = Path(str(repo.directory)) / "live" / "jobs" / str(made["job"])
    for each in (*place.iterdir(), place.parent / "last"):
        assert each.stat().st_mode & 0o077 == 0, each.name
    client.request("DELETE", f"jobs/{made['job']}?timeout=0")


@pytest.mark.slow
def test_a_defect_of_one_part_does_not_end_the_events(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Listener:
        woken = 0

        def wake(self) -> None:
            self.woken += 1

        def wants(self, *_: Any) -> bool:
            return False

    watch = Watch(repo, Jobs(repo.directory))
    listener, failed = Listener(), threading.Event()
    look = watch.look
    assert watch.listen(listener)  # type: ignore[arg-type]

    def fail() -> bool:
        failed.set()
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(watch, "look", fail)
    assert failed.wait(10)
    monkeypatch.setattr(watch, "look", look)
    seen = listener.woken
    repo.tag("later", "main")
    deadline = time.monotonic() + 10
    while listener.woken == seen:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    watch.end()
    assert capfd.readouterr().err.count("OSError: [Errno 24]") == 1


def test_what_a_new_viewer_sees_first_the_others_are_told_too(repo: Repository) -> None:
    class Listener:
        woken = 0

        def wake(self) -> None:
            self.woken += 1

    watch = Watch(repo, Jobs(repo.directory))
    watch._thread = threading.current_thread()  # it looks never: only those that enter do
    first, second = Listener(), Listener()
    watch.listen(first)  # type: ignore[arg-type]
    seen = first.woken
    repo.tag("later", "main")
    watch.listen(second)  # type: ignore[arg-type]
    assert first.woken == seen + 1
    watch._thread = None
    watch.end()
