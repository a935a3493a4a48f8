"""Each table of ``repo.sql`` has what the API returns, and a query reads only what it needs."""

from __future__ import annotations

import json
import operator
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import IntegrityError, InvalidInput, NotFound, Repository
from simgit.history.trajectory import Trajectory
from simgit.refs.run_config import flat
from tests.support.examples import share
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")
sql_rows = pytest.importorskip("simgit.datasets.sql.rows")


def record(repo: Repository, run: str, lengths: Sequence[int], **options: Any) -> None:
    with repo.recorder(run, flush_every=7, **options) as recorder:
        for number, length in enumerate(lengths):
            first = np.array([0, number], np.float32)
            recorder.append(first, reset={"seed": number}, info={"lives": 3})
            for step in range(1, length + 1):
                recorder.append(
                    np.array([step / 8, number], np.float32), step % 3, step / 4,
                    step == length, False, {"lives": 3 - step % 3, "note": {"tag": run}},
                )  # fmt: skip


@pytest.fixture(scope="module")
def repo() -> Repository:
    """Two runs of several episodes, branches of one, tags, attachments, and a deleted run."""
    made = Repository.init(":memory:")
    record(made, "main", [5, 12, 3, 20, 8], config={"agent.lr": 0.5, "agent.name": "dqn"}, seed=1)
    made.branch("what if/1".replace(" ", "-"), "main@20", overrides={"agent.lr": 0.25})
    record(made, "what-if/1", [4, 9])
    made.branch("what-if/2", "what-if/1@30", metadata={"note": "second"})
    record(made, "what-if/2", [6])
    with made.recorder("images", config={"agent.lr": 1}) as recorder:
        for i in range(4):
            recorder.append({"image": np.full((2, 3), i, np.uint8), "text": f"№ {i}"}, i, 1.0)
    made.recorder("empty").close()
    record(made, "gone", [2])
    made.attach("main@7", "weights", {"w": np.zeros(3)})
    made.attach("main@30", "weights", {"w": np.ones(3)})
    made.attach("what-if/1", "note", [1, 2])
    made.attach("gone", "lost", [3])
    made.tag("best", "main@20", message="as good as it gets", tagger="ada")
    made.tag("plain", "images")
    made.delete_run("gone")
    return made


def rows(repo: Repository, query: str, *params: Any) -> list[tuple[Any, ...]]:
    return repo.sql(query, params or None).fetchall()


def nanoseconds(repo: Repository, query: str) -> list[Any]:
    return repo.sql(query).arrow().column(0).cast("int64").to_pylist()


# --- each table against the API ------------------------------------------------------------------


def test_runs(repo: Repository) -> None:
    infos = list(repo.runs.values())
    found = rows(
        repo,
        "select name, status, parent, step, states, episodes, return, seed, config, metadata, tip "
        "from runs order by name",
    )
    expected = [
        (i.name, i.status, i.parent, i.step, 0 if i.step is None else i.step + 1, i.episodes,
         i.return_, i.seed, flat(dict(i.config)), flat(dict(i.metadata)), i.oid and i.oid.hex())
        for i in sorted(infos, key=lambda info: info.name)
    ]  # fmt: skip
    assert [
        (*r[:7], json.loads(r[7] or "null"), json.loads(r[8]), json.loads(r[9]), r[10])
        for r in found
    ] == expected
    steps = [None if i.branch_point is None else repo.state(i.branch_point).step for i in infos]
    assert rows(repo, "select branch_step from runs") == [(step,) for step in steps]
    for name in ("created", "ended"):
        assert nanoseconds(repo, f"select {name} from runs") == [getattr(i, name) for i in infos]


def test_settings_are_found_by_their_dotted_names(repo: Repository) -> None:
    query = "select name from runs where (config->>'agent.lr')::double < ? order by name"
    assert rows(repo, query, 0.5) == [("what-if/1",), ("what-if/2",)]


def test_tags(repo: Repository) -> None:
    found = rows(repo, "select name, state, step, message, tagger from tags order by name")
    assert found == [
        (name, oid.hex(), repo.state(oid).step, note and note.message, note and note.tagger)
        for name, (oid, note) in sorted(repo.tags().items())
    ]
    times = [note and note.time for _, note in repo.tags().values()]
    assert nanoseconds(repo, "select time from tags") == times


