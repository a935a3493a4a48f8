"""The transport to a directory keeps the contract; killed writers, links, a full disk."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from simgit.errors import AlreadyExists, NotFound, StorageFullError, TransportError
from simgit.remotes.transport import Transport, directory, open_transport
from simgit.remotes.transport.directory import DirectoryTransport
from tests.remotes.transport import processes
from tests.remotes.transport.contract import TransportContract


class TestDirectoryTransport(TransportContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> Callable[[], Transport]:
        return lambda: open_transport(f"{tmp_path}/remote")

    # a thousand files that are synced
    test_a_listing_is_of_pages = pytest.mark.slow(TransportContract.test_a_listing_is_of_pages)


class TestDirectoryWithoutLinks(TransportContract):
    """A file system that knows no second names of a file, as on memory cards."""

    @pytest.fixture
    def open_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Transport]:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
        return lambda: open_transport(f"{tmp_path}/remote")

    test_a_listing_is_of_pages = None  # type: ignore[assignment]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "remote"


@pytest.fixture
def transport(root: Path) -> Transport:
    return open_transport(str(root))


def told(call: Callable[[], object], kind: str) -> str:
    with pytest.raises(TransportError) as caught:
        call()
    assert caught.value.kind == kind
    return str(caught.value)


def test_what_is_stored_can_be_looked_at_with_other_tools(root: Path, transport: Transport) -> None:
    transport.put("packs/ab/cd", b"pack")
    transport.put("refs/runs/walk@", b"ref")
    transport.put("refs/runs/walk/1@", b"ref of 1")
    found = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    assert [each for each in found if not each.startswith(".locks/")] == [
        "packs/ab/cd",
        "refs/runs/walk/1@",
        "refs/runs/walk@",
    ]
    (root / "packs/ef").mkdir()
    (root / "packs/ef/01").write_bytes(b"copied")
    assert [each.key for each in transport.list("packs")] == ["packs/ab/cd", "packs/ef/01"]


def test_a_url_and_a_path_are_the_same_place(
    root: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    (root.parent / "a b%").mkdir()
    transport.put("a", b"1")
    for url in (f"file://{root}", f"file://localhost{root}", "remote", f"{root}/"):
        with open_transport(url) as other:
            assert other.url == str(root)
            assert other.get_range("a", 0, 1) == b"1"
    assert open_transport(f"file://{root.parent}/a%20b%25").url == f"{root.parent}/a b%"


def test_other_files_are_left_alone(root: Path, transport: Transport) -> None:
    transport.put("refs/runs/a", b"1")
    for name in (".nfs0001", "refs/.DS_Store", "refs/a b", "refs/runs/x#", "refs/runs/ä"):
        (root / name).write_bytes(b"not of simgit")
    assert [each.key for each in transport.list("")] == ["refs/runs/a"]


def test_a_directory_is_made_but_not_the_one_above(tmp_path: Path) -> None:
    new = open_transport(f"{tmp_path}/new")
    with pytest.raises(NotFound):
        new.get("a")
    assert list(new.list("")) == []
    new.delete(["a"])
    assert not (tmp_path / "new").exists()
    new.put_new("a", b"1")
    away = open_transport(f"{tmp_path}/mount/remote")
    for call in (
        lambda: away.get("a"), lambda: away.put("a", b""), lambda: away.put_new("a", b""),
        lambda: list(away.list("")),
    ):  # fmt: skip
        assert told(call, "no-bucket") == (
            f"there is no directory '{tmp_path}/mount' for the remote '{tmp_path}/mount/remote': "
            "mount it or make it"
        )


@pytest.mark.parametrize("what", ["refs", "refs/runs", "refs/runs/a", ".locks", ".scratch"])
def test_a_link_is_not_followed(root: Path, tmp_path: Path, what: str) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "a").write_bytes(b"secret")
    (other / "runs").mkdir()
    (other / "runs/a").write_bytes(b"secret")
    (root / what).parent.mkdir(parents=True)
    (root / what).symlink_to(other / "a" if what.endswith("/a") else other)
    transport = open_transport(str(root))
    if not what.startswith("."):
        assert "is a symbolic link" in told(lambda: transport.get("refs/runs/a"), "unsupported")
        assert "is a symbolic link" in told(
            lambda: list(transport.list("refs/runs")), "unsupported"
        )
    if what != "refs/runs/a":
        with pytest.raises(TransportError, match="is a symbolic link"):
            transport.put("refs/runs/a", b"1")
    else:
        transport.put("refs/runs/a", b"1")  # replaces the link itself
    assert (other / "a").read_bytes() == (other / "runs/a").read_bytes() == b"secret"
    assert sorted(each.name for each in other.iterdir()) == ["a", "runs"]


def test_a_pipe_is_not_waited_for(root: Path, transport: Transport) -> None:
    transport.put("refs/a", b"1")
    os.mkfifo(root / "refs/b")
    assert "is a pipe" in told(lambda: transport.get("refs/b"), "unsupported")
    assert "is a pipe" in told(lambda: list(transport.list("")), "unsupported")


def test_the_begin_of_a_key_that_is_a_key_is_told(transport: Transport) -> None:
    transport.put("refs/runs/a", b"1")
    transport.put("heads", b"1")
    for call in (lambda: transport.put("refs/runs", b"1"), lambda: transport.put("heads/a", b"1")):
        assert "the begin of a key is a key there" in told(call, "unsupported")
    with pytest.raises((TransportError, AlreadyExists)):
        transport.put_new("refs", b"1")


def test_what_a_killed_writer_left_is_not_listed_and_removed_when_old(
    root: Path, transport: Transport
) -> None:
    transport.put("a", b"1")
    old, new = root / ".scratch/1-old", root / ".scratch/2-new"
    for each in (old, new):
        each.write_bytes(b"part")
    os.utime(old, (time.time() - 3700,) * 2)
    os.utime(new, (time.time() - 3500,) * 2)
    assert [each.key for each in transport.list("")] == ["a"]
    open_transport(str(root)).put("b", b"2")
    assert [each.name for each in (root / ".scratch").iterdir()] == ["2-new"]


def test_a_failed_write_leaves_nothing(root: Path, transport: Transport) -> None:
    class Breaks:
        def read(self, _: int) -> bytes:
            raise RuntimeError("broken")

    etag = transport.put("a", b"1")
    with pytest.raises(RuntimeError):
        transport.put("a", Breaks())  # type: ignore[arg-type]
    with pytest.raises(AlreadyExists):
        transport.put_new("a", b"2")
    assert transport.head("a").etag == etag
    assert list((root / ".scratch").iterdir()) == []


def test_bytes_are_on_the_disk_before_their_name_and_the_name_before_the_answer(
    root: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = transport.put("refs/runs/old", b"1")
    events: list[str] = []

    def noted(name: str, usual: Callable[..., None], *args: object) -> None:
        if name == "fsync":
            where = Path(f"/proc/self/fd/{args[0]}").readlink()
        else:
            where = Path(str(args[-1]))
        events.append(f"{name} {where.relative_to(root).parts[0]}")
        usual(*args)

    for name in ("fsync", "link", "replace"):
        monkeypatch.setattr(os, name, partial(noted, name, getattr(os, name)))
    calls: list[tuple[str, Callable[[], object]]] = [
        ("replace", lambda: transport.put("refs/runs/a", b"1")),
        ("link", lambda: transport.put_new("refs/runs/b", b"1")),
        ("replace", lambda: transport.put_if("refs/runs/old", b"2", etag)),
    ]
    for name, call in calls:
        events.clear()
        call()
        assert events == ["fsync .scratch", f"{name} refs", "fsync refs"]


def test_a_file_system_that_does_not_tell_letters_is_refused(root: Path) -> None:
    root.mkdir()
    (root / ".scratch").mkdir()
    (root / ".SCRATCH").symlink_to(".scratch")  # what such a file system seems to have
    transport = open_transport(str(root))
    assert "does not tell 'A' from 'a'" in told(lambda: transport.put("a", b""), "unsupported")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_what_is_not_permitted_is_told(root: Path, transport: Transport) -> None:
    transport.put("refs/runs/a", b"1")
    for each in root.parents:
        if each.stat().st_mode & 0o55 != 0o55 and each.owner() == "root" and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o55)
    said = _as_nobody(root, "t.put('refs/runs/b', b'2')")
    assert said == f"denied: cannot write in the remote '{root}': permission denied; ask its owner"
    assert _as_nobody(root, "t.get('refs/runs/a')") == "done"
    (root / "refs/runs/a").chmod(0o600)
    said = _as_nobody(root, "t.get('refs/runs/a')")
    assert said == f"denied: cannot read in the remote '{root}': permission denied; ask its owner"
    (root / "refs/runs").chmod(0o700)
    said = _as_nobody(root, "list(t.list('refs'))")
    assert said == f"denied: cannot list in the remote '{root}': permission denied; ask its owner"


def _as_nobody(root: Path, call: str) -> str:
    """Return what a call of the transport says to a user who owns nothing."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            eval(call, {"t": DirectoryTransport(root), "list": list})
            said = "done"
        except TransportError as error:
            said = f"{error.kind}: {error}"
        except BaseException as error:
            said = repr(error)
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_a_full_disk_is_told_and_nothing_is_lost(root: Path, transport: Transport) -> None:
    etag = transport.put_new("a", b"1")
    usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for call in (
            lambda: transport.put("b", b"x" * 5000), lambda: transport.put("a", b"x" * 5000),
            lambda: transport.put_if("a", b"x" * 5000, etag),
        ):  # fmt: skip
            with pytest.raises(StorageFullError, match=f"cannot write in the remote '{root}': "):
                call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, usual)
    assert [each.key for each in transport.list("")] == ["a"]
    assert transport.head("a").etag == etag
    assert list((root / ".scratch").iterdir()) == []


