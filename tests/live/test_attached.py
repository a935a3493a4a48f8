"""Scripts that become simulations, in this process: what they are asked, and what goes wrong."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import Conflict, Divergence, InvalidInput, NotFound, SimgitError, Untrusted
from simgit.live import Control, Stopped, Tracker, attach, find
from simgit.live.attached import controlled
from simgit.live.channel import MOST_BYTES, call, socket_folder, socket_path
from simgit.live.child import LOST, main
from simgit.live.records import Records
from tests.faults.processes import in_child
from tests.support.patience import PATIENCE


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "r") as found:
        yield found


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def asked(control: Control, ask: Callable[[], Any]) -> Any:
    """Return what somebody else is told, while the script looks."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(ask())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        control.check()
        time.sleep(0.001)
    return found[0]


def reopen(repo: Repository, run: str) -> None:
    if run in repo.runs:
        repo.set_status(run, "active")


def path_of(repo: Repository, run: str = "main") -> str:
    return str(find(repo, run).record.socket)


def test_what_is_recorded_while_somebody_looks_is_seen_soon(repo: Repository) -> None:
    with attach(repo) as control:
        recorder = control.recorder(flush_seconds=3600)
        recorder.append(observation=1.0)
        find(repo, "main").watch()
        until(lambda: repo.runs["main"].step == 0, "the state")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (object, "<class 'object'>"),
        ({(1, 2): 3}, InvalidInput),
        ("x" * MOST_BYTES, InvalidInput),
        (float("nan"), pytest.approx(float("nan"), nan_ok=True)),
    ],
)
def test_a_query_may_return_anything(repo: Repository, value: Any, told: Any) -> None:
    with attach(repo, queries={"it": lambda control, argument: value}) as control:
        found = asked(control, lambda: find(repo, "main").query("it", timeout=PATIENCE))
    assert isinstance(found, told) if isinstance(told, type) else found == told


def test_a_query_that_nests_itself_is_refused(repo: Repository) -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    round_: list[Any] = []
    round_.append(round_)
    queries: Any = {"deep": lambda *_: nested, "round": lambda *_: round_}
    with attach(repo, queries=queries) as control:
        for name in queries:
            found = asked(control, lambda name=name: find(repo, "main").query(name))
            assert isinstance(found, InvalidInput), found
    while nested:
        nested = nested[0]


@pytest.mark.parametrize(
    "request_",
    [b"\n", b"[]\n", b"{}\n", b"\xff\n", b"[" * 100_000 + b"\n", b'{"do": {"a": 1}}\n',
     b'{"do": "watching", "seconds": "long"}\n', b'{"do": "set", "overrides": {"a..b": 1}}\n',
     b'{"do": "set", "overrides": 7}\n', b'{"do": "answer", "question": {}}\n'],
)  # fmt: skip
def test_a_malformed_request_is_refused_in_a_line(repo: Repository, request_: bytes) -> None:
    def ask() -> Any:
        with socket.socket(socket.AF_UNIX) as made:
            made.settimeout(PATIENCE)
            made.connect(path_of(repo))
            made.sendall(request_)
            return json.loads(made.makefile("rb").readline())

    with attach(repo) as control:
        found = asked(control, ask)
        assert "\n" not in found["error"]["text"]
        assert call(path_of(repo), {"do": "status"})["step"] == -1


@pytest.mark.slow
def test_those_who_send_too_much_or_too_often_keep_nobody_out(repo: Repository) -> None:
    with attach(repo) as control, suppress(OSError):
        many = []
        for _ in range(100):
            made = socket.socket(socket.AF_UNIX)
            made.connect(path_of(repo))
            many.append(made)
        many[-1].settimeout(PATIENCE)
        with suppress(OSError):
            many[-1].sendall(b"x" * (MOST_BYTES + 100_000))
            many[-1].recv(1)
        deaf = many[-2]
        deaf.settimeout(1.0)
        with suppress(OSError):
            while True:  # asks, and does not read the answers
                deaf.sendall(b'{"do": "status"}\n' * 1000)
        assert call(path_of(repo), {"do": "status"}, PATIENCE)["step"] == -1
        assert asked(control, lambda: find(repo, "main").configure({"x": 1})) == 0
        for each in many:
            each.close()


