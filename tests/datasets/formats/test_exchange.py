"""Exports and imports as a whole: interrupted, repeated, in the way of something, large."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import AlreadyExists, InvalidInput, NotFound, Repository
from simgit.datasets.formats.base import formats
from simgit.odb import foreign
from tests.datasets.formats.cases import episodes, everything

WRITTEN = ("arrow", "csv", "jsonl", "lerobot", "minari", "numpy", "parquet")
EXACT = ("arrow", "jsonl", "lerobot", "minari", "parquet")


def needs(name: str) -> None:
    if name in ("parquet", "arrow", "lerobot"):
        pytest.importorskip("pyarrow")
    if name == "minari":
        pytest.importorskip("h5py")


class Interrupt:
    """A progress that is interrupted when the first states are done."""

    def __call__(self, done: int, total: int | None) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", WRITTEN)
def test_an_interrupted_export_leaves_nothing(tmp_path: Path, name: str) -> None:
    needs(name)
    repo = Repository.init(":memory:")
    episodes(repo)
    with pytest.raises(KeyboardInterrupt):
        repo.export(name, tmp_path / "x", "main", progress=Interrupt())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", EXACT)
def test_an_interrupted_import_can_be_called_again(tmp_path: Path, name: str) -> None:
    needs(name)
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    repo.export(name, tmp_path / "x", "main", "what-if")
    with pytest.raises(KeyboardInterrupt):
        other.import_data(tmp_path / "x", progress=Interrupt())
    assert dict(other.runs) == {} and list(other.operations()) == []
    found = other.import_data(tmp_path / "x")
    assert {each.what for each in found.refs.values()} == {"new"}
    assert [each.command for each in other.operations()] == ["import"]
    assert {each.what for each in other.import_data(tmp_path / "x").refs.values()} == {"unchanged"}
    assert other.fsck().is_clean
    other.undo()
    assert dict(other.runs) == {}


def test_what_is_there_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    episodes(repo)
    (tmp_path / "x").write_text("mine")
    with pytest.raises(AlreadyExists):
        repo.export("jsonl", tmp_path / "x", "main")
    assert (tmp_path / "x").read_text() == "mine"
    repo.export("jsonl", tmp_path / "x", "main", replace=True)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine").write_text("mine")
    with pytest.raises(AlreadyExists):
        repo.export("jsonl", tmp_path / "d", "main", replace=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["d", "x"]


def test_an_imported_run_moves_forward(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    repo.export("jsonl", tmp_path / "1", "main")
    other.import_data(tmp_path / "1")
    with repo.recorder("main") as recorder:
        recorder.append(np.arange(4, dtype="f4"), 1, 1.0)
    repo.export("jsonl", tmp_path / "2", "main")
    assert other.import_data(tmp_path / "2").refs["runs/main"].what == "forward"
    with other.recorder("main") as recorder:
        recorder.append(np.arange(4, dtype="f4"), 2, 1.0)
    assert other.import_data(tmp_path / "2").refs["runs/main"].what == "unchanged"
    with repo.recorder("main") as recorder:
        recorder.append(np.arange(4, dtype="f4"), 3, 1.0)
    repo.export("jsonl", tmp_path / "3", "main")
    assert other.import_data(tmp_path / "3").refs["runs/main"].name == "runs/main.conflict-1"
    assert other.import_data(tmp_path / "3", rename="mine").refs["runs/main"].name == "runs/mine"


def test_what_is_imported_is_not_trusted(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    with repo.recorder("main", spec={"environment": {"id": "evil:Env"}}) as recorder:
        recorder.append(1, reset=True)
    repo.export("jsonl", tmp_path / "x", "main")
    other.import_data(tmp_path / "x")
    with other.odb.read() as txn:
        ref = other.refs.run(txn, "main")
        assert foreign.is_foreign(txn, other["main"][0].origin)
        assert foreign.is_foreign(txn, ref.record)


def test_states_with_several_parents_come_back(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    everything(repo)
    repo.commit(observation=1, run="main", parents=["what-if"])
    repo.export("jsonl", tmp_path / "x", "main")
    other.import_data(tmp_path / "x")
    assert other.runs["main"].oid == repo.runs["main"].oid
    assert list(other.runs) == ["main"]


def test_files_of_states_and_attachments_are_said_to_be_left_out(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    repo.commit(1, files={"a.txt": b"a"})
    repo.attach("main", "note", [1])
    done = repo.export("jsonl", tmp_path / "x", "main")
    assert done.lossy is not None and "files" in done.lossy
    assert done.notes == ("attachments left out, which only bundles carry: 1 'note'",)
    with pytest.raises(InvalidInput):
        other.import_data(tmp_path / "x")
    other.import_data(tmp_path / "x", as_new=True)
    assert other["main"].observations.tolist() == [1]


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    episodes(repo)
    wrong: list[dict[str, Any]] = [
        {"format": "excel"}, {"revisions": ["nothing"]}, {"fields": ["observatoin"]},
        {"where": "reward >"}, {"options": {"x": "1"}}, {"revisions": ["main", "main"]},
        {"target": tmp_path / "no" / "where"}, {"target": ".."}, {"format": 3}, {"fields": 3},
    ]  # fmt: skip
    for each in wrong:
        given = {"format": "jsonl", "target": tmp_path / "x", "revisions": ["main"]} | each
        revisions = given.pop("revisions")
        with pytest.raises((InvalidInput, NotFound, Exception)) as caught:
            repo.export(given.pop("format"), given.pop("target"), *revisions, **given)
        assert type(caught.value).__module__ == "simgit.errors", each
    with pytest.raises(NotFound):
        repo.import_data(tmp_path / "nothing")
    with pytest.raises(NotFound):
        repo.import_data(tmp_path, format="excel")
    assert list(tmp_path.iterdir()) == []


def test_every_format_says_what_it_is() -> None:
    assert set(WRITTEN) <= set(formats())
    for name, each in formats().items():
        assert each.name == name and each.summary and "\n" not in each.summary


SCRIPT = """
import sys
from simgit import Repository
from simgit.refs.records import moved
from simgit.testing.builders import record_cartpole
repo, count = Repository.init("one"), int(sys.argv[1])
with repo.recorder("main"):
    pass
tip = record_cartpole(repo.odb, count)
with repo.odb.write() as txn:
    ref = repo.refs.run(txn, "main")
    repo.refs.update_run(txn, "main", ref, moved(ref, tip), "test")
repo.close()
"""


MEASURED = """
import subprocess, sys
subprocess.run([sys.executable, "-c", '''SCRIPT''', sys.argv[1]], check=True)
import resource
from simgit import Repository
with Repository.open("one") as repo:
    repo.export("parquet", "x.parquet", "main")
with Repository.init("two") as other:
    other.import_data("x.parquet")
    assert str(other.runs["main"].oid) == str(Repository.open("one").runs["main"].oid)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
""".replace("SCRIPT", SCRIPT)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_states(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    peaks = []
    for count in (100_000, 400_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(count)], cwd=folder, check=True, text=True,
            capture_output=True,
        )  # fmt: skip
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] + 32_000, peaks
