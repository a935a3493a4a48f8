from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.slow
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


# --- what status lists ---------------------------------------------------------------------------


def write(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def test_a_directory_without_tracked_files_is_one_path(odb: ObjectDatabase, root: Path) -> None:
    tree = store_files(odb, {"a/b/kept": b"1", "top": b"1"})
    checkout(odb, root, None, tree)
    write(root, "a/new", "a/b/c/d", "a/b/c/e", "x/y/z", "x/w", "other", "a.b/c", "a0")
    (root / "empty" / "er").mkdir(parents=True)
    (root / "a" / "link").symlink_to(root / "x")
    assert status(odb, root, tree).untracked == (
        "a.b/", "a/b/c/", "a/link", "a/new", "a0", "other", "x/",
    )  # fmt: skip
    assert status(odb, root, tree).is_clean


def test_what_belongs_to_other_programs_is_not_listed(odb: ObjectDatabase, root: Path) -> None:
    write(
        root, ".git/config", ".venv/bin/python", "p/__pycache__/x.pyc", "p/q/.git/HEAD", ".simgit/a"
    )
    assert status(odb, root, None).untracked == ()
    write(root, "p/x.py", ".gitignore", "__pycache__x")
    assert status(odb, root, None).untracked == (".gitignore", "__pycache__x", "p/")
    tree = store_files(odb, {".venv/kept": b"x", "__pycache__": b"x"})
    assert status(odb, root, tree).deleted == (".venv/kept", "__pycache__")
    write(root, ".venv/kept", "__pycache__")
    assert status(odb, root, tree).is_clean


@pytest.mark.parametrize(
    ("rules", "untracked"),
    [
        ("", ["a/", "b.log", "build/", "keep.log"]),
        ("*.log\n", ["a/", "build/"]),
        ("*.log\n!keep.log\n", ["a/", "build/", "keep.log"]),
        ("build/\n# a/\n\n", ["a/", "b.log", "keep.log"]),
        ("/b.log\na/**/deep\n", ["a/", "build/", "keep.log"]),
        ("a/x\na/b/\n", ["b.log", "build/", "keep.log"]),
        ("*\n!/a/\n!/a/b/\n", []),
        ("*\n!/a/\n!/a/x\n", ["a/"]),
        ("a/**\n!a/x\n*.log", ["a/", "build/"]),
        ("*\n!/a/\n", []),
        ("build\nb.lo?\nkeep.[a-l]og", ["a/"]),
        ("\\#x\r\n*.log  \r\n", ["a/", "build/"]),
    ],
)
def test_an_ignore_file_has_gits_patterns(
    odb: ObjectDatabase, root: Path, rules: str, untracked: list[str]
) -> None:
    write(root, "a/x", "a/b/c/deep", "b.log", "build/out", "keep.log")
    (root / ".simgitignore").write_text(rules, newline="")
    found = status(odb, root, None).untracked
    assert [each for each in found if each != ".simgitignore"] == untracked


def test_a_tracked_file_is_compared_even_if_it_is_ignored(odb: ObjectDatabase, root: Path) -> None:
    tree = store_files(odb, {"build/a": b"1", "build/b": b"1"})
    write(root, "build/a", "build/new", ".simgitignore")
    (root / ".simgitignore").write_text("build/\n")
    found = status(odb, root, tree)
    assert (found.modified, found.deleted) == (("build/a",), ("build/b",))
    assert found.untracked == (".simgitignore",)


def test_an_ignore_file_that_is_none_is_refused_or_not_followed(
    odb: ObjectDatabase, root: Path
) -> None:
    write(root, "a")
    (root / ".simgitignore").symlink_to("/dev/zero")
    assert status(odb, root, None).untracked == (".simgitignore", "a")
    (root / ".simgitignore").unlink()
    (root / ".simgitignore").write_bytes(b"x\n" * (1 << 20))
    with pytest.raises(InvalidInput, match="at most 1048576 bytes"):
        status(odb, root, None)
    (root / ".simgitignore").write_bytes(b"ok\n!\n")
    with pytest.raises(InvalidInput, match="line 2: malformed pattern '!'"):
        status(odb, root, None)
    (root / ".simgitignore").write_bytes(b"\xff\xfe*\na\n")
    assert status(odb, root, None).untracked == (".simgitignore",)


@pytest.mark.skipif(shutil.which("git") is None, reason="git says what is right")
@given(
    st.lists(
        st.sampled_from(["*", "!*", "a", "/a", "a/", "!a/", "!/a", "b", "*/b", "a/b", "!a/b", "**/c",
                         "a/**", "!a/**/c", "a/*", "!b", "c/", "[ab]", "!?", "a*", "\\!b", "#a", "/b/"]),
        max_size=4,
    )
)  # fmt: skip
def test_git_lists_the_same(rules: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write(root, "a/a", "a/b", "a/c/b", "a/c/c", "b/a", "b/c/x", "c", "!b", "d/a/b/c")
        for name in (".gitignore", ".simgitignore"):
            (root / name).write_text("\n".join([*rules, "/.gitignore", "/.simgitignore"]))
        for command in (["init", "-q"], ["status", "--porcelain", "-z"]):
            done = subprocess.run(["git", *command], cwd=root, capture_output=True, check=True)
        listed = [each[3:] for each in done.stdout.decode().split("\0") if each]
        found = status(ObjectDatabase(MemoryStorage()), root, None).untracked
        assert sorted(listed) == sorted(found)
