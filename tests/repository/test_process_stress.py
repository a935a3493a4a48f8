"""Several processes at once, and kills: what was acknowledged is there, and the store is whole."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import traceback
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import NotFound, Repository
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

SPAWN = get_context("spawn")
LENGTHS = [1.5, pytest.param(10, marks=pytest.mark.slow)]
"""Seconds."""


def frame(run: str, n: int) -> Any:
    return np.full((20, 20), (n // 2 * 7 + len(run)) % 251, np.uint8)


def observation(run: str, n: int) -> dict[str, Any]:
    value: dict[str, Any] = {"x": np.float32([n]), "frame": frame(run, n)}
    return value | {"y": n} if n // 97 % 3 == 0 else value  # the schema changes now and then


def check(repo: Repository, run: str, n: int) -> None:
    state = repo.state(f"{run}@{n}")
    assert state.action == n
    assert np.array_equal(state.observation["frame"], frame(run, n))
    assert repo.state(state.oid).place == state.place


def check_all(repo: Repository, run: str, count: int) -> None:
    trajectory = repo.trajectory(run)
    assert np.array_equal(np.asarray(trajectory.actions), np.arange(count))
    for n in range(0, count, max(1, count // 50)):
        check(repo, run, n)


def _record(path: str, run: str, seed: str, end: float) -> Any:
    """Record, commit and look; return how many states there are, and some oids."""
    rng, n, oids = random.Random(seed), 0, []
    with Repository.open(path) as repo:
        while not n or time.time() < end:  # something in any case, however busy the machine is
            background = rng.random() < 0.5
            every = rng.choice((7, 64, 300))
            with repo.recorder(run, flush_every=every, background=background) as rec:
                for _ in range(rng.randrange(1, 200)):
                    rec.append(observation(run, n), n, float(n), terminated=n % 50 == 49)
                    n += 1
            oids.append((n, repo.commit(observation(run, n), n, float(n), run=run)))
            n += 1
            check(repo, run, rng.randrange(n))
    return n, oids


def _read(path: str, _: str, seed: str, end: float) -> None:
    rng = random.Random(seed)
    with Repository.open(path) as repo:
        while time.time() < end:
            for run in ("one", "three"):
                try:
                    last = repo.runs[run].step
                except NotFound:
                    continue
                if last is not None:
                    check(repo, run, rng.randrange(last + 1))
                    actions = np.asarray(repo.trajectory(run).actions)
                    assert np.array_equal(actions, np.arange(len(actions)))


def _collect(path: str, _: str, seed: str, end: float) -> None:
    while time.time() < end:
        with Repository.open(path) as repo:
            repo.gc()
            repo.odb.storage.compact()


def _branch(path: str, _: str, seed: str, end: float) -> None:
    rng, number = random.Random(seed), 0
    with Repository.open(path) as repo:
        while time.time() < end:
            last = repo.runs["one"].step if "one" in repo.runs else None
            if not last:
                continue
            step, run = rng.randrange(last), f"branch{number}"
            repo.branch(run, f"one@{step}")
            repo.tag(f"tag{number}", f"one@{step}")
            with repo.recorder(run) as rec:
                for n in range(step + 1, step + rng.randrange(2, 100)):
                    rec.append(observation("one", n + n % 3), n, float(n))
            if number % 5 == 0:
                repo.delete_run(run, force=True)
            number += 1


def _run(work: Any, path: str, run: str, seed: str, end: float, results: Any) -> None:
    try:
        results.put((run, work(path, run, seed, end)))
    except BaseException:
        results.put(("failed", traceback.format_exc()))


def at_once(path: Path, seed: int, seconds: float, *work: Any) -> dict[str, Any]:
    """Let functions run, each in a process of its own; return what they return."""
    results, end = SPAWN.Queue(), time.time() + seconds + 1
    processes = [
        SPAWN.Process(target=_run, args=(function, str(path), run, f"{seed} {i}", end, results))
        for i, (function, run) in enumerate(work)
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=seconds + PATIENCE) for _ in processes)
    for process in processes:
        process.join(PATIENCE)
    assert "failed" not in found, found["failed"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seconds", LENGTHS)
def test_gc_while_others_record_read_and_branch(tmp_path: Path, seed: int, seconds: float) -> None:
    Repository.init(tmp_path).close()
    work = [(_record, "one"), (_record, "three"), (_read, "-"), (_collect, "-"), (_branch, "-")]
    found = at_once(tmp_path, seed, seconds, *work)
    with Repository.open(tmp_path) as repo:
        for _ in range(2):
            assert not repo.fsck().problems
            for run in ("one", "three"):
                count, oids = found[run]
                check_all(repo, run, count)
                assert all(repo.state(oid).action == n for n, oid in oids)
            repo.gc()


def _record_equal(path: str, run: str, seed: str, end: float) -> int:
    with Repository.open(path) as repo, repo.recorder(run, flush_every=53) as rec:
        for n in range(2000):
            rec.append(observation("x", n), n, float(n), terminated=n % 50 == 49)
    return 2000


@pytest.mark.slow
def test_equal_runs_recorded_at_once_are_stored_once(tmp_path: Path, seed: int) -> None:
    Repository.init(tmp_path).close()
    at_once(tmp_path, seed, 1, (_record_equal, "one"), (_record_equal, "two"), (_collect, "-"))
    with Repository.open(tmp_path) as repo:
        report = repo.fsck()
        assert not report.problems
        assert report.states == 2000
        assert repo.resolve("one") == repo.resolve("two")


RECORD = """
import sys
from tests.repository.test_process_stress import observation
from simgit import Repository
path, run, background, n = sys.argv[1], sys.argv[2], sys.argv[3] == "1", int(sys.argv[4])
recorder = Repository.open(path).recorder(run, flush_every=150, background=background)
while True:
    for _ in range(37):
        recorder.append(observation(run, n), n, float(n))
        n += 1
    recorder.flush()
    print(n, flush=True)
