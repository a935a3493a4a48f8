"""``repo.runs`` is kept by the bytes of the refs, and says what a new handle says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from simgit import Repository
from simgit.errors import Conflict, IntegrityError, NotFound
from simgit.odb import foreign
from simgit.refs.runs import RunInfo, Runs


def described(repo: Repository) -> dict[str, tuple[Any, ...]]:
    """Return the facts about all runs, read anew."""
    with repo.odb.read() as txn:
        found = [repo._store.runs.describe(txn, *each) for each in repo.refs.runs(txn)]
        return {info.name: facts(info) for info in found}


def facts(info: RunInfo) -> tuple[Any, ...]:
    return (*info._told().values(), info.is_foreign, info.config)


def kept(repo: Repository) -> dict[str, tuple[Any, ...]]:
    return {name: facts(info) for name, info in repo.runs.items()}


class Cached(RuleBasedStateMachine):
    """Whatever is done, by this handle or another, what is kept is what is there."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.repo = Repository.init(self.folder.name)
        self.other = Repository.open(self.folder.name)
        self.repo.commit(0, 0, 1.0, run="main")

    def teardown(self) -> None:
        if hasattr(self, "repo"):
            self.repo.close()
            self.other.close()
            self.folder.cleanup()

    def run(self, number: int) -> str:
        if not self.other.runs:
            self.other.commit(0, run="main")
        names = list(self.other.runs)
        return names[number % len(names)]

    @rule(n=st.integers(0, 9), name=st.sampled_from("abc"))
    def branch(self, n: int, name: str) -> None:
        if name not in self.other.runs:
            self.other.branch(name, self.run(n), overrides={"lr": n}, seed=n)

    @rule(n=st.integers(0, 9))
    def commit(self, n: int) -> None:
        run = self.run(n)
        if self.other.runs[run].status != "completed":
            self.other.commit(n, n, 1.0, run=run)

    @rule(n=st.integers(0, 9), status=st.sampled_from(["paused", "completed", "active"]))
    def end(self, n: int, status: str) -> None:
        self.repo.set_status(self.run(n), status)

    @rule(n=st.integers(0, 9))
    def configure(self, n: int) -> None:
        self.other.configure(self.run(n), overrides={"lr": n / 2}, metadata={"note": n})

    @rule(n=st.integers(0, 9))
    def delete(self, n: int) -> None:
        if len(self.other.runs) > 1:
            self.other.delete_run(self.run(n), force=True)

    @rule(n=st.integers(0, 9))
    def rename(self, n: int) -> None:
        if "z" not in self.other.runs:
            self.other.rename_run(self.run(n), "z")

    @rule()
    def undo(self) -> None:
        with suppress(Conflict, NotFound):  # what came later may be in the way
            self.other.undo(self.other.operations()[0].number)

    @rule()
    def collect(self) -> None:
        self.repo.gc()

    @rule(n=st.integers(0, 9))
    def roll_back(self, n: int) -> None:
        name = self.run(n)  # which may write, through the other handle
        with pytest.raises(ZeroDivisionError), self.repo.transaction("t"):
            self.repo.branch("gone", name)
            assert "gone" in dict(self.repo.runs.items())
            raise ZeroDivisionError

    @invariant()
    def is_what_is_there(self) -> None:
        if hasattr(self, "repo"):
            assert kept(self.repo) == described(self.other)
            assert [*self.repo.runs.items()] == [*self.repo.runs.items()]
            for name, info in self.repo.runs.items():
                assert info.config == self.other.config(name)  # resolved over all records


TestCached = Cached.TestCase
TestCached.settings = settings(max_examples=15, stateful_step_count=12)


