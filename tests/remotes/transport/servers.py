"""Servers with S3's interface, as processes that end with the tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

_MOTO = """
import os, sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

def end_with_the_tests():
    sys.stdin.buffer.read()
    os._exit(0)

threading.Thread(target=end_with_the_tests, daemon=True).start()
app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()

def one_at_a_time(environ, start_response):
    with lock:  # moto compares and writes in two steps, which no store does
        return [b"".join(app(environ, start_response))]

server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def moto() -> Iterator[str]:
    """Run moto's server; yield its address."""
    with subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        port = process.stdout.readline().decode().strip()
        assert port, "moto did not start"
        yield f"http://127.0.0.1:{port}"
        process.stdin.close()


def make_bucket(address: str, name: str) -> None:
    """Make a bucket where anybody may."""
    with urlopen(Request(f"{address}/{name}", method="PUT")) as answer:
        assert answer.status == 200
