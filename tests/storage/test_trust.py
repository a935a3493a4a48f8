"""Trust is of a store: not of its path, nor of what is made to look like it."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from simgit import InvalidInput, Repository, StorageError
from simgit.odb import foreign
from simgit.storage.trust import OWNER, TrustList, config_directory

ONE, OTHER = b"1" * 16, b"2" * 16


@pytest.fixture
def known(tmp_path: Path) -> TrustList:
    return TrustList(tmp_path / "config")


def store(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def is_trusted(path: Path) -> bool:
    with Repository.open(path) as repo:
        return repo.is_trusted()


def test_what_is_added_is_trusted_until_it_is_removed(known: TrustList, tmp_path: Path) -> None:
    one, two = store(tmp_path / "one\nline" / ".simgit"), store(tmp_path / "zwei ü" / ".simgit")
    assert known.entries() == [] and not known.has(one, ONE)
    for each in (one, two, one):
        known.add(each, ONE)
    assert [e.directory for e in known.entries()] == [two, one]
    assert known.has(one, ONE) and known.has(two, ONE)
    assert known.remove(one, ONE) and not known.remove(one, ONE)
    assert not known.has(one, ONE) and known.has(two, ONE)


def test_another_store_in_the_place_is_not_trusted(known: TrustList, tmp_path: Path) -> None:
    place = store(tmp_path / ".simgit")
    known.add(place, ONE)
    assert not known.has(place, OTHER)
    place.rename(tmp_path / "old")
    store(place)
    assert not known.has(place, ONE), "another directory that claims the identity"
    assert known.has(tmp_path / "old", ONE), "the same directory, moved"


def test_a_mark_cannot_be_forged_or_taken_elsewhere(known: TrustList, tmp_path: Path) -> None:
    mine, copy = store(tmp_path / "mine"), tmp_path / "copy"
    known.mark_own(mine, ONE)
    assert known.has(mine, ONE) and not known.entries()
    shutil.copytree(mine, copy)
    assert (copy / OWNER).read_text() == (mine / OWNER).read_text()
    assert not known.has(copy, ONE)
    assert not TrustList(tmp_path / "config of another user").has(mine, ONE)
    for text in ("", "\n", "0" * 32, "None", "\xff"):
        (mine / OWNER).write_bytes(text.encode("latin-1"))
        assert not known.has(mine, ONE)
        assert not TrustList(tmp_path / "config of another user").has(mine, ONE)


def test_the_key_is_private_and_stays_the_same(known: TrustList, tmp_path: Path) -> None:
    known.add(store(tmp_path / "a"), ONE)
    key = tmp_path / "config" / "key"
    before = key.read_bytes()
    assert len(before) == 32 and stat.S_IMODE(key.stat().st_mode) == 0o600
    known.add(store(tmp_path / "b"), ONE)
    assert key.read_bytes() == before
    assert sorted(e.name for e in key.parent.iterdir()) == ["key", "trusted"]


def test_a_damaged_list_or_key_is_an_error_and_no_trust(tmp_path: Path) -> None:
    place = store(tmp_path / "store")
    for number, text in enumerate(("{}\n", "[]\n", "x\n", "1\n")):
        config = tmp_path / str(number)
        TrustList(config).add(place, ONE)
        (config / "trusted").write_text(text)
        with pytest.raises(InvalidInput, match="must have a JSON object on each line"):
            TrustList(config).has(place, ONE)
    (tmp_path / "0" / "key").write_bytes(b"short")
    with pytest.raises(InvalidInput, match="must have 32 bytes, got 5"):
        TrustList(tmp_path / "0").has(place, ONE)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot"):
        TrustList(tmp_path / "file").add(place, ONE)
    TrustList(tmp_path / "file").mark_own(place, ONE)  # a new repository can be made all the same
    assert not TrustList(tmp_path / "file").has(place, ONE)


def test_paths_that_an_earlier_version_trusted_are_not_trusted(
    known: TrustList, tmp_path: Path
) -> None:
    place = store(tmp_path / "store")
    known.mark_own(store(tmp_path / "x"), ONE)  # there is a key
    (tmp_path / "config" / "trusted").write_text(f'"{place}"\n')
    assert not known.has(place, ONE) and not known.has_data(place)


def test_a_user_without_a_home_trusts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("SIMGIT_CONFIG_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert config_directory() is None
    with Repository.init(tmp_path) as repo:
        assert not repo.is_trusted() and not repo.distrust()
        with pytest.raises(StorageError, match="set SIMGIT_CONFIG_DIR"):
            repo.trust()


# --- repositories ---


def test_a_repository_that_i_made_is_trusted_until_i_revoke_it(tmp_path: Path) -> None:
    with Repository.init(tmp_path / "mine") as repo:
        assert repo.is_trusted() and not repo.trust()
        assert repo.distrust() and not repo.is_trusted() and not repo.distrust()
        assert repo.trust() and repo.is_trusted()
    (tmp_path / "mine").rename(tmp_path / "moved")
    assert is_trusted(tmp_path / "moved")
    with Repository.init(":memory:") as made:
        assert made.is_trusted()


@pytest.mark.parametrize("copy", ["cp -a {0} {1}", "mkdir {1}; tar -C {0} -c . | tar -C {1} -x"])
def test_a_copy_is_not_trusted_although_it_has_all_files(tmp_path: Path, copy: str) -> None:
    with Repository.init(tmp_path / "mine") as repo:
        repo.commit({"observation": 1})
    mine, place = tmp_path / "mine", tmp_path / "copy"
    subprocess.run(copy.format(mine, place), shell=True, check=True)
    assert is_trusted(mine) and not is_trusted(place)
    shutil.rmtree(mine)
    place.rename(mine)
    assert not is_trusted(mine)


def test_a_strangers_files_in_my_directory_are_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His data file over mine, his directory over mine; with my mark, which he may have seen."""
    for name in ("mine", "his"):
        with Repository.init(tmp_path / name) as repo:
            repo.commit({"observation": 1})
    mark = (tmp_path / "mine/.simgit" / OWNER).read_bytes()
    subprocess.run(
        f"cp -a {tmp_path}/his/.simgit/. {tmp_path}/mine/.simgit", shell=True, check=True
    )
    (tmp_path / "mine/.simgit" / OWNER).write_bytes(mark)
    assert not is_trusted(tmp_path / "mine")


def test_a_replaced_directory_loses_the_trust_of_the_list(tmp_path: Path) -> None:
    """As a clone into the place, or a bundle of another, would have had it."""
    with Repository.init(tmp_path / "his") as repo:
        repo.distrust()
        repo.trust()
    shutil.rmtree(tmp_path / "his" / ".simgit")
    with Repository.init(tmp_path / "other") as other:
        assert other.distrust()
    (tmp_path / "other" / ".simgit").rename(tmp_path / "his" / ".simgit")
    assert not is_trusted(tmp_path / "his")


def test_a_repository_of_an_earlier_version_is_trusted_on_demand(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        with repo.odb.write() as txn:
            txn.delete("meta", b"identity")
        (tmp_path / ".simgit" / OWNER).unlink()
        assert not repo.is_trusted()
        assert repo.trust() and repo.is_trusted()
        with repo.odb.read() as txn:
            assert len(foreign.identity(txn)) == 16
