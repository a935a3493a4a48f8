"""What a simulation's processes take of the machine, kept with its run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simgit import Repository
from simgit.live import attach, find, usage
from simgit.live.kept_usage import keep_usage, thinned, usage_of
from simgit.live.usage import COLUMNS
from tests.support.patience import PATIENCE


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "r") as found:
        yield found


def record(repo: Repository, run: str, count: int = 3) -> None:
    with attach(repo, run) as control:
        recorder = control.recorder()
        for i in range(count):
            recorder.append(observation=float(i))


def test_a_short_one_has_it_at_its_end_and_no_oid_or_operation_of_it(repo: Repository) -> None:
    with repo.recorder("plain") as recorder:
        for i in range(3):
            recorder.append(observation=float(i))
    begun = time.time()
    record(repo, "main")
    assert repo.resolve("main") == repo.resolve("plain")  # a state does not know of it
    found = find(repo, "main").usage
    assert len(found) >= 2
    assert found.shape[1] == len(COLUMNS)
    row = dict(zip(COLUMNS, found[-1], strict=True))
    assert begun - 1 < row["time"] < time.time() + 1
    assert row["step"] == 2
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident / 2 < row["memory"]
    assert row["threads"] >= 1
    names = [n for n in repo.attachments("main") if n.startswith("usage-")]
    assert len(names) == 1
    array = repo.attachment("main", names[0])
    assert (array.dtype, array.shape) == (np.float32, found.shape)
    assert not any("usage" in repr(each) for each in repo.operations())
    assert len(repo.fsck().problems) == 0


def test_it_is_kept_while_it_runs_and_goes_on_where_it_ended(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "SECONDS", 0.01)
    monkeypatch.setattr(usage, "KEEP_SECONDS", 0.05)
    for _ in range(2):
        if "main" in repo.runs:
            repo.set_status("main", "active")
        before = len(usage_of(repo, "main")) if "main" in repo.runs else 0
        with attach(repo) as control:
            recorder = control.recorder(flush_seconds=0.01)
            deadline = time.monotonic() + PATIENCE
            while len(usage_of(repo, "main")) <= before:
                assert time.monotonic() < deadline
                recorder.append(observation=0.0)
                time.sleep(0.01)
    times = usage_of(repo, "main")[:, 0]
    assert (np.diff(times) > 0).all()
    repo.branch("other", "main")
    assert len(usage_of(repo, "other")) == 0  # it is the parent's


def test_equal_runs_have_each_its_own(repo: Repository) -> None:
    record(repo, "a")
    record(repo, "b")
    assert repo.resolve("a") == repo.resolve("b")
    a, b = usage_of(repo, "a"), usage_of(repo, "b")
    assert a[-1, 0] < b[0, 0]


def test_nor_do_those_mix_that_were_recorded_at_the_same_time_without_a_type(
    repo: Repository, tmp_path: Path
) -> None:
    opened = [repo.recorder(name) for name in ("a", "b")]
    for recorder in opened:
        recorder.append(observation=0.0)
        recorder.flush()
    row = [time.time() + 0.5, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    for i in range(4):  # in turns, before any of the two has ended
        row[0] += 0.01
        row[COLUMNS.index("threads")] = i + 1
        assert keep_usage(repo, "ab"[i % 2], [row])
    for recorder in opened:
        recorder.close("completed")
    assert repo.resolve("a") == repo.resolve("b")
    assert "simulation" not in repo.runs["a"].metadata
    Repository.clone(tmp_path / "r", tmp_path / "c").close()
    repo.rename_run("a", "renamed")
    with Repository.open(tmp_path / "c") as cloned:
        for where, a in ((repo, "renamed"), (cloned, "a")):
            threads = [usage_of(where, each)[:, COLUMNS.index("threads")] for each in (a, "b")]
            assert [each.tolist() for each in threads] == [[1.0, 3.0], [2.0, 4.0]]


def test_nothing_is_kept_before_there_is_a_state(repo: Repository) -> None:
    repo.create_run("empty")
    assert not keep_usage(repo, "empty", [(1.0,) * len(COLUMNS)])
    record(repo, "main")
    repo.branch("fork", "main")
    assert not keep_usage(repo, "fork", [(1.0,) * len(COLUMNS)])  # the state is its parent's


def test_a_long_one_is_drawn_from_its_peaks() -> None:
    samples = np.arange(70.0).reshape(10, 7)
    samples[3, COLUMNS.index("memory")] = 1000.0
    found = thinned(samples, 3)
    assert found[:, 0].tolist() == [21.0, 49.0, 63.0]
    assert found[:, COLUMNS.index("memory")].tolist() == [1000.0, 52.0, 66.0]
    assert thinned(samples, 10) is samples
