"""Curves in buckets say what the states say, from summaries as from columns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit import Repository
from simgit.errors import InvalidInput, NotFound
from simgit.history import buckets as module
from simgit.history.buckets import Buckets
from simgit.history.shared_sums import SharedSums, distinct_states
from simgit.odb.segments import summaries

SMALL = 8
VALUES = st.sampled_from([0, 1, -3, True, 0.5, -0.0, 1e300, math.nan, math.inf, -math.inf, None])
FIELDS = ("reward", "info.x", "observation.box[1]", "info.part", "info.deep.x", "return", "length")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in (summaries, module):
        monkeypatch.setattr(where, "BLOCK_ROWS", SMALL)
    monkeypatch.setattr(module, "_AT_ONCE", 2 * SMALL)


def record(
    repo: Repository, run: str, count: int, rng: np.random.Generator, values: list[Any], flush: int
) -> None:
    with repo.recorder(run, flush_every=flush) as rec:
        for _ in range(count):
            info: dict[str, Any] = {"deep": [{"x": 1}, {}, None][rng.integers(3)], "part": 1}
            value = values[rng.integers(len(values))]
            if value is not None:
                info["x"] = value
            if rng.integers(4) == 0:
                info["part"] = rng.normal()
            observation = {"box": rng.normal(size=3).astype(np.float32)}
            if rng.integers(6) == 0:
                rec.append(observation, info=info, reset={"seed": 1})
            else:
                over = rng.integers(5) == 0
                rec.append(observation, 1, rng.normal(), bool(over), False, info)


def states(repo: Repository, run: str) -> list[dict[str, Any]]:
    return [_state(state) for state in repo.trajectory(run)]


def _state(state: Any) -> dict[str, Any]:
    info = state.info or {}
    deep = info.get("deep") or {}
    return {
        "reward": state.reward if state.action is not None else None,
        "info.x": info.get("x"), "info.part": info.get("part"), "info.deep.x": deep.get("x"),
        "observation.box[1]": state.observation["box"][1],
    }  # fmt: skip


def points(repo: Repository, run: str, name: str) -> list[tuple[int, float]]:
    """Return (step, value) of a field, read state by state."""
    if name in ("return", "length"):
        return [
            (line.stop - 1, line.return_ if name == "return" else line.steps)
            for line in reversed(repo.episodes(run))
            if line.end != "open"
        ]
    found = [(i, each[name]) for i, each in enumerate(states(repo, run))]
    return [(i, float(v)) for i, v in found if v is not None and not math.isnan(v)]


def fields(repo: Repository, run: str) -> list[str]:
    """Return the fields that some state of a history has."""
    there = [_state(state) for state in repo.trajectory(run)]
    return [
        name for name in FIELDS
        if name in ("return", "length") or any(each[name] is not None for each in there)
    ]  # fmt: skip


def same(a: Buckets, b: Buckets) -> bool:
    """True if two have the same bytes."""
    pairs = [(a.step, b.step), (a.x, b.x)]
    for name, one in a.fields.items():
        two = b.fields[name]
        pairs += [(getattr(one, k), getattr(two, k)) for k in ("n", "min", "max", "mean", "last")]
    return all(one.tobytes() == two.tobytes() for one, two in pairs)


def forked(
    seed: int, parts: list[tuple[int, int, bool]], values: list[Any]
) -> tuple[Repository, str, int]:
    rng = np.random.default_rng(seed)
    repo, run, length = Repository.init(":memory:"), "main", 0
    for number, (count, flush, fork) in enumerate([(12, 5, False), *parts]):
        if fork:
            length = int(rng.integers(length)) + 1
            repo.branch(f"r{number}", f"{run}@{length - 1}")
            run = f"r{number}"
        record(repo, run, count, rng, values, flush)
        length += count
    return repo, run, length


PARTS = st.lists(
    st.tuples(st.integers(1, 3 * SMALL), st.integers(1, 20), st.booleans()), max_size=4
)


def test_a_range_that_stops_at_an_end_that_is_none_ends_no_episode() -> None:
    with Repository.init(":memory:") as repo:
        with repo.recorder("main") as recorder:
            recorder.append(0, reset={"seed": 1})
            recorder.append(1, 1, 1.0, True, False)
            recorder.append(2, 1, 1.0, True, False)  # without a reset
            recorder.append(3, reset={"seed": 1})
        found = repo.buckets("main", ["return", "length"], stop=2, width=1)
        assert found.fields["return"].n.tolist() == [0, 0]
        found = repo.buckets("main", ["return", "length"], stop=3, width=1)
        assert found.fields["length"].last.tolist()[2] == 2
        assert found.fields["return"].n.tolist() == [0, 0, 1]


@pytest.mark.usefixtures("small")
@given(
    st.integers(0, 1000), PARTS, st.lists(VALUES, min_size=1, max_size=4),
    st.sampled_from([1, 2, 8, 16, 64]), st.integers(0, 40), st.integers(0, 60),
)  # fmt: skip
def test_buckets_are_what_numpy_makes_of_the_states(
    seed: int,
    parts: list[tuple[int, int, bool]],
    values: list[Any],
    width: int,
    start: int,
    stop: int,
) -> None:
    repo, run, length = forked(seed, parts, values)
    with repo:
        names = fields(repo, run)
        found = repo.buckets(run, names, start=start, stop=stop, width=width)
        first, end = start // width, -(-min(stop, length) // width)
        assert found.step.tolist() == [width * i for i in range(first, end)]
        for name in names:
            here, known = found.fields[name], points(repo, run, name)
            for i, step in enumerate(found.step.tolist()):
                inside = np.array([v for at, v in known if step <= at < step + width])
                assert here.n[i] == len(inside)
                shown = here.min[i], here.max[i], here.mean[i], here.last[i]
                if not len(inside):
                    assert np.isnan(shown).all()
                    continue
                with np.errstate(all="ignore"):
                    mean = inside.mean()
                expected = inside.min(), inside.max(), mean, inside[-1]
                np.testing.assert_allclose(shown, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("small")
@given(st.integers(0, 1000), PARTS, st.sampled_from([1, 4, 8, 32]), st.integers(0, 5))
def test_equal_requests_give_equal_bytes(
    seed: int, parts: list[tuple[int, int, bool]], width: int, skip: int
) -> None:
    repo, run, length = forked(seed, parts, [0.1, 0.7, 1e9, None, math.inf])
    with repo:
        names = fields(repo, run)
        whole = repo.buckets(run, names, width=width)
        part = repo.buckets(run, names, start=skip * width, width=width)
        cut = {
            name: module.Bucketed(*(getattr(each, k)[skip:] for k in _COLUMNS))
            for name, each in whole.fields.items()
        }
        assert same(part, Buckets(width, length, whole.step[skip:], whole.x[skip:], cut))
        with repo.odb.write() as txn:
            for key, _ in list(txn.scan("summaries")):
                txn.delete("summaries", key)
        assert same(repo.buckets(run, names, width=width), whole)
        repo.gc()
        assert same(repo.buckets(run, names, width=width), whole)


_COLUMNS = ("n", "min", "max", "mean", "last")


@pytest.mark.usefixtures("small")
def test_a_growing_run_changes_its_last_bucket_only() -> None:
    rng = np.random.default_rng(1)
    with Repository.init(":memory:") as repo:
        record(repo, "main", 61, rng, [1], 9)
        before = repo.buckets("main", FIELDS, width=16)
        record(repo, "main", 30, rng, [1], 9)
        after = repo.buckets("main", FIELDS, width=16, start=int(before.step[-1]))
        assert after.step[0] == 48 and len(after.step) == 3
        whole = repo.buckets("main", FIELDS, width=16)
        for name in FIELDS:
            for k in _COLUMNS:
                old, new = getattr(before.fields[name], k), getattr(whole.fields[name], k)
                assert old[:-1].tobytes() == new[: len(old) - 1].tobytes()
                assert getattr(after.fields[name], k).tobytes() == new[3:].tobytes()


def test_points_choose_the_width() -> None:
    with Repository.init(":memory:") as repo:
        record(repo, "main", 100, np.random.default_rng(0), [1], 50)
        assert repo.buckets(points=100).width == 1
        assert repo.buckets(points=99).width == 2
        assert len(repo.buckets(points=1).step) == 1
        assert repo.buckets("main@9", points=5).width == 2
        assert len(repo.buckets(start=100).step) == len(repo.buckets(start=5, stop=3).step) == 0


def test_x_is_the_step_the_episode_or_the_time() -> None:
    with Repository.init(":memory:") as repo:
        record(repo, "main", 100, np.random.default_rng(0), [1], 50)
        numbers = np.zeros(100)
        for line in repo.episodes("main"):
            numbers[line.start : line.stop] = line.number
        found = repo.buckets(x="episode", width=8)
        last = np.minimum(found.step + 8, 100) - 1
        assert found.x.tolist() == numbers[last].tolist()
        assert repo.buckets(x="step", width=8).x.tolist() == found.step.tolist()
        times = repo.buckets(x="time", width=8).x.tolist()
        assert times == [(repo.time(f"main@{step}") or 0) / 1e9 for step in last.tolist()]


def test_smoothing_is_the_mean_of_the_states_of_some_buckets() -> None:
    with Repository.init(":memory:") as repo:
        record(repo, "main", 100, np.random.default_rng(0), [1, 2, 5, None], 50)
        known = points(repo, "main", "info.x")
        found = repo.buckets("main", ["info.x"], width=4, start=8, smooth=3)
        smooth = found.fields["info.x"].smooth
        assert smooth is not None and len(smooth) == len(found.step) == 23
        for i, step in enumerate(found.step.tolist()):
            inside = [v for at, v in known if step - 8 <= at < step + 4]
            assert smooth[i] == pytest.approx(np.mean(inside))


def test_what_is_no_number_is_refused() -> None:
    with Repository.init(":memory:") as repo:
        for i in range(3):
            repo.commit({"box": np.zeros(3), "big": np.full(50, i)}, 1, 1.0, info={"name": "x"})
        (found,) = repo.buckets("main", ["observation.big[7]"]).fields.values()
        assert found.last.tolist() == [0, 1, 2]
        for name in ("observation", "observation.box", "observation.big", "info.name"):
            with pytest.raises(InvalidInput, match="is not a number"):
                repo.buckets("main", [name])
        with pytest.raises(NotFound, match="did you mean 'reward'"):
            repo.buckets("main", ["rewrd"])
        with pytest.raises(InvalidInput, match="power of two"):
            repo.buckets("main", width=3)


def test_blocks_of_the_real_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rewards = rng.normal(size=7000)
    with Repository.init(tmp_path) as repo:
        with repo.recorder("main", flush_every=3000) as rec:
            for reward in rewards.tolist():
                rec.append(np.zeros(2), 0, reward, False, False)
        repo.branch("side", "main@3000")
        with repo.recorder("side") as rec:
            for reward in rewards[3001:].tolist():
                rec.append(np.ones(2), 0, -reward, False, False)
        for run, values in (
            ("main", rewards),
            ("side", np.concatenate([rewards[:3001], -rewards[3001:]])),
        ):
            for width in (2048, 4096, 1024):
                found = repo.buckets(run, width=width).fields["reward"]
                for i, low in enumerate(range(0, 7000, width)):
                    part = values[low : low + width]
                    assert (found.n[i], found.min[i], found.max[i], found.last[i]) == (
                        len(part), part.min(), part.max(), part[-1],
                    )  # fmt: skip
                    assert found.mean[i] == pytest.approx(part.mean())


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 4, SMALL, 2 * SMALL])
def test_sums_of_many_histories_are_those_of_each(small: None, width: int) -> None:
    rng = np.random.default_rng(width)
    repo = Repository.init(":memory:")
    record(repo, "r0", 40, rng, [0.5, 1.25, None], 7)
    for i in range(1, 12):  # at tips, within and at the edges of buckets, off each other
        start = f"r{rng.integers(i)}"
        step = int(rng.integers(len(repo.trajectory(start))))
        repo.branch(f"r{i}", f"{start}@{step}")
        record(repo, f"r{i}", int(rng.integers(20)), rng, [0.5, None], 5)
    names = [f"r{i}" for i in rng.permutation(12)]
    odb = repo.odb
    for field in ("reward", "info.x", "observation.box[1]", "return"):
        with odb.read() as txn:
            shared = SharedSums(odb, txn, field, width)
            places = [odb.locate(txn, repo.resolve(name)) for name in names]
            found = [shared.of(place) for place in places]
            states = {oid for name in names for oid in repo.trajectory(name).oids}
            assert distinct_states(txn, places) == len(states)
        for name, sums in zip(names, found, strict=True):
            for window in (1, 3):
                alone = repo.buckets(name, [field], width=width, smooth=window).fields[field]
                expected = alone.mean if window == 1 else alone.smooth
                np.testing.assert_array_equal(sums.means(window), expected)
            assert sums.n.tolist() == alone.n.tolist()
