"""Many processes push to one remote at once: nothing is lost, and nobody waits for others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from simgit import Repository

_WRITER = """
import sys, json
from pathlib import Path
from simgit import Repository
from simgit.remotes.remote import Local, Remote
from simgit.remotes.transport import open_transport

folder, number, pushes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
puts = []
transport = open_transport(str(folder / "remote"))
for name in ("put_new", "put_if"):
    def counted(key, *rest, call=getattr(transport, name)):
        if key.startswith("refs/"):
            puts.append(key)
        return call(key, *rest)
    setattr(transport, name, counted)
sys.stdin.readline()  # all at once
with Repository.init(folder / f"w{number}") as repo:
    local = Local(repo.odb, repo.refs, repo._store.journaled, "origin")
    with Remote.of(transport, local) as remote:
        for push in range(pushes):
            with repo.recorder(f"worker/{number}") as recorder:
                for step in range(5):
                    recorder.append([number, push, step], reset=push == step == 0)
            remote.push([f"worker/{number}"])
    print(json.dumps([len(puts), str(repo.runs[f"worker/{number}"].oid)]))
"""


@pytest.mark.slow
def test_fifty_processes_of_twenty_pushes(tmp_path: Path) -> None:
    processes, pushes = 50, 20
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(number), str(pushes)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(processes)
    ]  # fmt: skip
    for each in started:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    found = [json.loads(each.communicate(timeout=300)[0]) for each in started]
    assert not any(each.returncode for each in started)
    assert sum(puts for puts, _ in found) <= 1.1 * processes * pushes
    with Repository.init(tmp_path / "all") as repo:
        repo.add_remote("origin", str(tmp_path / "remote"))
        with repo.remote() as remote:
            remote.fetch()
            assert remote.fsck().is_clean
        for number, (_, oid) in enumerate(found):
            state = repo.state(f"origin/worker/{number}")
            assert str(state.oid) == oid and state.step == 5 * pushes - 1
        assert not repo.fsck().problems
