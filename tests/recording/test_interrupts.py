"""Ctrl-C loses nothing that was appended, and leaves runs as they should be."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository
from simgit.storage.failpoints import set_hook
from simgit.storage.interrupts import interrupts_held_back
from simgit.storage.lmdb.environment import Environment

STATES = 15


def interrupted_at(number: int) -> tuple[Callable[[str], None], list[str]]:
    """Return a hook that interrupts this process at the n-th fail point, and what it passed."""
    passed: list[str] = []

    def hook(name: str) -> None:
        passed.append(name)
        if len(passed) == number:
            os.kill(os.getpid(), signal.SIGINT)

    return hook, passed


def record(repo: Repository, number: int, runs: list[str]) -> tuple[int, list[str]]:
    """Record and be interrupted; return how many states were appended, and the points passed."""
    appended = 0
    hook, passed = interrupted_at(number)
    try:
        with repo.recorder(runs, flush_every=10 * len(runs)) as recorder:
            set_hook(hook)
            for i in range(STATES):
                appended = i + 1
                recorder.append_batch(observation=[[float(i)]] * len(runs))
    except KeyboardInterrupt:
        pass
    finally:
        set_hook(None)
    return appended, passed


@pytest.mark.slow
def test_an_interrupt_at_any_point_of_a_flush_loses_nothing(tmp_path: Path) -> None:
    runs = ["a", "b"]
    with Repository.init(tmp_path / "whole") as repo:
        _, points = record(repo, 0, runs)
    assert points.count("commit.after") == 3  # two flushes and the release
    for number in range(1, len(points) + 1):
        with Repository.init(tmp_path / str(number)) as repo:
            appended, passed = record(repo, number, runs)
            assert list(repo.runs) == runs, passed
            for run in repo.runs.values():
                assert run.step == appended - 1, passed
                assert run.writer is None
                assert run.status in ("paused", "active")
            repo.commit({"x": 1.0}, run="after")  # no transaction was left open
            assert repo.fsck().is_clean


def test_an_interrupt_at_any_point_of_a_commit_leaves_no_transaction_open(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit({"x": 0.0})
        interrupted, number = True, 0
        while interrupted:
            number += 1
            step = repo.head_run.step or 0
            set_hook(interrupted_at(number)[0])
            try:
                repo.commit({"x": float(number)})
                interrupted = False  # there are no more points
            except KeyboardInterrupt:
                assert repo.head_run.step in (step, step + 1)
            finally:
                set_hook(None)
        assert number > 5
        repo.commit({"x": -1.0})
        assert repo.fsck().is_clean


def test_an_interrupt_as_a_transaction_begins_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Environment.begin_write

    def interrupted(self: Environment, txn: Any) -> Any:
        began = begin(self, txn)
        signal.raise_signal(signal.SIGINT)
        return began

    with Repository.init(tmp_path) as repo:
        with monkeypatch.context() as patch:
            patch.setattr(Environment, "begin_write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                repo.commit({"x": 1.0})
        repo.commit({"x": 2.0})
        assert repo.head_run.step == 0


def test_a_flush_that_was_stored_is_known_again(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo, repo.recorder("main") as recorder:
        recorder.append(1.0)
        lane = recorder._lanes[0]
        before = lane.ref, lane.tip
        work = recorder._take()
        recorder._writer.submit(work)
        lane.ref, lane.tip = before
        recorder._writer.submit(work)
        recorder.append(2.0)
        recorder.flush()
        assert list(repo.runs) == ["main"]
        assert repo.runs["main"].step == 1


def test_an_interrupt_takes_effect_after_the_outermost_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held_back():
        with interrupts_held_back():
            signal.raise_signal(signal.SIGINT)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_are_held_back_again_after_a_block_that_failed() -> None:
    done = []
    with pytest.raises(ValueError, match="nothing"), interrupts_held_back():
        raise ValueError("nothing")
    with pytest.raises(KeyboardInterrupt), interrupts_held_back():
        signal.raise_signal(signal.SIGINT)
        done.append("all")
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_and_ignored_interrupts_are_left_alone() -> None:
    found = []

    def work() -> None:
        with interrupts_held_back():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        work()
    finally:
        signal.signal(signal.SIGINT, usual)
    assert found == [signal.default_int_handler, signal.SIG_IGN]
