"""Jobs: each a real process, which is cancelled, killed, and outlives its server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from simgit import Repository
from simgit.gym import Recorder
from simgit.live import Tracker
from simgit.objects.oid import Oid
from simgit.server.gate import Access
from simgit.server.jobs import KEPT, Jobs
from tests.support.paths import ROOT
from tests.support.web import Client

OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(autouse=True)
def none_left(repo: Repository) -> Iterator[None]:
    yield
    for each in Jobs(repo.directory).all():
        if each["process"] is not None:
            os.kill(each["process"], signal.SIGKILL)


def ended(client: Client, number: int) -> Any:
    deadline = time.monotonic() + 120
    while (found := client.json(f"jobs/{number}"))["phase"] != "ended":
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def started(client: Client, path: str, **more: Any) -> Any:
    found = client.post(path, **more)
    assert found.status_code == 202, found.text
    assert found.headers["location"] == f"/v1/jobs/{found.json()['job']}"
    return found.json()


def frozen(client: Client) -> Any:
    """Start a job that does nothing until it is let go on."""
    made = started(client, "fsck")
    os.kill(made["process"], signal.SIGSTOP)
    return made


def test_maintenance_has_the_result_that_the_command_prints(client: Client) -> None:
    client.repo.branch("gone", "main@1")
    lost = client.repo.commit(np.float64([7.0, 7.0]), 1, 5.0, run="gone")
    client.repo.delete_run("gone")
    shown = started(client, "gc", json={"dry_run": True, "grace": "now", "expire": "now"})
    found = ended(client, shown["job"])
    assert (found["outcome"], found["result"]["states"], found["error"]) == ("completed", 1, None)
    assert client.repo.state(lost).step == 2
    found = ended(client, started(client, "fsck")["job"])
    assert found["result"]["clean"] is True and found["kind"] == "fsck"
    assert found["result"]["states"] == 8
    done = ended(client, started(client, "gc", json={"grace": "now", "expire": "now"})["job"])
    assert done["result"]["removed"]["states"] == 1
    assert client.get(f"states/{lost.hex()}").status_code == 404
    assert [each["job"] for each in client.json("jobs")] == [3, 2, 1]


@pytest.mark.slow
def test_what_is_exported_is_imported_elsewhere_as_a_strangers(
    client: Client, tmp_path: Path
) -> None:
    body = {"refs": ["main", "tags/v1"]}
    job = started(client, "exports", json=body, headers={"Idempotency-Key": "e"})["job"]
    found = ended(client, job)
    assert set(found["result"]["refs"]) == {"runs/main", "tags/v1"}, found
    bundle = client.get(f"exports/{job}")
    assert bundle.headers["content-type"] == "application/octet-stream"
    part = client.get(f"exports/{job}", headers={"Range": "bytes=0-12"})
    assert (part.status_code, part.content) == (206, b"simgit bundle")
    with Repository.init(tmp_path / "other") as repo:
        other = Client(repo)
        made = started(other, "imports?prefix=ada/", content=bundle.content, headers=OCTETS)
        done = ended(other, made["job"])
        assert done["result"]["refs"]["runs/main"]["name"] == "runs/ada/main", done
        assert repo.resolve("ada/main") == client.repo.resolve("main")
        with repo.odb.read() as txn:
            binding = Oid(txn.get("attachments", repo.resolve("ada/main@2") + b"pic") or b"")
        assert not repo.is_trusted(binding)
        assert not [*(repo.directory or Path()).glob("live/jobs/*/bundle")]  # it is in the store
        bad = started(other, "imports", content=bundle.content[:-9], headers=OCTETS)
        failed = ended(other, bad["job"])
        assert (failed["outcome"], failed["result"]) == ("failed", None)
        assert failed["error"]["detail"] == failed["reason"]
        other.close()


@pytest.mark.slow
def test_an_error_is_a_problem(client: Client) -> None:
    given: list[tuple[str, Any, str, int]] = [
        ("exports", {"refs": ["--all"]}, "NotFound", 404),  # no option
        ("fsck", {"sample": "9/7"}, "InvalidInput", 422),
    ]
    made = [started(client, path, json=body)["job"] for path, body, *_ in given]
    for number, (_, _, kind, status) in zip(made, given, strict=True):
        found = ended(client, number)
        assert (found["outcome"], found["result"]) == ("failed", None)
        assert found["error"]["detail"] == found["reason"]
        assert (found["error"]["type"], found["error"]["status"]) == (kind, status)
        assert client.get(f"exports/{number}").status_code == 404


@pytest.mark.slow
def test_a_job_is_cancelled_also_if_it_does_not_listen(client: Client) -> None:
    made = frozen(client)
    asked = client.request("DELETE", f"jobs/{made['job']}?timeout=0.1")
    assert (asked.status_code, asked.json()["phase"]) == (202, "stopping")
    found = ended(client, made["job"])
    assert (found["outcome"], found["process"]) == ("cancelled", None)
    gone = client.request("DELETE", f"jobs/{made['job']}")
    assert gone.json() == {"forgotten": made["job"]}
    assert client.get(f"jobs/{made['job']}").status_code == 404
    assert started(client, "fsck")["job"] == made["job"] + 1  # no number is used again


def test_a_job_that_obeys_is_not_killed(client: Client) -> None:
    made = frozen(client)
    asked = client.request("DELETE", f"jobs/{made['job']}?timeout=60")
    assert asked.json()["phase"] == "stopping"
    os.kill(made["process"], signal.SIGCONT)
    assert ended(client, made["job"])["outcome"] == "cancelled"
    assert client.repo.directory is not None
    stored = client.repo.directory / "live" / "jobs" / str(made["job"]) / "job.json"
    assert json.loads(stored.read_text())["code"] != -signal.SIGKILL


@pytest.mark.slow
def test_a_run_is_verified_over_http(repo: Repository) -> None:
    env = Recorder(gym.make("CartPole-v1"), repo, "cart")
    env.reset(seed=1)
    for _ in range(5):
        env.step(1)
    env.close()
    with Tracker(repo) as tracker:
        client = Client(repo, tracker=tracker)
        found = ended(client, started(client, "verify/cart")["job"])
        assert (found["kind"], found["outcome"]) == ("verify", "completed"), found
        result = found["result"]
        assert (result["exact"], result["start"], result["stop"]) == (True, 0, 6)
        client.close()


def test_a_job_that_is_killed_says_so(client: Client) -> None:
    made = frozen(client)
    os.kill(made["process"], signal.SIGKILL)
    found = ended(client, made["job"])
    assert (found["outcome"], found["reason"]) == ("crashed", "SIGKILL")


def test_how_a_job_ended_is_told_also_if_it_ends_while_it_is_told(client: Client) -> None:
    made, jobs = frozen(client), client.service.jobs
    record = jobs._read(made["job"])  # a request reads it, and goes on when all has happened
    os.kill(made["process"], signal.SIGKILL)
    ended(client, made["job"])
    assert jobs._told(record)["reason"] == "SIGKILL"


def test_eight_jobs_run_at_once_and_no_more(client: Client) -> None:
    made = [frozen(client) for _ in range(8)]
    more = client.post("gc")
    assert (more.status_code, more.headers["retry-after"], more.json()["limit"]) == (429, "5", 8)
    upload = client.post("imports", content=b"x", headers=OCTETS)
    assert upload.status_code == 429
    os.kill(made[0]["process"], signal.SIGKILL)
    ended(client, made[0]["job"])
    frozen(client)


@pytest.mark.slow
def test_a_job_outlives_its_server_and_the_next_one_finds_it(client: Client) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from simgit.server.jobs import Jobs\n"
        "made = Jobs(Path(sys.argv[1])).start('fsck', ['fsck', '--json'])\n"
        "os.kill(made['process'], signal.SIGSTOP); os._exit(0)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(client.repo.directory)], env=env, check=True)
    (found,) = client.json("jobs")
    assert found["phase"] == "running"
    os.kill(found["process"], signal.SIGCONT)
    done = ended(client, found["job"])
    assert (done["outcome"], done["result"]["clean"]) == ("completed", True)
    assert client.json("jobs")[0]["ended"] == done["ended"]


def test_a_request_that_is_sent_twice_starts_one_job(client: Client) -> None:
    for path, more in (("fsck", {}), ("imports", {"content": b"no bundle", "headers": OCTETS})):
        more["headers"] = more.get("headers", {}) | {"Idempotency-Key": path}
        first, second = (client.post(path, **more) for _ in range(2))
        assert second.json() == first.json() and second.headers["idempotency-replayed"] == "true"
        assert second.headers["location"] == first.headers["location"]
    assert len(client.json("jobs")) == 2
    more = {"content": b"no bundlE", "headers": OCTETS | {"Idempotency-Key": "imports"}}
    assert client.post("imports", **more).status_code == 422  # as long, and of other bytes
    assert len(client.json("jobs")) == 2


def test_who_may_not_start_jobs(client: Client, repo: Repository) -> None:
    view = {"Authorization": f"Bearer {client.access.tokens['view']}"}
    refused: list[tuple[str, dict[str, Any], int]] = [
        ("gc", {"headers": view}, 403),
        ("verify/main", {}, 403),  # it has no tracker
        ("imports", {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
        ("imports", {"content": b"x", "headers": {"Content-Type": "application/json"}}, 415),
        ("exports", {"json": {}}, 422),
        ("gc", {"json": {"dry": True}}, 422),
    ]
    for path, more, status in refused:
        found = client.post(path, **more)
        assert found.status_code == status, (path, found.text)
    assert client.json("jobs", headers=view) == []


def test_an_upload_that_is_too_long_leaves_nothing(repo: Repository) -> None:
    client = Client(repo, Access(upload=1000))

    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(20):
            yield b" " * 100

    found = client.post("imports", content=pieces(), headers=OCTETS)
    assert (found.status_code, found.json()["limit"]) == (413, 1000)
    assert client.json("jobs") == []
    assert repo.directory is not None
    assert not [each for each in (repo.directory / "live" / "jobs").iterdir() if each.is_file()]
    client.close()


@pytest.mark.slow
def test_what_has_ended_is_forgotten_when_there_is_much_of_it(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(repo.directory)
    made: Callable[..., Any] = jobs.start
    monkeypatch.setattr("simgit.server.jobs.KEPT", 1)
    for _ in range(3):
        number = made("fsck", ["--version"])["job"]
        while jobs.get(number)["phase"] != "ended":
            time.sleep(0.01)
    assert [each["job"] for each in jobs.all()] == [3, 2]
    assert KEPT > 8


def test_a_repository_in_memory_has_no_jobs() -> None:
    with Repository.init(":memory:") as repo:
        client = Client(repo)
        assert client.json("jobs") == []
        assert client.post("gc").status_code == 422
        client.close()
