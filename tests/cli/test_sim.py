"""``simgit sim``: simulations from the command line."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository
from simgit.live import Tracker, attach, find
from simgit.live.records import Records
from simgit.process import machine, now
from simgit.refs.simulations import SimulationRecord, note_event
from tests.cli.conftest import Call
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

SWING = f"{ROOT}/tests/live/simulations.py:swing"
DEAD: dict[str, Any] = {"machine": machine(), "pid": 2**22 + 1, "start": "1"}
"""A process that is none."""


def until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def put(run: str, phase: str = "queued", *, type: str = SWING, **fields: Any) -> SimulationRecord:
    """Note a simulation of a run, without a process."""
    with Repository.open(".") as repo:
        if run not in repo.runs:
            repo.create_run(run, metadata={"simulation": {"type": type}})
        return Records(repo).put(run, SimulationRecord(type, phase, "", "", **fields), None)


@contextmanager
def script(run: str, **settings: Any) -> Iterator[None]:
    """Let a thread of this process be a simulation, until it is stopped."""

    def work() -> None:
        queries = {"double": lambda control, argument: 2 * argument}
        with attach(".", run, config={"push": 0.0, **settings}, queries=queries) as control:
            recorder = control.recorder()
            for step in range(10**9):
                control.progress(step, 10**9)
                control.check()
                recorder.append(control.config["push"], step)
                if step == control.config.get("ask"):
                    control.log("I ask")
                    control.ask("which\x1b[2J torque?", {"torque": 2.0, "name": "left"})
                time.sleep(0.005)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wanted = ("asking",) if "ask" in settings else ("running",)
        with Repository.open(".") as repo:
            until(lambda: Records(repo).find(run) is not None, "its record")
            until(lambda: find(repo, run).phase in wanted, wanted[0])
        yield
    finally:
        with Repository.open(".") as repo:
            if find(repo, run).phase != "ended":
                find(repo, run).stop(PATIENCE)
        thread.join()


@pytest.fixture
def here(run: Call) -> Call:
    run("init")
    return run


# --- types and settings -------------------------------------------------------------------------


def test_types_are_listed_shown_and_registered(here: Call) -> None:
    assert [line.split()[0] for line in here("sim", "types").lines] == [
        "command",
        "demo",
        "env",
        "sb3",
        "train",
    ]
    here("config", "--repository", f"live.types.swing={SWING}")
    found = {each["name"]: each for each in here("sim", "types", "--json").records}
    assert found["swing"]["path"] == SWING
    assert found["swing"]["defaults"]["steps"] == 300
    assert found["swing"]["queries"] == ["bad", "config", "energy"]
    shown = here("sim", "types", "swing").lines
    assert "    scale=1.0" in shown and shown[0] == "type swing"
    said = here("sim", "types", "swnig", code=128).err
    assert said.startswith("fatal: type 'swnig' not found; did you mean 'swing'?")
    assert here("config", "--repository", "--json").json["live.types.swing"] == SWING
    here("config", "--repository", "--unset", "live.types.swing")
    assert "live.types.swing" not in here("config", "--repository", "--json").json


def test_a_type_that_cannot_be_imported_hides_no_other(here: Call) -> None:
    here("config", "--repository", "live.types.gone=nowhere:swing")
    found = {each["name"]: each for each in here("sim", "types", "--json").records}
    assert "cannot import" in found["gone"]["help"] and found["demo"]["defaults"]
    here("sim", "types", "gone", code=128)
    here("config", "--repository", f"live.types.demo={SWING}")
    assert "has no effect: there is a type 'demo' already" in here("sim", "types").err


@pytest.mark.parametrize(("pair", "said"), [
    ("live.types.x=swing", "must be an import path such as module:function, got 'swing'"),
    ("live.types.x=5", "must be a text"),
    ("live.types.=a:b", "unknown setting 'live.types.'"),
    ("live.types.a:b=a:b", "unknown setting 'live.types.a:b'"),
    ("live.typs.x=a:b", "unknown setting 'live.typs.x'"),
    ("live.days=-1", "must be a number"),
])  # fmt: skip
def test_settings_of_simulations_are_checked(here: Call, pair: str, said: str) -> None:
    assert said in here("config", "--repository", pair, code=128).err
    assert here("fsck").code == 0


def test_gc_trims_what_simulations_left(here: Call, directory: Path) -> None:
    record = put("p", "ended", outcome="completed")
    live = directory / ".simgit" / "live"
    with Repository.open(".") as repo:
        with repo.odb.write() as txn:
            note_event(txn, "p", "running", {})
        kept, left = live / f"{record.execution}.log", live / "0123456789abcdef.log"
        kept.touch()
        left.touch()
        (live / "files").mkdir()
        assert len(Records(repo).events()) == 2
        repo.gc(clock=lambda: now() + 29 * 86400 * 10**9)
        assert len(Records(repo).events()) == 2
        repo.set_setting("live.days", 20)
        repo.gc(clock=lambda: now() + 21 * 86400 * 10**9)
        [newest] = Records(repo).events()  # its number is not used again
        assert (newest.number, newest.kind) == (2, "running")
        assert Records(repo).find("p") == record
    assert sorted(each.name for each in live.iterdir()) == sorted([kept.name, "files"])


# --- what is known ------------------------------------------------------------------------------


def test_a_list_shows_phase_and_reason(here: Call) -> None:
    assert here("sim", "list").out == "no simulations; 'simgit sim start' starts one\n"
    put("a", "ended", outcome="failed", reason="ValueError: no\x1b[2J")
    put("b", "queued", priority=2)
    put("c", "starting", tracker=DEAD)
    put("swing", "paused")
    rows = [line.split(maxsplit=3) for line in here("sim", "list").lines]
    assert rows[0] == ["run", "phase", "progress", "step"]
    assert rows[1] == ["a", "failed", "-", "ValueError: no\\x1b[2J"]
    assert rows[2] == ["b", "queued", "-"]
    assert rows[3][:2] == ["c", "starting"] and "a tracker starts it again" in rows[3][3]
    assert [row["run"] for row in here("sim", "list", "--phase", "queued", "--json").records] == [
        "b"
    ]
    assert [row["run"] for row in here("sim", "list", "[ab]", "--json").records] == ["a", "b"]
    assert "queue:  number 1, priority 2" in here("sim", "show", "b").lines
    assert here("sim", "show", "b", "--json").json["log"] == []
    said = here("sim", "show", "swnig", code=128).err
    assert said == "fatal: run 'swnig' has no simulation; did you mean 'swing'?\n"


def test_a_process_that_ended_without_a_word_is_noted_by_who_looks(here: Call) -> None:
    put("p", "running", process=DEAD, tracker=DEAD)
    row = here("sim", "list", "--json").json
    assert (row["phase"], row["outcome"]) == ("ended", "crashed")
    assert row["reason"] == "its process ended without a word"
    with Repository.open(".") as repo:
        assert find(repo, "p").record.phase == "ended"
        assert repo.runs["p"].status == "crashed"
    found = here("sim", "watch", "p", code=1)
    assert found.out == "p crashed: its process ended without a word\n"


def test_what_is_queued_can_leave_the_queue_and_be_forgotten(here: Call) -> None:
    for name in ("q/a", "q/b", "p"):
        put(name)
    assert here("sim", "stop", "q/*").lines[0].startswith("q/a stopped: ")
    assert here("sim", "kill", "p", "--json").json["outcome"] == "stopped"
    assert "no simulation matches 'q/*'" in here("sim", "stop", "q/*", code=128).err
    assert "has ended already" in here("sim", "stop", "p", code=128).err
    assert here("sim", "work", "--until-empty").out == ""
    assert here("sim", "clear", "q/*").out == "cleared 2 simulations\n"
    assert here("sim", "clear", "--json").json == {"cleared": 1}
    with Repository.open(".") as repo:
        assert list(repo.runs) == ["p", "q/a", "q/b"]


@pytest.mark.parametrize(("words", "said"), [
    (("start",), "needs a type, a preset or a state"),
    (("start", "demmo"), "did you mean 'demo'?"),
    (("start", "demo", "--queue", "--wait"), "--queue and --wait cannot be used together"),
    (("start", "demo", "--priority", "1"), "--priority needs --queue"),
    (("start", "demo", "--at", "main@5", "--preset", "x"), "--at and --preset cannot be used"),
    (("start", "--preset", "x"), "preset 'x' not found"),
    (("start", "--save", "x"), "--save needs a TYPE"),
    (("start", "demo", "--set", "x"), "must be of the form KEY=VALUE"),
    (("restart", "main"), "run 'main' was not recorded by a simulation"),
    (("fork", "main@1"), "run 'main' was not recorded by a simulation"),
    (("answer", "main"), "has no simulation"),
    (("stat",), "did you mean 'start'?"),
])  # fmt: skip
def test_what_cannot_be_done_is_said(repo: Call, words: tuple[str, ...], said: str) -> None:
    assert said in repo("sim", *words, code=None).err
    with Repository.open(".") as found:
        assert list(found.runs) == ["main"] and Records(found).all() == {}


def test_a_preset_gives_type_and_settings(here: Call) -> None:
    said = here("sim", "start", SWING, "--save", "slow", "--set", "pace=0.5", "--seed", 3).out
    assert said == "saved preset slow; 'simgit sim start --preset slow' starts one\n"
    found = here("sim", "start", "--preset", "slow", "--set", "steps=9", "--queue", "--json").json
    assert found == {"run": "swing-1", "type": SWING, "phase": "queued", "process": None}
    assert here("config", "swing-1", "--json").json == {"pace": 0.5, "steps": 9}


# --- asked and steered --------------------------------------------------------------------------


def test_a_simulation_is_asked_steered_and_stopped(here: Call) -> None:
    with script("p", ask=5):
        [_, row] = here("sim", "list").lines
        assert "asking" in row and row.endswith("asks: which\\x1b[2J torque?")
        shown = here("sim", "show", "p")
        assert 'asks:      which\\x1b[2J torque? (torque=2.0 name="left")' in shown.lines
        assert here("sim", "show", "p", "--json").json["questions"][0]["number"] == 1
        assert "unknown field 'torqe'" in here("sim", "answer", "p", "torqe=1", code=128).err
        said = here("sim", "answer", "p", "--question", 7, code=128).err
        assert "question 7 of run 'p' does not wait" in said
        assert (
            here("sim", "answer", "p", "torque=1.5").out == 'p: answered torque=1.5 name="left"\n'
        )
        said = here("sim", "answer", "p", code=128).err
        assert "asks nothing" in said or "has been answered already" in said
        first = here("sim", "set", "p", "push=0.5", "--json").json["from"]
        assert here("sim", "query", "p", "double", "[1]").out == "[1, 1]\n"
        assert here("sim", "query", "p", "double", "2", "--json").json["value"] == 4
        assert "query 'triple' not found; known: double" in (
            here("sim", "query", "p", "triple", code=128).err
        )
        step = here("sim", "pause", "p", "--json").json["step"]
        assert step >= first
        assert here("sim", "list", "--phase", "paused", "--json").json["step"] == step
        assert "paused already" in here("sim", "pause", "p", code=128).err
        assert here("sim", "resume", "p").out == "p continues\n"
        assert here("sim", "stop", "p", "--json").json == {
            "run": "p", "outcome": "stopped", "reason": None,
        }  # fmt: skip
    with Repository.open(".") as repo:
        assert float(repo.state(f"p@{first}").observation) == 0.5
        assert float(repo.state(f"p@{first - 1}").observation) == 0.0
        assert inputs(repo, "p@5")[0]["by"]
    assert "does not run" in here("sim", "pause", "p", code=128).err


@pytest.mark.slow
def test_questions_are_answered_at_the_terminal(here: Call, environment: dict[str, str]) -> None:
    with script("p", ask=3):
        main, side = pty.openpty()
        words = [sys.executable, "-m", "simgit", "sim", "watch", "p"]
        with subprocess.Popen(
            words, stdin=side, stdout=side, stderr=side, env=environment | {"TERM": "dumb"}
        ) as watching:
            os.close(side)
            printed = read_until(main, b"or Enter for that")
            assert b"which\\x1b[2J torque?" in printed
            os.write(main, b"torque=much\n")
            assert b"must be a number" in read_until(main, b"got 'much'")
            os.write(main, b"torque=0.25\n")
            read_until(main, b"p is running")
            watching.send_signal(signal.SIGINT)
            assert b"p keeps running: 'simgit sim watch p'" in read_until(main, b"stops it")
            assert watching.wait(PATIENCE) == 130
        os.close(main)
        assert here("sim", "list", "--json").json["phase"] == "running"
    with Repository.open(".") as repo:
        assert inputs(repo, "p@3")[0]["value"] == {"torque": 0.25, "name": "left"}


def read_until(terminal: int, wanted: bytes) -> bytes:
    """Return what a program has printed once it has printed what is wanted."""
    printed = b""
    while wanted not in printed:
        printed += os.read(terminal, 65536)
    return printed


def inputs(repo: Repository, revision: str) -> Any:
    """Return what people said at a state."""
    [name] = [name for name in repo.attachments(revision) if name.startswith("input")]
    return repo.attachment(revision, name)


# --- processes ----------------------------------------------------------------------------------


def test_one_that_is_started_is_followed_to_its_end(here: Call) -> None:
    config = ("--set", "raise_at=[30]", "--seed", 1)
    found = here("sim", "start", SWING, "--run", "p", *config, "--wait", "--json", code=1)
    begun, *lines = found.records
    assert begun["run"] == "p" and begun["phase"] == "starting" and begun["process"]
    assert lines[-1] == {"run": "p", "outcome": "failed", "reason": "ValueError: the arm broke"}
    assert any("Traceback" in line.get("line", "") for line in lines)
    assert here("sim", "list").lines[1].split(maxsplit=3)[1] == "failed"
    assert here("sim", "show", "p", "-n", 3).lines[-1].endswith("ValueError: the arm broke")


@pytest.mark.slow
def test_one_that_is_started_outlives_the_command(
    here: Call, process: Call, directory: Path
) -> None:
    """Also where the next tracker looks before its process has begun to execute."""
    begun = process("sim", "start", SWING, "--run", "p", "--set", "pace=0.05", "--json").json
    with Repository.open(".") as repo, Tracker(repo, workers=0) as tracker:
        until(lambda: tracker["p"].phase not in ("starting", "queued"), "running")
        assert (tracker["p"].record.process or {})["pid"] == begun["process"]
        os.kill(begun["process"], signal.SIGKILL)
        until(lambda: tracker["p"].record.is_over, "its end")
    assert here("sim", "list", "--json").json["outcome"] == "crashed"
    assert (
        here("sim", "restart", "p", "--queue").out == "queued p; 'simgit sim work' runs the queue\n"
    )
    here("config", "p", "pace=0.0", "steps=40")
    told = here("sim", "work", "--until-empty", "--json").records
    assert [(each["phase"], each["outcome"]) for each in told] == [
        ("starting", None), ("ended", "completed"),
    ]  # fmt: skip
    found = here("sim", "fork", "p@20", "--run", "q", "--set", "scale=2", "--wait").lines
    assert found[0].startswith("started q (process ") and found[-1] == "q completed"
    assert here("rev-parse", "q@20").out == here("rev-parse", "p@20").out
    assert "completed; reopen it" in here("sim", "restart", "p", code=128).err


def test_one_that_dies_before_it_begins_is_not_waited_for(
    here: Call,
) -> None:
    with Repository.open(".") as repo, Tracker(repo, workers=0) as tracker:
        one = tracker.start(SWING, "p")
        pid = tracker.pid("p")
        assert pid is not None and (one.record.process or {})["pid"] == pid
        os.kill(pid, signal.SIGKILL)
        assert one.wait(PATIENCE) == "crashed"
        assert one.reason == "SIGKILL"


@pytest.mark.slow
def test_a_worker_that_is_interrupted_leaves_simulations_running(
    here: Call, environment: dict[str, str]
) -> None:
    here("sim", "start", SWING, "--run", "p", "--set", "pace=0.05", "--queue", "--priority", 3)
    words = [sys.executable, "-m", "simgit", "sim", "work"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as worker, Repository.open(".") as repo:  # fmt: skip
        until(lambda: find(repo, "p").phase == "running", "running")
        worker.send_signal(signal.SIGINT)
        out, err = worker.communicate(timeout=PATIENCE)
        assert worker.returncode == 130
        assert " p starting\n" in out
        assert err == "1 simulation keeps running; 'simgit sim stop' stops them\n"
        assert find(repo, "p").phase == "running"
    assert here("sim", "freeze", "p").out == "p is frozen\n"
    assert here("sim", "list", "--json").json["phase"] == "frozen"
    assert here("sim", "resume", "p", "--json").json["run"] == "p"
    assert json.loads(here("sim", "kill", "p", "--json").out)["outcome"] == "crashed"
