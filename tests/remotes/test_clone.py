"""Clones are whole, compact and of one moment; copies made with other tools are checked once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simgit import AlreadyExists, IntegrityError, NotFound, Repository, SimgitWarning
from simgit.storage import datafile
from simgit.storage.lmdb import files
from simgit.testing.failpoints import ENDED, traced

WRITER = """
import sys
import numpy as np
from simgit import Repository
with Repository.open(sys.argv[1]) as repo:
    n = 0
    while True:
        with repo.recorder("live", flush_every=20) as rec:
            for _ in range(100):
                rec.append(np.float32([n, n / 3]), n, float(n))
                n += 1
        repo.attach("live", "agent", {"weights": np.arange(1000.0) * n})
        print(n, flush=True)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    with Repository.init(path) as repo:
        with repo.recorder("main") as rec:
            for i in range(300):
                rec.append(np.full((20, 20), i % 7, np.uint8), i, float(i), message=str(i))
        repo.attach("main", "agent", {"weights": np.arange(500.0)})
        repo.tag("v1", "main@100", message="annotated")
        repo.branch("b", "main@50", overrides={"lr": 1})
    return path


def tips(repo: Repository) -> dict[str, object]:
    return {run.name: (run.oid, run.config) for run in repo.runs.values()} | dict(repo.tags())


def test_a_clone_has_everything_and_is_compact(source: Path, tmp_path: Path) -> None:
    with Repository.open(source) as repo:
        repo.commit(1, files={"big": os.urandom(400_000)}, run="gone")
        repo.delete_run("gone")
        with Repository.clone(source, tmp_path / "clone") as made:
            assert tips(made) == tips(repo)
            assert made.attachments("main") == repo.attachments("main")
            assert [e.message for e in made.reflog("main")] == [
                e.message for e in repo.reflog("main")
            ]
            assert made.fsck().is_clean
            assert made.size() <= repo.size()
            made.commit(2)
            assert repo.head_run.step == 299


def test_a_clone_has_none_of_the_pages_that_are_free(source: Path, tmp_path: Path) -> None:
    with Repository.open(source) as repo, Repository.open(source) as other:
        repo.commit(np.frombuffer(os.urandom(400_000), np.uint8), run="gone")
        repo.delete_run("gone")
        with other.odb.read():  # as long as it lasts the file is not replaced
            repo.gc(grace=0, expire=0)
        with Repository.clone(source, tmp_path / "clone") as made:
            assert made.size() < repo.size() - 300_000
            assert tips(made) == tips(repo)


def test_no_run_of_a_clone_is_being_written(source: Path, tmp_path: Path) -> None:
    with Repository.open(source) as repo, repo.recorder("main") as rec:
        rec.append(1)
        with Repository.clone(source, tmp_path / "clone") as made:
            assert repo.runs["main"].writer is not None
            assert made.runs["main"].writer is None


