"""Series: appended in stretches, a branch begins with its parent's, nothing malformed is read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import IntegrityError, InvalidInput, NotFound, Repository
from simgit.datasets.series import Series


@pytest.fixture
def repo() -> Repository:
    made = Repository.init(":memory:")
    for step in range(10):
        made.commit(observation=step)
        if step in (3, 6, 9):
            made.add_series("main", {"loss": ([10 * step, 10 * step + 5], [step / 2, step / 4])})
    return made


def points(series: Series) -> list[tuple[int, float]]:
    return list(zip(series.step.tolist(), series.value.tolist(), strict=True))


def test_stretches_are_joined_in_order(repo: Repository) -> None:
    found = repo.series("main", "loss")
    assert points(found) == [(30, 1.5), (35, 0.75), (60, 3.0), (65, 1.5), (90, 4.5), (95, 2.25)]
    assert [a.dtype for a in found] == [np.int64, np.float64, np.float64]
    assert points(repo.series("main@6", "loss")) == points(found)[:4]
    assert repo.series("main@2") == {}
    assert set(repo.series()) == {"loss"}


def test_more_points_at_the_same_state(repo: Repository) -> None:
    oid = repo.resolve("main")
    repo.add_series("main", {"loss": (1, np.float32(0.1)), "rate": ([1], [2.0], [50.0])})
    assert points(repo.series("main", "loss"))[-1] == (1, float(np.float32(0.1)))
    assert repo.series("main", "rate").time.tolist() == [50.0]
    assert repo.resolve("main") == oid
    assert len(repo.history_attachments("main", "series")) == 3


def test_a_branch_begins_with_the_points_of_its_parent(repo: Repository) -> None:
    repo.branch("other", "main@7")
    repo.commit(observation=1, run="other")
    repo.add_series("other", {"loss": ([8], [0.0])})
    before = points(repo.series("main@7", "loss"))
    assert points(repo.series("other", "loss")) == [*before, (8, 0.0)]
    found = repo.sql("select run, step, value, own from series where tag = 'loss'").fetchall()
    for run in ("main", "other"):
        expected = points(repo.series(run, "loss"))
        assert [(step, value) for name, step, value, _ in found if name == run] == expected
    assert [own for name, *_, own in found if name == "other"] == [False] * 4 + [True]


def test_values_come_back_exactly(seed: int) -> None:
    draw = random.Random(seed)
    repo = Repository.init(":memory:")
    kept: dict[str, list[Any]] = {}
    for number in range(20):
        repo.commit(observation=number)
        for tag in draw.sample(["a", "b/c", "é", "x y"], draw.randrange(3)):
            dtype = np.float32 if tag < "b" else np.float64
            values = np.array(
                [
                    draw.choice([draw.random(), np.nan, np.inf, -0.0])
                    for _ in range(draw.randrange(4))
                ],
                dtype,
            )
            steps = [draw.randrange(-(2**63), 2**63) for _ in values]
            repo.add_series("main", {tag: (steps, values, [draw.random() for _ in values])})
            kept.setdefault(tag, []).append((steps, values))
    found = repo.series("main")
    assert set(found) == set(kept)
    for tag, parts in kept.items():
        assert found[tag].step.tolist() == [step for steps, _ in parts for step in steps]
        values = np.concatenate([values for _, values in parts])
        assert found[tag].value.dtype == values.dtype
        assert found[tag].value.tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "given",
    [
        None, 3, "text", [1], ([1, 2], [1.0]), ([1.5], [1.0]), ([1], ["x"]), ([[1]], [[1.0]]),
        ([1], [1.0], [1.0, 2.0]), ([1], [None]), ([2**64], [1.0]), ([1], [1j]), (1, 2, 3, 4),
        ([1], [1.0], ["now"]), ([2**63], [0.0]), ({}, {}),
    ],
)  # fmt: skip
def test_malformed_points_are_refused(repo: Repository, given: Any) -> None:
    before = points(repo.series("main", "loss"))
    with pytest.raises(InvalidInput, match="series 'loss'"):
        repo.add_series("main", {"loss": given})
    assert points(repo.series("main", "loss")) == before


@pytest.mark.parametrize("points", [None, {1: (1, 2)}, {"": (1, 2)}, [("a", (1, 2))], "a"])
def test_malformed_tags_are_refused(repo: Repository, points: Any) -> None:
    with pytest.raises(InvalidInput):
        repo.add_series("main", points)


def test_an_unknown_tag_or_run(repo: Repository) -> None:
    with pytest.raises(NotFound, match="'main' has no series 'los'; did you mean 'loss'"):
        repo.series("main", "los")
    with pytest.raises(NotFound, match="it has no series"):
        repo.series("main@1", "loss")
    with pytest.raises(NotFound):
        repo.series("nothing")


@pytest.mark.parametrize(
    "data",
    [
        [1], {"loss": 1}, {"loss": {"step": np.zeros(1, np.int64)}}, {1: {}}, np.zeros(3),
        {"loss": {"step": np.zeros(1, np.int64), "time": np.zeros(2), "value": np.zeros(1)}},
        {"loss": {"step": np.zeros(1), "time": np.zeros(1), "value": np.zeros(1)}},
        {"loss": {"step": [1], "time": [1.0], "value": [1.0]}},
    ],
)  # fmt: skip
def test_an_attachment_of_another_form_is_no_series(repo: Repository, data: Any) -> None:
    repo.commit(observation=1)
    repo.attach("main", "series", data)
    for read in (
        lambda: repo.series("main"), lambda: repo.sql("select * from series").fetchall(),
        lambda: repo.add_series("main", {"loss": (1, 1.0)}),
    ):  # fmt: skip
        with pytest.raises(IntegrityError, match="is not a series"):
            read()


def test_series_travel_with_bundles_and_survive_gc(repo: Repository, tmp_path: Path) -> None:
    repo.create_bundle(tmp_path / "a.bundle", ["main"])
    with Repository.init(tmp_path / "other") as other:
        other.import_bundle(tmp_path / "a.bundle")
        other.gc(grace=0)
        assert points(other.series("main", "loss")) == points(repo.series("main", "loss"))


def test_series_are_plotted_and_joined_at_the_branch_point(repo: Repository) -> None:
    from simgit.analysis import series_curves

    repo.branch("other", "main@7")
    repo.commit(observation=1, run="other")
    repo.add_series("other", {"loss": ([200], [0.0]), "new": (1, 1.0)})
    main, other = series_curves(repo, ["main", "other"], "loss")
    assert (main.label, main.x.tolist(), main.fork) == ("main", [30, 35, 60, 65, 90, 95], None)
    assert other.x.tolist() == [30, 35, 60, 65, 200]
    assert (other.fork, other.parent) == (65.0, "main")
    with pytest.raises(NotFound):
        series_curves(repo, ["main", "other"], "nothing")
    (only,) = series_curves(repo, ["main", "other"], "new")
    assert only.label == "other"
