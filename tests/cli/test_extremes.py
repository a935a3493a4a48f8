"""Values nested without end and integers without end: refused, or stored and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from simgit import InvalidInput, Repository
from simgit.kube.trace.json_form import trace_from_data, trace_from_json
from tests.cli.conftest import Call

LONG: Final = 1 << 20_000
"""An integer of more digits than Python writes."""


def nested(depth: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if kind is dict else kind([value])
    return value


WRITES: dict[str, Callable[[Repository, Any], object]] = {
    "observation": lambda repo, value: repo.commit(value),
    "action": lambda repo, value: repo.commit(1, value),
    "info": lambda repo, value: repo.commit(1, info={"x": value}),
    "reset": lambda repo, value: repo.commit(1, reset={"options": {"x": value}}),
    "setting": lambda repo, value: repo.configure("main", {"x": value}),
    "settings": lambda repo, value: repo.configure("main", {"x": {"y": [value]}}),
    "metadata": lambda repo, value: repo.configure("main", metadata={"x": value}),
    "branch": lambda repo, value: repo.branch("b", "main", overrides={"x": value}),
    "seed": lambda repo, value: repo.branch("b", "main", seed=value),
    "attachment": lambda repo, value: repo.attach("main", "x", value),
    "recorder": lambda repo, value: repo.recorder("r", config={"x": value}),
    "spec": lambda repo, value: repo.recorder("r", spec={"x": value}),
}


@pytest.mark.parametrize("kind", [dict, list, tuple])
@pytest.mark.parametrize("depth", [70, 500, 50_000])
@pytest.mark.parametrize("write", WRITES)
def test_what_is_nested_too_deep_is_refused(write: str, depth: int, kind: type) -> None:
    repo = Repository.init(":memory:")
    repo.commit(0)
    try:
        WRITES[write](repo, nested(depth, kind))
    except InvalidInput:
        return
    assert (write == "attachment" and depth == 70) or write in ("observation", "action", "info"), (
        write
    )


@pytest.mark.parametrize("count", [60, 1000, 100_000])
def test_a_setting_with_a_long_path_is_refused(count: int) -> None:
    repo = Repository.init(":memory:")
    repo.commit(0)
    with pytest.raises(InvalidInput, match="nested deeper"):
        repo.configure("main", {".".join("a" * count): 1})
    repo.configure("main", {".".join("a" * 50): 1})
    assert repo.fsck().is_clean


@pytest.mark.parametrize("depth", [101, 500, 50_000])
def test_a_trace_nested_too_deep_is_refused(depth: int) -> None:
    with pytest.raises(InvalidInput, match="nested"):
        trace_from_data({"version": 2, "x": nested(depth, dict)})
    with pytest.raises(InvalidInput, match="nested"):
        trace_from_json('{"a":' * depth + "1" + "}" * depth)


@pytest.mark.parametrize(
    "value", ["[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000, "1" * 5000]
)
def test_the_command_line_refuses_such_values(
    value: str,
    run: Call,
    directory: Path,
) -> None:
    run("init")
    run("commit", "-o", "1")
    (directory / "x.json").write_text(value)
    for words in (
        ["commit", "-o", value], ["commit", "-o", "1", "-a", value], ["config", "main", f"a={value}"],
        ["commit", "-o", "1", "--info", f'{{"a": {value}}}'], ["attach", "main", "x", "@x.json"],
        ["commit", "-o", "@x.json"], ["record", "CartPole-v1", "--env-set", f"a={value}"],
        ["trace", "show", "x.json"],
    ):  # fmt: skip
        found = run(*words, code=None)
        assert found.code in (2, 128) and "internal error" not in found.err, (words[:2], found.err)
        assert len(found.err.splitlines()[0]) < 400 or words[0] == "commit"


def test_integers_of_any_size_are_stored_and_shown(
    run: Call,
    directory: Path,
) -> None:
    with Repository.init(directory) as repo:
        repo.commit(LONG, info={"x": LONG, "y": [-LONG, (LONG,)]}, run="main")
        repo.commit(1, LONG, info={"map": {"z": LONG}}, run="main")
        repo.configure("main", {"x": LONG, "y": {"z": [LONG]}})
        repo.attach("main", "x", {"a": LONG, "b": [LONG]})
        assert repo.state("main~1").observation == LONG
        assert repo.config("main")["x"] == LONG
        for thing in (repo.state("main"), repo.state("main~1"), repo.trajectory("main")):
            assert repr(thing) and thing._repr_html_()
        assert "20001 bits" in repo.runs["main"]._repr_html_()
    for words in (
        ["log"], ["log", "--oneline"], ["log", "--graph"], ["show"], ["show", "main~1"],
        ["diff", "main~1", "main"], ["config", "main"], ["run", "show", "main"], ["fsck"],
        ["attachments", "main", "x", "-p"], ["cat-file", "-p", "main"], ["stats"], ["tree"],
        ["log", "--where", "observation > 3"],
    ):  # fmt: skip
        assert run(*words, code=None).code in (0, 1), words
    assert "<integer of 20001 bits>" in run("show", "main~1").out
    for words in (["log"], ["show"], ["show", "main~1"], ["config", "main"], ["run", "show", "main"],
                  ["attachments", "main", "x"], ["diff", "main~1", "main"]):  # fmt: skip
        for line in run(*words, "--json").out.splitlines():
            json.loads(line)
    assert hex(LONG) in run("show", "main~1", "--json").out
