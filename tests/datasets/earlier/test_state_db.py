"""simulator-state-db: what its tables say is what the imported runs say."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simgit import Repository
from simgit.datasets.formats.state_db import read_tables
from simgit.datasets.formats.tables import SqliteTables
from simgit.errors import IntegrityError, InvalidInput, SimgitError
from tests.datasets.earlier.importing import bring, column, outcomes, peak_memory, stored
from tests.datasets.earlier.sources import StateDb, branching
from tests.support.examples import share

FORMAT = "simulator-state-db"


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


@pytest.fixture
def made(seed: int) -> StateDb:
    return branching(np.random.default_rng(seed))


def check_runs(repo: Repository, made: StateDb) -> None:
    """Compare every run with the path of its states in the tables, value by value."""
    for row in made.simulation_runs:
        path = made.path(row["current_state_id"])
        run = row["name"]
        assert column(repo, run, "observation") == [each["observation"] for each in path]
        assert column(repo, run, "action") == [each["action"] for each in path]
        assert column(repo, run, "reward") == [each["reward"] for each in path]
        assert column(repo, run, "info.env_state") == [each["info"]["env_state"] for each in path]
        assert repo.runs[run].return_ == sum(each["reward"] or 0 for each in path)
        assert repo.runs[run].step == len(path) - 1 == path[-1]["step_number"]


def test_each_run_is_the_path_of_its_states(
    repo: Repository, made: StateDb, tmp_path: Path
) -> None:
    done = bring(repo, made.write_sqlite(tmp_path / "states.db"), FORMAT)
    assert outcomes(done) == {"runs/main": "new", "runs/high-lr": "new"}
    assert done.states == len(made.states)  # shared ones are stored once
    assert done.notes == [
        "1 state done and truncated: marked truncated only, since whether they terminated too was "
        "not recorded"
    ]
    check_runs(repo, made)


def test_a_branch_leaves_where_it_left(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    bring(repo, made.write_sqlite(tmp_path / "states.db"))
    high = repo.runs["high-lr"]
    assert high.parent == "main"
    assert high.branch_point == repo.resolve("main@5")
    assert high.overrides == {"agent": {"learning_rate": 0.01}}
    assert high.config["agent"] == {"learning_rate": 0.01, "net": [64, 64]}
    assert high.config["environment"] == {"gravity": 9.8}
    assert (high.status, repo.runs["main"].status) == ("active", "completed")


def test_flags(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    bring(repo, made.write_sqlite(tmp_path / "states.db"))
    last, other = repo.state("main"), repo.state("high-lr")
    assert (last.terminated, last.truncated) == (True, False)
    assert (other.terminated, other.truncated) == (False, True)
    assert repo.runs["main"].episodes == 1
    assert repo.state("main@0").reset == {}


def test_twice_is_once(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    path = made.write_sqlite(tmp_path / "states.db")
    bring(repo, path)
    before = {name: info.oid for name, info in repo.runs.items()}
    done = bring(repo, path)
    assert set(outcomes(done).values()) == {"unchanged"}
    assert {name: info.oid for name, info in repo.runs.items()} == before
    assert stored(repo) == len(made.states)


def test_a_database_that_grew_moves_its_runs_forward(
    repo: Repository, made: StateDb, tmp_path: Path
) -> None:
    bring(repo, made.write_sqlite(tmp_path / "a.db"))
    made.walk(made.simulation_runs[1]["id"], 3)
    done = bring(repo, made.write_sqlite(tmp_path / "b.db"))
    assert outcomes(done) == {"runs/main": "unchanged", "runs/high-lr": "forward"}
    assert repo.runs["high-lr"].step == 9


def test_ids_lead_to_oids_and_back(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    bring(repo, made.write_sqlite(tmp_path / "states.db"))
    oids = {}
    for run in repo.runs:
        found = repo.attachment(run, "source-ids")
        ids = [bytes(each).decode() for each in found["id"]]
        oids |= dict(zip(ids, found["oid"], strict=True))
        times = dict(zip(ids, found["created_at"], strict=True))
        for id_, time in times.items():
            assert str(time)[:26].replace("T", " ") == made.row("states", id_)["created_at"]
    assert len(oids) == len(made.states)
    for row in made.states:
        state = repo.state(type(repo.resolve("main"))(oids[row["id"]].tobytes()))
        assert state.observation == row["observation"]


def test_lists_become_arrays_if_asked_for(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    bring(repo, made.write_sqlite(tmp_path / "states.db"), arrays="true")
    observation = repo.state("main").observation
    assert observation.dtype == np.float64
    assert (
        observation.tolist()
        == made.path(made.simulation_runs[0]["current_state_id"])[-1]["observation"]
    )


def test_the_order_is_that_of_parents(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    """``sequence_order`` has no constraint: doubles, gaps and lies change nothing."""
    rng = made.rng
    for link in made.run_state_sequence:
        link["sequence_order"] = int(rng.integers(3))
    made.run_state_sequence += [each | {"id": made.uuid()} for each in made.run_state_sequence[:4]]
    rng.shuffle(made.states)  # type: ignore[arg-type]
    bring(repo, made.write_sqlite(tmp_path / "states.db"))
    check_runs(repo, made)


def test_states_that_are_no_ancestors_are_told(
    repo: Repository, made: StateDb, tmp_path: Path
) -> None:
    main = made.simulation_runs[0]["id"]
    beside = made.state(made.simulation_runs[0]["root_state_id"], 1)
    made._sequence(main, beside, 99)
    notes = bring(repo, made.write_sqlite(tmp_path / "states.db")).notes
    assert any("run 'main': 1 state of its sequence" in note for note in notes)
    assert any(f"1 state that no run leads to; not imported: {beside}" in note for note in notes)
    check_runs(repo, made)


def test_orphans_and_circles_are_told_and_left(
    repo: Repository, made: StateDb, tmp_path: Path
) -> None:
    simulation = made.simulations[0]["id"]
    orphan = made.state("00000000-dead", 7)
    child = made.state(orphan, 8)
    first = made.state(None, 0)
    second = made.state(first, 1)
    made.row("states", first)["parent_state_id"] = second
    made.run(simulation, "orphaned", child)
    made.run(simulation, "circular", second)
    notes = bring(repo, made.write_sqlite(tmp_path / "states.db")).notes
    text = "\n".join(notes)
    assert "2 states without a root, as a parent is missing; not imported: " in text
    assert orphan in text
    assert "2 states in circles; not imported: " in text
    assert "run 'orphaned'" in text and "run 'circular'" in text
    assert set(repo.runs) == {"main", "high-lr"}
    assert stored(repo) == len(made.states) - 4


def test_runs_of_several_simulations(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    other = made.simulation("Cart/Pole", agent_config={"lr": 1})
    for _ in range(2):
        made.run(other, "main", made.state(None, 0))
    bring(repo, made.write_sqlite(tmp_path / "states.db"))
    names = sorted(repo.runs)
    assert names[:2] == ["Cart-Pole/main", f"Cart-Pole/main-{made.simulation_runs[-1]['id'][:8]}"]
    assert names[2:] == ["CartPole-DQN/high-lr", "CartPole-DQN/main"]


def test_a_run_with_no_current_state_ends_at_its_only_leaf(
    repo: Repository, made: StateDb, tmp_path: Path
) -> None:
    steps = {row["name"]: made.path(row["current_state_id"]) for row in made.simulation_runs}
    for row in made.simulation_runs:
        row["current_state_id"] = None
    bring(repo, made.write_sqlite(tmp_path / "states.db"))
    for name, path in steps.items():
        assert column(repo, name, "observation") == [each["observation"] for each in path]


def test_numbers_that_json_has_not(repo: Repository, made: StateDb, tmp_path: Path) -> None:
    main = made.simulation_runs[0]["id"]
    tip = made.simulation_runs[0]["current_state_id"]
    made.row("states", tip)["done"] = False
    made.add(main, made.state(tip, 9, observation=[float("nan"), float("inf"), 10**25, -0.0]))
    bring(repo, made.write_sqlite(tmp_path / "states.db"))
    found = repo.state("main").observation
    assert np.isnan(found[0]) and found[1:3] == [float("inf"), 10**25]
    assert np.signbit(found[3])


@pytest.mark.parametrize(
    "text, is_done", [("True", True), ("TRUE", True), ("f", False), ("No", False)]
)
def test_flags_as_text_are_what_they_say(
    repo: Repository, made: StateDb, tmp_path: Path, text: str, is_done: bool
) -> None:
    path = made.write_sqlite(tmp_path / "states.db")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE states SET done = 0")
        connection.execute("UPDATE states SET done = ? WHERE step_number = 3", [text])
    connection.close()
    bring(repo, path, FORMAT)
    assert repo.state("main@3").terminated is is_done
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE states SET done = 'maybe' WHERE step_number = 3")
    connection.close()
    with pytest.raises(InvalidInput, match="'maybe'"):
        bring(Repository.init(":memory:"), path, FORMAT)


def test_a_value_that_cannot_be_stored_names_its_state(
    repo: Repository, made: StateDb, tmp_path: Path
) -> None:
    path = made.write_sqlite(tmp_path / "states.db")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE states SET observation = '[1, ' WHERE step_number = 3")
    with pytest.raises(InvalidInput, match=r"state '.*': malformed JSON"):
        bring(repo, path)
    assert not repo.runs  # refs move last


@given(shape=st.data())
@settings(max_examples=share(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_against_a_plain_model(shape: st.DataObject, tmp_path_factory: Any) -> None:
    """Random parents, also missing ones and circles; random runs: paths are the model's."""
    count = shape.draw(st.integers(1, 25))
    parents = [
        shape.draw(st.one_of(st.none(), st.integers(0, count - 1), st.just(-1)))
        for _ in range(count)
    ]
    tips = shape.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=5))
    made = StateDb(np.random.default_rng(count))
    simulation = made.simulation()
    for number, parent in enumerate(parents):
        above = None if parent is None else "gone" if parent < 0 else f"s{parent}"
        made.states.append({
            "id": f"s{number}", "parent_state_id": above, "observation": [number], "action": None,
            "reward": None, "done": False, "truncated": False, "step_number": 0, "info": None,
            "extra_metadata": None, "created_at": made.time(),
        })  # fmt: skip
    for number, tip in enumerate(tips):
        made.run(simulation, f"r{number}", f"s{tip}", current_state_id=f"s{tip}")
    expected = {f"r{n}": path for n, tip in enumerate(tips) if (path := _path(parents, tip))}
    path = made.write_sqlite(tmp_path_factory.mktemp("tree") / "states.db")
    with Repository.init(":memory:") as repo:
        if not expected:
            with pytest.raises(InvalidInput, match="has no runs"):
                bring(repo, path)
            return
        bring(repo, path)
        found = {run: [each[0] for each in column(repo, run, "observation")] for run in repo.runs}
        assert found == expected
        assert stored(repo) == len({each for path in expected.values() for each in path})


