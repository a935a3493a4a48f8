"""Tables by a map: each kind of file, alignment, and everything that does not fit."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.datasets.formats.text_values import nanoseconds
from simgit.errors import InvalidInput
from tests.datasets.earlier.importing import bring, column, outcomes, stored

MAP = """
run = "experiment"
episode = "ep"
{more}
[columns]
x = {{ path = "observation.x", type = "float32" }}
v = {{ path = "observation.v", type = "float64" }}
a = {{ path = "action", type = "int64" }}
r = "reward"
done = "terminated"
note = "message"
"""


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


@pytest.fixture
def rows(seed: int) -> list[dict[str, Any]]:
    """Two experiments of two episodes of three rows."""
    rng = np.random.default_rng(seed)
    return [
        {
            "experiment": experiment, "ep": episode, "x": round(float(rng.normal()), 4),
            "v": float(rng.normal()), "a": int(rng.integers(4)), "r": float(step),
            "done": step == 2, "note": f"s{step}", "extra": step * 7,
        }
        for experiment in ("low lr", "high lr")
        for episode in (0, 1)
        for step in range(3)
    ]  # fmt: skip


def mapped(tmp_path: Path, more: str = "", text: str = MAP) -> str:
    path = tmp_path / "map.toml"
    path.write_text(text.format(more=more))
    return str(path)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a table in the kind that its name says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE steps ({', '.join(rows[0])})")
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(
                f"INSERT INTO steps VALUES ({marks})", [list(row.values()) for row in rows]
            )
        connection.close()
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet", "t.db"])
def test_each_kind_of_table_gives_the_same_states(
    repo: Repository, rows: list[dict[str, Any]], tmp_path: Path, name: str
) -> None:
    more = 'query = "SELECT * FROM steps"' if name == "t.db" else ""
    done = bring(repo, write(tmp_path / name, rows), "table", map=mapped(tmp_path, more))
    assert outcomes(done) == {"runs/low-lr": "new", "runs/high-lr": "new"}
    assert done.notes == ["columns that the map does not name are left out: extra"]
    for run, part in (("low-lr", rows[:6]), ("high-lr", rows[6:])):
        assert column(repo, run, "observation.x") == [np.float32(row["x"]) for row in part]
        assert repo.state(run).observation["x"].dtype == np.float32
        assert column(repo, run, "observation.v") == [row["v"] for row in part]
        assert column(repo, run, "action") == [row["a"] for row in part]
        assert column(repo, run, "reward") == [row["r"] for row in part]
        assert column(repo, run, "terminated") == [row["done"] for row in part]
        assert column(repo, run, "message") == [row["note"] for row in part]
        assert [s.reset is not None for s in repo.trajectory(run)] == [True, False, False] * 2
        assert repo.runs[run].episodes == 2
    other = write(tmp_path / "other.jsonl", rows)
    done = bring(repo, other, map=mapped(tmp_path))
    assert set(outcomes(done).values()) == {"unchanged"}
    assert stored(repo) == 12


def test_an_action_that_was_taken_in_its_row_belongs_to_the_next_state(
    repo: Repository, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    more = 'alignment = "taken"'
    bring(repo, write(tmp_path / "t.jsonl", rows[:6]), map=mapped(tmp_path, more))
    states = list(repo.trajectory("low-lr"))
    assert len(states) == 8  # each episode has a last state, which nobody observed
    for first, part in ((0, rows[:3]), (4, rows[3:6])):
        assert states[first].reset == {}
        assert states[first].action is None and states[first].reward is None
        for number, row in enumerate(part):
            assert states[first + number].observation["v"] == row["v"]
            assert states[first + number + 1].action == row["a"]
            assert states[first + number + 1].reward == row["r"]
            assert states[first + number + 1].terminated == row["done"]
        assert states[first + 3].observation is None
    assert repo.runs["low-lr"].return_ == sum(row["r"] for row in rows[:6])


def test_other_columns_can_go_to_info(
    repo: Repository, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    done = bring(repo, write(tmp_path / "t.jsonl", rows), map=mapped(tmp_path, 'rest = "info"'))
    assert column(repo, "low-lr", "info.extra") == [row["extra"] for row in rows[:6]]
    assert not done.notes


def test_lists_and_json_in_cells(repo: Repository, tmp_path: Path) -> None:
    text = """
