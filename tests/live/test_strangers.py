"""What a stranger's repository, or another machine, says of simulations is not believed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simgit import Repository
from simgit.errors import Conflict, IntegrityError, Untrusted
from simgit.live import Tracker, types
from simgit.live.processes import end, suspend
from simgit.odb import foreign
from simgit.process import is_alive, writer_of
from simgit.refs.simulations import (
    SimulationRecord,
    home_of,
    put_simulation,
    simulation_record,
)


def test_a_clone_of_a_stranger_registers_no_types(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "a") as repo:
        repo.commit(1)
        repo.set_setting("live.types.x", "evil.py:main")
        with Repository.clone(tmp_path / "a", tmp_path / "mine") as mine:
            assert "x" in types(mine), "that of the user's own repository does"
        repo.distrust()
    with Repository.clone(tmp_path / "a", tmp_path / "b") as clone:
        assert "x" not in types(clone)
        assert "live.types.x" not in clone.settings()


def test_a_verdict_does_not_make_a_strangers_type_ones_own(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "r") as repo, Tracker(repo, workers=0) as tracker:
        repo.commit(1)
        kept = {"simulation": {"type": "command"}}
        repo.create_run("theirs", "main", config={"command": ["true"]}, metadata=kept)
        with repo.odb.storage.write() as txn:
            foreign.mark(txn, repo.refs.run(txn, "theirs").record)
        repo.configure("theirs", metadata={"verdict": {"result": "exact"}})
        with pytest.raises(Untrusted, match="came from elsewhere"):
            tracker.restart("theirs")
        before = {*repo.runs}
        with pytest.raises(Untrusted, match="settings of run 'theirs' came from elsewhere"):
            tracker.start("command", "mine", at="theirs")
        assert {*repo.runs} == before


def test_no_process_is_touched_that_only_has_the_number() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        here = writer_of(other.pid)
        for changed in ({"start": "1"}, {"start": ""}):
            assert end({**here, **changed}, politely=False)
            suspend({**here, **changed}, True)
        first = writer_of(1)
        assert not end(first, politely=False) and is_alive(first)
        assert end({**here, "pid": 1}, politely=False)
        with pytest.raises(Conflict, match="runs on 'elsewhere': end it there"):
            end({**here, "machine": "elsewhere 1234"}, politely=False)
        suspend({**here, "machine": "elsewhere 1234"}, True)
        assert is_alive(here)
        assert end(here, politely=False)


def test_a_record_that_names_other_files_is_refused(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "r") as repo:
        home = home_of(repo.directory)
        record = SimulationRecord("demo", "queued", "../../x", home)
        with pytest.raises(IntegrityError, match="execution"), repo.odb.storage.write() as txn:
            put_simulation(txn, "main", record, None, home)
        with repo.odb.read() as read:
            assert simulation_record(read, "main", home) is None
