"""simulator-state-db on its own kind of server: the same runs, with the same oids as from SQLite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import InvalidInput, StorageError
from tests.datasets.earlier.importing import outcomes, stored
from tests.datasets.earlier.postgres import PASSWORD, server
from tests.datasets.earlier.sources import STATE_DB, TABLES, StateDb, branching, sql_values
from tests.datasets.earlier.test_state_db import check_runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with server() as url:
        yield url


@pytest.fixture
def made(seed: int) -> StateDb:
    return branching(np.random.default_rng(seed))


def fill(url: str, made: StateDb) -> None:
    """Write the tables as SQLAlchemy does on PostgreSQL."""
    import psycopg

    with psycopg.connect(url) as connection:
        for table in reversed(TABLES):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.execute(STATE_DB.format(time="TIMESTAMP WITHOUT TIME ZONE", states=""))
        for table in TABLES:
            for row in getattr(made, table):
                marks = ", ".join(["%s"] * len(row))
                names = ", ".join(row)
                values = [
                    json.dumps(value)
                    if isinstance(value, float) and name == "total_reward"
                    else value
                    for name, value in zip(row, sql_values(table, row), strict=True)
                ]
                connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)


def test_the_same_states_as_from_sqlite(database: str, made: StateDb, tmp_path: Path) -> None:
    fill(database, made)
    with Repository.init(":memory:") as repo, Repository.init(":memory:") as other:
        done = repo.import_data(database)
        assert outcomes(done) == {"runs/main": "new", "runs/high-lr": "new"}
        check_runs(repo, made)
        assert stored(repo) == len(made.states)
        assert set(outcomes(repo.import_data(database)).values()) == {"unchanged"}
        other.import_data(made.write_sqlite(tmp_path / "states.db"))
        for name, info in repo.runs.items():
            assert info.oid == other.runs[name].oid
            assert info.config == other.runs[name].config
            assert info.created == other.runs[name].created
            same = repo.attachment(name, "source-ids"), other.attachment(name, "source-ids")
            for key in ("id", "oid", "created_at"):
                assert np.array_equal(same[0][key], same[1][key])


def test_the_password_is_nowhere(database: str, made: StateDb, tmp_path: Path) -> None:
    fill(database, made)
    with Repository.init(tmp_path) as repo:
        repo.import_data(database)
        info: Any = repo.runs["main"]
        assert "ada@127.0.0.1" in info.metadata["imported_from"]
        assert PASSWORD not in repr([*repo.operations(), info.metadata, *repo.reflog("main")])
    assert PASSWORD.encode() not in (tmp_path / ".simgit" / "data.mdb").read_bytes()


def test_nothing_can_be_written(database: str, made: StateDb) -> None:
    from simgit.datasets.formats.tables import PostgresTables

    fill(database, made)
    tables = PostgresTables(database)
    for query in ("DELETE FROM states", "CREATE TABLE x (y int)", "SELECT 1; DELETE FROM states"):
        with pytest.raises(InvalidInput):
            list(tables.rows(query))
    assert list(tables.rows("SELECT count(*) FROM states")) == [(len(made.states),)]
    tables.close()


def test_a_server_that_is_not_there(database: str) -> None:
    with Repository.init(":memory:") as repo:
        with pytest.raises(StorageError) as caught:
            repo.import_data(f"postgresql://ada:{PASSWORD}@127.0.0.1:1/postgres")
        assert PASSWORD not in str(caught.value)
        with pytest.raises(StorageError):
            repo.import_data(database.replace(PASSWORD, "wrong"))


def test_what_another_program_writes_meanwhile_is_not_seen(database: str, made: StateDb) -> None:
    """One snapshot: the runs are read with the states that there were when it began."""
    import psycopg

    from simgit.datasets.formats.state_db import read_tables
    from simgit.datasets.formats.tables import PostgresTables

    fill(database, made)
    contents = read_tables(PostgresTables(database), False)
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM states")
    assert sum(len(block["observation"]) for run in contents.runs for block in run.blocks) == len(
        made.states
    )
