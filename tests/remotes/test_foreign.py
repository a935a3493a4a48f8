"""What comes by an import or a clone is foreign until it is trusted, also in a trusted store."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import Unverified
from simgit.objects.oid import Oid
from simgit.refs import attachments

SPEC = {"environment": {"id": None, "entry_point": "evil:Env", "kwargs": {}}, "wrappers": []}


def record(repo: Repository, run: str = "main", start: float = 0.0) -> None:
    with repo.recorder(run, spec=SPEC) as recorder:
        for i in range(3):
            recorder.append(np.float32([start, i]), i, 1.0)
            recorder.attach("snapshot", {"form": "pickle", "data": b"evil"})


def origin(repo: Repository, revision: str) -> Oid:
    found = repo.state(f"{revision}@0").origin
    assert found is not None
    return found


def binding(repo: Repository, revision: str, name: str = "snapshot") -> Oid:
    with repo.odb.read() as txn:
        return attachments.binding(txn, repo.resolve(revision), name)


def named(repo: Repository, revision: str) -> list[Oid]:
    return [origin(repo, revision), *(binding(repo, f"{revision}@{i}") for i in range(3))]


def bundle(repo: Repository, *refs: str) -> bytes:
    file = io.BytesIO()
    repo.create_bundle(file, refs or list(repo.runs))
    return file.getvalue()


@pytest.fixture
def his(tmp_path: Path) -> Repository:
    found = Repository.init(tmp_path / "his")
    record(found, "his")
    return found


@pytest.fixture
def mine(tmp_path: Path) -> Repository:
    return Repository.init(tmp_path / "mine")


def test_what_i_record_is_mine(mine: Repository) -> None:
    record(mine)
    assert all(map(mine.is_trusted, named(mine, "main")))


def test_what_is_imported_is_foreign_whatever_becomes_of_it(
    his: Repository, mine: Repository
) -> None:
    mine.import_bundle(io.BytesIO(bundle(his)))
    assert mine.is_trusted()
    assert not any(map(mine.is_trusted, named(mine, "his")))
    with pytest.warns(Unverified):
        mine.branch("main", "his@1")
    mine.rename_run("his", "other")
    assert not any(map(mine.is_trusted, named(mine, "other")))
    assert not mine.is_trusted(origin(mine, "main"))
    mine.undo()
    mine.undo()
    mine.undo()
    mine.redo()
    assert not any(map(mine.is_trusted, named(mine, "his")))


def test_trust_is_of_what_is_there_and_not_of_what_comes_later(
    his: Repository, mine: Repository
) -> None:
    mine.import_bundle(io.BytesIO(bundle(his)))
    assert mine.trust() and not mine.trust()
    assert all(map(mine.is_trusted, named(mine, "his")))
    with his.recorder("his") as recorder:
        recorder.append(np.float32([0, 9]), 1, 1.0)
        recorder.attach("snapshot", {"form": "pickle", "data": b"new"})
    mine.import_bundle(io.BytesIO(bundle(his)))
    assert all(map(mine.is_trusted, named(mine, "his")))
    assert not mine.is_trusted(binding(mine, "his"))


def test_what_i_had_before_stays_mine_and_what_is_added_to_it_is_not(
    his: Repository, mine: Repository
) -> None:
    record(mine, "main")
    with his.recorder("main") as recorder:  # the same states, without the snapshots
        for i in range(3):
            recorder.append(np.float32([0, i]), i, 1.0)
    his.attach("main", "extra", {"form": "pickle"})
    mine.import_bundle(io.BytesIO(bundle(his, "his")))
    assert all(map(mine.is_trusted, named(mine, "main")))


def test_an_attachment_that_is_kept_aside_is_foreign(his: Repository, mine: Repository) -> None:
    record(mine, "his")
    his.attach("his@1", "snapshot", {"form": "pickle", "data": b"another"})
    mine.import_bundle(io.BytesIO(bundle(his)))
    assert all(map(mine.is_trusted, named(mine, "his")))
    assert not mine.is_trusted(binding(mine, "his@1", "snapshot.conflict-1"))


def test_recording_the_same_makes_it_mine(his: Repository, mine: Repository) -> None:
    mine.import_bundle(io.BytesIO(bundle(his)))
    record(mine, "main", start=5.0)
    assert mine.is_trusted(origin(mine, "his")), "it is the spec of what I recorded"
    assert not mine.is_trusted(binding(mine, "his"))
    assert all(map(mine.is_trusted, named(mine, "main")))


def test_a_clone_of_a_trusted_repository_is_trusted(his: Repository, tmp_path: Path) -> None:
    with Repository.clone(tmp_path / "his", tmp_path / "copy") as copy:
        assert copy.is_trusted() and all(map(copy.is_trusted, named(copy, "his")))
        assert copy.distrust() and his.is_trusted(), "it has an identity of its own"


def test_a_clone_of_a_strangers_is_foreign_and_what_i_record_there_is_mine(
    his: Repository, tmp_path: Path
) -> None:
    his.distrust()
    with Repository.clone(tmp_path / "his", tmp_path / "copy") as copy:
        assert copy.is_trusted(), "made here"
        assert not any(map(copy.is_trusted, named(copy, "his")))
        with copy.recorder("main", spec={**SPEC, "lane": 1}) as recorder:
            recorder.append(np.float32([7]), 1, 1.0)
        assert copy.is_trusted(origin(copy, "main"))
        with Repository.clone(tmp_path / "copy", tmp_path / "again") as again:
            assert not again.is_trusted(origin(again, "his"))
            assert again.is_trusted(origin(again, "main"))
        assert copy.trust() and all(map(copy.is_trusted, named(copy, "his")))


def test_a_clone_into_the_place_of_a_trusted_one_is_not_trusted(
    his: Repository, tmp_path: Path
) -> None:
    his.distrust()
    with Repository.init(tmp_path / "place") as repo:
        repo.trust()
    (tmp_path / "place" / ".simgit").rename(tmp_path / "old")
    with Repository.clone(tmp_path / "his", tmp_path / "place") as repo:
        assert not repo.is_trusted(origin(repo, "his"))


def test_an_import_into_memory_is_foreign_too(his: Repository) -> None:
    with Repository.init(":memory:") as repo:
        repo.import_bundle(io.BytesIO(bundle(his)))
        assert repo.is_trusted() and not any(map(repo.is_trusted, named(repo, "his")))
        assert repo.trust() and all(map(repo.is_trusted, named(repo, "his")))