def _path(parents: list[int | None], tip: int) -> list[int] | None:
    """Return the states from a root to one, None if there is no root."""
    found, at = [tip], parents[tip]
    while at is not None:
        if at < 0 or at in found:
            return None
        found.append(at)
        at = parents[at]
    return found[::-1]


@pytest.mark.slow
def test_a_large_database_takes_little_memory(tmp_path: Path) -> None:
    """Some hundred bytes a state for the tree and the map of ids, none of the values."""
    sizes, peaks = (20_000, 120_000), []
    for count in sizes:
        path = StateDb(np.random.default_rng(1)).write_sqlite(tmp_path / f"{count}.db")
        with sqlite3.connect(path) as connection:
            connection.executemany(
                "INSERT INTO states VALUES (?, ?, ?, 1, 1.0, 0, 0, ?, ?, 'null', '2025-01-01')",
                (
                    (f"{i:036}", f"{i - 1:036}" if i else None, f"[{i}, 0.5]", i, '{"a": "%s"}' % ("x" * 2000))
                    for i in range(count)
                ),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO simulation_runs (id, simulation_id, name, root_state_id, "
                "current_state_id, status, total_steps, created_at) "
                f"VALUES ('r', 's', 'main', '{0:036}', '{count - 1:036}', 'active', 0, '2025-01-01')"
            )
        connection.close()
        peaks.append(peak_memory(path))
    assert peaks[1] - peaks[0] < 600 * (sizes[1] - sizes[0])


class TestStrangersFile:
    """A file that somebody made to harm."""

    def test_nothing_is_written(self, made: StateDb, repo: Repository, tmp_path: Path) -> None:
        folder = tmp_path / "ro"
        folder.mkdir()
        path = made.write_sqlite(folder / "states.db")
        data = path.read_bytes()
        bring(repo, path)
        assert [each.name for each in folder.iterdir()] == ["states.db"]
        assert path.read_bytes() == data

    def test_newest_changes_in_another_file_are_not_left_out(
        self, made: StateDb, repo: Repository, tmp_path: Path
    ) -> None:
        path = made.write_sqlite(tmp_path / "states.db")
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("UPDATE simulation_runs SET name = 'x'")
        connection.commit()
        with pytest.raises(InvalidInput, match=r"has changes in 'states\.db-wal'"):
            bring(repo, path)
        connection.close()
        bring(repo, path)

    @pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
    def test_damage_is_an_error(
        self, made: StateDb, repo: Repository, tmp_path: Path, at: float
    ) -> None:
        path = made.write_sqlite(tmp_path / "states.db")
        data = bytearray(path.read_bytes())
        start = int(len(data) * at) // 4096 * 4096
        data[start : start + 4096] = made.rng.bytes(len(data[start : start + 4096]))
        path.write_bytes(data)
        try:
            done = bring(repo, path)
        except (IntegrityError, InvalidInput):
            assert not repo.runs
        else:  # the page was of an index that is not read
            assert done.states == len(made.states)

    def test_a_cut_file_is_an_error(self, made: StateDb, repo: Repository, tmp_path: Path) -> None:
        path = made.write_sqlite(tmp_path / "states.db")
        path.write_bytes(path.read_bytes()[: 4096 * 3])
        with pytest.raises((IntegrityError, InvalidInput)):
            bring(repo, path)
        assert not repo.runs

    @pytest.mark.parametrize(
        "query",
        [
            "ATTACH '/etc/passwd' AS x", "SELECT load_extension('x')", "PRAGMA writable_schema=on",
            "CREATE TABLE x(y)", "DELETE FROM states", "SELECT 1; SELECT 2",
            "INSERT INTO states SELECT * FROM states", "VACUUM INTO '/tmp/x'",
            "SELECT readfile('/etc/passwd')", "SELECT * FROM pragma_database_list",
        ],
    )  # fmt: skip
    def test_queries_read_and_do_no_more(self, made: StateDb, tmp_path: Path, query: str) -> None:
        tables = SqliteTables(made.write_sqlite(tmp_path / "states.db"))
        with pytest.raises((InvalidInput, IntegrityError)):
            list(tables.rows(query))

    @pytest.mark.parametrize(
        "place",
        [
            "simulations.name", "simulations.description", "simulation_runs.name",
            "simulation_runs.id", "simulation_runs.status", "simulation_runs.created_at",
            "states.observation", "states.info", "states.created_at", "states.step_number",
            "states.reward", "states.done", "states.parent_state_id", "simulations.agent_config",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize(
        "cell", ["CAST(x'ff00fe' AS TEXT)", "x'00ff'", "9e999", "'\x1b[2J'", "''"]
    )
    def test_any_cell_is_read_or_refused(
        self, made: StateDb, repo: Repository, tmp_path: Path, place: str, cell: str
    ) -> None:
        path = made.write_sqlite(tmp_path / "states.db")
        table, name = place.split(".")
        with sqlite3.connect(path) as connection:
            rows = "1" if name == "id" else "1, 2"
            connection.execute(f"UPDATE {table} SET {name} = {cell} WHERE rowid IN ({rows})")
        try:
            bring(repo, path)
        except SimgitError:
            assert not repo.runs
        stored(repo)

    def test_a_view_is_no_table(self, made: StateDb, tmp_path: Path) -> None:
        path = made.write_sqlite(tmp_path / "states.db")
        with sqlite3.connect(path) as connection:
            connection.execute("ALTER TABLE states RENAME TO s")
            connection.execute("CREATE VIEW states AS SELECT * FROM s")
        with pytest.raises(InvalidInput, match="lacks column 'id'"):
            read_tables(SqliteTables(path), False)

    @pytest.mark.parametrize("suffix", ["db", "pipe"])
    def test_only_regular_files_are_opened(self, tmp_path: Path, suffix: str) -> None:
        import os

        path = tmp_path / f"states.{suffix}"
        if suffix == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()
        with pytest.raises(InvalidInput):
            bring(Repository.init(":memory:"), path)


@pytest.mark.parametrize("old", [b"observation", b"simulation_runs", b"current_state_id"])
def test_names_that_are_not_utf8_are_an_error(tmp_path: Path, old: bytes) -> None:
    path = branching(np.random.default_rng(0)).write_sqlite(tmp_path / "states.db")
    for at in (1, len(old) - 1):
        made = old[:at] + b"\xff" + old[at + 1 :]
        (tmp_path / "x.db").write_bytes(path.read_bytes().replace(old, made))
        with pytest.raises((IntegrityError, InvalidInput)):
            bring(Repository.init(":memory:"), tmp_path / "x.db")
