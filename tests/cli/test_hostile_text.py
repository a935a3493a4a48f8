"""No command lets text of a repository, a trace or an error steer the terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import pytest

from simgit import IntegrityError, Repository, SimgitWarning
from simgit.cli.commands import FLAT
from simgit.cli.root import cli
from simgit.errors import InvalidInput
from simgit.live.records import Records
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.plot import notebook
from simgit.refs.records import pack_ref, unpack_ref
from simgit.refs.simulations import SimulationRecord
from simgit.repository.worktree import names as file_names
from tests.cli.conftest import Call
from tests.support.patience import PATIENCE

EVIL: Final = (
    "x\x1b]52;c;ZXZpbA==\x07\x1b[31m\x9b2J\x85\x7f\x08\r\t\u202egpj\u2066\u2069\u200e\u061c\u200b"
    "\u200d\u2060\ufeff\u2028\u2029\u00ad\u3164\U000e0041\U000e0100y"
)
"""A letter of each kind that a terminal obeys or hides, a newline apart."""
LINES: Final = f"{EVIL}\nfatal: forged {EVIL}"
NAME: Final = "na\x1b]0;t\x07\u202e\x9bme"
"""A name that no run may have, but a stranger's repository can."""
HIDDEN: Final = "\u3164\U000e0100"
OURS: Final = re.compile(r"\x1b\[(?:\d+(?:;\d+)*)?m")