"""
COLLECT = """
import sys
from simgit import Repository
while True:
    with Repository.open(sys.argv[1]) as repo:
        repo.gc()
        repo.odb.storage.compact()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", LENGTHS)
def test_killed_writers_lose_nothing_that_was_flushed(
    tmp_path: Path, seed: int, seconds: float
) -> None:
    Repository.init(tmp_path).close()
    rng, counts, end = random.Random(seed), {"one": 0, "three": 0}, time.time() + seconds
    while time.time() < end:
        runs = rng.choice((["one"], ["one", "three"]))
        writers = {run: start(RECORD, tmp_path, run, rng.randrange(2), counts[run]) for run in runs}
        processes = [*writers.values(), start(COLLECT, tmp_path)]
        time.sleep(rng.uniform(0.5, 1.5))
        rng.shuffle(processes)
        for process in processes:
            process.kill()
        output = {process.pid: process.communicate()[0] for process in processes}
        said = {run: output[writer.pid].split(b"\n")[:-1] for run, writer in writers.items()}
        with Repository.open(tmp_path) as repo:
            assert not repo.fsck().problems
            for run in runs:
                if run not in repo.runs:
                    assert not said[run]
                    continue
                info = repo.runs[run]
                assert info.status == "crashed"
                count = 0 if info.step is None else info.step + 1
                assert count >= (int(said[run][-1]) if said[run] else counts[run])
                counts[run] = count
                if count:
                    check_all(repo, run, count)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", LENGTHS)
def test_threads_read_while_the_file_is_replaced(tmp_path: Path, seed: int, seconds: float) -> None:
    failures: list[str] = []
    written: list[tuple[int, Any]] = []
    end = time.time() + seconds
    with Repository.init(tmp_path) as repo, Repository.open(tmp_path) as other:

        def guarded(work: Any, argument: Any) -> None:
            try:
                while time.time() < end:
                    work(argument)
            except BaseException:
                failures.append(traceback.format_exc())

        def record(_: Any) -> None:
            n = written[-1][0] + 1 if written else 0
            with other.recorder("one", flush_every=90, background=n % 2 == 0) as rec:
                for _ in range(100):
                    rec.append(observation("one", n), n, float(n))
                    n += 1
            written.append((n - 1, other.resolve("one")))

        def read(rng: random.Random) -> None:
            if written:
                n, oid = rng.choice(written)
                handle = rng.choice((repo, other))
                assert handle.state(oid).action == n
                check(handle, "one", rng.randrange(n + 1))

        work = [(record, 0), *((read, random.Random(f"{seed} {i}")) for i in range(2))]
        work += [(lambda _: repo.gc(), 0)]
        threads = [threading.Thread(target=guarded, args=each) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + PATIENCE)
        assert not any(thread.is_alive() for thread in threads)
        assert not failures, failures[0]
        assert not repo.fsck().problems
        check_all(repo, "one", written[-1][0] + 1)
