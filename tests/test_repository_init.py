"""Creating a repository: twice, and after an init that was cut off."""

from pathlib import Path

import pytest

from simgit import AlreadyExists, Repository


def test_a_second_init_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        oid = repo.commit(observation=1)
    with pytest.raises(AlreadyExists):
        Repository.init(tmp_path)
    with Repository.open(tmp_path) as repo:
        assert repo.resolve("HEAD") == oid


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
