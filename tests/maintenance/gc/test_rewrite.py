"""Segments of which a part is lost are rewritten, past a threshold; what others need stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository

KEPT, ALL = 90, 100


def frame(number: int) -> Any:
    return np.random.default_rng(number).integers(0, 255, (20, 20), np.uint8)


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    """A run whose last ten states of a hundred are lost; another one has some of their frames."""
    with Repository.init(tmp_path) as repo:
        repo.recorder("main").close()  # HEAD's run, which HEAD stays at
        with repo.recorder("gone") as rec:
            for i in range(ALL):
                rec.append({"f": frame(i), "i": i}, i, 1.0)
        repo.branch("stays", f"gone@{KEPT - 1}")
        with repo.recorder("main") as rec:
            for i in range(85, ALL, 3):
                rec.append({"f": frame(i), "i": -i}, i, 1.0)
        repo.delete_run("gone", force=True)
        yield repo


def reads_back(repo: Repository) -> None:
    frames = repo.trajectory("stays").observations["f"]
    assert all(np.array_equal(frames[i], frame(i)) for i in range(KEPT))
    frames = repo.trajectory("main").observations["f"]
    assert all(
        np.array_equal(got, frame(i)) for got, i in zip(frames, range(85, ALL, 3), strict=True)
    )
    assert repo.fsck().is_clean


def test_without_a_threshold_what_is_lost_goes(repo: Repository) -> None:
    assert repo.gc(grace=0, expire=0).removed.states == ALL - KEPT
    reads_back(repo)


@pytest.mark.parametrize(("percent", "removed"), [(10, ALL - KEPT), (11, 0)])
def test_a_segment_is_rewritten_if_enough_of_it_is_lost(
    repo: Repository, percent: int, removed: int
) -> None:
    repo.set_setting("gc.rewrite", percent)
    assert repo.gc_preview(grace=0, expire=0).states == removed
    assert repo.gc(grace=0, expire=0).removed.states == removed
    reads_back(repo)


def test_what_was_spared_goes_with_more_of_its_segment_and_keeps_its_time(repo: Repository) -> None:
    repo.set_setting("gc.rewrite", 50)
    repo.gc(grace=0, expire=0)
    assert repo.unreachable(every=True, grace=0)
    repo.checkout("main")
    repo.branch("less", repo.resolve("stays@20"))
    repo.delete_run("stays", force=True)
    assert repo.gc(grace=0, expire=0).removed.states == ALL - 21
    assert repo.fsck().is_clean


def test_what_a_spared_state_has_attached_stays_with_it(repo: Repository) -> None:
    oid = repo.reflog("gone")[0].old
    assert oid is not None
    repo.attach(oid, "note", {"n": 1})
    repo.set_setting("gc.rewrite", 50)
    repo.gc(grace=0, expire=0)
    assert repo.attachment(oid, "note") == {"n": 1}
    assert repo.fsck().is_clean


def test_whole_segments_go_whatever_the_threshold(repo: Repository) -> None:
    repo.set_setting("gc.rewrite", 100)
    repo.commit({"i": 1}, run="alone")
    repo.delete_run("alone", force=True)
    assert repo.gc(grace=0, expire=0).removed.states == 1