def test_episodes(repo: Repository) -> None:
    found = rows(repo, "select * from episodes")
    expected = []
    for info in repo.runs.values():
        point = info.branch_point
        first = 0 if point is None else repo.state(point).step + 1
        for e in reversed(repo.episodes(info.name) if info.oid else []):
            ended = ("terminated" in e.end, "truncated" in e.end)
            own = e.start >= first
            expected.append((info.name, e.number, e.start, e.stop, e.steps, e.return_, *ended, own))
    assert found == expected


def test_states_of_all_runs(repo: Repository) -> None:
    query = (
        "select run, step, episode, episode_step, own, oid, reward, action, terminated, "
        "recorded_at is not null from states"
    )
    expected = []
    for info in repo.runs.values():
        if info.oid is None:
            continue
        point = info.branch_point
        first = 0 if point is None else repo.state(point).step + 1
        for state in repo.trajectory(info.name):
            timed = repo.time(state.oid) is not None
            expected.append(
                (info.name, state.step, state.episode, state.episode_step, state.step >= first,
                 state.oid.hex(), state.reward, state.action, state.terminated, timed)
            )  # fmt: skip
    assert rows(repo, query) == expected


@pytest.mark.parametrize("revision", ["main", "main@5..main@30", "main@ep2", "what-if/1", "best"])
def test_states_of_a_revision(repo: Repository, revision: str) -> None:
    states = repo.trajectory(revision)
    found = repo.sql(f'select * exclude info, info.lives, info.note from "{revision}"').arrow()
    assert found["step"].to_pylist() == states.steps.tolist()
    assert found["episode"].to_pylist() == states.episode_ids.tolist()
    assert found["oid"].to_pylist() == [oid.hex() for oid in states.oids]
    np.testing.assert_array_equal(
        np.array(found["observation"].to_pylist()), np.asarray(states.observations)
    )
    rewards = [0 if r is None else r for r in found["reward"].to_pylist()]
    assert rewards == states.rewards.tolist()
    assert found["lives"].to_pylist() == states["info.lives"].tolist()
    assert "run" not in found.column_names
    times = [repo.time(oid) for oid in states.oids]
    assert nanoseconds(repo, f'select recorded_at from "{revision}"') == times


def test_images_and_texts(repo: Repository) -> None:
    query = "select observation.image, observation.text, action from images"
    found = rows(repo, query)
    assert found == [(((i,) * 6), f"№ {i}", i) for i in range(4)]


def test_a_field_of_different_types_is_json() -> None:
    repo = Repository.init(":memory:")
    for value in (1, "two", {"three": [4, 5]}):
        repo.commit(observation=value)
    repo.commit(reward=1.0)
    found = repo.sql("select observation from main")
    assert found.types == ["JSON"]
    assert [None if text is None else json.loads(text) for (text,) in found.fetchall()] == [
        1, "two", {"three": [4, 5]}, None,
    ]  # fmt: skip
    assert rows(repo, "select observation->'three'->>1 from main where step = 2") == [("5",)]


def test_attachments(repo: Repository) -> None:
    expected = set()
    for info in repo.runs.values():
        for each in repo.history_attachments(info.name) if info.oid else ():
            expected.add(
                (info.name, each.state.hex(), each.step, each.name, each.kind, each.oid.hex())
            )
    query = "select run, state, step, name, kind, oid from attachments where run is not null"
    found = rows(repo, query)
    assert set(found) == expected
    assert len(found) == len(expected)
    lost = rows(repo, "select name, step, own from attachments where run is null")
    assert lost == [("lost", 2, None)]
    own = "select name, count(*) from attachments where own group by name order by name"
    assert rows(repo, own) == [("note", 1), ("weights", 2)]


def test_reflog(repo: Repository) -> None:
    found = rows(repo, "select ref, message, old, new, process from reflog order by ref, number")
    names = sorted({ref for ref, *_ in found})
    assert {"HEAD", "runs/main", "runs/gone", "tags/best"} <= set(names)
    assert found == [
        (ref, e.message, e.old and e.old.hex(), e.new and e.new.hex(), e.pid)
        for ref in names
        for e in repo.reflog(ref)
    ]
    times = nanoseconds(repo, "select time from reflog where ref = 'runs/main' order by number")
    assert times == [entry.time for entry in repo.reflog("runs/main")]


