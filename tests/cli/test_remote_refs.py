"""Runs of remotes, as they were last seen there: shown, compared, listed, branched from, deleted."""

from __future__ import annotations

from pathlib import Path

import pytest


def track(short: str, run: str) -> None:
    """Note a run of a remote, in the repository of the current directory."""
    from simgit import Repository
    from tests.support.tracking import track as note

    with Repository.open(Path()) as here:
        note(here, short, run)


def test_runs_of_remotes_are_shown_where_refs_are(repo) -> None:
    repo("branch", "far", "main~1", "--set", "agent.lr=0.1")
    repo("commit", "--run", "far", "--observation", "9")
    track("origin/far", "far")
    assert "(far, origin/far)" in repo("log", "--oneline", "far").out
    repo("branch", "-D", "far")
    assert "(origin/far)" in repo("log", "--oneline", "--all").out
    assert "refs:     origin/far" in repo("show", "origin/far").out
    assert repo("rev-parse", "origin/far~1").out == repo("rev-parse", "main~1").out
    assert "fetch" in repo("reflog", "origin/far").lines[0]
    shown = repo("op", "show", "--json").out
    assert repo("undo").code == 0, shown


def test_a_run_of_a_remote_is_checked_out_detached(repo) -> None:
    track("origin/main", "main")
    short = repo("rev-parse", "--short", "main").out.strip()
    found = repo("checkout", "origin/main")
    assert found.out == f"HEAD is now at {short} (detached)\n"
    assert "'origin/main' is no run: 'simgit checkout -b NAME' begins one" in found.err
    assert repo("status").lines[0] == f"HEAD detached at {short}"
    found = repo("commit", "--run", "origin/main", "--observation", "9", code=128)
    assert "there is a remote-tracking ref 'origin/main'" in found.err
    repo("branch", "-f", "main", "main~1")
    assert repo("checkout", "main").err == ""  # origin/main still has the state that is left
    assert "switched to a new run 'mine'" in repo("checkout", "-b", "mine", "origin/main").out


def test_a_branch_off_a_run_of_a_remote_takes_its_settings(repo) -> None:
    settings = ("--set", "training.environment=x", "--set", "agent.lr=0.5")
    repo("branch", "far", "main", *settings)
    track("origin/far", "far")
    repo("branch", "-D", "far")
    repo("branch", "mine", "origin/far", "--set", "lr=0.1")
    info = next(each for each in repo("branch", "--json").records if each["name"] == "mine")
    assert info["config"]["agent"] == {"lr": 0.1} and info["parent"] is None


def test_the_record_and_the_settings_of_a_run_of_a_remote_are_shown(repo) -> None:
    repo("branch", "far", "main", "--set", "agent.lr=0.5")
    track("origin/far", "far")
    repo("branch", "-D", "far")
    for words in (("run", "show"), ("show", "--run")):
        shown = repo(*words, "origin/far").out
        assert shown.startswith("run origin/far\n") and "lr" in shown
        assert repo(*words, "origin/far", "--json").json["name"] == "origin/far"
    assert "0.5" in repo("config", "origin/far").out
    assert repo("config", "--json", "origin/far").json["agent"] == {"lr": 0.5}
    assert "recorded without its provenance" in repo("provenance", "origin/far", code=128).err
    said = repo("config", "origin/far", "agent.lr=1", code=128).err
    assert "'origin/far' is a run of a remote, which is only looked at" in said
    for words in (("run", "show"), ("show", "--run"), ("config",), ("provenance",)):
        assert "'origin/fat'" in repo(*words, "origin/fat", code=128).err


def test_shells_complete_runs_of_remotes(repo, monkeypatch) -> None:
    from click.shell_completion import BashComplete

    from simgit.cli.root import cli

    track("origin/main", "main")
    found = BashComplete(cli, {}, "simgit", "_SIMGIT_COMPLETE").get_completions(["log"], "ori")
    assert [each.value for each in found] == ["origin/main"]


# --- how runs stand to them ---------------------------------------------------------------------


