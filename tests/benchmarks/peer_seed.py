"""The relational seed: a "simulator state database" with a row a state, in SQLite.

The schema is the usual one of a relational database for branching simulations: a simulation has
runs, a run has states in an order (by an association table), and a state has its parent. Values
are JSON, keys are random UUIDs, and what is looked up is indexed. It is given as much as it can
take: plain SQL instead of an ORM, a thousand states a transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from .generate import Row
from .peers import SQLITE_BATCH

SCHEMA = """
CREATE TABLE simulation (id TEXT PRIMARY KEY, name TEXT NOT NULL, config TEXT NOT NULL);
CREATE TABLE simulation_run (
    id TEXT PRIMARY KEY, simulation_id TEXT NOT NULL REFERENCES simulation, name TEXT NOT NULL,
    parent_run_id TEXT REFERENCES simulation_run, branch_point_state_id TEXT REFERENCES state,
    config_overrides TEXT, current_state_id TEXT REFERENCES state, status TEXT NOT NULL
);
CREATE TABLE state (
    id TEXT PRIMARY KEY, parent_state_id TEXT REFERENCES state, observation TEXT NOT NULL,
    action TEXT, reward REAL, done INTEGER NOT NULL, metadata TEXT NOT NULL
);
CREATE TABLE run_state (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL REFERENCES simulation_run,
    state_id TEXT NOT NULL REFERENCES state, sequence_order INTEGER NOT NULL
);
CREATE INDEX state_parent ON state (parent_state_id);
CREATE UNIQUE INDEX run_order ON run_state (run_id, sequence_order);
CREATE INDEX run_state_state ON run_state (state_id);
"""
LINEAGE = """
WITH RECURSIVE
    ours (id, parent) AS (
        SELECT id, parent_state_id FROM state
        WHERE id = (SELECT current_state_id FROM simulation_run WHERE name = ?)
        UNION ALL
        SELECT state.id, parent_state_id FROM state JOIN ours ON state.id = ours.parent
    ),
    theirs (id, parent) AS (
        SELECT id, parent_state_id FROM state
        WHERE id = (SELECT current_state_id FROM simulation_run WHERE name = ?)
        UNION ALL
        SELECT state.id, parent_state_id FROM state JOIN theirs ON state.id = theirs.parent
    )
SELECT id FROM ours WHERE id IN (SELECT id FROM theirs) LIMIT 1
"""


class Seed:
    """A database of simulations, runs and states; write-ahead log, synced at each commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = sqlite3.connect(path / "simulations.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.executescript(SCHEMA)
        self.simulation = str(uuid4())
        self.db.execute("INSERT INTO simulation VALUES (?, 'bench', '{}')", (self.simulation,))

    def record(self, rows: Sequence[Row], run: str = "main", parent: str | None = None) -> None:
        """Record a run, after the state ``parent`` if one is given."""
        key, random = str(uuid4()), np.random.default_rng(len(rows))
        self.db.execute(
            "INSERT INTO simulation_run VALUES (?, ?, ?, NULL, ?, NULL, ?, 'active')",
            (key, self.simulation, run, parent, parent),
        )
        drawn = random.bytes(16 * len(rows))
        for start in range(0, len(rows), SQLITE_BATCH):
            self.db.execute("BEGIN")
            for step, row in enumerate(rows[start : start + SQLITE_BATCH], start):
                observation, action, reward, terminated, truncated, _ = row
                state = str(UUID(bytes=drawn[16 * step : 16 * step + 16]))
                self.db.execute(
                    "INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, '{}')",
                    (
                        state, parent, json.dumps(observation.tolist()), json.dumps(int(action)),
                        reward, terminated or truncated,
                    ),
                )  # fmt: skip
                self.db.execute("INSERT INTO run_state VALUES (NULL, ?, ?, ?)", (key, state, step))
                parent = state
            update = "UPDATE simulation_run SET current_state_id = ? WHERE id = ?"
            self.db.execute(update, (parent, key))
            self.db.execute("COMMIT")

    def state(self, run: str, step: int) -> str:
        """Return the key of a run's state."""
        query = "SELECT state_id FROM run_state JOIN simulation_run AS run ON run.id = run_id "
        query += "WHERE run.name = ? AND sequence_order = ?"
        return str(self.db.execute(query, (run, step)).fetchone()[0])

    def columns(self) -> NDArray[np.float32]:
        """Read the states of ``main`` in their order, and keep observations and rewards."""
        query = self.db.execute(
            "SELECT observation, reward FROM run_state JOIN state ON state.id = state_id "
            "WHERE run_id = (SELECT id FROM simulation_run WHERE name = 'main') "
            "ORDER BY sequence_order"
        )
        found = query.fetchall()
        np.array([reward for _, reward in found])
        return np.array([json.loads(observation) for observation, _ in found], np.float32)

    def common(self, ours: str, theirs: str) -> str:
        """Return the newest state that leads to both runs."""
        return str(self.db.execute(LINEAGE, (ours, theirs)).fetchone()[0])

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()
