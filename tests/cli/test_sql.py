"""``simgit sql`` and ``simgit run best``: forms of a result, files, saved queries."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from simgit import Repository
from simgit.storage.lmdb import LmdbStorage
from tests.cli.conftest import Call

pytest.importorskip("duckdb")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def recorded(run: Call, directory: Path) -> Call:
    """Two runs whose infos have values of several types."""
    with Repository.init(directory) as made:
        for name, scale in (("main", 1.0), ("other", 2.0)):
            with made.recorder(name, config={"lr": scale}) as recorder:
                for i, info in enumerate([1, {"a": "€"}, [1, float("nan")]]):
                    recorder.append(np.float32(i), i, i * scale, i == 2, info={"value": info})
    return run


def test_a_table(recorded: Call) -> None:
    query = "select name, states, return, config, ended, null as none from runs order by name"
    assert recorded("sql", query).lines == [
        "name   states  return  config       ended  none",
        'main        3       3  {"lr": 1.0}  -      -',
        'other       3       6  {"lr": 2.0}  -      -',
    ]


def test_an_empty_mapping_has_no_fields(recorded: Call) -> None:
    recorded("commit", "--run", "main", "--observation", "1", "--reset")
    query = "select reset from main where reset is not null"
    assert recorded("sql", query).lines == ["reset", "{}"]
    assert recorded("sql", query, "--json").records == [{"reset": {}}]


def test_a_long_table_is_cut_and_says_so(recorded: Call) -> None:
    found = recorded("sql", "select range from range(1500)")
    assert len(found.lines) == 1001
    assert found.err == "only the first 1000 rows are shown: -n N shows more, --format csv all\n"
    found = recorded("sql", "select range from range(1500)", "-n", "1200")
    assert (len(found.lines), found.err) == (1201, "")
    assert len(recorded("sql", "select range from range(1500)", "--format", "csv").lines) == 1501


def test_json(recorded: Call) -> None:
    found = recorded("sql", "select step, info.value as v, reward from main", "--json")
    assert found.records == [
        {"step": 0, "v": 1, "reward": 0.0}, {"step": 1, "v": {"a": "€"}, "reward": 1.0},
        {"step": 2, "v": [1, {"$float": "nan"}], "reward": 2.0},
    ]  # fmt: skip
    again = recorded("sql", "select step, info.value as v, reward from main", "--format", "json")
    assert again.out == found.out


def test_values_of_all_types_as_json(recorded: Call) -> None:
    query = (
        "select timestamp '2026-01-02 03:04:05.6' as t, date '2026-01-02' as d, 1.50::decimal(9,2) "
        "as m, sum(1) as n, 'x'::blob as b, 'nan'::double as f, {'a': [1, null]} as s, true as y, "
        "interval 90 minutes as i, uuid '00000000-0000-0000-0000-000000000001' as u, "
        "map {'k': 1} as k"
    )
    assert recorded("sql", query, "--json").json == {
        "t": "2026-01-02T03:04:05.600000000Z", "d": "2026-01-02", "m": 1.5, "n": 1,
        "b": {"$bytes": "eA=="}, "f": {"$float": "nan"}, "s": {"a": [1, None]}, "y": True,
        "i": recorded("sql", query, "--json").json["i"],
        "u": "00000000-0000-0000-0000-000000000001", "k": {"k": 1},
    }  # fmt: skip


def test_csv(recorded: Call) -> None:
    found = recorded("sql", "--format", "csv", "select step, info.value as v, action > 1 from main")
    assert list(csv.reader(io.StringIO(found.out))) == [
        ["step", "v", '("action" > 1)'], ["0", "1", "false"], ["1", '{"a": "€"}', "false"],
        ["2", '[1, {"$float": "nan"}]', "true"],
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.csv", "out.json", "out.jsonl", "out.parquet"])
def test_files(recorded: Call, directory: Path, name: str) -> None:
    query = "select step, reward from other"
    assert recorded("sql", query, "-o", name).out == f"wrote 3 rows into {name}\n"
    file = directory / name
    if name.endswith("csv"):
        found = [
            [float(x) for x in row] for row in list(csv.reader(file.read_text().splitlines()))[1:]
        ]
    elif name.endswith("parquet"):
        found = [list(row.values()) for row in parquet.read_table(file).to_pylist()]
    else:
        found = [list(json.loads(line).values()) for line in file.read_text().splitlines()]
    assert found == [[0, 0.0], [1, 2.0], [2, 4.0]]
    assert "exists already" in recorded("sql", query, "-o", name, code=None).err
    assert recorded("sql", query, "-o", name, "-f", "-n", "1", "--json").json["rows"] == 1


def test_an_empty_result_has_its_columns(recorded: Call, directory: Path) -> None:
    query = "select step, reward from main where step > 10"
    assert recorded("sql", query).lines == ["step  reward"]
    recorded("sql", query, "-o", "none.parquet")
    assert parquet.read_table(directory / "none.parquet").column_names == ["step", "reward"]


def test_a_file_that_fails_is_not_there(recorded: Call, directory: Path) -> None:
    query = "select cast(case when step > 1 then 'x' else '1' end as int) from main"
    assert "could not convert" in recorded("sql", query, "-o", "bad.csv", code=None).err
    assert not (directory / "bad.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give a QUERY"), (("select 1", "-l"), "give a QUERY"),
        (("select 1", "--format", "parquet"), "a Parquet file needs -o FILE"),
        (("select 1", "-o", "x.txt"), "name it .csv, .json or .parquet"),
        (("select 1", "--json", "--format", "csv"), "cannot be used together"),
        (("select 1", "--save", "a", "-d", "b"), "cannot be used together"),
        (("select 1, 1 as a, 2 as a", "--json"), "two columns are called 'a'"),
        (("drop view runs",), "must be a SELECT"), (("nosuch",), "saved query 'nosuch' not found"),
        (("select 1", "--save", "a b"), "not a valid name for a query"),
        (("copy runs to 'x'", "--save", "a"), "must be a SELECT"),
    ],
)  # fmt: skip
def test_what_is_refused(recorded: Call, words: tuple[str, ...], message: str) -> None:
    found = recorded("sql", *words, code=None)
    assert found.code
    assert message in found.err


def test_hostile_text_is_shown_as_escapes(recorded: Call) -> None:
    found = recorded("sql", "select 'a' || chr(27) || '[31m' || chr(10) || 'b' as x")
    assert "\x1b" not in found.out
    assert "\\x1b[31m" in found.out


@pytest.mark.slow
def test_saved_queries(recorded: Call, directory: Path) -> None:
    recorded("sql", "--save", "best", "select max(reward)\nfrom states")
    recorded("sql", "--save", "later", "select * from no_such_run_yet")
    assert recorded("sql", "best").lines == ["max(reward)", "          4"]
    assert recorded("sql", "-l").lines == [
        "best   select max(reward) from states", "later  select * from no_such_run_yet",
    ]  # fmt: skip
    recorded("sql", "--save", "best", "select 7 as x")
    assert recorded("sql", "best", "--json").json == {"x": 7}
    assert recorded("sql", "-d", "best").out == "deleted query best\n"
    assert "did you mean 'later'" in recorded("sql", "latr", code=None).err
    recorded("clone", ".", "copy")
    with Repository.open(directory / "copy") as copy:
        assert copy.saved_queries() == {"later": "select * from no_such_run_yet"}


def test_a_damaged_saved_query_is_found_and_can_be_deleted(recorded: Call, directory: Path) -> None:
    recorded("sql", "--save", "best", "select 1")
    storage = LmdbStorage.open(directory / ".simgit")
    with storage.write() as txn:
        value = txn.get("meta", b"query\0best")
        assert value is not None
        txn.put("meta", b"query\0best", value[:-1] + bytes([value[-1] ^ 1]))
    storage.close()
    assert "saved query 'best' is damaged" in recorded("fsck", code=None).out
    assert "is damaged" in recorded("sql", "-l", code=None).err
    recorded("sql", "-d", "best")
    assert recorded("fsck").code == 0


def test_the_best_runs(recorded: Call) -> None:
    assert recorded("run", "best", "--by", "max(return)").lines == [
        "   run    max(return)  episodes  settings",
        "1  other            6         1  lr=2.0",
        "2  main             3         1  lr=1.0",
    ]
    found = recorded("run", "best", "--by", "max(return)", "--lowest", "-n", "1", "--json").json
    assert (found["rank"], found["name"], found["value"]) == (1, "main", 3.0)
    found = recorded("run", "best", "o*", "--where", "config.lr > 1")
    assert [line.split()[:2] for line in found.lines[1:]] == [["1", "other"]]


def test_a_series_is_plotted(recorded: Call, directory: Path) -> None:
    with Repository.open(directory) as made:
        made.add_series("main", {"train/loss": ([1, 2, 3], [0.5, 0.25, 0.75])})
        made.add_series("other", {"train/loss": ([1], [7.0])})
    found = recorded("plot", "main", "--series", "train/loss")
    assert found.lines[0] == "main  train/loss of 3 points"
    assert found.lines[-1] == "first 0.5, lowest 0.25, highest 0.75, last 3: 0.5 on average"
    assert "other" in recorded("plot", "main", "other", "--series", "train/loss").out
    record = recorded("plot", "main", "--series", "train/loss", "--json").json
    assert (record["steps"], record["values"]) == ([1, 2, 3], [0.5, 0.25, 0.75])
    for options in (("--bands",), ("--kind", "lengths")):
        found = recorded("plot", "--series", "a", *options, code=None)
        assert "cannot be used together" in found.err


@pytest.mark.slow
def test_a_series_is_drawn(recorded: Call, directory: Path) -> None:
    pytest.importorskip("matplotlib")
    with Repository.open(directory) as made:
        made.add_series("main", {"train/loss": ([1, 2, 3], [0.5, 0.25, 0.75])})
    recorded("plot", "main", "--series", "train/loss", "-o", "loss.svg")
    assert (directory / "loss.svg").exists()