def test_operations(repo: Repository) -> None:
    found = rows(
        repo,
        "select number, command, arguments, title, changes, reverts, session, program "
        "from operations order by number desc",
    )
    assert found == [
        (o.number, o.command, list(o.arguments), o.title, o.changes, o.reverts, o.session,
         o.program)
        for o in repo.operations()
    ]  # fmt: skip
    times = [operation.time for operation in repo.operations()]
    assert nanoseconds(repo, "select time from operations") == times


def test_tables_of_an_empty_repository() -> None:
    repo = Repository.init(":memory:")
    for table in ("runs", "tags", "episodes", "attachments", "reflog", "operations", "states"):
        assert rows(repo, f"select count(*) from {table}") == [(0,)], table


def test_a_sample_of_a_table(repo: Repository) -> None:
    assert len(rows(repo, "from main tablesample 100%")) == len(repo["main"])


def test_a_run_named_like_a_table_has_its_full_name() -> None:
    repo = Repository.init(":memory:")
    repo.commit(observation=1, reward=2.0, run="runs")
    assert rows(repo, "select name from runs") == [("runs",)]
    assert rows(repo, 'select reward from "runs/runs"') == [(2.0,)]


def test_joins_windows_and_tables_of_the_query_itself(repo: Repository) -> None:
    found = rows(
        repo,
        """
        with main as (select run, max(return) best from episodes group by run)
        select r.name, main.best, rank() over (order by best desc)
        from runs r join main on main.run = r.name where r.parent is null order by 3
        """,
    )
    assert found == [("main", 52.5, 1), ("images", 4.0, 2)]


def test_results_as_tables_of_others(repo: Repository) -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    found = repo.sql("select name, episodes from runs where name = $name", {"name": "main"})
    assert (found.columns, found.types) == (["name", "episodes"], ["VARCHAR", "BIGINT"])
    assert repr(found) == "<Relation name VARCHAR, episodes BIGINT>"
    assert isinstance(found.df(), pandas.DataFrame)
    assert isinstance(found.pl(), polars.DataFrame)
    assert found.df().to_dict("records") == found.pl().to_dicts() == found.arrow().to_pylist()
    assert found.fetchall() == [("main", 5)]
    many = repo.sql("select step from main").batches(10)
    assert sum(batch.num_rows for batch in many) == len(repo["main"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("340282366920938463463374607431768211455::uhugeint", "340282366920938463463374607431768211455"),
        ("(-170141183460469231731687303715884105727)::hugeint", "-170141183460469231731687303715884105727"),
        ("12345678901234567890.12::decimal(38,2)", "12345678901234567890.12"), ("1.50::decimal(9,2)", "1.5"),
        ("'101'::bit", "101"), ("3::bignum", "3"), ("'x'::variant", "x"), ("interval '1 month 2 days'", "1 month 2 days"),
        ("timetz '12:00:00+02'", "12:00:00+02"), ("time_ns '12:00:00.123456789'", "12:00:00.123456789"),
        ("time '24:00:00'", "24:00:00"), ("timestamp '3000-01-01'", "3000-01-01T00:00:00.000000Z"),
        ("timestamp 'infinity'", "infinity"), ("date '-infinity'", "-infinity"), ("date '20000-01-01'", "20000-01-01"),
        ("timestamp_ns '2020-01-01 00:00:00.123456789'", "2020-01-01T00:00:00.123456789Z"),
        ("timestamptz '2020-01-01 00:00:00+02'", "2019-12-31T22:00:00.000000000Z"),
    ],
)  # fmt: skip
def test_values_of_all_types_are_shown_exactly_nested_or_not(
    repo: Repository, value: str, text: str
) -> None:
    found = repo.sql(
        f"select {value} as v, [{value}, null] as l, {{'a \"b': {value}}} as s, "
        f"map {{'k': {value}}} as m, [{value}]::{repo.sql(f'select {value}').types[0]}[1] as f"
    )
    (record,) = sql_rows.records(found)
    shown = record["v"]["$int"] if isinstance(record["v"], dict) else str(record["v"])
    assert shown == text
    v = record["v"]
    assert record == {"v": v, "l": [v, None], "s": {'a "b': v}, "m": {"k": v}, "f": [v]}
    _, line = sql_rows.csv_lines(found)
    assert line.split(",")[0] == text
    assert found.arrow().num_rows == 1


