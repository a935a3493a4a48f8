"""``simgit op``, ``undo``, ``redo`` and ``--at-op``: what is printed, and what it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.support.paths import ROOT


def test_what_was_typed_is_what_is_listed(repo: Call) -> None:
    repo("branch", "try", "main@1", "--set", "lr=0.1")
    repo("commit", "--stdin", "--run", "try", stdin=b'{"action": 1}\n' * 5)
    repo("checkout", "-b", "other")
    shown = repo("op", "log", "-n", 3).lines
    assert [line.split("  ", 2)[2] for line in shown] == [
        "checkout -b other",
        "commit --stdin --run try",
        "branch try main@1 --set lr=0.1",
    ]
    assert [line.split("  ")[0] for line in shown] == ["6", "5", "4"]
    assert [record["number"] for record in repo("op", "log", "--json").records] == list(
        range(6, 0, -1)
    )


def test_undo_and_redo_say_what_they_did(repo: Call) -> None:
    before = repo("branch", "-v").out
    repo("branch", "-m", "main", "trunk")
    tip = repo("rev-parse", "--short", "trunk").out.strip()
    assert repo("undo").lines == [
        "undone: branch -m main trunk (operation 4)",
        "    HEAD: trunk → main",
        f"    runs/main: created at {tip} step 2",
        f"    runs/trunk: removed (was {tip} step 2)",
    ]
    assert repo("branch", "-v").out == before
    assert "(undone)" in repo("op", "log").lines[1]
    assert repo("redo").lines[0] == "redone: branch -m main trunk (operation 4)"
    assert "trunk" in repo("branch").out
    assert repo("redo", code=128).err == "fatal: nothing to redo\n"


def test_a_command_with_several_steps_is_undone_at_once(repo: Call) -> None:
    before = repo("branch").out
    repo("checkout", "-b", "new", "main@1")
    repo("undo")
    assert repo("branch").out == before
    for name in "abc":
        repo("branch", name)
    repo("branch", "-d", "a", "b", "c")
    repo("undo")
    assert [line.split()[0] for line in repo("branch").lines] == ["a", "b", "c", "*"]


@pytest.mark.slow
def test_what_was_recorded_by_a_command_is_one_operation(repo: Call) -> None:
    """Recorders of environments write through a handle of their own."""
    pytest.importorskip("gymnasium")
    before = repo("op", "log", "--json").records
    words = ("record", "FrozenLake-v1", "--steps", "30", "--run", "lake", "--seed", "0")
    repo(*words)
    repo("train", "--trace", "cpu-slight", "--agent", "greedy", "--episodes", "2", "--run", "t")
    repo("branch", "u", "t@ep1")
    repo("train", "--resume", "--run", "u")
    shown = [line.split("  ", 2)[2] for line in repo("op", "log").lines[: -len(before)]]
    assert len(shown) == 4 and shown[3] == " ".join(words) and shown[0] == "train --resume --run u"
    assert "last by operation" in repo("undo", len(before) + 3, code=128).err
    for name in ("u", "u", "t", "lake"):
        assert name in repo("branch").out.split()
        repo("undo")
    assert not {"u", "t", "lake"} & set(repo("branch").out.split())


@pytest.mark.slow
def test_what_a_program_did_has_to_be_named(run: Call, directory: Path) -> None:
    code = "import simgit; simgit.Repository.init('.').commit(1)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=directory, check=True, env=environment)
    hint = "fatal: nothing to undo; undo a program's operation with 'simgit undo 1'\n"
    assert run("undo", code=128).err == hint
    assert run("undo", "1").lines[0].startswith("undone: commit (operation 1)")


def test_a_command_that_fails_in_the_middle_does_nothing(repo: Call) -> None:
    repo("branch", "a")
    repo("tag", "v")
    for command in (
        ("branch", "-d", "a", "none"),
        ("tag", "-d", "v", "none"),
        ("run", "fail", "a", "none"),
    ):
        assert "not found" in repo(*command, code=128).err
    assert [line.split()[0] for line in repo("branch").lines] == ["a", "*"]
    assert "failed" not in repo("branch").out
    assert repo("tag").lines


def test_an_operation_is_shown_with_what_it_changed(repo: Call) -> None:
    repo("config", "main", "lr=0.1")
    assert repo("op", "show").lines[0] == "operation 4"
    assert repo("op", "show").lines[-1] == "    runs/main: configuration changed"
    repo("run", "complete")
    assert repo("op", "show").lines[-1] == "    runs/main: status: active → completed"
    repo("checkout", "main@0")
    assert repo("op", "show", "@").lines[-1].startswith("    HEAD: main → ")
    repo("tag", "v")
    repo("tag", "-f", "v", "main")
    assert "→" in repo("op", "show").lines[-1]
    found = repo("op", "show", "@~1", "--json").json
    assert found["changed"][0]["ref"] == "tags/v"
    assert found["changed"][0]["old"] is None
    assert len(found["changed"][0]["new"]["oid"]) == 64
    assert repo("op", "show", "99", code=128).err == (
        "fatal: operation 99 not found: 1 to 8 are kept\n"
    )
    assert "'x' is not an operation" in repo("op", "show", "x", code=128).err


def test_attachments_come_back(repo: Call, directory: Path) -> None:
    (directory / "note.txt").write_text("hello")
    repo("attach", "main", "note", "note.txt")
    repo("attachments", "main", "note", "-d")
    assert repo("undo").lines[1].endswith("attachment note: created at a4e6d711")
    assert repo("attachments", "main", "note").out == "hello"


def test_reading_commands_show_what_was(repo: Call) -> None:
    repo("commit", "-o", "[1.0, 1.0]", "-a", "0")
    repo("tag", "v")
    repo("branch", "x")
    repo("checkout", "x")
    then = lambda *words: repo("--at-op", "3", *words).out  # noqa: E731
    assert len(then("log", "--oneline").splitlines()) == 3
    assert then("tag") == ""
    assert then("branch").split()[:2] == ["*", "main"]
    assert then("status").startswith("on run main")
    assert then("rev-parse", "HEAD") == repo("rev-parse", "main@2").out
    assert repo("--at-op", "@~1", "status").out.startswith("on run main")
    assert repo("--at-op", "3", "show", "v", code=128).err.startswith(
        "fatal: revision 'v' not found"
    )
    assert len(then("op", "log").splitlines()) == 3
    for command in (("commit", "-a", "1"), ("undo",), ("branch", "y"), ("op", "restore", "2")):
        err = repo("--at-op", "3", *command, code=128).err
        assert err == "fatal: cannot write: the repository is shown as of operation 3\n"


def test_restore_goes_anywhere_and_back(repo: Call) -> None:
    repo("branch", "x")
    repo("tag", "v")
    before = repo("branch", "-v").out, repo("tag").out
    assert repo("op", "restore", "1").lines[0] == "restored operation 1"
    assert "step 0" in repo("branch").out
    assert repo("op", "restore", "@").lines == ["nothing to restore"]
    repo("undo")
    assert (repo("branch", "-v").out, repo("tag").out) == before
    repo("op", "restore", "0")
    assert repo("branch").out == ""
    repo("undo")
    assert (repo("branch", "-v").out, repo("tag").out) == before


def test_the_repository_has_settings(repo: Call) -> None:
    assert {"oplog.days = 90", "oplog.keep = 10000"} <= {*repo("config", "--repository").lines}
    repo("config", "--repository", "oplog.days=30", "oplog.keep=500")
    changed = [line for line in repo("config", "--repository").lines if line.endswith("*")]
    assert changed == ["oplog.days = 30  *", "oplog.keep = 500  *"]
    assert repo("config", "--repository", "--unset", "oplog.days", "--json").json.items() >= {
        "oplog.days": 90, "oplog.keep": 500,
    }.items()  # fmt: skip
    assert "unknown setting" in repo("config", "--repository", "x=1", code=128).err
    assert "number" in repo("config", "--repository", "oplog.keep=many", code=128).err
    assert repo("config", "--repository", "--own", code=2).err


def test_files_follow_an_undone_checkout_and_stay_with_an_undone_commit(
    repo: Call, directory: Path
) -> None:
    file = directory / "gain.txt"
    file.write_text("1")
    repo("commit", "-m", "one", "--file", "gain.txt")
    file.write_text("2")
    repo("commit", "-m", "two", "--file", "gain.txt")
    repo("undo")
    assert file.read_text() == "2"
    repo("redo")
    repo("checkout", "main~1")
    assert file.read_text() == "1"
    repo("undo")
    assert file.read_text() == "2"
    assert repo("status").out.startswith("on run main")
    repo("redo")
    assert file.read_text() == "1"
    repo("undo")
    repo("checkout", "-b", "other", "main~1")
    assert file.read_text() == "1"
    repo("undo")
    assert file.read_text() == "2"
    assert "other" not in repo("branch").out
    repo("checkout", "main~1")
    file.write_text("mine")
    assert "local changes would be overwritten: 'gain.txt'" in repo("undo", code=128).err
    assert file.read_text() == "mine"
    assert repo("status").out.startswith("HEAD detached")
    assert "local changes" in repo("checkout", "-b", "other", "main", code=128).err
    assert "other" not in repo("branch").out


@pytest.mark.parametrize(
    "words", [("op",), ("op", "--help"), ("undo", "--help"), ("redo", "--help")]
)
def test_help_is_there(repo: Call, words: tuple[str, ...]) -> None:
    result = repo(*words, code=None)
    assert "Usage:" in result.out + result.err


def test_lists_show_the_first_line_of_a_message(repo) -> None:
    repo("commit", "-r", 1, "-m", "first\nsecond")
    for command in (("op", "log", "-n", 1), ("op", "show"), ("reflog", "-n", 1), ("undo",)):
        found = repo(*command).out
        assert "first" in found and "second" not in found, command
