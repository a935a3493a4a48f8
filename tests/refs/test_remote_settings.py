"""Remotes are settings; they are set and removed as a whole, and never a stranger's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simgit import AlreadyExists, Conflict, InvalidInput, NotFound, Repository
from simgit.errors import SimgitWarning
from simgit.refs.remotes import (
    RemoteSettings,
    remote_runs,
    remotes,
    remove_remote,
    set_remote,
    upstream,
)
from tests.support.tracking import track, tracked

FULL = RemoteSettings("s3://b/p", "https://host:9000", "eu", "me", True, True)


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "repo") as repo:
        repo.commit(1)
        repo.commit(2)
        yield repo


def put(repo: Repository, name: str, settings: RemoteSettings) -> None:
    with repo._store.write("remote", "add", name) as txn:
        set_remote(txn, name, settings)


def known(repo: Repository) -> dict[str, RemoteSettings]:
    with repo.odb.read() as txn:
        return remotes(txn)


def test_what_was_set_is_there_and_replaced_as_a_whole(repo: Repository) -> None:
    put(repo, "origin", FULL)
    put(repo, "a.b", RemoteSettings("/there"))
    assert list(known(repo).items()) == [("a.b", RemoteSettings("/there")), ("origin", FULL)]
    assert repo.settings()["remote.origin.read-only"] is True
    put(repo, "origin", RemoteSettings("/other", region="us"))
    assert known(repo)["origin"] == RemoteSettings("/other", region="us")
    assert {n: v for n, v in repo.settings().items() if n.startswith("remote.origin")} == {
        "remote.origin.url": "/other", "remote.origin.region": "us"
    }  # fmt: skip


def test_a_remote_is_what_has_a_url(repo: Repository) -> None:
    repo.set_setting("remote.x.region", "eu")
    assert known(repo) == {}
    repo.set_setting("remote.x.url", "/x")
    assert known(repo) == {"x": RemoteSettings("/x", region="eu")}


def test_a_removed_remote_takes_its_refs_along(repo: Repository) -> None:
    put(repo, "origin", FULL)
    put(repo, "origin.2", FULL)
    oid = track(repo, "origin/main", "main")
    track(repo, "origin/x/y", "main", "main~1")
    track(repo, "origin.2/main", "main")
    with repo._store.write("remote", "rm", "origin") as txn:
        assert remove_remote(txn, "origin", "remote: removed origin") == 2
    assert list(known(repo)) == ["origin.2"] and list(tracked(repo)) == ["origin.2/main"]
    assert not [name for name in repo.settings() if name.startswith("remote.origin.url")]
    assert repo.reflog("origin/main")[0].message == "remote: removed origin"
    assert repo.resolve("origin/main@{1}") == oid
    with (
        pytest.raises(NotFound, match=r"remote 'orign.2' not found; did you mean 'origin.2'"),
        repo._store.write("remote") as txn,
    ):
        remove_remote(txn, "orign.2", "")
    with pytest.warns(SimgitWarning, match="runs of 'origin' are back, but not where it lies"):
        repo.undo()
    assert "origin/x/y" in tracked(repo) and "origin" not in known(repo)


def test_names_that_begin_runs_or_tags_are_refused(repo: Repository) -> None:
    repo.branch("sweep/1", "main")
    repo.tag("kept/1", "main")
    for name in ("sweep", "kept"):
        with pytest.raises(AlreadyExists, match=f"a remote cannot be called '{name}'"):
            put(repo, name, FULL)
    with pytest.raises(InvalidInput):
        put(repo, "tags", FULL)
    assert known(repo) == {}
    put(repo, "swee", FULL)
    put(repo, "main", FULL)


def test_nothing_is_set_if_one_of_the_settings_is_refused(repo: Repository) -> None:
    with pytest.raises(InvalidInput, match="no user or password"):
        put(repo, "origin", FULL._replace(url="https://me:secret@host/x"))
    with pytest.raises(InvalidInput, match="must be true or false"):
        put(repo, "origin", FULL._replace(read_only="yes"))  # type: ignore[arg-type]
    assert not [name for name in repo.settings() if name.startswith("remote.")]


def test_a_run_tracks_that_of_its_name_at_origin_or_at_the_only_remote(repo: Repository) -> None:
    def there(run: str) -> tuple[str, str] | None:
        with repo.odb.read() as txn:
            return upstream(txn, run)

    assert there("main") is None
    put(repo, "backup", FULL)
    assert there("main") == ("backup", "main")
    put(repo, "other", FULL)
    assert there("main") is None
    put(repo, "origin", FULL)
    assert there("worker/1") == ("origin", "worker/1")


def test_how_far_runs_are_from_what_they_track(repo: Repository) -> None:
    put(repo, "origin", FULL)
    assert repo.upstreams() == {}
    track(repo, "origin/main", "main", "main~1")
    repo.branch("other", "main~1")
    repo.commit(7, run="other")
    repo.commit(8, run="other")
    repo.commit(9, run="main", parents=["other"])
    track(repo, "origin/other", "main")
    repo.create_run("empty")
    track(repo, "origin/empty", "main")
    assert repo.upstreams() == {
        "empty": ("origin/empty", 0, 5), "main": ("origin/main", 4, 0),
        "other": ("origin/other", 0, 2),
    }  # fmt: skip
    assert repo.upstreams("other", "nowhere") == {"other": ("origin/other", 0, 2)}


def test_damaged_settings_are_found(repo: Repository) -> None:
    put(repo, "origin", FULL)
    with repo.odb.storage.write() as txn:
        txn.put("meta", b"setting\0remote.origin.profile", b"damaged too")
    (problem,) = repo.fsck().problems
    assert "setting 'remote.origin.profile' is damaged" in problem.what
    repo.set_setting("remote.origin.profile", None)
    assert repo.fsck().is_clean and known(repo)["origin"] == FULL._replace(profile="")


def test_a_clone_of_a_stranger_knows_no_remotes_but_what_was_seen_there(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "a") as repo:
        repo.commit(1)
        put(repo, "origin", FULL)
        track(repo, "origin/main", "main")
        with Repository.clone(tmp_path / "a", tmp_path / "mine") as mine:
            assert known(mine) == {"origin": FULL}
        repo.distrust()
    with Repository.clone(tmp_path / "a", tmp_path / "b") as clone:
        assert known(clone) == {}
        assert not [name for name in clone.settings() if name.startswith("remote.")]
        with clone.odb.read() as txn:
            assert [name for _, name, _ in remote_runs(txn)] == ["main"]


def test_an_imported_run_that_begins_as_a_remote_gets_another_name(
    repo: Repository, tmp_path: Path
) -> None:
    with Repository.init(tmp_path / "other") as other:
        other.commit(1, run="origin/x")
        other.branch("origin/x/y", "origin/x")
        other.tag("origin/v1", "origin/x")
        other.create_bundle(tmp_path / "b.simgit", ["origin/x", "origin/x/y", "origin/v1"])
        tip = other.commit(2, run="origin/x")
        other.create_bundle(tmp_path / "c.simgit", ["origin/x"])
    put(repo, "origin", FULL)
    put(repo, "origin-x", FULL)
    done = repo.import_bundle(tmp_path / "b.simgit")
    assert {name: each.name for name, each in done.refs.items()} == {
        "runs/origin/x": "runs/origin-x", "runs/origin/x/y": "runs/origin-x-y",
        "tags/origin/v1": "tags/origin-v1",
    }  # fmt: skip
    assert repo.runs["origin-x-y"].parent == "origin-x"
    again = repo.import_bundle(tmp_path / "c.simgit")
    assert again.refs["runs/origin/x"].what == "forward"
    assert repo.resolve("origin-x") == tip and repo.fsck().is_clean


def test_states_of_a_moved_run_find_a_name_beside_a_new_remote(repo: Repository) -> None:
    recorder = repo.recorder("origin/x")
    recorder.append(1)
    recorder.flush()
    recorder.append(2)
    repo.delete_run("origin/x", force=True)
    put(repo, "origin", FULL)
    with pytest.raises(Conflict, match=r"are in run 'origin-x.conflict-1'"):
        recorder.flush()
    recorder.close()
    assert repo.trajectory("origin-x.conflict-1").observations.tolist() == [1, 2]