[columns]
o = {{ path = "observation", type = "float32" }}
i = {{ path = "info.k", type = "json" }}
"""
    rows = [{"o": "[[1, 2], [3, 4]]", "i": '{"a": null}'}, {"o": "[]", "i": ""}]
    bring(repo, write(tmp_path / "t.csv", rows), map=mapped(tmp_path, text=text))
    states = list(repo.trajectory("t"))
    assert states[0].observation.tolist() == [[1, 2], [3, 4]]
    assert states[0].observation.dtype == np.float32
    assert states[0].info == {"k": {"a": None}}
    assert states[1].observation.shape == (0,) and states[1].info is None


@pytest.mark.parametrize(
    "change, words",
    [
        (("x", "ab"), "line 4: column 'x': 'ab' is not of its type"),
        (("a", "1.5"), "line 4: column 'a'"),
        (("a", "9" * 30), "line 4: column 'a'.*does not fit int64"),
        (("done", "maybe"), "line 4: column 'done'.*write it as true or false"),
    ],
)
def test_a_cell_of_another_type_names_its_place(
    repo: Repository,
    rows: list[dict[str, Any]],
    tmp_path: Path,
    change: tuple[str, str],
    words: str,
) -> None:
    rows[2][change[0]] = change[1]
    path = write(tmp_path / "t.csv", rows)
    with pytest.raises(InvalidInput, match=words):
        bring(repo, path, map=mapped(tmp_path))
    assert not repo.runs
    done = bring(repo, path, map=mapped(tmp_path, 'damaged = "skip"'))
    assert done.states == 12
    assert done.notes[-1].startswith("1 row not imported: line 4")


@pytest.mark.parametrize("alignment", ["led", "taken"])
@pytest.mark.parametrize("fault", ["cell", "line"])
def test_no_transition_leads_over_a_row_that_was_lost(
    repo: Repository, rows: list[dict[str, Any]], tmp_path: Path, alignment: str, fault: str
) -> None:
    """The second row of three, and the first of the next episode, are lost."""
    for number in (1, 3):
        rows[number]["a"] = "ab"
    path = write(tmp_path / "t.csv", rows[:6])
    if fault == "line":
        lines = path.read_text().splitlines()
        path.write_text("".join(f"{line}{',,' * (',ab,' in line)}\n" for line in lines))
    more = f'damaged = "skip"\nalignment = "{alignment}"'
    bring(repo, path, map=mapped(tmp_path, more))
    states = list(repo.trajectory("low-lr"))
    found = [state.observation and state.observation["v"] for state in states]
    actions = [state.action for state in states]
    v, a = [row["v"] for row in rows], [row["a"] for row in rows]
    begun = [None] if fault == "cell" else []  # of a lost line nobody knows the episode
    if alignment == "led":
        assert found == [v[0], None, v[2], *begun, v[4], v[5]]
        assert actions == [a[0], None, a[2], *begun, a[4], a[5]]
    else:
        assert found == [v[0], None, v[2], None, *begun, v[4], v[5], None]
        assert actions == [None, a[0], None, a[2], *begun, None, a[4], a[5]]
    assert states[1].message.startswith("not imported: line 3")
    assert [i for i, state in enumerate(states) if state.reset is not None] == [
        0, 3 + (alignment == "taken")
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_damaged_lines_are_refused_or_told(
    repo: Repository, rows: list[dict[str, Any]], tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / name, rows)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], "{broken,\n", *lines[4:]]))
    with pytest.raises(InvalidInput, match=r"line 5: .*damaged = \"skip\""):
        bring(repo, path, map=mapped(tmp_path))
    done = bring(repo, path, map=mapped(tmp_path, 'damaged = "skip"'))
    assert done.states == 12 + (name == "t.jsonl")  # without a header, it lies within an episode
    assert done.notes[-1].startswith("1 row not imported: line 5")


def test_more_damaged_lines_than_are_counted_are_refused(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"x": 1}\n' + "{\n" * 1001 + '{"x": 2}\n')
    text = 'damaged = "skip"\n[columns]\nx = "observation"'
    with pytest.raises(InvalidInput, match="too many lines cannot be read"):
        bring(repo, tmp_path / "t.jsonl", map=mapped(tmp_path, text=text))


def test_rows_of_a_run_must_be_together(
    repo: Repository, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = write(tmp_path / "t.csv", rows + rows[:1])
    with pytest.raises(InvalidInput, match="rows of run 'low-lr' are not together; sort"):
        bring(repo, path, map=mapped(tmp_path))


def test_columns_of_later_lines_are_told_too(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"x": 1}\n{"x": 2, "cost": 3}\n')
    text = '[columns]\nx = "observation"\nrewrd = "reward"'
    done = bring(repo, tmp_path / "t.jsonl", map=mapped(tmp_path, text=text))
    assert done.notes == [
        "columns that the map does not name are left out: cost", "columns that are in no row: rewrd",
    ]  # fmt: skip


@pytest.mark.parametrize("time", ["9999-12-31", "2300-01-01T00:00:00Z", "0001-01-01"])
def test_times_that_have_no_64_bits_are_none(time: str) -> None:
    assert nanoseconds(time) is None and nanoseconds("1970-01-01T00:00:01") == 10**9


def test_a_column_that_is_not_there(
    repo: Repository, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    for row in rows:
        del row["a"]
    with pytest.raises(InvalidInput, match=r"has no column 'a' \(it has: experiment, ep, x"):
        bring(repo, write(tmp_path / "t.csv", rows), map=mapped(tmp_path))


@pytest.mark.parametrize(
    "text, words",
    [
        ("[columns", "is not TOML"),
        ("", "needs a table"),
        ("colums = 1", "unknown key 'colums'; did you mean 'columns'"),
        ("[columns]\na = 'obs'", "unknown field 'obs'"),
        ("[columns]\na = 'rewrd'", "did you mean 'reward'"),
        ("[columns]\na = 'reward.x'", "is no path of a field"),
        ("[columns]\na = 'info'", "name a key of info, as in 'info.a'"),
        ("[columns]\na = 1", "must be a path"),
        ("[columns]\na = {path = 'action', type = 'int65'}", "unknown type 'int65'; did you mean"),
        ("[columns]\na = 'action'\nb = 'action'", "path 'action' has two columns"),
        ("[columns]\na = 'action'\nb = 'action.x'", "leads through 'action'"),
        ("alignment = 'x'\n[columns]\na = 'action'", "must be one of led, taken"),
        ("[columns]\na = {path = 'truncated', type = 'json'}", "'truncated' must be of type bool"),
        ("run = 1\n[columns]\na = 'action'", "'run' must be a text"),
        ("query = 'select 1'\n[columns]\na = 'action'", "is not a database"),
        ("delimiter = ''\n[columns]\na = 'action'", "one character"),
    ],
)  # fmt: skip
def test_maps_that_are_none(
    repo: Repository, rows: list[dict[str, Any]], tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        bring(repo, write(tmp_path / "t.csv", rows), map=str(path))


def test_a_query_that_writes_is_refused(
    repo: Repository, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = write(tmp_path / "t.db", rows)
    for query in ("DELETE FROM steps", "ATTACH '/etc/passwd' AS p", "PRAGMA user_version = 3"):
        with pytest.raises(InvalidInput, match="query on"):
            bring(repo, path, map=mapped(tmp_path, f'query = "{query}"'))