def test_data_frames_have_texts_where_they_have_no_such_type(repo: Repository) -> None:
    pytest.importorskip("pandas"), pytest.importorskip("polars")
    found = repo.sql("select 340282366920938463463374607431768211455::uhugeint as v")
    assert found.df().v[0] == found.pl()["v"][0] == str(2**128 - 1)


def test_json_of_a_query_is_json_whatever_is_in_it(tmp_path: Path, repo: Repository) -> None:
    found = repo.sql("""select '[1, NaN, -Infinity, 1e999, 0.5]'::json as j, null::json as n""")
    numbers = [1, {"$float": "nan"}, {"$float": "-inf"}, {"$float": "inf"}, 0.5]
    assert [*sql_rows.records(found)] == [{"j": numbers, "n": None}]
    assert sql_rows.write_file(found, "json", tmp_path / "x.json") == 1


def test_dates_and_durations_of_states_are_shown_as_they_are() -> None:
    repo = Repository.init(":memory:")
    late, span = np.datetime64("9999-01-01", "s"), np.timedelta64(3, "s")
    with repo.recorder("main") as recorder:
        recorder.append({"late": late, "span": span, "": 1}, reset=True)
        recorder.append({"late": late, "span": span, "": 1}, 1, 0.0, False, False)
    found = repo.sql("select observation.late as late, observation.span as span from main")
    assert [*sql_rows.records(found)] == [{"late": "9999-01-01T00:00:00Z", "span": "00:00:03"}] * 2
    assert len([*sql_rows.records(repo.sql("select * from main"))]) == 2
    with repo.recorder("none") as recorder:
        recorder.append({"span": np.timedelta64("NaT", "s"), "late": np.datetime64("NaT", "s")})
        recorder.append({"span": span, "late": late}, 1, 0.0, False, False)
    spans = rows(repo, "select observation.span, observation.late from none")
    assert [span is None and late is None for span, late in spans] == [True, False]


# --- nothing but reading -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('{file}')", "select * from read_text('{file}')",
        "select * from read_blob('{file}')", "select * from read_json('{file}')",
        "select * from read_parquet('{file}')", "select * from '{file}'",
        "select * from glob('{folder}/*')", "select * from sniff_csv('{file}')",
        "copy runs to '{folder}/out.csv'", "copy (select 1) to '{folder}/out.csv'",
        "copy runs from '{file}'", "attach '{folder}/out.db'", "attach ':memory:' as other",
        "install httpfs", "load httpfs", "install 'https://example.com/x.duckdb_extension'",
        "pragma version", "pragma database_list", "set threads = 1", "reset threads",
        "set enable_external_access = true", "select 1; select 2", "select 1; drop view runs",
        "create table x as select 1", "create macro f() as 1", "insert into runs values (1)",
        "update runs set name = 'x'", "delete from runs", "drop view runs", "truncate runs",
        "export database '{folder}/out'", "import database '{folder}'", "checkpoint", "vacuum",
        "begin", "commit", "call pragma_version()", "prepare p as select 1", "execute p",
        "explain select 1", "explain analyze select 1", "use memory", "detach memory",
        "select getenv('HOME')", "select * from secret_variable", "from secret_variable",
        "select * from postgres_scan('host=localhost', 'public', 'x')",
        "select * from sqlite_scan('{file}', 'x')", "with x as (delete from runs) select 1",
        "pivot runs on status", "", ";", "-- nothing", "selekt 1", "select", "\x00", "select '\x00",
        "select * from runs where",
    ],
)  # fmt: skip
def test_a_query_reaches_nothing_else(repo: Repository, tmp_path: Path, query: str) -> None:
    secret_variable = __import__("pyarrow").table({"x": [1]})
    file = tmp_path / "secret.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises((InvalidInput, NotFound)) as caught:
        repo.sql(query.format(file=file, folder=tmp_path)).fetchall()
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == [file]
    assert secret_variable.num_rows == 1


