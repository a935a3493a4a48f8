"""The simulator's clock: ``append(time=)``, revisions by time, conditions and tables of runs."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, NotFound, Repository

BLOCK = 2048


@pytest.fixture
def repo() -> Repository:
    """Two episodes on main, at 0, 0.5, 1.0 and at 0, 2, with a state without a clock; a branch."""
    repo = Repository.init(":memory:")
    with repo.recorder("main") as rec:
        for i, time in enumerate((0, 0.5, 1.0)):
            rec.append(i, time=time, reset=i == 0, info={"queue": i})
        rec.append(3, time=np.float64(0.0), reset=True)
        rec.append(4)
        rec.append(5, time=2)
    repo.branch("side", "main@t=0.75~1")
    with repo.recorder("side") as rec:
        rec.append(9, time=7.25)
    return repo


def test_the_clock_is_an_entry_of_the_info(repo: Repository) -> None:
    assert repo.state("main@1").info == {"queue": 1, "time": 0.5}
    other = Repository.init(":memory:")
    with other.recorder("main") as rec:
        rec.append(0, reset=True, info={"queue": 0, "time": 0})
    assert other.resolve("main@0") == repo.resolve("main@0")


@pytest.mark.parametrize(
    ("revision", "step"),
    [
        ("main@t=2", 5), ("main@t=100", 5), ("main@t=1.99", 3), ("main@t=0", 3), ("main@2@t=0.9", 1),
        ("main@2@t=1e0", 2), ("main@ep1.2@t=0.5~1", 0), ("side@t=7.25", 3), ("side@t=7", 2),
        ("HEAD@t=0.5", 3),
    ],
)  # fmt: skip
def test_a_time_names_the_last_state_at_or_before_it(
    repo: Repository, revision: str, step: int
) -> None:
    assert repo.state(revision).step == step


@pytest.mark.slow
def test_times_of_all_types_are_compared_as_the_numbers_that_they_are(seed: int) -> None:
    draw = random.Random(seed)
    pools: list[list[Any]] = [
        [0, 1, 2**70, -3], [1, 2**53 + 1, float(2**53), None], [np.int8(1), "x", 0.5, np.uint64(2**63 + 5)],
        [np.float32(0.1), 0.1, np.float16(0.1)], [True, 1, float("nan"), 2.0], [float("inf"), 0.5, 2],
    ]  # fmt: skip
    asked = ("-1", "0", "0.1", "0.5", "1", "2", str(2**53), str(2**53 + 1), "1e300", "1e400")
    for trial in range(40):
        repo = Repository.init(":memory:")
        given = draw.choices(pools[trial % len(pools)], k=draw.randrange(1, 8))
        with repo.recorder("main") as rec:
            for each in given:
                rec.append(0, info={"time": each})
        plain = [each.item() if isinstance(each, np.generic) else each for each in given]
        times = [None if type(each) not in (int, float) or each != each else each for each in plain]
        assert [line.clock for line in repo.log("main")] == times[::-1], given
        for text in asked:
            until = float(text) if "e" in text or "." in text else int(text)
            wanted = [i for i, time in enumerate(times) if time is not None and time <= until]
            if wanted:
                assert repo.state(f"main@t={text}").step == wanted[-1], (given, text)
            else:
                with pytest.raises(NotFound):
                    repo.state(f"main@t={text}")


def test_ranges_have_times(repo: Repository) -> None:
    assert [s.step for s in repo["main@2@t=0.5..main@2"]] == [2]
    assert len(repo["main@0..t=2"]) == 5


def test_a_time_before_all_or_without_clocks_is_not_found(repo: Repository) -> None:
    with pytest.raises(NotFound, match="earliest is at 0"):
        repo.state("main@t=-1")
    with repo.recorder("other") as rec:
        rec.append(1, info={"time": "noon"})
        rec.append(1, info={"time": True})
        rec.append(1, info={"time": math.nan})
        rec.append(1, info=None)
    with pytest.raises(NotFound, match="no state has a clock"):
        repo.state("other@t=1")
    with pytest.raises(InvalidInput):
        repo.state("main@t=x")
    with pytest.raises(InvalidInput):
        repo.branch("a@t=5", "main")


@pytest.mark.parametrize("time", [math.nan, math.inf, "noon", True, [1, 2], 1j])
def test_a_clock_is_a_finite_number(repo: Repository, time: object) -> None:
    with repo.recorder("main") as rec:
        with pytest.raises(InvalidInput):
            rec.append(1, time=time)
        with pytest.raises(InvalidInput):
            rec.append(1, time=1, info={"time": 2})
        with pytest.raises(InvalidInput):
            rec.append(1, time=1, info=3)
        assert not rec.pending


def test_times_over_blocks_agree_with_a_search_of_all_states(seed: int, tmp_path: Path) -> None:
    """Clocks that go up and down, of several types, some absent, over several blocks and a fork."""
    draw = random.Random(seed)
    repo = Repository.init(tmp_path)
    times: list[float | None] = []
    with repo.recorder("main", flush_every=700) as rec:
        for i in range(BLOCK + 500):
            clock = draw.choice((None, draw.randrange(50), draw.uniform(0, 50), "text"))
            rec.append(i, info={} if clock is None else {"time": clock, "x": i % 7})
            times.append(None if isinstance(clock, str) else clock)
    repo.branch("side", "main@900")
    del times[901:]
    with repo.recorder("side") as rec:
        for i in range(300):
            times.append(draw.uniform(20, 60))
            rec.append(i, time=times[-1])
    for _ in range(20):
        at = draw.uniform(0, 60)
        here = [i for i, t in enumerate(times) if t is not None and t <= at]
        assert repo.state(f"side@t={at!r}").step == here[-1], at
    found = [line.step for line in repo.log("side", where="time < 20", reverse=True)]
    assert found == [i for i, t in enumerate(times) if t is not None and t < 20]
    clocks = [line.clock for line in repo.log("side", reverse=True)]
    assert clocks == times


def test_conditions_and_tables_of_runs_know_the_time(repo: Repository) -> None:
    assert [line.step for line in repo.log("main", where="time >= 1")] == [5, 2]
    assert [info.name for info in repo.runs.select("time > 1", "-time")] == ["side", "main"]
    assert repo.runs.table().values("time") == [2, 7.25]
    with pytest.raises(InvalidInput):
        list(repo.log("main", where="time == 'noon'"))
