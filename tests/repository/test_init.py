"""Creating a repository: twice, and after an init that was cut off."""

from pathlib import Path

import pytest

from simgit import InvalidInput, NotFound, Oid, Repository


def test_a_second_init_opens_what_is_there(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        oid = repo.commit(observation=1)
        with Repository.init(tmp_path) as again:
            assert again.resolve("HEAD") == oid
    with Repository.init(tmp_path) as repo:
        assert repo.resolve("HEAD") == oid
        assert repo.settings() == Repository.open(tmp_path).settings()


@pytest.mark.parametrize("left", ["nothing", "store"])
def test_an_init_that_was_cut_off_can_be_repeated(tmp_path: Path, left: str) -> None:
    if left == "store":
        Repository.init(tmp_path).close()
        (tmp_path / ".simgit" / "format").unlink()
    else:
        (tmp_path / ".simgit").mkdir()
    with Repository.init(tmp_path) as repo:
        repo.commit(observation=1)
    with Repository.open(tmp_path) as repo:
        assert repo.state().observation == 1


def test_files_that_are_no_stored_tree_are_refused(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        oid = repo.commit(observation=1, files={"a": b"1"})
        tree, blob = repo.state(oid).files, repo.files(oid)["a"]
        assert repo.commit(observation=2, files=tree)
        with pytest.raises(InvalidInput, match="not a tree"):
            repo.commit(observation=3, files=blob)
        with pytest.raises(NotFound):
            repo.commit(observation=3, files=Oid(b"\1" * 32))
        assert repo.state().observation == 2
