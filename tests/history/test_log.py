"""The log reads what it shows, block by block, whatever happens to the blocks meanwhile."""

from __future__ import annotations

from itertools import islice

import pytest

from simgit import Repository
from simgit.odb.segments.state_store import StateStore


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


def test_the_first_page_of_a_log_reads_one_block_of_a_long_history(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with repo.recorder("main", flush_every=100) as recorder:
        for step in range(5_000):
            recorder.append(step)
    looked_up = []
    header = StateStore.header
    monkeypatch.setattr(StateStore, "header", lambda *args: looked_up.append(1) or header(*args))
    assert [line.step for line in islice(repo.log("main"), 20)] == [*range(4_999, 4_979, -1)]
    assert len(looked_up) < 20


def test_a_log_goes_on_while_the_blocks_are_joined(repo: Repository) -> None:
    with repo.recorder("main", flush_every=100) as recorder:
        for step in range(5_000):
            recorder.append(step)
    for reverse in (False, True):
        log = repo.log("main", reverse=reverse)
        steps = [line.step for line in islice(log, 150)]
        repo.gc()
        steps += [line.step for line in log]
        assert steps == sorted(range(5_000), reverse=not reverse)
