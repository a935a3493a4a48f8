"""Processes that write to one store at once, and such as are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from simgit.remotes.transport import Transport
from tests.support.paths import ROOT

_COUNTS = """
import sys
from simgit.remotes.transport import open_transport
from tests.remotes.transport.contract import increase
transport = open_transport(sys.argv[1])
transport.conditional = sys.argv[2]
for _ in range(int(sys.argv[3])):
    increase(transport, "refs/runs/a")
"""
_WRITES = """
import itertools, sys
from simgit.errors import Conflict, TransportError
from simgit.remotes.transport import open_transport
transport = open_transport(sys.argv[1])
transport.conditional = sys.argv[2]
me = sys.argv[3]
print(flush=True)
for i in itertools.count():
    data = bytes([i % 256]) * 300_000
    transport.put_new(f"packs/{me}/{i}", data)
    transport.put("heads", data)
    try:
        transport.put_if("refs/a", data, transport.head("refs/a").etag)
    except Conflict:
        pass
    except TransportError as error:  # of Ceph, where two write at once: 500 UnknownError
        if not error.unknown:
            raise
"""


@contextmanager
def _started(commands: Iterable[list[str]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", *command],
                    cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": str(ROOT)},
                    stdout=subprocess.PIPE,
                )
            )
            for command in commands
        ]
        for each in started:
            stack.callback(each.kill)  # also if the test fails: they would be waited for
        yield started


def count(transport: Transport, url: str, times: int) -> None:
    """Check that eight processes that count by comparing lose nothing."""
    transport.put_new("refs/runs/a", b"")
    words = [url, transport.conditional, str(times)]
    with _started([_COUNTS, *words] for _ in range(8)) as processes:
        assert [each.wait() for each in processes] == [0] * 8
    got = transport.get("refs/runs/a")
    assert got is not None and got.data.count(b"\n") == 8 * times


def kill(transport: Transport, url: str, turns: int) -> None:
    """Check that writers that are killed at any moment leave whole objects, and no locks."""
    transport.put_new("refs/a", b"\0" * 300_000)
    for turn in range(turns):
        words = [url, transport.conditional]
        with _started([_WRITES, *words, f"{turn}-{i}"] for i in range(2)) as processes:
            for each in processes:
                assert each.stdout is not None
                each.stdout.readline()
            time.sleep(0.05 + turn * 0.037)
            for each in processes:
                assert each.poll() is None
                each.kill()
    found = list(transport.list("", etags=True))
    assert len(found) > turns
    for each in found:
        got = transport.get(each.key)
        assert got is not None and (len(got.data), got.etag) == (300_000, each.etag)
        assert len(set(got.data)) == 1
    etag = transport.head("refs/a").etag
    assert etag is not None
    transport.put_if("refs/a", b"after", etag)
    transport.put("heads", b"after")
