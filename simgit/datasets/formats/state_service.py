"""simulator-state-db's answers over HTTP: saved JSON, put back into tables.

An answer is known by its keys: simulations, runs, and the states of a run. They name no settings,
info or root; what is missing in them is missing in the runs that are made of them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from simgit.datasets.formats.base import Contents, ImportOnly, Source
from simgit.datasets.formats.state_db import read_tables
from simgit.datasets.formats.tables import SqliteTables
from simgit.errors import InvalidInput, plural

_LARGEST: Final = 1 << 30
_COLUMNS: Final = {
    "simulations": (
        "id", "name", "description", "environment_name", "environment_config", "agent_type",
        "agent_config", "created_at",
    ),
    "simulation_runs": (
        "id", "name", "simulation_id", "status", "total_steps", "total_reward", "parent_run_id",
        "branch_point_state_id", "config_overrides", "root_state_id", "current_state_id",
        "created_at",
    ),
    "states": (
        "id", "parent_state_id", "observation", "action", "reward", "done", "truncated",
        "step_number", "info", "extra_metadata", "created_at",
    ),
    "run_state_sequence": ("run_id", "state_id", "sequence_order"),
}  # fmt: skip
_KINDS: Final = (
    ("simulations", {"id", "name", "environment_name"}),
    ("simulation_runs", {"id", "name", "simulation_id"}),
    ("simulation_runs", {"id", "name", "status", "total_steps"}),
    ("states", {"id", "observation", "step_number"}),
)
"""The keys by which a record is known."""


class StateService(ImportOnly):
    """The format of saved answers of simulator-state-db's service."""

    name = "simulator-state-db-json"
    summary = "saved answers of simulator-state-db's service; import only"

    def probe(self, source: Source) -> bool:
        """Return True for JSON with an answer, and for a directory that has one."""
        return any(map(_is_answer, _files(source.path)))

    def read(self, source: Source) -> Contents:
        """Return the runs of the answers in a file or directory."""
        source.check_options("arrays")
        files = _files(source.path)
        if not files:
            raise InvalidInput(f"'{source.text}' has no JSON", path=source.text)
        # without a name: in memory, and where that is too little in a file that is gone with it
        connection = sqlite3.connect("", isolation_level=None)
        notes: list[str] = []
        try:
            _Filling(connection, notes).run(files)
            tables = SqliteTables.over(connection, source.text)
            contents = read_tables(tables, "arrays" in source.options)
        except BaseException:
            connection.close()
            raise
        contents.notes[:0] = notes
        return contents


def _files(path: Path) -> list[Path]:
    """Return the JSON that a path is, or that a directory has."""
    found = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return [
        each
        for each in found
        if each.suffix == ".json" and each.is_file() and not (each != path and each.is_symlink())
    ]


def _is_answer(path: Path) -> bool:
    """Return True if a file begins as an answer does."""
    with path.open("rb") as opened:
        head = opened.read(4096)
    begins = head.lstrip()[:1] in (b"{", b"[")
    known = (b'"run_id"', b'"states"'), (b'"environment_name"', b'"agent_type"'), (
        b'"status"', b'"total_steps"',
    ), (b'"step_number"', b'"observation"')  # fmt: skip
    return begins and any(all(key in head for key in keys) for keys in known)


class _Filling:
    """Tables that are filled from answers."""

    def __init__(self, connection: sqlite3.Connection, notes: list[str]) -> None:
        self._connection = connection
        self._notes = notes
        self._differing: list[str] = []
        self._unknown: list[str] = []

    def run(self, files: list[Path]) -> None:
        """Fill the tables from files."""
        connection = self._connection
        connection.execute("BEGIN")
        for table, names in _COLUMNS.items():
            key = ", PRIMARY KEY (id)" if names[0] == "id" else ""
            connection.execute(f"CREATE TABLE {table} ({', '.join(names)}{key})")
        for path in files:
            self._add(_load(path), path.name)
        connection.execute(
            "INSERT OR IGNORE INTO simulation_runs (id, name, simulation_id, status, created_at)"
            " SELECT DISTINCT run_id, run_id, '', NULL, NULL FROM run_state_sequence"
        )
        connection.execute("COMMIT")
        if self._differing:
            self._notes.append(
                f"{plural(len(self._differing), 'record')} twice with other values, the first "
                f"counts: {', '.join(self._differing[:3])}"
            )
        if self._unknown:
            self._notes.append(f"no answers known here: {', '.join(self._unknown[:3])}")

    def _add(self, value: Any, name: str) -> None:
        """Add the records of an answer."""
        if isinstance(value, list):
            for each in value:
                self._add(each, name)
            return
        if not isinstance(value, dict):
            self._unknown.append(name)
        elif isinstance(value.get("states"), list) and isinstance(value.get("run_id"), str):
            self._add_sequence(value)
        elif (table := next((t for t, keys in _KINDS if keys <= set(value)), None)) is not None:
            self._insert(table, value)
            if table == "states" and isinstance(value.get("run_id"), str):
                self._link(value["run_id"], value["id"], value["step_number"])
        else:
            self._unknown.append(name)

    def _add_sequence(self, value: Mapping[str, Any]) -> None:
        run = value["run_id"]
        if isinstance(value.get("run_name"), str):
            self._connection.execute(
                "INSERT INTO simulation_runs (id, name, simulation_id, status, created_at) VALUES "
                "(?, ?, '', NULL, NULL) ON CONFLICT DO NOTHING",
                (run, value["run_name"]),
            )
        for number, state in enumerate(value["states"]):
            if not isinstance(state, dict) or "id" not in state:
                self._unknown.append(f"state {number} of run '{run}'")
                continue
            self._insert("states", state)
            self._link(run, state["id"], state.get("sequence_order", number))

    def _link(self, run: str, state: Any, order: Any) -> None:
        self._connection.execute(
            "INSERT INTO run_state_sequence VALUES (?, ?, ?)", (run, _cell(state), _cell(order))
        )

    def _insert(self, table: str, record: Mapping[str, Any]) -> None:
        """Insert a record, or complete the one that has its id."""
        names = [name for name in _COLUMNS[table] if record.get(name) is not None]
        values = [_json_cell(name, record[name]) for name in names]
        found = self._connection.execute(
            f"SELECT {', '.join(names)} FROM {table} WHERE id = ?", (_cell(record["id"]),)
        ).fetchone()
        if found is None:
            marks = ", ".join("?" * len(names))
            self._connection.execute(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", values
            )
            return
        pairs = list(zip(names, found, values, strict=True))
        empty = {name: new for name, old, new in pairs if old in (None, "")}
        if table == "states" and any(old not in (None, "") and old != new for _, old, new in pairs):
            self._differing.append(str(record["id"]))
        for name, new in empty.items():
            self._connection.execute(
                f"UPDATE {table} SET {name} = ? WHERE id = ?", (new, _cell(record["id"]))
            )


_AS_JSON: Final = frozenset((
    "observation", "action", "info", "extra_metadata", "environment_config", "agent_config",
    "config_overrides", "total_reward",
))  # fmt: skip


def _json_cell(name: str, value: Any) -> Any:
    return json.dumps(value) if name in _AS_JSON else _cell(value)


def _cell(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else json.dumps(value)


def _load(path: Path) -> Any:
    if path.stat().st_size > _LARGEST:
        raise InvalidInput(f"'{path}' is larger than {_LARGEST} bytes", path=str(path))
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"'{path.name}' is not JSON: {error}", path=str(path)) from None


FORMAT: Final = StateService()
