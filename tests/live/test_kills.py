"""Trackers and simulations that are killed at fail points or at any time, and what is left."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository
from simgit.live import Tracker, find
from simgit.live.channel import socket_folder
from simgit.live.records import Records
from simgit.testing.failpoints import arm
from tests.faults.processes import Child, Say, start
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
TYPE = "tests.live.simulations:count"
OF_CHILD = ("live.claimed", "live.running", "live.ending", "live.ended", "flush.stored")
OF_TRACKER = ("live.spawn", "live.spawned")
ARMS = """
import os, sys
if "simgit.live.child" in sys.orig_argv:
    try:
        os.rename(os.environ["FAULT"], os.environ["FAULT"] + ".taken")  # by one process
        fault = open(os.environ["FAULT"] + ".taken").read()
    except FileNotFoundError:
        fault = ""
    if fault:
        from simgit.testing.failpoints import arm
        arm(fault)
"""


def processes_of(path: Path) -> list[str]:
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes()
        except OSError:
            continue
        if os.fsencode(path) in line and b"simgit.live.child" in line:
            found.append(line.decode().replace("\0", " "))
    return found


def work(path: Path, fault: str | None) -> Any:
    """Return what a tracker's process does: it continues what ended, until all is completed."""

    def body(say: Say) -> None:
        if fault is not None:
            arm(fault)
        with Repository.open(path) as repo, Tracker(repo, workers=1) as tracker:
            while True:
                found = {each.run: each for each in tracker}
                for run, each in found.items():
                    if each.outcome in ("crashed", "failed", "stopped"):
                        say(f"{run}: {each.outcome}: {each.reason}")
                        tracker.restart(run, queue=True, priority=9)
                if all(each.outcome == "completed" for each in found.values()):
                    return
                time.sleep(0.02)

    return body


def session(directory: Path, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    path, site = directory / "r", directory / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(ARMS)
    fault = directory / "fault"
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "FAULT")}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), str(ROOT)])
    os.environ["FAULT"] = str(fault)
    names = ["a", "b", "c"]
    trace: list[str] = []
    try:
        with Repository.init(path) as repo:
            with Tracker(repo, workers=0) as tracker:
                for name in names:
                    tracker.queue(TYPE, name, folder=ROOT, config={"by": ord(name), "pace": 0.004})
            tips = dict.fromkeys(names, -1)
            child: Child | None = None
            for _ in range(kills):
                what = rng.choice([*OF_CHILD, *OF_CHILD, *OF_TRACKER, "tracker", "child"])
                trace.append(what)
                count = ends(repo)
                if what in OF_CHILD:
                    fault.write_text(
                        f"{what}=kill@{rng.choice([1, 1, 2]) if 'flush' in what else 1}"
                    )
                if child is None:
                    child = start(work(path, f"{what}=kill" if what in OF_TRACKER else None))
                deadline = time.monotonic() + rng.expovariate(2.0)
                if what in OF_CHILD:
                    deadline = time.monotonic() + PATIENCE
                    while fault.exists() or ends(repo) == count:
                        if over(repo, names):
                            break
                        if time.monotonic() > deadline:
                            child.kill()
                            child.wait()
                            raise AssertionError((trace, child.said))
                        time.sleep(0.02)
                elif what == "child":
                    time.sleep(max(0.0, deadline - time.monotonic()))
                    for name in names:
                        process = find(repo, name).record.process
                        if process is not None and not find(repo, name).record.is_over:
                            os.kill(process["pid"], 9)
                else:
                    time.sleep(max(0.0, deadline - time.monotonic()))
                    child.kill()
                    child.wait()
                    trace += child.said
                    child = None
                for name in names:
                    step = repo.runs[name].step
                    assert (-1 if step is None else step) >= tips[name], (name, trace)
                    tips[name] = -1 if step is None else step
                if over(repo, names):
                    break
            fault.unlink(missing_ok=True)
            if child is None:
                child = start(work(path, None))
            assert child.wait(PATIENCE) == 0, (trace, child.said)
            trace += child.said
            for name in names:
                assert repo.runs[name].status == "completed", (name, trace)
                states = [float(each.observation) for each in repo.trajectory(name)]
                assert states == [0.0, *(float(i) * ord(name) for i in range(40))], (name, trace)
            assert not (path / ".simgit" / "live" / "files" / "twice").exists(), trace
            directory_of = Records(repo).directory
            starts = [each.run for each in Records(repo).events() if each.kind == "starting"]
            first = [run for i, run in enumerate(starts) if run not in starts[:i]]
            assert first == names, (first, trace)
            with Tracker(repo, workers=0) as tracker:
                known = {each.record.execution for each in tracker}
                assert {each.stem for each in (directory_of / "live").glob("*.log")} <= known
                assert list(socket_folder(directory_of).glob("*.sock")) == []
                tracker.clear()
            assert list((directory_of / "live").glob("*.log")) == []
            deadline = time.monotonic() + PATIENCE
            while processes_of(path):
                assert time.monotonic() < deadline, processes_of(path)
                time.sleep(0.02)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def ends(repo: Repository) -> int:
    return sum(each.kind == "ended" for each in Records(repo).events())


def over(repo: Repository, names: list[str]) -> bool:
    return all(repo.runs[name].status == "completed" for name in names)


def test_killed_trackers_and_simulations_leave_nothing_behind(tmp_path: Path) -> None:
    session(tmp_path, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_and_so_do_many(tmp_path: Path, seed: int) -> None:
    session(tmp_path, 100 + seed, 10)