@pytest.fixture
def origin(repo):
    """The repository with a remote, at which main has been seen."""
    repo("config", "--repository", "remote.origin.url=s3://bucket/prefix")
    track("origin/main", "main")
    return repo


def test_the_status_says_how_far_a_run_is_from_the_one_that_it_tracks(origin) -> None:
    assert origin("status").lines[-1] == "up to date with 'origin/main'"
    assert origin("status", "--json").json["upstream"] == {
        "name": "origin/main", "ahead": 0, "behind": 0
    }  # fmt: skip
    for i in range(20):
        origin("commit", "--observation", str(i))
    assert "ahead of 'origin/main' by 20 states" in origin("status").lines
    track("origin/main", "main")
    origin("reset", "main~1")
    assert "behind 'origin/main' by 1 state" in origin("status").lines
    origin("commit", "--observation", "100")
    origin("commit", "--observation", "101")
    said = "diverged from 'origin/main': 2 states only here, 1 only there"
    assert said in origin("status").lines
    assert origin("status", "--json").json["upstream"] == {
        "name": "origin/main", "ahead": 2, "behind": 1
    }  # fmt: skip


def test_nothing_is_said_of_a_run_that_tracks_none(origin) -> None:
    origin("checkout", "-b", "other")
    assert "origin" not in origin("status").out
    assert origin("status", "--json").json["upstream"] is None
    origin("checkout", "--detach", "main")
    assert "by" not in origin("status").out
    assert origin("status", "--json").json["upstream"] is None


def test_only_one_remote_or_origin_is_tracked(origin) -> None:
    origin("config", "--repository", "remote.backup.url=/backup")
    track("backup/main", "main")
    origin("commit", "--observation", "5")
    assert "ahead of 'origin/main' by 1 state" in origin("status").lines
    origin("config", "--repository", "--unset", "remote.origin.url")
    assert "ahead of 'backup/main' by 1 state" in origin("status").lines
    origin("config", "--repository", "remote.third.url=/third")
    assert "ahead" not in origin("status").out


def test_a_verbose_list_says_it_of_each_run(origin) -> None:
    origin("branch", "try", "main~1", "--set", "lr=2")
    origin("branch", "new")
    track("origin/try", "try")
    origin("commit", "--observation", "5")
    main, new, tried = (line.rstrip() for line in origin("branch", "-v").lines)
    assert main.endswith("[origin/main: ahead 1]") and "origin" not in new
    assert "from main  [origin/try] " in tried
    origin("commit", "--run", "try", "--observation", "6")
    track("origin/main", "try")
    assert "[origin/main: ahead 2, behind 1]" in origin("branch", "-v").out


# --- lists --------------------------------------------------------------------------------------


def test_lists_have_them_if_asked_for(origin) -> None:
    track("origin/worker/1", "main")
    origin("branch", "b")
    assert [line.split()[0] for line in origin("branch", "-r").lines] == [
        "origin/main", "origin/worker/1"
    ]  # fmt: skip
    assert [line[2:].split()[0] for line in origin("branch", "-a").lines] == [
        "b", "main", "remotes/origin/main", "remotes/origin/worker/1"
    ]  # fmt: skip
    assert [line[2:].split()[0] for line in origin("branch").lines] == ["b", "main"]
    assert len(origin("branch", "-r", "origin/w*").lines) == 1
    assert "[origin/main]" in origin("branch", "-av").lines[1]
    found = origin("branch", "-a", "--json").records
    assert [(each["name"], each["remote"], each["head"]) for each in found] == [
        ("b", None, False), ("main", None, True), ("origin/main", "origin", False),
        ("origin/worker/1", "origin", False),
    ]  # fmt: skip
    assert all(each["remote"] == "origin" for each in origin("branch", "-r", "--json").records)


def test_lists_of_those_that_contain_a_state(origin) -> None:
    origin("commit", "--observation", "5")
    assert origin("branch", "-r", "--contains", "main").out == ""
    assert origin("branch", "-a", "--contains", "main").lines[0].startswith("* main")
    assert len(origin("branch", "-a", "--contains", "main~1").lines) == 2


