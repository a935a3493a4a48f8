"""Parameters that are stored, or that say how much is kept, are checked where they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from simgit import InvalidInput, Repository

NO_NUMBERS = (-1, -0.5, float("nan"), "1", True, [1], {}, 1j, np.array([1.0, 2.0]))
NO_COUNTS = (*NO_NUMBERS, 0.5, float("inf"))

Call = Callable[[Repository, Any], Any]

NUMBERS: list[Call] = [
    lambda repo, v: repo.gc(grace=v),
    lambda repo, v: repo.gc(expire=v),
    lambda repo, v: repo.gc_preview(grace=v),
    lambda repo, v: list(repo.unreachable(grace=v)),
    lambda repo, v: repo.set_setting("gc.grace", v),
    lambda repo, v: repo.recorder("new", flush_seconds=v),
]
COUNTS: list[Call] = [
    lambda repo, v: repo.recorder("new", flush_every=v),
    lambda repo, v: repo.recorder("new", flush_bytes=v),
    lambda repo, v: repo.set_setting("oplog.keep", v),
    lambda repo, v: repo["main"].windows(v),
    lambda repo, v: repo["main"].windows(1, v),
    lambda repo, v: list(repo.log(limit=v)),
    lambda repo, v: repo.outline(limit=v),
    lambda repo, v: repo.operations(v),
]


@pytest.fixture
def repo() -> Repository:
    repo = Repository.init(":memory:")
    repo.commit(np.zeros(2), reset={"seed": 1}, info={"x": 1})
    repo.commit(np.zeros(2), 1, 1.0, False, False)
    return repo


@pytest.mark.parametrize("call", NUMBERS)
def test_a_number_of_the_wrong_type_or_range_is_refused(repo: Repository, call: Call) -> None:
    for value in NO_NUMBERS:
        with pytest.raises(InvalidInput):
            call(repo, value)
    assert list(repo.runs) == ["main"]


@pytest.mark.parametrize("call", COUNTS)
def test_a_count_of_the_wrong_type_or_range_is_refused(repo: Repository, call: Call) -> None:
    for value in NO_COUNTS:
        with pytest.raises(InvalidInput):
            call(repo, value)
    assert list(repo.runs) == ["main"]


def test_periods_beyond_any_calendar_are_refused(repo: Repository) -> None:
    for days in (1e300, float("inf"), 1 << 80):
        with pytest.raises(InvalidInput, match=r"at most|must fit"):
            repo.gc(grace=days)
    repo.gc(grace=36_500, expire=np.float32(0.5))


@pytest.mark.parametrize("seed", ["x", "7", 0.5, True, [1, "x"], {"seed": 1}, b"1", np.zeros(2)])
def test_a_seed_is_an_integer(repo: Repository, seed: Any) -> None:
    for call in (
        lambda: repo.commit(np.zeros(2), reset={"seed": seed}),
        lambda: repo.branch("b", seed=seed),
        lambda: repo.recorder("r", seed=seed),
    ):
        with pytest.raises(InvalidInput, match="seed must be an integer"):
            call()
    assert list(repo.runs) == ["main"]


def test_seeds_that_generators_take_are_stored(repo: Repository) -> None:
    for seed in (0, -1, 1 << 100, np.int64(5)):
        repo.commit(np.zeros(2), reset={"seed": seed, "options": None})
        assert repo.state().reset == {"seed": seed}
    for options in ("x", 5, [1]):
        with pytest.raises(InvalidInput, match=r"reset\.options must be a dict"):
            repo.commit(np.zeros(2), reset={"options": options})


@pytest.mark.parametrize(
    "config",
    [{"a.b": 1, "a": 2}, {"a": 2, "a.b": 1}, {"a.b": 1, "a": {"b": 2}}, {"a": {"b": 2}, "a.b": 1},
     {"a.b.c": 1, "a.b": 2}, {"a": {"b": {}}, "a.b": 5}, {1: 2}, {"": 1}, {"a..b": 1}, "lr", [1], 5],
)  # fmt: skip
def test_a_setting_is_given_once(repo: Repository, config: Any) -> None:
    for call in (
        lambda: repo.recorder("new", config=config),
        lambda: repo.branch("new", overrides=config),
        lambda: repo.configure("main", config),
    ):
        with pytest.raises(InvalidInput):
            call()
    assert list(repo.runs) == ["main"] and repo.config("main") == {}


def test_dotted_settings_and_maps_are_joined(repo: Repository) -> None:
    repo.configure("main", {"a.b": 1, "a": {"c": {"d": 2}}, "a.c.e": 3})
    assert repo.config("main") == {"a": {"b": 1, "c": {"d": 2, "e": 3}}}


def test_the_texts_of_a_tag_are_texts(repo: Repository) -> None:
    for more in ({"message": 5}, {"message": b"x"}, {"message": "m", "tagger": 5}):
        with pytest.raises(InvalidInput, match="must be a"):
            repo.tag("v1", **more)  # type: ignore[arg-type]
    assert repo.tags() == {}


@pytest.mark.parametrize("content", [{}, [], None, 5, {"y": b"1"}, np.zeros(2)], ids=repr)
def test_a_file_of_a_commit_is_a_path_or_bytes(repo: Repository, content: Any) -> None:
    before = repo.resolve("main")
    with pytest.raises(InvalidInput, match="must be a path or bytes"):
        repo.commit(1, files={"x": content})
    assert repo.resolve("main") == before
