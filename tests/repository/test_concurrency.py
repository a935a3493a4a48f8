"""Threads, processes and forks: readers see whole flushes, writers do not disturb each other."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import NotFound, Repository
from simgit.refs.revision import Revisions
from tests.support.patience import PATIENCE

SPAWN = multiprocessing.get_context("spawn")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def repo(tmp_path: Path) -> Any:
    with Repository.init(tmp_path) as repo:
        yield repo


def record(repo: Repository, run: str, count: int, every: int = 50) -> None:
    with repo.recorder(run, flush_every=every) as rec:
        for i in range(count):
            rec.append(np.float32([i, len(run)]), i, float(i), info={"text": f"{run}{i}"})


def check(repo: Repository, run: str, step: int) -> None:
    """Check a state by step and by oid."""
    state = repo.state(f"{run}@{step}")
    assert state.action == step
    assert state.info == {"text": f"{run}{step}"}
    assert repo.state(state.oid).place == state.place


@pytest.mark.slow
def test_threads_read_while_others_record(repo: Repository) -> None:
    failures: list[str] = []
    done = threading.Event()

    def write(run: str) -> None:
        try:
            record(repo, run, 1500)
        except BaseException:
            failures.append(traceback.format_exc())

    def read(number: int) -> None:
        rng = np.random.default_rng(number)
        try:
            while not done.is_set():
                run = f"run{rng.integers(3)}"
                try:
                    last = repo.runs[run].step
                except NotFound:
                    continue
                if last is not None:
                    assert last % 50 == 49
                    check(repo, run, int(rng.integers(last + 1)))
        except BaseException:
            failures.append(traceback.format_exc())

    writers = [threading.Thread(target=write, args=(f"run{i}",)) for i in range(3)]
    readers = [threading.Thread(target=read, args=(i,)) for i in range(3)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    for thread in readers:
        thread.join(60)
    assert not failures, failures[0]
    assert [repo.runs[f"run{i}"].step for i in range(3)] == [1499] * 3
    assert not repo.fsck().problems


def _record(path: str, run: str) -> None:
    with Repository.open(path) as repo:
        record(repo, run, 500, 20)


@pytest.mark.slow
def test_processes_record_runs_of_their_own(repo: Repository, tmp_path: Path) -> None:
    writers = [SPAWN.Process(target=_record, args=(str(tmp_path), f"run{i}")) for i in range(3)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        for run in repo.runs:
            step = repo.runs[run].step
            if step is not None:
                check(repo, run, step)
                seen += 1
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert seen
    for i in range(3):
        for step in range(0, 500, 37):
            check(repo, f"run{i}", step)
    assert not repo.fsck().problems


def _in_child(repo: Repository, queue: Any) -> None:
    try:
        before = repo.state("main@10").action
        repo.commit(1, message="child", run="child")
        record(repo, "from-child", 100)
        queue.put((before, repo.state("child").message))
    except BaseException:
        queue.put(traceback.format_exc())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_repository_can_be_used_after_a_fork(repo: Repository) -> None:
    record(repo, "main", 100)
    queue = FORK.Queue()
    child = FORK.Process(target=_in_child, args=(repo, queue))
    child.start()
    record(repo, "parent", 300, 10)
    answer = queue.get(timeout=PATIENCE)
    child.join(30)
    assert answer == (10, "child")
    check(repo, "from-child", 99)
    check(repo, "parent", 299)
    assert not repo.fsck().problems


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_dies_leaves_the_parents_repository_usable(repo: Repository) -> None:
    record(repo, "main", 10)
    child = os.fork()
    if child == 0:
        repo.commit(5, run="child")
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    repo.commit(6, run="parent")
    assert repo.state("child").observation == 5


def test_a_snapshot_does_not_move_while_many_writes_happen(repo: Repository) -> None:
    record(repo, "main", 100)
    revisions = Revisions(repo.odb, repo.refs)
    with repo.odb.read() as txn:
        before = revisions.resolve(txn, "main")
        for i in range(20):
            thread = threading.Thread(target=record, args=(repo, f"r{i}", 30, 10))
            thread.start()
            thread.join()
        thread = threading.Thread(target=repo.commit, args=(1,))
        thread.start()
        thread.join()
        assert revisions.resolve(txn, "main") == before
        assert [name for name, _ in repo.refs.runs(txn)] == ["main"]
    assert repo.runs["main"].step == 100


PROGRAM = """
import numpy as np
from simgit import Repository
repo = Repository.init(":memory:")
config = {"b": {"y": 1, "x": {2: b"", "k": 1}}, "a": 2}
with repo.recorder(config=config, spec={"z": 1, "y": {"q": 2, "p": 1}}) as rec:
    for i in range(50):
        keys = {"alpha", "beta", "gamma", "delta"}
        info = {key: {"n": i, f"{key}{i % 3}": (i, {"s": [i], "t": None})} for key in keys}
        reset = {"seed": i, "options": info}
        rec.append({"x": np.zeros(2), "a": i}, i if i % 2 else i / 2, info=info, reset=reset)
print(repo.resolve("main"), repo.refs.run(repo.odb.read().__enter__(), "main").record)
"""


@pytest.mark.slow
def test_names_do_not_depend_on_the_hash_seed() -> None:
    names = set()
    for seed in ("0", "1", "2", "12345"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            text=True,
            capture_output=True,
            check=True,
        )
        names.add(done.stdout)
    assert len(names) == 1
