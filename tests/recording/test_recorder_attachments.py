"""What is attached while recording is stored with its state, in one transaction, or not at all."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Conflict, InvalidInput, Repository
from simgit.storage.failpoints import set_hook
from simgit.testing.failpoints import ENDED, arm, disarm, traced


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def checkpoint(n: int) -> dict[str, Any]:
    return {"weights": np.arange(300.0) * n, "step": n, "rng": bytes(300), "names": ("a", [n])}


def same(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return np.array_equal(one, two) if isinstance(one, np.ndarray) else bool(one == two)


# --- what is bound, and to which state ---------------------------------------------------------


@pytest.mark.parametrize("data", [b"abc", np.arange(6).reshape(2, 3), 3.5, None, checkpoint(1)])
def test_data_comes_back_from_the_state_it_was_appended_with(repo: Repository, data: Any) -> None:
    with repo.recorder() as rec:
        rec.append(0)
        rec.append(1, attachments={"note": data})
        rec.append(2)
    assert [list(repo.attachments(f"main@{i}")) for i in range(3)] == [[], ["note"], []]
    assert same(repo.attachment("main@1", "note"), data)


def test_data_is_bound_to_the_newest_state_whether_it_is_flushed_or_not(repo: Repository) -> None:
    with repo.recorder() as rec:
        rec.append(0)
        rec.attach("buffered", 1)
        rec.append(1)
        rec.flush()
        rec.attach("flushed", 2)
        assert repo.attachments("main@1") == {}
        rec.flush()
        assert repo.attachment("main@1", "flushed") == 2
        rec.attach("last", 3)
    assert list(repo.attachments("main@0")) == ["buffered"]
    assert list(repo.attachments("main@1")) == ["flushed", "last"]


def test_a_run_that_is_gone_on_with_has_a_newest_state(repo: Repository) -> None:
    repo.commit(0)
    with repo.recorder() as rec:
        rec.attach("note", "before")
        rec.append(1)
    assert repo.attachment("main@0", "note") == "before"


def test_names_of_states_do_not_depend_on_what_is_attached(repo: Repository) -> None:
    for run, attachments in (("a", None), ("b", {"note": 1, "other": np.zeros(500)})):
        with repo.recorder(run) as rec:
            rec.append(0, attachments=attachments)
            rec.append(1)
    assert repo.resolve("a") == repo.resolve("b")


def test_the_last_one_of_a_name_counts(repo: Repository) -> None:
    with repo.recorder() as rec:
        rec.append(0, attachments={"note": 1})
        rec.attach("note", 2)
    assert repo.attachment("main", "note") == 2


def test_what_is_attached_is_copied(repo: Repository) -> None:
    data = checkpoint(1)
    with repo.recorder() as rec:
        rec.append(0, attachments={"agent": data})
        rec.attach("array", data["weights"])
        data["weights"] += 1
        data["names"][1].append(2)
    assert same(repo.attachment("main", "agent"), checkpoint(1))
    assert same(repo.attachment("main", "array"), checkpoint(1)["weights"])


def test_attachments_are_bound_whatever_cuts_the_states_into_pieces(repo: Repository) -> None:
    with repo.recorder(flush_every=7) as rec:
        for i in range(30):
            observation = np.zeros(i % 3 + 1) if i % 4 else {"x": i}
            rec.append(observation, info={f"key{i % 5}": i}, attachments={"i": i})
    assert [repo.attachment(f"main@{i}", "i") for i in range(30)] == list(range(30))


def test_checkpoints_are_stored_as_differences(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(20_000)
    sizes = []
    for name, change in (("same", 0.0), ("other", 1.0)):
        with Repository.init(tmp_path / name) as repo, repo.recorder() as rec:
            for i in range(8):
                fresh = np.random.default_rng(i).standard_normal(20_000)
                weights = noise + change * fresh
                weights[i] = i
                rec.append(i, attachments={"agent": {"weights": weights}})
            rec.close()
            sizes.append(repo.size())
    assert sizes[0] < sizes[1] / 3


# --- when it is stored -------------------------------------------------------------------------


def test_attachments_count_for_the_bytes_that_make_a_flush(repo: Repository) -> None:
    with repo.recorder(flush_bytes=100_000) as rec:
        rec.append(0)
        rec.attach("agent", {"weights": np.zeros(20_000)})
        assert repo.head_run.step == 0
        rec.append(1, attachments={"blob": bytes(100_001)})
        assert repo.head_run.step == 1
        assert list(repo.attachments("main")) == ["blob"]


def test_attachments_are_stored_in_the_background(repo: Repository) -> None:
    with repo.recorder(flush_every=5, background=True) as rec:
        for i in range(52):
            rec.append(np.float32([i]), i)
            if i % 5 == 4:  # its state is being flushed, or was
                rec.attach("at", i)
        rec.flush()
        assert [repo.attachment(f"main@{i}", "at") for i in range(4, 52, 5)] == list(
            range(4, 52, 5)
        )


def test_a_conflict_takes_what_is_attached_along(repo: Repository) -> None:
    repo.commit(0)
    first = repo.recorder("main")
    repo.set_status("main", "active")  # it is not waited for any more
    second = repo.recorder("main")
    first.append(1, attachments={"note": "first"})
    second.append(2, attachments={"note": "second"})
    second.attach("more", 1)
    first.close()
    with pytest.raises(Conflict):
        second.flush()
    second.attach("later", 2)
    second.close()
    assert repo.attachment("main", "note") == "first"
    diverted = {
        name: repo.attachment("main.conflict-1", name) for name in ("note", "more", "later")
    }
    assert diverted == {"note": "second", "more": 1, "later": 2}


def test_what_could_not_be_stored_is_tried_again(repo: Repository) -> None:
    rec = repo.recorder()
    rec.append(0, attachments={"note": 1})
    arm("attachment.bound=raise")
    with pytest.raises(OSError, match="injected"):
        rec.flush()
    disarm()
    assert repo.head_run.step is None
    rec.close()
    assert repo.attachment("main@0", "note") == 1


def _record(path: Path, n: int, background: bool) -> None:
    with Repository.open(path) as repo, repo.recorder(background=background) as rec:
        for i in range(3):
            rec.append(i, attachments={"agent": checkpoint(i)})
        arm(f"*=exit@{n}")
        rec.flush()


@pytest.mark.slow
@pytest.mark.parametrize("background", [False, True])
def test_a_process_that_ends_leaves_the_states_with_what_is_attached_or_neither(
    tmp_path: Path, background: bool
) -> None:
    with Repository.init(tmp_path / "traced") as repo, repo.recorder() as rec:
        for i in range(3):
            rec.append(i, attachments={"agent": checkpoint(i)})
        with traced() as passed:
            rec.flush()
        set_hook(None)
    assert passed.count("attachment.bound") == 3
    context = multiprocessing.get_context("fork")
    stored = 0
    for n in range(1, len(passed) + 1):
        path = tmp_path / f"{background}{n}"
        Repository.init(path).close()
        process = context.Process(target=_record, args=(path, n, background))
        process.start()
        process.join()
        assert process.exitcode == ENDED
        with Repository.open(path) as repo:
            assert repo.fsck().is_clean
            if list(repo.runs) and repo.runs["main"].step is not None:
                found = [repo.attachment(f"main@{i}", "agent") for i in range(3)]
                assert all(same(data, checkpoint(i)) for i, data in enumerate(found))
                stored += 1
    assert 0 < stored < len(passed)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [("a/b", 1), ("", 1), ("a b", 1), ("agent", object()), ("agent", {"x": np.zeros(2, object)}),
     ("agent", {(1, 2): 3}), ("agent", {1: np.zeros(300), "a": 2}), ("agent", {1.5: 2})],
)  # fmt: skip
def test_what_cannot_be_attached_is_refused_at_once(repo: Repository, name: str, data: Any) -> None:
    with repo.recorder() as rec:
        rec.append(0)
        with pytest.raises(InvalidInput):
            rec.attach(name, data)
        with pytest.raises(InvalidInput):
            rec.append(1, attachments={name: data})
        assert rec.pending == 1
        rec.append(1, attachments={"good": 1})
    assert repo.head_run.step == 1
    assert list(repo.attachments("main@1")) == ["good"]


def test_what_is_refused_leaves_nothing_of_the_same_call_behind(repo: Repository) -> None:
    with repo.recorder() as rec:
        rec.append(0)
        with pytest.raises(InvalidInput):
            rec.append(1, attachments={"good": 1, "bad": object()})
        rec.append(2)
    assert repo.attachments("main@1") == {}


def test_there_is_nothing_to_attach_to_before_the_first_state(repo: Repository) -> None:
    with (
        repo.recorder() as rec,
        pytest.raises(InvalidInput, match="cannot attach 'x': the run has no state yet"),
    ):
        rec.attach("x", 1)


def test_a_closed_recorder_takes_nothing(repo: Repository) -> None:
    rec = repo.recorder()
    rec.append(0)
    rec.close()
    with pytest.raises(InvalidInput, match="closed"):
        rec.attach("x", 1)


# --- lanes -------------------------------------------------------------------------------------


def test_lanes_are_written_state_by_state_in_one_transaction(repo: Repository) -> None:
    with repo.recorder(["a", "b"], flush_every=8) as rec:
        for i in range(6):
            rec.append(0, np.float32([i]), i, reward=1.0)
            if i % 2:
                rec.append(1, np.float32([i]), i, reward=1.0, attachments={"odd": i})
        assert [repo.runs[run].step for run in "ab"] == [3, 0]  # the fourth of lane a was its share
        rec.attach(0, "note", "last")
    assert [repo.runs[run].step for run in "ab"] == [5, 2]
    assert [repo.attachment(f"b@{i}", "odd") for i in range(3)] == [1, 3, 5]
    assert repo.attachment("a@5", "note") == "last"


def test_lanes_have_the_names_of_single_runs(repo: Repository) -> None:
    with repo.recorder(["a", "b"]) as rec, repo.recorder("single") as single:
        for i in range(20):
            fields = np.float32([i, i]), i, float(i), False, i == 9, {"i": i}
            rec.append(1, *fields)
            single.append(*fields)
    assert repo.resolve("b") == repo.resolve("single")
    assert repo.runs["a"].step is None


def test_batches_and_single_states_of_a_lane_stay_in_order(repo: Repository) -> None:
    with repo.recorder(["a", "b"]) as rec:
        rec.append(0, 0)
        rec.append_batch(np.arange(1, 5).reshape(2, 2))
        rec.attach(1, "note", "of the batch")
        rec.append(0, 9)
    assert [repo.state(f"a@{i}").observation for i in range(4)] == [0, 1, 2, 9]
    assert [repo.state(f"b@{i}").observation for i in range(2)] == [3, 4]
    assert repo.attachment("b@1", "note") == "of the batch"


def test_a_lane_without_states_has_nothing_to_attach_to(repo: Repository) -> None:
    with repo.recorder(["a", "b"]) as rec:
        rec.append(0, 1)
        rec.flush()
        with pytest.raises(InvalidInput, match="no state yet"):
            rec.attach(1, "note", 1)
