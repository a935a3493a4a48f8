"""Nothing that was appended is lost at a normal end, and a lone state is stored by the clock."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Conflict, InvalidInput, Repository, StorageError
from simgit.errors import Stopped
from tests.support.forks import in_a_fork
from tests.support.patience import PATIENCE

SCRIPT = """
import os, sys, threading, simgit
repo = simgit.Repository.init(sys.argv[1])
rec = repo.recorder({run}, background={background})
rec.append({lane}1.0)
rec.append({lane}2.0)
{end}
"""
ENDS = {
    "the end of the script": ("", "active"),
    "sys.exit": ("sys.exit(3)", "active"),
    "an exception": ("raise ValueError('mine')", "crashed"),
    "Ctrl-C": ("raise KeyboardInterrupt", "crashed"),
    "a closed repository": ("repo.close(); os._exit(0)", "active"),
    "del": ("del rec; os._exit(0)", "active"),
    "a thread that ends later": (
        "threading.Thread(target=lambda: (threading.Event().wait(0.2), rec.append(LANE3.0))).start()",
        "active",
    ),
    "a cycle": ("rec.myself = rec; del rec", "active"),
    "an interactive interpreter": ("sys.ps1 = '>>> '; raise ValueError('mine')", "active"),
    "an atexit function": (
        "import atexit; atexit.register(lambda: rec.append(LANE3.0))", "active",
    ),
}  # fmt: skip


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True,
        timeout=PATIENCE, check=False, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("many", [False, True])
def test_a_recorder_that_nobody_closed_is_stored_at_a_normal_end(
    tmp_path: Path, end: str, many: bool
) -> None:
    code, status = ENDS[end]
    lane = "0, " if many else ""
    run = ["a", "b"] if many else "a"
    script = SCRIPT.format(
        run=repr(run), background=many, lane=lane, end=code.replace("LANE", lane)
    )  # fmt: skip
    done = run_script(script, str(tmp_path))
    assert "simgit" not in done.stderr.replace("simgit-clock", ""), done.stderr
    with Repository.open(tmp_path) as repo:
        info = repo.runs["a"]
        assert (info.step, info.status, info.writer) == (1 + ("3.0" in code), status, None)


def _leave(path: str) -> None:
    rec = Repository.open(path).recorder("{auto}")
    rec.append(1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_that_does_not_close_its_recorder_loses_nothing(
    tmp_path: Path, method: str
) -> None:
    with Repository.init(tmp_path) as repo:
        mine = repo.recorder("mine", flush_seconds=None)  # workers may take longer to begin
        mine.append(1)
        context: Any = multiprocessing.get_context(method)
        workers = [context.Process(target=_leave, args=(str(tmp_path),)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(PATIENCE)
            assert worker.exitcode == 0
        assert {name: info.step for name, info in repo.runs.items()} == {
            "1": 0, "2": 0, "mine": None,
        }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("background", [False, True])
def test_a_forked_child_stores_nothing_of_its_parents(tmp_path: Path, background: bool) -> None:
    with Repository.init(tmp_path) as repo:
        rec = repo.recorder("a", background=background)
        many = repo.recorder(["b", "c"], background=background)
        rec.append(1)
        many.append(0, 1)
        parent = os.getpid()

        def act() -> None:
            for action in (
                lambda: rec.append(2),
                lambda: rec.attach("x", 1),
                rec.flush,
                lambda: many.append(0, 2),
                lambda: many.append_batch(np.zeros((2, 1))),
                many.flush,
            ):
                with pytest.raises(InvalidInput, match=f"belongs to process {parent}"):
                    action()
            rec.close()
            repo.close()
            gc.collect()
            with Repository.open(tmp_path) as again:
                assert [again.runs[run].step for run in "abc"] == [None] * 3
                assert again.runs["a"].writer is not None

        assert in_a_fork(act) == 0
        rec.append(3)
        rec.close()
        many.close()
        assert [repo.runs[run].step for run in "abc"] == [1, 0, None]


@pytest.mark.slow
def test_a_forked_child_that_exits_normally_stores_nothing_of_its_parents(tmp_path: Path) -> None:
    script = SCRIPT.format(
        run="'a'", background=False, lane="",
        end="if os.fork() == 0: sys.exit(0)\nos.wait(); rec.append(3.0)",
    )  # fmt: skip
    done = run_script(script, str(tmp_path))
    assert not done.stderr
    with Repository.open(tmp_path) as repo:
        assert [repo.state(f"a@{i}").observation for i in range(3)] == [1, 2, 3]
        assert list(repo.runs) == ["a"]


@pytest.mark.slow
def test_what_cannot_be_stored_at_the_end_is_said(tmp_path: Path) -> None:
    end = "os.chmod(sys.argv[1], 0o700)\nrepo._store.storage.close()"
    done = run_script(SCRIPT.format(run="'a'", background=False, lane="", end=end), str(tmp_path))
    (line,) = [each for each in done.stderr.splitlines() if "never closed" in each]
    assert "2 states of run 'a' are lost: store is closed" in line


def test_a_dropped_recorder_frees_its_run(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.recorder("a").append(1)
        assert (repo.runs["a"].step, repo.runs["a"].writer) == (0, None)
        rec = repo.recorder("a")
        rec.append(2)
        rec.myself = rec
        del rec
        gc.disable()
        try:
            repo.recorder("a").close()
        finally:
            gc.enable()
        assert repo.runs["a"].step == 1


RAISED = (
    (None, "active"), (ValueError(), "failed"), (KeyboardInterrupt(), "paused"),
    (Stopped(), "paused"), (SystemExit(), "active"), (SystemExit(0), "active"),
    (SystemExit(1), "failed"), (SystemExit("no"), "failed"), (GeneratorExit(), "active"),
)  # fmt: skip


def test_closing_a_repository_closes_its_recorders(tmp_path: Path) -> None:
    for number, (error, status) in enumerate(RAISED):
        path = tmp_path / str(number)
        try:
            with Repository.init(path) as repo:
                repo.recorder("a").append(1)
                rec = repo.recorder("b")
                rec.append(1)
                rec.attach("x", 1)
                if error is not None:
                    raise error
        except BaseException as raised:
            assert raised is error
        with pytest.raises(InvalidInput, match="closed"):
            rec.append(2)
        with Repository.open(path) as repo:
            assert (repo.runs["b"].step, repo.runs["b"].status) == (0, status)
            assert repo.attachment("b", "x") == 1


def test_closing_a_repository_tells_of_a_conflict(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path)
    rec = repo.recorder("main")
    rec.append(1)
    repo.commit(2)
    with pytest.raises(Conflict, match=r"main\.conflict-1"):
        repo.close()
    with pytest.raises(StorageError, match="closed"):
        repo.commit(1)
    repo.close()
    assert rec.run == "main.conflict-1"


# --- the clock ---------------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def clocks() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "simgit-clock"]


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_a_lone_state_is_stored_by_the_clock(
    tmp_path: Path, memory: bool, background: bool
) -> None:
    with Repository.init(":memory:" if memory else tmp_path) as repo:
        options: dict[str, Any] = {"flush_seconds": 0.02, "background": background}
        rec, many = repo.recorder("a", **options), repo.recorder(["b", "c"], **options)
        for i in range(3):
            rec.append(np.zeros(2), attachments={"x": i})
            many.append(0, i)
            wait_for(lambda i=i: [repo.runs[run].step for run in "ab"] == [i, i])
            rec.attach("y", i)
            wait_for(lambda: sorted(repo.attachments("a")) == ["x", "y"])
        many.append_batch(np.zeros((2, 4)))
        wait_for(lambda: [repo.runs[run].step for run in "bc"] == [6, 3])
        rec.close()
        many.close()
        assert [repo.attachment(f"a@{i}", "y") for i in range(3)] == [0, 1, 2]
        assert not clocks()


def test_a_clock_can_be_hastened_for_a_while(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        rec = repo.recorder("a", flush_seconds=3600)
        rec.append(1)

        def is_there() -> bool:
            rec.hasten(0.1, 60)  # who says it often does not put it off
            return repo.runs["a"].step == 0

        wait_for(is_there)
        rec.hasten(3600, -1)
        rec.close()
        assert not clocks()
        none = repo.recorder("b", flush_seconds=None)
        none.hasten(0.01, 60)
        none.close()


@pytest.mark.slow
def test_no_clock_outlives_its_recorder(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        rec = repo.recorder("a")
        assert len(clocks()) == 1
        rec.close()
        assert not clocks()
        repo.recorder("b")
        wait_for(lambda: not clocks())
        repo.recorder("c", flush_seconds=None).close()
        assert repo.recorder("d", flush_seconds=None) is not None
        assert not clocks()
        with pytest.raises(Conflict):
            repo.recorder("e"), repo.recorder("e")
    assert not clocks()


def test_states_are_whole_and_in_order_whoever_takes_them(tmp_path: Path) -> None:
    """The clock, another thread and a signal take states between any two lines of ``append``."""
    with Repository.init(tmp_path) as repo:
        rec = repo.recorder("a", flush_seconds=0.01, flush_every=97)
        done = threading.Event()

        def flush() -> None:
            while not done.is_set():
                rec.flush()

        def on_signal(*_: Any) -> None:
            with suppress(StorageError):  # it came during a flush
                rec.flush()
            signal.setitimer(signal.ITIMER_REAL, 0 if done.is_set() else 0.003)

        before = signal.signal(signal.SIGALRM, on_signal)
        signal.setitimer(signal.ITIMER_REAL, 0.003)
        switch = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        other = threading.Thread(target=flush)
        other.start()
        count, until, i = 4000, time.monotonic() + PATIENCE, 0
        try:
            while i < count and time.monotonic() < until:
                shape = (2,) if i // 50 % 3 else (3,)
                observation: Any = np.full(shape, i) if i % 301 else {"x": np.full(2, i)}
                more: dict[str, Any] = (
                    {"reset": {"seed": i}, "message": str(i)} if not i % 7 else {}
                )
                rec.append(
                    observation, i, float(i), attachments={"n": i} if not i % 11 else None, **more
                )
                if not i % 13:
                    rec.attach("late", i)
                i += 1
        finally:
            done.set()
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            other.join(PATIENCE)
            sys.setswitchinterval(switch)
        rec.close()
        assert repo.runs["a"].step == count - 1
        for i, state in enumerate(repo.trajectory("a")):
            observation = state.observation["x"] if not i % 301 else state.observation
            assert observation.tolist() == [i] * (2 if not i % 301 or i // 50 % 3 else 3)
            assert (state.action, state.reward) == (i, float(i))
            assert state.message == (None if i % 7 else str(i))
            assert bool(state.reset) == (not i % 7)
        for i in range(0, count, 143):
            assert repo.attachment(f"a@{i}", "n") == repo.attachment(f"a@{i}", "late") == i


def test_an_error_of_the_clock_is_raised_by_the_next_flush(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        rec = repo.recorder("a", flush_seconds=0.02)
        repo.commit(1, run="a")
        rec.append(2)
        wait_for(lambda: "a.conflict-1" in repo.runs)
        with pytest.raises(Conflict, match=r"a\.conflict-1"):
            rec.flush()
        rec.append(3)
        rec.close()
        assert repo.runs["a.conflict-1"].step == 1


def test_a_recorder_that_flushes_in_a_transaction_does_not_wait_for_its_clock(
    tmp_path: Path,
) -> None:
    with Repository.init(tmp_path) as repo:
        for background in (False, True):
            rec = repo.recorder("a", flush_seconds=0.01, background=background)
            with repo.transaction():
                rec.append(1)
                time.sleep(0.05)
                for action in (rec.flush, rec.close):
                    with pytest.raises(StorageError, match="already holds"):
                        action()
            rec.append(2)
            rec.close()
        assert repo.runs["a"].step == 3


@pytest.mark.parametrize("seconds", [-1, float("nan"), "3"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, seconds: Any) -> None:
    with Repository.init(tmp_path) as repo, pytest.raises(InvalidInput, match="flush_seconds"):
        repo.recorder("a", flush_seconds=seconds)


@pytest.mark.slow
def test_a_program_with_an_open_recorder_ends(tmp_path: Path) -> None:
    """Neither the clock nor the background thread keeps the process alive."""
    script = SCRIPT.format(run="'a'", background=True, lane="", end="print('end')")
    done = run_script(script, str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_no_warning_is_given_at_a_normal_end(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Repository.init(tmp_path) as repo:
            repo.recorder("a").append(1)
        gc.collect()


def test_a_flush_between_any_two_lines_of_append_takes_whole_states() -> None:
    with Repository.init(":memory:") as repo:
        rec = repo.recorder("a", flush_seconds=None)

        def flush(frame: Any, event: str, _: Any) -> Any:
            with suppress(StorageError):
                rec.flush()
            return flush

        def on_call(frame: Any, event: str, _: Any) -> Any:
            return flush if frame.f_code is type(rec).append.__code__ else None

        before = sys.gettrace()
        for i in range(20):
            sys.settrace(on_call)
            try:
                rec.append(np.full(2, i), i, float(i), message=str(i), attachments={"n": i})
            finally:
                sys.settrace(before)
        rec.close()
        for i in range(20):
            state = repo.state(f"a@{i}")
            assert (state.observation.tolist(), state.action) == ([i, i], i)
            assert (state.reward, state.message) == (float(i), str(i))
            assert repo.attachment(f"a@{i}", "n") == i
        assert repo.runs["a"].step == 19
