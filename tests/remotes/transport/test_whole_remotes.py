"""Remotes in buckets of real servers: pushed, fetched, cloned, collected and checked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest
from click.testing import CliRunner

from simgit import Conflict, Repository
from simgit.cli.root import cli
from simgit.remotes import remote as remotes
from simgit.remotes.collection import RemoteCollection, collect
from simgit.remotes.transport import Transport, open_transport, s3
from simgit.repository import remotes as of_repository
from tests.remotes.faulty import Killed, Later
from tests.remotes.remote_support import push
from tests.remotes.transport import ceph, replies
from tests.remotes.transport.replies import Reply, error

DAY = 24 * 3600.0


class Place(NamedTuple):
    """An empty place in a bucket."""

    url: str
    endpoint: str


@pytest.fixture(params=["moto", pytest.param("ceph", marks=[pytest.mark.slow, ceph.NEEDED])])
def empty(request: pytest.FixtureRequest) -> Place:
    if request.param == "moto":
        request.getfixturevalue("keys")
        bucket, endpoint = map(request.getfixturevalue, ("bucket", "moto"))
        return Place(f"s3://{bucket}/exp", endpoint)
    return Place(*map(request.getfixturevalue, ("place", "gateway")))


@pytest.fixture
def store(empty: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Later]:
    """The store of the place, whose clock can be set ahead; all use it."""
    with Later(open_transport(empty.url, endpoint=empty.endpoint)) as store:

        def opened(url: str, **_: str | None) -> Transport:
            assert url == empty.url
            return _Shared(store)

        monkeypatch.setattr(of_repository, "open_transport", opened)
        monkeypatch.setattr(remotes, "open_transport", opened)
        yield store


class _Shared(Later):
    """A view of a store that stays when the view is closed."""

    def close(self) -> None:
        pass


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "a") as repo:
        yield repo


def commit(repo: Repository, run: str, first: int, count: int = 5) -> None:
    for i in range(first, first + count):
        repo.commit({"y": float(i)}, i % 2, 1.0, run=run)


def gc(repo: Repository, store: Later) -> RemoteCollection:
    with repo.remote() as remote:
        return collect(remote._connection, now=store)


def whole(repo: Repository, place: Place, target: Path) -> dict[str, object]:
    """Check a remote, and a clone of it; return the newest states of the clone's runs."""
    with repo.remote() as remote:
        assert remote.fsck(quick=True).problems == []
        found = remote.fsck()
        assert found.problems == [] and found.checked == found.packs > 0
    with Repository.clone(place.url, target, endpoint=place.endpoint) as clone:
        assert not clone.fsck().problems
        return {name: info.oid for name, info in clone.runs.items()}


@pytest.mark.slow
def test_runs_go_there_and_back(
    repo: Repository, empty: Place, store: Later, tmp_path: Path
) -> None:
    assert not repo.add_remote("origin", empty.url, endpoint=empty.endpoint)
    for first in range(0, 50, 5):
        commit(repo, "main", first)
        with repo.remote() as remote:
            sent = remote.push()
        assert sent.refs["runs/main"].states == sent.states == 5
        assert sent.requests == 3 or not first
    repo.attach("main", "agent", b"1" * 3000)
    repo.branch("try", "main~7")
    repo.tag("v1", "main~2", message="good")
    with repo.remote() as remote:
        remote.push(all=True, tags=True)
    tips = {name: info.oid for name, info in repo.runs.items()}
    assert whole(repo, empty, tmp_path / "b") == tips
    with Repository.open(tmp_path / "b") as other:
        assert other.attachment("main", "agent") == b"1" * 3000
        commit(other, "main", 50)
        with other.remote() as remote:
            assert remote.push(["main"]).refs["runs/main"].what == "forward"
        assert repo.pull("origin").runs["main"].what == "forward"
        assert repo.runs["main"].oid == other.runs["main"].oid
        commit(repo, "main", 60)
        commit(other, "main", 70)
        with repo.remote() as remote:
            remote.push()
        with other.remote() as remote, pytest.raises(Conflict, match="not here; pull it first"):
            remote.push(["main"])
        assert other.pull("origin", ["main"]).runs["main"].name == "runs/main.conflict-1"
        with other.remote() as remote:
            assert remote.push(["main"], force=True).refs["runs/main"].what == "forced"
            assert remote.push([], delete=["try"]).refs["runs/try"].what == "deleted"
        tips = {"main": other.runs["main"].oid}
    found = gc(repo, store)
    assert found.joined > 8 and found.moved and not found.deleted
    assert whole(repo, empty, tmp_path / "c") == tips
    store.go(15 * DAY)
    found = gc(repo, store)
    assert found.tombed > 8 and not found.deleted
    assert whole(repo, empty, tmp_path / "d") == tips
    store.go(15 * DAY)
    assert gc(repo, store).deleted == found.tombed
    assert whole(repo, empty, tmp_path / "e") == tips
    with repo.remote() as remote:
        assert remote.fsck(quick=True).unreferenced == 0


