"""Each thing that keeps states from gc keeps them alone, when nothing else leads to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simgit import NotFound, Oid, Repository
from tests.support.tracking import track


def lose(repo: Repository, *tables: str) -> None:
    """Remove what the logs say, as if they had expired long ago."""
    with repo.odb.storage.write() as txn:
        for table in tables:
            for key, _ in list(txn.scan(table)):
                txn.delete(table, key)


def deleted_run(repo: Repository) -> Oid:
    """Return the newest state of a run that was deleted."""
    repo.branch("side", "main@1")
    oid = repo.commit({"i": "lost"}, run="side")
    repo.delete_run("side")
    return oid


def by_reflog(repo: Repository) -> Oid:
    oid = deleted_run(repo)
    lose(repo, "operations")
    return oid


def by_operations(repo: Repository) -> Oid:
    oid = deleted_run(repo)
    lose(repo, "log")
    return oid


def by_head(repo: Repository) -> Oid:
    oid = deleted_run(repo)
    repo.checkout(oid)
    lose(repo, "log", "operations")  # HEAD's own reflog too
    return oid


def by_run(repo: Repository) -> Oid:
    oid = deleted_run(repo)
    repo.branch("found", oid)
    lose(repo, "log", "operations")
    return oid


def by_remote(repo: Repository) -> Oid:
    oid = deleted_run(repo)
    repo.branch("found", oid)
    track(repo, "origin/found", "found")
    repo.delete_run("found")
    lose(repo, "log", "operations")
    return oid


def by_tag(repo: Repository) -> Oid:
    oid = deleted_run(repo)
    repo.tag("found", oid, message="annotated")
    lose(repo, "log", "operations")
    return oid


def by_binding(repo: Repository) -> Oid:
    """Keep a state by an attachment that the operation log knows was detached."""
    oid = deleted_run(repo)
    repo.attach(oid, "note", {"n": 1})
    lose(repo, "log", "operations")
    repo.detach(oid, "note")
    return oid


ROOTS = [by_reflog, by_operations, by_head, by_run, by_remote, by_tag, by_binding]


@pytest.mark.parametrize("root", ROOTS)
def test_what_one_thing_alone_leads_to_stays(
    tmp_path: Path, root: Callable[[Repository], Oid]
) -> None:
    with Repository.init(tmp_path) as repo:
        for i in range(3):
            repo.commit({"i": i})
        oid = root(repo)
        assert repo.gc(grace=0).removed.states == 0
        assert repo.state(oid).observation["i"] == "lost"


def test_without_any_of_them_it_goes(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        for i in range(3):
            repo.commit({"i": i})
        oid = deleted_run(repo)
        lose(repo, "log", "operations")
        assert repo.gc(grace=0).removed.states == 1
        with pytest.raises(NotFound):
            repo.state(oid)


def test_an_open_reader_keeps_what_it_began_with(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo, Repository.open(tmp_path) as other:
        repo.recorder("main").close()  # HEAD's run, which HEAD stays at
        with repo.recorder("gone") as rec:
            for i in range(200):
                rec.append(i, i, 1.0)
        repo.commit(1, run="main")
        with other.odb.read() as txn:
            place = other.refs.run(txn, "gone").place
            repo.delete_run("gone", force=True)
            assert repo.gc(grace=0, expire=0).removed.states == 200
            oids = other.odb.states.oids(txn, place.line, 0, 200)
            assert len(oids) == 200
