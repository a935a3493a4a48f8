"""Recorders buffer states, copy what they are given, flush when they should, and lose nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Conflict, InvalidInput, Repository, StorageError
from simgit.objects.arrays import encode_array, to_array
from simgit.refs.refs import Refs
from simgit.repository.store import Store
from simgit.storage.memory import MemoryStorage
from simgit.testing.reference import array_bytes
from tests.support.cost import at_most
from tests.support.patience import PATIENCE


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def steps(repo: Repository, run: str = "main") -> int | None:
    found = repo.runs[run]
    return found.step


# --- copies ------------------------------------------------------------------------------------


def test_what_is_passed_is_copied(repo: Repository) -> None:
    array, info, nested = np.zeros(3), {"a": np.zeros(2), "b": [1]}, {"x": np.zeros(300)}
    with repo.recorder() as rec:
        rec.append(array, array, info=info)
        array += 1
        rec.append(array, array, info=info)
        rec.append(nested, nested, info=info)
        array += 1
        info["a"] += 1
        info["b"].append(2)
        nested["x"] += 1
    assert repo.state("main@0").observation.tolist() == [0, 0, 0]
    assert repo.state("main@1").action.tolist() == [1, 1, 1]
    last = repo.state()
    assert last.info["a"].tolist() == [0, 0]
    assert last.info["b"] == [1]
    assert not last.observation["x"].any()
    assert not last.action["x"].any()


def test_batches_are_copied(repo: Repository) -> None:
    observation, nested = np.zeros((2, 3, 4)), {"x": np.zeros((2, 3))}
    with repo.recorder(["a", "b"]) as rec:
        rec.append_batch(observation, info=nested)
        observation += 1
        nested["x"] += 1
    assert not repo.state("a").observation.any()
    assert repo.state("b").info["x"] == 0


# --- when to flush -----------------------------------------------------------------------------


def test_states_are_stored_every_so_many(repo: Repository) -> None:
    with repo.recorder(flush_every=3) as rec:
        seen = []
        for i in range(7):
            rec.append(i)
            seen.append((steps(repo), rec.pending))
    assert seen == [(None, 1), (None, 2), (2, 0), (2, 1), (2, 2), (5, 0), (5, 1)]
    assert steps(repo) == 6


def test_states_are_stored_after_so_many_seconds(repo: Repository) -> None:
    with repo.recorder(flush_seconds=0.05) as rec:
        rec.append(0)
        time.sleep(0.06)
        for i in range(1, 3):
            rec.append(i)
            time.sleep(0.06)
        assert (steps(repo) or 0) >= 1


def test_states_are_not_stored_by_time_if_that_is_off(repo: Repository) -> None:
    with repo.recorder(flush_seconds=None) as rec:
        rec.append(0)
        time.sleep(0.02)
        rec.append(1)
        assert steps(repo) is None


@pytest.mark.parametrize(
    "wrap", [lambda a: a, lambda a: {"x": {"y": a}}, lambda a: [a], lambda a: (a,)]
)
def test_states_are_stored_past_so_many_bytes(repo: Repository, wrap: Any) -> None:
    with repo.recorder(flush_bytes=10_000, flush_seconds=None) as rec:
        for _ in range(3):
            rec.append(wrap(np.zeros(500)))
        assert steps(repo) == 2


def test_states_are_stored_at_an_episodes_end(repo: Repository) -> None:
    with repo.recorder(flush_episodes=True) as rec:
        rec.append(0, reset=True)
        assert steps(repo) is None
        rec.append(1, terminated=True)
        assert steps(repo) == 1
        rec.append(2, truncated=np.bool_(True))
        assert steps(repo) == 2


def test_states_are_stored_in_the_background(repo: Repository) -> None:
    with repo.recorder(flush_every=10, background=True) as rec:
        for i in range(1005):
            rec.append(np.float32([i]), i)
        rec.flush()
        assert steps(repo) == 1004
        rec.append(1005)
    assert steps(repo) == 1005
    assert not [t for t in threading.enumerate() if t.name == "simgit-flush"]


def test_a_closed_recorder_takes_no_more(repo: Repository) -> None:
    rec = repo.recorder()
    rec.append(1)
    rec.close()
    rec.close()
    with pytest.raises(InvalidInput, match="closed"):
        rec.append(2)
    assert steps(repo) == 0


def test_a_recorder_without_states_leaves_an_empty_run(repo: Repository) -> None:
    repo.recorder("empty").close()
    assert steps(repo, "empty") is None


# --- values ------------------------------------------------------------------------------------


def test_a_refused_value_buffers_nothing(repo: Repository) -> None:
    with repo.recorder() as rec:
        rec.append(np.zeros(2), 1)
        for bad in (
            {"observation": {"a": [object()]}},
            {"observation": np.array([object()])},
            {"action": {1, object()}},
            {"reward": "1"},
            {"reward": np.array(["1", "2"])},
            {"reward": 1j},
            {"reward": True},
            {"reward": 2**53 + 1},
            {"reward": 10**5000},
            {"terminated": 1},
            {"terminated": "yes"},
            {"truncated": None, "observation": object()},
            {"info": {"a": {(object(),): 2}}},
            {"info": {object(): 1}},
            {"info": "\ud800"},
            {"reset": 3},
            {"reset": {"sed": 1}},
            {"files": "abc"},
            {"files": b"abc"},
            {"message": 3},
            {},
            {"reset": False},
        ):
            with pytest.raises(InvalidInput):
                rec.append(**bad)
        assert rec.pending == 1
        rec.append(np.ones(2), 1)
    assert steps(repo) == 1
    assert repo.state().observation.tolist() == [1, 1]


def test_the_error_names_the_place_in_the_value(repo: Repository) -> None:
    with repo.recorder() as rec, pytest.raises(InvalidInput, match=r"info\.a\[1\]\.b: .*object"):
        rec.append(1, info={"a": [0, {"b": object()}]})


def test_circular_values_are_refused(repo: Repository) -> None:
    loop: list[Any] = []
    loop.append(loop)
    ring: dict[str, Any] = {}
    ring["ring"] = {"x": ring}
    with repo.recorder() as rec:
        for bad in (loop, ring, (loop, ring)):
            with pytest.raises(InvalidInput, match="contains itself"):
                rec.append(bad)


@pytest.mark.parametrize(
    "make", [lambda v: [v], lambda v: (v,), lambda v: {"a": v}, lambda v: {1: v}]
)
def test_what_append_takes_can_be_stored_however_deep_it_is(repo: Repository, make: Any) -> None:
    for leaf in (1, b"x", "é", None, 1j, np.int8(1), np.zeros(3)):
        for depth in (15, 16, 17, 63, 64, 65):
            value: Any = leaf
            for _ in range(depth):
                value = make(value)
            with repo.recorder(f"r{depth}") as rec:
                try:
                    rec.append(0, info={"v": 1})
                    rec.append(value)
                except InvalidInput:
                    assert depth > 64
                else:
                    assert depth <= 64


def test_resets_carry_seed_and_options(repo: Repository) -> None:
    seed = 2**128 + 1
    with repo.recorder() as rec:
        rec.append(0, reset={"seed": seed, "options": {"low": -0.5}})
        rec.append(1, reset=True)
        rec.append(2, reset={"seed": 7, "options": None})
        rec.append(3, reset=False)
        rec.append(4, reset=np.bool_(True))
        rec.append(5, reset={})
    found = [repo.state(f"main@{i}").reset for i in range(6)]
    assert found == [{"seed": seed, "options": {"low": -0.5}}, {}, {"seed": 7}, None, {}, {}]
    assert repo.head_run.episodes == 5


@pytest.mark.slow
@pytest.mark.parametrize(("count", "calls"), [(600, 10_000_000), (1500, 28_000_000)])
def test_many_new_fields_do_not_cost_more_and_more(
    repo: Repository, count: int, calls: int
) -> None:
    with at_most(calls), repo.recorder() as rec:
        for i in range(count):
            rec.append(np.float32([i]), info={f"key{i}": i})
    assert steps(repo) == count - 1
    assert repo.state().info == {f"key{count - 1}": count - 1}


# --- lanes -------------------------------------------------------------------------------------


def test_lanes_are_runs_of_their_own(repo: Repository) -> None:
    reset = np.array([[True, False, False], [False, True, False]])
    with repo.recorder(["a", "b"], flush_every=2) as rec:
        for i in range(2):
            rec.append_batch(
                {"x": np.arange(6.0).reshape(2, 3) + i},
                action=np.arange(6).reshape(2, 3),
                reward=np.ones((2, 3), np.float32),
                terminated=np.zeros((2, 3), bool),
                reset=reset,
            )
    assert [steps(repo, run) for run in "ab"] == [5, 5]
    first, second = repo.state("b@3"), repo.state("b@4")
    assert (first.observation["x"], first.action, first.reset) == (4.0, 3, None)
    assert (second.observation["x"], second.action, second.reward, second.reset) == (
        5,
        None,
        None,
        {},
    )
    assert second.terminated is None
    assert [repo.runs[run].episodes for run in "ab"] == [2, 3]


def test_dict_actions_are_left_out_at_resets(repo: Repository) -> None:
    reset = np.array([[True, False]])
    with repo.recorder(["a"]) as rec:
        rec.append_batch(np.zeros((1, 2)), {"go": np.ones((1, 2))}, reset=reset)
    assert repo.state("a@0").action is None
    assert repo.state("a@1").action == {"go": 1.0}


def test_a_batch_of_no_steps_is_nothing(repo: Repository) -> None:
    with repo.recorder(["a", "b"]) as rec:
        rec.append_batch(np.zeros((2, 0, 3)))
    assert steps(repo, "a") is None


@pytest.mark.parametrize(
    "batch",
    [
        {"observation": np.zeros((3, 2))},
        {"observation": np.zeros(2)},
        {"observation": np.zeros((2, 2)), "reward": np.zeros((2, 3))},
        {"observation": np.zeros((2, 2)), "terminated": np.zeros((2, 2))},
        {"observation": np.zeros((2, 2)), "reward": np.zeros((2, 2), complex)},
        {"observation": np.zeros((2, 2)), "reward": np.full((2, 2), 2**63 - 1)},
        {"observation": [[1, 2], [3]]},
        {"observation": "ab"},
        {"observation": np.zeros((2, 2), object)},
        {"observation": {1.5: np.zeros((2, 2))}},
        {"info": {}},
    ],
)
def test_a_batch_that_does_not_fit_is_refused(repo: Repository, batch: dict[str, Any]) -> None:
    with repo.recorder(["a", "b"]) as rec:
        with pytest.raises(InvalidInput):
            rec.append_batch(**batch)
        rec.append_batch(np.zeros((2, 1)))
    assert [steps(repo, run) for run in "ab"] == [0, 0]


# --- other writers -----------------------------------------------------------------------------


def overtaking(repo: Repository) -> Any:
    """Return a recorder of a run that another one may still write."""
    if "main" in repo.runs:
        repo.set_status("main", "active")
    return repo.recorder("main")


def test_what_a_second_writer_had_goes_to_a_run_named_after_it(repo: Repository) -> None:
    repo.commit(0)
    first, second, third = (overtaking(repo) for _ in range(3))
    for rec, value in ((first, 1), (second, 2), (third, 3)):
        rec.append(value)
    first.close()
    for rec, name in ((second, "main.conflict-1"), (third, "main.conflict-2")):
        with pytest.raises(Conflict, match=name) as caught:
            rec.close()
        assert caught.value.diverted == name  # type: ignore[attr-defined]
        assert rec.run == name
    assert [repo.state(run).observation for run in repo.runs] == [1, 2, 3]
    assert repo.merge_base("main", "main.conflict-2") == repo.resolve("main@0")


def test_a_diverted_recorder_goes_on_in_its_new_run(repo: Repository) -> None:
    rec = repo.recorder("main", flush_every=2)
    rec.append(1)
    repo.commit(5, run="main")
    with pytest.raises(Conflict):
        rec.append(2)
    rec.append(3)
    rec.flush()
    assert repo.runs["main.conflict-1"].status == "active"
    repo.commit(6, run="main.conflict-1")
    rec.append(4)
    with pytest.raises(Conflict, match="conflict-2"):
        rec.close()
    assert [repo.state(f"main.conflict-2@{i}").observation for i in range(4)] == [1, 2, 3, 4]


def test_a_run_that_was_deleted_or_sealed_meanwhile_loses_nothing(repo: Repository) -> None:
    rec = repo.recorder("a")
    rec.append(1)
    repo.delete_run("a", force=True)
    with pytest.raises(Conflict):
        rec.close()
    assert steps(repo, "a.conflict-1") == 0
    rec = repo.recorder("b")
    rec.append(1)
    rec.flush()
    repo.set_status("b", "completed")
    rec.append(2)
    with pytest.raises(Conflict):
        rec.close()
    assert steps(repo, "b") == 0
    assert steps(repo, "b.conflict-1") == 1


@pytest.mark.parametrize("name", ["x" * 200, "é" * 100, "a/" * 99 + "b", "a" * 174 + "./b" * 8])
def test_a_long_name_can_be_in_conflict(repo: Repository, name: str) -> None:
    rec = repo.recorder(name)
    rec.append(1)
    repo.commit(2, run=name)
    with pytest.raises(Conflict) as caught:
        rec.close()
    assert steps(repo, caught.value.diverted) == 0  # type: ignore[attr-defined]


def test_a_name_taken_in_another_case_is_passed_over(repo: Repository) -> None:
    repo.commit(1, run="MAIN.conflict-1")
    rec = repo.recorder("main")
    rec.append(1)
    repo.commit(2, run="main")
    with pytest.raises(Conflict, match="conflict-2"):
        rec.close()


def test_a_configuration_changed_while_recording_is_kept(repo: Repository) -> None:
    with repo.recorder(config={"lr": 1}) as rec:
        rec.append(1)
        rec.flush()
        repo.configure("main", {"lr": 2}, metadata={"who": "me"})
        rec.append(2)
    assert repo.config("main") == {"lr": 2}
    assert repo.head_run.metadata == {"who": "me"}


# --- failures ----------------------------------------------------------------------------------


class Faulty(MemoryStorage):
    """A storage that can be told to fail at commits."""

    failing = False

    def write(self) -> Any:
        if self.failing:
            raise StorageError("no space left")
        return super().write()


@pytest.mark.parametrize("background", [False, True])
def test_a_flush_that_failed_is_tried_again(background: bool) -> None:
    storage = Faulty()
    repo = Repository(Store(storage))
    rec = repo.recorder(flush_every=2, background=background)
    storage.failing = True
    failures = 0
    for i in range(10):
        try:
            rec.append(i)
            if background:
                rec._writer._queue.join()
        except StorageError:
            failures += 1
    assert failures
    with pytest.raises(StorageError):
        rec.flush()
    with pytest.raises(StorageError):
        rec.close()
    storage.failing = False
    rec.append(10)
    rec.close()
    assert [repo.state(f"main@{i}").observation for i in range(11)] == list(range(11))


def failed(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a recorder of two states, the second of which failed to be stored."""
    rec = repo.recorder()
    rec.append(1)
    rec.flush()

    def fail(*args: Any) -> None:
        raise StorageError("pulled out")

    with monkeypatch.context() as patch:
        patch.setattr(Refs, "update_run", fail)
        rec.append(2)
        with pytest.raises(StorageError):
            rec.flush()
    return rec


