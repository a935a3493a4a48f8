"""branch, checkout, tag, reflog, config, run, and the questions about ancestry."""

from __future__ import annotations

from pathlib import Path


def test_runs_are_listed_with_heads_marked(repo) -> None:
    repo("branch", "try", "main~1", "--set", "agent.lr=0.1", "--set", "note=hello")
    short = repo("rev-parse", "--short", "main").out.strip()
    first, second = repo("branch", "-v").lines
    assert first.split() == ["*", "main", short, "step", "2", "active", "1", "ep", "1.5"]
    assert second.endswith("from main  agent.lr=0.1 … 1 more")
    one, two = repo("branch", "--json").records
    assert (one["name"], one["head"], two["parent"]) == ("main", True, "main")
    assert two["config"] == {"agent": {"lr": 0.1}, "note": "hello"}


def test_branches_are_renamed_and_deleted(repo) -> None:
    repo("branch", "try")
    repo("branch", "-m", "try", "better")
    assert [r["name"] for r in repo("branch", "--json").records] == ["better", "main"]
    found = repo("branch", "-d", "main", code=128)
    assert found.err == (
        "fatal: run 'main' is checked out; check out another run first, or delete it anyway with "
        "-D (force=True)\n"
    )
    assert repo("branch", "-d", "better").out.startswith("deleted run better (was ")
    repo("branch", "-m", "principal")
    assert repo("status").lines[0] == "on run principal"


def test_runs_are_moved_and_moved_back(repo) -> None:
    tip = repo("rev-parse", "main").out.strip()
    said = repo("reset", "main~1").out
    assert said.startswith("run main is now at ") and f", step 1 (was {tip[:8]}" in said
    assert repo("reset", "main@{1}", "--json").json["oid"] == tip
    repo("branch", "try", "main~2")
    repo("branch", "-f", "try", "main~1")
    assert repo("rev-parse", "try").out == repo("rev-parse", "main~1").out
    assert repo("undo").code == 0
    assert repo("rev-parse", "try").out == repo("rev-parse", "main~2").out
    repo("reset", "--run", "try", "main")
    assert repo("rev-parse", "try").out == repo("rev-parse", "main").out
    assert (
        "is checked out; 'simgit reset main~1'"
        in repo("branch", "-f", "main", "main~1", code=128).err
    )
    assert "is not checked out" in repo("reset", "--hard", "--run", "try", code=128).err
    assert "--force needs the NAME" in repo("branch", "-f", "-d", "try", code=2).err
    assert "leaves the files" in repo("reset", "--soft", "HEAD", code=2).err


def test_branches_that_contain_a_state(repo) -> None:
    repo("branch", "old", "main~2")
    assert [r["name"] for r in repo("branch", "--contains", "main~1", "--json").records] == ["main"]
    assert len(repo("branch", "--contains", "main~2", "--json").records) == 2


def test_mistakes_with_branches(repo) -> None:
    assert "already exists" in repo("branch", "main", code=128).err
    assert "'a b' is not a valid name" in repo("branch", "a b", code=128).err
    assert "revision 'nope' not found" in repo("branch", "x", "nope", code=128).err
    assert "must be of the form KEY=VALUE" in repo("branch", "x", "--set", "y", code=2).err
    assert "cannot be used together" in repo("branch", "-d", "-m", "x", code=2).err


def test_head_moves(repo, directory: Path) -> None:
    assert (
        repo("checkout", "-b", "try", "main~1", "--set", "lr=1").out
        == "switched to a new run 'try'\n"
    )
    assert repo("checkout", "main").out == "switched to run 'main'\n"
    found = repo("checkout", "main~1", "--json").json
    assert found["detached"] and found["oid"] == repo("rev-parse", "main~1").out.strip()
    assert repo("status").lines[0].startswith("HEAD detached at ")
    assert repo("branch").lines[0].startswith("* (HEAD detached at ")
    assert "detached" in repo("config", code=2).err


def test_files_come_and_go_with_head(repo, directory: Path) -> None:
    (directory / "a.txt").write_text("one")
    repo("commit", "--file", "a.txt")
    repo("checkout", "main~1")
    assert not (directory / "a.txt").exists()
    repo("checkout", "main")
    (directory / "a.txt").write_text("two")
    (directory / "b.txt").write_text("new")
    assert repo("status").lines[-4:] == ["modified:", "    a.txt", "untracked:", "    b.txt"]
    assert repo("status", "--json").json["modified"] == ["a.txt"]
    assert "local changes" in repo("checkout", "main~1", code=128).err
    repo("checkout", "main~1", "--force")
    assert not (directory / "a.txt").exists()


def test_tags(repo) -> None:
    repo("tag", "v1", "main~1", "-m", "before the fall\n\nwhich came")
    repo("tag", "plain")
    oid = repo("rev-parse", "v1").out.strip()
    assert oid == repo("rev-parse", "main~1").out.strip()
    assert repo("tag").lines[1].endswith("before the fall")
    assert [r["message"] is None for r in repo("tag", "--json").records] == [True, False]
    shown = repo("show", "tags/v1").lines
    assert shown[0] == "tag v1" and "    which came" in shown
    assert repo("show", "--tag", "v1", "--json").json["tag"]["name"] == "v1"
    assert "already exists" in repo("tag", "v1", code=128).err
    repo("tag", "-f", "v1")
    repo("tag", "-d", "v1")
    assert "tag 'v1' not found" in repo("tag", "-d", "v1", code=128).err


