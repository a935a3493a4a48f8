"""Arrow tables of recorded states: types, absent values, batches, memory that is shared."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simgit
from simgit.errors import InvalidInput, NotFound
from simgit.history.planned_columns import array_forms
from simgit.history.trajectory import Trajectory
from simgit.objects.codec import decode_value
from simgit.odb.database import ObjectDatabase
from simgit.testing.builders import frames, memory_database, record, record_cartpole
from tests.support.examples import share

pa = pytest.importorskip("pyarrow")
from simgit.datasets.arrow import ArrowTable  # noqa: E402


def recorded(states: list[dict[str, Any]], odb: ObjectDatabase | None = None) -> Trajectory:
    odb = odb or memory_database()
    tip = record(odb, states)
    return Trajectory(odb, tip.place, 0, tip.place.step + 1, "main")


def of_info(*values: Any, exact: bool = False) -> Any:
    """Return the table of states of which each has such an info (none where it is ...)."""
    states = [{"message": "m"} if value is ... else {"info": value} for value in values]
    return ArrowTable([recorded(states)], exact=exact).table()


def test_numbers_and_arrays_of_one_shape_are_the_memory_of_the_columns() -> None:
    states = recorded([{"observation": np.float32([i, 2, 3]), "reward": i / 2} for i in range(5)])
    columns = states.observations, states.column("reward")
    table = ArrowTable([states]).table()
    assert table.schema.field("observation").type == pa.fixed_shape_tensor(pa.float32(), [3])
    held = table["observation"].chunk(0)
    np.testing.assert_array_equal(held.to_numpy_ndarray(), states.observations)
    assert np.shares_memory(held.storage.flatten().to_numpy(), columns[0])
    assert np.shares_memory(table["reward"].chunk(0).to_numpy(), columns[1])


def test_a_row_says_of_which_run_step_and_episode_it_is(seed: int) -> None:
    odb = memory_database()
    tip = record_cartpole(odb, 50, seed=seed, episode=20)
    table = ArrowTable([Trajectory(odb, tip.place, 15, 50, "a/b")], oids="none").table()
    assert table.column_names[:4] == ["run", "step", "episode", "episode_step"]
    assert set(table["run"].to_pylist()) == {"a/b"} and table["step"].to_pylist() == list(
        range(15, 50)
    )
    assert table["episode"].to_pylist() == [1] * 5 + [2] * 20 + [3] * 10
    assert table["episode_step"].to_pylist() == [*range(15, 20), *range(20), *range(10)]


def test_what_a_state_does_not_have_is_null_and_none_is_told_from_it() -> None:
    table = of_info(
        {"loss": None, "none": None}, ..., {"loss": 0.5}, {"loss": float("nan"), "none": None}
    )
    info = table["info"].combine_chunks()
    assert info.to_pylist()[1] is None
    assert table.schema.field("info").type.field("none").type == pa.null()
    assert info.field("none.__present").to_pylist() == [True, False, False, True]
    assert info.field("loss").to_pylist()[2:3] == [0.5] and np.isnan(info.field("loss")[3].as_py())
    assert info.field("loss").null_count == 2
    assert info.field("loss.__present").to_pylist() == [True, False, True, True]


def test_none_that_is_always_there_needs_no_column_of_its_own() -> None:
    table = of_info({"x": None}, {"x": None})
    assert [field.name for field in table.schema.field("info").type] == ["x"]


def test_an_empty_dict_has_a_child_for_the_sake_of_parquet() -> None:
    table = of_info({}, ..., {})
    assert table["info"].to_pylist() == [{"__empty": None}, None, {"__empty": None}]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False], "bool"),
        ([1, -5], "int64"),
        ([1, 0.5], "double"),
        ([np.int8(1), np.int8(2)], "int8"),
        ([np.float16(1.5), np.float16(-0.0)], "halffloat"),
        ([np.uint64(2**64 - 1), np.uint64(0)], "uint64"),
        (["a", "é\0"], "large_string"),
        ([b"\xff", b""], "large_binary"),
        (
            [np.datetime64("2020-01-01T00:00", "us"), np.datetime64("1960-01-01", "us")],
            "timestamp[us]",
        ),
        ([np.datetime64("2020-01-01"), np.datetime64("1960-01-01")], "date32[day]"),
        ([np.timedelta64(5, "ms"), np.timedelta64(-5, "ms")], "duration[ms]"),
    ],
)
def test_leaves_have_types_of_their_own(values: list[Any], kind: str) -> None:
    for exact in (False, True):
        table = of_info(*({"x": value} for value in values), ..., exact=exact)
        leaf = table["info"].combine_chunks().field("x")
        if exact and kind.startswith("date32"):  # it has no NaT beside null
            assert isinstance(leaf.type, pa.BaseExtensionType)
            continue
        assert str(leaf.type) == kind
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        assert leaf.to_pylist() == [*plain, None]


def test_complex_numbers_are_pairs() -> None:
    leaf = of_info({"x": 1 + 2j}, ..., {"x": 3j})["info"].combine_chunks().field("x")
    assert leaf.to_pylist() == [{"re": 1.0, "im": 2.0}, None, {"re": 0.0, "im": 3.0}]


def test_dates_in_units_that_arrow_lacks_are_integers_that_say_so() -> None:
    table = of_info({"x": np.datetime64("2020-01", "M")})
    field = table.schema.field("info").type.field("x")
    assert field.type == pa.int64() and field.metadata[b"simgit.dtype"] == b"<M8[M]"
    assert table["info"].to_pylist() == [{"x": 600}]


def test_no_date_is_null_unless_the_table_must_be_exact() -> None:
    states = ({"x": np.datetime64("NaT", "us")}, {"x": np.datetime64(5, "us")})
    assert of_info(*states)["info"].combine_chunks().field("x").null_count == 1
    exact = of_info(*states, exact=True)["info"].combine_chunks().field("x")
    assert exact.null_count == 0 and exact.cast(pa.int64())[0].as_py() == -(1 << 63)


def test_a_date_beyond_arrows_days_is_refused() -> None:
    with pytest.raises(InvalidInput, match="too far"):
        of_info({"x": np.datetime64(1 << 40, "D")})


@pytest.mark.parametrize(
    "values",
    [
        [1 << 80, 5],
        [1 << 62, 0.5],  # no dtype holds both exactly
        [[1, "a", None], {"k": 1}],
        ["text", 5],
        [{1: "integer key"}, {2: 2}],
    ],
)
def test_values_without_a_type_are_canonical_and_decode(values: list[Any]) -> None:
    table = of_info(*({"x": value} for value in values), ..., {"x": None})
    leaf = table["info"].combine_chunks().field("x")
    assert leaf.type.extension_name == "simgit.value"
    assert leaf.to_pylist() == [*values, None, None]
    assert leaf.storage.to_pylist()[-2:] == [None, b"\xc0"]  # absent, and None


def test_a_field_that_another_schema_widened_has_one_type() -> None:
    odb = memory_database()
    tip = record(odb, [{"info": {"x": 1}}])
    tip = record(odb, [{"info": {"x": 0.5, "y": "new"}}], tip)
    whole = Trajectory(odb, tip.place, 0, 2, "main")
    table = ArrowTable([whole]).table()
    assert table["info"].to_pylist() == [{"x": 1.0, "y": None}, {"x": 0.5, "y": "new"}]
    parts = pa.Table.from_batches(ArrowTable([whole]).batches(rows=1))
    assert parts["info"].to_pylist() == table["info"].to_pylist() and parts.schema == table.schema


def test_large_arrays_of_one_shape_are_tensors_and_others_lists_with_shapes() -> None:
    images = frames(5, shape=(12, 10, 3))
    states = [{"observation": image} for image in images] + [{"message": "none"}]
    table = ArrowTable([recorded(states)]).table()
    tensor = table["observation"].chunk(0)
    assert tensor.type.shape == [12, 10, 3] and tensor.null_count == 1
    np.testing.assert_array_equal(tensor.slice(0, 5).to_numpy_ndarray(), np.stack(images))

    ragged = [np.arange(n, dtype=np.int16).reshape(-1, 2) for n in (400, 2, 0, 600)]
    table = ArrowTable(
        [recorded([{"observation": each} for each in ragged] + [{"message": ""}])]
    ).table()
    assert table["observation.__shape"].to_pylist() == [[200, 2], [1, 2], [0, 2], [300, 2], None]
    got = table["observation"].to_pylist()
    assert got == [each.reshape(-1).tolist() for each in ragged] + [None]


def test_the_shape_of_arrays_is_read_from_headers_wherever_they_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odb = memory_database()
    images = frames(3, shape=(20, 20))
    tip = record(odb, [{"observation": image} for image in images])
    tip = record(odb, [{"observation": images[i]} for i in (2, 0, 2)], tip)  # stored with others
    states = Trajectory(odb, tip.place, 3, 6)
    monkeypatch.setattr("simgit.history.array_reader.decode_group", pytest.fail)
    assert array_forms(states, ("observation",)) == {(np.dtype(np.uint8), (20, 20))}
    monkeypatch.undo()
    np.testing.assert_array_equal(states.observations, [images[i] for i in (2, 0, 2)])


def test_batches_together_are_the_table_and_are_bounded_by_bytes(seed: int) -> None:
    odb = memory_database()
    tip = record_cartpole(odb, 5000, seed=seed)
    states = Trajectory(odb, tip.place, 0, 5000, "main")
    parts = list(ArrowTable([states], oids="all").batches(rows=700))
    assert max(part.num_rows for part in parts) == 700
    whole = ArrowTable([states], oids="all").table()
    assert pa.Table.from_batches(parts).equals(whole)
    small = list(ArrowTable([states]).batches(budget=10_000))
    assert max(part.nbytes for part in small) < 12_000 and len(small) > 20


def test_batches_of_text_shrink_when_their_size_is_seen() -> None:
    states = recorded([{"message": "x" * 1000} for _ in range(3000)])
    sizes = [part.nbytes for part in ArrowTable([states]).batches(budget=100_000)]
    assert max(sizes[2:]) < 150_000


def test_oids_are_all_those_of_the_states_or_that_of_each_batchs_last() -> None:
    odb = memory_database()
    tip = record_cartpole(odb, 300)
    states = Trajectory(odb, tip.place, 10, 300)
    assert states.oid_array().tobytes() == b"".join(states.oids)
    assert ArrowTable([states], oids="all").table()["oid"].to_pylist() == [
        bytes(o) for o in states.oids
    ]
    tips = ArrowTable([states]).table()["oid"]
    assert tips.null_count == 289 and tips[-1].as_py() == tip.oid


def test_fields_can_be_chosen_inside_of_others_too() -> None:
    states = recorded(
        [
            {"observation": np.float32([i, -i]), "info": {"a": {"b": i}, "l": [i, "x"]}}
            for i in range(3)
        ]
    )
    table = ArrowTable([states], ["info.a.b", "observation.1", "info.l.0"], oids="none").table()
    assert table.column_names[4:] == ["info.a.b", "observation.1", "info.l.0"]
    assert table["info.a.b"].to_pylist() == [0, 1, 2] == table["info.l.0"].to_pylist()
    assert table["observation.1"].to_pylist() == [0.0, -1.0, -2.0]
    for missing in ("info.c", "info.l.7", "nothing"):
        with pytest.raises(NotFound):
            ArrowTable([states], [missing])


def test_a_trajectory_of_a_repository_makes_its_own_table() -> None:
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        recorder.append(0.0, reset=True)
        recorder.append(1.0, 1, 0.5, False, False, {"when": datetime.date(2020, 1, 1)})
    table = repo["main"].to_arrow()
    assert table["observation"].to_pylist() == [0.0, 1.0]
    assert table["info"].to_pylist()[1] == {"when": "2020-01-01"}
    assert b"led to its observation" in table.schema.metadata[b"simgit.alignment"]
    assert repo["main"][1:].to_arrow(["action"], oids="none").num_rows == 1
    assert repo["main"].episodes[0].to_arrow(["reward"]).num_columns == 6
    assert repo["main"][:0].to_arrow().num_rows == 0
    with pytest.raises(InvalidInput, match="repository"):
        recorded([{"message": ""}]).to_arrow()


def plain(value: Any) -> Any:
    """Return a value as a table's row shows it: scalars plain, arrays flat, tuples as dicts."""
    if isinstance(value, (np.ndarray, np.generic)):
        flat = np.asarray(value).reshape(-1).tolist()
        return flat if isinstance(value, np.ndarray) else flat[0]
    if isinstance(value, tuple):
        value = {str(i): each for i, each in enumerate(value)}
    return {key: plain(each) for key, each in value.items()} if isinstance(value, dict) else value


