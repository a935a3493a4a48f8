"""Data as the earlier systems wrote them: their tables, their files, their habits and damages.

Each builder writes what a real version of its system did (columns, key order, number formats), and
returns what is in it, by which a test measures the import.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

START = datetime(2025, 11, 21, 22, 26, 48, 338608, UTC)

# --- simulator-state-db ---

STATE_DB = """
CREATE TABLE simulations (
    id VARCHAR NOT NULL, name VARCHAR NOT NULL, description TEXT, environment_name VARCHAR NOT NULL,
    environment_config JSON, agent_type VARCHAR NOT NULL, agent_config JSON NOT NULL,
    max_steps JSON, seed JSON, tags JSON, created_at {time} NOT NULL, updated_at {time},
    PRIMARY KEY (id));
CREATE TABLE states (
    id VARCHAR NOT NULL, parent_state_id VARCHAR, observation JSON NOT NULL, action JSON,
    reward FLOAT, done BOOLEAN NOT NULL, truncated BOOLEAN NOT NULL, step_number INTEGER NOT NULL,
    info JSON, extra_metadata JSON, created_at {time} NOT NULL,
    PRIMARY KEY (id){states});
CREATE TABLE simulation_runs (
    id VARCHAR NOT NULL, simulation_id VARCHAR NOT NULL, name VARCHAR NOT NULL, description TEXT,
    root_state_id VARCHAR NOT NULL, current_state_id VARCHAR, parent_run_id VARCHAR,
    branch_point_state_id VARCHAR, config_overrides JSON, status VARCHAR NOT NULL,
    total_steps INTEGER NOT NULL, total_reward JSON, created_at {time} NOT NULL, started_at {time},
    completed_at {time}, extra_metadata JSON,
    PRIMARY KEY (id));
CREATE TABLE run_state_sequence (
    id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, state_id VARCHAR NOT NULL,
    sequence_order INTEGER NOT NULL, created_at {time} NOT NULL,
    PRIMARY KEY (id));
