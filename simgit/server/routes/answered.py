"""The answers of routes, for the OpenAPI description: the schemas of what commands print."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, Final

LISTS: Final[Mapping[str, str]] = {
    "GET /v1/best": "run best", "GET /v1/children/{revision}": "children",
    "GET /v1/episodes/{revision}": "log", "GET /v1/leaves": "leaves",
    "GET /v1/lineage/{name}": "lineage", "GET /v1/log": "log", "GET /v1/log/{revisions}": "log",
    "GET /v1/operations": "op log", "GET /v1/outline": "log", "GET /v1/reflog/{ref}": "reflog",
    "GET /v1/resolve/{revision}": "rev-parse", "GET /v1/simulations": "sim list",
    "GET /v1/tags": "tag",
}  # fmt: skip
"""Routes that answer a list of what a command prints."""
ONES: Final[Mapping[str, str]] = {
    "GET /v1/bisect": "bisect", "GET /v1/changes/{operation}": "op show",
    "GET /v1/config/{name}": "config", "GET /v1/diff": "diff",
    "GET /v1/runs/{name}": "run show", "GET /v1/settings": "config",
    "GET /v1/simulations/{run}": "sim list", "GET /v1/states/{revision}": "show",
    "GET /v1/stats": "stats", "GET /v1/tags/{name}": "tag",
    "POST /v1/simulations": "sim list",
}  # fmt: skip
"""Routes that answer what a command prints, or one of what it lists."""
_RUNS: Final = "GET /v1/runs"
_ABOVE: Final = "#/components/schemas/"


def add_answers(api: dict[str, Any]) -> None:
    """Add to an OpenAPI description what its routes answer."""
    text = resources.files("simgit.cli").joinpath("output.schema.json").read_text()
    rules = json.loads(text.replace("#/$defs/", _ABOVE))["$defs"]
    commands = rules.pop("commands")["properties"]
    schemas = api.setdefault("components", {}).setdefault("schemas", {})
    for name, route in _routes(api):
        command = LISTS.get(name) or ONES.get(name) or ("run list" if name == _RUNS else None)
        if command is None:
            continue
        label = command.replace(" ", "-")
        schemas[label] = commands[command]
        one = {"$ref": _ABOVE + label}
        answer: dict[str, Any] = one if name in ONES else {"type": "array", "items": one}
        if name == _RUNS:
            answer = {"anyOf": [answer, _since(one)]}
        status = next(each for each in route["responses"] if each.startswith("2"))
        route["responses"][status]["content"] = {"application/json": {"schema": answer}}
    for name in _named(schemas, rules):
        schemas[name] = rules[name]


def _routes(api: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in api["paths"].items():
        for method, route in methods.items():
            yield f"{method.upper()} {path}", route


def _since(one: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what changed since a cursor."""
    names = {"type": "array", "items": {"type": "string"}}
    parts = {
        "runs": {"type": "array", "items": one},
        "removed": names,
        "whole": {"type": "boolean"},
    }
    return {"type": "object", "properties": parts, "required": list(parts)}


def _named(schemas: Mapping[str, Any], rules: Mapping[str, Any]) -> set[str]:
    """Return the names of the rules that schemas lead to."""
    found: set[str] = set()
    waiting: list[Any] = [*schemas.values()]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
            name = str(each.get("$ref", "")).removeprefix(_ABOVE)
            if name in rules and name not in found:
                found.add(name)
                waiting.append(rules[name])
    return found