def agrees(cell: Any, value: Any) -> bool:
    if isinstance(value, dict):
        if cell is None or not isinstance(cell, dict):
            return False
        return all(agrees(cell.get(key), value.get(key)) for key in cell if "__" not in key)
    if isinstance(value, float) and isinstance(cell, float):
        return cell == value or (cell != cell and value != value)
    return bool(cell == value)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=3),
    st.binary(max_size=3), st.builds(np.float32, st.floats(width=32)), st.builds(np.uint8, st.integers(0, 255)),
    st.lists(st.integers(-9, 9), max_size=2),
    st.integers(0, 3).map(lambda n: np.arange(n, dtype=np.int16)),
)  # fmt: skip
VALUES = st.one_of(
    LEAVES, st.tuples(LEAVES, LEAVES), st.dictionaries(st.sampled_from("ab"), LEAVES)
)
STATES = st.lists(
    st.fixed_dictionaries({"reward": st.just(1.0)}, optional={"observation": VALUES, "action": LEAVES, "info": st.dictionaries(st.sampled_from("xyz"), VALUES)}),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=share(200))
@given(states=STATES, rows=st.integers(1, 4))
def test_an_exact_table_holds_whatever_was_recorded(
    states: list[dict[str, Any]], rows: int
) -> None:
    trajectory = recorded(states)
    made = ArrowTable([trajectory], exact=True)
    table = pa.Table.from_batches(made.batches(rows=rows), made.schema)
    got = table.to_pylist()
    for cell, state in zip(got, states, strict=True):
        for name in {"observation", "action", "info"} & set(table.column_names):
            if name not in state:
                assert cell[name] is None
            else:
                assert agrees(plain(cell[name]), plain(state[name])), (name, cell, state)


def test_values_can_be_read_without_this_package() -> None:
    table = of_info({"x": [1, 2]}, {"x": "a"})
    raw = table["info"].combine_chunks().field("x").storage.to_pylist()
    assert list(map(decode_value, raw)) == [[1, 2], "a"]