def test_a_checkpoint_that_fails_does_not_keep_it_from_stopping(repo: Repository) -> None:
    def fails() -> Any:
        raise ValueError("too large")

    reached = False
    with attach(repo) as control:
        recorder = control.recorder()
        recorder.append(observation=0.0)
        control.checkpoint(lambda: 1)
        control.checkpoint(1)
        control._save = fails
        control._listener.put({"do": "stop"})
        recorder.append(observation=1.0)
        control.check()
        reached = True
    assert not reached
    assert find(repo, "main").outcome == "stopped"


def test_a_fork_that_leaves_the_block_ends_nothing(repo: Repository) -> None:
    with attach(repo) as control:
        control.recorder().append(observation=0.0)
        control.flush()
        path = path_of(repo)
        pid = os.fork()
        if not pid:
            raise SystemExit  # out of the block, in the child
        os.waitpid(pid, 0)
        assert find(repo, "main").phase == "running"
        assert call(path, {"do": "status"})["step"] == 0
    assert find(repo, "main").outcome == "completed"


def test_one_whose_run_is_deleted_ends_and_leaves_no_socket(repo: Repository) -> None:
    with attach(repo, "gone") as control:
        with pytest.raises(Conflict, match="a simulation of run 'gone' is running"):
            repo.delete_run("gone")
        repo.delete_run("gone", force=True)
        control._listener.put({"do": "pause"})
        control.check()
        pytest.fail("it went on")
    assert list(socket_folder(Records(repo).directory).glob("*.sock")) == []


def test_states_that_a_simulator_of_ones_own_repeats_are_compared(repo: Repository) -> None:
    def record(stop: int, factor: float = 1.0) -> int:
        reopen(repo, "main")
        with attach(repo, seed=1) as control:
            recorder = control.recorder()
            begin = control.position
            for i in range(begin, stop):
                recorder.append(observation=i * factor, time=float(i), message="m")
                if i == 3 or i == 8:
                    control.checkpoint({"i": i})
        return begin

    assert record(7) == 0
    tip = repo.resolve("main")
    assert record(12) == 4  # after the checkpoint; what came later is the same
    assert repo.state("main@6").oid == tip
    assert len(repo.trajectory("main")) == 12
    with pytest.raises(Divergence, match="step 9 was recorded with another 'observation'"):
        record(15, factor=2.0)


def test_what_reached_one_run_does_not_reach_another_with_equal_states(repo: Repository) -> None:
    def record(run: str, stop: int, scale: float | None = None) -> list[float]:
        reopen(repo, run)
        seen = []
        with attach(repo, run, config={"scale": 1.0}) as control:
            recorder = control.recorder()
            for i in range(control.position, stop):
                if i == 5 and scale is not None:
                    control._listener.put({"do": "set", "overrides": {"scale": scale}})
                control.check()
                seen.append(control.config["scale"])
                recorder.append(observation=float(i))  # equal, whatever the setting is
                if i == 2:
                    control.checkpoint(run)
        return seen

    record("a", 10)
    record("b", 10, scale=3.0)
    assert repo.resolve("a") == repo.resolve("b")
    assert record("a", 12) == [1.0] * 9
    assert record("b", 12) == [1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]


def test_a_fork_is_given_what_came_before_its_branch_point_only(repo: Repository) -> None:
    from simgit.live.inputs import begin_of, type_metadata

    def record(run: str, stop: int, sets: dict[int, float]) -> None:
        with attach(repo, run, config={"scale": 1.0}) as control:
            recorder = control.recorder()
            for i in range(control.position, stop):
                if i in sets:
                    control._listener.put({"do": "set", "overrides": {"scale": sets[i]}})
                control.check()
                recorder.append(observation=float(i), info={"scale": control.config["scale"]})

    def scales(run: str) -> list[float]:
        begin = begin_of(repo, run, "script")
        found = [each.data["overrides"].get("scale") for each in begin.before if each.kind == "set"]
        return found + [each.data["overrides"].get("scale") for each in begin.due]

    record("a", 10, {4: 2.0, 7: 3.0})
    for name, at, config in (("b", "a@6", None), ("c", "a@5", {"other": 1}), ("d", "a@8", None)):
        repo.create_run(name, at, config=config, metadata=type_metadata("script"))
    assert [each for each in scales("b") if each] == [2.0]  # at 7 begins what b does itself
    assert [each for each in scales("c") if each] == [2.0]
    assert [each for each in scales("d") if each] == [2.0, 3.0]
    record("b", 12, {9: 5.0})
    repo.create_run("e", "b@3", config={"scale": 9.0}, metadata=type_metadata("script"))
    record("e", 14, {})  # far past the place where b was branched off
    assert [state.info["scale"] for state in repo.trajectory("e")][4:] == [9.0] * 10


