"""Settings are of the kind of their type's default, at the start and while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from simgit.errors import InvalidInput
from simgit.live.forms import check_settings

DEFAULTS = {
    "steps": 10, "push": 0.0, "name": "a", "fast": False, "every": None, "list": [1],
    "agent": {"name": "dqn", "lr": 0.1},
}  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        {"steps": 3}, {"steps": 2.5}, {"push": 1}, {"push": float("inf")}, {"name": ""},
        {"fast": True}, {"every": 1}, {"every": "x"}, {"every": None}, {"list": "x"},
        {"other": "x"}, {"agent": {"lr": 1, "more": "x"}}, {"agent": {}}, {"policy": 3},
    ],
)  # fmt: skip
def test_what_is_of_the_kind_or_free_passes(given: dict[str, Any]) -> None:
    check_settings({**DEFAULTS, "policy": "random"}, given, ("policy",))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"push": "x"}, "setting 'push' must be a number, got 'x'"),
        ({"push": None}, "setting 'push' must be a number, got None"),
        ({"steps": True}, "setting 'steps' must be a number, got True"),
        ({"fast": 1}, "setting 'fast' must be a truth value, got 1"),
        ({"name": 1}, "setting 'name' must be a text, got 1"),
        ({"agent": "dqn"}, "setting 'agent' must be a map, got 'dqn'"),
        ({"agent": {"lr": "x"}}, "setting 'agent.lr' must be a number, got 'x'"),
    ],
)
def test_what_is_not_is_refused_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        check_settings(DEFAULTS, given)
    assert str(error.value) == said