"""
TABLES = ("simulations", "states", "simulation_runs", "run_state_sequence")
FOREIGN_KEY = ", FOREIGN KEY(parent_state_id) REFERENCES states (id)"


@dataclass
class StateDb:
    """The rows of a database of simulator-state-db, as its managers make them."""

    rng: np.random.Generator
    simulations: list[dict[str, Any]] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    simulation_runs: list[dict[str, Any]] = field(default_factory=list)
    run_state_sequence: list[dict[str, Any]] = field(default_factory=list)

    def uuid(self) -> str:
        text = self.rng.bytes(16).hex()
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def time(self) -> str:
        count = len(self.states) + len(self.simulation_runs) + len(self.simulations)
        return f"{START + timedelta(seconds=count, microseconds=400463):%Y-%m-%d %H:%M:%S.%f}"

    def simulation(self, name: str = "CartPole-DQN", **columns: Any) -> str:
        now = self.time()
        row = {
            "id": self.uuid(), "name": name, "description": None,
            "environment_name": "CartPole-v1", "environment_config": {"gravity": 9.8},
            "agent_type": "SimpleDQN", "agent_config": {"learning_rate": 0.001, "net": [64, 64]},
            "max_steps": None, "seed": None, "tags": None, "created_at": now, "updated_at": now,
        }  # fmt: skip
        self.simulations.append(row | columns)
        return str(row["id"])

    def state(self, parent: str | None, step: int, **columns: Any) -> str:
        row = {
            "id": self.uuid(), "parent_state_id": parent,
            "observation": self.rng.normal(size=4).round(6).tolist(),
            "action": None if parent is None else int(self.rng.integers(2)),
            "reward": None if parent is None else 1.0, "done": False, "truncated": False,
            "step_number": step, "info": {"env_state": self.rng.normal(size=4).tolist()},
            "extra_metadata": {"epsilon": 0.5}, "created_at": self.time(),
        }  # fmt: skip
        self.states.append(row | columns)
        return str(row["id"] if "id" not in columns else columns["id"])

    def run(self, simulation: str, name: str, root: str, **columns: Any) -> str:
        now = self.time()
        row = {
            "id": self.uuid(), "simulation_id": simulation, "name": name, "description": None,
            "root_state_id": root, "current_state_id": root, "parent_run_id": None,
            "branch_point_state_id": None, "config_overrides": {}, "status": "active",
            "total_steps": 0, "total_reward": None, "created_at": now, "started_at": now,
            "completed_at": None, "extra_metadata": None,
        }  # fmt: skip
        self.simulation_runs.append(row | columns)
        self._sequence(str(row["id"]), root, 0)
        return str(row["id"])

    def _sequence(self, run: str, state: str, order: int) -> None:
        self.run_state_sequence.append({
            "id": self.uuid(), "run_id": run, "state_id": state, "sequence_order": order,
            "created_at": self.time(),
        })  # fmt: skip

    def row(self, table: str, id_: str) -> dict[str, Any]:
        return next(each for each in getattr(self, table) if each["id"] == id_)

    def add(self, run: str, state: str) -> None:
        """Add a state to a run, as ``add_state_to_run`` does: the greatest order and one."""
        orders = [e["sequence_order"] for e in self.run_state_sequence if e["run_id"] == run]
        self._sequence(run, state, max(orders, default=-1) + 1)
        row = self.row("simulation_runs", run)
        row["current_state_id"] = state
        row["total_steps"] += 1

    def walk(self, run: str, steps: int) -> list[str]:
        """Add so many states to a run, each the child of the one before."""
        at = self.row("simulation_runs", run)["current_state_id"]
        number, found = self.row("states", at)["step_number"], []
        for each in range(1, steps + 1):
            at = self.state(at, number + each)
            self.add(run, at)
            found.append(at)
        return found

    def branch(self, parent: str, state: str, name: str, **overrides: Any) -> str:
        """Branch a run off a state, as ``branch_from_state`` does: with a copy of the sequence."""
        above = self.row("simulation_runs", parent)
        run = self.run(
            above["simulation_id"], name, state, parent_run_id=parent,
            branch_point_state_id=state,
            config_overrides={**above["config_overrides"], **overrides},
            description=f"Branched from {above['name']}",
        )  # fmt: skip
        self.run_state_sequence.pop()
        for each in [e for e in self.run_state_sequence if e["run_id"] == parent]:
            self._sequence(run, each["state_id"], each["sequence_order"])
            if each["state_id"] == state:
                break
        return run

    def path(self, state: str | None) -> list[dict[str, Any]]:
        """Return the states from the root to one."""
        found = []
        while state is not None:
            found.append(self.row("states", state))
            state = found[-1]["parent_state_id"]
        return found[::-1]

    def write_sqlite(self, path: Path) -> Path:
        """Write the tables as SQLAlchemy does on SQLite; foreign keys are not enforced there."""
        with sqlite3.connect(path) as connection:
            connection.executescript(STATE_DB.format(time="DATETIME", states=FOREIGN_KEY))
            for table in TABLES:
                for row in getattr(self, table):
                    marks = ", ".join("?" * len(row))
                    names = ", ".join(row)
                    connection.execute(
                        f"INSERT INTO {table} ({names}) VALUES ({marks})",
                        list(sql_values(table, row)),
                    )
        connection.close()
        return path

    def payloads(self) -> dict[str, Any]:
        """Return what the service answers: its simulations, runs, and the states of each run."""
        simulations = [
            {name: row[name] for name in (
                "id", "name", "description", "environment_name", "agent_type",
            )} | {"created_at": iso(row["created_at"]), "run_count": sum(
                run["simulation_id"] == row["id"] for run in self.simulation_runs
            )}
            for row in self.simulations
        ]  # fmt: skip
        runs = [
            {name: row[name] for name in (
                "id", "name", "simulation_id", "status", "total_steps", "total_reward",
                "parent_run_id", "branch_point_state_id",
            )} | {"created_at": iso(row["created_at"])}
            for row in self.simulation_runs
        ]  # fmt: skip
        answers: dict[str, Any] = {"simulations.json": simulations, "runs.json": runs}
        for run in self.simulation_runs:
            links = sorted(
                (e for e in self.run_state_sequence if e["run_id"] == run["id"]),
                key=lambda each: each["sequence_order"],
            )
            states = [self._answer(link) for link in links]
            answers[f"run-{run['id']}.json"] = {
                "run_id": run["id"], "run_name": run["name"], "total_states": len(states),
                "states": states,
            }  # fmt: skip
        return answers

    def _answer(self, link: Mapping[str, Any]) -> dict[str, Any]:
        row = self.row("states", link["state_id"])
        return {
            "id": row["id"], "step_number": row["step_number"],
            "sequence_order": link["sequence_order"],
        } | {name: row[name] for name in (
            "observation", "action", "reward", "done", "truncated", "parent_state_id",
        )} | {"created_at": iso(row["created_at"])}  # fmt: skip


def iso(time: str) -> str:
    return time.replace(" ", "T")


JSON_COLUMNS = {
    "simulations": ("environment_config", "agent_config"),
    "states": ("observation", "action", "info", "extra_metadata"),
    "simulation_runs": ("config_overrides",),
    "run_state_sequence": (),
}
"""Columns that SQLAlchemy writes as JSON, None as the text ``null``; the others only if given."""


def sql_values(table: str, row: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in row.items():
        if name in JSON_COLUMNS[table] or isinstance(value, (list, dict)):
            yield json.dumps(value)
        else:
            yield value


def branching(rng: np.random.Generator) -> StateDb:
    """Two runs of one simulation: ``main`` of 9 states, ``high-lr`` off its step 5, 7 states."""
    made = StateDb(rng)
    simulation = made.simulation()
    main = made.run(simulation, "main", made.state(None, 0))
    states = made.walk(main, 8)
    made.row("states", states[-1])["done"] = True
    high = made.branch(main, states[4], "high-lr", learning_rate=0.01)
    last = made.walk(high, 1)
    made.row("states", last[-1]).update(done=True, truncated=True)
    made.row("simulation_runs", main).update(status="completed", total_reward=8.0)
    return made


# --- Sim-Arena ---


def step_records(rng: np.random.Generator, processes: Sequence[tuple[str, int, int]]) -> list[Any]:
    """Return the lines of ``runs/step.jsonl``: all processes append to one file.

    Args:
        rng: where numbers come from.
        processes: of each its kind of record, its episodes, and their steps. The kinds in the
            order of their years: ``first``, ``info``, ``policy``, ``learned``.
    """
    found, time = [], START
    for kind, episodes, steps in processes:
        time += timedelta(hours=3)
        base = int(rng.integers(10_000))
        for episode in range(1, episodes + 1):
            trace = "demo/trace-0001.msgpack"
            for step in range(steps):
                last = step == steps - 1
                found.append(_step(rng, kind, time, trace, base + episode * 1000 + step, last))
                trace = found[-1]["trace_out"]
                time += timedelta(seconds=121)
    return found


def _step(
    rng: np.random.Generator, kind: str, time: datetime, trace: str, seed: int, last: bool
) -> dict[str, Any]:
    name = f"diag-{rng.bytes(4).hex()}"
    ready = 3 if last else int(rng.integers(3))
    record: dict[str, Any] = {
        "timestamp": f"{time:%Y-%m-%dT%H:%M:%S.%f}Z", "sim_name": name, "sim_uid": name,
        "namespace": "test-ns", "trace_in": trace, "trace_out": ".tmp/trace-next.msgpack",
        "obs": {"ready": ready, "pending": 3 - ready, "total": 3},
        "action": {"type": "bump_cpu_small", "step": "500m"},
    }  # fmt: skip
    if kind == "first":
        return record | {"reward": int(last), "duration_s": 120, "seed": 0}
    info: dict[str, Any] = {"changed": not last, "action_type": "bump_cpu_small", "blocked": False}
    if kind in ("info", "policy"):
        record |= {"action_info": info, "reward": int(last), "duration_s": 120, "seed": 0}
        return record | ({"policy": "heuristic"} if kind == "policy" else {})
    del record["action"]
    return record | {
        "timestamp": time.isoformat(), "namespace": "virtual-default",
        "trace_out": f".tmp/trace-next-{name[5:]}.msgpack",
        "dqn_state": rng.random(5).round(4).tolist(), "action_idx": 0 if last else 1,
        "action": {"type": "noop"} if last else {"type": "bump_cpu_small", "step": "500m"},
        "action_info": {"changed": False, "blocked": False} if last else info,
        "reward": 1.0 if last else -0.15 * (3 - ready), "duration_s": 120, "seed": seed,
        "at_target": last,
    }  # fmt: skip


def write_steps(folder: Path, records: Sequence[Any]) -> Path:
    """Write ``step.jsonl`` and ``summary.json``, as each step of Sim-Arena does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "step.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    summary = {
        "steps": list(records),
        "total_rewards": sum(each.get("reward", 0) for each in records),
        "total_steps": len(records),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2))
    return path