def test_a_question_from_before_the_recorder_is_asked_once(repo: Repository) -> None:
    def record(stop: int) -> dict[str, Any]:
        reopen(repo, "main")
        with attach(repo) as control:
            answer = control.ask("how fast?", {"speed": 1.0 + stop}, timeout=0)
            recorder = control.recorder()
            for i in range(control.position, stop):
                recorder.append(observation=float(i) * answer["speed"])
                control.checkpoint(i)
        return answer

    first = record(5)
    assert record(8) == first == {"speed": 6.0}


@pytest.mark.slow
def test_a_forked_tracker_is_left_to_the_parent(repo: Repository, tmp_path: Path) -> None:
    with Tracker(repo) as tracker:
        one = tracker.start(
            "tests.live.simulations:count", "p", folder=Path(__file__).parents[2],
            config={"steps": 10**6, "pace": 0.01},
        )  # fmt: skip
        until(lambda: one.phase == "running", "its start")
        status, _ = in_child(lambda: tracker.close(stop=True, timeout=0))
        assert status == 0
        assert one.phase == "running"
        assert one.stop() == "stopped"


def test_a_copy_of_the_directory_neither_sees_nor_ends_simulations(
    repo: Repository, tmp_path: Path
) -> None:
    import shutil

    with attach(repo) as control:
        control.recorder().append(observation=0.0)
        control.flush()
        shutil.copytree(tmp_path / "r", tmp_path / "copy", ignore=lambda d, names: [
            each for each in names if each.endswith(".sock")
        ])  # fmt: skip
        with Repository.open(tmp_path / "copy") as copy:
            assert Records(copy).all() == {}
            with pytest.raises(SimgitError, match="has no simulation"):
                find(copy, "main")
        assert find(repo, "main").phase == "running"


def test_a_long_path_has_its_socket_in_a_directory_of_this_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TemporaryDirectory(prefix="run") as folder:
        check_a_long_path(tmp_path, Path(folder), monkeypatch)


