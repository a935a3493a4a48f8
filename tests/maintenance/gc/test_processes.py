"""gc beside writers and readers in other processes, and gc killed wherever it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.maintenance.gc.plan import DAY
from simgit.testing.failpoints import arm, disarm, traced
from tests.support.patience import PATIENCE

WRITER = """
import select, sys, numpy as np
from pathlib import Path
from simgit import Repository
path, name = Path(sys.argv[1]), sys.argv[2]
with Repository.open(path) as repo:
    print("open", flush=True)
    i = 0
    while i < 3 or not select.select([sys.stdin], [], [], 0)[0]:
        with repo.recorder(name, flush_every=7) as rec:
            for n in range(20):
                frame = np.full((20, 20), (i * 20 + n) % 11, np.uint8)
                rec.append({"f": frame, "n": n}, i * 20 + n, 1.0)
        file = path / f"{name}.bin"
        file.write_bytes(np.random.default_rng(i).bytes(70_000))
        repo.attach(name, "video", file)
        repo.commit({"f": frame, "n": -1}, files={"a": b"x" * 900 + bytes([i % 256])}, run=name)
        repo.branch(f"{name}-side", f"{name}~5")
        repo.commit({"f": frame, "n": i}, run=f"{name}-side")
        repo.delete_run(f"{name}-side", force=True)
        i += 1
    print(i)
"""
READER = """
import sys
from simgit import Repository
with Repository.open(sys.argv[1]) as repo, repo.odb.read() as txn:
    place = repo.refs.run(txn, "gone").place
    print("open", flush=True)
    sys.stdin.readline()
    oids = repo.odb.states.oids(txn, place.line, 41, place.step + 1)
    rows = [r for _, r in repo.odb.states.rows(txn, place.line, 41, place.step + 1)]
    print(len(oids), sum(r.count for r in rows), flush=True)
"""


def fill(repo: Repository) -> None:
    rng = np.random.default_rng(0)
    with repo.recorder("main", flush_every=20) as rec:
        for i in range(60):
            rec.append({"f": np.full((20, 20), i % 7, np.uint8)}, i, 1.0)
    weights = rng.random(2000)
    for run in ("gone", "stays"):
        repo.branch(run, "main@40")
        with repo.recorder(run, flush_every=30) as rec:
            for i in range(90):
                rec.append({"f": np.full((20, 20), i % 13, np.uint8)}, i, 1.0, info={"run": run})
        for i in range(3):
            weights[i] += 1
            repo.attach(f"{run}~{i}", "agent", {"w": weights.copy()})


def held(repo: Repository) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for run in ("main", "stays"):
        found[run] = repo.trajectory(run).oids
        found[f"{run} f"] = repo.trajectory(run).observations["f"].tobytes()
    for i in range(3):
        found[f"agent {i}"] = repo.attachment(f"stays~{i}", "agent")["w"].tobytes()
    return found


def started(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    return child


POINTS = [
    ("gc.removed", 1), ("gc.removed", 4), ("gc.removed", 9), ("gc.removed", 14), ("gc.slice", 1),
    ("commit.before", 2), ("commit.before", 4), ("commit.after", 3), ("write.begins", 5),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("point", "number"), POINTS)
def test_wherever_gc_is_killed_nothing_that_is_needed_is_lost(
    tmp_path: Path, point: str, number: int
) -> None:
    with Repository.init(tmp_path) as repo:
        fill(repo)
        repo.delete_run("gone", force=True)
        before = held(repo)
    fault = f"{point}=kill@{number}"
    command = [sys.executable, "-m", "simgit.testing.failpoints", fault, "--", "-C", str(tmp_path),
               "gc", "--expire", "now", "--grace", "now"]  # fmt: skip
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    with Repository.open(tmp_path) as repo:
        assert held(repo) == before
        assert repo.fsck().is_clean
        repo.gc(expire=0, grace=0)
        assert held(repo) == before
        assert not repo.gc_preview(expire=0, grace=0).is_something
        assert repo.fsck().is_clean


def test_the_points_at_which_gc_is_killed_are_passed(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        fill(repo)
        repo.delete_run("gone", force=True)
        with traced() as names:
            repo.gc(expire=0, grace=0)
    for point, number in POINTS:
        assert names.count(point) >= number


def test_a_write_between_two_slices_makes_gc_decide_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simgit.maintenance.gc.sweep.SLICE", 0.0)
    with Repository.init(tmp_path) as repo, Repository.open(tmp_path) as other:
        fill(repo)
        tip = repo.delete_run("gone", force=True)
        assert tip is not None
        from simgit.maintenance.gc import sweep

        def back(name: str) -> None:
            if name == "gc.slice" and "back" not in other.runs:
                other.branch("back", tip)

        monkeypatch.setattr(sweep, "fail_point", back)
        removed = repo.gc(expire=0, grace=0).removed
        assert removed.states == 0
        assert repo.resolve("back") == tip and len(repo.trajectory("back")) == 131
        assert repo.attachment("back", "agent")["w"].shape == (2000,)
        assert repo.fsck().is_clean


@pytest.mark.slow
def test_an_open_reader_goes_on_reading_what_gc_has_removed(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        fill(repo)
        reader = started(READER, tmp_path)
        repo.delete_run("gone", force=True)
        removed = repo.gc(expire=0, grace=0).removed
        assert removed.states == 90
        assert reader.communicate(b"go\n", timeout=PATIENCE)[0] == b"90 90\n"
        assert reader.returncode == 0


@pytest.mark.slow
def test_writers_lose_nothing_while_gc_runs_again_and_again(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        writers = {name: started(WRITER, tmp_path, name) for name in ("a", "b")}
        for _ in range(6):
            repo.gc(expire=0, grace=0)
        rounds = {}
        for name, writer in writers.items():
            rounds[name] = int(writer.communicate(b"stop", timeout=PATIENCE)[0])
            assert writer.returncode == 0
            repo.gc(expire=0, grace=0)
        assert repo.fsck().is_clean
        for name in ("a", "b"):
            actions = [state.action for state in repo.trajectory(name) if state.action is not None]
            assert actions == list(range(20 * rounds[name]))
            video = repo.attachment(f"{name}~1", "video")
            assert video == np.random.default_rng(rounds[name] - 1).bytes(70_000)
            assert repo.files(name).keys() == {"a"}


def test_what_is_in_flight_outlives_every_gc_for_a_day(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        rec = repo.recorder("main", spec={"environment": {"id": "X"}})  # its spec is stored now
        tree = repo.odb.put_blob(BytesIO(b"y" * 70_000).read)
        repo.gc(expire=0, grace=0)
        with repo.odb.read() as txn:
            assert repo.odb.get(txn, tree)[1] == b"y" * 70_000
        rec.append({"x": 1})
        rec.close()
        assert repo.fsck().is_clean and repo.state("main").origin is not None
        later = time.time_ns() + 2 * DAY
        repo.gc(expire=0, grace=0, clock=lambda: later)
        with repo.odb.read() as txn:
            assert not repo.odb.exists(txn, tree)
            assert txn.count("chunks") == 0


def test_a_fault_within_gc_is_raised_and_leaves_the_store_whole(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        fill(repo)
        repo.delete_run("gone", force=True)
        before = held(repo)
        arm("gc.removed=raise@3")
        try:
            with pytest.raises(OSError, match="injected"):
                repo.gc(expire=0, grace=0)
        finally:
            disarm()
        assert held(repo) == before and repo.fsck().is_clean