def test_a_remote_that_is_removed_while_it_is_used_is_told_and_made_again(
    root: Path, transport: Transport
) -> None:
    transport.put("a", b"1")
    shutil.rmtree(root)
    with pytest.raises(NotFound):
        transport.get("a")
    assert "no such file or directory" in told(lambda: transport.put("a", b"2"), "no-bucket")
    transport.put("a", b"2")
    assert transport.get_range("a", 0, 1) == b"2"


def test_a_lock_that_is_held_for_long_is_told(
    root: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    transport.put("a", b"1")
    monkeypatch.setattr(directory, "PATIENCE", 0)
    (lock,) = (root / ".locks").iterdir()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "was locked by another process" in told(
            lambda: transport.put("a", b"2"), "throttled"
        )
        assert transport.get_range("a", 0, 1) == b"1"  # readers wait for nobody
    transport.put("a", b"2")


def test_readers_see_the_old_bytes_or_the_new(transport: Transport) -> None:
    done = threading.Event()

    def write() -> None:
        for i in itertools.cycle(range(256)):
            transport.put("a", bytes([i]) * 20_000)
            if done.is_set():
                return

    transport.put("a", b"\0" * 20_000)
    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for _ in range(10_000):
            got = transport.get("a")
            assert got is not None and len(got.data) == 20_000 and len(set(got.data)) == 1
            seen.add(got.data[0])
            if len(seen) > 5:
                break
    finally:
        done.set()
        writer.join()
    assert len(seen) > 5


@pytest.mark.slow
def test_processes_that_count_by_comparing_lose_nothing(root: Path, transport: Transport) -> None:
    processes.count(transport, str(root), 50)


@pytest.mark.slow
def test_killed_writers_leave_whole_objects_and_no_locks(root: Path, transport: Transport) -> None:
    processes.kill(transport, str(root), 6)
    assert list((root / ".scratch").iterdir()) != []  # some were killed while they wrote