def assert_harmless(text: str, allowed: str = "\n") -> None:
    found = {
        c for c in text if (unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") or c in HIDDEN)
        and c not in allowed
    }  # fmt: skip
    assert not found, (found, text)
    assert "\nfatal: forged" not in text


@pytest.fixture
def hostile(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which every text that a stranger may choose is hostile."""
    with monkeypatch.context() as patched:  # simgit refuses such names, a stranger's program not
        patched.setattr(file_names, "_fault", lambda _: None)
        return _hostile(directory)


def _hostile(directory: Path) -> Path:
    (directory / "a\x1b[31m\u202e.txt").write_text(EVIL)
    (directory / "note.txt").write_bytes(b"\xff" + EVIL.encode())
    config = {LINES: EVIL, "agent": {EVIL: [EVIL, {EVIL: 1}]}}
    with Repository.init(directory) as repo:
        files = {p.name: p for p in directory.iterdir() if p.is_file()}
        for i in range(4):
            repo.commit(
                {EVIL: np.arange(300) + i, "deep": {EVIL: EVIL, "names": np.array([EVIL])}},
                {EVIL: i} if i else None, i * 0.5 if i else None, reset={} if i == 0 else None,
                info={EVIL: LINES, "a": {"b": [EVIL]}, "c": EVIL.encode(), "v": float(i)},
                message=LINES, files=files if i else None, run="main", terminated=i == 3,
            )  # fmt: skip
        repo.configure("main", config)
        repo.branch("try", "main@1", overrides={EVIL: EVIL}, seed=3)
        repo.commit({EVIL: EVIL}, EVIL, info={LINES: 1}, message=EVIL, run="try")
        repo.tag("v", "main@2", message=LINES, tagger=EVIL)
        repo.attach("main", "notes", EVIL.encode())
        repo.attach("main", "values", {EVIL: LINES, "list": [EVIL, EVIL.encode()]})
        repo.attach("main", "agent", {"form": EVIL, EVIL: np.arange(3)})
        repo.name_command("commit", LINES)
        for state in ("main", "try"):
            repo.commit({EVIL: 0}, run=state, message=EVIL)
        _simulate(repo)
        repo.set_status("try", "completed")
        rename(repo.odb, {"runs/try": f"runs/{NAME}", "tags/v": f"tags/{NAME}"})
    return directory


def _simulate(repo: Repository) -> None:
    """Note a simulation whose every text is hostile, and one that waits in the queue."""
    records = Records(repo)
    made = SimulationRecord(EVIL, "ended", "", "", folder=EVIL, outcome="failed", reason=LINES)
    execution = records.put("main", made, None, note=LINES).execution
    (records.directory / "live" / f"{execution}.log").write_text(EVIL + "\n")
    records.put("try", SimulationRecord(EVIL, "queued", "", "", folder=EVIL), None)


def rename(odb: ObjectDatabase, names: dict[str, str]) -> None:
    """Give refs names that simgit refuses, as a stranger's own program could."""
    with odb.write() as txn:
        for old, new in names.items():
            record = txn.get("refs", old.encode())
            assert record is not None
            txn.delete("refs", old.encode())
            txn.put("refs", new.encode(), pack_ref(unpack_ref(record)))
            for key, entry in list(txn.scan("log", old.encode() + b"\0")):
                if key.startswith(old.encode() + b"\0"):
                    txn.put("log", new.encode() + key[len(old.encode()) :], entry)


@pytest.fixture
def trace(directory: Path, run: Call) -> Path:
    """A trace whose objects have hostile names."""
    made = directory / "web.json"
    run("trace", "generate", "cpu-slight", "-o", made)
    text = made.read_text()
    name = json.dumps(EVIL)[1:-1]
    for word in ("web", "default", "app", "nginx"):
        text = text.replace(f'"{word}"', f'"{name}"').replace(f"/{word}", f"/{name}")
        text = text.replace(f"{word}/", f"{name}/")
    made.write_text(text)
    return made


CALLS: Final[dict[str, list[list[str]]]] = {
    "init": [["init"]],
    "record": [["record", EVIL], ["record", "CartPole-v1", "--run", EVIL, "--steps", "1"]],
    "commit": [["commit", "-o", "1", "-m", EVIL, "--run", EVIL], ["commit", "--file", EVIL]],
    "provenance": [["provenance", "--dry-run", "--", "python", f"{EVIL}.py", f"--x={EVIL}"],
                   ["provenance", "main"], ["provenance", NAME], ["provenance", EVIL]],
    "status": [["status"]],
    "log": [
        ["log"], ["log", "--oneline"], ["log", "--graph", "--all"], ["log", "--episodes"],
        ["log", "--all", "--simplify"], ["log", EVIL], ["log", "--where", f"{EVIL} > 0"],
        ["log", "--where", "info.nope > 0"], ["log", NAME],
    ],
    "show": [["show"], ["show", "main@1", "--full"], ["show", "--run", "main"],
             ["show", "--run", NAME], ["show", "--tag", NAME], ["show", EVIL]],
    "diff": [["diff", "main~2", "main~1"], ["diff", "--config", "main", NAME],
             ["diff", "--runs", "main", NAME], ["diff", "main~1", NAME], ["diff", "main", EVIL]],
    "tree": [["tree"], ["tree", "-o", "tree.svg"]],
    "plot": [["plot", "main"], ["plot", NAME], ["plot", "main", "-o", "x.svg", "--title", EVIL],
             ["plot", EVIL], ["plot", "main", "--kind", "info.v"], ["plot", "--kind", EVIL]],
    "video": [["video", "main", "-o", "x.gif"], ["video", EVIL]],
    "play": [["play", "main"], ["play", EVIL]],
    "reflog": [["reflog"], ["reflog", "main"], ["reflog", NAME]],
    "lineage": [["lineage", "main"], ["lineage", NAME], ["lineage", EVIL]],
    "children": [["children", "main@1"]],
    "leaves": [["leaves"]],
    "merge-base": [["merge-base", "main", NAME], ["merge-base", "main", EVIL]],
    "branch": [["branch"], ["branch", "-v"], ["branch", "--contains", "main@1"], ["branch", EVIL],
               ["branch", "-m", NAME, "fine"], ["branch", "-d", EVIL], ["branch", "-d", NAME]],
    "checkout": [["checkout", "main@1"], ["checkout", NAME], ["checkout", EVIL],
                 ["checkout", "-b", EVIL]],
    "reset": [["reset", "main~1"], ["reset", EVIL]],
    "restore": [["restore", "note.txt"], ["restore", EVIL]],
    "purge": [["purge", NAME], ["purge", EVIL]],
    "undo": [["undo"], ["undo", EVIL]],
    "redo": [["redo"]],
    "op": [["op", "log"], ["op", "show", "3"], ["op", "show", "9"], ["op", "restore", "5"],
           ["op", "show", EVIL]],
    "tag": [["tag"], ["tag", EVIL], ["tag", "-d", NAME], ["tag", "-d", EVIL], ["tag", NAME, "main"]],
    "config": [["config"], ["config", EVIL], ["config", "main", EVIL], ["config", "main", f"{EVIL}=1"],
               ["config", "--repository", f"{EVIL}=1"], ["config", NAME]],
    "run": [["run", "list"], ["run", "show", "main"], ["run", "show", NAME], ["run", "pause", NAME],
            ["run", "show", EVIL]],
    "attach": [["attach", "main", EVIL, "note.txt"], ["attach", "main", "x", EVIL]],
    "attachments": [["attachments", "main~1"], ["attachments", "main~1", "values"],
                    ["attachments", "main~1", "values", "-p"], ["attachments", "main~1", EVIL],
                    ["attachments", "main~1", "agent", "-p"]],
    "train": [["train", "--trace", EVIL], ["train", "--resume", "--run", "main"],
              ["train", "--resume", "--run", NAME], ["train", "--env", EVIL]],
    "evaluate": [["evaluate", "main~1", "--env", "CartPole-v1"], ["evaluate", EVIL]],
    "merge": [["merge", "--average", "main", NAME], ["merge", "--average", "main", EVIL]],
    "trace": [
        ["trace", "show", "web.json", "--full"], ["trace", "validate", "web.json"],
        ["trace", "diff", "web.json", "cpu-slight"], ["trace", "show", EVIL],
        ["trace", "edit", "web.json", "-w", EVIL, "--cpu", "500m", "-o", "out.json"],
        ["trace", "edit", "web.json", "-w", "nope", "--cpu", "500m", "-o", "out.json"],
        ["trace", "filter", "web.json", "-w", EVIL, "-o", "out.json"],
        ["trace", "plot", "web.json"], ["trace", "convert", "web.json", "-", "--to", "json"],
        ["trace", "generate", EVIL],
    ],
    "sim": [
        ["sim", "types"], ["sim", "types", EVIL], ["sim", "list"], ["sim", "list", EVIL],
        ["sim", "show", "main"], ["sim", "show", EVIL], ["sim", "watch", "main"],
        ["sim", "watch", EVIL], ["sim", "start", EVIL], ["sim", "start", f"{EVIL}:{EVIL}"],
        ["sim", "start", "demo", "--run", EVIL], ["sim", "start", "--preset", EVIL],
        ["sim", "start", "demo", "--save", EVIL], ["sim", "restart", "main"],
        ["sim", "restart", EVIL], ["sim", "fork", "main@1"], ["sim", "fork", EVIL],
        *(["sim", verb, name] for verb in ("stop", "kill", "pause", "resume", "freeze")
          for name in ("main", EVIL)),
        ["sim", "set", "main", f"{EVIL}=1"], ["sim", "query", "main", EVIL],
        ["sim", "answer", "main", f"{EVIL}=1"], ["sim", "kill", "try"],
        ["sim", "work", "--until-empty"], ["sim", "clear", EVIL], ["sim", "clear"],
    ],
    "step": [["step", "--trace", "web.json"], ["step", "--trace", "web.json", "--action", EVIL],
             ["step", "--trace", "web.json", "--workload", EVIL]],
    "kube": [["kube", "pods", "--trace", "web.json"], ["kube", "nodes", "--trace", "web.json"],
             ["kube", "events", "--trace", "web.json"], ["kube", "pods", "main"],
             ["kube", "trace", "main"], ["kube", "compare", "main"], ["kube", "preflight", "--context", EVIL],
             ["kube", "preflight", "--set", EVIL], ["kube", "allow", EVIL],
             ["kube", "cleanup", "--context", EVIL], ["kube", "nodes", "create", EVIL],
             ["kube", "nodes", "create", "1", "--context", EVIL],
             ["kube", "nodes", "delete", "--context", EVIL]],
    "verify": [["verify", "main"], ["verify", EVIL]],
    "bisect": [["bisect", "main", NAME], ["bisect", "main", EVIL]],
    "what-if": [["what-if", "main", "--action", "1"], ["what-if", EVIL]],
    "doctor": [["doctor", EVIL], ["doctor", f"{EVIL}:Env"]],
    "trust": [["trust"], ["trust", "--list"], ["trust", EVIL]],
    "clone": [["clone", ".", EVIL.replace("/", "")], ["clone", EVIL, "x"]],
    "remote": [["remote", "add", "lab", "shared"], ["remote", "add", EVIL, "x"],
               ["remote", "add", "x", EVIL], ["remote", "list", "-v"], ["remote", "show", "lab"],
               ["remote", "show", EVIL], ["remote", "prune", "lab"], ["remote", "prune", EVIL],
               ["remote", "rm", EVIL], ["remote", "rm", "lab"]],
    "push": [["remote", "add", "to", "pushed"], ["push", "to", "--all"], ["push", "to", NAME],
             ["push", "to", EVIL], ["push", EVIL, EVIL], ["push", "to", "--delete", EVIL]],
    "fetch": [["remote", "add", "from", "fetched"], ["push", "from", "--all"], ["fetch", "from"],
              ["fetch", "from", EVIL], ["fetch", EVIL]],
    "pull": [["remote", "add", "pulled", "fetched2"], ["push", "pulled", "--all"],
             ["pull", "pulled", "--all"], ["pull", "pulled", EVIL], ["pull", EVIL]],
    "worker": [["worker", "run", "--remote", "pushed", "--name", EVIL, "--", "true"],
               ["worker", "run", "--remote", "pushed", "--name", "w", "--", EVIL]],
    "job": [["job", "render", "--kind", "slurm", "--completions", "2", "--remote", EVIL, "--", EVIL],
            ["job", "render", "--kind", "indexed", "--completions", "2", "--remote", "s3://b/x",
             "--image", "i", "--job", EVIL, "--", EVIL],
            ["job", "status", "--remote", EVIL], ["job", "status", "--remote", "pushed", "--prefix", "na"],
            ["job", "missing", "--remote", EVIL, "--completions", "2"]],
    "bundle": [["bundle", "create", "b", "main"], ["bundle", "create", "b", NAME],
               ["bundle", "create", "b", "--all"], ["bundle", "list", "b"], ["bundle", "verify", "b"],
               ["bundle", "list", EVIL]],
    "import": [["import", "b"], ["import", EVIL], ["import", "b", "--prefix", EVIL],
               ["export", "jsonl", "x.jsonl", "main"], ["import", "x.jsonl", "--dry-run"],
               ["import", "x.jsonl", "--format", EVIL], ["import", "x.jsonl", "-o", EVIL]],
    "export": [["export", "jsonl", "x.jsonl", "main"], ["export", EVIL, EVIL, EVIL],
               ["export", "jsonl", "y.jsonl", "main", "--where", EVIL],
               ["export", "jsonl", "y.jsonl", "main", "--fields", EVIL]],
    "sql": [["sql", "select * from runs"], ["sql", "select * from states"],
            ["sql", f'select * from "{NAME}"'], ["sql", EVIL], ["sql", f'select "{EVIL}"'],
            ["sql", "select name from runs", "--save", EVIL], ["sql", "--list"]],
    "serve": [["serve", "--host", EVIL], ["serve", "--allow-origin", EVIL], ["serve", "--tls-cert", EVIL]],
    "gc": [["gc", "--dry-run"], ["gc", "--list-unreachable"], ["gc", "--keep", f"{EVIL}: last 1"],
           ["gc", "--restore", EVIL]],
    "stats": [["stats", "--all"]],
    "fsck": [["fsck"], ["fsck", "--repair"]],
    "rev-parse": [["rev-parse", "main", NAME], ["rev-parse", EVIL]],
    "cat-file": [["cat-file", "-p", "main~1"], ["cat-file", "-p", "OBJECT"], ["cat-file", EVIL]],
    "ls-tree": [["ls-tree", "main~2"], ["ls-tree", "-r", "main~2"], ["ls-tree", EVIL]],
    "completion": [["completion", "bash"], ["completion", EVIL]],
}  # fmt: skip
"""Calls of every command: of what is there, and with hostile arguments that errors quote."""


def leaves(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(group, click.Group):
        for name in group.list_commands(click.Context(group)):
            found = group.get_command(click.Context(group), name)
            assert found is not None
            yield from leaves(found, (*path, name))
    else:
        yield tuple(" ".join(path).split())  # some commands have two words


def test_every_command_is_called() -> None:
    assert set(FLAT) <= set(CALLS)
    for path in leaves(cli):
        called = [words for words in CALLS[path[0]] if tuple(words[: len(path)]) == path]
        assert called or (len(path) > 1 and path[0] == "run"), path


@pytest.mark.slow
@pytest.mark.parametrize("command", CALLS)
def test_no_command_prints_what_a_terminal_obeys(
    command: str, hostile: Path, trace: Path, run: Call
) -> None:
    if command == "import":
        run("bundle", "create", "b", "main")
    for words in CALLS[command]:
        if "OBJECT" in words:
            with Repository.open(hostile) as repo:
                (spec,) = {s.origin for s in repo.trajectory("main")[:1]}
                words = [spec.hex() if word == "OBJECT" else word for word in words]
        for extra in ([], ["--json"]):
            found = run(*words, *extra, code=None)
            assert "internal error" not in found.err, (words, found.err)
            # a script is ours whole, and what the shell reads
            assert_harmless(found.out, "\n\t" if words == ["completion", "bash"] else "\n")
            assert_harmless(found.err)


def test_json_gives_hostile_text_back_exactly(hostile: Path, run: Call) -> None:
    found = run("show", "main~1", "--json").json
    assert found["message"] == LINES
    assert found["info"][EVIL] == LINES
    assert run("log", "main~1", "-n", 1, "--json").json["message"] == LINES


def test_a_trace_goes_through_json_exactly(directory: Path, trace: Path, run: Call) -> None:
    before = json.loads(trace.read_text())
    assert json.loads(run("trace", "convert", trace, "-", "--to", "json").out) == before


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["log", "--all", "--graph"], ["show", "main~1"], ["branch", "-v"], ["stats", "--all"],
    ["ls-tree", "-r", "main~2"], ["cat-file", "-p", "main~1"], ["reflog", "main"], ["tree"],
    ["cat-file", "BLOB"], ["op", "log"], ["log", EVIL], ["status"],
], ids=lambda words: words[0])  # fmt: skip
def test_a_terminal_gets_our_own_colours_only(
    words: list[str], hostile: Path, environment: dict[str, str]
) -> None:
    words = [blob(hostile).hex() if word == "BLOB" else word for word in words]
    printed = in_terminal(words, environment)
    assert printed
    stripped = OURS.sub("", printed.replace("\r\n", "\n"))
    assert_harmless(stripped)
    assert "\x1b[31m\x9b" not in printed  # the text's own colour is no colour of ours
    assert "\\x1b" in printed or words[0] in ("status", "tree")


def blob(directory: Path) -> Oid:
    with Repository.open(directory) as repo:
        return next(oid for path, oid in repo.files("main~2").items() if path.startswith("a"))


def in_terminal(words: list[str], environment: dict[str, str]) -> str:
    """Return what a command prints in a terminal with colours."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "simgit", "--no-pager", *words],
        stdin=side, stdout=side, stderr=side, env=environment | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(side)
    printed = b""
    try:
        while piece := os.read(main, 65536):
            printed += piece
    except OSError:  # the terminal's other end is closed
        pass
    os.close(main)
    process.wait(PATIENCE)
    return printed.decode()


@pytest.mark.slow
def test_a_pipe_gets_stored_bytes_as_they_are(hostile: Path, environment: dict[str, str]) -> None:
    words = [sys.executable, "-m", "simgit", "cat-file", blob(hostile).hex()]
    found = subprocess.run(words, env=environment, capture_output=True, check=True)
    assert found.stdout == EVIL.encode()


@pytest.mark.slow
def test_a_shell_is_offered_no_hostile_name(hostile: Path, process: Call) -> None:
    found = process(_SIMGIT_COMPLETE="bash_complete", COMP_WORDS="simgit log ", COMP_CWORD="2")
    assert "main" in found.out
    assert_harmless(found.out)


@pytest.mark.parametrize("error", [InvalidInput, IntegrityError])
def test_errors_are_visible_wherever_they_are_printed(error: Any) -> None:
    assert_harmless(str(error(f"field '{LINES}' is wrong", path=EVIL)), "")
    assert error("x", path=EVIL).path == EVIL  # what a handler reads is exact
    assert_harmless(str(SimgitWarning(LINES)), "")


def test_notebooks_get_no_hostile_text(hostile: Path) -> None:
    with Repository.open(hostile) as repo:
        for shown in (repo, repo.state("main~1"), repo.trajectory("main"), repo.runs["main"]):
            html = shown._repr_html_()
            assert_harmless(html)
            assert_harmless(repr(shown).translate(dict.fromkeys(map(ord, HIDDEN))))
    assert_harmless(notebook.escaped(EVIL))


@pytest.mark.slow
def test_pictures_draw_text_as_it_is(tmp_path: Path) -> None:
    from simgit.plot import Curve, learning_curve

    evil = f"$\\frac{{ {EVIL[-12:]}"
    drawing = learning_curve({evil: [Curve(evil, [1, 2], [3.0, 4.0])]}, title=evil, x_label=evil)
    for name in ("a.svg", "a.png", "a.svg"):  # the second time too
        drawing.save(tmp_path / name)
    drawn = (tmp_path / "a.svg").read_text()
    assert_harmless(drawn)
    assert drawn.count("$\\frac") >= 3


def test_commands_print_through_the_border_only() -> None:
    """What prints elsewhere prints texts of our own: help, version, completion, generated pages."""
    own = {"output.py", "entry.py", "exits.py", "docs.py"}
    direct = re.compile(
        r"\bprint\((?!super\(\)\.get_help|f\"simgit {__version__})|echo\(|std\w+\.write\("
    )
    package = Path(sys.modules["simgit.cli"].__file__ or "").parent
    for module in package.rglob("*.py"):
        if module.name not in own:
            assert not direct.search(module.read_text()), module
