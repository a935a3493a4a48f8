"""Rows of simulator-state-db: what their columns become in runs and states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from simgit.datasets.formats.mapping import flag
from simgit.datasets.formats.tables import Tables, quoted
from simgit.errors import InvalidInput, shown
from simgit.refs.names import usable_name

_JSON: Final = frozenset((
    "environment_config", "agent_config", "max_steps", "seed", "tags", "config_overrides",
    "total_reward", "extra_metadata",
))  # fmt: skip


def info_of(row: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Return the info of a state, with the columns that have no field of their own."""
    given, more = json_of(row.get("info")), json_of(row.get("extra_metadata"))
    info: dict[str, Any] = given if isinstance(given, dict) else {}
    if given is not None and info is not given:
        info["info"] = given
    number = row.get("step_number")
    others = {
        "extra_metadata": None if more == {} else more,
        "step_number": None if number is None or int(number) == step else int(number),
    }
    for name, value in others.items():
        if value is not None:
            info[f"{name}_" if name in info else name] = value  # the environment's own stays
    return info


def settings_of(simulation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that a simulation gives all of its runs."""
    agent = simulation.get("agent_config")
    found = {
        "agent": dict(agent) if isinstance(agent, dict) else {},
        "agent_type": simulation.get("agent_type"),
        "environment": simulation.get("environment_config"),
        "max_steps": simulation.get("max_steps"),
    }
    return {name: value for name, value in found.items() if value not in (None, {})}


def run_name(
    row: Mapping[str, Any], simulation: Mapping[str, Any], several: bool, taken: set[str]
) -> str:
    """Return the name of a run; ``SIMULATION/RUN`` if the tables have several simulations."""
    name = str(row["name"])
    if several and simulation:
        name = f"{str(simulation['name']).replace('/', '-')}/{name}"
    name = usable_name(name)
    if name.casefold() in taken:
        name = usable_name(f"{name}-{str(row['id'])[:8]}")
    taken.add(name.casefold())
    return name


def records(tables: Tables, table: str) -> list[dict[str, Any]]:
    """Return the rows of a small table as dicts, their JSON decoded."""
    names = tables.columns(table)
    if not names:
        return []
    columns = ", ".join(map(quoted, names))
    found = []
    for row in tables.rows(f"SELECT {columns} FROM {quoted(table)} ORDER BY created_at, id"):
        record = dict(zip(names, row, strict=True))
        found.append({n: json_of(v) if n in _JSON else v for n, v in record.items()})
    return found


def parents_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return runs such that each comes after the one that it was branched off."""
    known = {str(row["id"]): row for row in rows}
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        line: dict[str, dict[str, Any]] = {}
        at: dict[str, Any] | None = row
        while at is not None and str(at["id"]) not in found and str(at["id"]) not in line:
            line[str(at["id"])] = at
            at = known.get(str(at.get("parent_run_id")))
        found |= dict(reversed(line.items()))
    return list(found.values())


def json_of(value: Any) -> Any:
    """Return what a column of type JSON holds; SQLite has its numbers as numbers."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except RecursionError:
        raise InvalidInput("malformed JSON: nested too deep") from None
    except ValueError as error:
        raise InvalidInput(f"malformed JSON: {error}") from None


def flag_of(value: Any) -> bool:
    """Return a flag; False for none.

    Raises:
        InvalidInput: it is neither true nor false.
    """
    try:
        return value is not None and flag(value) is True
    except ValueError as error:
        raise InvalidInput(f"flag {shown(value)}: {error}") from None


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without its empty columns, times as texts."""
    return {
        name: value if isinstance(value, (str, int, float, bool, dict, list)) else str(value)
        for name, value in row.items()
        if value is not None
    }
