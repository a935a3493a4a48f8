"""Workers that are killed, and workers that are told to end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import simgit
from simgit import Repository
from simgit.remotes.remote import Remote
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

TOTAL, WORKERS = 400, 8


def start(*words: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.worker.programs", *words], cwd=ROOT, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, **options,  # type: ignore[call-overload]
    )  # fmt: skip


@pytest.mark.slow
def test_workers_that_are_killed_record_everything_once(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    url = tmp_path / "remote"
    left: dict[int, subprocess.Popen[str]] = {}
    kills = dict.fromkeys(range(WORKERS), 0)

    def begin(index: int) -> None:
        place = tmp_path / f"machine-{index}"
        if kills[index] and chance.random() < 0.3:
            shutil.rmtree(place, ignore_errors=True)  # it goes on elsewhere
        left[index] = start("count", str(url), f"worker/{index}", str(TOTAL), str(place))

    for index in range(WORKERS):
        begin(index)
    end = time.monotonic() + PATIENCE
    while left:
        assert time.monotonic() < end
        time.sleep(chance.uniform(0.1, 0.6))
        index = chance.choice(list(left))
        if left[index].poll() is None and kills[index] < 4:
            left[index].kill()
            left[index].wait()
            kills[index] += 1
            begin(index)
        for index, process in list(left.items()):
            if process.poll() is not None:
                assert process.returncode == 0
                del left[index]
    assert sum(kills.values()) > WORKERS

    names = [f"worker/{index}/{run}" for index in range(WORKERS) for run in "ab"]
    with Repository.clone(url, tmp_path / "clone") as repo:
        assert set(repo.runs) == set(names)
        assert not repo.fsck().problems
        for name in names:
            assert repo.runs[name].status == "completed"
            states = repo[name]
            assert (states.observations[:, 2] == np.arange(TOTAL)).all()
            assert (states.observations[:, 0] == int(name.split("/")[1])).all()
            assert repo.attachment(name, "agent", newest=True) == {"i": 359}
    with Remote.open(str(url)) as remote:
        seen = remote._connection.read_refs(None, lambda key: None)
        assert {f"runs/{name}" for name in names} == set(seen)
        for each in seen.values():  # no state is in two packs that refs name
            entries = remote._connection.entries(each.ref)
            own = [s for entry in entries for s in entry.stretches if s.ref == each.ref.name]
            assert sum(s.last - s.first + 1 for s in own) == TOTAL
        assert sum(s.ref.oid is not None for s in seen.values()) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["plain", "handler"])
def test_preemption_within_grace_loses_nothing(tmp_path: Path, how: str) -> None:
    url = tmp_path / "remote"
    process = start("busy", str(url), "worker/0", "60", how, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")
    for _ in range(random.Random().randrange(20, 200)):
        told = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=PATIENCE)
    told = ([told, *rest.splitlines()])[-1]
    assert process.returncode == (7 if how == "handler" else -signal.SIGTERM)
    with Repository.clone(url, tmp_path / "clone") as repo:
        assert repo.runs["worker/0"].step is not None
        assert repo.runs["worker/0"].step >= int(told)  # all that it had told, and perhaps more
        assert repo.runs["worker/0"].status == ("failed" if how == "handler" else "paused")
    with simgit.worker.open(url, "worker/0") as work, work.recorder() as recorder:
        recorder.append(np.array([0, 0]))  # on the same machine it goes on


@pytest.mark.slow
def test_preemption_of_an_environment_loses_nothing(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    url = tmp_path / "remote"
    process = start("play", str(url), "worker/0", "60", stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline().startswith("ready")
    told = [process.stdout.readline() for _ in range(20)][-1]
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=PATIENCE)
    told = ([told, *rest.splitlines()])[-1]
    assert process.returncode == -signal.SIGTERM
    with Repository.clone(url, tmp_path / "clone") as repo:
        assert repo.runs["worker/0"].status == "paused"
        assert (repo.runs["worker/0"].step or 0) >= int(told)


@pytest.mark.slow
def test_preemption_of_a_remote_that_is_down_names_the_repository(tmp_path: Path) -> None:
    url = tmp_path / "remote"
    simgit.worker.open(url, "worker/1").close()
    process = start("busy", str(url), "worker/0", "0.5",
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    directory = process.stdout.readline().split()[1]
    told = [process.stdout.readline() for _ in range(50)][-1]
    url.rename(tmp_path / "away") if url.exists() else None
    url.write_text("not mounted")
    process.send_signal(signal.SIGTERM)
    rest, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGTERM
    assert f"the rest is in '{directory}'" in said
    told = ([told, *rest.splitlines()])[-1]
    with Repository.open(directory) as repo:
        assert (repo.runs["worker/0"].step or 0) >= int(told)


@pytest.mark.slow
def test_a_signal_at_any_moment_of_recording_loses_nothing(tmp_path: Path) -> None:
    """The handler comes while states are stored, too: it waits then, and does not lock itself."""
    for number in range(6):
        url = tmp_path / f"remote-{number}"
        process = start("busy", str(url), "worker/0", "60", stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        told = "0"
        while int(told) < 16_300 + 15 * number:  # a flush is due at 16 384
            told = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=PATIENCE)
        told = ([told, *rest.splitlines()])[-1]
        assert process.returncode == -signal.SIGTERM
        with Repository.clone(url, tmp_path / f"clone-{number}") as repo:
            assert (repo.runs["worker/0"].step or 0) >= int(told)


def test_the_handler_that_was_there_is_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with simgit.worker.open(tmp_path / "r", "worker/0"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_program_that_ignores_the_signal_goes_on(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with simgit.worker.open(tmp_path / "r", "worker/0") as work, work.recorder() as recorder:
            recorder.append(1.0)
            os.kill(os.getpid(), signal.SIGTERM)
            assert work.result.states == 1
            recorder.append(2.0)
            os.kill(os.getpid(), signal.SIGTERM)
            assert work.result.states == 2
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_within_a_transaction_is_served_after_it(tmp_path: Path) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    try:
        with simgit.worker.open(tmp_path / "r", "worker/0") as work:
            with work.repository.transaction():
                work.repository.create_run("worker/0/x")
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)
                assert not came and not work.result.pushes
            end = time.monotonic() + PATIENCE
            while not came:
                assert time.monotonic() < end
                time.sleep(0.01)
            assert work.result.runs == {"worker/0/x": "worker/0/x"}
    finally:
        signal.signal(signal.SIGTERM, before)


def test_workers_of_one_process_end_in_any_order(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    came: list[int] = []
    try:
        first = simgit.worker.open(tmp_path / "r", "worker/0")
        second = simgit.worker.open(tmp_path / "r", "worker/1")
        with second.recorder() as recorder:
            recorder.append(1.0)
            first.close()
            os.kill(os.getpid(), signal.SIGTERM)
            assert second.result.states == 1 and came == [1]
        second.close()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_forked_child_leaves_the_worker_alone(tmp_path: Path) -> None:
    with simgit.worker.open(tmp_path / "r", "worker/0") as work, work.recorder() as recorder:
        recorder.append(1.0)
        pid = os.fork()
        if pid == 0:
            try:
                work.close()
                signal.raise_signal(signal.SIGTERM)  # which ends it at once
            finally:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        assert work.result.pushes == 0 and work.directory.exists()
    assert work.result.states == 1
