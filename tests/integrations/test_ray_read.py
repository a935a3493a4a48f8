"""Recorded states as a dataset of Ray: the same rows as Arrow's reading, made where they are read.

These tests run where Ray is installed, and are skipped elsewhere.
"""

from __future__ import annotations

import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, NotFound, Repository
from simgit.errors import ClusterError
from simgit.odb import ancestry

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
pa = pytest.importorskip("pyarrow")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

from simgit.integrations.ray import cluster, read  # noqa: E402
from simgit.integrations.ray.reading import StatesDatasource  # noqa: E402

ROWS = 5000


@pytest.fixture(scope="module", autouse=True)
def two_cpus() -> Iterator[None]:
    """A cluster of this machine."""
    handler = signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            num_cpus=2, include_dashboard=False, object_store_memory=200 << 20,
            log_to_driver=False, logging_level="ERROR",
        )  # fmt: skip
        ray.data.DataContext.get_current().enable_progress_bars = False
        signal.signal(signal.SIGTERM, handler)
        yield
        ray.shutdown()
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """Two runs with fields of all sorts; the second branched off in the middle of the first."""
    with Repository.init(tmp_path_factory.mktemp("repo")) as made:
        rng = np.random.default_rng(1)
        with made.recorder("main", flush_every=700) as recorder:
            for i in range(ROWS):
                recorder.append(
                    rng.normal(size=4).astype(np.float32), i % 3, float(i), i % 50 == 49,
                    info={"lives": i % 5, "name": f"n{i % 7}", **({"rare": i} if i > 4000 else {})},
                )  # fmt: skip
        made.branch("side", "main@3000")
        with made.recorder("side") as recorder:
            for i in range(500):
                recorder.append(rng.normal(size=4).astype(np.float32), i % 3, -float(i))
        yield made


def all_of(dataset: Any) -> Any:
    """Return a dataset's rows as one table, in the order of its blocks."""
    tables = [ray.get(ref) for ref in dataset.to_arrow_refs()]
    return pa.concat_tables([each for each in tables if each.num_rows])


def expected(repo: Repository, *revisions: str, fields: Any = None) -> Any:
    """Return the rows as Arrow's reading gives them, in one process."""
    ranges = [repo.trajectory(each) for each in revisions]
    tables = []
    for each in ranges:
        table = each.to_arrow(fields, oids="none")
        tables.append(table)
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="default")


def rows(table: Any) -> list[Any]:
    return table.to_pylist()


def test_all_columns_are_those_of_the_trajectory(repo: Repository) -> None:
    dataset = read(repo, "main", rows_per_block=2048)
    found, wanted = all_of(dataset), expected(repo, "main")
    assert found.schema.names == wanted.schema.names
    assert rows(found.sort_by("step")) == rows(wanted)
    assert found.schema.field("observation").type == wanted.schema.field("observation").type
    batch = dataset.take_batch(100, batch_format="numpy")
    assert batch["observation"].shape == (100, 4)
    main = repo.trajectory("main")
    at = batch["step"]
    assert (batch["observation"] == main.observations[at]).all()
    assert (batch["reward"] == main.rewards[at]).all()


def test_blocks_follow_the_stored_ones_and_are_counted_without_a_look(repo: Repository) -> None:
    dataset = read(str(repo.directory.parent), ["main", "side"], rows_per_block=3000)  # type: ignore[union-attr]
    sizes = [ray.get(ref).num_rows for ref in dataset.to_arrow_refs()]
    assert sum(sizes) == dataset.count() == ROWS + 3501 and max(sizes) <= 3000
    source = _source(dataset)
    counted = [task.metadata.num_rows for task in source.get_read_tasks(1)]
    assert sorted(counted) == sorted(sizes)
    with repo.odb.read() as txn:
        for part in source._parts:
            if part.start:
                place = repo.odb.locate(txn, repo.trajectory(part.tip)[part.start].oid)
                assert ancestry.block_of(repo.odb, txn, place.line, part.start)[0] == part.start


def _source(dataset: Any) -> StatesDatasource:
    return next(
        each.datasource if hasattr(each, "datasource") else each._datasource
        for each in dataset._logical_plan.dag.post_order_iter()
    )


def test_a_projection_reads_no_other_column(repo: Repository) -> None:
    found = all_of(read(repo, "main", columns=["reward", "info.lives"]))
    assert rows(found.sort_by("step")) == rows(
        expected(repo, "main", fields=["reward", "info.lives"])
    )
    chosen = read(repo, "main").select_columns(["reward", "step"])
    table = all_of(chosen).sort_by("step")
    assert sorted(table.schema.names) == ["reward", "step"]
    assert table["reward"].to_pylist() == repo.trajectory("main").rewards.tolist()
    small = read(repo, "main")
    narrow = _source(small).apply_projection({"reward": "reward"})
    block = narrow.get_read_tasks(1)[0]()
    assert [each.schema.names for each in block] == [["reward"]]
    assert narrow._columns().columns[0].name == "reward" and len(narrow._columns().columns) == 1