# --- GymDash 0.1.4 ---

GYMDASH = """
CREATE TABLE IF NOT EXISTS simulations (
    sim_id UUID PRIMARY KEY, name TEXT, created TIMESTAMP, started TIMESTAMP, ended TIMESTAMP,
    is_done BOOL, cancelled BOOL, failed BOOL, force_stopped BOOL, config SIMULATIONCONFIG,
    start_kwargs KWARGS, sim_type_name TEXT, sim_module_name TEXT);
CREATE TABLE IF NOT EXISTS sim_status (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sim_id INTEGER NOT NULL, time TIMESTAMP, code INTEGER,
    subcode INTEGER, details TEXT, error_trace TEXT,
    FOREIGN KEY (sim_id) REFERENCES simulations (sim_id));
CREATE TABLE IF NOT EXISTS api_calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, time TIMESTAMP, code INTEGER,
    details TEXT);
"""


def write_gymdash(
    folder: Path, simulations: Sequence[Mapping[str, Any]], statuses: Sequence[Sequence[Any]] = ()
) -> Path:
    """Write a project folder of GymDash: ``db/simulations.db`` and ``sims/``."""
    for each in ("db", "sims", "resources"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(folder / "db" / "simulations.db") as connection:
        connection.executescript(GYMDASH)
        for row in simulations:
            connection.execute(
                f"INSERT INTO simulations ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                list(row.values()),
            )
        connection.executemany(
            "INSERT INTO sim_status (sim_id, time, code, subcode, details, error_trace) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            statuses,
        )
    connection.close()
    return folder


def gymdash_simulation(sim_id: str, name: str, **columns: Any) -> dict[str, Any]:
    """Return a row of the table ``simulations``, as GymDash writes it for a finished one."""
    config = {
        "name": name, "sim_key": "stable_baselines", "sim_family": None, "sim_type": None,
        "kwargs": {"num_steps": 5000, "env": "CartPole-v1", "algorithm": "ppo"},
    }  # fmt: skip
    return {
        "sim_id": sim_id, "name": name, "created": "2025-03-01 10:00:00.123456",
        "started": "2025-03-01 10:00:01.000001", "ended": "2025-03-01 10:05:00.5", "is_done": 1,
        "cancelled": 0, "failed": 0, "force_stopped": 0, "config": json.dumps(config),
        "start_kwargs": json.dumps({"fps": 30}), "sim_type_name": "StableBaselinesSimulation",
        "sim_module_name": "gymdash.backend.core.simulation.examples",
    } | columns  # fmt: skip


# --- the database gym ---


def write_deltas(folder: Path, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Write ``tuning_artifacts``: metadata and the configuration delta of each step."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {
        "workload_path": "/w/tpch", "pristine_dbdata_snapshot_path": "/w/pristine.tgz",
        "dbdata_parent_path": "/w/dbdata", "pgbin_path": "/w/bin",
    }  # fmt: skip
    (folder / "metadata.json").write_text(json.dumps(metadata))
    deltas = [
        {
            "indexes": [f"CREATE INDEX i{step} ON lineitem (l_{step})"],
            "sysknobs": {"work_mem": f"{int(rng.integers(4, 400))}MB"},
            "qknobs": {"Q1": ["SET (enable_sort on)", "IndexOnlyScan(it)"]},
        }
        for step in range(count)
    ]
    for step, delta in enumerate(deltas):
        (folder / f"step{step}_delta.json").write_text(json.dumps(delta))
    return deltas
