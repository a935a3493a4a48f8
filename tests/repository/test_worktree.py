from __future__ import annotations

import os
import random
import tracemalloc
from pathlib import Path

import pytest

from simgit.errors import Conflict, IntegrityError, InvalidInput, NotFound
from simgit.objects.kinds import Blob, Entry, Tree
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.repository.worktree.files import checkout, read_files, status, store_files
from simgit.storage.lmdb import LmdbStorage
from simgit.storage.memory import MemoryStorage


@pytest.fixture
def odb() -> ObjectDatabase:
    return ObjectDatabase(MemoryStorage())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def content(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if not path.is_dir()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_files_are_stored_listed_and_written(odb: ObjectDatabase, root: Path) -> None:
    (root / "local").write_bytes(b"kept")
    files = {"a": b"1", "d/b": b"2", "d/e/c": bytes(200_000), "empty": b""}
    tree = store_files(odb, {**files, "d/link": root / "local"})
    with odb.read() as txn:
        assert [path for path, _ in read_files(odb, txn, tree)] == [
            "a", "d/b", "d/e/c", "d/link", "empty",
        ]  # fmt: skip
    checkout(odb, root, None, tree)
    assert content(root) == {**files, "d/link": b"kept", "local": b"kept"}
    assert status(odb, root, tree).untracked == ("local",)
    assert status(odb, root, tree).is_clean
    checkout(odb, root, tree, None)
    assert content(root) == {"local": b"kept"} and not (root / "d").exists()


def test_changes_are_seen_and_not_overwritten(odb: ObjectDatabase, root: Path) -> None:
    one = store_files(odb, {"a": b"1", "b": b"1", "c": b"1", "same": b"1"})
    two = store_files(odb, {"a": b"2", "c": b"1", "new": b"2", "same": b"1"})
    checkout(odb, root, None, one)
    (root / "a").write_bytes(b"x")
    (root / "b").write_bytes(b"longer")
    (root / "same").write_bytes(b"mine")
    (root / "c").unlink()
    (root / "new").write_bytes(b"mine")
    seen = status(odb, root, one)
    assert seen.modified == ("a", "b", "same") and seen.deleted == ("c",)
    assert seen.untracked == ("new",)
    before = content(root)
    with pytest.raises(Conflict, match="'a', 'b', 'new'") as caught:
        checkout(odb, root, one, two)
    assert caught.value.files == ("a", "b", "new") and content(root) == before
    checkout(odb, root, one, two, force=True)
    assert content(root) == {"a": b"2", "c": b"1", "new": b"2", "same": b"1"}


def test_a_file_and_a_directory_take_each_others_place(odb: ObjectDatabase, root: Path) -> None:
    file, inner = store_files(odb, {"x": b"1"}), store_files(odb, {"x/y/z": b"2", "x/w": b"3"})
    checkout(odb, root, None, file)
    checkout(odb, root, file, inner)
    assert content(root) == {"x/y/z": b"2", "x/w": b"3"}
    (root / "x/y/mine").write_bytes(b"m")
    for force in (False, True):
        with pytest.raises(Conflict, match="x/y/mine"):
            checkout(odb, root, inner, file, force=force)
    (root / "x/y/mine").unlink()
    (root / "x/void").mkdir()
    checkout(odb, root, inner, file)
    assert content(root) == {"x": b"1"}


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a//b", "../a", "a/..", "./a", "a\\b", "a\0", ".simgit", "d/.SimGit/x", ".simgit. .",
     ".simgit::$DATA", ".sim\u200cgit", "\udc80", "x" * 256, "/".join("a" * 65)],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(odb: ObjectDatabase, root: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        store_files(odb, {name: b"x"})


@pytest.mark.parametrize("pair", [("a", "A"), ("\u00e9", "e\u0301"), ("d/x", "D/y"), ("a", "a/b")])
def test_names_that_collide_are_refused(odb: ObjectDatabase, pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput):
        store_files(odb, dict.fromkeys(pair, b"x"))


@pytest.mark.parametrize("name", ["..", "/etc", "../x", ".SIMGIT", ".simgit ", "a/b", "a\\b", "."])
def test_a_hostile_tree_writes_nothing(odb: ObjectDatabase, root: Path, name: str) -> None:
    with odb.write() as txn:
        blob = odb.put(txn, Blob(b"evil"))
        inner = odb.put(txn, Tree((Entry("f", "blob", blob),)))
        trees = [odb.put(txn, Tree((Entry(name, *each),))) for each in
                 (("blob", blob), ("tree", inner))]  # fmt: skip
        trees.append(odb.put(txn, Tree((Entry("d", "tree", trees[0]),))))
    for tree in trees:
        with pytest.raises(IntegrityError):
            checkout(odb, root, None, tree, force=True)
    assert not content(root.parent)


def test_a_hostile_tree_of_colliding_names_is_refused(odb: ObjectDatabase, root: Path) -> None:
    with odb.write() as txn:
        blob = odb.put(txn, Blob(b"evil"))
        tree = odb.put(txn, Tree((Entry("a", "blob", blob), Entry("A", "blob", blob))))
    with pytest.raises(IntegrityError):
        checkout(odb, root, None, tree)


def test_nothing_goes_through_a_symbolic_link(odb: ObjectDatabase, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"theirs")
    tree = store_files(odb, {"d/f": b"ours", "g": b"ours"})
    (root / "d").symlink_to(outside)
    (root / "g").symlink_to(outside / "f")
    with pytest.raises(Conflict):
        checkout(odb, root, None, tree)
    # nor is what lies behind one removed
    with pytest.raises(Conflict):
        checkout(odb, root, tree, None)
    checkout(odb, root, None, tree, force=True)
    assert content(outside) == {"f": b"theirs"}
    assert not (root / "d").is_symlink() and not (root / "g").is_symlink()
    (root / "d/f").unlink()
    (root / "d").rmdir()
    (root / "d").symlink_to(outside)
    assert status(odb, root, tree).deleted == ("d/f",)
    checkout(odb, root, tree, None, force=True)
    assert content(outside) == {"f": b"theirs"}


def test_links_and_special_files_are_not_stored(odb: ObjectDatabase, root: Path) -> None:
    (root / "f").write_bytes(b"x")
    (root / "link").symlink_to("f")
    os.mkfifo(root / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(InvalidInput):
            store_files(odb, {"a": root / name})
    with pytest.raises(NotFound):
        store_files(odb, {"a": root / "none"})
    assert store_files(odb, {"a": root / "link"}, follow_symlinks=True) == store_files(
        odb, {"a": b"x"}
    )


def chunks(odb: ObjectDatabase) -> int:
    with odb.read() as txn:
        return sum(len(value) for _, value in txn.scan("chunks"))


def test_a_file_with_bytes_inserted_costs_little(odb: ObjectDatabase, root: Path) -> None:
    data = random.Random(0).randbytes(4 << 20)
    store_files(odb, {"f": data[:100] + data[100:], "small": b"1"})
    (root / "f").write_bytes(data)
    store_files(odb, {"f": root / "f"})
    before = chunks(odb)
    (root / "f").write_bytes(data[:100] + b"inserted" + data[100:])
    store_files(odb, {"f": root / "f"})
    assert before >= 4 << 20 and chunks(odb) - before < 200_000


def test_a_large_file_streams(root: Path, tmp_path: Path) -> None:
    odb = ObjectDatabase(LmdbStorage.create(tmp_path / "store"))
    size, rng = 50 << 20, random.Random(0)
    with (root / "f").open("wb") as stream:
        for _ in range(50):
            stream.write(rng.randbytes(1 << 20))
    tracemalloc.start()
    tree = store_files(odb, {"f": root / "f"})
    (root / "out").mkdir()
    checkout(odb, root / "out", None, tree)
    assert status(odb, root / "out", tree).is_clean
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20, f"{peak} bytes at the peak"
    assert (root / "out/f").stat().st_size == size
    odb.storage.close()


def test_a_damaged_blob_leaves_the_old_file(odb: ObjectDatabase, root: Path) -> None:
    one, two = store_files(odb, {"f": b"old"}), store_files(odb, {"f": b"new" * 50_000})
    checkout(odb, root, None, one)
    with odb.write() as txn:
        for key, _ in list(txn.scan("chunks")):
            txn.put("chunks", key, b"\0wrong")
        oid = dict(read_files(odb, txn, two))["f"]
        assert isinstance(oid, Oid)
        value = txn.get("objects", oid)
        assert value is not None
        txn.put("objects", oid, value[:-3])
    with pytest.raises(IntegrityError):
        checkout(odb, root, one, two)
    assert content(root) == {"f": b"old"}
