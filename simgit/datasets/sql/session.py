"""One query: its statement is checked, its tables are found, and DuckDB reads them.

The database is in memory and has no way to files, extensions or Python's variables; its settings
are locked. Only a single SELECT is accepted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import duckdb

from simgit.datasets.sql.pushdown import Failures, QueryTable, register
from simgit.datasets.sql.relation import Relation, refused
from simgit.datasets.sql.run_conditions import nodes, wanted_runs
from simgit.datasets.sql.tables import TABLES, MadeTable, Readable, RunHistory
from simgit.errors import InvalidInput, NotFound, SimgitError, did_you_mean
from simgit.history.trajectory import Trajectory

_OLDEST: Final = 2
_OPTIONS: Final = {"temp_directory": ""}
_SETTINGS: Final = (
    "enable_external_access = false", "autoinstall_known_extensions = false",
    "autoload_known_extensions = false", "allow_community_extensions = false",
    "python_enable_replacements = false", "lock_configuration = true",
)  # fmt: skip
STATES: Final = "states"
NAMES: Final = (*TABLES, STATES)


def query(
    store: Readable,
    text: str,
    params: Sequence[Any] | Mapping[str, Any] | None,
    trajectory: Callable[[str], Trajectory],
) -> Relation:
    """Return the result of a query.

    Args:
        store: the store.
        text: the query.
        params: the values of its parameters.
        trajectory: returns the states of a revision.

    Raises:
        InvalidInput: the query is not one SELECT, or DuckDB refuses it.
        NotFound: there is no such table.
    """
    with store.read() as txn:
        known = [RunHistory(name, ref) for name, ref in store.refs.runs(txn)]
    connection = connect()
    tree = _parse(connection, text)
    mentioned = _mentioned(tree)
    values = params if params is None or isinstance(params, Mapping) else list(params)
    wanted = wanted_runs(connection, tree, [run.name for run in known], values)
    while True:
        failures = Failures()
        for name, table in _read_tables(store, tree, known, wanted, mentioned, trajectory):
            register(connection, name, table, failures)
        try:
            found = connection.sql(text, params=values)
        except (duckdb.Error, RuntimeError, TypeError, ValueError) as error:
            if mentioned is None and not wanted:
                raise refused(error) from None
            # perhaps a column is not named, or is of other runs; if there is none, all are proposed
            mentioned, wanted = None, {}
            connection = connect()
            continue
        if found is None:
            raise InvalidInput("the query has no result")
        return Relation(connection, found, failures)


def check(text: str) -> None:
    """Check that a text is a query; its tables need not exist.

    Raises:
        InvalidInput: it is not one SELECT.
    """
    _parse(connect(), text)


def _read_tables(
    store: Readable,
    tree: Any,
    known: Sequence[RunHistory],
    wanted: Mapping[str, Collection[str]],
    mentioned: Collection[str] | None,
    trajectory: Callable[[str], Trajectory],
) -> Iterator[tuple[str, QueryTable]]:
    """Yield the tables that a query reads, by their names."""
    own = _own_tables(tree)
    for name in dict.fromkeys(_tables(tree)):
        of = wanted.get(name.lower())
        runs = known if of is None else [run for run in known if run.name in of]
        if name.lower() in TABLES:
            yield name, MadeTable(TABLES[name.lower()](store, runs))
            continue
        from simgit.datasets.sql.states import StatesTable  # others start faster without it

        if name.lower() == STATES:
            yield name, StatesTable.of_runs(store, runs, mentioned)
        else:
            try:
                yield name, StatesTable.of_range(store, trajectory(name), mentioned)
            except (NotFound, InvalidInput) as error:
                if name.lower() not in own:
                    raise _not_found(name, error, [run.name for run in known]) from None


def connect() -> Any:
    """Return a connection to a new database in memory that can reach nothing else.

    Raises:
        NotFound: the version of DuckDB is too old.
    """
    if int(duckdb.__version__.partition(".")[0]) < _OLDEST:
        raise NotFound(
            f"a query needs duckdb {_OLDEST}.0 or newer, not {duckdb.__version__}: "
            "pip install -U 'simgit[sql]'"
        )
    connection = duckdb.connect(":memory:", config=dict(_OPTIONS))
    for setting in _SETTINGS:  # an unknown one is an error: nothing may be left open
        connection.execute(f"set {setting}").fetchall()
    return connection


def _parse(connection: Any, text: str) -> Any:
    """Return the syntax tree of a query.

    Raises:
        InvalidInput: it is not one SELECT.
    """
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise refused(error) from None
    if len(statements) != 1:
        raise InvalidInput(f"a query must be one statement, got {len(statements)}")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type.name).lower().replace("_", " ")
        raise InvalidInput(f"a query must be a SELECT, got a statement of type '{kind}'")
    (found,) = connection.execute("select json_serialize_sql(?)", [text]).fetchall()
    tree = json.loads(found[0])
    if tree.get("error"):
        raise InvalidInput(f"the query cannot be read: {tree.get('error_message')}")
    return tree


def _tables(tree: Any) -> Iterator[str]:
    """Yield the names of the tables that a query reads, some of which may be its own.

    Raises:
        InvalidInput: a name has parts.
    """
    for node in nodes(tree):
        if node.get("type") == "BASE_TABLE":
            parts = [node.get("catalog_name"), node.get("schema_name"), node["table_name"]]
            name = ".".join(part for part in parts if part)
            if name != node["table_name"]:
                raise InvalidInput(
                    f"unknown table '{name}'; write the name of a run or a revision in double "
                    f'quotes: "{name}"',
                    name=name,
                )
            yield name


_ALL: Final = {"STAR", "SHOW_REF", "PIVOT", "DELIM_GET"}


def _mentioned(tree: Any) -> frozenset[str] | None:
    """Return all names in a query in lower case, None if it may mean columns without naming them.

    A column that a query does not name need not be looked at.
    """
    names: set[str] = set()
    aliases: set[str] = set()
    columns: set[str] = set()
    for node in nodes(tree):
        kind = str(node.get("type"))
        if kind in _ALL or node.get("class") == "STAR" or node.get("ref_type") == "NATURAL":
            return None
        if kind == "BASE_TABLE":
            aliases |= {node["table_name"].lower(), str(node.get("alias", "")).lower()}
        if kind == "COLUMN_REF" and len(parts := node.get("column_names", ())) == 1:
            columns.add(str(parts[0]).lower())  # the name of a table stands for a whole row
        for value in node.values():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str):
                    names.add(each.lower())
    return None if columns & aliases else frozenset(names)


def _own_tables(tree: Any) -> set[str]:
    """Return the names that a query gives to tables of its own (``with x as …``), lower case."""
    return {
        str(each.get("key")).lower()
        for node in nodes(tree)
        if isinstance(made := node.get("cte_map"), dict)
        for each in made.get("map", ())
    }


def _not_found(name: str, error: SimgitError, runs: Sequence[str]) -> SimgitError:
    """Return the error for an unknown table, given that of the revision of this name."""
    if re.search(r"[@~^:]|\.\.", name):
        return error
    near = did_you_mean(name, [*NAMES, *runs])
    what = near or f"; tables are {', '.join(NAMES)}, and each run and revision by its name"
    return NotFound(f"table '{name}' not found{what}", name=name)