def test_settings_cannot_be_changed_by_a_function(repo: Repository) -> None:
    found = dict(
        rows(repo, "select name, value from duckdb_settings() where name like '%external%' "
        "or name in ('lock_configuration', 'temp_directory', 'python_enable_replacements')")
    )  # fmt: skip
    assert found["enable_external_access"] == "false"
    assert found["lock_configuration"] == "true"
    assert found["python_enable_replacements"] == "false"
    assert found["temp_directory"] == ""


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select * from mian", "table 'mian' not found; did you mean 'main'?"),
        ("select * from nowhere.main", "unknown table 'nowhere.main'; write the name of a run or a revision in double quotes: \"nowhere.main\""),
        ("select rewrd from main", 'referenced column "rewrd" not found in FROM clause; Candidate bindings: "reward"'),
        ("select 1; select 2", "a query must be one statement, got 2"),
        ("drop view runs", "a query must be a SELECT, got a statement of type 'drop'"),
        ('select * from "main@999"', "main@999"),
        ("select cast(name as int) from runs", "could not convert string 'empty' to INT32"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_on_one_line(repo: Repository, query: str, message: str) -> None:
    with pytest.raises((InvalidInput, NotFound)) as caught:
        repo.sql(query).fetchall()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("query", "params"),
    [("select ?", None), ("select ?", [1, 2]), ("select $a", {"b": 1}), ("select ?", [object()])],
)
def test_wrong_parameters(repo: Repository, query: str, params: Any) -> None:
    with pytest.raises(InvalidInput):
        repo.sql(query, params).fetchall()


def test_damage_is_told_as_damage(monkeypatch: pytest.MonkeyPatch, repo: Repository) -> None:
    def damaged(*_: Any) -> Any:
        raise IntegrityError("a block of segment 1/0 is damaged")

    monkeypatch.setattr("simgit.datasets.sql.states.planned_columns", damaged)
    with pytest.raises(IntegrityError, match="a block of segment"):
        repo.sql("select sum(reward) from states").fetchall()


# --- only what is needed -------------------------------------------------------------------------


