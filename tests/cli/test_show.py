"""show, diff, plumbing, attachments and maintenance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simgit import Repository


def test_show_prints_every_field(repo) -> None:
    lines = repo("show", "main~1").lines
    assert lines[0].startswith("state ")
    assert lines[1].split() == ["step:", "1", "(episode", "1,", "state", "1)"]
    assert "    float64[2] [0.5 2.5]" in lines and "    lives: 3" in lines
    found = repo("show", "--json").json
    assert (found["terminated"], found["message"], found["run"]) == (True, "fell over", "main")
    assert repo("show", "--run").lines[0] == "run main"


@pytest.mark.slow
def test_large_arrays_are_shortened(repo, directory: Path) -> None:
    with Repository.open(directory) as found:
        found.commit({"frame": np.zeros((210, 160, 3), np.uint8), "x": {"y": np.float32(2)}})
    lines = repo("show").lines
    assert "    frame: uint8[210, 160, 3] from 0 to 0, mean 0" in lines
    assert "    x:" in lines and "      y: 2.0" in lines
    assert len(repo("show", "--full").lines) > 1000


def test_what_could_steer_the_terminal_is_shown(repo) -> None:
    repo("commit", "-m", "a\x1b[31mred")
    for command in (("log",), ("show",), ("reflog",), ("log", "--oneline")):
        assert "\x1b" not in repo(*command).out and "\\x1b[31m" in repo(*command).out


def test_diff_of_states(repo) -> None:
    lines = repo("diff").lines
    assert lines[0].startswith("--- ") and lines[1].startswith("+++ ")
    assert "  action: 1 → 0" in lines and "- info.lives: 3" in lines
    assert "  observation: 1 of 2 elements differ, by 0.5 at most, 0.25 on average" in lines
    assert repo("diff", "main~1..main", "--json").json["changes"][0]["path"] == "action"
    repo("diff", "--exit-code", code=1)
    repo("diff", "main", "main", "--exit-code")


def test_diff_of_runs_and_configurations(repo) -> None:
    repo("branch", "try", "main~1", "--set", "lr=1")
    repo("commit", "--run", "try", "-r", 5)
    lines = repo("diff", "main", "try").lines
    assert lines[0].endswith("step 1") and lines[2].split() == ["main", "3", "1", "1", "1.5", "0.5"]
    assert "first difference: step 2" in lines and lines[-1] == "+ lr: 1"
    assert repo("diff", "main", "try", "--json").json["ancestor_step"] == 1
    assert repo("diff", "--config", "main", "try").lines == ["+ lr: 1"]
    assert repo("diff", "--states", "main", "try").lines[0].startswith("--- ")


def test_rev_parse(repo) -> None:
    oid = repo("rev-parse", "main").out.strip()
    assert len(oid) == 64 and oid.startswith(repo("rev-parse", "--short", "HEAD").out.strip())
    below = repo("rev-parse", "main~1").out.strip()
    assert repo("rev-parse", "main~1..main").lines == [oid, f"^{below}"]
    assert repo("rev-parse", oid[:8]).out.strip() == oid
    assert repo("rev-parse", "-q", "nope", code=1).out == ""
    repo("rev-parse", "--verify", "main", "main", code=2)


def test_cat_file(repo) -> None:
    assert repo("cat-file", "-t", "HEAD").out == "state\n"
    size = int(repo("cat-file", "-s", "HEAD").out)
    assert repo("cat-file", "HEAD", "--json").json["size"] == size
    assert repo("cat-file", "-p", "HEAD").lines[0].startswith("state ")
    origin = repo("show", "main~2", "--json").json["origin"]
    assert repo("cat-file", "-t", origin[:9]).out == "spec\n"
    repo("cat-file", "-p", origin)
    assert "not found" in repo("cat-file", "ffff", code=128).err
    assert "has no files" in repo("ls-tree", "HEAD", code=128).err


def test_attachments(repo, directory: Path) -> None:
    (directory / "video").write_bytes(b"\0\1frames")
    np.savez(directory / "w.npz", a=np.zeros(3, np.float32))
    before = repo("rev-parse", "HEAD").out
    repo("attach", "HEAD", "video", "video")
    repo("attach", "HEAD", "weights", "@w.npz")
    assert repo("rev-parse", "HEAD").out == before
    found = repo("attachments", "HEAD", "--json").records
    assert [(r["name"], r["kind"]) for r in found] == [("video", "blob"), ("weights", "tree")]
    assert repo("attachments", "HEAD", "video").out == "\0\1frames"
    assert "float32[3] [0. 0. 0.]" in repo("attachments", "HEAD", "weights").out
    repo("attachments", "HEAD", "video", "-d")
    assert "no attachment 'video'" in repo("attachments", "HEAD", "video", code=128).err
    assert "cannot read 'nofile'" in repo("attach", "HEAD", "x", "nofile", code=128).err


def test_maintenance(repo) -> None:
    assert repo("fsck").out.endswith("no damage\n")
    assert repo("fsck", "--json").json["clean"]
    before = repo("log", "--json").out
    assert repo("gc", "--json").json["segments_before"] == 3
    assert repo("gc", "-q").out == ""
    assert repo("log", "--json").out == before


@pytest.mark.slow
def test_completion_scripts_and_names(repo, process) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_SIMGIT_COMPLETE" in repo("completion", shell).out
    repo("branch", "trying")
    repo("tag", "true")
    found = process(_SIMGIT_COMPLETE="bash_complete", COMP_WORDS="simgit log tr", COMP_CWORD="2")
    assert {line.partition(",")[2] for line in found.lines} == {"trying", "true"}
    found = process(
        _SIMGIT_COMPLETE="bash_complete", COMP_WORDS="simgit run complete m", COMP_CWORD="3"
    )
    assert found.lines == ["plain,main"]


def test_unknown_commands_and_options(repo) -> None:
    assert repo("lgo", code=2).err == (
        "error: 'lgo' is not a simgit command; did you mean 'log'?\nhint: see 'simgit --help'\n"
    )
    assert repo("log", "--wrong", code=2).err.startswith("error: 'simgit log' has no option")
    assert repo("run", code=2).err.startswith("Usage: simgit run")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("stauts",), "did you mean 'status'?"),
        (("brnach",), "did you mean 'branch'?"),
    ],
)
def test_letters_that_changed_places_are_understood(run, args, said: str) -> None:
    assert said in run(*args, code=2).err
    assert "did you mean" not in run("frobnicate", code=2).err


@pytest.mark.parametrize("args", [("log",), ("train",), ("plot",), ("stats",)], ids=" ".join)
def test_outside_a_repository_one_can_be_made(run, args) -> None:
    err = run(*args, code=128).err
    assert err.startswith("fatal: not a simgit repository") and "'simgit init'" in err


@pytest.mark.parametrize(
    "args",
    [("config",), ("plot",), ("run", "show"), ("reflog",), ("log",), ("ls-tree", "HEAD")],
    ids=" ".join,
)
def test_an_empty_repository_has_no_states_yet(run, args) -> None:
    run("init")
    err = run(*args, code=128).err
    assert err == "fatal: HEAD points at run 'main', which has no states yet\n"


def test_messages_name_the_file_that_is_wrong(run, directory: Path) -> None:
    Path("passwd").write_text("root:x:0:0:root:/root:/bin/bash\n" * 9)
    run("init")
    assert "'passwd' is not a valid trace: " in run("trace", "show", "passwd", code=128).err
    for command in (("bundle", "list"), ("import",)):
        said = run(*command, "passwd", code=128).err
        assert said.startswith("fatal: 'passwd' is not a bundle") and said.count("\n") == 1
    assert "revision 'FOO' not found" in run("cat-file", "FOO", code=128).err
    for command in (("init", "passwd"), ("clone", ".", "passwd")):
        err = run(*command, code=128).err
        assert "not a directory" in err and "Errno" not in err, err


def test_a_clone_leaves_a_directory_with_files_alone(run, directory: Path) -> None:
    run("init", "a")
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    assert "'full' already exists and is not empty" in run("clone", "a", "full", code=128).err
    assert [each.name for each in Path("full").iterdir()] == ["notes.txt"]
    Path("empty").mkdir()
    run("clone", "a", "empty")
    assert "nosuch' is not a simgit repository\n" in run("clone", "nosuch", "b", code=128).err
