"""Ten thousand branches, each off the newest state of the last: nothing recurses, all is cheap."""

from __future__ import annotations

from itertools import islice

import pytest

from simgit import Oid, Repository
from simgit.odb.location import Location
from simgit.recording.states import prepare, store
from simgit.refs.records import moved
from simgit.refs.revision import Resolved
from simgit.refs.runs import Runs
from tests.support.cost import at_most

DEPTH = 10_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deep() -> tuple[Repository, list[Oid]]:
    """A chain of runs: each begins with a sibling of the last run's second state."""
    repo = Repository.init(":memory:")
    oids = []
    tip = above = None
    runs = Runs(repo.odb, repo.refs)
    with repo.odb.write() as txn:  # one transaction for all, since thirty thousand take long
        for i in range(DEPTH):
            if tip is not None and i % 2:
                tip = repo.odb.states.tip(txn, Location(tip.place.line, tip.place.step - 1))
            start = Resolved(tip.oid, tip.place, above) if tip else None
            ref = runs.create(txn, f"r{i}", start, {"depth": i}, None, {}, "created")
            parents = (tip,) if tip else ()
            batches = prepare({"observation": [i, i], "action": [1, 2]}, parents)
            tip = store(repo.odb, txn, batches, parents)
            above = f"r{i}"
            repo.refs.update_run(txn, above, ref, moved(ref, tip), "recorded")
            oids.append(tip.oid)
    return repo, oids


Deep = tuple[Repository, list[Oid]]


def test_every_step_is_reached(deep: Deep) -> None:
    repo, oids = deep
    last = repo.state(f"r{DEPTH - 1}")
    assert last.oid == oids[-1]
    with at_most(50_000):
        for step in range(0, last.step, last.step // 50):
            assert repo.state(f"r{DEPTH - 1}@{step}").step == step
    with at_most(2_000):
        assert repo.resolve(f"r{DEPTH - 1}~{last.step}") == repo.resolve("r0@0")


def test_merge_bases_are_found(deep: Deep) -> None:
    repo, _ = deep
    with at_most(30_000):
        for i in range(0, DEPTH - 1, 500):
            base = repo.merge_base(f"r{i}", f"r{DEPTH - 1}")
            assert base == repo.resolve(f"r{i}" if i % 2 else f"r{i}~1")


def test_merge_bases_are_found_below_merges(deep: Deep) -> None:
    repo, oids = deep
    repo.branch("merged", "r0")
    repo.commit("m", run="merged", parents=[oids[-1]])
    with at_most(300_000):
        assert repo.merge_base("merged", f"r{DEPTH - 1}") == oids[-1]
        assert repo.merge_base("merged", "r5000") == repo.resolve("r5000~1")
    repo.delete_run("merged", force=True)


def test_configurations_are_inherited(deep: Deep) -> None:
    repo, _ = deep
    with at_most(2_000_000):
        assert repo.config(f"r{DEPTH - 1}") == {"depth": DEPTH - 1}


def test_lineage_and_runs_are_listed(deep: Deep) -> None:
    repo, _ = deep
    with at_most(3_000_000):
        assert [info.name for info in repo.lineage(f"r{DEPTH - 1}")] == [
            f"r{i}" for i in range(DEPTH - 1, -1, -1)
        ]
    with at_most(3_000_000):
        assert len(repo.runs) == DEPTH


def test_the_first_page_of_a_log_costs_little(deep: Deep) -> None:
    repo, oids = deep
    with at_most(150_000):
        page = list(islice(repo.log(f"r{DEPTH - 1}"), 20))
    assert page[0].oid == oids[-1]
    with at_most(8_000_000):
        assert len(list(repo.log(f"r{DEPTH - 1}"))) == page[0].step + 1


def test_the_log_of_all_runs_has_every_state(deep: Deep) -> None:
    repo, _ = deep
    with at_most(12_000_000):
        assert len(list(repo.log(every=True))) == 2 * DEPTH


def test_the_runs_that_contain_a_state_are_listed(deep: Deep) -> None:
    repo, _ = deep
    with at_most(8_000_000):
        assert len(repo.contains("r0@0")) == DEPTH
