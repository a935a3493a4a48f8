"""Help texts, messages and docstrings keep to the words of docs/glossary.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from simgit.cli.root import cli

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
GAP = "…"
"""What stands for a value within a message."""


def forbidden() -> dict[str, re.Pattern[str]]:
    """Return the forms on the right of the table 'What to say'."""
    section = GLOSSARY.partition("## What to say")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("|")]
    forms = [form for row in rows[2:] for form in re.findall(r"`([^`]+)`", row[2])]
    return {  # a capital only at the beginning: None is a name
        form: re.compile(rf"(?<!\w)(?i:{re.escape(form[0])}){re.escape(form[1:])}(?!\w)")
        for form in forms
    }


def beginnings() -> tuple[str, ...]:
    """Return the words with which no docstring begins."""
    sentence = GLOSSARY.partition("does not begin with one of the words")[2].partition(".\n")[0]
    return tuple(re.findall(r"`(\w+)`", sentence))


FORBIDDEN = forbidden()
BEGINNINGS = beginnings()


def offences(where: str, text: str) -> list[str]:
    """Return the forbidden forms that a text contains, with the place."""
    flat = re.sub(r"(?i)\bthere (is|are) none\b", GAP, " ".join(text.split()))
    return [
        f"{where}: '{form}' in: {flat}"
        for form, pattern in FORBIDDEN.items()
        if form[1:] in flat and pattern.search(flat)  # the former is far quicker
    ]


def helps(ctx: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the help of a command and of those within it."""
    command = ctx.command
    yield ctx.command_path, command.help or ""
    for param in command.params:
        if isinstance(param, click.Option):
            yield f"{ctx.command_path} {param.opts[-1]}", param.help or ""
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield from helps(click.Context(found, info_name=name, parent=ctx))


def literal(node: ast.expr) -> str:
    """Return the literal text of an expression, with gaps for what is computed."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else GAP
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return literal(node.left) + literal(node.right)
    if isinstance(node, ast.IfExp):
        return f"{literal(node.body)} {literal(node.orelse)}"
    return GAP


def is_error(call: ast.Call) -> bool:
    """Return whether a call makes an error or a warning that a person reads."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in ("warn", "fail", *ERRORS) or name.endswith(("Error", "Warning", "_error"))


ERRORS = (
    "NotFound", "AlreadyExists", "InvalidInput", "Conflict", "Divergence", "Untrusted",
    "EnvironmentChanged", "Unverified", "Advice",
)  # fmt: skip


def messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the literal texts of errors and warnings, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            calls = [node.exc]
        elif isinstance(node, ast.Call) and is_error(node):
            calls = [node]
        else:
            continue
        for call in calls:
            for argument in call.args:
                yield argument.lineno, literal(argument)


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the first lines of docstrings, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text.partition("\n")[0]


ROOMS = sorted({p.relative_to(ROOT / "simgit").parts[0] for p in (ROOT / "simgit").rglob("*.py")})


def files(room: str) -> list[Path]:
    """Return the modules of a package, or a module of the top."""
    path = ROOT / "simgit" / room
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@cache
def texts(room: str) -> list[tuple[str, list[tuple[int, str]], list[tuple[int, str]]]]:
    """Return the messages and the docstrings of each module of a package."""
    found = []
    for path in files(room):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found.append((str(path.relative_to(ROOT)), [*messages(tree)], [*docstrings(tree)]))
    return found


def test_the_page_has_forms_to_compare_with() -> None:
    assert len(FORBIDDEN) > 50 and "is none" in FORBIDDEN and "Whether" in BEGINNINGS
    assert offences("here", "Nothing\n  leads to it") and not offences("here", "nothing led to")
    assert offences("here", "it is none") and not offences("here", "is None if there is none")


def test_no_help_has_a_forbidden_form() -> None:
    root = cli.make_context("simgit", [], resilient_parsing=True)
    found = [each for where, text in helps(root) for each in offences(where, text)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_no_message_has_a_forbidden_form(room: str) -> None:
    found = []
    for path, said, _ in texts(room):
        for line, text in said:
            found += offences(f"{path}:{line}", text)
    assert not found, "\n" + "\n".join(dict.fromkeys(found))


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_begin_with_what_the_thing_is_or_does(room: str) -> None:
    found = []
    for path, _, first_lines in texts(room):
        for line, text in first_lines:
            where = f"{path}:{line}"
            found += offences(where, text)
            if text.split()[0].rstrip(",.") in BEGINNINGS:
                found.append(f"{where}: begins with '{text.split()[0]}': {text}")
    assert not found, "\n" + "\n".join(found)
