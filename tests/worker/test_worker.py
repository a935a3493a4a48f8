"""Workers: what they record arrives at the remote, whatever happens meanwhile."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simgit
from simgit import InvalidInput, Repository, StorageError
from simgit.errors import TransportError
from simgit.worker.settings import WorkerSettings, byte_count
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.worker.conftest import Network


def record(recorder: Any, start: int, count: int) -> None:
    for i in range(start, start + count):
        recorder.append(np.array([i, 0.5 * i]), i % 3, float(i), i % 100 == 99)


def until(true: Any, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def clone(url: Path, tmp_path: Path) -> Repository:
    made = Repository.clone(url, tmp_path / f"clone-{time.monotonic_ns()}")
    assert not made.fsck().problems
    return made


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return tmp_path / "remote"


def test_what_is_recorded_is_at_the_remote_and_the_directory_is_removed(
    url: Path, tmp_path: Path, scratch: Path
) -> None:
    with simgit.worker.open(url, "worker/3") as work:
        assert work.resumed == {} and work.directory.parent == scratch
        with work.recorder(config={"lr": 0.1}) as recorder:
            record(recorder, 0, 250)
        with work.recorder("eval") as recorder:
            record(recorder, 1000, 10)
        assert work.run() == "worker/3" and work.run("eval") == "worker/3/eval"
        assert work.run("worker/3/eval") == "worker/3/eval"
    assert not list(scratch.iterdir())
    assert work.result.states == 260 and work.result.failures == 0
    assert work.result.runs == {"worker/3": "worker/3", "worker/3/eval": "worker/3/eval"}
    with clone(url, tmp_path) as copy:
        assert {name: info.oid for name, info in copy.runs.items()} == work.result.tips
        assert {info.status for info in copy.runs.values()} == {"completed"}
        assert copy.runs["worker/3"].config == {"lr": 0.1}
        assert (copy["worker/3"].rewards == np.arange(250.0)).all()


@pytest.mark.slow
def test_a_worker_goes_on_where_its_name_ended_and_looks_at_no_other_run(
    url: Path, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(12):
        with simgit.worker.open(url, f"worker/{index}") as work, work.recorder() as recorder:
            record(recorder, 0, 20 + index)
            work.checkpoint(recorder, "agent", {"steps": 20 + index, "of": index})
    with simgit.worker.open(url, "worker/1") as work:
        assert work.resumed.keys() == {"worker/1"} and work.resumed["worker/1"].step == 20
        assert work.repository.attachment("worker/1", "agent", newest=True)["of"] == 1
        assert list(work.repository.runs) == ["worker/1"]
        with work.recorder() as recorder:
            record(recorder, 21, 4)
    assert work.result.states == 4
    network.calls.clear()
    with simgit.worker.open(url, "worker/5"):
        assert len(network.calls) <= 8  # however many workers there are
    assert caplog.messages == []


def test_nothing_of_the_remote_is_on_the_path_of_a_step(url: Path, network: Network) -> None:
    with simgit.worker.open(url, "worker/0", push_seconds=0.05) as work:
        network.threads.clear()
        with work.recorder() as recorder:
            record(recorder, 0, 500)
            work.checkpoint(recorder, "agent", b"1")
            until(lambda: work.result.pushes)
            record(recorder, 500, 500)
    assert network.threads
    assert all(each.startswith(("simgit-push", "simgit-remote")) for each in network.threads)


@pytest.mark.parametrize("how", ["bytes", "seconds", "checkpoint", "push"])
def test_what_makes_a_worker_push(url: Path, how: str) -> None:
    options: dict[str, Any] = {"bytes": {"push_bytes": 100_000}, "seconds": {"push_seconds": 0.2}}
    with (
        simgit.worker.open(url, "worker/0", **options.get(how, {})) as work,
        work.recorder(flush_every=50) as recorder,
    ):
        rng = np.random.default_rng(1)
        recorder.append(rng.normal(size=2))
        if how == "bytes":
            for _ in range(100):
                recorder.append(rng.normal(size=300))
        if how == "checkpoint":
            work.checkpoint("worker/0", "agent", b"weights")
        if how == "push":
            assert work.push().states == 1
        until(lambda: work.result.pushes, 60)
        assert work.result.states > 0
        if how == "bytes":
            assert work.result.bytes > 50_000
    assert work.result.failures == 0


@pytest.mark.slow
def test_nothing_is_pushed_where_nothing_is_due(url: Path, network: Network) -> None:
    with simgit.worker.open(url, "worker/0", push_seconds=0.1) as work:
        with work.recorder() as recorder:
            record(recorder, 0, 10)
        work.push()
        calls, pushes = len(network.calls), work.result.pushes
        time.sleep(0.8)
        assert (len(network.calls), work.result.pushes) == (calls, pushes)


def test_an_attachment_that_came_later_is_pushed_too(url: Path, tmp_path: Path) -> None:
    with simgit.worker.open(url, "worker/0") as work:
        with work.recorder() as recorder:
            record(recorder, 0, 10)
        work.push()
        work.repository.attach("worker/0@4", "note", {"late": True})
        work.push()
        assert work.result.pushes == 2
    with clone(url, tmp_path) as copy:
        assert copy.attachment("worker/0@4", "note") == {"late": True}


@pytest.mark.slow
def test_a_remote_that_is_down_for_a_while_loses_nothing(
    url: Path, tmp_path: Path, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        simgit.worker.open(url, "worker/0", push_seconds=0.1) as work,
        work.recorder() as recorder,
    ):
        record(recorder, 0, 100)
        work.push()
        network.is_down = True
        record(recorder, 100, 100)
        until(lambda: work.result.failures >= 2)
        with pytest.raises(TransportError):
            work.push(timeout=0.2)
        record(recorder, 200, 100)
        assert recorder.appended == 300
        network.is_down = False
        until(lambda: work.result.pushes >= 2)
    said = [each for each in caplog.messages if "worker/0" in each]
    assert len(said) == 2 and "network is down" in said[0] and "works again" in said[1]
    with clone(url, tmp_path) as copy:
        assert copy.runs["worker/0"].step == 299


def test_a_directory_that_is_not_there_for_a_while(url: Path, tmp_path: Path) -> None:
    with simgit.worker.open(url, "worker/0") as work, work.recorder() as recorder:
        record(recorder, 0, 10)
        work.push()
        url.rename(tmp_path / "away")  # as when a disk of the network is not mounted
        url.write_text("not mounted")
        record(recorder, 10, 10)
        with pytest.raises(StorageError):
            work.push(timeout=0.2)
        url.unlink()
        (tmp_path / "away").rename(url)
    assert work.result.states == 20 and work.result.failures > 0


def test_what_cannot_be_pushed_at_the_end_is_kept_and_pushed_by_the_next(
    url: Path, tmp_path: Path, network: Network, scratch: Path
) -> None:
    with (
        pytest.raises(StorageError, match="could be pushed: the network is down") as raised,
        simgit.worker.open(url, "worker/0", grace=0.3) as work,
        work.recorder() as recorder,
    ):
        record(recorder, 0, 50)
        network.is_down = True
    assert str(work.directory) in str(raised.value) and work.directory.exists()
    network.is_down = False
    with simgit.worker.open(url, "worker/0") as work:
        assert work.resumed["worker/0"].step == 49
        until(lambda: work.result.states)
    assert work.result.states == 50 and not list(scratch.iterdir())


def test_an_error_of_the_program_goes_before_that_of_the_push(url: Path, network: Network) -> None:
    with (
        pytest.raises(ZeroDivisionError) as raised,
        simgit.worker.open(url, "worker/0", grace=0.0) as work,
        work.recorder() as recorder,
    ):
        record(recorder, 0, 5)
        network.is_down = True
        raise ZeroDivisionError
    assert any(str(work.directory) in each for each in raised.value.__notes__)


def test_a_failed_program_leaves_a_failed_run_and_its_directory(url: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        simgit.worker.open(url, "worker/0") as work,
        work.recorder() as recorder,
    ):
        record(recorder, 0, 5)
        raise ZeroDivisionError
    assert work.directory.exists()
    with clone(url, tmp_path) as copy:
        assert copy.runs["worker/0"].status == "failed" and copy.runs["worker/0"].step == 4


@pytest.mark.slow
def test_a_worker_of_gym_records_below_its_name(url: Path, tmp_path: Path) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    from simgit.gym import Recorder, VectorRecorder

    with simgit.worker.open(url, "worker/0") as work:
        env = Recorder(
            gymnasium.make("CartPole-v1"), work.repository, work.run("one"), self_check=False
        )
        env.reset(seed=1)
        for _ in range(30):
            if any(env.step(0)[2:4]):
                env.reset()
        work.checkpoint(env, "agent", {"w": np.ones(3)})
        lanes = VectorRecorder(
            gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync"), work.repository,
            work.run("lanes"), self_check=False,
        )  # fmt: skip
        lanes.reset(seed=1)
        for _ in range(10):
            lanes.step(np.ones(2, np.int64))
        lanes.close()
        env.close()
    with clone(url, tmp_path) as copy:
        assert set(copy.runs) == {"worker/0/one", "worker/0/lanes/0", "worker/0/lanes/1"}
        assert copy.attachment("worker/0/one", "agent", newest=True)["w"].tolist() == [1, 1, 1]
        assert copy.runs["worker/0/lanes/1"].step == 10


@pytest.mark.slow
def test_an_environment_that_is_not_closed_is_pushed_and_said(
    url: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    from simgit.gym import Recorder

    with simgit.worker.open(url, "worker/0") as work:
        env = Recorder(gymnasium.make("CartPole-v1"), work.repository, work.run(), self_check=False)
        env.reset(seed=1)
        env.step(0)
    assert "was not closed" in caplog.text and work.directory.exists()
    env.close()
    with clone(url, tmp_path) as copy:
        assert copy.runs["worker/0"].step == 1


@pytest.mark.slow
def test_recording_waits_while_too_much_is_not_pushed(
    url: Path, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    with simgit.worker.open(
        url, "worker/0", push_bytes="100KiB", max_unpushed="1MiB", max_wait=PATIENCE
    ) as work:
        network.is_down = True
        done = threading.Event()

        def go_on() -> None:
            with work.recorder(flush_every=20) as recorder:
                for _ in range(400):  # 3.2 MB
                    recorder.append(rng.normal(size=1000))
                    time.sleep(0.002)
            done.set()

        thread = threading.Thread(target=go_on)
        thread.start()
        until(lambda: work._watcher.is_closed)
        time.sleep(1.0)
        size = work.unpushed
        time.sleep(1.0)
        assert not done.is_set() and work.unpushed == size < 3_000_000
        network.is_down = False
        assert done.wait(PATIENCE)
        thread.join()
    said = [each for each in caplog.messages if "max_unpushed" in each]
    assert len(said) == 1 and any("continues" in each for each in caplog.messages)
    assert work.result.states == 400


@pytest.mark.slow
def test_recording_that_waits_too_long_is_an_error_and_loses_nothing(
    url: Path, network: Network
) -> None:
    rng = np.random.default_rng(0)
    count = 0
    with (
        simgit.worker.open(
            url, "worker/0", push_bytes="10KiB", max_unpushed="200KiB", max_wait=0.2
        ) as work,
        work.recorder(flush_every=10) as recorder,
    ):
        network.is_down = True
        with pytest.raises(StorageError, match="max_wait"):
            for count in range(1, 2000):  # noqa: B007
                recorder.append(rng.normal(size=1000))
                time.sleep(0.002)
        network.is_down = False
    assert work.result.states == count


# --- two of one name ---


def test_two_processes_of_one_name_lose_nothing(
    url: Path, tmp_path: Path, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        simgit.worker.open(url, "worker/0") as first,
        simgit.worker.open(url, "worker/0") as second,
    ):
        assert first.directory != second.directory and len(list(scratch.iterdir())) == 2
        assert f"process {os.getpid()} of this machine works as 'worker/0'" in caplog.text
        for number, work in enumerate([first, second, first, second]):
            with work.recorder() as recorder:
                record(recorder, 1000 * number, 10)
            work.push()
    assert first.result.runs == {"worker/0": "worker/0"}
    assert second.result.runs == {"worker/0": "worker/0.conflict-1"}
    with clone(url, tmp_path) as copy:
        assert copy["worker/0"].rewards[[0, 10]].tolist() == [0, 2000]
        assert copy["worker/0.conflict-1"].rewards[[0, 10]].tolist() == [1000, 3000]
    with simgit.worker.open(url, "worker/0") as work:
        assert work.resumed["worker/0"].step == 19


def test_a_process_that_was_thought_dead_pushes_aside(url: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other-machine"
    with simgit.worker.open(url, "worker/0", directory=elsewhere) as old:
        with old.recorder() as recorder:
            record(recorder, 0, 10)
        old.push()
        with simgit.worker.open(url, "worker/0") as new, new.recorder() as recorder:
            assert new.resumed["worker/0"].step == 9
            record(recorder, 10, 10)
        with old.recorder() as recorder:
            record(recorder, 500, 10)
    assert old.result.runs == {"worker/0": "worker/0.conflict-1"}
    with clone(url, tmp_path) as copy:
        assert copy["worker/0"].rewards[-1] == 19
        assert copy["worker/0.conflict-1"].rewards[-1] == 509
        assert copy.resolve("worker/0@9") == copy.resolve("worker/0.conflict-1@9")


def test_what_is_here_and_what_is_there_may_have_parted(url: Path, tmp_path: Path) -> None:
    here = tmp_path / "machine"
    with pytest.raises(KeyError), simgit.worker.open(url, "worker/0", directory=here) as work:
        with work.recorder("a") as recorder:
            record(recorder, 0, 10)
        raise KeyError  # the directory stays
    with simgit.worker.open(url, "worker/0") as other, other.recorder("a") as recorder:
        record(recorder, 10, 10)
    with Repository.open(here) as repo, repo.recorder("worker/0/a") as recorder:
        record(recorder, 700, 10)
    with simgit.worker.open(url, "worker/0", directory=here) as work:
        assert work.resumed["worker/0/a"].step == 19
        assert set(work.repository.runs) == {"worker/0/a"}
    with clone(url, tmp_path) as copy:
        assert copy["worker/0/a"].rewards[-1] == 19
        assert copy["worker/0/a.conflict-1"].rewards[-1] == 709


@pytest.mark.slow
def test_another_process_has_the_directory_until_it_dies(url: Path, scratch: Path) -> None:
    program = (
        "import simgit, sys, time\n"
        f"work = simgit.worker.open({str(url)!r}, 'worker/0')\n"
        "recorder = work.recorder(); recorder.append(1.0); recorder.flush()\n"
        "print(work.directory, flush=True); time.sleep(1000)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    first = Path(process.stdout.readline().strip())
    with simgit.worker.open(url, "worker/0") as work:
        assert work.directory == first.with_name(f"{first.name}-2") and not work.resumed
    process.kill()
    process.wait()
    process.stdout.close()
    with simgit.worker.open(url, "worker/0") as work:
        assert work.directory == first and work.resumed["worker/0"].step == 0


# --- settings and places ---


def test_sizes_are_read_as_people_write_them() -> None:
    assert [byte_count(each, "x") for each in ("16MiB", "2 GB", "1k", "1.5Ki", "7", 9)] == [
        16 << 20, 2 * 10**9, 1000, 1536, 7, 9,
    ]  # fmt: skip
    for wrong in ("", "MiB", "1 parsec", "-1", 0, 1.5, True, None):
        with pytest.raises(InvalidInput):
            byte_count(wrong, "push_bytes")


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for options in (
        {"keep": "tail"}, {"keep": "some"}, {"push_seconds": -1.0}, {"grace": "soon"},
        {"max_unpushed": "x"},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            simgit.worker.open(tmp_path / "r", "worker/0", **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="cannot do"):
        simgit.worker.open(tmp_path / "r", "worker/0", keep="tail")
    for name in ("", "a b", "worker/", "HEAD", "runs/x"):
        with pytest.raises(InvalidInput):
            simgit.worker.open(tmp_path / "r", name)
    with pytest.raises(InvalidInput, match="URL of its remote"):
        simgit.worker.open()
    assert not list((tmp_path / "scratch").iterdir())


def test_settings_come_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("REMOTE", "s3://b/x"), ("NAME", "worker/7"), ("PUSH_BYTES", "2MiB"),
                        ("GRACE", "3"), ("ENDPOINT", "http://h:1")):  # fmt: skip
        monkeypatch.setenv(f"SIMGIT_WORKER_{name}", value)
    found = WorkerSettings.of({"name": None, "grace": 4.0})
    assert found == WorkerSettings(
        "s3://b/x", "worker/7", push_bytes=2 << 20, grace=4.0, endpoint="http://h:1"
    )


def test_keep_all_keeps_the_repository(url: Path, scratch: Path) -> None:
    with simgit.worker.open(url, "worker/0", keep="all") as work, work.recorder() as recorder:
        record(recorder, 0, 5)
    with Repository.open(work.directory) as repo:
        assert repo.runs["worker/0"].status == "completed"


def test_a_repository_of_somebody_else_is_not_taken(url: Path, tmp_path: Path) -> None:
    with Repository.init(tmp_path / "mine") as repo:
        repo.commit(1.0)
    with pytest.raises(InvalidInput, match="no worker made"):
        simgit.worker.open(url, "worker/0", directory=tmp_path / "mine")
    with Repository.open(tmp_path / "mine") as repo:
        assert repo.runs["main"].step == 0
    simgit.worker.open(url, "worker/0", directory=tmp_path / "its", keep="all").close()
    with pytest.raises(InvalidInput, match="is the directory of the worker 'worker/0'"):
        simgit.worker.open(url, "worker/1", directory=tmp_path / "its")


def test_only_what_a_worker_made_is_removed(url: Path, tmp_path: Path) -> None:
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "notes.txt").write_text("keep me")
    with simgit.worker.open(url, "worker/0", directory=directory) as work:
        work.repository.commit(1.0, run="worker/0")
    assert [each.name for each in directory.iterdir()] == ["notes.txt"]


def test_a_directory_that_is_a_trap_is_refused(url: Path, tmp_path: Path, scratch: Path) -> None:
    work = simgit.worker.open(url, "worker/0")
    work.close()
    (tmp_path / "elsewhere").mkdir()
    work.directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="not a directory of this user"):
        simgit.worker.open(url, "worker/0")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_importing_simgit_does_not_load_workers() -> None:
    program = (
        "import simgit, sys, json\n"
        "before = 'simgit.worker' in sys.modules\n"
        "simgit.worker.open\n"
        "print(json.dumps([before, 'simgit.worker' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert json.loads(done.stdout) == [False, True]


def test_closing_twice_is_fine(url: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    before = threading.enumerate()
    work = simgit.worker.open(url, "worker/0")
    work.close()
    work.close()
    assert not [each for each in threading.enumerate() if each not in before]
    assert work.result.pushes == 0 and caplog.messages == []
