"""Whoever types a git word that is not here gets the way to do it, and that way exists."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click
import pytest

from simgit.cli.commands import FLAT
from simgit.cli.git_words import COMMANDS, FIRST, OPTIONS, VALUES, about_revision
from simgit.cli.root import cli
from simgit.cli.shell import completions
from tests.cli.conftest import Call
from tests.support.paths import ROOT

FILLED = {
    "CONDITION": "reward > 0", "DIR": "copy", "FILE": "a.bundle", "NAME": "note", "NEW": "fresh",
    "OID": "walk", "OLD": "main", "OP": "@", "PATH": "gain.txt", "REVISION": "walk~1", "RUN": "walk",
    "REVISION:PATH": "HEAD:gain.txt", "SOURCE": ".", "TAG": "v1", "TEXT": "text",
    "REMOTE": "origin", "URL": "shared",
}  # fmt: skip
"""What a reader fills in for the words in capitals."""
BEFORE = {
    "redo": ("undo",), "train --resume": ("branch", "again", "train/cpu-slight-noop-1@ep1"),
}  # fmt: skip
"""What has to have happened before a command."""
QUOTED = re.compile(r"'simgit ([^']*)'")
ADVICE = sorted(
    {
        command
        for text in (
            *COMMANDS.values(),
            *OPTIONS.values(),
            *VALUES.values(),
            about_revision("HEAD:a"),
        )
        for command in QUOTED.findall(text)
    }
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory to which the fixture ``filled`` writes a repository once."""
    return tmp_path_factory.mktemp("template")


@pytest.fixture
def filled(directory: Path, template: Path, run: Call) -> Call:
    """``run``, in a repository with two runs, an environment's, a tag, an attachment, a training."""
    if not (template / ".simgit").exists():
        run("-C", template, "init")
        (template / "gain.txt").write_text("1")
        call = ("-C", template)
        run(*call, "commit", "-o", "[0.5]", "-r", 1, "--reset")
        run(*call, "train", "--trace", "cpu-slight", "--agent", "noop", "--episodes", 2,
            "--max-steps", 2, "--curve", "curve.png")  # fmt: skip
        run(*call, "record", "CartPole-v1", "--steps", 20, "--seed", 0, "--run", "walk")
        run(*call, "commit", "-o", "[0.6]", "-r", 1, "--file", "gain.txt")
        run(*call, "attach", "walk~1", "note", "gain.txt")
        run(*call, "tag", "v1")
        run(*call, "bundle", "create", "a.bundle", "walk")
        run(*call, "remote", "add", "origin", "shared")
        run(*call, "push", "origin", "walk", "main")
    shutil.copytree(template, directory, dirs_exist_ok=True)
    return run


