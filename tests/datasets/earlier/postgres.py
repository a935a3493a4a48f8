"""A real PostgreSQL server for tests: its own data, its own port on loopback, ended with the test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "s3cret-of-the-server"


def programs() -> Path:
    """Return the directory of the server's programs; skip where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = found[-1] if found else shutil.which("initdb")
    if path is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return Path(path).parent


def _unprivileged() -> dict[str, Any]:
    """Return how to start a program as a user who is not root; the server refuses that one."""
    if os.getuid():
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("no user other than root to start PostgreSQL as")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a server; yield the URL of an empty database."""
    pytest.importorskip("psycopg")
    bin_, who = programs(), _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="simgit-pg-", dir="/tmp"))
    try:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if who:
            for each in (folder, secret):
                os.chown(each, who["user"], who["group"])
        subprocess.run(
            [bin_ / "initdb", "-D", folder / "data", "-U", "ada", "-A", "scram-sha-256",
             f"--pwfile={secret}", "--no-sync", "--no-locale", "-E", "UTF8"],
            check=True, capture_output=True, cwd="/", **who,
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = (folder / "log").open("wb")
        process = subprocess.Popen(
            [bin_ / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port),
             "-k", folder, "-F", "-c", "max_connections=8", "-c", "shared_buffers=16MB"],
            stdout=log, stderr=log, cwd="/", **who,
        )  # fmt: skip
        try:
            url = f"postgresql://ada:{PASSWORD}@127.0.0.1:{port}/postgres"
            _wait(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(60)
            log.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    while True:
        try:
            psycopg.connect(url, connect_timeout=60).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
