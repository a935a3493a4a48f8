"""A run has one writer: it is claimed when it is opened, by whoever comes first."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from simgit import Conflict, InvalidInput, Repository, SimgitWarning
from simgit.process import this_writer
from tests.support.patience import PATIENCE

SPAWN = multiprocessing.get_context("spawn")
FORK = multiprocessing.get_context("fork")
ROUNDS = 12
WRITERS = 4
HOWS = ("raise", "branch", "number")


@pytest.fixture
def repo(tmp_path: Path) -> Any:
    with Repository.init(tmp_path) as found:
        yield found


def _race(directory: str, barrier: Any, answers: Any) -> None:
    for how in HOWS:
        with Repository.open(Path(directory, how)) as repo:
            for number in range(ROUNDS):
                answers.put((how, number, os.getpid(), *_begin(repo, number, barrier, how)))


def _begin(repo: Repository, number: int, barrier: Any, how: str) -> tuple[str | None, list[Any]]:
    name = f"{number}/{{auto}}" if how == "number" else str(number)
    barrier.wait(PATIENCE)
    rec = None
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", SimgitWarning)
            rec = repo.recorder(name, on_conflict="branch" if how == "branch" else "raise")
        rec.append(os.getpid())
        found = (rec.run, [str(each.message) for each in said])
    except Conflict as error:
        found = (None, [str(error), error.pid])  # type: ignore[attr-defined]
    barrier.wait(PATIENCE)
    if rec is not None:
        rec.close()
    return found


Rounds = dict[int, list[tuple[int, str | None, list[Any]]]]


@pytest.fixture(scope="module")
def races(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Rounds]]:
    """Processes opened runs at the same moment: the directory, and what each got in each round."""
    directory = tmp_path_factory.mktemp("races")
    found: dict[str, tuple[Path, Rounds]] = {how: (directory / how, {}) for how in HOWS}
    for path, _ in found.values():
        Repository.init(path).close()
    barrier, answers = SPAWN.Barrier(WRITERS), SPAWN.Queue()
    writers = [
        SPAWN.Process(target=_race, args=(str(directory), barrier, answers)) for _ in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for _ in range(len(HOWS) * ROUNDS * WRITERS):
        how, number, *answer = answers.get(timeout=PATIENCE)
        found[how][1].setdefault(number, []).append(tuple(answer))
    for writer in writers:
        writer.join(PATIENCE)
        assert writer.exitcode == 0
    return found


@pytest.mark.slow
def test_of_processes_that_begin_a_run_at_the_same_moment_one_gets_it(races: Any) -> None:
    path, rounds = races["raise"]
    with Repository.open(path) as repo:
        for number, answers in rounds.items():
            (winner,) = [pid for pid, run, _ in answers if run is not None]
            for pid, run, said in answers:
                assert pid == winner or (run is None and said[1] == winner)
                assert pid == winner or f"is being recorded by process {winner}" in said[0]
            assert repo.state(str(number)).observation == winner
            assert repo.runs[str(number)].step == 0
        assert set(repo.runs) == set(map(str, range(ROUNDS)))
        assert not repo.fsck().problems


@pytest.mark.slow
def test_with_on_conflict_branch_each_gets_a_run_and_the_others_are_told(races: Any) -> None:
    path, rounds = races["branch"]
    assert len(rounds) == ROUNDS
    with Repository.open(path) as repo:
        for number, answers in rounds.items():
            names = sorted(run for _, run, _ in answers if run is not None)
            assert names == [f"{number}", f"{number}.2", f"{number}.3", f"{number}.4"]
            for pid, run, said in answers:
                assert run is not None
                assert repo.state(run).observation == pid
                assert len(said) == (run != str(number))
                assert not said or said[0].endswith(f"; recording to run '{run}' instead")
        assert not repo.fsck().problems


def test_numbers_are_given_once(races: Any) -> None:
    path, rounds = races["number"]
    assert len(rounds) == ROUNDS
    with Repository.open(path) as repo:
        for number, answers in rounds.items():
            names = sorted(run for _, run, _ in answers if run is not None)
            assert names == [f"{number}/{n}" for n in range(1, WRITERS + 1)]
            for pid, run, _ in answers:
                assert repo.state(str(run)).observation == pid


def _hold(path: str, started: Any) -> None:
    with Repository.open(path) as repo:
        rec = repo.recorder(["a", "b"], flush_every=1)
        rec.append(0, 1)
        started.set()
        signal.pause()


def test_what_a_killed_writer_claimed_is_free_again(repo: Repository, tmp_path: Path) -> None:
    for i in range(2):
        started = SPAWN.Event()
        writer = SPAWN.Process(target=_hold, args=(str(tmp_path), started))
        writer.start()
        assert started.wait(PATIENCE)
        actions: list[Any] = [
            lambda: repo.recorder("b"),
            lambda: repo.recorder(["c", "a"]),
            lambda: repo.commit(1, run="a"),
            lambda: repo.rename_run("b", "c"),
            lambda: repo.delete_run("b"),
        ]
        for action in actions:
            with pytest.raises(Conflict, match=f"process {writer.pid}") as caught:
                action()
            assert caught.value.pid == writer.pid  # type: ignore[attr-defined]
        assert set(repo.runs) == {"a", "b"}
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(PATIENCE)
        assert repo.runs["a"].status == "crashed"
        with repo.recorder("a") as rec:
            rec.append(2)
            assert dict(repo.runs["a"].writer or {}) == this_writer()
        assert repo.runs["a"].status == "active"
        assert repo.runs["a"].writer is None
        assert repo.runs["a"].step == 2 * i + 1
    assert not repo.fsck().problems


def test_a_reused_process_number_is_another_writer(repo: Repository) -> None:
    repo.commit(0)
    with repo.odb.write() as txn:
        ref = repo.refs.run(txn, "main")
        dead = {**this_writer(), "start": "1"}
        repo.refs.update_run(txn, "main", ref, ref._replace(writer=dead), None)
    repo.recorder("main").close()


def _open_store(path: str, started: Any, done: Any) -> None:
    with Repository.open(path, read_only=True):
        started.set()
        done.wait(PATIENCE)


@pytest.mark.slow
def test_a_writer_of_another_machine_is_gone_if_nobody_has_the_store_open(
    repo: Repository, tmp_path: Path
) -> None:
    """In a container that replaces another one the machine has another name."""
    for name in ("main", "b"):
        repo.commit(0, run=name)
    other = {"machine": "another boot", "pid": 1, "start": "1"}
    with repo.odb.write() as txn:
        for name in ("main", "b"):
            ref = repo.refs.run(txn, name)
            repo.refs.update_run(txn, name, ref, ref._replace(writer=other), None)
    started, done = SPAWN.Event(), SPAWN.Event()
    reader = SPAWN.Process(target=_open_store, args=(str(tmp_path), started, done))
    reader.start()
    assert started.wait(PATIENCE)
    hint = "process 1 of 'another'; .*; if it runs no more: simgit run reopen main$"
    with pytest.raises(Conflict, match=hint):
        repo.recorder("main")
    done.set()
    reader.join(PATIENCE)
    rec = repo.recorder("main")
    assert repo.runs["b"].status == "crashed"
    rec.append(1)
    rec.close()
    assert repo.runs["main"].step == 1
    with repo.odb.read(), repo.odb.read():
        assert not repo._store.storage.is_alone()


def _try(path: str, answers: Any, given: Any = None) -> None:
    repo = given if given is not None else Repository.open(path)
    try:
        repo.recorder("main").close()
        answers.put(None)
    except Conflict as error:
        answers.put(error.pid)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_forked_worker_does_not_share_its_parents_claim(repo: Repository, tmp_path: Path) -> None:
    rec = repo.recorder("main")
    for given in (None, repo):
        answers = FORK.Queue()
        worker = FORK.Process(target=_try, args=(str(tmp_path), answers, given))
        worker.start()
        assert answers.get(timeout=PATIENCE) == os.getpid()
        worker.join(PATIENCE)
    rec.append(1)
    rec.close()
    assert repo.runs["main"].step == 0


@pytest.mark.slow
def test_of_threads_that_begin_a_run_at_the_same_moment_one_gets_it(repo: Repository) -> None:
    barrier: Any = threading.Barrier(8)
    got: queue.Queue[Any] = queue.Queue()

    def begin() -> None:
        barrier.wait(PATIENCE)
        try:
            got.put(repo.recorder("main"))
        except Conflict as error:
            assert "in this process" in str(error)
            got.put(None)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    (rec,) = [each for each in (got.get() for _ in range(8)) if each is not None]
    rec.close()


def test_a_recorder_of_many_runs_claims_all_of_them_or_none(repo: Repository) -> None:
    rec = repo.recorder("b")
    with pytest.raises(Conflict, match="'b'"):
        repo.recorder(["a", "b", "c"])
    assert set(repo.runs) == {"b"}
    with pytest.warns(SimgitWarning, match=r"'b\.2'"):
        other = repo.recorder(["a", "b", "c"], on_conflict="branch")
    assert other.runs == ["a", "b.2", "c"]
    other.close()
    rec.close()
    repo.recorder(["a", "b", "c"]).close()


def test_a_run_beside_another_begins_at_its_newest_stored_state(repo: Repository) -> None:
    first = repo.recorder("main", config={"lr": 1})
    first.append(0)
    first.flush()
    first.append(1)
    with pytest.warns(SimgitWarning, match=r"^run 'main' is being recorded in this process; "):
        second = repo.recorder("main", on_conflict="branch")
    second.append(2)
    for each in (first, second):
        each.close()
    assert [repo.state(f"main.2@{i}").observation for i in (0, 1)] == [0, 2]
    assert repo.runs["main.2"].parent == "main"
    assert repo.config("main.2") == {"lr": 1}
    assert [repo.state(f"main@{i}").observation for i in (0, 1)] == [0, 1]


def test_what_to_do_in_a_conflict_is_one_of_two(repo: Repository) -> None:
    with pytest.raises(InvalidInput, match="'raise' or 'branch', got 'brunch'"):
        repo.recorder("main", on_conflict="brunch")


# --- settings ----------------------------------------------------------------------------------


def recorded(repo: Repository, run: str = "main", **options: Any) -> str:
    with repo.recorder(run, **options) as rec:
        rec.append(1)
    return str(rec.run)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"agent.lr": 0.2}, "agent.lr was 0.1, is 0.2"),
        ({"agent": {"lr": 1e-3}}, "agent.lr was 0.1, is 0.001"),
        ({"n": 4.0}, "n was 3, is 4.0"),
        ({"n": True}, "n was 3, is True"),
        ({"new": None}, "new was not set, is None"),
        ({"agent": 5}, "agent was not set, is 5"),
        ({"n": {"x": 1}}, "n.x was not set, is 1"),
    ],
)
def test_states_never_claim_settings_that_they_were_not_recorded_with(
    repo: Repository, second: dict[str, Any], says: str
) -> None:
    first = {"agent": {"lr": 0.1, "net": [64, 64]}, "n": 3}
    recorded(repo, config=first)
    with pytest.raises(Conflict) as caught:
        repo.recorder("main", config=second)
    assert f"run 'main' has states that were recorded with other settings: {says};" in str(
        caught.value
    )
    assert repo.config("main") == first
    assert repo.runs["main"].writer is None
    with pytest.warns(SimgitWarning, match=r"'main\.2' instead"):
        assert recorded(repo, config=second, on_conflict="branch") == "main.2"
    assert repo.config("main") == first
    assert repo.runs["main"].step == 0
    assert repo.runs["main.2"].step == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded(repo, "main.2", config=second)


def test_the_same_settings_continue_a_run(repo: Repository) -> None:
    recorded(repo, config={"a": {"b": 1, "c": (1, 2)}, "x": float("nan")}, seed=3)
    record = repo.refs.run
    with repo.odb.read() as txn:
        before = record(txn, "main").record
    for again in ({"a.b": 1}, {"a": {"c": (1, 2)}}, {"x": float("nan")}, {}, None):
        recorded(repo, config=again, seed=3)
        recorded(repo, config=again)
    with repo.odb.read() as txn:
        assert record(txn, "main").record == before
    assert repo.runs["main"].step == 10


def test_another_seed_is_another_setting(repo: Repository) -> None:
    recorded(repo, seed=0)
    with pytest.raises(Conflict, match="seed was 0, is 1"):
        repo.recorder("main", seed=1)
    recorded(repo, "plain")
    with pytest.raises(Conflict, match="seed was None, is 1"):
        repo.recorder("plain", seed=1)


def test_settings_of_a_run_without_own_states_are_changed(repo: Repository) -> None:
    repo.recorder("empty", config={"a": 1}).close()
    recorded(repo, "empty", config={"a": 2})
    assert repo.config("empty") == {"a": 2}
    repo.branch("try", "empty")
    recorded(repo, "try", config={"a": 3})
    assert (repo.config("empty"), repo.config("try")) == ({"a": 2}, {"a": 3})
    with pytest.raises(Conflict, match="a was 3, is 4"):
        repo.recorder("try", config={"a": 4})


# --- names with numbers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("train/{auto}", ["train/1", "train/2", "train/3"]),
        ("%d", ["1", "2", "3"]),
        ("a-%03d", ["a-001", "a-002", "a-003"]),
        ("a%02d/b", ["a01/b", "a02/b", "a03/b"]),
        ("é{auto}", ["é1", "é2", "é3"]),
    ],
)
def test_a_counter_in_a_name_makes_new_runs(repo: Repository, name: str, runs: list[str]) -> None:
    assert [recorded(repo, name) for _ in range(3)] == runs
    assert sorted(repo.runs) == sorted(runs)


def test_a_number_is_greater_than_any_that_is_there(repo: Repository) -> None:
    for name in ("a/7", "a/007x", "a/9/3", "a/x", "a/12-", "A/20", "b/99", "a/0100"):
        recorded(repo, name)
    repo.tag("a/200", "a/7")
    assert recorded(repo, "a/{auto}") == "a/201"


def test_the_lanes_of_one_recorder_get_one_number(repo: Repository) -> None:
    for number in (1, 2):
        rec = repo.recorder([f"v/{{auto}}/{i}" for i in range(3)])
        assert rec.runs == [f"v/{number}/{i}" for i in range(3)]
        rec.close()
    with pytest.raises(InvalidInput, match="each once"):
        repo.recorder(["a{auto}", "a{auto}"])


# --- HEAD --------------------------------------------------------------------------------------


def test_head_follows_what_is_recorded_first(repo: Repository) -> None:
    rec = repo.recorder("train")
    assert repo.head == "main"
    rec.append(1)
    rec.close()
    assert repo.head == "train"
    assert [line.step for line in repo.log()] == [0]
    assert [entry.new for entry in repo.reflog("HEAD")] == [repo.resolve("train")]
    recorded(repo, "other")
    repo.commit(1, run="third")
    assert repo.head == "train"


@pytest.mark.parametrize("lanes", [["a/0", "a/1"], ["main", "b"]])
def test_head_follows_the_first_lane_and_stays_at_its_own_run(
    repo: Repository, lanes: list[str]
) -> None:
    with repo.recorder(lanes) as rec:
        rec.append(1, 1)
        rec.append(0, 1)
    assert repo.head == lanes[0]


def test_head_follows_the_first_commit_and_undo_takes_it_back(repo: Repository) -> None:
    repo.commit(1, run="x")
    assert repo.head == "x"
    repo.undo()
    assert repo.head == "main"
    assert not repo.runs