def test_reflog(repo) -> None:
    repo("checkout", "-b", "try", "main~1")
    lines = repo("reflog").lines
    assert "HEAD@{0}" in lines[0] and lines[0].endswith("checkout: moving from main to try")
    records = repo("reflog", "main", "-n", 1, "--json").records
    assert records[0]["message"] == "commit: fell over" and records[0]["index"] == 0
    assert "not found" in repo("reflog", "nope", code=128).err


def test_configuration_is_inherited_and_changed(repo) -> None:
    repo("config", "agent.lr=0.1", "agent.name=dqn", "main", code=2)
    repo("config", "main", "agent.lr=0.1", "agent.name=dqn")
    repo("branch", "try", "--set", "agent.lr=1")
    assert repo("config", "try").lines == ["agent.lr = 1  *", 'agent.name = "dqn"']
    assert repo("config", "try", "--own", "--json").json == {"agent": {"lr": 1}}
    repo("config", "try", "--unset", "agent.lr")
    assert repo("config", "try", "--json").json == {"agent": {"lr": 0.1, "name": "dqn"}}
    assert "not found" in repo("config", "try", "--unset", "x", code=128).err


def test_how_runs_stand(repo) -> None:
    for verb, status in (("pause", "paused"), ("fail", "failed"), ("complete", "completed")):
        assert repo("run", verb).out == f"run main is {status}\n"
        assert repo("run", "list", "--status", status, "--json").records[0]["status"] == status
    assert repo("run", "reopen", "main", "--json").json == {"name": "main", "status": "active"}
    repo("run", "set", "main", "operator=ada")
    assert 'operator = "ada"' in repo("run", "show").out
    assert "run 'x' not found" in repo("run", "show", "x", code=128).err


def test_ancestry(repo) -> None:
    repo("branch", "try", "main~1")
    repo("commit", "--run", "try", "-r", 1)
    base = repo("rev-parse", "main~1").out
    assert repo("merge-base", "main", "try").out == base
    assert [r["name"] for r in repo("lineage", "try", "--json").records] == ["try", "main"]
    assert "of main" in repo("lineage", "try").lines[0]
    assert len(repo("children", "main~1").lines) == 2
    assert len(repo("leaves", "--json").records) == 2
    repo("commit", "--stdin", "--run", "apart", stdin=b'{"reward": 2}')
    assert repo("merge-base", "main", "apart", code=1).out == ""


def test_many_settings_are_shown_as_far_as_there_is_room(repo) -> None:
    repo("config", "main", *(f"agent.setting{i}={i}" for i in range(24)))
    for command in (("branch", "-v"), ("run", "list")):
        (line,) = repo(*command).lines
        assert len(line) <= 80 and line.endswith(" more") and "agent.setting0=0" in line
    assert repo("lineage").lines[0].endswith("  24 settings")
    repo("branch", "-m", "main", "main-" + 60 * "x")
    assert repo("branch", "-v").lines[0].endswith("  24 settings")


def test_habits_of_git(repo) -> None:
    repo("branch", "try-1")
    repo("branch", "other")
    repo("tag", "v1")
    repo("tag", "w1")
    assert len(repo("log", "-2", "--oneline").lines) == 2
    assert len(repo("op", "log", "-1").lines) == 1
    assert repo("op", "log", "-n", 10**20).lines == repo("op", "log").lines
    assert [line.split()[0] for line in repo("branch", "--list", "try-*").lines] == ["try-1"]
    assert len(repo("branch", "-l").lines) == 3
    assert [line.split()[0] for line in repo("tag", "-l", "v*").lines] == ["v1"]
    assert repo("help", "log").out == repo("log", "--help").out
    assert repo("help").out == repo("--help").out
    assert repo("help", "op", "log").out == repo("op", "log", "--help").out


def test_a_dash_is_where_head_was_before(repo) -> None:
    assert "no earlier checkout to return to" in repo("checkout", "-", code=128).err
    repo("branch", "try")
    repo("checkout", "try")
    assert repo("checkout", "-").out == "switched to run 'main'\n"
    assert repo("checkout", "-").out == "switched to run 'try'\n"
    repo("checkout", "main@1")
    assert repo("checkout", "-", "--json").json["head"] == "try"
    assert repo("checkout", "-", "--json").json["detached"] is True


def test_questions_for_scripts(repo) -> None:
    assert repo("branch", "--show-current").out == "main\n"
    assert repo("merge-base", "--is-ancestor", "main~1", "main").out == ""
    assert repo("merge-base", "--is-ancestor", "main", "main", "--json").json == {
        "is_ancestor": True
    }
    assert repo("merge-base", "--is-ancestor", "main", "main~1", code=1).out == ""
    repo("checkout", "main~1")
    assert repo("branch", "--show-current").out == ""
    assert repo("branch", "--show-current", "--json").json == {"name": None}
    assert "takes no names" in repo("branch", "--show-current", "x", code=2).err
    repo("checkout", "@{-1}")
    assert repo("branch", "--show-current").out == "main\n"


