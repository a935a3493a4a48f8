"""Settings are of the kind of their type's default: at the start, in between, at a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simgit import Repository
from simgit.errors import InvalidInput
from simgit.live import Tracker
from simgit.live.forms import check_settings, checked_answer, form
from simgit.live.inputs import SET, Input, keep_input
from simgit.live.registry import SimulationType

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


def test_what_a_type_declares_as_nullable_may_be_none_too() -> None:
    kind = SimulationType("a", print, DEFAULTS, nullable=("push", "agent.lr", "agent"))
    kind.check({"push": None, "agent.lr": None})
    kind.check({"agent": None})
    for path in ("steps", "agent.name"):
        with pytest.raises(InvalidInput, match=f"setting '{path}' must be a .*, got None"):
            kind.check({path: None})
    with pytest.raises(InvalidInput, match="setting 'push' must be a number, got 'x'"):
        kind.check({"push": "x"})
    shown = kind.form["properties"]
    assert shown["push"] == {"type": ["number", "null"], "default": 0.0}
    assert shown["steps"] == {"type": "number", "default": 10}
    assert shown["agent"]["type"] == ["object", "null"]
    assert shown["agent"]["properties"]["lr"] == {"type": ["number", "null"], "default": 0.1}
    assert shown["agent"]["properties"]["name"]["type"] == "string"


@pytest.mark.parametrize(
    "wanted", [{"type": ["number", "null"]}, {"type": "number", "nullable": True}]
)
def test_an_answer_may_be_null_where_its_schema_says_so(wanted: dict[str, Any]) -> None:
    schema = form({"properties": {"torque": wanted, "plain": {"type": "number"}}})
    for value in (None, 2, 0.5):
        assert checked_answer(schema, {"torque": value}) == {"torque": value}
    for field, value, said in (
        ("torque", "x", "must be a number or null, got 'x'"),
        ("torque", float("nan"), "must be a number or null, got nan"),
        ("plain", None, "must be a number, got None"),
    ):
        with pytest.raises(InvalidInput) as error:
            checked_answer(schema, {field: value})
        assert str(error.value) == f"field '{field}' {said}"


def test_a_restart_refuses_what_the_type_does_not_take_any_more(tmp_path: Path) -> None:
    said = "setting 'scale' must be a number, got 'wide'"
    kind = "tests.live.simulations:swing"
    with Repository.init(tmp_path) as repo, Tracker(repo, workers=0) as tracker:
        tracker.queue(kind, "a").stop()
        repo.configure("a", {"scale": "wide"})  # by an earlier version of the type, for instance
        with pytest.raises(InvalidInput) as error:
            tracker.restart("a", queue=True)
        assert str(error.value) == said
        assert tracker["a"].phase == "ended"
        repo.configure("a", {"scale": 2.0})
        assert tracker.restart("a", queue=True).stop() == "stopped"
        keep_input(repo, "a", Input(0, SET, {"overrides": {"scale": "wide"}}))  # while it ran
        with pytest.raises(InvalidInput, match=said):
            tracker.restart("a", queue=True)