@pytest.mark.slow
def test_packs_of_a_killed_push_are_deleted_and_sent_again(
    repo: Repository, empty: Place, store: Later, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.add_remote("origin", empty.url, endpoint=empty.endpoint)
    commit(repo, "main", 0)
    with repo.remote() as remote:
        remote.push()
    commit(repo, "main", 5)

    def cut(number: int, name: str, key: str) -> None:
        if name == "put_if" and key.startswith("refs/"):
            raise Killed

    with monkeypatch.context() as patch, repo.remote() as remote:
        patch.setattr(store, "before", cut)
        with pytest.raises(Killed):
            remote.push()
    assert gc(repo, store).young == 1
    store.go(15 * DAY)
    assert gc(repo, store).tombed == 1
    store.go(15 * DAY)
    assert gc(repo, store).deleted == 1
    push(repo, store, clock=store)
    assert whole(repo, empty, tmp_path / "b") == {"main": repo.runs["main"].oid}


def test_of_two_that_push_at_once_one_is_refused(
    repo: Repository, empty: Place, store: Later, tmp_path: Path
) -> None:
    repo.add_remote("origin", empty.url, endpoint=empty.endpoint)
    commit(repo, "main", 0)
    with repo.remote() as remote:
        remote.push()
    others = [Repository.clone(empty.url, tmp_path / f"{i}", endpoint=empty.endpoint)
              for i in range(3)]  # fmt: skip
    start = threading.Barrier(3)
    outcomes: list[str] = []

    def go(index: int) -> None:
        with others[index] as other:
            commit(other, "main", 10 * (index + 1))
            with other.remote() as remote:
                start.wait()
                try:
                    outcomes.append(remote.push(["main"]).refs["runs/main"].what)
                except Conflict as refused:
                    outcomes.append("refused" if "pull it first" in str(refused) else str(refused))

    threads = [threading.Thread(target=go, args=(i,)) for i in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(outcomes) == ["forward", "refused", "refused"]
    whole(repo, empty, tmp_path / "all")


# --- what is refused, as the command line says it -------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with a run, which is the current directory."""
    monkeypatch.setattr(s3, "PAUSE", 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMGIT_DIR", "")
    monkeypatch.delenv("SIMGIT_DIR")
    with Repository.init(tmp_path) as repo:
        commit(repo, "main", 0)


def done(*words: str) -> str:
    found = CliRunner().invoke(cli, words, prog_name="simgit")
    assert found.exit_code == 0, (found.stdout, found.stderr)
    return found.stdout


def refused(*words: str) -> str:
    """Return why a command was refused."""
    found = CliRunner().invoke(cli, words, prog_name="simgit")
    assert found.exit_code == 128 and not found.stdout
    (line,) = found.stderr.splitlines()
    assert line.startswith("fatal: ")
    return line[7:]


def note(url: str, endpoint: str) -> None:
    """Note a remote without looking at it."""
    for name, value in (("url", url), ("endpoint", endpoint)):
        done("config", "--repository", f"remote.origin.{name}={value}")


COMMANDS = (
    ("push",), ("fetch",), ("pull",), ("fsck", "--remote", "origin"), ("gc", "--remote", "origin"),
    ("remote", "show", "origin"),
)  # fmt: skip


@pytest.mark.usefixtures("keys", "here")
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (error(403, "InvalidAccessKeyId"), "it does not know the access key: check AWS_ACCESS_KEY"),
        (error(403, "SignatureDoesNotMatch"), "the secret key is another: check AWS_ACCESS_KEY_ID"),
        (error(403, "AccessDenied"), "it is not permitted to this access key, or there is none"),
        (error(503, "SlowDown"), "is too busy (503 SlowDown): try again later (tried 5 times)"),
        (error(404, "NoSuchBucket"), "there is no bucket 'bucket' at "),
    ],
)  # fmt: skip
def test_each_command_says_why_it_is_refused(
    server: replies.Server, reply: Reply, said: str
) -> None:
    server.replies = [reply]
    note("s3://bucket/x", server.address)
    adds = ("remote", "add", "b", "s3://bucket/x", "--endpoint", server.address)
    clones = ("clone", "s3://bucket/x", "copy", "--endpoint", server.address)
    for words in (*COMMANDS, adds, clones):
        assert said in refused(*words), words
    assert not Path("copy").exists()


@pytest.mark.usefixtures("keys", "here")
def test_a_bucket_that_is_not_there(moto: str) -> None:
    note("s3://no-such-bucket/x", moto)
    for words in COMMANDS:
        assert refused(*words).startswith("there is no bucket 'no-such-bucket' at "), words


@pytest.mark.usefixtures("keys", "here")
def test_a_remote_that_is_read_only_here(moto: str, bucket: str) -> None:
    note(f"s3://{bucket}/x", moto)
    done("push")
    done("config", "--repository", "remote.origin.read-only=true")
    for words in (("push",), ("push", "-d", "origin", "main"), ("gc", "--remote", "origin")):
        assert refused(*words) == "'origin' is read-only here; see 'simgit remote show'"
    for words in (("fetch",), ("pull",), ("fsck", "--remote", "origin", "--deep"),
                  ("fsck", "--remote", "origin", "--quick"), ("remote", "show", "origin"),
                  ("gc", "--remote", "origin", "--dry-run")):  # fmt: skip
        done(*words)


@pytest.mark.slow
@pytest.mark.usefixtures("keys", "here")
def test_a_store_that_ignores_conditions_is_for_one_writer_who_says_so(tmp_path: Path) -> None:
    with replies.careless() as (address, objects):
        note("s3://bucket/x", address)
        assert refused("push") == (
            "'origin' ignores conditional writes, so two writers would overwrite each other "
            "unnoticed; if there is only one, add the remote with --single-writer"
        )
        assert objects == {}
        done("config", "--repository", "remote.origin.single-writer=true")
        done("push")
        assert "no damage" in done("fsck", "--remote", "origin")
        done("clone", "s3://bucket/x", "copy", "--endpoint", address)
        with Repository.open(tmp_path) as repo, Repository.open(tmp_path / "copy") as copy:
            assert copy.runs["main"].oid == repo.runs["main"].oid


@pytest.mark.slow
@ceph.NEEDED
@pytest.mark.usefixtures("here")
def test_keys_that_may_only_read(gateway: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    note(place, gateway)
    reader = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ceph.READER, strict=True))

    def become_reader() -> None:
        for name, value in reader.items():
            monkeypatch.setenv(name, value)

    done("push")
    policy = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/reader"]},
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::tests", "arn:aws:s3:::tests/*"],
        }],
    }  # fmt: skip
    client = boto3.client(
        "s3", endpoint_url=gateway, region_name="us-east-1", aws_access_key_id=ceph.ACCESS,
        aws_secret_access_key=ceph.SECRET,
    )  # fmt: skip
    become_reader()
    for words in COMMANDS:  # before the reader is permitted anything
        assert "it is not permitted to this access key, or there is none" in refused(*words), words
    client.put_bucket_policy(Bucket="tests", Policy=json.dumps(policy))
    try:
        done("fetch")
        done("clone", place, "copy", "--endpoint", gateway)
        done("fsck", "--remote", "origin")
        done("push")  # nothing is new
        done("commit", "--observation", "9")
        for words in (("push",), ("push", "-d", "origin", "main"), ("gc", "--remote", "origin")):
            assert "is refused (403 AccessDenied)" in refused(*words), words
    finally:
        client.delete_bucket_policy(Bucket="tests")


@pytest.mark.slow
@ceph.NEEDED
@pytest.mark.usefixtures("here")
def test_wrong_keys_of_a_real_server(
    gateway: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(place, gateway)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    for words in COMMANDS:
        assert "the secret key is another" in refused(*words), words
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    for words in COMMANDS:
        assert "it does not know the access key" in refused(*words), words
