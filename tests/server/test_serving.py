"""The process: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from simgit import Repository
from simgit.errors import InvalidInput, StorageError
from simgit.server.serving import Address, Options, redirect, serve
from tests.support.paths import ROOT
from tests.support.web import serving


@pytest.mark.slow
def test_the_tokens_are_in_a_file_of_the_user_while_it_runs(repo: Repository) -> None:
    assert repo.worktree is not None and repo.directory is not None
    file = repo.directory / "serve.json"
    with serving(repo.worktree) as server:
        told = json.loads(file.read_text())
        assert told["tokens"] == server.address["tokens"]
        assert told["pid"] == server.process.pid
        assert file.stat().st_mode & 0o777 == 0o600
        with httpx.Client(base_url=server.url, headers=server.headers) as client:
            assert client.get("runs/main").json()["name"] == "main"
            foreign = client.get("runs/main", headers={"Host": "evil.example"})
            assert foreign.status_code == 403
        assert httpx.get(server.url + "runs/main").status_code == 401
        assert server.end(signal.SIGTERM) == (0, "")
    assert not file.exists()
    assert [*repo.directory.glob(".serve*")] == []


def test_browsers_are_led_to_a_name_of_the_server_alone(repo: Repository) -> None:
    assert repo.worktree is not None
    found: list[Address] = []

    def ready(address: Address) -> None:
        found.append(address)
        raise KeyboardInterrupt

    for host, is_own in (("127.0.0.1", True), ("127.0.0.2", False)):
        with pytest.raises(KeyboardInterrupt):
            serve(repo, Options(host, port=0), ready)
        links = [found[-1].link(level) for level in ("full", "view")]
        names = {link.partition("://")[2].partition(":")[0] for link in links}
        assert all(
            found[-1].tokens[each] in link
            for each, link in zip(("full", "view"), links, strict=True)
        )
        assert len(names) == (2 if is_own else 1)
        assert all(name.endswith(".localhost") for name in names) == is_own
        assert found[-1].url.startswith(f"http://{host}:")
    assert found[0].link() != found[1].link()


@pytest.mark.slow
def test_it_answers_under_its_own_name_only(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert repo.worktree is not None and repo.directory is not None
    monkeypatch.setenv("BROWSER", "true")
    with serving(repo.worktree, "--open") as server:
        assert httpx.get(server.url + "health").status_code == 200  # after the page is written
        page = (repo.directory / "serve.html").read_text()
        host = page.partition("http://")[2].partition("/")[0]
        assert host.endswith(server.address["url"].rpartition(":")[2].rstrip("/"))
        health = server.url + "health"
        assert httpx.get(health, headers={"Host": host}).status_code == 200
        other = host.replace("simgit-", "simgit-0")
        assert httpx.get(health, headers={"Host": other}).status_code == 403
        token = {"token": server.address["tokens"]["full"]}
        own = {"Host": host, "Origin": f"http://{host}"}
        made = httpx.post(server.url + "session", json=token, headers=own)
        assert made.status_code == 200
        cookie = {"Cookie": made.headers["set-cookie"].partition(";")[0]}
        assert httpx.get(server.url + "runs", headers=own | cookie).status_code == 200
        server.end()


def test_without_a_token_it_serves_loopback_only(repo: Repository) -> None:
    with pytest.raises(InvalidInput, match="--no-token"):
        serve(repo, Options(host="0.0.0.0", port=0, with_token=False), print)


@pytest.mark.slow
def test_a_port_in_use_is_told(repo: Repository) -> None:
    assert repo.worktree is not None
    with serving(repo.worktree, "--no-token") as server:
        port = int(server.address["url"].rstrip("/").rpartition(":")[2])
        assert httpx.get(server.url + "runs/main").status_code == 200
        with pytest.raises(StorageError, match="--port 0"):
            serve(repo, Options(port=port), print)
        assert server.end() == (0, "")


def test_the_library_and_log_load_no_web_server(tmp_path: Path) -> None:
    Repository.init(tmp_path).close()
    code = (
        "import sys, simgit; from simgit.cli import main\n"
        "try: main(['log', '--help'])\n"
        "except SystemExit: pass\n"
        "print({*sys.modules} & {'fastapi', 'starlette', 'uvicorn', 'pydantic', 'httpx'})"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        text=True,
        capture_output=True,
        check=True,
    )
    assert found.stdout.splitlines()[-1] == "set()"


def test_a_browser_is_not_given_the_token_as_an_argument(tmp_path: Path) -> None:
    address = Address("http://127.0.0.1:1/", {"full": "secret"})
    path = redirect(tmp_path, address)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "#token=secret" in path.read_text() and "secret" not in path.as_uri()
