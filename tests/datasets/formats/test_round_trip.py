"""Every value of the object format, out to each lossless format and in again: the same oids."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simgit import IntegrityError, InvalidInput, Repository
from tests.datasets.formats.cases import episodes, everything, read, write
from tests.support.examples import share

LOSSLESS = ("jsonl", "parquet", "arrow")
_BITS = st.integers(0, 2**64 - 1).map(lambda bits: np.uint64(bits).view("<f8"))
_DTYPES = st.sampled_from(
    [
        "|b1",
        "|i1",
        "|u1",
        "<i2",
        "<i4",
        "<i8",
        "<u8",
        "<f2",
        "<f4",
        "<f8",
        "<c8",
        "<c16",
        "<M8[s]",
        "<M8[D]",
        "<M8[25s]",
        "<m8[ns]",
        "|S3",
        "<U2",
    ]
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def _arrays(draw: Any) -> Any:
    shape = draw(st.sampled_from([(), (2,), (3, 1), (0,), (70,), (5, 9)]))
    dtype = np.dtype(draw(_DTYPES))
    size = int(np.prod(shape)) * dtype.itemsize
    if dtype.kind in "SU":
        return draw(hnp.arrays(dtype, shape, elements=st.just("a" if dtype.kind == "U" else b"a")))
    raw = draw(st.binary(min_size=size, max_size=size))
    array = np.frombuffer(raw, dtype).reshape(shape)
    array = array.view("u1") % 2 != 0 if dtype.kind == "b" and shape else array
    return array.copy() if shape else array[()] if dtype.kind != "b" else np.bool_(raw[0] % 2)


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**80), 2**80), st.floats(), _BITS.map(float),
    st.complex_numbers(), _TEXT, st.binary(max_size=5), _arrays(), st.sampled_from([0.0, -0.0]),
)  # fmt: skip
_VALUES = st.recursive(
    _LEAVES,
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.lists(below, max_size=3).map(tuple),
        st.dictionaries(_TEXT, below, max_size=3), st.sets(st.integers(), max_size=3),
        st.dictionaries(st.one_of(_TEXT, st.integers(0, 9), st.binary(max_size=2)), below, max_size=2),
    ),
    max_leaves=6,
)  # fmt: skip
_STATES = st.fixed_dictionaries(
    {"observation": _VALUES},
    optional={
        "action": _VALUES, "reward": st.one_of(st.floats(), st.just(-0.0)),
        "terminated": st.booleans(), "info": st.dictionaries(_TEXT, _VALUES, max_size=3),
        "reset": st.one_of(st.just(True), st.fixed_dictionaries({"seed": st.integers(0, 9)})),
        "message": _TEXT,
    },
)  # fmt: skip
_COLUMNS = st.lists(_arrays(), min_size=1, max_size=3).flatmap(
    lambda few: st.lists(st.sampled_from(few), min_size=1, max_size=9)
)
"""Observations that vary less: a field that keeps its type, and sometimes not."""


def _goes_around(name: str, states: list[dict[str, Any]]) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        for state in states:
            recorder.append(**state)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs"
        write(repo, name, path, "main")
        read(other, path)
    assert other.runs["main"].oid == repo.runs["main"].oid


@pytest.mark.parametrize("name", LOSSLESS)
@given(states=st.lists(_STATES, min_size=1, max_size=5))
@settings(max_examples=share(60))
def test_any_values_come_back_with_their_oids(name: str, states: list[dict[str, Any]]) -> None:
    _goes_around(name, [s for s in states if s["observation"] is not None] or [{"message": ""}])


@pytest.mark.parametrize("name", LOSSLESS)
@given(values=_COLUMNS, nested=st.sampled_from(["observation", "info"]))
@settings(max_examples=share(60))
def test_columns_of_arrays_come_back_with_their_oids(
    name: str, values: list[Any], nested: str
) -> None:
    wrapped = [{"observation": each} if nested == "observation" else {"info": {"x": each}}
               for each in values]  # fmt: skip
    _goes_around(name, wrapped)


@pytest.mark.parametrize("name", LOSSLESS)
def test_branches_share_their_history(name: str, tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    names = everything(repo)
    exported = write(repo, name, tmp_path / "runs", *names)
    assert exported.written == 47
    assert read(other, tmp_path / "runs").states == 47
    assert [other.runs[n].oid for n in names] == [repo.runs[n].oid for n in names]


def test_runs_without_states_of_their_own_come_back(tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    repo.branch("same", "what-if")
    repo.branch("early", "main@7")
    names = ["what-if", "same", "early", "main"]  # main's beginning is in what-if's
    write(repo, "jsonl", tmp_path / "x", *names)
    read(other, tmp_path / "x")
    for name in names:
        assert other.runs[name].oid == repo.runs[name].oid
        assert other.runs[name].parent == repo.runs[name].parent
    read(new := Repository.init(":memory:"), tmp_path / "x", as_new=True)
    assert {name: new.runs[name].step for name in names} == {
        name: repo.runs[name].step for name in names
    }


@pytest.mark.parametrize("name", LOSSLESS)
def test_half_a_file_is_damaged_and_nothing_is_imported(name: str, tmp_path: Path) -> None:
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    write(repo, name, tmp_path / "runs", *everything(repo))
    data = (tmp_path / "runs").read_bytes()
    (tmp_path / "runs").write_bytes(data[: len(data) // 2])
    with pytest.raises(IntegrityError):
        read(other, tmp_path / "runs")
    assert dict(other.runs) == {}


@pytest.mark.parametrize("names", ["rllib", "rlds", "lerobot"])
def test_columns_have_the_names_of_fields_only(tmp_path: Path, names: str) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    with pytest.raises(InvalidInput, match="rows are states"):
        repo.export("parquet", tmp_path / "x", "main", options={"names": names})
    write(repo, "parquet", tmp_path / "x", "main")
    table = pq.read_table(tmp_path / "x")
    manifest = json.loads(table.schema.metadata[b"simgit"]) | {"names": names}
    metadata = {**table.schema.metadata, b"simgit": json.dumps(manifest)}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "x")
    with pytest.raises(IntegrityError, match="its columns have other names"):
        read(other, tmp_path / "x")


@pytest.mark.parametrize("name", ["parquet", "arrow"])
@pytest.mark.parametrize("change", ["cell", "drop", "swap", "add"])
def test_an_edited_table_is_refused(tmp_path: Path, name: str, change: str) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    path = tmp_path / "x"
    write(repo, name, path, "main", "what-if")
    table = pq.read_table(path) if name == "parquet" else pa.ipc.open_file(path).read_all()
    if change == "cell":
        rewards = table["reward"].to_pylist()
        rewards[14] += 0.5
        i = table.schema.get_field_index("reward")
        table = table.set_column(i, table.schema.field(i), pa.array(rewards, pa.float64()))
    elif change == "drop":
        table = pa.concat_tables([table[:7], table[8:]])
    elif change == "swap":
        table = table.take(pa.array([0, 2, 1, *range(3, table.num_rows)]))
    else:
        table = pa.concat_tables([table, table[-1:]])
    if name == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_table(table.unify_dictionaries())
    with pytest.raises(IntegrityError):
        read(other, path)
    assert dict(other.runs) == {}
    assert read(other, path, as_new=True).states == table.num_rows


def test_an_edited_branch_does_not_begin_an_episode(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    write(repo, "parquet", tmp_path / "x", "main", "what-if")
    table = pq.read_table(tmp_path / "x")
    i = table.column_names.index("action")
    texts = pa.array([None if each is None else str(each) for each in table["action"].to_pylist()])
    pq.write_table(table.set_column(i, "action", texts), tmp_path / "x")
    read(other, tmp_path / "x", as_new=True)
    starts = [s.step for s in other.trajectory("what-if") if s.reset is not None]
    assert starts == [0, 10] and other.runs["what-if"].step == 16


PLACES = {
    "run": lambda values: ["mine", *values[1:]],
    "step": lambda values: [*values[:3], 9, *values[4:]],
    "episode": lambda values: [each + 1 for each in values],
    "episode_step": lambda values: [1, *values[1:]],
    "oid": lambda values: [values[1], *values[1:]],
    "new": None,
    "info.new": None,
    "message": None,  # a field that other states have
}


@pytest.mark.parametrize("name", ["parquet", "arrow", "jsonl"])
@pytest.mark.parametrize("column", PLACES)
def test_edited_places_and_added_columns_are_noticed(
    tmp_path: Path, name: str, column: str
) -> None:
    repo, other, path = Repository.init(":memory:"), Repository.init(":memory:"), tmp_path / "x"
    episodes(repo)
    repo.commit(np.zeros(4, "f4"), message="half", run="main")
    write(repo, name, path, "main", options={} if name == "jsonl" else {"oids": "all"})
    change: Any = PLACES[column]
    if name == "jsonl":
        first, *lines = path.read_text().splitlines()
        states = [json.loads(line) for line in lines]
        if change is None:
            top, _, below = column.partition(".")
            states[3][top] = {**states[3]["info"], below: 1} if below else "x"
        elif column not in states[0]:
            pytest.skip("JSON lines have no such key")
        else:
            for state, value in zip(states, change([s[column] for s in states]), strict=True):
                state[column] = value
        path.write_text("\n".join([first, *map(json.dumps, states)]))
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        table = pq.read_table(path) if name == "parquet" else pa.ipc.open_file(path).read_all()
        if column == "info.new":
            column, infos = "info", table["info"].to_pylist()
            infos[3]["new"] = 1
            values = pa.array(infos)
        elif change is None:
            values = pa.array([*[None] * 3, "x", *[None] * (table.num_rows - 4)], pa.large_string())
        else:
            kind = pa.string() if column == "run" else table.schema.field(column).type
            values = pa.array(change(table[column].to_pylist()), kind)
        i = table.schema.get_field_index(column)
        table = (
            table.append_column(column, values) if i < 0 else table.set_column(i, column, values)
        )
        if name == "parquet":
            pq.write_table(table, path)
        else:
            with pa.ipc.new_file(path, table.schema) as out:
                out.write_table(table.unify_dictionaries())
    with pytest.raises(IntegrityError, match="edited"):
        read(other, path)
    assert dict(other.runs) == {}
    assert read(other, path, as_new=True).states == 26


def test_a_table_of_pandas_is_a_run(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({
        "obs": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "reward": [0.0, 1.0, 2.0],
        "done": [False, False, True], "cost": [1, 2, 3],
    })  # fmt: skip
    frame.to_parquet(tmp_path / "theirs.parquet")
    repo = Repository.init(":memory:")
    with pytest.raises(InvalidInput, match="alignment=led"):
        read(repo, tmp_path / "theirs.parquet")
    found = read(repo, tmp_path / "theirs.parquet", alignment="led")
    np.testing.assert_array_equal(repo["theirs"].observations, [[1, 2], [3, 4], [5, 6]])
    assert repo["theirs"].column("info.cost").tolist() == [1, 2, 3]
    assert repo["theirs"].terminations.tolist() == [False, False, True]
    assert found.notes


def test_compressed_arrow_files_are_read_and_bombs_are_not(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    episodes(repo)
    path = tmp_path / "x.arrow"
    write(repo, "arrow", path, "main")
    with pa.ipc.open_file(path) as file:
        table = file.read_all()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(path, table.schema, options=options) as out:
        out.write_table(table)
    read(other, path)
    assert other.runs["main"].oid == repo.runs["main"].oid
    bomb = pa.table({"observation": np.zeros(12_000_000)})
    with pa.ipc.new_file(path, bomb.schema, options=options) as out:
        out.write_table(bomb)
    with pytest.raises(IntegrityError, match="too large"):
        read(other, path)
