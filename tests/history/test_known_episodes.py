"""Episodes of a history that was read before are those of one that is read anew."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit.history.log import EpisodeColumns, episode_columns
from simgit.odb import known_episodes
from simgit.repository import Repository

Row = dict[str, Any]


def steps(seed: int, count: int, is_root: bool) -> list[Row]:
    """Return states with episodes of many lengths, some of one state."""
    draw = random.Random(seed)
    found: list[Row] = []
    for i in range(count):
        if (i == 0 and is_root) or draw.random() < 0.2:
            found.append({"observation": float(i), "reset": True})
            continue
        ends = {"terminated": draw.random() < 0.2, "truncated": draw.random() < 0.1}
        found.append({"observation": float(i), "action": 0, "reward": draw.random(), **ends})
    return found


def expected(rows: list[Row], since: int) -> list[tuple[Any, ...]]:
    """Return the episodes from that of a step on, counted by hand."""
    starts = [i for i, row in enumerate(rows) if i == 0 or "reset" in row]
    found = []
    for number, start in enumerate(starts, 1):
        stop = starts[number] if number < len(starts) else len(rows)
        returned = 0.0
        for row in rows[start:stop]:
            returned += row.get("reward", 0.0)
        last = rows[stop - 1]
        flags = last.get("terminated", False), last.get("truncated", False)
        found.append((number, start, stop, returned, *flags))
    return [each for each in found if each[2] > since]


def read(repo: Repository, revision: str, since: int) -> list[tuple[Any, ...]]:
    store = repo.runs._store
    with store.read() as txn:
        place = store.odb.locate(txn, repo.resolve(revision))
        columns: EpisodeColumns = episode_columns(store.odb, txn, place, since)
    return [*zip(*(each.tolist() for each in columns), strict=True)]


@pytest.fixture
def grown(tmp_path: Path) -> Iterator[tuple[Path, dict[str, list[Row]]]]:
    """Return a repository whose run was flushed in uneven parts, and two branches off it."""
    rows = steps(1, 5000, True)
    with Repository.init(tmp_path) as repo:
        with repo.recorder("main", flush_every=700) as recorder:
            for row in rows:
                recorder.append(**row)
        there = {"main": rows}
        for name, at, seed in (("early", 1111, 2), ("late", 4500, 3)):
            repo.branch(name, f"main@{at}")
            more = steps(seed, 900, False)
            with repo.recorder(name, flush_every=300) as recorder:
                for row in more:
                    recorder.append(**row)
            there[name] = rows[: at + 1] + more
        yield tmp_path, there


@pytest.mark.slow
def test_episodes_are_the_same_in_whatever_order_they_are_read(
    grown: tuple[Path, dict[str, list[Row]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, there = grown
    draw = random.Random(4)
    for most in (known_episodes._MOST, 1500):  # all are kept; many are forgotten again
        monkeypatch.setattr(known_episodes, "_MOST", most)
        with Repository.open(path, read_only=True) as repo:
            for _ in range(60):
                name = draw.choice([*there])
                stop = draw.choice([len(there[name]), draw.randrange(1, len(there[name]) + 1)])
                since = draw.choice([0, draw.randrange(stop)])
                found = read(repo, f"{name}@{stop - 1}", since)
                assert found == expected(there[name][:stop], since), (name, stop, since)


def test_a_run_that_grows_is_read_on(tmp_path: Path) -> None:
    rows = steps(5, 3000, True)
    with Repository.init(tmp_path) as repo, Repository.open(tmp_path, read_only=True) as reader:
        with repo.recorder("main", flush_every=10_000) as recorder:
            for i, row in enumerate(rows, 1):
                recorder.append(**row)
                if i % 137 == 0:
                    recorder.flush()
                    assert read(reader, "main", 0) == expected(rows[:i], 0)
        store = reader.runs._store
        assert read(reader, "main", 0) == expected(rows, 0)
        decoded = []
        block = store.odb.states.block
        store.odb.states.block = lambda *each: decoded.append(each[2]) or block(*each)  # type: ignore[method-assign]
        assert read(reader, "main", 0) == expected(rows, 0)
        assert not decoded, "a history that is known whole is not read again"