def test_a_clone_does_not_overwrite_a_repository(source: Path, tmp_path: Path) -> None:
    Repository.clone(source, tmp_path / "clone").close()
    with pytest.raises(AlreadyExists, match="already exists"):
        Repository.clone(source, tmp_path / "clone")
    with pytest.raises(NotFound, match="not a simgit repository"):
        Repository.clone(tmp_path / "nothing", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_clone_that_was_cut_off_is_no_repository_and_can_be_repeated(
    source: Path, tmp_path: Path
) -> None:
    with traced() as passed:
        Repository.clone(source, tmp_path / "whole").close()
    assert "clone.copied" in passed
    for n in range(1, len(passed) + 1):
        command = [sys.executable, "-m", "simgit.testing.failpoints", f"*=exit@{n}", "--"]
        target = tmp_path / str(n)
        done = subprocess.run([*command, "clone", str(source), str(target)], check=False)
        assert done.returncode == ENDED
        with pytest.raises(NotFound):
            Repository.open(target)
        with Repository.clone(source, target) as made:
            assert made.fsck().is_clean
            assert not list(target.glob(".simgit/.new-*"))


@pytest.mark.slow
def test_clones_made_while_another_process_records_are_whole(source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(source)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        for n in range(8):
            writer.stdout.readline()
            with Repository.clone(source, tmp_path / str(n)) as made:
                assert made.fsck().is_clean
                assert (made.runs["live"].step or 0) >= 100 * n
    finally:
        writer.kill()
        writer.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop its rights here")
def test_a_repository_on_media_that_cannot_be_written_is_cloned(source: Path) -> None:
    # /tmp's own subdirectories may be closed to others: go where everybody may
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        shutil.copytree(source, place / "media")
        for path in [place / "media", *(place / "media").rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        place.chmod(0o777)
        (place / "out").mkdir()
        os.chown(place / "out", 65534, 65534)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgid(65534)
                os.setuid(65534)
                with Repository.clone(place / "media", place / "out" / "clone") as made:
                    code = 0 if made.fsck().is_clean and not made.read_only else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        shutil.rmtree(place)


# --- copies made with other tools -------------------------------------------------------------------


def test_a_copy_of_an_idle_repository_is_audited_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(source, tmp_path / "copy")
    audits: list[Path] = []
    audit = files.audit
    monkeypatch.setattr(files, "audit", lambda data: audits.append(data) or audit(data))
    for _ in range(2):
        with Repository.open(tmp_path / "copy") as repo:
            assert repo.runs
    assert len(audits) == 1
    with Repository.open(tmp_path / "copy") as repo:
        assert repo.fsck().is_clean


def test_a_moved_repository_is_not_a_copy(source: Path, tmp_path: Path) -> None:
    source.rename(tmp_path / "moved")
    assert not datafile.is_copy(tmp_path / "moved" / ".simgit")


def test_a_remount_is_told_from_a_copy(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = source / ".simgit"
    found = datafile.identity(directory)
    if not found.born:
        pytest.skip("this file system does not know when a file was created")
    remounted = found._replace(device=found.device + 1)
    monkeypatch.setattr(datafile, "identity", lambda _: remounted)
    assert not datafile.is_copy(directory)
    # a file system made anew may give a copy the numbers of the original
    copied = found._replace(born=found.born + 1)
    monkeypatch.setattr(datafile, "identity", lambda _: copied)
    assert datafile.is_copy(directory)


def test_without_a_time_of_birth_another_device_is_a_copy(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = source / ".simgit"
    found = datafile.identity(directory)._replace(born=0)
    monkeypatch.setattr(datafile, "identity", lambda _: found)
    datafile.record_origin(directory)
    assert not datafile.is_copy(directory)
    monkeypatch.setattr(datafile, "identity", lambda _: found._replace(device=found.device + 1))
    assert datafile.is_copy(directory)


@pytest.mark.parametrize("text", ["", "1 2", "a b c d", "1 2 3 4 5", "\xff"])
def test_an_origin_that_cannot_be_read_makes_a_copy(source: Path, text: str) -> None:
    (source / ".simgit" / "origin").write_text(text, "latin-1")
    assert datafile.is_copy(source / ".simgit")
    with Repository.open(source) as repo:
        assert repo.fsck().is_clean
    assert not datafile.is_copy(source / ".simgit")


def test_a_torn_copy_is_refused_and_the_error_names_clone(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "copy")
    data = tmp_path / "copy" / ".simgit" / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2] + bytes(8192) + whole[len(whole) // 2 + 8192 :])
    with pytest.raises(IntegrityError, match="'simgit clone'"):
        Repository.open(tmp_path / "copy")


def test_a_truncated_file_is_said_to_be_truncated(source: Path) -> None:
    data = source / ".simgit" / "data.mdb"
    os.truncate(data, data.stat().st_size - 8192)
    with pytest.raises(IntegrityError, match="truncated"):
        Repository.open(source)


def test_a_fresh_clone_is_clean(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "a") as repo:
        repo.commit(1, files={"x": b"1", "d/y": bytes(100_000)})
    with Repository.clone(tmp_path / "a", tmp_path / "b") as made:
        assert made.status().is_clean
        assert not made.status().untracked
        assert (tmp_path / "b" / "d" / "y").read_bytes() == bytes(100_000)
    with Repository.clone(tmp_path / "a", tmp_path / "c", checkout=False) as made:
        assert made.status().deleted == ("d/y", "x")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(b"mine")
    with pytest.warns(SimgitWarning, match="files of HEAD were not written: .*'x'"):
        Repository.clone(tmp_path / "a", tmp_path / "d").close()
    assert (tmp_path / "d" / "x").read_bytes() == b"mine"


def test_a_clone_of_a_detached_head_or_of_nothing_is_clean(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "a") as repo:
        Repository.clone(tmp_path / "a", tmp_path / "empty").close()
        oid = repo.commit(1, files={"x": b"1"})
        repo.commit(2, files={"x": b"2"})
        repo.checkout(oid, force=True)
    with Repository.clone(tmp_path / "a", tmp_path / "b") as made:
        assert made.status().is_clean
        assert (tmp_path / "b" / "x").read_bytes() == b"1"
