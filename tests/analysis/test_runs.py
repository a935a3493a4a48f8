"""Runs as curves and as a tree: joined where they branch, grouped by what differs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from simgit import InvalidInput, Repository
from simgit.analysis import by_seed, curves, draw_tree, learning_curves, tree
from simgit.plot import Band, Curve


def record(repo: Repository, run: str, lengths: list[int], seed: int = 0, **config: object) -> None:
    """Record episodes of these lengths with a reward of 1 a step, or 2 in branches."""
    reward = 1.0 if run == "main" else 2.0
    with repo.recorder(run, config=config or None, seed=seed) as recorder:
        for length in lengths:
            recorder.append(0.0, reset={"seed": seed})
            for i in range(length):
                recorder.append(0.0, 1, reward, i == length - 1, False)


@pytest.fixture
def repo() -> Iterator[Repository]:
    with Repository.init(":memory:") as repo:
        record(repo, "main", [1, 2, 3, 4])
        repo.branch("try", "main@4")
        record(repo, "try", [5, 6])
        yield repo


def test_a_curve_has_a_point_for_each_episode(repo: Repository) -> None:
    (main,) = curves(repo)
    assert (main.label, main.x.tolist(), main.y.tolist()) == ("main", [1, 2, 3, 4], [1, 2, 3, 4])
    (by_step,) = curves(repo, ["main"], "lengths", x="steps")
    assert by_step.x.tolist() == [1, 4, 8, 13] and by_step.y.tolist() == [1, 2, 3, 4]


def test_a_branch_goes_on_where_its_parent_was(repo: Repository) -> None:
    main, branch = curves(repo, ["main", "try"], x="steps")
    assert branch.x.tolist() == [1, 4, 10, 17] and branch.y.tolist() == [1, 2, 10, 12]
    assert (branch.fork, branch.parent, main.fork) == (4, "main", None)
    assert curves(repo, ["try", "main"])[0].fork == 2
    assert curves(repo, ["try"])[0].parent is None


def test_a_branch_of_a_branch_that_is_not_drawn_leaves_the_one_that_is(repo: Repository) -> None:
    repo.branch("late", "try@10")
    record(repo, "late", [1])
    _, late = curves(repo, ["main", "late"], x="steps")
    assert (late.fork, late.parent) == (4, "main")
    _, late = curves(repo, ["try", "late"], x="steps")
    assert (late.fork, late.parent) == (10, "try")


def test_episodes_that_did_not_end_are_left_out(repo: Repository) -> None:
    with repo.recorder("main") as recorder:
        recorder.append(0.0, reset={"seed": 1})
        recorder.append(0.0, reset={"seed": 2})
        recorder.append(0.0, 1, 1.0, False, False)
    assert curves(repo)[0].x.tolist() == [1, 2, 3, 4]
    record(repo, "main", [2])
    assert curves(repo)[0].x.tolist() == [1, 2, 3, 4, 7]


def test_where_no_end_is_recorded_a_reset_ends_an_episode(repo: Repository) -> None:
    with repo.recorder("plain") as recorder:
        for _ in range(3):
            recorder.append(0.0, reset={"seed": 1})
            recorder.append(0.0, 1, 1.0)
    assert curves(repo, ["plain"])[0].x.tolist() == [1, 2]
    assert curves(repo, ["plain@1"])[0].y.tolist() == [1]


def test_runs_that_differ_in_their_seeds_only_become_a_band(repo: Repository) -> None:
    for lr in (0.1, 0.2):
        for seed in (1, 2, 3):
            record(repo, f"lr{lr}/seed-{seed}", [seed, 2 * seed], seed, lr=lr, agent={"seed": seed})
    names = [name for name in repo.runs if name.startswith("lr")]
    one, two = by_seed(repo, curves(repo, names))
    assert isinstance(one, Band) and isinstance(two, Band)
    assert (one.label, two.label, one.count) == ("lr0.1", "lr0.2", 3)
    assert one.mean.tolist() == [4, 8]
    (alone,) = by_seed(repo, curves(repo, ["main"]), 2)
    assert isinstance(alone, Curve) and alone.y.tolist() == [1, 1.5, 2.5, 3.5]


def test_a_picture_of_returns_and_lengths(repo: Repository) -> None:
    drawing = learning_curves(repo, ["main", "try"], ["returns", "lengths"], x="steps")
    top, bottom = drawing.figure.axes
    assert top.get_title(loc="left") == "Return and Length of episodes"
    (alone,) = learning_curves(repo, ["main"]).figure.axes
    assert alone.get_title(loc="left") == "main: return of episodes"
    assert (top.get_ylabel(), bottom.get_ylabel(), bottom.get_xlabel()) == (
        "return",
        "length (steps)",
        "step",
    )
    assert len([line for line in top.lines if line.get_marker() == "D"]) == 1


def test_the_tree_has_each_run_below_the_one_that_it_left(repo: Repository) -> None:
    repo.branch("early", "main@1")
    repo.branch("late", "try@10")
    record(repo, "alone", [1])
    found = [(node.info.name, node.depth, node.start, node.last) for node in tree(repo)]
    assert found == [
        ("alone", 0, 0, ()), ("main", 0, 0, ()), ("early", 1, 1, (False,)), ("try", 1, 4, (True,)),
        ("late", 2, 10, (True, True)),
    ]  # fmt: skip
    drawing = draw_tree(repo)
    assert " try  return 25" in [text.get_text() for text in drawing.figure.axes[0].texts]


def test_a_run_branched_by_oid_is_below_the_run_whose_state_it_is(repo: Repository) -> None:
    for name, state in (("a", "main@3"), ("b", "try@10"), ("c", "main@4"), ("d", "main@0")):
        repo.branch(name, repo.resolve(state))
    record(repo, "a", [1])
    parents = {node.info.name: (node.parent, node.start) for node in tree(repo)}
    assert parents == {
        "main": (None, 0), "try": ("main", 4), "a": ("main", 3), "b": ("try", 10),
        "c": ("main", 4), "d": ("main", 0),
    }  # fmt: skip


def test_a_run_whose_parent_is_gone_is_a_root(repo: Repository) -> None:
    repo.checkout("try")
    repo.delete_run("main")
    assert [(node.info.name, node.depth, node.start) for node in tree(repo)] == [("try", 0, 4)]
    assert len(curves(repo, ["try"])[0].x) == 4


def test_an_empty_repository_has_no_picture() -> None:
    with Repository.init(":memory:") as repo, pytest.raises(InvalidInput, match="no runs to draw"):
        draw_tree(repo)


def test_a_trajectory_draws_itself(repo: Repository) -> None:
    top, bottom = repo["main"].plot(window=2).figure.axes
    assert top.lines[1].get_ydata().tolist() == [1, 1.5, 2.5, 3.5]
    assert bottom.get_ylabel() == "length (steps)\nmean of 2"
    (axes,) = repo["main@ep4"].plot().figure.axes
    assert axes.get_ylabel() == "reward" and len(axes.lines[0].get_xdata()) == 5
    (axes,) = repo["main"].plot("observation").figure.axes
    assert np.array_equal(axes.lines[0].get_xdata(), repo["main"].steps)
