"""The tutorial, once by commands and once over HTTP: equal oids, and equal answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from simgit import Repository
from simgit.cli.root import cli
from tests.support.web import Client

Step = tuple[tuple[str, ...], str | None, tuple[str, str, Any]]


def falling(i: int) -> dict[str, Any]:
    return {
        "observation": {"height": round(8.5 - 1.7 * i, 1), "speed": -1.7}, "action": 1,
        "reward": -0.3, "terminated": i == 5,
    }  # fmt: skip


def commit(height: float, speed: float, **more: Any) -> Step:
    """One state on the run that is checked out, once as options, once as JSON."""
    observation = {"height": height, "speed": speed}
    words = ["commit", "--observation", json.dumps(observation)]
    for name, value in more.items():
        words += [{"message": "-m", "seed": "--seed"}.get(name, f"--{name}"), str(value)]
    given = {k: v for k, v in more.items() if k != "seed"}
    reset = {"reset": {"seed": more["seed"]}} if "seed" in more else {}
    return (
        tuple(words),
        None,
        ("POST", "states/{run}", {"observation": observation, **given, **reset}),
    )


FALL = "\n".join(json.dumps(falling(i)) for i in range(1, 6))
BEGIN: list[Step] = [
    commit(10.0, 0.0, seed=42, message="released"),
    commit(9.5, -1.0, action=0, reward=-0.1),
    commit(8.5, -1.5, action=1, reward=-0.3),
    (("commit", "--stdin"), FALL, ("POST", "states/main", [falling(i) for i in range(1, 6)])),
    (
        ("branch", "brake", "main@1", "--set", "engine.force=2.0"), None,
        ("POST", "runs", {"name": "brake", "start": "main@1", "overrides": {"engine.force": 2.0}}),
    ),
]  # fmt: skip
AFTER: list[Step] = [
    commit(8.8, -0.7, action=1, reward=-0.3),
    commit(8.4, -0.4, action=1, reward=-0.3),
    (
        ("tag", "touchdown", "main@ep1.7", "-m", "too fast"), None,
        ("PUT", "tags/touchdown", {"at": "main@ep1.7", "message": "too fast"}),
    ),
    (
        ("attach", "tags/touchdown", "report", "../report.txt"), None,
        ("PUT", "attachments/tags/touchdown?name=report", b"broke a leg\n"),
    ),
    (("checkout", "main"), None, ("GET", "head", None)),  # there is no worktree over HTTP
    (("branch", "-d", "brake"), None, ("DELETE", "runs/brake", None)),
    (("undo",), None, ("POST", "undo", None)),
]  # fmt: skip
READ: dict[str, tuple[str, ...]] = {
    "log/main": ("log", "main"), "episodes/main": ("log", "--episodes", "main"),
    "log/main?where=action == 1 and observation.speed > -1": ("log", "main", "--where", "action == 1 and observation.speed > -1"),
    "resolve/main~3": ("rev-parse", "main~3"), "log/main@2..main@5": ("log", "main@2..main@5"),
    "outline": ("log", "--graph", "--simplify", "--all"), "diff?a=main&b=brake": ("diff", "main", "brake"),
    "config/brake": ("config", "brake"), "diff?a=main@2&b=brake@2&kind=states": ("diff", "main@2", "brake@2"),
    "tags": ("tag",), "attachments/tags/touchdown": ("attachments", "tags/touchdown"), "runs": ("run", "list"),
    "reflog/brake": ("reflog", "brake"), "leaves": ("leaves",), "best?by=mean(reward)": ("run", "best", "--by", "mean(reward)"),
}  # fmt: skip
VARYING = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z|sha256:\w+")
OWN = (
    "pid",
    "process",
    "session",
    "created",
    "time",
    "message",
    "total",
    "history",
    "annotation",
    "tagger",
)
"""Members that differ between two processes, or that name the command or the request."""


def same(value: Any) -> Any:
    """Return a document without what differs between two executions of one thing."""
    if isinstance(value, dict):
        return {k: same(v) for k, v in value.items() if k not in OWN}
    if isinstance(value, list):
        return [same(each) for each in value]
    return VARYING.sub("…", value) if isinstance(value, str) else value


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "commands", tmp_path / "http"


@pytest.mark.slow
def test_the_tutorial_by_commands_and_over_http(places: tuple[Path, Path]) -> None:
    runner = CliRunner()

    def command(*words: str, input: str | None = None) -> str:
        done = runner.invoke(cli, ["-C", str(places[0]), *words], input=input)
        assert done.exit_code == 0, (words, done.output)
        return done.stdout

    (places[0].parent / "report.txt").write_bytes(b"broke a leg\n")
    for place in places:
        Repository.init(place).close()
    with Repository.open(places[1]) as repo:
        client = Client(repo)

        def request(method: str, path: str, body: Any, run: str) -> None:
            sent = (
                {"content": body}
                if isinstance(body, bytes)
                else {}
                if body is None
                else {"json": body}
            )
            found = client.request(method, path.format(run=run), **sent)
            assert found.status_code < 300, (path, found.text)

        for words, text, (method, path, body) in BEGIN:
            command(*words, input=text)
            request(method, path, body, "main")
        command("checkout", "brake")
        for words, text, (method, path, body) in AFTER:
            command(*words, input=text)
            request(method, path, body, "brake")

        for path, words in READ.items():
            ours = [json.loads(line) for line in command(*words, "--json").splitlines()]
            theirs = client.json(path)
            assert same(theirs if isinstance(theirs, list) else [theirs]) == same(ours), path
        for run in ("main", "brake"):
            with Repository.open(places[0]) as first:
                there = [each.oid for each in first.trajectory(run)]
            assert there == [each.oid for each in repo.trajectory(run)]
        client.close()
