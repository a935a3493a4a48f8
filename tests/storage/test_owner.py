"""A repository that is found further up and belongs to another user is opened only if allowed."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from simgit import Repository, StorageError
from simgit.cli.root import cli
from simgit.storage import trust

MINE, UNKNOWN = 54_321, 54_322


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory below a repository, whose owner is a user that this machine knows."""
    Repository.init(tmp_path).close()
    (tmp_path / "a" / "b").mkdir(parents=True)
    if os.getuid() == 0:
        os.chown(tmp_path / ".simgit", known_user(), -1)
    return tmp_path / "a" / "b"


def known_user() -> int:
    """Return the number of a user that is neither root nor nobody."""
    return next(e.pw_uid for e in pwd.getpwall() if 0 < e.pw_uid < 60_000)


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process belongs to somebody else."""
    monkeypatch.setattr(os, "geteuid", lambda: MINE)


@pytest.mark.usefixtures("another")
def test_another_users_is_refused_unless_it_is_named(place: Path) -> None:
    root = place.parents[1]
    owner = pwd.getpwuid((root / ".simgit").stat().st_uid).pw_name
    for start in (place, root):
        with pytest.raises(StorageError, match=f"belongs to another user, '{owner}': allow it"):
            Repository.discover(start)
    for named in (root, root / ".simgit"):
        Repository.open(named).close()
    Repository.discover(place, anyone=True).close()


@pytest.mark.usefixtures("another")
def test_it_is_allowed_once_as_long_as_it_belongs_to_the_same_user(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMGIT_CONFIG_DIR", str(tmp_path / "config"))
    assert cli.main(["-C", str(place), "trust", "--data"], standalone_mode=False) in (None, 0)
    with Repository.discover(place) as repo:
        assert not repo.is_trusted(), "its data only"
    found = trust.TrustList().entries()
    assert [e.token for e in found] == [None]
    monkeypatch.setattr(
        trust.TrustList, "entries", lambda self: [found[0]._replace(owner=found[0].owner + 1)]
    )
    with pytest.raises(StorageError, match="belongs to another user"):
        Repository.discover(place)


@pytest.mark.usefixtures("another")
def test_the_line_of_the_error_is_the_one_that_allows_it(place: Path) -> None:
    with pytest.raises(StorageError) as found:
        Repository.discover(place)
    text = str(found.value)
    assert "'simgit trust --data'" in text and f"SIMGIT_DIR={place.parents[1]}" in text
    assert "\n" not in text


def test_an_owner_that_this_machine_does_not_know_is_accepted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Volumes of containers and user namespaces."""
    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
    for owner in (UNKNOWN, overflow):
        trust.check_stranger(place.parents[1] / ".simgit", owner)


def test_root_is_accepted_and_takes_what_belongs_to_the_caller_of_sudo(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, owner = place.parents[1] / ".simgit", known_user()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", str(owner))
    trust.check_stranger(directory, owner)
    for other in (str(owner + 1), "", "x"):
        monkeypatch.setenv("SUDO_UID", other)
        with pytest.raises(StorageError):
            trust.check_stranger(directory, owner)
    monkeypatch.setenv("SUDO_UID", str(owner))
    monkeypatch.setattr(os, "geteuid", lambda: MINE)  # who is not root may say so and is not heard
    with pytest.raises(StorageError):
        trust.check_stranger(directory, owner)


def test_what_belongs_to_root_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make root's files")
    Repository.init(tmp_path).close()
    monkeypatch.setattr(os, "geteuid", lambda: MINE)
    Repository.discover(tmp_path).close()