def test_a_failure_in_the_middle_of_a_transaction_changes_nothing(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    rec = failed(repo, monkeypatch)
    assert steps(repo) == 0
    rec.append(3)
    rec.close()
    assert [repo.state(f"main@{i}").observation for i in range(3)] == [1, 2, 3]
    assert not repo.fsck().problems


def test_a_conflict_after_a_failure_leaves_nothing_behind(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    rec = failed(repo, monkeypatch)
    repo.commit(9, run="main")
    rec.append(3)
    with pytest.raises(Conflict):
        rec.close()
    assert [repo.state(f"main.conflict-1@{i}").observation for i in range(3)] == [1, 2, 3]


def test_an_exception_in_the_block_stores_what_there_was_and_marks_the_run(
    repo: Repository,
) -> None:
    with pytest.raises(RuntimeError), repo.recorder("a") as rec:
        rec.append(1)
        raise RuntimeError
    assert (steps(repo, "a"), repo.runs["a"].status) == (0, "failed")
    with pytest.raises(KeyboardInterrupt), repo.recorder("b") as rec:
        rec.append(1)
        raise KeyboardInterrupt
    assert (steps(repo, "b"), repo.runs["b"].status) == (0, "paused")


def test_the_blocks_own_error_is_the_one_to_see(repo: Repository) -> None:
    with pytest.raises(RuntimeError) as caught, repo.recorder("a") as rec:
        rec.append(1)
        repo.commit(2, run="a")
        raise RuntimeError
    assert any("a.conflict-1" in note for note in caught.value.__notes__)


class Interrupted(list[Any]):
    """A list at whose first append Ctrl-C is pressed."""

    def append(self, item: Any) -> None:
        if not getattr(self, "pressed", False):
            self.pressed = True
            raise KeyboardInterrupt
        super().append(item)


@pytest.mark.parametrize("name", ["_observations", "_rewards", "_infos"])
def test_an_interrupt_in_the_middle_of_an_append_loses_that_state_only(
    repo: Repository, name: str
) -> None:
    rec = repo.recorder()
    for i in range(3):
        rec.append(i, 1, float(i), info={"i": i})
    setattr(rec, name, Interrupted(getattr(rec, name)))
    with pytest.raises(KeyboardInterrupt):
        rec.append(9, 1, 9.0, info={"i": 9}, reset=True, attachments={"note": "nine"})
    assert rec.pending == 3
    rec.append(4, 1, 4.0, info={"i": 4})
    rec.close()
    assert [repo.state(f"main@{i}").observation for i in range(4)] == [0, 1, 2, 4]
    newest = repo.state("main")
    assert (newest.reset, newest.info) == (None, {"i": 4})
    assert repo.attachments("main") == {}


def test_a_completed_run_is_refused_until_it_is_reopened(repo: Repository) -> None:
    rec = repo.recorder("a")
    rec.append(1)
    rec.close("completed")
    with pytest.raises(InvalidInput, match="reopen"):
        repo.recorder("a")
    with pytest.raises(InvalidInput, match="reopen"):
        repo.commit(2, run="a")
    repo.set_status("a", "active")
    repo.commit(2, run="a")
    assert steps(repo, "a") == 1


# --- processes ---------------------------------------------------------------------------------

SPAWN = multiprocessing.get_context("spawn")


def _write(path: str, value: int, started: Any, go: Any) -> None:
    with Repository.open(path) as repo:
        rec = overtaking(repo)
        for i in range(100):
            rec.append(value * 1000 + i)
        started.set()
        go.wait(PATIENCE)
        try:
            rec.close()
        except Conflict:
            os._exit(7)


def test_two_processes_on_one_run_lose_nothing(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit(0)
        go = SPAWN.Event()
        started = [SPAWN.Event(), SPAWN.Event()]
        writers = [
            SPAWN.Process(target=_write, args=(str(tmp_path), i, started[i], go)) for i in range(2)
        ]
        for writer, event in zip(writers, started, strict=True):
            writer.start()
            assert event.wait(PATIENCE)
        go.set()
        for writer in writers:
            writer.join(30)
        assert sorted(writer.exitcode or 0 for writer in writers) == [0, 7]
        assert list(repo.runs) == ["main", "main.conflict-1"]
        last = {repo.state(run).observation for run in repo.runs}
        assert last == {99, 1099}
        assert [steps(repo, run) for run in repo.runs] == [100, 100]


def _hang(path: str, started: Any) -> None:
    rec = Repository.open(path).recorder("main", flush_every=2)
    for i in range(5):
        rec.append(i)
    started.set()
    time.sleep(60)


@pytest.mark.slow
def test_a_run_whose_writer_was_killed_is_shown_as_crashed(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        started = SPAWN.Event()
        child = SPAWN.Process(target=_hang, args=(str(tmp_path), started))
        child.start()
        assert started.wait(PATIENCE)
        assert repo.runs["main"].status == "active"
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join(30)
        assert repo.runs["main"].status == "crashed"
        assert steps(repo) == 3
        with repo.recorder("main") as rec:
            rec.append(5)
        assert repo.runs["main"].status == "active"
        assert steps(repo) == 4


def test_lanes_that_record_the_same_are_stored_once() -> None:
    repo = Repository.init(":memory:")
    steps = np.arange(200.0).reshape(1, 200).repeat(3, axis=0)
    with repo.recorder(["a", "b", "c"]) as rec:
        rec.append_batch(observation=steps, action=steps)
    assert repo.resolve("a") == repo.resolve("b") == repo.resolve("c")
    report = repo.fsck()
    assert report.is_clean and report.states == 200


@pytest.mark.parametrize("shape", [(2,), (300,), ()])
def test_true_has_one_name_whatever_byte_stands_for_it(shape: tuple[int, ...]) -> None:
    odd = np.full(shape, 2, np.uint8).view(np.bool_)
    names = []
    for value in (odd, odd.astype(np.uint8) != 0):
        repo = Repository.init(":memory:")
        repo.commit(value)
        with repo.recorder("recorded") as recorder:
            recorder.append(value)
            recorder.append(value)
        batch = np.stack([value, value])[None]
        with repo.recorder(["lane"]) as lanes:
            lanes.append_batch(batch)
        names.append([repo.resolve(run) for run in ("main", "recorded", "lane")])
        assert repo["lane"].observations.view(np.uint8).max() == 1
    assert names[0] == names[1] and names[0][1] == names[0][2]
    assert array_bytes(odd) == encode_array(to_array(odd))


@pytest.mark.parametrize("info", [3, 0, [], (), "", b"x", [1], np.zeros(2)], ids=repr)
def test_an_info_is_a_mapping(info: object) -> None:
    with Repository.init(":memory:") as repo:
        refused = pytest.raises(InvalidInput, match="must be a dict")
        with refused:
            repo.commit(1, info=info)
        with repo.recorder("main") as recorder, refused:
            recorder.append(1, info=info)
        with repo.recorder(["a", "b"]) as lanes, refused:
            lanes.append_batch(np.zeros((2, 1)), info=info)
        assert repo.runs["main"].oid is None
