"""Conditions of a query on the names of runs alone: of other runs nothing is read.

A table that a query reads once, without a join, needs only the runs for which those parts of its
WHERE hold that name no other column. DuckDB tells which they are, and filters all rows once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa

from simgit.datasets.sql.pushdown import quoted

COLUMNS: Final = {"runs": "name", "episodes": "run", "series": "run", "states": "run"}
"""The column of each table that is the name of a run, and never null."""
_KNOWN: Final = "runs that there are"
_CLASSES: Final = {"COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CONSTANT", "PARAMETER"}
_FUNCTIONS: Final = {
    "~~", "!~~", "~~*", "!~~*", "~~~", "like_escape", "ilike_escape", "not_like_escape",
    "not_ilike_escape", "^@", "starts_with", "prefix", "suffix", "ends_with", "contains",
    "regexp_matches", "regexp_full_match", "lower", "upper",
}  # fmt: skip


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield the maps of a syntax tree, without recursion: it may be deep."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left += node.values()
        elif isinstance(node, list):
            left += node


def wanted_runs(
    connection: Any,
    tree: Any,
    names: Sequence[str],
    params: Sequence[Any] | Mapping[str, Any] | None,
) -> dict[str, set[str]]:
    """Return the runs that the tables of a query need, of those that do not need all of them."""
    found = {}
    named = [n["table_name"].lower() for n in nodes(tree) if n.get("type") == "BASE_TABLE"]
    for select in nodes(tree):
        table = select.get("from_table") or {}
        if select.get("type") != "SELECT_NODE" or table.get("type") != "BASE_TABLE":
            continue
        name = table["table_name"].lower()
        if named.count(name) > 1 or table.get("sample") or table.get("column_name_alias"):
            continue
        column, alias = COLUMNS.get(name), table.get("alias") or table["table_name"]
        parts = [part for part in _parts(select.get("where_clause")) if _is_of(part, column, alias)]
        if column is not None and parts:
            runs = _where(connection, parts, column, alias, names, params)
            if runs is not None:
                found[name] = runs
    return found


def _parts(where: Any) -> list[Any]:
    """Return the conditions that must all hold."""
    if where and where.get("type") == "CONJUNCTION_AND":
        return list(where["children"])
    return [where] if where else []


def _is_of(condition: Any, column: str | None, alias: str) -> bool:
    """Return True if a condition depends on one column alone, the same for all its rows."""
    has_column = False
    for node in nodes(condition):
        kind = node.get("class")
        if kind == "COLUMN_REF":
            has_column = True
            parts = [part.lower() for part in node["column_names"]]
            if parts not in ([column], [alias.lower(), column]):
                return False
        elif kind == "FUNCTION":
            if node["function_name"] not in _FUNCTIONS or node.get("schema"):
                return False
        elif kind is not None and kind not in _CLASSES:
            return False
    return has_column


def _where(
    connection: Any,
    parts: Sequence[Any],
    column: str,
    alias: str,
    names: Sequence[str],
    params: Sequence[Any] | Mapping[str, Any] | None,
) -> set[str] | None:
    """Return the names for which conditions hold, None if DuckDB refuses them."""
    text = f"select {quoted(column)} from {quoted(_KNOWN)} as {quoted(alias)} where true and true"
    (found,) = connection.execute("select json_serialize_sql(?)", [text]).fetchall()
    tree = json.loads(found[0])
    tree["statements"][0]["node"]["where_clause"]["children"] = [*parts, *parts[:1]]
    values = {
        key: params[int(key) - 1] if isinstance(params, Sequence) else params[key]
        for node in nodes(parts)
        if node.get("class") == "PARAMETER" and params and (key := node["identifier"])
    }
    connection.register(_KNOWN, pa.table({column: pa.array(names, pa.string())}))
    try:
        (made,) = connection.execute(
            "select json_deserialize_sql(?)", [json.dumps(tree)]
        ).fetchall()
        return {name for (name,) in connection.execute(made[0], values or None).fetchall()}
    except (duckdb.Error, RuntimeError, TypeError, ValueError, LookupError):
        return None  # the query itself will be refused, or is beyond this
    finally:
        connection.unregister(_KNOWN)
