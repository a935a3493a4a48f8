"""Every command is documented, has an example and offers JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import click
import pytest

from simgit.cli import environment_options
from simgit.cli import run as run_module
from simgit.cli.app import Command
from simgit.cli.commands import COMMANDS, FLAT
from simgit.cli.docs import option_table, reference
from simgit.cli.root import cli
from simgit.cli.trace.generate import trace_generate
from simgit.kube.task.reward import REWARDS
from simgit.kube.task.scenarios import SCENARIOS, TARGET
from simgit.kube.task.task import Order
from simgit.kube.task.vectors import VECTORS
from simgit.refs.records import STATUSES
from tests.cli.conftest import Call
from tests.support.paths import ROOT


def commands() -> Iterator[tuple[str, click.Command]]:
    ctx = cli.make_context("simgit", [], resilient_parsing=True)
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


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_the_help_of_a_command_begins_with_one_line(name: str, command: click.Command) -> None:
    first = " ".join((command.help or "").partition("\n\n")[0].split())
    assert len(first) <= 78 and first.endswith("."), first
    verb = first.split()[0]
    assert not verb.endswith(("ing", "s")) or verb in ("Process", "Pass"), "not imperative"


@pytest.mark.slow
def test_the_first_screen_fits_and_has_all_commands(run: Call, process: Call) -> None:
    screens = {run("--help").out, run("help").out, process("--help").out, process().err}
    [screen] = screens
    lines = screen.splitlines()
    assert len(lines) < 24, "the prompt needs a line"
    assert max(map(len, lines)) <= 80
    assert {name for name in FLAT if name in screen.split()} == set(FLAT)
    assert process().code == 2
    assert run("--version").out == process("--version").out


def test_all_commands_are_shown_when_they_are_asked_for(run: Call) -> None:
    lines = run("help", "--all").lines
    assert lines == run("help", "-a").lines
    assert [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in FLAT]
    for name, (_, text) in FLAT.items():
        assert any(line.split() == [name, *text.split()] for line in lines), name


def test_the_table_of_options_is_current() -> None:
    text = (ROOT / "simgit" / "cli" / "option_table.py").read_text(encoding="utf-8")
    assert text == option_table(), "run: make docs"


def test_choices_are_those_of_the_library() -> None:
    assert run_module.STATUSES == STATUSES
    assert REWARDS.names() == environment_options.REWARDS
    assert VECTORS.names() == environment_options.VECTORS
    assert get_args(Order) == environment_options.ORDERS
    assert trace_generate.params[4].default == TARGET
    assert all(name in (trace_generate.help or "") for name in SCENARIOS.names())


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


@pytest.mark.parametrize("group", ["trace", "bundle", "op", "kube", "run", "sim"])
def test_the_commands_of_a_group_are_described_whole(group: str, run: Call) -> None:
    lines = run(group, "--help").lines
    listed = "\n".join(lines[lines.index("Commands:") :])
    assert "..." not in listed and max(map(len, lines)) <= 80
