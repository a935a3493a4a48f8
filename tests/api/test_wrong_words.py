"""Every command of the command line, with odd words and odd values of every option."""

from __future__ import annotations

import random
import traceback
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from simgit import Repository
from simgit.cli.root import cli
from tests.support.examples import share

ODD = [
    "", " ", "x" * 3000, "a\nb", "a\tb", "é", "\u202e", "..", "...", "a..b", "main..", "main@", "@",
    "main@{9}", "main@ep", "main@99", "main~9", "^", "^main", "~1", "*", "[", "{", "'", '"', "\\",
    "%s", "{0}", "-1", "0", "1e999", "nan", "-0.5", "99999999999999999999999", "true", "null", "/dev/null/x",
    "/nowhere/at/all", ".", "main", "HEAD", "other", "0" * 64, "0" * 8, "-", "--", "--nothing", "-x",
    "reward >", "((", "reward > 0", "a=b", "=", "a.b=1", "[1,", "$(x)", ":", "main:x", "\udcff",
]  # fmt: skip
LONG = {"play", "train", "record", "doctor", "step", "video", "evaluate", "serve", "sim work"}
"""Commands that work for minutes or until Ctrl-C, wait for a person, or open a window."""


def commands() -> list[tuple[str, ...]]:
    context = click.Context(cli)
    found: list[tuple[str, ...]] = []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if name in LONG or command is None:
            continue
        if isinstance(command, click.Group):
            inside = click.Context(command)
            found += [
                (name, each)
                for each in command.list_commands(inside)
                if f"{name} {each}" not in LONG
            ]
        else:
            found.append((name,))
    return found


def options(words: tuple[str, ...]) -> list[str]:
    command: Any = cli
    for word in words:
        command = command.get_command(click.Context(command), word)
    return [
        each.opts[0]
        for each in command.params
        if isinstance(each, click.Option) and not each.is_flag
    ]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "within"  # ".." is one of the arguments
    place.mkdir()
    monkeypatch.chdir(place)
    for name in ("SIMGIT_DIR", "SIMGIT_PAGER", "PAGER"):
        monkeypatch.delenv(name, raising=False)
    with Repository.init(place) as repo:
        with repo.recorder("main") as recorder:
            for i in range(6):
                recorder.append(i, i, float(i), info={"n": i}, reset=i == 0)
        repo.attach("main", "x", b"x")
        repo.tag("v1", "main@2")
    return place


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_odd_words_are_told_and_never_a_traceback(words: tuple[str, ...], directory: Path) -> None:
    generator = random.Random(" ".join(words))
    known = options(words)
    for _ in range(share(60)):
        given = generator.choices(ODD, k=generator.choice((1, 1, 2, 3)))
        if known and generator.random() < 0.6:
            given[-1:] = [generator.choice(known), generator.choice(ODD)]
        result = CliRunner().invoke(cli, [*words, *given], input="", prog_name="simgit")
        error = result.exception
        if error is not None and not isinstance(error, SystemExit):
            trace = "".join(traceback.format_exception(error))
            pytest.fail(f"simgit {' '.join(words)} {given!r:.200}: {trace[-1500:]}")
        assert result.exit_code in (0, 1, 2, 128), (words, given, result.output)
        assert "Traceback" not in result.output, (words, given)