@pytest.mark.parametrize("command", ADVICE)
def test_every_command_of_an_answer_can_be_given(
    command: str, filled: Call, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = [FILLED.get(word, word) for word in command.split()]
    if command in BEFORE:
        filled(*BEFORE[command])
    elsewhere = ("-C", tmp_path_factory.mktemp("new")) if command == "init" else ()
    found = filled(*elsewhere, *words, code=None)
    assert found.code in (0, 1), found.err  # 1: two histories differ
    assert not found.err.startswith(("error", "fatal"))


def quoted_in_the_package() -> list[tuple[str, str]]:
    """Return the places and words of the commands that messages, helps and comments quote."""
    return [
        (f"{path.relative_to(ROOT)}:{number}", words)
        for path in sorted((ROOT / "simgit").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for words in re.findall(r"['`]simgit (?!help )([a-z][^'`\"{]*)", line)
    ]


@pytest.mark.slow
def test_every_command_that_is_quoted_exists_with_its_options() -> None:
    places = quoted_in_the_package()
    assert len(places) > 100
    for place, text in places:
        words, ctx = text.split(), cli.make_context("simgit", [], resilient_parsing=True)
        while words and isinstance(ctx.command, click.Group):
            found = ctx.command.get_command(ctx, words.pop(0))
            assert found is not None, f"{place}: simgit {text}"
            ctx = click.Context(found, info_name=found.name, parent=ctx)
        known = {name for p in ctx.command.get_params(ctx) for name in (*p.opts, *p.secondary_opts)}
        given = {word for word in words if re.fullmatch(r"--?[A-Za-z][\w-]*", word)}
        assert given <= known, f"{place}: simgit {text}"


@pytest.mark.parametrize("word", COMMANDS)
def test_a_word_of_git_is_answered_in_one_line(word: str, run: Call) -> None:
    said = run(*word.split(), code=2).err
    assert said.count("\n") == 1 and said.startswith("error: ")
    assert said.endswith(f": {COMMANDS[word]}\n")
    assert word.split()[0] not in FLAT or " " in word


@pytest.mark.parametrize("words", OPTIONS)
def test_an_option_of_git_is_answered_in_one_line(words: str, run: Call) -> None:
    *command, option = words.split()
    said = run(*(command or ["show"]), option, code=2).err
    assert said.count("\n") == 1 and said.endswith(f": {OPTIONS[words]}\n")


@pytest.mark.parametrize("words", VALUES)
def test_an_option_that_takes_a_value_only_here_is_answered_in_one_line(
    words: str, run: Call
) -> None:
    command, name = words.split()
    said = run(command, f"--{name}", "-m", "text", code=2).err
    assert said == f"error: --{name} needs a value, but option '-m' follows: {VALUES[words]}\n"


@pytest.mark.parametrize(
    "words",
    [("log", "HEAD:a.txt"), ("log", "--", "a.txt"), ("diff", "a.txt"),
     ("log", "a.txt..main")],
    ids=" ".join,
)  # fmt: skip
def test_a_file_in_the_place_of_a_revision_is_answered_in_one_line(
    words: tuple[str, ...], repo: Call
) -> None:
    said = repo(*words, code=128).err
    assert said.count("\n") == 1 and "a.txt' is not a revision: 'simgit ls-tree -r HEAD' " in said


@pytest.mark.parametrize("group", FIRST)
def test_a_group_without_its_command_names_the_one_that_is_meant(group: str, run: Call) -> None:
    said = run(group, "main", code=2).err
    assert said.endswith(f"; did you mean 'simgit {group} {FIRST[group]} main'?\n")
    assert run(group, FIRST[group], "--help").out.startswith(
        f"Usage: simgit {group} {FIRST[group]}"
    )


def test_an_option_that_is_here_is_in_no_table(run: Call) -> None:
    root = cli.make_context("simgit", [], resilient_parsing=True)
    for words in OPTIONS:
        command, _, option = words.rpartition(" ")
        for name in [command] if command else []:
            found = cli.get_command(root, name)
            assert found is not None
            assert all(option not in (*p.opts, *p.secondary_opts) for p in found.params), words


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("stauts",), "status"), (("brnach",), "branch"), (("trace", "shw"), "show"),
        (("log", "--onelin"), "--oneline"), (("--no-pagr", "log"), "--no-pager"), (("log", "--epsiodes"), "--episodes"),
        (("show", "mian"), "main"), (("run", "show", "mai"), "main"),
        (("log", "hed"), "HEAD"), (("tag", "-d", "v11"), "v1"), (("show", "tags/v11"), "v1"),
        (("config", "--repository", "gc.grce=3"), "gc.grace"),
        (("log", "--where", "rewrd > 0"), "reward"),
        (("train", "--trace", "cpu-slight", "--agent", "gredy"), "greedy"),
        (("train", "--trace", "cpu-slight", "--set", "agent.epsilon_step=9"), "epsilon_steps"),
        (("train", "--trace", "cpu-slihgt", "--agent", "noop"), "cpu-slight"),
        (("step", "--trace", "cpu-slight", "--action", "bump_cpu"), "bump_cpu_small"),
        (("step", "--trace", "cpu-slight", "--reward", "shapd"), "shaped"),
        (("config", "main", "--unset", "agent.lrr"), "agent.lr"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_nearest_right_word_is_named(words: tuple[str, ...], near: str, repo: Call) -> None:
    repo("tag", "v1")
    repo("config", "agent.lr=0.1")
    assert f"did you mean '{near}'?" in repo(*words, code=None).err


@pytest.mark.parametrize(
    "words",
    [("frobnicate",), ("log", "--frobnicate"), ("log", "-x"), ("show", "frobnicate"), ("x",)],
    ids=" ".join,
)
def test_nothing_is_suggested_that_is_not_near(words: tuple[str, ...], repo: Call) -> None:
    said = repo(*words, code=None)
    assert said.code in (2, 128) and "did you mean" not in said.err


def shell(line: str, word: int, name: str = "bash") -> list[str] | None:
    """Return what a shell is answered without click."""
    return completions(
        {"_SIMGIT_COMPLETE": f"{name}_complete", "COMP_WORDS": line, "COMP_CWORD": str(word)}
    )


def test_commands_and_options_complete_without_click() -> None:
    assert shell("simgit lo", 1) == ["plain,log"]
    assert shell("simgit ", 1) == [f"plain,{name}" for name in FLAT]
    assert shell("simgit -C there bran", 3) == ["plain,branch"]
    assert shell("simgit trace val", 2) == ["plain,validate"]
    assert shell("simgit trace generate --sev", 3) == ["plain,--severity", "plain,--severities"]
    assert shell("simgit log --on", 2, "zsh") == ["plain\n--oneline\nOne line per state."]
    found = completions(
        {"_SIMGIT_COMPLETE": "fish_complete", "COMP_WORDS": "simgit log --on", "COMP_CWORD": "--on"}
    )
    assert found == ["plain,--oneline\tOne line per state."]


@pytest.mark.parametrize(
    ("line", "word"),
    [("simgit log ma", 2), ("simgit -C ", 2), ("simgit commit --format ", 3),
     ("simgit commit -m -", 3), ("simgit nothing --x", 2), ("simgit log 'a b' --on", 3)],
)  # fmt: skip
def test_what_the_tables_do_not_have_is_left_to_click(line: str, word: int) -> None:
    assert shell(line, word) is None