@pytest.mark.parametrize(
    ("where", "columns"),
    [("reward >= 4321", None), ("info.lives == 3 and reward < 100", ["reward"]),
     ("terminated", ["action", "observation"]), ("info.rare > 4990", None), ("reward > 1e9", None)],
)  # fmt: skip
def test_a_condition_is_applied_where_blocks_are_read(
    repo: Repository, where: str, columns: Any
) -> None:
    dataset = read(repo, "main", columns, where, rows_per_block=1024)
    wanted = expected(repo, "main", fields=columns)
    from simgit.history.where import Predicate

    mask = np.asarray(Predicate(where)(repo.trajectory("main")))
    assert dataset.count() == mask.sum()
    if mask.any():
        assert rows(all_of(dataset).sort_by("step")) == rows(wanted.filter(pa.array(mask)))
    else:
        assert dataset.take_all() == []


def test_what_no_block_can_hold_is_not_decoded(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simgit.history import where as conditions

    read_of: list[int] = []
    original = conditions.Predicate.__call__

    def noted(self: Any, states: Any) -> Any:
        read_of.append(len(states))
        return original(self, states)

    monkeypatch.setattr(conditions.Predicate, "__call__", noted)
    source = _source(read(repo, "main", None, "reward > 4900"))
    found = [table for task in source.get_read_tasks(1) for table in task()]
    assert sum(each.num_rows for each in found) == 99
    assert sum(read_of) < ROWS / 2


def test_several_runs_and_patterns_each_give_all_their_states(repo: Repository) -> None:
    found = all_of(read(repo, ["side", "main@10..main@20"]))
    assert found.num_rows == 3501 + 10
    assert rows(found) == rows(expected(repo, "side", "main@10..main@20"))
    both = read(repo, "*")
    assert both.count() == ROWS + 3501
    assert both.select_columns(["reward"]).sum("reward") == pytest.approx(
        sum(repo.trajectory(each).rewards.sum() for each in ("main", "side"))
    )


def test_of_a_remote_a_clone_is_read_that_is_kept_and_fetched_again(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tmp_path / "remote"
    with Repository.clone(repo.directory.parent, tmp_path / "own") as own:  # type: ignore[union-attr]
        own.add_remote("origin", str(url))
        with own.remote() as remote:
            remote.push(["main"])
        cache = tmp_path / "cache"
        assert rows(all_of(read(url, "main", cache=cache)).sort_by("step")) == rows(
            expected(repo, "main")
        )
        own.commit(np.zeros(4, np.float32), 1, 7.0, run="main")
        with own.remote() as remote:
            remote.push(["main", "side"])
        again = read(url, ["main", "side"], ["reward"], cache=cache)
        assert again.count() == ROWS + 1 + 3501
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        elsewhere = read(url, "main@5", ["reward"])
        assert elsewhere.take_all()[-1]["reward"] == 5.0
        assert list(tmp_path.glob("simgit-read-*"))


def test_what_cannot_be_read_is_refused_with_its_reason(repo: Repository, tmp_path: Path) -> None:
    for given, error, words in (
        ((Repository.init(":memory:"), "main"), InvalidInput, "in memory"),
        ((repo, "nothing"), NotFound, "nothing"),
        ((repo, []), InvalidInput, "no revisions"),
        ((repo, "main", ["rewrd"]), NotFound, "rewrd"),
        ((repo, "main", None, "reward >"), InvalidInput, "ends after"),
        ((repo, "main", None, None, 0), InvalidInput, "rows_per_block"),
        ((tmp_path / "no", "main"), NotFound, "no"),
    ):
        with pytest.raises(error, match=words):
            read(*given)


def test_it_says_so_where_no_cpu_is_free(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    class Holder:
        def ready(self) -> bool:
            return True

    monkeypatch.setattr(cluster, "WAIT_SECONDS", 2.0)
    holders = [ray.remote(num_cpus=1)(Holder).remote() for _ in range(2)]
    try:
        ray.get([each.ready.remote() for each in holders])
        with pytest.raises(ClusterError, match="no free CPU for 2 s"):
            read(repo, "main")
    finally:
        for each in holders:
            ray.kill(each)


def test_federated_rounds_run_on_the_cluster_as_in_one_process(tmp_path: Path) -> None:
    executors = pytest.importorskip("simgit.integrations.ray.executor")
    from simgit.training import Config
    from simgit.training.federated import train_federated

    config = Config("greedy", seed=3, checkpoint=1, trials=0)
    given: dict[str, Any] = {
        "environment": "simgit/SimKube-v0", "arguments": {"trace": "cpu-slight", "target": 3},
    }  # fmt: skip
    with executors.RayExecutor() as executor:
        there = train_federated(
            config, 2, 2, 1, remote=tmp_path / "there", executor=executor, **given
        )
    here = train_federated(config, 2, 2, 1, remote=tmp_path / "here", **given)
    assert there == here and [each.what for each in here] == ["merged", "merged"]
