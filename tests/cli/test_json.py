"""What commands print with --json: valid by the shipped schema, without loss, errors included.

Every call of the other tests with ``--json`` is checked against the schema too (see ``conftest``).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.objects.json_form import parse_json
from tests.cli.conftest import Call
from tests.support.json_schema import commands, schema

CALLS: tuple[tuple[str, ...], ...] = (
    ("init", "other"),
    ("commit", "-o", "[1, 2]", "-a", "1", "-r", "0.5", "-m", "note", "--file", "note.txt"),
    ("record", "CartPole-v1", "--run", "pole", "--steps", "30", "--seed", "1"),
    ("verify", "pole"), ("video", "pole", "-o", "x.gif"), ("status",), ("log", "pole", "-n", "3"),
    ("log", "--episodes", "pole"), ("show", "pole"), ("show", "--run", "pole"),
    ("tag", "v1", "pole@3", "-m", "good"), ("tag",), ("show", "tags/v1"), ("diff", "pole~1", "pole"),
    ("branch", "b", "pole@9"), ("branch",), ("branch", "-m", "b", "c"), ("diff", "pole", "c"),
    ("diff", "--config", "pole", "c"), ("bisect", "pole", "c"), ("merge-base", "pole", "c"),
    ("rev-parse", "pole~1..pole"), ("children", "pole@9"), ("leaves",), ("lineage", "c"), ("tree",),
    ("plot", "pole"), ("plot", "pole", "-o", "p.png"), ("reflog", "c"), ("checkout", "c"),
    ("config", "c", "agent.lr=0.5"), ("config", "c"), ("config", "--repository"),
    ("run", "list"), ("run", "best", "--by", "states"), ("run", "show", "c"),
    ("sql", "select name, created, config, seed from runs"), ("sql", "select 1 as a", "-o", "a.csv"),
    ("sql", "--save", "q", "select 1"), ("sql", "-l"), ("sql", "-d", "q"), ("run", "set", "c", "lr=1"), ("run", "pause", "c"),
    ("run", "fail", "c"), ("run", "reopen", "c"), ("run", "complete", "c"), ("run", "reopen", "c"),
    ("attach", "pole", "note", "data.txt"), ("attach", "pole", "w", "@w.npy"),
    ("attachments", "pole"), ("attachments", "pole", "w"), ("attachments", "pole", "note", "-d"),
    ("provenance", "pole"), ("reset", "pole@8", "--run", "c"),
    ("undo",), ("redo",), ("op", "log"), ("op", "show", "@"), ("op", "restore", "2"), ("undo",),
    ("cat-file", "pole"), ("ls-tree", "main"), ("checkout", "main"), ("branch", "-D", "c"), ("gc",), ("gc", "-n"),
    ("stats",), ("fsck",), ("bundle", "create", "b.bundle", "pole"), ("bundle", "list", "b.bundle"),
    ("bundle", "verify", "b.bundle"), ("import", "b.bundle"),
    ("export", "jsonl", "b.jsonl", "pole"), ("import", "b.jsonl"), ("import", "b.jsonl", "-n"),
    ("clone", ".", "copy"), ("remote", "add", "origin", "shared"), ("remote", "list"),
    ("push", "origin", "pole"), ("push", "-n"), ("fetch",), ("pull", "origin", "pole"),
    ("remote", "show", "origin"), ("fsck", "--remote", "origin"), ("gc", "--remote", "origin"), ("remote", "prune", "origin"), ("clone", "shared", "copy2"),
    ("remote", "rm", "origin"), ("job", "status", "--remote", "shared", "--prefix", "pole"),
    ("job", "missing", "--remote", "shared", "--completions", "3"),
    ("job", "render", "--kind", "slurm", "--completions", "3", "--remote", "shared", "--", "true"),
    ("trust",), ("doctor", "CartPole-v1", "--steps", "20", "--points", "1"),
    ("what-if", "pole@5", "--action", "0,1", "--horizon", "3", "--rollouts", "1", "--workers", "1"),
    ("trace", "generate", "cpu-slight", "-o", "t.sktrace"), ("trace", "show", "t.sktrace"),
    ("trace", "validate", "t.sktrace"), ("trace", "convert", "t.sktrace", "t.json"),
    ("trace", "diff", "t.sktrace", "t.json"), ("trace", "plot", "t.sktrace"),
    ("step", "--trace", "cpu-slight", "--agent", "heuristic"),
    ("train", "--trace", "cpu-slight", "--agent", "greedy", "--episodes", "2", "--run", "t1"),
    ("train", "--trace", "cpu-slight", "--agent", "greedy", "--episodes", "2", "--run", "t2", "--seed", "3"),
    ("merge", "--average", "t1", "t2", "--run", "mean"), ("evaluate", "t1", "--episodes", "1"),
    ("kube", "pods", "t1"), ("kube", "nodes", "t1"), ("kube", "events", "t1"),
    ("kube", "trace", "t1"), ("kube", "compare", "t1"), ("completion", "bash"),
    ("sim", "types"), ("sim", "list"), ("sim", "work", "--until-empty"), ("sim", "clear"),
)  # fmt: skip
ELSEWHERE = {
    "play", "serve", "purge", "restore", "trace edit", "trace filter", "kube preflight", "kube allow",
    "kube cleanup", "kube nodes create", "kube nodes delete", "sim start", "sim show", "sim watch",
    "sim stop", "sim kill", "sim pause", "sim resume", "sim freeze", "sim set", "sim query",
    "sim answer", "sim restart", "sim fork", "worker run",
}  # fmt: skip
"""Commands that other tests call with --json, and ``play``, which needs a person."""


@pytest.mark.slow
def test_every_command_prints_what_the_schema_says(repo: Call, directory: Path) -> None:
    for name in ("note.txt", "data.txt"):
        (directory / name).write_text("note")
    np.save(directory / "w.npy", np.arange(3.0))
    seen = set()
    for call in CALLS:
        found = repo(*call, "--json", code=None)
        assert found.code in (0, 1), (call, found.err)
        words = " ".join(call)
        seen |= {name for name in commands() if f"{words} ".startswith(f"{name} ")}
    assert set(commands()) - seen == ELSEWHERE


def test_the_schema_has_every_command_and_no_other() -> None:
    assert set(schema()["$defs"]["commands"]["properties"]) == set(commands())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


# --- values -------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "text": "NaN", "nan": math.nan, "inf": -math.inf, "big": 1 << 53, "bytes": b"\0\xff",
    "tuple": (1, [2]), "keys": {1: "one", "1": "text"}, "mark": {"$float": "nan"},
    "array": np.float32([0.5, math.nan]), "scalar": np.int8(3), "complex": 1j, "time": np.datetime64(1, "ns"),
}  # fmt: skip


def test_values_are_told_apart_and_come_back_exactly(run: Call, directory: Path) -> None:
    with Repository.init(directory) as repo:
        repo.commit(np.zeros(2, np.float32), np.int64(1), info=VALUES)
        repo.attach("main", "data", VALUES)
        repo.configure("main", {"nan": math.nan, "big": 1 << 60})
        oid = repo.resolve("main")
    shown = run("show", "--json").json
    for given in (shown["info"], run("attachments", "main", "data", "--json").json["data"]):
        assert given["text"] == "NaN" and given["nan"] == {"$float": "nan"}
        assert given["big"] == {"$int": "9007199254740992"} and given["bytes"] == {"$bytes": "AP8="}
    assert shown["action"] == {"$array": 1, "dtype": "<i8"}
    assert run("log", "--json").json["action"] == 1  # a log line has Python's numbers
    assert run("config", "--json").json == {"nan": {"$float": "nan"}, "big": {"$int": str(1 << 60)}}
    # the state can be recorded again from what was printed: it has the same oid
    record = {name: shown[name] for name in ("observation", "action", "info")}
    with Repository.init(directory / "other") as other:
        back = {name: parse_json(json.dumps(value)) for name, value in record.items()}
        assert other.commit(**back) == oid
    found = run(
        "-C", "other", "commit", "--stdin", "--run", "two", stdin=json.dumps(record).encode()
    )
    assert found.code == 0 and run("-C", "other", "rev-parse", "two").out.strip() == oid.hex()


@pytest.mark.parametrize("text", ["1e999", "-1e999"])
def test_a_number_that_no_float_holds_is_refused(repo: Call, text: str) -> None:
    assert "out of range" in repo("commit", "-r", text, code=None).err
    line = f'{{"reward": {text}}}'.encode()
    assert "line 1: number '" in repo("commit", "--stdin", stdin=line, code=128).err
    assert "out of range" in repo("config", "main", f"lr={text}", code=128).err
    assert "stands twice" in repo("commit", "--info", '{"a": 1, "a": 2}', code=2).err
    assert len(repo("log", "--oneline").lines) == 3


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "code", "type_"),
    [
        (("show", "gone"), 128, "NotFound"),
        (("log", "main..", "--limit", "-1"), 2, "UsageError"),
        (("show", "--nothing"), 2, "UsageError"),
        (("nothing",), 2, "UsageError"),
        (("run", "nothing"), 2, "UsageError"),
        (("attach", "main", "a", "gone.txt"), 128, "NotFound"),
        (("commit", "-r", '"x"'), 128, "InvalidInput"),
        (("bundle", "list", "gone.bundle"), 128, "NotFound"),
    ],
)
def test_an_error_is_json_on_stderr(
    repo: Call, call: tuple[str, ...], code: int, type_: str
) -> None:
    found = repo(*call, "--json", code=code)
    assert found.out == ""
    error = json.loads(found.err)["error"]
    assert error["type"] == type_ and error["exit"] == code and error["message"]
    assert error["message"] in repo(*call, code=code).err


def test_an_error_has_the_data_of_its_type(repo: Call) -> None:
    repo("tag", "v1")
    error = json.loads(repo("show", "mian", "--json", code=128).err)["error"]
    assert error["data"]["revision"] == "mian"


def test_a_warning_is_json_on_stderr(repo: Call) -> None:
    found = repo("log", "--where", "info.livse > 1", "--json")
    assert "info.livse" in json.loads(found.err)["warning"]["message"]


def test_after_two_dashes_json_is_a_word(repo: Call) -> None:
    assert repo("show", "--", "--json", code=128).err.startswith("fatal: ")