def test_files_of_a_state(repo, directory: Path) -> None:
    (directory / "sub").mkdir()
    for text in ("one", "two"):
        (directory / "a.txt").write_text(text)
        (directory / "sub" / "b.txt").write_text(text)
        repo("commit", "--file", "a.txt", "--file", "sub/b.txt", "-m", text)
    assert repo("show", "main~1:a.txt").out == "one" == repo("cat-file", "main~1:sub/b.txt").out
    assert repo("show", "HEAD:").lines == ["a.txt", "sub/"] and repo("show", ":sub").lines == [
        "b.txt"
    ]
    assert repo("show", "main@{now}:a.txt").out == "two"
    assert repo("show", "main:a.txt", "--json").json["size"] == 3
    assert [r["path"] for r in repo("ls-tree", "HEAD:sub", "--json").records] == ["b.txt"]
    assert repo("cat-file", "-t", "HEAD:sub").out == "tree\n"
    assert "has no file 'a.tx'; did you mean 'a.txt'?" in repo("show", "main:a.tx", code=128).err
    assert "has no files" in repo("show", "main~2:", code=128).err
    assert "revision 'nope' not found" in repo("show", "nope:a.txt", code=128).err

    head = repo("rev-parse", "HEAD").out
    repo("restore", "--source", "main~1", "a.txt")
    assert (directory / "a.txt").read_text() == "one"
    (directory / "sub" / "b.txt").write_text("mine")
    assert repo("checkout", "--", "sub").out == "restored 1 file from HEAD\n"
    assert (directory / "sub" / "b.txt").read_text() == "two"
    repo("checkout", "main~1", "--", "sub/b.txt")
    assert (directory / "sub" / "b.txt").read_text() == "one"
    repo("-C", "sub", "restore", ".")
    assert (directory / "sub" / "b.txt").read_text() == "two"
    assert repo("restore", ".", "--json").json["files"] == ["a.txt", "sub/b.txt"]
    assert (directory / "a.txt").read_text() == "two" and repo("rev-parse", "HEAD").out == head
    assert "has no file 'c'" in repo("restore", "a.txt", "c", code=128).err
    assert "outside of the working directory" in repo("restore", "../x", code=128).err
    assert "cannot be used together" in repo("checkout", "-b", "x", "main", "a.txt", code=2).err
    (directory / "a.txt").unlink()
    (directory / "a.txt").mkdir()
    (directory / "a.txt" / "precious").write_text("x")
    assert "would be overwritten" in repo("restore", "a.txt", code=128).err
    assert (directory / "a.txt" / "precious").exists()


def test_runs_are_listed_by_condition_order_and_columns(repo) -> None:
    repo("branch", "sweep/a", "main~1", "--set", "lr=0.1")
    repo("branch", "sweep/b", "main", "--set", "lr=0.2")
    names = lambda *more: [r["name"] for r in repo("run", "list", *more, "--json").records]  # noqa: E731
    assert names("--where", "config.lr < 0.15") == ["sweep/a"]
    assert names("--sort", "-config.lr") == ["sweep/b", "sweep/a", "main"]
    assert names("sweep/*", "--where", "return > 1") == ["sweep/b"]
    header, first, second = repo(
        "run", "list", "sweep/*", "--sort", "-return", "--columns", "name,return,config.lr"
    ).lines
    assert header.split() == ["name", "return", "config.lr"]
    assert (first.split(), second.split()) == (["sweep/b", "1.5", "0.2"], ["sweep/a", "1", "0.1"])
    assert repo("run", "list", "--columns", "states,config.lr", "--json").records[0] == {
        "states": 3, "config.lr": None,
    }  # fmt: skip
    assert "did you mean 'config.lr'?" in repo("run", "list", "--columns", "config.l", code=128).err
    assert "no run matches" in repo("run", "list", "x*", code=128).err


def test_attachments_of_a_whole_run(repo, directory: Path) -> None:
    for step, text in ((0, "zero"), (1, "one")):
        (directory / "a.txt").write_text(text)
        repo("attach", f"main@{step}", "note", "a.txt")
    assert repo("attachments", "main").out == ""
    assert [line.split()[1] for line in repo("attachments", "main", "--all").lines] == ["1", "0"]
    assert [r["step"] for r in repo("attachments", "main", "note", "--all", "--json").records] == [
        1,
        0,
    ]
    repo("branch", "sweep/a", "main")
    repo("branch", "sweep/b", "main")
    several = repo("attachments", "sweep/*", "--all").lines
    assert [line.split()[1] + line.split()[-1] for line in several] == ["1sweep/a", "0sweep/a"]
    assert repo("attachments", "main", "note", "--newest").out == "one"
    assert repo("attachments", "main~2", "note", "--newest").out == "zero"
    assert "the newest before it is at step 1" in repo("attachments", "main", "note", code=128).err
    assert "need the NAME" in repo("attachments", "main", "--newest", code=2).err
