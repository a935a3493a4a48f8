"""Checks of what commands print with ``--json`` against the schema that is shipped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

import click

from simgit.cli.root import cli

_TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
    "integer": int, "number": (int, float),
}  # fmt: skip


@cache
def schema() -> Mapping[str, Any]:
    """Return the shipped schema."""
    text = resources.files("simgit.cli").joinpath("output.schema.json").read_text()
    found: Mapping[str, Any] = json.loads(text)
    return found


def command_of(words: list[str]) -> str:
    """Return the command that words of the command line name, such as ``trace show``."""
    names: list[str] = []
    group: click.Command | None = cli
    for word, following in zip(words, (*words[1:], ""), strict=True):
        if not isinstance(group, click.Group):
            break
        both = f"{word} {following}"  # some commands have two words
        word = both if both in getattr(group, "commands", ()) else word
        found = group.get_command(click.Context(group), word)
        if found is not None:
            names.append(word)
            group = found
    return " ".join(names)


def commands(group: click.Group = cli, above: str = "") -> Iterator[str]:
    """Yield every command that has ``--json``."""
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        if isinstance(found, click.Group):
            yield from commands(found, f"{above}{name} ")
        elif found is not None and any("--json" in param.opts for param in found.params):
            yield f"{above}{name}"


def errors(value: Any, rule: Any, where: str = "$") -> Iterator[str]:
    """Yield what is wrong with a value by a rule of JSON Schema (the part of it that we use)."""
    if "$ref" in rule:
        yield from errors(value, schema()["$defs"][rule["$ref"].rpartition("/")[2]], where)
    if "anyOf" in rule and all(any(errors(value, each, where)) for each in rule["anyOf"]):
        yield f"{where}: {value!r:.100} fits none of {json.dumps(rule['anyOf']):.300}"
    if "const" in rule and value != rule["const"]:
        yield f"{where}: {value!r} is not {rule['const']!r}"
    types = rule.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(value, name) for name in types):
        yield f"{where}: {value!r:.100} is not of type {types}"
        return
    if isinstance(value, dict):
        yield from _object_errors(value, rule, where)
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        yield f"{where}: {value!r:.100} does not match {rule['pattern']}"
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from errors(item, rule.get("items", {}), f"{where}[{i}]")
    if isinstance(value, int) and not isinstance(value, bool):
        low, high = rule.get("minimum", value), rule.get("maximum", value)
        if not low <= value <= high:
            yield f"{where}: {value} is out of range"


def _object_errors(value: dict[str, Any], rule: Any, where: str) -> Iterator[str]:
    for name in rule.get("required", []):
        if name not in value:
            yield f"{where}: lacks '{name}'"
    known = rule.get("properties", {})
    more = rule.get("additionalProperties", {})
    names = rule.get("propertyNames", {}).get("pattern", "")
    for name, item in value.items():
        if not re.search(names, name):
            yield f"{where}: key '{name}' is not allowed"
        if name in known:
            yield from errors(item, known[name], f"{where}.{name}")
        elif more is False:
            yield f"{where}: unknown key '{name}'"
        else:
            yield from errors(item, more, f"{where}.{name}")


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])  # type: ignore[arg-type]


def _strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def check_output(words: list[str], out: str, err: str, code: int) -> None:
    """Check what a command with ``--json`` printed."""
    command = command_of(words)
    rules = schema()["$defs"]
    for line in out.splitlines():
        found = list(errors(_strict(line), rules["commands"]["properties"][command]))
        assert not found, (command, line[:1000], found[:5])
    remarks = [line for line in err.splitlines() if line.startswith("{")]
    assert remarks or code not in (2, 128), err
    for line in remarks:
        assert not list(errors(_strict(line), rules["remark"])), line
