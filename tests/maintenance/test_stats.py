"""stats says where the bytes are, and its parts add up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simgit import Repository
from simgit.maintenance.stats import Stats


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path) as repo:
        for run, count in (("main", 300), ("b", 200)):
            with repo.recorder(run, flush_every=100) as rec:
                for i in range(count):
                    frame = np.full((40, 40), i % 7, np.uint8)
                    rec.append({"x": i * 1.5, "frame": frame}, i, 1.0, info={"text": f"{run} {i}"})
            if run == "main":
                repo.branch("b", "main@99")
        shared = np.random.default_rng(0).random(5000)
        for i in range(4):
            repo.attach(f"main@{i}", "agent", {"shared": shared, "own": np.full(1000, i)})
        yield repo


@pytest.fixture
def found(repo: Repository) -> Stats:
    return repo.stats()


def test_states_of_runs_are_counted_by_what_they_share(found: Stats) -> None:
    assert found.kinds["state"].count == 500
    assert (found.runs["main"].states, found.runs["main"].own) == (300, 200)
    assert (found.runs["b"].states, found.runs["b"].own) == (300, 200)
    stored = found.kinds["state"].stored + found.kinds["state array"].stored
    own = sum(run.own_stored for run in found.runs.values())
    assert own < stored <= sum(run.stored for run in found.runs.values())


def test_what_is_the_same_is_stored_once(found: Stats) -> None:
    frames = found.columns["observation.frame"]
    assert frames.count == 500
    assert frames.logical == 500 * 1600 and frames.raw == 7 * 1600
    assert frames.deduplication == 500 / 7
    agents = found.attachments["agent"]
    assert agents.count == 4
    assert agents.logical - agents.raw > 3 * 40_000  # the shared array counts once
    assert agents.stored < agents.raw


def test_the_kinds_add_up_to_what_the_tables_hold(repo: Repository, found: Stats) -> None:
    with repo.odb.read() as txn:
        tables = ("objects", "bodies", "segments", "blocks", "chunks")
        held = sum(len(k) + len(v) for table in tables for k, v in txn.scan(table))
        assert found.tables["objects"] == txn.count("objects")
    assert found.total.stored == pytest.approx(held, rel=0.1)
    assert sum(c.stored for c in found.columns.values()) == pytest.approx(
        found.kinds["state"].stored + found.kinds["state array"].stored, rel=0.05
    )


def test_each_gc_notes_the_size(repo: Repository, found: Stats) -> None:
    assert found.history == []
    repo.gc()
    repo.commit({"x": 1.0}, run="main")
    repo.gc()
    history = repo.stats().history
    assert [each.states for each in history] == [500, 501]
    assert history[0].time < history[1].time and all(each.bytes > 0 for each in history)


def test_an_empty_repository_has_stats(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        assert repo.stats().total.stored == 0
        repo.gc()
        assert repo.stats().history[0].states == 0
