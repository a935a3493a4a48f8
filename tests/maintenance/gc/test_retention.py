"""Retention rules: what they keep, and that thinning is exact, recoverable and never goes too far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simgit import InvalidInput, Repository
from simgit.maintenance.gc.retention import Rule, parse_rules

EPISODE = 10


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    """Twenty episodes of ten states; `agent` and `snapshot` at every fifth state."""
    with Repository.init(tmp_path) as repo:
        with repo.recorder("main") as rec:
            for i in range(200):
                number, within = divmod(i, EPISODE)
                if within == 0:
                    rec.append({"i": i}, reset={"seed": 0} if i == 0 else True)
                else:
                    rec.append({"i": i}, 0, float(-abs(number - 7)))
        weights = np.random.default_rng(0).random(2000)
        with repo.transaction("prepare"):
            for i in range(0, 200, 5):
                weights[i] += 1
                repo.attach(f"main@{i}", "agent", {"w": weights.copy(), "i": i})
                repo.attach(f"main@{i}", "snapshot", {"i": i})
        yield repo


def steps(repo: Repository, name: str, run: str = "main") -> list[int]:
    newest = repo.runs[run].step
    assert newest is not None
    return [i for i in range(newest + 1) if name in repo.attachments(f"{run}@{i}")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("agent: last 3", [185, 190, 195]),
        ("agent: last 0", []),
        ("agent: last 1000", list(range(0, 200, 5))),
        ("agent: every 50", [0, 50, 100, 150]),
        ("agent: every 7", [0, 10, 15, 25, 30, 35, 45, 50, 60, 65, 70, 80, 85, 95, 100, 105, 115,
                            120, 130, 135, 140, 150, 155, 165, 170, 175, 185, 190]),
        ("agent: best 2 by return", [70, 75]),
        ("agent: last 1, every 100, best 2 by return", [0, 70, 75, 100, 195]),
    ],
)  # fmt: skip
def test_a_rule_keeps_what_it_says(repo: Repository, rule: str, kept: list[int]) -> None:
    removed = repo.gc(keep=rule).removed
    assert steps(repo, "agent") == kept
    assert removed.thinned == 40 - len(kept)
    assert steps(repo, "snapshot") == list(range(0, 200, 5))
    for i in kept:
        assert repo.attachment(f"main@{i}", "agent")["i"] == i
    assert repo.fsck().is_clean


def test_snapshots_that_a_state_may_need_to_be_restored_stay(repo: Repository) -> None:
    repo.gc(keep="snapshot: last 1")
    assert steps(repo, "snapshot") == [*range(0, 200, EPISODE), 195]


def test_each_run_keeps_its_own_and_what_is_tagged_stays(repo: Repository) -> None:
    repo.branch("other", "main@102")
    repo.tag("paper", "main@35")
    repo.gc(keep="agent: last 2")
    assert steps(repo, "agent") == [35, 95, 100, 190, 195]


def test_the_dry_run_says_exactly_what_goes(repo: Repository) -> None:
    expected = repo.gc_preview(keep="agent: last 2")
    assert expected.thinned == 38 and expected.thinned_bytes > 0
    assert len(steps(repo, "agent")) == 40
    assert repo.gc(keep="agent: last 2").removed == expected


def test_what_was_thinned_out_is_undone_and_goes_in_the_end(repo: Repository) -> None:
    repo.gc(keep="agent: last 2")
    repo.undo()
    assert len(steps(repo, "agent")) == 40
    said = repo.gc(keep="agent: last 2").removed.thinned_bytes
    repo.commit({"i": 200}, 0, 0.0, run="main")
    removed = repo.gc(expire=0, grace=0).removed
    assert removed.objects["array"] == removed.objects["binding"] == 38
    # the two that stay are differences to what went, and are written anew
    assert said * 0.5 < removed.tables["objects"] + removed.tables["bodies"] <= said
    assert (repo.attachment("main@190", "agent")["w"].shape) == (2000,)
    assert repo.fsck().is_clean


def test_the_rules_of_the_repository_are_applied_by_every_gc(repo: Repository) -> None:
    repo.set_setting("gc.keep", "agent: last 2; snapshot: every 1000")
    assert repo.gc().removed.thinned == 38 + 20
    with pytest.raises(InvalidInput, match="malformed retention rule"):
        repo.set_setting("gc.keep", "agent")


@pytest.mark.parametrize(
    "text",
    ["agent", "agent:", "agent: newest 3", "agent: last", "agent: last -1", "agent: best 3",
     "agent: last 3 by return", "a/../b: last 1", ": last 1", "agent: last 1, last 2",
     "agent: last 1; agent: every 2"],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_rules(text)


def test_rules_are_read_with_any_spaces() -> None:
    assert parse_rules(" agent :last  5 , best 3   by return\n\nvideo: every 2;") == (
        Rule("agent", 5, 0, 3), Rule("video", 0, 2),
    )  # fmt: skip


def test_the_dry_run_keeps_nobody_from_writing_and_works_where_nothing_can_be_written(
    repo: Repository,
) -> None:
    repo.branch("side", "main@50")
    repo.commit({"i": -1}, run="side")
    repo.delete_run("side")
    assert repo.directory is not None
    with repo.odb.storage.write():  # a second writer of this thread would be refused
        expected = repo.gc_preview(grace=0, expire=0, keep="agent: last 3")
    with Repository.open(repo.directory, read_only=True) as other:
        assert other.gc_preview(grace=0, expire=0, keep="agent: last 3") == expected
    assert repo.gc(grace=0, expire=0, keep="agent: last 3").removed == expected