def test_one_is_deleted_and_brought_back(origin) -> None:
    track("origin/x", "main")
    short = origin("rev-parse", "--short", "main").out.strip()
    found = origin("branch", "-d", "-r", "origin/x")
    assert found.out == f"deleted remote-tracking ref origin/x (was {short})\n"
    origin("rev-parse", "origin/x", code=128)
    origin("undo")
    origin("rev-parse", "origin/x")
    assert len(origin("branch", "-rd", "origin/*").lines) == 2
    assert origin("branch", "-r").out == ""
    assert "'main' not found" in origin("branch", "-r", "-d", "main", code=128).err
    assert origin("branch").lines[0].startswith("* main")


def test_options_that_exclude_each_other(origin) -> None:
    for words in (("-d", "-a", "x"), ("-m", "-r", "x"), ("-a", "-r"), ("-r", "--show-current")):
        assert "cannot be used together" in origin("branch", *words, code=2).err


# --- settings -----------------------------------------------------------------------------------


def test_settings_of_remotes_are_shown_and_set(repo) -> None:
    url, name = "s3://bucket/prefix", "remote.my.remote-1"
    repo("config", "--repository", f"{name}.url={url}", f"{name}.read-only=true")
    found = repo("config", "--repository", "--json").json
    assert (found[f"{name}.url"], found[f"{name}.read-only"]) == (url, True)
    assert f"{name}.url" in repo("config", "--repository").out
    repo("config", "--repository", "--unset", f"{name}.url", "--unset", f"{name}.read-only")
    assert not [key for key in repo("config", "--repository", "--json").json if "remote" in key]


@pytest.mark.parametrize(("pair", "said"), [
    ("remote.o.url=5", "must be a text"),
    ("remote.o.url=", "must be a printable text that is not empty"),
    ("remote.o.url=s3://me:secret@host/b", "must have no user or password in it"),
    ("remote.o.endpoint=https://me@host", "must have no user or password in it"),
    ("remote.o.read-only=yes", "must be true or false, got yes"),
    ("remote.o.single-writer=1", "must be true or false, got 1"),
    ("remote.o.urll=x", "unknown setting 'remote.o.urll'"),
    ("remote.runs.url=x", "unknown setting 'remote.runs.url'"),
    ("remote.a/b.url=x", "unknown setting 'remote.a/b.url'"),
    ("remote.url=x", "unknown setting 'remote.url'"),
    ("remote..url=x", "unknown setting 'remote..url'"),
])  # fmt: skip
def test_settings_of_remotes_are_checked(repo, pair: str, said: str) -> None:
    found = repo("config", "--repository", pair, code=128)
    assert said in found.err and "secret" not in found.err
    assert not [key for key in repo("config", "--repository", "--json").json if "remote" in key]


def test_a_remote_and_the_first_part_of_a_name_exclude_each_other(repo) -> None:
    repo("branch", "sweep/1")
    repo("tag", "kept/v1")
    for name, what in (("sweep", "run 'sweep/1'"), ("kept", "tag 'kept/v1'")):
        said = repo("config", "--repository", f"remote.{name}.url=/x", code=128).err
        assert f"a remote cannot be called '{name}': there is a {what}" in said
    repo("config", "--repository", "remote.main.url=/x")  # no run begins with 'main/'
    repo("config", "--repository", "remote.origin.url=/x")
    for words in (
        ("branch", "origin/x"), ("tag", "origin/x"), ("branch", "-m", "sweep/1", "origin/x"),
        ("commit", "--run", "origin/x", "--observation", "1"),
    ):  # fmt: skip
        said = repo(*words, code=128).err
        assert "'origin' is a remote, and the name would be ambiguous" in said
        assert "use 'origin-x'" in said
    assert "origin" not in repo("branch").out and "origin" not in repo("tag").out
    repo("branch", "origin")  # which names nothing else
    repo("branch", "originals/1")
    repo("branch", "-D", "sweep/1")
    repo("config", "--repository", "remote.sweep.url=/x")
    said = repo("undo", code=128).err
    assert "'sweep' is a remote" in said