class Reads:
    """The columns and steps that were decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from simgit.datasets.sql import states

        self.paths: set[str] = set()
        self.steps: set[tuple[str, int]] = set()
        decode = states.planned_columns

        def counted(part: Trajectory, plans: Any) -> Any:
            self.paths |= {".".join(map(str, plan.path)) for plan in plans.values()}
            self.steps |= {(part.name, step) for step in part.steps.tolist()}
            return decode(part, plans)

        monkeypatch.setattr(states, "planned_columns", counted)


def test_only_projected_columns_are_decoded(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    rows(repo, "select episode, sum(reward) from main where action = 1 group by episode")
    assert reads.paths == {"reward", "action"}
    assert len(reads.steps) == len(repo["main"])


def test_counting_decodes_nothing(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(monkeypatch)
    assert rows(repo, "select count(*) from main") == [(len(repo["main"]),)]
    assert rows(repo, "select max(step), count(distinct episode) from main")[0][1] == 5
    assert not reads.steps


def test_only_the_steps_that_a_condition_leaves_are_read(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    query = "select reward from states where run = ? and step between 10 and 15 and reward > 0"
    rows(repo, query, "main")
    assert reads.steps == {("main", step) for step in range(10, 16)}


def test_a_condition_on_episodes_is_a_range_of_steps(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    rows(repo, "select reward from main where episode = 2")
    assert reads.steps == {("main", step) for step in repo["main@ep2"].steps.tolist()}


def test_own_states_of_branches_only(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(monkeypatch)
    rows(repo, "select reward from states where own")
    every = rows(repo, "select count(distinct oid), sum(own::int) from states")
    assert every == [(len(reads.steps), len(reads.steps))]


def test_each_side_of_a_join_has_its_own_range(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    query = (
        "select a.reward, b.reward from states a, states b "
        "where a.run = 'main' and a.step = 3 and b.run = 'what-if/1' and b.step = 4"
    )
    assert len(rows(repo, query)) == 1
    assert reads.steps == {("main", 3), ("what-if/1", 4)}


def test_columns_that_are_not_named_are_not_looked_at(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simgit.datasets.sql import states

    planned: list[Any] = []
    table = states.ArrowTable

    def noted(ranges: Any, fields: Any = None, **options: Any) -> Any:
        planned.append(fields)
        return table(ranges, fields, **options)

    monkeypatch.setattr(states, "ArrowTable", noted)
    rows(repo, "select m.reward, step from main as m where m.action > 0")
    rows(repo, "select t from main as t limit 1")
    rows(repo, "select * from main limit 1")
    assert planned == [["action", "reward"], None, None]


_OPS = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
Row = dict[str, Any]


def condition(draw: random.Random, row: Row, depth: int = 3) -> tuple[str, Any]:
    """Return a random condition as SQL and as a function, with values like those of a row."""
    kind = draw.choice(["compare", "in", "null", "own"] if depth == 0 else
                       ["and", "or", "not", "compare", "compare", "in", "reward"])  # fmt: skip
    if kind in ("and", "or"):
        (a, f), (b, g) = condition(draw, row, depth - 1), condition(draw, row, depth - 1)
        if kind == "and":
            return f"({a} and {b})", lambda r: f(r) and g(r)
        return f"({a} or {b})", lambda r: f(r) or g(r)
    if kind == "not":
        a, f = condition(draw, row, depth - 1)
        return f"not ({a})", lambda r: not f(r)
    name = draw.choice(["run", "step", "episode"])
    if kind == "reward":
        return "coalesce(reward, 0) > 1", lambda r: (r["reward"] or 0) > 1
    if kind == "own":
        return draw.choice([("own", lambda r: r["own"]), ("own = false", lambda r: not r["own"])])
    if kind == "null":
        return f"{name} is not null", lambda r: True
    value = row[name] if name == "run" else max(-3, row[name] + draw.randrange(-3, 4))
    if kind == "in":
        others = [value] if name == "run" else [value, value + 2, 10**9]
        text = ", ".join(map(repr, others))
        return f"{name} in ({text})", lambda r: r[name] in others
    op = draw.choice(list(_OPS))
    return f"{name} {op} {value!r}", lambda r: _OPS[op](r[name], value)


def test_conditions_choose_what_they_would_choose_of_all_rows(repo: Repository, seed: int) -> None:
    draw = random.Random(seed)
    names = ("run", "step", "episode", "own", "reward")
    every = [
        dict(zip(names, row, strict=True))
        for row in rows(repo, f"select {', '.join(names)} from states")
    ]
    for _ in range(share(40)):
        text, holds = condition(draw, draw.choice(every))
        expected = [(row["run"], row["step"]) for row in every if holds(row)]
        found = rows(repo, f"select run, step from states where {text}")
        assert found == expected, text


_OF_RUNS = [
    "run like 'what%'", "s.run not like 'what%'", "run ilike 'WHAT-IF/_'", "run ^@ 'what'", "run glob 'w*2'",
    "run similar to 'm.*'", "run ~ 'if'", "contains(run, '/')", "upper(run) = 'MAIN'", "run between 'a' and 'n'",
    "run not in ('main')", "run in ('main', null)", "run not in ('main', null)", "run like 'what\\%' escape '\\'",
    "(run = 'main' or run ilike 'im%')", "run is not null", "not (run > 'main')", "run like null", "run || 'x' = 'mainx'",
    "run like s.run", "(run = 'main' or step = 3)", "random() < 2 and run = 'main'", "run = (select 'main')",
]  # fmt: skip


@pytest.mark.parametrize("condition", _OF_RUNS)
def test_conditions_on_runs_choose_what_they_would_choose_of_all_rows(
    repo: Repository, condition: str
) -> None:
    # a table that is read twice is read whole
    every = "(select a.* from states a left join (select 1 as one from states limit 1) on one = 1)"
    expected = rows(repo, f"select run, step, reward from {every} s where {condition} order by all")
    query = f"select run, step, reward from states s where {condition} order by all"
    assert rows(repo, query) == expected
    episodes = f"select run, episode from episodes s where {condition.replace('step', 'start')}"
    assert set(rows(repo, episodes)) == set(
        rows(repo, f"select run, episode from (select * from episodes union all select * from episodes) s "
             f"where {condition.replace('step', 'start')}")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "params", "read"),
    [
        ("select step, reward from states where run like 'what-if/%'", None, {"what-if/1", "what-if/2"}),
        ("select s.reward from States s where s.RUN like ? and step > ?", ["%/2", 3], {"what-if/2"}),
        ("select reward from states where run like $p", {"p": "%/2"}, {"what-if/2"}),
        ("select reward from states as s(a) where a like '%/2'", None, {"main", "images", "what-if/1", "what-if/2"}),
        ("select t.reward from (from states where run = 'main') t", None, {"main"}),
        ("with t as (from states where run = 'main') select x.reward from t x, t y limit 1", None, {"main"}),
    ],
)  # fmt: skip
def test_of_runs_that_a_condition_leaves_out_nothing_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, repo: Repository, query: str, params: Any, read: set[str]
) -> None:
    from simgit.datasets.sql import states

    seen: list[set[str]] = []
    columns = states._columns

    def noted(ranges: Any, mentioned: Any) -> Any:
        seen.append({each.name for each in ranges})
        return columns(ranges, mentioned)

    monkeypatch.setattr(states, "_columns", noted)
    repo.sql(query, params).fetchall()
    assert seen == [read]


def test_a_field_of_other_runs_is_null(repo: Repository) -> None:
    assert set(rows(repo, "select info from states where run like 'im%'")) == {(None,)}
    assert rows(repo, "select observation from states where run = 'nobody'") == []
    with pytest.raises(InvalidInput, match="rewrd"):
        rows(repo, "select rewrd from states where run = 'main'")


def test_a_version_of_duckdb_without_pushdown(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "select run, step, reward from states where run = 'main' and step > 40"
    expected = rows(repo, query)
    monkeypatch.setattr("simgit.datasets.sql.pushdown._sources", None)
    assert rows(repo, query) == expected
    assert rows(repo, "select name from runs where step is null") == [("empty",)]


def test_an_old_version_of_duckdb_is_refused(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duckdb.__version__", "1.4.4")
    with pytest.raises(NotFound, match=r"duckdb 2\.0 or newer, not 1\.4\.4"):
        repo.sql("select 1")


def test_a_missing_package_is_named(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "simgit.datasets.sql.session", raising=False)
    monkeypatch.setattr("simgit.datasets.sql.session", None, raising=False)
    monkeypatch.delattr("simgit.datasets.sql.session")
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(
        NotFound, match=re.escape("a query needs duckdb: pip install 'simgit[sql]'")
    ):
        repo.sql("select 1")


def test_ctrl_c_ends_a_query(repo: Repository) -> None:
    query = "select count(*) from range(100000000000) a(x), range(1000) b(y) where x * y % 7 = 3"
    found = repo.sql(query)
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        found.fetchall()
    timer.join()
    deadline = time.monotonic() + PATIENCE
    while any(thread.name == "simgit-sql" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the query goes on"
        time.sleep(0.01)
    assert repo.sql("select 1").fetchall() == [(1,)]


def test_queries_in_threads(repo: Repository) -> None:
    expected = rows(repo, "select run, sum(reward) from states group by run order by run")
    found: list[Any] = []
    query = "select run, sum(reward) from states group by run order by run"
    threads = [threading.Thread(target=lambda: found.append(rows(repo, query))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@pytest.mark.slow
def test_states_of_all_kinds_of_spaces(tmp_path: Path) -> None:
    """A golden repository has frames, texts, graphs, sequences, merges and unsteady schemas."""
    shutil.copytree(ROOT / "tests/golden/repository-1/simgit", tmp_path / ".simgit")
    with Repository.open(tmp_path) as golden:
        for run in golden.runs:
            states = golden.trajectory(run)
            found = golden.sql(f'select * from "{run}"').arrow()
            assert found["oid"].to_pylist() == [oid.hex() for oid in states.oids]
            if "reward" in found.column_names:
                rewards = [0.0 if r is None else r for r in found["reward"].to_pylist()]
                assert rewards == states.rewards.tolist()
        every = golden.sql("select run, count(observation) n from states group by run").fetchall()
        assert {run for run, _ in every} == set(golden.runs)
