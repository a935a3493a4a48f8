"""Wrong usage is answered in a line that says what is wrong, with what, and what to do."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from simgit import Repository
from tests.cli.conftest import Call
from tests.cli.test_help import commands


def test_the_name_of_a_thing_keeps_its_capitals(repo: Call) -> None:
    repo("checkout", "main~1")
    assert repo("config", code=2).err.startswith("error: HEAD is detached: name a run\n")
    assert repo("branch", "-m", "x", code=2).err.startswith("error: HEAD is detached: give both")
    assert repo("log", "--zzz=1", "--where", code=2).err.startswith("error: 'simgit log' has no")
    assert repo("stats", "x", code=2).err.startswith("error: got unexpected extra argument (x)\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("log", "-n", "-1"), "'-1' must be a whole number of 0 or more"),
        (("log", "--max-count=-1"), "'-1' must be a whole number of 0 or more"),
        (("reflog", "-n", "-1"), "'-1' must be a whole number of 0 or more"),
        (("op", "log", "-n", "-1"), "'-1' must be a whole number of 0 or more"),
        (("log", "-n", "abc"), "'abc' must be a whole number of 0 or more"),
        (("commit", "--seed", "1.5"), "'1.5' must be a whole number"),
        (("play", "--zoom", "0"), "'0' must be a number greater than 0"),
        (("train", "--gamma", "x"), "'x' must be a number"),
        (("trace", "plot", "x", "--nodes", "0"), "'0' must be a whole number from 1 to 10000"),
        (("gc", "--grace", "-1"), "'-1' is not a duration such as 14d"),
        (("commit", "--reward", "big"), "'big' must be a number"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_bad_number_is_refused_with_the_rule(
    words: tuple[str, ...], said: str, run: Call
) -> None:
    error, hint = run(*words, code=2).err.splitlines()
    assert error.startswith("error: invalid value for ") and f": {said}" in error
    assert hint.startswith(f"hint: see 'simgit {words[0]}")


def test_a_dash_and_a_number_is_a_count_only_where_n_is_one(repo: Call) -> None:
    assert len(repo("log", "-2", "--oneline").lines) == 2
    assert len(repo("reflog", "-1").lines) == 1
    assert (
        repo("log", "--where", "-1", "-1", "--oneline").lines
        == repo("log", "-1", "--oneline").lines
    )
    assert "revision '-1' not found" in repo("log", "--", "-1", code=128).err
    assert repo("gc", "-5", code=2).err.startswith("error: 'simgit gc' has no option '-5'\n")


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_an_option_without_its_value_leads_to_the_help_of_the_command(
    name: str, command: click.Command, run: Call
) -> None:
    for param in command.params:
        if isinstance(param, click.Option) and not (param.is_flag or param.hidden):
            for option in param.opts:
                assert run(*name.split(), option, code=2).err == (
                    f"error: option '{option}' requires an argument\n"
                    f"hint: see 'simgit {name} --help'\n"
                )


def test_settings_of_what_is_not_created_are_refused(repo: Call) -> None:
    for words, option in (
        (("branch", "--set", "lr=1"), "--set"), (("branch", "--seed", 1), "--seed"),
        (("branch", "-d", "main", "--set", "lr=1"), "--set"), (("tag", "-f"), "--force"),
        (("tag", "-m", "text"), "--message"), (("tag", "-l", "v*", "-f"), "--force"),
    ):  # fmt: skip
        assert f"error: {option} needs the NAME of a " in repo(*words, code=2).err
    assert repo("branch").lines == repo("branch", "-l").lines and repo("tag").out == ""


def test_a_stream_of_nothing_good_leaves_the_status_of_the_run(repo: Call) -> None:
    def status() -> str:
        return repo("run", "show", "main", "--json").json["status"]

    bad, good = b"garbage\n", b'{"reward": 1}\n'
    found = repo("commit", "--stdin", stdin=bad, code=128).err
    assert found.endswith("(recorded before it: nothing)\n") and status() == "active"
    repo("run", "pause", "main")
    repo("commit", "--stdin", stdin=bad, code=128)
    assert status() == "paused"
    found = repo("commit", "--stdin", stdin=good + bad, code=128).err
    assert found.endswith("(recorded before it: 1); run 'main' is marked failed\n")
    assert status() == "failed"
    repo("commit", "--stdin", stdin=good)
    assert status() == "active"


@pytest.mark.parametrize("name", ["file", "nowhere", "file/below"])
def test_the_directory_to_start_in_must_be_one(name: str, repo: Call, directory: Path) -> None:
    (directory / "file").write_text("")
    why = "not a directory" if name == "file" else "no such directory"
    for command in ("log", "init"):
        said = repo("-C", name, command, code=128).err
        assert said == f"fatal: cannot start in '{name}' (-C): {why}\n"
    assert "usage: simgit" in repo("-C", name, "--help").out.lower()


def test_files_are_checked_before_the_work_is_done(repo: Call, directory: Path) -> None:
    (directory / "file").write_text("")
    for words, said in (
        (("train", "--curve", "a.txt"), "cannot write 'a.txt': the name must end in .png or .svg"),
        (("train", "--curve", "no/a.png"), "cannot write 'no/a.png': no directory 'no'"),
        (("train", "--out", "file"), "cannot write to 'file': not a directory"),
        (("plot", "--output", "no/a.png"), "cannot write 'no/a.png': no directory 'no'"),
        (("attach", "HEAD", "note", "."), "cannot read '.': is a directory"),
    ):
        assert repo(*words, code=128).err == f"fatal: {said}\n"
    assert [run["name"] for run in repo("run", "list", "--json").records] == ["main"]


def test_an_entry_that_no_state_has_is_named(repo: Call) -> None:
    for condition, said in (
        ("info.live > 1", "warning: no state has 'info.live'; did you mean 'info.lives'?\n"),
        ("info.other.deep > 1", "warning: no state has 'info.other'\n"),
        ("info['live'] > 1 and step > 0", "warning: no state has 'info.live'; did you mean"),
        ("info.lives > 5", ""),
        ("info.live == None", ""),
        ("info.live > 1 or reward > 0", ""),
        ("observation[0] > 5", ""),
    ):
        found = repo("log", "--where", condition)
        assert found.err.startswith(said) and bool(found.err) == bool(said), condition
    assert len(repo("log", "--where", "info.live == None").lines) > 3


def test_a_condition_that_can_never_hold_is_refused(repo: Call) -> None:
    said = repo("log", "--where", 'step > "a"', code=128).err
    assert said == "fatal: condition, column 1: 'step' is a number, 'a' is a text\n"
    said = repo("log", "--where", "action == left", code=128).err
    assert said.endswith("unknown field 'left'; write a text in quotes: 'left'\n")


def test_the_choices_of_an_argument_are_on_one_line(run: Call) -> None:
    error, _ = run("completion", code=2).err.splitlines()
    assert error.endswith("Choose from: bash, zsh, fish")


@pytest.mark.parametrize("tail", ["1.5", "ep1.", "EP1", "ep", "ep1.2.3", "-1", "ep-1", ""])
def test_a_malformed_step_or_episode_is_told_its_form(tail: str, repo: Call) -> None:
    said = repo("rev-parse", f"main@{tail}", code=128).err
    assert said == (
        f"fatal: revision 'main@{tail}' is malformed; write 'main@5' for a step, 'main@ep5' for an "
        "episode, 'main@ep5.10' for a state in it, 'main@t=12.5' for a simulated time\n"
    )


@pytest.mark.parametrize("bare", ["5", "ep1", "ep1.2", "t=2.5"])
def test_a_bare_step_or_episode_is_told_what_it_follows(bare: str, repo: Call) -> None:
    said = repo("show", bare, code=128).err
    assert said == f"fatal: revision '{bare}' not found; did you mean 'HEAD@{bare}'?\n"


def test_a_run_in_use_is_told_the_option_for_another_one(repo: Call) -> None:
    assert "record to another run (--run)" in repo("record", "CartPole-v1", code=128).err


@pytest.mark.parametrize("url", ["https://example.org/a", "ssh://h/a"])
def test_a_url_of_no_remote_cannot_be_cloned(url: str, run: Call, directory: Path) -> None:
    said = run("clone", url, code=128).err
    assert said.startswith(
        "fatal: remotes have URLs that begin with s3:// or file://, or are paths"
    )
    assert not list(directory.iterdir())


def test_no_host_can_be_cloned_from(run: Call, directory: Path) -> None:
    said = run("clone", "git@example.org:a/b", code=2).err
    assert said.startswith("error: cannot clone from 'git@example.org:a/b'; give a directory, or ")
    assert not list(directory.iterdir())


@pytest.mark.parametrize("content", [b"", b"x\n", b"# v2 git bundle\n"])
def test_what_is_shorter_than_a_bundle_is_none(content: bytes, repo: Call, directory: Path) -> None:
    (directory / "small").write_bytes(content)
    said = repo("import", "small", code=128).err
    assert said.startswith(
        "fatal: 'small' is not a bundle, nor in another format that simgit reads"
    )


def test_gc_tells_of_runs_that_were_undone(repo: Call, directory: Path) -> None:
    repo("branch", "try")
    repo("undo")
    said = repo("gc").out
    assert said.startswith(
        "nothing to remove; 1 deleted or undone run is kept by its reflog until "
    )
    with Repository.open(directory) as found:
        assert list(found.runs) == ["main"]


def test_merging_histories_says_whose_agents_are_averaged(repo: Call) -> None:
    said = repo("merge", "main", code=2).err
    assert "histories cannot be merged; --average averages the agents of trainings" in said
