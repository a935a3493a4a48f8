"""Names of a state's files that other programs would obey: directories of git and the like."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from simgit import IntegrityError, InvalidInput, Repository
from simgit.objects.kinds import Blob, Entry, Tree
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.repository.worktree.files import checkout, store_files
from simgit.repository.worktree.names import is_reserved
from simgit.storage.memory import MemoryStorage

RESERVED = [
    ".git", ".GIT", ".Git", ".git ", ".git.", ".git . .", ".git::$INDEX_ALLOCATION", ".git:x",
    ".g\u200cit", "\ufeff.git", ".gi\u202et", ".git\u034f", ".gi\ufe0ft", "git~1", "GIT~1",
    "git~27", "simgit~1", ".hg", ".HG", "hg~1", ".bzr", ".svn", ".jj", ".simgit", ".\u017fimgit",
]  # fmt: skip
FREE = [
    ".gitignore", ".gitattributes", ".github", "git", "x.git", ".gitx", "git~", "git~x", "my~1",
    "~git", "HEAD", "objects", "refs", "a b", "zwei ü", "日本語", "..git", "...", "git.1",
]  # fmt: skip


@pytest.fixture
def odb() -> ObjectDatabase:
    return ObjectDatabase(MemoryStorage())


def tree_of(odb: ObjectDatabase, paths: dict[str, bytes]) -> Oid:
    """Store a tree as a stranger would: without a check of names."""
    with odb.write() as txn:

        def store(level: dict[str, bytes]) -> Oid:
            entries, inner = [], dict[str, dict[str, bytes]]()
            for path, content in level.items():
                first, _, rest = path.partition("/")
                if rest:
                    inner.setdefault(first, {})[rest] = content
                else:
                    entries.append(Entry(first, "blob", odb.put(txn, Blob(content))))
            entries += [Entry(name, "tree", store(each)) for name, each in inner.items()]
            return odb.put(txn, Tree(tuple(sorted(entries, key=lambda e: e.name.encode()))))

        return store(paths)


@pytest.mark.parametrize("name", RESERVED)
def test_a_directory_that_a_program_obeys_is_refused(
    odb: ObjectDatabase, tmp_path: Path, name: str
) -> None:
    assert is_reserved(name)
    for path in (name, f"{name}/config", f"d/{name}/hooks/post-checkout"):
        with pytest.raises(InvalidInput, match="of simgit's or of a version control system"):
            store_files(odb, {path: b"x"})
        with pytest.raises(IntegrityError):
            checkout(odb, tmp_path, None, tree_of(odb, {path: b"x"}), force=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FREE)
def test_a_name_that_only_looks_like_one_is_free(
    odb: ObjectDatabase, tmp_path: Path, name: str
) -> None:
    checkout(odb, tmp_path, None, store_files(odb, {f"d/{name}": b"x"}))
    assert (tmp_path / "d" / name).read_bytes() == b"x"


@pytest.mark.parametrize(
    "char", ["\0", "\x01", "\t", "\n", "\r", "\x1b", "\x7f", "\x80", "\x9b", "\u2028", "\u2029"]
)
def test_control_characters_are_refused(odb: ObjectDatabase, tmp_path: Path, char: str) -> None:
    for path in (f"a{char}b", f"d/{char}", f"{char}/f"):
        with pytest.raises(InvalidInput):
            store_files(odb, {path: b"x"})
        if char != "\0":
            with pytest.raises(IntegrityError):
                checkout(odb, tmp_path, None, tree_of(odb, {path: b"x"}), force=True)


def bare_repository(place: Path) -> dict[str, bytes]:
    """Make a bare repository of git; return its files by name."""
    subprocess.run(["git", "init", "-q", "--bare", str(place)], check=True)
    (place / "refs" / "heads" / "main").write_text("")
    (place / "objects" / "info" / "packs").write_text("")
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


def is_git_directory(place: Path) -> bool:
    """Return True if git takes a directory for a repository by itself."""
    done = subprocess.run(
        ["git", "rev-parse", "--git-dir"], cwd=place, capture_output=True, check=False
    )
    return done.stdout.decode().strip() in (".", str(place))


@pytest.mark.parametrize("where", ["", "deep/er/"])
def test_a_bare_repository_of_git_is_refused(
    odb: ObjectDatabase, tmp_path: Path, where: str
) -> None:
    found = bare_repository(tmp_path / "bare")
    assert is_git_directory(tmp_path / "bare")
    for change in (lambda name: name, str.upper, str.title):
        renamed = {where + change(name): data for name, data in found.items()}
        with pytest.raises(InvalidInput, match="would be a git repository: it has HEAD"):
            store_files(odb, renamed)
        (tmp_path / "out").mkdir(exist_ok=True)
        with pytest.raises(IntegrityError):
            checkout(odb, tmp_path / "out", None, tree_of(odb, renamed), force=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bare_repository_whose_parts_lie_elsewhere_is_refused(
    odb: ObjectDatabase, tmp_path: Path
) -> None:
    found = bare_repository(tmp_path / "b")
    head = found.pop("HEAD")
    parts = {f"b/{name}": data for name, data in found.items()}
    parts |= {"a/HEAD": head, "a/commondir": b"../b\n"}
    for name in ("a/HEAD", "a/commondir"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(parts[name])
    assert is_git_directory(tmp_path / "a")
    with pytest.raises(InvalidInput, match="it has HEAD, commondir"):
        store_files(odb, parts)
    del parts["a/commondir"]
    store_files(odb, parts)  # which git takes for nothing


def test_a_checkout_writes_no_directory_of_git(tmp_path: Path) -> None:
    """As a user meets it: somebody's repository, of a program that checks nothing."""
    with Repository.init(tmp_path) as repo:
        tree = tree_of(repo.odb, {".git/config": b"[core]\n\tfsmonitor = touch hacked\n"})
        repo.commit({"observation": 1}, files=tree)
        with pytest.raises(IntegrityError, match=r"cannot use the files of tree .*version control"):
            repo.checkout("main", force=True)
        assert list(repo.files("main")) == [".git/config"]  # which can be looked at
    assert not (tmp_path / ".git").exists()