def check_a_long_path(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    place = tmp_path / ("long" * 20) / "r"
    with Repository.init(place) as repo, attach(repo) as control:
        path = Path(path_of(repo))
        assert path.parents[2] == folder
        assert path.parent.stat().st_mode & 0o077 == 0
        assert asked(control, lambda: find(repo, "main").configure({"x": 1})) == 0
    assert not path.exists()
    (folder / "simgit").rename(folder / "other")
    (folder / "simgit").symlink_to(folder / "other")
    with pytest.raises(SimgitError, match="must be a directory of this user"):
        socket_path(place, "0" * 16)


def test_a_run_from_elsewhere_starts_nothing(repo: Repository, tmp_path: Path) -> None:
    with attach(repo) as control:
        control.recorder().append(observation=0.0)
    repo.create_bundle(tmp_path / "b", ["main"])
    with Repository.init(tmp_path / "theirs") as theirs, Tracker(theirs) as tracker:
        theirs.import_bundle(tmp_path / "b")
        with pytest.raises(Untrusted, match="came from elsewhere"):
            tracker.restart("main")


def test_a_stop_does_not_wait_for_the_check_of_what_is_recorded(repo: Repository) -> None:
    from simgit.gym.restoring.run_notes import VERDICT

    with attach(repo, seed=1) as control:
        env = control.env("CartPole-v1")
        for step in control.range(50):
            if step == 9:
                control._listener.put({"do": "stop"})
            env.step(step % 2)
    assert find(repo, "main").outcome == "stopped"
    assert repo.runs["main"].step == 9
    assert VERDICT not in repo.runs["main"].metadata


def test_one_that_is_stopped_before_its_process_begins_never_begins(repo: Repository) -> None:
    with Tracker(repo, workers=0) as tracker:
        one = tracker.queue("tests.live.simulations:count", "p", folder=Path(__file__).parents[2])
        claimed = one.record._replace(phase="starting", tracker=None)
        Records(repo).change("p", one.record, phase="starting")
        assert one.stop(by="me") == "stopped"
        assert main(str(Records(repo).directory), "p", claimed.execution) == LOST
        assert one.reason == "stopped by me before it began"
        assert repo.runs["p"].oid is None


def test_callbacks_may_wait_for_what_other_threads_start(repo: Repository) -> None:
    with Tracker(repo, workers=0) as tracker:
        done: list[str] = []

        def start(one: Any) -> None:
            if one.run == "a":
                other = threading.Thread(target=lambda: tracker.restart("a", queue=True))
                other.start()
                other.join(PATIENCE)
            done.append(one.run)

        kind = "tests.live.simulations:count"
        one = tracker.queue(kind, "a", folder=Path(__file__).parents[2])
        tracker.when("each", ["a", "forgotten"], "ended", start, once=True)
        one.stop()
        until(lambda: sorted(done) == ["a", "forgotten"], "both callbacks")
        assert one.phase == "queued"


def test_a_stop_that_ends_the_block_of_a_recorder_is_no_failure(repo: Repository) -> None:
    stopped: list[str] = []
    with (
        pytest.raises(Stopped),
        repo.recorder("main") as recorder,
        controlled(repo, "main", recorder, "own") as control,
    ):
        assert control is not None
        recorder.append(1)
        thread = threading.Thread(target=lambda: stopped.append(find(repo, "main").stop(PATIENCE)))
        thread.start()
        while True:
            control.check()
            time.sleep(0.001)
    thread.join(PATIENCE)
    assert (repo.runs["main"].status, repo.runs["main"].step) == ("paused", 0)
    assert (find(repo, "main").outcome, stopped) == ("stopped", ["stopped"])


def test_a_metric_named_step_is_refused_in_a_line(repo: Repository) -> None:
    with attach(repo) as control:
        control.recorder().append(1)
        with pytest.raises(InvalidInput, match="a metric cannot be named 'step', which is 0 here"):
            control.metrics({"loss": 1.0, "step": 7})
        control.metrics({"loss": 1.0})
    (state,) = repo.trajectory("main/metrics")
    assert state.info == {"loss": 1.0, "step": 0}


def test_restarting_a_script_says_what_to_do(repo: Repository) -> None:
    with attach(repo, "mine") as control:
        control.recorder().append(1)
        raise Stopped
    with repo.recorder("other") as recorder, controlled(repo, "other", recorder, "train"):
        recorder.append(1)
    with repo.recorder("plain") as recorder:
        recorder.append(1)
    repo.set_status("other", "paused")
    with Tracker(repo, workers=0) as tracker:
        with pytest.raises(InvalidInput, match=r"start .* again in '.*'; it continues where"):
            tracker.restart("mine")
        with pytest.raises(InvalidInput, match="simgit train --resume --run other"):
            tracker.restart("other")
        with pytest.raises(NotFound, match="was not recorded by a simulation"):
            tracker.restart("plain")
        tracker.clear()
        with pytest.raises(InvalidInput, match="start it again"):
            tracker.restart("mine")


def test_a_file_whose_name_is_too_long_is_attached_under_a_shorter_one(
    repo: Repository, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    long = ["a" * 240 + end for end in ("1.txt", "2.txt")]
    with attach(repo, "a") as control:
        control.recorder().append(1)
        control.watch_folder(files, seconds=0.02)
        for name in (*long, "short.txt"):
            (files / name).write_text(name)
    found = repo.attachments("a")
    names = [each for each in found if each.endswith(".txt")]
    assert len(names) == 3 and "short.txt" in names
    assert {bytes(repo.attachment("a", name)).decode() for name in names} == {*long, "short.txt"}
    assert max(map(len, names)) <= 200