def test_runs_that_did_not_move_are_not_read_again(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(0, run="a")
        repo.branch("b", "a")
        before = dict(repo.runs.items())
        repo.commit(1, run="b")
        after = dict(repo.runs.items())
        assert after["a"] is before["a"] and after["b"].step == 1
        assert repo.runs.values()  # nothing moved
        assert dict(repo.runs.items())["b"] is after["b"]


def test_what_is_inherited_is_that_of_the_records_above(tmp_path: Path) -> None:
    """Also where more runs are inherited from than are kept, and where one line is long."""
    with Repository.init(tmp_path) as repo:
        repo.commit(0, run="r000")
        with repo.transaction("branches"):
            for i in range(1, 300):
                repo.branch(f"r{i:03}", f"r{i - 1:03}", overrides={"own": i, f"k{i % 7}": {"v": i}})
    for backwards in (False, True):
        with Repository.open(tmp_path) as repo:
            infos = sorted(repo.runs.values(), key=lambda info: info.name, reverse=backwards)
            for info in infos:
                number = int(info.name[1:])
                last = range(max(1, number - 6), number + 1)
                assert info.config == {"own": number} | {f"k{i % 7}": {"v": i} for i in last} or (
                    number == 0 and info.config == {}
                )
            for info in infos:
                assert info.config == repo.config(info.name)


def test_settings_are_known_after_the_repository_is_closed(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(0, run="main")
        repo.branch("side", "main", overrides={"lr": 0.5}, seed=7, metadata={"note": "x"})
        large = {"table": [[i, str(i * i)] for i in range(2000)], "noise": os.urandom(300_000)}
        repo.branch("large", "main", metadata=large)
        infos = dict(repo.runs.items())
    side = infos["side"]
    assert infos["large"].metadata == large
    assert (side.overrides, side.seed, side.metadata) == ({"lr": 0.5}, 7, {"note": "x"})
    assert side.branch_point == infos["main"].oid and side != infos["main"]
    for name in ("name", "status", "oid", "overrides", "config", "anything"):
        with pytest.raises(AttributeError):
            setattr(side, name, None)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda value: value[:-1] + bytes([value[-1] ^ 1]),
        lambda value: value[:2] + (int.from_bytes(value[2:10], "little") + 1).to_bytes(8, "little")
        + value[10:],
    ],
)  # fmt: skip
def test_a_damaged_record_is_said_when_it_is_looked_at(
    tmp_path: Path, damaged: Callable[[bytes], bytes]
) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(0, run="main")
        with repo.odb.write() as txn:
            oid = repo.refs.run(txn, "main").record
            value = txn.get("objects", oid)
            assert value is not None
            txn.put("objects", oid, damaged(value))
        info = dict(repo.runs.items())["main"]
        assert (info.step, info.status) == (0, "active")
        with pytest.raises(IntegrityError):
            _ = info.metadata


@pytest.mark.slow
def test_a_writer_that_dies_is_seen_although_no_ref_moves(tmp_path: Path) -> None:
    code = """
        import sys, simgit
        with simgit.Repository.init(sys.argv[1]) as repo:
            recorder = repo.recorder("main")
            recorder.append(0)
            recorder.flush()
            print("ready", flush=True)
            sys.stdin.read()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    with Repository.open(tmp_path) as repo:
        assert dict(repo.runs.items())["main"].status == "active"
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert dict(repo.runs.items())["main"].status == "crashed"
        assert dict(repo.runs.items())["main"].status == repo.run("main").status


def test_trust_is_seen_although_no_ref_moves(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(0, run="main")
        with repo._store.write("test") as txn:
            repo._store.runs.configure(txn, "main", metadata={"verdict": "exact"})
        assert not dict(repo.runs.items())["main"].is_foreign
        with repo.odb.write() as txn:
            foreign.mark(txn, repo.refs.run(txn, "main").record)  # as an import does
        assert dict(repo.runs.items())["main"].is_foreign
        repo.trust()
        assert not dict(repo.runs.items())["main"].is_foreign
        assert kept(repo) == described(repo)


def test_a_view_of_the_past_has_the_runs_of_then(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(0, run="main")
        then, number = kept(repo), repo.operations()[0].number
        repo.branch("side", "main")
        repo.commit(1, run="main")
        assert len(kept(repo)) == 2
        past = repo.at_operation(number)  # it shares the open store
        assert kept(past) == then == kept(past)
        assert len(kept(repo)) == 2


def together(*work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def test_threads_see_runs_that_never_go_back(tmp_path: Path) -> None:
    failed: list[BaseException] = []
    with Repository.init(tmp_path) as repo:
        repo.commit(0, run="main")

        def read() -> None:
            try:
                last = -1
                for _ in range(300):
                    step = dict(repo.runs.items())["main"].step
                    assert step is not None and step >= last
                    last = step
            except BaseException as error:
                failed.append(error)

        def write() -> None:
            with repo.recorder("main", flush_every=1) as rec:
                for i in range(60):
                    rec.append(i)

        together(read, read, write)
        assert not failed
        assert kept(repo) == described(repo)


def test_a_forked_child_reads_what_is_there(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(0, run="main")
        assert kept(repo)["main"][2] == 0
        child = os.fork()
        if child == 0:
            code = 1
            try:
                repo.commit(1, run="main")
                code = 0 if kept(repo) == described(repo) and repo.runs["main"].step == 1 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert dict(repo.runs.items())["main"].step == 1


def test_a_storage_in_memory_has_them_too() -> None:
    with Repository.init(":memory:") as repo:
        repo.commit(0, run="main")
        assert kept(repo) == described(repo)
        repo.commit(1, run="main")
        assert kept(repo) == described(repo)
        assert isinstance(repo._store.runs, Runs)
