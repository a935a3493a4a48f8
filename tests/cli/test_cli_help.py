"""Every command is documented, has an example and offers JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from simgit.cli.app import Command
from simgit.cli.commands import COMMANDS
from simgit.cli.docs import reference
from simgit.cli.root import cli
from tests.cli.conftest import Call

ROOT = Path(__file__).resolve().parents[2]


def commands() -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(cli)
    for name in cli.list_commands(ctx):
        found = cli.get_command(ctx, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in found.commands.items())
        else:
            yield name, found


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_help_an_example_and_json(name: str, command: click.Command) -> None:
    assert isinstance(command, Command)
    assert command.help and command.help[0].isupper()
    assert f"simgit {name}" in command.example
    assert "--json" in [opt for param in command.params for opt in param.opts]
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert all(option.help or option.hidden for option in options)


def test_every_command_is_listed_in_one_section() -> None:
    names = [name for section in COMMANDS.values() for name in section]
    assert len(names) == len(set(names))
    assert all(text.endswith(".") for s in COMMANDS.values() for _, text in s.values())


def test_the_command_reference_is_current() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert text == reference(), "run: python -m simgit.cli.docs > docs/cli.md"


def test_help_fits_in_eighty_columns(run) -> None:
    for args in ([], *([*name.split()] for name, _ in commands())):
        text = run(*args, "--help").out
        assert max(map(len, text.splitlines())) <= 80, args
        assert "Example:" in text or not args


@pytest.mark.parametrize("group", ["trace", "bundle", "op", "kube", "run"])
def test_the_commands_of_a_group_are_described_whole(group: str, run: Call) -> None:
    lines = run(group, "--help").lines
    listed = "\n".join(lines[lines.index("Commands:") :])
    assert "..." not in listed and max(map(len, lines)) <= 80
