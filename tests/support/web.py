"""Clients of the HTTP API: without a socket, and a server in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from simgit.live import Tracker
from simgit.repository import Repository
from simgit.server.application import application
from simgit.server.gate import Access
from simgit.server.service import Service
from tests.support.paths import ROOT


@cache
def _application() -> FastAPI:
    """Return an application for any service: making one takes longer than a request."""
    return application(Repository.init(":memory:"))


class Client:
    """Sends requests to an application in this process, with its full token."""

    def __init__(
        self, repo: Repository, access: Access | None = None, tracker: Tracker | None = None
    ) -> None:
        self.repo = repo
        self.app = _application()
        self.service = Service(repo, access or Access(), tracker)
        self.access = self.service.access
        token = self.access.tokens.get("full", "")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def close(self) -> None:
        self.service.close()

    def request(self, method: str, path: str, /, **more: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, **more))

    async def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        self.app.state.service = self.service
        headers = {**self.headers, **more.pop("headers", {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, f"/v1/{path}", headers=headers, **more)

    def get(self, path: str, /, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, /, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)

    def json(self, path: str, /, **more: Any) -> Any:
        found = self.get(path, **more)
        assert found.status_code == 200, found.text
        return found.json()


class Process:
    """``simgit serve`` in a process of its own, on a free port."""

    def __init__(self, where: Path, *options: str) -> None:
        command = [sys.executable, "-m", "simgit", "serve", "--port", "0", "--json", *options]
        places = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": places.rstrip(os.pathsep)}
        # a file, which ends with the server: simulations inherit it, and may outlive that
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, cwd=where, env=env, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        if not self.line:
            raise AssertionError(self._ended()[1])
        self.address: dict[str, Any] = json.loads(self.line)

    @property
    def url(self) -> str:
        return str(self.address["url"]) + "v1/"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.address['tokens']['full']}"}

    def end(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; return exit code and stderr."""
        self.process.send_signal(how)
        return self._ended()

    def kill(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self._ended()

    def _ended(self) -> tuple[int, str]:
        assert self.process.stdout is not None
        code = self.process.wait(60)
        self.process.stdout.close()
        self._errors.seek(0)
        with self._errors:
            return code, self._errors.read()


@contextmanager
def serving(where: Path, *options: str) -> Iterator[Process]:
    """Serve a repository while the block runs."""
    server = Process(where, *options)
    try:
        yield server
    finally:
        server.kill()
